"""Findings of a survey: the classes that masks seem to have, and suspicious files."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from unet_exp.config import ClassSpec
from unet_exp.config.user_data import Inexact
from unet_exp.console import join_names
from unet_exp.folder.inexact import choose_inexact
from unet_exp.folder.meaning import find_distance, find_meaning, name_new, to_ignore, to_words
from unet_exp.folder.pages import used_channels
from unet_exp.folder.stats import ImageStats, MaskStats
from unet_exp.inspection.survey import Regions
from unet_exp.io.valid import format_value
from unet_exp.samples.classes import Value, Values, name_values, picture_color, stored_value
from unet_exp.typed import dump_in_one_line

RARE = 0.001
"""Share of the pixels below which a class is rare."""
_MANY_VALUES = 10
_PEAK_SHARE, _PEAK_DISTANCE = 0.005, 32
_RARE_A_PEAK = 4
_SAME_PEAK = 8
"""Distance up to which the peak of a smeared mask is a value of the config."""
_OUTLIER = 6.0
_FEWEST = 8


@dataclass(frozen=True)
class Totals:
    """All masks together: the pixels of each value, and the number of masks with it."""

    masks: list[MaskStats]
    pixels: Counter[Value] = field(default_factory=Counter[Value])
    images: Counter[Value] = field(default_factory=Counter[Value])

    @classmethod
    def of(cls, masks: Iterable[MaskStats]) -> "Totals":
        """Adds up masks."""
        totals = cls(list(masks))
        for mask in totals.masks:
            totals.pixels.update(mask.counts)
            totals.images.update(mask.counts.keys())
        return totals


@dataclass(frozen=True)
class ClassProposal:
    """The meaning that the values of masks seem to have.

    Attributes:
        kind: `classes`; `objects` (a number or colour each); `smeared` (a few values with a blur of others around them,
            by JPEG or smooth resizing); `unclear`.
        classes: that fit; of a smeared mask, those before the blur.
        ignored: values that seem to mean "ignored".
        configured: the classes of the config.
        strays: a line for each value that hardly any pixel has; no class is meant.
        ignores_strays: whether `ignored` are of their values.
        inexact: what would take a mask with values beside those of the classes.
        changed: share of the pixels that it would change.
    """

    kind: Literal["classes", "objects", "smeared", "unclear"]
    classes: tuple[ClassSpec, ...] = ()
    ignored: tuple[Value, ...] = ()
    configured: tuple[ClassSpec, ...] = ()
    strays: tuple[str, ...] = ()
    ignores_strays: bool = False
    inexact: Inexact = "error"
    changed: float = 0.0

    @property
    def ignore(self) -> int | list[Any] | None:
        """The ignored values as in a config."""
        return to_ignore(self.ignored, any(not isinstance(spec.value, int) for spec in self.classes))

    @property
    def has_new_classes(self) -> bool:
        """Whether the config lacks these classes."""
        return bool(self._entries())

    def _entries(self) -> list[dict[str, Any]]:
        """The classes, if the config has others."""
        values = [stored_value(value) for spec in self.classes for value in spec.values]
        return name_new(values, self.classes, self.configured)

    def yaml(self) -> str:
        """Lines for a config file; empty where the config has it all."""
        colors = {spec.name: spec.color for spec in self.classes}
        entries = [
            {**entry, **({"color": colors[entry["name"]]} if colors[entry["name"]] != entry["value"] else {})}
            for entry in self._entries()
        ]
        lines = ["classes:", *(f"  - {dump_in_one_line(entry)}" for entry in entries)] if entries else []
        lines += [] if self.ignore is None else [f"ignore: {self.ignore}"]
        return "\n".join([*lines, f"inexact: {self.inexact}"] if self.kind == "smeared" else lines)

    def values(self) -> dict[str, Any]:
        """The keys of the data that the masks fit; empty where nothing does."""
        if self.kind == "objects":
            return {"labels": "instances"}
        entries = self._entries()
        found: dict[str, Any] = {"classes": entries} if entries else {}
        found |= {} if self.ignore is None else {"ignore": self.ignore}
        return found | ({"inexact": self.inexact} if self.kind == "smeared" or self.strays else {})

    def words(self) -> list[str]:
        """The same as words on a command line."""
        words = to_words(self._entries(), self.ignore)
        return [*words, f"data.inexact={self.inexact}"] if self.kind == "smeared" else words


def propose_classes(
    totals: Totals,
    classes: Sequence[ClassSpec],
    ignored: Values,
    regions: Sequence[Regions],
) -> ClassProposal:
    """Guesses the meaning of the values of masks.

    Args:
        totals: of all masks.
        classes: as configured; they keep names and values.
        ignored: likewise.
        regions: of masks of more than two values.
    """
    parts, specks = sum(one.parts for one in regions), sum(one.specks for one in regions)
    many = any(mask.rest for mask in totals.masks) or len(totals.pixels) > _MANY_VALUES
    masks = [(mask.file, mask.counts) for mask in totals.masks]
    meaning = find_meaning(masks, classes, ignored)
    peaks = _find_peaks(totals.pixels)
    # Ragged outlines leave specks too, but a few values that are all common, and indices, are no blur.
    blurred = not meaning.is_index and len(totals.pixels) > (1 + _RARE_A_PEAK) * len(peaks)
    if (many and 2 * specks > parts and blurred) or meaning.is_blurred:
        return _propose_smeared(totals, peaks, classes, ignored)
    specs = _to_specs(meaning.classes, meaning.known) if meaning.fits else ()
    fitting = specs, meaning.ignored, tuple(classes)
    if many and sum(one.lit for one in regions if one.parts) >= 0.8 * parts:
        return ClassProposal("objects", *fitting)
    if not specs:
        return ClassProposal("unclear")
    ignores = any(value in meaning.strays for value in meaning.ignored)
    changed = sum(files.total() for files in meaning.strays.values()) / max(1, totals.pixels.total())
    return ClassProposal("classes", *fitting, tuple(meaning.list_strays()), ignores, choose_inexact(specs), changed)


def _propose_smeared(
    totals: Totals, peaks: Sequence[Value], classes: Sequence[ClassSpec], ignored: Values
) -> ClassProposal:
    """The classes of masks that JPEG or smooth resizing has smeared: the configured ones, if the peaks are theirs."""
    if not 2 <= len(peaks) <= _MANY_VALUES:
        return ClassProposal("unclear")
    meant = [stored_value(value) for value in [*(value for spec in classes for value in spec.values), *ignored]]
    fits = all(_is_near(peak, meant) for peak in peaks) and all(_is_near(spec.value, peaks) for spec in classes)
    specs = tuple(classes) if fits else _to_specs(peaks, classes)
    kept = {*meant} if fits else {*peaks}
    whole = totals.pixels.total() + sum(mask.rest for mask in totals.masks)
    changed = 1 - sum(count for value, count in totals.pixels.items() if value in kept) / max(1, whole)
    voids = tuple(map(stored_value, ignored)) if fits else ()
    return ClassProposal("smeared", specs, voids, tuple(classes), inexact=choose_inexact(specs), changed=changed)


def _is_near(value: int | Sequence[int], others: Iterable[Value]) -> bool:
    return any(find_distance(stored_value(value), other) <= _SAME_PEAK for other in others)


def _find_peaks(pixels: Counter[Value]) -> list[Value]:
    """Common values that are no shade of a more common one."""
    peaks: list[Value] = []
    for value, count in pixels.most_common():
        if count < _PEAK_SHARE * pixels.total():
            break
        if all(find_distance(value, peak) >= _PEAK_DISTANCE for peak in peaks):
            peaks.append(value)
    return peaks


def _to_specs(values: Collection[Value], classes: Sequence[ClassSpec]) -> tuple[ClassSpec, ...]:
    return tuple(
        ClassSpec(**entry, color=picture_color(index) if isinstance(entry["value"], int) else entry["value"])
        for index, entry in enumerate(name_values(values, classes))
    )


@dataclass(frozen=True)
class Suspicion:
    """A probable mistake: what, the names of its images or classes, and a hint what to do."""

    what: str
    where: list[str]
    hint: str


def find_suspicious_images(stats: Sequence[ImageStats], tile: int) -> list[Suspicion]:
    """Finds images that look wrong alone or beside the others; `tile` is the side of the labelled patch in pixels."""
    shown = [one for one in stats if one.invalid < 1]
    dark, bright = _find_outliers(shown)
    fills = Counter(one.fill for one in stats if one.fill is not None)
    fill = format_value(fills.most_common(1)[0][0]) if fills else ""
    rescale = "inverted, or scaled unlike the others?"
    found = [
        ("constant image: all pixels are equal", [one for one in shown if one.low == one.high], "leave it out"),
        ("much darker than the others", dark, rescale),
        ("much brighter than the others", bright, rescale),
        (
            f"smaller than data.tile={tile}",
            [one for one in stats if min(one.height, one.width) < tile],
            "mirrored to that size; a smaller data.tile is faster",
        ),
        ("no pixel holds data", [one for one in stats if one.invalid == 1], "leave it out"),
        (
            "one value fills a region at the border",
            [one for one in stats if one.fill is not None],
            f"if nothing was recorded there: data.nodata={fill}",
        ),
        (
            "the mask is the image",
            [one for one in stats if one.mask is not None and one.mask.is_image],
            "does data.masks name the folder of images?",
        ),
        (
            "one value fills the mask",
            [one for one in stats if one.mask is not None and one.mask.distinct == 1],
            "right where there is nothing to see",
        ),
    ]
    return [Suspicion(what, [one.item.name for one in ones], hint) for what, ones, hint in found if ones]


def find_differences(stats: Sequence[ImageStats]) -> list[str]:
    """Lists mistakes where images differ in type or number of channels, with the first image of each kind."""
    channels = [f"{count} channel(s)" for count in used_channels([one.kind for one in stats]).tolist()]
    types = [f"{one.dtype} pixels" for one in stats]
    mistakes = []
    for kinds, mend in ((channels, "all as grey, or all as RGB"), (types, "all with as many bits")):
        firsts: dict[str, ImageStats] = {}
        for kind, one in zip(kinds, stats, strict=True):
            firsts.setdefault(kind, one)
        if len(firsts) > 1:
            counts = ((kind, count, firsts[kind]) for kind, count in Counter(kinds).most_common())
            listed = [f"{kind} in {count}, such as {one.source}" for kind, count, one in counts]
            mistakes.append(f"images: {join_names(listed)}; save {mend}")
    return mistakes


def find_twins(stats: Sequence[ImageStats], parts: Mapping[str, str]) -> list[Suspicion]:
    """Finds images with the same pixels; `parts` is the known split of images by name."""
    twins: dict[bytes, list[str]] = {}
    for one in stats:
        if one.low < one.high:
            twins.setdefault(one.digest, []).append(one.item.name)
    within: list[str] = []
    across: list[str] = []
    for names in twins.values():
        if len(names) > 1:
            leaks = len({parts.get(name) for name in names}) > 1
            words = [f"{name} ({parts[name]})" if name in parts else name for name in names]
            (across if leaks else within).append(" = ".join(words))
    rows = [
        ("same pixels in two splits: scores would be too good", across, "keep one, or data.group them together"),
        ("same pixels under two names", within, "keep one"),
    ]
    return [Suspicion(what, where, hint) for what, where, hint in rows if where]


def find_suspicious_classes(
    names: Sequence[str], pixels: Sequence[Mapping[int, int]], parts: Sequence[str]
) -> list[Suspicion]:
    """Finds classes that are rare or that the training does not see.

    `pixels` counts those of each class in each mask, `parts` is the split of each mask, empty where unknown.
    """
    total = sum((Counter(one) for one in pixels), Counter[int]())
    labelled = sum(total[index] for index in range(len(names)))
    trained = [one for one, part in zip(pixels, parts, strict=True) if part == "train"]
    absent = [name for index, name in enumerate(names) if not total[index]]
    unseen = [name for index, name in enumerate(names) if total[index] and not any(one.get(index) for one in trained)]
    rare = [name for index, name in enumerate(names) if 0 < total[index] < RARE * labelled]
    rows = [
        ("class in no mask", absent, "wrong value, or not needed"),
        ("class in no training image", unseen if trained else [], "another split"),
        (f"class below {RARE:.1%} of the pixels", rare, "loss.class_weights=inverse, or loss=dice_ce"),
    ]
    return [Suspicion(what, where, hint) for what, where, hint in rows if where]


def _find_outliers(stats: Sequence[ImageStats]) -> tuple[list[ImageStats], list[ImageStats]]:
    """Finds images much darker and much brighter than the median, in units of the median deviation from it."""
    means = np.array([one.mean for one in stats])
    if len(means) < _FEWEST:
        return [], []
    whole = 1.0
    if any(one.dtype == "float32" for one in stats):
        whole = max(one.high for one in stats) - min(one.low for one in stats)
    # Where nearly all are equally bright, a tenth of all values is still no outlier.
    distance = means - np.median(means)
    limit = max(_OUTLIER * float(np.median(np.abs(distance))), 0.1 * whole)
    dark, bright = np.flatnonzero(distance < -limit), np.flatnonzero(distance > limit)
    return [stats[int(index)] for index in dark], [stats[int(index)] for index in bright]
