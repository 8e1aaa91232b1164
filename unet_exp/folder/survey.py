"""Looks at every file of a data set once: makes its index, and fills a store with what is decoded on the way."""

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from unet_exp.cache_folder import VARIABLE, can_write, find_cache_folder, wait_for_lock
from unet_exp.config.user_data import UserDataConfig
from unet_exp.errors import ConfigError, DataError
from unet_exp.folder.choice import format_size, measure_items, open_store, plan_store
from unet_exp.folder.index import Index
from unet_exp.folder.index_file import FOLDER, StoredIndex, hash_words, name_data, save_index
from unet_exp.folder.origin import Origin, require_same_mask
from unet_exp.folder.rules import Rules
from unet_exp.folder.stats import ImageStats, describe_page
from unet_exp.folder.stores import CacheError, MemoryStore, Store, count_bytes
from unet_exp.folder.threads import run_ahead
from unet_exp.memory import free_memory
from unet_exp.progress import track

_log = logging.getLogger(__name__)

_THREADS = min(16, os.cpu_count() or 1)
_WHILE_DECODED = 3
"""How many times the memory of a decoded page is needed while it is decoded and looked at."""
_SAVE_EVERY = 60.0
"""Seconds between two saves of an index that is being made: a process that is killed loses no more."""
_PACKED = 4096
"""Pages that are known as objects before they become columns, which take less memory."""
_WHAT = "reading the same images"


@dataclass
class Survey:
    """What is known of the images of a data set.

    Attributes:
        pairs: images with their masks, as they were before they were read.
        rules: by which they are read.
        find_objects: whether masks without objects get those that `find_instances` finds.
        index: what is known of the pages that could be read, in the order of the pairs.
        mistakes: the error of each pair that could not, by its place.
        store: keeps decoded pages; None for none.
        spare_memory: bytes that are left for what is computed of the pages.
        threads: that read files.
        words: what the data set is called in the cache folder, see `name_data`.
        path: of the file of the index; None where it is not kept.
    """

    pairs: Origin
    rules: Rules
    find_objects: bool = False
    index: Index = field(default_factory=lambda: Index.of([]))
    mistakes: dict[int, DataError] = field(default_factory=dict)
    store: Store | None = None
    spare_memory: float = 0.0
    threads: int = _THREADS
    words: dict[str, Any] = field(default_factory=dict)
    path: Path | None = None

    def list_stats(self) -> list[ImageStats]:
        """The statistics of each page."""
        places = self.index.rows["place"].tolist()
        return [self.index.stats(number, self.pairs[place]) for number, place in enumerate(places)]

    def read_again(self, places: NDArray[np.intp], used: NDArray[Any], console: Console | None = None) -> None:
        """Reads some pairs again, of whose images other numbers of channels are used: `used` of each page (N,)."""
        of_place: dict[int, list[int]] = {}
        for place, channels in zip(self.index.rows["place"].tolist(), used.tolist(), strict=True):
            of_place.setdefault(place, []).append(channels)
        with self.hold_lock():
            self._look_at(places.tolist(), of_place, console)
            self.save()

    def look_at(self, places: Sequence[int], console: Console | None = None) -> None:
        """Reads some pairs and finds what is to know of them."""
        self._look_at(places, {}, console)

    def fill(self) -> None:
        """Puts the pages into the store that it lacks; all values of masks have classes.

        Raises:
            DataError: for a file that cannot be read any more, or a disk that cannot be written.
        """
        rows = self.index.rows
        if self.store is None or self.store.is_complete(rows):
            return
        with self.hold_lock():
            self.store.begin()
            lacking = np.unique(rows["place"][~self.store.has(rows)]).tolist()
            for _ in track(run_ahead(self._fill_pair, lacking, self.threads), "decoding images", len(lacking)):
                pass
            self.store.finish(rows)

    def save(self) -> None:
        """Keeps the index for later starts, if there is a place for it."""
        if self.path is not None:
            try:
                save_index(self.path, self.pairs, self.index, self.words, self.rules)
            except OSError as error:
                _log.warning("%s: cannot be written (%s); the next start looks at all images anew", self.path, error)

    def hold_lock(self) -> AbstractContextManager[None]:
        """Lets one process at a time read these files."""
        return nullcontext() if self.path is None else wait_for_lock(self.path.with_suffix(".lock"), _WHAT)

    def _look_at(self, places: Sequence[int], used: dict[int, list[int]], console: Console | None) -> None:
        saved = time.monotonic()
        found, parts = list[tuple[int, ImageStats]](), [self.index.leave_files(np.array(places, np.int64))]
        results = run_ahead(lambda place: self._describe_pair(place, used.get(place)), places, self.threads)
        try:
            for place, stats in zip(places, track(results, "reading images", len(places), console), strict=True):
                if isinstance(stats, DataError):
                    self.mistakes[place] = stats
                else:
                    found += [(place, one) for one in stats]
                if len(found) >= _PACKED:
                    parts.append(Index.of(found))
                    found = []
                    if time.monotonic() - saved > _SAVE_EVERY:
                        self.index = Index.join(parts)
                        self.save()
                        parts, saved = [self.index], time.monotonic()
        finally:  # what was found is kept if this is interrupted
            self.index = Index.join([*parts, Index.of(found)])

    def _describe_pair(self, place: int, used: Sequence[int] | None) -> list[ImageStats] | DataError:
        pair, stats = self.pairs[place], []
        try:
            with self.rules.read(pair) as pages:
                for number, page in enumerate(pages):
                    if used is not None:
                        self.pairs.require_unchanged(place)
                    one = describe_page(pair, number, page, self.rules, None if used is None else used[number])
                    stats.append(one)
                    if self.store is not None:
                        try:
                            sample = self.rules.sample("", page, str(pair.mask), one.used, self.find_objects)
                        except DataError:  # values without a class are told of all masks together
                            continue
                        self.store.add(Index.of([(place, one)]).rows[0], sample)
        except CacheError:
            raise
        except DataError as error:
            return error
        return stats

    def _fill_pair(self, place: int) -> None:
        assert self.store is not None
        pair, rows = self.pairs[place], self.index.rows
        mine = rows[slice(*np.searchsorted(rows["place"], [place, place + 1]))]
        with self.rules.read(pair) as pages:
            self.pairs.require_unchanged(place)
            for row, page in zip(mine, pages, strict=True):
                self.pairs.require_unchanged(place)  # what is kept is known by its digest
                require_same_mask(pair, page, bool(row["masked"]))
                sample = self.rules.sample("", page, str(pair.mask), int(row["used"]), self.find_objects)
                self.store.add(row, sample)


