"""Starts the runs of a sweep with any of Hydra's launchers, and compares them at the end."""

import os
import shutil
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
from unet_exp.errors import UserError
from unet_exp.files import find_holder, hold_lock, is_locked
from unet_exp.options import initialize_hydra, quote, search_path
from unet_exp.progress import watch
from unet_exp.runs.earlier import keep_places, keep_unrecorded
from unet_exp.runs.lifecycle import record_failure
from unet_exp.runs.run_folder import RunFolder
from unet_exp.runs.study_storage import StudyAddress, explain_errors
from unet_exp.runs.sweep_folder import PlannedRun, SweepFolder
from unet_exp.sweeps.checks import check_alone, check_data, explain_unused_variables
from unet_exp.sweeps.job_loader import ForgetConfigs, JobLoader, read_job
from unet_exp.sweeps.pairs import warn_of_few_pairs
from unet_exp.sweeps.plan import SweepPlan
from unet_exp.sweeps.progress import SweepProgress
from unet_exp.sweeps.run_search import Launch, check_storage, check_study, conclude_search, explain_resume, run_search
from unet_exp.sweeps.slurm import SlurmLauncher, find_runs_in_jobs
from unet_exp.sweeps.slurm_job import bind_runner
from unet_exp.sweeps.slurm_jobs import SlurmJobs
from unet_exp.sweeps.space import describe_space
from unet_exp.sweeps.study import Study
from unet_exp.sweeps.wandb_places import describe_wandb
from unet_exp.sweeps.worker import work
from unet_exp.typed import find_keys

_MOST_TOLD, _MOST_NAMED = 100, 20  # of failed runs: lines, and names in one line


def run_sweep(plan: SweepPlan) -> None:
    """Runs a sweep, or its missing runs, to the end.

    Raises:
        UserError: before the first run, for what the user can correct; at the end, if runs have failed.
    """
    check_alone()
    if plan.folder is not None and is_locked(plan.folder.lock):
        raise _explain_still_running(plan.folder)
    console = make_console(file=sys.stdout)  # the output of the runs goes to their logs
    if plan.search is not None:
        check_storage(plan.search, is_known=plan.folder is not None)
        console.print(describe_space(plan.search), soft_wrap=True)
    with _say_that_none_has_begun(plan):
        images = check_data(plan, console)
    check_study(plan, images)
    if plan.sweep.report and plan.search is None and (warning := warn_of_few_pairs(plan.configs)):
        console.print(warning, soft_wrap=True)
    if warning := explain_unused_variables(plan):
        console.print(f"warning: {warning}", soft_wrap=True)
    folder = plan.folder or SweepFolder.create(
        Path(plan.configs[0].output) / "sweep",
        plan.name,
        plan.words,
        plan.config_dir,
        plan.search.name if plan.search else None,
        [] if plan.search else plan.runs,
    )
    study = _launch_runs(plan, folder, console, images)
    if study is None:
        _conclude(plan, folder, console)
    else:
        with explain_errors(study.address.storage, opening=False):
            conclude_search(plan, folder, study, console)


def _launch_runs(plan: SweepPlan, folder: SweepFolder, console: Console, images: str | None) -> Study | None:
    """Runs what is missing, while this process holds the lock of the sweep; the study of a search.

    Raises:
        UserError: for what the user can correct.
        Stopped: at a signal, with the line that goes on with the sweep.
    """
    try:
        with hold_lock(folder.lock):
            folder = SweepFolder.open(folder.path)  # read again under the lock
            _check_orphans(plan, folder)
            folder.note_earliest()
            total = plan.search.trials if plan.search else len(folder.runs)
            with (
                SweepProgress(folder, total, console) as progress,
                _open_launcher(plan, folder, console, progress) as launch,
            ):
                if plan.search is not None:
                    return run_search(plan, folder, launch, progress, console, images)
                launch([run for run in folder.runs if not folder.is_done(run)])
                return None
    except UserError:
        begun = SlurmJobs(folder.path).are_known or any(folder.folder(run).path.exists() for run in folder.runs)
        if plan.folder is None and not begun:  # such as jobs that SLURM refuses: there is nothing to go on with
            shutil.rmtree(folder.path)
        raise
    except BlockingIOError:
        raise _explain_still_running(folder) from None
    except (signals.Stopped, KeyboardInterrupt) as error:
        signum = error.signum if isinstance(error, signals.Stopped) else signal.SIGINT
        _print_places(plan, folder, console)
        raise signals.Stopped(signum, f"go on with: {explain_resume(plan, folder.path)}") from None


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
    if signals.received() or stop.exists() or folder.is_over:  # a job of several runs may begin a second time
        return
    words = [word for word in HydraConfig.get().overrides.task if not word.startswith("+sweep.")]
    if sweep.worker is not None:
        with signals.install_handlers():
            work(SweepFolder.open(folder.path.parent), words, parse(values), _train)
        return
    folder.path.mkdir(exist_ok=True)
    with signals.install_handlers(), hold_lock(folder.lock):
        if stop.exists():  # made since: only runs with a lock get the signal
            return
        _train(folder, words, lambda: parse(values))


def _train(
    folder: RunFolder, words: Sequence[str], read: Callable[[], Config], trial: tuple[StudyAddress, int] | None = None
) -> None:
    """Trains in a run's folder, whose lock the caller holds; `trial` is that of a search, which may prune it."""
    if not folder.has_checkpoint:
        folder.clear()
    with (
        folder.log.open("a", buffering=1) as log,
        redirect_stdout(log),
        redirect_stderr(log),
        record_failure(folder, words),
    ):
        config = _adapt_config(_follow_first(read(), folder, words), folder)
        with signals.defer():
            from unet_exp.training.pruning import Pruning
            from unet_exp.training.run import train

        pruning = None if trial is None else Pruning(*trial, config.trainer.monitor)
        train(config, words, folder, pruning)


