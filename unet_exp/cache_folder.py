"""The folder of what is kept for later starts: generated images, indexes of data sets, decoded images."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from unet_exp.files import find_holder, hold_lock
from unet_exp.progress import watch

VARIABLE = "UNET_EXP_CACHE"
"""Environment variable that names the folder; empty for none."""
_PAUSE = 0.2
"""Seconds between two looks whether a lock is free."""


def find_cache_folder() -> Path | None:
    """`$UNET_EXP_CACHE`, else `~/.cache/unet_exp`; None where that is empty."""
    folder = os.environ.get(VARIABLE, "~/.cache/unet_exp")
    return Path(folder).expanduser() if folder else None


def can_write(folder: Path) -> bool:
    """Whether a folder is one that can be written, or can be made."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return there.is_dir() and os.access(there, os.W_OK)


@contextmanager
def wait_for_lock(path: Path, what: str) -> Iterator[None]:
    """Holds a lock, whose folder exists, and waits for another process that holds it.

    Args:
        path: of the lock.
        what: the other process does, for the log.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(hold_lock(path))
        except BlockingIOError:
            holder = find_holder(path)
            by = "" if holder is None else f" (process {holder})"
            with watch(f"waiting for another training{by}, which is {what}"):
                _wait(path, stack)
        yield


def _wait(path: Path, stack: ExitStack) -> None:
    while True:
        try:
            stack.enter_context(hold_lock(path))
            return
        except BlockingIOError:
            time.sleep(_PAUSE)
