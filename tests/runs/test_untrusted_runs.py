"""Folders of strangers: runs, sweeps and what is compared; nothing that they ask for is done beside them."""

import json
import shutil
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from bombs import png_claiming
from conftest import TINY, Said, change_summary, summary
from PIL import Image

from unet_exp.compare.collect import collect
from unet_exp.compare.comparison import compare_runs
from unet_exp.compare.pictures import make_strips
from unet_exp.compose import compose_train
from unet_exp.errors import DataError
from unet_exp.runs.run_folder import RunFolder, refuse_links
from unet_exp.runs.summary import Summary
from unet_exp.runs.sweep_folder import SweepFolder

Cli = Callable[..., Said]
Content = dict[str, Any]
RUN = RunFolder(Path(__file__).parents[1] / "fixtures/format-3")
FOREIGN = {"name": "custom", "target": "antigravity.fly", "params": {}, "class_weights": None}
"""Names a class whose import opens a web browser."""


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "it_ran"
    yield path
    assert not path.exists()


def stopped(path: Path) -> RunFolder:
    """The folder of a run that could go on."""
    folder = RunFolder(shutil.copytree(RUN.path, path))
    change_summary(folder, status="running")
    return folder


CONFIGS = {
    "code": ("x: !!python/object/apply:os.system ['touch {marker}']", "config.yaml is missing or damaged"),
    "an object": ("x: !!python/name:os.system", "config.yaml is missing or damaged"),
    "aliases of aliases": (
        "a0: &a0 {a: 1, b: 2}\n"
        + "\n".join(f"a{n}: &a{n} {{a: *a{n - 1}, b: *a{n - 1}, c: *a{n - 1}}}" for n in range(1, 25)),
        "config.yaml is missing or damaged",
    ),
    "merges of merges": (
        "a0: &a0 {a: 1, b: 2}\n"
        + "\n".join(f"a{n}: &a{n} {{<<: [{', '.join(9 * [f'*a{n - 1}'])}]}}" for n in range(1, 12)),
        "config.yaml is missing or damaged",
    ),
    "a merge by its tag": ("a: &a {b: 1}\nc: {!!merge x: *a}", "config.yaml is missing or damaged"),
    "lists without end": ("x: " + "[" * 10**6, "config.yaml is missing or damaged"),
    "lists in lists": ("x: " + "[" * 1500 + "]" * 1500, "config.yaml is missing or damaged"),
    "a variable of the shell": ("output: ${oc.env:HOME}", "config.yaml refers to something beside it"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_of_more_than_plain_values_is_refused(name: str, marker: Path, tmp_path: Path) -> None:
    written, said = CONFIGS[name]
    folder = RunFolder(shutil.copytree(RUN.path, tmp_path / "run"))
    folder.config.write_text(f"{folder.config.read_text()}\n{written.replace('{marker}', str(marker))}\n")
    with pytest.raises(DataError) as mistake:
        folder.read_config()
    assert str(mistake.value).startswith(f"{folder.path}/{said}")


def test_a_run_with_such_a_config_is_not_compared(marker: Path, tmp_path: Path) -> None:
    folder = RunFolder(shutil.copytree(RUN.path, tmp_path / "run"))
    folder.config.write_text(CONFIGS["code"][0].replace("{marker}", str(marker)))
    assert collect([folder.path])[1][0].reason == "config.yaml is missing or damaged"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "../../x"}, "name='../../x': must be 1 to 100 letters"),
        ({"name": "/abs"}, "name='/abs': must be"),
        ({"name": ".."}, "name='..': must be"),
        ({"\x1b[2J": 1}, "unknown key ?[2J"),
        ({"loss": FOREIGN}, "it names loss.target=antigravity.fly, a class that is not of unet_exp"),
        ({"loss": FOREIGN, "trust": ["antigravity"]}, "if you trust it, add trust=[antigravity]"),
        ({"output": "${oc.env:HOME}"}, "config.yaml refers to something beside it"),
        ({"init_from": "/etc/passwd"}, "/etc/passwd"),
    ],
)
def test_what_the_config_of_a_run_may_not_say(change: Content, said: str, cli: Cli, tmp_path: Path) -> None:
    folder = stopped(tmp_path / "run")
    folder.write_config({**yaml.safe_load(folder.config.read_text()), **change})
    before = sorted(tmp_path.rglob("*"))
    assert said in cli("train", f"resume={folder.path}").mistake
    assert {path for path in tmp_path.rglob("*") if path.name != ".lock"} == set(before)


@pytest.mark.parametrize("name", ["../../x", "/abs", "..", "a/b", ".hidden"])
def test_no_typed_name_leads_out_of_the_output(name: str, cli: Cli) -> None:
    assert "it names the run's folder" in cli("train", f"name={name}").mistake


def test_summaries_without_end_are_no_summaries(tmp_path: Path) -> None:
    folder = RunFolder(shutil.copytree(RUN.path, tmp_path / "run"))
    folder.summary.write_text('{"status": ' + "[" * 10**5 + "]" * 10**5 + "}")
    assert folder.read_summary() == Summary()
    assert collect([folder.path])[1][0].reason == "summary.json is missing or damaged"


