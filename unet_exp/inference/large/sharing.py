"""How a prediction is shared out over several processes, by rules that each of them computes alike; without torch."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapreplace
from itertools import accumulate, groupby


@dataclass(frozen=True)
class Share:
    """One of the parts of a prediction.

    Attributes:
        number: of the part, from 1.
        count: of all parts.
        slot: the number of this process, from 0, among those that its launcher has started on this machine.
        slots: how many these are.
    """

    number: int
    count: int
    slot: int = 0
    slots: int = 1

    def __str__(self) -> str:
        """Such as `part 2 of 8`."""
        return f"part {self.number} of {self.count}"


def assign_files(sizes: Sequence[int], count: int) -> list[int]:
    """Gives each file to one of `count` parts, so that these have about equal sizes.

    The largest file comes first, and each goes to the part that has the least so far (Graham 1969: the largest part has
    at most 4/3 of what the best division gives it).

    Args:
        sizes: of the files, in any unit.
        count: of parts.

    Returns:
        The number of the part of each file, from 1. With as many files as parts or more, each part has one.
    """
    loads = [(0, number) for number in range(1, count + 1)]
    owners = [0] * len(sizes)
    for place in sorted(range(len(sizes)), key=lambda place: (-sizes[place], place)):
        load, owners[place] = loads[0]
        heapreplace(loads, (load + max(sizes[place], 1), owners[place]))
    return owners


def cut_evenly(sizes: Sequence[int], count: int) -> list[range]:
    """Cuts a sequence of tiles into `count` runs of about equal sizes; of fewer tiles than parts some get none.

    Args:
        sizes: of the tiles, above 0.
        count: of parts.

    Returns:
        The indices of the tiles of each part, in order.
    """
    total = sum(sizes)
    # The part in whose stretch of the total the middle of a tile lies.
    owners = [(2 * end - size) * count // (2 * total) for size, end in zip(sizes, accumulate(sizes), strict=True)]
    return [range(bisect_left(owners, part), bisect_left(owners, part + 1)) for part in range(count)]


def format_numbers(numbers: Sequence[int]) -> str:
    """Ascending numbers, such as `1, 3-5`."""
    runs = [list(run) for _, run in groupby(numbers, key=lambda number: number - bisect_left(numbers, number))]
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
