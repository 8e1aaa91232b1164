"""Arrays of two to five axes as images: slices of volumes, each read by window."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from unet_exp.errors import DataError
from unet_exp.io.arrays import Array
from unet_exp.io.directions import NOWHERE, Directions
from unet_exp.io.pixel_size import PixelSize, Spacing
from unet_exp.io.scene import (
    MAX_CHANNELS,
    OpenImages,
    Reading,
    Scene,
    check_size,
    make_scene,
    quote,
    stretch_booleans,
)
from unet_exp.io.stored import Stored
from unet_exp.io.valid import Declared, Valid, find_valid

Key = tuple[int | slice, ...]
"""An index for each axis."""
_FEW = 4
"""An axis of at most so many may be that of channels."""
_EXACT = 2**24
"""Whole numbers up to it are exact as float32."""
MAX_CHUNK = 2**30
"""Most bytes of a chunk of a container, which is unpacked as a whole."""
_MOST_KEPT = 2**26
_SHOWN = 6
_MOST_SLICES = 2**20


class Values(Protocol):
    """An array of which parts are read."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of each axis."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of its values."""

    def __getitem__(self, key: Any, /) -> Any:
        """Reads a part, without the axes of whole numbers in the `Key`."""


class MappedValues:
    """Values that lie in one run of a file, which is mapped only while a part of them is read.

    Args:
        stored: the file, which may be packed.
        dtype: of the values.
        shape: of each axis.
        offset: bytes before the first.
        fortran: whether the first axis is the fastest.

    Raises:
        ValueError: if the file ends before the last of them.
    """

    def __init__(
        self, stored: Stored, dtype: np.dtype[Any], shape: tuple[int, ...], offset: int, fortran: bool = False
    ) -> None:
        self._stored, self._offset, self._order = stored, offset, "F" if fortran else "C"
        self.dtype, self.shape = dtype, shape
        self._end = offset + math.prod(shape) * dtype.itemsize
        if not stored.packed and self._end > stored.size:
            raise ValueError("some of its pixels are missing")

    def __getitem__(self, key: Key) -> Array:
        file = self._stored.unpack(self._end)
        mapped: Array = np.memmap(file, self.dtype, "r", self._offset, self.shape, self._order)  # type: ignore[call-overload]
        return np.array(mapped[key])


class ChunkedValues:
    """An array in chunks: for one whole slice, all those that lie in the same chunks are unpacked together and kept.

    Args:
        values: the array.
        chunks: the length of a chunk along each axis.
    """

    def __init__(self, values: Values, chunks: Sequence[int]) -> None:
        self._values, self._chunks = values, chunks
        self.shape, self.dtype = tuple(values.shape), values.dtype
        self._kept: tuple[Key, Array] | None = None

    def __getitem__(self, key: Key) -> Array:
        layer, within, size = list(key), list(key), self.dtype.itemsize
        for axis, (part, length, chunk) in enumerate(zip(key, self.shape, self._chunks, strict=True)):
            if isinstance(part, int):
                start = part - part % chunk
                layer[axis], within[axis] = slice(start, min(start + chunk, length)), part - start
                size *= min(start + chunk, length) - start
            elif part.indices(length) == (0, length, 1):
                size *= length
            else:
                return np.asarray(self._values[key])
        wanted = tuple(layer)
        if size > _MOST_KEPT:
            return np.asarray(self._values[key])
        if self._kept is None or self._kept[0] != wanted:
            self._kept = None  # two at a time are not needed
            self._kept = wanted, np.asarray(self._values[wanted])
        return self._kept[1][tuple(within)]


class NamedValues(NamedTuple):
    """An array that a container holds: the path to it, its shape and its type."""

    name: str
    shape: tuple[int, ...]
    dtype: object


class SeveralArrays(DataError):
    """A container holds several arrays, and none is named; `names` are those."""

    def __init__(self, message: str, names: Sequence[str]) -> None:
        super().__init__(message)
        self.names = list(names)


def choose_array(path: Path, found: Sequence[NamedValues]) -> str:
    """The name of the only array of a container.

    Raises:
        DataError: if there are none.
        SeveralArrays: if there are several; it lists them.
    """
    if len(found) == 1:
        return found[0].name
    if not found:
        raise DataError(f"{path}: holds no array of numbers with two axes or more; export the image into it")
    listed = ", ".join(f"{quote(one.name)} ({' x '.join(map(str, one.shape))}, {one.dtype})" for one in found[:_SHOWN])
    raise SeveralArrays(
        f"{path}: holds {len(found)} arrays: {listed}{', ...' * (len(found) > _SHOWN)}; type the name of the one to "
        f"read behind that of the file or the glob, such as '*{path.suffix}/{quote(found[0].name)}'",
        [one.name for one in found],
    )


def explain_absent(path: Path, inner: str, names: Sequence[str]) -> DataError:
    """The error for a container without an array of this name."""
    listed = ", ".join(map(quote, names[:_SHOWN])) + ", ..." * (len(names) > _SHOWN)
    return DataError(f"{path}: holds nothing by the name {inner}, but {listed or 'no arrays'}; check the path")


def guess_axes(path: Path, shape: Sequence[int]) -> str:
    """The axes of an array whose file does not say, by its shape.

    Raises:
        DataError: where they are ambiguous.
    """
    few_last = bool(shape) and shape[-1] <= _FEW
    if len(shape) == 2:
        return "yx"
    if len(shape) == 3:
        return "yxc" if few_last else "zyx"
    if len(shape) == 4 and (few_last or shape[0] <= _FEW):
        return "zyxc" if few_last else "czyx"
    size = " x ".join(map(str, shape))
    if len(shape) in (4, 5):
        others = "tz"[5 - len(shape) :]
        place = min(range(len(shape) - 2), key=lambda axis: (shape[axis], -axis))  # channels are few
        example = f"{others[:place]}c{others[place:]}yx"
        raise DataError(
            f"{path}: is an array of {size}, and what its axes are is not known; type such as data.axes={example}"
        )
    raise DataError(f"{path}: is an array of {len(shape)} axes ({size}); save it with the axes yx, zyx, yxc or czyx")


def fit_axes(path: Path, shape: Sequence[int], axes: str) -> str:
    """The axes that the config gives, for an array; those of a mask may lack the channels.

    Raises:
        DataError: if there are more or fewer.
    """
    for known in (axes, axes.replace("c", "")):
        if len(known) == len(shape):
            return known
    size = " x ".join(map(str, shape))
    raise DataError(
        f"{path}: is an array of {len(shape)} axes ({size}) and data.axes={axes} names {len(axes)}; correct it"
    )


class Volume(OpenImages):
    """An array as images: its slices at each time, as they are seen.

    Args:
        path: of its file, for messages.
        reading: what is wanted of the pixels.
        values: the array.
        axes: a letter for each of its axes, among `tczyx`.
        by_window: whether parts of it can be read without the rest.
        narrow: whether whole numbers of other types become uint16 where the values of a slice fit, and are refused
            where not; else they become float32 by their type alone, as all slices must be of one type.
        declared: what the file says of pixels without data.
        directions: what it says of its axes.
        guessed: whether the axes are by the shape alone.
        spacing: what the file says of the size of its pixels.

    Raises:
        DataError: for axes of no length, and values that are no numbers.
    """

    def __init__(
        self,
        path: Path,
        reading: Reading,
        values: Values,
        axes: str,
        by_window: bool = True,
        narrow: bool = False,
        declared: Declared | None = None,
        directions: Directions = NOWHERE,
        guessed: bool = False,
        spacing: Spacing | None = None,
    ) -> None:
        super().__init__(path, reading)
        self._values, self._axes, self._narrow, self._declared = values, axes, narrow, declared
        self._by_window, self._directions, self._guessed = by_window, directions, guessed
        self._spacing = spacing
        if values.dtype.kind not in "biuf":
            raise DataError(
                f"{path}: holds {values.dtype} and no numbers of pixels; save it as uint8, uint16 or float32"
            )
        sizes = dict(zip(axes, values.shape, strict=True))
        if min(sizes.values()) < 1:
            raise DataError(f"{path}: has the shape {tuple(values.shape)}, in which nothing lies; export it again")
        self._sliced = reading.slice_axis if "z" in axes else ""
        self._rows, self._columns = (axis for axis in "zyx" if axis in axes and axis != self._sliced)
        self._slices, self._times = sizes.get(self._sliced, 1), sizes.get("t", 1)
        self._size = sizes[self._rows], sizes[self._columns], sizes.get("c", 1)
        if self._slices * self._times > _MOST_SLICES:
            raise DataError(f"{path}: has {self._slices * self._times} slices, {_MOST_SLICES} are most; split it")

    def __len__(self) -> int:
        return self._slices * self._times

    def size(self, page: int) -> tuple[int, int, int]:  # noqa: ARG002 - all have one
        """See `OpenImages`."""
        return self._size

    @property
    def itemsize(self) -> int:
        """See `OpenImages`."""
        return min(self._values.dtype.itemsize, 4)

    @property
    def by_window(self) -> bool:
        """See `OpenImages`."""
        return self._by_window

    @property
    def directions(self) -> Directions:
        """See `OpenImages`."""
        return self._directions

    @property
    def guessed(self) -> str:
        """See `OpenImages`."""
        return self._axes if self._guessed and len(self._axes) > 2 else ""

    @property
    def pixel_size(self) -> PixelSize | None:
        """See `OpenImages`."""
        return None if self._spacing is None else self._spacing.of_slices(self._rows, self._columns)

    def _read(self, index: int) -> Scene:
        height, width, channels = self._size
        if channels > MAX_CHANNELS:
            shape = " x ".join(map(str, self._values.shape))
            raise DataError(
                f"{self._path}: has {channels} channels, {MAX_CHANNELS} are most (its shape is {shape}); say what its "
                f"axes are, such as data.axes={'zyx' if len(self._axes) == 3 else 'tzyx'}"
            )
        check_size(self._path, height, width, channels)
        return Scene(*self._cut(index, slice(0, height), slice(0, width)))

    def _read_region(self, index: int, top: int, left: int, height: int, width: int) -> tuple[Array, Valid]:
        if not self._by_window:
            return super()._read_region(index, top, left, height, width)
        return self._cut(index, slice(top, top + height), slice(left, left + width))

    def _cut(self, index: int, rows: slice, columns: slice) -> tuple[Array, Valid]:
        time, place = divmod(index, self._slices)
        if not 0 <= time < self._times:
            raise ValueError(f"it has no image {index}")
        wanted: dict[str, int | slice] = {"t": time, "c": slice(None)}
        wanted |= {self._sliced: place, self._rows: rows, self._columns: columns}
        part = np.asarray(self._values[tuple(wanted[axis] for axis in self._axes)])
        left = [axis for axis in self._axes if isinstance(wanted[axis], slice)]
        order = [left.index(axis) for axis in (self._rows, self._columns, "c") if axis in left]
        pixels = stretch_booleans(part.transpose(order))
        valid = find_valid(pixels, self._reading.nodata, self._declared, classes=self._reading.classes)
        widened = pixels if self._narrow or self._reading.label else widen(self._path, pixels)
        scene = make_scene(self._path, widened, valid, self._reading)
        return scene.pixels, scene.valid


def widen(path: Path, pixels: Array) -> Array:
    """Whole numbers of images that have signs or more than 16 bits, as float32; all others as they are.

    Raises:
        DataError: for some that float32 cannot hold exactly.
    """
    if pixels.dtype.kind not in "iu" or pixels.dtype in (np.uint8, np.uint16):
        return pixels
    least, most = int(pixels.min()), int(pixels.max())
    if max(-least, most) > _EXACT:
        raise DataError(
            f"{path}: its {pixels.dtype} pixels, {least} to {most}, do not fit into floats exactly; save as float32"
        )
    return pixels.astype(np.float32)
