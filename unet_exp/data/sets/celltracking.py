"""Two data sets of the Cell Tracking Challenge, whose frames are annotated in part.

A folder holds two sequences, 01 and 02. Each has images (`01/t000.tif`), a marker for every cell in every frame
(`01_GT/TRA/man_track000.tif`), outlines that people drew of some cells in some frames (`01_GT/SEG/man_seg000.tif`) and,
often, outlines on which programs agree (`01_ST/SEG/man_seg000.tif`). Only frames with a SEG file are samples. A cell
that has a marker and no outline there is neither cell nor background: its pixels are ignored.
"""

import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from unet_exp.config import IGNORE_LABEL, CellTrackingConfig, ClassSpec
from unet_exp.data.io.download import Download, fetch_archive, is_missing
from unet_exp.data.io.images import natural_key, read_image
from unet_exp.data.samples import DataSet, Sample, Split, split_indices
from unet_exp.data.sets import DATA_SETS
from unet_exp.errors import ConfigError, DataError

Array = NDArray[Any]

CLASSES = (
    ClassSpec(name="background", value=0, color=[38, 50, 110]),
    ClassSpec(name="cell", value=255, color=[250, 230, 160]),
)
ARCHIVES = {"phc_u373": "PhC-C2DH-U373", "dic_hela": "DIC-C2DH-HeLa"}
"""The challenge's name of each data set: of its archive, and of the folder in it."""
CHECKSUMS = {
    "phc_u373": "b18185c18fce54e8eeb93e4bbb9b201d757add9409bbf2283b8114185a11bc9e",
    "dic_hela": "832fed2d05bb7488cf9c51a2994b75f8f3f53b3c3098856211f2d39023c34e1a",
}
"""sha256 of each training archive."""
BASE_URL = "http://data.celltrackingchallenge.net/training-datasets"
URL_VARIABLE = "UNET_EXP_CTC_URL"
"""Environment variable that names another server."""
TERMS = (
    "publications cite Maska et al., Bioinformatics 2014, and Ulman et al., Nature Methods 2017, and name the Cell "
    "Tracking Challenge as the source; scientific use outside the challenge needs leave of the providers of the data, "
    "commercial use of the organizers too; read the conditions at http://celltrackingchallenge.net/datasets/"
)
MARKER_RADIUS = 50
"""Pixels around a marker that are ignored where no outline is known: about half the width of a cell in both data sets.
Too many cost a little background; too few would teach the network that part of a cell is background."""

_SEQUENCES = ("01", "02")
_LAYOUT = "01, 01_GT, 02 and 02_GT"

_log = logging.getLogger(__name__)


class _Frame(NamedTuple):
    """An annotated frame: its sequence, and its number as the files write it."""

    sequence: str
    number: str


def load(config: CellTrackingConfig) -> DataSet:
    """Reads a data set; see `read`."""
    return read(config.name, config.root, config.split, config.fold, config.folds, config.download)


DATA_SETS |= dict.fromkeys(ARCHIVES, load)


def read(
    name: Literal["phc_u373", "dic_hela"],
    root: str | Path,
    split: Literal["held_out", "all"] = "held_out",
    fold: int = 0,
    folds: int = 0,
    download: bool = False,
    *,
    base_url: str | None = None,
    checksums: Mapping[str, str] = CHECKSUMS,
) -> DataSet:
    """Read a data set.

    Args:
        name: which one; a folder of either is read alike.
        root: the folder with 01, 01_GT, 02 and 02_GT, or the one above it.
        split: `held_out` (the annotated frames of 01 train but for the last fifth, which validates; those of 02 test)
            or `all` (train on every annotated frame, validate on the same ones as `held_out`, test on none).
        fold: see `unet_exp.data.samples.split_indices`; over the frames of 01, then those of 02.
        folds: see `unet_exp.data.samples.split_indices`.
        download: whether to fetch the data into `root` where that folder is missing or empty.
        base_url: where the archives are served; None for the environment variable `UNET_EXP_CTC_URL`, and without that
            for the challenge.
        checksums: sha256 of each archive.

    Returns:
        Samples `01_t000` ...; images (H, W, 1) uint8 or uint16, labels (H, W) uint8 with 0 background, 1 cell and 255
        ignored, instances (H, W) int32 as SEG numbers them.

    Raises:
        DataError: for missing, unreadable or unfitting files, and a failed download.
        ConfigError: for a split that these frames do not make.
    """
    root, archive = Path(root).expanduser(), ARCHIVES[name]
    if is_missing(root):
        if not download:
            raise DataError(f"{root}: no data here; set data.download=true, or data.root to a folder with {_LAYOUT}")
        base = (base_url or os.environ.get(URL_VARIABLE) or BASE_URL).rstrip("/")
        url, layout = f"{base}/{archive}.zip", f"{_LAYOUT} of that archive"
        fetch_archive(Download(archive, url, TERMS, root.resolve(), layout, "01_GT"), archive, checksums[name])
    try:
        root = _home(root, archive)
        frames = [frame for sequence in _SEQUENCES for frame in _frames(root, sequence)]
        if not frames:
            raise DataError(f"{root}: 01_GT/SEG and 02_GT/SEG hold no man_seg000.tif; unpack the archive again")
        parts = _split([frame.sequence for frame in frames], split, fold, folds)
        _warn_without_markers(root, frames)
        samples = [_sample(root, frame) for frame in frames]
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be opened ({error.strerror}); check its permissions") from None
    return DataSet(
        train=[samples[index] for index in parts.train],
        val=[samples[index] for index in parts.val],
        test=[samples[index] for index in parts.test],
        unlabelled=[],
        classes=CLASSES,
        channels=1,
        metrics=("seg",),
    )


