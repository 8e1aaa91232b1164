"""Class probabilities of large images, counted part by part: whole they may be more than the memory holds."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from unet_exp.metrics.probabilities import Histogram
from unet_exp.metrics.scoreboard import Scoreboard

BYTES_AT_ONCE = 2**28
"""Of the probabilities of an image that are handed over whole."""


def hand_over_whole(board: Scoreboard, shape: tuple[int, int]) -> int:
    """Of how many classes, from the first, the probabilities of images (H, W) are handed to `board` whole.

    It is 0 for none, and for large images whose probabilities are only counted: see `count_parts`.
    """
    taken = board.takes_probabilities
    return 0 if board.only_counted and taken * shape[0] * shape[1] * 4 > BYTES_AT_ONCE else taken


def count_parts(board: Scoreboard, truth: NDArray[np.uint8], prediction: Tensor, probable: Tensor) -> Histogram | None:
    """Counts the probabilities of a large image for `board` by some rows at a time, on the CPU.

    A GPU waits for it, which the images that are so large make up for.

    Args:
        board: of the scores.
        truth: (H, W) class indices.
        prediction: (H, W) class indices.
        probable: (classes, H, W).

    Returns:
        None for images that `hand_over_whole`.
    """
    taken, (height, width) = board.takes_probabilities, truth.shape
    if not taken or hand_over_whole(board, truth.shape):
        return None
    rows = max(1, BYTES_AT_ONCE // (taken * width * 4))
    found: Histogram | None = None
    for start in range(0, height, rows):
        part = slice(start, start + rows)
        shares = probable[:taken, part].cpu().numpy()
        counted = board.count(truth[part], prediction[part].cpu().numpy(), shares)
        if found is None:
            found = counted
        else:
            found.add(counted)
    return found
