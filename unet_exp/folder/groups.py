"""Splits a user's own images in contiguous blocks of groups, by folders or by lists; a group stays in one part."""

import logging
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unet_exp.config.user_data import FolderConfig, UserDataConfig
from unet_exp.errors import ConfigError, DataError
from unet_exp.folder.lists import WORDS, find_list, match_lines
from unet_exp.io.texts import Places, TextIndex, Texts
from unet_exp.samples.group_counts import GroupCount
from unet_exp.samples.splits import split_indices

PARTS = tuple(WORDS)
UNLABELLED = "unlabelled"

_log = logging.getLogger(__name__)

_LONGEST_NAME = 200


class SplitItem(NamedTuple):
    """An image to split: the name of its file, and its own, which differ for the pages of a stack."""

    file: str
    name: str


class Split(NamedTuple):
    """A split of images.

    Attributes:
        parts: places of the images of train, val and test.
        groups: of each of these, by its name; empty where each image is a group of its own.
    """

    parts: list[Places]
    groups: dict[str, GroupCount]


def split(items: Sequence[SplitItem], config: UserDataConfig) -> list[Places]:
    """The parts of `split_groups`."""
    return split_groups(items, config).parts


def split_groups(items: Sequence[SplitItem], config: UserDataConfig) -> Split:
    """Splits labelled images, in natural order, into train, val and test; a group stays in one of them.

    Args:
        items: may make each item when it is asked for; they are asked for one after the other.
        config: the rules.

    Raises:
        ConfigError: for a config that does not fit these images.
        DataError: for lists that cannot be read or do not fit.
    """
    groups = _number_groups(items, config)
    parts = _split_blocks(groups, config) if config.split == "fractions" else _split_as_given(items, groups, config)
    counts: dict[str, GroupCount] = {}
    if int(groups.max(initial=-1)) + 1 < len(items):
        for part, places in zip(PARTS, parts, strict=True):
            if len(places):
                first = _name_group(items[int(places[0])], config).replace("\n", " ")
                counts[part] = GroupCount(len(np.unique(groups[places])), first)
    return Split(parts, counts)


def _split_as_given(items: Sequence[SplitItem], groups: Places, config: UserDataConfig) -> list[Places]:
    """By folders or by lists, none of which may tear one of the groups (N,)."""
    folder = config.lists_folder
    parts = _split_by_folders(items) if folder is None else _split_by_lists(items, Path(folder))
    for part, places in zip(PARTS[:2], parts, strict=False):
        if not len(places):
            raise ConfigError(
                f"data.split={config.split}: there is no image in {part}; train and val need at least one"
            )
    owners = np.full(len(items), -1)
    for number, places in enumerate(parts):
        before = owners[groups[places]]
        torn = np.flatnonzero(before >= 0)
        if len(torn):
            raise ConfigError(
                f"{items[int(places[torn[0]])].name} is in {PARTS[number]} and others of its group "
                f"(data.group={config.group}) are in {PARTS[before[torn[0]]]}; keep a group together, or set "
                "data.group=image"
            )
        owners[groups[places]] = number
    return parts


def name_samples(items: Sequence[SplitItem], find_source: Callable[[int], Path | str]) -> Texts:
    """Names of images in a data set: names of files, `/` as `_`.

    Args:
        items: may make each item when it is asked for.
        find_source: what messages call the item at a place, such as its file.

    Raises:
        DataError: for two of one name, and one too long for the name of its prediction.
    """
    names = Texts.of(item.name.replace("/", "_") for item in items)
    long = names.sizes > _LONGEST_NAME
    again = TextIndex(names).find_firsts() != np.arange(len(names))
    wrong = np.flatnonzero(long | again)
    if not len(wrong):
        return names
    first = int(wrong[0])
    if long[first]:
        raise DataError(
            f"{find_source(first)}: its name, with its folders, is longer than {_LONGEST_NAME} bytes, too long for a "
            "file of its prediction; rename it"
        )
    raise DataError(f"{find_source(first)}: another image would be called {names[first]} too; rename one of the two")


