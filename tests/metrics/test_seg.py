"""SEG of the Cell Tracking Challenge: worked cases and a plain version on sets of pixels."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from unet_exp.config import IGNORE_LABEL
from unet_exp.metrics.scoreboard import Scoreboard
from unet_exp.metrics.seg import mean_seg, seg_scores

few = settings(max_examples=60, deadline=None, derandomize=True)
NAMES = ("background", "cell")


def score(instances: Any, prediction: Any, ignored: Any = None) -> list[float]:
    objects = np.array(instances, np.int32)
    truth = (objects > 0).astype(np.uint8)
    if ignored is not None:
        truth[np.array(ignored, bool)] = IGNORE_LABEL
    return seg_scores(truth, objects, np.array(prediction, np.uint8)).tolist()


def plain_components(places: set[tuple[int, int]]) -> list[set[tuple[int, int]]]:
    """4-connected pieces of a set of places."""
    left, pieces = set(places), []
    while left:
        piece, edge = set(), {left.pop()}
        while edge:
            row, column = edge.pop()
            piece.add((row, column))
            near = {(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)} & left
            left -= near
            edge |= near
        pieces.append(piece)
    return pieces


def plain_seg(truth: NDArray[Any], instances: NDArray[Any], prediction: NDArray[Any]) -> list[float]:
    places = [place for place in np.ndindex(truth.shape) if truth[place] != IGNORE_LABEL]
    predicted = plain_components({place for place in places if prediction[place] != 0})
    result = []
    for number in sorted({int(instances[place]) for place in places} - {0}):
        reference = {place for place in places if instances[place] == number}
        matches = [piece for piece in predicted if 2 * len(piece & reference) > len(reference)]
        result.append(max((len(piece & reference) / len(piece | reference) for piece in matches), default=0.0))
    return result


@pytest.mark.parametrize(
    ("instances", "prediction", "expected"),
    [
        pytest.param([[1, 1, 0, 2, 2]], [[1, 1, 0, 1, 1]], [1, 1], id="perfect"),
        pytest.param([[1, 1, 1, 0, 0]], [[0, 1, 1, 1, 0]], [2 / 4], id="shifted"),
        pytest.param([[1, 1, 1, 1, 0]], [[1, 1, 0, 0, 0]], [0], id="half is not enough"),
        pytest.param([[1, 1, 1, 0, 0]], [[1, 1, 0, 0, 0]], [2 / 3], id="more than half"),
        pytest.param([[1, 1, 0, 2, 2]], [[1, 1, 1, 1, 1]], [2 / 5, 2 / 5], id="merged: one object matches both"),
        pytest.param([[1, 1, 2, 2, 2]], [[1, 1, 1, 1, 1]], [2 / 5, 3 / 5], id="touching references"),
        pytest.param([[1, 1, 1, 1, 1]], [[1, 1, 1, 0, 1]], [3 / 5], id="split: the larger part matches"),
        pytest.param([[1, 1, 0, 0, 0]], [[1, 1, 0, 1, 1]], [1], id="a false positive is free"),
        pytest.param([[9, 9, 0, 4, 4]], [[0, 0, 0, 1, 0]], [0, 0], id="unmatched, in the order of the ids"),
        pytest.param([[1, 1, 0, 0, 0]], [[2, 3, 0, 0, 0]], [1], id="any class but 0 is an object"),
        pytest.param([[1, 0], [1, 0]], [[1, 0], [0, 1]], [0], id="corners do not connect"),
        pytest.param([[0, 0, 0]], [[1, 0, 1]], [], id="no reference object"),
    ],
)
def test_worked_cases(instances: Any, prediction: Any, expected: list[float]) -> None:
    assert score(instances, prediction) == pytest.approx(expected)


def test_ignored_pixels_are_taken_out_of_both_sides() -> None:
    assert score([[1, 1, 1, 0]], [[1, 1, 0, 1]], [[0, 0, 1, 1]]) == [1]
    assert score([[1, 1, 1, 1, 1]], [[1, 1, 1, 1, 1]], [[0, 0, 1, 0, 0]]) == [0]  # two halves are left
    assert score([[1, 1, 0, 2, 2]], [[1, 1, 0, 1, 1]], [[0, 0, 0, 1, 1]]) == [1]  # an object gone altogether
    assert score([[1, 1]], [[1, 1]], [[1, 1]]) == []


@few
@given(seed=st.integers(0, 2**16))
def test_scores_are_those_of_the_definition(seed: int) -> None:
    random = np.random.default_rng(seed)
    instances = np.repeat(np.repeat(random.integers(0, 4, (3, 3), np.int32) * 7, 3, 0), 3, 1)
    prediction = np.where(random.random(instances.shape) < 0.8, instances > 0, random.random(instances.shape) < 0.5)
    truth = (instances > 0).astype(np.uint8)
    truth[random.random(truth.shape) < 0.1] = IGNORE_LABEL
    found = seg_scores(truth, instances, prediction.astype(np.uint8))
    assert found.tolist() == pytest.approx(plain_seg(truth, instances, prediction))
    assert ((found >= 0) & (found <= 1)).all()
    renumbered = np.where(instances > 0, 1000 - instances, 0).astype(np.int32)
    assert sorted(seg_scores(truth, renumbered, prediction.astype(np.uint8))) == sorted(found)


def test_objects_are_pooled_over_the_set() -> None:
    board = Scoreboard(NAMES, families=("seg",))
    for name, instances, prediction in (
        ("three", [[1, 0, 2, 0, 3]], [[1, 0, 1, 0, 1]]),
        ("one", [[1, 1, 0, 0, 0]], [[0, 0, 0, 0, 0]]),
        ("none", [[0, 0, 0, 0, 0]], [[0, 0, 0, 0, 1]]),
    ):
        objects = np.array(instances, np.int32)
        truth = (objects > 0).astype(np.uint8)
        board.add(name, truth, np.array(prediction, np.uint8), 0.0, instances=objects)
    assert board.result()["seg"] == 3 / 4
    assert [row["seg"] for row in board.per_image()[:2]] == [1, 0]
    assert math.isnan(float(board.per_image()[2]["seg"]))


def test_no_object_at_all_is_nan() -> None:
    assert math.isnan(mean_seg(np.empty(0)))
    assert math.isnan(Scoreboard(NAMES, families=("seg",)).result()["seg"])


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        seg_scores(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.int32), np.zeros((2, 2), np.uint8))
    with pytest.raises(ValueError, match="of frame 3 needs instances"):
        Scoreboard(NAMES, families=("seg",)).add("frame 3", *np.zeros((2, 2, 2), np.uint8), 0.0)
