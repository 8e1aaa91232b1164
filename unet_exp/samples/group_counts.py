"""Groups of images, such as those of one patient: how many each split has, and what few of them mean."""

from collections.abc import Mapping
from typing import NamedTuple

_FEWEST = 3
_MOST_FOLDS = 5


class GroupCount(NamedTuple):
    """The groups in one split.

    Attributes:
        number: of them.
        first: the name of one of them.
    """

    number: int
    first: str


def describe_counts(images: Mapping[str, int], groups: Mapping[str, GroupCount]) -> dict[str, str]:
    """The number of images of each split and, behind it, that of groups; the first of these says that it is."""
    words: dict[str, str] = {}
    for split, count in images.items():
        if split not in groups:
            words[split] = str(count)
            continue
        number = groups[split].number
        noun = "" if any("(" in word for word in words.values()) else " group" + "s" * (number != 1)
        words[split] = f"{count} ({number}{noun})"
    return words


def warn_of_single_groups(groups: Mapping[str, GroupCount], fractions: bool) -> str | None:
    """Says that splits are of one group, though there are several.

    Args:
        groups: of each split.
        fractions: whether fractions made the splits, so that folds could.
    """
    total = sum(group.number for group in groups.values())
    alone = {split: groups[split].first for split in ("val", "test") if split in groups and groups[split].number == 1}
    if total < _FEWEST or not alone:
        return None
    words = {"val": "validation", "test": "test"}
    named = [f"the {words[split]} images are of one group ({name})" for split, name in alone.items()]
    folds = min(_MOST_FOLDS, total)
    told = f"{', and '.join(named)}: {'its' if len(alone) == 1 else 'their'} scores say little about others"
    if not fractions:
        return told
    return (
        f"{told}; -m data.folds={folds} 'data.fold=range({folds})' tests each group once, and evaluate.py "
        "out_of_fold=true scores them all"
    )
