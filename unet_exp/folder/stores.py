"""Where decoded images are kept: in memory, or as plain arrays on a disk, of which only a window is read."""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from io import FileIO
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from unet_exp.errors import DataError
from unet_exp.files import write_text, write_whole
from unet_exp.folder.index import DTYPES, Row
from unet_exp.io.arrays import Array
from unet_exp.samples.sample import Region, Sample

_log = logging.getLogger(__name__)

COMPLETE = "complete"
"""A file that says which pages are all there."""
STRIP = 256
"""Width of the strips in which arrays lie, in pixels: of a wide image a window reads few columns beside its own."""


class CacheError(DataError):
    """The disk does not take what is to be kept."""


class Layer(NamedTuple):
    """An array of a page: its name in `Sample`, its shape, and its type."""

    kind: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        """Bytes."""
        return prod(self.shape) * self.dtype.itemsize


def list_layers(row: Row, objects: bool) -> list[Layer]:
    """The arrays of a page.

    Args:
        row: of the index.
        objects: whether its mask has, or gets, instances.
    """
    size = int(row["height"]), int(row["width"])
    layers = [Layer("image", (*size, int(row["used"])), DTYPES[row["dtype"]])]
    if row["masked"]:
        layers.append(Layer("label", size, np.dtype(np.uint8)))
        if objects:
            layers.append(Layer("instances", size, np.dtype(np.int32)))
    if row["pixels"] < size[0] * size[1]:
        layers.append(Layer("valid", size, np.dtype(np.bool_)))
    return layers


def count_bytes(rows: NDArray[Any], objects: bool) -> NDArray[np.int64]:
    """(N,), the bytes of all arrays of pages; arguments as for `list_layers`."""
    pixels = rows["height"].astype(np.int64) * rows["width"]
    width = np.array([dtype.itemsize for dtype in DTYPES], np.int64)[rows["dtype"]]
    of_mask = np.where(rows["masked"], 1 + 4 * objects, 0)
    found: NDArray[np.int64] = pixels * (rows["used"] * width + of_mask + (rows["pixels"] < pixels))
    return found


class Store(Protocol):
    """Keeps decoded pages, each under the digest of its content."""

    def is_complete(self, rows: NDArray[Any]) -> bool:
        """Whether it is known to have these pages, and no others in their place."""

    def has(self, rows: NDArray[Any]) -> NDArray[np.bool_]:
        """(N,), which pages are there."""

    def begin(self) -> None:
        """Prepares to keep pages; one process at a time does."""

    def add(self, row: Row, sample: Sample) -> None:
        """Keeps a page; several threads may call it."""

    def finish(self, rows: NDArray[Any]) -> None:
        """Notes that all of these pages are there, and forgets others."""

    def read(self, row: Row, name: str, region: Region | None) -> Sample | None:
        """Reads a page or a part of one; None if it is not there."""


class MemoryStore:
    """Keeps pages as they are."""

    def __init__(self) -> None:
        self._samples: dict[bytes, Sample] = {}

    def is_complete(self, rows: NDArray[Any]) -> bool:
        """See `Store`."""
        return self._samples.keys() == {content.tobytes() for content in rows["content"]}

    def has(self, rows: NDArray[Any]) -> NDArray[np.bool_]:
        """See `Store`."""
        return np.array([content.tobytes() in self._samples for content in rows["content"]], bool)

    def begin(self) -> None:
        """See `Store`."""

    def add(self, row: Row, sample: Sample) -> None:
        """See `Store`."""
        self._samples[row["content"].tobytes()] = sample

    def finish(self, rows: NDArray[Any]) -> None:
        """See `Store`."""
        kept = {content.tobytes() for content in rows["content"]}
        self._samples = {content: sample for content, sample in self._samples.items() if content in kept}

    def read(self, row: Row, name: str, region: Region | None) -> Sample | None:
        """See `Store`."""
        found = self._samples.get(row["content"].tobytes())
        if found is None:
            return None
        part = found if region is None else found.cut(region)
        return Sample(name, part.image, part.label, part.instances, part.valid)


