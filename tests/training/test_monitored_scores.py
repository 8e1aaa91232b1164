"""Scores beyond those of classes: monitored, at the end of a training and in evaluate; and what is typed wrong."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ALL_SCORES, composed, summary, table

from unet_exp.config import ClassSpec, parse
from unet_exp.errors import ConfigError
from unet_exp.metrics.probabilities import Curves
from unet_exp.runs.run_folder import RunFolder
from unet_exp.runs.score_files import read_confusion, read_curves, read_reliability
from unet_exp.samples.compatibility import check_fits
from unet_exp.samples.data_set import DataSet
from unet_exp.samples.sample import Sample


def few_images(classes: int, shown: int) -> DataSet:
    label = np.zeros((32, 32), np.uint8)
    label[:4, :shown] = np.arange(shown)
    samples = [Sample(name, np.zeros((32, 32, 1), np.uint8), label) for name in "abc"]
    specs = [ClassSpec(name=f"class {index}", value=index, color=[index] * 3) for index in range(classes)]
    return DataSet.of(samples[:1], samples[1:2], samples[2:], [], tuple(specs), 1)


@pytest.mark.parametrize(
    ("monitor", "families"),
    [
        ("val/precision/mean", ()),
        ("val/kappa", ()),
        ("val/surface_dice/class 1", ("distances",)),
        ("val/roc_auc/class 1", ("probabilities",)),
        ("val/ece", ("calibration",)),
        ("val/best_dice", ("thresholds",)),
    ],
)
def test_a_validation_computes_what_is_monitored_and_no_more(monitor: str, families: tuple[str, ...]) -> None:
    config = parse({**composed("model=same", "data.tile=32"), "trainer": {**composed()["trainer"], "monitor": monitor}})
    assert check_fits(config, few_images(2, 2)) == families


@pytest.mark.parametrize(
    ("classes", "shown", "monitor", "message"),
    [
        (2, 2, "val/surfacedice/mean", r"there is no such score \(did you mean val/surface_dice/mean\?\)"),
        (2, 2, "iou/mean", r"there is no such score \(did you mean val/iou/mean\?\)"),
        (2, 2, "val/hausdorff", "there is no such score; choose one of val/loss, .*val/surface_dice/class 1"),
        (2, 2, "val/hausdorff95/mean", "images whose prediction is empty .* take val/surface_dice/mean, which is 0"),
        (2, 2, "val/surface_distance/class 1", "images whose prediction .* take val/surface_dice/class 1, which"),
        (2, 2, "val/hausdorff95/class 0", "there is no such score"),
        (2, 2, "val/hausdorff95", "there is no such score"),
        (2, 2, "val/roc_auc/class 0", "there is no such score"),
        (2, 2, "val/best_dice_threshold", "there is no such score"),
        (2, 2, "val/distances_undefined/class 1", "there is no such score"),
        (3, 3, "val/best_dice", "there is no such score"),
        (2, 2, "val/v_rand", "there is no such score"),
        (3, 2, "val/surface_dice/class 2", "no validation image shows this class"),
        (2, 1, "val/best_iou", "no validation image shows a class other than the first"),
    ],
)
def test_a_score_that_cannot_be_monitored_is_told(classes: int, shown: int, monitor: str, message: str) -> None:
    config = parse({**composed("model=same", "data.tile=32"), "trainer": {**composed()["trainer"], "monitor": monitor}})
    with pytest.raises(ConfigError, match=f"^trainer.monitor={monitor}: {message}"):
        check_fits(config, few_images(classes, shown))


@pytest.mark.parametrize(
    ("words", "where"),
    [
        ({"metrics": {"tolerance": 0}}, "metrics.tolerance=0"),
        ({"metrics": {"tolerance": -1}}, "metrics.tolerance=-1"),
        ({"metrics": {"tolerance": float("inf")}}, "metrics.tolerance=inf"),
        ({"metrics": {"distances": "all"}}, "metrics.distances='all'"),
        ({"metrics": {"hausdorff": True}}, "metrics.hausdorff"),
        ({"data": {"pixel_size": 0}}, "data.pixel_size"),
        ({"data": {"pixel_size": [1]}}, "data.pixel_size"),
        ({"data": {"pixel_size": [1, 2, 3]}}, "data.pixel_size"),
        ({"data": {"pixel_size": [1, -2]}}, "data.pixel_size"),
        ({"data": {"pixel_size": "0.65um"}}, "data.pixel_size"),
    ],
)
def test_a_wrong_value_is_told_with_its_key(words: dict[str, dict[str, Any]], where: str) -> None:
    values = composed()
    changed = {group: {**values[group], **own} for group, own in words.items()}
    with pytest.raises(ConfigError) as raised:
        parse({**values, **changed})
    assert where in str(raised.value)
    assert "\n" not in str(raised.value)


def test_runs_of_an_earlier_version_compute_what_they_did() -> None:
    values = composed()
    for key in ("distances", "tolerance", "probabilities"):
        del values["metrics"][key]
    del values["data"]["pixel_size"]
    config = parse(values)
    assert (config.metrics.distances, config.metrics.probabilities, config.data.pixel_size) == (False, False, None)


def test_a_training_monitors_a_distance_and_writes_all_scores(train: Callable[..., Any]) -> None:
    words = ["model=same", "trainer.monitor=val/surface_dice/mean", "data.pixel_size=[0.5,0.7]", "trainer.max_steps=2"]
    folder = train(*words, *ALL_SCORES, "trainer.early_stopping=3")
    found = summary(folder)
    metrics = found["metrics"]
    assert found["distance_unit"] == "the unit of data.pixel_size=[0.5,0.7]"
    assert {"val/hausdorff95/mean", "val/distances_undefined/cell", "val/kappa"} <= table(folder.metrics)[0].keys()
    assert "val/roc_auc/cell" not in table(folder.metrics)[0]
    wanted = {"test/surface_dice/cell", "test/roc_auc/cell", "test/ece", "test/best_dice_at_val", "test/best_iou"}
    assert wanted <= metrics.keys()
    assert {name.removeprefix("test/") for name in wanted} <= table(folder.per_image)[0].keys()
    matrix, names = read_confusion(folder.confusion)
    assert names == ["membrane", "cell"]
    assert matrix[1, 1] / matrix[1].sum() == pytest.approx(metrics["test/recall/cell"])
    (curve,), drawn = read_curves(folder.probability_curves)
    assert drawn == ["cell"]
    assert curve.roc_auc == pytest.approx(metrics["test/roc_auc/cell"])
    assert Curves((curve,), read_reliability(folder.reliability)).reliability.ece == pytest.approx(metrics["test/ece"])
    assert folder.confusion_picture.is_file()
    assert folder.curves_picture.is_file()
    with folder.confusion.open() as file:
        assert next(csv.reader(file))[1:] == names


@pytest.mark.slow
def test_evaluate_takes_other_units_and_leaves_out_what_is_not_wanted(
    cli: Callable[..., Any], finished: Any, tmp_path: Path
) -> None:
    typed = ["metrics.probabilities=false", "data.pixel_size=10", "metrics.tolerance=20", f"output={tmp_path}"]
    said = cli("evaluate", f"checkpoint={finished.path}", *typed)
    folder = RunFolder(said.folder)
    found = summary(folder)["metrics"]
    before = summary(finished)["metrics"]
    assert found["test/hausdorff95/cell"] == pytest.approx(10 * before["test/hausdorff95/cell"])
    assert "test/roc_auc/cell" not in found
    assert "distances in the unit of data.pixel_size=10; tolerance of the surface Dice 20" in " ".join(said.out.split())
    assert not folder.probability_curves.exists()
    assert folder.confusion.is_file()
