"""Files and folders on the disk as they are opened: paths that go on inside a container, and gzip around a file."""

import gzip
import importlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from unet_exp.errors import DataError
from unet_exp.extras import hint_extra

HDF5_SUFFIXES, NPZ_SUFFIXES, ZARR_SUFFIXES = (".h5", ".hdf5", ".hdf", ".he5"), (".npz",), (".zarr",)
CONTAINERS = (*HDF5_SUFFIXES, *NPZ_SUFFIXES, *ZARR_SUFFIXES)
"""Suffixes of what holds arrays by name: a path may go on behind them."""
MAX_PACKED = 2**30
"""Most bytes of a packed picture: as many values as the largest page has."""
MAX_UNPACKED = 2**32
"""Most bytes that are unpacked onto the disk to be read by window."""
_START = 1024
_GZIP = b"\x1f\x8b"
_BLOCK = 2**22

_Opened = TypeVar("_Opened")


def split_inner(path: Path) -> tuple[Path, str]:
    """Splits a path that goes on inside a container, such as `a.h5/raw/volume`, by its words alone.

    Returns:
        The file or folder on the disk, and the path inside it, empty for none.
    """
    for place, part in enumerate(path.parts[:-1], start=1):
        if part.lower().endswith(CONTAINERS):
            return Path(*path.parts[:place]), "/".join(path.parts[place:])
    return path, ""


@dataclass
class Stored:
    """A file or folder that is open.

    Attributes:
        path: as it was given, for messages.
        place: on the disk.
        inner: the path inside of it, empty for none.
        start: its first bytes, unpacked; empty of a folder.
        file: at its start, unpacked while it is read; None of a folder.
        packed: whether it is unpacked, so that only reading on is quick.
    """

    path: Path
    place: Path
    inner: str = ""
    start: bytes = b""
    file: BinaryIO | None = None
    packed: bool = False
    _stack: ExitStack = field(default_factory=ExitStack, repr=False)
    _unpacked: BinaryIO | None = None

    @property
    def stream(self) -> BinaryIO:
        """The file."""
        assert self.file is not None
        return self.file

    @property
    def size(self) -> int:
        """Bytes on the disk of a file that is not packed."""
        return os.fstat(self.stream.fileno()).st_size

    def read_all(self) -> bytes:
        """Reads all bytes.

        Raises:
            DataError: for a packed file of more than `MAX_PACKED`.
        """
        self.stream.seek(0)
        data = self.stream.read(MAX_PACKED + 1 if self.packed else -1)
        if self.packed and len(data) > MAX_PACKED:
            raise _explain_bomb(self.path, MAX_PACKED)
        return data

    def unpack(self, size: int | None = None) -> BinaryIO:
        """The file with all of its bytes at hand: a packed one is unpacked once, into a file without a name.

        Args:
            size: as many of its bytes are needed; None: all.

        Raises:
            DataError: for more than `MAX_UNPACKED`, and a disk that is full.
            ValueError: for a file that ends before.
        """
        if not self.packed:
            return self.stream
        if self._unpacked is None:
            limit = MAX_UNPACKED if size is None else size
            if limit > MAX_UNPACKED:
                raise _explain_bomb(self.path, MAX_UNPACKED)
            side = self.enter(tempfile.TemporaryFile())  # noqa: SIM115 - it lives as long as this
            self.stream.seek(0)
            left = limit
            while block := self.stream.read(min(_BLOCK, left + 1)):
                left -= len(block)
                if left < 0 and size is None:
                    raise _explain_bomb(self.path, MAX_UNPACKED)
                try:
                    side.write(block)
                except OSError as error:
                    where = f"{tempfile.gettempdir()} ({error.strerror or error})"
                    raise DataError(f"{self.path}: cannot be unpacked into {where}; unpack it with gunzip") from None
                if left < 0:
                    break
            if size is not None and left > 0:
                raise ValueError("some of its pixels are missing")
            side.flush()
            self._unpacked = cast(BinaryIO, side)
        return self._unpacked

    def within(self, file: BinaryIO) -> "Stored":
        """A packed file within this one, which lives as long as this."""
        return Stored(self.path, self.place, file=file, packed=True, _stack=self._stack)

    def enter(self, opened: AbstractContextManager[_Opened]) -> _Opened:
        """Opens what is closed together with this file."""
        return self._stack.enter_context(opened)


@contextmanager
def open_stored(path: Path) -> Iterator[Stored]:
    """Opens a file for reading, or looks at a folder.

    Raises:
        DataError: for what is not there, no file or folder, or may not be read; and for a damaged gzip.
    """
    place, inner = split_inner(path)
    with ExitStack() as stack:
        try:
            if place.is_dir():
                yield Stored(path, place, inner, _stack=stack)
                return
            if not place.is_file():  # Opening a pipe would wait for ever.
                missing = "is a link to nothing" if place.is_symlink() else "there is no such file"
                what = "is a device, not a file" if place.exists() else missing
                raise DataError(f"{path}: {what}; check the path")
            file = cast(BinaryIO, stack.enter_context(place.open("rb")))
            start = file.read(_START)
        except OSError as error:
            raise DataError(
                f"{path}: cannot be read ({error.strerror or error}); check the file and its permissions"
            ) from None
        packed = start.startswith(_GZIP)
        if packed:
            file.seek(0)
            file = cast(BinaryIO, stack.enter_context(gzip.GzipFile(fileobj=file)))
            try:
                start = file.read(_START)
            except Exception as error:  # zlib, gzip and EOF have errors of their own
                raise DataError(f"{path}: its gzip is damaged or cut short ({error}); copy it again") from None
        file.seek(0)
        yield Stored(path, place, inner, start, file, packed, stack)


def import_reader(path: Path, module: str, kind: str, extra: str) -> Any:
    """Imports the library that reads a kind of file.

    Raises:
        DataError: if it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        library = module.partition(".")[0]
        raise DataError(
            f"{path}: {kind} files are read with {library}, which is not installed; type {hint_extra(extra)}"
        ) from None


def _explain_bomb(path: Path, limit: int) -> DataError:
    return DataError(f"{path}: unpacks to more than {limit // 2**30} GiB; unpack it with gunzip, if it is no bomb")
