"""The record of a run: the one schema by which `summary.json` is written and read."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError

from unet_exp.errors import DataError
from unet_exp.files import write_text
from unet_exp.runs.conditions import Conditions, PlainRecord
from unet_exp.schema import explain

Status = Literal["running", "finished", "stopped", "failed"]


class Width(PlainRecord):
    """Channels of the first level: as typed, and as `model.match` resolved them."""

    requested: int
    resolved: int


class BestEpoch(PlainRecord):
    """The best validation score of a training; a search compares it."""

    monitor: str
    value: float | None


class FoldSummary(PlainRecord):
    """A part of an out-of-fold evaluation: what one checkpoint scored of its own test images.

    Attributes:
        fold: `data.fold` of its training, or the place of the checkpoint where there are no folds.
        checkpoint: the file.
        step: of that checkpoint.
        images: how many it scored.
        data_fingerprint: of its data set with its split.
        metrics: of these images alone.
    """

    fold: int
    checkpoint: str
    step: int
    images: int
    data_fingerprint: str
    metrics: Mapping[str, float | None]


LoggerId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")]
"""By which a logger finds its run again."""


class Summary(Conditions):
    """What `summary.json` says of a training or an evaluation, beside its conditions; None where it does not say.

    Attributes:
        status: `running` until the run has ended, also if it was killed.
        metrics: scores by their full names, such as `test/iou/cell`; null where undefined.
        distance_unit: of the distances among them; None without such.
        started: ISO time of the first start.
        fold: that was tested; None without folds.
        split: names of the images of each part; None where `split.json` beside it has them. Read it with
            `RunFolder.read_split`.
        split_counts: how many names each part has in `split.json`; None where there is none.
        macs: multiply-accumulates of one training input.
        warnings: of its settings and images, before its first step; then of its pace and its thresholds.
        wandb_id: of its run in W&B.
        wandb_url: of the same; None where it is offline.
        logger_ids: of its runs in other loggers, by the words of these.
        rerun: the earlier run that it repeats, and the verdict.
        resumed: step and time of each later start.
        seconds_setup: until the first batch: reading and checking the data, building the network.
        seconds_training: of all starts, validations included; what `trainer.max_time` limits.
        seconds_test: of the test, after the training.
        pruned_at: optimizer steps at which a search pruned it.
        ended_by: `trainer.max_time` where that ended it, before `planned_steps` if there are any; else None.
        planned_steps: optimizer steps that it would have taken; None where `ended_by` is, or only the time limits it.
        overfit: the verdict of `debug=overfit`.
        error: why it was stopped or failed.
        steps: optimizer steps taken.
        peak_memory: in bytes.
        trainings_before: in the same process, of which its memory keeps a part.
        seconds: in all.
        checkpoint: of an evaluation: the scored file, or all of an ensemble or of folds.
        step: of each of them.
        folds: of an out-of-fold evaluation.
        seen_in_training: how many of the scored images were trained on.
        validation_seen_in_training: how many of the images that choose thresholds were trained on.
        damaged: the error of each field with a wrong type; such a field reads as missing. Not written.
    """

    status: Status | None = None
    metrics: Mapping[str, float | None] = Field(default_factory=dict)
    distance_unit: str | None = None
    name: str | None = None
    started: str | None = None
    seed: int | None = None
    fold: int | None = None
    overrides: list[str] | None = None
    split: dict[str, list[str]] | None = None
    split_counts: dict[str, int] | None = None
    width: Width | None = None
    parameters: int | None = None
    macs: int | None = None
    rerun: dict[str, Any] | None = None
    resumed: list[dict[str, int | str]] | None = None
    warnings: list[str] | None = None
    wandb_id: LoggerId | None = None
    wandb_url: str | None = None
    logger_ids: Mapping[str, LoggerId] | None = None
    seconds_setup: float | None = None
    seconds_training: float | None = None
    seconds_test: float | None = None
    best: BestEpoch | None = None
    pruned_at: int | None = None
    ended_by: str | None = None
    planned_steps: int | None = None
    overfit: dict[str, Any] | None = None
    error: str | None = None
    steps: int | None = None
    epochs: int | None = None
    peak_memory: int | None = None
    trainings_before: int | None = None
    seconds: float | None = None
    checkpoint: str | list[str] | None = None
    step: int | list[int] | None = None
    folds: list[FoldSummary] | None = None
    seen_in_training: int | None = None
    validation_seen_in_training: int | None = None
    damaged: dict[str, str] = Field(default_factory=dict, exclude=True)

    @property
    def is_over(self) -> bool:
        """Whether the run finished, or a search pruned it."""
        return self.status == "finished" or self.pruned_at is not None

    def describe_reach(self) -> str:
        """How far it came: `300 steps`, or `ended by trainer.max_time at step 126 of 300`."""
        steps = self.steps or 0
        if self.ended_by is None:
            return f"{steps:,} step{'s' * (steps != 1)}"
        planned = "" if self.planned_steps is None else f" of {self.planned_steps:,}"
        return f"ended by {self.ended_by} at step {steps:,}{planned}"

    def missing_conditions(self) -> str:
        """The conditions that it lacks, as a list in words; empty where nothing is missing."""
        needed = ("data_fingerprint", "metrics_version", "device", "precision", "git", "versions")
        return ", ".join(key for key in needed if key not in self.model_fields_set)

    def replace(self, **fields: Any) -> Self:
        """A copy with other values of these fields."""
        return self.model_validate({**{key: getattr(self, key) for key in self.model_fields_set}, **fields})

    def write(self, path: Path) -> None:
        """Writes `summary.json` completely or not at all; a number that is not finite becomes null."""
        values = self.model_dump(exclude_unset=True)
        first = {key: values[key] for key in ("status", "error", "metrics") if key in values}
        write_text(path, json.dumps(_finite({**first, **values}), indent=2) + "\n")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads a file, whoever has written it.

        Raises:
            DataError: if it is missing, or no JSON object.
        """
        try:
            values = json.loads(path.read_text())
        except (OSError, ValueError, RecursionError):
            raise DataError(f"{path} is missing or damaged") from None
        if not isinstance(values, dict):
            raise DataError(f"{path} is damaged: it is no object")
        values.pop("damaged", None)
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            fields = dict.fromkeys(str(found["loc"][0]) for found in error.errors())
            damaged = {field: explain(error, values, field) for field in fields}
            kept = {key: value for key, value in values.items() if key not in damaged}
            return cls.model_validate({**kept, "damaged": damaged})


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
