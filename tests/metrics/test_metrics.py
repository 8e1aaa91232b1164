"""Scores from a pooled confusion matrix: worked cases, a slow plain version, and laws they obey."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from unet_exp.config import IGNORE_LABEL
from unet_exp.metrics import METRICS_VERSION
from unet_exp.metrics.border_stack import BorderStack
from unet_exp.metrics.confusion import confusion_matrix
from unet_exp.metrics.declarations import ScoreFamily, metric_names, other_names
from unet_exp.metrics.scoreboard import Scoreboard, class_scores
from unet_exp.metrics.seg import seg_scores

few = settings(max_examples=60, deadline=None, derandomize=True)
NAMES = ("membrane", "cell", "nucleus")
Labels = NDArray[np.uint8]


def labels(values: Any) -> Labels:
    return np.array(values, np.uint8)


def random_pair(seed: int, shape: tuple[int, ...] = (9, 11), classes: int = 3) -> tuple[Labels, Labels]:
    """A truth with ignored pixels and a prediction that is often right."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, shape, np.uint8)
    prediction = np.where(random.random(shape) < 0.6, truth, random.integers(0, classes, shape, np.uint8))
    truth[random.random(shape) < 0.2] = IGNORE_LABEL
    return truth, prediction.astype(np.uint8)


def plain_scores(truth: Labels, prediction: Labels, names: tuple[str, ...]) -> dict[str, float]:
    """The definitions, pixel by pixel, on sets of places."""
    places = [place for place in np.ndindex(truth.shape) if truth[place] != IGNORE_LABEL]
    right = sum(truth[place] == prediction[place] for place in places)
    result = {"accuracy": right / len(places) if places else math.nan}
    found: dict[str, list[float]] = {"iou": [], "dice": [], "precision": [], "recall": [], "specificity": []}
    chance = 0.0
    for index, name in enumerate(names):
        a = {place for place in places if truth[place] == index}
        b = {place for place in places if prediction[place] == index}
        rest = set(places) - a
        quotients = {
            "iou": (len(a & b), len(a | b)),
            "dice": (2 * len(a & b), len(a) + len(b)),
            "precision": (len(a & b), len(b)),
            "recall": (len(a & b), len(a)),
            "specificity": (len(rest - b), len(rest)),
        }
        chance += len(a) * len(b) / len(places) ** 2 if places else 0
        for kind, (part, whole) in quotients.items():
            result[f"{kind}/{name}"] = part / whole if whole else math.nan
            found[kind] += [part / whole] if whole else []
    for kind, values in found.items():
        result[f"{kind}/mean"] = sum(values) / len(values) if values else math.nan
    result["balanced_accuracy"] = result["recall/mean"]
    result["kappa"] = (result["accuracy"] - chance) / (1 - chance) if chance < 1 else math.nan
    return result


def approx(expected: Mapping[str, float | str]) -> Any:
    return pytest.approx(expected, abs=1e-12, nan_ok=True)


# --- worked cases ---


