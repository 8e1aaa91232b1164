"""Inexact masks: pixels whose value no class has, as JPEG and smooth resizing leave them, get the value of one."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np

from unet_exp.config import ClassSpec
from unet_exp.io.arrays import Array
from unet_exp.samples.classes import Values, drop_alpha, has_colors, shows_colors

_SHORT = (np.dtype(np.uint8), np.dtype(np.uint16))
"""Types whose values are few enough for a table."""

_Snapped = tuple[Array, Array]
"""Values or the places of values, and which pixels were replaced."""


def snap(
    pixels: Array,
    classes: Sequence[ClassSpec],
    ignored: Values,
    how: Literal["nearest", "threshold"],
    path: str | Path,
    valid: Array | None = None,
) -> tuple[Array, int]:
    """Replaces the pixels of a mask that have neither the value of a class nor an ignored one, each pixel for itself.

    Values are compared as they are stored: a map of probabilities from 0 to 1 needs classes of the values 0 and 1.

    Args:
        pixels: (H, W, C) as for `unet_exp.samples.classes.decode`; floats may be fractional.
        classes: as there.
        ignored: as there.
        how: `nearest`: the value of a class, or the ignored one, at the least distance: the difference of greys, the
            Euclidean distance of colours in RGB, a grey being the colour of three equal channels. Of two that are as
            near it is the one that is listed first, ignored ones last. `threshold`: of two classes with grey values
            the larger one where the mean of the channels is at least half-way between them, else the smaller one.
        path: of the mask, for errors.
        valid: (H, W), False where pixels do not count; None: all count.

    Returns:
        (H, W, 1) whole numbers or, of classes with colours, (H, W, 3) uint8; and how many pixels that count were
        replaced.

    Raises:
        DataError: for transparent pixels, and numbers of channels that no mask has.
    """
    pixels = drop_alpha(pixels, path, valid)
    listed = [*(value for spec in classes for value in spec.values), *ignored]
    if has_colors(classes):
        colors = [[value] * 3 if isinstance(value, int) else list(value) for value in listed]
        palette = np.array([color for color in colors if min(color) >= 0 and max(color) <= 255])
        places, changed = _find_nearest_colors(pixels, palette)
        return palette.astype(np.uint8)[places], _count(changed, valid)
    values = list(dict.fromkeys(value for value in listed if isinstance(value, int)))
    if how == "threshold":
        limits = sorted(value for spec in classes if isinstance(value := spec.value, int))
        greys, changed = _use_table(pixels, partial(_divide, known=values, low=limits[0], high=limits[-1]))
    elif shows_colors(pixels):
        places, changed = _find_nearest_colors(pixels, np.array([[value] * 3 for value in values]))
        greys = np.array(values, np.int64)[places]
    else:
        greys, changed = _use_table(pixels[:, :, :1], partial(_find_nearest_greys, values=values))
    kind = np.min_scalar_type(max(values)) if min(values) >= 0 else np.dtype(np.int64)
    return greys.astype(kind if kind in _SHORT else np.int64)[:, :, None], _count(changed, valid)


def _count(changed: Array, valid: Array | None) -> int:
    return int(np.count_nonzero(changed if valid is None else changed & valid))


def _use_table(pixels: Array, find: Callable[[Array], _Snapped]) -> _Snapped:
    """Applies to (H, W, C) what finds the grey of each pixel, (H, W); where there are few values, to each of them."""
    if pixels.shape[2] > 1 or pixels.dtype not in _SHORT:
        return find(pixels)
    values = np.arange(np.iinfo(pixels.dtype).max + 1).astype(pixels.dtype)
    greys, changed = find(values[:, None, None])
    return greys[pixels[:, :, 0], 0], changed[pixels[:, :, 0], 0]


def _divide(pixels: Array, known: Sequence[int], low: int, high: int) -> _Snapped:
    """See `threshold` in `snap`."""
    first, channels = pixels[:, :, 0], pixels.shape[2]
    exact = np.isin(first, known) & (pixels == pixels[:, :, :1]).all(axis=2)
    upper = 2 * pixels.sum(axis=2, dtype=np.float64) >= channels * (low + high)
    return np.where(exact, first.astype(np.int64), np.where(upper, high, low)), ~exact


def _find_nearest_greys(pixels: Array, values: Sequence[int]) -> _Snapped:
    """See `nearest` in `snap`, for (H, W, 1)."""
    plane, rank = pixels[:, :, 0], {value: place for place, value in enumerate(values)}
    ranked = sorted(values)
    if plane.dtype.kind == "f":
        plane, middles = plane.astype(np.float64), [(low + high) / 2 for low, high in pairwise(ranked)]
        after = [float(np.nextafter(middle, np.inf)) for middle in middles]
    else:  # whole numbers of 64 bits, of which floats are not exact
        middles = [-(-(low + high) // 2) for low, high in pairwise(ranked)]
        after = [(low + high) // 2 + 1 for low, high in pairwise(ranked)]
    # From each limit on the larger of two neighbours is the nearer one.
    limits = [
        middle if rank[high] < rank[low] else beyond
        for (low, high), middle, beyond in zip(pairwise(ranked), middles, after, strict=True)
    ]
    places = np.searchsorted(np.array(limits, plane.dtype if plane.dtype.kind == "f" else np.int64), plane, "right")
    greys = np.array(ranked, np.int64)[places]
    return greys, greys != plane


def _find_nearest_colors(pixels: Array, palette: Array) -> _Snapped:
    """See `nearest` in `snap`.

    Args:
        pixels: (H, W, 1) or (H, W, 3).
        palette: (N, 3), in the order of precedence.

    Returns:
        (H, W) places in it, and (H, W) bool.
    """
    colors = np.broadcast_to(pixels, (*pixels.shape[:2], 3)).reshape(-1, 3)
    back = None
    if pixels.dtype in _SHORT:  # each colour once
        packed = colors.astype(np.int64) @ np.array([1 << 32, 1 << 16, 1])
        found, back = np.unique(packed, return_inverse=True)
        colors = np.stack([found >> 32, found >> 16 & 0xFFFF, found & 0xFFFF], axis=1)
    colors = colors.astype(np.float64)
    nearest, least = np.zeros(len(colors), np.int64), np.full(len(colors), np.inf)
    for place, color in enumerate(palette.astype(np.float64)):
        distance = ((colors - color) ** 2).sum(axis=1)
        nearer = distance < least
        nearest[nearer], least[nearer] = place, distance[nearer]
    changed = least > 0
    if back is not None:
        nearest, changed = nearest[back], changed[back]
    return nearest.reshape(pixels.shape[:2]), changed.reshape(pixels.shape[:2])
