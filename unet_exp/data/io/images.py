"""Image files: PNG, JPEG, TIFF and NumPy arrays in, PNG and TIFF out.

Pillow reads PNG and JPEG, tifffile reads and writes TIFF, imagecodecs writes PNG. Damage that they ignore silently is
an error here: wrong checksums, missing strips, a broken chain of pages.
"""

import glob
import logging
import math
import re
import warnings
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import imagecodecs
import numpy as np
from PIL.Image import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from tifffile import TiffFile, TiffPage, TiffWriter

from unet_exp.data.arrays import Array
from unet_exp.data.io.tiff import DTYPES, check_page, explain_damage, interpret_pixels, list_pages, to_standard_type
from unet_exp.errors import DataError
from unet_exp.files import write_whole

JPEG_SUFFIXES = (".jpg", ".jpeg")
TIFF_SUFFIXES = (".tif", ".tiff")
SUFFIXES = (".png", *JPEG_SUFFIXES, *TIFF_SUFFIXES, ".npy")
"""Of files that can be read, in lower case."""
WRITE_SUFFIXES = (".png", *TIFF_SUFFIXES)
MAX_PIXELS = 2**28
"""Most pixels of one page; more is a broken header or a bomb."""
MAX_CHANNELS = 64
"""Most channels of one page; more is an array whose axes stand in another order."""

_PNG, _JPEG, _TIFF = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_NUMPY = b"\x93NUMPY"
_CHANNELS = ((), (1,), (3,), (4,))

# Their messages on stderr are harmless, or become a DataError here.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def read_pages(path: str | Path, indices: bool = False) -> list[Array]:
    """Reads all pages of an image file.

    Args:
        path: a PNG, a JPEG, a TIFF (with one page or many) or a NumPy array: (H, W), (H, W, C) or, as pages,
            (N, H, W, C); recognised by content, not by suffix.
        indices: return the indices of a palette that has colours, as label files need, not its colours.

    Returns:
        One (H, W, C) array a page, C 1 (grey), 3 (RGB), 4 (RGBA) or any other number up to `MAX_CHANNELS`, uint8,
        uint16 or float32 as stored. Palettes are resolved; one-bit pages and booleans are 0 and 255; other integers
        that fit become uint16, other floats become float32. EXIF orientation is ignored.

    Raises:
        DataError: for a file that is missing, unreadable, damaged, cut short, absurdly large or not an image,
            and for pixels that are of another type, not finite or of another number of channels.
    """
    path = Path(path)
    try:
        if not path.is_file():
            missing = "is a link to nothing" if path.is_symlink() else "there is no such file"
            what = "is a folder or device, not a file" if path.exists() else missing
            raise DataError(f"{path}: {what}; check the path")
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}); check the file and its permissions"
        ) from None
    if not data.startswith((_PNG, _JPEG, *_TIFF, _NUMPY)):
        what = "is not a PNG, JPEG or TIFF image, nor a NumPy array" + ("" if data else " (it is empty)")
        raise DataError(f"{path}: {what}; convert it to one of them")
    with explain_damage(path):
        if data.startswith(_TIFF):
            pages = _read_tiff(path, data, indices)
        elif data.startswith(_NUMPY):
            pages = _read_numpy(path, data)
        else:
            pages = [_read_picture(path, data, indices)]
        return [to_standard_type(path, page) for page in pages]


def read_image(path: str | Path) -> Array:
    """Reads the only page of an image file, as `read_pages` does; a DataError for several pages."""
    pages = read_pages(path)
    if len(pages) != 1:
        raise DataError(f"{path}: has {len(pages)} pages where one image is expected; save each page as a file")
    return pages[0]


