"""Context beyond an image's border, mirrored from the image (paper, section 1 and Fig. 2)."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Plane(Protocol):
    """Pixels (H, W) or (H, W, C) of which parts are read when they are needed."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all of them."""

    def read(self, top: int, left: int, height: int, width: int) -> NDArray[Any]:
        """Reads a part that lies within them: (height, width, ...)."""


Pixels = NDArray[Any] | Plane
"""Of an image or a map: an array, or read by parts."""


def mirror_indices(start: int, length: int, size: int) -> NDArray[np.intp]:
    """Maps the pixels `start .. start + length - 1` to pixels inside a line of `size`, mirrored at its ends.

    The border pixel is not repeated (-1 becomes 1), and mirrors repeat as often as necessary.

    Args:
        start: first pixel, may be negative.
        length: number of pixels.
        size: pixels of the line, at least 1.

    Returns:
        (length,) indices in 0 .. size - 1.
    """
    if size == 1:
        return np.zeros(length, np.intp)
    period = 2 * (size - 1)
    folded = np.arange(start, start + length) % period
    return np.minimum(folded, period - folded)


def mirror_window(image: Pixels, top: int, left: int, height: int, width: int) -> NDArray[Any]:
    """Cuts a window out of an image, which may reach beyond it on any side.

    Args:
        image: (H, W, ...); of a plane only the part that the window shows is read.
        top: first row, may be negative.
        left: first column, may be negative.
        height: rows of the window.
        width: columns of the window.

    Returns:
        (height, width, ...), a copy.
    """
    if 0 <= top <= image.shape[0] - height and 0 <= left <= image.shape[1] - width:
        if not isinstance(image, np.ndarray):
            return np.ascontiguousarray(image.read(top, left, height, width))
        return image[top : top + height, left : left + width].copy()
    rows = mirror_indices(top, height, image.shape[0])
    columns = mirror_indices(left, width, image.shape[1])
    if not isinstance(image, np.ndarray):
        first, start = int(rows.min()), int(columns.min())
        image = image.read(first, start, int(rows.max()) + 1 - first, int(columns.max()) + 1 - start)
        rows, columns = rows - first, columns - start
    # One axis after the other: whole rows are copied fast.
    return np.ascontiguousarray(image.take(rows, axis=0).take(columns, axis=1))
