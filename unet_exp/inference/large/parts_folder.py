"""The folder `<name>_mask.parts`, in which several processes collect the tiles of one large image.

It appears at once with `plan.json`, which never changes: what determines the result, and the sides of the tiles. A part
grows in `<number>.part` and is complete when it is called `<number>.done`. All steps are renames, which are whole for
every machine of a shared disk; locks only keep two processes from doing the same work.
"""

import json
import os
import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from filelock import lock_descriptor

from unet_exp.errors import DataError
from unet_exp.inference.large.part_file import PartFile, open_part, parse_identity

_PLAN, _LOCK = "plan.json", "lock"
_WORDS = {"settings": "precision or inference"}
"""What users call the keys of an identity, where it is not their name."""


class PartsFolder:
    """The parts of a large image.

    Args:
        path: of the folder.
        identity: everything that determines the result, in plain containers; see `unet_exp.inference.large.by_tiles`.
        count: of the parts.
    """

    def __init__(self, path: Path, identity: dict[str, Any], count: int) -> None:
        self.path, self._count = path, count
        self._identity = {**identity, "parts": count}

    def read_tiles(self) -> list[int] | None:
        """The longest side of the tiles of each page with which the first process has begun; None if none has.

        Raises:
            DataError: if it has begun something else, or what is there cannot be read.
        """
        try:
            plan = json.loads((self.path / _PLAN).read_text())
            known, tiles = plan["identity"], plan["tiles"]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            raise DataError(
                f"{self.path / _PLAN} cannot be read; delete {self.path}, and run all parts again"
            ) from None
        anew = f"or delete {self.path} and run all parts"
        if known["parts"] != self._count:
            raise DataError(
                f"{self.path} was begun in {known['parts']} parts, and this is one of {self._count}: type "
                f"part=.../{known['parts']}, {anew}"
            )
        differs = [_WORDS.get(key, key) for key in self._identity if known.get(key) != self._identity[key]]
        if differs:
            raise DataError(f"{self.path} was begun with another {' and '.join(differs)}: take that, {anew}")
        return [int(tile) for tile in tiles]

    def begin(self, tiles: Sequence[int]) -> list[int]:
        """Makes the folder, unless another process has made it meanwhile; returns the tiles that hold.

        Raises:
            DataError: as `read_tiles`, and if the folder cannot be made.
        """
        side = self.path.with_name(f".{self.path.name}.{socket.gethostname()}.{os.getpid()}")
        try:
            side.mkdir()
            (side / _PLAN).write_text(json.dumps({"identity": self._identity, "tiles": list(tiles)}))
            (side / _LOCK).touch()
            side.rename(self.path)  # fails if it is there
        except OSError as error:
            found = self.read_tiles()
            if found is None:
                raise DataError(
                    f"{self.path}: cannot be made ({error.strerror}); delete it if it is there, or choose another "
                    "output="
                ) from None
            return found
        finally:
            shutil.rmtree(side, ignore_errors=True)
        return list(tiles)

    def open_part(self, number: int) -> AbstractContextManager[PartFile]:
        """Opens or begins a part, which is complete at the end of the block; see `part_file.open_part`."""
        return open_part(self.path / f"{number}.part", self._identity, self.path / f"{number}.done")

    def is_done(self, number: int, size: int) -> bool:
        """Whether a part of so many pixels is complete; one without pixels is."""
        if not size:
            return True
        try:
            with (self.path / f"{number}.done").open("rb") as file:
                line = file.readline()
                length = file.seek(0, os.SEEK_END)
        except FileNotFoundError:
            return False
        return length == len(line) + size and parse_identity(line) == self._identity

    def open_done(self, number: int) -> BinaryIO:
        """Opens a complete part at its first pixel."""
        file = (self.path / f"{number}.done").open("rb")
        file.readline()
        return file

    @contextmanager
    def claim(self) -> Iterator[bool]:
        """A block for the one process that makes the mask; at its end, but not after an error, the folder goes.

        Yields:
            Whether it is this process; False if another does it or has done it.
        """
        try:
            file = (self.path / _LOCK).open("r+b")
        except FileNotFoundError:
            yield False
            return
        with file:
            if not lock_descriptor(file.fileno(), blocking=False) or not self._holds(file):
                yield False
                return
            yield True
            gone = self._move_away()
        shutil.rmtree(gone, ignore_errors=True)

    def _holds(self, file: BinaryIO) -> bool:
        """Whether this lock is still that of the folder: another process may have finished before it was locked."""
        try:
            return os.path.samestat(os.fstat(file.fileno()), (self.path / _LOCK).stat())
        except FileNotFoundError:
            return False

    def _move_away(self) -> Path:
        """Renames the folder, so that its end is one step; returns where it is."""
        gone = self.path.with_name(f".{self.path.name}.{socket.gethostname()}.{os.getpid()}")
        try:
            return self.path.rename(gone)
        except OSError:  # Windows renames no folder with an open file
            return self.path
