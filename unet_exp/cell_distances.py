"""The distances to the nearest and to the second-nearest cell, exact, and only where they are asked for.

Shapes: H height, W width, N pixels that are asked for.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Squares = NDArray[np.floating[Any]]

_BAND = 2**19
"""Pixels of the rows that are known at once, about: each takes some 40 bytes."""
_AT_ONCE = 2**15
"""Pixels that look around at once: what is known of more of them leaves the processor's cache."""


def find_two_squares(instances: NDArray[np.integer[Any]], wanted: NDArray[np.bool_], farthest: float) -> Squares:
    """The squares of d1 and d2, the distances to the nearest pixel of the nearest and of the second-nearest cell.

    Both are exact where d1 + d2 is less than `farthest`; elsewhere at least one of them may be too large. The time goes
    with the number of pixels asked for and with their d2.

    Args:
        instances: (H, W) ids of at least 0, 0 = none.
        wanted: (H, W), the pixels to look from.
        farthest: pixels, above 0.

    Returns:
        (2, N), whole numbers or infinite, in the order of `instances[wanted]`; a cell is at distance 0 from its pixels.
    """
    height, width = instances.shape
    farthest = min(farthest, 2 * (height + width))
    margin = int(min(farthest, height + width))
    if int(instances.max(initial=0)) * 2 * (margin + 1) ** 2 > 2**52:  # keys are exact below that
        instances = np.searchsorted(np.unique(np.append(instances, 0)), instances)
    rows = max(_BAND // max(width, 1), 4 * margin, 1)
    found = []
    for top in range(0, height, rows):
        # A band looks as far beyond its rows as distances count.
        seen = slice(max(0, top - margin), top + rows + margin)
        asked = wanted[seen].copy()
        asked[: top - seen.start] = asked[top - seen.start + rows :] = False
        pixels = np.flatnonzero(asked)
        if pixels.size:
            known = _Rows.of(instances[seen], margin)
            parts = range(0, pixels.size, _AT_ONCE)
            found += [_look_around(known, pixels[start : start + _AT_ONCE], farthest, margin) for start in parts]
    return np.concatenate(found, axis=1) if found else np.zeros((2, 0), np.float32)


class _Rows(NamedTuple):
    """What each pixel sees along its row, flat; above and below are `margin` rows from which nothing is seen.

    Attributes:
        cells: ids of the nearest cells.
        squares: of the distances to them; after these, those to the nearest of another cell.
        keys: square times `base`, plus the cell: the least of several is of the nearest cell.
        base: above every id.
        width: of a row.
        before: pixels of the rows above.
    """

    cells: NDArray[np.int32]
    squares: Squares
    keys: NDArray[np.float64]
    base: int
    width: int
    before: int

    @classmethod
    def of(cls, instances: NDArray[np.integer[Any]], margin: int) -> "_Rows":
        """Looks along the rows of (H, W) ids."""
        (height, width), kind = instances.shape, _square_type(margin)
        runs = _find_runs(instances, kind)
        places = np.arange(width, dtype=kind)
        before, size = margin * width, (height + 2 * margin) * width
        inside = slice(before, before + instances.size)
        cells, squares, keys = np.empty(size, np.int32), np.empty((2, size), kind), np.empty(size)
        for beyond in (slice(before), slice(inside.stop, None)):
            cells[beyond], squares[:, beyond], keys[beyond] = 0, np.inf, np.inf

        def spread(values: NDArray[Any]) -> NDArray[Any]:
            return np.repeat(values, runs.counts).reshape(height, width)

        near = np.maximum(spread(runs.first) - places, places - spread(runs.last))
        np.square(np.maximum(near, 0, out=near).ravel(), out=squares[0, inside])
        other = np.minimum(places - spread(runs.other_before), spread(runs.other_after) - places)
        np.square(other.ravel(), out=squares[1, inside])
        cells[inside] = np.repeat(runs.cell, runs.counts)
        base = int(runs.cell.max()) + 1
        np.multiply(squares[0, inside], float(base), out=keys[inside], dtype=np.float64)
        keys[inside] += cells[inside]
        return cls(cells, squares.ravel(), keys, base, width, before)


class _Runs(NamedTuple):
    """The runs of each row's cells, in order, each with the pixels that are nearer to it than to other runs.

    Attributes:
        cell: id; 0 for a row without any cell, of which all else is infinite.
        first: column of the first pixel.
        last: of the last one.
        other_before: of the last pixel before it of another cell, -inf for none.
        other_after: of the first one after it, inf for none.
        counts: of the pixels that are nearer to it.
    """

    cell: NDArray[np.integer[Any]]
    first: Squares
    last: Squares
    other_before: Squares
    other_after: Squares
    counts: NDArray[np.intp]


def _find_runs(instances: NDArray[np.integer[Any]], kind: type[np.floating[Any]]) -> _Runs:
    height, width = instances.shape
    starts = np.ones(instances.shape, np.bool_)
    np.not_equal(instances[:, 1:], instances[:, :-1], out=starts[:, 1:])
    start = np.flatnonzero(starts)
    length = np.diff(start, append=instances.size)
    kept = (instances.ravel()[start] != 0) | (length == width)
    start, length = start[kept], length[kept]
    cell, (row, column) = instances.ravel()[start], np.divmod(start, width)
    first, last = column.astype(kind), (column + length - 1).astype(kind)
    first[cell == 0] = np.inf
    before = _previous_of_another(cell, row)
    after = len(cell) - 1 - _previous_of_another(cell[::-1], row[::-1])[::-1]
    # The pixels of a gap belong to the run that is nearer, the middle one to the first.
    begin = row * width
    follows = np.flatnonzero(row[1:] == row[:-1])
    begin[follows + 1] += (column[follows] + length[follows] - 1 + column[follows + 1]) // 2 + 1
    return _Runs(
        cell,
        first,
        last,
        np.append(last, -np.inf).astype(kind)[before],  # -1 is the one appended
        np.append(first, np.inf).astype(kind)[after],
        np.diff(begin, append=height * width),
    )


def _previous_of_another(cell: NDArray[np.integer[Any]], row: NDArray[np.intp]) -> NDArray[np.intp]:
    """The place of the nearest run before each one, in its row and of another cell; -1 for none."""
    changes = np.ones(len(cell), np.bool_)
    changes[1:] = (cell[1:] != cell[:-1]) | (row[1:] != row[:-1])
    before = np.maximum.accumulate(np.where(changes, np.arange(len(cell)), 0)) - 1
    return np.where(row[before] == row, before, -1) if len(cell) else before


def _look_around(rows: _Rows, pixels: NDArray[np.intp], farthest: float, margin: int) -> Squares:
    """Squares (2, N) from some pixels, whose numbers ascend: what they see along their rows, and from those around."""
    places = pixels + rows.before
    keys = _find_nearest(rows, places, margin, farthest)
    first = np.floor(keys / rows.base)
    found = np.full((2, len(pixels)), np.inf, rows.squares.dtype)
    found[0] = first
    close = np.flatnonzero(4 * found[0] < farthest**2)  # d1 is at most half of the sum
    if close.size:
        # A little farther: rounding leaves the border to the caller.
        limit = np.square(farthest + 0.01 - np.sqrt(found[0, close]))
        cell = (keys[close] - first[close] * rows.base).astype(np.int32)
        second = _find_second(rows, places[close], cell, limit, margin)
        found[1, close] = np.where(second < limit, second, np.inf)
    return found


def _find_nearest(rows: _Rows, places: NDArray[np.intp], margin: int, farthest: float) -> NDArray[np.float64]:
    """The least key that each place sees from its own row and from those around."""
    found = rows.keys.take(places)
    best, left = found, np.arange(len(places))
    for distance in range(1, min(margin, int(farthest / 2)) + 1):
        key = distance**2 * rows.base
        going = np.flatnonzero(best >= key + rows.base)
        if not going.size:
            break
        best, places, left = best.take(going), places.take(going), left.take(going)
        for there in (places - distance * rows.width, places + distance * rows.width):
            np.minimum(best, rows.keys.take(there, mode="clip") + key, out=best)
        found[left] = best
    return found


def _find_second(
    rows: _Rows, places: NDArray[np.intp], cell: NDArray[np.int32], limit: Squares, margin: int
) -> Squares:
    """The least square that each place sees of another cell than its nearest, or `limit` if that is less."""
    found = limit.copy()
    best, left = found, np.arange(len(places))
    half = len(rows.cells)
    for distance in range(margin + 1):
        going = np.flatnonzero(best > distance**2)
        if not going.size:
            break
        best, places, left, cell = best.take(going), places.take(going), left.take(going), cell.take(going)
        for there in (places - distance * rows.width, places + distance * rows.width)[: distance + 1]:
            # Where that row sees the nearest cell first, what it sees behind it.
            behind = (rows.cells.take(there, mode="clip") == cell).astype(np.intp)
            behind *= half
            there += behind
            np.minimum(best, rows.squares.take(there, mode="clip") + best.dtype.type(distance**2), out=best)
        found[left] = best
    return found


def _square_type(margin: int) -> type[np.floating[Any]]:
    """In which sums of two squares of distances up to `margin` are exact."""
    return np.float32 if 2 * (margin + 1) ** 2 < 2**24 else np.float64