def ignored_pixels(segmentation: Array, markers: Array, silver: Array) -> NDArray[np.bool_]:
    """Where cells lie that are marked and not outlined.

    A cell is outlined where more than half of its marker lies on objects of the segmentation: a marker may touch the
    outline of the cell next door. One that is not is ignored
    where its marker is and where the silver object lies that shares most pixels with the marker; where there is no
    such object, within `MARKER_RADIUS` of the marker. Pixels of the segmentation are never ignored.

    Args:
        segmentation: (H, W) object numbers of SEG, 0 for none.
        markers: (H, W) cell numbers of TRA, 0 for none.
        silver: (H, W) object numbers of ST, 0 for none.

    Returns:
        (H, W).
    """
    sizes = np.bincount(markers.ravel())
    outlined = np.flatnonzero(2 * np.bincount(markers[segmentation > 0], minlength=sizes.size) > sizes)
    ignored = np.zeros(markers.shape, bool)
    shapeless = np.zeros(markers.shape, bool)
    for cell in np.setdiff1d(markers, (0, *outlined)):
        marker = markers == cell
        shared = np.bincount(silver[marker])[1:]
        if shared.any():
            ignored |= marker | (silver == shared.argmax() + 1)
        else:
            shapeless |= marker
    if shapeless.any():
        ignored |= ndimage.distance_transform_edt(~shapeless) <= MARKER_RADIUS
    ignored &= segmentation == 0
    return ignored


def _home(root: Path, archive: str) -> Path:
    """The folder that holds the sequences: `root`, or the one in it that is called as the archive."""
    for folder in (root, root / archive):
        if any((folder / f"{sequence}_GT" / "SEG").is_dir() for sequence in _SEQUENCES):
            return folder
    raise DataError(f"{root}: is not a folder with {_LAYOUT} (01_GT/SEG is missing); set data.root to one")


def _frames(root: Path, sequence: str) -> list[_Frame]:
    """The annotated frames of one sequence, in order of time."""
    frames = []
    for path in sorted((root / f"{sequence}_GT" / "SEG").glob("man_seg*"), key=natural_key):
        match = re.fullmatch(r"man_seg(\d{3,})\.tif", path.name)
        if not match:
            raise DataError(f"{path}: is not named as man_seg000.tif (one plane a frame); rename it, or move it away")
        image = root / sequence / f"t{match[1]}.tif"
        if not image.is_file():
            raise DataError(f"{path}: its image {image} is missing; add it, or move this file away")
        frames.append(_Frame(sequence, match[1]))
    return frames


def _split(sequences: Sequence[str], split: Literal["held_out", "all"], fold: int, folds: int) -> Split:
    """The split of frames of which each is known by its sequence."""
    count = len(sequences)
    if folds or fold:
        return split_indices(count, fold, folds, split)
    first = sequences.count(sequences[0])
    val = list(range(first - max(1, first // 5), first))
    if split == "all":
        return Split(list(range(count)), val, [])
    instead = "set data.folds (3 or more), or data.split=all"
    for sequence in _SEQUENCES:
        if sequence not in sequences:
            raise ConfigError(
                "data.split=held_out trains on sequence 01 and tests on sequence 02, and there is no annotated frame "
                f"of sequence {sequence}: {instead}"
            )
    if first == 1:
        raise ConfigError(
            "data.split=held_out needs two annotated frames of sequence 01 (one trains, one validates) and there is 1: "
            f"{instead}"
        )
    return Split(list(range(val[0])), val, list(range(first, count)))


def _markers(root: Path, sequence: str) -> Path:
    return root / f"{sequence}_GT" / "TRA"


def _warn_without_markers(root: Path, frames: Sequence[_Frame]) -> None:
    bare = [str(path) for path in {_markers(root, frame.sequence): None for frame in frames} if not path.is_dir()]
    if bare:
        _log.warning("%s: no such folder, so cells that SEG lacks, if any, count as background", " and ".join(bare))


def _sample(root: Path, frame: _Frame) -> Sample:
    sequence, number = frame
    path = root / sequence / f"t{number}.tif"
    image = read_image(path)
    if image.shape[2] != 1 or image.dtype.kind != "u":
        raise DataError(f"{path}: is not a grey image of 8 or 16 bits; take the file from the challenge's archive")
    segmentation = _numbers(root / f"{sequence}_GT" / "SEG" / f"man_seg{number}.tif", image)
    label = (segmentation > 0).astype(np.uint8)
    if _markers(root, sequence).is_dir():
        markers = _numbers(_markers(root, sequence) / f"man_track{number}.tif", image)
        silver = root / f"{sequence}_ST" / "SEG" / f"man_seg{number}.tif"
        known = _numbers(silver, image) if silver.is_file() else np.zeros_like(segmentation)
        label[ignored_pixels(segmentation, markers, known)] = IGNORE_LABEL
    return Sample(f"{sequence}_t{number}", image, label, segmentation)


def _numbers(path: Path, image: Array) -> NDArray[np.int32]:
    """(H, W) object numbers of a file as large as the image."""
    pixels = read_image(path)
    if pixels.shape[2] != 1 or pixels.dtype.kind != "u":
        raise DataError(f"{path}: is not one plane of whole numbers (a number an object); save it as uint16")
    if pixels.shape[:2] != image.shape[:2]:
        have, want = ("{1} x {0}".format(*array.shape) for array in (pixels, image))
        raise DataError(f"{path}: is {have} pixels and its image is {want}; take both from the challenge's archive")
    return pixels[:, :, 0].astype(np.int32)
