"""Connected components of a mask, and the overlap of two partitions."""

from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray


def components(mask: NDArray[np.bool_], connectivity: Literal[4, 8] = 4) -> NDArray[np.int32]:
    """Connected components of a mask (H, W): 1, 2 ... inside, 0 outside. Connectivity 4: edges; 8: also corners."""
    _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=connectivity)
    return labels.astype(np.int32, copy=False)


class Overlap(NamedTuple):
    """The nonzero cells of a contingency table, (K,) each: ids in both partitions, and their common pixels."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    counts: NDArray[np.int64]


_TABLE = 2**20
"""Entries of a whole table of pairs that is counted faster than sorted."""


def overlap(first: NDArray[np.int32], second: NDArray[np.int32]) -> Overlap:
    """Counts the pixels of each pair of ids, both of one shape and at least 0."""
    width = int(second.max(initial=0)) + 1
    highest = (int(first.max(initial=0)) + 1) * width
    pairs = (first.astype(np.int64) * width + second).ravel()
    if highest <= _TABLE:
        table = np.bincount(pairs)
        found = np.flatnonzero(table)
        return Overlap(found // width, found % width, table[found])
    # Neighbouring pixels mostly belong to the same pieces: sorting runs is ten times faster than sorting pixels.
    starts = np.flatnonzero(np.diff(pairs, prepend=-1))
    lengths = np.diff(starts, append=pairs.size)
    found, run_of = np.unique(pairs[starts], return_inverse=True)
    counts = np.bincount(run_of, weights=lengths, minlength=found.size).astype(np.int64)
    return Overlap(found // width, found % width, counts)
