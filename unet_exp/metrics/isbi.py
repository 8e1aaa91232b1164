"""The scores of the ISBI 2012 challenge: how well a map of cells divides an image into the right cells.

Arganda-Carreras et al., Crowdsourcing the creation of image segmentation algorithms for connectomics, Frontiers in
Neuroanatomy 9:142 (2015). The truth's cells are the 4-connected components of its foreground (a class other than 0).
A proposal is a map of the probability of being a cell. It is thresholded, and its 4-connected components are compared
with the truth's cells on the n foreground pixels of the truth alone; ignored pixels are not among them.

A higher score is better for `v_rand` and `v_info`, a lower one for the two errors of 2012.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import watershed

from unet_exp.config import IGNORE_LABEL
from unet_exp.metrics.overlap import Overlap, components, overlap
from unet_exp.metrics.warping import warping_errors

THRESHOLDS: NDArray[np.float32] = np.arange(11, dtype=np.float32) / np.float32(10)
"""0, 0.1 .. 1.0, each rounded to float32 as the maps are.

A pixel belongs to a cell where its value is `> t`, compared in float32. Then a value that was written as 0.1 is never
above the threshold 0.1; in float64 it would be, because float32(0.1) is a little more than 0.1. At 1.0 every proposal
is empty. (The challenge's own program adds 0.1 ten times in float64 and ends a little below 1.)
"""

MEASURES = ("v_rand", "v_info", "rand_error", "pixel_error")
_ERRORS = ("rand_error", "pixel_error", "warping_error")


class RandScore(NamedTuple):
    """V_Rand with its two parts, each 0..1.

    Attributes:
        score: their harmonic mean.
        precision: falls with every merger.
        recall: falls with every split.
    """

    score: float
    precision: float
    recall: float


def thin(cells: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Thins the borders between cells to lines of one pixel, so that their width does not count.

    A 4-connected watershed on the inverted map, flooded from the cells.

    Args:
        cells: (H, W), true inside cells.

    Returns:
        (H, W): the cells' ids from 1, and 0 on the lines. Without any cell all is 0, so that each pixel is a piece of
        its own (the challenge's own program makes the whole image one piece).
    """
    seeds = components(cells)
    if cells.all() or not cells.any():
        return seeds
    flood: Callable[..., NDArray[np.int32]] = watershed  # scikit-image does not say what it takes
    return flood(~cells, seeds, connectivity=1, watershed_line=True)


def rand_score(pieces: Overlap) -> RandScore:
    """V_Rand of a proposal (Arganda-Carreras et al. 2015, foreground-restricted Rand scoring).

    With p_ij the share of the n pixels in the true cell i and the proposed piece j, a_i and b_j its sums, and each
    pixel of the proposal's label 0 a piece of its own (p_0 = sum_i p_i0):
    A = sum a_i^2, B = sum_{j>=1} b_j^2 + p_0 / n, AB = sum_{j>=1} p_ij^2 + p_0 / n;
    precision AB / B, recall AB / A.

    Args:
        pieces: the true cells (all from 1) and the proposal's pieces (0: on a border) on the truth's foreground.

    Returns:
        The score; all three are nan where there are no pixels.
    """
    if not pieces.counts.size:
        return RandScore(math.nan, math.nan, math.nan)
    # Everything below is multiplied by n^2; what lies on a border adds its number of pixels.
    true, proposed, both, borders = _sums(pieces)
    a = np.square(true).sum()
    b = np.square(proposed).sum() + borders
    ab = np.square(both).sum() + borders
    return RandScore(float(2 * ab / (a + b)), float(ab / b), float(ab / a))


def info_score(pieces: Overlap) -> float:
    """V_Info of a proposal (Arganda-Carreras et al. 2015, foreground-restricted information-theoretic scoring).

    V_Info = 2 I(S; T) / (H(S) + H(T)), S the proposal and T the truth; each pixel of the proposal's label 0 is a piece
    of its own and adds -(1/n) log(1/n) to the entropies. One cell that is one piece: 1.

    Args:
        pieces: as for `rand_score`.

    Returns:
        0..1; nan where there are no pixels.
    """
    if not pieces.counts.size:
        return math.nan
    true, proposed, both, borders = _sums(pieces)
    pixels = true.sum()
    if pixels == 1 or (true.size == 1 and proposed.size == 1 and not borders):
        return 1.0  # neither has any entropy
    # H = log n - sum c log c / n over the pieces' counts c; a piece of one pixel adds 1 log 1 = 0 to the sum.
    of_truth, of_proposal, of_both = (
        math.log(pixels) - float((counts * np.log(counts)).sum() / pixels) for counts in (true, proposed, both)
    )
    score = 2 * (of_truth + of_proposal - of_both) / (of_truth + of_proposal)
    return min(max(score, 0.0), 1.0)  # rounding can leave it 1e-16 outside


class _Sums(NamedTuple):
    true: NDArray[np.float64]
    proposed: NDArray[np.float64]
    both: NDArray[np.float64]
    borders: int


def _sums(pieces: Overlap) -> _Sums:
    """Pixels of each true cell, of each proposed piece, of each pair of them, and on the proposal's borders."""
    inside = pieces.second > 0
    both = pieces.counts.astype(np.float64)
    true = np.bincount(pieces.first, weights=both).astype(np.float64)
    proposed = np.bincount(pieces.second[inside], weights=both[inside]).astype(np.float64)
    return _Sums(true[true > 0], proposed[proposed > 0], both[inside], int(both[~inside].sum()))


def pixel_score(truth: NDArray[np.bool_], proposal: NDArray[np.bool_]) -> float:
    """F of the pixels with the cells as positives: 2 TP / (2 TP + FP + FN).

    Args:
        truth: true inside cells, of any shape.
        proposal: the same shape.

    Returns:
        0..1; nan where the truth has no cell.
    """
    positives = int(truth.sum())
    if not positives:
        return math.nan
    return 2 * int((truth & proposal).sum()) / (positives + int(proposal.sum()))


class BorderStack:
    """Scores of the slices of a stack at each threshold, and of the whole at the best one.

    A stack's score is the mean over its slices at one threshold for all; then the best threshold is taken. The errors
    of 2012 are 1 - F: `rand_error` is `v_rand` without thinning, turned round. A slice without any cell has no score:
    nan, left out of the mean.

    Args:
        warping: also measure `warping_error`, which takes seconds a slice; see `unet_exp.metrics.warping`.
        warping_radius: pixels; for `warping_error`.

    Attributes:
        curves: (slices, 11) by name: `v_rand` with `v_rand_precision` and `v_rand_recall`, `v_info`, `rand_error`,
            `pixel_error` and, if asked for, `warping_error` (nan at 1.0, where it is not defined).
    """

    def __init__(self, warping: bool = False, warping_radius: int | None = None) -> None:
        self._measures = border_measures(warping)
        self._radius = warping_radius
        names = ("v_rand", "v_rand_precision", "v_rand_recall", *self._measures[1:])
        self.curves: dict[str, NDArray[np.float64]] = {name: np.empty((0, THRESHOLDS.size)) for name in names}

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
        rows = _slice_curves(truth, foreground)
        if "warping_error" in self._measures:
            errors = warping_errors(truth, foreground, THRESHOLDS[:-1], self._radius)
            rows["warping_error"] = np.append(errors, math.nan)
        for name, row in rows.items():
            self.curves[name] = np.vstack([self.curves[name], row])

    def best(self) -> dict[str, float]:
        """Each measure at its best threshold, and `<measure>_threshold`.

        Of equally good thresholds the one nearest to 0.5 is taken. Without any slice that has cells all are nan.
        """
        result: dict[str, float] = {}
        for name in self._measures:
            index = self._best_index(name)
            result[name] = math.nan if index is None else float(self._means(name)[index])
            result[f"{name}_threshold"] = math.nan if index is None else index / 10
        return result

    def thresholds(self) -> dict[str, float]:
        """The best threshold by measure: what a validation stack hands to `at` of a test stack."""
        best = self.best()
        return {name: best[f"{name}_threshold"] for name in self._measures}

    def at(self, thresholds: Mapping[str, float]) -> dict[str, float]:
        """Scores at thresholds that were chosen elsewhere, on the validation stack.

        Args:
            thresholds: by measure; a measure that this stack does not have is left out, as is one not named.

        Returns:
            `<measure>_at_val` and `<measure>_threshold_at_val` for each; nan for a threshold of nan.

        Raises:
            ValueError: for a threshold that is not one of `THRESHOLDS`.
        """
        result: dict[str, float] = {}
        for name in self._measures:
            if name in thresholds:
                index = self._index(name, thresholds[name])
                result[f"{name}_at_val"] = math.nan if index is None else float(self._means(name)[index])
                result[f"{name}_threshold_at_val"] = math.nan if index is None else index / 10
        return result

    def rows(self, thresholds: Mapping[str, float]) -> list[dict[str, float]]:
        """Each slice's measures at the stack's best thresholds, and as `<measure>_at_val` at those of another stack."""
        chosen = {name: self._best_index(name) for name in self._measures}
        known = [name for name in self._measures if name in thresholds]
        chosen |= {f"{name}_at_val": self._index(name, thresholds[name]) for name in known}
        return [
            {
                name: math.nan if at is None else float(self.curves[name.removesuffix("_at_val")][index, at])
                for name, at in chosen.items()
            }
            for index in range(len(self.curves["v_rand"]))
        ]

    def _means(self, name: str) -> NDArray[np.float64]:
        """The mean over the slices that have cells, by threshold."""
        curve = self.curves[name]
        means: NDArray[np.float64] = curve[~np.isnan(curve[:, 0])].mean(axis=0)
        return means

    def _best_index(self, name: str) -> int | None:
        if np.isnan(self.curves[name][:, 0]).all():
            return None
        values = -self._means(name) if name in _ERRORS else self._means(name)
        # 1e-12: thresholds that draw the same cells must not be told apart by rounding.
        return min(np.flatnonzero(values >= np.nanmax(values) - 1e-12).tolist(), key=lambda index: abs(index - 5))

    def _index(self, name: str, threshold: float) -> int | None:
        if math.isnan(threshold) or self._best_index(name) is None:
            return None
        index = round(threshold * 10)
        if not (0 <= index < THRESHOLDS.size and math.isclose(threshold, index / 10, abs_tol=1e-6)):
            raise ValueError(f"the threshold of {name} is {threshold}: it must be one of 0, 0.1 .. 1.0")
        return index


def border_measures(warping: bool = False) -> tuple[str, ...]:
    """The measures of a `BorderStack`, in the order of its results."""
    return (*MEASURES, "warping_error") if warping else MEASURES


def _slice_curves(truth: NDArray[np.uint8], foreground: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
    """The curves of one slice: (11,) by name."""
    counted = truth != IGNORE_LABEL
    inside = (truth != 0) & counted
    cells = components(inside)[inside]
    table: list[tuple[float, ...]] = []
    for threshold in THRESHOLDS:
        proposal = foreground > threshold
        thinned = overlap(cells, thin(proposal)[inside])
        plain = overlap(cells, components(proposal)[inside])
        pixels = pixel_score(inside[counted], proposal[counted])
        table.append((*rand_score(thinned), info_score(thinned), 1 - rand_score(plain).score, 1 - pixels))
    names = ("v_rand", "v_rand_precision", "v_rand_recall", "v_info", "rand_error", "pixel_error")
    return dict(zip(names, np.array(table).T, strict=True))
