"""A signal that asks the program to leave: it saves first, says how to go on, and a second one does not wait."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TINY, Said, run_training, summary, table
from resuming import at_step, check_equal, in_a_child, in_this_child, newest

from unet_exp import data, signals
from unet_exp.checkpoints.opening import open_checkpoint
from unet_exp.checkpoints.reading import read_content
from unet_exp.inference.predictor import Predictor
from unet_exp.io.images import read_image
from unet_exp.io.writing import write_image
from unet_exp.runs.run_folder import RunFolder
from unet_exp.runs.sweep_folder import SweepFolder
from unet_exp.training.loggers import TrainingLogger
from unet_exp.training.module import SegmentationModule

Cli = Callable[..., Said]

TRAIN = "python scripts/train.py"
WORDS = (*TINY, "output=out", "trainer.max_steps=6", "data.tiles_per_epoch=4", "data.batch_size=1")
"""Epochs of four steps."""


def ask(signum: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), signum)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The undisturbed training of `WORDS`."""
    folder: RunFolder = run_training(
        tmp_path_factory.mktemp("whole"), base=[word for word in WORDS if word != "output=out"]
    )
    return folder


@pytest.fixture
def before_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], Any]], None]:
    """`before_step(3, ask)` calls `ask` once, when the step number 3, from 0, is under way."""

    return partial(at_step, monkeypatch)


