"""Scores and pictures of a trained network, for the end of a training and for evaluation."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.table import Table
from rich.text import Text

from unet_exp import losses
from unet_exp.config import ClassSpec, MetricsConfig
from unet_exp.data.samples import DataSet, Sample
from unet_exp.figures.overlay import draw_panels
from unet_exp.inference.predictor import Predictor
from unet_exp.io.writing import write_image
from unet_exp.metrics.declarations import LOSS, METRICS
from unet_exp.metrics.scoreboard import Scoreboard
from unet_exp.progress import track


@dataclass
class Scores:
    """Scores of a split.

    Attributes:
        metrics: pooled scores by their full names, such as `test/iou/cell`; empty where nothing is labelled.
        per_image: one row per image.
        per_threshold: one row per image and threshold, for scores of borders.
        thresholds: the best on this split of each score that has one.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    per_image: list[dict[str, float | str]] = field(default_factory=list)
    per_threshold: list[dict[str, float | str]] = field(default_factory=list)
    thresholds: dict[str, float] = field(default_factory=dict)


def score_split(
    predictor: Predictor,
    dataset: DataSet,
    split: str,
    settings: MetricsConfig,
    pictures: Path | None = None,
    thresholds: Mapping[str, float] | None = None,
) -> Scores:
    """Predicts every sample of a split, scores the labelled ones and draws all of them.

    Args:
        predictor: a checkpoint's.
        dataset: its data set, with the families of scores beyond those of classes.
        split: `train`, `val`, `test` or `unlabelled`; names the metrics and the pictures.
        settings: the slow scores to compute.
        pictures: folder of the overlays, `<split>_<name>.png` each; None draws none.
        thresholds: chosen on another split; adds the scores `..._at_val`.
    """
    samples: Sequence[Sample] = getattr(dataset, split)
    config = predictor.checkpoint.config.loss
    names = [spec.name for spec in predictor.classes]
    board = Scoreboard(names, dataset.metrics, settings.warping, settings.warping_radius)
    loss, targets = losses.build(config, predictor.checkpoint.record.class_weights), losses.targets(config)
    predicted = predictor.score(samples, loss, targets, board)
    for sample, label, row in track(predicted, f"{split} images", len(samples)):
        if pictures is None:
            continue
        score = f"IoU {row['iou/mean']:.3f}" if row and not math.isnan(float(row["iou/mean"])) else ""
        picture = draw_panels(sample.image, sample.label, label, predictor.classes, score, sample.valid)
        name = sample.name.removeprefix(f"{split}_")
        pictures.mkdir(parents=True, exist_ok=True)
        write_image(pictures / f"{split}_{name}.png", picture)
    rows = board.per_image(thresholds)
    if not rows:
        return Scores()
    metrics = {f"{split}/{name}": value for name, value in board.result(thresholds).items()}
    return Scores(metrics, rows, board.per_threshold(), board.thresholds())


def score_test(predictor: Predictor, dataset: DataSet, settings: MetricsConfig, pictures: Path) -> Scores:
    """Scores the test split and draws it, with thresholds from the validation images as well as its own."""
    thresholds = None
    if dataset.test and dataset.val and "isbi" in dataset.metrics:
        thresholds = score_split(predictor, dataset, "val", settings).thresholds
    return score_split(predictor, dataset, "test", settings, pictures, thresholds)


def score_tables(metrics: Mapping[str, float], classes: Sequence[ClassSpec], split: str) -> list[Table]:
    """Tables of a split's scores: one row per class, then the mean; and one row per score of borders, and of cells."""

    def show(name: str, digits: int = 4) -> str:
        number = metrics.get(f"{split}/{name}")
        return "" if number is None else "undefined" if math.isnan(number) else f"{number:.{digits}f}"

    of_all = [metric for metric in METRICS if metric.family is None]
    per_class = [metric for metric in of_all if metric.per_class]
    numbers = [*(metric for metric in of_all if not metric.per_class and metric is not LOSS), LOSS]
    caption = ", ".join(f"{metric.title} {show(metric.name)}" for metric in numbers)
    of_classes = _table(split, *(metric.title for metric in per_class), caption=caption)
    for name in [*(spec.name for spec in classes), "mean"]:
        cells = (show(f"{metric.name}/{name}") for metric in per_class)
        of_classes.add_row(Text(name), *("absent" if cell == "undefined" else cell for cell in cells))
    others = [metric for metric in METRICS if metric.family is not None and f"{split}/{metric.name}" in metrics]
    of_borders = [metric for metric in others if metric.has_threshold]
    of_cells = [metric for metric in others if not metric.has_threshold]
    tables = [of_classes]
    if of_borders:
        # Only a test split has validation images beside it to choose thresholds by.
        chosen = any(f"{split}/{metric.at_val}" in metrics for metric in of_borders)
        tables.append(_table(split, "best", "threshold", *["at val's"] * chosen))
        for metric in of_borders:
            at_val = [show(metric.at_val)] * chosen
            tables[-1].add_row(metric.title, show(metric.name), show(metric.threshold, 1), *at_val)
    if of_cells:
        tables.append(_table(split, "score"))
        for metric in of_cells:
            tables[-1].add_row(metric.title, show(metric.name))
    return tables


def _table(first: str, *numbers: str, caption: str | None = None) -> Table:
    table = Table(caption=caption, caption_justify="left", min_width=40)
    table.add_column(first)
    for number in numbers:
        table.add_column(number, justify="right")
    return table
