"""Scores of class probabilities over all thresholds: ROC, precision and recall, calibration, the best threshold.

Pixels are counted in a histogram of their probability, so that the memory does not grow with the set. `EDGES` has about
1,500 bins: 0.001 wide, and finer towards 0 and 1, where networks are sure. Pixels of one bin count as equally probable.
So an area under a ROC curve is off by at most half the share of pairs of a positive and a negative pixel that lie in
one bin: `Curve.roc_auc_error`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unet_exp.config import IGNORE_LABEL

_TAIL = np.geomspace(1e-7, 1e-3, 200, endpoint=False)
EDGES: NDArray[np.float32] = np.unique(np.concatenate([_TAIL, np.arange(1, 1000) / 1000, 1 - _TAIL]).astype(np.float32))
"""Between the bins, ascending; a pixel lies above an edge where its probability is `> edge`, compared in float32."""
CONFIDENCE_BINS = 15
"""Of the calibration, as Guo et al. have them."""
THRESHOLDS: NDArray[np.float64] = np.arange(1, 100) / 100
"""Of which the best is chosen."""

_AT = np.searchsorted(EDGES, THRESHOLDS.astype(np.float32))
_PIXELS_AT_ONCE = 2**22


@dataclass(frozen=True, eq=False)
class Curve:
    """How many pixels lie above each threshold, of a class and of the rest.

    Attributes:
        thresholds: (T,) descending; the last is 0, where every pixel counts as one of the class.
        true_positives: (T,) pixels of the class above it.
        false_positives: (T,) others above it.
    """

    thresholds: NDArray[np.float64]
    true_positives: NDArray[np.int64]
    false_positives: NDArray[np.int64]

    @classmethod
    def of(cls, counts: NDArray[np.int64]) -> "Curve":
        """The curve of a histogram (bins, 2): others, and pixels of the class."""
        above = np.cumsum(counts[::-1], axis=0)
        return cls(np.append(EDGES[::-1].astype(np.float64), 0.0), above[:, 1], above[:, 0])

    @property
    def recall(self) -> NDArray[np.float64]:
        """(T,), 0..1: of the class, the share above each threshold; nan without such pixels."""
        return _divide(self.true_positives, self.true_positives[-1])

    @property
    def false_positive_rate(self) -> NDArray[np.float64]:
        """(T,), 0..1: of the others, the share above each threshold; nan without such pixels."""
        return _divide(self.false_positives, self.false_positives[-1])

    @property
    def precision(self) -> NDArray[np.float64]:
        """(T,), 0..1: above each threshold, the share of the class; nan where nothing lies above it."""
        return _divide(self.true_positives, self.true_positives + self.false_positives)

    @property
    def roc_auc(self) -> float:
        """The area under the ROC curve (trapezoids); nan without pixels of the class, or of others.

        That is how often a pixel of the class is more probable than another one, equal ones counted half (Hanley and
        McNeil, Radiology 143, 1982).
        """
        x, y = (np.concatenate([[0], values]) for values in (self.false_positive_rate, self.recall))
        return float(np.trapezoid(y, x))

    @property
    def roc_auc_error(self) -> float:
        """By how much `roc_auc` can differ from that of the probabilities themselves."""
        pairs = np.diff(self.true_positives, prepend=0) * np.diff(self.false_positives, prepend=0).astype(np.float64)
        return float(_divide(pairs.sum() / 2, float(self.true_positives[-1]) * float(self.false_positives[-1])))

    @property
    def average_precision(self) -> float:
        """The mean precision, weighted by the gain in recall, as scikit-learn has it; nan without pixels of the class.

        AP = sum_n (R_n - R_{n-1}) P_n, over descending thresholds.
        """
        gains = np.diff(self.recall, prepend=0)
        return float((gains * np.nan_to_num(self.precision)).sum())


@dataclass(frozen=True, eq=False)
class Reliability:
    """How often the predicted class is right, by its probability (the confidence), in bins of one width.

    Attributes:
        pixels: (15,) in each bin (lower, upper].
        right: (15,) those whose class is right.
        confidence: (15,) sums of their confidences.
    """

    pixels: NDArray[np.int64]
    right: NDArray[np.int64]
    confidence: NDArray[np.float64]

    @property
    def ece(self) -> float:
        """The expected calibration error, 0..1; nan without pixels.

        `ECE = sum_b n_b / n |accuracy_b - confidence_b|` (Guo et al., On calibration of modern neural networks, ICML
        2017).
        """
        return float(_divide(np.abs(self.right - self.confidence).sum(), self.pixels.sum()))


@dataclass(frozen=True, eq=False)
class Curves:
    """A curve for each class that has one, and the reliability."""

    by_class: tuple[Curve, ...]
    reliability: Reliability


def curve_classes(class_names: Sequence[str]) -> Sequence[str]:
    """The classes that have a curve: of two the second, the first says the same; of more each, against the rest."""
    return class_names[1:] if len(class_names) == 2 else class_names


class Histogram:
    """Pixels by probability, of one image or many.

    Args:
        classes: how many there are.
        curves: whether pixels are counted for curves; the calibration alone is several times faster.

    Attributes:
        counts: (curves, bins, 2): others, and pixels of the class.
        reliability: of the predicted class.
        needs: of how many classes, from the first, the probabilities are needed.
    """

    def __init__(self, classes: int, curves: bool = True) -> None:
        self.classes = classes
        self.needs = 1 if classes == 2 else classes
        self.counts = np.zeros((self.needs if curves else 0, EDGES.size + 1, 2), np.int64)
        self.reliability = _no_pixels()

    @classmethod
    def of(
        cls,
        truth: NDArray[np.uint8],
        prediction: NDArray[np.uint8],
        probabilities: NDArray[np.float32],
        classes: int,
        curves: bool = True,
    ) -> "Histogram":
        """Counts one image.

        Args:
            truth: (H, W) class indices; ignored pixels are left out.
            prediction: (H, W) class indices.
            probabilities: (classes, H, W), 0..1; of two classes that of class 0 is enough, (1, H, W).
            classes: number of classes.
            curves: as for a histogram.

        Raises:
            ValueError: for shapes that differ.
        """
        wanted = (1, 2) if classes == 2 else (classes,)
        if len(probabilities) not in wanted or not truth.shape == prediction.shape == probabilities.shape[1:]:
            raise ValueError(
                f"truth {truth.shape} and prediction {prediction.shape} do not fit to probabilities "
                f"{probabilities.shape} of {classes} classes"
            )
        found = cls(classes, curves)
        shares = probabilities.reshape(len(probabilities), -1)
        for start in range(0, truth.size, _PIXELS_AT_ONCE):
            part = slice(start, start + _PIXELS_AT_ONCE)
            found._count(truth.ravel()[part], prediction.ravel()[part], shares[:, part])
        return found

    def _count(self, truth: NDArray[np.uint8], prediction: NDArray[np.uint8], shares: NDArray[np.float32]) -> None:
        counted = truth != IGNORE_LABEL
        if not counted.all():
            truth, prediction, shares = truth[counted], prediction[counted], shares[:, counted]
        of_curves = 1 - shares[:1] if self.classes == 2 else shares
        confidence = np.maximum(shares[0], of_curves[0]) if self.classes == 2 else shares.max(axis=0)
        for place, probable in enumerate(of_curves[: len(self.counts)]):
            of_class = _count_bins(probable[truth == (1 if self.classes == 2 else place)])
            self.counts[place] += np.stack([_count_bins(probable) - of_class, of_class], axis=1)
        which = np.clip(np.ceil(confidence * CONFIDENCE_BINS).astype(np.int64) - 1, 0, CONFIDENCE_BINS - 1)
        right = which[prediction == truth]
        counts, rights = (np.bincount(each, minlength=CONFIDENCE_BINS) for each in (which, right))
        sums: NDArray[np.float64] = np.bincount(which, confidence.astype(np.float64), CONFIDENCE_BINS).astype(
            np.float64
        )
        self.reliability = _add(self.reliability, Reliability(counts, rights, sums))

    def add(self, other: "Histogram") -> None:
        """Adds the pixels of another one of the same classes."""
        self.counts += other.counts
        self.reliability = _add(self.reliability, other.reliability)

    def sum_confidence(self, of_images: NDArray[np.float64]) -> None:
        """Sums the confidences of its images (N, 15) anew, one after another: another order rounds otherwise."""
        total = np.zeros(CONFIDENCE_BINS)
        for confidence in of_images:
            total = total + confidence
        self.reliability = Reliability(self.reliability.pixels, self.reliability.right, total)

    @property
    def curves(self) -> Curves:
        """Its curves."""
        return Curves(tuple(Curve.of(counts) for counts in self.counts), self.reliability)

    def dice_parts(self) -> NDArray[np.int64]:
        """(2, 99): 2 TP, and 2 TP + FP + FN, of class 1 of two at each of `THRESHOLDS`; those of several images add up.

        Raises:
            ValueError: for other than two classes.
        """
        if self.classes != 2:
            raise ValueError(f"of {self.classes} classes none has a threshold")
        above = np.cumsum(self.counts[0, ::-1], axis=0)[::-1]
        hits, misses = above[_AT + 1, 1], above[_AT + 1, 0]
        return np.stack([2 * hits, hits + misses + above[0, 1]])

    def dice_by_threshold(self) -> NDArray[np.float64]:
        """(99,): Dice of class 1 of two at each of `THRESHOLDS`; nan without pixels of it in truth and prediction."""
        return _divide(*self.dice_parts())


def keep_dice(dice: NDArray[np.float64]) -> NDArray[np.float64]:
    """Dice itself."""
    return dice


def dice_to_iou(dice: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU = Dice / (2 - Dice); both are best at one threshold."""
    return dice / (2 - dice)


