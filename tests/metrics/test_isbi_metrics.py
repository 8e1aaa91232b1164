"""The ISBI scores: counted pair by pair, held against scikit-image, worked by hand, and laws they obey."""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label, shannon_entropy
from skimage.metrics import adapted_rand_error, variation_of_information
from skimage.segmentation import watershed

from unet_exp.config import IGNORE_LABEL
from unet_exp.metrics import border_stack
from unet_exp.metrics.border_stack import THRESHOLDS, BorderStack
from unet_exp.metrics.isbi import info_score, pixel_score, rand_score, thin
from unet_exp.metrics.overlap import components, overlap
from unet_exp.metrics.warping import warping_errors

few = settings(max_examples=40, deadline=None, derandomize=True)
MEASURES = ("v_rand", "v_info", "rand_error", "pixel_error")
Labels = NDArray[np.uint8]


def stack(*slices: tuple[Any, Any], warping: bool = False, radius: int | None = None) -> BorderStack:
    """A stack of (truth, foreground)."""
    result = BorderStack(warping, radius)
    for truth, foreground in slices:
        result.add(np.asarray(truth, np.uint8), np.asarray(foreground, np.float32))
    return result


def grid(side: int = 5, cells: int = 3) -> Labels:
    """Square cells with membranes of one pixel between them."""
    membrane = np.arange(cells * (side + 1) - 1) % (side + 1) == side
    return (~(membrane[:, None] | membrane)).astype(np.uint8)


def noisy(truth: Labels, seed: int, noise: float = 0.3) -> NDArray[np.float32]:
    """A proposal as a network makes it: the truth, blurred and with smooth noise."""
    clouds = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(truth.shape), 2)
    soft = ndimage.gaussian_filter((truth == 1).astype(np.float32), 1)
    return np.clip(soft + noise * clouds / clouds.std(), 0, 1).astype(np.float32)


