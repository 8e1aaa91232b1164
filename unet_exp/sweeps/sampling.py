"""Draws the values of a trial with a sampler of Optuna; the module imports it when a search begins."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from unet_exp.config.multirun import OptunaConfig, Range
from unet_exp.sweeps.space import to_word

if TYPE_CHECKING:
    import optuna
    from optuna.samplers import BaseSampler


def make_sampler(config: OptunaConfig, number: int) -> "BaseSampler":
    """A fresh sampler for the trial of this number, seeded with that and the seed of the search."""
    import numpy as np
    from optuna import samplers

    seed = int(np.random.SeedSequence((config.seed, number)).generate_state(1)[0])
    if config.sampler == "random":
        return samplers.RandomSampler(seed)
    if config.sampler == "qmc":
        # The points of one sequence, whose position is in the study. Only the first trial is random.
        return samplers.QMCSampler(
            scramble=True,
            seed=config.seed,
            independent_sampler=samplers.RandomSampler(seed),
            warn_independent_sampling=False,
        )
    # Running trials count as bad ones ("constant liar"), so that several at once differ.
    return samplers.TPESampler(n_startup_trials=config.startup_trials, constant_liar=True, seed=seed)


def suggest(trial: "optuna.Trial", key: str, entry: list[Any] | Range) -> str:
    """The value of a key for a trial, as a word."""
    if isinstance(entry, list):
        return trial.suggest_categorical(key, [to_word(value) for value in entry])
    if entry.whole:
        low, high, step = int(entry.low), int(entry.high), int(entry.step or 1)
        return to_word(trial.suggest_int(key, low, high, step=step, log=entry.log))
    return to_word(trial.suggest_float(key, entry.low, entry.high, step=entry.step, log=entry.log))


@contextmanager
def silence_warnings() -> Iterator[None]:
    """Hides Optuna's warnings about features that may change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
