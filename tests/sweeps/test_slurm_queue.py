"""What is made of the answers of SLURM's commands, which are small scripts here; `test_slurm.py` has a real one."""

import io
import json
import os
import re
import signal
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY, Said, summary
from rich.console import Console

from unet_exp import signals
from unet_exp.cli.command import read_command
from unet_exp.config.multirun import SlurmConfig
from unet_exp.errors import ConfigError, UserError
from unet_exp.runs.summary import Summary
from unet_exp.runs.sweep_folder import PlannedRun, SweepFolder
from unet_exp.sweeps.plan import SweepPlan
from unet_exp.sweeps.progress import SweepProgress
from unet_exp.sweeps.search import Search
from unet_exp.sweeps.search_task import Place, SearchTask, get_address
from unet_exp.sweeps.slurm import SlurmLauncher, find_runs_in_jobs
from unet_exp.sweeps.slurm_jobs import SlurmJobs
from unet_exp.sweeps.slurm_queue import explain_end, require_slurm
from unet_exp.sweeps.study import Outcome

pytestmark = pytest.mark.skipif(os.name != "posix", reason="SLURM's commands are scripts of a shell here")
AGAIN = "python scripts/train.py sweep.resume=out --config-dir mine"
RUNS = [PlannedRun("seed=0", ["seed=0"]), PlannedRun("seed=1", ["seed=1"])]


class Commands:
    """SLURM's commands: squeue prints the file `queue`, or fails without it; sbatch submits an array of two as 7."""

    def __init__(self, home: Path) -> None:
        self.queue = home / "queue"
        self.queue.write_text("")
        self._bin = home / "bin"
        self._bin.mkdir()
        self.set("squeue", f"cat {self.queue}")
        self.set(
            "sbatch",
            f'for i in 0 1; do echo "7_$i|PENDING|None|$1" >> {self.queue}; done; echo Submitted batch job 7',
        )
        for name in ("srun", "scancel", "scontrol", "sacct"):
            self.set(name, "echo $0: not expected >&2; exit 1")

    def set(self, name: str, line: str) -> None:
        path = self._bin / name
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)

    @property
    def path(self) -> str:
        return f"{self._bin}:/usr/bin:/bin"


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    made = Commands(tmp_path)
    monkeypatch.setenv("PATH", made.path)
    return made


@pytest.fixture
def sweep(tmp_path: Path) -> SweepFolder:
    return SweepFolder.create(tmp_path, "x", ["seed=0,1"], None, None, RUNS)


def settings(**other: Any) -> SlurmConfig:
    defaults = {
        **dict.fromkeys(("partition", "account", "qos", "constraint")),
        **{"timeout_min": 240, "cpus_per_task": 1, "gpus_per_node": 0, "mem_gb": 1.0, "setup": []},
        **{"additional_parameters": {}, "array_parallelism": 2, "signal_delay_s": 120, "max_num_timeout": 3},
        **{"on_interrupt": "leave", "poll": 0.01},
    }
    return SlurmConfig.model_validate({**defaults, **other})


def launch(sweep: SweepFolder, at_look: Callable[[int, Collection[str]], None], **other: Any) -> str:
    """Runs a launcher; `at_look` gets the number of the look at the queue, and the runs that are in it."""
    looks: list[Collection[str]] = []

    def look(queued: Collection[str]) -> None:
        looks.append(queued)
        at_look(len(looks), queued)

    said = Console(file=io.StringIO(), width=200)
    SlurmLauncher(settings(**other), 1, sweep, print, said, look, AGAIN).launch(RUNS, [run.overrides for run in RUNS])
    assert isinstance(said.file, io.StringIO)
    return said.file.getvalue()


def finish(sweep: SweepFolder, *runs: PlannedRun) -> None:
    for run in runs:
        sweep.folder(run).path.mkdir(exist_ok=True)
        Summary(status="finished").write(sweep.folder(run).summary)


def test_a_job_that_leaves_no_result_is_recorded_with_the_reason(commands: Commands, sweep: SweepFolder) -> None:
    commands.set("scontrol", "echo 'JobId=9 JobState=OUT_OF_MEMORY Reason=None ExitCode=0:9 JobName=x'")

    def at_look(number: int, queued: Collection[str]) -> None:
        assert "seed=1" in queued or number > 2
        if number == 1:
            finish(sweep, RUNS[0])
            commands.queue.write_text("")

    said = launch(sweep, at_look)
    assert "2 runs submitted as a job array of 2: squeue --job=7" in said
    assert [sweep.status(run) for run in RUNS] == ["finished", "failed"]
    log = sweep.path.resolve() / ".submitit" / "1" / "7_1_0_log.out"
    error = f"its SLURM job 7_1 has ended (OUT_OF_MEMORY, signal 9); see {log}"
    assert summary(sweep.folder(RUNS[1]))["error"] == error


