"""Images whose names say that they belong together, such as the slides of a patient, and that a split tears apart."""

import re
import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from unet_exp.samples.data_set import SPLITS

_FEWEST = 4
_SERIES = re.compile(r"(\D*)(\d+)[\W_]+\w")
_COUNTED = re.compile(
    r"(^|[\W_])(x|y|z|t|c|r|row|col|column|tile|patch|crop|frame|time|page|slice|image|img|im|pic)[\W_]*$",
    re.IGNORECASE,
)
"""Words before a number that counts images, or places in one."""
_YEAR = re.compile(r"(19|20)\d\d")


class _Series(NamedTuple):
    """Images by what their names begin with, and the word for `data.group` that finds it."""

    rule: str
    members: Mapping[str, Sequence[str]]


def find_torn(parts: Mapping[str, str]) -> str | None:
    """Says which images that seem to belong together are in several splits, and what to type; None where all is plain.

    It is silent where names may number single images, and where most have nothing in common.

    Args:
        parts: the split of each image by its name, where the folders of a name end in `/`.
    """
    split = {name: part for name, part in parts.items() if part in SPLITS[:3]}
    for find in (_find_folders, _find_numbers):
        series = find([*split])
        if series is None or not _is_plain(series, len({*split.values()})):
            continue
        torn = {name: {split[member] for member in members} for name, members in series.members.items()}
        told = [
            f"{name} is in {' and '.join(part for part in SPLITS if part in found)}"
            for name, found in torn.items()
            if len(found) > 1
        ]
        if told:
            return f"{', '.join(told[:2])}; if these belong together, type {shlex.quote(series.rule)}"
    return None


def _find_folders(names: Sequence[str]) -> _Series | None:
    """By the only folder in all names, where these are numbered."""
    members: dict[str, list[str]] = defaultdict(list)
    for name in names:
        folder, slash, _ = name.partition("/")
        if not slash or not re.search(r"\d", folder):
            return None
        members[folder].append(name)
    deep = any(name.count("/") > 1 for name in names)
    return _Series("data.group=^[^/]+" if deep else "data.group=folder", members)


def _find_numbers(names: Sequence[str]) -> _Series | None:
    """By the first number in names, where each goes on behind it, as in `patient06 slide 3`."""
    members: dict[str, list[str]] = defaultdict(list)
    words = set()
    for name in names:
        match = _SERIES.match(name)
        if match is None or "/" in match[0] or _COUNTED.search(match[1]) or _YEAR.fullmatch(match[2]):
            return None
        words.add(match[1])
        members[match[1] + match[2]].append(name)
    word = re.sub(r"([^\w\s-])", r"\\\1", words.pop()) if len(words) == 1 else r"\D*"
    return _Series(rf"data.group=^{word}\d+", members)


def _is_plain(series: _Series, parts: int) -> bool:
    """Whether there are enough groups for a split, and most of them have several images."""
    several = sum(len(members) > 1 for members in series.members.values())
    return len(series.members) >= max(_FEWEST, parts) and 2 * several > len(series.members)
