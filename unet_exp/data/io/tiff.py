"""Checks of TIFF pages and the meaning of their pixels, for pages read whole and pages read by window."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from tifffile import TiffFile, TiffPage

from unet_exp.data.arrays import Array
from unet_exp.errors import DataError

DTYPES = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32))
_GREY, _PALETTE, _YCBCR = (0, 1), 3, 6
_JPEG = 7


@contextmanager
def explain_damage(path: Path) -> Iterator[None]:
    """Turns the errors of libraries for broken bytes into a DataError of one line; DataErrors pass.

    Raises:
        DataError: with the reason.
    """
    try:
        yield
    except DataError:
        raise
    except MemoryError:
        raise DataError(f"{path}: does not fit into memory; cut the image into smaller ones") from None
    except Exception as error:  # No library lists its exceptions for broken bytes.
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        what = f"the file is damaged, cut short or of an unknown kind ({reason})"
        raise DataError(f"{path}: {what}; copy or export it again") from None


def check_page(page: TiffPage, size: int) -> None:
    """Checks a page of a file of `size` bytes, before it is decoded, for what tifffile ignores silently.

    Raises:
        ValueError: for strips that are missing, three dimensions, and colours that are not grey, RGB or a palette.
    """
    if page.dtype is None or page.imagedepth != 1 or not page.imagewidth or not page.imagelength:
        raise ValueError(f"a page of shape {page.shape} and {page.bitspersample} bits")
    strips = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    if len(strips) != math.prod(page.chunked) or any(not count or start + count > size for start, count in strips):
        raise ValueError("some of its pixels are missing")
    as_rgb = _photometric(page) == _YCBCR and page.compression == _JPEG  # tifffile makes that RGB.
    if _photometric(page) not in (*_GREY, 2, _PALETTE) and not as_rgb:
        raise ValueError("its colours are not grey, RGB or a palette")


def list_pages(file: TiffFile) -> Iterator[TiffPage]:
    """The pages of a TIFF.

    Raises:
        ValueError: if there are none, or their chain forms a ring or breaks off.
    """
    offsets = set()
    for page in file.pages:
        if page.offset in offsets:
            raise ValueError("its pages form a ring")
        offsets.add(page.offset)
        yield page.aspage()
    found = len(offsets)
    claimed = (file.imagej_metadata or {}).get("images", 1) if found else 1  # ImageJ may write many as one page.
    end, width = file.pages.next_page_offset or 0, file.tiff.offsetsize
    file.filehandle.seek(end)
    if found < claimed or file.filehandle.read(width) != bytes(width):
        raise ValueError("some of its pages are missing")


def interpret_pixels(page: TiffPage, pixels: Array, indices: bool = False) -> Array:
    """Turns palettes into colours, stretches 1, 2 and 4 bits to full scale, and makes 0 black.

    Args:
        page: their page.
        pixels: decoded, (H, W) or (H, W, C), of all of the page or a window.
        indices: keep the indices of a palette that has colours.
    """
    if _photometric(page) == _PALETTE:
        palette = np.asarray(page.colormap)  # 16 bits; some writers fill but 8.
        if indices and (palette != palette[0]).any():
            return pixels
        return np.moveaxis(np.take((palette >> 8 * (palette.max() > 255)).astype(np.uint8), pixels, axis=1), 0, 2)
    if page.bitspersample in (1, 2, 4):
        pixels = pixels.astype(np.uint8) * np.uint8(255 // (2**page.bitspersample - 1))
    return ~pixels if _photometric(page) == 0 and pixels.dtype.kind == "u" else pixels  # 0: white is zero.


def count_channels(page: TiffPage) -> int:
    """Channels of the result of `interpret_pixels`."""
    return 3 if _photometric(page) == _PALETTE else page.samplesperpixel


def to_standard_type(path: Path, pixels: Array) -> Array:
    """Converts decoded pixels, (H, W) or (H, W, C), to (H, W, C) uint8, uint16 or float32.

    Raises:
        DataError: for pixels that are not finite or do not fit.
    """
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    if pixels.dtype.kind == "f":
        with np.errstate(over="ignore"):
            pixels = pixels.astype(np.float32, copy=False)
        if not np.isfinite(pixels).all():
            raise DataError(f"{path}: some pixels are not finite; replace NaN and infinite values")
    elif pixels.dtype not in DTYPES:
        if pixels.dtype.kind not in "iu" or pixels.min() < 0 or pixels.max() > 65535:
            raise DataError(f"{path}: its {pixels.dtype} pixels do not fit into 16 bits; save as uint16 or float32")
        pixels = pixels.astype(np.uint16)
    return np.ascontiguousarray(pixels)


def _photometric(page: TiffPage) -> int:
    return int(page.photometric) if 262 in page.tags else 1
