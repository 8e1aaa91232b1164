"""Pages of TIFFs: which of them are images, their checks, and the meaning of their pixels, read whole or by window."""

import math
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tifffile import TiffFile, TiffPage

from unet_exp.errors import DataError
from unet_exp.io.arrays import Array
from unet_exp.io.orientation import TAG, Orientation
from unet_exp.io.scene import Reading
from unet_exp.io.valid import Declared, Valid, find_valid

_WHITE_IS_ZERO, _GREY, _PALETTE, _TRANSPARENCY, _YCBCR = 0, (0, 1), 3, 4, 6
_JPEG = 7
_GDAL_NODATA = 42113
_SMALLEST_COPIED = 64  # pixels; of smaller images nobody stores copies
_ALPHAS = (1, 2)  # of tag 338: premultiplied or not
_SLIDES = ("svs", "ndpi", "scn", "bif", "philips", "qpi")
"""Kinds of tifffile whose files hold a large image, smaller copies of it and photographs of the slide."""


class ImagePage(NamedTuple):
    """A page of a TIFF that is an image, and the page that masks it, if any."""

    page: TiffPage
    mask: TiffPage | None = None


def check_page(path: Path, page: TiffPage, size: int) -> None:
    """Checks a page of a file of `size` bytes, before it is decoded, for what tifffile ignores silently.

    Raises:
        ValueError: for strips that are missing.
        DataError: for pixels of a kind that is not read.
    """
    if not page.imagewidth or not page.imagelength:
        raise ValueError(f"a page of shape {page.shape}")
    photometric, volume = _photometric(page), page.imagedepth != 1
    as_rgb = photometric == _YCBCR and page.compression == _JPEG  # tifffile makes that RGB.
    if photometric not in (*_GREY, 2, _PALETTE, _TRANSPARENCY) and not as_rgb:
        name = getattr(page.photometric, "name", str(page.photometric))
        name = "CMYK" if name == "SEPARATED" else name
        raise DataError(f"{path}: its colours are {name}, not grey, RGB or a palette; save it as grey or RGB")
    if page.dtype is None or volume:
        what = f"of shape {page.shape}, a volume" if volume else f"of {page.bitspersample} bits a value"
        raise DataError(f"{path}: holds a page {what}, which is not read; save it as pages of 8 or 16 bits or floats")
    strips = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    if (0, 0) in strips:
        raise DataError(
            f"{path}: is a sparse TIFF, in which blocks without data are not stored; write it whole, as gdal_translate "
            "does"
        )
    if len(strips) != math.prod(page.chunked) or any(not count or start + count > size for start, count in strips):
        raise ValueError("some of its pixels are missing")


def list_pages(file: TiffFile) -> list[TiffPage]:
    """The pages of a TIFF, images or not.

    Raises:
        ValueError: if there are none, or their chain forms a ring or breaks off.
    """
    offsets, pages = set(), []
    for page in file.pages:
        if page.offset in offsets:
            raise ValueError("its pages form a ring")
        offsets.add(page.offset)
        pages.append(page.aspage())
    end, width = file.pages.next_page_offset or 0, file.tiff.offsetsize
    file.filehandle.seek(end)
    if not pages or file.filehandle.read(width) != bytes(width):
        raise ValueError("some of its pages are missing")
    return pages


def list_image_pages(path: Path, file: TiffFile) -> list[ImagePage]:
    """The pages of a TIFF that are images: no smaller copies (overviews, thumbnails), no masks of other pages.

    Where every page calls itself a copy or a mask, as some programs write by mistake, all are images.

    Raises:
        ValueError: see `list_pages`.
        DataError: for pages that may be copies of the first.
    """
    pages = list_pages(file)
    if any(getattr(file, f"is_{kind}", False) for kind in _SLIDES) or _is_pyramid(pages):
        return [ImagePage(pages[0])]
    found: list[ImagePage] = []
    for page in pages:
        if not page.is_reduced and not page.is_mask:
            found.append(ImagePage(page))
        elif page.is_mask and not page.is_reduced and found and page.shape[:2] == found[-1].page.shape[:2]:
            found[-1] = found[-1]._replace(mask=page)
    found = found or [ImagePage(page) for page in pages]
    first, *others = (page for page, _ in found)
    if others and first.imagelength >= _SMALLEST_COPIED and all(_is_reduced(first, other) for other in others):
        sizes = ", ".join(f"{page.imagewidth} x {page.imagelength}" for page, _ in found[:4])
        raise DataError(
            f"{path}: its {len(found)} pages have the sizes {sizes}, as an image and smaller copies of it that are not "
            "marked as such; save the image alone"
        )
    return found


