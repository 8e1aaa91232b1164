"""What decides the runs of `search=optuna`: the space as written and typed, and trials asked for and told of.

Nothing here imports torch; Optuna is imported when a search begins. What prunes a trial from inside its run is
`unet_exp.training.pruning`.
"""

import importlib.util
import math
import re
import shlex
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hydra.core.override_parser.types import IntervalSweep, Override, Quote, QuotedString, RangeSweep, Sweep, ValueType

from unet_exp.compose import parse_overrides
from unet_exp.config import Config
from unet_exp.config.search import OptunaConfig, Range, parse_search
from unet_exp.errors import ConfigError
from unet_exp.runs.folder import write_csv, write_text
from unet_exp.schema import flat

if TYPE_CHECKING:
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator
    from optuna.samplers import BaseSampler

Status = Literal["finished", "pruned", "failed"]

_LEARNING = tuple(f"data.{key}" for key in ("tile", "batch_size", "num_workers", "tiles_per_epoch", "normalization"))
"""Keys that say how to learn from the data; the others of `data` say from which, and on what the score is measured."""
_MEASURING = tuple(f"trainer.{key}" for key in ("monitor", "val_every_epochs", "limit_batches", "overfit"))
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

    status: Status
    value: float | None = None


def with_typed(config: OptunaConfig, typed: Iterable[Override]) -> OptunaConfig:
    """The search with what was typed: several values of a key join its space, a single one takes the key out.

    Args:
        config: the search as composed.
        typed: the command line.

    Raises:
        ConfigError: for a sweep that cannot be searched.
    """
    space = config.model_dump()["space"]
    for override in typed:
        if override.is_sweep_override():
            space[override.key_or_group] = space_entry(override)
        else:
            space.pop(override.key_or_group, None)
    search = parse_search({**config.model_dump(), "space": space})
    assert search is not None
    return search


def space_entry(override: Override) -> list[Any] | dict[str, Any]:
    """A sweep of the command line as an entry of the space.

    Args:
        override: `fusion=concat,add`, `model.width=range(8,33,8)`, `optimizer.lr=interval(0.0001,0.01)`, or one of the
            latter as `tag(log, ...)`. An end of an interval is included; `int(interval(1,9))` is of whole numbers.

    Returns:
        Plain values, as in `conf/search/`.

    Raises:
        ConfigError: for what has no meaning in a search.
    """
    line, sweep = override.input_line, override.value()
    if override.value_type == ValueType.GLOB_CHOICE_SWEEP:
        raise ConfigError(f"{line}: a search takes no glob; list the options with commas between them")
    assert isinstance(sweep, Sweep)
    if sweep.tags - {"log"} or (sweep.tags and override.is_choice_sweep()):
        raise ConfigError(f"{line}: the only tag is log, of an interval or a range")
    log = "log" in sweep.tags
    if isinstance(sweep, IntervalSweep):
        return {"low": sweep.start, "high": sweep.end, "log": log}
    if isinstance(sweep, RangeSweep):
        # Hydra adds the steps up; their rounding errors are no part of what was meant.
        values: list[Any] = sorted(
            value if isinstance(value, int) else float(f"{value:.12g}") for value in override.sweep_iterator()
        )
        if len(values) < 2:
            raise ConfigError(f"{line}: the range leaves nothing to choose")
        step = None if log and abs(sweep.step) == 1 else abs(sweep.step)
        return {"low": values[0], "high": values[-1], "log": log, "step": step}
    texts = override.sweep_string_iterator()
    return [parse_overrides([f"{override.key_or_group}={text}"])[0].value() for text in texts]


def check_search(config: OptunaConfig, compose: Callable[[list[str]], Config]) -> None:
    """Finds out before the first trial what would make trials fail, or their scores incomparable.

    Every value of a list and both ends of a range are composed with the first value of all other keys.

    Args:
        config: the search, its space complete.
        compose: makes a training's config of words beside those that all trials share.

    Raises:
        ConfigError: in one line that names the key.
    """
    _require_optuna()
    if not config.space:
        raise ConfigError(
            "search=optuna has nothing to search: give search.space, or type values such as "
            "'optimizer.lr=tag(log,interval(0.0001,0.1))' fusion=concat,add"
        )
    ends = {
        key: [_word(value) for value in (entry if isinstance(entry, list) else (entry.low, entry.high))]
        for key, entry in config.space.items()
    }
    first = {key: words[0] for key, words in ends.items()}
    base = flat(compose(_words(first)).model_dump())
    for key, words in ends.items():
        entry = config.space[key]
        if isinstance(entry, Range) and entry.whole and isinstance(base.get(key), float):
            raise ConfigError(
                f"search.space.{key}: low={entry.low} and high={entry.high} mean whole numbers, and this key takes "
                f"others too; write {float(entry.low)} and {float(entry.high)}"
            )
        for word in words[1:]:
            other = flat(compose(_words({**first, key: word})).model_dump())
            measured = (name for name in {**base, **other} if _is_measured(name, base["trainer.monitor"]))
            if changed := next((name for name in measured if base.get(name) != other.get(name)), None):
                raise ConfigError(
                    f"search.space.{key}: it changes {changed}, and scores of such trials cannot be compared; "
                    "take it out of the space, and sweep over it without a search"
                )