@pytest.mark.parametrize(
    "name", [".lock", "run.log", "checkpoints", "checkpoints/.last.7.part.ckpt", "tensorboard/hparams.yaml"]
)
def test_links_in_a_folder_that_is_written_to_are_refused(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / name).parent.mkdir(parents=True)
    (folder / "wandb").mkdir()
    (folder / "wandb" / "latest-run").symlink_to("offline-run-1")  # as W&B itself makes them
    refuse_links(folder)
    (folder / name).symlink_to(tmp_path / "gone")
    with pytest.raises(DataError, match=rf"run/{name} is a link, and could lead anywhere"):
        refuse_links(folder)


@pytest.mark.parametrize("name", [".lock", "run.log", "predictions"])
def test_a_run_does_not_go_on_through_a_link(name: str, cli: Cli, tmp_path: Path) -> None:
    folder = stopped(tmp_path / "run")
    photo = tmp_path / "photos/one.png"
    photo.parent.mkdir()
    photo.write_text("precious")
    (folder.path / name).symlink_to(photo.parent if name == "predictions" else photo)
    assert "is a link, and could lead anywhere" in cli("train", f"resume={folder.path}").mistake
    assert photo.read_text() == "precious"
    assert list(photo.parent.iterdir()) == [photo]


def sweep(folder: Path, **changes: Any) -> Path:
    """The folder of a sweep that was stopped before its first run."""
    words = [*TINY, "model=same", "trainer.max_steps=1", "seed=0,1", "sweep.report=false"]
    runs = [{"name": f"seed={seed}", "overrides": [*words[:-2], f"seed={seed}"]} for seed in (0, 1)]
    plan = {"created": "2026-01-01T00:00:00", "words": words, "config_dir": None, "search": None, "runs": runs}
    folder.mkdir()
    (folder / "sweep.json").write_text(json.dumps({**plan, **changes}))
    return folder


@pytest.mark.parametrize("name", ["../photos", "{home}", "..", ".", "", "a/../../photos", "C:x", "a\\b", "a\0b"])
def test_a_sweep_empties_no_folder_beside_its_own(name: str, cli: Cli, tmp_path: Path) -> None:
    photo = tmp_path / "photos/one.png"
    photo.parent.mkdir()
    photo.touch()
    runs = [{"name": name.replace("{home}", str(photo.parent)), "overrides": TINY}]
    folder = sweep(tmp_path / "sweep", runs=runs)
    assert "must be the name of a folder); start the sweep anew" in cli("train", f"sweep.resume={folder}").mistake
    assert photo.exists()


@pytest.mark.parametrize(
    "changes", [{"words": "seed=0"}, {"words": [1]}, {"created": 3}, {"config_dir": ["x"]}, {"runs": 1}, {"more": 1}]
)
def test_a_plan_is_checked_whole(changes: Content, cli: Cli, tmp_path: Path) -> None:
    folder = sweep(tmp_path / "sweep", **changes)
    assert "sweep.json: it is damaged" in cli("train", f"sweep.resume={folder}").mistake


def test_a_plan_without_end_is_told(cli: Cli, tmp_path: Path) -> None:
    (sweep(tmp_path / "sweep") / "sweep.json").write_text('{"words": ' + "[" * 10**5)
    assert "sweep.json: it is damaged" in cli("train", f"sweep.resume={tmp_path / 'sweep'}").mistake


@pytest.mark.parametrize("name", [".lock", "seed=0", "seed=1/.lock", "seed=1/run.log", "search.journal"])
def test_links_in_a_sweep_are_refused(name: str, tmp_path: Path) -> None:
    folder = sweep(tmp_path / "sweep")
    (folder / "seed=1").mkdir()
    SweepFolder.open(folder).check_harmless()
    (folder / name).symlink_to(tmp_path)
    with pytest.raises(DataError, match="is a link"):
        SweepFolder.open(folder).check_harmless()


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("+hydra.callbacks.x={_target_: os.system, command: ls}", "may start other programs"),
        ("hydra.launcher._target_=os.system", "may start other programs"),
        ("hydra.launcher.setup=[ls]", "may start other programs"),
        ("hydra.launcher.submitit_folder=../elsewhere", "may start other programs"),
        ("hydra.job_logging=[ls]", "may start other programs"),
        ("+data@hydra.callbacks.x=synthetic", "may start other programs"),
        ("name=${oc.env:HOME}", "refers to something beside it"),
    ],
)
def test_words_of_a_sweep_that_reach_beyond_it_are_refused(word: str, said: str, tmp_path: Path) -> None:
    folder = sweep(tmp_path / "sweep", words=["seed=0,1", word])
    with pytest.raises(DataError, match=said):
        SweepFolder.open(folder).check_harmless()


