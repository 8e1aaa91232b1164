"""What the scoring of a split hands over, counts and writes, whatever fails to be drawn."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import table
from numpy.typing import NDArray

from unet_exp import losses
from unet_exp.checkpoints.opening import open_checkpoint
from unet_exp.config import ClassSpec, MetricsConfig
from unet_exp.config.running import OwnMetricConfig
from unet_exp.inference.predictor import Predictor
from unet_exp.inference.scoring import Scores, draw_scores, score_split, write_scores
from unet_exp.metrics.declarations import list_families
from unet_exp.metrics.probabilities import Histogram
from unet_exp.metrics.scoreboard import Scoreboard
from unet_exp.runs.run_folder import RunFolder
from unet_exp.samples.data_set import DataSet
from unet_exp.samples.sample import Sample

CLASSES = tuple(ClassSpec(name=name, value=at, color=[at] * 3) for at, name in enumerate(("membrane", "cell")))
NAMES = [spec.name for spec in CLASSES]


def few_images() -> list[Sample]:
    rng = np.random.default_rng(0)
    return [
        Sample(name, rng.integers(0, 255, (24, 31, 1), np.uint8), rng.integers(0, 2, (24, 31), np.uint8))
        for name in "abc"
    ]


def drawn(classes: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    rng = np.random.default_rng(classes)
    shares = rng.dirichlet(np.ones(classes), (20, 30)).transpose(2, 0, 1).astype(np.float32)
    return rng.integers(0, classes, (20, 30), np.uint8), shares


@pytest.fixture(scope="module")
def predictor(finished: RunFolder) -> Predictor:
    return Predictor(open_checkpoint(finished.best), "cpu")


def test_large_images_are_counted_by_rows_without_a_difference(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def score() -> tuple[list[Any], list[dict[str, float | str]], dict[str, float]]:
        board = Scoreboard(NAMES, list_families((), False, True, 2))
        given: list[Any] = []
        add = board.add
        monkeypatch.setattr(board, "add", lambda *words: given.append(words[4]) or add(*words))
        config = predictor.checkpoint.config.loss
        list(predictor.score(few_images(), losses.build(config, None), losses.targets(config), board))
        return given, board.per_image(), board.result()

    whole, *expected = score()
    monkeypatch.setattr("unet_exp.inference.counting.BYTES_AT_ONCE", 31 * 4 * 5)
    parts, *found = score()
    assert {type(item) for item in whole} == {np.ndarray}
    assert {type(item) for item in parts} == {Histogram}
    assert found == [[pytest.approx(row) for row in expected[0]], pytest.approx(expected[1])]


@pytest.mark.parametrize("classes", [2, 3])
def test_calibration_alone_needs_no_curve(classes: int) -> None:
    truth, shares = drawn(classes)
    names = ["a", "b", "c"][:classes]
    results = []
    for families in (list_families((), False, True, classes), ("calibration",)):
        board = Scoreboard(names, families)
        board.add("x", truth, shares.argmax(axis=0).astype(np.uint8), 0.5, shares)
        results.append(board.result())
    assert "roc_auc/b" not in results[1]
    assert results[1]["ece"] == pytest.approx(results[0]["ece"])


def test_a_count_is_no_map_of_borders() -> None:
    truth, shares = drawn(2)
    board = Scoreboard(NAMES, ["isbi", *list_families((), False, True, 2)])
    assert not board.only_counted
    with pytest.raises(ValueError, match="need probabilities"):
        board.add("x", truth, truth, 0.5, board.count(truth, truth, shares))


def test_what_only_chooses_thresholds_calls_no_score_of_the_users(predictor: Predictor) -> None:
    images = few_images()
    dataset = DataSet.of(images[:1], images[1:2], images[2:], [], CLASSES, 1)
    own = OwnMetricConfig(name="x", target="no.such.Class", direction="min")
    settings = MetricsConfig(warping=False, warping_radius=None, own=[own])
    found = score_split(predictor, dataset, "val", settings, families=["thresholds"])
    assert found.thresholds.keys() == {"best_dice", "best_iou"}


def test_a_picture_that_fails_is_a_warning_and_the_tables_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("no font\nat all")

    truth, shares = drawn(2)
    board = Scoreboard(NAMES, list_families((), False, True, 2))
    board.add("x", truth, truth, 0.5, shares)
    folder = RunFolder(tmp_path / "run").prepare()
    scores = Scores(board.result(), board.per_image(), board=board)
    monkeypatch.setattr("unet_exp.figures.confusion.plot_confusion", fail)
    write_scores(folder, scores, CLASSES)
    draw_scores(folder, scores, CLASSES)
    assert folder.confusion.is_file()
    assert table(folder.per_image)
    assert not folder.confusion_picture.exists()
    assert folder.curves_picture.is_file(), "one that fails does not stop the next"
    assert not list(folder.path.glob(".*")), "nothing half-written"
    (said,) = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    assert said == f"{folder.confusion_picture} is not written (RuntimeError: no font)"
