"""What every data set promises, for every word of `conf/data`."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from challenge_on_disk import full
from conftest import composed, options

from unet_exp.config import IGNORE_LABEL, DataConfig, parse
from unet_exp.data import load_data
from unet_exp.errors import DataError
from unet_exp.io.writing import write_image
from unet_exp.samples.fingerprint import fingerprint
from unet_exp.samples.sample import Sample

SMALL = {"height": 64, "width": 48, "train_images": 4, "val_images": 1, "test_images": 2}
SLICES = ("train/image/3.png", "train/label/3.png")
FRAMES = ("01/t001.tif", "01_GT/SEG/man_seg001.tif")
FILES = {
    "folder": SLICES,
    "folder, objects": SLICES,
    "isbi2012": SLICES,
    "phc_u373": FRAMES,
    "dic_hela": FRAMES,
}
"""An image and its label, of those that are read from files."""
CASES = ["synthetic", "synthetic, organelles", *FILES]
every = pytest.mark.parametrize("case", CASES)
every_folder = pytest.mark.parametrize("case", FILES)


@pytest.fixture
def prepare(tmp_path: Path, isbi_folder: Callable[..., Path]) -> Callable[[str], tuple[Path, DataConfig]]:
    """`prepare(case)` writes a small data set, where it has files, and returns its folder and its config."""

    def make(case: str) -> tuple[Path, DataConfig]:
        word, _, variant = case.partition(", ")
        root = tmp_path / "cells"
        if word == "synthetic":
            update = {**SMALL, "organelles": variant == "organelles"}
        elif word in ("phc_u373", "dic_hela"):
            update = {"root": str(full(root))}
        else:
            root = isbi_folder()
            update = {"root": str(root), "folds": 3}  # its standard split is of 30 slices
            if word == "folder":
                update = {"images": f"{root}/train/image", "masks": f"{root}/train/label"}
                update |= {"labels": "instances"} if variant == "objects" else {}
        return root, parse(composed(f"data={word}")).data.model_copy(update=update)

    return make


def names(samples: Sequence[Sample]) -> list[str]:
    return [sample.name for sample in samples]


def test_every_word_is_looked_at() -> None:
    assert sorted({case.split(", ")[0] for case in CASES}) == options("data")


@every
def test_images_labels_and_instances_fit(case: str, prepare: Callable[[str], tuple[Path, DataConfig]]) -> None:
    made = load_data(prepare(case)[1])
    assert len({spec.name for spec in made.classes}) == len(made.classes) >= 2
    assert all(spec.color is not None for spec in made.classes)
    labelled = [*made.train, *made.val, *made.test]
    everything = [*labelled, *made.unlabelled]
    assert {sample.image.shape[2] for sample in everything} == {made.channels}
    (dtype,) = {sample.image.dtype for sample in everything}
    assert dtype in (np.uint8, np.uint16, np.float32)
    assert all(sample.label is None for sample in made.unlabelled)
    shown: set[int] = set()
    for sample in labelled:
        assert sample.label is not None
        assert sample.label.dtype == np.uint8
        assert sample.label.shape == sample.image.shape[:2]
        shown |= set(np.unique(sample.label).tolist())
        if "seg" in made.metrics:
            assert sample.instances is not None
            assert sample.instances.dtype == np.int32
            assert sample.instances.shape == sample.label.shape
            assert sample.instances.min() == 0
            assert (sample.instances[(sample.label > 0) & (sample.label != IGNORE_LABEL)] > 0).all()
    assert {0, 1} <= shown <= {*range(len(made.classes)), IGNORE_LABEL}


@every
def test_no_image_is_in_two_splits(case: str, prepare: Callable[[str], tuple[Path, DataConfig]]) -> None:
    made = load_data(prepare(case)[1])
    everything = names([*made.train, *made.val, *made.test, *made.unlabelled])
    assert len(set(everything)) == len(everything)
    assert all((made.train, made.val, made.test))


@every
def test_folds_are_blocks_of_which_each_is_tested_once(
    case: str, prepare: Callable[[str], tuple[Path, DataConfig]]
) -> None:
    config = prepare(case)[1]
    folds = [load_data(config.model_copy(update={"folds": 3, "fold": fold})) for fold in range(3)]
    tested = [names(made.test) for made in folds]
    whole = [name for block in tested for name in block]
    assert whole == sorted(set(whole))
    assert max(map(len, tested)) - min(map(len, tested)) <= 1
    for fold, made in enumerate(folds):
        assert names(made.val) == tested[(fold + 1) % 3]
        assert sorted(names([*made.train, *made.val, *made.test])) == whole
        assert made.train


@every
def test_what_is_read_twice_has_one_fingerprint(
    case: str, prepare: Callable[[str], tuple[Path, DataConfig]], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = prepare(case)[1]
    once = fingerprint(load_data(config))
    monkeypatch.setenv("UNET_EXP_CACHE", "")
    assert fingerprint(load_data(config)) == once
    assert fingerprint(load_data(config.model_copy(update={"folds": 3, "fold": 1}))) != once


def mistake(config: DataConfig) -> str:
    with pytest.raises(DataError) as caught:
        load_data(config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def no_image(path: Path) -> None:
    path.write_bytes(b"%PDF-1.7\n" * 20)


def smaller(path: Path) -> None:
    write_image(path, np.zeros((8, 9), np.uint8))


@every_folder
@pytest.mark.parametrize("change", [cut_short, no_image, smaller])
@pytest.mark.parametrize("which", ["image", "label"])
def test_a_file_that_cannot_be_used_is_one_error_that_names_it(
    case: str, which: str, change: Callable[[Path], None], prepare: Callable[[str], tuple[Path, DataConfig]]
) -> None:
    root, config = prepare(case)
    image, label = (root / path for path in FILES[case])
    path = image if which == "image" else label
    change(path)
    # Of two that do not fit each other, either may be named.
    wrong = (image, label) if change is smaller else (path,)
    said = mistake(config)
    assert any(str(path) in said for path in wrong)


@every_folder
@pytest.mark.parametrize("which", ["image", "label"])
def test_a_file_without_its_counterpart_is_one_error_that_names_it(
    case: str, which: str, prepare: Callable[[str], tuple[Path, DataConfig]]
) -> None:
    root, config = prepare(case)
    image, label = (root / path for path in FILES[case])
    missing, left = (image, label) if which == "image" else (label, image)
    missing.unlink()
    if FILES[case] == FRAMES and which == "label":  # such a frame is one that is not annotated
        assert "01_t001" not in names(load_data(config).train)
    else:
        assert str(left) in mistake(config)
