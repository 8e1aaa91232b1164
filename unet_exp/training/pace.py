"""Measures how long a training will take, and says so where a CPU is too slow for it."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytorch_lightning as pl
import yaml
from pytorch_lightning.callbacks import Callback

from unet_exp.files import conf_dir

_SMALL = "small"
_ENOUGH = 5.0
"""Seconds that are measured."""
_LONG = 3600.0
"""Seconds of a training from which on it is told."""


class PaceWatch(Callback):
    """Measures the first steps but one, and tells how long all of them take if that is more than an hour.

    Args:
        steps: optimizer steps of the whole training.
        limit: seconds after which it ends in any case; None for no limit.
        tell: shows a line, and keeps it.
        made_for_cpu: the word of a recipe that is made for a CPU; None where it is the one that trains.
        clock: seconds since any moment.
    """

    def __init__(
        self,
        steps: int,
        limit: float | None,
        tell: Callable[[str], None],
        made_for_cpu: str | None = "experiment=small",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._steps, self._limit, self._tell, self._clock = steps, limit, tell, clock
        self._made_for_cpu = made_for_cpu
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
            ways = [
                "a GPU, a smaller model.width, data.tile or trainer.max_steps takes less",
                "trainer.max_time=1h ends it in time",
                *([] if self._made_for_cpu is None else [f"{self._made_for_cpu} is made for a CPU"]),
            ]
            seconds = f"{each:.2g}" if each < 100 else f"{each:.0f}"  # the same in most runs of a sweep, so told once
            self._tell(
                f"a step takes {seconds} s on this CPU, so this training takes about {_describe(left)}: "
                f"{', '.join(ways[:-1])}, and {ways[-1]}"
            )


def find_small_twin(words: Sequence[str]) -> str | None:
    """The word of the recipe that a CPU should train in place of the typed one.

    Args:
        words: of the command line.

    Returns:
        `experiment=paper_isbi2012_small` for `experiment=paper_isbi2012`, `experiment=small` where a recipe has no such
        twin; None for a recipe that is small itself or builds on that one, and for one of the user's own, which may.
    """
    typed = [word.partition("=")[2] for word in words if word.lstrip("+").startswith("experiment=")]
    name = typed[-1] if typed else ""
    if name.endswith(f"_{_SMALL}") or (name and _may_build_on_small(name)):
        return None
    twin = f"{name}_{_SMALL}"
    return f"experiment={twin if name and (conf_dir() / 'experiment' / f'{twin}.yaml').is_file() else _SMALL}"


def _may_build_on_small(name: str) -> bool:
    """Whether a recipe is `small`, begins with it, or is no file of `conf/`, so that nothing is known of it."""
    path = conf_dir() / "experiment" / f"{name}.yaml"
    if name == _SMALL or not path.is_file():
        return True
    bases = yaml.safe_load(path.read_text(encoding="utf-8")).get("defaults", ())
    return any(_may_build_on_small(base) for base in bases if isinstance(base, str) and base != "_self_")


def _describe(seconds: float) -> str:
    """Such as `3 hours` or `2 days`."""
    hours = seconds / 3600
    count, unit = (hours / 24, "days") if hours >= 48 else (hours, "hours")
    return f"{count:.2g} {unit}"
