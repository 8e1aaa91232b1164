"""`hydra/launcher=slurm`: the runs of a sweep as a job array, submitted by submitit, and the wait for its end.

A job lives on without this program. What has become of it is read from its run folders and from SLURM's queue, so that
the sweep can be left and gone on with at any time.
"""

import io
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr, suppress

from rich.console import Console

from unet_exp import signals
from unet_exp.config.multirun import SlurmConfig
from unet_exp.errors import UserError
from unet_exp.runs.sweep_folder import PlannedRun, SweepFolder
from unet_exp.sweeps.slurm_job import JobRuns, RunWords
from unet_exp.sweeps.slurm_jobs import Job, SlurmJobs
from unet_exp.sweeps.slurm_queue import QueuedJob, Unreachable, cancel, explain_end

_LOOKS = 2
"""A job is gone if it is missing at so many looks: while the controller starts again, its list may be short."""
_LOOKS_FOR_RESULT = 5
"""The same where SLURM says that it has completed, or still runs: a network share may show its files late."""
_NO_END = ("COMPLETED", "COMPLETING", "CONFIGURING", "PENDING", "REQUEUED", "RUNNING", "SUSPENDED")

_NO_ANSWER = re.compile(r"unable to contact|timed out|connection refused|send/recv", re.IGNORECASE)
"""In what sbatch prints where the controller does not answer."""
_SILENCE = "SLURM does not answer"


def find_runs_in_jobs(folder: SweepFolder, may_wait: bool) -> set[str]:
    """Names of the runs of a sweep that are in jobs of an earlier start.

    Args:
        folder: of the sweep.
        may_wait: whether this start would wait for such jobs; another launcher would start them a second time.

    Raises:
        UserError: if there are any and it would not, or if SLURM does not say so.
    """
    if shutil.which("squeue") is None:  # another machine: the locks of the runs tell
        return set()
    try:
        queued = SlurmJobs(folder.path).list_queued()
    except Unreachable as error:
        raise UserError(
            f"sweep.resume={folder.path}: whether its jobs still run is not known, SLURM does not answer ({error}); "
            "try again later"
        ) from None
    if queued and not may_wait:
        raise UserError(
            f"sweep.resume={folder.path}: jobs of it are queued or running in SLURM ({len(queued)}); wait for them "
            f"with hydra/launcher=slurm, or end them with scancel {' '.join(_list_arrays(job for job, _ in queued))}"
        )
    return {name for job, _ in queued for name in job.runs}


def _list_arrays(jobs: Iterable[Job]) -> list[str]:
    """SLURM's ids of the jobs, one for a whole array."""
    return sorted({job.id.partition("_")[0] for job in jobs if job.id})


def _explain(job: Job, looks: int) -> str:
    """Why a job has ended that was missing at so many looks.

    Raises:
        Unreachable: if SLURM does not say so yet.
    """
    with suppress(Unreachable) if looks >= _LOOKS_FOR_RESULT else nullcontext():
        if job.id is not None:
            return explain_end(job.id)
    return "gone from the queue"


_ADVICE = {
    "array": "an array has at most MaxArraySize jobs (scontrol show config): pack runs with sweep.per_job=10",
    "generic resource": "a partition without GPUs wants hydra.launcher.gpus_per_node=0",
    "gres": "a partition without GPUs wants hydra.launcher.gpus_per_node=0",
    "partition": "set hydra.launcher.partition to one that sinfo lists",
    "account": "set hydra.launcher.account to one of yours (sacctmgr show associations user=$USER)",
    "memory": "lower hydra.launcher.mem_gb, or take another hydra.launcher.partition (sinfo --format='%P %l %c %m %G')",
    "node configuration": "ask for less with hydra.launcher.cpus_per_task, mem_gb or gpus_per_node "
    "(sinfo --format='%P %l %c %m %G' lists what nodes have)",
    "time limit": "lower hydra.launcher.timeout_min (sinfo lists the limits)",
    "feature": "change hydra.launcher.constraint",
    "qos": "change hydra.launcher.qos",
}
"""What to do, by a part of what sbatch has said, in small letters; the first that is found counts."""


def _advise(refusal: str) -> str:
    """What to do where sbatch has refused jobs in these words."""
    known = (advice for part, advice in _ADVICE.items() if part in refusal.lower())
    return next(known, "change that in hydra.launcher.<key>, or in hydra.launcher.additional_parameters")


@contextmanager
def _hide_own_job() -> Iterator[None]:
    """Hides the variables of the job in which this program runs, if any: new jobs would take them for their own."""
    inside = "SLURM_JOB_ID" in os.environ
    names = [name for name in os.environ if inside and name.startswith("SLURM_") and name != "SLURM_CONF"]
    hidden = {name: os.environ.pop(name) for name in names}
    try:
        yield
    finally:
        os.environ.update(hidden)


