"""The warping error of the ISBI 2012 challenge: splits and mergers, and no price for a border that is merely shifted.

Jain et al., Boundary learning by optimization with topological constraints, CVPR 2010. The truth is warped toward the
proposal: of the pixels where the two differ, those are flipped whose flip leaves the topology as it is (simple points),
until none is left. What still differs then is a difference in topology.

Cells are 4-connected and the membrane is 8-connected; what is outside the image counts as membrane.
"""

import heapq
import math
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from unet_exp.config import IGNORE_LABEL
from unet_exp.metrics.overlap import components

# The neighbours of a pixel as (row, column), counter-clockwise from the east; the n-th is bit n of a neighbourhood.
_RING = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))


@cache
def crossings() -> NDArray[np.int64]:
    """How many arms of cell meet at a pixel, for each of the 256 neighbourhoods.

    An arm is a 4-connected piece of cell among the eight neighbours that touches the pixel with an edge (Yokoi,
    Toriwaki and Fukumura, Computer Graphics and Image Processing 4, 1975: the connectivity number N4 = sum over the
    four edges k of x_k - x_k x_{k+1} x_{k+2}). There are as many 8-connected pieces of membrane between the arms; where
    cell is all around there is no piece, and the number is 0. A pixel is simple, so that its flip changes no component
    and no hole, exactly where it is 1.

    Returns:
        (256,): 0..4. Bit n of an index is the n-th neighbour, counter-clockwise from the east, 1 where it is cell.
    """
    x = np.arange(256)[:, None] >> np.arange(10) % 8 & 1
    arms: NDArray[np.int64] = sum(x[:, k] - x[:, k] * x[:, k + 1] * x[:, k + 2] for k in (0, 2, 4, 6))
    return arms


def warp(
    truth: NDArray[np.bool_],
    proposal: NDArray[np.bool_],
    confidence: NDArray[np.float32] | None = None,
    radius: int | None = None,
) -> NDArray[np.bool_]:
    """Warps the truth toward the proposal by flips of simple points.

    Of the pixels that differ and are simple at that moment, the one with the greatest confidence is flipped next, so
    that what remains lies where the proposal was least sure. Of equal ones (Jain et al. draw lots) the nearest to the
    truth's borders goes first, then row by row.

    Args:
        truth: (H, W), true inside cells.
        proposal: (H, W).
        confidence: (H, W), how far the proposal's map is from the threshold; equal everywhere if None.
        radius: pixels; only a pixel as near to the truth's borders may flip (a pixel on either side of one is at 1;
            the image's edge is a border of the cells that touch it). None: every pixel may.

    Returns:
        (H, W): homotopic to the truth; no pixel that may flip is both different from the proposal and simple.
    """
    truth, proposal = np.pad(truth, 1), np.pad(proposal, 1)
    differs = truth != proposal
    if not differs.any():
        return truth[1:-1, 1:-1]
    distance = _border_distance(truth)
    if radius is not None:
        differs &= distance <= radius
    places = np.flatnonzero(differs)
    sureness = np.zeros(places.size) if confidence is None else np.pad(confidence, 1).ravel()[places]
    places = places[np.lexsort((distance.ravel()[places], -sureness))]
    left = _flip_simple_points(_neighbourhoods(truth), places)
    warped: NDArray[np.bool_] = np.where(left, truth, np.where(differs, proposal, truth))[1:-1, 1:-1]
    return warped


