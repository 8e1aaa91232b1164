"""The embedded data set: generated membrane images with exact labels, so that nothing needs to be downloaded.

A micrograph is a deterministic function of (height, width, seed, index). Its cells are a weighted Voronoi
tessellation of ellipses, large ones placed first, seen through a smooth warp; `synthetic_texture` paints it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from unet_exp.cache_folder import find_cache_folder
from unet_exp.config import ClassSpec, SyntheticConfig
from unet_exp.data.sets import DATA_SETS
from unet_exp.data.sets.synthetic_texture import Layout, paint, smooth_noise
from unet_exp.errors import ConfigError
from unet_exp.files import NPZ_DAMAGE, write_whole
from unet_exp.io.arrays import Array
from unet_exp.progress import track
from unet_exp.samples.data_set import DataSet
from unet_exp.samples.sample import Sample
from unet_exp.samples.splits import split_indices

GENERATOR_VERSION = 1
"""Part of a cached set's name: raise it with every change of a pixel."""

MINIMUM_SIDE = 32
MEMBRANE, CELL = 0, 1

CLASSES: tuple[tuple[str, tuple[int, int, int]], ...] = (("membrane", (38, 50, 110)), ("cell", (250, 230, 160)))
"""Name and RGB colour of each class, by index."""

MANY_CLASSES: tuple[tuple[str, tuple[int, int, int]], ...] = (
    ("membrane", (38, 50, 110)),
    ("cytoplasm", (250, 230, 160)),
    ("mitochondrion", (230, 75, 53)),
    ("vesicle", (0, 160, 135)),
    ("granule", (150, 60, 150)),
)
"""The same for `organelles=True`."""

_ARRAYS = ("image", "label", "instances")
_TISSUE = 40  # px around the image, so that the warp finds cells there
_MOST_MEMBRANE = 0.33  # share of an image, before corners are rounded
_SMALLEST_CELL = 20  # px; what is left of a cell below this is membrane


@dataclass(frozen=True)
class Micrograph:
    """One generated slice.

    Attributes:
        image: uint8 (H, W), grey levels.
        label: uint8 (H, W), class indices into `CLASSES` or `MANY_CLASSES`.
        instances: int32 (H, W), 0 = membrane, 1..n the 4-connected components of everything else.
    """

    image: NDArray[np.uint8]
    label: NDArray[np.uint8]
    instances: NDArray[np.int32]


def generate(height: int, width: int, seed: int, index: int, organelles: bool = False) -> Micrograph:
    """Generates image `index` of set `seed`, (height, width) of at least 32 px; equal arguments give equal pixels.

    With `organelles` the label of the same image has mitochondria, vesicles and granules too (`MANY_CLASSES`); else all
    of a cell's inside is `CELL`.

    Raises:
        ValueError: A side is too short, or seed or index is negative.
    """
    if min(height, width) < MINIMUM_SIDE:
        raise ValueError(f"a synthetic image needs at least {MINIMUM_SIDE} px a side, not {height} x {width}")
    if min(seed, index) < 0:
        raise ValueError(f"seed and index must be 0 or more, not {seed} and {index}")
    rng = np.random.default_rng([seed, index])
    layout = _layout(rng, height, width)
    while layout.cells.all() or not layout.cells.any():  # a tiny image may lie within one cell
        layout = _layout(rng, height, width)
    image, found = paint(rng, layout)
    inside = layout.cells > 0
    label = np.where(inside, CELL, MEMBRANE).astype(np.uint8)
    if organelles:
        label = np.where(inside & (found > 0), found, label)
    return Micrograph(image, label, layout.cells)


