"""What decides the runs of `search=optuna`: trials that are asked for, and their outcomes.

Nothing here imports torch; Optuna is imported when a search begins. What prunes a trial from inside its run is
`unet_exp.training.pruning`.
"""

import importlib.util
import math
import shlex
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from unet_exp.config.multirun import OptunaConfig, Range
from unet_exp.errors import ConfigError
from unet_exp.files import write_csv, write_text
from unet_exp.sweeps.space import to_overrides, to_word

if TYPE_CHECKING:
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator
    from optuna.samplers import BaseSampler

TrialStatus = Literal["finished", "pruned", "failed"]

_ENOUGH = 10
"""Finished trials from which on the importance of a key can be told: PED-ANOVA looks at the best five or more."""


@dataclass(frozen=True)
class Trial:
    """Values that the search wants to know the score of.

    Attributes:
        number: counted from 0.
        overrides: words to append to the run's, in Hydra's grammar.
    """

    number: int
    overrides: list[str]


@dataclass(frozen=True)
class Outcome:
    """What has become of a trial.

    Attributes:
        status: a finished one without a finite value counts as failed.
        value: the best validation score; only a finished trial needs one.
    """

    status: TrialStatus
    value: float | None = None


class Search:
    """A study of Optuna in a journal file, which further processes report to.

    Each trial is drawn by a fresh sampler, seeded with the search's seed and the trial's number. Therefore a search
    that was stopped and goes on asks for what an undisturbed one would have asked for, if trials come one at a time
    and their scores repeat; with several at once it depends on which of them ends first.

    Args:
        config: its space, how it is searched, and how many trials.
        monitor: the score, such as `val/iou/mean`.
        journal: made where it is not there; else the search in it goes on.

    Raises:
        ConfigError: if Optuna is missing, or the journal belongs to a search for something else or in another space.
    """

    def __init__(self, config: OptunaConfig, monitor: str, journal: Path) -> None:
        require_optuna()
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        from unet_exp.metrics.declarations import direction

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._config, self._monitor, self._mode = config, monitor, direction(monitor)
        self._out: set[int] = set()
        _drop_torn_line(journal)
        # A whole path: the lock of a dead process is found only by one.
        self._storage = JournalStorage(JournalFileBackend(str(journal.resolve())))
        goal: Literal["minimize", "maximize"] = "minimize" if self._mode == "min" else "maximize"
        self._study = optuna.create_study(
            study_name="search", storage=self._storage, direction=goal, load_if_exists=True
        )
        known = self._study.user_attrs
        if "config" in known:
            self._require_same(known, journal)
        for key, value in {"config": config.model_dump(), "monitor": monitor, "mode": self._mode}.items():
            if known.get(key) != value:
                self._study.set_user_attr(key, value)

    def ask(self) -> list[Trial]:
        """The next trials, so many that `parallel` (None: 1) are out; what an earlier start left half-done comes first.

        Returns:
            Empty if all `trials` are told of, or as many as may be are out.
        """
        known = self._trials()
        room = (self._config.parallel or 1) - len(self._out)
        half_done = [trial.number for trial in known if not trial.state.is_finished() and trial.number not in self._out]
        again = half_done[: max(room, 0)]
        new = max(min(room - len(again), self._config.trials - len(known)), 0)
        return [self._draw(number) for number in (*again, *[None] * new)]

    def tell(self, number: int, outcome: Outcome) -> None:
        """Records what has become of a trial; of one that was told already the first word counts."""
        from optuna.trial import TrialState

        value = outcome.value if outcome.status == "finished" else None
        if value is not None and math.isfinite(value):
            self._study.tell(number, value, skip_if_finished=True)
        else:
            # A pruned trial's value is the last that it has reported.
            state = TrialState.PRUNED if outcome.status == "pruned" else TrialState.FAIL
            self._study.tell(number, state=state, skip_if_finished=True)
        self._out.discard(number)

    def best(self) -> tuple[Trial, float] | None:
        """The finished trial with the best value, and that value."""
        try:
            found = self._study.best_trial
        except ValueError:  # none has finished
            return None
        assert found.value is not None
        # Choices are kept as words.
        words = {key: value if isinstance(value, str) else to_word(value) for key, value in found.params.items()}
        return Trial(found.number, to_overrides(words)), found.value

    def counts(self) -> dict[str, int]:
        """How many trials are `finished`, `pruned`, `failed` and `running` (asked for and not told of)."""
        states = [_name_status(trial) for trial in self._trials()]
        return {status: states.count(status) for status in ("finished", "pruned", "failed", "running")}

    def write(self, folder: Path) -> None:
        """Writes `trials.csv`, `search.png` (history and importance) and `best.txt` (words of the best trial)."""
        from unet_exp.figures.search_plots import draw_search

        rows = [
            {
                "trial": trial.number,
                "status": _name_status(trial),
                self._monitor: trial.value,
                "validations": len(trial.intermediate_values),
                **trial.params,
            }
            for trial in self._trials()
        ]
        write_csv(folder / "trials.csv", rows)
        with _silence_warnings():
            draw_search(self._study, self._evaluator(), folder / "search.png", self._monitor)
        if best := self.best():
            write_text(folder / "best.txt", shlex.join(best[0].overrides) + "\n")

    def _trials(self) -> "list[optuna.trial.FrozenTrial]":
        return self._study.get_trials(deepcopy=False)

    def _draw(self, number: int | None) -> Trial:
        """The words of a new trial, or of one that was asked for before."""
        import optuna

        with _silence_warnings():
            self._study.sampler = _make_sampler(self._config, len(self._trials()) if number is None else number)
            if number is None:
                trial = self._study.ask()
            else:
                study_id = self._storage.get_study_id_from_name(self._study.study_name)
                trial_id = self._storage.get_trial_id_from_study_id_trial_number(study_id, number)
                trial = optuna.Trial(self._study, trial_id)
            words = {key: _suggest(trial, key, entry) for key, entry in self._config.space.items()}
        self._out.add(trial.number)
        return Trial(trial.number, to_overrides(words))

    def _evaluator(self) -> "PedAnovaImportanceEvaluator | None":
        """What tells the share of each key in what sets the best trials apart; None where there are too few."""
        from optuna.importance import PedAnovaImportanceEvaluator

        finished = self.counts()["finished"]
        if finished < _ENOUGH:
            return None
        return PedAnovaImportanceEvaluator(target_quantile=max(0.1, _ENOUGH / 2 / finished))

    def _require_same(self, known: dict[str, Any], journal: Path) -> None:
        before, now = known["config"]["space"], self._config.model_dump()["space"]
        changed = [f"search.space.{key}" for key in {**before, **now} if before.get(key) != now.get(key)]
        if (known["monitor"], known["mode"]) != (self._monitor, self._mode):
            changed.append("trainer.monitor")
        if changed:
            raise ConfigError(
                f"{journal}: this search was started with another {', '.join(changed)}; "
                "go on with what it was started with, or start a new one"
            )


