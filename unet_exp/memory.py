"""How much memory there is."""

from contextlib import suppress
from pathlib import Path

import psutil

_GROUPS = Path("/sys/fs/cgroup")
"""Limits of containers, which psutil does not know."""
_LIMITS = (
    ("memory.max", "memory.current", "memory.stat"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
)


def free_memory() -> int:
    """Bytes that a process can take without others being swapped out, a container's own limit counted."""
    free = psutil.virtual_memory().available
    for limit, used, kinds in _LIMITS:
        with suppress(OSError, ValueError):  # no container, or `max`
            left = int((_GROUPS / limit).read_text()) - int((_GROUPS / used).read_text())
            free = min(free, left + _reclaimable((_GROUPS / kinds).read_text()))
    return max(free, 0)


def _reclaimable(stat: str) -> int:
    """Bytes that count as used only because files were read, and that are given back when they are needed."""
    rows = dict(line.split() for line in stat.splitlines())
    return sum(int(rows.get(f"total_{kind}", rows.get(kind, 0))) for kind in ("active_file", "inactive_file"))
