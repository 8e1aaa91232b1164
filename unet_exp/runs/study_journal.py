"""The journal of a search: a file of JSON lines, to which several processes add."""

import os
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

_START = b'{"op_code"'


def open_journal(path: Path, must_exist: bool = False) -> JournalStorage:
    """Opens a journal, or makes a new one.

    Raises:
        FileNotFoundError: if it must exist, and does not.
        ValueError: if the file is no journal.
    """
    # Optuna would create a missing file.
    return JournalStorage(_Journal(path.resolve(strict=must_exist)))


class _Journal(JournalFileBackend):
    """Optuna's journal, which survives that a process dies in the middle of a line.

    Its lock is a file; Optuna's default, a link, is nothing that a folder from a stranger may hold.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if path.exists():
            with path.open("rb") as file:
                start = file.read(len(_START))
            if not _START.startswith(start):
                raise ValueError("its first line is no entry of one")
        self._writers = JournalFileOpenLock(str(path))
        super().__init__(str(path), lock_obj=self._writers)
        self._drop_torn_line()

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Adds entries, each a line."""
        self._drop_torn_line()
        super().append_logs(logs)

    def _drop_torn_line(self) -> None:
        """Removes a half-written last line of a killed process; what is added to it would be lost with it."""
        if _ends_whole(self._path):
            return
        self._writers.acquire()  # nobody is in the middle of writing
        try:
            if not _ends_whole(self._path):
                with self._path.open("r+b") as file:
                    file.truncate(file.read().rfind(b"\n") + 1)
        finally:
            self._writers.release()


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
