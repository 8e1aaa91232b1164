"""Files that appear whole or not at all, and folders that one process at a time writes to."""

import csv
import fcntl
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_held: set[int] = set()
"""Descriptors of the lock files of this process."""


def _let_go() -> None:
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_let_go)


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

    Processes forked from it, which may live on for seconds when it is killed, do not hold it.

    Args:
        path: the lock file; its folder exists.

    Raises:
        BlockingIOError: if another process holds it.
    """
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.truncate(0)
        print(os.getpid(), socket.gethostname(), file=file, flush=True)
        _held.add(file.fileno())
        try:
            yield
        finally:
            _held.discard(file.fileno())


def is_locked(path: Path) -> bool:
    """Whether a process holds this lock file."""
    if not path.exists():
        return False
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def holder(path: Path) -> int | None:
    """The process of this machine that holds a lock file; None where none does."""
    if not is_locked(path):
        return None
    process, _, machine = path.read_text().strip().partition(" ")
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