class Search:
    """A study of Optuna in a journal file, which further processes report to.

    Each trial is drawn by a fresh sampler, seeded with the search's seed and the trial's number. Therefore a search
    that was stopped and goes on asks for what an undisturbed one would have asked for, if trials come one at a time
    and their scores repeat; with several at once it depends on which of them ends first.

    Args:
        config: its space, how it is searched, and how many trials.
        monitor: the score, such as `val/iou/mean`.
        mode: whether its best value is the smallest or the largest.
        journal: made where it is not there; else the search in it goes on.

    Raises:
        ConfigError: if Optuna is missing, or the journal belongs to a search for something else or in another space.
    """

    def __init__(self, config: OptunaConfig, monitor: str, mode: Literal["min", "max"], journal: Path) -> None:
        _require_optuna()
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._config, self._monitor, self._mode = config, monitor, mode
        self._out: set[int] = set()
        _drop_torn_line(journal)
        # A whole path: the lock of a dead process is found only by one.
        self._storage = JournalStorage(JournalFileBackend(str(journal.resolve())))
        direction: Literal["minimize", "maximize"] = "minimize" if mode == "min" else "maximize"
        self._study = optuna.create_study(
            study_name="search", storage=self._storage, direction=direction, load_if_exists=True
        )
        known = self._study.user_attrs
        if "config" in known:
            self._require_same(known, journal)
        for key, value in {"config": config.model_dump(), "monitor": monitor, "mode": mode}.items():
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
        return [self._drawn(number) for number in (*again, *[None] * new)]

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
        words = {key: value if isinstance(value, str) else _word(value) for key, value in found.params.items()}
        return Trial(found.number, _words(words)), found.value

    def counts(self) -> dict[str, int]:
        """How many trials are `finished`, `pruned`, `failed` and `running` (asked for and not told of)."""
        states = [_status(trial) for trial in self._trials()]
        return {status: states.count(status) for status in ("finished", "pruned", "failed", "running")}

    def write(self, folder: Path) -> None:
        """Writes `trials.csv`, `search.png` (history and importance) and `best.txt` (words of the best trial)."""
        from unet_exp.figures.search_plots import draw_search

        rows = [
            {
                "trial": trial.number,
                "status": _status(trial),
                self._monitor: trial.value,
                "validations": len(trial.intermediate_values),
                **trial.params,
            }
            for trial in self._trials()
        ]
        write_csv(folder / "trials.csv", rows)
        with _quiet():
            draw_search(self._study, self._evaluator(), folder / "search.png", self._monitor)
        if best := self.best():
            write_text(folder / "best.txt", shlex.join(best[0].overrides) + "\n")

    def _trials(self) -> "list[optuna.trial.FrozenTrial]":
        return self._study.get_trials(deepcopy=False)

    def _drawn(self, number: int | None) -> Trial:
        """The words of a new trial, or of one that was asked for before."""
        import optuna

        with _quiet():
            self._study.sampler = _sampler(self._config, len(self._trials()) if number is None else number)
            if number is None:
                trial = self._study.ask()
            else:
                study_id = self._storage.get_study_id_from_name(self._study.study_name)
                trial_id = self._storage.get_trial_id_from_study_id_trial_number(study_id, number)
                trial = optuna.Trial(self._study, trial_id)
            words = {key: _suggested(trial, key, entry) for key, entry in self._config.space.items()}
        self._out.add(trial.number)
        return Trial(trial.number, _words(words))

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


def _status(trial: "optuna.trial.FrozenTrial") -> str:
    names = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed"}
    return names.get(trial.state.name, "running")


def _require_optuna() -> None:
    if importlib.util.find_spec("optuna") is None:
        raise ConfigError("search=optuna needs the extra: pip install 'unet-exp[sweep]'")


@contextmanager
def _quiet() -> Iterator[None]:
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


def _sampler(config: OptunaConfig, number: int) -> "BaseSampler":
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


def _suggested(trial: "optuna.Trial", key: str, entry: list[Any] | Range) -> str:
    """The trial's value of a key, as a word."""
    if isinstance(entry, list):
        return trial.suggest_categorical(key, [_word(value) for value in entry])
    if entry.whole:
        low, high, step = int(entry.low), int(entry.high), int(entry.step or 1)
        return _word(trial.suggest_int(key, low, high, step=step, log=entry.log))
    return _word(trial.suggest_float(key, entry.low, entry.high, step=entry.step, log=entry.log))


def _words(values: dict[str, str]) -> list[str]:
    return [f"{key}={word}" for key, word in values.items()]


def _word(value: Any) -> str:
    """A plain value in Hydra's grammar."""
    if isinstance(value, list):
        return f"[{','.join(_word(item) for item in value)}]"
    if isinstance(value, str):
        plain = re.fullmatch(r"[A-Za-z_]\w*", value) and value.lower() not in ("null", "true", "false", "nan", "inf")
        return value if plain else QuotedString(value, Quote.single).with_quotes()
    return {"None": "null", "True": "true", "False": "false"}.get(repr(value), repr(value))


def _is_measured(key: str, monitor: str) -> bool:
    """Whether scores can be compared only where this key has one value."""
    if key.startswith("data."):
        return key not in _LEARNING
    return key == "seed" or key in _MEASURING or (monitor == "val/loss" and key.startswith("loss."))
