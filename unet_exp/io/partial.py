"""Parts of images that need not be read whole."""

from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from unet_exp.io.arrays import Array
from unet_exp.io.images import open_images
from unet_exp.io.scene import OpenImages, Reading
from unet_exp.io.valid import Valid


class PartReader(Protocol):
    """A page of which parts are read."""

    def region(self, top: int, left: int, height: int, width: int) -> tuple[Array, Valid]:
        """Reads a part that lies within the page: its pixels (height, width, C), and which are valid."""

    def close(self) -> None:
        """Closes its file."""


def open_parts(path: Path, page: int, reading: Reading) -> PartReader | None:
    """Opens a page for reading by parts, as `unet_exp.io.images` reads all of it.

    Args:
        path: see `unet_exp.io.images.open_images`.
        page: its index.
        reading: what is wanted of its pixels.

    Returns:
        None for a page that must be read whole: a picture, one that is packed, or of a TIFF whose metadata arrange its
        planes.

    Raises:
        DataError: for a file that cannot be read.
    """
    with ExitStack() as stack:
        images = stack.enter_context(open_images(path, reading))
        return _Part(images, page, stack.pop_all()) if images.by_window else None


class _Part:
    """A page of an open file."""

    def __init__(self, images: OpenImages, page: int, opened: ExitStack) -> None:
        self._images, self._page, self._opened = images, page, opened

    def region(self, top: int, left: int, height: int, width: int) -> tuple[Array, Valid]:
        """See `PartReader`."""
        return self._images.region(self._page, top, left, height, width)

    def close(self) -> None:
        """See `PartReader`."""
        self._opened.close()
