"""Two data sets of the Cell Tracking Challenge, whose frames are annotated in part.

A folder holds two sequences, 01 and 02. Each has images (`01/t000.tif`), a marker for every cell in every frame
(`01_GT/TRA/man_track000.tif`), outlines that people drew of some cells in some frames (`01_GT/SEG/man_seg000.tif`) and,
often, outlines on which programs agree (`01_ST/SEG/man_seg000.tif`). Only frames with a SEG file are samples. A cell
that has a marker and no outline there is neither cell nor background: its pixels are ignored. A frame of HeLa that
outlines less than half of its marked cells trains, but does not choose the best epoch.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from unet_exp.config import IGNORE_LABEL, CellTrackingConfig, ClassSpec
from unet_exp.data.sets import DATA_SETS
from unet_exp.errors import ConfigError, DataError
from unet_exp.io.arrays import Array, check_same_size
from unet_exp.io.download import Download, fetch_archive, needs_download, server_url
from unet_exp.io.images import read_image, read_label, read_pixel_size
from unet_exp.io.listing import natural_key
from unet_exp.io.pixel_size import PixelSize
from unet_exp.progress import track
from unet_exp.samples.classes import object_ids
from unet_exp.samples.data_set import DataSet, choose_scale
from unet_exp.samples.sample import Sample
from unet_exp.samples.splits import Split, split_indices

ARCHIVES = {"phc_u373": "PhC-C2DH-U373", "dic_hela": "DIC-C2DH-HeLa"}
"""The challenge's name of each data set: of its archive, and of the folder in it."""
ARCHIVE_CHECKSUMS = {
    "phc_u373": "b18185c18fce54e8eeb93e4bbb9b201d757add9409bbf2283b8114185a11bc9e",
    "dic_hela": "832fed2d05bb7488cf9c51a2994b75f8f3f53b3c3098856211f2d39023c34e1a",
}
"""sha256 of each training archive."""
CHALLENGE_URL_VARIABLE = "UNET_EXP_CTC_URL"
"""Environment variable that names another server."""
MARKER_RADIUS = 50
"""Pixels around a marker that are ignored where no outline is known: about half the width of a cell in both data sets.
Too many cost a little background; too few would teach the network that part of a cell is background."""
LEAST_OUTLINED = 0.5
"""Share of a frame's marked cells that must be outlined for it to validate. The last frame of HeLa's sequence 01 has 3
of 18, all others more than four in five. The share comes from the files, as the ignored pixels do, so that it fits
whatever copy is read."""

_URL = "http://data.celltrackingchallenge.net/training-datasets"
_TERMS = (
    "publications cite Maska et al., Bioinformatics 2014, and Ulman et al., Nature Methods 2017, and name the Cell "
    "Tracking Challenge as the source; scientific use outside the challenge needs leave of the providers of the data, "
    "commercial use of the organizers too; read the conditions at http://celltrackingchallenge.net/datasets/"
)
_CLASSES = (
    ClassSpec(name="background", value=0, color=[38, 50, 110]),
    ClassSpec(name="cell", value=255, color=[250, 230, 160]),
)
_SEQUENCES = ("01", "02")
_LAYOUT = "01, 01_GT, 02 and 02_GT"

_log = logging.getLogger(__name__)


class _Frame(NamedTuple):
    """An annotated frame: its sequence, and its number as the files write it."""

    sequence: str
    number: str


class _Annotated(NamedTuple):
    """A frame as read, the share of its marked cells that are outlined, and what its image declares."""

    sample: Sample
    outlined: float
    pixel_size: PixelSize | None


