"""Pictures: PNG, JPEG, BMP, GIF, PNM and WebP, by Pillow.

Damage that it ignores silently is an error here, such as wrong checksums. They are turned as their EXIF says.
"""

import re
import warnings
from functools import cached_property, partial
from io import BytesIO
from typing import NamedTuple

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.Image import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.WebPImagePlugin import WebPImageFile

from unet_exp.errors import DataError
from unet_exp.io.arrays import Array
from unet_exp.io.orientation import TAG, UPRIGHT, Orientation
from unet_exp.io.scene import OpenImages, Reading, Scene, check_size, describe_excess, make_scene
from unet_exp.io.stored import Stored
from unet_exp.io.valid import Declared, find_valid

# Their messages on stderr are harmless, or become a DataError here.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

_EXIF_OF_PNG = b"eXIf"
_SPACE, _PART = re.compile(rb"\s"), 2**22
_BANDS = {"1": 1, "L": 1, "I": 1, "I;16": 1, "LA": 4, "PA": 4, "RGBA": 4}
"""Channels of the pixels of each mode of Pillow; 3 for others."""


class Picture(OpenImages):
    """The only image of a picture.

    Args:
        kind: the class of Pillow that reads it; not Image.open, which knows other formats, and warns of large images.
        stored: its file.
        reading: what is wanted of its pixels.
    """

    def __init__(self, kind: type[ImageFile], stored: Stored, reading: Reading) -> None:
        super().__init__(stored.path, reading)
        self._kind, self._stored = kind, stored

    def __len__(self) -> int:
        return 1

    def size(self, page: int) -> tuple[int, int, int]:  # noqa: ARG002 - there is one
        """See `OpenImages`."""
        height, width, channels = self._stored_size
        # Behind the pixels of a PNG it is found by reading on, and Pillow would decode them first.
        behind = self._kind is not PngImageFile or _EXIF_OF_PNG in self._stored.read_all()
        orientation = _find_orientation(self._header) if behind else UPRIGHT
        return *orientation.seen_size(height, width), channels

    def count_values(self, page: int) -> int:  # noqa: ARG002
        """See `OpenImages`."""
        height, width, channels = self._stored_size
        return 0 if describe_excess(height, width, channels) else height * width * channels

    @property
    def itemsize(self) -> int:
        """See `OpenImages`."""
        if self._kind is PpmImageFile:
            return _PlainHeader.of(self._header).dtype.itemsize
        return 1 + (self._kind is PngImageFile and self._stored.start[24] == 16)

    @cached_property
    def _header(self) -> ImageFile:
        self._stored.stream.seek(0)
        return self._kind(self._stored.stream)

    @property
    def _stored_size(self) -> tuple[int, int, int]:
        picture = self._header
        width, height = picture.size
        if self._reading.indices and picture.mode == "P" and _has_colours(picture):
            return height, width, 1
        return height, width, 4 if _shows_through(picture, self._reading) else _BANDS.get(picture.mode, 3)

    def _read(self, index: int) -> Scene:  # noqa: ARG002
        data, reading = self._stored.read_all(), self._reading
        unread, picture = self._kind(BytesIO(data)), self._kind(BytesIO(data))
        check_size(self._path, *unread.size[::-1])
        if getattr(unread, "is_animated", False):
            raise DataError(f"{self._path}: is an animation; save each of its frames as a file")
        unread.verify()  # The checksums of a PNG, which load() ignores.
        if isinstance(picture, PpmImageFile) and picture.mode != "1":
            pixels = _decode_plain(picture, data)
        else:
            picture.load()
            pixels = _decode(picture, data, reading)
        hidden = None
        transparent = picture.info.get("transparency")
        shows_all = reading.label or picture.mode == "P"  # what is transparent in a mask may be anything
        if pixels.shape[2:] in ((), (3,)) and not shows_all and isinstance(transparent, int | tuple):
            # One grey or colour, and no alpha; Pillow stretches 2 and 4 bits of a PNG, and leaves it as it is.
            stretched = picture.mode == "L" and isinstance(picture, PngImageFile)
            scale = 255 // (2 ** data[24] - 1) if stretched else 1
            hidden = (np.atleast_3d(pixels) == np.multiply(transparent, scale)).all(axis=2)
        declared = Declared(alpha=3 if pixels.shape[2:] == (4,) and not reading.label else None)
        valid = find_valid(pixels, reading.nodata, declared, hidden)
        return make_scene(self._path, pixels, valid, reading, _find_orientation(picture))