def test_a_job_of_which_scontrol_tells_nothing_is_not_waited_for_without_end(
    commands: Commands, sweep: SweepFolder
) -> None:
    def at_look(*_: object) -> None:
        finish(sweep, RUNS[0])
        commands.queue.write_text("")

    launch(sweep, at_look)
    assert "job 7_1 has ended (gone from the queue)" in summary(sweep.folder(RUNS[1]))["error"]


SEARCH = (
    *TINY, "search=optuna", "search.trials=1", "hydra/launcher=slurm", "hydra.launcher.poll=0.01", "output=out",
)  # fmt: skip


@pytest.mark.slow
def test_a_search_whose_last_trial_is_in_a_job_waits_for_it(
    commands: Commands, cli: Callable[..., Said], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = read_command(SEARCH)
    assert isinstance(plan, SweepPlan)
    assert plan.search is not None
    sweep = SweepFolder.create(tmp_path, "x", SEARCH, None, "optuna", [])
    task = SearchTask.write(sweep.path, plan.search, None, True)
    place, address = Place.here(sweep.path, task), get_address(plan.search, sweep)
    worker = Search(plan.search, plan.configs[0].trainer.monitor, address, place)
    trial = worker.ask()
    assert trial is not None
    jobs = SlurmJobs(sweep.path)
    jobs.begin([["worker-0"]])
    commands.queue.write_text(f"12|RUNNING|None|{jobs.folder('1')}/script.sh\n")
    for name in ("sbatch", "scontrol"):
        commands.set(name, "echo JobState=COMPLETED; [ $0 = scontrol ]")

    def end_job(_: SlurmLauncher) -> None:
        if commands.queue.read_text():
            Summary(status="finished").write(place.run(trial.number).summary)
            worker.tell(trial.number, Outcome("finished", 0.5))
            commands.queue.write_text("")

    monkeypatch.setattr(SlurmLauncher, "_pause", end_job)
    said = cli("train", f"sweep.resume={sweep.path}")
    assert (said.code, "trials: 1 finished" in said.out) == (0, True), said
    assert "are waited for: 1" in said.out

    sweep.journal.unlink()
    said = cli("train", f"sweep.resume={sweep.path}")
    assert f"it knows nothing of trial-000, which is in {sweep.path}; bring it back" in said.mistake


@pytest.mark.slow
def test_a_search_whose_workers_do_not_begin_has_failed(
    commands: Commands, cli: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    commands.set("sbatch", f'echo "7|PENDING|None|$1" > {commands.queue}; echo Submitted batch job 7')
    commands.set("scontrol", "echo JobState=FAILED Reason=NonZeroExitCode ExitCode=1:0")
    monkeypatch.setattr(SlurmLauncher, "_pause", lambda _: commands.queue.write_text("") and None)
    said = cli("train", *SEARCH)
    assert "worker-0 in job 7 has ended (FAILED, exit code 1); see" in said.out
    assert "the workers have ended before the search, which has 0 of 1 trials; see above; go on with: " in said.mistake


def test_a_controller_that_does_not_answer_is_waited_for(commands: Commands, sweep: SweepFolder) -> None:
    def at_look(number: int, _: Collection[str]) -> None:
        if number == 1:
            finish(sweep, *RUNS)
            # Fails once; then the queue is empty.
            commands.set(
                "squeue", f"[ ! -e {commands.queue} ] || {{ rm {commands.queue}; echo no route >&2; exit 1; }}"
            )

    said = launch(sweep, at_look)
    assert "SLURM does not answer (no route); the sweep waits for it" in said
    assert "SLURM answers again" in said


def test_jobs_of_a_start_that_was_killed_while_it_submitted(commands: Commands, sweep: SweepFolder) -> None:
    jobs = SlurmJobs(sweep.path)
    jobs.begin([["seed=0"], ["seed=1"]])
    commands.queue.write_text(f"12_0|RUNNING|None|{jobs.folder('1')}/script.sh\n13|RUNNING|None|/elsewhere/script.sh\n")
    finish(sweep, RUNS[1])
    commands.set("sbatch", "exit 1")

    def at_look(number: int, queued: Collection[str]) -> None:
        assert queued == ({"seed=0"} if number == 1 else set())
        finish(sweep, RUNS[0])
        commands.queue.write_text("")

    assert "jobs of an earlier start are queued or running, and are waited for: 1" in launch(sweep, at_look)
    assert json.loads(jobs.path.read_text())["1"] == {"id": None, "jobs": [["seed=0"], ["seed=1"]]}


def test_another_launcher_does_not_start_what_is_in_jobs(commands: Commands, sweep: SweepFolder) -> None:
    jobs = SlurmJobs(sweep.path)
    jobs.begin([["seed=0"], ["seed=1"]])
    assert find_runs_in_jobs(sweep, may_wait=False) == set()
    commands.queue.write_text(f"12_1|PENDING|None|{jobs.folder('1')}/script.sh\n")
    assert find_runs_in_jobs(sweep, may_wait=True) == {"seed=1"}
    with pytest.raises(UserError, match=r"jobs of it are queued or running in SLURM \(1\); .* scancel 12$"):
        find_runs_in_jobs(sweep, may_wait=False)
    commands.queue.unlink()
    with pytest.raises(UserError, match="whether its jobs still run is not known"):
        find_runs_in_jobs(sweep, may_wait=False)


def test_a_job_that_waits_for_somebody_is_told_once(commands: Commands, sweep: SweepFolder) -> None:
    commands.set("sbatch", f'echo "7_0|PENDING|JobHeldAdmin|$1" > {commands.queue}; echo Submitted batch job 7')
    commands.set("scontrol", "echo JobState=CANCELLED")

    def at_look(number: int, _: Collection[str]) -> None:
        if number == 3:
            finish(sweep, *RUNS)
            commands.queue.write_text("")

    said = launch(sweep, at_look)
    told = "jobs do not start, such as 7_0 (seed=0): JobHeldAdmin; correct that, or give up with scancel 7_0"
    assert said.count("do not start") == said.count(told) == 1


@pytest.mark.parametrize(
    ("on_interrupt", "cancelled", "told"),
    [
        ("leave", "", "the jobs go on without this program; end them with: scancel 7"),
        ("cancel", "7\n", "the jobs are cancelled; what they have trained is saved"),
    ],
)
def test_a_signal_leaves_or_cancels_the_jobs(
    on_interrupt: str, cancelled: str, told: str, commands: Commands, sweep: SweepFolder, tmp_path: Path
) -> None:
    commands.set("scancel", f'echo "$@" >> {tmp_path}/cancelled')
    said = Console(file=io.StringIO(), width=200)

    def stop(_: Collection[str]) -> None:
        raise signals.Stopped(signal.SIGINT)

    launcher = SlurmLauncher(settings(on_interrupt=on_interrupt), 1, sweep, print, said, stop, AGAIN)
    with pytest.raises(signals.Stopped):
        launcher.launch(RUNS, [["a"], ["b"]])
    assert isinstance(said.file, io.StringIO)
    assert told in said.file.getvalue()
    asked = tmp_path / "cancelled"
    assert (asked.read_text() if asked.exists() else "") == cancelled


def test_submitted_from_inside_a_job(
    commands: Commands, sweep: SweepFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_CONF"):
        monkeypatch.setenv(name, "5")
    commands.set("sbatch", f"env | grep ^SLURM_ > {tmp_path}/seen; echo Submitted batch job 7")
    finish(sweep, RUNS[0])
    commands.set("scontrol", "echo JobState=CANCELLED")
    launch(sweep, lambda *_: None)
    assert (tmp_path / "seen").read_text() == "SLURM_CONF=5\n"
    assert os.environ["SLURM_ARRAY_TASK_ID"] == "5"


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("Invalid job array specification", r"pack runs with sweep\.per_job"),
        ("Invalid partition name specified", r"set hydra\.launcher\.partition to one that sinfo lists"),
        ("Memory specification can not be satisfied", r"lower hydra\.launcher\.mem_gb"),
        ("Access denied", r"change that in hydra\.launcher\."),
    ],
)
def test_what_sbatch_refuses_leaves_no_record(said: str, advice: str, commands: Commands, sweep: SweepFolder) -> None:
    commands.set("sbatch", f"echo 'sbatch: error: {said}' >&2; exit 1")
    with pytest.raises(UserError, match=f"sbatch refuses the jobs: {said}; .*{advice}"):
        launch(sweep, lambda *_: None)
    assert json.loads((sweep.path / "jobs.json").read_text()) == {}
    assert not (sweep.path / ".submitit" / "1").exists()


def test_what_sbatch_may_have_submitted_stays_recorded(commands: Commands, sweep: SweepFolder) -> None:
    commands.set("sbatch", "echo 'sbatch: error: Unable to contact slurm controller (connect failure)' >&2; exit 1")
    with pytest.raises(UserError, match=rf"SLURM does not answer .* go on later with: {re.escape(AGAIN)}$"):
        launch(sweep, lambda *_: None)
    assert SlurmJobs(sweep.path).are_known


def test_the_line_that_goes_on_later_is_whole(commands: Commands, cli: Callable[..., Said], tmp_path: Path) -> None:
    commands.set("sbatch", "echo 'sbatch: error: Unable to contact slurm controller (connect failure)' >&2; exit 1")
    (tmp_path / "my own" / "optimizer").mkdir(parents=True)
    (tmp_path / "my own" / "optimizer" / "slow.yaml").write_text("defaults: [adam, _self_]\nlr: 0.25\n")
    words = ["--config-dir", "my own", *TINY, "optimizer=slow", "hydra/launcher=slurm", "trust=[mine]", "output=out"]
    said = cli("train", "-m", *words, "seed=0,1").mistake
    (folder,) = (tmp_path / "out" / "sweep").iterdir()
    again = f"sweep.resume={folder.relative_to(tmp_path)} --config-dir 'my own' 'trust=[mine]'"
    assert said.endswith(f"go on later with: python scripts/train.py {again}")


@pytest.mark.parametrize(
    ("scontrol", "sacct", "told"),
    [
        ("echo JobState=FAILED Reason=NonZeroExitCode ExitCode=3:0", "exit 1", "FAILED, exit code 3"),
        ("echo JobState=NODE_FAIL Reason=None ExitCode=0:0", "exit 1", "NODE_FAIL"),
        ("echo Invalid job id specified >&2; exit 1", "echo 'TIMEOUT|0:15'", "TIMEOUT, signal 15"),
        ("echo Invalid job id specified >&2; exit 1", "echo accounting is disabled; exit 1", "gone from the queue"),
    ],
)
def test_why_a_job_has_ended(scontrol: str, sacct: str, told: str, commands: Commands) -> None:
    commands.set("scontrol", scontrol)
    commands.set("sacct", sacct)
    assert explain_end("7_1") == told


def test_what_is_queued_again_does_not_count_as_stopped(sweep: SweepFolder) -> None:
    said = Console(file=io.StringIO(), width=200)
    with SweepProgress(sweep, 2, said) as progress:
        progress.show_queued({"seed=0"})
        finish(sweep, *RUNS)
        Summary(status="stopped").write(sweep.folder(RUNS[0]).summary)
    assert isinstance(said.file, io.StringIO)
    assert said.file.getvalue().startswith("1 of 2 done, 0 failed, 0 running, 1 queued")


def test_where_there_is_no_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="there is no sbatch here; start the sweep where jobs are submitted"):
        require_slurm()


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (
            "squeue: error: resolve_ctls_from_dns_srv: res_nsearch error: Unknown host",
            r"no SLURM cluster is set up on this machine \(squeue: .*\); start the sweep on a login node",
        ),
        (
            "squeue: error: Unable to contact slurm controller",
            r"SLURM does not answer \(squeue: .*\); try again later",
        ),
    ],
)
def test_where_slurm_does_not_answer(answer: str, told: str, commands: Commands) -> None:
    commands.set("squeue", f"echo '{answer}' >&2; exit 1")
    with pytest.raises(UserError, match=told):
        require_slurm()


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["hydra.launcher.timeout_min=x"], "hydra.launcher.timeout_min='x': should be a valid integer"),
        (["hydra.launcher.timeout=5"], "did you mean hydra.launcher.timeout_min?"),
        (["hydra.launcher.timeout_min=2"], "signal_delay_s=120: should be less than the 120 s of"),
        (["hydra/launcher=basic", "sweep.per_job=2"], "sweep.per_job=2: only jobs of SLURM hold several runs"),
        (["sweep.per_job=0"], "per_job=0: should be greater than or equal to 1"),
    ],
)
def test_mistakes(words: list[str], part: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(part)):
        read_command(["hydra/launcher=slurm", "seed=0,1", *words], multirun=True)


def test_a_cluster_of_the_users_own(tmp_path: Path) -> None:
    (tmp_path / "hydra" / "launcher").mkdir(parents=True)
    own = "defaults: [slurm, _self_]\npartition: gpu\nsetup: [module load cuda]\n"
    (tmp_path / "hydra" / "launcher" / "gpu.yaml").write_text(own)
    words = ["hydra/launcher=gpu", "seed=0,1", "hydra.launcher.timeout_min=60"]
    plan = read_command(words, str(tmp_path), multirun=True)
    assert isinstance(plan, SweepPlan)
    assert plan.slurm is not None
    assert (plan.slurm.partition, plan.slurm.setup, plan.slurm.timeout_min) == ("gpu", ["module load cuda"], 60)