def plain_components(inside: NDArray[np.bool_]) -> dict[tuple[int, int], int]:
    """4-connected pieces by place."""
    found: dict[tuple[int, int], int] = {}
    for start in np.ndindex(inside.shape):
        if not inside[start] or start in found:
            continue
        number, edge = max(found.values(), default=0) + 1, [start]
        while edge:
            row, column = edge.pop()
            if (row, column) in found or not (0 <= row < inside.shape[0] and 0 <= column < inside.shape[1]):
                continue
            if inside[row, column]:
                found[row, column] = number
                edge += [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
    return found


def plain_scores(truth: Labels, pieces: NDArray[Any]) -> tuple[float, float, float, float]:
    """V_Rand, precision, recall and V_Info: pairs of pixels, and shares of pixels, one by one."""
    cells = plain_components((truth != 0) & (truth != IGNORE_LABEL))
    places = list(cells)
    proposed = {place: int(pieces[place]) or (place,) for place in places}  # a pixel of label 0 stands alone
    same_cell = same_piece = same_both = 0
    for one in places:
        for other in places:
            cell, piece = cells[one] == cells[other], proposed[one] == proposed[other]
            same_cell += cell
            same_piece += piece
            same_both += cell and piece
    precision, recall = same_both / same_piece, same_both / same_cell

    def entropy(ids: list[Any]) -> float:
        return sum(-c / len(ids) * math.log(c / len(ids)) for c in Counter(ids).values())

    parts = [entropy([ids[place] for place in places]) for ids in (cells, proposed)]
    joint = entropy([(cells[place], proposed[place]) for place in places])
    info = 2 * (sum(parts) - joint) / sum(parts) if sum(parts) else 1.0
    return 2 / (1 / precision + 1 / recall), precision, recall, info


# --- each score against its definition ---


@few
@given(seed=st.integers(0, 2**16))
def test_rand_and_info_are_those_of_counted_pairs(seed: int) -> None:
    random = np.random.default_rng(seed)
    truth = (random.random((6, 7)) < 0.7).astype(np.uint8)
    truth[0, 0] = 1
    truth[random.random(truth.shape) < 0.1] = IGNORE_LABEL
    truth[0, 1] = 1
    pieces = random.integers(0, random.integers(1, 6), truth.shape, np.int32)
    inside = truth == 1
    pairs = overlap(components(inside)[inside], pieces[inside])
    assert (*rand_score(pairs), info_score(pairs)) == pytest.approx(plain_scores(truth, pieces), abs=1e-9)


@few
@given(seed=st.integers(0, 2**16))
def test_the_curves_of_a_slice_are_those_of_the_definitions(seed: int) -> None:
    random = np.random.default_rng(seed)
    truth = grid(3, 2)
    truth[random.random(truth.shape) < 0.1] = IGNORE_LABEL
    truth[0, 0] = 1
    foreground = random.random(truth.shape, np.float32)
    curves = stack((truth, foreground)).curves
    counted = truth != IGNORE_LABEL
    for index in range(0, 11, 2):
        proposal = foreground > THRESHOLDS[index]
        lines = watershed(~proposal, label(proposal, connectivity=1), connectivity=1, watershed_line=True)
        *rand, info = plain_scores(truth, lines)
        names = ("v_rand", "v_rand_precision", "v_rand_recall")
        assert [curves[name][0, index] for name in names] == pytest.approx(rand)
        assert curves["v_info"][0, index] == pytest.approx(info, abs=1e-9)
        plain = plain_scores(truth, label(proposal, connectivity=1))
        assert curves["rand_error"][0, index] == pytest.approx(1 - plain[0])
        hits = (proposal & (truth == 1)).sum()
        f_score = 2 * hits / ((truth == 1).sum() + (proposal & counted).sum())
        assert curves["pixel_error"][0, index] == pytest.approx(1 - f_score)


@few
@given(seed=st.integers(0, 2**16))
def test_overlap_is_a_contingency_table(seed: int) -> None:
    random = np.random.default_rng(seed)
    one, other = random.integers(0, 4, (2, 5, 8), np.int32)
    pairs = overlap(one, other)
    expected = Counter(zip(one.ravel().tolist(), other.ravel().tolist(), strict=True))
    assert dict(zip(zip(*(ids.tolist() for ids in pairs[:2]), strict=True), pairs.counts.tolist(), strict=True)) == (
        dict(expected)
    )


def test_overlap_of_nothing_is_empty() -> None:
    assert [values.size for values in overlap(*np.empty((2, 0), np.int32))] == [0, 0, 0]


# --- worked by hand ---


def test_two_cells_merged() -> None:
    truth = np.array([[1, 1, 0, 1, 1]])
    curves = stack((truth, np.ones((1, 5)))).curves
    # A = 1/2, B = 1, AB = 1/2. The merged map says nothing about the cells.
    assert curves["v_rand_precision"][0, 5] == pytest.approx(1 / 2)
    assert curves["v_rand_recall"][0, 5] == 1
    assert curves["v_rand"][0, 5] == pytest.approx(2 / 3)
    assert curves["v_info"][0, 5] == 0
    assert curves["rand_error"][0, 5] == pytest.approx(1 / 3)
    assert curves["pixel_error"][0, 5] == pytest.approx(1 - 8 / 9)


def test_one_cell_split_by_a_line() -> None:
    foreground = np.ones((1, 9))
    foreground[0, 4] = 0
    found = stack((np.ones((1, 9)), foreground))
    # A = 1, B = AB = (16 + 16 + 1) / 81: precision 1, recall 33/81.
    assert found.curves["v_rand_precision"][0, 5] == 1
    assert found.curves["v_rand_recall"][0, 5] == pytest.approx(33 / 81)
    assert found.best()["v_rand"] == pytest.approx(66 / 114)
    assert found.best()["rand_error"] == pytest.approx(1 - 66 / 114)
    assert found.best()["v_info"] == 0
    assert found.best()["pixel_error"] == pytest.approx(1 - 16 / 17)


def test_a_wide_border_costs_the_2012_error_and_not_the_thinned_score() -> None:
    truth = np.tile([1, 1, 1, 1, 0, 1, 1, 1, 1], (5, 1))
    foreground = np.tile([1, 1, 1, 0, 0, 0, 1, 1, 1], (5, 1))
    best = stack((truth, foreground)).best()
    assert best["v_rand"] == best["v_info"] == 1
    # n = 40: A = 2 (20/40)^2, B = AB = 2 (15/40)^2 + 10/1600
    assert best["rand_error"] == pytest.approx(1 - 2 * 460 / (800 + 460))
    assert best["pixel_error"] == pytest.approx(1 - 60 / 70)


def test_info_of_half_a_cell_in_the_wrong_place() -> None:
    pairs = overlap(np.array([1, 1, 2, 2], np.int32), np.array([1, 2, 2, 2], np.int32))
    truth, proposal = math.log(2), math.log(4) - 0.75 * math.log(3)
    joint = 1.5 * math.log(2)
    assert info_score(pairs) == pytest.approx(2 * (truth + proposal - joint) / (truth + proposal))


def test_only_the_thinned_line_between_two_cells_is_left() -> None:
    cells = np.tile(np.array([1, 1, 0, 0, 0, 1, 1], bool), (4, 1))
    assert thin(cells).tolist() == [[1, 1, 1, 0, 2, 2, 2]] * 4


# --- thinning ---


@few
@given(seed=st.integers(0, 2**16), share=st.floats(0.05, 0.95))
def test_thinned_cells_are_the_cells_grown_up_to_lines(seed: int, share: float) -> None:
    cells = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((24, 30)), 1.2)
    inside = cells < np.quantile(cells, share)
    lines = thin(inside)
    assert np.array_equal(lines[inside], components(inside)[inside])
    for ahead, behind in ((lines[1:], lines[:-1]), (lines[:, 1:], lines[:, :-1])):
        assert ((ahead == behind) | (ahead == 0) | (behind == 0)).all()
    reference = watershed((~inside).astype(int), label(inside, connectivity=1), connectivity=1, watershed_line=True)
    assert np.array_equal(lines == 0, reference == 0)
    assert overlap(lines, reference.astype(np.int32)).counts.size == len(np.unique(lines))  # one to one


