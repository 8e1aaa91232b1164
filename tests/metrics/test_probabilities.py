"""Scores over thresholds, against scikit-learn and against plain definitions."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from unet_exp.config import IGNORE_LABEL
from unet_exp.metrics.confusion import confusion_matrix
from unet_exp.metrics.declarations import list_families
from unet_exp.metrics.probabilities import EDGES, THRESHOLDS, Curve, Histogram, best_threshold, threshold_index
from unet_exp.metrics.scoreboard import Scoreboard, class_scores, pool_at_thresholds

NAMES = ("membrane", "cell", "nucleus")


def drawn(seed: int, classes: int, shape: tuple[int, int] = (13, 17)) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A truth, of one class alone in every tenth, and probabilities that lie near it, or at 0 and 1."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, shape).astype(np.uint8)
    if seed % 10 < 2:
        truth[:] = seed % 10
    logits = random.normal(size=(classes, *shape)) * (1 + seed % 4 * 4)
    logits += (np.arange(classes)[:, None, None] == truth) * (seed % 3)
    shares = np.exp(logits - logits.max(axis=0))
    return truth, (shares / shares.sum(axis=0)).astype(np.float32)


def approx(expected: Any, **more: Any) -> Any:
    return pytest.approx(expected, nan_ok=True, **{"abs": 1e-12, **more})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # scikit-learn warns of classes that are absent
def test_200_confusion_matrices_give_what_scikit_learn_finds() -> None:
    from sklearn.metrics import (
        balanced_accuracy_score,
        cohen_kappa_score,
        multilabel_confusion_matrix,
        precision_recall_fscore_support,
    )

    for seed in range(200):
        classes = 2 + seed % 2
        truth, shares = drawn(seed, classes)
        prediction = shares.argmax(axis=0).astype(np.uint8)
        prediction[:] = 0 if seed % 7 == 0 else prediction
        found = class_scores(confusion_matrix(truth, prediction, classes), NAMES[:classes])
        one, other, every = truth.ravel(), prediction.ravel(), list(range(classes))
        theirs = precision_recall_fscore_support(one, other, labels=every, zero_division=np.nan)
        counts = multilabel_confusion_matrix(one, other, labels=every)[:, 0]
        specificity = [row[0] / row.sum() if row.sum() else math.nan for row in counts]
        of_classes = {"precision": theirs[0], "recall": theirs[1], "specificity": specificity}
        for name, expected in of_classes.items():
            values = [found[f"{name}/{of}"] for of in NAMES[:classes]]
            assert values == approx(list(expected)), (seed, name)
            there = [value for value in values if not math.isnan(value)]
            assert found[f"{name}/mean"] == approx(np.mean(there) if there else math.nan)
        assert found["balanced_accuracy"] == approx(balanced_accuracy_score(one, other))
        assert found["kappa"] == approx(cohen_kappa_score(one, other, labels=every), abs=1e-9)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_200_curves_have_the_areas_that_scikit_learn_finds() -> None:
    from sklearn.metrics import average_precision_score, roc_auc_score

    apart = []
    for seed in range(200):
        classes = 2 + seed % 2
        truth, shares = drawn(seed, classes)
        histogram = Histogram.of(truth, shares.argmax(axis=0).astype(np.uint8), shares, classes)
        of_classes = [(1, 1 - shares[0])] if classes == 2 else list(enumerate(shares))
        for curve, (index, probable) in zip(histogram.curves.by_class, of_classes, strict=True):
            is_class = (truth == index).ravel()
            if is_class.any():
                expected = average_precision_score(is_class, probable.ravel())
                assert curve.average_precision == pytest.approx(expected, abs=0.03)
                apart += [abs(curve.average_precision - expected)] if seed % 4 < 2 else []
            else:
                assert math.isnan(curve.average_precision)
            if is_class.any() and not is_class.all():
                expected = roc_auc_score(is_class, probable.ravel())
                assert abs(curve.roc_auc - expected) <= curve.roc_auc_error + 1e-12
                assert curve.roc_auc_error < 0.01 or seed % 4 > 1, "but where many are nearly 0 or 1"
            else:
                assert math.isnan(curve.roc_auc)
    assert np.mean(apart) < 0.001


def test_the_calibration_error_is_that_of_its_definition() -> None:
    for seed in range(40):
        truth, shares = drawn(seed, 3)
        truth[0, :5] = IGNORE_LABEL
        found = Histogram.of(truth, shares.argmax(axis=0).astype(np.uint8), shares, 3).reliability
        counted = truth != IGNORE_LABEL
        confidence, right = shares.max(axis=0)[counted], (shares.argmax(axis=0) == truth)[counted]
        expected = 0.0
        for upper in range(1, 16):
            inside = (confidence > (upper - 1) / 15) & (confidence <= upper / 15)
            if inside.any():
                expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
        assert found.ece == pytest.approx(expected, abs=1e-6)
        assert found.pixels.sum() == counted.sum()


def test_the_best_threshold_is_that_of_all_thresholds_tried() -> None:
    for seed in range(2, 40, 3):
        truth, shares = drawn(seed, 2)
        truth[0, :3] = IGNORE_LABEL
        one, probable = (each[truth != IGNORE_LABEL] for each in (truth, 1 - shares[0]))
        above = probable > THRESHOLDS.astype(np.float32)[:, None]
        sizes = above.sum(axis=1) + one.sum()
        scores = np.divide(2 * (above & (one == 1)).sum(axis=1), sizes, out=np.full(99, np.nan), where=sizes > 0)
        histogram = Histogram.of(truth, shares.argmax(axis=0).astype(np.uint8), shares[:1], 2)
        assert histogram.dice_by_threshold() == approx(scores)
        best = best_threshold(histogram.dice_by_threshold())
        if not math.isnan(best):
            assert scores[threshold_index(best)] == np.nanmax(scores)
    assert best_threshold(np.full(99, 0.5)) == 0.5, "of equal ones the one in the middle"


def test_a_threshold_that_is_none_is_refused() -> None:
    for threshold in (0.0, 1.0, 0.505, -0.1):
        with pytest.raises(ValueError, match=r"0\.01, 0\.02"):
            threshold_index(threshold)


def filled(seeds: range, classes: int = 2) -> Scoreboard:
    families = list_families((), True, True, classes)
    board = Scoreboard(NAMES[:classes], families)
    for seed in seeds:
        truth, shares = drawn(seed, classes)
        assert board.takes_probabilities == (1 if classes == 2 else classes)
        board.add(f"{seed}", truth, shares.argmax(axis=0).astype(np.uint8), 0.5, shares[: board.takes_probabilities])
    return board


@pytest.mark.parametrize("classes", [2, 3])
def test_boards_join_as_if_one_had_scored_all(classes: int) -> None:
    joined, whole = (
        Scoreboard.join([filled(range(3), classes), filled(range(3, 8), classes)]),
        filled(range(8), classes),
    )
    assert joined.result() == approx(whole.result())
    assert [*joined.per_image()] == [approx(row) for row in whole.per_image()]
    assert joined.thresholds() == whole.thresholds()
    assert (joined.matrix == whole.matrix).all()


def test_scores_at_thresholds_of_several_boards_are_of_all_their_pixels() -> None:
    boards = [filled(range(2, 5)), filled(range(5, 8))]
    alike = [0.4, 0.4]
    pooled = pool_at_thresholds(boards, alike)
    joined = Scoreboard.join(boards)
    assert pooled == approx({key: joined.result(dict.fromkeys(("best_dice", "best_iou"), 0.4))[key] for key in pooled})
    assert pool_at_thresholds(boards, [0.4, math.nan]) == approx(pool_at_thresholds(boards[:1], [0.4]))
    assert pool_at_thresholds([filled(range(3), 3)], [0.4]) == {}


def test_a_threshold_goes_from_validation_to_test() -> None:
    validation, test = filled(range(2, 6)), filled(range(6, 9))
    chosen = validation.thresholds()
    assert chosen.keys() == {"best_dice", "best_iou"}
    assert chosen["best_dice"] == chosen["best_iou"], "IoU grows with Dice"
    result = test.result(chosen)
    assert result["best_dice_threshold_at_val"] == chosen["best_dice"]
    assert result["best_dice"] >= result["best_dice_at_val"]
    assert result["best_iou_at_val"] == pytest.approx(result["best_dice_at_val"] / (2 - result["best_dice_at_val"]))
    at_half = test.result(dict.fromkeys(chosen, 0.5))
    assert at_half["best_dice_at_val"] == pytest.approx(result["dice/cell"]), "0.5 is what argmax takes"
    assert {"best_dice", "best_dice_at_val"} <= test.per_image(chosen)[0].keys()


def test_nothing_that_counts_has_no_score() -> None:
    board = Scoreboard(NAMES[:2], list_families((), True, True, 2))
    board.add("x", np.full((4, 4), IGNORE_LABEL, np.uint8), np.zeros((4, 4), np.uint8), 0.0, np.full((1, 4, 4), np.nan))
    result = {name: value for name, value in board.result(board.thresholds()).items() if "undefined" not in name}
    assert all(math.isnan(value) for value in result.values())


def test_an_image_is_counted_in_parts_without_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, shares = drawn(5, 3)
    whole = Histogram.of(truth, truth, shares, 3)
    monkeypatch.setattr("unet_exp.metrics.probabilities._PIXELS_AT_ONCE", 50)
    parts = Histogram.of(truth, truth, shares, 3)
    assert (whole.counts == parts.counts).all()
    assert whole.counts.sum() == 3 * truth.size
    assert whole.reliability.ece == pytest.approx(parts.reliability.ece)


def test_probabilities_that_do_not_fit_are_refused() -> None:
    truth = np.zeros((4, 4), np.uint8)
    for shares, classes in ((np.zeros((3, 4, 4)), 2), (np.zeros((1, 4, 4)), 3), (np.zeros((2, 4, 5)), 2)):
        with pytest.raises(ValueError, match="do not fit"):
            Histogram.of(truth, truth, shares.astype(np.float32), classes)
    with pytest.raises(ValueError, match="need probabilities"):
        Scoreboard(NAMES, ["probabilities"]).add("x", truth, truth, 0.0)
    with pytest.raises(ValueError, match="none has a threshold"):
        Histogram(3).dice_parts()


def test_the_curve_of_nothing_and_of_everything() -> None:
    counts = np.zeros((EDGES.size + 1, 2), np.int64)
    assert math.isnan(Curve.of(counts).roc_auc)
    counts[0, 0], counts[-1, 1] = 5, 5
    perfect = Curve.of(counts)
    assert (perfect.roc_auc, perfect.average_precision, perfect.roc_auc_error) == (1, 1, 0)
