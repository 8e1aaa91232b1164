"""Each score's declaration, and which way it is better, whatever a class is called."""

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unet_exp.config import ClassSpec
from unet_exp.errors import ConfigError
from unet_exp.inference import score_tables as tables
from unet_exp.inference.score_tables import score_tables
from unet_exp.metrics import declarations
from unet_exp.metrics.declarations import (
    METRICS,
    Metric,
    ScoreFamily,
    direction,
    find_metric,
    list_metrics,
    metric_names,
    other_names,
)
from unet_exp.metrics.scoreboard import Scoreboard

few = settings(max_examples=60, deadline=None, derandomize=True)
CLASSES = ("forest", "forest_loss", "loss", "error", "v_rand", "rand_error_at_val", "iou", "val", "mean of all", "ä.*")
DIRECTIONS = {
    "loss": "min",
    "accuracy": "max",
    "iou": "max",
    "dice": "max",
    "precision": "max",
    "recall": "max",
    "specificity": "max",
    "balanced_accuracy": "max",
    "kappa": "max",
    "hausdorff95": "min",
    "surface_distance": "min",
    "surface_dice": "max",
    "roc_auc": "max",
    "average_precision": "max",
    "ece": "min",
    "best_dice": "max",
    "best_iou": "max",
    "v_rand": "max",
    "v_info": "max",
    "rand_error": "min",
    "pixel_error": "min",
    "warping_error": "min",
    "seg": "max",
}
ALL: tuple[ScoreFamily, ...] = ("isbi", "seg", "distances", "probabilities", "calibration", "thresholds")
SPLITS = ("", "train/", "val/", "test/")


@pytest.mark.parametrize("split", SPLITS)
def test_the_direction_of_every_score(split: str) -> None:
    names = {metric.name: metric.names(CLASSES) for metric in METRICS}
    assert {name: {direction(f"{split}{full}") for full in of} for name, of in names.items()} == {
        name: {best} for name, best in DIRECTIONS.items()
    }
    for metric in METRICS:
        for full in metric.names(CLASSES):
            assert find_metric(f"{split}{full}") is metric


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", ["v_rand", "v_info", "rand_error", "pixel_error", "warping_error", "best_dice"])
def test_a_score_at_the_threshold_of_validation_is_better_the_same_way(split: str, name: str) -> None:
    assert direction(f"{split}{name}_at_val") == DIRECTIONS[name]


@pytest.mark.slow
@few
@given(st.from_regex(r"[^/\s][^/\n]{0,59}", fullmatch=True), st.sampled_from(SPLITS), st.sampled_from(["iou", "dice"]))
def test_no_name_of_a_class_turns_its_score_round(name: str, split: str, score: str) -> None:
    assert direction(f"{split}{score}/{name}") == "max"


@pytest.mark.parametrize(
    "name",
    [
        *("iou", "iou/", "val/iou", "iou/cell/mean", "cell", "loss/cell", "val", "val/", "", "val/val/loss", "lr"),
        *("iuo/mean", "forest_loss", "my_error", "f1", "Loss", "loss_at_val", "iou/mean/", "seg_at_val", "loss_step"),
    ],
)  # fmt: skip
def test_what_is_no_score_has_no_direction(name: str) -> None:
    with pytest.raises(ConfigError, match="there is no such score; the scores are loss, accuracy, iou/<class>, "):
        direction(name)


def test_a_threshold_has_no_direction() -> None:
    names = other_names(CLASSES, ALL, warping=True)
    thresholds = [name for name in DIRECTIONS if name.startswith(("v_", "best_")) or name.endswith("_error")]
    counts = [f"distances_undefined/{name}" for name in CLASSES[1:]]
    assert names == [*(f"{name}_threshold" for name in thresholds), *counts]
    for name in (*names, *(f"test/{name}_at_val" for name in names)):
        with pytest.raises(ConfigError, match=f"^{name}: there is no such score"):
            direction(name)


def test_the_declarations_are_whole() -> None:
    assert {metric.name for metric in METRICS} == DIRECTIONS.keys()
    assert len({metric.title for metric in METRICS}) == len(METRICS)
    assert [metric.name for metric in METRICS if metric.function is None] == ["loss"]
    assert list_metrics(ALL, warping=True) == list(METRICS)
    assert all("/" not in metric.name for metric in METRICS)
    names = metric_names(CLASSES, ALL, warping=True)
    assert len(set(names)) == len(names)


