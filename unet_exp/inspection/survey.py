"""Statistics of every image and mask of a data set, read once and not kept, for `scripts/check_data.py`.

Counts are of stored values, whatever classes the config names, so that wrong classes are no obstacle.
"""

import os
from collections import Counter, deque
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from skimage.measure import label as connected

from unet_exp.config import IGNORE_LABEL, ClassSpec
from unet_exp.config.data import NoData
from unet_exp.data.classes import UnknownValues, Value, decode, read_codes, shows_colors
from unet_exp.data.facts import image_digest
from unet_exp.data.groups import SplitItem
from unet_exp.data.meaning import stored_value
from unet_exp.data.pages import ImageKind, PairPage, read_pair
from unet_exp.data.pairs import Pair
from unet_exp.data.samples import SPLITS, DataSet
from unet_exp.errors import DataError
from unet_exp.io.arrays import Array
from unet_exp.io.images import Scene
from unet_exp.io.valid import Valid, find_fill

IGNORED: Value = 2**64
"""Value of ignored pixels in data that have none for it; no file holds it."""
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
        files: its own and those of its mask and field of view; None for data that are not a user's files.
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
        turned: whether its file says that it is stored in another orientation.
        invalid: share of the pixels without data, 0..1; they are left out of `low`, `high`, `mean` and `mask`.
        fill: a value that fills a region at the border, as where nothing was recorded; None without one.
    """

    item: SplitItem
    files: Pair | None
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
    turned: bool = False
    invalid: float = 0.0
    fill: float | None = None


def survey_files(
    pairs: Sequence[Pair], nodata: NoData, indices: bool, classes: Collection[float] = ()
) -> Iterator[list[ImageStats] | DataError]:
    """Reads images with their masks in parallel, a few files at a time; see `read_pair`.

    Yields:
        For each pair in order the stats of its pages, or its mistake.
    """

    def attempt(pair: Pair) -> list[ImageStats] | DataError:
        try:
            return _stats_of_pair(pair, nodata, indices, classes)
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
            scene = Scene(sample.image, sample.valid)
            found.setdefault(sample.name, _image_stats(item, None, 0, scene, mask))
    return list(found.values())


def read_page(stats: ImageStats, nodata: NoData, indices: bool, classes: Collection[float]) -> PairPage:
    """Reads an image of a user, and its mask if it has one, once more; arguments as for `read_pair`.

    Raises:
        DataError: for a file that is gone or has changed.
    """
    assert stats.files is not None
    return read_pair(stats.files, nodata, indices, classes)[stats.page]


def _stats_of_pair(pair: Pair, nodata: NoData, indices: bool, classes: Collection[float]) -> list[ImageStats]:
    found = []
    for page, (item, scene, mask, labelled) in enumerate(read_pair(pair, nodata, indices, classes)):
        counted = None
        if mask is not None and pair.mask is not None:
            is_image = np.array_equal(mask, scene.pixels)
            counted = _mask_stats(mask, pair.mask, labelled, is_image)
        found.append(_image_stats(item, pair, page, scene, counted))
    return found


def _image_stats(item: SplitItem, files: Pair | None, page: int, scene: Scene, mask: MaskStats | None) -> ImageStats:
    image, valid, turned = scene
    scale = np.iinfo(image.dtype).max if image.dtype.kind == "u" else 1
    kind = ImageKind.of(scene)
    shown = image[:, :, :3] if kind.opaque else image
    counted = shown if valid is None else shown[valid]
    low = high = mean = 0.0
    if counted.size:
        low, high, mean = float(counted.min()), float(counted.max()), float(counted.mean(dtype=np.float64)) / scale
    return ImageStats(
        item,
        files,
        page,
        image.shape[0],
        image.shape[1],
        kind,
        str(image.dtype),
        low,
        high,
        mean,
        image_digest(shown),
        mask,
        turned,
        0.0 if valid is None else 1 - float(valid.mean()),
        find_fill(shown, valid),
    )


def _mask_stats(pixels: Array, path: Path, valid: Valid, is_image: bool) -> MaskStats:
    """Counts the values of a mask where it and its image hold data."""
    colored = shows_colors(pixels)
    codes = read_codes(pixels, colored, path, valid)
    if valid is not None:
        codes = np.where(valid, codes, 0)
    counted = pixels if valid is None else pixels[valid][:, None]
    counts = _count_colors(counted, path) if colored else _count_greys(codes if valid is None else codes[valid])
    parts = specks = 0
    if len(counts) > 2:
        regions = connected(codes, background=0, connectivity=2)  # type: ignore[no-untyped-call]
        sizes = np.bincount(regions.ravel())[1:]
        parts, specks = len(sizes), int((sizes <= _SPECK).sum())
    kept = dict(counts.most_common(_KEPT))
    rest = counts.total() - sum(kept.values())
    return MaskStats(kept, rest, len(counts), len(counts.keys() - {0}), parts, specks, is_image, str(path))


def _count_greys(values: Array) -> Counter[Value]:
    if values.dtype.kind == "u":
        counts = np.bincount(values.ravel())
        return Counter({value: int(counts[value]) for value in np.flatnonzero(counts).tolist()})
    found, numbers = np.unique(values, return_counts=True)
    return Counter(dict(zip(found.tolist(), numbers.tolist(), strict=True)))


def _count_colors(pixels: Array, path: Path) -> Counter[Value]:
    """Counts the pixels of each colour: `decode` counts those without a class, and the only class here is black."""
    counts: Counter[Value] = Counter()
    try:
        decode(pixels, [ClassSpec(name="black", value=[0, 0, 0], color=[0, 0, 0])], path)
    except UnknownValues as error:
        for value, count in error.counts.items():
            counts[stored_value(value)] += count
    return counts + Counter({0: pixels.shape[0] * pixels.shape[1] - counts.total()})