def load_cell_tracking(config: CellTrackingConfig) -> DataSet:
    """Reads a data set, and downloads it first where `config.root` is missing or empty and `config.download` is set.

    `config.root` is the folder with 01, 01_GT, 02 and 02_GT, or the one above it. `config.split` is `held_out` (the
    annotated frames of 01 train but for the last fifth, which validates; those of 02 test; or blocks by `fold` over the
    frames of 01, then those of 02) or `all` (train on every annotated frame, validate as `held_out`, test on none). In
    `dic_hela` the fifth is of the frames with `LEAST_OUTLINED`; of all frames with `held_out_v1` and `all_v1`.

    Returns:
        Samples `01_t000` ...; images (H, W, 1) uint8 or uint16, labels (H, W) uint8 with 0 background, 1 cell and 255
        ignored, instances (H, W) int32 as SEG numbers them.

    Raises:
        DataError: for missing, unreadable or unfitting files, and a failed download.
        ConfigError: for a split that these frames do not make.
    """
    root, archive = Path(config.root).expanduser(), ARCHIVES[config.name]
    if needs_download(root, config.download, _LAYOUT):
        url, layout = f"{server_url(CHALLENGE_URL_VARIABLE, _URL)}/{archive}.zip", f"{_LAYOUT} of that archive"
        job = Download(archive, url, _TERMS, root.resolve(), layout, "01_GT")
        fetch_archive(job, archive, ARCHIVE_CHECKSUMS[config.name])
    try:
        root = _find_sequences(root, archive)
        frames = [frame for sequence in _SEQUENCES for frame in _list_frames(root, sequence)]
        if not frames:
            raise DataError(f"{root}: 01_GT/SEG and 02_GT/SEG hold no man_seg000.tif; unpack the archive again")
        _warn_without_markers(root, frames)
        read = [_read_frame(root, frame) for frame in track(frames, "reading images", len(frames))]
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be opened ({error.strerror}); check its permissions") from None
    split = _split_frames([frame.sequence for frame in frames], [one.outlined for one in read], config)
    found = DataSet.divide([one.sample for one in read], split, _CLASSES, 1, ("seg",))
    return replace(found, scale=choose_scale(one.pixel_size for one in read))


DATA_SETS |= dict.fromkeys(ARCHIVES, load_cell_tracking)


def find_outlined(segmentation: Array, markers: Array) -> NDArray[np.int64]:
    """Finds the cells that have an outline.

    A cell is outlined where more than half of its marker lies on objects of the segmentation: a marker may touch the
    outline of the cell next door.

    Args:
        segmentation: (H, W) object numbers of SEG, 0 for none.
        markers: (H, W) cell numbers of TRA, 0 for none.

    Returns:
        Their numbers.
    """
    sizes = np.bincount(markers.ravel())
    outlined = np.flatnonzero(2 * np.bincount(markers[segmentation > 0], minlength=sizes.size) > sizes)
    return outlined[outlined > 0]


def ignored_pixels(segmentation: Array, markers: Array, silver: Array) -> NDArray[np.bool_]:
    """Finds where cells lie that have a marker and no outline.

    A cell without an outline (see `find_outlined`) is ignored on its marker and on the silver object that shares most
    pixels with the marker; without such an object, within `MARKER_RADIUS` of the marker. Pixels of the segmentation are
    never ignored.

    Args:
        segmentation: (H, W) object numbers of SEG, 0 for none.
        markers: (H, W) cell numbers of TRA, 0 for none.
        silver: (H, W) object numbers of ST, 0 for none.

    Returns:
        (H, W).
    """
    ignored, shapeless = np.zeros(markers.shape, bool), np.zeros(markers.shape, bool)
    for cell in np.setdiff1d(markers, (0, *find_outlined(segmentation, markers))):
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


def _find_sequences(root: Path, archive: str) -> Path:
    """Returns the folder of the sequences: `root`, or the one in it with the name of the archive."""
    for folder in (root, root / archive):
        if any((folder / f"{sequence}_GT" / "SEG").is_dir() for sequence in _SEQUENCES):
            return folder
    raise DataError(f"{root}: is not a folder with {_LAYOUT} (01_GT/SEG is missing); set data.root to one")


