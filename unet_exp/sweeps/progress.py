"""One line on the terminal for a whole sweep, in whatever process its trainings run."""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Self, TextIO, cast

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from unet_exp import signals
from unet_exp.progress import watch
from unet_exp.runs.sweep_folder import PlannedRun, SweepFolder

_INTERVAL = 1.0  # seconds between two looks at the run folders
_REST = 20  # times what a look takes, where that is longer: on a slow disk with many runs


class SweepProgress:
    """Counts the runs of a sweep by their folders, in a thread of its own; the trials of a search, see `follow`.

    On a terminal it is a bar of rich; elsewhere a line whenever a run has ended, and those of `unet_exp.progress`. The
    remaining time is computed here: rich looks at the last 30 seconds, in which often no run ends.
    """

    def __init__(self, folder: SweepFolder, total: int, console: Console) -> None:
        self._count_trials: Callable[[], Mapping[str, int]] | None = None
        self._queued: Collection[str] = ()
        self._folder = folder
        self._total = total
        self._console = console
        self._start = time.monotonic()
        self._bar = Progress(
            TextColumn("sweep"),
            BarColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("", total=total)
        # The unfinished runs of an earlier start do not count until they begin again.
        times = ((run.name, self._read_time(run)) for run in folder.runs if not folder.is_done(run))
        self._stale = {name: written for name, written in times if written is not None}
        self._known: dict[str, str] = {}
        self._ended_before, repeated, _ = self._look()
        self._shown = self._ended_before, repeated
        self._stack = ExitStack()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._phase = self._stack.enter_context(watch("sweep", file=cast(TextIO, self._console.file)))
        self._bar.start()
        self._thread.start()
        return self

    def follow(self, count_trials: Callable[[], Mapping[str, int]]) -> None:
        """Counts the trials of a search by their status, as its study says, whichever launcher has run them."""
        self._count_trials = count_trials
        self._ended_before, repeated, _ = self._look()
        self._shown = self._ended_before, repeated

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._show(at_end=True, broken_off=error is not None)
        self._bar.stop()
        self._stack.close()

    def show_queued(self, runs: Collection[str]) -> None:
        """Takes the names of the runs that are in jobs of SLURM; what one of these was before does not count."""
        self._queued = runs

    def _watch(self) -> None:
        took = 0.0
        while not self._over.wait(max(_INTERVAL, _REST * took)):
            start = time.monotonic()
            self._show()
            took = time.monotonic() - start

    def _read_time(self, run: PlannedRun) -> int | None:
        """When a run's summary was written, nanoseconds."""
        try:
            return self._folder.folder(run).summary.stat().st_mtime_ns
        except OSError:
            return None

    def _status(self, run: PlannedRun) -> str | None:
        if run.name not in self._known:
            if run.name in self._stale and self._stale[run.name] == self._read_time(run):
                return "queued" if run.name in self._queued else None
            status = self._folder.status(run) if run.name in self._begun else None
            if run.name in self._queued and status in (None, "stopped"):
                return "queued"
            if status in (None, "running"):
                return status
            self._known[run.name] = status
        return self._known[run.name]

    def _look(self) -> tuple[int, int, str]:
        """How many runs have ended, how many trials repeat others and have no run, and the counts in words."""
        if self._count_trials is None:
            self._begun = set(os.listdir(self._folder.path))  # not a look at each run: most may wait for their turn
            counts = Counter(self._status(run) for run in self._folder.runs)
        else:
            counts = Counter(self._count_trials())
        done, failed, repeated = counts["finished"], counts["failed"], counts["repeated"]
        stopped, pruned = counts["stopped"], counts["pruned"]
        words = [f"{done} of {self._total} done"]
        words += [f"{repeated} repeated"] if repeated else []
        words += [f"{pruned} pruned"] if pruned else []
        words += [f"{stopped} stopped"] if stopped else []
        words += [f"{failed} failed", f"{counts['running']} running"]
        words += [f"{counts['queued']} queued"] if counts["queued"] else []
        return done + failed + stopped + pruned, repeated, ", ".join(words)

    def _show(self, at_end: bool = False, broken_off: bool = False) -> None:
        ended, repeated, words = self._look()
        now, to_come = ended - self._ended_before, self._total - ended - repeated
        if now > 0 and to_come > 0 and not (broken_off or signals.received() or self._folder.stop.exists()):
            left = (time.monotonic() - self._start) / now * to_come
            words += f", about {_duration(left)} left"
        self._phase.state = words
        self._bar.update(self._task, completed=ended + repeated, description=words)
        changed = ended != self._shown[0] or (at_end and repeated != self._shown[1])
        if changed and not self._console.is_terminal:
            self._console.print(words, soft_wrap=True)
            self._shown = ended, repeated


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
