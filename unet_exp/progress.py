"""What a long phase of work shows: a bar on a terminal, and elsewhere a line every 30 seconds.

A single item of any phase may take minutes: a large image, a step of a large network on a CPU, the network itself. So
the lines come from a thread and not from the loop over the items.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")

EVERY = 28.0
"""Seconds between two lines, which then are less than 30 apart on a busy machine too."""


class Phase:
    """What is being done, until the block of `watch` ends.

    Attributes:
        name: in words, such as `reading images`.
        total: number of items; None where it is not known.
        done: of them.
        state: in words, in place of the counts; empty for these.
    """

    def __init__(self, name: str, total: float | None, file: TextIO | None, start: float) -> None:
        self.name, self.total, self.done, self.state = name, total, 0.0, ""
        self.file = file
        self._start = start

    def describe(self, now: float) -> str:
        """Such as `reading images: 120 of 400, 35 s`."""
        counts = "" if self.total is None else f"{self.done:.0f} of {self.total:.0f}"
        words = [word for word in (self.state or counts, f"{now - self._start:.0f} s") if word]
        return f"{self.name}: {', '.join(words)}"


class Heartbeat:
    """Prints a line for the current phases of this process every so many seconds.

    Args:
        every: seconds between two lines.
        clock: seconds since any moment.
    """

    def __init__(self, every: float = EVERY, clock: Callable[[], float] = time.monotonic) -> None:
        self._every, self._clock = every, clock
        self.forget()

    def forget(self) -> None:
        """Begins without phases: a forked process has none, and no thread."""
        # Reentrant: the garbage collector may end an abandoned phase at any line that holds it.
        self.lock = threading.RLock()
        self._phases: list[Phase] = []
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def watch(self, name: str, total: float | None = None, file: TextIO | None = None) -> Iterator[Phase]:
        """A phase for the time of a block; see the function of this name."""
        phase = Phase(name, total, _find_log(file), self._clock())
        try:
            self._begin(phase)
            yield phase
        finally:
            with self.lock:
                if phase in self._phases:  # a forked process has forgotten it
                    self._phases.remove(phase)
                last = None if self._phases else self._thread
                if last is not None:
                    self._over.set()
                    self._thread = None
            if last is not None and last.is_alive() and last is not threading.current_thread():
                last.join()

    def _begin(self, phase: Phase) -> None:
        """Adds a phase, and starts the thread of the first one that has lines."""
        with self.lock:
            self._phases.append(phase)
            if self._thread is not None or phase.file is None:
                return
            self._over = threading.Event()
            self._thread = threading.Thread(None, self._run, "heartbeat", (self._over,), daemon=True)
        # Without the lock, which garbage that the new thread collects may ask for.
        self._thread.start()

    def beat(self) -> None:
        """Prints a line for the innermost phase of each output: a run of a sweep has a log of its own."""
        if _is_further():  # which srun tells it only when it has begun
            return
        with self.lock:
            innermost = {id(phase.file): phase for phase in self._phases if phase.file is not None}
            for phase in innermost.values():
                with suppress(OSError, ValueError):  # the file is closed
                    print(phase.describe(self._clock()), file=phase.file, flush=True)

    def _run(self, over: threading.Event) -> None:
        while not over.wait(self._every):
            self.beat()


HEART = Heartbeat()
if hasattr(os, "register_at_fork"):
    # A process that is forked while a line is printed would wait for ever for the end of that line.
    os.register_at_fork(
        before=lambda: HEART.lock.acquire(),
        after_in_parent=lambda: HEART.lock.release(),
        after_in_child=lambda: HEART.forget(),
    )


@contextmanager
def watch(name: str, total: float | None = None, file: TextIO | None = None) -> Iterator[Phase]:
    """Shows in a log that a phase of work goes on; `done` and `state` of the phase say how far.

    Args:
        name: in words.
        total: number of items, if known.
        file: where lines go; None for the standard output. On a terminal there are none, and in further processes of a
            distributed training.
    """
    with HEART.watch(name, total, file) as phase:
        yield phase


def track(items: Iterable[T], name: str, total: int, console: "Console | None" = None) -> Iterator[T]:
    """Yields the items of a phase, and shows how many are done: a bar on a terminal, else lines, as `watch`."""
    from rich.progress import track as show_bar

    from unet_exp.console import make_console

    console = console or make_console()
    bar = show_bar(
        items, name, total=total, console=console, transient=True, disable=not (console.is_terminal and total)
    )
    with watch(name, total) as phase:
        for item in bar:
            yield item
            phase.done += 1


def _find_log(file: TextIO | None) -> TextIO | None:
    """The file of the lines; None if there are none."""
    file = file or sys.stdout
    return None if file is None or _is_further() or file.isatty() else file


def _is_further() -> bool:
    """Whether this is not the first process of a training, see `unet_exp.training.processes`."""
    return "WORLD_SIZE" in os.environ and os.environ.get("RANK", "0") != "0"
