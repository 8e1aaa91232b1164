"""Reading, computing and writing many files at once, in their order, with a bound on what lies in memory."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from unet_exp.errors import UserError

Job = TypeVar("Job")
Read = TypeVar("Read")
Computed = TypeVar("Computed")
Written = TypeVar("Written")

AHEAD = 8
"""Files that are read before their turn, and as many that wait to be written."""
_READERS = 2


def run_overlapped(
    items: Iterable[tuple[Job, int]],
    budget: int,
    read: Callable[[Job], Read],
    compute: Callable[[Job, Read], Computed],
    write: Callable[[Job, Computed], Written],
) -> Generator[tuple[Job, Written | UserError], None, None]:
    """Reads in threads, computes in this one, and writes in another.

    Closing it, as an interrupt should, drops what has not begun and waits for the file that is being written.

    Args:
        items: each with the bytes that it takes from its reading to its writing.
        budget: bytes that all of them may take at a time; an job that takes more goes alone.
        read: in a thread.
        compute: in the caller's thread, job by job.
        write: in a thread, job by job.

    Yields:
        Each job in its order, with what `write` returned, or the mistake that any of the three raised.
    """
    reading: deque[tuple[Job, int, Future[Read]]] = deque()
    writing: deque[tuple[Job, int, Future[Written]]] = deque()
    upcoming, in_memory = iter(items), 0
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
    job: Job,
    pixels: "Future[Read]",
    compute: Callable[[Job, Read], Computed],
    write: Callable[[Job, Computed], Written],
) -> "Future[Written]":
    """The writing of what was computed, or a mistake on the way to it, which waits for its turn too."""
    try:
        return writer.submit(write, job, compute(job, pixels.result()))
    except UserError as error:
        failed: Future[Written] = Future()
        failed.set_exception(error)
        return failed