def best_threshold(values: NDArray[np.float64]) -> float:
    """The threshold of the largest of (99,) values at `THRESHOLDS`, of equal ones the nearest to 0.5; nan for nans."""
    if np.isnan(values).all():
        return math.nan
    # 1e-12: equal counts must tie despite rounding.
    best = np.flatnonzero(values >= np.nanmax(values) - 1e-12).tolist()
    return float(THRESHOLDS[min(best, key=lambda index: abs(index - 49))])


def threshold_index(threshold: float) -> int:
    """The place of a threshold in `THRESHOLDS`.

    Raises:
        ValueError: if it is none of them.
    """
    index = round(threshold * 100) - 1
    if not (0 <= index < THRESHOLDS.size and math.isclose(threshold, THRESHOLDS[index], abs_tol=1e-6)):
        raise ValueError(f"the threshold is {threshold}: it must be one of 0.01, 0.02 .. 0.99")
    return index


def _count_bins(probable: NDArray[np.float32]) -> NDArray[np.int64]:
    """(bins,): how many of (N,) probabilities lie in each."""
    # To sort is several times faster than to look for the bin of each.
    below = np.searchsorted(np.sort(probable), EDGES, side="right")
    return np.diff(below, prepend=0, append=probable.size)


def _no_pixels() -> Reliability:
    none = np.zeros(CONFIDENCE_BINS, np.int64)
    return Reliability(none, none, none.astype(np.float64))


def _add(one: Reliability, other: Reliability) -> Reliability:
    return Reliability(one.pixels + other.pixels, one.right + other.right, one.confidence + other.confidence)


def _divide(part: object, whole: object) -> NDArray[np.float64]:
    """A quotient; nan for a divisor of 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        result: NDArray[np.float64] = np.asarray(part, np.float64) / np.asarray(whole, np.float64)
    return np.where(np.asarray(whole) == 0, np.nan, result)
