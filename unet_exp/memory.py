"""Free memory, container limits included; and what becomes of memory that this process frees."""

import ctypes
from contextlib import suppress
from pathlib import Path

import psutil

_GROUPS = Path("/sys/fs/cgroup")
"""Limits of containers; psutil does not read them."""
_LIMITS = (
    ("memory.max", "memory.current", "memory.stat"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
)

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4  # malloc.h
_MMAPS = 65536  # its default


def free_memory() -> int:
    """Bytes that a process can take without swapping, within the limit of a container."""
    free = psutil.virtual_memory().available
    for limit, used, kinds in _LIMITS:
        with suppress(OSError, ValueError):  # no container, or `max`
            left = int((_GROUPS / limit).read_text()) - int((_GROUPS / used).read_text())
            free = min(free, left + _reclaimable((_GROUPS / kinds).read_text()))
    return max(free, 0)


def _reclaimable(stat: str) -> int:
    """Bytes of the page cache, which count as used and are free on demand."""
    rows = dict(line.split() for line in stat.splitlines())
    return sum(int(rows.get(f"total_{kind}", rows.get(kind, 0))) for kind in ("active_file", "inactive_file"))


def return_freed_memory() -> None:
    """Makes glibc return large freed blocks to the system at once, until `keep_freed_memory`.

    By default it keeps freed blocks of up to 32 MB, and a prediction by tiles takes twice the memory that it uses.
    Python and PyTorch have no setting for it; other C libraries stay as they are.
    """
    _set_malloc(_M_MMAP_MAX, _MMAPS)
    _set_malloc(_M_MMAP_THRESHOLD, 2**20)
    _set_malloc(_M_TRIM_THRESHOLD, 2**20)


def keep_freed_memory() -> None:
    """Makes glibc keep freed blocks of any size for the next ones, until `return_freed_memory`.

    By default the system clears the memory of each large map page by page when it is first written: a tenth to a half
    of the time of a pass on a CPU. The process keeps the most that it ever took, until `release_freed_memory`.
    """
    _set_malloc(_M_MMAP_MAX, 0)
    _set_malloc(_M_TRIM_THRESHOLD, -1)


def release_freed_memory() -> None:
    """Returns to the system what is free now."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _set_malloc(key: int, value: int) -> None:
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").mallopt(key, value)