def stored_size(path: Path) -> tuple[int, int]:
    """Reads the size of an image file's pixels from its headers.

    Returns:
        The values of all its pages (H x W x C), and the bytes of each. A broken file counts by its own size; one that
        cannot be opened, and a page too large to be read, as nothing: `read_pages` raises the error.
    """
    try:
        if not path.is_file():  # Opening a pipe would wait for ever.
            return 0, 1
        with path.open("rb") as file:
            start = file.read(25)
            file.seek(0)
            if start.startswith(_TIFF):
                with TiffFile(file) as tiff:
                    pages = [page.aspage() for page in tiff.pages]
                    sizes = [(page.imagewidth, page.imagelength, page.samplesperpixel) for page in pages]
                    values = sum(math.prod(size) for size in sizes if not _excess(*size))
                    return values, max((page.bitspersample + 7) // 8 for page in pages)
            if start.startswith(_NUMPY):
                shape, _, dtype = _numpy_header(file)
                height, width, channels = (*shape, 1) if len(shape) == 2 else shape[-3:]
                return 0 if _excess(width, height, channels) else math.prod(shape), min(dtype.itemsize, 4)
            png = start.startswith(_PNG)
            picture = (PngImageFile if png else JpegImageFile)(file)
            width, height, channels = *picture.size, len(picture.getbands())
            values = 0 if _excess(width, height, channels) else width * height * channels
            return values, 1 + (png and start[24] == 16)
    except OSError:
        return 0, 1
    except Exception:  # As in `read_pages`.
        return path.stat().st_size, 1


def write_image(path: str | Path, array: Array) -> None:
    """Writes one image; see `write_pages`."""
    write_pages(path, [array])


def write_pages(path: str | Path, pages: Sequence[Array]) -> None:
    """Writes images as the pages of one file, without loss; the file appears whole or not at all.

    Args:
        path: ends in .png, .tif or .tiff; its folder exists.
        pages: each (H, W) or (H, W, C), C 1, 3 (RGB) or 4 (RGBA); uint8, uint16, or (TIFF only) float32.

    Raises:
        DataError: for another suffix, several pages or float32 in a PNG, or where the file cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in WRITE_SUFFIXES:
        raise DataError(f"{path}: cannot write this kind of file; end its name in one of {' '.join(WRITE_SUFFIXES)}")
    for page in pages:
        if page.ndim < 2 or not page.size or page.shape[2:] not in _CHANNELS or page.dtype not in DTYPES:
            raise ValueError(f"cannot store {page.dtype} of shape {page.shape} as an image")
    if suffix == ".png" and (len(pages) > 1 or pages[0].dtype == np.float32):
        raise DataError(f"{path}: a PNG holds one page, and no float32 pixels; end its name in .tif")
    # Copies: a view of one pixel counts as contiguous whatever its strides, and imagecodecs refuses them.
    stored = [np.array(page[:, :, 0] if page.shape[2:] == (1,) else page, order="C") for page in pages]
    try:
        with write_whole(path) as side:
            if suffix == ".png":
                side.write_bytes(imagecodecs.png_encode(stored[0], level=1))
            else:
                with TiffWriter(side, bigtiff=sum(page.nbytes for page in stored) > 2**31) as tiff:
                    for page in stored:
                        colours = "rgb" if page.ndim == 3 else "minisblack"
                        tiff.write(page, photometric=colours, planarconfig="contig", compression="zlib", metadata=None)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error}); choose another place") from None


def make_output_folder(folder: Path) -> None:
    """Makes the folder of the key `output`, and its parents.

    Raises:
        DataError: if it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"output={folder}: this folder cannot be made ({error.strerror}); choose another") from None


def list_images(spec: str | Path) -> list[Path]:
    """Lists image files in natural order: 2.png before 10.png.

    Args:
        spec: a file (of any suffix), a folder (its own images but hidden files) or a glob such as `scans/*.tif` or
            `scans/**/*.png`.

    Raises:
        DataError: if no image matches.
    """
    path = Path(spec).expanduser()
    try:
        if path.is_file():
            return [path]
        here = path.is_dir()
        found = path.iterdir() if here else map(Path, glob.glob(str(path), recursive=True))
        images = [p for p in found if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and p.is_file()]
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({error.strerror or error}); check its permissions") from None
    if not images:
        what = "no images in this folder" if here else "there is no such file or folder, and no image matches"
        raise DataError(f"{path}: {what}; check the path (images end in {' '.join(SUFFIXES)})")
    return sorted(images, key=natural_key)


def natural_key(path: Path) -> list[str | int]:
    """Sort key with the numbers inside names by value."""
    parts = re.split(r"([0-9]+)", path.as_posix())  # Every second one is a number.
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]


def _check(path: Path, width: int, height: int, channels: int = 1) -> None:
    """Checks the size of a page before it is decoded."""
    if excess := _excess(width, height, channels):
        raise DataError(f"{path}: {excess}")


