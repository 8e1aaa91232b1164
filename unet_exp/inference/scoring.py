"""Scores and pictures of a trained network, for the end of a training and for evaluation."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.table import Table
from rich.text import Text

from unet_exp import losses
from unet_exp.config import ClassSpec, MetricsConfig
from unet_exp.config.running import OwnMetricConfig
from unet_exp.inference.pictures import choose_pictures, write_pictures
from unet_exp.inference.predictor import Predictor
from unet_exp.metrics.declarations import LOSS, METRICS
from unet_exp.metrics.own import build_own
from unet_exp.metrics.scoreboard import Scoreboard
from unet_exp.progress import track
from unet_exp.samples.data_set import DataSet
from unet_exp.samples.sample import Images


@dataclass
class Scores:
    """Scores of a split.

    Attributes:
        metrics: pooled scores by their full names, such as `test/iou/cell`; empty where nothing is labelled.
        per_image: one row per image.
        per_threshold: one row per image and threshold, for scores of borders.
        thresholds: the best on this split of each score that has one.
        images: how many the split has.
        drawn: how many of them got a picture.
        board: that has scored them; None where nothing is labelled.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    per_image: list[dict[str, float | str]] = field(default_factory=list)
    per_threshold: list[dict[str, float | str]] = field(default_factory=list)
    thresholds: dict[str, float] = field(default_factory=dict)
    images: int = 0
    drawn: int = 0
    board: Scoreboard | None = None


def score_split(
    predictor: Predictor,
    dataset: DataSet,
    split: str,
    settings: MetricsConfig,
    pictures: Path | None = None,
    thresholds: Mapping[str, float] | None = None,
) -> Scores:
    """Predicts the labelled samples of a split and scores them, and draws samples.

    Where not all are drawn, those that are get predicted once more at the end, when the scores have chosen them: the
    predictions of a whole split may be more than the memory holds.

    Args:
        predictor: a checkpoint's.
        dataset: its data set, with the families of scores beyond those of classes.
        split: `train`, `val`, `test` or `unlabelled`; names the metrics and the pictures.
        settings: the slow scores to compute, and how many images to draw; see `choose_pictures`.
        pictures: folder of the overlays, `<split>_<name>.png` each; None draws none.
        thresholds: chosen on another split; adds the scores `..._at_val`.
    """
    samples: Images = getattr(dataset, split)
    limit = 0 if pictures is None else settings.pictures
    count = len(samples) if limit is None else min(limit, len(samples))
    names = [spec.name for spec in predictor.classes]
    board = Scoreboard(names, dataset.metrics, settings.warping, settings.warping_radius, build_own(settings.own))
    scores = np.full(len(samples), math.nan)
    labelled = bool(samples.facts.labelled.any())
    at_once = labelled and count == len(samples)
    with write_pictures(pictures or Path(), split, predictor.classes) as writer:
        if labelled:
            config = predictor.checkpoint.config.loss
            loss, targets = losses.build(config, predictor.checkpoint.record.class_weights), losses.targets(config)
            predicted = predictor.score(samples, loss, targets, board)
            for place, (sample, label, row) in enumerate(track(predicted, f"{split} images", len(samples))):
                scores[place] = math.nan if row is None else row["iou/mean"]
                if at_once:
                    writer.write(sample, label, scores[place])
        if count and not at_once:
            for place in track(choose_pictures(scores, count), f"pictures of {split} images", count):
                sample = samples[place]
                writer.write(sample, predictor.label(sample), scores[place])
    if not labelled:
        return Scores(images=len(samples), drawn=count)
    metrics = {f"{split}/{name}": value for name, value in board.result(thresholds).items()}
    rows = board.per_image(thresholds)
    return Scores(metrics, rows, board.per_threshold(), board.thresholds(), len(samples), count, board)


def score_test(predictor: Predictor, dataset: DataSet, settings: MetricsConfig, pictures: Path) -> Scores:
    """Scores the test split and draws it, with thresholds from the validation images as well as its own."""
    thresholds = None
    if dataset.test and dataset.val and "isbi" in dataset.metrics:
        thresholds = score_split(predictor, dataset, "val", settings).thresholds
    return score_split(predictor, dataset, "test", settings, pictures, thresholds)


def describe_drawn(scores: Scores, split: str) -> str:
    """Says how many images of a split are drawn, and which; empty where all are."""
    if scores.drawn == scores.images:
        return ""
    which = "the worst, the middle and the best by mean IoU" if scores.metrics else "evenly spread ones"
    chosen = f": {which}" if scores.drawn else ""
    return f"{scores.drawn:,} of {scores.images:,} {split} images are drawn (metrics.pictures){chosen}"


def score_tables(
    metrics: Mapping[str, float], classes: Sequence[ClassSpec], split: str, own: Sequence[OwnMetricConfig] = ()
) -> list[Table]:
    """Tables of a split's scores: a row per class, then the mean; a row per score of borders, of cells and of `own`."""

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
    if own:
        tables.append(_table(split, "score"))
        for theirs in own:
            tables[-1].add_row(theirs.name, show(theirs.name))
    return tables


def _table(first: str, *numbers: str, caption: str | None = None) -> Table:
    table = Table(caption=caption, caption_justify="left", min_width=40)
    table.add_column(first)
    for number in numbers:
        table.add_column(number, justify="right")
    return table
