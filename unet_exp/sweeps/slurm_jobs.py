"""The record of a sweep's jobs in SLURM: `jobs.json` says which runs are in which job, the queue which jobs there are.

An array is recorded before it is submitted, and found in the queue by the path of its script. So a program that is
killed between the two leaves no job that the next start does not know.
"""

import json
import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from unet_exp.errors import ConfigError, DataError
from unet_exp.files import write_text
from unet_exp.schema import Strict, validate
from unet_exp.sweeps.slurm_queue import QueuedJob, list_queued


class _Array(Strict):
    """One submission: SLURM's id, null until it is known, and the names of the runs of each job."""

    id: str | None
    jobs: list[list[Annotated[str, Field(pattern=r"^[\w=+][\w.,=+-]*$")]]]  # names of folders


class _Record(Strict):
    arrays: dict[str, _Array]


@dataclass(frozen=True)
class Job:
    """A job of the sweep.

    Attributes:
        array: number of its submission, from 1.
        index: its place in that.
        runs: names of what it trains, one after another.
        id: SLURM's; None if it is not known.
    """

    array: str
    index: int
    runs: tuple[str, ...]
    id: str | None

    @property
    def key(self) -> tuple[str, int]:
        """What tells it from the sweep's other jobs."""
        return self.array, self.index


class SlurmJobs:
    """The jobs of a sweep's folder; threads may share it.

    Attributes:
        path: the record.
        logs: folder with a folder for each submission: scripts of submitit, and what the jobs print.
    """

    def __init__(self, sweep: Path) -> None:
        self.path = sweep / "jobs.json"
        self.logs = sweep.resolve() / ".submitit"
        self._lock = threading.Lock()

    @property
    def are_known(self) -> bool:
        """Whether any array was submitted, or may have been."""
        return bool(self._read())

    def begin(self, jobs: Sequence[Sequence[str]]) -> list[Job]:
        """Records an array that is about to be submitted, with the names of the runs of each job.

        Raises:
            DataError: if the record is damaged.
        """
        with self._lock:
            arrays = self._read()
            number = str(max(map(int, arrays), default=0) + 1)
            arrays[number] = _Array(id=None, jobs=[list(names) for names in jobs])
            self._write(arrays)
            return self._list(number, arrays[number])

    def confirm(self, number: str, id_: str) -> list[Job]:
        """Records SLURM's id of a submitted array."""
        with self._lock:
            arrays = self._read()
            arrays[number] = _Array(id=id_, jobs=arrays[number].jobs)
            self._write(arrays)
            return self._list(number, arrays[number])

    def withdraw(self, number: str) -> None:
        """Takes back an array that was not submitted, and the files made for it."""
        with self._lock:
            arrays = self._read()
            del arrays[number]
            self._write(arrays)
            shutil.rmtree(self.folder(number), ignore_errors=True)

    def folder(self, number: str) -> Path:
        """Where submitit keeps the files of an array."""
        return self.logs / number

    def log(self, job: Job) -> Path:
        """What a job prints outside of its runs."""
        return self.folder(job.array) / f"{job.id or '*'}_0_log.out"

    def list_queued(self) -> list[tuple[Job, QueuedJob]]:
        """The sweep's jobs that are queued, running or ending.

        Raises:
            DataError: if the record is damaged, or lacks a job that is in the queue.
            Unreachable: if SLURM does not answer.
        """
        if not self.path.exists():
            return []
        queued = [job for job in list_queued() if job.script.parent.parent == self.logs]
        arrays = self._read()
        found = []
        for entry in queued:
            number = entry.script.parent.name
            if number not in arrays or entry.index >= len(arrays[number].jobs):
                raise DataError(
                    f"{self.path}: it lacks the job {entry.id} of this sweep; end it with scancel {entry.id}"
                )
            runs = tuple(arrays[number].jobs[entry.index])
            found.append((Job(number, entry.index, runs, entry.id), entry))
        return found

    def _list(self, number: str, array: _Array) -> list[Job]:
        ids = [None if array.id is None else f"{array.id}_{index}" for index in range(len(array.jobs))]
        if len(ids) == 1:  # submitit makes no array of it
            ids = [array.id]
        return [Job(number, index, tuple(names), ids[index]) for index, names in enumerate(array.jobs)]

    def _read(self) -> dict[str, _Array]:
        if not self.path.exists():
            return {}
        try:
            arrays = validate(_Record, {"arrays": json.loads(self.path.read_text())}).arrays
            if not all(map(str.isdecimal, arrays)):
                raise ValueError("its keys are no numbers")
        except (OSError, ValueError, RecursionError, ConfigError):
            raise DataError(
                f"{self.path}: it is damaged; end the jobs of this sweep with scancel, remove it, and go on"
            ) from None
        return arrays

    def _write(self, arrays: dict[str, _Array]) -> None:
        write_text(self.path, json.dumps({number: array.model_dump() for number, array in arrays.items()}) + "\n")
