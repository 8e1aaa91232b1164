"""Windows of TIFF pages too large for memory: only the strips or tiles of a window are decoded.

Pixels are as in pages read whole (`unet_exp.io.images`). Pages whose pixels lie uncompressed in one run are read
in bands of rows, wherever their strips end.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np
from tifffile import TiffFile, TiffWriter

from unet_exp.config.user_data import NoData
from unet_exp.errors import DataError
from unet_exp.files import write_whole
from unet_exp.io.arrays import Array
from unet_exp.io.georeference import Tag
from unet_exp.io.scene import Reading, explain_damage, to_standard_type
from unet_exp.io.tiff import (
    ImagePage,
    check_page,
    count_channels,
    find_orientation,
    find_valid_stored,
    interpret_pixels,
    list_image_pages,
)
from unet_exp.io.tiff_stack import find_stack
from unet_exp.io.valid import Valid, clear_invalid

Rows = Callable[[int, int], Array]
"""Returns rows, given the first one and the one after the last."""

TILE = 512
"""Side of written tiles, in pixels."""
_JPEG = (6, 7)
_BAND = 2**20
"""Values to decode at a time where the file sets no number."""


class WindowedPage:
    """A page of an open TIFF of `size` bytes, read by window as it is seen.

    Args:
        path: of the file.
        image: the page, and the one that masks it.
        size: bytes.
        reading: what is wanted of its pixels.

    Attributes:
        height: pixels, as seen.
        width: pixels, as seen.
        channels: of the result of `region`.
        planes: separate in the file, each with strips or tiles of its own.
        itemsize: bytes of a decoded value.
        chunk_bytes: of the smallest part that can be decoded alone.

    Raises:
        ValueError: see `unet_exp.io.tiff.check_page`.
        DataError: likewise.
    """

    def __init__(self, path: Path, image: ImagePage, size: int, reading: Reading | None = None) -> None:
        page = image.page
        check_page(path, page, size)
        self.path, self._image, self._page, self._reading = path, image, page, reading or Reading()
        # Its values alone are looked at, whatever they hold.
        hidden = None if self._reading.nodata is None else image.mask
        self._mask = None if hidden is None else WindowedPage(path, ImagePage(hidden), size)
        self._orientation = find_orientation(page)
        self._stored_size = page.imagelength, page.imagewidth
        self.height, self.width = self._orientation.seen_size(*self._stored_size)
        self.channels = count_channels(page, self._reading)
        self.planes = page.samplesperpixel if page.planarconfig == 2 else 1
        self._samples = page.samplesperpixel // self.planes
        self._stored = np.dtype(page.dtype)
        self.itemsize = self._stored.itemsize
        self._in_one_run = page.is_contiguous and page.predictor == 1 and page.fillorder == 1
        height, width = self._stored_size
        if self._in_one_run:
            rows = max(1, _BAND // (width * self._samples))
            self._chunk = (min(rows, height), width)
        elif page.is_tiled:
            self._chunk = (page.tilelength, page.tilewidth)
        else:
            self._chunk = (min(page.rowsperstrip, height), width)
        self.chunk_bytes = self._chunk[0] * self._chunk[1] * self._samples * self.itemsize
        self.keep(0)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, as seen."""
        return self.height, self.width

    def keep(self, size: int) -> None:
        """Sets the bytes of decoded strips or tiles to cache for the next windows, at least one a plane."""
        self._decoded = lru_cache(maxsize=max(self.planes, size // self.chunk_bytes))(self._decode)

    def close(self) -> None:
        """Closes the file, and forgets what was decoded."""
        self._page.parent.close()
        self._decoded.cache_clear()

    def row_bytes(self, height: int) -> int:
        """Bytes of all decoded strips or tiles behind a row of windows of `height` rows."""
        tall, wide = self._orientation.seen_size(*self._chunk)
        down = 1 + -(-height // tall)
        return min(down, -(-self.height // tall)) * -(-self.width // wide) * self.planes * self.chunk_bytes

    def region(self, top: int, left: int, height: int, width: int) -> tuple[Array, Valid]:
        """Reads a window inside the page.

        Returns:
            Its pixels (height, width, C) uint8, uint16 or float32, of a label also int64, and the valid ones (height,
            width), None for all.

        Raises:
            DataError: for pixels that are damaged, not finite, or of another type.
        """
        window = self._orientation.stored_window((top, left, height, width), self.size)
        turn = self._orientation.turn
        with explain_damage(self.path):
            stored = self._read(*window)
            mask = None if self._mask is None else self._mask._read(*window)
            shown = interpret_pixels(self._page, stored, self._reading)
            valid = find_valid_stored(self._image, stored, shown, mask, self._reading)
            seen = to_standard_type(self.path, clear_invalid(shown, valid), self._reading.label)
            pixels = np.ascontiguousarray(turn(seen))
        return pixels, None if valid is None else np.ascontiguousarray(turn(valid))

    def parts(self) -> Iterator[tuple[Array, Valid]]:
        """Reads all pixels once, in windows of about a million, and decodes each strip or tile about once."""
        tall, wide = self._orientation.seen_size(*self._chunk)
        high = max(1, _BAND // (wide * self._samples))
        if wide < self.width:
            high = min(high, tall)
        for top, left in product(range(0, self.height, high), range(0, self.width, wide)):
            yield self.region(top, left, min(high, self.height - top), min(wide, self.width - left))

    def _read(self, top: int, left: int, height: int, width: int) -> Array:
        """Reads a window as stored: (height, width), or (height, width, C) with several samples a pixel."""
        tall, wide = self._chunk
        pixels = np.empty((height, width, self._samples * self.planes), self._stored)
        rows = range(top // tall, -(-(top + height) // tall))
        columns = range(left // wide, -(-(left + width) // wide))
        for row, column, plane in product(rows, columns, range(self.planes)):
            chunk = self._decoded(plane, row, column)
            y, x = row * tall, column * wide  # of the chunk's first pixel
            first, last = max(y, top), min(y + tall, top + height)
            start, stop = max(x, left), min(x + wide, left + width)
            channels = slice(plane * self._samples, (plane + 1) * self._samples)
            part = chunk[first - y : last - y, start - x : stop - x]
            pixels[first - top : last - top, start - left : stop - left, channels] = part
        return pixels[:, :, 0] if pixels.shape[2] == 1 else pixels

    def _decode(self, plane: int, row: int, column: int) -> Array:
        """Decodes a strip, tile or band: (rows, columns, samples), at the image's end perhaps with some beyond."""
        file = self._page.parent.filehandle
        tall, wide = self._chunk
        height, width = self._stored_size
        if self._in_one_run:
            line = width * self._samples * self.itemsize
            rows = min(tall, height - row * tall)
            file.seek(self._page.dataoffsets[0] + (plane * height + row * tall) * line)
            raw = np.frombuffer(file.read(rows * line), self._stored.newbyteorder(self._page.parent.byteorder))
            return raw.reshape(rows, wide, self._samples)
        down, across = -(-height // tall), -(-width // wide)
        index = (plane * down + row) * across + column
        file.seek(self._page.dataoffsets[index])
        data = file.read(self._page.databytecounts[index])  # before anything else of the page, which may seek
        jpeg = self._page.compression in _JPEG
        tables = {"jpegtables": self._page.jpegtables, "jpegheader": self._page.jpegheader} if jpeg else {}
        chunk, _, _ = self._page.decode(data, index, **tables)
        if chunk is None:
            raise ValueError("some of its pixels are missing")
        decoded: Array = chunk[0]
        return decoded


@contextmanager
def open_pages(path: Path, nodata: NoData = None) -> Iterator[list[WindowedPage]]:
    """Opens a TIFF for reading by window, and yields its images; `nodata` as for `unet_exp.io.images.read_scenes`.

    Raises:
        DataError: for a file that cannot be read, or is damaged, or whose pages are no images of their own.
    """
    try:
        stream = path.open("rb")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the file and its permissions") from None
    with stream:
        with explain_damage(path):
            size, tiff = path.stat().st_size, TiffFile(stream)
            images = list_image_pages(path, tiff)
            if stack := find_stack(path, tiff, images, size):
                raise DataError(
                    f"{path}: its metadata ({stack.series.kind}) arrange its planes as {stack.slices} slices of "
                    f"{stack.channels} channels, which cannot be read by window; save each slice as a page of its own, "
                    "with its channels together"
                )
            pages = [WindowedPage(path, image, size, Reading(nodata)) for image in images]
        yield pages


def write_by_rows(
    path: Path,
    pages: Sequence[tuple[int, int, Rows]],
    paint: Callable[[Array], Array],
    like: Array,
    tags: Sequence[Tag] = (),
) -> None:
    """Writes pages too large for memory as a tiled TIFF; it appears whole or not at all.

    Args:
        path: its folder exists.
        pages: height, width and reader of rows, (rows, width), of each page.
        paint: turns (h, w) of these into pixels (h, w, C).
        like: example of painted pixels: C is 1, or 3 for RGB; its type is the file's.
        tags: more of each page.

    Raises:
        OSError: of the writing; it names `path`.
    """
    channels = like.shape[2]

    def tiles(height: int, width: int, rows: Rows) -> Iterator[Array]:
        for top in range(0, height, TILE):
            band = rows(top, min(top + TILE, height))
            for left in range(0, width, TILE):
                part = paint(band[:, left : left + TILE])
                tile = np.zeros((TILE, TILE, channels), like.dtype)
                tile[: part.shape[0], : part.shape[1]] = part
                yield tile if channels > 1 else tile[:, :, 0]

    size = sum(height * width * channels * like.itemsize for height, width, _ in pages)
    with write_whole(path) as side, TiffWriter(side, bigtiff=size > 2**31) as tiff:
        for height, width, rows in pages:
            tiff.write(
                tiles(height, width, rows),
                shape=(height, width, 3) if channels == 3 else (height, width),
                dtype=like.dtype,
                tile=(TILE, TILE),
                photometric="rgb" if channels == 3 else "minisblack",
                planarconfig="contig" if channels == 3 else None,
                compression="zlib",
                metadata=None,
                extratags=tags,
                maxworkers=1,  # more would gather tiles first
            )
