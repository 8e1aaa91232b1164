"""What earlier versions have written opens and gives what it gave then; what cannot be read is told why."""

import importlib.util
import json
import shutil
import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from challenge_on_disk import hela
from conftest import TINY, TINY_STACK, Said, change_summary, summary, table

import unet_exp
from unet_exp.checkpoints.migrations import FORMAT
from unet_exp.checkpoints.opening import open_checkpoint
from unet_exp.checkpoints.record import KEY, CheckpointRecord
from unet_exp.compare.collect import collect
from unet_exp.compare.selection import select_comparable
from unet_exp.errors import DataError
from unet_exp.runs.run_folder import RunFolder
from unet_exp.samples.fingerprint import find_version

Cli = Callable[..., Said]
FIXTURES = Path(__file__).parents[1] / "fixtures"
KEPT = sorted(FIXTURES.glob("format-*"))
RUN = RunFolder(FIXTURES / "format-3")


def test_each_format_has_a_file_of_its_time() -> None:
    """Whoever raises the format runs scripts/keep_checkpoint.py."""
    assert {path.name for path in KEPT} == {f"format-{number}" for number in range(1, FORMAT + 1)}
    for path in KEPT:
        content = torch.load(path / "checkpoints/best.ckpt", weights_only=True)
        assert path.name == f"format-{content[KEY]['format']}"


def test_a_record_stands_in_a_file_as_it_did() -> None:
    kept = torch.load(RUN.best, weights_only=True)[KEY]
    assert list(CheckpointRecord.read(kept).model_dump().items()) == list(kept.items())


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.name)
def test_a_kept_checkpoint_says_and_predicts_what_it_did(path: Path) -> None:
    said = json.loads((path / "answers.json").read_text())
    opened = open_checkpoint(path)
    assert [spec.model_dump() for spec in opened.record.classes] == said["classes"]
    assert opened.record.normalization.model_dump() == said["normalization"]
    assert (opened.step, sorted(opened.record.trained_on)) == (said["step"], said["trained_on"])
    assert opened.config.loss.class_weights == "inverse"
    with np.load(path / "answers.npz") as answers:
        found = unet_exp.load(path, "cpu", "32").probabilities(answers["image"])
        np.testing.assert_allclose(found, answers["probabilities"], rtol=0, atol=1e-5)
        assert answers["probabilities"].std() > 0.1


def test_a_kept_exported_network_predicts_what_its_checkpoint_did() -> None:
    pytest.importorskip("onnxruntime")
    with np.load(RUN.path / "answers.npz") as answers:
        found = unet_exp.load(RUN.path / "network.onnx", "cpu", "32").probabilities(answers["image"])
        np.testing.assert_allclose(found, answers["probabilities"], rtol=0, atol=1e-5)


def test_what_is_kept_names_no_folder_of_the_machine_that_made_it() -> None:
    for path in (path for path in FIXTURES.rglob("*") if path.is_file()):
        with zipfile.ZipFile(path) if zipfile.is_zipfile(path) else nullcontext() as archive:
            parts = [path.read_bytes()] if archive is None else map(archive.read, archive.namelist())
            assert not any(
                name in part for part in parts for name in (b"/home", b"/root", b"/tmp", b"/work", b"site-pac")
            )


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.name)
def test_a_training_starts_from_a_kept_checkpoint(path: Path, train: Callable[..., RunFolder]) -> None:
    run = train("model=same", "model.width=2", f"init_from={path}", "trainer.max_steps=1")
    assert summary(run)["status"] == "finished"


def test_a_training_does_not_start_from_an_exported_network(cli: Cli) -> None:
    pytest.importorskip("onnxruntime")
    said = cli("train", *TINY, f"init_from={RUN.path / 'network.onnx'}")
    assert said.mistake.endswith("network.onnx: it has no weights to start from; name a .ckpt or a run")


