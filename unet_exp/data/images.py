"""Image files: PNG, JPEG and TIFF in, PNG and TIFF out, by OpenCV alone.

OpenCV gives half a picture for some broken files, and fewer pages or channels than the file has for others,
without a word. So a file's own headers are read first: what they promise is what must come out, or the file
is refused.
"""

import glob
import re
import stat
import struct
import threading
import uuid
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from unet_exp.errors import DataError

Array = np.ndarray[Any, Any]

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
"""What is read, in lower case."""
TIFF_SUFFIXES = (".tif", ".tiff")
WRITE_SUFFIXES = (".png", *TIFF_SUFFIXES)
MAX_PIXELS = 2**28
"""Most pixels of one page; more is a broken header or a bomb."""

_DTYPES = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32))


def read_pages(path: str | Path) -> list[Array]:
    """All pages of an image file.

    Args:
        path: a PNG, a JPEG or a TIFF (with one page or many); told apart by content, not by suffix.

    Returns:
        One (H, W, C) array a page, C 1 (grey), 3 (RGB) or 4 (RGBA), uint8, uint16 or float32 as stored.
        Palettes are resolved; one-bit pages are 0 and 255; other integers that fit become uint16, float64
        becomes float32.

    Raises:
        DataError: for a file that is missing, unreadable, damaged, cut short, absurdly large or not an image,
            and for pixels that are of another type, not finite or of another number of channels.
    """
    path = Path(path)
    data = _read_bytes(path)
    promised = _headers(path, data)
    for page in promised:
        if page.width * page.height > MAX_PIXELS:
            raise DataError(
                f"{path}: {page.width} x {page.height} pixels are more than a page may have ({MAX_PIXELS}); "
                "cut the image into smaller ones"
            )
        if page.channels not in (None, 1, 3, 4):
            raise DataError(f"{path}: has {page.channels} channels; save it as grey, RGB or RGBA")
    pages = _decode(path, data)
    if [page.shape[:2] for page in pages] != [(page.height, page.width) for page in promised]:
        what = f"not all of its {len(promised)} pages" if pages else "none of its pixels"
        raise DataError(f"{path}: {what} can be read; copy or export the file again")
    return [_page(path, page, header) for page, header in zip(pages, promised, strict=True)]


def read_image(path: str | Path) -> Array:
    """The only page of an image file, (H, W, C) as in `read_pages`.

    Raises:
        DataError: as `read_pages`, and for a file of several pages.
    """
    pages = read_pages(path)
    if len(pages) != 1:
        raise DataError(f"{path}: has {len(pages)} pages where one image is expected; save each page as a file")
    return pages[0]


def write_image(path: str | Path, array: Array) -> None:
    """Write one image; the file appears whole or not at all.

    Args:
        path: ends in .png, .tif or .tiff; its folder exists.
        array: (H, W) or (H, W, C), C 1, 3 (RGB) or 4 (RGBA); uint8, uint16, or (TIFF only) float32.

    Raises:
        DataError: for another suffix, float32 in a PNG, or where the file cannot be written.
    """
    write_pages(path, [array])


def write_pages(path: str | Path, pages: Sequence[Array]) -> None:
    """Write images as the pages of one file; several only into a TIFF. See `write_image`.

    Raises:
        DataError: as `write_image`, and for several pages in a PNG.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in WRITE_SUFFIXES:
        raise DataError(f"{path}: cannot write this kind of file; end its name in one of {' '.join(WRITE_SUFFIXES)}")
    if not pages:
        raise ValueError("no pages to write")
    stored = [_stored(page) for page in pages]
    if suffix == ".png":
        if len(stored) > 1:
            raise DataError(f"{path}: a PNG holds one page, not {len(stored)}; end its name in .tif")
        if stored[0].dtype == np.float32:
            raise DataError(f"{path}: a PNG cannot hold float32 pixels; end its name in .tif")
    # Unless told otherwise, OpenCV 4 stores float32 colours in a lossy way. 5 is lossless (LZW).
    options = [] if suffix == ".png" else [cv2.IMWRITE_TIFF_COMPRESSION, 5]
    with _side_file(path) as side, _quiet():
        if len(stored) == 1:
            done, data = cv2.imencode(suffix, stored[0], options)
        elif hasattr(cv2, "imencodemulti"):
            done, data = cv2.imencodemulti(suffix, stored, options)
        else:  # OpenCV 4.10 encodes several pages only into a file.
            done, data = cv2.imwritemulti(str(side), stored, options), None
        if not done:
            raise DataError(f"{path}: OpenCV could not write it; is there room, and may you write in its folder?")
        if data is not None:
            side.write_bytes(data.tobytes())
        elif len(_tiff_headers(side.read_bytes())) != len(stored):
            raise OSError(None, "it was cut short")


def list_images(spec: str | Path) -> list[Path]:
    """The image files that a word on the command line means, in natural order: 2.png before 10.png.

    Args:
        spec: a file (taken whatever its suffix), a folder (its own images, hidden files left out) or a glob
            such as `scans/*.tif` or `scans/**/*.png`.

    Raises:
        DataError: where nothing matches, or nothing that matches is an image.
    """
    path = Path(spec).expanduser()
    known = " ".join(SUFFIXES)
    try:
        if path.is_dir():
            images = _images(path.iterdir())
            if not images:
                raise DataError(f"{path}: no images in this folder; known are {known}")
            return images
        if path.exists():
            return [path]
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({_reason(error)}); check its permissions") from None
    if not glob.has_magic(str(path)):
        raise DataError(f"{path}: there is no such file or folder; check the path")
    found = [Path(match) for match in glob.glob(str(path), recursive=True)]
    images = _images(found)
    if not images:
        what = f"none of the {len(found)} matches is an image; known are {known}" if found else "nothing matches"
        raise DataError(f"{path}: {what}; check the pattern")
    return images


def natural_key(path: Path) -> list[str | int]:
    """Sorts numbers inside names by value."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"([0-9]+)", path.as_posix())]


