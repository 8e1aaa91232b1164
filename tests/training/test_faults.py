"""What happens around a training goes wrong: what the user is told, what is on the disk after, how it goes on.

`pytest -s tests/training/test_faults.py -k "fault or table"` prints the table of all of them.
"""

import multiprocessing
import os
import pwd
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import wandb
from conftest import TINY, Said, run_training, summary
from resuming import at_step, check_equal
from test_wandb_run import services
from wandb_server import WandbServer

from unet_exp.checkpoints.opening import open_checkpoint
from unet_exp.data.sets.synthetic import generate  # noqa: F401  (imported before a child gives up its rights)
from unet_exp.errors import DataError
from unet_exp.files import hold_lock
from unet_exp.runs.run_folder import RunFolder
from unet_exp.training.loggers import wandb_run
from unet_exp.training.module import SegmentationModule

Cli = Callable[..., Said]

WORDS = (*TINY, "trainer.max_steps=6", "data.tiles_per_epoch=4", "data.batch_size=1")
"""Epochs of four steps; `last.ckpt` is written after four and after six."""
GOES_ON = "goes on, ends equal"

_rows: list[tuple[str, str, str, str]] = []


@dataclass
class Fault:
    """Something that goes wrong when a step is under way.

    Attributes:
        name: for the table.
        happens: brings it about; takes the run's folder.
        told: how the error begins; None for a traceback.
        left: the status in `summary.json` after it.
        step: of the newest checkpoint that is whole.
        at: the step, counted from 0.
        words: of the training.
    """

    name: str
    happens: Callable[[RunFolder], Any]
    told: str | None
    left: str = "failed"
    step: int = 4
    at: int = 5
    words: tuple[str, ...] = ()


def full(*names: str) -> Callable[[RunFolder], None]:
    """The kernel itself says that the disk is full when these files are written."""

    def happens(folder: RunFolder) -> None:
        for name in names:
            path = folder.path / name
            path.unlink(missing_ok=True)
            path.parent.mkdir(exist_ok=True)
            path.symlink_to("/dev/full")

    return happens


def side(name: str) -> str:
    """The file that is written first and takes the place of this one then."""
    path = Path(name)
    return str(path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}"))


def kill_a_worker(_: RunFolder) -> None:
    worker, *_others = multiprocessing.active_children()
    worker.kill()
    worker.join()


def no_memory(_: RunFolder) -> None:
    raise MemoryError


def a_bug(_: RunFolder) -> None:
    raise ZeroDivisionError("in a loss of the user's own")


