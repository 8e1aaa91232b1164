"""Signals that stop the program: it finishes its current action first; a second signal stops it at once.

SLURM sends them before it takes a machine away (`sbatch --signal=USR1@120`), `kill` and `timeout` send SIGTERM, Ctrl-C
SIGINT. The exit code is the shell's own for them, 128 + the signal's number.
"""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from types import FrameType

STOP_SIGNALS = tuple(known for known in signal.Signals if known.name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2"))
"""The handled signals; Windows has the first two."""
_SAME = 1.0
"""Seconds within which a further signal counts as the same: `timeout` sends each twice."""
_GRACE = 0.5
"""Seconds that a second signal leaves to Python's own handler, which knows better how the process should end."""


class Stopped(BaseException):
    """A signal stops the program; not an `Exception`, so that no error handler catches it.

    Attributes:
        signum: the signal.
        advice: how to resume.
    """

    def __init__(self, signum: int, advice: str = "") -> None:
        super().__init__(signum, advice)  # for pickling between processes of a launcher
        self.signum = signal.Signals(signum)
        self.advice = advice

    @property
    def exit_code(self) -> int:
        """128 + the signal's number."""
        return 128 + self.signum

    def __str__(self) -> str:
        """Such as `stopped by SIGTERM; go on with: python scripts/train.py resume=<run>`."""
        return f"stopped by {self.signum.name}" + (f"; {self.advice}" if self.advice else "")


@dataclass
class _State:
    installed: list[signal.Signals] = field(default_factory=list)
    received: signal.Signals | None = None
    at: float = 0.0
    waits: list[Callable[[], bool]] = field(default_factory=list)


_state = _State()


@contextmanager
def install_handlers() -> Iterator[None]:
    """Makes the signals raise `Stopped` in this block; see `defer`.

    Existing handlers stay: those of a calling program, of an outer block, or an ignored signal (`nohup`, a background
    process).
    """
    if threading.current_thread() is not threading.main_thread():  # others cannot
        yield
        return
    default = (signal.SIG_DFL, signal.default_int_handler)
    before = {signum: handler for signum in STOP_SIGNALS if (handler := signal.getsignal(signum)) in default}
    outermost = not _state.installed
    if outermost:
        _state.installed, _state.received = list(before), None
    for signum in before:
        signal.signal(signum, _handle)
    try:
        with _end_at_second() if outermost else nullcontext():
            yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
        if outermost:
            _state.installed, _state.received = [], None


@contextmanager
def defer(waits: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Remembers a first signal, and raises it at the end of this block; code in the block can look at `received`.

    Also for loading libraries, which takes seconds: their C code turns an exception into an error of its own.

    Args:
        waits: called when the signal comes; if False, it is raised at once.

    Raises:
        Stopped: if a signal has come.
    """
    _state.waits.append(waits)
    try:
        yield
    finally:
        _state.waits.pop()
    if _state.received is not None:
        raise Stopped(_state.received)


@contextmanager
def _end_at_second() -> Iterator[None]:
    """Ends this process at a second signal wherever it is in this block.

    Python's handlers wait for the end of a call into C code: a backward pass of minutes, on a CPU. Its wake-up socket
    does not.
    """
    written, read = socket.socketpair()
    written.setblocking(False)
    before = signal.set_wakeup_fd(written.fileno(), warn_on_full_buffer=False)
    threading.Thread(None, _wait_for_second, "signals", (read,), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        written.shutdown(socket.SHUT_RDWR)  # a forked process may still hold it
        written.close()


def _wait_for_second(read: socket.socket) -> None:
    first = None
    with read:
        while numbers := read.recv(64):
            now = time.monotonic()
            for signum in numbers:
                if signum not in _state.installed:
                    continue
                if first is None:
                    first = now
                elif now - first >= _SAME:
                    time.sleep(_GRACE)
                    cursor = "\x1b[?25h" if sys.stderr.isatty() else ""  # a progress bar has hidden it
                    told = f"{cursor}stopped at once by a second signal, {signal.Signals(signum).name}\n"
                    with suppress(OSError, ValueError):
                        os.write(sys.stderr.fileno(), told.encode())
                    os._exit(128 + signum)


def received() -> signal.Signals | None:
    """The signal received in the block of `install_handlers`, if any."""
    return _state.received


def reinstall() -> None:
    """Restores the handlers of `install_handlers` after a library has replaced them."""
    for signum in _state.installed:
        signal.signal(signum, _handle)


def leave_to_parent(worker: int = 0) -> None:
    """Ignores the signals in a worker process, which ends with its parent: Ctrl-C and SLURM signal both."""
    del worker
    for signum in STOP_SIGNALS:
        signal.signal(signum, signal.SIG_IGN)


def _handle(signum: int, frame: FrameType | None) -> None:
    del frame
    now = time.monotonic()
    if _state.received is not None:
        if now - _state.at >= _SAME:
            signal.signal(signum, signal.SIG_DFL)
            signal.raise_signal(signum)
        return
    _state.received, _state.at = signal.Signals(signum), now
    if not (_state.waits and _state.waits[-1]()):
        raise Stopped(signum)