def _excess(width: int, height: int, channels: int) -> str:
    """The message for a page that is too large; empty for one that can be read."""
    if not 1 <= channels <= MAX_CHANNELS:
        return f"has {channels} channels; save it with 1 to {MAX_CHANNELS}, the channels last"
    # As many values as the largest RGBA page has.
    if width * height > MAX_PIXELS or width * height * channels > 4 * MAX_PIXELS:
        size = f"{width} x {height} pixels" + f" of {channels} channels" * (channels > 1)
        return (
            f"{size} are too many to be read at once; cut it into smaller images, or, to predict, save it as a tiled "
            "TIFF, which scripts/predict.py reads by window"
        )
    return ""


def _numpy_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Reads a NumPy file up to its pixels: shape, order (True: the first axis is the fastest) and type."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    return shape, fortran, dtype


def _read_numpy(path: Path, data: bytes) -> list[Array]:
    file = BytesIO(data)
    shape, fortran, dtype = _numpy_header(file)
    if dtype.kind not in "biuf":
        raise DataError(f"{path}: holds {dtype} and no numbers of pixels; save it as uint8, uint16 or float32")
    if len(shape) not in (2, 3, 4) or not all(shape):
        raise DataError(f"{path}: has the shape {shape}; save it as (H, W), (H, W, C) or, for a stack, (N, H, W, C)")
    height, width, channels = (*shape, 1) if len(shape) == 2 else shape[-3:]
    _check(path, width, height, channels)
    if len(data) - file.tell() != math.prod(shape) * dtype.itemsize:
        raise ValueError("some of its pixels are missing")
    pixels = np.frombuffer(data, dtype, offset=file.tell()).reshape(shape, order="F" if fortran else "C")
    pixels = pixels.reshape(-1, height, width, channels)
    pixels = pixels.astype(np.uint8) * np.uint8(255) if dtype.kind == "b" else pixels.astype(dtype.newbyteorder("="))
    return list(pixels)


def _read_picture(path: Path, data: bytes, indices: bool) -> Array:
    """Reads the pixels of a PNG or JPEG."""
    # Not Image.open, which knows other formats, and warns of large images.
    kind = PngImageFile if data.startswith(_PNG) else JpegImageFile
    unread, picture, low = (kind(BytesIO(data)) for _ in range(3))
    _check(path, *unread.size)
    unread.verify()  # The checksums of a PNG, which load() ignores.
    picture.load()
    if kind is PngImageFile and data[24] == 16 and picture.mode != "I;16":  # IHDR's bits a sample.
        if data[25] == 4:  # IHDR's colour type: grey with an alpha, whose low bytes Pillow cannot read.
            return np.ascontiguousarray(imagecodecs.png_decode(data)[:, :, [0, 0, 0, 1]])
        # Of 16-bit colours Pillow keeps the high bytes; in the other byte order those are the low ones.
        low.tile = [tile._replace(args=str(tile.args).replace("16B", "16L")) for tile in low.tile]
        pixels: Array = np.array(picture).astype(np.uint16) << 8 | np.array(low)
        return pixels
    if picture.mode in ("L", "I;16", "RGB", "RGBA") or (indices and picture.mode == "P" and _has_colours(picture)):
        return np.array(picture)
    colours = "RGBA" if picture.has_transparency_data else "RGB"
    return np.array(picture.convert("L" if picture.mode == "1" else colours))


def _has_colours(picture: Image) -> bool:
    """Whether a palette has more than shades of grey."""
    palette = np.array(picture.getpalette("RGB")).reshape(-1, 3)
    return bool((palette != palette[:, :1]).any())


def _read_tiff(path: Path, data: bytes, indices: bool) -> list[Array]:
    with TiffFile(BytesIO(data)) as tiff:
        return [_read_page(path, page, len(data), indices) for page in list_pages(tiff)]


def _read_page(path: Path, page: TiffPage, size: int, indices: bool) -> Array:
    """Reads the pixels of one page of a TIFF of `size` bytes."""
    _check(path, page.imagewidth, page.imagelength, page.samplesperpixel)
    _check(path, page.tilewidth, page.tilelength)
    check_page(page, size)
    pixels: Array = page.asarray()
    return interpret_pixels(page, np.moveaxis(pixels, 0, 2) if page.axes == "SYX" else pixels, indices)
