"""Lists files: those in a folder, those that a glob matches, or one."""

import os
import re
import struct
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
from unet_exp.io.kinds import READ, SUFFIXES, describe_files
from unet_exp.io.texts import Places, Texts, sort_texts

_WILD = re.compile(r"[*?\[]")
_NUMBER = re.compile(r"[0-9]+")
_STAMP = struct.Struct("=4q")
_GONE = (0, 0, 0, 0)
_MOST = 2**63 - 1


class Listing(NamedTuple):
    """Files in natural order.

    Attributes:
        images: each with its name: its path below the folder, or the text that the wildcards of the glob match.
        others: files there of kinds that are not read.
    """

    images: list[tuple[str, Path]]
    others: list[Path]


class Source(NamedTuple):
    """Where files are.

    Attributes:
        folder: they are below it.
        pattern: a regular expression for their paths below it, its groups the text of the wildcards; None: all.
        depth: how many folders deep they may lie, 1 for the folder itself; None: any number.
        file: the name of the only file; None: there may be many.
    """

    folder: str
    pattern: str | None = None
    depth: int | None = None
    file: str | None = None


@dataclass(frozen=True, eq=False)
class Files:
    """Files as the system lists them, in little memory.

    Attributes:
        source: where they are.
        paths: (N,) below its folder.
        stamps: (N, 4) size in bytes, inode, time of the last change of the content and of the entry (ns), links
            followed; 0 for a file that cannot be looked at. (0, 4) where nobody asked.
    """

    source: Source
    paths: Texts
    stamps: NDArray[np.int64]

    @cached_property
    def read(self) -> NDArray[np.bool_]:
        """(N,) whether a file is of a kind that is read; one that was named is, whatever its suffix."""
        if self.source.file is not None:
            return np.ones(1, bool)
        return np.fromiter((path.lower().endswith(SUFFIXES) for path in self.paths), bool, len(self.paths))

    def name(self, path: str) -> str:
        """The name of the file of this path below the folder."""
        if self.source.file is not None:
            return normalize_name(Path(path).stem)
        if self._regex is None:
            return normalize_name(_strip_suffix(path))
        match = self._regex.fullmatch(path)
        text = "/".join(part for part in (match.groups() if match else ()) if part)
        return normalize_name(_strip_suffix(Path(text).as_posix()))

    def names(self, places: Places) -> Texts:
        """The names of the files at some places."""
        return Texts.of(map(self.name, self.paths.take(places)))

    def path(self, place: int) -> Path:
        """The file at a place."""
        return Path(self.source.folder, self.paths[place])

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

    Args:
        spec: a file (of any suffix), a folder or a glob such as `scans/*.tif` or `scans/**/*.png`.
        recursive: whether the subfolders of a folder count.

    Raises:
        DataError: for a folder that cannot be opened, nothing found, or only files of kinds that are not read.
    """
    files = scan_files(spec, recursive, stamps=False)
    check_found(spec, files)
    images, others = (files.sort(np.flatnonzero(chosen)) for chosen in (files.read, ~files.read))
    return Listing([(files.name(files.paths[place]), files.path(place)) for place in images], files.list_paths(others))


def scan_files(spec: str | Path, recursive: bool = True, stamps: bool = True, known: Files | None = None) -> Files:
    """Lists the files of a folder, a glob or a path as `list_files`, in the order of the system.

    Args:
        spec: see `list_files`.
        recursive: see `list_files`.
        stamps: whether to look at each file.
        known: files as they were listed before; where the same are there now, the result has these very `paths`.

    Raises:
        DataError: for a folder that cannot be opened, or a glob with brackets that are no set.
    """
    path = Path(spec).expanduser()
    seen = bytearray()
    try:
        source = _find_source(path, recursive)
        like = known.paths if known is not None and known.source == source else None
        found = Texts.of(_list_paths(source, seen if stamps else None) if source else (), like)
    except OSError as error:
        # That of a folder which is open has a number in place of its name.
        place = error.filename if isinstance(error.filename, str) else path
        raise DataError(f"{place}: cannot be opened ({error.strerror or error}); check its permissions") from None
    return Files(source or Source(str(path)), found, np.frombuffer(seen, np.int64).reshape(-1, 4))


def check_found(spec: str | Path, files: Files) -> None:
    """Checks that there are files of kinds that are read.

    Raises:
        DataError: if there are none.
    """
    if files.read.any():
        return
    path = Path(spec).expanduser()
    if len(files.paths):
        others = files.list_paths(files.sort(np.arange(len(files.paths))))
        raise DataError(f"{path}: holds nothing that is read, only {describe_files(others)}; {READ}")
    what = "no files in this folder" if path.is_dir() else "there is no such file or folder, and nothing matches"
    raise DataError(f"{path}: {what}; check the path")


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


def _strip_suffix(path: str) -> str:
    stem, dot, suffix = path.rpartition(".")
    hidden = not stem or stem.endswith("/")
    return path if hidden or f"{dot}{suffix.lower()}" not in SUFFIXES else stem


def _find_source(path: Path, recursive: bool) -> Source | None:
    """Where the files of a spec are; None: nowhere."""
    if path.is_file():
        return Source(str(path.parent), file=path.name)
    if path.is_dir():
        return Source(str(path), depth=None if recursive else 1)
    parts = path.parts
    # A folder that exists under this very name, such as `scans [old]`, is no pattern.
    fixed = next(
        (place for place, part in enumerate(parts) if _WILD.search(part) and not Path(*parts[: place + 1]).is_dir()),
        len(parts),
    )
    base, rest = Path(*parts[:fixed]), parts[fixed:]
    if not rest or not base.is_dir():
        return None
    pattern = "/".join(map(_to_regex, rest)).replace("(.*)/", "(?:(.*)/)?")
    try:
        re.compile(pattern)
    except re.error as error:
        raise DataError(f"{path}: its brackets are no set of letters ({error.msg}); write such as [a-z]") from None
    return Source(str(base), pattern, None if "**" in rest else len(rest))


def _to_regex(part: str) -> str:
    """Turns one part of a glob into a regular expression, its wildcards into groups."""
    if part == "**":
        return "(.*)"
    words = {"*": "([^/]*)", "?": "([^/])"}
    pieces = re.split(r"(\*|\?|\[[^\]]+\])", part)
    return "".join(
        words.get(piece) or (f"([{piece[1:-1].replace('!', '^', 1)}])" if piece[:1] == "[" else re.escape(piece))
        for piece in pieces
    )


def _list_paths(source: Source, stamps: bytearray | None) -> Iterator[str]:
    """Lists the files of a source, and adds the stamp of each."""
    if source.file is not None:
        if stamps is not None:
            stamps += _make_stamp(os.stat(os.path.join(source.folder, source.file)))
        yield source.file
        return
    matches = None if source.pattern is None else re.compile(source.pattern).fullmatch
    for path, entry in _walk(source.folder, source.depth):
        if matches is None or matches(path):
            if stamps is not None:
                try:
                    stamps += _make_stamp(entry.stat())
                except OSError:  # gone, or a link to nothing
                    stamps += _STAMP.pack(*_GONE)
            yield path


def _make_stamp(found: os.stat_result) -> bytes:
    try:
        return _STAMP.pack(found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns)
    except struct.error:  # times beyond the year 2262, numbers without sign
        numbers = found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns
        return _STAMP.pack(*(number & _MOST for number in numbers))


def _walk(folder: str, depth: int | None) -> Iterator[tuple[str, "os.DirEntry[str]"]]:
    """Lists the files below a folder but hidden ones; follows a link that leads back into its own folder once.

    Folders come in the order of their names, a folder's own files first, in the order of the system. The loop runs a
    million times: it calls little.

    Yields:
        The path below the folder, and the entry, which can be looked at until the next one.
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
                if name[0] == ".":
                    continue
                try:
                    is_folder = entry.is_dir()
                except OSError:  # a link that leads to itself
                    is_folder = False
                if not is_folder:
                    yield below + name, entry
                elif depth is None or level < depth:
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
