"""Scores and pictures of a trained network, for the end of a training and for evaluation."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from unet_exp import losses
from unet_exp.config import ClassSpec, MetricsConfig
from unet_exp.files import warn_of_failure, write_whole
from unet_exp.inference.pictures import choose_pictures, write_pictures
from unet_exp.inference.predictor import Predictor
from unet_exp.metrics.declarations import ScoreFamily, list_families
from unet_exp.metrics.own import build_own
from unet_exp.metrics.probabilities import curve_classes
from unet_exp.metrics.scoreboard import Scoreboard
from unet_exp.progress import track
from unet_exp.runs.run_folder import RunFolder
from unet_exp.runs.score_files import write_confusion, write_curves, write_reliability
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
    families: Collection[ScoreFamily] | None = None,
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
        families: of scores; None: all that the data and `settings` have, and the user's own.
    """
    samples: Images = getattr(dataset, split)
    limit = 0 if pictures is None else settings.pictures
    count = len(samples) if limit is None else min(limit, len(samples))
    names = [spec.name for spec in predictor.classes]
    own = build_own(settings.own) if families is None else []
    if families is None:
        families = list_families(dataset.metrics, settings.distances, settings.probabilities, len(names))
    scale = dataset.scale.tolerate(settings.tolerance)
    warping = settings.warping and "isbi" in families
    board = Scoreboard(names, families, warping, settings.warping_radius, scale, own)
    scores = np.full(len(samples), math.nan)
    labelled = bool(samples.facts.labelled.any())
    at_once = labelled and count == len(samples)
    with write_pictures(pictures or Path(), split, predictor.classes) as writer:
        if labelled:
            config = predictor.checkpoint.loss()
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
    chosen = list_choosing(dataset, settings)
    if dataset.test and dataset.val and chosen:
        thresholds = score_split(predictor, dataset, "val", settings, families=chosen).thresholds
    return score_split(predictor, dataset, "test", settings, pictures, thresholds)


def list_choosing(dataset: DataSet, settings: MetricsConfig) -> list[ScoreFamily]:
    """The families of scores whose thresholds the validation images choose."""
    families = list_families(dataset.metrics, False, settings.probabilities, len(dataset.classes))
    return [family for family in families if family in ("isbi", "thresholds")]


def write_scores(folder: RunFolder, scores: Scores, classes: Sequence[ClassSpec]) -> None:
    """Writes the tables of a split's scores into the folder of a run or an evaluation."""
    folder.write_scores(scores.per_image, scores.per_threshold)
    if scores.board is None:
        return
    names = [spec.name for spec in classes]
    write_confusion(folder.confusion, scores.board.matrix, names)
    if (curves := scores.board.curves) is not None:
        write_curves(folder.probability_curves, curves.by_class, curve_classes(names))
        write_reliability(folder.reliability, curves.reliability)


def draw_scores(folder: RunFolder, scores: Scores, classes: Sequence[ClassSpec]) -> None:
    """Draws the confusion matrix and the curves of a split; a picture that fails is a warning."""
    if scores.board is None:
        return
    names, board = [spec.name for spec in classes], scores.board
    with warn_of_failure(folder.confusion_picture):
        # Matplotlib takes a second to import, and not every command draws.
        from unet_exp.figures.confusion import plot_confusion

        with write_whole(folder.confusion_picture) as side:
            plot_confusion(board.matrix, names).savefig(side, dpi=100)
    if (curves := board.curves) is not None:
        with warn_of_failure(folder.curves_picture):
            from unet_exp.figures.score_curves import plot_curves

            with write_whole(folder.curves_picture) as side:
                plot_curves(curves, curve_classes(names)).savefig(side, dpi=100)


def describe_drawn(scores: Scores, split: str) -> str:
    """Says how many images of a split are drawn, and which; empty where all are."""
    if scores.drawn == scores.images:
        return ""
    which = "the worst, the middle and the best by mean IoU" if scores.metrics else "evenly spread ones"
    chosen = f": {which}" if scores.drawn else ""
    return f"{scores.drawn:,} of {scores.images:,} {split} images are drawn (metrics.pictures){chosen}"