def test_a_kept_run_has_the_scores_that_it_had(cli: Cli) -> None:
    scored = RunFolder(cli("evaluate", f"checkpoint={RUN.path}", "output=out").folder)
    assert find_version(summary(scored)["data_fingerprint"]) > find_version(summary(RUN)["data_fingerprint"])
    before = {key: value for key, value in summary(RUN)["metrics"].items() if not key.endswith("_at_val")}
    now = {key: summary(scored)["metrics"][key] for key in before}
    assert now == pytest.approx(before, abs=1e-4)


def test_a_kept_run_is_compared() -> None:
    (run,), apart = collect([RUN.path])
    assert apart == []
    assert (run.seed, list(run.images.index), list(run.history["step"])) == (0, summary(RUN)["split"]["test"], [2, 4])


def test_a_kept_run_goes_on(cli: Cli, tmp_path: Path) -> None:
    folder = RunFolder(shutil.copytree(RUN.path, tmp_path / "run"))
    folder.last.unlink()  # as if it had been killed behind the first of its two epochs
    change_summary(folder, **{**summary(RUN), "status": "running", "metrics": {}})
    assert cli("train", f"resume={folder.path}").folder == folder.path
    found = summary(folder)
    assert (found["status"], found["steps"], found["resumed"][0]["step"]) == ("finished", 4, 2)
    assert [row["step"] for row in table(folder.metrics)] == ["2", "4"]
    assert found["metrics"]["test/loss"] == pytest.approx(summary(RUN)["metrics"]["test/loss"], abs=1e-3)


@pytest.fixture(scope="module")
def hela_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = hela(tmp_path_factory.mktemp("hela"))
    return root


def age(folder: RunFolder) -> None:
    """Makes a run on HeLa one of an earlier version, which knew one `held_out` and no `split_version`."""

    def rewrite(config: dict[str, Any]) -> dict[str, Any]:
        data = {key: value for key, value in config["data"].items() if key != "split_version"}
        return {**config, "data": {**data, "split": data["split"].removesuffix("_v1")}}

    folder.write_config(rewrite(folder.read_config()))
    for path in (folder.best, folder.last):
        content = torch.load(path, weights_only=True)
        content[KEY]["config"] = rewrite(content[KEY]["config"])
        torch.save(content, path)


@pytest.mark.slow
@pytest.mark.parametrize("split", ["held_out", pytest.param("all", marks=pytest.mark.slow)])
def test_an_earlier_run_on_hela_keeps_its_split(cli: Cli, hela_root: Path, split: str) -> None:
    words = ["data=dic_hela", f"data.root={hela_root}", "data.tile=16", "model=same", *TINY_STACK, "output=out"]
    folder = RunFolder(cli("train", *words, f"data.split={split}_v1", "name=earlier").folder)
    age(folder)
    before = summary(folder)
    assert before["split"]["val"] == ["01_t067"]

    said = cli("train", f"rerun={folder.path}")
    assert (said.code, "equal: all " in said.out) == (0, True), said
    with_val = ["split=val"] if split == "all" else []
    scored = RunFolder(cli("evaluate", f"checkpoint={folder.path}", "output=out", *with_val).folder)
    assert summary(scored)["data_fingerprint"] == before["data_fingerprint"]
    today = RunFolder(cli("train", *words, f"data.split={split}", "name=today").folder)
    assert summary(today)["split"]["val"] == ["01_t054"]
    assert summary(today)["data_fingerprint"] != before["data_fingerprint"]
    typed = cli("evaluate", f"checkpoint={folder.path}", "output=out", "split=val", f"data.split={split}").folder
    assert summary(RunFolder(typed))["split"]["val"] == ["01_t054"], "what is typed today means today's split"

    change_summary(folder, status="running", metrics={})
    assert cli("train", f"resume={folder.path}").folder == folder.path
    assert summary(folder)["status"] == "finished"
    assert summary(folder)["split"] == before["split"]
    if split == "held_out":
        (kept,), (refused,) = select_comparable(collect([folder.path, today.path])[0], "iou/mean")
        assert kept.config["data.split"] == "held_out_v1"
        said_so = f"other data or split than {kept.folder.name}: data.split=held_out, the others held_out_v1"
        assert refused.reason == said_so