def test_thinning_leaves_no_cell_and_one_cell_as_they_are() -> None:
    assert (thin(np.zeros((3, 4), bool)) == 0).all()
    assert (thin(np.ones((3, 4), bool)) == 1).all()
    alone = np.zeros((3, 4), bool)
    alone[1, 1] = True
    assert (thin(alone) == 1).all()


# --- against scikit-image ---


def check_against_skimage(truth: Labels, foreground: NDArray[np.float32]) -> None:
    inside = truth == 1
    cells, pixels = label(inside, connectivity=1), inside.sum()
    for threshold in THRESHOLDS[[4, 5, 6, 7]]:
        lines = thin(foreground > threshold)
        found = rand_score(pairs := overlap(components(inside)[inside], lines[inside]))
        alone = np.where(lines == 0, lines.max() + 1 + np.arange(lines.size).reshape(lines.shape), lines)
        # skimage counts no pair of a pixel with itself.
        true = np.square(np.bincount(cells[inside])).sum()
        both = found.recall * true
        score = 2 * (both - pixels) / (true + both / found.precision - 2 * pixels)
        assert score == pytest.approx(1 - adapted_rand_error(cells, alone)[0], abs=1e-9)
        split, merge = variation_of_information(cells[inside], alone[inside])
        total = shannon_entropy(cells[inside]) + shannon_entropy(alone[inside])
        assert info_score(pairs) == pytest.approx(1 - (split + merge) / total, abs=1e-9)


def test_generated_slices_agree_with_skimage() -> None:
    truth = ndimage.binary_erosion(grid(60, 6), iterations=2).astype(np.uint8)
    check_against_skimage(truth, noisy(truth, 0, 0.15))


