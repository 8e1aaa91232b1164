"""The command evaluate: scores checkpoints on any split, by the code that ends a training."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import model_validator

from unet_exp.cli.entry import run_over_checkpoint
from unet_exp.config import Config, parse
from unet_exp.config.values import PathName
from unet_exp.errors import DataError
from unet_exp.runs.run_folder import OUTPUTS, RunFolder
from unet_exp.schema import Strict, validate

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from unet_exp.checkpoints.checkpoint import Checkpoint
    from unet_exp.cli.over_checkpoints import OverCheckpoints
    from unet_exp.inference.out_of_fold import Fold
    from unet_exp.inference.scoring import Scores
    from unet_exp.runs.conditions import Conditions
    from unet_exp.runs.summary import FoldSummary, Summary
    from unet_exp.samples.data_set import DataSet
    from unet_exp.samples.sample import Images

USAGE = """Score a checkpoint, or the mean of several, and draw what it predicts.

Usage: python scripts/evaluate.py checkpoint=<file or run folder> [key=value] ...

  checkpoint   the file, or a run's folder (its best.ckpt); the mean of several: a list [a,b], a glob in quotes, or a
               sweep's folder (the finished runs)
  split        test (default), val, train or unlabelled
  out_of_fold  true: not the mean; each checkpoint of a cross-validation (data.folds) scores its own test images, and
               all images are in one table
  output       the results go to a new folder below it (outputs)
  trust        packages whose classes the checkpoint may name ([]): docs/extend.md

The data and split are those of the training (of the first checkpoint; with out_of_fold of each); data=... and
data.<key>=... choose others. More keys: inference=none|rotations7|flips8 (test-time augmentation), inference.<key>,
metrics.warping=true, metrics.distances=false, metrics.probabilities=false (docs/metrics.md), metrics.own=[...]
(docs/extend.md), metrics.pictures=<how many images are drawn>, trainer.accelerator, trainer.precision and
trainer.limit_batches.

Examples:
  python scripts/evaluate.py checkpoint=outputs/train/<run>
  python scripts/evaluate.py checkpoint=outputs/train/<run>/checkpoints/last.ckpt split=val
  python scripts/evaluate.py checkpoint=best.ckpt data.root=where/it/is/now
  python scripts/evaluate.py checkpoint=outputs/train/<run> inference=rotations7 metrics.warping=true
  python scripts/evaluate.py checkpoint=outputs/sweep/<sweep> out_of_fold=true
"""


class Evaluation(Strict):
    """The command's own keys."""

    checkpoint: PathName | list[PathName]
    split: Literal["train", "val", "test", "unlabelled"]
    out_of_fold: bool
    output: PathName

    @model_validator(mode="after")
    def _check_split(self) -> "Evaluation":
        if self.out_of_fold and self.split != "test":
            raise ValueError(f"out_of_fold=true scores test images: leave out split={self.split}")
        return self


DEFAULTS: dict[str, Any] = {"checkpoint": "", "split": "test", "out_of_fold": False, "output": OUTPUTS}
MORE_KEYS = (
    "trust",
    "data",
    "inference",
    "metrics",
    "trainer.accelerator",
    "trainer.precision",
    "trainer.limit_batches",
)


def evaluate(over: "OverCheckpoints") -> Path:
    """Scores and draws one split, or out of fold, by the keys of `Evaluation` and of a training's config.

    Returns:
        The folder with `config.yaml`, `summary.json`, `per_image.csv`, the other tables of `write_scores`,
        `predictions/` and `report.html`.

    Raises:
        UserError: for what the user can correct.
    """
    task, config = _read(over, over.checkpoints[0])

    from unet_exp.console import make_console
    from unet_exp.inference.score_tables import score_tables, warn_of_thresholds
    from unet_exp.inference.scoring import describe_drawn
    from unet_exp.memory import keep_freed_memory

    console = make_console()
    over.describe(console)
    keep_freed_memory()
    score = _score_folds if task.out_of_fold else _score_split
    folder, scores, *more = score(over, task, config, console)
    if scores.metrics:
        classes = over.checkpoints[0].record.classes
        scale = None if scores.board is None else scores.board.scale
        console.print(*score_tables(scores.metrics, classes, task.split, scale, config.metrics.own), *more)
        for line in warn_of_thresholds(scores.metrics, [spec.name for spec in classes], task.split):
            console.print(f"warning: {line}", soft_wrap=True)
    if drawn := describe_drawn(scores, task.split):
        console.print(drawn, soft_wrap=True)
    console.print(f"{scores.images} images of {task.split}; everything is in")
    console.print(str(folder.path), style="bold", soft_wrap=True)
    return folder.path


