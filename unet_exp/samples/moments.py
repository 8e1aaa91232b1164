"""Mean and standard deviation of an image, exactly, without a copy of it as floats."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

_MOST_COUNTED = 2**24
"""Pixels that OpenCV can count in one value: its histograms are float32."""
_BLOCK = 2**20
"""Values that are turned into float64 at a time."""


class Moments(NamedTuple):
    """What normalisation needs of an image.

    Attributes:
        pixels: that hold data.
        mean: (C,) float64, of these, in units of full scale; 0 without any.
        std: (C,) float64, likewise.
    """

    pixels: int
    mean: NDArray[np.float64]
    std: NDArray[np.float64]


class Range(NamedTuple):
    """The least and the largest value of an image, as stored; 0 without valid pixels."""

    low: float
    high: float


def find_moments(image: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> Moments:
    """Finds the mean and the standard deviation of each channel; see `summarize`."""
    return summarize(image, valid)[0]


def summarize(image: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> tuple[Moments, Range]:
    """Finds the moments of each channel over the valid pixels, and the range of all their values.

    The moments are those of `full_scale(image)` in float64. Of integers they come from a histogram, of floats from
    blocks of rows; only the order of the sums differs from NumPy's, which is some 1e-12 of the result.

    Args:
        image: (H, W, C) uint8, uint16 or float32.
        valid: (H, W), the pixels that count; None for all.
    """
    pixels = image.shape[0] * image.shape[1] if valid is None else int(np.count_nonzero(valid))
    channels = image.shape[2]
    if not pixels:
        return Moments(0, np.zeros(channels), np.zeros(channels)), Range(0.0, 0.0)
    if image.dtype.kind == "u":
        counts = count_values(image, valid)
        present = np.flatnonzero(counts.any(axis=0))
        scale = np.arange(counts.shape[1], dtype=np.float32) / np.float32(counts.shape[1] - 1)
        values = scale.astype(np.float64)
        mean = counts @ values / pixels
        variance = np.array([of @ (values - centre) ** 2 for of, centre in zip(counts, mean, strict=True)]) / pixels
        return Moments(pixels, mean, np.sqrt(variance)), Range(float(present[0]), float(present[-1]))
    low, high, total = np.inf, -np.inf, np.zeros(channels)
    for block in _blocks(image, valid):
        low, high = min(low, float(block.min(initial=np.inf))), max(high, float(block.max(initial=-np.inf)))
        total += block.sum(axis=0)
    mean, squares = total / pixels, np.zeros(channels)
    for block in _blocks(image, valid):
        squares += ((block - mean) ** 2).sum(axis=0)
    return Moments(pixels, mean, np.sqrt(squares / pixels)), Range(low, high)


def count_values(image: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """Counts how many valid pixels have each value.

    Args:
        image: (H, W, C) uint8 or uint16.
        valid: (H, W), the pixels that count; None for all.

    Returns:
        (C, 256) or (C, 65536).
    """
    bins = int(np.iinfo(image.dtype).max) + 1
    height, width, channels = image.shape
    counts = np.zeros((channels, bins), np.int64)
    image = np.ascontiguousarray(image)
    rows = max(1, _MOST_COUNTED // width)
    for top in range(0, height, rows):
        part = image[top : top + rows]
        mask = None if valid is None else np.ascontiguousarray(valid[top : top + rows]).view(np.uint8)
        for channel in range(channels):
            found = cv2.calcHist([part], [channel], mask, [bins], [0, bins])
            counts[channel] += found.ravel().astype(np.int64)
    return counts


def _blocks(image: NDArray[Any], valid: NDArray[np.bool_] | None) -> Iterator[NDArray[np.float64]]:
    """Yields the valid pixels (n, C) in float64, some rows at a time."""
    rows = max(1, _BLOCK // (image.shape[1] * image.shape[2]))
    for top in range(0, image.shape[0], rows):
        part = image[top : top + rows]
        kept = part.reshape(-1, image.shape[2]) if valid is None else part[valid[top : top + rows]]
        yield kept.astype(np.float64)
