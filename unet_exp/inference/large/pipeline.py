"""Reads, computes and writes many files at once, in order, within a memory budget."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from unet_exp.errors import UserError

FileJob = TypeVar("FileJob")
Read = TypeVar("Read")
Computed = TypeVar("Computed")
Written = TypeVar("Written")

AHEAD = 8
"""Most files read in advance, and most files that wait for writing."""
_READERS = 2


def run_overlapped(
    jobs: Iterable[tuple[FileJob, int]],
    budget: int,
    read: Callable[[FileJob], Read],
    compute: Callable[[FileJob, Read], Computed],
    write: Callable[[FileJob, Computed], Written],
) -> Generator[tuple[FileJob, Written | UserError], None, None]:
    """Reads in threads, computes in this one, and writes in another.

    Close it after an interrupt: it drops waiting jobs and finishes the file that it writes.

    Args:
        jobs: each with the bytes that it takes from reading to writing.
        budget: bytes for all jobs at a time; a job that takes more runs alone.
        read: runs in a thread.
        compute: runs in the caller's thread, job by job.
        write: runs in a thread, job by job.

    Yields:
        Each job in order, with the result of `write`, or the mistake that any of the three raised.
    """
    reading: deque[tuple[FileJob, int, Future[Read]]] = deque()
    writing: deque[tuple[FileJob, int, Future[Written]]] = deque()
    upcoming, in_memory = iter(jobs), 0
    readers, writer = ThreadPoolExecutor(_READERS), ThreadPoolExecutor(1)
    try:
        next_one = next(upcoming, None)
        while next_one or reading or writing:
            alone = not reading and not writing
            if next_one and (alone or (in_memory + next_one[1] <= budget and len(reading) < AHEAD)):
                job, size = next_one
                reading.append((job, size, readers.submit(read, job)))
                in_memory += size
                next_one = next(upcoming, None)
            elif reading and len(writing) < AHEAD:
                job, size, pixels = reading.popleft()
                writing.append((job, size, _compute_and_submit(writer, job, pixels, compute, write)))
            else:
                job, size, done = writing.popleft()
                try:
                    result: Written | UserError = done.result()
                except UserError as error:
                    result = error
                yield job, result
                in_memory -= size
    finally:
        for pool in (readers, writer):
            pool.shutdown(cancel_futures=True)


def _compute_and_submit(
    writer: ThreadPoolExecutor,
    job: FileJob,
    pixels: "Future[Read]",
    compute: Callable[[FileJob, Read], Computed],
    write: Callable[[FileJob, Computed], Written],
) -> "Future[Written]":
    """Computes a job and submits its writing; a mistake waits for its turn too."""
    try:
        return writer.submit(write, job, compute(job, pixels.result()))
    except UserError as error:
        failed: Future[Written] = Future()
        failed.set_exception(error)
        return failed
