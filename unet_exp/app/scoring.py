"""Scores and pictures of a trained network: the same code ends a training and makes an evaluation."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.progress import track
from rich.table import Table

from unet_exp import losses
from unet_exp.config import ClassSpec
from unet_exp.data.images import write_image
from unet_exp.data.samples import Sample
from unet_exp.figures.overlay import panels
from unet_exp.inference.predictor import Predictor
from unet_exp.metrics.scoreboard import Scoreboard


@dataclass
class Scores:
    """What a split came to.

    Attributes:
        metrics: pooled scores by their full names, such as `test/iou/cell`; empty where nothing is labelled.
        per_image: a row an image.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    per_image: list[dict[str, float | str]] = field(default_factory=list)


def score_and_draw(
    predictor: Predictor, samples: Sequence[Sample], split: str, pictures: Path, quiet: bool = True
) -> Scores:
    """Predicts every sample of a split, scores the labelled ones and draws all of them.

    Args:
        predictor: a checkpoint's.
        samples: whole images.
        split: `train`, `val`, `test` or `unlabelled`; names the metrics and the pictures.
        pictures: folder of the overlays, `<split>_<name>.png` each.
        quiet: no progress bar.

    Returns:
        The scores.
    """
    names = [spec.name for spec in predictor.classes]
    board = Scoreboard(names)
    loss = losses.build(predictor.checkpoint.parsed().loss, predictor.checkpoint.class_weights)
    pictures.mkdir(parents=True, exist_ok=True)
    predicted = predictor.score(samples, loss, board)
    for sample, label in track(predicted, f"{split} images", total=len(samples), disable=quiet, transient=True):
        score = f"IoU {board.per_image[-1]['iou/mean']:.3f}" if sample.label is not None else ""
        picture = panels(sample.image, sample.label, label, predictor.classes, score)
        name = sample.name.removeprefix(f"{split}_")
        write_image(pictures / f"{split}_{name}.png", picture)
    if not board.per_image:
        return Scores()
    return Scores({f"{split}/{name}": value for name, value in board.result().items()}, board.per_image)


def score_table(metrics: Mapping[str, float], classes: Sequence[ClassSpec], split: str) -> Table:
    """A split's scores as a table: a row a class, then the mean."""
    accuracy, loss = metrics[f"{split}/accuracy"], metrics[f"{split}/loss"]
    table = Table(caption=f"pixel accuracy {accuracy:.4f}, loss {loss:.4f}", caption_justify="left", min_width=40)
    table.add_column(split)
    table.add_column("IoU", justify="right")
    table.add_column("Dice", justify="right")
    for name in [*(spec.name for spec in classes), "mean"]:
        values = (metrics[f"{split}/{kind}/{name}"] for kind in ("iou", "dice"))
        table.add_row(name, *("absent" if math.isnan(value) else f"{value:.4f}" for value in values))
    return table