def _number_groups(items: Sequence[SplitItem], config: UserDataConfig) -> Places:
    """(N,) the number of each item's group, in the order of their first images."""
    firsts = TextIndex(Texts.of(_name_group(item, config) for item in items)).find_firsts()
    numbers: Places = np.unique(firsts, return_inverse=True)[1]
    return numbers


def _name_group(item: SplitItem, config: UserDataConfig) -> str:
    rule = config.group
    if rule == "image":
        return item.name
    if rule == "file":
        return item.file
    if rule == "folder":
        return item.file.rpartition("/")[0]
    match = re.search(rule, item.name)
    if match is None:
        raise ConfigError(
            f"data.group={rule}: does not match {item.name}{_suggest_backslashes(rule, item.name)}; give file, folder, "
            f"image or a regular expression that all names match{_explain_names(item, config)}"
        )
    return "\n".join(part or "" for part in match.groups()) if match.groups() else match[0]


def _suggest_backslashes(rule: str, name: str) -> str:
    """Says which expression a shell has probably taken the backslashes from: one with them that matches a name.

    Only of letters beside what repeats them or a bracket: others are mostly of words.
    """
    letters = [] if "\\" in rule else list(re.finditer(r"[dwsDWS](?=[+*?{\])])|(?<=[\[(])[dwsDWS]", rule))
    for chosen in filter(None, (letters, *([letter] for letter in letters))):
        meant = rule
        for letter in reversed(chosen):
            meant = f"{meant[: letter.start()]}\\{meant[letter.start() :]}"
        with suppress(re.error):  # such as a range of a set
            if re.search(meant, name):
                return f" (did you mean 'data.group={meant}'? without single quotes a shell removes backslashes)"
    return ""


def _explain_names(item: SplitItem, config: UserDataConfig) -> str:
    """What a name is, where wildcards make it; with a shorter glob, if that gives a name that the rule matches."""
    images = config.images if isinstance(config, FolderConfig) else None
    if not isinstance(images, str) or not any(sign in images for sign in "*?["):
        return ""
    told = f"; names are what the wildcards match in data.images={images}"
    above, slash, last = images.rpartition("/")
    stem, dot, suffix = last.partition(".")
    start, star, end = stem.partition("*")
    if not star or not start + end or any(sign in start + end for sign in "*?[{"):
        return told
    folder, below, name = item.name.rpartition("/")
    wide = f"{folder}{below}{start}{name}{end}"
    if re.search(config.group, wide) is None:
        return told
    return f"{told}: with data.images={above}{slash}*{dot}{suffix} this one is '{wide}'"


def _split_blocks(groups: Places, config: UserDataConfig) -> list[Places]:
    """Contiguous blocks of groups, by folds or by fractions of the images."""
    sizes = np.bincount(groups)
    count = len(sizes)
    wanted = config.folds or 2 + (config.test > 0)
    if count < wanted:
        word = f"data.folds={config.folds}" if config.folds else f"data.val={config.val} data.test={config.test}"
        ways = ["add images", *(["take fewer data.folds"] if config.folds else ["take data.test=0"] * (wanted > 2))]
        if config.group != "image":
            ways.append("set data.group=image, with which the pages of one stack may come into several parts")
        have = "1 group of images" if count == 1 else f"{count} groups of images"
        raise ConfigError(
            f"{word}: {wanted} parts are wanted and data.group={config.group} makes {have}, each of which stays in one "
            f"part: {', or '.join(ways)}"
        )
    part_of = np.zeros(count, np.int8)
    if config.folds:
        for number, chosen in enumerate(split_indices(count, config.fold, config.folds)):
            part_of[chosen] = number
    else:
        # The middle of a group decides its part; each part has one group at least.
        ends = np.cumsum(sizes)
        middles = (ends - sizes / 2) / ends[-1]
        test = count
        if config.test:
            test = min(max(2, int(np.searchsorted(middles, 1 - config.test))), count - 1)
        val = max(1, min(int(np.searchsorted(middles, 1 - config.test - config.val)), test - 1))
        part_of[val:test], part_of[test:] = 1, 2
    by_group = np.argsort(groups, kind="stable")
    return _divide(part_of[groups[by_group]], by_group)


