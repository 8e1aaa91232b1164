"""Trainings on a reader of the user's own: as on files, equal to the bit, and none of its code runs without trust."""

import io
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import lmdb
import numpy as np
import pytest
from conftest import TINY_STACK, Said, change_summary, run_training, summary
from own_images import grey, mask, put
from own_reader import Arrays, begin
from PIL import Image
from resuming import Part, Train, breaking, check_equal, newest

from unet_exp.config import parse
from unet_exp.data import load_data
from unet_exp.runs.run_folder import RunFolder
from unet_exp.samples.fingerprint import fingerprint

Cli = Callable[..., Said]

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "extend.md").read_text()
(READER,) = [code for code in re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL) if "lmdb" in code]
TARGET = "data.target=their_package.readers.LmdbReader"
OWN = ("data=custom", TARGET, "data.params={path: cells.lmdb}", "output=out")
WORDS = (
    *("data.tile=24", "data.batch_size=2", "data.val=0.2", "data.test=0.2", "data.tiles_per_epoch=6"),
    *("trainer.max_steps=5", "model=same", "loss=border_weighted", "augmentation=flips"),
)
BRIEF = (*TINY_STACK, *WORDS)


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The documented reader, and what it reads: as files in two folders, and as an LMDB."""
    monkeypatch.chdir(tmp_path)
    begin(tmp_path, monkeypatch)
    folder = tmp_path / "theirs" / "their_package"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "readers.py").write_text(READER)
    monkeypatch.syspath_prepend(str(folder.parent))
    with lmdb.open("cells.lmdb", map_size=1 << 20) as env, env.begin(write=True) as database:
        for number in range(7):
            image, label = grey(40), mask(40)
            put(tmp_path, f"s{number}", image, label)
            for what, pixels in (("image", image[:, :, 0]), ("mask", label)):
                file = io.BytesIO()
                Image.fromarray(pixels).save(file, "PNG")
                database.put(f"s{number}/{what}".encode(), file.getvalue())
    yield
    forget()


def forget() -> None:
    """The package is as if it had not been imported."""
    for name in [name for name in sys.modules if name.split(".")[0] == "their_package"]:
        del sys.modules[name]


@pytest.fixture
def train(tmp_path: Path) -> Train:
    return lambda *words: run_training(tmp_path / "out", *words, base=list(BRIEF))


@pytest.fixture
def part(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Part:
    return breaking(train, tmp_path, monkeypatch)


def test_the_documented_one_trains_as_files_do(train: Train) -> None:
    files = train("data=folder", "data.images=images", "data.masks=masks", "name=files")
    own = train(*OWN[:3], "data.cache=none", "data.num_workers=2", "name=own")
    check_equal(own, files)
    assert summary(own)["data_fingerprint"] == summary(files)["data_fingerprint"]


@pytest.mark.slow
def test_a_training_goes_on_where_it_was(train: Train, part: Part) -> None:
    whole = train(*OWN[:3], "name=whole")
    broken = part(*OWN[:3], "data.cache=none", "name=part", batch=3)
    check_equal(train(*OWN[:3], f"resume={broken.path}", "data.num_workers=1", "name=part"), whole)


@pytest.mark.slow
def test_its_code_runs_only_where_it_is_trusted(cli: Cli) -> None:
    folder = cli("train", *BRIEF, *OWN).folder
    forget()
    checkpoint = f"checkpoint={folder}"
    for words in (("train", f"rerun={folder}"), ("train", f"resume={folder}"), ("evaluate", checkpoint)):
        for more in ((), ("trust=[other]",)):
            said = cli(*words, *more).mistake
            assert f" {TARGET}" in said
            assert said.endswith("whose code would run; if you trust it, add trust=[their_package]")
    (folder / "config.yaml").write_text((folder / "config.yaml").read_text().replace("trust: []", "trust: [their]"))
    assert "add trust=[their_package]" in cli("train", f"rerun={folder}").mistake
    assert cli("predict", checkpoint, "input=images/s0.png").code == 0
    assert "their_package" not in sys.modules
    assert cli("evaluate", checkpoint, "data=folder", "data.images=images", "data.masks=masks").code == 0
    assert "their_package" not in sys.modules
    assert cli("evaluate", checkpoint, "trust=[their_package]").code == 0
    assert cli("evaluate", checkpoint, TARGET).code == 0
    assert cli("train", f"rerun={folder}", "trust=[their_package]").code == 0  # the same numbers


def test_an_error_in_a_worker_ends_a_training_in_one_line(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = Arrays.read

    def read(reader: Arrays, index: int, top: int, left: int, height: int, width: int) -> object:
        if (height, width) == (24, 24):  # a patch
            raise OSError("the database\nis gone")
        return genuine(reader, index, top, left, height, width)

    monkeypatch.setattr(Arrays, "read", read)
    words = ("data=custom", "data.target=own_reader.Arrays", "data.cache=none", "loss=dice", "augmentation=none")
    for workers in (0, 2):
        said = cli("train", *BRIEF, *words, "output=out", f"data.num_workers={workers}").mistake
        assert re.fullmatch(
            r"data\.target=own_reader\.Arrays: its read of image \d \(s\d\) raises OSError: the database is gone", said
        )
        assert summary(newest(tmp_path))["status"] == "failed"


def test_nothing_is_left_by_a_class_that_does_not_fit(cli: Cli, tmp_path: Path) -> None:
    said = cli("train", *BRIEF, *OWN, "data.params={path: nowhere}").mistake
    assert said.startswith(
        f"{TARGET}: building it with path='nowhere' raises Error: nowhere: No such file or directory"
    )
    assert cli("train", *BRIEF, *OWN, "data.target=their_package.readers.Reader").mistake.endswith("LmdbReader?)")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_sweep_trusts_what_is_typed_and_a_comparison_nothing(cli: Cli) -> None:
    folder = cli("train", "-m", *BRIEF, *OWN, "seed=0,1", "trainer.max_steps=1").folder
    said = cli("train", f"sweep.resume={folder}").mistake
    assert "it names data.target=their_package.readers.LmdbReader, a class" in said
    assert cli("train", f"sweep.resume={folder}", "trust=[their_package]").code == 0
    runs = [RunFolder(folder / f"seed={seed}") for seed in (0, 1)]
    assert all(summary(run)["status"] == "finished" for run in runs)
    dataset = load_data(parse(runs[0].read_config()).data)
    change_summary(runs[0], data_fingerprint=fingerprint(dataset, 1))
    forget()
    assert cli("compare", f"runs={folder}").code == 0
    assert "their_package" not in sys.modules


def test_the_mask_is_what_the_documented_one_reads() -> None:
    from their_package.readers import LmdbReader  # type: ignore[import-not-found]

    reader = LmdbReader("cells.lmdb")
    image, label = reader.read(2, 3, 5, 20, 30)
    assert np.array_equal(image[:, :, 0], np.asarray(Image.open("images/s2.png"))[3:23, 5:35])
    assert np.array_equal(label, np.asarray(Image.open("masks/s2.png"))[3:23, 5:35])
