"""Runs whose fingerprints of the data are of two versions are compared, if the data say that they are the same."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest
from conftest import Said, change_summary, composed, summary
from sweeps_on_disk import ADD, CONCAT, compared, page, reasons, write_run

from unet_exp import data
from unet_exp.compare import fingerprints
from unet_exp.config import parse
from unet_exp.data.sets import isbi2012
from unet_exp.runs.run_folder import RunFolder
from unet_exp.samples.fingerprint import fingerprint

Cli = Callable[..., Said]


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The name of each data set that is loaded to be compared."""
    loaded: list[str] = []

    def load_data(config: Any, keep: bool) -> data.DataSet:
        loaded.append(config.name)
        return data.load_data(config, keep=keep)

    class Spied:
        limit = staticmethod(data.limit)

    Spied.load_data = staticmethod(load_data)  # type: ignore[attr-defined]
    monkeypatch.setattr(fingerprints, "data", Spied)
    return loaded


def load(config: dict[str, Any]) -> data.DataSet:
    return data.load_data(parse(config).data)


def age(folder: RunFolder) -> None:
    """Gives a run the fingerprint that an earlier version would have given it."""
    change_summary(folder, data_fingerprint=fingerprint(load(folder.read_config()), 1))


@pytest.mark.slow
def test_an_earlier_run_is_compared_with_those_of_today(
    cli: Cli, train: Callable[..., RunFolder], loads: list[str], tmp_path: Path
) -> None:
    runs = [train(f"fusion={word}", f"seed={seed}") for word in ("concat", "add") for seed in (0, 1)]
    today = compared(tmp_path / "out")
    assert loads == [], "one version needs no data"
    for folder in runs[:2]:
        age(folder)
    mixed = compared(tmp_path / "out")
    assert (mixed.excluded, [difference.pairs for difference in mixed.differences]) == ([], [2])
    assert mixed.differences[0].gains == today.differences[0].gains
    assert loads == ["synthetic"], "once for one fingerprint"
    assert cli("compare", "runs=out").code == 0
    for folder in runs[2:]:
        age(folder)
    loads.clear()
    assert (compared(tmp_path / "out").excluded, loads) == ([], [])


Stack = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., RunFolder]:
    """`write("old", root, version=1, fold=0)` writes a run on a stack of ISBI-2012, with its fingerprint."""

    def run(name: str, root: Path, version: int = 2, fold: int = 0, **more: Any) -> RunFolder:
        words = ("data=isbi2012", "data.folds=3", f"data.fold={fold}", "data.download=true")
        config = {**composed(*words), "output": str(tmp_path)}
        config["data"] = {**config["data"], "root": str(root)}
        values = parse(config).model_dump()["data"]
        setting = CONCAT if version == 1 else ADD
        told = {"data_fingerprint": fingerprint(load(config), version), **more}
        return RunFolder(write_run(tmp_path / "runs" / name, {"data": values, **setting}, **told))

    return run


def test_data_are_found_where_a_later_run_has_them(
    write: Callable[..., RunFolder], isbi_folder: Stack, loads: list[str], tmp_path: Path
) -> None:
    before, now = isbi_folder(name="before"), tmp_path / "now"
    shutil.copytree(before, now)
    write("old", before, version=1)
    write("new", now)
    shutil.rmtree(before)
    assert compared(tmp_path / "runs").excluded == []
    assert len(loads) == 2


def test_each_fold_has_its_own_fingerprints(
    write: Callable[..., RunFolder], isbi_folder: Stack, loads: list[str], tmp_path: Path
) -> None:
    root = isbi_folder()
    for fold in (0, 1):
        write(f"old{fold}", root, version=1, fold=fold)
        write(f"new{fold}", root, fold=fold)
    write("old2", root, version=1, fold=2)
    found = compared(tmp_path / "runs", baseline="concat")
    assert (found.excluded, found.differences[0].pairs) == ([], 2)
    assert len(loads) == 2, "the third fold has one version"
    told = page(tmp_path / "runs", baseline="concat")
    assert told.count("fold 0: ") == 1, "the page names the data by one fingerprint"


def test_other_data_are_told_as_before(
    write: Callable[..., RunFolder], isbi_folder: Stack, loads: list[str], tmp_path: Path
) -> None:
    write("old", isbi_folder(name="one"), version=1)
    write("new", isbi_folder(name="other", size=56))
    assert reasons(compared(tmp_path / "runs")) == ["other data or split than old"]
    assert len(loads) == 1, "the data of the earlier run say enough"


@pytest.mark.parametrize("fate", ["gone", "changed"])
def test_data_that_are_gone_or_changed_are_told(
    write: Callable[..., RunFolder],
    isbi_folder: Stack,
    monkeypatch: pytest.MonkeyPatch,
    loads: list[str],
    tmp_path: Path,
    fate: str,
) -> None:
    monkeypatch.setattr(isbi2012, "fetch_isbi2012", lambda *_, **__: pytest.fail("nothing is downloaded to compare"))
    root = isbi_folder()
    write("old", root, version=1)
    write("new", root)
    if fate == "gone":
        shutil.rmtree(root)
    else:
        image = next((root / "train" / "image").iterdir())
        cv2.imwrite(str(image), 255 - cv2.imread(str(image), cv2.IMREAD_GRAYSCALE))
    (reason,) = reasons(compared(tmp_path / "runs"))
    assert reason == (
        "the fingerprints of its data and of those of old are of two versions (2 and 1), and the data themselves, "
        "which would tell whether they are the same, are gone or have changed; bring them back to where config.yaml "
        "says, or train the earlier run again"
    )
    assert loads == ["isbi2012"], "one place is read once"


def test_a_fingerprint_of_a_later_version_is_no_reason_to_read(
    write: Callable[..., RunFolder], isbi_folder: Stack, loads: list[str], tmp_path: Path
) -> None:
    root = isbi_folder()
    write("new", root)
    write("newer", root, data_fingerprint="3:" + "0" * 64)
    (reason,) = reasons(compared(tmp_path / "runs"))
    assert reason.endswith("(3 and 2), one of which this version of unet_exp does not know; update unet_exp")
    assert loads == []


@pytest.mark.slow
def test_an_earlier_run_on_changed_data_is_neither_resumed_nor_repeated(
    cli: Cli, train: Callable[..., RunFolder], isbi_folder: Stack
) -> None:
    root = isbi_folder(count=3, tests=1)
    stack = ["data=isbi2012", f"data.root={root}", "data.split=all", "data.tile=32", "data.tiles_per_epoch=4"]
    tiny = ["model.depth=2", "model.width=4", "trainer.max_steps=1", "trainer.accelerator=cpu", "logger=csv"]
    folder = train(base=[*stack, *tiny, "trainer.precision=32"])
    age(folder)
    assert "equal: all" in cli("train", f"rerun={folder.path}", "output=again").out
    image = root / "test" / "image" / "0.png"
    cv2.imwrite(str(image), 255 - cv2.imread(str(image), cv2.IMREAD_GRAYSCALE))
    told = "the data are no longer those that it was trained on"
    assert told in cli("train", f"rerun={folder.path}", "output=again").mistake
    change_summary(folder, status="running")
    assert told in cli("train", f"resume={folder.path}").mistake
    assert summary(folder)["status"] == "running"