WORDS = [*TINY, "model=same", "seed=0,1"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"words": ["seed=0,1", "hydra.launcher.setup=[ls]"]}, "may start other programs"),
        ({"words": [*WORDS, "loss=custom", "loss.target=antigravity.fly"]}, "if you trust it, add trust=[antigravity]"),
        (
            {"words": [*WORDS, "loss=custom", "loss.target=antigravity.fly", "trust=[antigravity]"]},
            "if you trust it, add trust=[antigravity]",
        ),
        ({"words": [*WORDS, "trust=[antigravity]"]}, "if you trust antigravity too, add 'trust=[antigravity]'"),
        ({"config_dir": "theirs"}, "add --config-dir theirs, and 'trust=[<package>]' if they name classes of yours"),
        ({"config_dir": "their configs"}, "if you trust them, add --config-dir 'their configs', and"),
        ({"words": [*WORDS, "optimizer.lr=1"]}, "its words no longer stand for the runs in its sweep.json"),
        ({"runs": [{"name": "seed=0", "overrides": ["hydra.job_logging=[ls]"]}]}, "its words no longer stand for"),
    ],
)
def test_a_sweep_goes_on_with_what_is_trusted_now(changes: Content, said: str, cli: Cli, tmp_path: Path) -> None:
    folder = sweep(tmp_path / "sweep", **changes)
    assert said in cli("train", f"sweep.resume={folder}").mistake
    assert not (folder / "seed=0").exists()


def test_what_a_sweep_needs_to_go_on_is_told_at_once(cli: Cli, tmp_path: Path) -> None:
    folder = sweep(tmp_path / "sweep", config_dir="theirs")
    (folder / "seed=0").mkdir()
    RunFolder(folder / "seed=0").write_config(compose_train([*TINY, "loss=custom", "loss.target=theirs.Loss"]))
    said = cli("train", f"sweep.resume={folder}")
    assert said.mistake.endswith("if you trust them, add --config-dir theirs, and 'trust=[theirs]' for their classes")


@pytest.mark.parametrize("line", ["xx", "{}"])
def test_a_journal_that_is_none_is_told(line: str, cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    words = [*TINY, "search=optuna", "search.trials=1", "model=same", "optimizer.lr=0.1,0.2"]
    folder = sweep(tmp_path / "sweep", words=words, search="optuna", runs=[])
    (folder / "search.journal").write_text(f"{line}\n")
    assert "search.journal: it is damaged" in cli("train", f"sweep.resume={folder}").mistake


def test_plain_settings_of_a_launcher_are_kept(tmp_path: Path) -> None:
    words = ["hydra/launcher=submitit_slurm", "hydra.launcher.partition=gpu-a100", "hydra.launcher.timeout_min=60"]
    SweepFolder.open(sweep(tmp_path / "sweep", words=words)).check_harmless()


def finished_run(path: Path, image: str = "synthetic_003", **config: Any) -> RunFolder:
    """A run as somebody else might hand it over."""
    folder = RunFolder(shutil.copytree(RUN.path, path))
    values = yaml.safe_load(folder.config.read_text())
    folder.write_config({**values, **config})
    change_summary(folder, **{**summary(RUN), "split": {"test": [image]}, "device": MARKUP})
    table = folder.per_image.read_text().replace("synthetic_003", '"' + image.replace('"', '""') + '"')
    folder.per_image.write_text(table)
    folder.predictions.mkdir()
    return folder


MARKUP = "<script>alert(1)</script><img src=x onerror=alert(2)>"


def test_names_are_no_markup_on_the_page_of_a_comparison(cli: Cli, tmp_path: Path) -> None:
    both = tmp_path / "runs"
    finished_run(both / "<b>one", image=MARKUP)
    finished_run(both / "two", image=MARKUP, init_from=f"{MARKUP} $\\frac{{1}}{{0$ ](javascript:alert(3))")
    said = cli("compare", f"runs={both}", "output=page")
    assert said.code == 0, said
    page = (tmp_path / "page/report.html").read_text()
    assert "alert(1)" in page
    for tag in ("<script", "<img src=x", "<b>one"):
        assert tag not in page
    assert "<img" not in (tmp_path / "page/report.md").read_text().replace("\\<img", "")


def picture() -> bytes:
    file = BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (80, 400, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


PICTURES = {
    "genuine": ("synthetic_003", picture(), True),
    "PostScript": ("synthetic_003", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 400 80\n", False),
    "of absurd size": ("synthetic_003", png_claiming(16_000, 11_000, 0, 2), False),
    "of somebody else": ("../../../photo", b"", False),
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_come_from_the_run_alone(name: str, tmp_path: Path) -> None:
    image, data, shown = PICTURES[name]
    for run in (finished_run(tmp_path / "runs/one", image), finished_run(tmp_path / "runs/two", image, init_from="x")):
        (run.predictions / "test_..").mkdir()
        (run.predictions / "test_synthetic_003.png").write_bytes(data)
    (tmp_path / "photo.png").write_bytes(picture())
    runs, apart = collect([tmp_path / "runs"])
    (strip,) = make_strips(compare_runs(runs, apart))
    assert {panel.source is not None for panel in strip.panels} == {shown}