def test_rows_are_the_truth_and_columns_the_prediction() -> None:
    truth = labels([[0, 0, 0], [1, 1, IGNORE_LABEL]])
    prediction = labels([[0, 1, 1], [1, 0, 1]])
    matrix = confusion_matrix(truth, prediction, 2)
    assert matrix.dtype == np.int64
    assert matrix.tolist() == [[1, 2], [1, 1]]
    assert class_scores(matrix, NAMES[:2]) == approx(
        {
            "accuracy": 2 / 5,
            "iou/membrane": 1 / 4,
            "iou/cell": 1 / 4,
            "iou/mean": 1 / 4,
            "dice/membrane": 2 / 5,
            "dice/cell": 2 / 5,
            "dice/mean": 2 / 5,
            "precision/membrane": 1 / 2,
            "precision/cell": 1 / 3,
            "precision/mean": 5 / 12,
            "recall/membrane": 1 / 3,
            "recall/cell": 1 / 2,
            "recall/mean": 5 / 12,
            "specificity/membrane": 1 / 2,
            "specificity/cell": 1 / 3,
            "specificity/mean": 5 / 12,
            "balanced_accuracy": 5 / 12,
            "kappa": (2 / 5 - 12 / 25) / (1 - 12 / 25),
        }
    )


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        pytest.param([[4, 0], [0, 6]], (1, 1, 1, 1, 1), id="perfect"),
        pytest.param([[0, 4], [6, 0]], (0, 0, 0, 0, 0), id="all wrong"),
        pytest.param([[4, 0], [6, 0]], (0.4, 0.4, 0, 8 / 14, 0), id="one class said everywhere"),
        pytest.param([[10, 0], [0, 0]], (1, 1, math.nan, 1, math.nan), id="absent from both"),
        pytest.param([[9, 1], [0, 0]], (0.9, 0.9, 0, 18 / 19, 0), id="absent from the truth alone"),
        pytest.param([[0, 0], [0, 0]], (math.nan,) * 5, id="nothing counted"),
    ],
)
def test_worked_scores(matrix: list[list[int]], expected: tuple[float, ...]) -> None:
    result = class_scores(np.array(matrix), ("a", "b"))
    keys = ("accuracy", "iou/a", "iou/b", "dice/a", "dice/b")
    assert tuple(result[key] for key in keys) == pytest.approx(expected, nan_ok=True)
    for kind, values in (("iou", expected[1:3]), ("dice", expected[3:5])):
        present = [value for value in values if not math.isnan(value)]
        mean = sum(present) / len(present) if present else math.nan
        assert result[f"{kind}/mean"] == pytest.approx(mean, nan_ok=True)


def test_an_absent_class_is_nan_and_left_out_of_the_mean() -> None:
    result = class_scores(confusion_matrix(labels([0, 0, 2]), labels([0, 2, 2]), 3), NAMES)
    assert math.isnan(result["iou/cell"])
    assert math.isnan(result["dice/cell"])
    assert result["iou/mean"] == pytest.approx(1 / 2)
    assert result["dice/mean"] == pytest.approx(2 / 3)


