"""What a spec names: the files of a folder, those that a glob matches, or one, and perhaps an array inside each."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from unet_exp.errors import DataError
from unet_exp.io.kinds import ANNOTATION_SUFFIXES, SUFFIXES, is_dicom
from unet_exp.io.stored import CONTAINERS, split_inner

ZARR = ".zarr"
"""Of folders that are items as files are."""

_BRACES = r"\{[^{}]*,[^{}]*\}"
_WILD = re.compile(rf"[*?\[]|{_BRACES}")
_PIECES = re.compile(rf"(\*|\?|\[[^\]]+\]|{_BRACES})")
_NESTED = re.compile(r"\{[^{}]*\{[^{}]*\}[^{}]*\}")
_WORDS = {"*": "[^/]*", "?": "[^/]"}
_SUFFIXES = {
    "images": SUFFIXES,
    "masks": (*SUFFIXES, *ANNOTATION_SUFFIXES),
    "annotations": ANNOTATION_SUFFIXES,
}
_ENDINGS = {kinds: frozenset((*suffixes, *SUFFIXES, *CONTAINERS)) for kinds, suffixes in _SUFFIXES.items()}
_LAST_PARTS = frozenset(suffix[suffix.rindex(".") :] for suffix in _ENDINGS["masks"] if suffix.count(".") > 1)

Kinds = Literal["images", "masks", "annotations"]
"""See `Source`."""


class Source(NamedTuple):
    """Where files are.

    Attributes:
        folder: they are below it.
        pattern: a regular expression for their paths below it, its groups the text of the wildcards; None: all.
        depth: how many folders deep they may lie, 1 for the folder itself; None: any number.
        file: the name of the only file; None: there may be many.
        inner: the path inside each file; empty for none.
        folders: whether folders are the items, not files.
        kinds: of files that are read: images; those and annotations, for masks; or annotations alone.
    """

    folder: str
    pattern: str | None = None
    depth: int | None = None
    file: str | None = None
    inner: str = ""
    folders: bool = False
    kinds: Kinds = "images"

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Of files that are read, in lower case; one that was named is, whatever its suffix (`""`)."""
        return ("",) if self.file is not None or self.folders or self.inner else _SUFFIXES[self.kinds]

    def strip_suffix(self, path: str) -> str:
        """A path without the suffix of a kind that is read, which may have two parts, as `.nii.gz`."""
        stem, dot, last = path.rpartition(".")
        ending = f"{dot}{last.lower()}"
        known = _ENDINGS[self.kinds]
        if ending in _LAST_PARTS:
            shorter, dot, before = stem.rpartition(".")
            if f"{dot}{before.lower()}{ending}" in known and shorter and not shorter.endswith("/"):
                return shorter
        return stem if ending in known and stem and not stem.endswith("/") else path


def names_folders(spec: str | Path) -> bool:
    """Whether a spec is a glob of folders: one with a wildcard that ends in `/`."""
    return str(spec).endswith(("/", os.sep)) and _WILD.search(str(spec)) is not None


def find_source(spec: str | Path, recursive: bool = True, kinds: Kinds = "images") -> Source | None:
    """Finds where the files of a spec are; None: nowhere.

    Args:
        spec: see `unet_exp.io.listing.list_files`.
        recursive: whether the subfolders of a folder count.
        kinds: see `Source`.

    Raises:
        DataError: for brackets that are no set, and wildcards inside a container.
    """
    path = Path(spec).expanduser()
    outer, inner = _split_glob(path)
    if outer.is_dir() and not is_zarr(outer):
        outer, inner = path, ""
    if outer.is_file() or is_zarr(outer) or is_series(outer):
        _check_inner(path, inner)
        return Source(str(outer.parent), file=outer.name, inner=inner, kinds=kinds)
    if outer.is_dir():
        return Source(str(outer), depth=None if recursive else 1, kinds=kinds)
    base, rest = _split_fixed(outer)
    if not rest or not base.is_dir():
        return None
    _check_inner(path, inner)
    if _NESTED.search("/".join(rest)):
        raise DataError(f"{path}: has braces within braces; write them all in one, such as {{a,b,c}}")
    pattern = _join_regex(rest)
    try:
        re.compile(pattern)
    except re.error as error:
        raise DataError(f"{path}: its brackets are no set of letters ({error.msg}); write such as [a-z]") from None
    depth = None if "**" in rest else len(rest)
    return Source(str(base), pattern, depth, None, inner, names_folders(spec) and not inner, kinds)


class Alternative(NamedTuple):
    """A text in the braces of a glob.

    Attributes:
        text: it.
        regex: a regular expression for what it matches.
        pattern: the `Source.pattern` of the glob with this text alone in place of the braces.
        wider: a glob with `*` in place of the braces: of all that lies below, where they are in the name of a folder.
        place: the group of that `*` in the pattern of `wider`.
    """

    text: str
    regex: str
    pattern: str
    wider: str
    place: int


