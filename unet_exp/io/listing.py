"""Lists files: those in a folder, those that a glob matches, or one."""

import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from unet_exp.errors import DataError
from unet_exp.io.kinds import READ, SUFFIXES, describe_files

_WILD = re.compile(r"[*?\[]")


class Listing(NamedTuple):
    """Files in natural order.

    Attributes:
        images: each with its name: its path below the folder, or the text that the wildcards of the glob match.
        others: files there of kinds that are not read.
    """

    images: list[tuple[str, Path]]
    others: list[Path]


def list_files(spec: str | Path, recursive: bool = True) -> Listing:
    """Lists the files of a folder, a glob or a path, but hidden ones.

    Args:
        spec: a file (of any suffix), a folder or a glob such as `scans/*.tif` or `scans/**/*.png`.
        recursive: whether the subfolders of a folder count.

    Raises:
        DataError: for a folder that cannot be opened, nothing found, or only files of kinds that are not read.
    """
    path = Path(spec).expanduser()
    try:
        if path.is_file():
            return Listing([(normalize_name(path.stem), path)], [])
        found = list(_list_folder(path, recursive) if path.is_dir() else _match_glob(path))
    except OSError as error:
        place = error.filename or path
        raise DataError(f"{place}: cannot be opened ({error.strerror or error}); check its permissions") from None
    found.sort(key=lambda item: natural_key(item[1]))
    images = [item for item in found if item[1].suffix.lower() in SUFFIXES]
    others = [other for _, other in found if other.suffix.lower() not in SUFFIXES]
    if not images and others:
        raise DataError(f"{path}: holds nothing that is read, only {describe_files(others)}; {READ}")
    if not images:
        what = "no files in this folder" if path.is_dir() else "there is no such file or folder, and nothing matches"
        raise DataError(f"{path}: {what}; check the path")
    return Listing(images, others)


def natural_key(path: Path) -> list[str | int]:
    """Sort key with the numbers inside names by value: 2.png before 10.png."""
    parts = re.split(r"([0-9]+)", path.as_posix())  # Every second one is a number.
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]


def normalize_name(name: str) -> str:
    """Writes each accented letter as one code: macOS may use two."""
    return unicodedata.normalize("NFC", name)


def _list_folder(folder: Path, recursive: bool) -> Iterator[tuple[str, Path]]:
    for path in _walk(folder, None if recursive else 1):
        yield _name(path.relative_to(folder)), path


def _match_glob(pattern: Path) -> Iterator[tuple[str, Path]]:
    parts = pattern.parts
    # A folder that exists under this very name, such as `scans [old]`, is no pattern.
    fixed = next(
        (place for place, part in enumerate(parts) if _WILD.search(part) and not Path(*parts[: place + 1]).is_dir()),
        len(parts),
    )
    base, rest = Path(*parts[:fixed]), parts[fixed:]
    if not rest or not base.is_dir():
        return
    try:
        regex = re.compile("/".join(map(_to_regex, rest)).replace("(.*)/", "(?:(.*)/)?"))
    except re.error as error:
        raise DataError(f"{pattern}: its brackets are no set of letters ({error.msg}); write such as [a-z]") from None
    for path in _walk(base, None if "**" in rest else len(rest)):
        match = regex.fullmatch(path.relative_to(base).as_posix())
        if match:
            yield _name(Path("/".join(part for part in match.groups() if part))), path


def _name(path: Path) -> str:
    return normalize_name((path.with_suffix("") if path.suffix.lower() in SUFFIXES else path).as_posix())


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


def _walk(folder: Path, depth: int | None = None) -> Iterator[Path]:
    """Lists the files below a folder but hidden ones; follows a link that leads back into its own folder once."""
    seen: set[str] = set()

    def refuse(error: OSError) -> None:
        raise error

    for here, folders, files in os.walk(folder, followlinks=True, onerror=refuse):
        true = os.path.realpath(here)
        if true in seen:
            folders.clear()
            continue
        seen.add(true)
        if depth is not None and len(Path(here).relative_to(folder).parts) >= depth - 1:
            folders.clear()
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                yield Path(here, name)
