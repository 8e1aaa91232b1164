"""NIfTI volumes, by nibabel: (i, j, k) of the file are columns, rows and slices; a fourth axis is that of channels."""

import logging
from typing import Any

import numpy as np

from unet_exp.errors import DataError
from unet_exp.io.arrays import Array
from unet_exp.io.directions import NOWHERE, Directions
from unet_exp.io.pixel_size import Spacing
from unet_exp.io.scene import OpenImages, Reading
from unet_exp.io.stored import Stored, import_reader, open_stored
from unet_exp.io.volumes import Key, MappedValues, Volume

_SECOND = (540).to_bytes(4, "little"), (540).to_bytes(4, "big")
"""How a NIfTI-2 begins: with the size of its header."""
_UNKNOWN = ((1, 1, 1, 1), (-1, -1, 1, 1))
"""Diagonals of the affines by which NumPy arrays are saved: by nibabel and many others, and by ITK."""
_PAIRS = (b"ni1\0", b"ni2\0")
"""Magic of a header whose values are in another file."""


def open_nifti(stored: Stored, reading: Reading) -> OpenImages:
    """Opens a volume: a file (.nii), or a header (.hdr) with its values beside it (.img).

    Raises:
        DataError: for values that are not read, more than four axes, and a header without its values.
        Exception: those of nibabel for a damaged header.
    """
    nibabel = import_reader(stored.path, "nibabel", "NIfTI", "nifti")
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL + 1)  # what it says becomes a DataError, or is mended
    second = stored.start.startswith(_SECOND)
    magic = stored.start[4:8] if second else stored.start[344:348]
    apart = magic in _PAIRS
    if not apart and magic not in (b"n+1\0", b"n+2\0"):
        raise DataError(f"{stored.path}: is an Analyze volume, not a NIfTI; convert it to NIfTI")
    kinds = (nibabel.Nifti2Pair, nibabel.Nifti2Image) if second else (nibabel.Nifti1Pair, nibabel.Nifti1Image)
    header = kinds[not apart].header_class.from_fileobj(stored.stream)
    if apart:
        stored = _open_values(stored)
    values, axes = _map_values(stored, header)
    slope, intercept = header.get_slope_inter()
    scaled = slope is not None and (slope, intercept) != (1, 0)
    return Volume(
        stored.path,
        reading,
        _ScaledValues(values, slope, intercept) if scaled else values,
        axes,
        by_window=not stored.packed,
        directions=_find_directions(header),
        spacing=_find_spacing(header),
    )


def _find_spacing(header: Any) -> Spacing | None:
    """The size of voxels, where a header names its unit."""
    try:
        unit = {"mm": "mm", "micron": "µm", "meter": "m"}.get(header.get_xyzt_units()[0])
    except KeyError:  # a code without a meaning
        return None
    return Spacing(dict(zip("xyz", map(float, header.get_zooms()), strict=False)), unit) if unit else None


def _find_directions(header: Any) -> Directions:
    """What a header says of its axes i, j and k.

    A grid of 1 mm that begins at 0 is what libraries write for an array of which nothing is known.
    """
    if not header["sform_code"] > 0 and not header["qform_code"] > 0:
        return NOWHERE
    try:
        affine = np.asarray(header.get_best_affine(), np.float64)
    except Exception:  # of a broken quaternion, which is not needed to read the values
        return NOWHERE
    if any(np.array_equal(affine, np.diag(signs)) for signs in _UNKNOWN):
        return NOWHERE
    columns, rows, slices = affine[:3, :3].T
    return Directions.of((columns, rows, slices if header.get_data_shape()[2:3] > (1,) else None))


class _ScaledValues:
    """Values that are stored by a slope and an intercept."""

    dtype = np.dtype(np.float64)

    def __init__(self, values: MappedValues, slope: float, intercept: float) -> None:
        self._values, self._slope, self._intercept = values, slope, intercept
        self.shape = values.shape

    def __getitem__(self, key: Key) -> Array:
        scaled: Array = self._values[key] * np.float64(self._slope) + np.float64(self._intercept)
        return scaled


def _open_values(stored: Stored) -> Stored:
    """Opens the file beside a header."""
    name = stored.place.name
    stem = name[: name.lower().rindex(".hdr")] if ".hdr" in name.lower() else stored.place.stem
    for suffix in (".img", ".img.gz", ".IMG"):
        beside = stored.place.with_name(stem + suffix)
        if beside.is_file():
            return stored.enter(open_stored(beside))
    raise DataError(f"{stored.path}: is a header, and its values are not beside it as {stem}.img; copy both")


def _map_values(stored: Stored, header: Any) -> tuple[MappedValues, str]:
    """The values of a volume as they are stored, and their axes."""
    shape, dtype = tuple(map(int, header.get_data_shape())), header.get_data_dtype()
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) == 5 and shape[3] == 1:  # what lies on the fifth axis are vectors
        shape = (*shape[:3], shape[4])
    colours = dtype.fields is not None
    if not 2 <= len(shape) <= 4 - colours:
        size = " x ".join(map(str, shape))
        raise DataError(
            f"{stored.path}: is a volume of {size} values, and at most i, j, k and channels are read; split it"
        )
    offset, axes = int(header.get_data_offset()), "xyzc"[: len(shape)]
    if offset < 0:
        raise ValueError("its values begin before it")
    if colours:
        return MappedValues(stored, np.dtype(np.uint8), (len(dtype.fields), *shape), offset, fortran=True), f"c{axes}"
    return MappedValues(stored, dtype, shape, offset, fortran=True), axes
