"""The type of an array of pixels, and arrays that must have one size."""

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from unet_exp.errors import DataError

Array = NDArray[Any]
"""Of any type; each function states its shape: H height, W width, C channels."""


def check_same_size(path: str | Path, pixels: Array, image: Array, its: str, mend: str) -> None:
    """Compares the height and width of a mask with those of its image, `its` for short in the message.

    Raises:
        DataError: if they differ.
    """
    if pixels.shape[:2] != image.shape[:2]:
        have, want = ("{1} x {0}".format(*array.shape) for array in (pixels, image))
        raise DataError(f"{path}: is {have} pixels and {its} is {want}; {mend}")
