"""Scores of a set of images: pooled over the set, and per image."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from unet_exp.metrics.border_stack import THRESHOLDS, BorderStack
from unet_exp.metrics.confusion import confusion_matrix
from unet_exp.metrics.declarations import UNDEFINED, Metric, ScoreFamily, list_metrics
from unet_exp.metrics.findings import Findings
from unet_exp.metrics.own import OwnMetric
from unet_exp.metrics.probabilities import THRESHOLDS as CURVE_THRESHOLDS
from unet_exp.metrics.probabilities import Curves, Histogram, best_threshold, threshold_index
from unet_exp.metrics.seg import mean_seg
from unet_exp.metrics.surfaces import Scale, find_distances


class Scoreboard:
    """Scores images one after another.

    Args:
        class_names: in the order of the class indices.
        families: further scores.
        warping: with `isbi`: also the warping error, which takes seconds per image.
        warping_radius: pixels; see `unet_exp.metrics.warping.warp`.
        scale: of distances; None: in pixels.
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
        scale: Scale | None = None,
        own: Sequence[OwnMetric] = (),
    ) -> None:
        metrics = list_metrics(families, warping)
        self._settings = class_names, families, warping, warping_radius, scale, own
        self._own = own
        self._by_family: dict[ScoreFamily | None, list[Metric]] = {}
        for metric in metrics:
            self._by_family.setdefault(metric.family, []).append(metric)
        self._names = tuple(class_names)
        self._borders = BorderStack(warping, warping_radius) if "isbi" in families else None
        self._of_objects = {
            metric.name: metric.function for metric in metrics if metric.family == "seg" and metric.function
        }
        self.scale = scale or Scale()
        self._counts_curves = bool({"probabilities", "thresholds"} & set(families))
        has_histogram = self._counts_curves or "calibration" in families
        histogram = Histogram(len(self._names), self._counts_curves) if has_histogram else None
        self._found = Findings.empty(len(self._names), histogram, self._of_objects)

    @classmethod
    def join(cls, boards: Sequence["Scoreboard"]) -> "Scoreboard":
        """A board of the images of several, at least one, of the same scores, as if one had scored all of them."""
        joined = cls(*boards[0]._settings)
        for board in boards:
            joined._found.extend(board.findings())
        joined._keep_slices()
        return joined

    def findings(self) -> Findings:
        """What it has found so far, which knows nothing of its settings and may be sent to another process."""
        if self._borders is not None:
            self._found.slices = self._borders.slices()
        return self._found

    def replace_findings(self, parts: Sequence[Findings]) -> None:
        """Has the images of several processes that took turns, as if this board had scored all of them.

        Args:
            parts: the `findings` of images 0, n, 2 n ..., of images 1, n + 1 ..., and so on, of the same scores.
        """
        histogram = None if self._found.histogram is None else Histogram(len(self._names), self._counts_curves)
        self._found = Findings.empty(len(self._names), histogram, self._of_objects)
        self._found.extend_in_turns(parts)
        self._keep_slices()

    def _keep_slices(self) -> None:
        if self._borders is not None:
            self._borders.replace(self._found.slices)

    def add(
        self,
        name: str,
        truth: NDArray[np.uint8],
        prediction: NDArray[np.uint8],
        loss: float,
        probabilities: NDArray[np.float32] | Histogram | None = None,
        instances: NDArray[np.int32] | None = None,
    ) -> dict[str, float | str]:
        """Scores one image.

        Args:
            name: of the image.
            truth: (H, W) class indices, ignored pixels included.
            prediction: (H, W) class indices.
            loss: the mean over the image; without a meaning where no pixel counts, and nan in its row.
            probabilities: those of the first `takes_probabilities` classes, (classes, H, W), or more; for `isbi` 1 -
                that of class 0 is the map of the cells. Their `count` instead, where they are `only_counted`.
            instances: (H, W), 0 or the id of an object; for `seg`.

        Returns:
            Its row so far, without the scores of borders: these depend on the whole set.

        Raises:
            ValueError: for shapes that differ, or for missing probabilities or instances.
        """
        histogram, maps = (probabilities, None) if isinstance(probabilities, Histogram) else (None, probabilities)
        if self.takes_probabilities and maps is None and (histogram is None or not self.only_counted):
            family = "isbi" if self._borders is not None else "curve"
            raise ValueError(f"the {family} scores of {name} need probabilities")
        matrix = confusion_matrix(truth, prediction, len(self._names))
        if matrix.any():
            self._found.losses.append(loss)
        else:
            loss = math.nan
        row: dict[str, float] = {"loss": loss, **class_scores(matrix, self._names)}
        if self._borders is not None and maps is not None:
            self._borders.add(truth, 1 - maps[0])
        for key, function in self._of_objects.items():
            if instances is None:
                raise ValueError(f"the {key} score of {name} needs instances")
            self._found.objects[key].append(function(truth, instances, prediction))
            row[key] = mean_seg(self._found.objects[key][-1])
        row |= self._score_distances(truth, prediction)
        if maps is not None and self._found.histogram is not None:
            histogram = self.count(truth, prediction, maps)
        if histogram is not None:
            row |= self._score_histogram(histogram)
        for metric in self._own:
            counts = bool(matrix.any())
            row[metric.name] = metric.score(name, truth, prediction, maps) if counts else math.nan
        self._found.matrix += matrix
        self._found.images.append(name)
        self._found.columns = tuple(row)
        self._found.numbers.extend(row.values())
        return {"image": name, **row}

    def _score_distances(self, truth: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> dict[str, float]:
        """The distances of an image, and for each class whether they are not defined."""
        if "distances" not in self._by_family:
            return {}
        indices = range(1, len(self._names))
        found = [find_distances(truth, prediction, index, self.scale) for index in indices]
        row: dict[str, float] = {}
        for metric in self._by_family["distances"]:
            assert metric.function is not None
            row |= _name_values(metric, [metric.function(of_class) for of_class in found], self._names)
        undefined = (float(of_class.is_undefined) for of_class in found)
        return row | dict(zip(_undefined_names(self._names), undefined, strict=True))

    def count(
        self, truth: NDArray[np.uint8], prediction: NDArray[np.uint8], probabilities: NDArray[np.float32]
    ) -> Histogram:
        """The histogram of an image, or of a part of one; those of its parts add up to what `add` takes.

        Args:
            truth: (H, W) class indices, ignored pixels included.
            prediction: (H, W) class indices.
            probabilities: those of the first `takes_probabilities` classes, (classes, H, W), or more.
        """
        classes = len(self._names)
        needed = probabilities[: 1 if classes == 2 else classes]
        return Histogram.of(truth, prediction, needed, classes, self._counts_curves)

    def _score_histogram(self, found: Histogram) -> dict[str, float]:
        """The scores of an image's curves; those at thresholds depend on the whole set."""
        self._found.count(found)
        if "thresholds" in self._by_family:
            self._found.dice.extend(found.dice_by_threshold())
        return self._curve_scores(found.curves)

    def _curve_scores(self, curves: Curves) -> dict[str, float]:
        result: dict[str, float] = {}
        for metric in self._by_family.get("probabilities", ()):
            assert metric.function is not None
            result |= _name_values(metric, [metric.function(curve) for curve in curves.by_class], self._names)
        for metric in self._by_family.get("calibration", ()):
            assert metric.function is not None
            result[metric.name] = metric.function(curves.reliability)
        return result

    @property
    def takes_probabilities(self) -> int:
        """Of how many classes, from the first, `add` needs them: 0, 1 or all."""
        needed = 0 if self._found.histogram is None else self._found.histogram.needs
        needed = max(needed, int(self._borders is not None))
        return len(self._names) if any(metric.takes_probabilities for metric in self._own) else needed

    @property
    def only_counted(self) -> bool:
        """Whether of the probabilities it needs `count` alone, so that they need not be in memory at once."""
        return (
            self._found.histogram is not None
            and self._borders is None
            and not any(metric.takes_probabilities for metric in self._own)
        )

    @property
    def matrix(self) -> NDArray[np.int64]:
        """The confusion matrix of all images, (classes, classes)."""
        return self._found.matrix.copy()

    @property
    def curves(self) -> Curves | None:
        """The curves of all images; None without the families that need them."""
        return None if self._found.histogram is None else self._found.histogram.curves

    def wait(self) -> None:
        """Waits for scores that are still computed in threads."""
        if self._borders is not None:
            self._borders.wait()

    def per_image(self, thresholds: Mapping[str, float] | None = None) -> list[dict[str, float | str]]:
        """One row per image: `image`, `loss`, its scores, and those of its borders at the set's best thresholds.

        With `thresholds`, as for `result`, also `<measure>_at_val`.
        """
        width = len(self._found.columns)
        rows: list[dict[str, float | str]] = [
            {
                "image": name,
                **dict(zip(self._found.columns, self._found.numbers[at * width : (at + 1) * width], strict=True)),
            }
            for at, name in enumerate(self._found.images)
        ]
        if self._borders is not None:
            for row, more in zip(rows, self._borders.rows(thresholds or {}), strict=True):
                row |= more
        for row, more in zip(rows, self._rows_at_thresholds(thresholds or {}), strict=False):
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
            for at, name in enumerate(self._found.images)
            for index in range(THRESHOLDS.size)
        ]

    def result(self, thresholds: Mapping[str, float] | None = None) -> dict[str, float]:
        """The scores of the whole set.

        Args:
            thresholds: `thresholds` of the board of the validation images; adds `<measure>_at_val`.

        Returns:
            `loss` (the mean over the images in which a pixel counts) and the pooled `class_scores`; `isbi`: those of
            `BorderStack.best`; `seg`: the mean over all objects of the set; `distances`: of each class the mean over
            the images that have one, and how many have none because one mask is empty; `probabilities`, `calibration`
            and `thresholds`: of the pixels of all images; and those of the user's own.

        Raises:
            ValueError: for a threshold that is not one of `THRESHOLDS`.
        """
        mean = math.fsum(self._found.losses) / len(self._found.losses) if self._found.losses else math.nan
        result = {"loss": mean, **class_scores(self._found.matrix, self._names)}
        if self._borders is not None:
            result |= self._borders.best() | self._borders.at(thresholds or {})
        for name, objects in self._found.objects.items():
            result[name] = mean_seg(np.concatenate([*objects, np.empty(0)]))
        result |= self._mean_distances()
        if self._found.histogram is not None:
            result |= self._curve_scores(self._found.histogram.curves)
        for metric, values, best in self._at_thresholds():
            result |= {metric.name: _at(values, best), metric.threshold: best}
            if metric.name in (thresholds or {}):
                chosen = (thresholds or {})[metric.name]
                result |= {metric.at_val: _at(values, chosen), metric.threshold_at_val: chosen}
        return result | {metric.name: _mean(self._column(metric.name)) for metric in self._own}

    def _column(self, name: str) -> NDArray[np.float64]:
        """A score of each image."""
        if not self._found.columns:
            return np.empty(0)
        return np.asarray(self._found.numbers).reshape(-1, len(self._found.columns))[:, self._found.columns.index(name)]

    def _mean_distances(self) -> dict[str, float]:
        """Of the images that have them; and the sums of those that have none."""
        if "distances" not in self._by_family:
            return {}
        result: dict[str, float] = {}
        for metric in self._by_family["distances"]:
            means = [_mean(self._column(name)) for name in metric.names(self._names)[:-1]]
            result |= _name_values(metric, means, self._names)
        return result | {name: float(self._column(name).sum()) for name in _undefined_names(self._names)}

    def _at_thresholds(self) -> Iterator[tuple[Metric, NDArray[np.float64], float]]:
        """Each score of a threshold, its values (99,) of the whole set, and its best threshold."""
        if self._found.histogram is None:
            return
        for metric in self._by_family.get("thresholds", ()):
            assert metric.function is not None
            values = metric.function(self._found.histogram.dice_by_threshold())
            yield metric, values, best_threshold(values if metric.direction == "max" else -values)

    def _rows_at_thresholds(self, thresholds: Mapping[str, float]) -> Iterator[dict[str, float]]:
        """Each image's scores at the best threshold of the set, and at those of another set."""
        found = list(self._at_thresholds())
        for dice in np.asarray(self._found.dice).reshape(-1, CURVE_THRESHOLDS.size):
            row: dict[str, float] = {}
            for metric, _, best in found:
                assert metric.function is not None
                values = metric.function(dice.astype(np.float64))
                row[metric.name] = _at(values, best)
                if metric.name in thresholds:
                    row[metric.at_val] = _at(values, thresholds[metric.name])
            yield row

    def thresholds(self) -> dict[str, float]:
        """The best threshold of each score that has one, for `result` of a test board."""
        of_borders = self._borders.thresholds() if self._borders is not None else {}
        return {**of_borders, **{metric.name: best for metric, _, best in self._at_thresholds()}}