def _images(paths: Iterator[Path] | list[Path]) -> list[Path]:
    keep = (p for p in paths if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and p.is_file())
    return sorted(keep, key=natural_key)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _read_bytes(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise DataError(f"{path}: is a folder where an image file is expected; name a file in it")
        if not stat.S_ISREG(mode):
            raise DataError(f"{path}: is not a regular file; save the image as a file first")
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{path}: there is no such file; check the path") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({_reason(error)}); check the file and its permissions") from None
    if not data:
        raise DataError(f"{path}: the file is empty; copy or export it again")
    return data


@dataclass(frozen=True)
class _Header:
    """What a file says of one page."""

    width: int
    height: int
    channels: int | None = None


class _Broken(Exception):
    """Says what is wrong with a file's bytes."""


def _headers(path: Path, data: bytes) -> list[_Header]:
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return [_png_header(data)]
        if data.startswith(b"\xff\xd8\xff"):
            return [_jpeg_header(data)]
        if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            return _tiff_headers(data)
    except (struct.error, IndexError, OverflowError):
        raise DataError(f"{path}: the file is cut short; copy or export it again") from None
    except _Broken as error:
        raise DataError(f"{path}: {error}; copy or export it again") from None
    raise DataError(f"{path}: is not a PNG, JPEG or TIFF image; convert it to one of them")


def _png_header(data: bytes) -> _Header:
    """Walks the chunks to the end mark and checks their sums."""
    view, at = memoryview(data), 8
    while True:
        length, kind = struct.unpack_from(">I4s", data, at)
        (checksum,) = struct.unpack_from(">I", data, at + 8 + length)
        if zlib.crc32(view[at + 4 : at + 8 + length]) != checksum:
            raise _Broken("the PNG file is damaged (a checksum does not fit)")
        if kind == b"IEND":
            width, height = struct.unpack_from(">II", data, 16)
            return _Header(width, height)
        at += 12 + length


def _jpeg_header(data: bytes) -> _Header:
    """Walks the segments to the scan, and looks for the end mark behind it."""
    size, at = (0, 0), 2
    while True:
        if data[at] != 0xFF:
            raise _Broken("the JPEG file is damaged")
        marker = data[at + 1]
        if marker == 0xFF:  # A fill byte.
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 5)
            size = (width, height)
        if marker == 0xDA:
            break
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    if data.find(b"\xff\xd9", at) < 0:
        raise _Broken("the JPEG file is cut short")
    return _Header(*size)


_TIFF_TYPES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}


def _tiff_headers(data: bytes) -> list[_Header]:
    """Walks the chain of pages and checks that all their pixels lie inside the file."""
    order = "<" if data[:2] == b"II" else ">"
    big = 43 in data[2:4]
    at = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
    pages, seen = [], set()
    while at:
        if at in seen:
            raise _Broken("the TIFF file is damaged (its pages form a ring)")
        seen.add(at)
        tags, at = _tiff_tags(data, at, order, big)
        if 256 not in tags or 257 not in tags:
            raise _Broken("the TIFF file is damaged (a page has no size)")
        for offsets, counts in ((273, 279), (324, 325)):  # Strips, tiles.
            for offset, count in zip(tags.get(offsets, ()), tags.get(counts, ()), strict=False):
                if offset + count > len(data):
                    raise _Broken("the TIFF file is cut short")
        palette = tags.get(262, (1,))[0] == 3
        pages.append(_Header(tags[256][0], tags[257][0], 3 if palette else tags.get(277, (1,))[0]))
    return pages


