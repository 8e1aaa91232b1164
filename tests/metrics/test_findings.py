"""Images that several processes have scored in turns have the scores of one process, to the last bit."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from unet_exp.config import IGNORE_LABEL
from unet_exp.config.running import OwnMetricConfig
from unet_exp.metrics.declarations import list_families
from unet_exp.metrics.findings import take_turns
from unet_exp.metrics.own import OwnMetric
from unet_exp.metrics.scoreboard import Scoreboard

NAMES = ("membrane", "cell")


class Share:
    """A score whose sum depends on the order."""

    def __call__(self, truth: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> float:
        return float((truth == prediction).mean() ** 0.1)


def new_board() -> Scoreboard:
    own = OwnMetric(OwnMetricConfig(name="share", target=f"{__name__}.Share", direction="max"), 0)
    return Scoreboard(NAMES, list_families(["isbi", "seg"], True, True, 2), own=[own])


def add(board: Scoreboard, number: int) -> None:
    """Scores an image; one has no pixel that counts, and one no cell."""
    random = np.random.default_rng(number)
    instances = np.kron(random.integers(0, 4, (4, 4)), np.ones((5, 6), np.int32)).astype(np.int32)
    instances[:] = 0 if number == 3 else instances
    truth = (instances > 0).astype(np.uint8)
    truth[:] = IGNORE_LABEL if number == 4 else truth
    cells = np.clip((instances > 0) * 0.4 + random.normal(0.3, 0.3, truth.shape), 0, 1).astype(np.float32)
    shares = np.stack([1 - cells, cells])
    board.add(f"image {number}", truth, shares.argmax(axis=0).astype(np.uint8), random.random(), shares, instances)


def told(board: Scoreboard) -> Any:
    thresholds = board.thresholds()
    return repr((board.result(thresholds), board.per_image(thresholds), board.per_threshold()))


@pytest.mark.parametrize("processes", [2, 3, 8])
def test_turns_make_no_difference(processes: int) -> None:
    alone, shared = new_board(), [new_board() for _ in range(processes)]
    for number in range(7):
        add(alone, number)
        add(shared[number % processes], number)
    parts = [board.findings() for board in shared]
    for board in shared:
        board.replace_findings(parts)
    assert {told(board) for board in shared} == {told(alone)}


@pytest.mark.parametrize(
    ("parts", "whole"), [([[0, 3], [1, 4], [2]], [0, 1, 2, 3, 4]), ([[0], []], [0]), ([[], []], []), ([], [])]
)
def test_take_turns(parts: Sequence[Sequence[int]], whole: list[int]) -> None:
    assert take_turns(parts) == whole
