"""The training on the terminal: a bar where there is one, else a line for each validation.

Lightning's own bars begin anew with each epoch, know no time left of the whole training, and fill a log file.
"""

import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class TrainingProgress(ProgressBar):
    """One bar over the whole training, with loss, validation score and time left.

    Args:
        console: where it is shown.
        steps: optimizer steps of the whole training, None where only the time ends it.
        seconds: the most it may take, None for no limit.
        monitor: the validation score to show.
    """

    def __init__(self, console: Console, steps: int | None, seconds: int | None, monitor: str) -> None:
        super().__init__()
        self._console = console
        self._steps = steps
        self._seconds = seconds
        self._monitor = monitor
        self._score = ""
        self._start = time.monotonic()
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task: TaskID = self._bar.add_task("", total=1.0, state="")

    def disable(self) -> None:
        """Called by Lightning on all processes but the first."""
        self._bar.disable = True

    def enable(self) -> None:
        """Called by Lightning."""
        self._bar.disable = not self._console.is_terminal

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Shows the bar."""
        del trainer, module
        self._start = time.monotonic()
        self._bar.start()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Moves the bar."""
        loss = trainer.callback_metrics.get("train/loss_step")
        shown = "" if loss is None else f"loss {loss.item():.4f}"
        limit = "" if self._steps is None else f"/{self._steps}"
        state = f"epoch {trainer.current_epoch + 1}  step {trainer.global_step}{limit}  {shown}  {self._score}"
        done = [0.0]
        if self._steps:
            done.append(trainer.global_step / self._steps)
        if self._seconds:
            done.append((time.monotonic() - self._start) / self._seconds)
        self._bar.update(self._task, completed=min(max(done), 1.0), state=state)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Takes in the new score."""
        del module
        score = trainer.callback_metrics.get(self._monitor)
        if score is None:
            return
        self._score = f"{self._monitor} {score.item():.4f}"
        if not self._console.is_terminal and trainer.is_global_zero:
            loss = trainer.callback_metrics["train/loss_step"].item()
            seconds = time.monotonic() - self._start
            self._console.print(f"step {trainer.global_step}  loss {loss:.4f}  {self._score}  {seconds:.0f} s")

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Takes the bar away."""
        del trainer, module
        self._bar.stop()

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        """Gives the terminal back."""
        del trainer, module, exception
        self._bar.stop()
