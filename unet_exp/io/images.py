"""Image files in: PNG, JPEG, TIFF and NumPy arrays.

Pillow reads PNG and JPEG, tifffile TIFF. Damage that they ignore silently is an error here: wrong checksums, missing
strips, a broken chain of pages.

Everything is read as it is seen: turned as its orientation says (EXIF, TIFF tag 274).
"""

import logging
import math
import warnings
from collections.abc import Collection
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import imagecodecs
import numpy as np
from PIL.Image import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from tifffile import TiffFile

from unet_exp.config.user_data import NoData
from unet_exp.errors import DataError
from unet_exp.io.arrays import Array
from unet_exp.io.kinds import explain_unread
from unet_exp.io.orientation import TAG, UPRIGHT, Orientation
from unet_exp.io.tiff import (
    ImagePage,
    Reading,
    check_page,
    explain_damage,
    find_orientation,
    find_valid_stored,
    interpret_pixels,
    invert_white,
    list_image_pages,
    to_standard_type,
)
from unet_exp.io.tiff_stack import find_stack
from unet_exp.io.valid import Declared, Valid, clear_invalid, find_valid

MAX_PIXELS = 2**28
"""Most pixels of one page; more is a broken header or a bomb."""
MAX_CHANNELS = 64
"""Most channels of one page; more is an array whose axes stand in another order."""

TIFF, NUMPY = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), b"\x93NUMPY"
"""How these files begin."""
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"

# Their messages on stderr are harmless, or become a DataError here.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


class Scene(NamedTuple):
    """One image as it is seen.

    Attributes:
        pixels: (H, W, C) uint8, uint16 or float32; 0 where not valid.
        valid: (H, W), True where a pixel holds data; None: everywhere.
        turned: whether its file says that it is stored in another orientation.
    """

    pixels: Array
    valid: Valid = None
    turned: bool = False


def read_scenes(path: str | Path, nodata: NoData = "declared") -> list[Scene]:
    """Reads all images of a file, and which of their pixels are valid.

    Args:
        path: a PNG, a JPEG, a TIFF (with one page or many) or a NumPy array: (H, W), (H, W, C) or, as pages,
            (N, H, W, C); recognised by content, not by suffix.
        nodata: which pixels are not valid. `declared`: those that the file calls so (GDAL's nodata value, an alpha of
            0, a mask page) and NaN; a value: those that hold it in all channels in place of the declared one; None:
            none, and NaN is an error.

    Returns:
        One a page, or one a slice where metadata arrange pages as slices and channels (ImageJ, OME, MetaMorph). C is 1
        (grey), 3 (RGB), 4 (RGBA) or any other number up to `MAX_CHANNELS`. Palettes are resolved; one-bit pages and
        booleans are 0 and 255; other integers that fit become uint16, other floats become float32.

    Raises:
        DataError: for a file that is missing, unreadable, damaged, cut short, absurdly large or not an image,
            and for valid pixels that are of another type, not finite or of another number of channels.
    """
    return _read(Path(path), Reading(nodata))


def read_pages(path: str | Path) -> list[Array]:
    """Reads all images of a file as `read_scenes` does, with every pixel valid."""
    return [scene.pixels for scene in _read(Path(path), Reading())]


def read_labels(path: str | Path, indices: bool = False) -> list[Array]:
    """Reads all label images of a file, as `read_pages` but for their meaning.

    Whole numbers may be of any type; those that do not fit into 16 bits are int64. White is not made black where a TIFF
    has white at 0. A label has no channels: where metadata arrange some, they are slices.

    Args:
        path: as there.
        indices: return the indices of a palette that has colours, not its colours.
    """
    return [scene.pixels for scene in _read(Path(path), Reading(label=True, indices=indices))]


def read_masks(path: str | Path, indices: bool, nodata: NoData, classes: Collection[float]) -> list[Scene]:
    """Reads all label images of a file as `read_labels` does, and which of their pixels say something.

    Args:
        path: as there.
        indices: as there.
        nodata: see `read_scenes`.
        classes: values that say something though the file declares them as nodata.
    """
    return _read(Path(path), Reading(nodata, label=True, indices=indices, classes=tuple(classes)))


