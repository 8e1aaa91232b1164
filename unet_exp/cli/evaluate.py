"""The command evaluate: scores a checkpoint on any split, by the code that ends a training."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from unet_exp.cli.entry import run_over_checkpoint
from unet_exp.config import Config, parse
from unet_exp.errors import DataError
from unet_exp.runs.run_folder import OUTPUTS
from unet_exp.schema import Strict, validate

if TYPE_CHECKING:
    from rich.console import Console

    from unet_exp.checkpoints.checkpoint import Checkpoint
    from unet_exp.inference.scoring import Scores
    from unet_exp.runs.conditions import Conditions
    from unet_exp.runs.summary import Summary
    from unet_exp.samples.data_set import DataSet
    from unet_exp.samples.sample import Images

USAGE = """Score a checkpoint and draw what it predicts.

Usage: python scripts/evaluate.py checkpoint=<file or run folder> [key=value] ...

  checkpoint  the file, or a run's folder (its best.ckpt)
  split       test (default), val, train or unlabelled
  output      the results go to a new folder below it (outputs)
  trust       packages whose classes the checkpoint may name ([]): docs/extend.md

The data and split are those of the training; data=... and data.<key>=... choose others. More keys:
inference=none|rotations7|flips8 (test-time augmentation), inference.<key>, metrics.warping=true,
metrics.pictures=<how many images are drawn>, trainer.accelerator, trainer.precision and trainer.limit_batches.

Examples:
  python scripts/evaluate.py checkpoint=outputs/train/<run>
  python scripts/evaluate.py checkpoint=outputs/train/<run>/checkpoints/last.ckpt split=val
  python scripts/evaluate.py checkpoint=best.ckpt data.root=where/it/is/now
  python scripts/evaluate.py checkpoint=outputs/train/<run> inference=rotations7 metrics.warping=true
"""


class Evaluation(Strict):
    """The command's own keys."""

    checkpoint: str
    split: Literal["train", "val", "test", "unlabelled"]
    output: str


DEFAULTS: dict[str, Any] = {"checkpoint": "", "split": "test", "output": OUTPUTS}
MORE_KEYS = (
    "trust",
    "data",
    "inference",
    "metrics",
    "trainer.accelerator",
    "trainer.precision",
    "trainer.limit_batches",
)


def evaluate(values: dict[str, Any], checkpoint: "Checkpoint") -> Path:
    """Scores and draws one split, by the keys of `Evaluation` and of a training's config.

    Returns:
        The folder with `config.yaml`, `summary.json`, `per_image.csv`, perhaps `per_threshold.csv`, and `predictions/`.

    Raises:
        UserError: for what the user can correct.
    """
    task = validate(Evaluation, {key: values.pop(key) for key in DEFAULTS})
    config = parse({**values, "output": task.output})

    from unet_exp.console import make_console
    from unet_exp.inference.device import explain_out_of_memory
    from unet_exp.inference.predictor import Predictor
    from unet_exp.inference.scoring import describe_drawn, score_split, score_tables, score_test
    from unet_exp.memory import keep_freed_memory
    from unet_exp.runs.environment import describe_conditions
    from unet_exp.runs.run_folder import RunFolder
    from unet_exp.samples.fingerprint import fingerprint

    console = make_console()
    keep_freed_memory()
    predictor = Predictor(checkpoint, config.trainer.accelerator, config.trainer.precision, config.inference)
    dataset = _load_data(config, task, checkpoint)
    samples = getattr(dataset, task.split)
    seen = _warn_of_seen(dataset, task.split, checkpoint, console)
    folder = RunFolder.create(Path(task.output) / "evaluate", config.name)
    try:
        with explain_out_of_memory("take a smaller inference.tile or inference.batch_size"):
            if task.split == "test":
                scores = score_test(predictor, dataset, config.metrics, folder.predictions)
            else:
                scores = score_split(predictor, dataset, task.split, config.metrics, folder.predictions)
        if scores.metrics:
            folder.write_scores(scores.per_image, scores.per_threshold)
        folder.write_config(config.model_dump())
        conditions = describe_conditions(fingerprint(dataset), str(predictor.device), predictor.precision)
        split = folder.write_split({task.split: samples.names})
        _summarize(checkpoint, split, scores, seen, conditions).write(folder.summary)
    except BaseException:
        shutil.rmtree(folder.path, ignore_errors=True)
        raise
    if scores.metrics:
        console.print(*score_tables(scores.metrics, predictor.classes, task.split))
    if drawn := describe_drawn(scores, task.split):
        console.print(drawn, soft_wrap=True)
    console.print(f"{len(samples)} images of {task.split}; everything is in")
    console.print(str(folder.path), style="bold", soft_wrap=True)
    return folder.path


def _load_data(config: Config, task: Evaluation, checkpoint: "Checkpoint") -> "DataSet":
    """Loads the data of the config.

    Raises:
        UserError: if the checkpoint cannot be scored on them.
    """
    from unet_exp import data
    from unet_exp.samples.compatibility import check_metrics

    dataset = data.limit(data.load_data(config.data, keep=False), config.trainer.limit_batches)
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
    return dataset


def _warn_of_seen(dataset: "DataSet", split: str, checkpoint: "Checkpoint", console: "Console") -> tuple[int, int]:
    """Counts the images of the split, and the validation images that choose its thresholds, that were trained on."""

    def count_seen(images: "Images") -> int:
        return int(checkpoint.record.find_trained_on(images.facts.digests).sum())

    samples = getattr(dataset, split)
    seen = count_seen(samples)
    if seen and split != "train":
        console.print(f"warning: {seen} of these {len(samples)} images were trained on", soft_wrap=True)
    seen_val = count_seen(dataset.val) if split == "test" and "isbi" in dataset.metrics else 0
    if seen_val:
        console.print(
            f"warning: {seen_val} of the {len(dataset.val)} validation images, which choose the thresholds of "
            "..._at_val, were trained on",
            soft_wrap=True,
        )
    return seen, seen_val


def _summarize(
    checkpoint: "Checkpoint", split: dict[str, Any], scores: "Scores", seen: tuple[int, int], now: "Conditions"
) -> "Summary":
    from unet_exp.runs.summary import Summary

    return Summary(
        status="finished",
        metrics=scores.metrics,
        checkpoint=str(checkpoint.path),
        step=checkpoint.step,
        **split,
        seen_in_training=seen[0],
        validation_seen_in_training=seen[1],
        **now.model_dump(exclude_unset=True),
    )


def main() -> None:
    """Runs `scripts/evaluate.py`."""
    run_over_checkpoint(USAGE, DEFAULTS, MORE_KEYS, evaluate)
