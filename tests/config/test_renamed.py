"""Keys that have a better word since: the old one gives the same config, wherever it stands."""

import json
from collections.abc import Callable
from pathlib import Path

from conftest import Said

from unet_exp.cli.command import read_command
from unet_exp.compose import compose_train, prepare_words
from unet_exp.config import parse
from unet_exp.config.model import CustomModelConfig
from unet_exp.sweeps.plan import SweepPlan


def test_keys_that_have_a_better_word_since_still_work(cli: Callable[..., Said]) -> None:
    words = ["model=custom", "model.target=their_package.networks.DilatedNet", "model.step=1"]
    now = cli("train", "--cfg", "job", *words, "model.receptive_field_radius=16", "model.total_stride=4")
    before = cli("train", "--cfg", "job", *words, "model.margin=16", "model.lattice=4")
    assert before.out == now.out
    assert "receptive_field_radius: 16" in now.out
    notes = before.err.splitlines()
    assert notes[0] == "note: model.margin is now model.receptive_field_radius; this version still takes the old word"
    values = {"name": "custom", "target": "a.B", "params": None, "step": 1, "smallest": None, "lattice": 2}
    of_a_file = CustomModelConfig.model_validate({**values, "context": 3, "margin": 5})  # as an earlier run kept it
    assert (of_a_file.total_stride, of_a_file.lost_border, of_a_file.receptive_field_radius) == (2, 3, 5)


def test_no_class_weights_have_one_word(cli: Callable[..., Said]) -> None:
    said = cli("train", "--cfg", "job", "-p", "loss.class_weights", "experiment=small", "loss.class_weights=none")
    assert said.out == "null\n"
    assert said.err.startswith("note: loss.class_weights=none is now loss.class_weights=null; ")


def test_what_is_typed_stands_above_an_old_key_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine" / "model").mkdir(parents=True)
    lines = ["defaults: [custom, _self_]", "target: their_package.networks.DilatedNet", "margin: 16", "context: 1"]
    (tmp_path / "mine" / "model" / "mine.yaml").write_text("\n".join(lines))
    for typed, radius in (([], 16), (["model.margin=40"], 40), (["model.receptive_field_radius=41"], 41)):
        model = parse(compose_train(prepare_words(["model=mine", *typed]), str(tmp_path / "mine"))).model
        assert isinstance(model, CustomModelConfig)
        assert (model.receptive_field_radius, model.lost_border) == (radius, 1)


def test_a_sweep_of_an_earlier_version_goes_on_under_the_words_of_today(tmp_path: Path) -> None:
    words = ["model=custom", "model.target=their.Net", "trust=[their]", "model.margin=8,16"]
    runs = [{"name": f"model.margin={n}", "overrides": [*words[:3], f"model.margin={n}"]} for n in (8, 16)]
    plan = {"created": "2026-01-01", "words": words, "config_dir": None, "search": None, "runs": runs}
    (tmp_path / "sweep.json").write_text(json.dumps(plan))
    found = read_command([f"sweep.resume={tmp_path}", "trust=[their]"])
    assert isinstance(found, SweepPlan)
    assert found.folder is not None
    assert [run.name for run in found.folder.runs] == ["model.margin=8", "model.margin=16"]
    assert found.runs[1].overrides[-1] == "model.receptive_field_radius=16"
