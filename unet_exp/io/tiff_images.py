"""TIFFs as images: pages, or slices where metadata arrange planes as slices and channels."""

import logging

import numpy as np
from tifffile import TiffFile

from unet_exp.errors import DataError
from unet_exp.io.arrays import Array
from unet_exp.io.georeference import Georeference, find_georeference
from unet_exp.io.pixel_size import PixelSize, find_tiff_size
from unet_exp.io.scene import OpenImages, Reading, Scene, check_size, explain_damage, make_scene
from unet_exp.io.stored import Stored
from unet_exp.io.tiff import (
    ImagePage,
    check_page,
    count_channels,
    find_orientation,
    find_valid_stored,
    interpret_pixels,
    invert_white,
    list_image_pages,
)
from unet_exp.io.tiff_stack import find_stack
from unet_exp.io.valid import Valid
from unet_exp.io.windows import WindowedPage

# Their messages on stderr are harmless, or become a DataError here.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)


class TiffImages(OpenImages):
    """The images of a TIFF.

    Args:
        stored: its file.
        reading: what is wanted of the pixels.

    Raises:
        ValueError: see `list_image_pages`.
        DataError: likewise, and see `find_stack`.
    """

    def __init__(self, stored: Stored, reading: Reading) -> None:
        super().__init__(stored.path, reading)
        file = stored.unpack()
        self._bytes = file.seek(0, 2)
        file.seek(0)
        self._packed = stored.packed
        self._tiff = TiffFile(file, name=self._path.name)  # a file without a name has a number there
        self._pages = list_image_pages(self._path, self._tiff)
        self._stack = find_stack(self._path, self._tiff, self._pages, self._bytes)
        self._windowed: dict[int, WindowedPage] = {}
        if reading.slice_axis != "z" and len(self) > 1:
            raise DataError(
                f"{self._path}: data.slice_axis={reading.slice_axis} is for volumes, and the pages of a TIFF are "
                "images; save it as NIfTI, NumPy, HDF5 or Zarr, or leave data.slice_axis out"
            )

    def __len__(self) -> int:
        return len(self._pages) if self._stack is None else self._stack.count(self._reading.label)

    def size(self, page: int) -> tuple[int, int, int]:
        """See `OpenImages`."""
        if self._stack is not None:
            stack = self._stack
            seen = find_orientation(stack.page).seen_size(stack.height, stack.width)
            return *seen, stack.count_channels(self._reading.label)
        image = self._pages[page].page
        seen = find_orientation(image).seen_size(image.imagelength, image.imagewidth)
        return *seen, count_channels(image, self._reading)

    @property
    def itemsize(self) -> int:
        """See `OpenImages`."""
        return max((page.bitspersample + 7) // 8 for page, _ in self._pages)

    @property
    def by_window(self) -> bool:
        """See `OpenImages`."""
        return self._stack is None and not self._packed

    @property
    def georeference(self) -> Georeference | None:
        """See `OpenImages`."""
        with explain_damage(self._path):
            return find_georeference(self._pages[0].page)

    @property
    def pixel_size(self) -> PixelSize | None:
        """See `OpenImages`."""
        with explain_damage(self._path):
            return find_tiff_size(self._tiff, [page for page, _ in self._pages])

    def _read(self, index: int) -> Scene:
        return self._read_page(self._pages[index]) if self._stack is None else self._read_slice(index)

    def _read_region(self, index: int, top: int, left: int, height: int, width: int) -> tuple[Array, Valid]:
        if self._stack is not None:
            return super()._read_region(index, top, left, height, width)
        if index not in self._windowed:
            self._windowed[index] = WindowedPage(self._path, self._pages[index], self._bytes, self._reading)
        return self._windowed[index].region(top, left, height, width)

    def _read_slice(self, index: int) -> Scene:
        stack, reading = self._stack, self._reading
        assert stack is not None
        check_size(self._path, stack.height, stack.width, stack.channels)
        pixels = stack.read(index, channels_are_slices=reading.label)
        # A palette there is how a channel is shown, and no colours that it has.
        shown = invert_white(stack.page, pixels, reading)
        valid = find_valid_stored(self._pages[0], pixels, shown, None, reading)
        return make_scene(self._path, shown, valid, reading, find_orientation(stack.page))

    def _read_page(self, image: ImagePage) -> Scene:
        page, mask = image.page, None
        for one in filter(None, image):
            check_size(self._path, one.imagelength, one.imagewidth, one.samplesperpixel)
            check_size(self._path, one.tilelength, one.tilewidth)
            check_page(self._path, one, self._bytes)
        pixels: Array = page.asarray()
        pixels = np.moveaxis(pixels, 0, 2) if page.axes == "SYX" else pixels
        if image.mask is not None and self._reading.nodata is not None:
            mask = image.mask.asarray()
        shown = interpret_pixels(page, pixels, self._reading)
        valid = find_valid_stored(image, pixels, shown, mask, self._reading)
        return make_scene(self._path, shown, valid, self._reading, find_orientation(page))
