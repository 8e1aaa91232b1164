"""Scores of a set of images: pooled over the set, and image by image."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unet_exp.metrics.confusion import confusion_matrix, score_names, scores
from unet_exp.metrics.isbi import THRESHOLDS, BorderStack, border_measures
from unet_exp.metrics.seg import mean_seg, seg_scores

Kind = Literal["isbi", "seg"]
"""Scores beside those of the confusion matrix: `isbi` of borders between cells, `seg` of single cells."""


class Scoreboard:
    """Collects images one after another.

    Args:
        class_names: in the order of the class indices.
        kinds: what else to measure.
        warping: with `isbi`: also the warping error, which takes seconds an image.
        warping_radius: pixels; see `unet_exp.metrics.warping.warp`.

    Raises:
        ValueError: for a kind that does not exist, or for the warping error without `isbi`.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        kinds: Collection[Kind] = (),
        warping: bool = False,
        warping_radius: int | None = None,
    ) -> None:
        metric_names(class_names, kinds, warping)  # refuses what does not fit
        self._names = tuple(class_names)
        self._matrix = np.zeros((len(self._names),) * 2, np.int64)
        self._borders = BorderStack(warping, warping_radius) if "isbi" in kinds else None
        self._objects: list[NDArray[np.float64]] | None = [] if "seg" in kinds else None
        self._rows: list[dict[str, float | str]] = []

    def add(
        self,
        name: str,
        truth: NDArray[np.uint8],
        prediction: NDArray[np.uint8],
        loss: float,
        probabilities: NDArray[np.float32] | None = None,
        instances: NDArray[np.int32] | None = None,
    ) -> dict[str, float | str]:
        """Counts one image.

        Args:
            name: of the image.
            truth: (H, W) class indices, ignored pixels included.
            prediction: (H, W) class indices.
            loss: the mean over the image.
            probabilities: (classes, H, W); `isbi` needs them, and takes 1 - that of class 0 as the map of the cells.
            instances: (H, W), 0 or the id of an object; `seg` needs them.

        Returns:
            Its row so far, without the scores of borders: these depend on the whole set.

        Raises:
            ValueError: for shapes that differ, or for probabilities or instances that are needed and missing.
        """
        matrix = confusion_matrix(truth, prediction, len(self._names))
        row: dict[str, float | str] = {"image": name, "loss": loss, **scores(matrix, self._names)}
        if self._borders is not None:
            if probabilities is None:
                raise ValueError(f"the isbi scores of {name} need probabilities")
            self._borders.add(truth, 1 - probabilities[0])
        if self._objects is not None:
            if instances is None:
                raise ValueError(f"the seg score of {name} needs instances")
            self._objects.append(seg_scores(truth, instances, prediction))
            row["seg"] = mean_seg(self._objects[-1])
        self._matrix += matrix
        self._rows.append(row)
        return row

    def per_image(self, thresholds: Mapping[str, float] | None = None) -> list[dict[str, float | str]]:
        """A row an image.

        Args:
            thresholds: as for `result`.

        Returns:
            `image`, `loss`, its own scores, and those of its borders at the set's best thresholds and, with
            `thresholds`, as `<measure>_at_val`.
        """
        if self._borders is None:
            return [dict(row) for row in self._rows]
        borders = self._borders.rows(thresholds or {})
        return [{**row, **more} for row, more in zip(self._rows, borders, strict=True)]

    def per_threshold(self) -> list[dict[str, float | str]]:
        """A row an image and threshold with the scores of its borders; none without `isbi`."""
        if self._borders is None:
            return []
        curves = self._borders.curves
        return [
            {
                "image": row["image"],
                "threshold": index / 10,
                **{name: float(of[at, index]) for name, of in curves.items()},
            }
            for at, row in enumerate(self._rows)
            for index in range(THRESHOLDS.size)
        ]

    def result(self, thresholds: Mapping[str, float] | None = None) -> dict[str, float]:
        """The scores of the whole set.

        Args:
            thresholds: of another board's `thresholds`, which saw the validation images; adds `<measure>_at_val`.

        Returns:
            `loss` (the mean over the images) and the pooled scores of `unet_exp.metrics.confusion.scores`; `isbi`:
            those of `unet_exp.metrics.isbi.BorderStack.best`; `seg`: the mean over all objects of the set.

        Raises:
            ValueError: for a threshold that was never tried.
        """
        losses = [float(row["loss"]) for row in self._rows]
        result = {"loss": math.fsum(losses) / len(losses) if losses else math.nan, **scores(self._matrix, self._names)}
        if self._borders is not None:
            result |= self._borders.best() | self._borders.at(thresholds or {})
        if self._objects is not None:
            result["seg"] = mean_seg(np.concatenate([*self._objects, np.empty(0)]))
        return result

    def thresholds(self) -> dict[str, float]:
        """The best threshold of each border measure, to be handed to the `result` of a test board; else empty."""
        return self._borders.thresholds() if self._borders is not None else {}


def metric_names(class_names: Sequence[str], kinds: Collection[Kind] = (), warping: bool = False) -> list[str]:
    """The scores in `Scoreboard.result`: what a training can monitor. `threshold_names` has the rest of its keys.

    Raises:
        ValueError: for a kind that does not exist, or for the warping error without `isbi`.
    """
    if unknown := set(kinds) - {"isbi", "seg"}:
        raise ValueError(f"unknown kinds of scores: {sorted(unknown)}")
    if warping and "isbi" not in kinds:
        raise ValueError("the warping error is one of the isbi scores")
    borders = border_measures(warping) if "isbi" in kinds else ()
    return ["loss", *score_names(class_names), *borders, *(["seg"] if "seg" in kinds else [])]


def threshold_names(kinds: Collection[Kind] = (), warping: bool = False) -> list[str]:
    """The keys of `Scoreboard.result` that are thresholds and not scores: nothing to monitor."""
    return [f"{name}_threshold" for name in border_measures(warping)] if "isbi" in kinds else []
