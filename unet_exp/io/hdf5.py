"""HDF5 files, by h5py: an array (dataset) in them, by the path inside of the file or as the only one.

Nothing outside of the file is followed: no external links, no external or virtual storage.
"""

import json
import math
from typing import Any

from unet_exp.errors import DataError
from unet_exp.io.scene import OpenImages, Reading, quote
from unet_exp.io.stored import Stored, import_reader
from unet_exp.io.volumes import (
    MAX_CHUNK,
    ChunkedValues,
    NamedValues,
    Volume,
    choose_array,
    explain_absent,
    fit_axes,
    guess_axes,
)

_MOST_OBJECTS = 10_000
"""Groups and arrays that are looked at for the only array."""


def open_hdf5(stored: Stored, reading: Reading) -> OpenImages:
    """Opens an array of an HDF5 file.

    Raises:
        DataError: for no or several arrays, one outside of the file, and values that are no numbers.
        Exception: those of h5py for a damaged file.
    """
    h5py = import_reader(stored.path, "h5py", "HDF5", "hdf5")
    file = stored.enter(h5py.File(stored.place, "r", locking=False))
    name = stored.inner or choose_array(stored.place, _list_arrays(h5py, file))
    values = _find_array(h5py, stored, file, name)
    _check_storage(stored, values)
    given = _read_axes(values) or reading.axes
    axes = guess_axes(stored.path, values.shape) if given is None else fit_axes(stored.path, values.shape, given)
    shown = values if values.chunks is None else ChunkedValues(values, values.chunks)
    return Volume(stored.path, reading, shown, axes, guessed=given is None)


def _list_arrays(h5py: Any, file: Any) -> list[NamedValues]:
    """The arrays that can be images."""
    found: list[NamedValues] = []
    seen = 0

    def look(name: str, node: Any) -> bool | None:
        nonlocal seen
        seen += 1
        if isinstance(node, h5py.Dataset) and node.ndim > 1 and node.dtype.kind in "biuf":
            found.append(NamedValues(name, node.shape, node.dtype))
        return True if seen > _MOST_OBJECTS else None

    file.visititems(look)
    return found


def _find_array(h5py: Any, stored: Stored, file: Any, name: str) -> Any:
    """The array of a path, each step of which is a hard link or a soft one within the file."""
    node, done = file, 0
    parts = [part for part in name.split("/") if part]
    while parts:
        part = parts.pop(0)
        link = node.get(part, getlink=True) if isinstance(node, h5py.Group) else None
        if isinstance(link, h5py.ExternalLink):
            raise DataError(f"{stored.path}: is a link to another file, {quote(link.filename)}; name that file itself")
        if link is None:
            arrays = [array.name for array in _list_arrays(h5py, file)]
            raise explain_absent(stored.place, stored.inner, arrays)
        if isinstance(link, h5py.SoftLink):
            done += 1
            if done > 16:
                raise ValueError("its links form a ring")
            node = file if link.path.startswith("/") else node
            parts = [step for step in link.path.split("/") if step and step != "."] + parts
            continue
        node = node[part]
    if isinstance(node, h5py.Group):
        inside = [array._replace(name=f"{name.strip('/')}/{array.name}") for array in _list_arrays(h5py, node)]
        return _find_array(h5py, stored, file, choose_array(stored.place, inside))
    return node


def _check_storage(stored: Stored, values: Any) -> None:
    """Checks that the values of an array are numbers that lie in the file, in parts that fit into memory."""
    if values.dtype.kind not in "biuf":
        raise DataError(
            f"{stored.path}: holds {values.dtype} and no numbers of pixels; save it as uint8, uint16 or float32"
        )
    if values.external or (values.is_virtual and any(source.file_name != "." for source in values.virtual_sources())):
        raise DataError(f"{stored.path}: keeps its values in other files; save them in one, as h5repack does")
    chunk = math.prod(values.chunks or ()) * values.dtype.itemsize
    if chunk > MAX_CHUNK:
        raise DataError(
            f"{stored.path}: is stored in chunks of {chunk} bytes, {MAX_CHUNK} are most; save it in smaller ones"
        )
    if not values.is_virtual and values.id.get_storage_size() == 0:
        raise DataError(f"{stored.path}: holds an array without values; write it again")


def _read_axes(values: Any) -> str | None:
    """The axes that ilastik writes beside its arrays; None where there are none of use."""
    try:
        told = [str(axis["key"]) for axis in json.loads(values.attrs["axistags"])["axes"]]
    except Exception:  # nothing depends on them
        return None
    axes = "".join(told)
    known = len(axes) == len(told) == values.ndim and set(axes) <= set("tczyx") and {"y", "x"} <= set(axes)
    return axes if known and len(set(axes)) == len(axes) else None