def _layout(rng: np.random.Generator, height: int, width: int) -> Layout:
    """Draw the cells and the membranes between them."""
    owner = _warp(rng, _tessellate(rng, height + 2 * _TISSUE, width + 2 * _TISSUE), height, width)
    edge = np.zeros((height, width), bool)  # one pixel of every 4-neighbour pair of two owners
    edge[:, :-1] |= owner[:, :-1] != owner[:, 1:]
    edge[:-1] |= owner[:-1] != owner[1:]
    line = cv2.distanceTransform((~edge).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    density = _densities(rng, edge)
    thickness = 4.9 * np.exp(0.22 * smooth_noise(rng, height, width, 26) + rng.normal(0, 0.08))
    thickness = np.clip(thickness, 2.2, 7) + 6 * density
    # A small image may hold nothing but small cells: thinner membranes leave something of them.
    thickness *= min(1.0, float(np.quantile(2 * line / thickness, _MOST_MEMBRANE)))
    inside = (line > thickness / 2).astype(np.uint8)
    # Opening rounds the corners; what it takes, like the tissue in narrow wedges, is membrane.
    inside = cv2.morphologyEx(inside, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5)))
    pieces, count = ndimage.label(inside)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    keep = sizes >= _SMALLEST_CELL
    keep[0] = False
    cells = np.where(keep, np.cumsum(keep), 0)[pieces].astype(np.int32)
    depth = cv2.distanceTransform((cells > 0).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # The painted line strays from the labelled one by a pixel or so, as under a human annotator's hand.
    down, right = (0.7 * smooth_noise(rng, height, width, 12) for _ in range(2))
    return Layout(cells, _look_up(line, down, right, cv2.INTER_LINEAR), thickness, depth, density)


def _tessellate(rng: np.random.Generator, height: int, width: int) -> Array:
    """Fill a plane with ellipses, the large ones first; each pixel belongs to the nearest: int32 (H, W)."""
    largest = float(np.clip((min(height, width) - 2 * _TISSUE) / 3.5, 13, 80))
    radii = np.exp(rng.normal(np.log(15), 0.6, height * width // 500))
    radii = np.sort(np.clip(radii, 6, largest))[::-1]
    grain = smooth_noise(rng, height, width, 150)  # direction in which the elongated cells lie
    bundled = smooth_noise(rng, height, width, 110) > 0.4
    owner = np.zeros((height, width), np.int32)
    nearest = np.full((height, width), 1e6, np.float32)
    for number, radius in enumerate(radii, start=1):
        rows, columns = rng.integers(0, height, 40), rng.integers(0, width, 40)
        stretch, spin = rng.gamma(2.0, 0.18), rng.normal(0, 0.35)
        free = np.flatnonzero(nearest[rows, columns] > 0.75 * radius)
        if not free.size:
            continue
        row, column = int(rows[free[0]]), int(columns[free[0]])
        if bundled[row, column]:
            stretch += 0.9
        angle = float(2.0 * grain[row, column] + spin)
        major, minor = radius * np.exp(0.5 * stretch), radius * np.exp(-0.5 * stretch)
        reach = int(major + 60)
        box = (slice(max(0, row - reach), row + reach), slice(max(0, column - reach), column + reach))
        y = np.arange(box[0].start, min(height, box[0].stop), dtype=np.float32)[:, None] - row
        x = np.arange(box[1].start, min(width, box[1].stop), dtype=np.float32)[None] - column
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        distance: Array = (cv2.magnitude(along / major, across / minor) - 1) * minor
        closer = distance < nearest[box]
        nearest[box][closer] = distance[closer]
        owner[box][closer] = number
    return owner


def _warp(rng: np.random.Generator, owner: Array, height: int, width: int) -> Array:
    """The middle (height, width) of a tessellation seen through a smooth displacement of some 15 px."""
    rows, columns = owner.shape
    noise = [[smooth_noise(rng, rows, columns, scale) for scale in (50, 15)] for _ in range(2)]
    down, right = (8 * coarse + 2 * fine for coarse, fine in noise)
    warped = _look_up(owner.astype(np.float32), down, right, cv2.INTER_NEAREST)
    return warped[_TISSUE : _TISSUE + height, _TISSUE : _TISSUE + width].astype(np.int32)


def _look_up(field: Array, down: Array, right: Array, interpolation: int) -> Array:
    """Sample a float32 (H, W) field at each pixel displaced by (down, right) pixels."""
    rows, columns = np.indices(field.shape, dtype=np.float32)
    moved: Array = cv2.remap(field, columns + right, rows + down, interpolation, borderMode=cv2.BORDER_REFLECT)
    return moved


def _densities(rng: np.random.Generator, edge: Array) -> Array:
    """Soft spots, 0..1, where a membrane is thick and dark: synapses, and membranes cut along."""
    height, width = edge.shape
    spots = np.zeros((height, width), np.float32)
    candidates = np.argwhere(edge)
    y = np.arange(height, dtype=np.float32)[:, None]
    x = np.arange(width, dtype=np.float32)[None]
    for _ in range(int(rng.poisson(height * width / 40000)) if len(candidates) else 0):
        row, column = candidates[rng.integers(len(candidates))]
        size, peak = rng.uniform(8, 20), np.float32(rng.uniform(0.4, 1))
        down = np.exp(-(((y - row) / size) ** 2) / 2)
        right = np.exp(-(((x - column) / size) ** 2) / 2)
        np.maximum(spots, peak * down * right, out=spots)
    return spots


def generate_set(
    count: int,
    height: int,
    width: int,
    seed: int,
    organelles: bool = False,
    cache: Path | None = None,
    workers: int = 1,
) -> list[Micrograph]:
    """Generates the images 0 .. count - 1 of a set, or reads them from the cache; see `generate`.

    `cache` is by default that of `find_cache_folder`. A damaged file in it is replaced; an unusable folder costs time.
    `workers` is the number of threads that generate.

    Raises:
        ValueError: As `generate`, or count is less than 1.
    """
    if count < 1:
        raise ValueError(f"a synthetic set needs at least 1 image, not {count}")
    folder = find_cache_folder() if cache is None else cache
    key = {"version": GENERATOR_VERSION, "count": count, "height": height, "width": width, "seed": seed}
    name = hashlib.sha256(json.dumps({**key, "organelles": organelles}, sort_keys=True).encode()).hexdigest()[:24]
    path = None if folder is None else folder / f"synthetic-{name}.npz"
    found = None if path is None else _read_cache(path, (count, height, width))
    if found is not None:
        return found
    with ThreadPoolExecutor(max(1, workers)) as pool:
        jobs = pool.map(lambda index: generate(height, width, seed, index, organelles), range(count))
        made = list(track(jobs, "generating images", count))
    if path is not None:
        with suppress(OSError):
            _write_cache(path, made)
    return made


def _read_cache(path: Path, shape: tuple[int, int, int]) -> list[Micrograph] | None:
    """Reads a cached set; None if it is missing, damaged or of another shape (count, H, W)."""
    try:
        with np.load(path, allow_pickle=False) as file:
            stacks = [file[name] for name in _ARRAYS]
    except NPZ_DAMAGE:
        return None
    types = (np.uint8, np.uint8, np.int32)
    if any(stack.shape != shape or stack.dtype != kind for stack, kind in zip(stacks, types, strict=True)):
        return None
    return [Micrograph(*slices) for slices in zip(*stacks, strict=True)]


def _write_cache(path: Path, micrographs: list[Micrograph]) -> None:
    image, label, instances = (np.stack([getattr(one, name) for one in micrographs]) for name in _ARRAYS)
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_whole(path) as side:
        np.savez_compressed(side, image=image, label=label, instances=instances)


def load_synthetic(config: SyntheticConfig) -> DataSet:
    """Generates the images of a config, or reads them from the cache, and splits them.

    Raises:
        ConfigError: for more folds than images.
    """
    train, val = config.train_images, config.val_images
    count = train + val + config.test_images
    if config.folds > count:
        raise ConfigError(f"data.folds={config.folds} is more than the {count} images of this data set")
    images = [
        Sample(f"synthetic_{index:03d}", made.image[:, :, None], made.label, made.instances)
        for index, made in enumerate(generate_set(count, config.height, config.width, config.seed, config.organelles))
    ]
    split: Sequence[Sequence[int]] = range(train), range(train, train + val), range(train + val, count)
    if config.folds:
        split = split_indices(count, config.fold, config.folds)
    classes = tuple(
        ClassSpec(name=name, value=list(color) if config.organelles else 255 * index, color=list(color))
        for index, (name, color) in enumerate(MANY_CLASSES if config.organelles else CLASSES)
    )
    return DataSet.divide(images, split, classes, 1, ("isbi", "seg"))


DATA_SETS["synthetic"] = load_synthetic
