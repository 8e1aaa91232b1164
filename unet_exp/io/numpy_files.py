"""NumPy files: one array (.npy), and archives of several by name (.npz). No pickles, which could run code."""

import math
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from unet_exp.errors import DataError
from unet_exp.io.scene import OpenImages, Reading, check_size
from unet_exp.io.stored import Stored
from unet_exp.io.volumes import MappedValues, NamedValues, Volume, choose_array, explain_absent, fit_axes, guess_axes

_LONGEST_HEADER = 10_000
_TRIES = 20
_AXES = {2: "yx", 3: "yxc", 4: "zyxc"}


def open_numpy(stored: Stored, reading: Reading) -> OpenImages:
    """Opens a NumPy array: (H, W), (H, W, C) or a stack (N, H, W, C), if the config does not say otherwise.

    Raises:
        DataError: for a pickle, other shapes, and values that are no numbers.
        ValueError: for a damaged file.
    """
    shape, fortran, dtype = _read_header(stored.path, stored.stream)
    offset = stored.stream.tell()
    if reading.axes is not None:
        axes = fit_axes(stored.path, shape, reading.axes)
    elif len(shape) in _AXES and all(shape):
        axes = _AXES[len(shape)]
    else:
        raise DataError(
            f"{stored.path}: has the shape {shape}; save it as (H, W), (H, W, C) or, for a stack, (N, H, W, C), or say "
            "what its axes are, such as data.axes=zyx"
        )
    if not stored.packed and stored.size != offset + math.prod(shape) * dtype.itemsize:
        check_size(stored.path, shape[axes.index("y")], shape[axes.index("x")])  # of a header that is made up
        raise ValueError("some of its pixels are missing")
    values = MappedValues(stored, dtype, shape, offset, fortran)
    guessed = reading.axes is None
    return Volume(stored.path, reading, values, axes, not stored.packed, narrow=True, guessed=guessed)


def open_npz(stored: Stored, reading: Reading) -> OpenImages:
    """Opens an array of a NumPy archive: that of the path inside of it, or else the only one.

    Raises:
        DataError: for no or several arrays, and as `open_numpy` does.
        ValueError: for a damaged file.
    """
    archive = stored.enter(zipfile.ZipFile(stored.stream))
    members = {name.removesuffix(".npy"): name for name in archive.namelist() if name.endswith(".npy")}
    if not members:
        raise DataError(f"{stored.path}: is a zip archive that holds no NumPy arrays; unpack it")
    if stored.inner and stored.inner not in members:
        raise explain_absent(stored.place, stored.inner, list(members))
    name = stored.inner or _choose(stored, archive, members)
    member = stored.enter(archive.open(members[name]))
    file = cast(BinaryIO, member)
    shape, fortran, dtype = _read_header(stored.path, file)
    offset = file.tell()
    axes = guess_axes(stored.path, shape) if reading.axes is None else fit_axes(stored.path, shape, reading.axes)
    values = MappedValues(stored.within(file), dtype, shape, offset, fortran)
    guessed = reading.axes is None
    return Volume(stored.path, reading, values, axes, by_window=False, narrow=True, guessed=guessed)


def _choose(stored: Stored, archive: zipfile.ZipFile, members: dict[str, str]) -> str:
    """The only array that can be an image; where there is but one, whatever it is."""
    if len(members) == 1:
        return next(iter(members))
    found = []
    for name, member in members.items():
        with archive.open(member) as file:
            try:
                shape, _, dtype = _read_header(stored.path, cast(BinaryIO, file))
            except DataError:  # a pickle beside arrays
                continue
        if len(shape) > 1 and dtype.kind in "biuf":
            found.append(NamedValues(name, shape, dtype))
    return choose_array(stored.place, found)


def _read_header(path: Path, file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Reads a NumPy file up to its pixels: shape, order (True: the first axis is the fastest) and type."""
    version = np.lib.format.read_magic(file)
    if version > (1, 0):  # its length has four bytes, and NumPy would read as much
        length = int.from_bytes(file.read(4), "little")
        if length > _LONGEST_HEADER:
            raise ValueError(f"a header of {length} bytes")
        file.seek(-4, 1)
    shape, fortran, dtype = _parse_header(file, version)
    if dtype.hasobject:
        raise DataError(
            f"{path}: is a pickle (as Cellpose's _seg.npy), which could run code; in Cellpose export masks as PNG or "
            "TIFF (File > Save masks as PNG/tif, or cellpose --save_png or --save_tif, or cellpose.io.save_masks), "
            "elsewhere save the array alone"
        )
    if dtype.kind not in "biuf":
        raise DataError(f"{path}: holds {dtype} and no numbers of pixels; save it as uint8, uint16 or float32")
    return shape, fortran, dtype


def _parse_header(file: BinaryIO, version: tuple[int, int]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Reads what follows the magic bytes, again where another thread has disturbed it.

    NumPy parses it as Python source. In Python 3.11 threads share the depth of that parser: rarely it ends with a
    SystemError though the file is sound.
    """
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    start = file.tell()
    for _ in range(_TRIES):
        try:
            return read(file)
        except SystemError:
            file.seek(start)
    return read(file)
