"""Images as they are seen, and what each kind of file is opened as: pages that are read when they are asked for."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from unet_exp.config.user_data import Axis, NoData
from unet_exp.errors import DataError
from unet_exp.io.arrays import Array
from unet_exp.io.directions import NOWHERE, Directions
from unet_exp.io.orientation import UPRIGHT, Orientation
from unet_exp.io.valid import Valid, clear_invalid

if TYPE_CHECKING:
    from unet_exp.io.georeference import Georeference
    from unet_exp.io.pixel_size import PixelSize

DTYPES = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32))
"""Of the pixels of images."""
MAX_PIXELS = 2**28
"""Most pixels of one page; more is a broken header or a bomb."""
MAX_CHANNELS = 64
"""Most channels of one page; more is an array whose axes stand in another order."""


class Reading(NamedTuple):
    """What is wanted of the pixels of a file.

    Attributes:
        nodata: which pixels of an image count as without data; see `unet_exp.io.valid.find_valid`.
        label: whether they are values of a label: any whole numbers, and white is not made black.
        indices: whether a palette that has colours is kept as its indices.
        classes: values of a label that are data though the file declares them as nodata.
        axes: of an array whose file does not say, letters among `tczyx`, the slowest first; None: by its shape.
        slice_axis: volumes are stacks of slices along it.
    """

    nodata: NoData = None
    label: bool = False
    indices: bool = False
    classes: tuple[float, ...] = ()
    axes: str | None = None
    slice_axis: Axis = "z"


class Scene(NamedTuple):
    """One image as it is seen.

    Attributes:
        pixels: (H, W, C) uint8, uint16 or float32, of a label also int64; 0 where not valid.
        valid: (H, W), True where a pixel holds data; None: everywhere.
        turned: whether its file says that it is stored in another orientation.
    """

    pixels: Array
    valid: Valid = None
    turned: bool = False


class OpenImages(ABC):
    """The images of an open file or folder, each read when it is asked for.

    It belongs to one process and one thread: a forked process opens its own.

    Args:
        path: as it was given, for messages.
        reading: what is wanted of the pixels.
    """

    def __init__(self, path: Path, reading: Reading) -> None:
        self._path, self._reading = path, reading
        self._kept: tuple[int, Scene] | None = None

    @abstractmethod
    def __len__(self) -> int:
        """The number of images."""

    @abstractmethod
    def size(self, page: int) -> tuple[int, int, int]:
        """Height, width and channels of an image as it is seen, from the headers."""

    @property
    @abstractmethod
    def itemsize(self) -> int:
        """Bytes of a value of the largest image."""

    @property
    def by_window(self) -> bool:
        """Whether a window costs less than all of its image."""
        return False

    @property
    def directions(self) -> Directions:
        """Where the axes of a volume lead in the patient."""
        return NOWHERE

    @property
    def guessed(self) -> str:
        """The axes of an array of three or more, where neither its file nor the config says which; else empty."""
        return ""

    @property
    def georeference(self) -> "Georeference | None":
        """Where the first image lies on the earth; None where its file does not say."""
        return None

    @property
    def pixel_size(self) -> "PixelSize | None":
        """How large a pixel of every image is; None where the file does not say, or its images differ."""
        return None

    def count_values(self, page: int) -> int:
        """The values of an image, H x W x C; 0 where it is too large to be read whole."""
        size = self.size(page)
        return 0 if describe_excess(*size) else math.prod(size)

    def page(self, index: int) -> Scene:
        """Reads an image.

        Raises:
            DataError: for one that is damaged, too large, or of pixels that are not read.
        """
        with explain_damage(self._path):
            return self._read(index)

    def region(self, index: int, top: int, left: int, height: int, width: int) -> tuple[Array, Valid]:
        """Reads a window inside an image: its pixels (height, width, C), and which are valid.

        Raises:
            DataError: see `page`.
        """
        with explain_damage(self._path):
            return self._read_region(index, top, left, height, width)

    def close(self) -> None:
        """Forgets what was read; the file is closed by who opened it."""
        self._kept = None

    @abstractmethod
    def _read(self, index: int) -> Scene: ...

    def _read_region(self, index: int, top: int, left: int, height: int, width: int) -> tuple[Array, Valid]:
        """Cuts a window out of its image, which is kept for the next one."""
        if self._kept is None or self._kept[0] != index:
            self._kept = None  # two images at a time are not needed
            self._kept = index, self._read(index)
        pixels, valid, _ = self._kept[1]
        window = slice(top, top + height), slice(left, left + width)
        return np.ascontiguousarray(pixels[window]), None if valid is None else np.ascontiguousarray(valid[window])


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
        reason = quote(error, 200) or type(error).__name__
        what = f"the file is damaged, cut short or of an unknown kind ({reason})"
        raise DataError(f"{path}: {what}; copy or export it again") from None


def quote(text: object, most: int = 80) -> str:
    """A text of a file as a part of a message: on one line, without signs that steer a terminal, and not long."""
    shown = "".join(sign if sign.isprintable() else " " for sign in str(text))
    return " ".join(shown.split())[:most]


def check_size(path: Path, height: int, width: int, channels: int = 1) -> None:
    """Checks the size of an image before it is decoded.

    Raises:
        DataError: if it is too large to be read whole.
    """
    if excess := describe_excess(height, width, channels):
        raise DataError(f"{path}: {excess}")


def describe_excess(height: int, width: int, channels: int) -> str:
    """The message for an image that is too large; empty for one that can be read."""
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


def make_scene(
    path: Path | str, pixels: Array, valid: Valid, reading: Reading, orientation: Orientation = UPRIGHT
) -> Scene:
    """A scene of interpreted pixels (H, W) or (H, W, C) and their valid ones, both as stored.

    Raises:
        DataError: see `to_standard_type`.
    """
    seen = orientation.turn(to_standard_type(path, clear_invalid(pixels, valid), reading.label))
    valid = None if valid is None else np.ascontiguousarray(orientation.turn(valid))
    return Scene(np.ascontiguousarray(seen), valid, orientation != UPRIGHT)


def stretch_booleans(pixels: Array) -> Array:
    """A copy of pixels in the byte order of this machine, booleans as 0 and 255."""
    if pixels.dtype.kind == "b":
        return pixels.astype(np.uint8) * np.uint8(255)
    return pixels.astype(pixels.dtype.newbyteorder("="))


def to_standard_type(path: Path | str, pixels: Array, label: bool = False) -> Array:
    """Converts decoded pixels, (H, W) or (H, W, C), to (H, W, C) uint8, uint16 or float32; of a label also int64.

    Raises:
        DataError: for pixels that are not finite or do not fit.
    """
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    if pixels.dtype.kind == "f":
        with np.errstate(over="ignore"):
            floats = pixels.astype(np.float32, copy=False)
        if not np.isfinite(floats).all():
            mend = "replace infinite values, in images by NaN where there is no data"
            if np.isnan(floats).any():
                mend = (
                    "replace NaN and infinite values, or, in images, count NaN as without data (data.nodata=declared)"
                )
            raise DataError(f"{path}: some pixels are not finite; {mend}")
        whole = (
            label
            and pixels.shape[2] == 1
            and bool((np.rint(pixels) == pixels).all() and float(np.abs(pixels).max()) < 2**53)
        )
        if not whole:
            return np.ascontiguousarray(floats)
        pixels = pixels.astype(np.int64)
    if pixels.dtype not in DTYPES:
        if pixels.dtype.kind not in "iu":
            raise DataError(f"{path}: its {pixels.dtype} pixels do not fit into floats; save as float32")
        fits = int(pixels.min()) >= 0 and int(pixels.max()) <= 65535
        if not fits and not label:
            least = int(pixels.min())
            rest = pixels[pixels != least]
            fill = least < 0 and rest.size > 0 and int(rest.min()) >= 0 and int(rest.max()) <= 65535
            mend = "save as float32"
            if fill:
                mend = f"if {least} means that there is no data, type data.nodata={least}, else {mend}"
            raise DataError(
                f"{path}: its {pixels.dtype} pixels, {least} to {pixels.max()}, do not fit into 16 bits; {mend}"
            )
        pixels = pixels.astype(np.uint16 if fits else np.int64)
    return np.ascontiguousarray(pixels)
