"""Distances between surfaces: a slow plain version, MONAI, and laws they obey."""

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.distance import cdist

from unet_exp.config import IGNORE_LABEL
from unet_exp.metrics.scoreboard import Scoreboard
from unet_exp.metrics.surfaces import Scale, find_distances, hausdorff95, surface_dice, surface_distance

few = settings(max_examples=25, deadline=None, derandomize=True)
Mask = NDArray[np.uint8]
SQUARE, OBLONG = Scale((0.5, 0.5), 1.0), Scale((0.7, 1.3), 1.5)


@cache
def masks(count: int = 200) -> list[tuple[Mask, Mask]]:
    """Pairs of blobs and noise of many sizes; some truths and some predictions are empty, and some are full."""
    random = np.random.default_rng(3)
    found = []
    for number in range(count):
        shape = tuple(random.integers(2, 24, 2))
        smooth = [ndimage.gaussian_filter(random.normal(size=shape), number % 3) for _ in range(2)]
        smooth[1] += smooth[0] * (number % 2)
        truth, prediction = ((each > np.median(each)).astype(np.uint8) for each in smooth)
        truth[:] = 0 if number % 10 == 0 else 1 if number % 10 == 1 else truth
        prediction[:] = 0 if number % 11 == 0 else 1 if number % 11 == 1 else prediction
        found.append((truth, prediction))
    return found


def three(truth: Mask, prediction: Mask, scale: Scale | None = None, index: int = 1) -> tuple[float, float, float]:
    found = find_distances(truth, prediction, index, scale)
    return hausdorff95(found), surface_distance(found), surface_dice(found)


def plain(truth: Mask, prediction: Mask, scale: Scale) -> tuple[float, float, float]:
    """The definitions, with the distance of every pair of pixels."""
    both = truth == 1, (prediction == 1) & (truth != IGNORE_LABEL)
    first, second = (np.argwhere(mask & ~ndimage.binary_erosion(mask)) * scale.pixel_size for mask in both)
    if not len(first) or not len(second):
        return math.nan, math.nan, math.nan if len(first) == len(second) else 0.0
    pairs = cdist(first, second)
    there, back = pairs.min(axis=1), pairs.min(axis=0)
    every = np.concatenate([there, back])
    return (
        max(np.percentile(there, 95), np.percentile(back, 95)),
        every.mean(),
        np.mean(every <= scale.tolerance * (1 + 1e-6)),
    )


def approx(expected: Any) -> Any:
    return pytest.approx(expected, rel=1e-6, nan_ok=True)


@pytest.mark.parametrize("scale", [SQUARE, OBLONG, Scale()])
def test_equal_the_distances_of_all_pairs_of_pixels(scale: Scale) -> None:
    for truth, prediction in masks():
        assert three(truth, prediction, scale) == approx(plain(truth, prediction, scale))


def test_equal_them_where_pixels_are_ignored() -> None:
    random = np.random.default_rng(0)
    for whole, prediction in masks(60):
        truth = np.where(random.random(whole.shape) < 0.2, np.uint8(IGNORE_LABEL), whole)
        assert three(truth, prediction, OBLONG) == approx(plain(truth, prediction, OBLONG))


@pytest.mark.slow  # importing MONAI takes seconds
def test_equal_those_of_monai() -> None:
    import torch
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice

    for number, (truth, prediction) in enumerate(masks()):
        scale = (SQUARE, OBLONG)[number % 2]
        one, other = (torch.from_numpy(np.stack([each == 0, each == 1])[None]) for each in (prediction, truth))
        sizes: Any = {"include_background": False, "spacing": list(scale.pixel_size)}
        theirs = (
            compute_hausdorff_distance(one, other, percentile=95, **sizes).item(),
            compute_average_surface_distance(one, other, symmetric=True, **sizes).item(),
            compute_surface_dice(one, other, [scale.tolerance * (1 + 1e-6)], **sizes).item(),
        )
        ours = three(truth, prediction, scale)
        if truth.any() and prediction.any():
            assert ours == pytest.approx(theirs, rel=1e-5)
        else:  # MONAI has infinities where a mask is empty
            assert not any(math.isfinite(distance) for distance in (*ours[:2], *theirs[:2]))
            assert ours[2] == pytest.approx(theirs[2], nan_ok=True)


