"""Measures how long a training will take, and says so where a CPU is too slow for it."""

import math
import time
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

_ENOUGH = 5.0
"""Seconds that are measured."""
_LONG = 3600.0
"""Seconds of a training from which on it is told."""


class PaceWatch(Callback):
    """Measures the first steps but one, and tells how long all of them take if that is more than an hour.

    Args:
        steps: optimizer steps of the whole training.
        limit: seconds after which it ends in any case; None for no limit.
        tell: shows a line.
        clock: seconds since any moment.
    """

    def __init__(
        self,
        steps: int,
        limit: float | None,
        tell: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._steps, self._limit, self._tell, self._clock = steps, limit, tell, clock
        self._first: tuple[int, float] | None = None
        self._told = limit is not None and limit <= _LONG

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Looks at the clock after each of the first steps."""
        if self._told:
            return
        step, now = trainer.global_step, self._clock()
        if self._first is None:
            self._first = (step, now)
            return
        before, start = self._first
        if step == before or now - start < _ENOUGH:
            return
        self._told = True
        each = (now - start) / (step - before)
        left = min(each * (self._steps - step), self._limit or math.inf)
        if left > _LONG and trainer.is_global_zero:
            self._tell(
                f"warning: a step takes {each:.3g} s on this CPU, so this training takes about {_describe(left)}: "
                "a GPU, a smaller model.width, data.tile or trainer.max_steps takes less, "
                "trainer.max_time=1h ends it in time, and experiment=small is made for a CPU"
            )


def _describe(seconds: float) -> str:
    """Such as `3 hours` or `2 days`."""
    hours = seconds / 3600
    count, unit = (hours / 24, "days") if hours >= 48 else (hours, "hours")
    return f"{count:.2g} {unit}"
