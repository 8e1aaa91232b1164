"""What is told of inexact masks: how many pixels were given the value of a class, or would be."""

from collections.abc import Sequence

import numpy as np

from unet_exp.config import ClassSpec
from unet_exp.config.user_data import Inexact
from unet_exp.folder.index import Index
from unet_exp.folder.label_map import count_unknown
from unet_exp.folder.origin import Origin
from unet_exp.folder.rules import Rules

_MOST_REPLACED = 0.5
"""Share of the pixels above which other classes are meant."""


def describe_changed(index: Index, pairs: Origin, rules: Rules) -> str | None:
    """A line about the pixels of masks that were given the value of a class; None where there are none."""
    rows = index.rows
    changed, pixels = rows["changed"].astype(np.int64), rows["height"].astype(np.int64) * rows["width"]
    if not changed.any():
        return None
    masked = int(rows["masked"].sum())
    most = int((changed / pixels).argmax())
    what = "the nearest class" if rules.inexact == "nearest" else "the class on their side of half-way"
    return (
        f"data.inexact={rules.inexact}: {format_share(changed.sum() / pixels[rows['masked']].sum())} of the pixels of "
        f"{masked} mask{'s' * (masked > 1)} were given the value of {what}, most in "
        f"{pairs[int(rows['place'][most])].mask} ({format_share(changed[most] / pixels[most])})"
    )


def propose_inexact(index: Index, rules: Rules) -> str | None:
    """The word that would take these masks with their classes, and what it would change; None where it is no remedy."""
    pixels = index.rows["height"].astype(np.int64) * index.rows["width"]
    share = count_unknown(index, rules) / max(1, int(pixels[index.rows["masked"]].sum()))
    if rules.objects or not 0 < share <= _MOST_REPLACED:
        return None
    return describe_remedy(choose_inexact(rules.classes), share)


def choose_inexact(classes: Sequence[ClassSpec]) -> Inexact:
    """What fits these classes, if their masks are smeared."""
    two_greys = len(classes) == 2 and all(isinstance(value, int) for spec in classes for value in spec.values)
    return "threshold" if two_greys else "nearest"


def describe_remedy(inexact: Inexact, share: float) -> str:
    """The word to type, and the share of the pixels that it would change."""
    what = "nearest class" if inexact == "nearest" else "class on their side of half-way"
    return f"type data.inexact={inexact}, which gives {format_share(share)} of the pixels the value of the {what}"


def format_share(share: float) -> str:
    """A share of pixels, 0..1, in percent."""
    percent = 100 * float(share)
    return f"{percent:.2g} %" if 0.01 <= percent < 10 else f"{percent:.0f} %" if percent >= 10 else "less than 0.01 %"