@pytest.mark.slow
@pytest.mark.parametrize("number", [3, pytest.param(25, marks=pytest.mark.slow)])
def test_real_slices_agree_with_skimage(isbi2012_root: Path, number: int) -> None:
    truth = (cv2.imread(str(isbi2012_root / f"train/label/{number}.png"), -1) > 0).astype(np.uint8)
    foreground = noisy(truth, number, 0.1)
    check_against_skimage(truth, foreground)
    curves = stack((truth, foreground)).curves
    scores = curves["v_rand"][0, 7:9]
    assert ((scores > 0.95) & (scores < 1)).all()
    for index, score in enumerate(scores, 7):
        # As it is: label 0 is one segment, which is small after thinning, and what it calls precision is the recall.
        error, recall, precision = adapted_rand_error(
            label(truth, connectivity=1), thin(foreground > THRESHOLDS[index])
        )
        assert score == pytest.approx(1 - error, abs=1e-5)
        assert curves["v_rand_precision"][0, index] == pytest.approx(precision, abs=2e-5)
        assert curves["v_rand_recall"][0, index] == pytest.approx(recall, abs=2e-5)


# --- laws ---


@few
@given(seed=st.integers(0, 2**16))
def test_a_perfect_proposal_is_perfect(seed: int) -> None:
    cells = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((20, 20)), 1.5) < 0.01
    cells[0, 0] = True
    best = stack((cells, cells)).best()
    assert [best[name] for name in MEASURES] == [1, 1, 0, 0]


@settings(few, max_examples=20)
@given(seed=st.integers(0, 2**16), noise=st.floats(0, 1))
def test_scores_stay_in_their_range_and_turn_with_the_slice(seed: int, noise: float) -> None:
    truth = grid(7, 3)
    foreground = noisy(truth, seed, noise)
    found = stack((truth, foreground))
    for curve in found.curves.values():
        assert ((curve >= 0) & (curve <= 1)).all()
    for turn in (np.fliplr, np.transpose):
        turned = stack((turn(truth), turn(foreground)))
        for name in ("rand_error", "pixel_error"):
            assert turned.curves[name] == pytest.approx(found.curves[name])
        for name in ("v_rand", "v_info"):  # ties of the watershed are broken in the order of the rows
            assert turned.curves[name] == pytest.approx(found.curves[name], abs=0.12)


@few
@given(seed=st.integers(0, 2**16))
def test_the_names_of_the_pieces_do_not_matter(seed: int) -> None:
    random = np.random.default_rng(seed)
    cells, pieces = random.integers(1, 5, 60, np.int32), random.integers(0, 5, 60, np.int32)
    renamed = np.array([0, *(random.permutation(9) + 1)], np.int32)
    pairs, other = overlap(cells, pieces), overlap(renamed[cells], renamed[pieces])
    assert rand_score(pairs) == pytest.approx(rand_score(other))
    assert info_score(pairs) == pytest.approx(info_score(other))


@few
@given(seed=st.integers(0, 2**16))
def test_rand_and_info_are_symmetric_where_nothing_is_border(seed: int) -> None:
    one, other = np.random.default_rng(seed).integers(1, 5, (2, 60), np.int32)
    there, back = overlap(one, other), overlap(other, one)
    assert rand_score(there).score == pytest.approx(rand_score(back).score)
    assert rand_score(there).precision == pytest.approx(rand_score(back).recall)
    assert info_score(there) == pytest.approx(info_score(back))


# --- thresholds ---


def test_a_value_is_not_above_its_own_threshold() -> None:
    assert THRESHOLDS.dtype == np.float32
    assert THRESHOLDS.tolist() == [np.float32(f"{tenth / 10:.1f}") for tenth in range(11)]
    truth = np.tile([1, 1, 0, 1, 1], (5, 1))
    for index, value in enumerate(THRESHOLDS):
        errors = stack((truth, truth * value)).curves["pixel_error"][0]
        assert errors.tolist() == [0] * index + [1] * (11 - index)


def test_of_equal_thresholds_the_middle_one_is_taken() -> None:
    truth = grid()
    hard = stack((truth, truth)).best()
    assert {hard[f"{name}_threshold"] for name in MEASURES} == {0.5}
    high = stack((truth, np.where(truth == 1, 0.95, 0.75))).best()
    assert {high[f"{name}_threshold"] for name in MEASURES} == {0.8}
    low = stack((truth, truth * 0.25)).best()
    assert {low[f"{name}_threshold"] for name in MEASURES} == {0.2}


