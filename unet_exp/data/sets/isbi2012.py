"""The ISBI-2012 electron-microscopy stack: 30 labelled slices and, where present, 30 unlabelled ones.

A folder holds it in one of two layouts: PNG files (`train/image/N.png`, `train/label/N.png`,
`test/image/N.png` or `test/N.png`) or the challenge's TIFF stacks (`train-volume.tif`, `train-labels.tif`,
`test-volume.tif`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from unet_exp.config import ClassSpec, ISBI2012Config
from unet_exp.data.classes import decode
from unet_exp.data.io import download as download_
from unet_exp.data.io.images import list_images, read_image, read_pages
from unet_exp.data.samples import DataSet, Sample, split_indices
from unet_exp.data.sets import DATA_SETS
from unet_exp.errors import DataError

Array = np.ndarray[Any, Any]
_Slices = list[tuple[str, Array]]  # Where a slice comes from, and its pixels (H, W, C).

# Dark and light as in the micrograph, and told apart with any colour vision.
CLASSES = (
    ClassSpec(name="membrane", value=0, color=[38, 50, 110]),
    ClassSpec(name="cell", value=255, color=[250, 230, 160]),
)

_LAYOUT = "train/image/N.png and train/label/N.png, or train-volume.tif and train-labels.tif"


def load(config: ISBI2012Config) -> DataSet:
    """Reads the data set; see `read`."""
    return read(config.root, config.split, config.fold, config.folds, config.download)


DATA_SETS["isbi2012"] = load


def read(
    root: str | Path,
    split: Literal["held_out", "all"] = "held_out",
    fold: int = 0,
    folds: int = 0,
    download: bool = False,
    *,
    base_url: str | None = None,
    checksums: Mapping[str, str] = download_.CHECKSUMS,
) -> DataSet:
    """Read the data set.

    Args:
        root: its folder.
        split: `held_out` (train 0-19, validate 20-23, test 24-29, or blocks by `fold`) or `all` (train on
            every slice, validate on slices seen in training, test on none).
        fold: see `unet_exp.data.samples.split_indices`.
        folds: see `unet_exp.data.samples.split_indices`.
        download: whether to fetch the data into `root` where that folder is missing or empty.
        base_url: see `unet_exp.data.io.download.fetch`.
        checksums: see `unet_exp.data.io.download.fetch`.

    Returns:
        Samples `train_00` ... and, unlabelled, `test_00` ...; images (H, W, 1) uint8, labels (H, W) uint8
        with 0 membrane and 1 cell.

    Raises:
        DataError: for missing, unreadable, surplus or unfitting files, unknown label values and a failed
            download.
        ConfigError: for a split that these slices do not make.
    """
    root = Path(root).expanduser()
    if download_.is_missing(root):
        if not download:
            raise DataError(f"{root}: no data here; set data.download=true, or data.root to a folder with {_LAYOUT}")
        download_.fetch(root, base_url=base_url, checksums=checksums)
    if (root / "train" / "image").is_dir():
        images, labels, tests = _read_folders(root)
    elif (root / "train-volume.tif").exists():
        images, labels, tests = _read_stacks(root)
    else:
        raise DataError(f"{root}: is not a folder with {_LAYOUT}; set data.root to one")
    # The split comes before the labels: a wrong word should not wait for them.
    parts = split_indices(len(images), fold, folds, split)
    samples = [
        Sample(f"train_{index:02d}", _grey(image, source), _label(label, label_source, image, source))
        for index, ((source, image), (label_source, label)) in enumerate(zip(images, labels, strict=True))
    ]
    return DataSet(
        train=[samples[index] for index in parts.train],
        val=[samples[index] for index in parts.val],
        test=[samples[index] for index in parts.test],
        unlabelled=[Sample(f"test_{index:02d}", _grey(*pair[::-1])) for index, pair in enumerate(tests)],
        classes=CLASSES,
        channels=1,
        metrics=("isbi",),
    )


def _read_folders(root: Path) -> tuple[_Slices, _Slices, _Slices]:
    images, labels = _by_stem(root / "train" / "image"), _by_stem(root / "train" / "label")
    for here, there, what in ((images, labels, "label"), (labels, images, "image")):
        for stem, path in here.items():
            if stem not in there:
                place = root / "train" / what
                raise DataError(f"{path}: has no {what} of the same name in {place}; add it, or move this file away")
    tests: dict[str, Path] = {}
    if (root / "test" / "image").is_dir():
        tests = _by_stem(root / "test" / "image")
    elif (root / "test").is_dir() and any((root / "test").glob("[0-9]*.png")):
        # The public repository's layout; pictures such as 0_predict.png stand beside its slices.
        tests = {stem: path for stem, path in _by_stem(root / "test").items() if stem.isdecimal()}
    return (
        [(str(path), read_image(path)) for path in images.values()],
        [(str(labels[stem]), read_image(labels[stem])) for stem in images],
        [(str(path), read_image(path)) for path in tests.values()],
    )


def _by_stem(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: this folder is missing; data.root needs {_LAYOUT}")
    found: dict[str, Path] = {}
    for path in list_images(folder):
        other = found.setdefault(path.stem, path)
        if other != path:
            raise DataError(f"{path}: has the same name as {other.name}; keep one of the two")
    return found


def _read_stacks(root: Path) -> tuple[_Slices, _Slices, _Slices]:
    paths = [root / f"{name}.tif" for name in ("train-volume", "train-labels", "test-volume")]
    stacks = [
        [(f"{path}, page {number}", page) for number, page in enumerate(read_pages(path))]
        if path.exists() or path != paths[2]
        else []
        for path in paths
    ]
    images, labels, tests = stacks
    if len(images) != len(labels):
        raise DataError(f"{paths[1]}: has {len(labels)} pages and {paths[0].name} has {len(images)}; export them again")
    return images, labels, tests


def _grey(pixels: Array, source: str) -> Array:
    """(H, W, 1) uint8."""
    if pixels.dtype != np.uint8 or (pixels[:, :, :3] != pixels[:, :, :1]).any():
        raise DataError(f"{source}: is not an 8-bit grey image; save it as one, or take data=folder for other images")
    return np.ascontiguousarray(pixels[:, :, :1])


def _label(pixels: Array, source: str, image: Array, image_source: str) -> Array:
    """(H, W) uint8 class indices of the image's size."""
    if pixels.shape[:2] != image.shape[:2]:
        have, want = ("{1} x {0}".format(*array.shape) for array in (pixels, image))
        raise DataError(f"{source}: is {have} pixels and its image {image_source} is {want}; save both in one size")
    return decode(pixels, CLASSES, source)
