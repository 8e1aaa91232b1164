"""Families of files in an unknown folder: of one pattern of folders and one ending of their names."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

from unet_exp.errors import DataError
from unet_exp.io.kinds import SUFFIXES
from unet_exp.io.listing import scan_files

IMAGE_WORDS = ("image", "img", "jpeg", "frame", "photo", "scan", "sat", "input", "slide", "tissue", "raw", "original")
"""What the names of folders and files of images hold."""
MASK_WORDS = ("mask", "label", "annot", "seg", "gt", "ground", "truth", "manual", "trimap", "target", "outline", "map")
"""Likewise of masks."""
_SPLIT = re.compile(r"(training|train|validation|valid|val|dev|testing|test)", re.IGNORECASE)
_FEWEST_ALIKE = 3
_MOST_ENDINGS = 8
_MOST_FILES = 0.8
_ENDING = re.compile(r"[_\-. ][^_\-. ]*[^\W\d_][^_\-. ]*$")
"""The last word of a name, which is no number."""
_CHANNEL = re.compile(r"_\d{4}$")
"""How nnU-Net numbers channels."""
_RUN = re.compile(r"\d+|[^\W\d_]+|[\W_]")


@dataclass(frozen=True)
class Family:
    """Files that one glob names.

    Attributes:
        folders: the parts of the glob's folders, below the root.
        beginning: what all names begin with.
        ending: what they end in, before the suffix.
        suffixes: those that the files have, each with its dot; they differ in kind, or in case alone.
        files: paths below the root, sorted.
        splits: the names of train, val and test among the folders, in the order of `files`; empty for none.
        inner: the path inside of each file, where it is a container.
    """

    folders: tuple[str, ...]
    beginning: str
    ending: str
    suffixes: tuple[str, ...]
    files: tuple[str, ...]
    splits: tuple[str, ...] = ()
    inner: str = ""

    @property
    def suffix(self) -> str:
        """Of all files, as the glob has it."""
        if len(self.suffixes) == 1:
            return self.suffixes[0]
        return f".{{{','.join(suffix[1:] for suffix in self.suffixes)}}}"

    @property
    def kind(self) -> str:
        """The suffix in lower case; the first of several."""
        return self.suffixes[0].lower()

    @property
    def spec(self) -> str:
        """The glob, below the root."""
        return "/".join((*self.folders, f"{self.beginning}*{self.ending}{self.suffix}", *self._within))

    @property
    def _within(self) -> list[str]:
        return [self.inner] if self.inner else []

    @property
    def folder_spec(self) -> str:
        """A glob that names the folders as items, each with its files."""
        return "/".join((*self.folders, ""))

    def list_words(self) -> list[str]:
        """The parts of its name that are no wildcards, in lower case."""
        parts = (*self.folders, self.beginning, self.ending, self.inner)
        return [part.lower() for part in parts if part not in ("", "*")]

    def tell_role(self, other: "Family") -> int:
        """Whether its name, but for what another's has too, says that it holds masks (1), images (-1), or neither (0).

        The word nearest to the file counts.
        """
        shared = other.list_words()
        own = " ".join(word for word in self.list_words() if word not in shared)
        masks, images = _find_last(own, MASK_WORDS), _find_last(own, IMAGE_WORDS)
        return (masks > images) - (images > masks)

    @property
    def names(self) -> list[str]:
        """What the wildcard matches in the name of each file."""
        start, stop = len(self.beginning), len(self.ending)
        stems = [_split_suffix(file.rpartition("/")[2], self.suffixes)[0] for file in self.files]
        return [stem[start : -stop or None] for stem in stems]

    def holds(self, other: "Family") -> bool:
        """Whether it has all files of another one, and does not read something else in them."""
        return self.inner == other.inner and {*other.files} <= {*self.files}

    @property
    def number_of_folders(self) -> int:
        """How many folders hold the files."""
        return len({file.rpartition("/")[0] for file in self.files})

    def narrow(self, numbers: bool) -> "Family":
        """The same files by a glob with what their names have in common at both ends; itself where they have nothing.

        Args:
            numbers: whether a number of two digits or more can be a part of it: names may have one in common by chance.
        """
        runs = [_RUN.findall(name) for name in self.names]
        longest = min(map(len, runs)) - 1  # something remains of each name
        start = _count_common(runs, longest, numbers)
        stop = _count_common([run[::-1] for run in runs], longest - start, numbers)
        first = runs[0]
        ending = "".join(first[len(first) - stop :])
        return replace(self, beginning=self.beginning + "".join(first[:start]), ending=ending + self.ending)


def narrow_both(images: Family, masks: Family, numbers: bool) -> tuple[Family, Family]:
    """Narrows both, see `Family.narrow`, but for the words beside the wildcard that both have: these stay in the names.

    Their common `patient` is a part of names that a user knows, and `data.group` may need it.
    """
    narrow, narrow_masks = images.narrow(numbers), masks.narrow(numbers)
    start = _count_shared(narrow.beginning[::-1], narrow_masks.beginning[::-1])
    # What the files had before keeps others out.
    added, added_masks = (new.ending.removesuffix(old.ending) for new, old in ((narrow, images), (narrow_masks, masks)))
    stop = _count_shared(added, added_masks)

    def widen(family: Family) -> Family:
        return replace(
            family,
            beginning=family.beginning[: len(family.beginning) - start],
            ending=family.ending[stop:],
        )

    return widen(narrow), widen(narrow_masks)


def _count_shared(first: str, second: str) -> int:
    """How many characters two texts have in common at their beginnings: all of one text, or whole words of both."""
    if first.startswith(second) or second.startswith(first):
        return min(len(first), len(second))
    runs = zip(_RUN.findall(first), _RUN.findall(second), strict=False)
    return len("".join(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], runs)).rstrip("_-. "))


def find_families(root: Path, suffixes: Sequence[str] = SUFFIXES) -> list[Family]:
    """Finds the families of files below a folder, the largest first.

    Folders of split words (train, val, test) are one in braces. Three or more of other names, which say nothing of a
    role, are a wildcard; so are two, where the same two lie elsewhere or hold the same folders. Files of several kinds
    in one folder, none of them of one name, are a family too, beside that of each kind; and so are all files of a
    folder whose names end as those of another folder do.

    Args:
        root: the folder.
        suffixes: of files that count.

    Raises:
        DataError: if the folder is none, or cannot be opened.
    """
    if not root.is_dir():
        raise DataError(f"data.root={root}: there is no such folder; check the path")
    tree = _Tree(scan_files(root, stamps=False).paths, suffixes)
    found = [family for folders, files in tree.walk([""], ()) for family in _divide(folders, files, suffixes)]
    return sorted([*found, *_join_alike(found)], key=lambda family: (-len(family.files), family.spec))


def _join_alike(families: Sequence[Family]) -> Iterator[Family]:
    """All files of a folder whose names end as those of another folder do: these may be images and masks, one by one.

    Such as `images/p1_field01.png` and `masks/p1_field01.png`: channels would share a mask, and classes an image.
    """
    divided: dict[tuple[tuple[str, ...], tuple[str, ...]], list[Family]] = defaultdict(list)
    for family in families:
        if family.ending:
            divided[family.folders, family.suffixes].append(family)
    for (folders, suffixes), members in divided.items():
        endings = {family.ending for family in members}
        others = [
            {family.ending for family in found} for (elsewhere, _), found in divided.items() if elsewhere != folders
        ]
        if any(len(endings & other) > 1 for other in others):
            files = sorted({file for family in members for file in family.files})
            yield Family(folders, "", "", suffixes, tuple(files), members[0].splits)


class _Tree:
    """Folders with the files in them."""

    def __init__(self, paths: Iterable[str], suffixes: Sequence[str]) -> None:
        self._files: dict[str, list[str]] = defaultdict(list)
        self._folders: dict[str, set[str]] = defaultdict(set)
        for path in paths:
            if not path.lower().endswith(tuple(suffixes)):
                continue
            folder, _, name = path.rpartition("/")
            self._files[folder].append(name)
            while folder:
                above, _, name = folder.rpartition("/")
                if name in self._folders[above]:
                    break
                self._folders[above].add(name)
                folder = above

    def walk(self, folders: Sequence[str], pattern: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], list[str]]]:
        """The files of folders that one pattern matches, and those below, with their patterns."""
        below = {folder: f"{folder}/" if folder else "" for folder in folders}
        files = [below[folder] + name for folder in folders for name in self._files.get(folder, ())]
        if files:
            yield pattern, files
        names = sorted({name for folder in folders for name in self._folders.get(folder, ())})
        for part, members in _group_folders(names, lambda members: self._are_items(folders, members)):
            inner = [below[folder] + name for folder in folders for name in members & self._folders.get(folder, set())]
            yield from self.walk(inner, (*pattern, part))

    def _are_items(self, folders: Sequence[str], names: Sequence[str]) -> bool:
        """Whether folders of these names, below others, are of one role: three; or two whose names lie elsewhere too.

        Two that hold folders of the same names are likewise.
        """
        if len(names) != _FEWEST_ALIKE - 1:
            return len(names) >= _FEWEST_ALIKE
        here, wanted = {*folders}, {*names}
        inner = [self._folders.get(f"{folder}/{name}".lstrip("/"), set()) for folder in folders for name in names]
        alike = bool(inner[0]) and all(found == inner[0] for found in inner)
        return alike or any(wanted <= found for folder, found in self._folders.items() if folder not in here)


def _group_folders(names: Sequence[str], are_items: Callable[[Sequence[str]], bool]) -> Iterator[tuple[str, set[str]]]:
    """Groups the names of folders beside each other, each with its part of a glob.

    Args:
        names: of all of them.
        are_items: whether some of them, whose names are alike or say nothing, are of one role.
    """
    splits: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name in names:
        if match := _SPLIT.search(name):
            splits[name[: match.start()], name[match.end() :]].append(name)
    for (start, end), members in splits.items():
        if len(members) > 1:
            words = [name[len(start) : len(name) - len(end)] for name in members]
            yield f"{start}{{{','.join(words)}}}{end}", set(members)
    left = [name for name in names if not any(name in found and len(found) > 1 for found in splits.values())]
    numbered: dict[str, list[str]] = defaultdict(list)
    for name in left:
        if match := re.fullmatch(r"(.*?\D)\d+", name):
            numbered[match[1]].append(name)
    for start, members in numbered.items():
        if are_items(members):
            yield f"{start}*", set(members)
            left = [name for name in left if name not in members]
    plain = [
        name for name in left if not _SPLIT.search(name) and _find_last(name.lower(), (*IMAGE_WORDS, *MASK_WORDS)) < 0
    ]
    alike = set(plain) if are_items(plain) else set()
    if alike:
        yield "*", alike
    yield from ((name, {name}) for name in left if name not in alike)


def _divide(folders: tuple[str, ...], files: Sequence[str], suffixes: Sequence[str]) -> Iterator[Family]:
    """Divides the files of one pattern of folders by kind and by the ending of their names."""
    by_kind: dict[str, dict[str, str]] = defaultdict(dict)
    for file in files:
        stem, suffix = _split_suffix(file, suffixes)
        by_kind[suffix.lower()][file] = stem
    kinds = [*by_kind.values()]
    pictures = [found for kind, found in by_kind.items() if kind in SUFFIXES]
    mixed = {file: stem for found in pictures for file, stem in found.items()}
    if len(pictures) > 1 and len({*mixed.values()}) == len(mixed):
        kinds.append(mixed)
    for stems in kinds:
        groups = _divide_by(_ENDING, stems) or _divide_by(_CHANNEL, stems) or {"": [*stems]}
        for ending, group in groups.items():
            found = sorted({file[len(stems[file]) :] for file in group})
            if stems is not mixed or len({suffix.lower() for suffix in found}) > 1:
                yield Family(folders, "", ending, tuple(found), tuple(sorted(group)), _list_splits(folders))


def _split_suffix(path: str, suffixes: Sequence[str]) -> tuple[str, str]:
    """Splits the longest of some suffixes from a path, which ends in one of them."""
    lower = path.lower()
    stop = len(path) - max(len(suffix) for suffix in suffixes if lower.endswith(suffix.lower()))
    return path[:stop], path[stop:]


def _divide_by(pattern: re.Pattern[str], stems: Mapping[str, str]) -> dict[str, list[str]] | None:
    """Divides files by how their names end; None where the endings are no roles: one, many, or of one file each.

    A few files with an ending of their own are left out. `stems` are files with their paths without the suffix.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for file, stem in stems.items():
        match = pattern.search(stem.rpartition("/")[2])
        groups[match[0] if match else ""].append(file)
    several = {ending: members for ending, members in groups.items() if len(members) > 1}
    told = sum(map(len, several.values())) >= _MOST_FILES * len(stems)
    return several if told and 1 < len(several) <= _MOST_ENDINGS else None


def _list_splits(folders: Sequence[str]) -> tuple[str, ...]:
    """The split words in braces of the first part that has some, where no wildcard comes before it."""
    for part in folders:
        if "*" in part:
            return ()
        if match := re.search(r"\{(.*)\}", part):
            return tuple(match[1].split(","))
    return ()


def _count_common(runs: Sequence[Sequence[str]], most: int, numbers: bool) -> int:
    """How many runs all of them begin with, perhaps up to the first number."""
    if len(runs) < 2:
        return 0
    columns = zip(*(run[: max(most, 0)] for run in runs), strict=False)
    common = [column[0] for column in takewhile(lambda column: len(set(column)) == 1, columns)]
    if not numbers:
        common = list(takewhile(lambda run: not (run.isdigit() and len(run) > 1), common))
    return len(common)


def _find_last(text: str, words: Sequence[str]) -> int:
    """Where the last of some words begins in a text; -1 for none."""
    return max(text.rfind(word) for word in words)