def test_a_declaration_is_all_that_a_score_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    added = (
        Metric(
            "miss_rate", "miss rate", "min", lambda matrix: 1 - matrix.diagonal() / matrix.sum(axis=1), per_class=True
        ),
        Metric("cells", "pieces too many", "min", lambda proposal: float(proposal.plain.counts.size), "isbi"),
        Metric("found", "found", "max", lambda *_: np.array([1.0, 0.0]), "seg"),
    )
    monkeypatch.setattr(declarations, "METRICS", (*METRICS, *added))
    monkeypatch.setattr(tables, "METRICS", (*METRICS, *added))
    classes = [ClassSpec(name=name, value=value, color=[value] * 3) for value, name in enumerate(("membrane", "loss"))]
    board = Scoreboard([spec.name for spec in classes], ("isbi", "seg"))
    truth = np.array([[1, 1, 0, 1, 1, 1]] * 4, np.uint8)
    board.add("one", truth, truth, 0.5, np.stack([1 - truth, truth]).astype(np.float32), truth.astype(np.int32))
    result = {f"test/{name}": value for name, value in board.result(board.thresholds()).items()}
    assert {name: result[f"test/{name}"] for name in ("miss_rate/loss", "miss_rate/mean", "cells_at_val", "found")} == {
        "miss_rate/loss": 0, "miss_rate/mean": 0, "cells_at_val": 2, "found": 0.5,
    }  # fmt: skip
    assert board.per_image()[0].keys() >= {"miss_rate/mean", "cells", "found"}
    assert {direction(name) for name in ("val/miss_rate/loss", "cells_at_val")} == {"min"}
    of_classes, of_borders, of_numbers = score_tables(result, classes, "test")
    assert [column.header for column in of_classes.columns] == [
        "test",
        "IoU",
        "Dice",
        "precision",
        "recall",
        "specificity",
        "miss rate",
    ]
    assert list(of_borders.columns[0].cells)[-1:] == ["pieces too many"]
    assert [str(cell) for cell in of_numbers.columns[0].cells][-2:] == ["SEG", "found"]


BORDERS = {"v_rand": 0.5, "v_rand_threshold": 0.3, "pixel_error": 0.25, "pixel_error_threshold": 1.0}
AT_VAL = {
    **{"v_rand_at_val": 0.4, "v_rand_threshold_at_val": 0.7},
    **{"pixel_error_at_val": math.nan, "pixel_error_threshold_at_val": 0.0},
}
OF_BORDERS = [["V_Rand", "0.5000", "0.3"], ["pixel error", "0.2500", "1.0"]]
NUMBERS = [["loss", "0.1000"], ["pixel accuracy", "0.9000"]]
OF_NUMBERS = (["val", "score"], NUMBERS)
OF_CELLS = (["val", "score"], [*NUMBERS, ["SEG", "0.7500"]])


@pytest.mark.parametrize(
    ("scores", "tables"),
    [
        ({}, [OF_NUMBERS]),
        ({"seg": 0.75}, [OF_CELLS]),
        ({"seg": math.nan}, [(["val", "score"], [*NUMBERS, ["SEG", "undefined"]])]),
        (BORDERS, [(["val", "best", "threshold"], OF_BORDERS), OF_NUMBERS]),
        ({**BORDERS, "seg": 0.75}, [(["val", "best", "threshold"], OF_BORDERS), OF_CELLS]),
        (
            {**BORDERS, **AT_VAL, "seg": 0.75},
            [
                (
                    ["val", "best", "threshold", "at the threshold\nchosen on val", "threshold\nchosen on val"],
                    [[*OF_BORDERS[0], "0.4000", "0.7"], [*OF_BORDERS[1], "undefined", "0.0"]],
                ),
                OF_CELLS,
            ],
        ),
    ],
)
def test_a_table_is_headed_by_what_its_scores_have(
    scores: dict[str, float], tables: list[tuple[list[str], list[list[str]]]]
) -> None:
    classes = [ClassSpec(name=name, value=value, color=[value] * 3) for value, name in enumerate(("[red]", "b"))]
    of_classes = dict.fromkeys(("iou/[red]", "iou/b", "iou/mean", "dice/[red]", "dice/b", "dice/mean"), 0.5)
    metrics = {f"val/{name}": value for name, value in {"accuracy": 0.9, "loss": 0.1, **of_classes, **scores}.items()}
    first, *others = score_tables(metrics, classes, "val")
    assert [str(cell) for cell in first.columns[0].cells] == ["[red]", "b", "mean"], "brackets are no markup"
    found = []
    for one in others:
        columns = [[str(cell) for cell in column.cells] for column in one.columns]
        found.append(([column.header for column in one.columns], [list(row) for row in zip(*columns, strict=True)]))
    assert found == tables
    of_thresholds = [one.caption for one in others if "best" in found[others.index(one)][0]]
    assert of_thresholds == [
        "P(cell) at a threshold; IoU and Dice above: likeliest class.\n"
        "V_Rand, V_Info: higher is better; errors: lower is better."
    ] * ("v_rand" in scores)


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ({"v_rand": 0.7, "pixel_error": 0.1}, []),
        ({}, []),
        (
            {"v_rand": 0.7, "pixel_error": 0.0},
            ["the threshold chosen on val is 0 for pixel error: every pixel is cell,"],
        ),
        (
            {"v_rand": 1.0, "v_info": 1.0},
            ["the threshold chosen on val is 1 for V_Rand and V_Info: every pixel is edge,"],
        ),
    ],
)
def test_a_threshold_that_makes_every_pixel_one_class_is_told(chosen: dict[str, float], told: list[str]) -> None:
    metrics = {f"test/{name}_threshold_at_val": value for name, value in chosen.items()}
    lines = list(tables.warn_of_thresholds(metrics, ["edge", "cell"], "test"))
    assert [line.partition(" and the score")[0] for line in lines] == told
    assert all(line.endswith("; train longer") for line in lines)


def test_they_are_read_without_torch() -> None:
    heavy = "{'torch', 'pytorch_lightning', 'matplotlib', 'pandas'}"
    code = f"import sys, unet_exp.metrics.declarations; found = {heavy} & set(sys.modules); assert not found, found"
    subprocess.run([sys.executable, "-c", code], check=True)
