"""Orientation: how the pixels of a file are to be turned before they are seen (TIFF 6.0 and EXIF, tag 274)."""

from typing import NamedTuple

from unet_exp.io.arrays import Array

TAG = 274


class Orientation(NamedTuple):
    """Rows and columns of the stored pixels exchanged, and then flipped.

    Attributes:
        transposed: rows are stored as columns.
        rows_flipped: after that, the last row is seen first.
        columns_flipped: after that, the last column is seen first.
    """

    transposed: bool = False
    rows_flipped: bool = False
    columns_flipped: bool = False

    @classmethod
    def of(cls, value: object) -> "Orientation":
        """The orientation of a tag's value, 1 to 8; upright for any other, as in viewers."""
        return cls(value in (5, 6, 7, 8), value in (3, 4, 7, 8), value in (2, 3, 6, 7))

    def turn(self, pixels: Array) -> Array:
        """Pixels (H, W, ...) as they are seen: a view, (W, H, ...) if `transposed`."""
        seen = pixels.swapaxes(0, 1) if self.transposed else pixels
        return seen[:: -1 if self.rows_flipped else 1, :: -1 if self.columns_flipped else 1]

    def seen_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width as seen of stored ones, and the other way round."""
        return (width, height) if self.transposed else (height, width)

    def stored_window(self, window: tuple[int, int, int, int], seen_size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Where the pixels of a window lie in the file.

        Args:
            window: top, left, height and width, as seen, inside the image.
            seen_size: height and width of the image as seen.
        """
        top, left, height, width = window
        top = seen_size[0] - top - height if self.rows_flipped else top
        left = seen_size[1] - left - width if self.columns_flipped else left
        return (left, top, width, height) if self.transposed else (top, left, height, width)


UPRIGHT = Orientation()
"""Pixels are stored as they are seen."""