def _tiff_tags(data: bytes, at: int, order: str, big: bool) -> tuple[dict[int, tuple[int, ...]], int]:
    """The whole-number tags of one page, and where the next page begins (0: nowhere)."""
    count_code, entry_size, offset_code = ("Q", 20, "Q") if big else ("H", 12, "I")
    (entries,) = struct.unpack_from(order + count_code, data, at)
    at += struct.calcsize(count_code)
    tags = {}
    for entry in range(at, at + entries * entry_size, entry_size):
        tag, kind, count = struct.unpack_from(order + "HH" + offset_code, data, entry)
        if kind not in _TIFF_TYPES or not count or tag not in (256, 257, 262, 273, 277, 279, 324, 325):
            continue
        code = f"{order}{count}{_TIFF_TYPES[kind]}"
        place = entry + 4 + struct.calcsize(offset_code)
        if struct.calcsize(code) > struct.calcsize(offset_code):
            (place,) = struct.unpack_from(order + offset_code, data, place)
        tags[tag] = struct.unpack_from(code, data, place)
    return tags, struct.unpack_from(order + offset_code, data, at + entries * entry_size)[0]


def _decode(path: Path, data: bytes) -> list[Array]:
    buffer = np.frombuffer(data, np.uint8)
    try:
        with _quiet():
            if data[:2] in (b"II", b"MM"):
                return list(cv2.imdecodemulti(buffer, cv2.IMREAD_UNCHANGED)[1])
            page = cv2.imdecode(buffer, cv2.IMREAD_UNCHANGED)
    except MemoryError:
        raise DataError(f"{path}: does not fit into memory; cut the image into smaller ones") from None
    except cv2.error:
        page = None
    return [] if page is None else [page]


def _page(path: Path, page: Array, header: _Header) -> Array:
    """One decoded page as `read_pages` promises it."""
    page = page[:, :, None] if page.ndim == 2 else page
    channels = page.shape[2]
    if channels not in (1, 3, 4) or (header.channels or channels) != channels:
        channels = header.channels or channels
        raise DataError(f"{path}: has {channels} channels; save it as grey, RGB or RGBA")
    if page.dtype == np.float64:
        page = page.astype(np.float32)
    elif page.dtype not in _DTYPES:
        if page.dtype.kind not in "iu" or page.min() < 0 or page.max() > 65535:
            raise DataError(
                f"{path}: its {page.dtype} pixels do not fit into 16 bits; save as uint8, uint16 or float32"
            )
        page = page.astype(np.uint16)
    if page.dtype == np.float32 and not np.isfinite(page).all():
        raise DataError(f"{path}: some pixels are not finite; replace NaN and infinite values")
    return _swap_red_and_blue(page)


def _stored(array: Array) -> Array:
    """An (H, W) or (H, W, C) array as OpenCV stores it."""
    array = array[:, :, None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or not array.size or array.dtype not in _DTYPES:
        raise ValueError(f"cannot store {array.dtype} of shape {array.shape} as an image")
    return _swap_red_and_blue(array)


def _swap_red_and_blue(page: Array) -> Array:
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[page.shape[2]]
    return np.ascontiguousarray(page if len(order) == 1 else page[:, :, order])


@contextmanager
def _side_file(path: Path) -> Iterator[Path]:
    """A file beside `path` that takes its place when all went well, and is gone otherwise."""
    side = path.with_name(f".{uuid.uuid4().hex}{path.suffix.lower()}")
    try:
        yield side
        side.replace(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({_reason(error)}); mend that, or choose another place") from None
    finally:
        side.unlink(missing_ok=True)


_log: Any = getattr(cv2.utils, "logging", cv2)  # OpenCV 4 has the functions at its top level.
_quiet_lock = threading.Lock()
_quiet_depth = 0
_loud_level = 0


@contextmanager
def _quiet() -> Iterator[None]:
    """No lines of OpenCV's own on stderr.

    The level is the whole process's, so the first thread that comes sets it and the last that goes resets it.
    """
    global _quiet_depth, _loud_level
    with _quiet_lock:
        if not _quiet_depth:
            _loud_level = _log.getLogLevel()
            _log.setLogLevel(0)
        _quiet_depth += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_depth -= 1
            if not _quiet_depth:
                _log.setLogLevel(_loud_level)
