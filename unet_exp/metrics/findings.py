"""What a scoreboard has found of its images: plain numbers, image after image, which other processes may be sent."""

from array import array
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from unet_exp.metrics.probabilities import CONFIDENCE_BINS, Histogram
from unet_exp.metrics.probabilities import THRESHOLDS as CURVE_THRESHOLDS

T = TypeVar("T")


def take_turns(parts: Sequence[Sequence[T]]) -> list[T]:
    """The items of several lists, the first of each, then the second of each: [[a, c], [b]] becomes [a, b, c]."""
    longest = max((len(part) for part in parts), default=0)
    return [part[place] for place in range(longest) for part in parts if place < len(part)]


@dataclass
class Findings:
    """The scores of images, in their order, and their pixels.

    Attributes:
        matrix: the confusion matrix of all images, (classes, classes).
        histogram: of their probabilities; None if nothing needs it.
        losses: of the images in which a pixel counts.
        images: their names.
        columns: of their rows.
        numbers: the rows, one after another: a dict of each of a million images would fill the memory.
        dice: 99 of each image, of the scores at thresholds.
        confidence: sums of confidences, 15 of each image with a histogram, whose total depends on the order.
        objects: scores of their objects, by the name of the score.
        slices: scores of their borders, (11, columns) each; see `unet_exp.metrics.border_stack`.
    """

    matrix: NDArray[np.int64]
    histogram: Histogram | None
    objects: dict[str, list[NDArray[np.float64]]]
    losses: "array[float]" = field(default_factory=lambda: array("d"))
    images: list[str] = field(default_factory=list)
    columns: tuple[str, ...] = ()
    numbers: "array[float]" = field(default_factory=lambda: array("d"))
    dice: "array[float]" = field(default_factory=lambda: array("f"))
    confidence: "array[float]" = field(default_factory=lambda: array("d"))
    slices: list[NDArray[np.float64]] = field(default_factory=list)

    @classmethod
    def empty(cls, classes: int, histogram: Histogram | None, objects: Collection[str]) -> "Findings":
        """Of no image yet."""
        return cls(np.zeros((classes, classes), np.int64), histogram, {name: [] for name in objects})

    def count(self, found: Histogram) -> None:
        """Adds the histogram of an image."""
        assert self.histogram is not None
        self.histogram.add(found)
        self.confidence.extend(found.reliability.confidence)

    def extend(self, other: "Findings") -> None:
        """Adds the images of another one of the same scores."""
        self.matrix += other.matrix
        if self.histogram is not None and other.histogram is not None:
            self.histogram.add(other.histogram)
        self.columns = self.columns or other.columns
        self.images += other.images
        self.slices += other.slices
        for mine, theirs in (
            (self.losses, other.losses),
            (self.numbers, other.numbers),
            (self.dice, other.dice),
            (self.confidence, other.confidence),
        ):
            mine.extend(theirs)
        for name, objects in other.objects.items():
            self.objects[name] += objects

    def extend_in_turns(self, parts: Sequence["Findings"]) -> None:
        """Adds the images of several that have taken turns: this one's images and sums are as if it had scored all.

        Args:
            parts: of images 0, n, 2 n ..., of images 1, n + 1 ..., and so on.
        """
        for part in parts:  # of whole numbers, whose sum has no order; so has that of `losses`, which is exact
            self.extend(part)
        width = max(len(part.columns) for part in parts)
        self.images = take_turns([part.images for part in parts])
        self.slices = take_turns([part.slices for part in parts])
        self.numbers = _turn_rows([part.numbers for part in parts], width)
        self.dice = _turn_rows([part.dice for part in parts], CURVE_THRESHOLDS.size)
        self.confidence = _turn_rows([part.confidence for part in parts], CONFIDENCE_BINS)
        if self.histogram is not None:
            self.histogram.sum_confidence(np.asarray(self.confidence).reshape(-1, CONFIDENCE_BINS))
        for name in self.objects:
            self.objects[name] = take_turns([part.objects[name] for part in parts])


def _turn_rows(parts: "Sequence[array[float]]", width: int) -> "array[float]":
    """`take_turns` of rows of so many numbers."""
    rows = [[part[start : start + width] for start in range(0, len(part), max(width, 1))] for part in parts]
    return array(parts[0].typecode, chain.from_iterable(take_turns(rows)))
