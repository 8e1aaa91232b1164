"""Search: draws the trials of `search=optuna` and records their outcomes.

Optuna is imported when a search begins; `unet_exp.training.pruning` prunes a trial from inside its run.
"""

import importlib.util
import math
import shlex
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from unet_exp.config.multirun import OptunaConfig, Range
from unet_exp.config.running import OwnMetricConfig
from unet_exp.errors import ConfigError
from unet_exp.extras import hint_extra
from unet_exp.files import write_csv, write_text
from unet_exp.sweeps.space import to_overrides, to_word

if TYPE_CHECKING:
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator
    from optuna.samplers import BaseSampler

TrialStatus = Literal["finished", "pruned", "failed"]

_REPEATS = "repeats"  # the attribute of a trial with the number of the earlier one whose words it has
_ENOUGH = 10  # finished trials for an importance: PED-ANOVA looks at the best five or more


@dataclass(frozen=True)
class Outcome:
    """The result of a trial: a finished one has the best validation score; without a finite one it counts as failed."""

    status: TrialStatus
    value: float | None = None


@dataclass(frozen=True)
class Trial:
    """A trial.

    Attributes:
        number: counted from 0.
        overrides: the words to append to those of the run.
        repeats: the number of an earlier trial with these words, whose outcome is this trial's too; None for a trial to
            be run.
        outcome: of that earlier trial.
    """

    number: int
    overrides: list[str]
    repeats: int | None = None
    outcome: Outcome | None = None