def _read(path: Path, reading: Reading) -> list[Scene]:
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
    if not data.startswith((_PNG, _JPEG, *TIFF, NUMPY)):
        raise DataError(f"{path}: {explain_unread(data[:1024])}")
    with explain_damage(path):
        if data.startswith(TIFF):
            return _read_tiff(path, data, reading)
        if data.startswith(NUMPY):
            return [_finish(path, page, find_valid(page, reading.nodata), reading) for page in _read_numpy(path, data)]
        return [_read_picture(path, data, reading)]


def _finish(path: Path, pixels: Array, valid: Valid, reading: Reading, orientation: Orientation = UPRIGHT) -> Scene:
    """A scene of interpreted pixels (H, W) or (H, W, C) and their valid ones, both as stored."""
    seen = orientation.turn(to_standard_type(path, clear_invalid(pixels, valid), reading.label))
    valid = None if valid is None else np.ascontiguousarray(orientation.turn(valid))
    return Scene(np.ascontiguousarray(seen), valid, orientation != UPRIGHT)


def read_image(path: str | Path) -> Array:
    """Reads the only image of a file, as `read_pages` does; a DataError for several."""
    return _require_one(path, read_pages(path))


def read_label(path: str | Path) -> Array:
    """Reads the only label image of a file, as `read_labels` does; a DataError for several."""
    return _require_one(path, read_labels(path))


def _require_one(path: str | Path, pages: list[Array]) -> Array:
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
            if start.startswith(TIFF):
                with TiffFile(file) as tiff:
                    shapes, itemsize = shape_tiff(path, tiff, path.stat().st_size)
                    return sum(math.prod(shape) for shape in shapes if not _excess(*shape)), itemsize
            if start.startswith(NUMPY):
                shape, _, dtype = _numpy_header(file)
                height, width, channels = (*shape, 1) if len(shape) == 2 else shape[-3:]
                if file.tell() + math.prod(shape) * dtype.itemsize > path.stat().st_size:
                    raise ValueError("some of its pixels are missing")
                return 0 if _excess(height, width, channels) else math.prod(shape), min(dtype.itemsize, 4)
            png = start.startswith(_PNG)
            picture = (PngImageFile if png else JpegImageFile)(file)
            width, height, channels = *picture.size, len(picture.getbands())
            values = 0 if _excess(height, width, channels) else width * height * channels
            return values, 1 + (png and start[24] == 16)
    except OSError:
        return 0, 1
    except Exception:  # As in `read_pages`.
        return path.stat().st_size, 1


