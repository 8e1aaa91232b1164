"""What lets a training go on from `last.ckpt` and end with the very weights of one that nothing has disturbed.

The state that Lightning does not save, or saves at a moment that it cannot go on from, has its home here.
"""

import signal
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from torch import Tensor

from unet_exp import signals
from unet_exp.checkpoints.reading import LOOPS, RANDOM_STATES
from unet_exp.training.patches import Draw, PatchSampler


class LastCheckpoint(Callback):
    """Writes `last.ckpt`: after each validation, whenever `every` seconds have passed, on a signal, and at the end.

    It saves between two batches, when the optimizer has taken its step, validation, schedules and metrics are done with
    the one, and nothing is begun of the other: one kind of moment, whatever part of the training it lies in.

    Args:
        path: of the file.
        every: seconds between two of them at most, but for the batches until the next optimizer step.

    Attributes:
        over: whether the training that was resumed had come to its end already.
    """

    def __init__(self, path: Path, every: float) -> None:
        self.over = False
        self._path = path
        self._every = every
        self._saved_at = time.monotonic()
        self._validated = False
        self._random: dict[str, Tensor] = {}
        self._resumed = False

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Leaves a training as it is that had come to its end."""
        del module
        if self.over:
            trainer.should_stop = True

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Lets no other handler of Lightning's stop a training, which would not save first."""
        del trainer, module
        signals.reinstall()

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Asks for a checkpoint at the next batch: EMA and the schedules are not done with this one."""
        del trainer, module
        self._validated = True

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        """Goes on where the checkpoint was saved, or saves one where it is due."""
        del module, batch
        if self._resumed:
            self._restore(trainer)
            self._resumed = False
        late = time.monotonic() - self._saved_at >= self._every
        # All processes of a training do the same, whichever of them the clock or a signal has reached.
        due = trainer.strategy.reduce_boolean_decision(self._validated or late, all=False)
        asked = trainer.strategy.reduce_boolean_decision(signals.received() is not None, all=False)
        if batch_idx % trainer.accumulate_grad_batches:
            return
        if (due or asked) and trainer.global_step:
            self._save(trainer)
        if asked:
            raise signals.Stopped(signals.received() or signal.SIGTERM)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Saves the end."""
        del module
        self.over = True
        self._save(trainer)

    def on_save_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Adds the random states, and forgets the batch that was fetched and not begun: Lightning counts it as seen."""
        del module
        checkpoint[RANDOM_STATES] = {
            device: _gather_states(trainer, state) for device, state in _get_random_states(trainer).items()
        }
        progress = checkpoint[LOOPS]["fit_loop"]["epoch_loop.batch_progress"]
        for count in (progress["total"], progress["current"]):
            count["ready"] = count["completed"]
        progress["is_last_batch"] = False

    def on_load_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Takes up this process's random states."""
        del module
        rank = trainer.global_rank
        # PyTorch sets a generator from the first byte of the memory that a view looks into: a copy has its own.
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
        # Lightning counts a step too many for the loggers, and would leave the plateau out at the end of this epoch.
        trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step
        trainer.fit_loop.restarting = False


def _get_random_states(trainer: pl.Trainer) -> dict[str, Tensor]:
    """Of the generators that this process draws from, by their device; a GPU that it does not use is left alone."""
    states, device = {"cpu": torch.get_rng_state()}, trainer.strategy.root_device
    if device.type != "cpu":
        states[device.type] = torch.get_device_module(device).get_rng_state()
    return states


def _gather_states(trainer: pl.Trainer, state: Tensor) -> Tensor:
    """(processes, bytes): networks and losses that draw as the data have it come to states of their own."""
    states: Tensor = trainer.strategy.all_gather(state.to(trainer.strategy.root_device))
    return states.cpu().view(trainer.world_size, -1)


class BestCheckpoint(ModelCheckpoint):
    """Lightning's, which forgets the best score of a run whose folder has been moved."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes the best checkpoint to be in today's folder."""
        paths = ("best_model_path", "kth_best_model_path", "last_model_path")
        moved = {key: self._move(state_dict[key]) for key in paths}
        scores = {self._move(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **moved, "best_k_models": scores, "dirpath": self.dirpath})
        self.current_score = state_dict["current_score"]

    def _move(self, path: str) -> str:
        assert self.dirpath is not None
        return str(Path(self.dirpath) / Path(path).name) if path else ""


class ResumableSampler(PatchSampler):
    """Can begin in the middle of an epoch; what is skipped is not decoded."""

    _seen = 0

    def start_at(self, epoch: int, seen: int) -> None:
        """Begins anew, once, behind the first `seen` draws of an epoch.

        Loaders with workers ask for draws before Lightning names the epoch, so it is named here.
        """
        self.set_epoch(epoch)
        self._seen = seen

    def __iter__(self) -> Iterator[Draw]:
        seen, self._seen = self._seen, 0
        return islice(super().__iter__(), seen, None)
