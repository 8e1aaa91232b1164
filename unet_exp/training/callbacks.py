"""Callbacks around the training loop: limits, the metrics file, pictures for the loggers."""

import csv
import math
import time
from collections.abc import Sequence
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, EMAWeightAveraging, Timer

from unet_exp.config import Config, duration_seconds
from unet_exp.config.loggers import PictureLoggerConfig
from unet_exp.files import name_in_errors, write_whole
from unet_exp.metrics.declarations import direction
from unet_exp.runs.run_folder import RunFolder
from unet_exp.samples.sample import Sample
from unet_exp.training.group import largest_of
from unet_exp.training.last_checkpoint import BestCheckpoint, LastCheckpoint
from unet_exp.training.loggers import Predictions, TrainingLogger
from unet_exp.training.module import SegmentationModule


class StopAtStep(Callback):
    """Stops at the last step with a validation.

    Lightning's own `max_steps` ends without one, and could miss the best epoch.
    """

    def __init__(self, steps: int) -> None:
        self._steps = steps

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Stops at the limit."""
        if trainer.global_step >= self._steps:
            trainer.should_stop = True


class TimeLimit(Timer):
    """Lightning's timer, which also lets a training resumed after its time take one step, so that it is validated.

    Attributes:
        ended: whether it was the one to end the training.
    """

    ended = False

    def on_fit_start(self, *_: Any, **__: Any) -> None:
        """Leaves the check to the end of the first batch."""

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        """Stops after the time; a training that already stops is ended by something else."""
        before = trainer.should_stop
        super().on_train_batch_end(trainer)
        self.ended |= trainer.should_stop and not before

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training continues from."""
        return {**super().state_dict(), "ended": self.ended}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See `state_dict`."""
        super().load_state_dict(state_dict)
        self.ended = state_dict.get("ended", False)


class MovingAverage(EMAWeightAveraging):
    """Lightning's moving average of the weights, which itself asks the device at each step whether it is the first."""

    @property
    def state_key(self) -> str:
        """Under which checkpoints keep it, as before it had a name of its own."""
        return EMAWeightAveraging.__qualname__

    @torch.no_grad()
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any, **__: Any) -> None:
        """Moves the average after each optimizer step; after the first it is the weights."""
        first, average = not self._latest_update_step, self._average_model
        if trainer.global_step == self._latest_update_step:
            return
        assert average is not None
        assert average.avg_fn is not None
        of_both = zip(
            chain(average.module.parameters(), average.module.buffers()),
            chain(pl_module.parameters(), pl_module.buffers()),
            strict=True,
        )
        for mean, now in of_both:
            mean.copy_(now if first else average.avg_fn(mean, now, average.n_averaged))
        average.n_averaged += 1
        self._latest_update_step = trainer.global_step


class LossWatch(Callback):
    """Looks at the training losses every few steps, and gives the last one and the learning rate to the logger.

    A look waits for the device. So there is none in most steps; but the first loss is seen at once, and where steps
    take long, every loss.

    Args:
        logger: receives `train/loss_step`, `lr-<optimizer>` and the epoch.
        every: optimizer steps between two looks.
        seconds: the most seconds between two looks, plus a step.
    """

    def __init__(self, logger: TrainingLogger, every: int = 10, seconds: float = 2.0) -> None:
        self._logger = logger
        self._every = every
        self._seconds = seconds
        self._step = 0
        self._looked_at = -math.inf

    def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Knows the step from which a resumed training goes on."""
        self._step = trainer.global_step

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        """Looks, if it is time to."""
        assert isinstance(module, SegmentationModule)
        step, now = trainer.global_step, time.monotonic()
        stepped, self._step = step != self._step, step
        counted = stepped and step % self._every == 0
        # The last step has its row in the log too.
        logged = counted or (stepped and trainer.should_stop)
        if logged or now - self._looked_at >= self._seconds:
            module.losses.look()
            self._looked_at = now
        if logged:
            self._log(trainer, module, counted)

    def _log(self, trainer: pl.Trainer, module: SegmentationModule, counted: bool) -> None:
        numbers: dict[str, float] = {"epoch": trainer.current_epoch}
        if module.losses.last is not None:
            numbers["train/loss_step"] = module.losses.last
        if counted:
            numbers[f"lr-{type(trainer.optimizers[0]).__name__}"] = module.rate
        self._logger.log_metrics(numbers, trainer.global_step - 1)  # counted as Lightning counts for the loggers


class History(Callback):
    """Writes a row of `metrics.csv` for every epoch, beside every logger.

    A resumed training first rewrites the file with the rows of its checkpoint: later rows come again, lost rows return.

    Args:
        path: the file.
        metrics: names of the validation scores, without `val/`.

    Attributes:
        start: monotonic time at which this part of the training began.
        before: seconds of the parts before it.
    """

    def __init__(self, path: Path, metrics: Sequence[str]) -> None:
        self._path = path
        self._fields = ["epoch", "step", "seconds", "lr", "train/loss", *(f"val/{name}" for name in metrics)]
        self._rows: list[dict[str, Any]] = []
        self._validated = False
        self.start = time.monotonic()
        self.before = 0.0

    @property
    def seconds(self) -> float:
        """Seconds of training so far, all parts included."""
        return self.before + time.monotonic() - self.start

    @property
    def losses(self) -> list[float]:
        """The mean training loss of each epoch."""
        return [row["train/loss"] for row in self._rows]

    def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Starts the file."""
        self.start = time.monotonic()
        if trainer.is_global_zero:
            with write_whole(self._path) as side, side.open("w", newline="") as file:
                writer = csv.DictWriter(file, self._fields)
                writer.writeheader()
                writer.writerows(self._rows)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training continues from."""
        return {"seconds": self.seconds, "rows": list(self._rows)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See `state_dict`."""
        self.before, self.start = state_dict["seconds"], time.monotonic()
        self._rows = list(state_dict["rows"])

    def on_validation_end(self, *_: Any) -> None:
        """Remembers that this epoch has scores."""
        self._validated = True

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Adds the epoch's row."""
        assert isinstance(module, SegmentationModule)
        row: dict[str, Any] = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "seconds": round(self.seconds, 3),
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            "train/loss": module.mean_loss(),
        }
        if self._validated:
            row |= module.scores
        self._validated = False
        self._rows.append(row)
        if trainer.is_global_zero:
            with name_in_errors(self._path), self._path.open("a", newline="") as file:
                csv.DictWriter(file, self._fields).writerow(row)


