"""Border scores of a stack of slices at each threshold, and at the best one."""

import math
import os
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unet_exp.metrics.declarations import list_metrics
from unet_exp.metrics.isbi import Slice, v_rand_precision, v_rand_recall

THRESHOLDS: NDArray[np.float32] = np.arange(11, dtype=np.float32) / np.float32(10)
"""0, 0.1 .. 1.0 in float32, as the maps are.

A pixel belongs to a cell where its value is `> t`, compared in float32. So a value of 0.1 is never above the threshold
0.1; in float64 it would be, because float32(0.1) is more than 0.1. At 1.0 every proposal is empty. (The challenge's own
program adds 0.1 ten times in float64 and ends a little below 1.)
"""


_THREADS = min(THRESHOLDS.size, os.cpu_count() or 1)
_PIXELS_AT_ONCE = 2**25
"""A threshold takes some 100 bytes a pixel while it is scored."""


class BorderStack:
    """Scores of the slices of a stack at each threshold, and of the stack at the best one.

    Thresholds are scored in threads, beside the caller: nearly all of their time goes into the watershed of
    `unet_exp.metrics.isbi.thin`, which lets others run. What is asked for waits for them.

    The score of a stack is the mean over its slices at one threshold for all, at the best such threshold. The errors of
    2012 are 1 - F: `rand_error` is 1 - `v_rand` without thinning. A slice without cells has no score: nan, left out of
    the mean.

    Args:
        warping: also measure `warping_error`, which takes seconds per slice; see `unet_exp.metrics.warping`.
        warping_radius: pixels; for `warping_error`.

    """

    def __init__(self, warping: bool = False, warping_radius: int | None = None) -> None:
        metrics = list_metrics(["isbi"], warping)
        self._metrics = {metric.name: metric for metric in metrics if metric.family == "isbi"}
        self._radius = warping_radius
        self._pool = ThreadPoolExecutor(_THREADS)
        weakref.finalize(self, self._pool.shutdown, wait=False, cancel_futures=True)  # after an error elsewhere
        self._waiting: deque[tuple[int, list[Future[NDArray[np.float64]]]]] = deque()
        self._slices: list[NDArray[np.float64]] = []  # (11, columns) each

    def add(self, truth: NDArray[np.uint8], foreground: NDArray[np.float32]) -> None:
        """Begins to score one slice; neither array may change until `wait` has returned.

        Args:
            truth: (H, W) class indices; class 0 is the membrane.
            foreground: (H, W), 0..1, the probability of not being class 0.

        Raises:
            ValueError: for shapes that differ.
        """
        if truth.ndim != 2 or truth.shape != foreground.shape:
            raise ValueError(f"truth {truth.shape} and foreground {foreground.shape} must have one shape (H, W)")
        at_once = min(max(_PIXELS_AT_ONCE // truth.size, 1), THRESHOLDS.size)
        while self._waiting and sum(pixels for pixels, _ in self._waiting) + truth.size * at_once > _PIXELS_AT_ONCE:
            self._finish_first()
        scored = Slice.of(truth, np.asarray(foreground, np.float32), self._radius)
        work = partial(_score, scored, list(self._columns().values()))
        shares = [self._pool.submit(work, THRESHOLDS[start::at_once]) for start in range(at_once)]
        self._waiting.append((truth.size * at_once, shares))

    def wait(self) -> None:
        """Waits until all slices are scored.

        Raises:
            Exception: what scoring one raised.
        """
        while self._waiting:
            self._finish_first()

    def slices(self) -> list[NDArray[np.float64]]:
        """The scores of each slice, (11, columns), see `replace`."""
        self.wait()
        return list(self._slices)

    def replace(self, slices: Iterable[NDArray[np.float64]]) -> None:
        """Has these slices, as this or another stack of the same measures has scored them."""
        self.wait()
        self._slices = list(slices)

    def _finish_first(self) -> None:
        _, shares = self._waiting.popleft()
        found = np.empty((THRESHOLDS.size, len(self._columns())))
        for start, share in enumerate(shares):
            found[start :: len(shares)] = share.result()
        self._slices.append(found)

    @property
    def curves(self) -> dict[str, NDArray[np.float64]]:
        """Each score at each threshold, (slices, 11) by name.

        `v_rand` with `v_rand_precision` and `v_rand_recall`, `v_info`, `rand_error`, `pixel_error` and, with `warping`,
        `warping_error` (nan at 1.0, where it is not defined).
        """
        self.wait()
        columns = list(self._columns())
        table = np.array(self._slices).reshape(-1, THRESHOLDS.size, len(columns))
        return {name: table[:, :, place].copy() for place, name in enumerate(columns)}

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
        curves = self.curves
        return [
            {
                column: math.nan if at is None else float(curves[name][index, at])
                for column, (name, at) in chosen.items()
            }
            for index in range(len(self._slices))
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


def _score(scored: Slice, columns: list[Callable[..., Any]], thresholds: NDArray[np.float32]) -> NDArray[np.float64]:
    """(thresholds, columns): what each function finds at each threshold."""
    rows = [[function(proposal) for function in columns] for proposal in map(scored.propose, thresholds)]
    return np.array(rows, np.float64)