FULL = "no space is left on the device; free some, or choose another folder with output="
LAST, BEST, PICTURE = "checkpoints/last.ckpt", "checkpoints/best.ckpt", "predictions/test_synthetic_003.png"
WORKER = "a process that reads the data was killed, probably for lack of memory: take fewer data"
ONE_WORKER = ("data.num_workers=1", "data.tiles_per_epoch=8", "trainer.max_steps=12")
FAULTS = [
    Fault("disk full while last.ckpt is written", full(side(LAST)), f"<run>/{LAST}: {FULL}"),
    Fault("disk full while best.ckpt is written", full(side(BEST)), f"<run>/{BEST}: {FULL}"),
    Fault("disk full while metrics.csv is written", full("metrics.csv"), f"<run>/metrics.csv: {FULL}"),
    Fault("disk full for all files", full(side(LAST), side("summary.json")), f"<run>/summary.json: {FULL}", "running"),
    Fault(
        "disk full while the test's pictures are written",
        full(side(PICTURE)),
        f"<run>/{PICTURE}: cannot be written (No space left on device); choose another place",
        step=6,
    ),
    Fault("a process that reads the data is killed", kill_a_worker, WORKER, step=8, at=9, words=ONE_WORKER),
    Fault("out of memory in a step", no_memory, "there is not enough memory: take a smaller data.batch_size"),
    Fault("a bug in a step", a_bug, None),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The undisturbed training of `WORDS`."""
    folder: RunFolder = run_training(tmp_path_factory.mktemp("whole"), base=list(WORDS))
    return folder


@pytest.fixture
def when_at_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[RunFolder], Any]], None]:
    """`when_at_step(3, happens)` calls `happens(folder)` once, when the step number 3, from 0, is under way."""

    return lambda number, happens: at_step(monkeypatch, number, lambda: happens(the_run(tmp_path)))


def the_run(tmp_path: Path) -> RunFolder:
    (path,) = (tmp_path / "out" / "train").iterdir()
    return RunFolder(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def whole_step(folder: RunFolder) -> int | None:
    """Of the newest checkpoint that is whole."""
    for path in (folder.last, folder.previous):
        try:
            return open_checkpoint(path).step
        except DataError:
            continue
    return None


def note(fault: str, told: str, folder: RunFolder, then: str) -> None:
    step = whole_step(folder)
    left = f"{summary(folder)['status']}, {'no checkpoint' if step is None else f'step {step}'}"
    _rows.append((fault, told.replace(str(folder.path), "<run>"), left, then))


@pytest.mark.parametrize(
    "fault",
    # The disk is full for the first two in "all files" too; test_train.py has a bug.
    [
        pytest.param(fault, marks=[pytest.mark.slow] * (number < 1 or fault.happens in (a_bug, kill_a_worker)))
        for number, fault in enumerate(FAULTS)
    ],
    ids=lambda fault: fault.name,
)
def test_fault(fault: Fault, cli: Cli, whole: RunFolder, tmp_path: Path, when_at_step: Any) -> None:
    when_at_step(fault.at, fault.happens)
    words = (*WORDS, *fault.words)
    if fault.told is None:
        with pytest.raises(ZeroDivisionError):
            cli("train", *words, "output=out")
        told = "the traceback"
    else:
        told = cli("train", *words, "output=out").mistake
    folder = the_run(tmp_path)
    told = told.replace(str(folder.path.absolute()), "<run>").replace(str(folder.path), "<run>")
    assert fault.told is None or told.startswith(fault.told)
    assert (summary(folder)["status"], whole_step(folder)) == (fault.left, fault.step)
    note(fault.name, told, folder, GOES_ON)
    for path in folder.path.rglob("*"):
        assert path.is_symlink() or path.name == ".lock" or not path.name.startswith(".")
        if path.is_symlink():  # the user makes room
            path.unlink()
    assert cli("train", f"resume={folder.path}").folder == folder.path
    check_equal(folder, run_training(tmp_path / "whole", base=list(words)) if fault.words else whole)


def test_the_folder_is_removed(cli: Cli, tmp_path: Path, when_at_step: Any) -> None:
    when_at_step(5, lambda folder: shutil.rmtree(folder.path))
    said = cli("train", *WORDS, "output=out").mistake
    assert said.endswith(": the run's folder is gone, and with it what was trained")
    assert not list((tmp_path / "out" / "train").iterdir())
    _rows.append(("the run's folder is removed", f"<run>: {said.partition(': ')[2]}", "nothing", "a new run"))


def test_a_number_that_is_not_finite(cli: Cli, tmp_path: Path) -> None:
    said = cli("train", *WORDS, "output=out", "optimizer.lr=1e30")
    assert said.mistake.startswith("the training loss is nan at step 1 (learning rate 1e+30): try a smaller")
    folder = the_run(tmp_path)
    assert summary(folder)["status"] == "failed"
    assert cli("train", f"resume={folder.path}").mistake == said.mistake
    note("a loss that is not a number", said.mistake, folder, "says the same; a new run with other settings")


def test_another_process_at_the_same_run(cli: Cli, tmp_path: Path, when_at_step: Any) -> None:
    when_at_step(5, a_bug)
    with pytest.raises(ZeroDivisionError):
        cli("train", *WORDS, "output=out")
    folder = the_run(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in folder.path.rglob("*") if path != folder.lock}
    with hold_lock(folder.lock):
        said = cli("train", f"resume={folder.path}")
        assert "a process is still at this run" in said.mistake
    assert {path: path.stat().st_mtime_ns for path in before} == before
    note("resumed while it still runs", said.mistake, folder, "when that has ended")


@pytest.mark.slow
def test_permission_is_lost(whole: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Path(tempfile.mkdtemp())
    place.chmod(0o777)
    try:
        monkeypatch.setenv("UNET_EXP_CACHE", str(place / "cache"))
        child = os.fork()
        if child == 0:
            _train_without_permission(place)
        _, status = os.waitpid(child, 0)
        said = (place / "err").read_text().splitlines()[-1]
        (path,) = (place / "out" / "train").iterdir()
        folder = RunFolder(path)
        assert os.waitstatus_to_exitcode(status) == 2
        assert said == f"error: {folder.best}: permission denied"
        assert summary(folder)["status"] == "failed"
        assert whole_step(folder) == 4
        note("permission to write checkpoints/ is lost", said, folder, GOES_ON)
        folder.checkpoints.chmod(0o755)
        run_training(place / "out", f"resume={path}", base=list(WORDS))
        check_equal(folder, whole)
    finally:
        shutil.rmtree(place)


def _train_without_permission(place: Path) -> None:
    """Runs in a child that is not root, which may write everywhere."""
    try:
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.setgid(nobody.pw_gid)
            os.setuid(nobody.pw_uid)
        os.dup2(os.open(place / "err", os.O_CREAT | os.O_WRONLY), 2)
        os.chdir(place)
        genuine = SegmentationModule.training_step

        def step(module: SegmentationModule, batch: Any, index: int) -> Any:
            if module.global_step == 5:
                for checkpoints in place.glob("out/train/*/checkpoints"):
                    checkpoints.chmod(0o555)
            return genuine(module, batch, index)

        SegmentationModule.training_step = step  # type: ignore[assignment,method-assign]
        import sys

        from unet_exp.cli.train import main

        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
        sys.argv = ["train.py", *WORDS, f"output={place / 'out'}"]
        main()
        os._exit(0)
    except SystemExit as leave:
        sys.stderr.flush()
        os._exit(int(leave.code or 0))
    finally:
        os._exit(99)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    """A stand-in for W&B's, which a run of its own process reaches."""
    wandb.teardown()
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setattr(wandb_run, "open_run", partial(wandb_run.open_run, finish_timeout=2))
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", server.key)
        yield server
    wandb.teardown()


@pytest.mark.parametrize(
    ("fault", "at", "told", "then"),
    [
        # The first two are fast beside the run of W&B, in test_wandb_run.py.
        pytest.param(
            "cannot be reached",
            None,
            "the run cannot start online; it is offline",
            "an offline run for `wandb sync`",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "falls silent",
            2,
            "not everything was uploaded; `wandb sync` on the run's folder",
            "`wandb sync` sends the rest",
            marks=pytest.mark.slow,
        ),
        ("'s own process is killed", 2, "from here on metrics go to the CSV alone", "metrics.csv is whole"),
    ],
)
def test_weights_and_biases(
    cli: Cli,
    whole: RunFolder,
    server: WandbServer,
    tmp_path: Path,
    when_at_step: Any,
    fault: str,
    at: int,
    told: str,
    then: str,
) -> None:
    if at is None:
        server.close()
    elif "killed" in fault:
        when_at_step(at, lambda _: [os.kill(service, signal.SIGKILL) for service in services()])
    else:
        when_at_step(at, lambda _: server.close())
    said = cli("train", *WORDS, "output=out", "logger=wandb", "logger.init_timeout=2", "logger.images=0")
    assert said.code == 0
    assert wandb.run is None, "a run that cannot be finished is forgotten all the same"
    folder = the_run(tmp_path)
    check_equal(folder, whole)
    (warned,) = [line for line in said.err.splitlines() if told in line]
    note(f"W&B {fault}".replace(" '", "'"), warned, folder, f"the training ends; {then}")


def test_the_table(capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> None:
    if request.config.getoption("capture") != "no":
        pytest.skip("prints the table where -s is typed")
    with capsys.disabled():
        print("\n| fault | what the user sees | status and last whole checkpoint | then |\n| --- | --- | --- | --- |")
        for row in _rows:
            print(f"| {' | '.join(row)} |")
