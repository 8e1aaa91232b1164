"""Partial results of a large image, in a file beside the output, from which a killed prediction resumes.

The file is a line of JSON, its identity, and then class indices, a byte a pixel, row by row and page by page.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import lock_descriptor
from numpy.typing import NDArray

from unet_exp.errors import DataError
from unet_exp.io.windows import Rows


class PartFile:
    """An open and locked part.

    Attributes:
        size: bytes of class indices.
        differs: keys of the identity, such as `checkpoint`, by which an earlier part differed; it was discarded.
    """

    def __init__(self, file: BinaryIO, identity: dict[str, Any]) -> None:
        self._file = file
        file.seek(0)
        found = parse_identity(file.readline())
        self.differs = [key for key in identity if found.get(key) != identity[key]] if found else []
        if not found or self.differs:
            file.truncate(0)
            file.write(json.dumps(identity).encode() + b"\n")
            self._sync()
        file.seek(0)
        self._start = len(file.readline())
        self.size = file.seek(0, os.SEEK_END) - self._start

    def keep(self, size: int) -> None:
        """Cuts the file after `size` bytes of class indices."""
        self._file.truncate(self._start + size)
        self.size = size

    def append(self, rows: NDArray[np.uint8]) -> None:
        """Adds whole rows, and waits until they are on the disk."""
        self._file.write(rows.tobytes())
        self._sync()
        self.size += rows.size

    def rows(self, place: int, width: int) -> Rows:
        """A reader of the rows of a page that begins at `place`."""

        def read(first: int, stop: int) -> NDArray[np.uint8]:
            self._file.seek(self._start + place + first * width)
            data = self._file.read((stop - first) * width)
            return np.frombuffer(data, np.uint8).reshape(stop - first, width)

        return read

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())


@contextmanager
def open_part(path: Path, identity: dict[str, Any], done: Path | None = None) -> Iterator[PartFile]:
    """Opens or begins a part, and removes it at the end, or renames it `done`; after an error it stays.

    `identity` is everything that determines the result, in plain containers; a part with another one is discarded.

    Raises:
        DataError: if another process uses it, or it cannot be written.
    """
    try:
        file = path.open("a+b")
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror}); choose another output=") from None
    with file:
        if not lock_descriptor(file.fileno(), blocking=False):
            what = "image" if done is None else "part of the image"
            raise DataError(f"{path}: another process is predicting this {what}; wait, or choose another output=")
        yield PartFile(file, identity)
        if os.name == "nt":  # which removes and renames no open file
            file.close()
        if done is None:
            path.unlink()
        else:
            _rename(path, done)


def _rename(path: Path, done: Path) -> None:
    try:
        path.replace(done)
    except FileNotFoundError:
        raise DataError(
            f"{path} was removed meanwhile: another process had predicted this part too, and the mask is made; "
            "if it is not, run this part again"
        ) from None


def parse_identity(line: bytes) -> dict[str, Any]:
    """The identity in a first line; empty if it holds none."""
    try:
        known = json.loads(line) if line.endswith(b"\n") else {}
    except ValueError:
        return {}
    return known if isinstance(known, dict) else {}
