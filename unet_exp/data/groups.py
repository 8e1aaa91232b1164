"""Splits a user's own images in contiguous blocks of groups, by folders or by lists; a group stays in one part."""

import logging
import re
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from unet_exp.config.data import FolderConfig
from unet_exp.data.samples import split_indices
from unet_exp.errors import ConfigError, DataError
from unet_exp.io.kinds import SUFFIXES
from unet_exp.io.listing import normalize_name

PARTS = ("train", "val", "test")
UNLABELLED = "unlabelled"

_log = logging.getLogger(__name__)


class SplitItem(NamedTuple):
    """An image to split: the name of its file, and its own, which differ for the pages of a stack."""

    file: str
    name: str


def split(items: Sequence[SplitItem], config: FolderConfig) -> list[list[int]]:
    """Splits labelled images, in natural order, into train, val and test: three lists of indices into `items`.

    Raises:
        ConfigError: for a config that does not fit these images.
        DataError: for lists that cannot be read or do not fit.
    """
    groups = _groups(items, config.group)
    if config.split == "fractions":
        return _blocks(groups, config)
    parts = _by_lists(items, Path(config.lists or "").expanduser()) if config.lists else _by_folders(items)
    for part, places in zip(PARTS[:2], parts, strict=False):
        if not places:
            raise ConfigError(
                f"data.split={config.split}: there is no image in {part}; train and val need at least one"
            )
    owner: dict[int, str] = {}
    of_item = {place: number for number, group in enumerate(groups) for place in group}
    for part, places in zip(PARTS, parts, strict=True):
        for place in places:
            other = owner.setdefault(of_item[place], part)
            if other != part:
                raise ConfigError(
                    f"{items[place].name} is in {part} and others of its group (data.group={config.group}) are in "
                    f"{other}; keep a group together, or set data.group=image"
                )
    return parts


def _groups(items: Sequence[SplitItem], rule: str) -> list[list[int]]:
    """Indices into `items` of each group, in the order of their first images."""
    groups: dict[str, list[int]] = {}
    for place, item in enumerate(items):
        if rule in ("image", "file"):
            key = item.name if rule == "image" else item.file
        elif rule == "folder":
            key = item.file.rpartition("/")[0]
        else:
            match = re.search(rule, item.name)
            if match is None:
                raise ConfigError(f"data.group={rule}: does not match {item.name}; mend the regular expression")
            key = "\n".join(part or "" for part in match.groups()) if match.groups() else match[0]
        groups.setdefault(key, []).append(place)
    return list(groups.values())


def _blocks(groups: Sequence[Sequence[int]], config: FolderConfig) -> list[list[int]]:
    """Contiguous blocks of groups, by folds or by fractions of the images."""
    count = len(groups)
    wanted = config.folds or 2 + (config.test > 0)
    if count < wanted:
        word = f"data.folds={config.folds}" if config.folds else f"data.val={config.val} data.test={config.test}"
        raise ConfigError(
            f"{word} needs {wanted} groups and there are {count} (data.group={config.group}): "
            "add images, ask for fewer parts, or set data.group=image, which lets pages of one stack into several parts"
        )
    if config.folds:
        parts: Sequence[Sequence[int]] = split_indices(count, config.fold, config.folds)
    else:
        # The middle of a group decides its part; each part has one group at least.
        ends = list(accumulate(map(len, groups)))
        middles = [(end - len(group) / 2) / ends[-1] for end, group in zip(ends, groups, strict=True)]
        test = min(max(2, bisect_left(middles, 1 - config.test)), count - 1) if config.test else count
        val = max(1, min(bisect_left(middles, 1 - config.test - config.val), test - 1))
        parts = range(val), range(val, test), range(test, count)
    return [[place for number in part for place in groups[number]] for part in parts]


def _by_folders(items: Sequence[SplitItem]) -> list[list[int]]:
    parts: dict[str, list[int]] = {part: [] for part in PARTS}
    for place, item in enumerate(items):
        part = item.name.split("/")[0]
        if "/" not in item.name or part not in parts:
            raise ConfigError(
                f"data.split=folders: {item.name} is not in a folder train, val, test or unlabelled; move it there"
            )
        parts[part].append(place)
    return list(parts.values())


def _by_lists(items: Sequence[SplitItem], folder: Path) -> list[list[int]]:
    known: dict[str, list[int]] = {}
    for place, item in enumerate(items):
        for name in {item.name, item.file}:
            known.setdefault(name, []).append(place)
    listed: dict[int, str] = {}
    parts: list[list[int]] = []
    for part in PARTS:
        path = folder / f"{part}.txt"
        parts.append([])
        if part == "test" and not path.exists():
            continue
        names = _read_names(path)
        if missing := [name for name in names if name not in known]:
            raise DataError(
                f"{path}: {len(missing)} of {len(names)} names have no labelled image, {', '.join(missing[:3])} first; "
                f"names look like {items[0].name}"
            )
        for name in names:
            for place in known[name]:
                other = listed.setdefault(place, path.name)
                if other != path.name or place in parts[-1]:
                    raise DataError(f"{path}: {name} is in {other} already; name each image once")
                parts[-1].append(place)
    if unused := len(items) - len(listed):
        _log.warning("%s: %d of %d images are in no list, and are not used", folder, unused, len(items))
    return [sorted(part) for part in parts]


def _read_names(path: Path) -> list[str]:
    """Reads the names in a list, without the suffixes of images."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); data.lists is the folder of train.txt, val.txt and, perhaps, "
            "test.txt"
        ) from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not a text in UTF-8; save it as one, a name a line") from None
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise DataError(f"{path}: holds no name; write one a line")
    return [normalize_name(name[: name.rindex(".")] if name.lower().endswith(SUFFIXES) else name) for name in names]
