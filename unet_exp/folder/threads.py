"""Work in threads that neither waits for all of it nor begins all of it."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_AHEAD = 4
"""Items a thread that are begun before the first of them is asked for."""


def run_ahead(
    work: Callable[[int], T], places: Sequence[int], threads: int, ahead_of_each: int = _AHEAD
) -> Iterator[T]:
    """Does the work in threads, a few items ahead for each of them; yields the results in order.

    Raises:
        Exception: what the work raises; what was begun ends, and no more begins.
    """
    ahead: deque[Future[T]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for place in places:
                ahead.append(pool.submit(work, place))
                if len(ahead) > ahead_of_each * threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()