class DiskStore:
    """Keeps each page in a file of plain arrays, one after another, each in strips of `STRIP` columns.

    A file appears whole or not at all, and what it holds follows from its name, so that no build that is interrupted
    leaves anything wrong, and another one goes on where it ended.

    Args:
        folder: of this data set; it exists when pages are added.
        objects: whether masks have, or get, instances.
        replace: whether pages that are there are written anew.
    """

    def __init__(self, folder: Path, objects: bool, replace: bool = False) -> None:
        self.folder, self._objects, self._replace = folder, objects, replace
        self._complete = folder / COMPLETE
        self._added: dict[Path, object] = {}

    def is_complete(self, rows: NDArray[Any]) -> bool:
        """See `Store`."""
        try:
            return self._complete.read_text() == _hash_rows(rows)
        except OSError:
            return False

    def has(self, rows: NDArray[Any]) -> NDArray[np.bool_]:
        """See `Store`."""
        if self.is_complete(rows):
            return np.ones(len(rows), bool)
        if not self.folder.is_dir():
            return np.zeros(len(rows), bool)
        sizes = count_bytes(rows, self._objects)
        found = [_size_of(self._path(row)) == size for row, size in zip(rows, sizes.tolist(), strict=True)]
        return np.array(found, bool)

    def add(self, row: Row, sample: Sample) -> None:
        """See `Store`.

        Raises:
            DataError: if the disk is full or cannot be written.
        """
        path, mine = self._path(row), object()
        if self._added.setdefault(path, mine) is not mine:
            return  # another thread has an equal page
        if not self._replace and _size_of(path) == sum(layer.size for layer in list_layers(row, self._objects)):
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with write_whole(path) as side, side.open("wb") as file:
                for layer in list_layers(row, self._objects):
                    _write_layer(file, layer, getattr(sample, layer.kind))
                file.flush()
                os.fsync(file.fileno())  # a file that is there after a power cut is whole
        except OSError as error:
            del self._added[path]
            raise CacheError(
                f"{self.folder}: the cache of decoded images cannot be written ({error.strerror or error}); free some "
                "space (scripts/cache.py lists and clears what is kept), name another folder with UNET_EXP_CACHE, or "
                "type data.cache=none"
            ) from None

    def finish(self, rows: NDArray[Any]) -> None:
        """See `Store`."""
        self._added.clear()
        kept = {self._path(row) for row in rows}
        with suppress(OSError):  # then it looks for each file at the next start
            for path in self.folder.glob("*/*"):
                if path not in kept:
                    path.unlink()
            write_text(self._complete, _hash_rows(rows))

    def read(self, row: Row, name: str, region: Region | None) -> Sample | None:
        """See `Store`."""
        layers = list_layers(row, self._objects)
        arrays, start = {}, 0
        try:
            with self._path(row).open("rb", buffering=0) as file:
                if os.fstat(file.fileno()).st_size != sum(layer.size for layer in layers):
                    raise OSError("the file is not whole")
                for layer in layers:
                    arrays[layer.kind] = _read_layer(file, layer, start, region)
                    start += layer.size
        except OSError:
            self._note_loss()
            return None
        return Sample(name, **arrays)

    def begin(self) -> None:
        """See `Store`; removes what an interrupted build has left half-written."""
        for part in self.folder.glob("*/.*.part*"):
            part.unlink(missing_ok=True)

    def _note_loss(self) -> None:
        """Says once that decoded images are gone, and lets the next start decode them."""
        if self._complete.exists():
            with suppress(OSError):
                self._complete.unlink()
                _log.warning("%s: decoded images are gone; they are read from their files", self.folder)

    def _path(self, row: Row) -> Path:
        name = f"{row['content'].tobytes().hex()}-{row['used']}"
        return self.folder / name[:2] / name


def _list_strips(layer: Layer) -> Iterator[tuple[int, int]]:
    """The first column and the width of each strip of an array."""
    width = layer.shape[1]
    yield from ((first, min(STRIP, width - first)) for first in range(0, width, STRIP))


def _write_layer(file: BinaryIO, layer: Layer, array: Array) -> None:
    for first, wide in _list_strips(layer):
        file.write(np.ascontiguousarray(array[:, first : first + wide], layer.dtype).data)


def _read_layer(file: FileIO, layer: Layer, start: int, region: Region | None) -> Array:
    """Reads an array, or a part of it, that starts at a byte of an open file.

    Raises:
        OSError: if the file ends before it.
    """
    height, width, *channels = layer.shape
    top, left, high, wide = region or Region(0, 0, height, width)
    pixel = prod(channels) * layer.dtype.itemsize
    found = np.empty((high, wide, *channels), layer.dtype)
    for first, columns in _list_strips(layer):
        begin, end = max(left, first), min(left + wide, first + columns)
        if begin < end:
            rows = np.empty((high, columns, *channels), layer.dtype)
            _fill(file, rows, start + (first * height + top * columns) * pixel)
            found[:, begin - left : end - left] = rows[:, begin - first : end - first]
    return found


def _fill(file: FileIO, array: Array, start: int) -> None:
    file.seek(start)
    view = memoryview(array.data).cast("B")
    while view:
        count = file.readinto(view)
        if not count:
            raise OSError("the file ends too early")
        view = view[count:]


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _hash_rows(rows: NDArray[Any]) -> str:
    digest = sha256(np.ascontiguousarray(rows["content"]).data)
    digest.update(np.ascontiguousarray(rows["used"]).data)
    return digest.hexdigest()


def free_disk(folder: Path) -> int:
    """Bytes that are free on the disk of a folder, which need not exist."""
    return shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free