open_png = partial(Picture, PngImageFile)
open_jpeg = partial(Picture, JpegImageFile)
open_bmp = partial(Picture, BmpImageFile)
open_gif = partial(Picture, GifImageFile)
open_pnm = partial(Picture, PpmImageFile)
open_webp = partial(Picture, WebPImageFile)


def _decode(picture: ImageFile, data: bytes, reading: Reading) -> Array:
    """The pixels (H, W) or (H, W, C) of a loaded picture."""
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
    colours = "RGBA" if _shows_through(picture, reading) else "RGB"
    return np.array(picture.convert("L" if picture.mode == "1" else colours))


def _shows_through(picture: Image, reading: Reading) -> bool:
    """Whether a picture that is to be converted has an alpha or a transparent index.

    A label's transparent index has a colour, by which it is known.
    """
    if picture.mode in ("1", "L", "I", "I;16", "RGB", "RGBA"):
        return picture.mode == "RGBA"
    return picture.has_transparency_data and not (reading.label and picture.mode == "P")


class _PlainHeader(NamedTuple):
    """How the values of a PNM file lie: text or bytes, from where, how many for a pixel, and their type."""

    text: bool
    offset: int
    samples: int
    most: int
    dtype: np.dtype[np.uint8] | np.dtype[np.uint16]

    @classmethod
    def of(cls, picture: ImageFile) -> "_PlainHeader":
        """What Pillow found; it scales values to their full range, of which it keeps 8 bits."""
        (tile,) = picture.tile
        args = tile.args if isinstance(tile.args, tuple) else (str(tile.args),)
        most = int(args[1]) if len(args) > 1 else 65535 if "16" in args[0] else 255
        dtype = np.dtype(np.uint8) if most < 256 else np.dtype(np.uint16)
        return cls(tile.codec_name == "ppm_plain", tile.offset, 3 if picture.mode == "RGB" else 1, most, dtype)


def _decode_plain(picture: PpmImageFile, data: bytes) -> Array:
    """The greys or colours (H, W) or (H, W, 3) of a PNM file as stored."""
    header = _PlainHeader.of(picture)
    width, height = picture.size
    count = width * height * header.samples
    if header.text:
        values = _parse_numbers(re.sub(rb"#[^\r\n]*", b" ", data[header.offset :]))[:count]
        if values.size and not 0 <= values.min() <= values.max() <= header.most:
            raise ValueError(f"a value of {values.max()}, and {header.most} is the largest")
    else:
        end = header.offset + count * header.dtype.itemsize
        values = np.frombuffer(data[header.offset : end], header.dtype.newbyteorder(">"))
        if data[end : end + 1] == b"P":
            raise ValueError("it holds several images, one behind another")
    if values.size != count:
        raise ValueError("some of its pixels are missing")
    pixels: Array = values.astype(header.dtype).reshape(height, width, header.samples)
    return pixels[:, :, 0] if header.samples == 1 else pixels


def _parse_numbers(text: bytes) -> NDArray[np.int64]:
    """The numbers of a text, of which a part is split at a time: words take much memory."""
    parts, start = [np.empty(0, np.int64)], 0
    while start < len(text):
        space = _SPACE.search(text, start + _PART)
        end = space.start() if space else len(text)
        parts.append(np.array([int(word) for word in text[start:end].split()], np.int64))
        start = end
    return np.concatenate(parts)


def _find_orientation(picture: Image) -> Orientation:
    try:
        return Orientation.of(picture.getexif().get(TAG))
    except Exception:  # Viewers show an image whose EXIF is broken.
        return UPRIGHT


def _has_colours(picture: Image) -> bool:
    """Whether a palette has more than shades of grey."""
    palette = np.array(picture.getpalette("RGB")).reshape(-1, 3)
    return bool((palette != palette[:, :1]).any())
