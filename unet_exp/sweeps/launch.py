"""Starts the runs of a sweep with any of Hydra's launchers, and compares them at the end."""

import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path

import hydra
from hydra._internal.callbacks import Callbacks
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import JobStatus
from hydra.types import HydraContext
from omegaconf import DictConfig
from rich.console import Console

from unet_exp import signals
from unet_exp.config import Config, parse
from unet_exp.config.multirun import parse_sweep
from unet_exp.console import make_console
from unet_exp.errors import ConfigError, DataError, UserError
from unet_exp.files import find_holder, hold_lock, is_locked
from unet_exp.options import initialize_hydra, quote, search_path
from unet_exp.progress import watch
from unet_exp.runs.earlier import keep_unrecorded
from unet_exp.runs.lifecycle import record_failure
from unet_exp.runs.run_folder import RunFolder
from unet_exp.runs.sweep_folder import PlannedRun, SweepFolder
from unet_exp.sweeps.job_loader import ForgetConfigs, JobLoader, read_job
from unet_exp.sweeps.plan import SweepPlan
from unet_exp.sweeps.progress import SweepProgress
from unet_exp.sweeps.search import Outcome, Search, Trial

Launch = Callable[[Sequence[PlannedRun]], None]

_MOST_TOLD, _MOST_NAMED = 100, 20  # of failed runs: lines, and names in one line


def run_sweep(plan: SweepPlan) -> None:
    """Runs a sweep, or its missing runs, to the end.

    Raises:
        UserError: before the first run, for what the user can correct; at the end, if runs have failed.
    """
    console = make_console(file=sys.stdout)  # the output of the runs goes to their logs
    _check_data(plan)
    folder = plan.folder or SweepFolder.create(
        Path(plan.configs[0].output) / "sweep",
        plan.name,
        plan.words,
        plan.config_dir,
        plan.search.name if plan.search else None,
        [] if plan.search else plan.runs,
    )
    search: Search | None = None
    try:
        with hold_lock(folder.lock):
            folder = SweepFolder.open(folder.path)  # read again under the lock
            _check_orphans(folder)
            folder.note_earliest()
            total = plan.search.trials if plan.search else len(folder.runs)
            with SweepProgress(folder, total, console) as progress, _open_launcher(plan, folder, console) as launch:
                if plan.search is None:
                    launch([run for run in folder.runs if not folder.is_done(run)])
                else:
                    search = _run_search(plan, folder, launch, progress, console)
    except BlockingIOError:
        raise UserError(f"sweep.resume={folder.path}: this sweep is still running; wait for its end") from None
    except (signals.Stopped, KeyboardInterrupt) as error:
        signum = error.signum if isinstance(error, signals.Stopped) else signal.SIGINT
        raise signals.Stopped(signum, f"go on with {shlex.quote(f'sweep.resume={folder.path}')}") from None
    _conclude(plan, folder, search, console)


def run_planned(composed: DictConfig) -> None:
    """Runs one run of a sweep in the process of the launcher, and records its result in its folder.

    It does nothing if a signal has stopped the sweep.

    Args:
        composed: config of `JobLoader`; among its words is the run's folder, `sweep.run`.
    """
    values = read_job(composed)
    sweep = parse_sweep(values.pop("sweep"))
    values.pop("search")
    assert sweep.run is not None
    folder = RunFolder(Path(sweep.run))
    stop = SweepFolder(folder.path.parent, []).stop
    if signals.received() or stop.exists():
        return
    words = [word for word in HydraConfig.get().overrides.task if not word.startswith("+sweep.")]
    folder.path.mkdir(exist_ok=True)
    with signals.install_handlers(), hold_lock(folder.lock):
        if stop.exists():  # made since: only runs with a lock get the signal
            return
        if not folder.has_checkpoint:
            folder.clear()
        with (
            folder.log.open("a", buffering=1) as log,
            redirect_stdout(log),
            redirect_stderr(log),
            record_failure(folder, words),
        ):
            config = _adapt_config(_keep_version(parse(values), folder, words), folder)
            with signals.defer():
                from unet_exp.training.pruning import Pruning
                from unet_exp.training.run import train

            pruning = None
            if sweep.trial is not None:
                pruning = Pruning(SweepFolder(folder.path.parent, []).journal, sweep.trial, config.trainer.monitor)
            train(config, words, folder, pruning)


def _keep_version(config: Config, folder: RunFolder, words: Sequence[str]) -> Config:
    """The config of a run of a resumed sweep: keys that the version of its first run lacked mean the same."""
    first = SweepFolder(folder.path.parent, []).find_earliest()
    return config if first is None or first.path == folder.path else keep_unrecorded(config, first, words)


