"""The file of an index in the cache folder: which files it describes, by path, size, inode and times, and how."""

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unet_exp.config.data import FolderConfig
from unet_exp.data.facts import DIGEST
from unet_exp.data.files.index import ROW, Index
from unet_exp.data.files.rules import Rules
from unet_exp.data.pairs import Pair
from unet_exp.files import write_whole

VERSION = 1
"""Raise it with every change of what an index holds or how it is found."""
FOLDER = "index"


_DAMAGE = (OSError, EOFError, KeyError, ValueError, NotImplementedError, zipfile.BadZipFile, zlib.error)


def read_words(path: Path) -> dict[str, Any] | None:
    """The words of the data set that an index is of; None where it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            words: dict[str, Any] = json.loads(file["header"].tobytes())["words"]
            return words
    except _DAMAGE:
        return None


def name_data(config: FolderConfig, rules: Rules) -> dict[str, Any]:
    """What a data set is called in the cache folder: its files as absolute paths, and how they are read."""
    files = {key: _absolute(getattr(config, key)) for key in ("images", "masks", "field_of_view")}
    return {"version": VERSION, **files, "mask_suffix": config.mask_suffix, "read": rules.of_pixels}


def hash_words(words: dict[str, Any]) -> str:
    """A file name for words."""
    return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()[:24]


def _absolute(spec: str | None) -> str | None:
    return None if spec is None else os.path.abspath(Path(spec).expanduser())


@dataclass(frozen=True, eq=False)
class StoredIndex:
    """An index with the files that it describes.

    Attributes:
        keys: (N, 32), of each pair, see `make_keys`.
        index: their pages; `place` is the place of a pair among the keys.
    """

    keys: NDArray[np.uint8]
    index: Index

    def save(self, path: Path, words: dict[str, Any], rules: Rules) -> None:
        """Writes it, completely or not at all; `words` are those of `name_data`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        header = json.dumps({"words": words, "class_values": rules.class_values}).encode()
        columns = {of.name: getattr(self.index, of.name) for of in fields(self.index)}
        with write_whole(path) as side:
            np.savez(side, header=np.frombuffer(header, np.uint8), keys=self.keys, **columns)

    @classmethod
    def load(cls, path: Path, rules: Rules) -> "StoredIndex | None":
        """Reads it; None where there is none, or one that is damaged or of other rules."""
        try:
            with np.load(path, allow_pickle=False) as file:
                header = json.loads(file["header"].tobytes())
                columns = {of.name: file[of.name] for of in fields(Index)}
                keys = file["keys"]
        except _DAMAGE:
            return None
        index = Index(**columns)
        if header.get("class_values") != rules.class_values and index.declares:
            return None
        return cls(keys, index) if index.rows.dtype == ROW and keys.shape[1:] == (DIGEST,) else None

    def find(self, keys: NDArray[np.uint8]) -> tuple[Index, NDArray[np.bool_]]:
        """Finds files in it.

        Args:
            keys: of pairs as they are now.

        Returns:
            The pages of those that it knows, whose `place` is that among `keys`; and (N,) whether a pair is known.
        """
        if np.array_equal(keys, self.keys):
            known = np.zeros(len(keys), bool)
            known[self.index.rows["place"]] = True
            return self.index, known
        places = {key.tobytes(): place for place, key in enumerate(keys)}
        moved = np.array([places.get(key.tobytes(), -1) for key in self.keys], np.int32)
        now = moved[self.index.rows["place"]] if len(self.index) else np.zeros(0, np.int32)
        index = self.index.take(np.flatnonzero(now >= 0))
        index.rows["place"] = now[now >= 0]
        known = np.zeros(len(keys), bool)
        known[index.rows["place"]] = True
        return index.sort(), known


def make_keys(pairs: Sequence[Pair], stamps: NDArray[np.int64]) -> NDArray[np.uint8]:
    """(N, 32): a digest for each pair of the paths, sizes, inodes and times of its files."""
    keys = np.zeros((len(pairs), DIGEST), np.uint8)
    for key, pair, stamp in zip(keys, pairs, stamps, strict=True):
        paths = json.dumps([str(path) for path in pair[1:]]).encode()
        key[:] = np.frombuffer(hashlib.sha256(paths + stamp.tobytes()).digest(), np.uint8)
    return keys


def make_stamps(pairs: Sequence[Pair]) -> NDArray[np.int64]:
    """(N, 3, 4): size, inode and times of the image, the mask and the field of view of each pair; links are followed.

    Zeros where there is no file.
    """
    return np.array([make_stamp(pair) for pair in pairs], np.int64).reshape(-1, 3, 4)


def make_stamp(pair: Pair) -> list[list[int]]:
    """See `make_stamps`."""
    return [_stamp(path) for path in pair[1:]]


def _stamp(path: Path | None) -> list[int]:
    try:
        found = None if path is None else path.stat()
    except OSError:
        found = None
    return [0] * 4 if found is None else [found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns]