def survey(
    config: UserDataConfig,
    find: Callable[[UserDataConfig, Mapping[str, NDArray[Any]] | None], Origin],
    fill: bool = False,
    find_objects: bool = False,
    console: Console | None = None,
) -> Survey:
    """Learns what there is to know of the files of a data set: from its index, and of new files by reading them.

    The files are read in parallel, and by one process at a time. What is found is kept in the cache folder.

    Args:
        config: of the data.
        find: finds them; it gets what was found before, see `Origin.to_arrays`.
        fill: whether a store, as `data.cache` says, is opened, and gets the pages that are read; `Survey.fill` adds
            the others.
        find_objects: see `Survey`.
        console: for the progress.

    Raises:
        DataError: of `find`, and if the cache cannot be written.
        ConfigError: see `plan_store`.
    """
    rules = Rules.of(config)
    words = name_data(config, rules)
    path = _find_file(words)
    stored = StoredIndex.load(path, rules)
    pairs = find(config, None if stored is None else stored.pairs)
    found = Survey(pairs, rules, find_objects, words=words, path=path)
    index, known = (None, None) if stored is None or config.verify else stored.find(pairs)
    if index is None or known is None or not known.all():
        with found.hold_lock():
            _read_new(found, config, fill, console)
    else:
        found.index = index
        _open_store(found, config, np.zeros(0, np.intp), np.zeros((0, 2), np.int64), fill)
    return found


def _read_new(found: Survey, config: UserDataConfig, fill: bool, console: Console | None) -> None:
    """Reads the files that no process has looked at yet, and keeps what is known of all."""
    pairs, rules = found.pairs, found.rules
    known = np.zeros(len(pairs), bool)
    stored = None if config.verify else StoredIndex.load(found.path, rules)
    if stored is not None:
        found.index, known = stored.find(pairs)
    del stored
    new = np.flatnonzero(~known)
    sizes = measure_items(pairs, new, rules, rules.objects or found.find_objects)
    _open_store(found, config, new, sizes, fill)
    if found.store is not None:
        found.store.begin()
    try:
        found.look_at(new.tolist(), console)
    finally:
        if new.size:
            found.save()


def _open_store(
    found: Survey, config: UserDataConfig, new: NDArray[np.intp], sizes: NDArray[np.int64], fill: bool
) -> None:
    """Opens the store that is to be filled, if any, and sets the threads that read.

    Raises:
        ConfigError: see `plan_store` and `_count_threads`.
    """
    found.threads = _count_threads(found, new, sizes)  # first: what no thread can read needs no store
    if fill:
        largest = found.pairs[int(new[sizes[:, 0].argmax()])].image if new.size else None
        plan = plan_store(config, found.find_objects, found.index, sizes[:, 0], largest)
        found.store, found.spare_memory = open_store(plan, config, found.find_objects), plan.spare
        found.threads = _count_threads(found, new, sizes)


def _count_threads(found: Survey, new: NDArray[np.intp], sizes: NDArray[np.int64]) -> int:
    """How many files can be decoded at a time in the memory that is free.

    Args:
        found: with what is known, and the store if it is open.
        new: places of the pairs that are not known.
        sizes: (N, 2) bytes of all pages of each, and of the largest one.

    Raises:
        ConfigError: if the largest page of a new one alone is too large.
    """
    largest, free = int(sizes[:, 1].max(initial=1)), free_memory()
    if _WHILE_DECODED * largest > free:
        path = found.pairs[int(new[sizes[:, 1].argmax()])].image
        raise ConfigError(
            f"{path}: to read it takes {format_size(_WHILE_DECODED * largest)} of memory and {format_size(free)} are "
            "free; cut it into smaller images"
        )
    known = count_bytes(found.index.rows, True)
    largest = max(largest, int(known.max(initial=1)))
    if isinstance(found.store, MemoryStore):
        free -= int(sizes[:, 0].sum()) + int(known.sum())
    return max(1, min(_THREADS, free // (_WHILE_DECODED * largest)))


def _find_file(words: dict[str, Any]) -> Path | None:
    """The file of an index; None where nothing can be kept."""
    cache = find_cache_folder()
    if cache is None:
        return None
    path = cache / FOLDER / f"{hash_words(words)}.npz"
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
    if can_write(path.parent):
        return path
    _log.warning("%s cannot be written, so that each start reads all images anew; set %s", path.parent, VARIABLE)
    return None
