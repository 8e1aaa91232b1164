"""The type of an array of pixels."""

from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]
"""Of any type; each function states its shape, H height, W width and C channels."""
