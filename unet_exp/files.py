"""Writes files completely or not at all, and locks folders for one process."""

import csv
import errno
import logging
import os
import socket
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, Timeout, UnixFileLock, lock_descriptor

_log = logging.getLogger(__name__)
NPZ_DAMAGE = (OSError, EOFError, KeyError, ValueError, NotImplementedError, zipfile.BadZipFile, zlib.error)
"""What reading a NumPy archive raises that is missing, cut short, damaged or of another kind."""
FETCH_FROM_GIT_LFS = "is a Git LFS pointer, and the file itself is not here; fetch it with: git lfs pull"


def is_git_lfs_pointer(start: bytes) -> bool:
    """Whether a file that starts so only names the real one, which a checkout without Git LFS lacks."""
    return start.startswith(b"version https://git-lfs")


@contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """Yields a temporary file that replaces `path` at the end, and is removed if anything fails.

    Yields:
        A hidden name in the same folder, which exists, with the same suffix, unique to this process.

    Raises:
        OSError: as writing does; it names `path`.
    """
    side = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        with name_in_errors(path):
            yield side
            os.replace(side, path)
    finally:
        side.unlink(missing_ok=True)


@contextmanager
def warn_of_failure(path: Path) -> Iterator[None]:
    """Makes a warning of any error of a block that draws a page or picture: what it shows is in other files too."""
    try:
        yield
    except Exception as error:
        told = str(error).partition("\n")[0]
        _log.warning("%s is not written (%s: %s)", path, type(error).__name__, told)
        _log.info("the reason:", exc_info=True)


@contextmanager
def name_in_errors(path: Path) -> Iterator[None]:
    """Names the file in errors of this block; the system does not where the disk is full.

    Raises:
        OSError: as writing does.
    """
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


@contextmanager
def hold_lock(path: Path, wait: bool = False) -> Iterator[None]:
    """Locks a file, whose folder exists; the system releases it when the process ends, however it ends.

    Forked processes, which may live on for seconds when it is killed, do not keep it. On a system without locks, the
    presence of the file is the lock, and that of a dead process does not count.

    Args:
        path: the file.
        wait: for another process to release it, and not fail.

    Raises:
        BlockingIOError: if another process has it.
    """
    lock: BaseFileLock = FileLock(path, blocking=wait)
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
    """Whether a process has this lock."""
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


def find_holder(path: Path) -> int | None:
    """The process of this machine that has a lock; None without one, or where the file does not say."""
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
    with write_whole(path) as side, side.open("w", newline="") as file:
        writer = csv.DictWriter(file, fields)
        writer.writeheader()
        writer.writerows(rows)


def write_text(path: Path, text: str) -> None:
    """Writes a file completely or not at all."""
    with write_whole(path) as side:
        side.write_text(text)


def shorten_path(path: str | Path) -> str:
    """The path from the current folder, where it lies below it."""
    whole, here = os.path.abspath(path), os.getcwd()
    return os.path.relpath(whole, here) if whole.startswith(here + os.sep) else str(path)


def conf_dir() -> Path:
    """The folder of configs: at the top of a checkout, inside the package in an installed wheel."""
    package = Path(__file__).resolve().parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"
