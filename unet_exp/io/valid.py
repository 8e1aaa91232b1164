"""Valid pixels: those that hold data; a file says which do not by a value, by NaN, by an alpha of 0 or by a mask."""

from collections.abc import Collection
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from unet_exp.config.user_data import NoData
from unet_exp.io.arrays import Array

Valid = NDArray[np.bool_] | None
"""(H, W), True where a pixel is valid; None: all are."""

_FILL_SHARE = 0.02
"""Share of an image's pixels from which a region of one value at its border is told."""
_HUGE = 1e30
"""Declared values beyond it are the least or largest float32, often written with fewer digits than that has."""


class Declared(NamedTuple):
    """What a file says of pixels without data.

    Attributes:
        value: a pixel has no data where all its channels hold it, as stored.
        alpha: the channel that is an alpha; a pixel has no data where it is 0.
    """

    value: float | None = None
    alpha: int | None = None


def find_valid(
    stored: Array,
    nodata: NoData,
    declared: Declared | None = None,
    hidden: Valid = None,
    shown: Array | None = None,
    classes: Collection[float] = (),
) -> Valid:
    """Finds the valid pixels of an image, or of a window of it.

    Args:
        stored: (H, W) or (H, W, C): palettes not resolved, white not made black.
        nodata: what counts: `declared` (what the file says, and NaN), a value as seen instead of the declared one, or
            nothing.
        declared: by the file; None: nothing.
        hidden: (H, W), True where the file itself says that nothing is shown.
        shown: the pixels as they are seen; None: as stored.
        classes: values that are data though a file declares them.
    """
    if nodata is None:
        return None
    stored = np.atleast_3d(stored)
    value, alpha = declared or Declared()
    invalid = np.zeros(stored.shape[:2], bool) if hidden is None else hidden.copy()
    if nodata != "declared":
        invalid |= _holds(stored if shown is None else np.atleast_3d(shown), nodata, alpha)
    elif value is not None and value not in classes:
        invalid |= _holds(stored, value, alpha)
    if stored.dtype.kind == "f":
        invalid |= np.isnan(_without(stored, alpha)).any(axis=2)
    if alpha is not None:
        invalid |= stored[:, :, alpha] == 0
    return ~invalid if invalid.any() else None


def clear_invalid(pixels: Array, valid: Valid) -> Array:
    """Pixels (H, W) or (H, W, C) with 0 where they are not valid: a copy, if there are any."""
    if valid is None:
        return pixels
    cleared = pixels.copy()
    cleared[~valid] = 0
    return cleared


def join_valid(first: Valid, second: Valid) -> Valid:
    """The pixels that are valid in both."""
    if first is None or second is None:
        return second if first is None else first
    return first & second


def find_fill(image: Array, valid: Valid) -> float | None:
    """Finds a value that fills a region at the border of an image, as where nothing was recorded.

    Args:
        image: (H, W, C), as seen.
        valid: (H, W), known valid pixels; None for all.

    Returns:
        The value, in all channels; None where no such region has `_FILL_SHARE` of the pixels.
    """
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    values, counts = np.unique(border[(border == border[:, :1]).all(axis=1), 0], return_counts=True)
    if not values.size or 2 * counts.max() < _FILL_SHARE * len(border):
        return None
    value = values[counts.argmax()]
    same = (image == value).all(axis=2)
    if valid is not None:
        same &= valid
    labels = cv2.connectedComponents(same.astype(np.uint8), connectivity=4)[1]
    sizes = np.bincount(labels.ravel())
    edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    largest = int(sizes[np.setdiff1d(edge, 0)].max(initial=0))
    whole = largest == same.size  # a constant image is told as one
    return float(value) if largest >= _FILL_SHARE * same.size and not whole else None


def format_value(value: float) -> str:
    """A value of pixels with as many digits as they have."""
    return str(int(value)) if value == int(value) else str(np.float32(value))


def _without(pixels: Array, alpha: int | None) -> Array:
    return pixels if alpha is None else np.delete(pixels, alpha, axis=2)


def _holds(pixels: Array, value: float, alpha: int | None) -> NDArray[np.bool_]:
    """Where all channels but an alpha hold a value: (H, W)."""
    channels = _without(pixels, alpha)
    if channels.dtype.kind != "f":
        same = channels == value
    elif abs(value) > _HUGE:
        same = np.isclose(channels, value, rtol=1e-5, atol=0)
    else:
        same = channels == channels.dtype.type(value)
    result: NDArray[np.bool_] = same.all(axis=2)
    return result