def _read(over: "OverCheckpoints", checkpoint: "Checkpoint") -> tuple[Evaluation, Config]:
    """The command's keys, and the config of a checkpoint, with what is typed.

    Raises:
        UserError: for what does not fit; a score of the user's own is built once to find out.
    """
    values = over.compose(checkpoint)
    task = validate(Evaluation, {key: values.pop(key) for key in DEFAULTS})
    config = parse({**values, "output": task.output})

    from unet_exp.metrics.own import build_own

    build_own(config.metrics.own)
    return task, config


def _score_split(
    over: "OverCheckpoints", task: Evaluation, config: Config, console: "Console"
) -> "tuple[RunFolder, Scores]":
    """Scores one split by the mean of all checkpoints, and writes the folder."""
    from unet_exp.inference.predictor import Predictor
    from unet_exp.inference.scoring import score_split, score_test
    from unet_exp.runs.environment import describe_conditions
    from unet_exp.samples.fingerprint import fingerprint

    over.check_agreement()
    predictor = Predictor(over.checkpoints, config.trainer.accelerator, config.trainer.precision, config.inference)
    dataset = _load_data(config)
    _check_data(dataset, config, task, over.checkpoints[0])
    seen = _warn_of_seen(dataset, task.split, config, over.checkpoints, console)
    several = len(over.checkpoints) > 1
    with _new_folder(task, f"mean_of_{len(over.checkpoints)}" if several else config.name) as folder:
        if task.split == "test":
            scores = score_test(predictor, dataset, config.metrics, folder.predictions)
        else:
            scores = score_split(predictor, dataset, task.split, config.metrics, folder.predictions)
        conditions = describe_conditions(fingerprint(dataset), str(predictor.device), predictor.precision)
        summary = _summarize(over.checkpoints, scores, seen, conditions)
        _write(folder, config, scores, {task.split: getattr(dataset, task.split).names}, summary, over.checkpoints[0])
    return folder, scores


def _score_folds(
    over: "OverCheckpoints", task: Evaluation, config: Config, console: "Console"
) -> "tuple[RunFolder, Scores, Table]":
    """Scores the test images of each checkpoint by itself, pools them, and writes the folder; also a table of folds."""
    from unet_exp.inference.device import resolve_device, resolve_precision
    from unet_exp.inference.ensemble import check_alike
    from unet_exp.inference.out_of_fold import Fold, check_folds, fold_table, pool_folds, score_folds
    from unet_exp.runs.environment import describe_conditions

    check_alike(over.checkpoints)
    device = resolve_device(config.trainer.accelerator)
    precision = resolve_precision(config.trainer.precision, device)
    folds, loaded = [], {}
    for place, checkpoint in enumerate(over.checkpoints):
        _, own = _read(over, checkpoint)
        # Runs of several seeds or settings have the same data.
        key = own.data.model_dump_json(), own.trainer.limit_batches
        if key not in loaded:
            loaded[key] = _load_data(own)
        _check_data(loaded[key], own, task, checkpoint)
        number = own.data.fold if own.data.folds else place
        folds.append(Fold(number, checkpoint, loaded[key], own.inference))
    check_folds(folds)
    seen = [_warn_of_seen(fold.dataset, "test", config, [fold.checkpoint], console) for fold in folds]
    with _new_folder(task, "out_of_fold") as folder:
        found = score_folds(folds, config.trainer.accelerator, precision, config.metrics, folder.predictions)
        scores = pool_folds(folds, found)
        conditions = describe_conditions(None, str(device), precision)
        summary = _summarize(over.checkpoints, scores, (0, sum(of_val for _, of_val in seen)), conditions)
        names = [str(row["image"]) for row in scores.per_image]
        summary = summary.replace(folds=_describe_folds(folds, found))
        _write(folder, config, scores, {"test": names}, summary, over.checkpoints[0])
    return folder, scores, fold_table(folds, found)


def _describe_folds(folds: Sequence["Fold"], found: Sequence["Scores"]) -> "list[FoldSummary]":
    from unet_exp.runs.summary import FoldSummary
    from unet_exp.samples.fingerprint import fingerprint

    return [
        FoldSummary(
            fold=fold.number,
            checkpoint=str(fold.checkpoint.path),
            step=fold.checkpoint.step,
            images=scores.images,
            data_fingerprint=fingerprint(fold.dataset),
            metrics=scores.metrics,
        )
        for fold, scores in zip(folds, found, strict=True)
    ]


