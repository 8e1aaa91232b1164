"""The warping error: simple points, the warp against a plain search, splits and mergers counted by hand."""

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import euler_number, label

from unet_exp.config import IGNORE_LABEL
from unet_exp.metrics.border_stack import THRESHOLDS
from unet_exp.metrics.warping import crossings, splits_and_mergers, warp, warping_errors

few = settings(max_examples=40, deadline=None, derandomize=True)
Mask = NDArray[np.bool_]
HALF = np.array([0.5], np.float32)


def topology(cells: Mask) -> tuple[int, int]:
    """4-connected cells and 8-connected pieces of membrane; what is outside is membrane."""
    padded = np.pad(cells, 1)
    return ndimage.label(padded)[1], ndimage.label(~padded, np.ones((3, 3)))[1]


def flipped(cells: Mask, place: tuple[int, int]) -> Mask:
    other = cells.copy()
    other[place] ^= True
    return other


def is_simple(cells: Mask, place: tuple[int, int]) -> bool:
    return topology(flipped(cells, place)) == topology(cells)


def plain_warp(truth: Mask, proposal: Mask, confidence: NDArray[Any]) -> Mask:
    """One flip after another, each looked for on the whole image."""
    padded = np.pad(truth, 1)
    distance = ndimage.distance_transform_edt(padded) + (
        ndimage.distance_transform_edt(~padded) if truth.any() else np.zeros(padded.shape)
    )
    warped = truth.copy()
    while True:
        simple = [(r, c) for r, c in zip(*np.nonzero(warped != proposal), strict=True) if is_simple(warped, (r, c))]
        if not simple:
            return warped
        r, c = min(simple, key=lambda place: (-confidence[place], distance[place[0] + 1, place[1] + 1], place))
        warped[r, c] ^= True


def random_pair(seed: int, side: int = 7) -> tuple[Mask, Mask]:
    """Blots, or pure noise, which is the hardest topology."""
    random = np.random.default_rng(seed)
    maps = random.standard_normal((2, side, side + 1))
    if seed % 2:
        maps = ndimage.gaussian_filter(maps, (0, 1, 1))
        maps[1] += maps[0]
    return maps[0] > 0, maps[1] > 0


def two_cells(thickness: int = 3, at: int = 8, shape: tuple[int, int] = (12, 20)) -> Mask:
    """Two cells and a membrane of columns `at` .. between them."""
    cells = np.ones(shape, bool)
    cells[:, at : at + thickness] = False
    return cells


def error(truth: Mask, proposal: Mask, radius: int | None = None) -> float:
    """Pixels of splits and mergers."""
    (value,) = warping_errors(truth.astype(np.uint8), proposal.astype(np.float32), HALF, radius)
    return float(value * truth.size)


# --- simple points ---


def test_the_table_of_simple_points_is_that_of_counted_components() -> None:
    ring = [(1, 2), (0, 2), (0, 1), (0, 0), (1, 0), (2, 0), (2, 1), (2, 2)]  # counter-clockwise from the east
    for code in range(256):
        around = np.zeros((3, 3), bool)
        for n, place in enumerate(ring):
            around[place] = code >> n & 1
        cells = label(around, connectivity=1)
        arms = {int(cells[place]) for place in ring[::2]} - {0}
        membrane = ~around
        membrane[1, 1] = False
        pieces = label(membrane, connectivity=2).max()
        assert (crossings()[code] == 1) == (len(arms) == 1 and pieces == 1)
        assert crossings()[code] == (len(arms) if pieces else 0)


# --- the warp ---


@pytest.mark.slow
@settings(few, max_examples=20)
@given(seed=st.integers(0, 2**16), levels=st.sampled_from([1, 3, 1000]))
def test_the_warp_is_that_of_a_plain_search(seed: int, levels: int) -> None:
    truth, proposal = random_pair(seed)
    confidence = np.random.default_rng(seed).integers(0, levels, truth.shape).astype(np.float32)
    assert np.array_equal(warp(truth, proposal, confidence), plain_warp(truth, proposal, confidence))