class Search:
    """A study of Optuna in a journal file, to which further processes report.

    A fresh sampler draws each trial, seeded with the search's seed and the trial's number. So a resumed search draws
    what an uninterrupted one would have drawn, if trials come one at a time and their scores repeat; with several at
    once it depends on which ends first.

    Training the same words again would give the same score. So a trial that repeats an earlier one counts as a trial,
    takes over its outcome, and is not run; one that failed has none, and is tried again.

    Args:
        config: its space, how it is searched, and how many trials.
        monitor: the score, such as `val/iou/mean`.
        journal: a new file, or that of the search to resume.
        own: scores of the user's own.

    Raises:
        ConfigError: if Optuna is missing, or the journal belongs to a search of another score or space.
    """

    def __init__(self, config: OptunaConfig, monitor: str, journal: Path, own: Sequence[OwnMetricConfig] = ()) -> None:
        require_optuna()
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        from unet_exp.metrics.declarations import direction

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._config, self._monitor, self._mode = config, monitor, direction(monitor, own)
        self._running: set[int] = set()
        _drop_torn_line(journal)
        # Optuna finds the lock of a dead process only by the absolute path.
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
        """The next trials, up to `parallel` (None: 1) at once; interrupted ones of an earlier start come first.

        Trials that repeat an earlier one come with its outcome; where it is still running, they wait for it.

        Returns:
            Empty if all trials, or all combinations of the space, have an outcome, or `parallel` are running or wait.
        """
        half_done = iter(
            [
                trial.number
                for trial in self._trials()
                if not trial.state.is_finished() and trial.number not in self._running
            ]
        )
        asked = []
        for _ in range((self._config.parallel or 1) - len(self._running)):
            number = next(half_done, None)
            if number is None and (self.exhausted or len(self._trials()) >= self._config.trials):
                break
            asked.append(self._take(number))
        return [trial for trial in asked if trial is not None]

    def tell(self, number: int, outcome: Outcome) -> None:
        """Records the outcome of a trial; only the first outcome counts."""
        from optuna.trial import TrialState

        value = outcome.value if outcome.status == "finished" else None
        if value is not None and math.isfinite(value):
            self._study.tell(number, value, skip_if_finished=True)
        else:
            # The value of a pruned trial is the last that it reported.
            state = TrialState.PRUNED if outcome.status == "pruned" else TrialState.FAIL
            self._study.tell(number, state=state, skip_if_finished=True)
        self._running.discard(number)

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

    @property
    def exhausted(self) -> bool:
        """Whether each combination of the space has a trial that has not failed."""
        tried = {
            tuple(trial.params.items())
            for trial in self._trials()
            if trial.state.name != "FAIL" and len(trial.params) == len(self._config.space)
        }
        return self._config.combinations is not None and len(tried) >= self._config.combinations

    def counts(self) -> dict[str, int]:
        """How many trials are `finished`, `pruned`, `failed`, `repeated` and `running` (without an outcome)."""
        states = ["repeated" if _repeats(trial) is not None else _name_status(trial) for trial in self._trials()]
        return {status: states.count(status) for status in ("finished", "pruned", "failed", "repeated", "running")}

    def write(self, folder: Path) -> None:
        """Writes `trials.csv`, `search.png` (history and importance) and `best.txt` (words of the best trial)."""
        from unet_exp.figures.search_plots import draw_search

        rows = [
            {
                "trial": trial.number,
                "status": _name_status(trial),
                "repeats": _repeats(trial),
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

    def _take(self, number: int | None) -> Trial | None:
        """A new trial, or a half-done one by its number; None for one that repeats a trial still running."""
        trial, words = self._draw(number)
        # A half-done trial that repeats none had already been handed out.
        if number is None or trial.user_attrs.get(_REPEATS) is not None:
            twin = self._find_twin(trial)
            if twin is not None or number is not None:
                trial.set_user_attr(_REPEATS, None if twin is None else twin.number)
            if twin is not None:
                return self._repeat(trial, words, twin) if twin.state.is_finished() else None
        self._running.add(trial.number)
        return Trial(trial.number, words)

    def _find_twin(self, trial: "optuna.Trial") -> "optuna.trial.FrozenTrial | None":
        """An earlier trial with the same words that has not failed; one with an outcome comes first."""
        twins = [
            other
            for other in self._trials()
            if other.number < trial.number and other.params == trial.params and other.state.name != "FAIL"
        ]
        return min(twins, key=lambda twin: (not twin.state.is_finished(), twin.number), default=None)

    def _repeat(self, trial: "optuna.Trial", words: list[str], twin: "optuna.trial.FrozenTrial") -> Trial:
        """Tells the study what training these words again would give."""
        with _silence_warnings():
            for validation, score in twin.intermediate_values.items():
                trial.report(score, validation)
        outcome = Outcome("pruned" if twin.state.name == "PRUNED" else "finished", twin.value)
        self.tell(trial.number, outcome)
        return Trial(trial.number, words, twin.number, outcome)

    def _draw(self, number: int | None) -> "tuple[optuna.Trial, list[str]]":
        """A new trial, or an earlier one by its number, and its words."""
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
        return trial, to_overrides(words)

    def _evaluator(self) -> "PedAnovaImportanceEvaluator | None":
        """Measures the importance of each key for the best trials; None for too few trials."""
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


def _repeats(trial: "optuna.trial.FrozenTrial") -> int | None:
    """The number of the trial whose outcome this one has taken over."""
    number: int | None = trial.user_attrs.get(_REPEATS) if trial.state.is_finished() else None
    return number


def _name_status(trial: "optuna.trial.FrozenTrial") -> str:
    names = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed"}
    return names.get(trial.state.name, "running")


def require_optuna() -> None:
    """Checks that the extra of a search is installed.

    Raises:
        ConfigError: if not.
    """
    if importlib.util.find_spec("optuna") is None:
        raise ConfigError(f"search=optuna needs the extra: {hint_extra('sweep')}")


@contextmanager
def _silence_warnings() -> Iterator[None]:
    """Hides Optuna's warnings about features that may change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _drop_torn_line(journal: Path) -> None:
    """Removes a half-written last line of a killed process; Optuna would append to it and lose both."""
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
        # The points of one sequence, whose position is in the journal. Only the first trial is random.
        return samplers.QMCSampler(
            scramble=True,
            seed=config.seed,
            independent_sampler=samplers.RandomSampler(seed),
            warn_independent_sampling=False,
        )
    # Running trials count as bad ones ("constant liar"), so that several at once differ.
    return samplers.TPESampler(n_startup_trials=config.startup_trials, constant_liar=True, seed=seed)


def _suggest(trial: "optuna.Trial", key: str, entry: list[Any] | Range) -> str:
    """The value of a key for a trial, as a word."""
    if isinstance(entry, list):
        return trial.suggest_categorical(key, [to_word(value) for value in entry])
    if entry.whole:
        low, high, step = int(entry.low), int(entry.high), int(entry.step or 1)
        return to_word(trial.suggest_int(key, low, high, step=step, log=entry.log))
    return to_word(trial.suggest_float(key, entry.low, entry.high, step=entry.step, log=entry.log))
