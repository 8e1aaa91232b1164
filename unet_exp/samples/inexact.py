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

_AT_A_TIME = 2**20
"""Pixels; what is computed of each takes more memory than it does itself."""

_Snapped = tuple[Array, Array]
"""(H, W, C) values, and (H, W) whether a pixel was replaced."""


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
    find = _choose_finder(classes, ignored, how)
    rows = max(1, _AT_A_TIME // pixels.shape[1])
    parts = [find(pixels[top : top + rows]) for top in range(0, pixels.shape[0], rows)]
    snapped, changed = (np.concatenate(of) for of in zip(*parts, strict=True))
    return snapped, int(np.count_nonzero(changed if valid is None else changed & valid))


def _choose_finder(classes: Sequence[ClassSpec], ignored: Values, how: str) -> Callable[[Array], _Snapped]:
    """What finds the values of pixels (H, W, C) that have no alpha, and which of them it replaces."""
    listed = [*(value for spec in classes for value in spec.values), *ignored]
    if has_colors(classes):
        colors = [[value] * 3 if isinstance(value, int) else list(value) for value in listed]
        palette = np.array([color for color in colors if min(color) >= 0 and max(color) <= 255], np.uint8)
        return partial(_find_nearest_colors, palette=palette, values=palette)
    values = list(dict.fromkeys(value for value in listed if isinstance(value, int)))
    kind = np.min_scalar_type(max(values)) if min(values) >= 0 else np.dtype(np.int64)
    greys = np.array(values, kind if kind in _SHORT else np.int64)[:, None]
    if how == "threshold":
        limits = sorted(value for spec in classes if isinstance(value := spec.value, int))
        return partial(_use_table, find=partial(_divide, known=greys[:, 0], low=limits[0], high=limits[-1]))
    by_color = partial(_find_nearest_colors, palette=np.repeat(greys, 3, axis=1), values=greys)
    by_grey = partial(_find_nearest_greys, values=greys[:, 0])
    return lambda pixels: by_color(pixels) if shows_colors(pixels) else _use_table(pixels[:, :, :1], by_grey)


def _use_table(pixels: Array, find: Callable[[Array], _Snapped]) -> _Snapped:
    """Applies what finds the values of pixels (H, W, C); where these can be few, to each value alone."""
    if pixels.shape[2] > 1 or pixels.dtype not in _SHORT:
        return find(pixels)
    every = np.arange(np.iinfo(pixels.dtype).max + 1).astype(pixels.dtype)
    snapped, changed = find(every[:, None, None])
    return snapped[pixels[:, :, 0], 0], changed[pixels[:, :, 0], 0]


def _divide(pixels: Array, known: Array, low: int, high: int) -> _Snapped:
    """See `threshold` in `snap`; `known` (N,) are the values that stay."""
    first, channels = pixels[:, :, 0], pixels.shape[2]
    exact = np.isin(first, known) & (pixels == pixels[:, :, :1]).all(axis=2)
    upper = 2 * pixels.sum(axis=2, dtype=np.float64) >= channels * (low + high)
    snapped = np.where(upper, known.dtype.type(high), known.dtype.type(low))
    snapped[exact] = first[exact]
    return snapped[:, :, None], ~exact


def _find_nearest_greys(pixels: Array, values: Array) -> _Snapped:
    """See `nearest` in `snap`, for (H, W, 1); `values` (N,) are in the order of precedence."""
    plane, rank = pixels[:, :, 0], {value: place for place, value in enumerate(values.tolist())}
    pairs = list(pairwise(sorted(rank)))
    wins = [rank[high] < rank[low] for low, high in pairs]  # where both are as near
    # From each limit on the larger of two neighbours is the nearer one.
    if plane.dtype.kind == "f":
        plane = plane.astype(np.float64)
        middles = [(low + high) / 2 for low, high in pairs]
        limits = np.where(wins, middles, np.nextafter(middles, np.inf))
    else:  # whole numbers of up to 64 bits, of which floats are not exact
        limits = np.array(
            [
                -(-(low + high) // 2) if win else (low + high) // 2 + 1
                for (low, high), win in zip(pairs, wins, strict=True)
            ],
            np.int64,
        )
    snapped = np.sort(values)[np.searchsorted(limits, plane, "right")]
    return snapped[:, :, None], snapped != plane


def _find_nearest_colors(pixels: Array, palette: Array, values: Array) -> _Snapped:
    """See `nearest` in `snap`, for (H, W, 1) or (H, W, 3).

    Args:
        pixels: them.
        palette: (N, 3), colours in the order of precedence.
        values: (N, C), what is returned of each.
    """
    colors = np.broadcast_to(pixels, (*pixels.shape[:2], 3)).reshape(-1, 3)
    back: Array | slice = slice(None)
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
    size = pixels.shape[:2]
    return values[nearest[back]].reshape(*size, -1), (least > 0)[back].reshape(size)
