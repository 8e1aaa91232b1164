"""How much memory there is."""

import os
import sys
from contextlib import suppress
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_LIMITS = (
    ("memory.max", "memory.current", "memory.stat"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
)


def free_memory() -> int:
    """Bytes that a process can take without others being swapped out, a container's own limit counted."""
    if not hasattr(os, "sysconf"):  # Windows, which does not say: as if there were no end.
        return sys.maxsize
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, StopIteration):  # Linux
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) * 1024
    for limit, used, kinds in _LIMITS:
        with suppress(OSError, ValueError):  # no container, or `max`
            left = int((_GROUPS / limit).read_text()) - int((_GROUPS / used).read_text())
            free = min(free, left + _cached((_GROUPS / kinds).read_text()))
    return max(free, 0)


def _cached(stat: str) -> int:
    """Bytes that count as used only because files were read, and that are given back when they are needed."""
    rows = dict(line.split() for line in stat.splitlines())
    return sum(int(rows.get(f"total_{kind}", rows.get(kind, 0))) for kind in ("active_file", "inactive_file"))
