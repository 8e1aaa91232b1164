"""A training in a process of its own that tells what it is at, and can be killed at any moment or gap."""

import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import pytest

import unet_exp.training.run
from unet_exp.cli.train import main
from unet_exp.training.callbacks import History
from unet_exp.training.checkpoint_io import WholeCheckpoints
from unet_exp.training.module import SegmentationModule

SCRIPT = Path(__file__).parent.parent / "scripts" / "train.py"


class Gap(NamedTuple):
    """A moment between two operations on files.

    Attributes:
        name: what is left then.
        file: that a side file is about to replace, or that has a row added to it.
        state: `half`: the side file is half written; `whole`: it is written; `moved`: it has just replaced the file;
            `row`: half of the row is added.
        times: how often most trainings pass it.
    """

    name: str
    file: str
    state: str
    times: int


GAPS = (
    Gap("config.yaml half written", "config.yaml", "half", 1),
    Gap("summary.json half written", "summary.json", "half", 2),
    Gap("summary.json not moved yet", "summary.json", "whole", 2),
    Gap("summary.json just moved", "summary.json", "moved", 2),
    Gap("metrics.csv half written", "metrics.csv", "half", 1),
    Gap("metrics.csv with half a row", "metrics.csv", "row", 2),
    # Before last.ckpt is replaced, it replaces last-1.ckpt.
    Gap("last.ckpt half written", "last-1.ckpt", "half", 2),
    Gap("last.ckpt not moved yet", "last-1.ckpt", "whole", 2),
    Gap("last.ckpt between the two moves", "last.ckpt", "whole", 3),
    Gap("last.ckpt just moved", "last.ckpt", "moved", 3),
    Gap("best.ckpt half written", "best.ckpt", "half", 2),
    Gap("best.ckpt not moved yet", "best.ckpt", "whole", 2),
    Gap("best.ckpt just moved", "best.ckpt", "moved", 2),
    Gap("per_image.csv half written", "per_image.csv", "half", 1),
    Gap("a prediction half written", "test_synthetic_003.png", "half", 1),
)


class Training:
    """A training that has been started.

    Args:
        words: that are typed.
        log: file for what it prints; it is added to.
        cold: a new process, `scripts/train.py`; else a fork of this one, which tells its phases.
        often: it saves before every step, and not only after validations; of a fork.
        gap: at which it dies, and how many times it passes it before; of a fork.

    Attributes:
        pid: of its process.
        log: what it has printed.
        said: the phases so far, and when each began by the monotonic clock.
    """

    def __init__(
        self,
        words: Sequence[str],
        log: Path,
        cold: bool = False,
        often: bool = False,
        gap: tuple[Gap, int] | None = None,
    ) -> None:
        self.log = log
        log.touch()
        self.said = [("set-up", time.monotonic())]
        self._rest = b""
        # Its workers hold the other end too: what is read tells when the last of them is gone.
        self._pipe, pipe = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _print_to(log)
            if cold:
                os.set_inheritable(pipe, True)
                os.execv(sys.executable, [sys.executable, "-u", str(SCRIPT), *words])
            patch = pytest.MonkeyPatch()
            if often:
                patch.setattr("unet_exp.training.callbacks.duration_seconds", lambda _: 0)
            _tell_phases(patch, pipe)
            if gap is not None:
                _die_at(patch, *gap)
            _train(words)
        os.close(pipe)
        os.set_blocking(self._pipe, False)
        self._end = os.pidfd_open(self.pid)
        self._poll = select.poll()
        for descriptor in (self._pipe, self._end):
            self._poll.register(descriptor, select.POLLIN)

    def listen(self, seconds: float | None = None) -> bool:
        """Waits until something is said, or for so many seconds; whether the process is still there."""
        ready = [descriptor for descriptor, _ in self._poll.poll(None if seconds is None else 1000 * seconds)]
        if self._pipe in ready:
            self._read()
        return self._end not in ready

    def kill(self) -> None:
        """Kills the process, and none of its workers."""
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """The exit code; negative for a signal."""
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self._read()
        os.close(self._end)
        return code

    def workers_gone(self, seconds: float) -> bool:
        """Whether its workers have ended too, or end in this time; asked once, after `wait`."""
        poll = select.poll()
        poll.register(self._pipe, 0)  # an end is told without being asked for
        gone = bool(poll.poll(1000 * seconds))
        os.close(self._pipe)
        return gone

    def _read(self) -> None:
        try:
            *lines, self._rest = (self._rest + os.read(self._pipe, 1 << 16)).split(b"\n")
        except BlockingIOError:
            return
        for line in lines:
            phase, when = line.decode().split()
            self.said.append((phase, float(when)))


def _print_to(log: Path) -> None:
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(file, stream)
    # Line by line, since a killed process prints no more; and pytest has put others into their place.
    sys.stdout = sys.stderr = os.fdopen(1, "w", buffering=1, closefd=False)


def _train(words: Sequence[str]) -> NoReturn:
    code: Any = 1
    try:
        sys.argv = ["train.py", *words]
        main()
        code = 0
    except SystemExit as exit_:
        code = exit_.code
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(int(code or 0))


def _tell_phases(patch: pytest.MonkeyPatch, pipe: int) -> None:
    phase = "set-up"

    def tell(now: str) -> str:
        nonlocal phase
        before, phase = phase, now
        os.write(pipe, f"{now} {time.monotonic()}\n".encode())
        return before

    def wrap(owner: Any, name: str, now: str, after: Callable[[str], object] = lambda _: None) -> None:
        genuine = getattr(owner, name)

        @wraps(genuine)
        def told(*arguments: Any, **named: Any) -> Any:
            before = tell(now)
            try:
                return genuine(*arguments, **named)
            finally:
                after(before)

        patch.setattr(owner, name, told)

    wrap(SegmentationModule, "training_step", "training")
    wrap(SegmentationModule, "validation_step", "validation")
    wrap(WholeCheckpoints, "save_checkpoint", "saving", after=tell)
    wrap(unet_exp.training.run, "score_test", "testing")


def _die_at(patch: pytest.MonkeyPatch, gap: Gap, passes: int) -> None:
    move, add_row = os.replace, History.on_train_epoch_end

    def now() -> bool:
        nonlocal passes
        passes -= 1
        return passes < 0

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def move_or_die(source: Any, target: Any) -> None:
        here = Path(target).name == gap.file and now()
        if here and gap.state == "half":
            for side in Path(target).parent.glob(f".*.{os.getpid()}.part.*"):
                os.truncate(side, side.stat().st_size // 2)
        if here and gap.state != "moved":
            die()
        move(source, target)
        if here:
            die()

    def add_half_a_row(history: Any, *arguments: Any) -> None:
        before = history._path.stat().st_size
        add_row(history, *arguments)
        if now():
            os.truncate(history._path, (before + history._path.stat().st_size) // 2)
            die()

    if gap.state == "row":
        patch.setattr(History, "on_train_epoch_end", add_half_a_row)
    else:
        patch.setattr(os, "replace", move_or_die)