def _flip_simple_points(neighbourhoods: NDArray[np.uint8], places: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Flips pixels while any of them is simple, always the first in order; those left over are true in the result.

    Plain Python on plain lists: single look-ups in arrays are ten times slower, and a flip looks at eight pixels.

    Args:
        neighbourhoods: (H, W) of `_neighbourhoods`, the outermost pixels not to be flipped.
        places: (K,) flat indices of the pixels that may flip, in order of precedence.
    """
    height, width = neighbourhoods.shape
    around = bytearray(neighbourhoods.tobytes())
    simple = (crossings() == 1).tolist()
    # From a neighbour that is the n-th around a pixel, the pixel is the (n + 4)-th.
    steps = [(row * width + column, 1 << (n + 4) % 8) for n, (row, column) in enumerate(_RING)]
    rank = np.full(height * width, -1)
    rank[places] = np.arange(places.size)
    waiting, order = rank.tolist(), places.tolist()  # waiting: the rank, or -1 where there is nothing to flip
    heap = [number for number, place in enumerate(order) if simple[around[place]]]  # ascending: a heap already
    while heap:
        place = order[heapq.heappop(heap)]
        if waiting[place] < 0 or not simple[around[place]]:
            continue
        waiting[place] = -1
        for step, bit in steps:
            neighbour = place + step
            around[neighbour] ^= bit
            if waiting[neighbour] >= 0 and simple[around[neighbour]]:
                heapq.heappush(heap, waiting[neighbour])
    left: NDArray[np.bool_] = (np.array(waiting) >= 0).reshape(height, width)
    return left


def _neighbourhoods(cells: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """(H, W): each pixel's eight neighbours as the bits of a number, in the order of `_RING`; 0 on the outermost."""
    height, width = cells.shape
    codes = np.zeros(cells.shape, np.uint8)
    for n, (row, column) in enumerate(_RING):
        shifted = cells[1 + row : height - 1 + row, 1 + column : width - 1 + column]
        codes[1:-1, 1:-1] |= shifted.astype(np.uint8) << n
    return codes


def _border_distance(cells: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(H, W): the distance to the nearest pixel of the other kind, at least 1; infinite where there is none."""
    if not cells.any():
        return np.full(cells.shape, math.inf)
    result: NDArray[np.float64] = ndimage.distance_transform_edt(cells) + ndimage.distance_transform_edt(~cells)
    return result


def splits_and_mergers(
    warped: NDArray[np.bool_], proposal: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which of the pixels that still differ are splits, and which are mergers.

    Each pixel is judged by what its flip alone would do to the warped truth:

    - merger: a membrane pixel whose flip joins two or more cells (4-connected components, taken over the whole image);
    - split: a cell pixel whose flip leaves its cell in two or more parts.

    All else is none of the two and counts nothing: a cell or a hole that appears or vanishes, and a pixel whose flip
    closes a ring or opens one. The flip of a cell pixel with k arms and d different components of the membrane around
    it leaves k - d + 1 parts: each piece of membrane that goes nowhere else means that the arms beside it meet again
    behind it. (The challenge's own program looks for that in a window of 20 pixels around, and for cells to be merged
    also at a pixel's corners.)

    Args:
        warped: (H, W), of `warp`.
        proposal: (H, W).

    Returns:
        Splits (H, W) and mergers (H, W).
    """
    inside = np.pad(warped, 1)
    differs = np.pad(warped != proposal, 1)
    splits, mergers = np.zeros(inside.shape, bool), np.zeros(inside.shape, bool)
    arms = crossings()[_neighbourhoods(inside)]
    torn = differs & inside & (arms > 1)
    splits[torn] = arms[torn] > _distinct_around(components(~inside, 8), torn, _RING)
    joined = differs & ~inside & (arms > 1)
    mergers[joined] = _distinct_around(components(inside, 4), joined, _RING[::2]) > 1
    return splits[1:-1, 1:-1], mergers[1:-1, 1:-1]


def _distinct_around(
    labels: NDArray[np.int32], where: NDArray[np.bool_], ring: tuple[tuple[int, int], ...]
) -> NDArray[np.int64]:
    """(K,): how many components are among the neighbours of each of the K pixels; label 0 is none."""
    rows, columns = np.nonzero(where)
    found = np.sort([labels[rows + row, columns + column] for row, column in ring], axis=0)
    new = np.diff(found, axis=0, prepend=0) > 0
    count: NDArray[np.int64] = new.sum(axis=0)
    return count


def warping_errors(
    truth: NDArray[np.uint8],
    foreground: NDArray[np.float32],
    thresholds: NDArray[np.float32],
    radius: int | None = None,
) -> NDArray[np.float64]:
    """The warping error of one slice at each threshold: pixels of splits and mergers after the warp / all pixels.

    Ignored pixels stay as they are in the truth (membrane), and are neither counted nor among all pixels.

    Args:
        truth: (H, W) class indices; class 0 is the membrane.
        foreground: (H, W), 0..1, the probability of not being class 0.
        thresholds: (T,); a pixel of the proposal belongs to a cell where its value is `> t`.
        radius: pixels; see `warp`.

    Returns:
        (T,), each 0..1; nan where the truth has no cell.
    """
    ignored = truth == IGNORE_LABEL
    cells = (truth != 0) & ~ignored
    if not cells.any():
        return np.full(len(thresholds), math.nan)
    errors = []
    for threshold in thresholds:
        proposal = np.where(ignored, cells, foreground > threshold)
        warped = warp(cells, proposal, np.abs(foreground - threshold), radius)
        splits, mergers = splits_and_mergers(warped, proposal)
        errors.append((splits | mergers).sum() / (~ignored).sum())
    return np.array(errors)