def pool_at_thresholds(boards: Sequence[Scoreboard], thresholds: Sequence[float]) -> dict[str, float]:
    """The scores `..._at_val` of the pixels of several boards, each at a threshold of its own.

    Args:
        boards: at least one; without the family `thresholds` there is no such score.
        thresholds: of each; a board whose threshold is nan does not count.
    """
    parts = np.zeros(2)
    found: dict[str, float] = {}
    for metric in boards[0]._by_family.get("thresholds", ()):
        assert metric.function is not None
        parts[:] = 0
        for board, threshold in zip(boards, thresholds, strict=True):
            if board._found.histogram is not None and not math.isnan(threshold):
                parts += board._found.histogram.dice_parts()[:, threshold_index(threshold)]
        dice = parts[:1] / parts[1:] if parts[1] else np.array([math.nan])
        found[metric.at_val] = float(metric.function(dice)[0])
    return found


def class_scores(matrix: NDArray[np.int64], class_names: Sequence[str]) -> dict[str, float]:
    """The scores of a (classes, classes) `confusion_matrix`.

    Returns:
        `accuracy`, `iou/<class>`, `iou/mean` and so on, see `METRICS`. A class absent from both truth and prediction
        has no IoU: nan, left out of the mean; likewise the others.
    """
    result: dict[str, float] = {}
    for metric in list_metrics():
        if metric.function is not None:
            result |= _name_values(metric, np.atleast_1d(metric.function(matrix)).tolist(), class_names)
    return result


def _name_values(metric: Metric, values: Sequence[float], class_names: Sequence[str]) -> dict[str, float]:
    """A score's values by its full names, with the mean over the classes that have one."""
    if metric.per_class:
        values = [*values, _mean(np.array(values))]
    return dict(zip(metric.names(class_names), values, strict=True))


def _mean(values: NDArray[np.float64]) -> float:
    """Of those that are not nan; nan where all are."""
    there = values[~np.isnan(values)]
    return float(there.mean()) if there.size else math.nan


def _undefined_names(class_names: Sequence[str]) -> list[str]:
    return [f"{UNDEFINED}/{name}" for name in class_names[1:]]


def _at(values: NDArray[np.float64], threshold: float) -> float:
    """The value at a threshold; nan without one."""
    return math.nan if math.isnan(threshold) else float(values[threshold_index(threshold)])
