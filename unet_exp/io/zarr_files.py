"""Zarr folders (versions 2 and 3, OME-Zarr), by zarr: an array in them, by the path inside or as the only one.

Of an OME-Zarr that is the image in full resolution. Chunks are unpacked by codecs that are known to run no code.
"""

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unet_exp.errors import DataError
from unet_exp.io.pixel_size import Spacing
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

MARKS = ("zarr.json", ".zgroup", ".zarray")
"""Files that make a folder a Zarr."""
_CODECS = {
    *("bytes", "transpose", "sharding_indexed", "endian"),
    *("blosc", "zstd", "gzip", "zlib", "lz4", "lzma", "bz2", "pcodec", "zfpy"),
    *("crc32", "crc32c", "adler32", "fletcher32", "jenkins_lookup3"),
    *("shuffle", "delta", "fixedscaleoffset", "quantize", "bitround", "packbits", "astype"),
}
_MOST_NODES, _DEEPEST = 10_000, 8
_OLD_AXES = "tczyx"
"""Of images of OME-Zarr before version 0.3."""

warnings.filterwarnings("ignore", module=r"zarr\.")


def is_zarr(folder: Path) -> bool:
    """Whether a folder is a Zarr, by its name or its files."""
    return folder.name.lower().endswith(".zarr") or any((folder / mark).is_file() for mark in MARKS)


def open_zarr(stored: Stored, reading: Reading) -> OpenImages:
    """Opens an array of a Zarr folder.

    Raises:
        DataError: for no or several arrays, codecs that are not known, and values that are no numbers.
        Exception: those of zarr for a damaged folder.
    """
    zarr = import_reader(stored.path, "zarr", "Zarr", "zarr")
    inner = stored.inner.strip("/")
    if ".." in inner.split("/") or not (stored.place / inner).is_dir():
        raise explain_absent(
            stored.place, inner, [each.name for each in _list_arrays(zarr, _open(zarr, stored, ""), "")]
        )
    node = _open(zarr, stored, inner)
    told, spacing = None, None
    if isinstance(node, zarr.Group) and _find_image(node) is None:
        found = _list_arrays(zarr, node, f"{inner}/" if inner else "")
        inner = choose_array(stored.place, found)
        node = _open(zarr, stored, inner)
    if isinstance(node, zarr.Group):
        name, told = _find_image(node) or ("", None)
        spacing = _find_spacing(node.attrs.asdict())
        node = node[name]
    _check_storage(stored, node)
    shape = node.shape
    if told is not None:
        if len(told) != len(shape) or not set(told) <= set("tczyx") or len(set(told)) < len(told):
            raise DataError(
                f"{stored.path}: its axes are {quote(', '.join(told))}, and those of t, c, z, y and x are read"
            )
        axes = "".join(told)
    else:
        given = reading.axes
        axes = guess_axes(stored.path, shape) if given is None else fit_axes(stored.path, shape, given)
    guessed = told is None and reading.axes is None
    return Volume(stored.path, reading, ChunkedValues(node, node.chunks), axes, guessed=guessed, spacing=spacing)


def _open(zarr: Any, stored: Stored, inner: str) -> Any:
    """Opens a group or an array, to be read only."""
    store = zarr.storage.LocalStore(stored.place, read_only=True)
    # What a group says of its arrays beside their own files may differ from those.
    options = {"use_consolidated": False} if not _holds_array(stored.place / inner) else {}
    return zarr.open(store, path=inner, mode="r", **options)


def _holds_array(folder: Path) -> bool:
    """Whether a folder is an array of version 2, or an array or group of version 3."""
    return (folder / ".zarray").is_file()


def _find_image(group: Any) -> tuple[str, list[str] | None] | None:
    """The array of an OME-Zarr image in full resolution, and its axes; None for a group that is none."""
    attributes = group.attrs.asdict()
    images = attributes.get("ome", attributes).get("multiscales")
    if not images:
        return None
    axes = images[0].get("axes") or list(_OLD_AXES)
    names = [str(axis["name"] if isinstance(axis, dict) else axis).lower() for axis in axes]
    return str(images[0]["datasets"][0]["path"]), names


def _find_spacing(attributes: Mapping[str, Any]) -> Spacing | None:
    """The scale of an OME-Zarr image in full resolution, where its rows and columns have one unit."""
    try:
        image = attributes.get("ome", attributes)["multiscales"][0]
        named = {str(axis["name"]).lower(): str(axis.get("unit", "")) for axis in image["axes"]}
        steps = [*image["datasets"][0]["coordinateTransformations"], *(image.get("coordinateTransformations") or ())]
        scales = [[float(side) for side in step["scale"]] for step in steps if step["type"] == "scale"]
        along = dict(zip(named, map(math.prod, zip(*scales, strict=True)), strict=True))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):  # before version 0.4, or not as it says
        return None
    units = {named[axis] for axis in "zyx" if axis in named}
    return Spacing(along, units.pop()) if len(units) == 1 else None


def _list_arrays(zarr: Any, group: Any, prefix: str) -> list[NamedValues]:
    """The arrays that can be images, and the OME-Zarr images, without their smaller copies and labels."""
    found: list[NamedValues] = []
    left, seen = [(prefix, group, 0)], 0
    while left and seen < _MOST_NODES:
        prefix, group, depth = left.pop(0)
        if not isinstance(group, zarr.Group):
            continue
        for name, node in sorted(group.members()):
            seen += 1
            image = _find_image(node) if isinstance(node, zarr.Group) else None
            if image is not None:
                node = node[image[0]]
            if not isinstance(node, zarr.Group):
                if node.ndim > 1 and node.dtype.kind in "biuf":
                    found.append(NamedValues(prefix + name, node.shape, node.dtype))
            elif depth < _DEEPEST:
                left.append((f"{prefix}{name}/", node, depth + 1))
    return found


def _check_storage(stored: Stored, values: Any) -> None:
    """Checks that chunks are unpacked without running code, and fit into memory."""
    if values.dtype.kind not in "biuf":
        raise DataError(
            f"{stored.path}: holds {values.dtype} and no numbers of pixels; save it as uint8, uint16 or float32"
        )
    meta = values.metadata.to_dict()
    codecs = [*(meta.get("codecs") or ()), *(meta.get("filters") or ()), meta.get("compressor")]
    unknown = sorted(_name_codecs(codecs) - _CODECS)
    if unknown:
        raise DataError(
            f"{stored.path}: is packed by {quote(unknown[0])}, which is not read; save it with zstd or blosc"
        )
    chunk = math.prod(values.chunks) * values.dtype.itemsize
    if chunk > MAX_CHUNK:
        raise DataError(
            f"{stored.path}: is stored in chunks of {chunk} bytes, {MAX_CHUNK} are most; save it in smaller ones"
        )


def _name_codecs(codecs: Any) -> set[str]:
    """The names of codecs, and of those within them."""
    names: set[str] = set()
    for codec in codecs:
        if codec is None:
            continue
        name = str(codec.get("id") or codec.get("name"))
        names.add(name.removeprefix("numcodecs."))
        inner = codec.get("configuration") or {}
        names |= _name_codecs([*inner.get("codecs", ()), *inner.get("index_codecs", ())])
    return names
