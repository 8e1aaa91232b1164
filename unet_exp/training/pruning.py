"""Pruning: ends a training that is a trial of a search, where the search expects no good result of it.

Optuna is imported only in such a training.
"""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from unet_exp.config.multirun import OptunaConfig
from unet_exp.runs.study_storage import StudyAddress

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.pruners import BasePruner

_log = logging.getLogger(__name__)


class Pruning(Callback):
    """Reports the monitored score after each validation, and stops the training if the search prunes it.

    It opens its trial from the search's storage, so that it works in whatever process the training runs. Scores are
    compared at the same validation: with other batch sizes trials have seen as many images, but are at other places of
    the schedule under `trainer.max_steps`. To search over batch sizes, set `trainer.max_epochs`.

    An unusable storage costs one warning; the training continues to its end.

    Args:
        address: of the study that `unet_exp.sweeps.search.Search` made.
        number: of the trial.
        monitor: the score, such as `val/iou/mean`; a value that is not finite is not reported.

    Attributes:
        pruned_at: optimizer steps at which the training was pruned; None if it was not.
    """

    def __init__(self, address: StudyAddress, number: int, monitor: str) -> None:
        self.pruned_at: int | None = None
        self._address = address
        self._number = number
        self._monitor = monitor
        self._validations = 0
        self._trial: Trial | None = None
        self._startup_trials = 0
        self._reported = -1

    def on_fit_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Opens the trial."""
        if trainer.is_global_zero:
            with self._warn_on_error():
                self._open()

    def on_validation_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Reports the score, and stops the training if the search prunes it."""
        prune = False
        if self._trial is not None:
            with self._warn_on_error():
                prune = self._should_prune(self._trial, float(trainer.callback_metrics[self._monitor]))
        self._validations += 1
        # A training that ends by itself is not pruned.
        if trainer.strategy.reduce_boolean_decision(prune, all=False) and not trainer.should_stop:
            self.pruned_at = trainer.global_step
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training continues from."""
        return {"validations": self._validations, "pruned_at": self.pruned_at}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See `state_dict`."""
        self._validations, self.pruned_at = state_dict["validations"], state_dict["pruned_at"]

    def _open(self) -> None:
        import optuna

        storage = self._address.open(must_exist=True)
        study = optuna.load_study(study_name=self._address.name, storage=storage)
        config = OptunaConfig.model_validate(study.user_attrs["config"])
        study.pruner = _make_pruner(config)
        study_id = storage.get_study_id_from_name(study.study_name)
        trial_id = storage.get_trial_id_from_study_id_trial_number(study_id, self._number)
        self._startup_trials = config.startup_trials
        self._reported = max(storage.get_trial(trial_id).intermediate_values, default=-1)
        self._trial = optuna.Trial(study, trial_id)

    def _should_prune(self, trial: "Trial", score: float) -> bool:
        from optuna.trial import TrialState

        # A restarted run repeats its earlier validations; whether it would have been pruned at the last is unknown.
        if self._validations < self._reported or not math.isfinite(score):
            return False
        if self._validations > self._reported:
            trial.report(score, self._validations)
        prune = trial.should_prune()
        finished = trial.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return prune and len(finished) >= self._startup_trials

    @contextmanager
    def _warn_on_error(self) -> Iterator[None]:
        """Turns an error of Optuna into one warning, and pruning off.

        A missing, damaged or locked storage raises `OSError`, `ValueError`, `KeyError`, `RuntimeError`, errors of
        Optuna or of a database, and a training must survive each of them.
        """
        try:
            yield
        except Exception as error:
            self._trial = None
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            _log.warning("search: %s cannot be used (%s); this trial runs to its end", self._address.storage, reason)


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
