"""Sweeps on a real SLURM, which runs on this machine for these tests."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from conftest import TINY, Said, run_training, summary, table
from slurm_here import LIMIT, Slurm, run_slurm, wait_for

from unet_exp.checkpoints.reading import read_content
from unet_exp.runs.run_folder import RunFolder
from unet_exp.runs.sweep_folder import SweepFolder

pytestmark = pytest.mark.slow
Cli = Callable[..., Said]
SCRIPT = Path(__file__).parents[2] / "scripts" / "train.py"
JOBS = [
    *("hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.gpus_per_node=0"),
    *("hydra.launcher.mem_gb=2", "hydra.launcher.timeout_min=5", "hydra.launcher.signal_delay_s=20"),
    *("hydra.launcher.array_parallelism=3", "hydra.launcher.poll=0.5"),
]
LONG = [*TINY, "trainer.max_steps=300", "trainer.val_every_epochs=10", "optimizer=sgd"]
"""A training of some seconds, which a signal can reach."""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Slurm]:
    try:
        with run_slurm(tmp_path_factory.mktemp("slurm")) as running:
            yield running
    except pytest.skip.Exception as skipped:
        with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            print(f"\nSKIPPED: {skipped.msg}", file=sys.stderr)
        raise


class Sweep:
    """`scripts/train.py` in a process of its own, with what it has printed so far."""

    def __init__(self, *words: str, log: Path) -> None:
        self._log = log
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, SCRIPT, *words], stdout=file, stderr=subprocess.STDOUT, cwd=log.parent
            )

    @property
    def said(self) -> str:
        return self._log.read_text()

    def wait_until(self, part: str) -> None:
        wait_for(lambda: part in self.said or self.process.poll() is not None, f"{part!r}")
        assert part in self.said, self.said


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Sweep]]:
    started: list[Sweep] = []

    def begin(*words: str) -> Sweep:
        started.append(Sweep(*words, log=tmp_path / f"{len(started)}.log"))
        return started[-1]

    yield begin
    for sweep in started:
        sweep.process.kill()
        sweep.process.wait()
        print(sweep.said)


def the_sweep(output: Path) -> SweepFolder:
    (path,) = (output / "sweep").iterdir()
    return SweepFolder.open(path)


def assert_same_weights(first: RunFolder, second: RunFolder) -> None:
    weights = [read_content(folder.last)["state_dict"] for folder in (first, second)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_six_runs_of_which_one_fails_one_job_is_cancelled_and_one_times_out(
    slurm: Slurm, start: Callable[..., Sweep], tmp_path: Path
) -> None:
    """Two runs a job; the controller is restarted meanwhile, and the folder has a space in its name."""
    output = tmp_path / "out put"
    rates = ["1e30", "0.001", "0.002", "0.003", "0.004", "0.005"]
    more = [f"optimizer.lr={','.join(rates)}", f"output='{output}'", "name=six", "sweep.per_job=2"]
    sweep = start("-m", *LONG, *more, *JOBS)
    sweep.wait_until("6 runs submitted as a job array of 3: squeue --job=")
    folder = the_sweep(output)
    runs = [folder.folder(run) for run in folder.runs]
    array = json.loads((folder.path / "jobs.json").read_text())["1"]["id"]
    failing, _, cancelled, never_begun, timed_out, _ = runs

    # SLURM announces the time limit by this signal; limits themselves are whole minutes.
    disturb = {
        cancelled: lambda: slurm.ask("scancel", f"{array}_1"),
        timed_out: lambda: slurm.signal("USR2", f"{array}_2"),
    }
    names: list[str] = []

    def disturb_those_that_train() -> bool:
        for run in [run for run in disturb if run.last.exists()]:
            names.append(slurm.ask("squeue", "--noheader", f"--name={run.path.name}", "--format=%j").strip())
            disturb.pop(run)()
        return not disturb

    wait_for(disturb_those_that_train, "checkpoints")
    assert sorted(names) == ["optimizer.lr=0.002", "optimizer.lr=0.004"]  # the jobs are named by their runs
    wait_for(lambda: slurm.states().get(f"{array}_2") == "PENDING", "the job to be queued again")
    assert summary(timed_out)["status"] == "stopped"
    slurm.ask("scontrol", "update", f"JobId={array}_2", "StartTime=now")  # else it waits two minutes

    wait_for(lambda: f"{array}_1" not in slurm.states(), "the end of the cancelled job")
    # A job whose `srun` begins while no controller answers fails: SLURM's srun gives up after some seconds.
    wait_for(lambda: summary(timed_out)["status"] == "running", "the queued job to train again")

    slurm.stop_controller()
    sweep.wait_until("SLURM does not answer")
    slurm.start_controller()
    sweep.wait_until("SLURM answers again")

    assert sweep.process.wait(timeout=LIMIT) == 2
    assert "stopped" not in sweep.said  # what is queued again does not count as such
    told = [summary(run) for run in runs]
    statuses = ["failed", "finished", "failed", "failed", "finished", "finished"]
    assert [each["status"] for each in told] == statuses
    assert summary(failing)["error"].startswith("the training loss is")
    for run in (cancelled, never_begun):
        error = summary(run)["error"]
        assert error.startswith(f"its SLURM job {array}_1 has ended (CANCELLED")
        assert Path(error.partition("; see ")[2]).is_file()
    assert "3 of 6 runs failed: optimizer.lr=1e+30, optimizer.lr=0.002, optimizer.lr=0.003;" in sweep.said
    assert (folder.path / "report.html").is_file()
    assert 0 < summary(timed_out)["resumed"][0]["step"] < 300

    undisturbed = run_training(tmp_path / "alone", "optimizer.lr=0.004", base=LONG)
    assert_same_weights(undisturbed, timed_out)
    assert table(undisturbed.per_image) == table(timed_out.per_image)


def test_killed_gone_on_with_and_cancelled(slurm: Slurm, start: Callable[..., Sweep], cli: Cli, tmp_path: Path) -> None:
    """Two runs in one job; the program is killed, then waits for the same job, then is interrupted."""
    output = tmp_path / "out"
    more = ["sweep.per_job=2", "hydra.launcher.on_interrupt=cancel", "sweep.report=false"]
    first = start("-m", *LONG, "seed=0,1", f"output={output}", *JOBS, *more)
    first.wait_until("2 runs submitted as a job: squeue --job=")
    first.process.kill()
    first.process.wait()
    folder = the_sweep(output)
    again = f"sweep.resume={folder.path}"
    (job,) = slurm.states()

    said = cli("train", again, "hydra/launcher=basic")
    assert (
        "jobs of it are queued or running in SLURM (1); wait for them with hydra/launcher=slurm, or end them with "
        f"scancel {job}" in said.mistake
    )
    second = start(again)
    second.wait_until("jobs of an earlier start are queued or running, and are waited for: 1")
    wait_for(folder.folder(folder.runs[0]).last.exists, "a checkpoint")
    assert list(slurm.states()) == [job]
    second.process.send_signal(signal.SIGINT)
    assert second.process.wait(timeout=LIMIT) == 130
    assert "the jobs are cancelled; what they have trained is saved" in second.said
    assert f"stopped by SIGINT; go on with: python scripts/train.py {again}" in second.said

    third = start(again)
    assert third.process.wait(timeout=LIMIT) == 0
    arrays = json.loads((folder.path / "jobs.json").read_text())
    assert [entry["jobs"] for entry in arrays.values()] == [[["seed=0", "seed=1"]]] * 2
    assert [summary(folder.folder(run))["status"] for run in folder.runs] == ["finished"] * 2
    assert len(summary(folder.folder(folder.runs[0]))["resumed"]) == 1
    assert cli("train", again).code == 0  # nothing is left to submit
    assert slurm.states() == {}


def test_jobs_that_cannot_begin(slurm: Slurm, start: Callable[..., Sweep], cli: Cli, tmp_path: Path) -> None:
    said = cli("train", "-m", *TINY, "seed=0,1", "output=out", *JOBS, "hydra.launcher.partition=nowhere")
    assert "sbatch refuses the jobs: " in said.mistake
    assert "nvalid partition name" in said.mistake
    said = cli("train", "-m", *TINY, "seed=0,1", "output=out", *JOBS, "hydra.launcher.gpus_per_node=1")
    assert said.mistake.endswith("a partition without GPUs wants hydra.launcher.gpus_per_node=0")
    assert len(said.err.splitlines()) == 1
    assert not list((tmp_path / "out" / "sweep").iterdir())

    sweep = start("-m", *TINY, "seed=0,1", "output=out", *JOBS, "hydra.launcher.setup=[exit 3]")
    assert sweep.process.wait(timeout=LIMIT) == 2
    assert "2 of 2 runs failed: seed=0, seed=1" in sweep.said
    folder = the_sweep(tmp_path / "out")
    for number, run in enumerate(folder.runs):
        error = summary(folder.folder(run))["error"]
        assert f"_{number} has ended (FAILED, exit code 3); see {folder.path.resolve()}/.submitit/1/" in error
    assert slurm.states() == {}


def test_one_training_over_two_tasks(slurm: Slurm, tmp_path: Path) -> None:
    words = [*TINY, "data.val_images=3", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "output=out"]
    job = slurm.submit(
        f"#!/bin/bash\n#SBATCH --ntasks=2 --mem=4G --time=5 --chdir={tmp_path} --output=log.txt\n"
        f"srun --kill-on-bad-exit=1 {sys.executable} {SCRIPT} {' '.join(words)}\n"
    )
    wait_for(lambda: job not in slurm.states(), "the end of the job")
    said = (tmp_path / "log.txt").read_text()
    (path,) = (tmp_path / "out" / "train").iterdir()
    told = summary(RunFolder(path))
    assert (told["status"], told["steps"], told["processes"]) == ("finished", 2, 2), said
    assert said.count("2 processes x ") == 1
    assert said.splitlines()[-1].endswith(path.name)
    assert [row["step"] for row in table(RunFolder(path).metrics)] == ["1", "2"]
