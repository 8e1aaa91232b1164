"""Out-of-fold scores: each image of a data set scored by the one model of a cross-validation that has not seen it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rich.table import Table

from unet_exp.checkpoints.checkpoint import Checkpoint
from unet_exp.config import InferenceConfig, MetricsConfig
from unet_exp.errors import DataError
from unet_exp.inference.predictor import Predictor
from unet_exp.inference.scoring import Scores, score_test
from unet_exp.metrics.declarations import METRICS, find_metric
from unet_exp.metrics.scoreboard import Scoreboard, pool_at_thresholds
from unet_exp.samples.data_set import DataSet
from unet_exp.samples.sample import Images

_SHOWN = ("accuracy", "iou/mean", "dice/mean", "v_rand_at_val", "seg")
"""Scores in the table of folds, where the data have them."""


@dataclass(frozen=True)
class Fold:
    """A part of a cross-validation.

    Attributes:
        number: of the fold.
        checkpoint: of its training.
        dataset: of its training, whose test images it scores.
        inference: tiles and test-time augmentation.
    """

    number: int
    checkpoint: Checkpoint
    dataset: DataSet
    inference: InferenceConfig


class _Key(NamedTuple):
    """What tells images apart: images of two data sets may have one name."""

    name: str
    digest: bytes


def check_folds(folds: Sequence[Fold]) -> None:
    """Checks that each labelled image is tested by one checkpoint, which was not trained on it.

    Images that were saved anew have other digests. So the training images must be those of the trainings: else nobody
    knows what a checkpoint has seen.

    Raises:
        DataError: if one is tested twice, by a checkpoint that was trained on it, or never, or if these are not the
            images of the trainings; names it.
    """
    for fold in folds[1:]:
        if fold.dataset.metrics != folds[0].dataset.metrics:
            raise DataError(
                f"out_of_fold=true: checkpoint={fold.checkpoint.path} and {folds[0].checkpoint.path} are of data with "
                f"other scores ({', '.join(fold.dataset.metrics)}; {', '.join(folds[0].dataset.metrics)})"
            )
    tested: dict[_Key, Path] = {}
    for fold in folds:
        path, images = fold.checkpoint.path, fold.dataset.test
        seen = fold.checkpoint.record.find_trained_on(images.facts.digests)
        if seen.any():
            raise DataError(
                f"out_of_fold=true: checkpoint={path} was trained on {images.names[int(seen.argmax())]}, one of its "
                "test images: name checkpoints of a cross-validation (data.folds), on the data of their training"
            )
        for key in _list_labelled(images):
            if key in tested:
                raise DataError(
                    f"out_of_fold=true: {key.name} is tested by {tested[key]} and by {path}: name the checkpoints of "
                    "one setting and one seed, in a list or by a glob such as checkpoint='<sweep>/*seed=0*'"
                )
            tested[key] = path
    parts = (part for fold in folds for part in (fold.dataset.train, fold.dataset.val))
    never = {key for part in parts for key in _list_labelled(part)}.difference(tested)
    if never or not tested:
        example = f", such as {min(never).name}," if never else ""
        raise DataError(
            f"out_of_fold=true: {len(never):,} of {len(never) + len(tested):,} images{example} are tested by none of "
            "the checkpoints: name those of all folds (data.folds, without trainer.limit_batches)"
        )
    for fold in folds:
        known = fold.checkpoint.record.find_trained_on(fold.dataset.train.facts.digests)
        if not known.all():
            other = fold.dataset.train.names[int(known.argmin())]
            raise DataError(
                f"out_of_fold=true: checkpoint={fold.checkpoint.path} was not trained on {other} as it is here, so "
                "nobody knows which of these images it has seen: name the data of its training"
            )


def score_folds(
    folds: Sequence[Fold], accelerator: str, precision: str, settings: MetricsConfig, pictures: Path
) -> list[Scores]:
    """Scores and draws the test images of each fold by its own checkpoint.

    Thresholds of `..._at_val` are chosen on the validation images of each fold. The pictures are shared out.
    `accelerator` and `precision` are those of `Predictor`.
    """
    found = []
    for place, fold in enumerate(folds):
        limit, count = settings.pictures, len(folds)
        share = None if limit is None else limit * (place + 1) // count - limit * place // count
        own = settings.model_copy(update={"pictures": share})
        # No variable holds the predictor: a device must not hold the network of the next fold beside it.
        found.append(
            score_test(Predictor(fold.checkpoint, accelerator, precision, fold.inference), fold.dataset, own, pictures)
        )
    return found


def pool_folds(folds: Sequence[Fold], found: Sequence[Scores]) -> Scores:
    """The scores of all images together.

    Pixels of all images make one confusion matrix, and objects and borders one set. `..._at_val` is the mean over the
    images, each at the threshold that its own fold has chosen.

    Args:
        folds: of the cross-validation.
        found: of each, see `score_folds`.

    Returns:
        One row per image, with the column `fold` after its name.
    """
    board = Scoreboard.join([scores.board for scores in found if scores.board is not None])
    of_folds = [(fold.number, row) for fold, scores in zip(folds, found, strict=True) for row in scores.per_image]
    chosen = [metric.at_val for metric in METRICS if metric.has_threshold]
    rows = []
    for row, (number, own) in zip(board.per_image(), of_folds, strict=True):
        at_val = {name: own[name] for name in chosen if name in own}
        rows.append({"image": row["image"], "fold": number, **row, **at_val})
    metrics = board.result()
    metrics |= {name: _mean([float(row[name]) for row in rows]) for name in chosen if all(name in row for row in rows)}
    metrics |= _pool_at_thresholds(found)
    return Scores(
        {f"test/{name}": value for name, value in metrics.items()},
        rows,
        board.per_threshold(),
        board.thresholds(),
        sum(scores.images for scores in found),
        sum(scores.drawn for scores in found),
        board,
    )


def _pool_at_thresholds(found: Sequence[Scores]) -> dict[str, float]:
    """Of scores of pixels not the mean over images counts, but all pixels, each at the threshold of its fold."""
    boards = [scores.board for scores in found if scores.board is not None]
    key = "test/best_dice_threshold_at_val"
    thresholds = [scores.metrics.get(key) for scores in found if scores.board is not None]
    known = [threshold for threshold in thresholds if threshold is not None]
    return pool_at_thresholds(boards, known) if known and len(known) == len(boards) else {}


def fold_table(folds: Sequence[Fold], found: Sequence[Scores]) -> Table:
    """A row for each fold: its images, and scores of these alone."""
    names = [name for name in _SHOWN if any(f"test/{name}" in scores.metrics for scores in found)]
    table = Table(min_width=40)
    for title in ("fold", "images", *map(_title, names)):
        table.add_column(title, justify="right")
    for fold, scores in zip(folds, found, strict=True):
        cells = (scores.metrics.get(f"test/{name}", math.nan) for name in names)
        table.add_row(str(fold.number), str(scores.images), *(_show(cell) for cell in cells))
    return table


def _list_labelled(images: Images) -> list[_Key]:
    facts = images.facts
    each = zip(facts.names, facts.digests, facts.labelled.tolist(), strict=True)
    return [_Key(name, digest.tobytes()) for name, digest, labelled in each if labelled]


def _mean(values: Sequence[float]) -> float:
    """Of those that are defined."""
    there = [value for value in values if not math.isnan(value)]
    return math.fsum(there) / len(there) if there else math.nan


def _title(name: str) -> str:
    title = find_metric(name).title
    return (
        f"mean {title}"
        if name.endswith("/mean")
        else f"{title} at the validation threshold"
        if name.endswith("_at_val")
        else title
    )


def _show(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.4f}"
