"""Chooses where decoded images are kept: in memory, on the disk, or nowhere."""

import json
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unet_exp.cache_folder import VARIABLE, can_write, find_cache_folder
from unet_exp.config.user_data import UserDataConfig
from unet_exp.console import make_console
from unet_exp.errors import ConfigError
from unet_exp.files import write_text
from unet_exp.folder.index import Index
from unet_exp.folder.index_file import hash_words, name_data
from unet_exp.folder.origin import Origin
from unet_exp.folder.rules import Rules
from unet_exp.folder.stores import STRIP, CacheError, DiskStore, MemoryStore, Store, count_bytes, free_disk
from unet_exp.folder.threads import run_ahead
from unet_exp.memory import free_memory
from unet_exp.progress import track

FOLDER, ABOUT = "arrays", "about.json"
_SHARE_OF_MEMORY = 0.8
_SHARE_OF_DISK = 0.5
_THREADS = 8
_OTHERWISE = f"name another folder with {VARIABLE}, or type data.cache=none"


class StorePlan(NamedTuple):
    """Where the images of a data set are to be kept.

    Attributes:
        kind: as a value of `data.cache`.
        number: of images.
        size: bytes of all decoded images and masks; None where it was not asked for.
        spare: bytes of memory that are left for what is computed of them.
    """

    kind: Literal["memory", "disk", "none"]
    number: int
    size: int | None = None
    spare: float = 0.0

    def describe(self) -> str:
        """A line for people."""
        images = f"{self.number} image{'s' * (self.number != 1)}"
        size = "" if self.size is None else f", {format_size(self.size)} decoded"
        where = {
            "memory": "kept in memory",
            "disk": "kept decoded on the disk",
            "none": "decoded whenever a patch of one is drawn",
        }[self.kind]
        return f"{images}{size}: {where} (data.cache={self.kind})"


def plan_store(
    config: UserDataConfig, find_objects: bool, index: Index, new: NDArray[np.int64], largest: Path | str | None = None
) -> StorePlan:
    """Plans where images are kept, before any of them is decoded.

    Args:
        config: of the data.
        find_objects: see `unet_exp.folder.survey.Survey`.
        index: the pages that are known.
        new: (N,) bytes of the images that are not, see `measure_items`.
        largest: what messages call the one that takes most of these, such as its file.

    Raises:
        ConfigError: where `data.cache` names a place that these images do not fit into.
    """
    number = len(index) + len(new)
    if config.cache == "none":
        return StorePlan("none", number)
    objects = find_objects or config.labels == "instances"
    size = int(new.sum()) + int(count_bytes(index.rows, objects).sum())
    if config.cache in ("auto", "memory"):
        limit = find_memory_limit(config)
        if size <= limit:
            return StorePlan("memory", number, size, limit - size)
        if config.cache == "memory":
            raise _explain_memory(config, number, size, limit, largest)
    store = _name_disk_store(config, find_objects)
    if store is not None:
        lacking = int(new.sum()) + int(count_bytes(index.rows[~store.has(index.rows)], objects).sum())
        free = free_disk(store.folder)
        if lacking <= (_SHARE_OF_DISK * can_write(store.folder) if config.cache == "auto" else 1) * free:
            return StorePlan("disk", number, size)
        if config.cache == "disk":
            raise ConfigError(
                f"data.cache=disk: the decoded images take {format_size(lacking)} and {format_size(free)} are free in "
                f"{store.folder}; free some space (scripts/cache.py lists and clears what is kept), {_OTHERWISE}"
            )
    elif config.cache == "disk":
        raise ConfigError(f"data.cache=disk: there is no folder for it ({VARIABLE} is empty); {_OTHERWISE}")
    return StorePlan("none", number, size)


def open_store(plan: StorePlan, config: UserDataConfig, find_objects: bool) -> Store | None:
    """Opens the planned store, and says which it is.

    Raises:
        CacheError: if the disk cannot be written.
    """
    make_console().print(plan.describe(), soft_wrap=True)
    if plan.kind != "disk":
        return MemoryStore() if plan.kind == "memory" else None
    store = _name_disk_store(config, find_objects)
    assert store is not None
    try:
        store.folder.mkdir(parents=True, exist_ok=True)
        write_text(store.folder / ABOUT, json.dumps(name_data(config, Rules.of(config)), indent=2))
    except OSError as error:
        raise CacheError(f"{store.folder}: cannot be written ({error.strerror or error}); {_OTHERWISE}") from None
    return store


def find_memory_limit(config: UserDataConfig) -> float:
    """Bytes of memory that images may take: `data.max_memory`, or most of what is free."""
    return _SHARE_OF_MEMORY * free_memory() if config.max_memory is None else config.max_memory * 1e9


def format_size(size: float) -> str:
    """Bytes for people."""
    unit, name = next(((unit, name) for unit, name in ((1e9, "GB"), (1e6, "MB")) if size >= unit), (1e3, "kB"))
    return f"{size / unit:.3g} {name}"


def measure_items(items: Origin, places: NDArray[np.intp], rules: Rules, objects: bool) -> NDArray[np.int64]:
    """Measures decoded images and masks without reading them: (N, 2) bytes of all pages, and of the largest one.

    Args:
        items: they are among these.
        places: (N,) their places.
        rules: by which they are read.
        objects: whether masks have instances.
    """
    sizes = run_ahead(lambda place: items[place].measure(rules, objects), places.tolist(), _THREADS)
    sizes = track(sizes, "looking at the sizes of images", len(places))
    return np.fromiter(sizes, np.dtype((np.int64, 2)), len(places))


def _name_disk_store(config: UserDataConfig, find_objects: bool) -> DiskStore | None:
    """The store of these images, whether or not it is there; None without a cache folder."""
    cache, rules = find_cache_folder(), Rules.of(config)
    if cache is None:
        return None
    objects = rules.objects or find_objects
    words = {**name_data(config, rules), "labels": rules.of_labels, "objects": objects, "strip": STRIP}
    return DiskStore(cache / FOLDER / hash_words(words), objects, config.verify)


def _explain_memory(
    config: UserDataConfig, number: int, size: int, limit: float, largest: Path | str | None
) -> ConfigError:
    there = f"most of what is free ({format_size(limit)})"
    if config.max_memory is not None:
        there = f"data.max_memory={config.max_memory:g}"
    most = "" if largest is None else f" (most for {largest})"
    return ConfigError(
        f"data.cache=memory: the {number} images and their masks take {format_size(size)} of memory, more than {there}"
        f"{most}; take data.cache=auto, which reads them from the disk, or raise data.max_memory if there is as much"
    )
