"""A study of Optuna: the trials of a search and what is known of them, whichever launchers have run them."""

import importlib.util
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from unet_exp.config.multirun import OptunaConfig
from unet_exp.config.running import OwnMetricConfig
from unet_exp.errors import ConfigError
from unet_exp.extras import hint_extra
from unet_exp.files import is_locked
from unet_exp.runs.study_storage import StudyAddress
from unet_exp.runs.sweep_folder import PlannedRun, name_trial
from unet_exp.sweeps.search_task import Place
from unet_exp.sweeps.space import to_overrides, to_word

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

TrialStatus = Literal["finished", "pruned", "failed"]

# Attributes of a trial in the study.
REPEATS = "repeats"  # the number of the one whose words it has
PLACE = "place"  # where its run is; only in a storage that is typed
DEATHS = "deaths"  # how many processes died at it


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


class Study:
    """A study of Optuna, as a launcher or a worker of one opens it.

    Args:
        config: the space, how it is searched, and how many trials.
        monitor: the score, such as `val/iou/mean`.
        address: where the study is; it is made if it is not there.
        place: the sweep's folder of this launcher.
        own: scores of the user's own.
        settings: what the trials of all launchers must have in common, by key.

    Raises:
        ConfigError: if the study is a search of another score, space or training.
        Exception: for a storage that cannot be used, see `unet_exp.runs.study_storage.explain_errors`.
    """

    def __init__(
        self,
        config: OptunaConfig,
        monitor: str,
        address: StudyAddress,
        place: Place,
        own: Sequence[OwnMetricConfig] = (),
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        require_optuna()
        import optuna

        from unet_exp.metrics.declarations import direction

        self.config, self.monitor, self.mode = config, monitor, direction(monitor, own)
        self.address, self.place, self.is_shared = address, place, config.storage is not None
        self._storage = address.open()
        goal: Literal["minimize", "maximize"] = "minimize" if self.mode == "min" else "maximize"
        self._study = optuna.create_study(
            study_name=address.name, storage=self._storage, direction=goal, load_if_exists=True
        )
        self._id = self._storage.get_study_id_from_name(address.name)
        self._record(settings or {})

    @property
    def optuna(self) -> "optuna.Study":
        """For plots."""
        return self._study

    @property
    def all_out(self) -> bool:
        """Whether no further trial is to be drawn."""
        return self.exhausted or len(self._trials()) >= self.config.trials

    @property
    def exhausted(self) -> bool:
        """Whether each combination of the space has a trial that has not failed."""
        tried = {
            frozenset(trial.params.items())
            for trial in self._trials()
            if trial.state.name != "FAIL" and len(trial.params) == len(self.config.space)
        }
        return self.config.combinations is not None and len(tried) >= self.config.combinations

    def list_left(self, mine: bool = False) -> list[int]:
        """Trials without an outcome that a worker on this machine could go on with; only this launcher's if `mine`."""
        running = self._running()
        numbers = {trial.number for trial in running}
        found = [
            (trial.number, place)
            for trial in running
            # One that repeats another waits for that, and no worker is at it.
            if trial.user_attrs.get(REPEATS) not in numbers and (place := self._find(trial)) is not None
        ]
        return [
            number
            for number, place in found
            if not (mine and place is not self.place) and not is_locked(place.run(number).lock)
        ]

    def find_unknown(self, runs: Collection[PlannedRun]) -> list[str]:
        """Names of trials' folders of which the study knows nothing."""
        known = {name_trial(trial.number) for trial in self._study.get_trials(deepcopy=False)}
        return [run.name for run in runs if run.name not in known]

    def list_elsewhere(self) -> list[tuple[int, Place | None]]:
        """Trials without an outcome whose folders are not on a disk of this machine, and where they are."""
        away = [trial for trial in self._running() if self._find(trial) is None]
        return [(trial.number, Place.parse(trial.user_attrs.get(PLACE))) for trial in away]

    def list_repeats(self) -> list[Trial]:
        """The trials that have taken over the outcome of another."""
        return [
            Trial(trial.number, _words(trial), number, get_outcome(trial))
            for trial in self._trials()
            if (number := _repeats(trial)) is not None
        ]

    def best(self) -> tuple[Trial, float] | None:
        """The finished trial with the best value, and that value."""
        try:
            found = self._study.best_trial
        except ValueError:  # none has finished
            return None
        assert found.value is not None
        return Trial(found.number, _words(found)), found.value

    def counts(self) -> dict[str, int]:
        """How many trials are `finished`, `pruned`, `failed`, `repeated` and `running` (without an outcome)."""
        states = ["repeated" if _repeats(trial) is not None else _name_status(trial) for trial in self._trials()]
        return {status: states.count(status) for status in ("finished", "pruned", "failed", "repeated", "running")}

    def describe(self) -> list[tuple[int, str, int | None]]:
        """What changes whenever a worker gets on: the state of each trial and how many processes died at it."""
        return [(trial.number, trial.state.name, trial.user_attrs.get(DEATHS)) for trial in self._trials()]

    def table(self) -> list[dict[str, Any]]:
        """A row for each trial; with the machine and the folder of its run, where several launchers share the study."""
        rows = []
        for trial in self._trials():
            place = None if _repeats(trial) is not None else Place.parse(trial.user_attrs.get(PLACE))
            row = {
                "trial": trial.number,
                "status": _name_status(trial),
                "repeats": _repeats(trial),
                self.monitor: trial.value,
                "validations": len(trial.intermediate_values),
                **trial.params,
            }
            where = None if place is None else {"host": place.host, "folder": str(place.run(trial.number).path)}
            rows.append({**row, **(where or {})})
        return rows

    def _trials(self) -> "list[FrozenTrial]":
        """All but those that two launchers drew beyond `trials`: these wait until there are to be more."""
        return [trial for trial in self._study.get_trials(deepcopy=False) if trial.state.name != "WAITING"]

    def _running(self) -> "list[FrozenTrial]":
        return [trial for trial in self._trials() if trial.state.name == "RUNNING"]

    def _get(self, number: int) -> "FrozenTrial":
        return self._study.get_trials(deepcopy=False)[number]

    def _find(self, trial: "FrozenTrial") -> Place | None:
        """Where the run of a trial is, if on a disk of this machine."""
        if not self.is_shared:
            return self.place
        place = Place.parse(trial.user_attrs.get(PLACE))
        if place is not None and place.id == self.place.id:
            return self.place
        return place if place is not None and place.is_reachable else None

    def _record(self, settings: Mapping[str, Any]) -> None:
        """Records what is searched; compares it with what the study was started with.

        Raises:
            ConfigError: if they differ.
        """
        known, config = self._study.user_attrs, self.config.model_dump(exclude={"storage", "study"})
        others = known.get("settings", {})
        if "config" in known:
            before, now = known["config"]["space"], config["space"]
            changed = [f"search.space.{key}" for key in {**before, **now} if before.get(key) != now.get(key)]
            if (known["monitor"], known["mode"]) != (self.monitor, self.mode):
                changed.append("trainer.monitor")
            changed += [key for key, value in settings.items() if key in others and others[key] != value]
            if changed:
                study = f"search.study={self.address.name} in " if self.is_shared else ""
                raise ConfigError(
                    f"{study}{self.address.storage}: this search was started with another {', '.join(changed)}; "
                    "go on with what it was started with, or start a new one"
                )
        values: dict[str, Any] = {"monitor": self.monitor, "mode": self.mode}
        if settings:
            values["settings"] = {**others, **settings}  # not every launcher knows all, such as the data
        # The config comes last: another launcher that finds it finds all.
        for key, value in {**values, "config": config}.items():
            if known.get(key) != value:
                self._study.set_user_attr(key, value)


def get_outcome(trial: "FrozenTrial") -> Outcome:
    """That of a finished or a pruned trial."""
    return Outcome("pruned" if trial.state.name == "PRUNED" else "finished", trial.value)


def require_optuna() -> None:
    """Checks that the extra of a search is installed.

    Raises:
        ConfigError: if not.
    """
    if importlib.util.find_spec("optuna") is None:
        raise ConfigError(f"search=optuna needs the extra: {hint_extra('sweep')}")


def _words(trial: "FrozenTrial") -> list[str]:
    # Choices are kept as words.
    params = trial.params.items()
    return to_overrides({key: value if isinstance(value, str) else to_word(value) for key, value in params})


def _repeats(trial: "FrozenTrial") -> int | None:
    """The number of the trial whose outcome this one has taken over."""
    number: int | None = trial.user_attrs.get(REPEATS) if trial.state.is_finished() else None
    return number


def _name_status(trial: "FrozenTrial") -> str:
    names = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed"}
    return names.get(trial.state.name, "running")
