"""The tables of `check_data`: images, classes and suspicions, and the classes that fit."""

import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from unet_exp.config import IGNORE_LABEL, ClassSpec
from unet_exp.folder.inexact import describe_remedy, format_share
from unet_exp.folder.label_map import UNKNOWN, LabelMap
from unet_exp.folder.pages import describe_repeated, used_channels
from unet_exp.folder.stats import IGNORED, ImageStats
from unet_exp.inspection.findings import ClassProposal, Suspicion, Totals
from unet_exp.samples.classes import Value
from unet_exp.samples.data_set import SPLITS
from unet_exp.samples.group_counts import GroupCount, describe_counts

_ROWS = 8
_NAMES = 4
_MOST_CLASSES = 64
_MANY_AS_OBJECTS = 6
_MOST_BESIDE_OBJECTS = 12


def tabulate_images(stats: Sequence[ImageStats], split: Mapping[str, int], groups: Mapping[str, GroupCount]) -> Table:
    """Images by size, channels and type; `split` counts the images of each part, empty without a split."""
    kinds: dict[tuple[int, int, int, str], list[ImageStats]] = {}
    for one, channels in zip(stats, used_channels([one.kind for one in stats]).tolist(), strict=True):
        kinds.setdefault((one.width, one.height, channels, one.dtype), []).append(one)
    counts = describe_counts({part: split.get(part, 0) for part in SPLITS}, groups)
    parts = ", ".join(f"{part} {count}" for part, count in counts.items())
    table = Table(caption=parts if split.get("train") else "no split yet", caption_justify="left", min_width=60)
    for column in ("images", "width x height", "channels", "type", "values", "mean"):
        table.add_column(column, justify="right")
    rows = sorted(kinds.items(), key=lambda item: -len(item[1]))
    for (width, height, channels, dtype), ones in rows[:_ROWS]:
        low, high = min(one.low for one in ones), max(one.high for one in ones)
        mean = sum(one.mean for one in ones) / len(ones)
        shown = f"{mean:.3g}" if dtype == "float32" else f"{mean:.0%} of full scale"
        table.add_row(str(len(ones)), f"{width} x {height}", str(channels), dtype, f"{low:.4g} .. {high:.4g}", shown)
    if len(rows) > _ROWS:
        rest = sum(len(ones) for _, ones in rows[_ROWS:])
        table.add_row(str(rest), f"{len(rows) - _ROWS} sizes more", "", "", "", "")
    return table


def describe_reading(stats: Sequence[ImageStats]) -> list[str]:
    """Lines about images that are not read as they are stored, and about pixels without data."""
    channels = np.array([one.kind.channels for one in stats])
    told = describe_repeated(channels, used_channels([one.kind for one in stats]))
    lines = [] if told is None else [told]
    if turned := sum(one.turned for one in stats):
        files = len({one.files for one in stats if one.turned})
        lines.append(
            f"{turned} of {len(stats)} images, in {files} files, are stored in another orientation (EXIF or TIFF), and "
            "are read as viewers show them"
        )
    if empty := [one for one in stats if one.invalid]:
        share = sum(one.invalid * one.height * one.width for one in empty) / sum(
            one.height * one.width for one in stats
        )
        lines.append(
            f"{len(empty)} of {len(stats)} images have pixels without data, {share:.2%} of all; they count nowhere"
        )
    return lines


def tabulate_classes(
    specs: Sequence[ClassSpec],
    label_map: LabelMap,
    totals: Totals,
    pixels: Mapping[str, Counter[int]],
    parts: Mapping[str, str],
    objects: bool,
) -> Table:
    """Each class's pixels, and how many masks of each split hold it; values without a class in red.

    `pixels` counts those of each class by image, `parts` is the split of images by name.
    """
    # `lit` counts a value of ignored pixels as an object.
    found = [
        mask.lit - any(value != IGNORED and label_map(value) == IGNORE_LABEL for value in mask.counts)
        for mask in totals.masks
    ]
    caption = f"{sum(found)} objects, {min(found)} to {max(found)} a mask" if objects else None
    table = Table(caption=caption, caption_justify="left", min_width=60)
    for column in ("value", "class"):
        table.add_column(column, overflow="fold")
    shown = [part for part in SPLITS[:3] if part in parts.values()]
    for column in ("pixels", "share", "masks", *(f"in {part}" for part in shown)):
        table.add_column(column, justify="right")
    colored = any(not isinstance(value, int) for value in totals.pixels)
    every = sum(pixels.values(), Counter[int]())
    labelled = every.total() - every[IGNORE_LABEL]
    for index, name in [*enumerate(spec.name for spec in specs), (IGNORE_LABEL, "ignored")]:
        if index == IGNORE_LABEL and not every[index]:
            continue
        values = [value for value in totals.pixels if label_map(value) == index]
        holders = [parts.get(one) for one, found in pixels.items() if found[index]]
        share = "" if index == IGNORE_LABEL else f"{every[index] / max(1, labelled):.3%}"
        of_parts = [str(holders.count(part)) for part in shown]
        table.add_row(
            _format_values(values, colored), Text(name), str(every[index]), share, str(len(holders)), *of_parts
        )
    unknown = Counter({value: count for value, count in totals.pixels.items() if label_map(value) == UNKNOWN})
    for value, count in unknown.most_common(_ROWS):
        numbers = str(count), f"{count / labelled:.3%}", str(totals.images[value])
        table.add_row(_format_value(value, colored), "none", *numbers, *[""] * len(shown), style="red")
    if rest := every[UNKNOWN] - sum(count for _, count in unknown.most_common(_ROWS)):
        words = f"{max(1, len(unknown) - _ROWS)} values more" if len(unknown) > _ROWS else "more"
        table.add_row(words, "none", str(rest), f"{rest / labelled:.3%}", "", *[""] * len(shown), style="red")
    return table