def _follow_first(config: Config, folder: RunFolder, words: Sequence[str]) -> Config:
    """The config of a run of a resumed sweep, which takes from its first run what no word says.

    Keys that the version of that run lacked mean the same, and its place at W&B stays, whatever the variables of this
    shell are; but not where the runs differ in an option that may name places itself.
    """
    first = SweepFolder(folder.path.parent, []).find_earliest()
    if first is None or first.path == folder.path:
        return config
    kept = keep_unrecorded(config, first, words)
    option_words = [_list_options(line) for line in (words, first.read_summary().overrides or words)]
    return keep_places(kept, first, words) if option_words[0] == option_words[1] else kept


def _list_options(words: Sequence[str]) -> set[str]:
    """Those of the words that choose an experiment or a logger."""
    return {word for word in words if find_keys([word]) <= {"experiment", "logger"}}


@contextmanager
def _say_that_none_has_begun(plan: SweepPlan) -> Iterator[None]:
    """Says it at a signal in this block."""
    try:
        yield
    except (signals.Stopped, KeyboardInterrupt) as error:
        signum = error.signum if isinstance(error, signals.Stopped) else signal.SIGINT
        advice = "no run had begun, so there is nothing to resume" if plan.folder is None else "no run has begun again"
        raise signals.Stopped(signum, advice) from None


def _check_orphans(plan: SweepPlan, folder: SweepFolder) -> None:
    """Refuses a sweep with runs that an earlier start still trains; `hydra/launcher=slurm` waits for its own jobs."""
    in_jobs = find_runs_in_jobs(folder, may_wait=plan.slurm is not None)
    if in_jobs and folder.search is not None:  # its jobs are workers, which hold the locks of trials
        return
    busy = [run for run in folder.runs if run.name not in in_jobs and is_locked(folder.folder(run).lock)]
    if busy:
        raise UserError(
            f"sweep.resume={folder.path}: {_list_names(busy)} is still trained by a process of an earlier start; "
            "wait for its end, or end it"
        )


@contextmanager
def _open_launcher(plan: SweepPlan, folder: SweepFolder, console: Console, progress: SweepProgress) -> Iterator[Launch]:
    """The launcher of the plan, as a function that runs jobs and returns at their end."""
    sweep_dir = f"hydra.sweep.dir={quote(str(folder.path.resolve()))}"
    words = [*plan.runs[0].overrides, *plan.hydra, *search_path(plan.config_dir), sweep_dir]
    with initialize_hydra() as loader:
        config = hydra.compose("train", words, return_hydra_config=True)
        # A launcher needs the callbacks of the context, and their class has no public name.
        callbacks = Callbacks()
        callbacks.callbacks.append(ForgetConfigs())
        context = HydraContext(config_loader=JobLoader(loader, plan.config_dir), callbacks=callbacks)
        if plan.slurm is not None:
            folder.stop.unlink(missing_ok=True)  # of a start by another launcher that was killed
            runner = bind_runner(config, context, run_planned)
            again = explain_resume(plan, folder.path)
            show = progress.show_queued
            slurm = SlurmLauncher(plan.slurm, plan.sweep.per_job, folder, runner, console, show, again)
            yield lambda runs: slurm.launch(runs, _add_places(folder, runs))
            return
        launcher = Plugins.instance().instantiate_launcher(
            config=config, hydra_context=context, task_function=run_planned
        )

        def launch(runs: Sequence[PlannedRun]) -> None:
            if not runs:
                return
            with _stop_runs_on_signal(plan, folder):
                try:
                    ended = launcher.launch(_add_places(folder, runs), initial_job_idx=0)
                except Exception as error:
                    # With some launchers a killed process takes the others with it; each raises its own error.
                    console.print(f"the launcher gave up: {type(error).__name__}: {error}", soft_wrap=True)
                    return
            for run, job in zip(runs, ended, strict=True):
                if job.status != JobStatus.COMPLETED:
                    console.print(f"{run.name} left no record: {job._return_value!r}", soft_wrap=True)

        yield launch


def _add_places(folder: SweepFolder, runs: Sequence[PlannedRun]) -> list[list[str]]:
    """The words of each run, with that for its folder."""
    return [[*run.overrides, f"+sweep.run={quote(str(folder.folder(run).path.resolve()))}"] for run in runs]


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
            "trainer": config.trainer.model_copy(update={"devices": 1, "num_nodes": 1}),
            "logger": config.logger.join_sweep(folder.path.parent.name),
        }
    )


def _conclude(plan: SweepPlan, folder: SweepFolder, console: Console) -> None:
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
    if plan.sweep.report and len(unfinished) < len(folder.runs):
        _write_page(folder, console)
    _print_places(plan, folder, console)
    console.print(str(folder.path), style="bold", soft_wrap=True)
    if unfinished:
        again = f"to run them again: {explain_resume(plan, folder.path)}"
        raise UserError(f"{len(unfinished)} of {len(folder.runs)} runs failed: {_list_names(unfinished)}; {again}")


def _print_places(plan: SweepPlan, folder: SweepFolder, console: Console) -> None:
    """Prints where W&B has the runs."""
    for line in describe_wandb(folder, (config.logger for config in plan.configs)):
        console.print(line, soft_wrap=True)


def _explain_still_running(folder: SweepFolder) -> UserError:
    return UserError(f"sweep.resume={folder.path}: this sweep is still running; wait for its end")


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