def test_a_training_of_an_earlier_format_does_not_go_on_and_says_why(cli: Cli, tmp_path: Path) -> None:
    folder = RunFolder(shutil.copytree(RUN.path, tmp_path / "run"))
    change_summary(folder, **{**summary(RUN), "status": "running"})
    for path in (folder.last, folder.previous):
        content = torch.load(path, weights_only=True)
        content[KEY]["format"] = FORMAT - 1
        torch.save(content, path)
    assert "it is of an earlier version, which could not go on exactly" in cli("train", f"resume={folder.path}").mistake


@pytest.mark.parametrize(
    ("version", "said"),
    [
        (FORMAT + 1, f"newer than those that this version of unet_exp reads (1 to {FORMAT}); update unet_exp"),
        (0, "its format is 0, no whole number from 1 on"),
        (-1, "its format is -1"),
        (True, "its format is True"),
        (2.0, "its format is 2.0"),
        (None, "its format is None"),
        ("2\n", r"its format is '2\n'"),
        ([3], "its format is [3]"),
        (list(range(1000)), "[...]"),
    ],
)
def test_another_format_is_told_with_the_reason(version: Any, said: str, tmp_path: Path) -> None:
    content = torch.load(RUN.best, weights_only=True)
    content[KEY]["format"] = version
    assert said in mistake(content, tmp_path)


def test_no_format_is_told(tmp_path: Path) -> None:
    content = torch.load(RUN.best, weights_only=True)
    del content[KEY]["format"]
    assert "its format is None" in mistake(content, tmp_path)


@pytest.mark.parametrize("step", [None, -1, 2.0, True, "3"])
def test_a_step_that_is_none_is_told(step: Any, tmp_path: Path) -> None:
    content = torch.load(RUN.best, weights_only=True)
    assert f"it is damaged: its step is {step!r}" in mistake({**content, "global_step": step}, tmp_path)


@pytest.mark.parametrize("known", [{}, {"config": None}, {"config": {"loss": 3}}, {"config": [1]}])
@pytest.mark.parametrize("version", range(1, FORMAT))
def test_what_was_never_of_an_earlier_format_is_told(known: dict[str, Any], version: int, tmp_path: Path) -> None:
    content = torch.load(RUN.best, weights_only=True)
    content[KEY] = {"format": version, **known}
    assert "it is damaged" in mistake(content, tmp_path)


def mistake(content: dict[str, Any], tmp_path: Path) -> str:
    path = tmp_path / "other.ckpt"
    torch.save(content, path)
    with pytest.raises(DataError) as caught:
        open_checkpoint(path)
    message = str(caught.value)
    assert message.startswith(f"checkpoint={path}: ")
    assert "\n" not in message
    return message


def test_a_run_of_another_version_does_not_go_on_and_says_why(cli: Cli, tmp_path: Path) -> None:
    folder = RunFolder(shutil.copytree(RUN.path, tmp_path / "run"))
    change_summary(folder, **{**summary(RUN), "status": "running"})
    config = yaml.safe_load(folder.config.read_text())
    folder.write_config({**config, "of_tomorrow": 1})
    said = "it is not of this version of unet_exp: unknown key of_tomorrow"
    assert said in cli("train", f"resume={folder.path}").mistake
    folder.write_config({key: value for key, value in config.items() if key != "trust"})
    assert (
        "it is not of this version of unet_exp: the key trust is missing"
        in cli("train", f"resume={folder.path}").mistake
    )


def test_a_checkpoint_is_kept_once(script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(script, "export_to_onnx", lambda *_, **__: None)  # which takes seconds
    kept = script.keep_checkpoint(tmp_path)
    assert open_checkpoint(kept).step > 0
    assert str(kept.parent) not in (kept / "config.yaml").read_text()
    before = {path: path.read_bytes() for path in kept.rglob("*") if path.is_file()}
    assert sum(map(len, before.values())) < 200_000
    with pytest.raises(SystemExit, match="is not written again"):
        script.keep_checkpoint(tmp_path)
    assert before == {path: path.read_bytes() for path in kept.rglob("*") if path.is_file()}


@pytest.fixture
def script() -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "scripts/keep_checkpoint.py"
    spec = importlib.util.spec_from_file_location("keep_checkpoint", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