class TestTraining:
    @pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2"])
    def test_ends_its_step_saves_and_goes_on_later(
        self,
        cli: Cli,
        whole: RunFolder,
        tmp_path: Path,
        before_step: Any,
        name: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        signum = signal.Signals[name]
        before = signal.getsignal(signum)
        if name == "SIGUSR1":  # as SLURM's --signal=USR1@120
            for variable, value in {"JOB_ID": "7", "JOB_NAME": "unet", "NTASKS": "1", "PROCID": "0"}.items():
                monkeypatch.setenv(f"SLURM_{variable}", value)
            monkeypatch.setenv("PATH", str(tmp_path))
            (tmp_path / "scontrol").write_text(f"#!/bin/sh\ntouch {tmp_path}/requeued\n")
            (tmp_path / "scontrol").chmod(0o755)
        before_step(2, partial(ask, signum))
        said = cli("train", *WORDS)
        assert signal.getsignal(signum) == before
        assert said.code == 128 + signum
        folder = RunFolder(newest(tmp_path).path.relative_to(tmp_path))
        assert said.err.splitlines()[-1] == f"stopped by {name}; go on with: {TRAIN} resume={folder.path}"
        assert "Traceback" not in said.err
        told = summary(folder)
        assert (told["status"], told["error"], told["steps"]) == ("stopped", f"stopped by {name}", 3)
        assert open_checkpoint(folder.last).step == 3
        assert not (tmp_path / "requeued").exists()
        if name == "SIGTERM":
            assert cli("train", f"resume={folder.path}").folder == folder.path
            check_equal(folder, whole)

    def test_waits_for_the_optimizer_and_for_a_validation(self, cli: Cli, tmp_path: Path, monkeypatch: Any) -> None:
        genuine = SegmentationModule.validation_step

        def validate(*arguments: Any) -> Any:
            ask()
            return genuine(*arguments)

        monkeypatch.setattr(SegmentationModule, "validation_step", validate)
        assert cli("train", *WORDS, "trainer.accumulate=2").code == 128 + signal.SIGTERM
        folder = newest(tmp_path)
        (row,) = table(folder.metrics)
        assert row["val/loss"]
        assert read_content(folder.last)["global_step"] == 2

        genuine_step, calls = SegmentationModule.training_step, iter(range(100))

        def step(module: SegmentationModule, batch: Any, index: int) -> Any:
            if next(calls) == 0:
                ask()
            return genuine_step(module, batch, index)

        monkeypatch.setattr(SegmentationModule, "training_step", step)
        assert cli("train", *WORDS, "trainer.accumulate=2", "name=other").code == 128 + signal.SIGTERM
        assert next(calls) == 2  # the signal came in the first half of a step
        (other,) = (tmp_path / "out" / "train").glob("*_other")
        assert read_content(RunFolder(other).last)["global_step"] == 1

    def test_leaves_at_once_where_nothing_is_lost(
        self, cli: Cli, whole: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(data, "load_data", lambda *_: ask())
            said = cli("train", *WORDS)
            assert (said.code, said.err) == (128 + signal.SIGTERM, "stopped by SIGTERM\n")
            assert not (tmp_path / "out").exists()

            patch.undo()
            patch.setattr(Predictor, "score", lambda *_: ask())
            assert cli("train", *WORDS).code == 128 + signal.SIGTERM
        folder = newest(tmp_path)
        assert summary(folder)["status"] == "stopped"
        assert not folder.per_image.exists()
        assert cli("train", f"resume={folder.path}").code == 0
        check_equal(folder, whole)

    def test_comes_through_a_library_that_is_being_loaded(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        class InC(MetaPathFinder):
            def find_spec(self, name: str, *_: Any) -> None:
                if name == "unet_exp.training.rerun":
                    try:
                        ask()
                    except BaseException:
                        raise ImportError("initialization failed") from None

        import unet_exp.training.rerun

        # What is loaded here is for this test alone.
        monkeypatch.setattr(unet_exp.training, "rerun", unet_exp.training.rerun)
        monkeypatch.delitem(sys.modules, "unet_exp.training.rerun")
        monkeypatch.setattr(sys, "meta_path", [InC(), *sys.meta_path])
        said = cli("train", *WORDS)
        assert (said.code, said.err) == (128 + signal.SIGTERM, "stopped by SIGTERM\n")

    def test_a_run_that_is_over_has_finished(self, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        # As W&B, whose uploads take long.
        monkeypatch.setattr(TrainingLogger, "finish", lambda *_, **__: ask())
        said = cli("train", *WORDS, "output=out[a]")
        assert said.code == 0  # else a job script would have it queued again
        (folder,) = (tmp_path / "out[a]" / "train").iterdir()
        assert summary(RunFolder(folder))["status"] == "finished"
        assert said.folder == folder.relative_to(tmp_path)

    def test_a_second_signal_does_not_wait(
        self, cli: Cli, tmp_path: Path, before_step: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(signals, "_SAME", 0)
        before_step(5, lambda: (ask(), ask(signal.SIGUSR1)))
        in_a_child(lambda: cli("train", *WORDS), ends=-signal.SIGUSR1)
        folder = newest(tmp_path)
        assert summary(folder)["status"] == "running"
        assert open_checkpoint(folder.last).step == 4  # after the validation

    def test_a_second_one_ends_a_long_call_into_a_library(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As the backward pass of a large network is on a CPU: Python's handlers wait for its end."""
        monkeypatch.setattr(signals, "_SAME", 0)
        monkeypatch.setattr(signals, "_GRACE", 0)
        monkeypatch.setattr(signals, "_handle", lambda *_: None)  # the call may not have begun yet

        def ask_again_and_again() -> None:
            while True:  # two that come at once may be one to the system
                ask(signal.SIGINT)
                time.sleep(0.01)

        def call() -> None:
            with signals.install_handlers(), signals.defer():
                threading.Thread(target=ask_again_and_again).start()
                hashlib.pbkdf2_hmac("sha256", b"", b"", 2 * 10**9)  # many minutes

        in_a_child(call, ends=128 + signal.SIGINT)

    def test_twice_at_the_same_moment_is_once(self, cli: Cli, tmp_path: Path, before_step: Any) -> None:
        before_step(1, lambda: (ask(), ask(), ask(signal.SIGINT)))
        assert cli("train", *WORDS).code == 128 + signal.SIGTERM
        assert open_checkpoint(newest(tmp_path).last).step == 2

    def test_workers_let_it_save_when_the_signal_comes_to_all(self, cli: Cli, tmp_path: Path, before_step: Any) -> None:
        told, tell = os.pipe()
        before_step(3, lambda: (os.write(tell, b"."), os.killpg(0, signal.SIGTERM)))

        group = os.fork()
        if group == 0:
            os.setsid()
            in_this_child(lambda: os._exit(cli("train", *WORDS, "data.num_workers=2").code))
        _, status = os.waitpid(group, 0)
        assert os.read(told, 1) == b"."
        assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGTERM
        assert open_checkpoint(newest(tmp_path).last).step == 4
        with pytest.raises(ProcessLookupError):  # no worker is left
            os.killpg(group, 0)


class TestSweep:
    @pytest.mark.slow
    def test_saves_the_run_under_way_and_begins_no_other(self, cli: Cli, tmp_path: Path, before_step: Any) -> None:
        before_step(3, ask)
        said = cli("train", "-m", *WORDS, "seed=0,1", "sweep.report=false")
        assert said.code == 128 + signal.SIGTERM
        sweep = the_sweep(tmp_path)
        assert said.err.splitlines()[-1] == f"stopped by SIGTERM; go on with: {TRAIN} sweep.resume={sweep.path}"
        first, second = map(sweep.folder, sweep.runs)
        assert summary(first)["error"] == "stopped by SIGTERM"
        assert open_checkpoint(first.last).step == 4
        assert not second.path.exists()
        assert cli("train", f"sweep.resume={sweep.path}").code == 0
        assert [sweep.status(run) for run in sweep.runs] == ["finished", "finished"]
        assert summary(first)["resumed"][0]["step"] == 4
        assert not sweep.stop.exists()

    def test_begins_no_run_that_nobody_would_tell(
        self, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The signal comes when a run has looked whether it may begin, and does not hold its lock yet."""
        genuine = Path.mkdir

        def mkdir(path: Path, *arguments: Any, **named: Any) -> None:
            genuine(path, *arguments, **named)
            if path.name.startswith("seed="):
                (path.parent / ".stop").touch()

        monkeypatch.setattr(Path, "mkdir", mkdir)
        assert cli("train", "-m", *WORDS, "seed=0,1", "sweep.report=false").code == 2
        sweep = the_sweep(tmp_path)
        assert [sweep.status(run) for run in sweep.runs] == [None, None]

    def test_leaves_a_test_at_once(self, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Predictor, "score", lambda *_: ask())
        assert cli("train", "-m", *WORDS, "seed=0,1").code == 128 + signal.SIGTERM
        sweep = the_sweep(tmp_path)
        assert [sweep.status(run) for run in sweep.runs] == ["stopped", None]

    @pytest.mark.slow
    def test_tells_the_processes_of_its_launcher(self, tmp_path: Path) -> None:
        words = [*(word for word in WORDS if "max_steps" not in word), "trainer.max_steps=null", "trainer.max_time=5m"]
        joblib = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
        script = "from unet_exp.cli.train import main; main()"
        process = subprocess.Popen(
            [sys.executable, "-c", script, "-m", *words, *joblib, "seed=0,1,2"], cwd=tmp_path, text=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        try:
            while len(list(tmp_path.glob("out/sweep/*/*/checkpoints/last.ckpt"))) < 2:
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(timeout=0.1)
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
        sweep = the_sweep(tmp_path, tmp_path)
        assert err.splitlines()[-1].startswith(f"stopped by SIGTERM; go on with: {TRAIN} sweep.resume=")
        assert process.returncode == 128 + signal.SIGTERM
        told = [summary(sweep.folder(run)) for run in sweep.runs[:2]]
        assert [each["error"] for each in told] == ["stopped by SIGUSR1"] * 2
        for run, each in zip(sweep.runs, told, strict=False):
            assert open_checkpoint(sweep.folder(run).last).step == each["steps"]
        assert not sweep.folder(sweep.runs[2]).path.exists()


def the_sweep(tmp_path: Path, base: Path = Path()) -> SweepFolder:
    (path,) = (tmp_path / "out" / "sweep").iterdir()
    return SweepFolder.open(base / path.relative_to(tmp_path))


def test_any_other_command_leaves_nothing_half_written(
    cli: Cli, finished: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine, once = Path.write_bytes, [signal.SIGUSR2]  # a second one, later, would end this process

    def write(path: Path, content: bytes) -> None:
        genuine(path, content[:9])
        if once:
            ask(once.pop())
        genuine(path, content)

    write_image(tmp_path / "a.png", np.zeros((64, 64), np.uint8))
    monkeypatch.setattr(Path, "write_bytes", write)
    said = cli("predict", f"checkpoint={finished.path}", "input=a.png", "output=masks")
    assert (said.code, said.err.splitlines()[-1]) == (128 + signal.SIGUSR2, "stopped by SIGUSR2")
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name for path in left} <= {"a.png", "a_mask.png", "a_preview.png"}
    for path in left:
        assert read_image(path).shape[:2] == (64, 64) or "preview" in path.name


class TestHandlers:
    def test_of_a_program_that_calls_this_one_stay(self) -> None:
        def own(*_: Any) -> None: ...

        before = signal.signal(signal.SIGUSR1, own)
        ignored = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            with signals.install_handlers():
                assert signal.getsignal(signal.SIGUSR1) is own
                assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
                with pytest.raises(signals.Stopped):
                    ask()
        finally:
            signal.signal(signal.SIGUSR1, before)
            signal.signal(signal.SIGINT, ignored)

    def test_within_handlers_the_outer_block_decides(self) -> None:
        with signals.install_handlers():
            with (
                pytest.raises(signals.Stopped, match="stopped by SIGTERM"),
                signals.defer(),
                signals.install_handlers(),
            ):
                ask()
            assert signals.received() == signal.SIGTERM
        assert signals.received() is None
