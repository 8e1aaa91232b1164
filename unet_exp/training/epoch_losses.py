"""The losses of an epoch's batches: they stay on the device until somebody looks at them."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from unet_exp.errors import TrainingError


class EpochLosses:
    """The losses of the batches of an epoch.

    To ask for the loss of a batch is to wait for the device to come to it; to ask for those of many waits once.
    """

    def __init__(self) -> None:
        self._known: list[float] = []
        self._last: float | None = None
        self._waiting: list[tuple[Tensor, int, float]] = []

    def add(self, loss: Tensor, step: int, rate: float) -> None:
        """Adds the loss () of a batch, of the optimizer step `step` with the learning rate `rate`."""
        self._waiting.append((loss.detach(), step, rate))

    def look(self) -> None:
        """Fetches the losses that are still on the device, all at once, and checks them.

        Raises:
            TrainingError: if one is not finite; it names the first.
        """
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        values = torch.stack([loss for loss, _, _ in waiting]).tolist()
        for value, (_, step, rate) in zip(values, waiting, strict=True):
            if not math.isfinite(value):
                raise not_finite(f"the training loss is {value}", step, rate)
        self._known += values
        self._last = values[-1]

    @property
    def last(self) -> float | None:
        """The last loss at the last look, be it of an earlier epoch; None before the first."""
        return self._last

    def all(self) -> list[float]:
        """Those of all batches so far, in their order; see `look`."""
        self.look()
        return list(self._known)

    def mean(self) -> float:
        """The mean of `all`, nan without any."""
        return mean_loss(self.all())

    def start(self, known: Iterable[float] = ()) -> None:
        """Starts an epoch, or resumes one of which these losses are known."""
        self._known, self._waiting = list(known), []


def mean_loss(losses: Sequence[float]) -> float:
    """The mean; nan of none."""
    return torch.tensor(losses, dtype=torch.float64).mean().item()


def not_finite(what: str, step: int, rate: float) -> TrainingError:
    """The error that says `what` is not finite at a step with this learning rate."""
    return TrainingError(
        f"{what} at step {step} (learning rate {rate:.3g}): "
        "try a smaller optimizer.lr, trainer.clip_norm=1 or scheduler.warmup_steps"
    )