class PredictionPictures(Callback):
    """Sends validation images with their true and predicted masks to the logger.

    Args:
        logger: receives the pictures.
        samples: the images.
        every: epochs between two pictures, counted at validations; the last validation always has one.
    """

    def __init__(self, logger: TrainingLogger, samples: Sequence[Sample], every: int) -> None:
        self._logger = logger
        self._samples = samples
        self._every = every
        self._due = every
        self._sent_at = -1

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Requests the predicted labels of these images."""
        del trainer
        assert isinstance(module, SegmentationModule)
        module.pictures = len(self._samples)

    def on_validation_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Sends the pictures of this validation if they are due."""
        assert isinstance(module, SegmentationModule)
        epochs = trainer.current_epoch + 1
        if epochs >= self._due or trainer.should_stop:
            self._due = (epochs // self._every + 1) * self._every
            self._send(trainer, module)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Sends the pictures of the last validation if early stopping skipped them."""
        assert isinstance(module, SegmentationModule)
        if self._sent_at != trainer.global_step:
            self._send(trainer, module)

    def state_dict(self) -> dict[str, Any]:
        """Which pictures a resumed training sends next."""
        return {"due": self._due, "sent_at": self._sent_at}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See `state_dict`."""
        self._due, self._sent_at = state_dict["due"], state_dict["sent_at"]

    def _send(self, trainer: pl.Trainer, module: SegmentationModule) -> None:
        self._sent_at = trainer.global_step
        labels = module.picture_labels
        samples = self._samples[: len(labels)]
        step = trainer.global_step - 1  # the step that Lightning gives the loggers for this validation
        self._logger.log_predictions(Predictions(step, trainer.current_epoch, samples, labels, module.classes))


class StopTogether(Callback):
    """Stops all processes of a training when a callback of the user's stops one of them; it stands behind these."""

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Asks the others."""
        self._ask(trainer)

    def on_validation_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Likewise."""
        self._ask(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Likewise."""
        self._ask(trainer)

    def _ask(self, trainer: pl.Trainer) -> None:
        trainer.should_stop = largest_of(trainer.should_stop) == [1]


class Callbacks(NamedTuple):
    """The callbacks of a training, in the order in which Lightning calls them, and those that give results."""

    all: list[Callback]
    history: History
    best: BestCheckpoint
    limit: TimeLimit | None


def build_callbacks(
    config: Config,
    folder: RunFolder,
    samples: Sequence[Sample],
    metrics: Sequence[str],
    steps: int | None,
    logger: TrainingLogger,
) -> Callbacks:
    """Builds this project's callbacks of a training but the progress bar.

    Args:
        config: of the training.
        folder: where the files go.
        samples: validation images.
        metrics: names of the validation scores, without `val/`.
        steps: optimizer steps of the whole training; None where only the time ends it.
        logger: of this process.
    """
    trainer = config.trainer
    history = History(folder.metrics, metrics)
    # LastCheckpoint comes first: at the end of the training the moving average replaces the weights.
    callbacks: list[Callback] = [LastCheckpoint(folder.last, duration_seconds(trainer.save_every)), history]
    if trainer.ema_decay is not None:
        callbacks.append(MovingAverage(decay=trainer.ema_decay))
    if isinstance(config.logger, PictureLoggerConfig) and logger.lightning and config.logger.images:
        pictured = samples[: config.logger.images]
        callbacks.append(PredictionPictures(logger, pictured, config.logger.images_every_epochs))
    if steps is not None:
        callbacks.append(StopAtStep(steps))
    limit = None
    if trainer.max_time is not None:
        limit = TimeLimit(timedelta(seconds=duration_seconds(trainer.max_time)), verbose=False)
        callbacks.append(limit)
    callbacks.append(LossWatch(logger))  # behind the limits: it logs the last step
    monitor: dict[str, Any] = {"monitor": trainer.monitor, "mode": direction(trainer.monitor, config.metrics.own)}
    if trainer.early_stopping is not None:
        stopping: dict[str, Any] = {"patience": trainer.early_stopping, "check_finite": False}
        callbacks.append(EarlyStopping(**monitor, **stopping, check_on_train_epoch_end=False))
    saving: dict[str, Any] = {"save_on_train_epoch_end": False, "enable_version_counter": False}
    best = BestCheckpoint(folder.checkpoints, folder.best.stem, **monitor, **saving)
    return Callbacks([*callbacks, best], history, best, limit)