def test_what_is_predicted_on_ignored_pixels_does_not_count() -> None:
    truth = labels([0, 1, IGNORE_LABEL, IGNORE_LABEL])
    wild = labels([0, 1, 254, IGNORE_LABEL])
    assert confusion_matrix(truth, wild, 2).tolist() == [[1, 0], [0, 1]]
    assert confusion_matrix(truth[2:], wild[2:], 2).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("truth", "prediction", "message"),
    [
        ([0, 1, 1], [0, 1], "one shape"),
        ([[0, 1]], [0, 1], "one shape"),
        ([0, 2], [0, 1], "below 2"),
        ([0, 1], [0, 2], "below 2"),
        ([0, 1], [0, IGNORE_LABEL], "below 2"),
    ],
)
def test_what_does_not_fit_is_refused(truth: Any, prediction: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        confusion_matrix(labels(truth), labels(prediction), 2)


def test_a_name_too_many_is_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        class_scores(np.eye(2, dtype=np.int64), NAMES)


def test_counts_beyond_32_bits_are_exact() -> None:
    matrix = np.array([[2**40, 2**40], [0, 2**41]])
    assert class_scores(matrix, NAMES[:2])["iou/cell"] == 2 / 3


# --- the slow plain version ---


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("classes", [2, 3])
def test_equals_the_definitions(seed: int, classes: int) -> None:
    truth, prediction = random_pair(seed, classes=classes)
    names = NAMES[:classes]
    assert class_scores(confusion_matrix(truth, prediction, classes), names) == approx(
        plain_scores(truth, prediction, names)
    )


# --- laws ---


@few
@given(seed=st.integers(0, 2**16))
def test_the_order_of_pixels_does_not_count(seed: int) -> None:
    truth, prediction = random_pair(seed)
    order = np.random.default_rng(seed).permutation(truth.size)
    shuffled = confusion_matrix(truth.ravel()[order], prediction.ravel()[order], 3)
    assert (shuffled == confusion_matrix(truth, prediction, 3)).all()
    assert shuffled.sum() == (truth != IGNORE_LABEL).sum()


@few
@given(seed=st.integers(0, 2**16), cut=st.integers(0, 9))
def test_matrices_of_parts_add_up(seed: int, cut: int) -> None:
    truth, prediction = random_pair(seed)
    parts = [confusion_matrix(truth[part], prediction[part], 3) for part in (slice(cut), slice(cut, None))]
    assert (parts[0] + parts[1] == confusion_matrix(truth, prediction, 3)).all()


@few
@given(counts=st.lists(st.integers(0, 50), min_size=9, max_size=9))
def test_dice_and_iou_say_the_same_within_their_range(counts: list[int]) -> None:
    result = class_scores(np.array(counts).reshape(3, 3), NAMES)
    for name in NAMES:
        iou, dice = result[f"iou/{name}"], result[f"dice/{name}"]
        assert dice == pytest.approx(2 * iou / (1 + iou), nan_ok=True)
        assert math.isnan(iou) or 0 <= iou <= dice <= 1
    assert math.isnan(result["accuracy"]) == (sum(counts) == 0)


@few
@given(seed=st.integers(0, 2**16))
def test_iou_and_dice_are_symmetric(seed: int) -> None:
    truth, prediction = random_pair(seed)
    counted = truth != IGNORE_LABEL
    one = class_scores(confusion_matrix(truth[counted], prediction[counted], 3), NAMES)
    other = class_scores(confusion_matrix(prediction[counted], truth[counted], 3), NAMES)
    alike = [name for name in one if name.startswith(("accuracy", "iou", "dice", "kappa"))]
    assert {name: one[name] for name in alike} == approx({name: other[name] for name in alike})
    for name in NAMES:
        assert one[f"precision/{name}"] == approx(other[f"recall/{name}"])


# --- the scoreboard ---


def test_scores_are_pooled_and_not_averaged() -> None:
    board = Scoreboard(("a", "b"))
    board.add("large", labels([1] * 90 + [0] * 10), labels([1] * 100), 0.2)  # IoU of b: 90 / 100
    board.add("small", labels([1, 0, 0, 0]), labels([0, 0, 0, 0]), 0.6)  # IoU of b: 0 / 1
    result = board.result()
    assert result["iou/b"] == pytest.approx(90 / 101)
    assert result["iou/a"] == pytest.approx(3 / 14)
    assert result["dice/b"] == pytest.approx(180 / 191)
    assert result["accuracy"] == pytest.approx(93 / 104)
    assert result["iou/mean"] == pytest.approx((90 / 101 + 3 / 14) / 2)
    assert result["loss"] == pytest.approx(0.4)
    assert [(row["image"], row["loss"]) for row in board.per_image()] == [("large", 0.2), ("small", 0.6)]
    assert [row["iou/b"] for row in board.per_image()] == [pytest.approx(0.9), 0]


def test_pooled_scores_are_those_of_all_images_side_by_side() -> None:
    pairs = [random_pair(seed) for seed in range(4)]
    board = Scoreboard(NAMES)
    for index, (truth, prediction) in enumerate(pairs):
        board.add(str(index), truth, prediction, 0.0)
    truths, predictions = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    assert board.result() == approx({"loss": 0.0, **plain_scores(truths, predictions, NAMES)})
    for row, (truth, prediction) in zip(board.per_image(), pairs, strict=True):
        assert {key: row[key] for key in metric_names(NAMES)[1:]} == approx(plain_scores(truth, prediction, NAMES))


def test_a_class_that_one_image_lacks_counts_where_it_is() -> None:
    board = Scoreboard(("a", "b"))
    board.add("without", labels([0, 0]), labels([0, 0]), 1.0)
    board.add("with", labels([1, 0]), labels([1, 1]), 1.0)
    assert math.isnan(float(board.per_image()[0]["iou/b"]))
    assert board.result()["iou/b"] == 1 / 2


def test_an_empty_scoreboard_knows_nothing() -> None:
    result = Scoreboard(NAMES).result()
    assert list(result) == metric_names(NAMES)
    assert all(math.isnan(value) for value in result.values())


@pytest.mark.parametrize("loss", [0.0, math.nan, 7.0])
def test_an_image_that_is_ignored_altogether_counts_as_nothing(loss: float) -> None:
    with_it, without = filled(range(2), "isbi", "seg"), filled(range(3), "isbi", "seg")
    truth, probabilities, instances = cells_and_map(9)
    prediction = probabilities.argmax(axis=0).astype(np.uint8)
    with_it.add("ignored", np.full_like(truth, IGNORE_LABEL), prediction, loss, probabilities, instances)
    truth, probabilities, instances = cells_and_map(2)
    prediction = probabilities.argmax(axis=0).astype(np.uint8)
    with_it.add("slice 2", truth, prediction, 0.5, probabilities, instances)
    assert with_it.result() == approx(without.result())
    assert with_it.result()["loss"] == 0.5
    assert with_it.thresholds() == without.thresholds()
    *rows, ignored, last = with_it.per_image(with_it.thresholds())
    assert ignored.pop("image") == "ignored"
    assert all(math.isnan(float(score)) for score in ignored.values())
    assert [*rows, last] == [approx(row) for row in without.per_image(without.thresholds())]


def test_a_loss_that_is_not_finite_is_not_hidden_by_others() -> None:
    board = Scoreboard(("a", "b"))
    board.add("fine", labels([0, 1]), labels([0, 1]), 0.5)
    board.add("diverged", labels([0, 1]), labels([0, 0]), math.nan)
    assert math.isnan(board.result()["loss"])


def test_the_names_of_the_scores() -> None:
    assert metric_names(("a", "b")) == [
        "loss",
        "accuracy",
        *("iou/a", "iou/b", "iou/mean"),
        *("dice/a", "dice/b", "dice/mean"),
        *("precision/a", "precision/b", "precision/mean"),
        *("recall/a", "recall/b", "recall/mean"),
        *("specificity/a", "specificity/b", "specificity/mean"),
        "balanced_accuracy",
        "kappa",
    ]
    assert metric_names(("a", "b"), ("distances",))[-6:] == [
        *("hausdorff95/b", "hausdorff95/mean"),
        *("surface_distance/b", "surface_distance/mean"),
        *("surface_dice/b", "surface_dice/mean"),
    ]
    assert metric_names(("a", "b"), ("probabilities", "calibration"))[-5:] == [
        *("roc_auc/b", "roc_auc/mean"),
        *("average_precision/b", "average_precision/mean"),
        "ece",
    ]
    assert metric_names(("a", "b", "c"), ("probabilities", "calibration"))[-3:] == [
        *("average_precision/c", "average_precision/mean"),
        "ece",
    ]


# --- borders and objects on the scoreboard ---


def cells_and_map(seed: int) -> tuple[Labels, NDArray[np.float32], NDArray[np.int32]]:
    """Two cells, a network's class probabilities (2, H, W), and the cells' ids."""
    truth = np.tile(np.array([1, 1, 1, 1, 0, 1, 1, 1, 1], np.uint8), (8, 1))
    truth[0, 0] = IGNORE_LABEL
    map_ = np.clip((truth == 1) * 0.6 + np.random.default_rng(seed).normal(0.2, 0.2, truth.shape), 0, 1)
    instances = np.tile(np.array([3, 3, 3, 3, 0, 5, 5, 5, 5], np.int32), (8, 1))
    return truth, np.stack([1 - map_, map_]).astype(np.float32), instances


def filled(seeds: range, *families: ScoreFamily, warping: bool = False) -> Scoreboard:
    board = Scoreboard(("membrane", "cell"), families, warping)
    for seed in seeds:
        truth, probabilities, instances = cells_and_map(seed)
        prediction = probabilities.argmax(axis=0).astype(np.uint8)
        board.add(f"slice {seed}", truth, prediction, 0.5, probabilities, instances)
    return board


def test_borders_are_scored_from_the_probability_of_not_being_class_0() -> None:
    board, borders = filled(range(3), "isbi", warping=True), BorderStack(warping=True)
    for seed in range(3):
        truth, probabilities, _ = cells_and_map(seed)
        borders.add(truth, 1 - probabilities[0])
    result = board.result()
    assert {key: result[key] for key in borders.best()} == borders.best()
    assert board.thresholds() == borders.thresholds()
    for row, expected in zip(board.per_image(), borders.rows({}), strict=True):
        assert {key: row[key] for key in expected} == expected


def test_thresholds_go_from_one_board_to_the_other() -> None:
    validation, test = filled(range(2), "isbi"), filled(range(2, 6), "isbi")
    result = test.result(validation.thresholds())
    at_validation = {key: value for key, value in result.items() if key.endswith("_at_val")}
    measures = ("v_rand", "v_info", "rand_error", "pixel_error")
    assert set(at_validation) == {f"{name}{ending}_at_val" for name in measures for ending in ("", "_threshold")}
    rows = test.per_threshold()
    assert len(rows) == 11 * len(test.per_image())
    best = [row["v_rand"] for row in rows if row["threshold"] == result["v_rand_threshold"]]
    assert np.mean(best) == pytest.approx(result["v_rand"])
    assert result == test.result() | at_validation
    assert test.result(test.thresholds())["v_rand_at_val"] == result["v_rand"] >= result["v_rand_at_val"]
    assert result["rand_error"] <= result["rand_error_at_val"]


def test_objects_are_scored_from_the_prediction() -> None:
    truth, probabilities, instances = cells_and_map(1)
    expected = seg_scores(truth, instances, probabilities.argmax(axis=0).astype(np.uint8)).mean()
    board = filled(range(1, 2), "seg")
    assert board.result()["seg"] == board.per_image()[0]["seg"] == expected


def test_all_families_leave_the_other_scores_as_they_are() -> None:
    plain, full = filled(range(3)), filled(range(3), "isbi", "seg")
    assert plain.result().items() <= full.result().items()
    for row, more in zip(plain.per_image(), full.per_image(), strict=True):
        assert row.items() <= more.items()
        assert set(more) - set(row) == {"v_rand", "v_info", "rand_error", "pixel_error", "seg"}
    assert plain.thresholds() == {}


@pytest.mark.parametrize(
    ("families", "warping"), [((), False), (("seg",), False), (("isbi",), False), (("isbi", "seg"), True)]
)
def test_the_names_are_those_of_the_result(families: tuple[ScoreFamily, ...], warping: bool) -> None:
    for board in (Scoreboard(("a", "b"), families, warping), filled(range(1), *families, warping=warping)):
        names = metric_names(("a", "b") if not board.per_image() else ("membrane", "cell"), families, warping)
        assert sorted(board.result()) == sorted([*names, *other_names((), families, warping)])
        assert not any(name.endswith("_threshold") for name in names)
    assert all(name.endswith("_threshold") for name in other_names((), families, warping))


def test_an_empty_board_of_all_families_knows_nothing() -> None:
    board = Scoreboard(NAMES, ("isbi", "seg"), warping=True)
    assert board.per_image() == []
    assert all(math.isnan(value) for value in board.result(board.thresholds()).values())


def test_what_a_kind_needs_is_asked_for() -> None:
    truth, probabilities, instances = cells_and_map(0)
    with pytest.raises(ValueError, match="slice 7 need probabilities"):
        Scoreboard(NAMES, ["isbi"]).add("slice 7", truth, truth, 0.0, instances=instances)
    with pytest.raises(ValueError, match="slice 7 needs instances"):
        Scoreboard(NAMES, ["seg"]).add("slice 7", truth, truth, 0.0, probabilities)
    with pytest.raises(ValueError, match="warping"):
        Scoreboard(NAMES, ["seg"], warping=True)
    unknown: Any = ["rand"]
    with pytest.raises(ValueError, match="rand"):
        metric_names(NAMES, unknown)


def test_the_version_of_these_definitions() -> None:
    assert METRICS_VERSION == 1
