"""Lists files: those in a folder, those that a glob matches, or one."""

import difflib
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unet_exp.errors import DataError
from unet_exp.io.kinds import READ, describe_files
from unet_exp.io.specs import ZARR, Kinds, Source, find_source, list_alternatives
from unet_exp.io.stamps import GONE, pack_stamp, pack_stat, stamp_path
from unet_exp.io.texts import Places, Texts, sort_texts

_NUMBER = re.compile(r"[0-9]+")
_SHOWN = 3
_OF_SYSTEMS = {"Thumbs.db", "desktop.ini"}
"""Files that Windows makes in folders of pictures: as little seen as hidden ones."""


class Listing(NamedTuple):
    """Files in natural order.

    Attributes:
        images: each with its name: its path below the folder, or the text that the wildcards of the glob match.
        others: files there of kinds that are not read.
    """

    images: list[tuple[str, Path]]
    others: list[Path]


@dataclass(frozen=True, eq=False)
class Files:
    """Files as the system lists them, in little memory.

    Attributes:
        source: where they are.
        paths: (N,) below its folder.
        stamps: (N, 4) of `unet_exp.io.stamps.stamp_path`; 0 for a file that cannot be looked at. (0, 4) where nobody
            asked.
    """

    source: Source
    paths: Texts
    stamps: NDArray[np.int64]

    @cached_property
    def read(self) -> NDArray[np.bool_]:
        """(N,) whether a file is of a kind that is read; one that was named is, whatever its suffix."""
        suffixes = self.source.suffixes
        return np.fromiter((path.lower().endswith(suffixes) for path in self.paths), bool, len(self.paths))

    def name(self, path: str) -> str:
        """The name of the file of this path below the folder."""
        strip = self.source.strip_suffix
        if self.source.file is not None:
            stem = strip(path)
            return normalize_name(Path(path).stem if stem == path else stem)
        if self._regex is None:
            return normalize_name(strip(path))
        match = self._regex.fullmatch(path)
        text = "/".join(part for part in (match.groups() if match else ()) if part)
        return normalize_name(strip(Path(text).as_posix()))

    def names(self, places: Places) -> Texts:
        """The names of the files at some places."""
        return Texts.of(map(self.name, self.paths.take(places)))

    def path(self, place: int) -> Path:
        """The file at a place, or what `Source.inner` names inside it."""
        return Path(self.source.folder, self.paths[place], self.source.inner)

    def sort(self, places: Places) -> Places:
        """Brings places in the natural order of their paths; of two that differ in leading zeros alone, as text."""
        paths = self.paths.take(places)
        return places[sort_texts(paths, natural_key, paths.__getitem__)]

    def list_paths(self, places: Iterable[int]) -> list[Path]:
        """The files at some places."""
        return [self.path(place) for place in places]

    @cached_property
    def _regex(self) -> re.Pattern[str] | None:
        return None if self.source.pattern is None else re.compile(self.source.pattern)


def list_files(spec: str | Path, recursive: bool = True) -> Listing:
    """Lists the files of a folder, a glob or a path, but hidden ones.

    A Zarr counts as a file. A folder is listed by a glob with a wildcard that ends in `/`, unless it holds nothing but
    folders.

    Args:
        spec: a file (of any suffix), a folder or a glob such as `scans/*.tif`, `scans/**/*.png`, `{a,b}/*.png` or
            `patients/*/series/`. What holds arrays by their names may be followed by one: `scans/*.h5/raw`.
        recursive: whether the subfolders of a folder count.

    Raises:
        DataError: for a folder that cannot be opened, nothing found, or only files of kinds that are not read.
    """
    files = scan_files(spec, recursive, stamps=False)
    check_found(spec, files)
    images, others = (files.sort(np.flatnonzero(chosen)) for chosen in (files.read, ~files.read))
    return Listing([(files.name(files.paths[place]), files.path(place)) for place in images], files.list_paths(others))


def scan_files(
    spec: str | Path,
    recursive: bool = True,
    stamps: bool = True,
    known: Files | None = None,
    kinds: Kinds = "images",
) -> Files:
    """Lists the files of a folder, a glob or a path as `list_files`, in the order of the system.

    Args:
        spec: see `list_files`.
        recursive: see `list_files`.
        stamps: whether to look at each file.
        known: files as they were listed before; where the same are there now, the result has these very `paths`.
        kinds: of files that are read, see `Source`.

    Raises:
        DataError: for a folder that cannot be opened, and see `find_source`.
    """
    path = Path(spec).expanduser()
    seen = bytearray()
    try:
        source = find_source(spec, recursive, kinds)
        like = known.paths if known is not None and known.source == source else None
        found = Texts.of(_list_paths(source, seen if stamps else None) if source else (), like)
    except OSError as error:
        # That of a folder which is open has a number in place of its name.
        place = error.filename if isinstance(error.filename, str) else path
        raise DataError(f"{place}: cannot be opened ({error.strerror or error}); check its permissions") from None
    return Files(source or Source(str(path), kinds=kinds), found, np.frombuffer(seen, np.int64).reshape(-1, 4))


