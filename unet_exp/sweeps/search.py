"""Search: hands out the trials of `search=optuna` to workers on any number of machines, and takes their outcomes.

Optuna is imported when a search begins; `unet_exp.training.pruning` prunes a trial from inside its run.
"""

import math
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

from unet_exp.config.multirun import OptunaConfig
from unet_exp.config.running import OwnMetricConfig
from unet_exp.files import hold_lock, is_locked
from unet_exp.runs.run_folder import RunFolder
from unet_exp.runs.study_storage import StudyAddress
from unet_exp.sweeps.sampling import make_sampler, silence_warnings, suggest
from unet_exp.sweeps.search_task import Place
from unet_exp.sweeps.space import to_overrides
from unet_exp.sweeps.study import DEATHS, PLACE, REPEATS, Outcome, Study, Trial, get_outcome

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

_MOST_DEATHS = 3
_DRAWING = 10.0
"""Seconds in which another launcher has drawn its trial, or has died while drawing."""


class Search(Study):
    """A study from which workers take trials, each worker with a `Search` of its own.

    A fresh sampler draws each trial, seeded with the search's seed and the trial's number. So a resumed search draws
    what an uninterrupted one would have drawn, if trials come one at a time and their scores repeat; with several at
    once it depends on which ends first.

    Training the same words again would give the same score. So a trial that repeats an earlier one counts as a trial,
    takes over its outcome, and is not run; one that failed has none, and is tried again.

    A worker holds the lock of its trial's run folder. Where nobody holds it and the trial has no outcome, the worker
    has died or was stopped, and the next one that asks goes on with the trial, if that folder is on its disk; that of
    another launcher is moved into its own sweep's folder.

    Attributes:
        waits: whether the last `ask` found only a trial that repeats one which still runs.
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
        super().__init__(config, monitor, address, place, own, settings)
        self.waits = False
        self._held: dict[int, ExitStack] = {}
        self._waiting: int | None = None
        self._given_up: set[int] = set()

    def ask(self) -> Trial | None:
        """The next trial to be run, its run folder locked until `tell`, `leave` or the end of the process.

        Trials whose workers have died come first.

        Returns:
            None if all trials, or all combinations of the space, are with a worker or have an outcome; or see `waits`.
        """
        with self.place.hold():
            trial = self._take_left()
            self.waits = trial is None and self._is_waiting()
            while trial is None and not self.waits and not self.all_out:
                trial = self._draw_new()
                self.waits = trial is None and self._is_waiting()
        return trial

    def tell(self, number: int, outcome: Outcome) -> None:
        """Records the outcome of a trial, and of those that repeat it; only the first outcome counts."""
        self._tell(number, outcome)
        if outcome.status != "failed":
            for other in self._running():
                if other.user_attrs.get(REPEATS) == number:
                    self._repeat(other.number, self._get(number))
        self.leave(number)

    def leave(self, number: int) -> None:
        """Leaves a trial to the next worker that asks."""
        if number in self._held:
            self._held.pop(number).close()

    def close(self) -> None:
        """Leaves all trials."""
        for number in [*self._held]:
            self.leave(number)

    def _take_left(self) -> Trial | None:
        """A trial that no worker is at; those that repeat one which has an outcome by now are told it."""
        from optuna.exceptions import UpdateFinishedTrialError

        for left in self._running():
            place = None if left.number in self._held else self._find(left)
            if place is None or is_locked(place.run(left.number).lock):
                continue
            if place is not self.place and not self._take_over(left.number, place):
                continue
            with suppress(UpdateFinishedTrialError):  # its worker, or that of its twin, has told it by now
                if (trial := self._take(left.number)) is not None:
                    return trial
        return None

    def _take_over(self, number: int, place: Place) -> bool:
        """Makes a trial of another launcher's one of this launcher's; whether it still was to be had."""
        mine, theirs = self.place.run(number).path, place.run(number)
        with suppress(BlockingIOError), place.hold(wait=False):
            trial = self._get(number)
            if trial.state.name == "RUNNING" and self._find(trial) == place and not is_locked(theirs.lock):
                self._storage.set_trial_user_attr(self._find_id(number), PLACE, self.place.record())
                if theirs.path.exists() and not mine.exists():
                    shutil.move(theirs.path, mine)
                return True
        return False

    def _draw_new(self) -> Trial | None:
        """A new trial; None if it repeats another, or if two launchers asked at once for the last one."""
        from optuna.trial import TrialState, create_trial

        record = {PLACE: self.place.record()} if self.is_shared else {}
        trial_id = self._reuse_surplus(record)
        if trial_id is None:
            new = create_trial(state=TrialState.RUNNING, user_attrs=record)
            trial_id = self._storage.create_new_trial(self._id, new)
        number = self._storage.get_trial_number_from_id(trial_id)
        if number >= self.config.trials:
            self._storage.set_trial_state_values(trial_id, TrialState.WAITING)
            return None
        return self._take(number, new=True)

    def _reuse_surplus(self, record: Mapping[str, Any]) -> int | None:
        """A trial that was one too many, now that there are to be more."""
        from optuna.trial import TrialState

        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            trial_id = self._find_id(trial.number)
            # The storage lets one worker alone set this state.
            if trial.number < self.config.trials and self._storage.set_trial_state_values(trial_id, TrialState.RUNNING):
                for key, value in record.items():
                    self._storage.set_trial_user_attr(trial_id, key, value)
                return trial_id
        return None

    def _take(self, number: int, new: bool = False) -> Trial | None:
        """A trial with its lock; None for one that repeats another, or at which too many processes have died."""
        trial, words = self._draw(number)
        run = self.place.run(number)

        handed_out = run.path.exists() and trial.user_attrs.get(REPEATS) is None
        if (new or not handed_out) and self._follow_twin(trial, new):
            return None
        run.path.mkdir(exist_ok=True)
        with ExitStack() as stack:
            # Whoever tells a trial holds its lock: now it is sure whether it has been told.
            if not _try_lock(run, stack) or self._get(number).state.name != "RUNNING":
                return None
            if not new and self._count_death(trial, run):
                return None
            self._held[number] = stack.pop_all()
        return Trial(number, words)

    def _follow_twin(self, trial: "optuna.Trial", new: bool) -> bool:
        """Whether a trial has the words of another one, and so its outcome, now or later."""
        twin = self._find_twin(trial, new)
        number = None if twin is None else twin.number
        if trial.user_attrs.get(REPEATS) != number:
            trial.set_user_attr(REPEATS, number)
        if twin is None:
            return False
        if twin.state.is_finished():
            self._repeat(trial.number, twin)
        elif new and self._find(twin) is not None:
            self._waiting = trial.number
        return True

    def _is_waiting(self) -> bool:
        """Whether this worker waits for the twin of a trial that it has drawn."""
        if self._waiting is not None:
            trial = self._get(self._waiting)
            if trial.state.name != "RUNNING" or trial.user_attrs.get(REPEATS) is None:
                self._waiting = None
        return self._waiting is not None

    def _find_twin(self, trial: "optuna.Trial", new: bool) -> "FrozenTrial | None":
        """Another trial with the same words that has not failed; one with an outcome comes first."""
        if self.is_shared and new:
            self._await_drawing(trial.number)
        # A trial whose worker died before it had words gets them late: later ones may have the same.
        late = self.is_shared and not new
        twins = [
            other
            for other in self._trials()
            if (other.number < trial.number or (late and other.user_attrs.get(REPEATS) is None))
            and other.number != trial.number
            and other.params == trial.params
            and other.state.name != "FAIL"
        ]
        return min(twins, key=lambda twin: (not twin.state.is_finished(), twin.number), default=None)

    def _await_drawing(self, number: int) -> None:
        """Waits until earlier trials have their words: two launchers that draw at once may draw the same."""
        end = time.monotonic() + _DRAWING
        while undrawn := {
            trial.number
            for trial in self._running()
            if trial.number < number
            and len(trial.params) < len(self.config.space)
            and trial.number not in self._given_up
        }:
            if time.monotonic() > end:
                self._given_up |= undrawn
            time.sleep(0.05)

    def _count_death(self, trial: "optuna.Trial", run: RunFolder) -> bool:
        """Whether so many processes have died at a trial that it counts as failed."""
        summary = run.read_summary()
        if not (summary.status == "running" or (summary.status is None and run.log.exists())):
            return False
        deaths = trial.user_attrs.get(DEATHS, 0) + 1
        trial.set_user_attr(DEATHS, deaths)
        if deaths < _MOST_DEATHS:
            return False
        summary.replace(status="failed", error=f"its process has died {deaths} times").write(run.summary)
        self._tell(trial.number, Outcome("failed"))
        return True

    def _repeat(self, number: int, twin: "FrozenTrial") -> None:
        """Tells the study what training the words of a trial again would give."""
        import optuna

        with silence_warnings(), suppress(optuna.exceptions.UpdateFinishedTrialError):  # another worker was first
            trial = optuna.Trial(self._study, self._find_id(number))
            for validation, score in twin.intermediate_values.items():
                trial.report(score, validation)
            self._tell(number, get_outcome(twin))

    def _tell(self, number: int, outcome: Outcome) -> None:
        from optuna.trial import TrialState

        value = outcome.value if outcome.status == "finished" else None
        if value is not None and math.isfinite(value):
            self._study.tell(number, value, skip_if_finished=True)
        else:
            # The value of a pruned trial is the last that it reported.
            state = TrialState.PRUNED if outcome.status == "pruned" else TrialState.FAIL
            self._study.tell(number, state=state, skip_if_finished=True)

    def _draw(self, number: int) -> "tuple[optuna.Trial, list[str]]":
        """A trial and its words; those that it has already stay."""
        import optuna

        with silence_warnings():
            sampler = make_sampler(self.config, number)
            # A fresh study: another one may have kept the trials as they were before.
            study = optuna.load_study(study_name=self.address.name, storage=self._storage, sampler=sampler)
            trial = optuna.Trial(study, self._find_id(number))
            words = {key: suggest(trial, key, entry) for key, entry in self.config.space.items()}
        return trial, to_overrides(words)

    def _find_id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._id, number)


def _try_lock(run: RunFolder, stack: ExitStack) -> bool:
    """Locks a run's folder; whether no worker has it. Who looks whether it is locked has it for a moment."""
    for _ in range(20):
        with suppress(BlockingIOError):
            stack.enter_context(hold_lock(run.lock))
            return True
        time.sleep(0.01)
    return False
