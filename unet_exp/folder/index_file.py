"""The file of an index in the cache folder: which files it describes, by path, size, inode and times, and how."""

import hashlib
import json
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unet_exp.config.user_data import CustomDataConfig, FolderConfig, UserDataConfig
from unet_exp.files import NPZ_DAMAGE, write_whole
from unet_exp.folder.index import ROW, Index
from unet_exp.folder.origin import Origin
from unet_exp.folder.rules import Rules
from unet_exp.io.specs import names_folders

VERSION = 3
"""Raise it with every change of what an index holds or how it is found."""
FOLDER = "index"
_OF_PAIRS = "pairs."


def read_words(path: Path) -> dict[str, Any] | None:
    """The words of the data set that an index is of; None where it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            words: dict[str, Any] = json.loads(file["header"].tobytes())["words"]
            return words
    except NPZ_DAMAGE:
        return None


def name_data(config: UserDataConfig, rules: Rules) -> dict[str, Any]:
    """What a data set is called in the cache folder: its files as absolute paths, or its reader; and how it is read."""
    return {"version": VERSION, **_name_origin(config), "read": rules.of_pixels}


def hash_words(words: dict[str, Any]) -> str:
    """A file name for words."""
    return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()[:24]


def _name_origin(config: UserDataConfig) -> dict[str, Any]:
    if isinstance(config, FolderConfig):
        return {
            "images": [_absolute(spec) for spec in config.image_specs],
            "masks": {label: _absolute(spec) for label, spec in config.mask_specs.items()},
            "field_of_view": None if config.view_spec is None else _absolute(config.view_spec),
            "mask_suffix": config.mask_suffix,
        }
    assert isinstance(config, CustomDataConfig)
    return {"images": [f"data.target={config.target}"], "params": config.params}


def _absolute(spec: str) -> str:
    return os.path.abspath(Path(spec).expanduser()) + ("/" if names_folders(spec) else "")


@dataclass(frozen=True, eq=False)
class StoredIndex:
    """An index with the files that it describes.

    Attributes:
        pairs: see `Origin.to_arrays`.
        index: their pages; `place` is the place of a pair.
    """

    pairs: dict[str, NDArray[Any]]
    index: Index

    @classmethod
    def load(cls, path: Path | None, rules: Rules) -> "StoredIndex | None":
        """Reads it; None where there is none, or one that is damaged or of other rules."""
        if path is None:
            return None
        try:
            with np.load(path, allow_pickle=False) as file:
                header = json.loads(file["header"].tobytes())
                index = Index(**{of.name: file[of.name] for of in fields(Index)})
                keys = [key for key in file.files if key.startswith(_OF_PAIRS)]
                pairs = {key.removeprefix(_OF_PAIRS): file[key] for key in keys}
        except NPZ_DAMAGE:
            return None
        if header.get("class_values") != _list_values(rules) and index.declares:
            return None
        return cls(pairs, index) if index.rows.dtype == ROW else None

    def find(self, pairs: Origin) -> tuple[Index, NDArray[np.bool_]]:
        """Finds files in it.

        Args:
            pairs: as they are now.

        Returns:
            The pages of those that it knows, whose `place` is that among `pairs`; and (N,) whether a pair is known.
        """
        known = np.zeros(len(pairs), bool)
        if _are_equal(pairs.to_arrays(), self.pairs):
            known[self.index.rows["place"]] = True
            return self.index, known
        moved = pairs.find_moved(self.pairs)
        now = moved[self.index.rows["place"]] if len(self.index) else np.zeros(0, np.int32)
        index = self.index.take(np.flatnonzero(now >= 0))
        index.rows["place"] = now[now >= 0]
        known[index.rows["place"]] = True
        return index.sort(), known


def save_index(path: Path, pairs: Origin, index: Index, words: dict[str, Any], rules: Rules) -> None:
    """Writes an index, completely or not at all; `words` are those of `name_data`."""
    header = json.dumps({"words": words, "class_values": _list_values(rules)}).encode()
    columns: dict[str, Any] = {of.name: getattr(index, of.name) for of in fields(index)}
    arrays: dict[str, Any] = {f"{_OF_PAIRS}{key}": array for key, array in pairs.to_arrays().items()}
    with write_whole(path) as side:
        np.savez(side, header=np.frombuffer(header, np.uint8), **columns, **arrays)


def _list_values(rules: Rules) -> list[object]:
    """The values of classes that matter to what is read: where masks may declare one as nodata, and are drawn."""
    return [rules.class_values, [] if rules.objects else [spec.value for spec in rules.classes]]


def _are_equal(now: dict[str, NDArray[Any]], before: dict[str, NDArray[Any]]) -> bool:
    return now.keys() == before.keys() and all(np.array_equal(now[key], before[key]) for key in now)