@few
@given(seed=st.integers(0, 2**16), radius=st.sampled_from([None, 1, 2]))
def test_a_warp_is_homotopic_and_goes_as_far_as_it_can(seed: int, radius: int | None) -> None:
    truth, proposal = random_pair(seed, side=24)
    warped = warp(truth, proposal, radius=radius)
    assert topology(warped) == topology(truth)
    assert euler_number(np.pad(warped, 1), connectivity=1) == euler_number(np.pad(truth, 1), connectivity=1)
    moved = warped != truth
    assert (warped[moved] == proposal[moved]).all()
    if radius is None:
        left = zip(*np.nonzero(warped != proposal), strict=True)
        assert not any(is_simple(warped, (r, c)) for r, c in left)


@pytest.mark.parametrize("value", [False, True])
def test_one_kind_of_pixel_everywhere_keeps_its_topology(value: bool) -> None:
    proposal = random_pair(3, 16)[0]
    truth = np.full(proposal.shape, value)
    assert topology(warp(truth, proposal)) == topology(truth)
    assert topology(warp(proposal, truth)) == topology(proposal)


def test_only_pixels_near_the_borders_flip() -> None:
    truth, proposal = np.zeros((2, 9, 20), bool)
    truth[3:6, 5:10] = True
    proposal[3:6, 5:15] = True
    assert np.array_equal(warp(truth, proposal), proposal)
    for radius in (1, 2, 3):
        expected = truth.copy()
        expected[3:6, 10 : 10 + radius] = True
        assert np.array_equal(warp(truth, proposal, radius=radius), expected)
    assert np.array_equal(warp(truth, proposal, radius=0), truth)


def test_what_remains_lies_where_the_proposal_is_least_sure() -> None:
    truth = two_cells()
    proposal = truth.copy()
    proposal[4:8, 8:11] = True  # a gap
    for column in (8, 9, 10):
        confidence = np.ones(truth.shape, np.float32)
        confidence[:, column] = 0.1
        left = warp(truth, proposal, confidence) != proposal
        assert set(np.nonzero(left)[1]) == {column}


# --- splits and mergers ---


@pytest.mark.slow
@few
@given(seed=st.integers(0, 2**16))
def test_splits_and_mergers_are_what_single_flips_do(seed: int) -> None:
    warped, proposal = random_pair(seed, side=12)
    splits, mergers = splits_and_mergers(warped, proposal)
    cells, _ = topology(warped)
    for place in np.ndindex(warped.shape):
        change = topology(flipped(warped, place))[0] - cells
        differs = warped[place] != proposal[place]
        assert splits[place] == (differs and warped[place] and change > 0)
        assert mergers[place] == (differs and not warped[place] and change < 0)


def test_a_perfect_proposal_has_no_error() -> None:
    assert error(two_cells(), two_cells()) == 0


@pytest.mark.parametrize("shift", [-2, -1, 1, 2])
def test_a_membrane_shifted_by_less_than_its_thickness_has_no_error(shift: int) -> None:
    assert error(two_cells(), two_cells(at=8 + shift)) == 0


def test_a_membrane_shifted_beyond_its_thickness_is_a_merger_and_a_split() -> None:
    # Nothing may flip between the two lines, so the old one stays as a line, and the new one must keep a bridge.
    truth, proposal = two_cells(), two_cells(at=12)
    splits, mergers = splits_and_mergers(warp(truth, proposal), proposal)
    assert mergers.sum() == 12
    assert splits.sum() >= 3


@pytest.mark.parametrize("thickness", [1, 3])
@pytest.mark.parametrize("rows", [1, 4])
def test_a_gap_is_a_merger_of_its_length(thickness: int, rows: int) -> None:
    truth = two_cells(thickness)
    proposal = truth.copy()
    proposal[4 : 4 + rows] = True
    assert error(truth, proposal) == rows
    splits, mergers = splits_and_mergers(warp(truth, proposal), proposal)
    assert (splits.sum(), mergers.sum()) == (0, rows)


def test_a_membrane_that_is_missing_is_a_merger_all_along() -> None:
    assert error(two_cells(), np.ones((12, 20), bool)) == 12


@pytest.mark.parametrize("thickness", [1, 2, 3])
def test_a_line_through_a_cell_is_a_split_of_its_thickness(thickness: int) -> None:
    truth = two_cells()
    proposal = truth.copy()
    proposal[5 : 5 + thickness, 8:] = False
    assert error(truth, proposal) == thickness
    splits, mergers = splits_and_mergers(warp(truth, proposal), proposal)
    assert (splits.sum(), mergers.sum()) == (thickness, 0)