class SlurmLauncher:
    """Submits runs and waits for them.

    Args:
        settings: of the jobs.
        per_job: runs of one job.
        folder: of the sweep.
        run_words: trains one run in the process that calls it; it is pickled.
        console: for what the user should know.
        tell_queued: called at each look with the names of all runs that are in jobs.
        again: the whole command line that goes on with the sweep.
    """

    def __init__(
        self,
        settings: SlurmConfig,
        per_job: int,
        folder: SweepFolder,
        run_words: RunWords,
        console: Console,
        tell_queued: Callable[[Collection[str]], None],
        again: str,
    ) -> None:
        self._settings = settings
        self._per_job = per_job
        self._folder = folder
        self._run_words = run_words
        self._console = console
        self._tell_queued = tell_queued
        self._again = again
        self._jobs = SlurmJobs(folder.path)
        self._told: set[str] = set()

    def launch(self, runs: Sequence[PlannedRun], words: Sequence[Sequence[str]]) -> None:
        """Submits the runs that no job has yet, and returns when none of these runs is in a job any more.

        A run whose job has ended without a result is recorded as failed, with the reason. Of a search all jobs are
        waited for, whatever they are called.

        Args:
            runs: that are not done.
            words: of each, for Hydra.

        Raises:
            UserError: if SLURM refuses the jobs, or does not answer when they are submitted.
        """
        names = {run.name for run in runs}
        jobs: list[Job] = []
        try:
            is_search = self._folder.search is not None
            jobs = [job for job in self._find_queued() if is_search or names & set(job.runs)]
            if jobs:
                self._say(f"jobs of an earlier start are queued or running, and are waited for: {len(jobs)}")
            taken = {name for job in jobs for name in job.runs}
            missing = [
                (run, line)
                for run, line in zip(runs, words, strict=True)
                if run.name not in taken and not self._folder.is_done(run)
            ]
            if missing:
                with signals.defer():
                    jobs += self._submit(missing)
            self._wait(jobs)
        except (signals.Stopped, KeyboardInterrupt):
            self._interrupt(jobs or [job for job, _ in self._list_queued() or ()])
            raise

    def _find_queued(self) -> list[Job]:
        """The sweep's jobs in the queue, when none of them is just ending: such a one may be queued again."""
        while True:
            found = self._list_queued()
            ending = [entry.id for _, entry in found or () if entry.is_ending]
            if found is not None and not ending:
                return [job for job, _ in found]
            if ending:
                self._tell_once("ending", f"jobs that are just ending are waited for, such as {ending[0]}")
            self._pause()

    def _list_queued(self) -> list[tuple[Job, QueuedJob]] | None:
        """The sweep's jobs in the queue; None where SLURM does not answer, which is told once."""
        try:
            found = self._jobs.list_queued()
        except Unreachable as error:
            self._tell_once(_SILENCE, f"SLURM does not answer ({error}); the sweep waits for it")
            return None
        if _SILENCE in self._told:
            self._told.remove(_SILENCE)
            self._say("SLURM answers again")
        return found

    def _pause(self) -> None:
        """Lets some time pass.

        Raises:
            Stopped: if a signal has come: in a thread it raises nothing by itself.
        """
        time.sleep(self._settings.poll)
        if (signum := signals.received()) is not None:
            raise signals.Stopped(signum)

    def _submit(self, missing: Sequence[tuple[PlannedRun, Sequence[str]]]) -> list[Job]:
        """Submits an array.

        Raises:
            UserError: if SLURM refuses it, or does not answer.
        """
        packs = [missing[start : start + self._per_job] for start in range(0, len(missing), self._per_job)]
        jobs = self._jobs.begin([[run.name for run, _ in pack] for pack in packs])
        number = jobs[0].array
        for run, _ in missing:  # from here on `failed` means that it failed in this job
            summary = self._folder.folder(run).read_summary()
            if summary.status == "failed":
                summary.replace(status="stopped").write(self._folder.folder(run).summary)
        tasks = [JobRuns(self._run_words, [(run.name, list(line)) for run, line in pack]) for pack in packs]
        try:
            id_ = self._sbatch(number, tasks)
        except Unreachable as error:
            raise UserError(
                f"SLURM does not answer ({error}); whether it has taken the jobs is not known; go on later with: "
                f"{self._again}"
            ) from None
        except UserError:
            self._jobs.withdraw(number)
            raise
        count = f"{len(missing)} runs" if len(missing) > 1 else missing[0][0].name
        kind = f"a job array of {len(jobs)}" if len(jobs) > 1 else "a job"
        self._say(f"{count} submitted as {kind}: squeue --job={id_}")
        return self._jobs.confirm(number, id_)

    def _sbatch(self, number: str, tasks: Sequence[JobRuns]) -> str:
        """SLURM's id of the submitted array.

        Raises:
            UserError: if SLURM refuses it.
            Unreachable: if its controller does not answer.
        """
        import submitit
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        settings = self._settings
        asked = settings.model_dump(include={"partition", "account", "qos", "constraint", "setup"})
        options = {f"slurm_{key}": value for key, value in asked.items() if value}
        options |= {"gpus_per_node": settings.gpus_per_node} if settings.gpus_per_node else {}
        executor = submitit.AutoExecutor(
            self._jobs.folder(number), cluster="slurm", slurm_max_num_timeout=settings.max_num_timeout
        )
        try:
            executor.update_parameters(
                name=self._folder.path.name,
                nodes=1,
                tasks_per_node=1,
                timeout_min=settings.timeout_min,
                cpus_per_task=settings.cpus_per_task,
                mem_gb=settings.mem_gb,
                stderr_to_stdout=True,
                slurm_signal_delay_s=settings.signal_delay_s,
                slurm_array_parallelism=settings.array_parallelism,
                slurm_additional_parameters={"requeue": True, **settings.additional_parameters},
                # From 22.05 on srun no longer takes it from sbatch, and gives the program one core.
                slurm_srun_args=[f"--cpus-per-task={settings.cpus_per_task}"],
                **options,
            )
            with _hide_own_job(), redirect_stderr(io.StringIO()), executor.batch():  # it prints what it also raises
                submitted = [executor.submit(task) for task in tasks]
        except (FailedJobError, FailedSubmissionError) as error:
            told = "; ".join(" ".join(line.split()) for line in str(error).split("sbatch: error:") if line.strip())
            if _NO_ANSWER.search(told):
                raise Unreachable(told) from None
            raise UserError(f"sbatch refuses the jobs: {told}; {_advise(told)}") from None
        return str(submitted[0].job_id).partition("_")[0]

    def _wait(self, jobs: Sequence[Job]) -> None:
        """Returns when none of the jobs is queued or running any more."""
        left = {job.key: job for job in jobs}
        missed: Counter[tuple[str, int]] = Counter()
        while left:
            queued = self._list_queued()
            if queued is not None:
                with suppress(Unreachable):  # the next look tells it
                    self._look(left, queued, missed)
            if left:
                self._pause()

    def _look(
        self,
        left: dict[tuple[str, int], Job],
        queued: Sequence[tuple[Job, QueuedJob]],
        missed: Counter[tuple[str, int]],
    ) -> None:
        """Takes the jobs that have ended out of `left`, and counts in `missed` at how many looks they were missing."""
        entries = {job.key: entry for job, entry in queued}
        for key, job in list(left.items()):
            entry = entries.get(key)
            if entry is None:
                missed[key] += 1
                if self._conclude(job, missed[key]):
                    del left[key]
                continue
            missed[key] = 0
            if entry.is_held:
                which = f"{entry.id} ({', '.join(job.runs)})"
                advice = f"correct that, or give up with scancel {entry.id}"
                self._tell_once(entry.reason, f"jobs do not start, such as {which}: {entry.reason}; {advice}")
        known = (*(job for job, _ in queued), *left.values())  # one that is missing once may come again
        self._tell_queued({name for job in known for name in job.runs})

    def _conclude(self, job: Job, looks: int) -> bool:
        """Records why runs of a job that is no longer in the queue have no result; whether it has ended for sure."""
        runs = [PlannedRun(name, []) for name in job.runs]
        if all(self._folder.is_done(run) for run in runs):
            return True
        if looks < _LOOKS:
            return False
        if self._folder.search is not None:
            return self._conclude_worker(job, looks)
        without = [run for run in runs if not (self._folder.is_done(run) or self._folder.status(run) == "failed")]
        if without:
            reason = _explain(job, looks)
            if reason.partition(",")[0] in _NO_END and looks < _LOOKS_FOR_RESULT:
                return False
            for run in without:
                folder = self._folder.folder(run)
                folder.path.mkdir(exist_ok=True)
                error = f"its SLURM job {job.id or 'of unknown number'} has ended ({reason}); see {self._jobs.log(job)}"
                folder.read_summary().replace(status="failed", error=error).write(folder.summary)
        return True

    def _conclude_worker(self, job: Job, looks: int) -> bool:
        """Says why a worker of a search has ended, if not by itself; its trials have their own results."""
        reason = _explain(job, looks)
        if reason.partition(",")[0] in _NO_END:
            return reason.startswith("COMPLETED") or looks >= _LOOKS_FOR_RESULT
        worker = f"{', '.join(job.runs)} in job {job.id or 'of unknown number'}"
        self._say(f"{worker} has ended ({reason}); see {self._jobs.log(job)}")
        return True

    def _interrupt(self, jobs: Iterable[Job]) -> None:
        """Leaves the jobs in the queue or cancels them, as asked, and says so."""
        arrays = _list_arrays(jobs)
        if not arrays:
            return
        by_hand = f"scancel {' '.join(arrays)}"
        if self._settings.on_interrupt == "leave":
            self._say(f"the jobs go on without this program; end them with: {by_hand}")
            return
        try:
            cancel(arrays)
            self._say("the jobs are cancelled; what they have trained is saved")
        except Unreachable as error:
            self._say(f"the jobs are not cancelled, SLURM does not answer ({error}); end them with: {by_hand}")

    def _say(self, line: str) -> None:
        self._console.print(line, soft_wrap=True)

    def _tell_once(self, topic: str, line: str) -> None:
        if topic not in self._told:
            self._told.add(topic)
            self._say(line)
