"""Valid pixels: those that hold data; a file says which do not by a value, by NaN, by an alpha of 0 or by a mask."""

import math

import numpy as np
from numpy.typing import NDArray

from unet_exp.config.data import NoData
from unet_exp.io.arrays import Array

Valid = NDArray[np.bool_] | None
"""(H, W), True where a pixel is valid; None: all are."""

_HUGE = 1e30
"""Declared values beyond it are the least or largest float32, often written with fewer digits than that has."""


def find_valid(
    pixels: Array, nodata: NoData, declared: float | None = None, alpha: int | None = None, hidden: Valid = None
) -> Valid:
    """Finds the valid pixels of an image, or of a window of it.

    Args:
        pixels: (H, W) or (H, W, C), as stored: palettes not resolved, white not made black.
        nodata: what counts: `declared` (what the file says, and NaN), a value instead of the declared one, or nothing.
        declared: the value that the file declares; a pixel has no data where all its channels hold it.
        alpha: the channel that is an alpha; a pixel has no data where it is 0.
        hidden: (H, W), True where the file itself says that nothing is shown.
    """
    if nodata is None:
        return None
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    channels = [channel for channel in range(pixels.shape[2]) if channel != alpha]
    invalid = np.zeros(pixels.shape[:2], bool) if hidden is None else hidden.copy()
    value = declared if nodata == "declared" else nodata
    if value is not None and not math.isnan(value):
        invalid |= np.logical_and.reduce([_equals(pixels[:, :, channel], value) for channel in channels])
    if pixels.dtype.kind == "f":
        invalid |= np.logical_or.reduce([np.isnan(pixels[:, :, channel]) for channel in channels])
    if alpha is not None:
        invalid |= pixels[:, :, alpha] == 0
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


def _equals(plane: Array, value: float) -> NDArray[np.bool_]:
    if plane.dtype.kind == "f" and abs(value) > _HUGE:
        return np.isclose(plane, value, rtol=1e-5, atol=0)
    with np.errstate(over="ignore"):
        result: NDArray[np.bool_] = plane == (plane.dtype.type(value) if plane.dtype.kind == "f" else value)
    return result