def tabulate_suspicions(rows: Iterable[Suspicion]) -> Table:
    """Probable mistakes, with hints."""
    table = Table(min_width=60)
    for column in ("suspicious", "number", "first", "what to do"):
        table.add_column(column, justify="right" if column == "number" else "left", overflow="fold")
    for row in rows:
        more = ", ..." if len(row.where) > _NAMES else ""
        table.add_row(row.what, str(len(row.where)), Text(", ".join(row.where[:_NAMES]) + more), row.hint)
    return table


def print_proposal(proposal: ClassProposal, console: Console) -> None:
    """Prints the words that fit the masks."""

    def show(text: str) -> None:
        console.print(text, soft_wrap=True)

    if proposal.kind == "unclear" or (proposal.kind == "classes" and len(proposal.classes) > _MOST_CLASSES):
        show("The masks hold too few or too many values to be classes: does data.masks name the masks?")
        return
    if proposal.kind == "objects":
        show("Each value is one connected region, as if every object had a number or colour of its own. Then:")
        unknown = isinstance(proposal.ignore, int) and proposal.ignore < 0  # no number of an object
        show("  data.labels=instances" + f" data.ignore={proposal.ignore}" * unknown)
        if not 0 < len(proposal.classes) <= _MOST_BESIDE_OBJECTS:
            return
        show("If the values are classes:")
    elif proposal.kind == "smeared":
        show(
            "Around a few values lie many others, as JPEG or smooth resizing leaves them. Save the masks again, as PNG "
            "and resized by nearest neighbour, or take them with the values that were probably meant, as these words "
            f"do; data.inexact={proposal.inexact} changes {format_share(proposal.changed)} of the pixels:"
        )
    else:
        if proposal.strays:
            _print_strays(proposal, show)
        if not proposal.words():
            return
        if proposal.has_new_classes:
            show(
                "These classes would fit the masks; correct the names, and leave out a value that means nothing: it is "
                "data.ignore."
            )
            if len(proposal.classes) >= _MANY_AS_OBJECTS:
                show("If each value is one object, such as a cell, and no class: data.labels=instances.")
        show("In a file such as mine/data/tissue.yaml (docs/your_images.md):")
    show(f"\n{proposal.yaml()}\n")
    show("or on the command line:")
    show("  " + " ".join(shlex.quote(word) for word in proposal.words()))


def _print_strays(proposal: ClassProposal, show: Callable[[str], None]) -> None:
    show("Hardly any pixel has these values, so that they are probably slips and no classes:")
    for line in proposal.strays[:_ROWS]:
        show(f"  {line}")
    if len(proposal.strays) > _ROWS:
        show(f"  {len(proposal.strays) - _ROWS} values more")
    ignore = ", or ignore these pixels" if proposal.ignores_strays else ""
    show(f"Correct the masks{ignore}, or {describe_remedy(proposal.inexact, proposal.changed)}.")


def _format_values(values: Sequence[Value], colored: bool) -> str:
    words = [
        _format_value(value, colored) for value in sorted(values, key=lambda value: (isinstance(value, tuple), value))
    ]
    return ", ".join(words) if len(words) <= _NAMES else f"{', '.join(words[: _NAMES - 1])} ... ({len(words)})"


def _format_value(value: Value, colored: bool) -> str:
    if value == IGNORED:
        return ""
    if isinstance(value, int) and not colored:
        return str(value)
    return "({}, {}, {})".format(*((value,) * 3 if isinstance(value, int) else value))
