"""What lies in the cache folder: lists it, and clears it."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from unet_exp.cache_folder import find_cache_folder
from unet_exp.errors import DataError
from unet_exp.files import is_locked
from unet_exp.folder import choice, index_file
from unet_exp.folder.stores import COMPLETE

_GENERATED = "synthetic"
ALL = "all"


class Kept(NamedTuple):
    """A thing in the cache folder.

    Attributes:
        name: its kind and a number, such as `arrays/1f0c9d...`.
        path: file or folder.
        size: bytes on the disk.
        changed: when it was last changed.
        about: the images that it is of.
        lock: held while it is made; None for what is made at once.
    """

    name: str
    path: Path
    size: int
    changed: datetime
    about: str
    lock: Path | None


def list_kept() -> list[Kept]:
    """Everything in the cache folder, the largest first."""
    folder = find_cache_folder()
    found = [] if folder is None else [_describe(kind, path) for kind, path in _find(folder)]
    return sorted(found, key=lambda one: -one.size)


def clear(names: Sequence[str]) -> list[Kept]:
    """Removes things by their names, of which the first letters are enough, or `all`.

    A training that reads removed arrays goes on with the files themselves.

    Returns:
        What was removed.

    Raises:
        DataError: for a name that nothing has, and what another process is making; nothing is removed then.
    """
    kept = list_kept()
    for name in names:
        if name != ALL and not any(one.name.startswith(name) for one in kept):
            raise DataError(f"clear={name}: nothing has this name; scripts/cache.py without clear= lists all names")
    chosen = [one for one in kept if any(name == ALL or one.name.startswith(name) for name in names)]
    for one in chosen:
        if one.lock is not None and is_locked(one.lock):
            raise DataError(f"{one.name}: a process is reading these images ({one.about}); wait for it, or end it")
    for one in chosen:
        if one.path.is_dir():
            (one.path / COMPLETE).unlink(missing_ok=True)  # an interrupted removal leaves nothing that is trusted
            shutil.rmtree(one.path, ignore_errors=True)
        else:
            one.path.unlink(missing_ok=True)
    return [one for one in chosen if not one.path.exists()]


def _find(folder: Path) -> Iterator[tuple[str, Path]]:
    yield from ((_GENERATED, path) for path in folder.glob(f"{_GENERATED}-*.npz"))
    yield from ((index_file.FOLDER, path) for path in (folder / index_file.FOLDER).glob("[0-9a-f]*.npz"))
    yield from ((choice.FOLDER, path) for path in (folder / choice.FOLDER).glob("*/"))


def _describe(kind: str, path: Path) -> Kept:
    sizes, changed = 0, 0.0
    for file in (path, *path.rglob("*")):
        with suppress(OSError):  # a training may be writing there
            found = file.stat()
            sizes, changed = sizes + found.st_size * (not file.is_dir()), max(changed, found.st_mtime)
    words = _read_words(kind, path)
    lock = None if words is None else path.parents[1] / index_file.FOLDER / f"{index_file.hash_words(words)}.lock"
    name = f"{kind}/{path.stem.removeprefix(f'{_GENERATED}-')[:8]}"
    about = (
        f"data={_GENERATED}"
        if kind == _GENERATED
        else "unknown images"
        if words is None
        else _name_images(words["images"])
    )
    return Kept(name, path, sizes, datetime.fromtimestamp(changed), about, lock)


def _read_words(kind: str, path: Path) -> dict[str, Any] | None:
    """The words of the data set that an index or decoded arrays are of, see `name_data`."""
    with suppress(OSError, ValueError):
        if kind == index_file.FOLDER:
            return index_file.read_words(path)
        if kind == choice.FOLDER:
            words = json.loads((path / choice.ABOUT).read_text())
            return words if isinstance(words, dict) and "images" in words else None
    return None


def _name_images(images: str | list[str]) -> str:
    """The specs of images; earlier versions kept a text."""
    return images if isinstance(images, str) else ", ".join(images)
