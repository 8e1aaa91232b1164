"""How many processes read and augment patches beside the training."""

import os
import shutil
import sys
from typing import Literal

_MOST = 8
"""As `auto` takes: a network that waits for more is better served by `augmentation.device`."""
_AHEAD = 2
"""Batches that each process has ready, PyTorch's `prefetch_factor`."""
_SHARED = "/dev/shm"  # noqa: S108 - not written to
"""Where Linux keeps the memory through which they pass them on; containers often have 64 MB of it."""


def count_workers(asked: int | Literal["auto"], device: str, processes: int, batch: int = 1) -> int:
    """The number of processes that `data.num_workers` means for each process of a training.

    `auto` is none on a CPU, where the network's own threads use all cores already. On a GPU it is a process for each
    core that this one may use, at most 8, and no more than shared memory holds the batches of. It is none where the
    images would have to be copied to each process: PyTorch forks it on Linux alone.

    Args:
        asked: the setting.
        device: type of the device that trains.
        processes: of the training on this machine, which share its cores.
        batch: bytes of one, of which shared memory must hold some.
    """
    if asked != "auto":
        return asked
    if device != "cuda" or sys.platform != "linux":
        return 0
    cores = len(os.sched_getaffinity(0)) // processes
    return min(_MOST, max(1, cores), _count_held(batch * _AHEAD * processes))


def _count_held(size: int) -> int:
    """How many times so many bytes fit into half of the free shared memory."""
    try:
        free = shutil.disk_usage(_SHARED).free
    except OSError:
        return 0
    return free // 2 // size
