"""Statistics of every image and mask of a data set, read once and not kept, for `scripts/check_data.py`.

Counts are of stored values, whatever classes the config names, so that wrong classes are no obstacle.
"""

import os
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from skimage.measure import label as connected

from unet_exp.config import IGNORE_LABEL, ClassSpec
from unet_exp.data.arrays import Array
from unet_exp.data.classes import UnknownValues, Value, decode, object_ids, shows_colors
from unet_exp.data.groups import SplitItem
from unet_exp.data.io.images import read_pages
from unet_exp.data.meaning import stored_value
from unet_exp.data.pairs import Pair
from unet_exp.data.samples import SPLITS, DataSet, image_digest
from unet_exp.data.sets.folder import ImageKind, read_pair
from unet_exp.errors import DataError

IGNORED: Value = -1
"""Value of ignored pixels in data that have none for it."""
_KEPT = 256
_SPECK = 4
_THREADS = min(8, os.cpu_count() or 1)


@dataclass(frozen=True)
class MaskStats:
    """Statistics of a mask.

    Attributes:
        counts: pixels of the most common grey values or (red, green, blue), equal channels as grey.
        rest: pixels of all other values.
        distinct: number of values.
        lit: number of values but 0 or black: of objects, where each has a number or colour of its own.
        parts: connected regions (8 neighbours) of one value, without 0 or black; 0 for 2 values or fewer.
        specks: regions of 4 pixels or fewer, as at the edges of smeared masks.
        is_image: whether these are the pixels of the image.
        file: where they are; empty for data that are not a user's files.
    """

    counts: dict[Value, int]
    rest: int = 0
    distinct: int = 0
    lit: int = 0
    parts: int = 0
    specks: int = 0
    is_image: bool = False
    file: str = ""


@dataclass(frozen=True)
class ImageStats:
    """Statistics of one image (a page of a stack) and its mask.

    Attributes:
        item: its name in splits.
        source: its file; None for data that are not a user's files.
        mask_source: the file of its mask.
        page: its index in the file.
        height: pixels.
        width: pixels.
        kind: its channels.
        dtype: as stored: uint8, uint16 or float32.
        low: smallest value, an opaque alpha left out, as in `high` and `mean`.
        high: largest value.
        mean: of all values, integers divided by their type's largest.
        digest: of the pixels; equal for equal images.
        mask: None without a mask.
    """

    item: SplitItem
    source: Path | None
    mask_source: Path | None
    page: int
    height: int
    width: int
    kind: ImageKind
    dtype: str
    low: float
    high: float
    mean: float
    digest: str
    mask: MaskStats | None


def survey_files(pairs: Sequence[Pair], indices: bool) -> Iterator[list[ImageStats] | DataError]:
    """Reads images with their masks in parallel, a few files at a time.

    Yields:
        For each pair in order the stats of its pages, or its mistake.
    """

    def attempt(pair: Pair) -> list[ImageStats] | DataError:
        try:
            return _stats_of_pair(pair, indices)
        except DataError as error:
            return error

    ahead: deque[Future[list[ImageStats] | DataError]] = deque()
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            for pair in pairs:
                ahead.append(pool.submit(attempt, pair))
                if len(ahead) > 4 * _THREADS:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()


def survey_samples(dataset: DataSet) -> list[ImageStats]:
    """Computes the same for data in memory; values are those of the classes, and `IGNORED`."""
    values = {index: stored_value(spec.value) for index, spec in enumerate(dataset.classes)} | {IGNORE_LABEL: IGNORED}
    found: dict[str, ImageStats] = {}
    for part in SPLITS:
        for sample in getattr(dataset, part):
            mask = None
            if sample.label is not None:
                counts = np.bincount(sample.label.ravel(), minlength=256)
                shown = {values[index]: int(counts[index]) for index in np.flatnonzero(counts).tolist()}
                objects = 0 if sample.instances is None else len(np.setdiff1d(sample.instances, 0))
                mask = MaskStats(shown, distinct=len(shown), lit=objects)
            # With data.split=all an image is in two splits.
            item = SplitItem(sample.name, sample.name)
            found.setdefault(sample.name, _image_stats(item, None, None, 0, sample.image, mask))
    return list(found.values())


def read_page(stats: ImageStats, indices: bool) -> tuple[Array, Array | None]:
    """Reads the pixels (H, W, C) of an image, and of its mask if it has one, once more.

    Raises:
        DataError: for a file that is gone or has changed.
    """
    assert stats.source is not None
    image = read_pages(stats.source)[stats.page]
    return image, read_pages(stats.mask_source, indices)[stats.page] if stats.mask_source else None


def _stats_of_pair(pair: Pair, indices: bool) -> list[ImageStats]:
    found = []
    for page, (item, image, mask) in enumerate(read_pair(pair, indices)):
        counted = None
        if mask is not None and pair.mask is not None:
            counted = _mask_stats(mask, pair.mask, np.array_equal(mask, image))
        found.append(_image_stats(item, pair.image, pair.mask, page, image, counted))
    return found


def _image_stats(
    item: SplitItem, source: Path | None, mask_source: Path | None, page: int, image: Array, mask: MaskStats | None
) -> ImageStats:
    scale = np.iinfo(image.dtype).max if image.dtype.kind == "u" else 1
    kind = ImageKind.of(image)
    shown = image[:, :, :3] if kind.opaque else image
    height, width = image.shape[:2]
    low, high, mean = float(shown.min()), float(shown.max()), float(shown.mean(dtype=np.float64)) / scale
    digest = image_digest(shown)
    return ImageStats(
        item, source, mask_source, page, height, width, kind, str(image.dtype), low, high, mean, digest, mask
    )


def _mask_stats(pixels: Array, path: Path, is_image: bool) -> MaskStats:
    ids = object_ids(pixels, path)[0]
    counts = _count_colors(pixels, path) if shows_colors(pixels) else _count_greys(ids)
    parts = specks = 0
    if len(counts) > 2:
        regions = connected(ids, background=0, connectivity=2)  # type: ignore[no-untyped-call]
        sizes = np.bincount(regions.ravel())[1:]
        parts, specks = len(sizes), int((sizes <= _SPECK).sum())
    kept = dict(counts.most_common(_KEPT))
    rest = counts.total() - sum(kept.values())
    return MaskStats(kept, rest, len(counts), len(counts.keys() - {0}), parts, specks, is_image, str(path))


def _count_greys(ids: Array) -> Counter[Value]:
    counts = np.bincount(ids.ravel())
    return Counter({value: int(counts[value]) for value in np.flatnonzero(counts).tolist()})


def _count_colors(pixels: Array, path: Path) -> Counter[Value]:
    """Counts the pixels of each colour: `decode` counts those without a class, and the only class here is black."""
    counts: Counter[Value] = Counter()
    try:
        decode(pixels, [ClassSpec(name="black", value=[0, 0, 0], color=[0, 0, 0])], path)
    except UnknownValues as error:
        for value, count in error.counts.items():
            counts[stored_value(value)] += count
    return counts + Counter({0: pixels.shape[0] * pixels.shape[1] - counts.total()})
