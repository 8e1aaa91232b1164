"""Parts of images that need not be read whole: TIFF pages by window, NumPy arrays by memory map."""

from pathlib import Path
from typing import Protocol

import numpy as np
from tifffile import TiffFile

from unet_exp.io.arrays import Array
from unet_exp.io.images import NUMPY, TIFF, show_numpy
from unet_exp.io.tiff import Reading, explain_damage, list_image_pages, to_standard_type
from unet_exp.io.tiff_stack import find_stack
from unet_exp.io.valid import Valid, clear_invalid, find_valid
from unet_exp.io.windows import WindowedPage


class PartReader(Protocol):
    """A page of which parts are read."""

    def region(self, top: int, left: int, height: int, width: int) -> tuple[Array, Valid]:
        """Reads a part that lies within the page: its pixels (height, width, C), and which are valid."""

    def close(self) -> None:
        """Closes its file."""


def open_parts(path: Path, page: int, reading: Reading) -> PartReader | None:
    """Opens a page for reading by parts, as `unet_exp.io.images` reads all of it.

    Args:
        path: of a file that can be read whole.
        page: its index.
        reading: what is wanted of its pixels.

    Returns:
        None for a page that must be read whole: a PNG, a JPEG, or a TIFF whose metadata arrange its planes.

    Raises:
        DataError: for a TIFF that is damaged.
        OSError: for a file that cannot be opened.
    """
    with path.open("rb") as file:
        start = file.read(8)
    if start.startswith(NUMPY):
        return _NumpyPage(path, page, reading)
    return _open_tiff(path, page, reading) if start.startswith(TIFF) else None


def _open_tiff(path: Path, page: int, reading: Reading) -> WindowedPage | None:
    with explain_damage(path):
        tiff, size = TiffFile(path), path.stat().st_size
        images = list_image_pages(path, tiff)
        if find_stack(path, tiff, images, size):
            tiff.close()
            return None
        return WindowedPage(path, images[page], size, reading)


class _NumpyPage:
    """A page of a NumPy file, which is mapped only while a part of it is read."""

    def __init__(self, path: Path, page: int, reading: Reading) -> None:
        self._path, self._page, self._reading = path, page, reading

    def region(self, top: int, left: int, height: int, width: int) -> tuple[Array, Valid]:
        """See `PartReader`."""
        with explain_damage(self._path):
            pages = np.load(self._path, mmap_mode="r", allow_pickle=False)
            size = (*pages.shape, 1) if pages.ndim == 2 else pages.shape[-3:]
            whole = pages.reshape(-1, *size)[self._page]
            part = show_numpy(whole[top : top + height, left : left + width])
            valid = find_valid(part, self._reading.nodata)
            pixels = to_standard_type(self._path, clear_invalid(part, valid), self._reading.label)
        return np.ascontiguousarray(pixels), valid

    def close(self) -> None:
        """See `PartReader`."""
