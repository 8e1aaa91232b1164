"""A training that is one trial of a search, ended early where the search does not believe in it any more.

Nothing here imports Optuna until a training is one.
"""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from unet_exp.config.multirun import OptunaConfig

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.pruners import BasePruner

_log = logging.getLogger(__name__)


class Pruning(Callback):
    """Reports the monitored score after each validation, and stops the training where the search says so.

    It opens its trial from the search's journal by itself, so that it works in whatever process the training runs.
    Scores are compared at the same validation: trials with other batch sizes have then seen as many images, but under
    `trainer.max_steps` they are at other places of the schedule: to search over batch sizes, set `trainer.max_epochs`.

    A journal that cannot be used costs one warning; the training goes on to its end.

    Args:
        journal: the file that `unet_exp.sweeps.search.Search` made.
        number: of the trial.
        monitor: the score, such as `val/iou/mean`; one that is not finite is not reported.

    Attributes:
        pruned_at: optimizer steps taken when the training was stopped; None if it was not.
    """

    def __init__(self, journal: Path, number: int, monitor: str) -> None:
        self.pruned_at: int | None = None
        self._journal = journal
        self._number = number
        self._monitor = monitor
        self._validations = 0
        self._trial: Trial | None = None
        self._startup_trials = 0
        self._reported = -1

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Opens the trial."""
        del module
        if trainer.is_global_zero:
            with self._warn_on_error():
                self._open()

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Reports the score and asks."""
        del module
        prune = False
        if self._trial is not None:
            with self._warn_on_error():
                prune = self._should_prune(self._trial, float(trainer.callback_metrics[self._monitor]))
        self._validations += 1
        # A training that has come to its end by itself has not been pruned.
        if trainer.strategy.reduce_boolean_decision(prune, all=False) and not trainer.should_stop:
            self.pruned_at = trainer.global_step
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training goes on counting from."""
        return {"validations": self._validations, "pruned_at": self.pruned_at}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See `state_dict`."""
        self._validations, self.pruned_at = state_dict["validations"], state_dict["pruned_at"]

    def _open(self) -> None:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        # Optuna would make a file that is not there; the lock of a dead process is found only by a whole path.
        storage = JournalStorage(JournalFileBackend(str(self._journal.resolve(strict=True))))
        study = optuna.load_study(study_name=None, storage=storage)
        config = OptunaConfig.model_validate(study.user_attrs["config"])
        study.pruner = _make_pruner(config)
        study_id = storage.get_study_id_from_name(study.study_name)
        trial_id = storage.get_trial_id_from_study_id_trial_number(study_id, self._number)
        self._startup_trials = config.startup_trials
        self._reported = max(storage.get_trial(trial_id).intermediate_values, default=-1)
        self._trial = optuna.Trial(study, trial_id)

    def _should_prune(self, trial: "Trial", score: float) -> bool:
        from optuna.trial import TrialState

        # A run that was broken off and starts again passes what it has passed before; of the last report nobody knows.
        if self._validations < self._reported or not math.isfinite(score):
            return False
        if self._validations > self._reported:
            trial.report(score, self._validations)
        prune = trial.should_prune()
        finished = trial.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return prune and len(finished) >= self._startup_trials

    @contextmanager
    def _warn_on_error(self) -> Iterator[None]:
        """Turns whatever Optuna raises into one warning, after which there is no pruning.

        That is `OSError`, `ValueError`, `KeyError`, `RuntimeError` and errors of its own, for a journal that is gone,
        damaged or locked. No narrower net holds them all, and a training must outlive each.
        """
        try:
            yield
        except Exception as error:
            self._trial = None
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            _log.warning("search: %s cannot be used (%s); this trial runs to its end", self._journal, reason)


def _make_pruner(config: OptunaConfig) -> "BasePruner":
    from optuna import pruners

    # Optuna counts from 0: validation number `warmup_validations` is the first after the warm-up.
    warmup = config.warmup_validations
    if config.pruner == "median":
        return pruners.MedianPruner(n_startup_trials=0, n_warmup_steps=warmup)
    if config.pruner == "hyperband":
        return pruners.HyperbandPruner(min_resource=max(warmup, 1))
    if config.pruner == "successive_halving":
        return pruners.SuccessiveHalvingPruner(min_resource=max(warmup, 1))
    return pruners.NopPruner()
