"""Profilers of a training, `trainer.profiler`: their files have names that say what they are."""

from collections.abc import Callable
from typing import Any

from pytorch_lightning.profilers import Profiler, PyTorchProfiler, SimpleProfiler
from torch.profiler import profile

from unet_exp.runs.run_folder import RunFolder

_TABLE = "profile.txt"


class _Named:
    """Gives the table its name, to which Lightning's own adds the phase."""

    _local_rank: int | None

    def _prepare_filename(self, *_: Any, **__: Any) -> str:
        return f"profile_of_process_{self._local_rank}.txt" if self._local_rank else _TABLE


class StepProfiler(_Named, PyTorchProfiler):
    """PyTorch's profiler over three of every five steps, and over three images of a validation.

    It writes `profile.txt`, the operations that take longest, and `profile_training.json` and
    `profile_validation.json`, timelines of the last of them for https://ui.perfetto.dev. With fewer than five batches
    an epoch all steps are in one timeline.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        super().__init__(folder.path, "profile", on_trace_ready=self._write)

    def _write(self, profiler: profile) -> None:
        training = self._schedule is None or self._schedule.is_training
        if not self._local_rank:  # the processes of a distributed training do the same
            profiler.export_chrome_trace(
                str(self._folder.path / f"profile_{'training' if training else 'validation'}.json")
            )


class CallProfiler(_Named, SimpleProfiler):
    """The seconds that each of Lightning's calls takes, in `profile.txt`.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: RunFolder) -> None:
        super().__init__(folder.path, "profile")


PROFILERS: dict[str, Callable[[RunFolder], Profiler]] = {"simple": CallProfiler, "pytorch": StepProfiler}
"""By the words of `trainer.profiler`."""


def explain_profile(folder: RunFolder) -> str | None:
    """What the files of a profiler are, and how to open them; None if there are none."""
    if not (folder.path / _TABLE).is_file():
        return None
    traces = [path.name for path in sorted(folder.path.glob("profile_*.json"))]
    which = "a timeline, open it" if len(traces) == 1 else "timelines, open them"
    opened = f"; {' and '.join(traces)}: {which} in https://ui.perfetto.dev" if traces else ""
    return f"{_TABLE}: what takes the time{opened}"