# --- the stack ---


def test_the_mean_over_slices_is_taken_before_the_best_threshold() -> None:
    truth = grid()
    low, high = truth * 0.35, np.where(truth == 1, 0.95, 0.65)
    found = stack((truth, low), (truth, high))
    one, other = found.curves["v_rand"]
    assert one.max() == other.max() == 1
    mean = (one + other) / 2
    assert found.best()["v_rand"] == mean.max() < 1
    chosen = found.best()["v_rand_threshold"]
    assert mean[round(chosen * 10)] == mean.max()
    assert [row["v_rand"] for row in found.rows({})] == [one[round(chosen * 10)], other[round(chosen * 10)]]
    errors = found.curves["pixel_error"].mean(axis=0)
    assert found.best()["pixel_error"] == errors.min()


def test_thresholds_from_validation_are_used_on_the_test_stack() -> None:
    truth = grid()
    validation, test = stack((truth, truth * 0.35)), stack((truth, np.where(truth == 1, 0.95, 0.65)))
    chosen = json.loads(json.dumps(validation.thresholds()))
    assert chosen == dict.fromkeys(MEASURES, 0.3)
    found = test.at(chosen)
    assert list(found) == [f"{name}{ending}" for name in MEASURES for ending in ("_at_val", "_threshold_at_val")]
    for name in MEASURES:
        assert found[f"{name}_at_val"] == test.rows(chosen)[0][f"{name}_at_val"] == test.curves[name][0, 3]
        assert found[f"{name}_threshold_at_val"] == 0.3
    assert found["v_rand_at_val"] < test.best()["v_rand"] == 1
    assert test.at({}) == {}
    assert test.at({"v_info": float(THRESHOLDS[7]), "warping_error": 0.3}) == {
        "v_info_at_val": 1,
        "v_info_threshold_at_val": 0.7,
    }
    assert {key: value for key, value in test.at(test.thresholds()).items() if "threshold" not in key} == {
        f"{name}_at_val": test.best()[name] for name in MEASURES
    }


@pytest.mark.parametrize("threshold", [0.35, -0.1, 1.1])
def test_a_threshold_that_was_never_tried_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="v_rand"):
        stack((grid(), grid())).at({"v_rand": threshold})


def test_slices_without_cells_have_no_score_and_are_left_out() -> None:
    truth = grid()
    empty, ignored = np.zeros_like(truth), np.full_like(truth, IGNORE_LABEL)
    full = np.ones(truth.shape)
    found = stack((empty, full), (truth, noisy(truth, 1)), (ignored, full), warping=True)
    alone = stack((truth, noisy(truth, 1)), warping=True)
    assert found.best() == alone.best()
    assert found.at(alone.thresholds()) == alone.at(alone.thresholds())
    assert found.rows({})[1] == alone.rows({})[0]
    for row in (found.rows({})[0], found.rows({})[2]):
        assert all(math.isnan(value) for value in row.values())


def test_a_stack_without_any_cell_has_no_score() -> None:
    for found in (BorderStack(), stack((np.zeros((4, 4)), np.ones((4, 4))))):
        assert all(math.isnan(value) for value in found.best().values())
        assert all(math.isnan(value) for value in found.at(dict.fromkeys(MEASURES, 0.5)).values())
    validation = BorderStack()
    found = stack((grid(), grid()))
    assert all(math.isnan(value) for value in found.at(validation.thresholds()).values())


