"""The life of a run: one place decides whether it finished, was stopped or failed."""

import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from unet_exp import signals
from unet_exp.errors import TrainingError, UserError
from unet_exp.runs.again import write_again
from unet_exp.runs.run_folder import RunFolder
from unet_exp.runs.summary import Summary


class RunRecord:
    """What a run records of itself while it runs; only the first process of a distributed training writes.

    Attributes:
        measure: gives the fields that are known only at the end, such as `steps`; called however the run ends.
    """

    def __init__(self, folder: RunFolder, summary: Summary, writes: bool) -> None:
        self.folder = folder
        self.summary = summary
        self.measure: Callable[[], dict[str, Any]] = dict
        self._writes = writes
        self._at_end: list[Callable[[], object]] = []

    def note(self, **fields: Any) -> None:
        """Sets fields of `Summary`; `save` writes them."""
        self.summary = self.summary.replace(**fields)

    def save(self) -> None:
        """Writes `summary.json`."""
        if self._writes:
            self.summary.write(self.folder.summary)

    def at_end(self, action: Callable[[], object]) -> None:
        """Calls `action` at the end of the run, however it ends; the last one first, each even if another fails."""
        self._at_end.append(action)

    def close(self) -> None:
        """Takes the last measures and runs the actions for the end."""
        self.note(**self.measure())
        if not self._writes or not self.folder.path.exists():
            return
        complete = self.summary.error is None
        with ExitStack() as stack:
            # A complete run cannot be resumed, so its summary comes last, and a signal that comes now ends only the
            # current action. The summary of an interrupted run comes first: the rest may take W&B a minute.
            if complete:
                stack.enter_context(suppress(signals.Stopped))
                stack.callback(self.save)
            for action in self._at_end:
                stack.callback(action)
            if not complete:
                stack.callback(self.save)


@contextmanager
def record_run(folder: RunFolder, summary: Summary, writes: bool = True) -> Iterator[RunRecord]:
    """Records a run from its start, with what is known there, to its end.

    Raises:
        Stopped: if a signal stops it; further processes of a distributed training then exit with code 0.
        TrainingError: if its folder was removed.
    """
    record = RunRecord(folder, summary.replace(status="running"), writes)
    record.save()
    try:
        yield record
        record.note(status="finished" if record.summary.pruned_at is None else "stopped")
    except (signals.Stopped, KeyboardInterrupt, SystemExit) as error:  # Lightning turns Ctrl-C into the last one
        known = error.signum if isinstance(error, signals.Stopped) else signals.received()
        stop = signals.Stopped(known or signal.SIGINT, explain_resume(folder))
        record.note(status="stopped", error=f"stopped by {stop.signum.name}")
        if not writes:  # the first process reports it, and must not see this one fail
            raise SystemExit(0) from None
        raise stop from None
    except BaseException as error:
        record.note(status="failed", error=f"{type(error).__name__}: {error}")
        if isinstance(error, FileNotFoundError) and not folder.path.exists():
            raise TrainingError(f"{folder.path}: the run's folder is gone, and with it what was trained") from None
        if isinstance(error, OSError) and folder.has_checkpoint:
            print(f"what was trained is kept; when that is fixed, {explain_resume(folder)}")
        raise
    finally:
        record.close()


@contextmanager
def record_failure(folder: RunFolder, overrides: Sequence[str]) -> Iterator[None]:
    """Ends a run of a sweep without ending the sweep: an error goes to its summary, a bug also prints its traceback."""
    try:
        yield
    except signals.Stopped:  # `record_run` has written it; if raised, a launcher would kill the other runs
        pass
    except Exception as error:
        message = str(error)
        if not isinstance(error, UserError):
            traceback.print_exc()
            message = f"{type(error).__name__}: {error}"
        summary = folder.read_summary()
        fields = {"overrides": list(overrides)} if summary.overrides is None else {}
        summary.replace(**fields, status="failed", error=message).write(folder.summary)


def explain_resume(folder: RunFolder) -> str:
    """How to resume a run, with the whole command line."""
    return f"go on with: {write_again('resume', folder)}"
