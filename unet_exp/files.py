"""Files that appear whole or not at all, and folders that one process at a time writes to."""

import csv
import errno
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, Timeout, UnixFileLock, lock_descriptor


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a side file that takes the place of `path` at the end, and is gone if anything fails.

    Args:
        path: the file to write; its folder exists.

    Yields:
        A hidden name in the same folder, with the same suffix, of this process's own.

    Raises:
        OSError: as writing does; it names `path`.
    """
    side = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        with named(path):
            yield side
            os.replace(side, path)
    finally:
        side.unlink(missing_ok=True)


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Says of what is raised in this block that it is of this file; the system names none where the disk is full.

    Raises:
        OSError: as writing does.
    """
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds a lock file; the system lets go of it when the process ends, however it ends.

    Processes forked from it, which may live on for seconds when it is killed, do not hold it. Where the system has no
    locks, the file's presence is the lock, and that of a process which has died counts no more.

    Args:
        path: the lock file; its folder exists.

    Raises:
        BlockingIOError: if another process holds it.
    """
    lock: BaseFileLock = FileLock(path, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise BlockingIOError(errno.EWOULDBLOCK, "another process holds it", str(path)) from None
    try:
        # A soft lock's file holds the same two; on Windows nobody can read a locked file, nor send such signals.
        if isinstance(lock, UnixFileLock):
            path.write_text(f"{os.getpid()}\n{socket.gethostname()}\n")
        yield
    finally:
        lock.release()


def is_locked(path: Path) -> bool:
    """Whether a process holds this lock file."""
    if not path.exists():
        return False
    try:
        with FileLock(path, blocking=False):
            return False
    except Timeout:
        return True
    except OSError:  # it may only be read
        with suppress(OSError), path.open() as file:
            return not lock_descriptor(file.fileno(), blocking=False)
        return False


def holder(path: Path) -> int | None:
    """The process of this machine that holds a lock file; None where none does, or where the file does not say."""
    if not is_locked(path):
        return None
    try:
        process, machine, *_ = [*path.read_text().split(), "", ""]
    except OSError:  # it has let go meanwhile, or this is Windows
        return None
    return int(process) if process.isdecimal() and machine == socket.gethostname() else None


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows under the keys of all of them, in the order of their appearance."""
    fields = list(dict.fromkeys(key for row in rows for key in row))
    with replacing(path) as side, side.open("w", newline="") as file:
        writer = csv.DictWriter(file, fields)
        writer.writeheader()
        writer.writerows(rows)


def write_text(path: Path, text: str) -> None:
    """Writes a whole file or nothing."""
    with replacing(path) as side:
        side.write_text(text)
