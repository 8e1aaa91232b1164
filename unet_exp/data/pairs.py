"""Pairs images with masks by the names of their files."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from unet_exp.data.classes import list_few
from unet_exp.data.io.images import SUFFIXES, natural_key
from unet_exp.errors import DataError

_SHOWN = 3
_WILD = re.compile(r"[*?\[]")
_UNPRINTABLE = {"Cc", "Cs"}
"""Unicode's control letters, and surrogates for bytes that are not UTF-8: no table or picture can show them."""


class Pair(NamedTuple):
    """An image with its mask, if it has one; `name` is the path that both share, without suffix."""

    name: str
    image: Path
    mask: Path | None


def find_pairs(images: str, masks: str, mask_suffix: str, mask_missing: Callable[[str], bool]) -> list[Pair]:
    """Finds images, each with the mask of the same name, in natural order.

    The name of a file is its path below the folder, or the text that the wildcards of the glob match; two single files
    are a pair whatever their names.

    Args:
        images: a folder (with its subfolders), a glob or a file.
        masks: likewise.
        mask_suffix: what the names of masks have more at their end; images and masks may then lie in one folder.
        mask_missing: whether the image of this name may lack a mask.

    Raises:
        DataError: for nothing found, two files of one name, and images and masks without their counterpart.
    """
    found, masked = _find_files(images, "data.images"), _find_files(masks, "data.masks")
    if found == masked:  # One folder: the suffix tells masks from images.
        found = {name: path for name, path in found.items() if not mask_suffix or not name.endswith(mask_suffix)}
        masked = {name: path for name, path in masked.items() if name not in found}
        if not masked:
            raise DataError(
                f"data.masks={masks}: these are the files of data.images; give the folder of the masks, or "
                "data.mask_suffix, which the names of masks have more at their end"
            )
    masked = _strip_suffix(masked, mask_suffix)
    if Path(images).expanduser().is_file() and Path(masks).expanduser().is_file():
        masked = dict(zip(found, masked.values(), strict=True))
    bare = [name for name in found if name not in masked and not mask_missing(name)]
    if bare:
        files = list_few([str(found[name]) for name in bare], _SHOWN)
        raise DataError(
            f"{files}: no mask in data.masks={masks}, where {bare[0]}{mask_suffix}.png or the like is looked for; "
            "add it, set data.mask_suffix, or data.without_mask=unlabelled"
        )
    orphans = [str(path) for name, path in masked.items() if name not in found]
    if orphans:
        files = list_few(orphans, _SHOWN)
        raise DataError(f"{files}: a mask without an image in data.images={images}; add the image or move it away")
    return [Pair(name, path, masked.get(name)) for name, path in found.items()]


def _strip_suffix(named: dict[str, Path], suffix: str) -> dict[str, Path]:
    for name, path in named.items():
        if not name.endswith(suffix):
            raise DataError(f"{path}: does not end in data.mask_suffix={suffix}; rename it, move it or fix the key")
    return {name.removesuffix(suffix): path for name, path in named.items()}


def _find_files(spec: str, key: str) -> dict[str, Path]:
    """Lists files by name, in natural order."""
    path = Path(spec).expanduser()
    try:
        if path.is_file():
            files = {normalize_name(path.stem): [path]}
        else:
            files = _list_folder(path) if path.is_dir() else _match_glob(path)
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be opened ({error.strerror}); check its permissions") from None
    if not files:
        what = "no images in this folder" if path.is_dir() else "there is no such file or folder, and nothing matches"
        what += _describe_others(path)
        raise DataError(f"{key}={spec}: {what}; check the path (images end in {' '.join(SUFFIXES)})")
    for name, (first, *_) in files.items():
        if _UNPRINTABLE & {unicodedata.category(letter) for letter in name}:
            raise DataError(
                f"{ascii(str(first))[1:-1]}: its name holds a line break or the like, or is not UTF-8; rename it"
            )
    named: dict[str, Path] = {}
    for name in sorted(files, key=lambda name: natural_key(Path(name))):
        first = files[name][0]
        if len(files[name]) > 1:
            raise DataError(f"{first}: has the same name as {files[name][1]}; keep one of the two")
        named[name] = first
    return named


def _describe_others(folder: Path) -> str:
    """Names the kinds of other files in a folder, if it is one."""
    files = [path for path in folder.iterdir() if path.is_file() and path.name[0] != "."] if folder.is_dir() else []
    kinds = Counter(path.suffix.lower() for path in files)
    return ", only files such as " + ", ".join(f"*{kind}" for kind, _ in kinds.most_common(_SHOWN)) if kinds else ""


def normalize_name(name: str) -> str:
    """Writes each accented letter as one code: macOS may use two."""
    return unicodedata.normalize("NFC", name)


def _list_folder(folder: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in _walk(folder):
        found.setdefault(normalize_name(path.relative_to(folder).with_suffix("").as_posix()), []).append(path)
    return found


def _match_glob(pattern: Path) -> dict[str, list[Path]]:
    """Lists files that a glob matches, by the text that its wildcards match."""
    parts = pattern.parts
    # A folder that exists under this very name, such as `scans [old]`, is no pattern.
    fixed = next(
        (place for place, part in enumerate(parts) if _WILD.search(part) and not Path(*parts[: place + 1]).is_dir()),
        len(parts),
    )
    base, rest = Path(*parts[:fixed]), parts[fixed:]
    if not rest or not base.is_dir():
        return {}
    try:
        regex = re.compile("/".join(map(_to_regex, rest)).replace("(.*)/", "(?:(.*)/)?"))
    except re.error as error:
        raise DataError(f"{pattern}: its brackets are no set of letters ({error.msg}); write such as [a-z]") from None
    found: dict[str, list[Path]] = {}
    for path in _walk(base, None if "**" in rest else len(rest)):
        match = regex.fullmatch(path.relative_to(base).as_posix())
        if match:
            name = Path("/".join(part for part in match.groups() if part))
            stem = name.with_suffix("") if name.suffix.lower() in SUFFIXES else name
            found.setdefault(normalize_name(stem.as_posix()), []).append(path)
    return found


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
    """Lists the images below a folder but hidden ones; follows a link that leads back into its own folder once."""
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
            if not name.startswith(".") and name.lower().endswith(SUFFIXES):
                yield Path(here, name)