def _name_status(trial: "optuna.trial.FrozenTrial") -> str:
    names = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed"}
    return names.get(trial.state.name, "running")


def require_optuna() -> None:
    """Finds out whether the extra that a search needs is installed.

    Raises:
        ConfigError: if not.
    """
    if importlib.util.find_spec("optuna") is None:
        raise ConfigError("search=optuna needs the extra: pip install 'unet-exp[sweep]'")


@contextmanager
def _silence_warnings() -> Iterator[None]:
    """Without what Optuna says of parts that may change in its next release."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _drop_torn_line(journal: Path) -> None:
    """Cuts off a line that a killed process did not write to its end; Optuna would append to it and lose both."""
    if journal.exists():
        content = journal.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with journal.open("r+b") as file:
                file.truncate(whole)


def _make_sampler(config: OptunaConfig, number: int) -> "BaseSampler":
    import numpy as np
    from optuna import samplers

    seed = int(np.random.SeedSequence((config.seed, number)).generate_state(1)[0])
    if config.sampler == "random":
        return samplers.RandomSampler(seed)
    if config.sampler == "qmc":
        # The points of one sequence; its place in it is in the journal. Only the first trial is drawn at random.
        return samplers.QMCSampler(
            scramble=True,
            seed=config.seed,
            independent_sampler=samplers.RandomSampler(seed),
            warn_independent_sampling=False,
        )
    # Trials that are still out count as bad ones ("constant liar"), so that several at once differ.
    return samplers.TPESampler(n_startup_trials=config.startup_trials, constant_liar=True, seed=seed)


def _suggest(trial: "optuna.Trial", key: str, entry: list[Any] | Range) -> str:
    """The trial's value of a key, as a word."""
    if isinstance(entry, list):
        return trial.suggest_categorical(key, [to_word(value) for value in entry])
    if entry.whole:
        low, high, step = int(entry.low), int(entry.high), int(entry.step or 1)
        return to_word(trial.suggest_int(key, low, high, step=step, log=entry.log))
    return to_word(trial.suggest_float(key, entry.low, entry.high, step=entry.step, log=entry.log))
