"""The scores of the ISBI 2012 challenge: how well a map of cells divides an image into the right cells.

Arganda-Carreras et al., Crowdsourcing the creation of image segmentation algorithms for connectomics, Frontiers in
Neuroanatomy 9:142 (2015). The truth's cells are the 4-connected components of its foreground (a class other than 0).
A proposal is a map of the probability of being a cell. It is thresholded, and its 4-connected components are compared
with the truth's cells on the n foreground pixels of the truth alone; ignored pixels are not among them.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import watershed

from unet_exp.config import IGNORE_LABEL
from unet_exp.metrics.overlap import Overlap, components, overlap
from unet_exp.metrics.warping import warping_errors


class RandScore(NamedTuple):
    """V_Rand, the harmonic mean of precision (falls with a merger) and recall (falls with a split), each 0..1."""

    score: float
    precision: float
    recall: float


def thin(cells: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Thins the borders between cells (H, W) to lines of one pixel, so that their width does not count.

    A 4-connected watershed on the inverted map, flooded from the cells.

    Returns:
        (H, W): the cells' ids from 1, and 0 on the lines. Without any cell all is 0, so that each pixel is its own
        piece (the challenge's own program makes the whole image one piece).
    """
    return _thin(cells, components(cells))


def _thin(cells: NDArray[np.bool_], seeds: NDArray[np.int32]) -> NDArray[np.int32]:
    """The same of cells whose components are known."""
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
    """F of the pixels with the cells as positives: 2 TP / (2 TP + FP + FN), 0..1; nan where the truth has no cell."""
    positives = int(truth.sum())
    if not positives:
        return math.nan
    return 2 * int((truth & proposal).sum()) / (positives + int(proposal.sum()))


class Proposal(NamedTuple):
    """A slice's map of cells at one threshold, beside its truth.

    Attributes:
        truth: (H, W) class indices; class 0 is the membrane.
        foreground: (H, W), 0..1, the probability of not being class 0.
        threshold: a pixel belongs to a cell where its value is `> threshold`.
        thinned: the true cells and the proposed ones, their borders thinned, on the truth's foreground.
        plain: the same without thinning.
        warping_radius: pixels; see `unet_exp.metrics.warping.warp`.
    """

    truth: NDArray[np.uint8]
    foreground: NDArray[np.float32]
    threshold: np.float32
    thinned: Overlap
    plain: Overlap
    warping_radius: int | None


class Slice(NamedTuple):
    """A slice's map of cells beside its truth, and what all thresholds share.

    Attributes:
        truth: see `Proposal`.
        foreground: see `Proposal`.
        inside: (H, W), the truth's foreground.
        cells: (N,), the true cells, all from 1, on the N pixels of the foreground.
        warping_radius: see `Proposal`.
    """

    truth: NDArray[np.uint8]
    foreground: NDArray[np.float32]
    inside: NDArray[np.bool_]
    cells: NDArray[np.int32]
    warping_radius: int | None

    @classmethod
    def of(
        cls, truth: NDArray[np.uint8], foreground: NDArray[np.float32], warping_radius: int | None = None
    ) -> "Slice":
        """Finds the true cells."""
        inside = (truth != 0) & (truth != IGNORE_LABEL)
        return cls(truth, foreground, inside, components(inside)[inside], warping_radius)

    def propose(self, threshold: np.float32) -> Proposal:
        """The map at one threshold: what the scores below are functions of."""
        proposed = self.foreground > threshold
        pieces = components(proposed)
        thinned, plain = (overlap(self.cells, found[self.inside]) for found in (_thin(proposed, pieces), pieces))
        return Proposal(self.truth, self.foreground, threshold, thinned, plain, self.warping_radius)


def v_rand(proposal: Proposal) -> float:
    """V_Rand; see `rand_score`."""
    return rand_score(proposal.thinned).score


def v_rand_precision(proposal: Proposal) -> float:
    """See `RandScore`."""
    return rand_score(proposal.thinned).precision


def v_rand_recall(proposal: Proposal) -> float:
    """See `RandScore`."""
    return rand_score(proposal.thinned).recall


def v_info(proposal: Proposal) -> float:
    """V_Info; see `info_score`."""
    return info_score(proposal.thinned)


def rand_error(proposal: Proposal) -> float:
    """The Rand error of 2012: `1 - v_rand` without thinning."""
    return 1 - rand_score(proposal.plain).score


def pixel_error(proposal: Proposal) -> float:
    """The pixel error of 2012: `1 - pixel_score`."""
    counted = proposal.truth != IGNORE_LABEL
    return 1 - pixel_score(proposal.truth[counted] != 0, proposal.foreground[counted] > proposal.threshold)


def warping_error(proposal: Proposal) -> float:
    """The warping error of 2012, see `unet_exp.metrics.warping`; nan at 1.0, where it is not defined."""
    if proposal.threshold >= 1:
        return math.nan
    threshold = np.array([proposal.threshold])
    return float(warping_errors(proposal.truth, proposal.foreground, threshold, proposal.warping_radius)[0])