def test_empty_and_full_proposals() -> None:
    truth = grid(4, 2)  # four cells of 16 pixels
    empty = stack((truth, np.zeros(truth.shape))).curves
    for name in ("v_rand", "rand_error"):
        # Each pixel stands alone: A = 4 (1/4)^2, B = AB = 1/64.
        value = 2 * (1 / 64) / (1 / 4 + 1 / 64)
        assert empty[name][0] == pytest.approx(value if name == "v_rand" else 1 - value)
    assert empty["v_rand_precision"][0] == pytest.approx(1)
    # I = H(T) = log 4, H(S) = log 64
    assert empty["v_info"][0] == pytest.approx(2 * math.log(4) / (math.log(4) + math.log(64)))
    assert (empty["pixel_error"] == 1).all()
    full = stack((truth, np.ones(truth.shape))).curves
    assert full["v_rand"][0, :10] == pytest.approx(2 * (1 / 4) / (1 / 4 + 1))
    assert full["v_rand_recall"][0, :10] == pytest.approx(1)
    assert full["v_info"][0, :10] == pytest.approx(0)
    assert full["pixel_error"][0, :10] == pytest.approx(1 - 128 / (64 + 81))


def test_one_cell_that_is_one_piece_is_perfect() -> None:
    best = stack((np.ones((4, 5)), np.ones((4, 5)))).best()
    assert [best[name] for name in MEASURES] == [1, 1, 0, 0]


def test_any_class_but_the_membrane_is_a_cell() -> None:
    truth = grid()
    organelles = truth.copy()
    organelles[1:3, 1:3] = 3
    foreground = noisy(truth, 5)
    assert stack((organelles, foreground)).best() == stack((truth, foreground)).best()


def test_the_pixel_score_of_no_cell_is_nan() -> None:
    assert math.isnan(pixel_score(np.zeros(3, bool), np.ones(3, bool)))


def test_the_warping_error_is_the_least_over_its_thresholds() -> None:
    truth = grid()
    foreground = noisy(truth, 2, 0.5)
    found = stack((truth, foreground), warping=True, radius=2)
    errors = warping_errors(truth, foreground, THRESHOLDS[:10], 2)
    assert found.curves["warping_error"][0, :10].tolist() == errors.tolist()
    assert math.isnan(found.curves["warping_error"][0, 10])
    assert found.best()["warping_error"] == errors.min()
    assert errors[round(found.best()["warping_error_threshold"] * 10)] == errors.min()
    assert stack((truth, foreground)).best().keys().isdisjoint({"warping_error", "warping_error_threshold"})


@pytest.mark.parametrize("shapes", [((4, 5), (5, 4)), ((1, 4, 5), (1, 4, 5))])
def test_shapes_that_do_not_fit_are_refused(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="one shape"):
        stack((np.ones(shapes[0]), np.ones(shapes[1])))


# --- threads ---


@pytest.mark.parametrize("pixels", [1, 4 * 17 * 17, 2**25])
def test_scores_are_those_of_one_thread_however_much_is_scored_at_once(
    pixels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(border_stack, "_PIXELS_AT_ONCE", pixels)
    slices = [(grid(), noisy(grid(), seed)) for seed in range(5)]
    found = stack(*slices)
    for place, (truth, foreground) in enumerate(slices):
        for name, curve in stack((truth, foreground)).curves.items():
            np.testing.assert_array_equal(found.curves[name][place], curve[0])
    assert [row["v_rand"] for row in found.rows({})] == found.curves["v_rand"][
        :, round(10 * found.thresholds()["v_rand"])
    ].tolist()


def test_what_a_thread_raises_is_raised_where_scores_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(*_: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(border_stack, "v_rand_recall", break_down)
    scored = stack((grid(), noisy(grid(), 0)))
    with pytest.raises(RuntimeError, match="broken"):
        scored.best()


@few
@given(seed=st.integers(0, 2**16), pieces=st.integers(1, 2000))
def test_overlap_is_the_same_whether_a_table_is_counted_or_runs_are_sorted(seed: int, pieces: int) -> None:
    random = np.random.default_rng(seed)
    one, other = (random.integers(0, pieces, 300, np.int32).repeat(3) for _ in range(2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unet_exp.metrics.overlap._TABLE", 0)
        by_sorting = overlap(one, other)
    for counted, found in zip(overlap(one, other), by_sorting, strict=True):
        assert counted.dtype == found.dtype == np.int64
        assert (counted == found).all()
