"""`last.ckpt`: an interrupted training resumes from it and ends with the weights of an uninterrupted one.

It adds the state that Lightning does not save, or saves at a moment from which a training cannot resume.
"""

import time
from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from torch import Tensor

from unet_exp import signals
from unet_exp.checkpoints.reading import LOOPS, RANDOM_STATES
from unet_exp.training.draws import Draw, PatchSampler
from unet_exp.training.group import largest_of


class LastCheckpoint(Callback):
    """Writes `last.ckpt`: after each validation, every `every` seconds, on a signal, and at the end.

    It saves between two batches, when the optimizer step, validation, schedules and metrics of the one are complete and
    nothing of the other has begun.

    Args:
        path: of the file.
        every: the most seconds between two saves, plus the batches until the next optimizer step.

    Attributes:
        over: whether the resumed training had already ended.
    """

    def __init__(self, path: Path, every: float) -> None:
        self.over = False
        self._path = path
        self._every = every
        self._saved_at = time.monotonic()
        self._validated = False
        self._random: dict[str, Tensor] = {}
        self._resumed = False

    def on_fit_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Stops at once a training that had already ended."""
        if self.over:
            trainer.should_stop = True

    def on_train_start(self, *_: Any) -> None:
        """Replaces Lightning's signal handlers, which would stop a training without saving."""
        signals.reinstall()

    def on_validation_end(self, *_: Any) -> None:
        """Requests a checkpoint at the next batch: EMA and the schedules still have work on this one."""
        self._validated = True

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        """Restores the state of the resumed checkpoint, or saves a new one if it is due."""
        del module, batch
        if self._resumed:
            self._restore(trainer)
            self._resumed = False
        if batch_idx % trainer.accumulate_grad_batches:
            return
        due = int(self._validated or time.monotonic() - self._saved_at >= self._every)
        signum = int(signals.received() or 0)
        if trainer.world_size > 1:
            due, signum = largest_of(due, signum)  # whichever of them the clock or a signal reaches
        if (due or signum) and trainer.global_step:
            self._save(trainer)
        if signum:
            raise signals.Stopped(signum)

    def on_train_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Saves the end."""
        self.over = True
        self._save(trainer)

    def on_save_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Adds the random states, and drops the fetched batch that has not begun: Lightning counts it as seen."""
        del module
        checkpoint[RANDOM_STATES] = {
            device: _gather_states(trainer, state) for device, state in _get_random_states(trainer).items()
        }
        progress = checkpoint[LOOPS]["fit_loop"]["epoch_loop.batch_progress"]
        for count in (progress["total"], progress["current"]):
            count["ready"] = count["completed"]
        progress["is_last_batch"] = False

    def on_load_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Reads this process's random states."""
        del module
        rank = trainer.global_rank
        # PyTorch reads a generator state from the start of the memory, also for a view: copy it.
        self._random = {device: states[rank].clone() for device, states in checkpoint[RANDOM_STATES].items()}

    def state_dict(self) -> dict[str, Any]:
        """Whether this is the end."""
        return {"over": self.over}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See `state_dict`."""
        self.over = state_dict["over"]
        self._resumed = True

    def _save(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(self._path, weights_only=False)
        self._validated = False
        self._saved_at = time.monotonic()

    def _restore(self, trainer: pl.Trainer) -> None:
        torch.set_rng_state(self._random["cpu"])
        device = trainer.strategy.root_device
        if device.type != "cpu" and device.type in self._random:
            torch.get_device_module(device).set_rng_state(self._random[device.type])
        # Lightning counts a step too many for the loggers, and would skip the plateau at the end of this epoch.
        trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step
        trainer.fit_loop.restarting = False


def _get_random_states(trainer: pl.Trainer) -> dict[str, Tensor]:
    """States of the generators that this process uses, by device; the states of unused GPUs stay out."""
    states, device = {"cpu": torch.get_rng_state()}, trainer.strategy.root_device
    if device.type != "cpu":
        states[device.type] = torch.get_device_module(device).get_rng_state()
    return states


def _gather_states(trainer: pl.Trainer, state: Tensor) -> Tensor:
    """(processes, bytes): with random layers each process reaches a state of its own."""
    states: Tensor = trainer.strategy.all_gather(state.to(trainer.strategy.root_device))
    return states.cpu().view(trainer.world_size, -1)


class BestCheckpoint(ModelCheckpoint):
    """Lightning's checkpoint of the best epoch; unlike it, it keeps the best score when the folder has moved."""

    @cached_property
    def state_key(self) -> str:
        """Lightning puts it together for each hook of each step."""
        return super().state_key

    def on_train_batch_end(self, *_: Any) -> None:
        """Saves nothing here, where Lightning looks for a reason to: only a validation finds a best epoch."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Replaces the paths of the best checkpoint by those in today's folder."""
        paths = ("best_model_path", "kth_best_model_path", "last_model_path")
        moved = {key: self._move(state_dict[key]) for key in paths}
        scores = {self._move(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **moved, "best_k_models": scores, "dirpath": self.dirpath})
        self.current_score = state_dict["current_score"]

    def _move(self, path: str) -> str:
        assert self.dirpath is not None
        return str(Path(self.dirpath) / Path(path).name) if path else ""


class ResumableSampler(PatchSampler):
    """A sampler that can start in the middle of an epoch; it does not decode the images that it skips."""

    _seen = 0

    def start_at(self, epoch: int, seen: int) -> None:
        """Skips, once, the first `seen` draws of an epoch.

        Loaders with workers draw before Lightning sets the epoch, so it is set here.
        """
        self.set_epoch(epoch)
        self._seen = seen

    def __iter__(self) -> Iterator[Draw]:
        seen, self._seen = self._seen, 0
        return islice(super().__iter__(), seen, None)