@contextmanager
def _new_folder(task: Evaluation, name: str) -> Iterator[RunFolder]:
    """Makes the folder of an evaluation, and removes it after an error."""
    from unet_exp.inference.device import explain_out_of_memory

    folder = RunFolder.create(Path(task.output) / "evaluate", name)
    try:
        with explain_out_of_memory("take a smaller inference.tile or inference.batch_size"):
            yield folder
    except BaseException:
        shutil.rmtree(folder.path, ignore_errors=True)
        raise


def _load_data(config: Config) -> "DataSet":
    """Loads the data of the config."""
    from unet_exp import data
    from unet_exp.samples.compatibility import score_borders

    dataset = data.limit(data.load_data(config.data, keep=False), config.trainer.limit_batches)
    return score_borders(config, dataset)


def _check_data(dataset: "DataSet", config: Config, task: Evaluation, checkpoint: "Checkpoint") -> None:
    """Checks that a checkpoint can be scored on the data of the config.

    Raises:
        UserError: if not.
    """
    from unet_exp.samples.compatibility import check_metrics

    check_metrics(config, dataset)
    names, trained = ([spec.name for spec in classes] for classes in (dataset.classes, checkpoint.record.classes))
    if names != trained:
        raise DataError(f"data={config.data.name} has the classes {names} and the checkpoint was trained on {trained}")
    if not getattr(dataset, task.split):
        raise DataError(f"split={task.split}: data={config.data.name} has no such images with this data.split")
    if dataset.channels != checkpoint.record.channels:
        raise DataError(
            f"data={config.data.name} has {dataset.channels} channels, and the network was trained "
            f"on {checkpoint.record.channels}"
        )


def _warn_of_seen(
    dataset: "DataSet", split: str, config: Config, checkpoints: Sequence["Checkpoint"], console: "Console"
) -> tuple[int, int]:
    """Counts the images of the split, and the validation images that choose its thresholds, that were trained on."""
    from unet_exp.inference.scoring import list_choosing

    def count_seen(images: "Images") -> int:
        each = [checkpoint.record.find_trained_on(images.facts.digests) for checkpoint in checkpoints]
        return int(np.logical_or.reduce(each).sum())

    samples = getattr(dataset, split)
    seen = count_seen(samples)
    by_some = " by some of the checkpoints" if len(checkpoints) > 1 else ""
    if seen and split != "train":
        mend = "; out_of_fold=true scores each image by a checkpoint that was not" if by_some else ""
        console.print(f"warning: {seen} of these {len(samples)} images were trained on{by_some}{mend}", soft_wrap=True)
    seen_val = count_seen(dataset.val) if split == "test" and list_choosing(dataset, config.metrics) else 0
    if seen_val:
        console.print(
            f"warning: {seen_val} of the {len(dataset.val)} validation images, which choose the thresholds of "
            f"..._at_val, were trained on{by_some}",
            soft_wrap=True,
        )
    return seen, seen_val


def _summarize(
    checkpoints: Sequence["Checkpoint"], scores: "Scores", seen: tuple[int, int], now: "Conditions"
) -> "Summary":
    from unet_exp.runs.summary import Summary

    paths, steps = [str(checkpoint.path) for checkpoint in checkpoints], [each.step for each in checkpoints]
    return Summary(
        status="finished",
        metrics=scores.metrics,
        checkpoint=paths if len(paths) > 1 else paths[0],
        step=steps if len(steps) > 1 else steps[0],
        seen_in_training=seen[0],
        validation_seen_in_training=seen[1],
        **now.model_dump(exclude_unset=True),
    )


def _write(
    folder: RunFolder,
    config: Config,
    scores: "Scores",
    split: dict[str, Sequence[str]],
    summary: "Summary",
    checkpoint: "Checkpoint",
) -> None:
    from unet_exp.files import warn_of_failure
    from unet_exp.inference.scoring import draw_scores, write_scores
    from unet_exp.pages.run_page import write_run_page

    if scores.metrics:
        write_scores(folder, scores, checkpoint.record.classes)
    folder.write_config(config.model_dump())
    if scores.board is not None and config.metrics.distances:
        summary = summary.replace(distance_unit=scores.board.scale.unit)
    summary = summary.replace(**folder.write_split(split))
    summary.write(folder.summary)
    draw_scores(folder, scores, checkpoint.record.classes)
    with warn_of_failure(folder.page):
        write_run_page(folder, summary, checkpoint.record.classes)


def main() -> None:
    """Runs `scripts/evaluate.py`."""
    run_over_checkpoint(USAGE, DEFAULTS, MORE_KEYS, evaluate)
