"""The launcher's part of a search: it starts workers, shows how far all of them are, and writes what has come of it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from unet_exp.config import Config
from unet_exp.config.multirun import OptunaConfig
from unet_exp.errors import ConfigError, DataError, UserError
from unet_exp.files import is_locked, shorten_path, write_csv, write_text
from unet_exp.keys import flat
from unet_exp.runs.again import write_sweep_again
from unet_exp.runs.earlier import FREE
from unet_exp.runs.shared_warnings import count_warnings
from unet_exp.runs.study_storage import StudyAddress, explain_errors, retry
from unet_exp.runs.sweep_folder import PlannedRun, SweepFolder
from unet_exp.sweeps.plan import SweepPlan
from unet_exp.sweeps.progress import SweepProgress
from unet_exp.sweeps.sampling import silence_warnings
from unet_exp.sweeps.search_task import Place, SearchTask, get_address
from unet_exp.sweeps.study import Study, Trial, require_optuna
from unet_exp.sweeps.wandb_places import describe_wandb
from unet_exp.typed import join_words

Launch = Callable[[Sequence[PlannedRun]], None]

_ENOUGH = 10
"""Finished trials for an importance: PED-ANOVA looks at the best five or more."""
_COMMON = ("seed", "data.fold", "data.pixel_size", "metrics.own", "metrics.tolerance")
"""Keys that may differ between the runs of a comparison, and not between the trials of a search."""


def check_storage(search: OptunaConfig, is_known: bool) -> None:
    """Opens the storage that is typed, before anything else is done.

    Args:
        search: its storage and study.
        is_known: whether the study must be there, since a sweep goes on that has trials in it.

    Raises:
        ConfigError: if it cannot be used, or lacks the study.
    """
    require_optuna()
    if search.storage is None:
        return
    assert search.study is not None
    address = StudyAddress(search.storage, search.study)
    with explain_errors(search.storage):
        if is_known and not address.exists():
            raise ConfigError(
                f"search.storage={search.storage}: it has no study {search.study}, where the trials of this sweep are; "
                "give the storage with which it was started, as it is found from here"
            )
        address.open()


def check_study(plan: SweepPlan, images: str | None) -> None:
    """Compares a search with the study in its storage, before there is a folder of the sweep; see `run_search`.

    Raises:
        ConfigError: if the study is of another search.
    """
    if plan.search is not None and plan.search.storage is not None:
        _open_shared(plan, Place("", "", ""), images)


def run_search(
    plan: SweepPlan,
    folder: SweepFolder,
    launch: Launch,
    progress: SweepProgress,
    console: Console,
    images: str | None = None,
) -> Study:
    """Runs the trials of a search by workers, which other launchers may help.

    Args:
        plan: of the search.
        folder: of the sweep.
        launch: runs jobs, and returns when they have ended.
        progress: shows how far they are.
        console: for what users are told.
        images: fingerprint of the data, if known.

    Raises:
        UserError: if the study is damaged, or of another search.
    """
    assert plan.search is not None
    detached = "slurm" in str(plan.launcher["_target_"]).lower()
    task = SearchTask.write(folder.path, plan.search, plan.config_dir, detached)
    study = _open(plan, folder, task, images)
    with explain_errors(study.address.storage, opening=False):
        _check_folders(study, folder)
        _greet(study, console)
        progress.follow(_Watch(study, console).count)
        workers, before = _plan_workers(plan, study), None
        # Workers that were killed have left trials; if none gets on with them, another start would not either.
        while (workers or before is None) and (now := retry(study.describe)) != before:
            launch(workers)  # also without any: jobs of an earlier start may go on with the last trials
            workers, before = retry(lambda: _plan_workers(plan, study)), now
        write_results(study, folder.path)
    return study


def conclude_search(plan: SweepPlan, folder: SweepFolder, study: Study, console: Console) -> None:
    """Prints what failed, what is still with others, and the best trial; names the folder in the last line.

    Raises:
        UserError: if a trial of this launcher failed, or its workers have ended before the search.
    """
    assert plan.search is not None
    busy = [run for run in folder.runs if is_locked(folder.folder(run).lock)]
    failed = [run for run in folder.runs if not folder.is_done(run) and run not in busy]
    for run in failed:
        error = folder.folder(run).read_summary().error or "its process has died"
        console.print(f"failed: {run.name}: {error}", soft_wrap=True)
    counts = study.counts()
    console.print(f"trials: {', '.join(f'{count} {status}' for status, count in counts.items() if count)}")
    for number, place in study.list_elsewhere():
        where = "an unknown launcher" if place is None else f"{place.host}: {place.run(number).path}"
        console.print(f"trial {number} is left to {where}, which is on no disk of this machine", soft_wrap=True)
    if study.exhausted and sum(counts.values()) < plan.search.trials:
        console.print(
            f"search.space has {plan.search.combinations} combinations, and each has its trial: the search ends "
            f"before search.trials={plan.search.trials}",
            soft_wrap=True,
        )
    for warning in count_warnings((folder.folder(run).read_summary().warnings for run in folder.runs), "trial"):
        console.print(f"warning: {warning}", soft_wrap=True)
    if best := study.best():
        trial, value = best
        console.print(f"best: {value:.4f} by trial {trial.number}: {' '.join(trial.overrides)}", soft_wrap=True)
    for line in describe_wandb(folder, (config.logger for config in plan.configs)):
        console.print(line, soft_wrap=True)
    console.print(str(folder.path), style="bold", soft_wrap=True)
    if failed:
        names = ", ".join(run.name for run in failed)
        raise UserError(
            f"{len(failed)} of {len(folder.runs)} runs failed: {names}; the search has gone on without them, and runs "
            "their words again if it draws them again"
        )
    if not study.all_out or study.list_left(mine=True):
        raise UserError(
            f"the workers have ended before the search, which has {sum(counts.values()) - counts['running']} of "
            f"{plan.search.trials} trials; see above; go on with: {explain_resume(plan, folder.path)}"
        )


def explain_resume(plan: SweepPlan, path: Path) -> str:
    """The whole command line that goes on with a sweep or a search."""
    words = [] if plan.config_dir is None else ["--config-dir", shorten_path(plan.config_dir)]
    if plan.search is not None and plan.search.storage is not None:
        words.append(f"search.storage={plan.search.storage}")
    return write_sweep_again(path, (config.model_dump() for config in plan.configs), words)


def _open(plan: SweepPlan, folder: SweepFolder, task: SearchTask, images: str | None) -> Study:
    """Opens the study.

    Raises:
        UserError: if it is damaged, or of another search.
    """
    assert plan.search is not None
    config, place = plan.configs[0], Place.here(folder.path, task)
    if plan.search.storage is not None:
        return _open_shared(plan, place, images)
    # Optuna does not check the lines of a journal.
    damages = (AssertionError, LookupError, TypeError, ValueError, RecursionError)
    try:
        address = get_address(plan.search, folder)
        return Study(plan.search, config.trainer.monitor, address, place, config.metrics.own)
    except damages as error:
        raise DataError(f"{folder.journal}: it is damaged ({type(error).__name__}); start the search anew") from None


def _check_folders(study: Study, folder: SweepFolder) -> None:
    """Checks that the trials in the sweep's folder are those of the study: new ones would take over their scores.

    Raises:
        ConfigError: if not.
    """
    begun = [run for run in folder.runs if folder.folder(run).summary.exists()]
    if unknown := study.find_unknown(begun):
        advice = "name the storage of this search" if study.is_shared else "bring it back, or start a new search"
        raise ConfigError(
            f"{study.address.storage}: it knows nothing of {unknown[0]}, which is in {folder.path}; {advice}"
        )


def _open_shared(plan: SweepPlan, place: Place, images: str | None) -> Study:
    """Opens the study in a storage that is typed.

    Raises:
        ConfigError: if it cannot be used, or is of another search.
    """
    search, config = plan.search, plan.configs[0]
    assert search is not None
    assert search.storage is not None
    assert search.study is not None
    settings = _list_settings(config, search)
    if images is not None:
        settings["data (its images and labels)"] = images
    with explain_errors(search.storage):
        address = StudyAddress(search.storage, search.study)
        return Study(search, config.trainer.monitor, address, place, config.metrics.own, settings)


def _list_settings(config: Config, search: OptunaConfig) -> dict[str, Any]:
    """What changes the score of a trial, beside the space; launchers of one study must agree in it."""
    from unet_exp.compare.settings import NO_SETTING  # only now: it loads numpy

    free = {*FREE, *NO_SETTING, *search.space, "data.lists"}.difference(_COMMON)
    return {
        key: value
        for key, value in flat(config.model_dump(mode="json")).items()
        if key not in free and not any(key.startswith(f"{word}.") for word in ("logger", *free))
    }


def _plan_workers(plan: SweepPlan, study: Study) -> list[PlannedRun]:
    """The jobs of the launcher: as many workers as trials at once, and no more than trials are left."""
    assert plan.search is not None
    left = plan.search.trials - sum(count for status, count in study.counts().items() if status != "running")
    count = 0 if study.all_out and not study.list_left() else min(plan.search.parallel or 1, left)
    return [
        PlannedRun(f"worker-{number}", [*plan.runs[0].overrides, f"+sweep.worker={number}"]) for number in range(count)
    ]


class _Watch:
    """Looks at the study while workers run, and prints which trials repeat others."""

    def __init__(self, study: Study, console: Console) -> None:
        self._study, self._console = study, console
        self._told = {trial.number for trial in study.list_repeats()}
        self._counts = study.counts()

    def count(self) -> Mapping[str, int]:
        """Trials by their status; as last known, while the storage is away."""
        from optuna.exceptions import OptunaError
        from sqlalchemy.exc import SQLAlchemyError

        with suppress(OptunaError, SQLAlchemyError, OSError):
            for trial in self._study.list_repeats():
                if trial.number not in self._told:
                    self._told.add(trial.number)
                    self._console.print(_describe_repeat(trial, self._study.monitor), soft_wrap=True)
            self._counts = self._study.counts()
        return self._counts


def _greet(study: Study, console: Console) -> None:
    counts = [f"{count} {status}" for status, count in study.counts().items() if count]
    if study.is_shared:
        known = f"; its trials so far: {', '.join(counts)}" if counts else ""
        console.print(f"study {study.address.name} in {study.address.storage}{known}", soft_wrap=True)


def _describe_repeat(trial: Trial, monitor: str) -> str:
    assert trial.outcome is not None
    known = "pruned" if trial.outcome.status == "pruned" else f"{monitor} {trial.outcome.value:.4f}"
    return f"trial {trial.number} repeats trial {trial.repeats} and is not run: {known}: {' '.join(trial.overrides)}"


def write_results(study: Study, folder: Path) -> None:
    """Writes `trials.csv`, `search.png` (history and importance) and `best.txt` (words of the best trial)."""
    from optuna.importance import PedAnovaImportanceEvaluator

    from unet_exp.figures.search_plots import draw_search

    write_csv(folder / "trials.csv", retry(study.table))
    finished = study.counts()["finished"]
    with silence_warnings():
        share = max(0.1, _ENOUGH / 2 / max(finished, 1))
        evaluator = PedAnovaImportanceEvaluator(target_quantile=share) if finished >= _ENOUGH else None
        draw_search(study.optuna, evaluator, folder / "search.png", study.monitor)
    if best := study.best():
        write_text(folder / "best.txt", join_words(best[0].overrides) + "\n")