def _divide(part_of: NDArray[np.int8], places: Places) -> list[Places]:
    """Divides places (N,) by the number (N,) of each one's part."""
    return [places[part_of == number] for number in range(len(PARTS))]


def _split_by_folders(items: Sequence[SplitItem]) -> list[Places]:
    """By the first folder in the names, or else by another one that names a part in all of them."""
    place = _find_part(items)
    words = {word: number for number, part in enumerate(PARTS) for word in WORDS[part]}
    numbers = (words[item.name.split("/")[place].lower()] for item in items)
    return _divide(np.fromiter(numbers, np.int8, len(items)), np.arange(len(items)))


def _find_part(items: Sequence[SplitItem]) -> int:
    """The first place at which all names have a folder that names a part.

    Raises:
        ConfigError: if there is none.
    """
    words = {word for part in PARTS for word in WORDS[part]}
    places: list[int] | None = None
    for item in items:
        folders = item.name.split("/")[:-1]
        named = [place for place, folder in enumerate(folders) if folder.lower() in words]
        places = named if places is None else [place for place in places if place in named]
        if not places:
            raise ConfigError(
                f"data.split=folders: {item.name} is not in a folder train, val, test or unlabelled (or training, "
                "valid, validation, dev, testing) where others are; move it there, or write globs whose wildcards "
                "match that folder"
            )
    return places[0] if places else 0


def _split_by_lists(items: Sequence[SplitItem], folder: Path) -> list[Places]:
    names, files = (Texts.of(getattr(item, what) for item in items) for what in ("name", "file"))
    part_of = np.full(len(items), -1, np.int8)
    for number, part in enumerate(PARTS):
        path = find_list(folder, part)
        if part == "test" and not path.exists():
            continue
        listed = match_lines(path, names, files)
        index = TextIndex(listed)
        # An image is listed by its own name, or with all pages of its file.
        lines = np.stack([index.find(names), index.find(files)])
        _check_listed_once(path, listed, index.find_firsts(), lines, part_of)
        part_of[lines.max(axis=0) >= 0] = number
    if unused := int((part_of < 0).sum()):
        _log.warning("%s: %d of %d images are in no list, and are not used", folder, unused, len(items))
    return _divide(part_of, np.arange(len(items)))


def _check_listed_once(path: Path, listed: Texts, firsts: Places, lines: Places, part_of: NDArray[np.int8]) -> None:
    """Checks that a list names no image of an earlier list, and none twice.

    Args:
        path: the list.
        listed: (L,) its names.
        firsts: (L,) the line of the first name that is equal.
        lines: (2, N) the first line of each image's own name and of its file's; -1: it is not there.
        part_of: (N,) the number of the earlier list that has an image; -1: none.

    Raises:
        DataError: if it does.
    """
    low, high = lines.min(axis=0), lines.max(axis=0)
    low = np.where(low < 0, high, low)
    wrong = np.concatenate(
        [
            np.flatnonzero(firsts != np.arange(len(listed))),
            low[(low >= 0) & (part_of >= 0)],
            high[(low >= 0) & (low != high)],
        ]
    )
    if not len(wrong):
        return
    line = int(wrong.min())
    named = np.flatnonzero((lines == firsts[line]).any(axis=0))
    taken = named[(part_of[named] >= 0) | (low[named] < line)]
    owner = int(part_of[taken[0]])
    other = path.name if owner < 0 else find_list(path.parent, PARTS[owner]).name
    raise DataError(f"{path}: {listed[line]} is in {other} already; name each image once")
