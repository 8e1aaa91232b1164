"""A worker of a search: one job of the launcher, which trains trial after trial."""

import gc
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress

from unet_exp import signals
from unet_exp.compose import compose_command
from unet_exp.config import Config
from unet_exp.files import is_locked
from unet_exp.runs.run_folder import RunFolder
from unet_exp.runs.study_storage import StudyAddress, explain_errors, retry
from unet_exp.runs.sweep_folder import SweepFolder
from unet_exp.sweeps.search import Search
from unet_exp.sweeps.search_task import Place, SearchTask, get_address
from unet_exp.sweeps.study import Outcome, Trial

Train = Callable[[RunFolder, Sequence[str], Callable[[], Config], tuple[StudyAddress, int]], None]
"""Trains in a run's folder, whose lock is held: with these words, the config that is read, and as this trial."""

_LOOK = 1.0
"""Seconds between two looks at a trial that this worker waits for."""


def work(folder: SweepFolder, common: Sequence[str], config: Config, train: Train) -> None:
    """Trains trials until none is to be had, or the sweep is stopped.

    A trial that a signal stops is left to the next worker that asks, which goes on from its `last.ckpt`. The signal
    raises nothing here: a launcher would kill the other workers, which still save.

    Args:
        folder: of the sweep.
        common: the words that all trials share.
        config: of these words alone.
        train: see there.

    Raises:
        UserError: if the study is not to be used.
    """
    task = SearchTask.read(folder.path)
    place, address = Place.here(folder.path, task), get_address(task.search, folder)

    def open_search() -> Search:
        return Search(task.search, config.trainer.monitor, address, place, config.metrics.own)

    with suppress(signals.Stopped), explain_errors(address.storage, opening=False), ExitStack() as stack:
        search = retry(open_search)
        stack.callback(search.close)
        while not _is_over(folder, task):
            with signals.defer():
                trial = retry(search.ask)
            if trial is None:
                if not search.waits:
                    return
                time.sleep(_LOOK)
            elif not _is_over(folder, task):  # asked again: only a run with a lock gets the signal
                _run_trial(trial, search, common, task, train)
                gc.collect()


def read_outcome(folder: RunFolder) -> Outcome | None:
    """The outcome of a trial; None if it has not ended."""
    summary = folder.read_summary()
    if not summary.is_over:
        return None
    value = None if summary.best is None else summary.best.value
    return Outcome("finished" if summary.pruned_at is None else "pruned", value)


def _is_over(folder: SweepFolder, task: SearchTask) -> bool:
    """Whether this worker is to end: a signal has come, or its launcher has been killed."""
    if signals.received() is not None or folder.stop.exists():
        return True
    return not (task.detached or is_locked(folder.lock))


def _run_trial(trial: Trial, search: Search, common: Sequence[str], task: SearchTask, train: Train) -> None:
    folder = search.place.run(trial.number)
    if not folder.is_over:  # else the worker died before it could tell
        words = [*common, *trial.overrides]
        trained = (search.address, trial.number)
        train(folder, words, lambda: compose_command(words, task.config_dir).parse(), trained)
    outcome = read_outcome(folder)
    if outcome is None and (signals.received() is not None or folder.read_summary().status == "stopped"):
        search.leave(trial.number)
        return
    with signals.defer():
        retry(lambda: search.tell(trial.number, outcome or Outcome("failed")))