def _check_data(plan: SweepPlan) -> None:
    """Reads the data of every run and builds its network; once for runs that differ only in how they learn.

    Raises:
        UserError: for what the user can correct.
    """
    target = str(plan.launcher["_target_"])
    if "slurm" in target.lower():  # its machines may have other data and devices
        from unet_exp.metrics.declarations import check_monitor

        for config in plan.configs:
            check_monitor(config.trainer.monitor, config.metrics.own)
        return

    with signals.defer():
        from unet_exp.training.prepare import prepare

    checked = set()
    with watch("checking the runs", len(plan.configs)) as phase:
        for config in plan.configs:
            key = config.model_dump_json(exclude={"seed", "name", "optimizer", "scheduler", "augmentation"})
            if key not in checked:
                _check_launcher(plan, prepare(config, []).device.type)
            checked.add(key)
            phase.done += 1


def _check_launcher(plan: SweepPlan, device: str) -> None:
    hides = str(plan.launcher["_target_"]).endswith("LocalLauncher") and not plan.launcher.get("gpus_per_node")
    if device == "cuda" and hides:
        raise ConfigError(
            "hydra/launcher=submitit_local hides the GPU from its runs: "
            "set hydra.launcher.gpus_per_node=1, or trainer.accelerator=cpu"
        )


def _check_orphans(folder: SweepFolder) -> None:
    """Refuses a sweep with runs that processes of a killed start still train."""
    busy = [run for run in folder.runs if is_locked(folder.folder(run).lock)]
    if busy:
        raise UserError(
            f"sweep.resume={folder.path}: {_list_names(busy)} is still trained by a process of an earlier start; "
            "wait for its end, or end it"
        )


@contextmanager
def _open_launcher(plan: SweepPlan, folder: SweepFolder, console: Console) -> Iterator[Launch]:
    """Hydra's launcher of the plan, as a function that runs jobs and returns at their end."""
    sweep_dir = f"hydra.sweep.dir={quote(str(folder.path.resolve()))}"
    words = [*plan.runs[0].overrides, *plan.hydra, *search_path(plan.config_dir), sweep_dir]
    with initialize_hydra() as loader:
        config = hydra.compose("train", words, return_hydra_config=True)
        # A launcher needs the callbacks of the context, and their class has no public name.
        callbacks = Callbacks()
        callbacks.callbacks.append(ForgetConfigs())
        context = HydraContext(config_loader=JobLoader(loader, plan.config_dir), callbacks=callbacks)
        launcher = Plugins.instance().instantiate_launcher(
            config=config, hydra_context=context, task_function=run_planned
        )

        def launch(runs: Sequence[PlannedRun]) -> None:
            if not runs:
                return
            places = [f"+sweep.run={quote(str(folder.folder(run).path.resolve()))}" for run in runs]
            jobs = [[*run.overrides, place] for run, place in zip(runs, places, strict=True)]
            with _stop_runs_on_signal(plan, folder):
                try:
                    ended = launcher.launch(jobs, initial_job_idx=0)
                except Exception as error:
                    # With some launchers a killed process takes the others with it; each raises its own error.
                    console.print(f"the launcher gave up: {type(error).__name__}: {error}", soft_wrap=True)
                    return
            for run, job in zip(runs, ended, strict=True):
                if job.status != JobStatus.COMPLETED:
                    console.print(f"{run.name} left no record: {job._return_value!r}", soft_wrap=True)

        yield launch


@contextmanager
def _stop_runs_on_signal(plan: SweepPlan, folder: SweepFolder) -> Iterator[None]:
    """On a signal, all current runs save before this process exits, and no other run begins.

    Raises:
        Stopped: if a signal has come.
    """

    def signal_runs() -> bool:
        """Sends the signal to other processes of this machine that train runs; whether there are any."""
        folder.stop.touch()
        found = (find_holder(folder.folder(run).lock) for run in folder.runs)
        holders = {process for process in found if process is not None and process != os.getpid()}
        for process in holders:
            with suppress(ProcessLookupError):
                os.kill(
                    process, signal.SIGUSR1
                )  # submitit handles SIGTERM and SIGUSR2, a background job ignores SIGINT
        return bool(holders)

    if "slurm" in str(plan.launcher["_target_"]).lower():  # jobs live on without this process
        yield
        return
    folder.stop.unlink(missing_ok=True)
    try:
        with signals.defer(signal_runs):
            yield
    finally:
        folder.stop.unlink(missing_ok=True)


def _adapt_config(config: Config, folder: RunFolder) -> Config:
    """A run has its folder's name and one device; its logger knows the sweep."""
    return config.model_copy(
        update={
            "name": folder.path.name,
            "trainer": config.trainer.model_copy(update={"devices": 1}),
            "logger": config.logger.join_sweep(folder.path.parent.name),
        }
    )


