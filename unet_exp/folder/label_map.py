"""From the values of masks to classes, by counts alone."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unet_exp.config import IGNORE_LABEL, ClassSpec
from unet_exp.folder.index import Index, unpack
from unet_exp.folder.rules import Rules
from unet_exp.folder.stats import IGNORED, MaskStats
from unet_exp.samples.classes import UnknownValues, Value, Values, name_known, stored_value

UNKNOWN = -1
"""Index for values without a class."""


class LabelMap:
    """Maps stored values to classes.

    Args:
        classes: as configured; two of them where masks hold objects.
        ignored: values or colours of ignored pixels.
        objects: whether each object has a number or colour of its own, and 0 or black is none.
    """

    def __init__(self, classes: Sequence[ClassSpec], ignored: Values, objects: bool) -> None:
        self._ignored = {IGNORED, *map(stored_value, ignored)}
        self._objects = objects
        self._indices = {stored_value(value): index for index, spec in enumerate(classes) for value in spec.values}

    @classmethod
    def of(cls, rules: Rules) -> "LabelMap":
        """The map of these rules."""
        return cls(rules.classes, rules.ignored, rules.objects)

    def __call__(self, value: Value) -> int:
        """The index of the class, `IGNORE_LABEL`, or `UNKNOWN`."""
        if value in self._ignored:
            return IGNORE_LABEL
        if self._objects:
            return UNKNOWN if isinstance(value, int) and value < 0 else int(value != 0)
        return self._indices.get(value, UNKNOWN)

    def pixels(self, mask: MaskStats) -> Counter[int]:
        """Counts the pixels of each class in a mask."""
        pixels: Counter[int] = Counter()
        for value, count in mask.counts.items():
            pixels[self(value)] += count
        pixels[1 if self._objects else UNKNOWN] += mask.rest
        return +pixels


def count_labels(index: Index, rules: Rules) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Counts the pixels of each class in the labels of pages.

    Returns:
        (N, classes + 1) pixels of each class, then ignored ones, 0 without a mask; and (N,) whether a mask has values
        without a class.
    """
    rows, classes = index.rows, len(rules.classes)
    counts, unknown = np.zeros((len(rows), classes + 1), np.int64), np.zeros(len(rows), bool)
    masked = rows["masked"]
    if rules.objects:
        objects = index.objects if len(index.objects) else np.full((len(rows), 3), -1, np.int32)
        counts[masked] = objects[masked]
        return counts, masked & (objects[:, 0] < 0)
    found, which = np.unique(2 * index.values + index.colored, return_inverse=True)
    label_map = LabelMap.of(rules)
    labels = np.array([label_map(unpack(code >> 1, bool(code & 1))) for code in found.tolist()], np.int64)
    owner = np.repeat(np.arange(len(rows)), rows["values"])
    label = labels[which] if len(found) else np.zeros(0, np.int64)
    known = label != UNKNOWN
    column = np.where(label == IGNORE_LABEL, classes, label)
    np.add.at(counts, (owner[known], column[known]), index.numbers[known])
    whole = np.bincount(owner, index.numbers, len(rows)).astype(np.int64) + rows["rest"]
    pixels = rows["height"].astype(np.int64) * rows["width"]
    counts[masked, classes] += (pixels - whole)[masked]  # where it or its image holds no data
    unknown[owner[~known]] = True
    unknown |= rows["rest"] > 0
    if rules.indices:  # grey classes: a colour file holds none of them
        unknown[owner[index.colored]] = True
    return counts, unknown


def count_unknown(index: Index, rules: Rules) -> int:
    """Counts the pixels of masks whose value no class has; greys of colour files count as greys."""
    label_map = LabelMap.of(rules)
    found, which = np.unique(2 * index.values + index.colored, return_inverse=True)
    unknown = np.array([label_map(unpack(code >> 1, bool(code & 1))) == UNKNOWN for code in found.tolist()], np.bool_)
    return int(index.numbers[unknown[which]].sum()) + int(index.rows["rest"].sum())


def explain_unknown(mask: MaskStats, rules: Rules) -> UnknownValues:
    """The error of a mask that has values without a class, and whose values are all known (`rest` is 0)."""
    label_map = LabelMap.of(rules)
    colored = any(isinstance(value, tuple) for value in mask.counts)
    unknown: Counter[Value] = Counter()
    seen: Counter[Value] = Counter()
    for value, count in mask.counts.items():
        shown = (value,) * 3 if colored and isinstance(value, int) else value
        without = label_map(value) == UNKNOWN or (colored and rules.indices)
        (unknown if without else seen)[shown] += count
    return UnknownValues(unknown, [mask.file], name_known(rules.classes, rules.ignored), seen)
