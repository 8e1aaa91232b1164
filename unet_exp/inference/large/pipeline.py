"""Reads, computes and writes many files at once, in order, within a memory budget."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
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
    compute: Callable[[Sequence[FileJob], Sequence[Read]], Sequence[Computed | UserError]],
    write: Callable[[FileJob, Computed], Written],
    joins: Callable[[Sequence[Read], Read], bool] = lambda *_: False,
) -> Generator[tuple[FileJob, Written | UserError], None, None]:
    """Reads in threads, computes in this one, and writes in another.

    Close it after an interrupt: it drops waiting jobs and finishes the file that it writes.

    Args:
        jobs: each with the bytes that it takes from reading to writing.
        budget: bytes for all jobs at a time; a job that takes more runs alone.
        read: runs in a thread.
        compute: runs in the caller's thread, on one job or on neighbours that are computed together.
        write: runs in a thread, job by job.
        joins: whether what was read of a job is computed together with that of the jobs before it.

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
                batch = _take_batch(reading, joins)
                written = _compute_and_submit(writer, batch, compute, write)
                writing += [(job, size, future) for (job, size, _), future in zip(batch, written, strict=True)]
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


def _take_batch(
    reading: "deque[tuple[FileJob, int, Future[Read]]]", joins: Callable[[Sequence[Read], Read], bool]
) -> "list[tuple[FileJob, int, Future[Read]]]":
    """The next job, and those after it that are computed with it; one that was not read is alone."""
    batch = [reading.popleft()]
    read = [] if batch[0][2].exception() else [batch[0][2].result()]
    while read and reading and not reading[0][2].exception() and joins(read, reading[0][2].result()):
        batch.append(reading.popleft())
        read.append(batch[-1][2].result())
    return batch


def _compute_and_submit(
    writer: ThreadPoolExecutor,
    batch: "Sequence[tuple[FileJob, int, Future[Read]]]",
    compute: Callable[[Sequence[FileJob], Sequence[Read]], Sequence[Computed | UserError]],
    write: Callable[[FileJob, Computed], Written],
) -> "list[Future[Written]]":
    """Computes jobs and submits their writing; a mistake waits for its turn too."""
    jobs = [job for job, _, _ in batch]
    try:
        computed = compute(jobs, [pixels.result() for _, _, pixels in batch])
    except UserError as error:
        computed = [error] * len(batch)
    return [_submit(writer, job, result, write) for job, result in zip(jobs, computed, strict=True)]


def _submit(
    writer: ThreadPoolExecutor,
    job: FileJob,
    computed: Computed | UserError,
    write: Callable[[FileJob, Computed], Written],
) -> "Future[Written]":
    if not isinstance(computed, UserError):
        return writer.submit(write, job, computed)
    failed: Future[Written] = Future()
    failed.set_exception(computed)
    return failed