def _run_search(
    plan: SweepPlan, folder: SweepFolder, launch: Launch, progress: SweepProgress, console: Console
) -> Search:
    """Runs all trials of a search.

    Raises:
        UserError: if the journal of an earlier start is damaged, or of another search.
    """
    assert plan.search is not None
    config = plan.configs[0]
    monitor = config.trainer.monitor
    try:
        search = Search(plan.search, monitor, folder.journal, config.metrics.own)
    except (
        AssertionError,
        LookupError,
        TypeError,
        ValueError,
        RecursionError,
    ) as error:  # Optuna does not check its lines
        raise DataError(f"{folder.journal}: it is damaged ({type(error).__name__}); start the search anew") from None
    common = plan.runs[0].overrides
    while asked := search.ask():
        progress.repeated = search.counts()["repeated"]
        for trial in asked:
            if trial.repeats is not None:
                console.print(_describe_repeat(trial, monitor), soft_wrap=True)
        trials = [trial for trial in asked if trial.repeats is None]
        runs = [
            PlannedRun(f"trial-{trial.number:03d}", [*common, *trial.overrides, f"+sweep.trial={trial.number}"])
            for trial in trials
        ]
        planned = {run.name for run in folder.runs}
        folder.plan_more([run for run in runs if run.name not in planned])
        launch([run for run in runs if not folder.is_done(run)])
        for trial, run in zip(trials, runs, strict=True):
            search.tell(trial.number, _read_outcome(folder.folder(run)) or Outcome("failed", None))
    search.write(folder.path)
    return search


def _describe_repeat(trial: Trial, monitor: str) -> str:
    assert trial.outcome is not None
    known = "pruned" if trial.outcome.status == "pruned" else f"{monitor} {trial.outcome.value:.4f}"
    return f"trial {trial.number} repeats trial {trial.repeats} and is not run: {known}: {' '.join(trial.overrides)}"


def _read_outcome(folder: RunFolder) -> Outcome | None:
    """The outcome of a trial; None if it has not ended."""
    summary = folder.read_summary()
    if not summary.is_over:
        return None
    value = None if summary.best is None else summary.best.value
    return Outcome("finished" if summary.pruned_at is None else "pruned", value)


def _conclude(plan: SweepPlan, folder: SweepFolder, search: Search | None, console: Console) -> None:
    """Prints what failed, compares what finished, and names the folder in the last line.

    Raises:
        UserError: if anything failed.
    """
    unfinished = [run for run in folder.runs if not folder.is_done(run)]
    for run in unfinished[:_MOST_TOLD]:
        reason = "it is still running" if is_locked(folder.folder(run).lock) else "its process has died"
        error = folder.folder(run).read_summary().error or reason
        console.print(f"failed: {run.name}: {error}", soft_wrap=True)
    if more := unfinished[_MOST_TOLD:]:
        console.print(f"and {len(more)} more failed")
    if search is not None:
        counts = [f"{count} {status}" for status, count in search.counts().items() if count]
        console.print(f"trials: {', '.join(counts)}")
        assert plan.search is not None
        if search.exhausted and sum(search.counts().values()) < plan.search.trials:
            console.print(
                f"search.space has {plan.search.combinations} combinations, and each has its trial: the search ends "
                f"before search.trials={plan.search.trials}",
                soft_wrap=True,
            )
        if best := search.best():
            trial, value = best
            console.print(f"best: {value:.4f} by trial {trial.number}: {' '.join(trial.overrides)}", soft_wrap=True)
    elif plan.sweep.report and len(unfinished) < len(folder.runs):
        _write_page(folder, console)
    console.print(str(folder.path), style="bold", soft_wrap=True)
    if unfinished:
        again = f"{shlex.quote(f'sweep.resume={folder.path}')} runs them again"
        names = _list_names(unfinished)
        drawn = "the search has gone on without them, and runs their words again if it draws them again"
        advice = again if search is None else drawn
        raise UserError(f"{len(unfinished)} of {len(folder.runs)} runs failed: {names}; {advice}")


def _list_names(runs: Sequence[PlannedRun]) -> str:
    """The names of the first runs, and how many there are beside."""
    more = len(runs) - _MOST_NAMED
    return ", ".join(run.name for run in runs[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _write_page(folder: SweepFolder, console: Console) -> None:
    from unet_exp.compare.page import write_comparison

    try:
        with watch("comparing the runs"):
            write_comparison([str(folder.path)])
    except UserError as error:
        console.print(f"the runs are not compared: {error}", soft_wrap=True)
