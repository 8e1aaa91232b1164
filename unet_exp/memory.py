"""Free memory, container limits included."""

from contextlib import suppress
from pathlib import Path

import psutil

_GROUPS = Path("/sys/fs/cgroup")
"""Limits of containers; psutil does not read them."""
_LIMITS = (
    ("memory.max", "memory.current", "memory.stat"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
)


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
