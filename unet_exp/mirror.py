"""Context beyond an image's border, mirrored from the image (paper, section 1 and Fig. 2)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


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


def mirror_window(image: NDArray[Any], top: int, left: int, height: int, width: int) -> NDArray[Any]:
    """Cuts a window out of an image, which may reach beyond it on any side.

    Args:
        image: (H, W, ...).
        top: first row, may be negative.
        left: first column, may be negative.
        height: rows of the window.
        width: columns of the window.

    Returns:
        (height, width, ...), a copy.
    """
    rows = mirror_indices(top, height, image.shape[0])
    columns = mirror_indices(left, width, image.shape[1])
    return np.ascontiguousarray(image[rows[:, None], columns])