def list_alternatives(spec: str | Path) -> Iterator[Alternative]:
    """Lists what the braces of a glob offer, but suffixes: one glob names those that may be there."""
    outer, inner = _split_glob(Path(spec).expanduser())
    base, rest = _split_fixed(outer)
    for number, part in enumerate(rest):
        pieces = _PIECES.split(part)
        for place in range(1, len(pieces), 2):
            braces, before, after = pieces[place], "".join(pieces[:place]), "".join(pieces[place + 1 :])
            if braces[0] != "{" or _are_suffixes(braces, before, not after):
                continue
            group = re.compile(_join_regex((*rest[:number], before))).groups
            above, tail = rest[:number], rest[number + 1 :]
            wider = str(Path(base, *above, f"{before}*{after}", *(("**", "*") if tail else (inner,))))
            for text in braces[1:-1].split(","):
                pattern = _join_regex((*above, f"{before}{text}{after}", *tail))
                ending = "/" * (names_folders(spec) and not tail)
                yield Alternative(text, _translate_all(text), pattern, wider + ending, group)


def is_zarr(path: Path) -> bool:
    """Whether this is a folder that holds Zarr arrays, by its name."""
    return path.name.lower().endswith(ZARR) and path.is_dir()


def is_series(folder: Path) -> bool:
    """Whether a folder is one item by what it holds: files alone, of no suffix that is read, some of them DICOM."""
    if not folder.is_dir():
        return False
    files = list[str]()
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name[0] == ".":
                continue
            if entry.name.lower().endswith(_SUFFIXES["masks"]) or entry.is_dir():
                return False
            if entry.is_file():  # opening a pipe would wait for ever
                files.append(entry.path)
    return any(map(is_dicom, files))


def _split_glob(path: Path) -> tuple[Path, str]:
    """Splits a glob as `split_inner` splits a path; a container may end in braces, as `*.{h5,npz}`."""
    for place, part in enumerate(path.parts[:-1], start=1):
        before, brace, choices = part.rpartition("{")
        if (
            brace
            and choices.endswith("}")
            and all(f"{before}{choice}".lower().endswith(CONTAINERS) for choice in choices[:-1].split(","))
        ):
            return Path(*path.parts[:place]), "/".join(path.parts[place:])
    return split_inner(path)


def _split_fixed(path: Path) -> tuple[Path, tuple[str, ...]]:
    """Splits a glob before its first part with a wildcard; none if it has no such part."""
    parts = path.parts
    # A folder that exists under this very name, such as `scans [old]`, is no pattern.
    fixed = next(
        (place for place, part in enumerate(parts) if _WILD.search(part) and not Path(*parts[: place + 1]).is_dir()),
        len(parts),
    )
    return Path(*parts[:fixed]), parts[fixed:]


def _check_inner(path: Path, inner: str) -> None:
    if _WILD.search(inner):
        raise DataError(f"{path}: wildcards do not look inside a file; name one array there, as in scans/*.h5/raw")


def _join_regex(parts: tuple[str, ...]) -> str:
    """Turns the parts of a glob into one regular expression."""
    return "/".join(map(_to_regex, parts)).replace("(.*)/", "(?:(.*)/)?")


def _to_regex(part: str) -> str:
    """Turns one part of a glob into a regular expression, its wildcards into groups."""
    if part == "**":
        return "(.*)"
    pieces = _PIECES.split(part)
    return "".join(
        re.escape(piece) if place % 2 == 0 else _group(piece, pieces[place - 1], not any(pieces[place + 1 :]))
        for place, piece in enumerate(pieces)
    )


def _group(wildcard: str, before: str, last: bool) -> str:
    """The group of a wildcard; that of suffixes, such as `*.{jpg,png}`, is part of no name, and catches nothing."""
    if wildcard[0] != "{":
        return f"({_translate(wildcard)})"
    either = "|".join(map(_translate_all, wildcard[1:-1].split(",")))
    return f"(?:{either})" if _are_suffixes(wildcard, before, last) else f"({either})"


def _are_suffixes(braces: str, before: str, last: bool) -> bool:
    """Whether braces offer suffixes: behind a dot at the end of a name."""
    choices = braces[1:-1].split(",")
    return last and before.endswith(".") and all(f".{choice}".lower() in _ENDINGS["masks"] for choice in choices)


def _translate_all(text: str) -> str:
    return "".join(map(_translate, _PIECES.split(text)))


def _translate(piece: str) -> str:
    if piece[:1] == "[" and len(piece) > 2:
        return f"[{piece[1:-1].replace('!', '^', 1)}]"
    return _WORDS.get(piece) or re.escape(piece)