@few
@given(st.integers(0, 199), st.floats(0.01, 100))
def test_they_grow_with_the_pixel(number: int, factor: float) -> None:
    truth, prediction = masks()[number]
    one = three(truth, prediction, OBLONG)
    scaled = Scale((0.7 * factor, 1.3 * factor), 1.5 * factor)
    assert three(truth, prediction, scaled) == approx((one[0] * factor, one[1] * factor, one[2]))


@few
@given(st.integers(0, 199), st.booleans(), st.integers(0, 3))
def test_they_are_symmetric_and_do_not_depend_on_the_place(number: int, turned: bool, margin: int) -> None:
    truth, prediction = masks()[number]
    expected = three(truth, prediction)
    assert three(prediction, truth) == approx(expected)
    wide = [np.pad(each, margin) for each in (truth, prediction)]
    assert three(*((each[::-1].T if turned else each) for each in wide)) == approx(expected)


def test_a_mask_is_no_distance_from_itself_and_a_shifted_one_its_shift() -> None:
    truth = np.zeros((40, 50), np.uint8)
    truth[10:20, 10:30] = 1
    assert three(truth, truth) == (0, 0, 1)
    shifted = np.roll(truth, 6, axis=1)
    assert find_distances(truth, shifted, 1).of_truth.max() == 6
    assert three(truth, np.roll(truth, 1, axis=0))[2] == 1, "within the tolerance of a pixel"
    assert three(truth, shifted, Scale((9.0, 2.0), 12.0))[2] == 1
    assert three(truth, shifted, Scale((9.0, 2.0), 1.9))[2] < 1


def test_one_mask_that_is_empty_has_no_distance_and_is_counted() -> None:
    full, empty = np.ones((6, 6), np.uint8), np.zeros((6, 6), np.uint8)
    half = np.tile(np.array([0, 0, 0, 1, 1, 1], np.uint8), (6, 1))
    board = Scoreboard(("background", "cell"), ["distances"])
    for name, truth, prediction in (
        ("missed", half, empty),
        ("invented", empty, half),
        ("both empty", empty, empty),
        ("right", half, half),
        ("too large", half, full),
        ("ignored", np.full_like(full, IGNORE_LABEL), full),
    ):
        board.add(name, truth, prediction, 0.0)
    rows = {str(row["image"]): row for row in board.per_image()}
    undefined = {name: row["distances_undefined/cell"] for name, row in rows.items()}
    assert undefined == {
        "missed": 1, "invented": 1, "both empty": 0, "right": 0, "too large": 0, "ignored": 0,
    }  # fmt: skip
    for name in ("missed", "invented", "both empty", "ignored"):
        assert math.isnan(float(rows[name]["hausdorff95/cell"])), name
    assert [rows[name]["surface_dice/cell"] for name in ("missed", "invented")] == [0, 0]
    assert math.isnan(float(rows["both empty"]["surface_dice/cell"]))
    result = board.result()
    assert result["distances_undefined/cell"] == 2
    assert result["hausdorff95/cell"] == rows["too large"]["hausdorff95/cell"] / 2 == 1.5
    assert result["hausdorff95/mean"] == result["hausdorff95/cell"]


def test_the_order_of_the_classes_does_not_count() -> None:
    random = np.random.default_rng(0)
    truth, prediction = (random.integers(0, 4, (30, 40)).astype(np.uint8) for _ in range(2))
    order = np.array([0, 3, 1, 2], np.uint8)
    names = ("background", "a", "b", "c")
    one, other = Scoreboard(names, ["distances"]), Scoreboard([names[0], "b", "c", "a"], ["distances"])
    one.add("x", truth, prediction, 0.0)
    other.add("x", order[truth], order[prediction], 0.0)
    assert one.result()["surface_distance/a"] == other.result()["surface_distance/a"]
    assert one.result()["hausdorff95/mean"] == pytest.approx(other.result()["hausdorff95/mean"])


def test_the_scale_of_a_config() -> None:
    assert Scale.of(None) == Scale.of("pixels", Scale((2, 2), 2, "µm")) == Scale()
    assert Scale.of(None, Scale((2, 3), 3, "µm")) == Scale((2, 3), 3, "µm")
    assert Scale.of(0.5)[:2] == ((0.5, 0.5), 0.5)
    assert Scale.of([0.5, 0.7]).tolerate(2)[:2] == ((0.5, 0.7), 2)
    assert [Scale.of(size).unit for size in (None, 0.65, [0.5, 0.7])] == [
        "pixels", "the unit of data.pixel_size=0.65", "the unit of data.pixel_size=[0.5,0.7]",
    ]  # fmt: skip


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        find_distances(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), 1)