def shape_tiff(path: Path, tiff: TiffFile, size: int) -> tuple[list[tuple[int, int, int]], int]:
    """Reads height, width and channels of each image of a TIFF of `size` bytes as stored, and the bytes of a value.

    Raises:
        ValueError: see `list_image_pages`.
        DataError: see `find_stack`.
    """
    pages = list_image_pages(path, tiff)
    itemsize = max((page.bitspersample + 7) // 8 for page, _ in pages)
    if stack := find_stack(path, tiff, pages, size):
        return [(stack.height, stack.width, stack.channels)] * stack.slices, itemsize
    return [(page.imagelength, page.imagewidth, page.samplesperpixel) for page, _ in pages], itemsize


def _check(path: Path, height: int, width: int, channels: int = 1) -> None:
    """Checks the size of a page before it is decoded."""
    if excess := _excess(height, width, channels):
        raise DataError(f"{path}: {excess}")


def _excess(height: int, width: int, channels: int) -> str:
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
    _check(path, height, width, channels)
    if len(data) - file.tell() != math.prod(shape) * dtype.itemsize:
        raise ValueError("some of its pixels are missing")
    pixels = np.frombuffer(data, dtype, offset=file.tell()).reshape(shape, order="F" if fortran else "C")
    return list(show_numpy(pixels.reshape(-1, height, width, channels)))


def show_numpy(pixels: Array) -> Array:
    """A copy of the pixels of a NumPy file as they are seen: booleans as 0 and 255."""
    if pixels.dtype.kind == "b":
        return pixels.astype(np.uint8) * np.uint8(255)
    return pixels.astype(pixels.dtype.newbyteorder("="))


def _read_picture(path: Path, data: bytes, reading: Reading) -> Scene:
    """Reads a PNG or JPEG."""
    # Not Image.open, which knows other formats, and warns of large images.
    kind = PngImageFile if data.startswith(_PNG) else JpegImageFile
    unread, picture = kind(BytesIO(data)), kind(BytesIO(data))
    _check(path, *unread.size[::-1])
    unread.verify()  # The checksums of a PNG, which load() ignores.
    picture.load()
    if getattr(picture, "is_animated", False):
        raise DataError(f"{path}: is an animation; save each of its frames as a file")
    pixels = _decode_picture(picture, data, reading)
    hidden = None
    transparent = picture.info.get("transparency")
    shows_all = reading.label or picture.mode == "P"  # what is transparent in a mask may be anything
    if pixels.shape[2:] in ((), (3,)) and not shows_all and isinstance(transparent, int | tuple):
        # One grey or colour, and no alpha; Pillow stretches 2 and 4 bits, and leaves it as it is.
        scale = 255 // (2 ** data[24] - 1) if picture.mode == "L" else 1
        hidden = (np.atleast_3d(pixels) == np.multiply(transparent, scale)).all(axis=2)
    declared = Declared(alpha=3 if pixels.shape[2:] == (4,) and not reading.label else None)
    valid = find_valid(pixels, reading.nodata, declared, hidden)
    return _finish(path, pixels, valid, reading, _find_orientation(picture))


def _decode_picture(picture: PngImageFile | JpegImageFile, data: bytes, reading: Reading) -> Array:
    """The pixels (H, W) or (H, W, C) of a loaded PNG or JPEG."""
    if isinstance(picture, PngImageFile) and data[24] == 16 and picture.mode != "I;16":  # IHDR's bits a sample.
        if data[25] == 4:  # IHDR's colour type: grey with an alpha, whose low bytes Pillow cannot read.
            return np.ascontiguousarray(imagecodecs.png_decode(data)[:, :, [0, 0, 0, 1]])
        # Of 16-bit colours Pillow keeps the high bytes; in the other byte order those are the low ones.
        low = PngImageFile(BytesIO(data))
        low.tile = [tile._replace(args=str(tile.args).replace("16B", "16L")) for tile in low.tile]
        pixels: Array = np.array(picture).astype(np.uint16) << 8 | np.array(low)
        return pixels
    if picture.mode in ("L", "I;16", "RGB", "RGBA") or (
        reading.indices and picture.mode == "P" and _has_colours(picture)
    ):
        return np.array(picture)
    # A label's transparent index has a colour, by which it is known.
    colours = "RGBA" if picture.has_transparency_data and not (reading.label and picture.mode == "P") else "RGB"
    return np.array(picture.convert("L" if picture.mode == "1" else colours))


def _find_orientation(picture: Image) -> Orientation:
    try:
        return Orientation.of(picture.getexif().get(TAG))
    except Exception:  # Viewers show an image whose EXIF is broken.
        return UPRIGHT


def _has_colours(picture: Image) -> bool:
    """Whether a palette has more than shades of grey."""
    palette = np.array(picture.getpalette("RGB")).reshape(-1, 3)
    return bool((palette != palette[:, :1]).any())


def _read_tiff(path: Path, data: bytes, reading: Reading) -> list[Scene]:
    with TiffFile(BytesIO(data)) as tiff:
        pages = list_image_pages(path, tiff)
        stack = find_stack(path, tiff, pages, len(data))
        if stack is None:
            return [_read_page(path, page, len(data), reading) for page in pages]
        _check(path, stack.height, stack.width, stack.channels)
        first, orientation = pages[0], find_orientation(stack.page)
        scenes = []
        for pixels in stack.read(channels_are_slices=reading.label):
            # A palette there is how a channel is shown, and no colours that it has.
            shown = invert_white(stack.page, pixels, reading)
            valid = find_valid_stored(first, pixels, shown, None, reading)
            scenes.append(_finish(path, shown, valid, reading, orientation))
        return scenes


def _read_page(path: Path, image: ImagePage, size: int, reading: Reading) -> Scene:
    """Reads one page of a TIFF of `size` bytes."""
    page, mask = image.page, None
    for one in filter(None, image):
        _check(path, one.imagelength, one.imagewidth, one.samplesperpixel)
        _check(path, one.tilelength, one.tilewidth)
        check_page(path, one, size)
    pixels: Array = page.asarray()
    pixels = np.moveaxis(pixels, 0, 2) if page.axes == "SYX" else pixels
    if image.mask is not None and reading.nodata is not None:
        mask = image.mask.asarray()
    shown = interpret_pixels(page, pixels, reading)
    valid = find_valid_stored(image, pixels, shown, mask, reading)
    return _finish(path, shown, valid, reading, find_orientation(page))
