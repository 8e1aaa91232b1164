"""Scores of a set of images: pooled over the set, and per image."""

import math
from array import array
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from unet_exp.metrics.border_stack import THRESHOLDS, BorderStack
from unet_exp.metrics.confusion import confusion_matrix
from unet_exp.metrics.declarations import ScoreFamily, list_metrics
from unet_exp.metrics.own import OwnMetric
from unet_exp.metrics.seg import mean_seg


class Scoreboard:
    """Scores images one after another.

    Args:
        class_names: in the order of the class indices.
        families: further scores.
        warping: with `isbi`: also the warping error, which takes seconds per image.
        warping_radius: pixels; see `unet_exp.metrics.warping.warp`.
        own: scores of the user's own, of each image; that of the set is the mean over the images that have one.

    Raises:
        ValueError: for a family that does not exist, or for the warping error without `isbi`.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        families: Collection[ScoreFamily] = (),
        warping: bool = False,
        warping_radius: int | None = None,
        own: Sequence[OwnMetric] = (),
    ) -> None:
        metrics = list_metrics(families, warping)
        self._settings = class_names, families, warping, warping_radius, own
        self._own = own
        self._names = tuple(class_names)
        self._matrix = np.zeros((len(self._names),) * 2, np.int64)
        self._borders = BorderStack(warping, warping_radius) if "isbi" in families else None
        self._of_objects = {
            metric.name: metric.function for metric in metrics if metric.family == "seg" and metric.function
        }
        self._objects: dict[str, list[NDArray[np.float64]]] = {name: [] for name in self._of_objects}
        self._losses = array("d")
        # Plain numbers, image after image: a dict of each of a million images would fill the memory.
        self._images: list[str] = []
        self._columns: tuple[str, ...] = ()
        self._numbers = array("d")

    @classmethod
    def join(cls, boards: Sequence["Scoreboard"]) -> "Scoreboard":
        """A board of the images of several, at least one, of the same scores, as if one had scored all of them."""
        joined = cls(*boards[0]._settings)
        for board in boards:
            joined._matrix += board._matrix
            joined._losses.extend(board._losses)
            joined._images += board._images
            joined._columns = joined._columns or board._columns
            joined._numbers.extend(board._numbers)
            for name, objects in board._objects.items():
                joined._objects[name] += objects
            if joined._borders is not None and board._borders is not None:
                joined._borders.extend(board._borders)
        return joined

    def add(
        self,
        name: str,
        truth: NDArray[np.uint8],
        prediction: NDArray[np.uint8],
        loss: float,
        probabilities: NDArray[np.float32] | None = None,
        instances: NDArray[np.int32] | None = None,
    ) -> dict[str, float | str]:
        """Scores one image.

        Args:
            name: of the image.
            truth: (H, W) class indices, ignored pixels included.
            prediction: (H, W) class indices.
            loss: the mean over the image; without a meaning where no pixel counts, and nan in its row.
            probabilities: (classes, H, W), or that of class 0 alone (1, H, W), for `isbi`: 1 - that of class 0 is the
                map of the cells. See `takes_probabilities` and `takes_all_probabilities`.
            instances: (H, W), 0 or the id of an object; for `seg`.

        Returns:
            Its row so far, without the scores of borders: these depend on the whole set.

        Raises:
            ValueError: for shapes that differ, or for missing probabilities or instances.
        """
        matrix = confusion_matrix(truth, prediction, len(self._names))
        if matrix.any():
            self._losses.append(loss)
        else:
            loss = math.nan
        row: dict[str, float] = {"loss": loss, **class_scores(matrix, self._names)}
        if self._borders is not None:
            if probabilities is None:
                raise ValueError(f"the isbi scores of {name} need probabilities")
            self._borders.add(truth, 1 - probabilities[0])
        for key, function in self._of_objects.items():
            if instances is None:
                raise ValueError(f"the {key} score of {name} needs instances")
            self._objects[key].append(function(truth, instances, prediction))
            row[key] = mean_seg(self._objects[key][-1])
        for metric in self._own:
            counts = bool(matrix.any())
            row[metric.name] = metric.score(name, truth, prediction, probabilities) if counts else math.nan
        self._matrix += matrix
        self._images.append(name)
        self._columns = tuple(row)
        self._numbers.extend(row.values())
        return {"image": name, **row}

    @property
    def takes_probabilities(self) -> bool:
        """Whether `add` needs them."""
        return self._borders is not None or self.takes_all_probabilities

    @property
    def takes_all_probabilities(self) -> bool:
        """Whether it needs those of all classes."""
        return any(metric.takes_probabilities for metric in self._own)

    def wait(self) -> None:
        """Waits for scores that are still computed in threads."""
        if self._borders is not None:
            self._borders.wait()

    def per_image(self, thresholds: Mapping[str, float] | None = None) -> list[dict[str, float | str]]:
        """One row per image: `image`, `loss`, its scores, and those of its borders at the set's best thresholds.

        With `thresholds`, as for `result`, also `<measure>_at_val`.
        """
        width = len(self._columns)
        rows: list[dict[str, float | str]] = [
            {"image": name, **dict(zip(self._columns, self._numbers[at * width : (at + 1) * width], strict=True))}
            for at, name in enumerate(self._images)
        ]
        if self._borders is not None:
            for row, more in zip(rows, self._borders.rows(thresholds or {}), strict=True):
                row |= more
        return rows

    def per_threshold(self) -> list[dict[str, float | str]]:
        """One row per image and threshold with the border scores; none without `isbi`."""
        if self._borders is None:
            return []
        curves = self._borders.curves
        return [
            {
                "image": name,
                "threshold": index / 10,
                **{measure: float(of[at, index]) for measure, of in curves.items()},
            }
            for at, name in enumerate(self._images)
            for index in range(THRESHOLDS.size)
        ]

    def result(self, thresholds: Mapping[str, float] | None = None) -> dict[str, float]:
        """The scores of the whole set.

        Args:
            thresholds: `thresholds` of the board of the validation images; adds `<measure>_at_val`.

        Returns:
            `loss` (the mean over the images in which a pixel counts) and the pooled `class_scores`; `isbi`: those of
            `BorderStack.best`; `seg`: the mean over all objects of the set; and those of the user's own.

        Raises:
            ValueError: for a threshold that is not one of `THRESHOLDS`.
        """
        mean = math.fsum(self._losses) / len(self._losses) if self._losses else math.nan
        result = {"loss": mean, **class_scores(self._matrix, self._names)}
        if self._borders is not None:
            result |= self._borders.best() | self._borders.at(thresholds or {})
        for name, objects in self._objects.items():
            result[name] = mean_seg(np.concatenate([*objects, np.empty(0)]))
        for metric in self._own:
            values = self._column(metric.name)
            result[metric.name] = float(np.nanmean(values)) if not np.isnan(values).all() else math.nan
        return result

    def _column(self, name: str) -> NDArray[np.float64]:
        """A score of each image."""
        if not self._columns:
            return np.empty(0)
        return np.asarray(self._numbers).reshape(-1, len(self._columns))[:, self._columns.index(name)]

    def thresholds(self) -> dict[str, float]:
        """The best threshold of each border measure, for `result` of a test board; else empty."""
        return self._borders.thresholds() if self._borders is not None else {}


def class_scores(matrix: NDArray[np.int64], class_names: Sequence[str]) -> dict[str, float]:
    """Pixel accuracy, IoU and Dice of a (classes, classes) `confusion_matrix`.

    Returns:
        `accuracy`, `iou/<class>`, `iou/mean`, `dice/<class>` and `dice/mean`, each 0..1. A class absent from both truth
        and prediction has no score: nan, left out of the means.
    """
    result: dict[str, float] = {}
    for metric in list_metrics():
        if metric.function is None:
            continue
        values = np.atleast_1d(metric.function(matrix))
        if metric.per_class:
            present = values[~np.isnan(values)]
            values = np.append(values, present.mean() if present.size else math.nan)
        result |= dict(zip(metric.names(class_names), values.tolist(), strict=True))
    return result