def _list_frames(root: Path, sequence: str) -> list[_Frame]:
    """Lists the annotated frames of one sequence, in order of time."""
    frames = []
    for path in sorted((root / f"{sequence}_GT" / "SEG").glob("man_seg*"), key=lambda path: natural_key(path.name)):
        match = re.fullmatch(r"man_seg(\d{3,})\.tif", path.name)
        if not match:
            raise DataError(f"{path}: is not named as man_seg000.tif (one plane a frame); rename it, or move it away")
        image = root / sequence / f"t{match[1]}.tif"
        if not image.is_file():
            raise DataError(f"{path}: its image {image} is missing; add it, or move this file away")
        frames.append(_Frame(sequence, match[1]))
    return frames


def _split_frames(sequences: Sequence[str], outlined: Sequence[float], config: CellTrackingConfig) -> Split:
    """Splits frames, given the sequence of each and the share of its marked cells that are outlined."""
    count, whole = len(sequences), config.split in ("all", "all_v1")
    if config.folds or config.fold:
        return split_indices(count, config.fold, config.folds, "all" if whole else "held_out")
    first = range(sequences.count(sequences[0]))
    eligible = list(first)
    if config.name == "dic_hela" and config.split in ("held_out", "all"):
        eligible = [index for index in first if outlined[index] >= LEAST_OUTLINED] or eligible
    val = eligible[-max(1, len(eligible) // 5) :]
    if whole:
        return Split(list(range(count)), val, [])
    split, instead = f"data.split={config.split}", "set data.folds (3 or more), or data.split=all"
    for sequence in _SEQUENCES:
        if sequence not in sequences:
            raise ConfigError(
                f"{split} trains on sequence 01 and tests on sequence 02, and there is no annotated frame "
                f"of sequence {sequence}: {instead}"
            )
    if len(first) == 1:
        raise ConfigError(
            f"{split} needs two annotated frames of sequence 01 (one trains, one validates) and there is 1: {instead}"
        )
    return Split([index for index in first if index not in val], val, list(range(len(first), count)))


def _marker_folder(root: Path, sequence: str) -> Path:
    return root / f"{sequence}_GT" / "TRA"


def _warn_without_markers(root: Path, frames: Sequence[_Frame]) -> None:
    bare = [str(path) for path in {_marker_folder(root, frame.sequence): None for frame in frames} if not path.is_dir()]
    if bare:
        _log.warning(
            "%s: no such folder, so cells that SEG lacks, if any, count as background, and frames with few outlined "
            "cells may validate (with dic_hela the split is then that of held_out_v1)",
            " and ".join(bare),
        )


def _read_frame(root: Path, frame: _Frame) -> _Annotated:
    sequence, number = frame
    path = root / sequence / f"t{number}.tif"
    image = read_image(path)
    if image.shape[2] != 1 or image.dtype.kind != "u":
        raise DataError(f"{path}: is not a grey image of 8 or 16 bits; take the file from the challenge's archive")
    segmentation = _read_numbers(root / f"{sequence}_GT" / "SEG" / f"man_seg{number}.tif", image)
    label, outlined = (segmentation > 0).astype(np.uint8), 1.0
    if _marker_folder(root, sequence).is_dir():
        markers = _read_numbers(_marker_folder(root, sequence) / f"man_track{number}.tif", image)
        silver = root / f"{sequence}_ST" / "SEG" / f"man_seg{number}.tif"
        known = _read_numbers(silver, image) if silver.is_file() else np.zeros_like(segmentation)
        label[ignored_pixels(segmentation, markers, known)] = IGNORE_LABEL
        if marked := np.setdiff1d(markers, 0).size:
            outlined = find_outlined(segmentation, markers).size / marked
    return _Annotated(Sample(f"{sequence}_t{number}", image, label, segmentation), outlined, read_pixel_size(path))


def _read_numbers(path: Path, image: Array) -> NDArray[np.int32]:
    """Reads (H, W) object numbers of a file as large as the image."""
    pixels = read_label(path)
    if pixels.shape[2] != 1 or pixels.dtype.kind == "f" or pixels.min() < 0:
        raise DataError(f"{path}: is not one plane of whole numbers from 0 (a number an object); save it as uint16")
    check_same_size(path, pixels, image, "its image", "take both from the challenge's archive")
    numbers: NDArray[np.int32] = object_ids(pixels, path)[0]
    return numbers
