"""Training progress: a bar on a terminal, or a line for each validation and those of `unet_exp.progress`.

Lightning's own bars restart with each epoch, do not know the remaining time of the whole training, and fill a log file.
"""

import math
import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from unet_exp.progress import Phase
from unet_exp.training.module import SegmentationModule

_MOVES = 0.1
"""Seconds between two moves of the bar."""


class TrainingProgress(ProgressBar):
    """One bar over the whole training, with loss, validation score and remaining time.

    Args:
        console: where it appears.
        phase: of the training, for a log.
        steps: optimizer steps of the whole training; None where only the time ends it.
        seconds: the time limit; None for no limit.
        monitor: the validation score to show.
    """

    def __init__(self, console: Console, phase: Phase, steps: int | None, seconds: int | None, monitor: str) -> None:
        super().__init__()
        self._console = console
        self._phase = phase
        self._steps = steps
        self._seconds = seconds
        self._monitor = monitor
        self._score = ""
        self._start = time.monotonic()
        self._moved = -math.inf
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            TextColumn("{task.fields[state]}", markup=False),  # a class may be called [red]
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task: TaskID = self._bar.add_task("", total=1.0, state="")

    def disable(self) -> None:
        """Hides the bar; Lightning calls it in all processes but the first."""
        self._bar.disable = True

    def enable(self) -> None:
        """Shows the bar on a terminal."""
        self._bar.disable = not self._console.is_terminal

    def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Starts the bar."""
        self._start = time.monotonic()
        self._moved = -math.inf
        self._phase.state = f"step {trainer.global_step}"
        self._bar.start()

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        """Moves the bar, as often as the eye can follow."""
        now = time.monotonic()
        if now - self._moved < _MOVES:
            return
        self._moved = now
        limit = "" if self._steps is None else f"/{self._steps}"
        state = f"epoch {trainer.current_epoch + 1}  step {trainer.global_step}{limit}  "
        state += _describe_loss(module) + self._score
        self._phase.state = state.strip()
        done = [0.0]
        if self._steps:
            done.append(trainer.global_step / self._steps)
        if self._seconds:
            done.append((now - self._start) / self._seconds)
        self._bar.update(self._task, completed=min(max(done), 1.0), state=state)

    def on_validation_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Counts the images."""
        del module, batch, dataloader_idx
        images = int(trainer.num_val_batches[0])
        self._phase.state = f"step {trainer.global_step}  validating image {batch_idx + 1} of {images}"

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Shows the new score."""
        score = trainer.callback_metrics.get(self._monitor)
        if score is None:
            return
        self._score = f"{self._monitor} {score.item():.4f}"
        self._phase.state = f"step {trainer.global_step}  {self._score}"
        if not self._console.is_terminal and trainer.is_global_zero:
            seconds = time.monotonic() - self._start
            loss = _describe_loss(module)
            self._console.print(f"step {trainer.global_step}  {loss}{self._score}  {seconds:.0f} s")

    def on_train_end(self, *_: Any) -> None:
        """Removes the bar."""
        self._bar.stop()

    def on_exception(self, *_: Any) -> None:
        """Restores the terminal."""
        self._bar.stop()


def _describe_loss(module: pl.LightningModule) -> str:
    """The training loss that was seen last, with the space behind it; empty if no pixel has counted yet."""
    assert isinstance(module, SegmentationModule)
    loss = module.losses.last
    return "" if loss is None else f"loss {loss:.4f}  "
