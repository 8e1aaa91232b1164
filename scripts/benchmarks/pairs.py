"""Two ways to one end, measured in turn, and the goal that one of them has."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import groupby
from typing import Literal


@dataclass(frozen=True)
class Timed:
    """Seconds that a way has measured itself, because they are only a part of what it does."""

    seconds: float


@dataclass(frozen=True)
class Goal:
    """What our way should reach.

    Attributes:
        of: `ratio`: the other's seconds / ours, at least. `more`: ours - the other's seconds, at most. `seconds`: ours,
            at most.
        number: the limit.
    """

    of: Literal["ratio", "more", "seconds"]
    number: float

    def __str__(self) -> str:
        if self.of == "ratio":
            return f"ratio at least {self.number:.2f}"
        return f"{'at most +' if self.of == 'more' else 'at most '}{1e3 * self.number:g} ms"


@dataclass(frozen=True)
class Pair:
    """Two ways to one end.

    Attributes:
        group: it belongs to.
        what: is done.
        ours: the name of the first way.
        other: the name of the second.
        first: runs the first way once; what it returns is nothing, or a `Timed`. Neighbours with the same one are
            measured together: A B C A B C ...
        second: runs the second way once.
        goal: of the first way; None for none.
        most: repeats at most, where one takes long.
        needs: a package that the second way imports.
    """

    group: str
    what: str
    ours: str
    other: str
    first: Callable[[], object]
    second: Callable[[], object]
    goal: Goal | None = None
    most: int = 1000
    needs: str | None = None

    @property
    def missing(self) -> str | None:
        """How to install what is missing, in one line."""
        if self.needs is None or find_spec(self.needs) is not None:
            return None
        return f"{self.group}, {self.other}: {self.needs} is not installed: pip install -e '.[benchmark]'"


@dataclass(frozen=True)
class Result:
    """What a pair came to; times in seconds.

    Attributes:
        group: of the pair.
        what: is done.
        ours: the name of the first way.
        other: the name of the second.
        ours_seconds: of each run.
        other_seconds: of each run.
        ratio: median of the ratios of neighbours in time, second / first.
        lowest: of the ratios.
        highest: of the ratios.
        more: median of the differences of neighbours in time, first - second.
        goal: in words; None where there is none.
        met: whether the medians meet it.
    """

    group: str
    what: str
    ours: str
    other: str
    ours_seconds: tuple[float, ...]
    other_seconds: tuple[float, ...]
    ratio: float
    lowest: float
    highest: float
    more: float
    goal: str | None = None
    met: bool | None = None


def measure_all(pairs: Sequence[Pair], repeats: int) -> Iterator[Result]:
    """Measures pairs whose packages are there; those with one first way together."""
    present = [pair for pair in pairs if pair.missing is None]
    for _, together in groupby(present, key=lambda pair: id(pair.first)):
        yield from measure(list(together), repeats)


def measure(pairs: Sequence[Pair], repeats: int) -> list[Result]:
    """Runs all ways once unmeasured, then in turn; all pairs have the same first way."""
    ways = [pairs[0].first, *(pair.second for pair in pairs)]
    for run in ways:
        run()
    rounds = range(min(repeats, *(pair.most for pair in pairs)))
    ours, *others = zip(*([_seconds(run) for run in ways] for _ in rounds), strict=True)
    return [_conclude(pair, ours, other) for pair, other in zip(pairs, others, strict=True)]


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    done = run()
    return done.seconds if isinstance(done, Timed) else time.perf_counter() - start


def _conclude(pair: Pair, ours: tuple[float, ...], others: tuple[float, ...]) -> Result:
    both = list(zip(ours, others, strict=True))
    ratios = [other / own for own, other in both]
    ratio, more = statistics.median(ratios), statistics.median(own - other for own, other in both)
    goal, met = pair.goal, None
    if goal is not None:
        reached = {"ratio": -ratio, "more": more, "seconds": statistics.median(ours)}[goal.of]
        met = reached <= (-goal.number if goal.of == "ratio" else goal.number)
    return Result(
        pair.group, pair.what, pair.ours, pair.other, ours, others, ratio, min(ratios), max(ratios), more,
        None if goal is None else str(goal), met,
    )  # fmt: skip