def _is_pyramid(pages: list[TiffPage]) -> bool:
    """Whether a tiled page is followed by halves, each of the one before: copies that nothing marks as such."""
    halves = all(_is_reduced(*pair, factor=2) for pair in pairwise(pages))
    return len(pages) > 1 and pages[0].is_tiled and halves


def _is_reduced(large: TiffPage, small: TiffPage, factor: float | None = None) -> bool:
    """Whether one page can be a copy of another, smaller by a factor, or by any one above 1.5."""
    factor = factor or large.imagelength / small.imagelength
    same = small.dtype == large.dtype and small.samplesperpixel == large.samplesperpixel
    sides = (small.imagelength, large.imagelength), (small.imagewidth, large.imagewidth)
    return same and factor > 1.5 and all(abs(side - whole / factor) < 1 for side, whole in sides)


def find_valid_stored(page: ImagePage, stored: Array, shown: Array, mask: Array | None, reading: Reading) -> Valid:
    """The valid pixels of a page or of a window of it: (H, W) or (H, W, C) as stored, as seen, and of its mask page."""
    tags, alpha = page.page.tags, None
    declared = _parse_number(tags[_GDAL_NODATA].value) if _GDAL_NODATA in tags else None
    extra = [int(kind) for kind in page.page.extrasamples]
    for place, kind in enumerate(extra):
        # What is transparent in a mask may be anything.
        if kind in _ALPHAS and page.page.samplesperpixel > 1 and not reading.label:
            alpha = page.page.samplesperpixel - len(extra) + place
    hidden = None if mask is None else mask == 0
    return find_valid(stored, reading.nodata, Declared(declared, alpha), hidden, shown, reading.classes)


def interpret_pixels(page: TiffPage, pixels: Array, reading: Reading) -> Array:
    """Turns palettes into colours, stretches 1, 2 and 4 bits to full scale, and, in images, makes 0 black.

    Args:
        page: their page.
        pixels: decoded, (H, W) or (H, W, C), of all of the page or a window.
        reading: what is wanted of them.
    """
    if _photometric(page) == _PALETTE:
        if _keeps_indices(page, reading):
            return pixels
        palette = np.asarray(page.colormap)  # 16 bits; some writers fill but 8.
        return np.moveaxis(np.take((palette >> 8 * (palette.max() > 255)).astype(np.uint8), pixels, axis=1), 0, 2)
    if page.bitspersample in (1, 2, 4):
        pixels = pixels.astype(np.uint8) * np.uint8(255 // (2**page.bitspersample - 1))
    return invert_white(page, pixels, reading)


def invert_white(page: TiffPage, pixels: Array, reading: Reading) -> Array:
    """Makes 0 black in the image of a page that has white at 0; the values of a label stay."""
    white = _photometric(page) == _WHITE_IS_ZERO and not reading.label and pixels.dtype.kind == "u"
    return ~pixels if white else pixels


def find_orientation(page: TiffPage) -> Orientation:
    """How the pixels of a page are to be turned."""
    return Orientation.of(page.tags[TAG].value if TAG in page.tags else 1)


def count_channels(page: TiffPage, reading: Reading) -> int:
    """Channels of the result of `interpret_pixels`."""
    shows_palette = _photometric(page) == _PALETTE and not _keeps_indices(page, reading)
    return 3 if shows_palette else page.samplesperpixel


def _keeps_indices(page: TiffPage, reading: Reading) -> bool:
    """Whether the indices of a palette are wanted, and it has more than shades of grey."""
    palette = np.asarray(page.colormap)
    return reading.indices and bool((palette != palette[0]).any())


def _photometric(page: TiffPage) -> int:
    return int(page.photometric) if 262 in page.tags else 1


def _parse_number(text: object) -> float | None:
    """A number as GDAL writes it; None for anything else."""
    try:
        return float(str(text).strip("\0 "))
    except ValueError:
        return None