def check_found(spec: str | Path, files: Files) -> None:
    """Checks that there are files of kinds that are read, and some for all that braces offer.

    Raises:
        DataError: if not.
    """
    if files.read.any():
        _check_alternatives(spec, files)
        return
    path = Path(spec).expanduser()
    if len(files.paths):
        others = files.list_paths(files.sort(np.arange(len(files.paths))))
        raise DataError(f"{path}: holds nothing that is read, only {describe_files(others)}; {READ}")
    if not path.is_dir() and len(folders := scan_files(f"{path}/", stamps=False).paths):
        raise DataError(
            f"{path}: only folders match, such as {folders[0]}; end the glob with / if each of them is one item (a "
            "DICOM series, or one file an object), or with /* for the files in them"
        )
    what = "no files in this folder" if path.is_dir() else "there is no such file or folder, and nothing matches"
    raise DataError(f"{path}: {what}; check the path")


def _check_alternatives(spec: str | Path, files: Files) -> None:
    """Checks that each text in braces matches something, if only a folder without such files.

    Raises:
        DataError: for one that does not, with the names that are there in its place.
    """
    for text, regex, pattern, wider, place in list_alternatives(spec) if files.source.pattern else ():
        if any(map(re.compile(pattern).fullmatch, files.paths)):
            continue
        others = scan_files(wider, stamps=False)
        matches = map(re.compile(others.source.pattern or "").fullmatch, others.paths)
        there = sorted({match.groups()[place] for match in matches if match}, key=natural_key)
        if any(map(re.compile(regex).fullmatch, there)):
            continue
        near = difflib.get_close_matches(text.strip(), there, 1) or there
        named = ", ".join(near[:_SHOWN]) + ", ..." * (len(near) > _SHOWN)
        raise DataError(
            f"{Path(spec).expanduser()}: {{{text}}} matches nothing (there: {named}); correct it, without blanks, or "
            "leave it out"
        )


def natural_key(path: str) -> str:
    """Sort key with the numbers inside names by value: 2.png before 10.png."""
    return _NUMBER.sub(_order_number, path)


def normalize_name(name: str) -> str:
    """Writes each accented letter as one code: macOS may use two."""
    return unicodedata.normalize("NFC", name)


def _order_number(match: re.Match[str]) -> str:
    """A number as text in the order of its value: its length comes first, behind what comes before any letter."""
    digits = match[0].lstrip("0")
    return f"\0{chr(len(digits) + 1)}{digits}"


def _list_paths(source: Source, stamps: bytearray | None) -> Iterator[str]:
    """Lists the files of a source, and adds the stamp of each."""
    if source.file is not None:
        if stamps is not None:
            stamps += pack_stamp(stamp_path(os.path.join(source.folder, source.file), source.inner))
        yield source.file
        return
    matches = None if source.pattern is None else re.compile(source.pattern).fullmatch
    inner = source.inner
    for path, entry, is_folder in _walk(source.folder, source.depth, source.folders):
        if matches is not None and not matches(path):
            continue
        if is_folder and not path.lower().endswith(ZARR) and not _is_item(os.path.join(source.folder, path)):
            continue
        if stamps is not None:
            try:
                if is_folder or inner:
                    stamps += pack_stamp(stamp_path(os.path.join(source.folder, path), source.inner))
                else:
                    stamps += pack_stat(entry.stat())
            except OSError:  # gone, or a link to nothing
                stamps += pack_stamp(GONE)
        yield path


def _is_item(folder: str) -> bool:
    """Whether a folder can be an item: not if it holds nothing but folders."""
    with os.scandir(folder) as entries:
        kinds = [entry.is_dir() for entry in entries if entry.name[0] != "."]
    return not kinds or not all(kinds)


def _walk(folder: str, depth: int | None, folders: bool) -> Iterator[tuple[str, "os.DirEntry[str]", bool]]:
    """Lists the files, or the folders, below a folder but hidden ones; a Zarr is both, and nothing inside it is listed.

    It follows a link that leads back into its own folder once.

    Folders come in the order of their names, a folder's own files first, in the order of the system. The loop runs a
    million times: it calls little.

    Yields:
        The path below the folder; the entry, which can be looked at until the next one; and whether it is a folder.
    """
    seen: set[str] = set()
    left = [("", os.path.realpath(folder), 1)]
    while left:
        here, true, level = left.pop()
        if true in seen:
            continue
        seen.add(true)
        below = f"{here}/" if here else ""
        inner: list[tuple[str, str, int]] = []
        with _open_folder(os.path.join(folder, here) if here else folder) as entries:
            for entry in entries:
                name = entry.name
                if name[0] == "." or name in _OF_SYSTEMS:
                    continue
                try:
                    is_folder = entry.is_dir()
                except OSError:  # a link that leads to itself
                    is_folder = False
                if not is_folder:
                    if not folders:
                        yield below + name, entry, False
                    continue
                is_array = name[-5:].lower() == ZARR
                if folders or is_array:
                    yield below + name, entry, True
                if not is_array and (depth is None or level < depth):
                    linked = entry.is_symlink() or os.name == "nt"  # whose junctions are no links
                    path = os.path.join(folder, here, name)
                    inner.append(
                        (below + name, os.path.realpath(path) if linked else os.path.join(true, name), level + 1)
                    )
        left += sorted(inner, reverse=True)


@contextmanager
def _open_folder(folder: str) -> Iterator[Iterator["os.DirEntry[str]"]]:
    """Opens a folder by a number where the system can: paths of entries are then short, and quick to look at."""
    if os.scandir not in os.supports_fd:
        with os.scandir(folder) as entries:
            yield entries
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        with os.scandir(number) as entries:
            yield entries
    finally:
        os.close(number)