def test_a_line_that_ends_inside_a_cell_is_no_split() -> None:
    truth = two_cells()
    proposal = truth.copy()
    proposal[5, 8:19] = False
    assert error(truth, proposal) == 0


def test_what_appears_or_vanishes_alone_is_no_error() -> None:
    truth = np.zeros((12, 24), bool)
    truth[2:10, 1:9] = True
    blob, hole = truth.copy(), truth.copy()
    blob[4:8, 14:18] = True
    hole[4:7, 3:6] = False
    for one, other in ((truth, blob), (blob, truth), (truth, hole), (hole, truth)):
        assert error(one, other) == 0


def test_a_ring_that_opens_is_no_split_and_one_that_closes_is_no_merger() -> None:
    ring = np.zeros((9, 9), bool)
    ring[1:8, 1:8] = True
    ring[3:6, 3:6] = False
    open_ring = ring.copy()
    open_ring[4, 6:8] = False
    assert error(ring, open_ring) == 0
    assert error(open_ring, ring) == 0


def test_three_cells_merge_where_their_membranes_meet() -> None:
    truth = np.ones((11, 11), bool)
    truth[5] = False
    truth[:5, 5] = False
    proposal = truth.copy()
    proposal[5, 5] = True  # the three arms still touch one another at corners
    assert error(truth, proposal) == 0
    proposal[4, 5] = True
    assert error(truth, proposal) == 1


# --- a slice ---


def test_errors_by_threshold_compare_in_float32() -> None:
    truth = two_cells(thickness=1)
    for value in THRESHOLDS[1:-1]:
        foreground = np.where(truth, 1, value).astype(np.float32)
        errors = warping_errors(truth.astype(np.uint8), foreground, THRESHOLDS[:-1]) * truth.size
        assert errors.tolist() == np.where(THRESHOLDS[:-1] < value, 12, 0).tolist()


def test_ignored_pixels_are_not_counted_and_not_among_all_pixels() -> None:
    truth = two_cells(thickness=1)
    proposal = truth.copy()
    proposal[2:8] = True  # a gap of six rows, of which four are ignored
    label_ = truth.astype(np.uint8)
    label_[2:6] = IGNORE_LABEL
    (value,) = warping_errors(label_, proposal.astype(np.float32), HALF)
    assert value == 2 / (truth.size - 4 * 20)


def test_without_cells_there_is_no_error_to_speak_of() -> None:
    nothing = np.zeros((6, 6), np.uint8)
    assert all(math.isnan(value) for value in warping_errors(nothing, nothing.astype(np.float32), THRESHOLDS))
    ignored = np.full((6, 6), IGNORE_LABEL, np.uint8)
    assert np.isnan(warping_errors(ignored, nothing.astype(np.float32), HALF)).all()


@pytest.mark.slow
@few
@given(seed=st.integers(0, 2**16), radius=st.sampled_from([None, 2]))
def test_a_turned_or_mirrored_slice_has_the_same_error(seed: int, radius: int | None) -> None:
    truth, _ = random_pair(seed, side=20)
    foreground = np.random.default_rng(seed).random(truth.shape, np.float32)
    errors = warping_errors(truth.astype(np.uint8), foreground, THRESHOLDS[2:6], radius)
    assert ((errors >= 0) & (errors <= 1)).all()
    for turn in (np.rot90, np.fliplr, np.transpose):
        turned = warping_errors(turn(truth).astype(np.uint8), turn(foreground), THRESHOLDS[2:6], radius)
        assert turned.tolist() == errors.tolist()


def test_a_real_slice(isbi2012_root: Path) -> None:
    truth = cv2.imread(str(isbi2012_root / "train/label/20.png"), -1) > 0
    random = np.random.default_rng(0)
    noise = ndimage.gaussian_filter(random.standard_normal(truth.shape), 2)
    foreground = ndimage.gaussian_filter(truth.astype(np.float32), 1.5) + (noise / noise.std() * 0.12)
    errors = warping_errors(truth.astype(np.uint8), foreground.astype(np.float32), THRESHOLDS[3:7:3])
    assert ((errors > 0) & (errors < 0.02)).all()
    proposal = foreground > 0.5
    warped = warp(truth, proposal)
    assert topology(warped) == topology(truth)
    assert (warped != proposal).sum() < 0.2 * (truth != proposal).sum()
    assert warping_errors(truth.astype(np.uint8), truth.astype(np.float32), HALF) == 0
