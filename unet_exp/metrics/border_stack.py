"""Border scores of a stack of slices at each threshold, and at the best one."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unet_exp.metrics.declarations import list_metrics
from unet_exp.metrics.isbi import proposals, v_rand_precision, v_rand_recall

THRESHOLDS: NDArray[np.float32] = np.arange(11, dtype=np.float32) / np.float32(10)
"""0, 0.1 .. 1.0 in float32, as the maps are.

A pixel belongs to a cell where its value is `> t`, compared in float32. So a value of 0.1 is never above the threshold
0.1; in float64 it would be, because float32(0.1) is more than 0.1. At 1.0 every proposal is empty. (The challenge's own
program adds 0.1 ten times in float64 and ends a little below 1.)
"""


class BorderStack:
    """Scores of the slices of a stack at each threshold, and of the stack at the best one.

    The score of a stack is the mean over its slices at one threshold for all, at the best such threshold. The errors of
    2012 are 1 - F: `rand_error` is 1 - `v_rand` without thinning. A slice without cells has no score: nan, left out of
    the mean.

    Args:
        warping: also measure `warping_error`, which takes seconds per slice; see `unet_exp.metrics.warping`.
        warping_radius: pixels; for `warping_error`.

    Attributes:
        curves: (slices, 11) by name: `v_rand` with `v_rand_precision` and `v_rand_recall`, `v_info`, `rand_error`,
            `pixel_error` and, with `warping`, `warping_error` (nan at 1.0, where it is not defined).
    """

    def __init__(self, warping: bool = False, warping_radius: int | None = None) -> None:
        metrics = list_metrics(["isbi"], warping)
        self._metrics = {metric.name: metric for metric in metrics if metric.family == "isbi"}
        self._radius = warping_radius
        self.curves: dict[str, NDArray[np.float64]] = {name: np.empty((0, THRESHOLDS.size)) for name in self._columns()}

    def add(self, truth: NDArray[np.uint8], foreground: NDArray[np.float32]) -> None:
        """Scores one slice.

        Args:
            truth: (H, W) class indices; class 0 is the membrane.
            foreground: (H, W), 0..1, the probability of not being class 0.

        Raises:
            ValueError: for shapes that differ.
        """
        if truth.ndim != 2 or truth.shape != foreground.shape:
            raise ValueError(f"truth {truth.shape} and foreground {foreground.shape} must have one shape (H, W)")
        foreground = np.asarray(foreground, np.float32)
        columns = self._columns()
        rows = [
            [function(proposal) for function in columns.values()]
            for proposal in proposals(truth, foreground, THRESHOLDS, self._radius)
        ]
        for name, row in zip(columns, np.array(rows).T, strict=True):
            self.curves[name] = np.vstack([self.curves[name], row])

    def _columns(self) -> dict[str, Callable[..., Any]]:
        """The functions of the curves by name: the measures, and the two parts of the first one."""
        first, *others = [(metric.name, metric.function) for metric in self._metrics.values() if metric.function]
        parts = [("v_rand_precision", v_rand_precision), ("v_rand_recall", v_rand_recall)]
        return dict([first, *parts, *others])

    def best(self) -> dict[str, float]:
        """Each measure at its best threshold, and `<measure>_threshold`.

        Of equally good thresholds the nearest to 0.5 counts. All are nan if no slice has cells.
        """
        result: dict[str, float] = {}
        for name, metric in self._metrics.items():
            result[name], result[metric.threshold] = self._score(name, self._best_index(name))
        return result

    def thresholds(self) -> dict[str, float]:
        """The best threshold by measure, for `at` of a test stack."""
        best = self.best()
        return {name: best[metric.threshold] for name, metric in self._metrics.items()}

    def at(self, thresholds: Mapping[str, float]) -> dict[str, float]:
        """Scores at thresholds chosen on the validation stack.

        Args:
            thresholds: by measure; measures that only one of the two has are left out.

        Returns:
            `<measure>_at_val` and `<measure>_threshold_at_val` for each; nan for a threshold of nan.

        Raises:
            ValueError: for a threshold that is not one of `THRESHOLDS`.
        """
        result: dict[str, float] = {}
        for name, metric in self._metrics.items():
            if name in thresholds:
                score, threshold = self._score(name, self._index(name, thresholds[name]))
                result |= {metric.at_val: score, f"{metric.threshold}_at_val": threshold}
        return result

    def rows(self, thresholds: Mapping[str, float]) -> list[dict[str, float]]:
        """Each slice's measures at the best thresholds, and as `<measure>_at_val` at those of another stack."""
        chosen = {name: (name, self._best_index(name)) for name in self._metrics}
        for name, metric in self._metrics.items():
            if name in thresholds:
                chosen[metric.at_val] = name, self._index(name, thresholds[name])
        return [
            {
                column: math.nan if at is None else float(self.curves[name][index, at])
                for column, (name, at) in chosen.items()
            }
            for index in range(len(self.curves["v_rand"]))
        ]

    def _score(self, name: str, index: int | None) -> tuple[float, float]:
        """A measure and its threshold; both nan without one."""
        return (math.nan, math.nan) if index is None else (float(self._means(name)[index]), index / 10)

    def _means(self, name: str) -> NDArray[np.float64]:
        """The mean over the slices that have cells, by threshold."""
        curve = self.curves[name]
        means: NDArray[np.float64] = curve[~np.isnan(curve[:, 0])].mean(axis=0)
        return means

    def _best_index(self, name: str) -> int | None:
        if np.isnan(self.curves[name][:, 0]).all():
            return None
        values = -self._means(name) if self._metrics[name].direction == "min" else self._means(name)
        # 1e-12: thresholds with the same cells must tie despite rounding.
        return min(np.flatnonzero(values >= np.nanmax(values) - 1e-12).tolist(), key=lambda index: abs(index - 5))

    def _index(self, name: str, threshold: float) -> int | None:
        if math.isnan(threshold) or self._best_index(name) is None:
            return None
        index = round(threshold * 10)
        if not (0 <= index < THRESHOLDS.size and math.isclose(threshold, index / 10, abs_tol=1e-6)):
            raise ValueError(f"the threshold of {name} is {threshold}: it must be one of 0, 0.1 .. 1.0")
        return index
