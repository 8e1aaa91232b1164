"""Outlines in pixels, x to the right and y down from the upper left corner of an image, and what lies within them."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unet_exp.annotations.painting import Shape
from unet_exp.errors import DataError
from unet_exp.io.arrays import Array

Points = NDArray[np.float64]
"""(N, 2): x and y."""
Size = tuple[int, int]
"""Height and width of an image."""


class Wanted(NamedTuple):
    """The image whose shapes are wanted.

    Attributes:
        file: of the image.
        name: that it has in a file of annotations of many images; None for a file of one image.
        size: its height and width.
    """

    file: Path
    name: str | None
    size: Size


_MOST_STEPS = 5_000_000
"""Pixels along outlines: pycocotools takes 40 bytes for each."""
_CHUNK = 1 << 20
_NEEDED = 3


def require_size(path: Path, stated: tuple[Any, Any], wanted: Wanted) -> None:
    """Checks the height and width of an image that annotations state, if they do.

    Raises:
        DataError: if the image has others.
    """
    if stated not in ((None, None), wanted.size):
        (height, width), (tall, wide) = stated, wanted.size
        mend = "take the image that was annotated"
        if stated == (wide, tall):
            mend = (
                "its sides are swapped, as where EXIF turns an image that was annotated as stored: annotate it as "
                "it is shown, or take the orientation out of its file"
            )
        raise DataError(
            f"{path}: is of an image of {width} x {height} pixels{f', {wanted.name},' if wanted.name else ''} and "
            f"{wanted.file} has {wide} x {tall}; {mend}"
        )


def to_points(numbers: Any, what: str) -> Points:
    """The corners of a closed outline.

    Args:
        numbers: (N, 2), or (2 N) numbers, in lists or an array, of a file that anybody may have written.
        what: where they are, for the error.

    Raises:
        DataError: if they are not at least three pairs of finite numbers.
    """
    points = to_pairs(numbers, what)
    if len(points) < _NEEDED:
        raise DataError(f"{what}: an outline of {len(points)} points; give it {_NEEDED} or more, or delete it")
    return points


def to_pairs(numbers: Any, what: str) -> Points:
    """As `to_points`, any number of points.

    Raises:
        DataError: if they are not pairs of finite numbers.
    """
    try:
        array = np.asarray(numbers)
        if array.dtype.kind not in "iuf" or array.ndim not in (1, 2):
            raise ValueError
        pairs = array.astype(np.float64).reshape(-1, 2)
        if array.ndim == 2 and array.shape[1] != 2:
            raise ValueError
    except (ValueError, TypeError, OverflowError):
        raise DataError(f"{what}: points that are not pairs of numbers x, y; export it again") from None
    if not np.isfinite(pairs).all():
        raise DataError(f"{what}: a point that is not finite; export it again")
    return pairs


def clip_outline(points: Points, size: Size) -> Points:
    """Cuts off what lies farther from an image than it is large, so that nothing takes time or memory for it.

    Sutherland and Hodgman 1974, one side of the frame after the other; where the frame holds all, nothing changes.
    """
    for axis, length in ((0, size[1]), (1, size[0])):
        for bound, sign in ((-float(length), 1.0), (2.0 * length, -1.0)):
            depth = sign * (points[:, axis] - bound)
            if not len(points) or depth.min() >= 0:
                continue
            following, next_depth = np.roll(points, -1, axis=0), np.roll(depth, -1)
            crosses = (depth >= 0) != (next_depth >= 0)
            share = np.divide(depth, depth - next_depth, out=np.zeros_like(depth), where=crosses)
            crossing = points + share[:, None] * (following - points)
            crossing[:, axis] = bound
            kept = np.stack([depth >= 0, crosses], axis=1)
            points = np.stack([points, crossing], axis=1)[kept]
    return points


def draw(
    label: str, outlines: Sequence[Points], size: Size, what: str, fill: Callable[[list[Points], Size], Array]
) -> Shape:
    """Draws outlines in the smallest box from the image's upper left corner, whose origin rounding rests on.

    Args:
        label: of the shape.
        outlines: all that belong to it.
        size: of the image.
        what: where they are, for the error.
        fill: draws clipped outlines in a box of a height and width: (height, width), not 0 within.

    Raises:
        DataError: for outlines that are too long to be drawn.
    """
    clipped = [points for points in (clip_outline(outline, size) for outline in outlines) if len(points) >= _NEEDED]
    require_short(clipped, what)
    top, left, bottom, right = bound(clipped, size)
    if top >= bottom or left >= right:
        return Shape(label, np.zeros((0, 0), bool), 0, 0)
    mask = fill(clipped, (bottom, right))
    return Shape(label, mask[top:, left:] != 0, top, left)


def require_short(outlines: Sequence[Points], what: str) -> None:
    """Checks that outlines can be drawn.

    Raises:
        DataError: if they are longer than any real one.
    """
    steps = sum(float(np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum()) for points in outlines)
    if steps > _MOST_STEPS:
        raise DataError(f"{what}: an outline of {steps:.3g} pixels, more than can be drawn; simplify it")


def bound(outlines: Sequence[Points], size: Size) -> tuple[int, int, int, int]:
    """The rows and columns of an image that outlines touch, with a margin of a pixel: top, left, bottom, right."""
    if not outlines:
        return 0, 0, 0, 0
    least = np.min([points.min(axis=0) for points in outlines], axis=0)
    most = np.max([points.max(axis=0) for points in outlines], axis=0)
    limits = np.array(size[::-1])
    (left, top), (right, bottom) = (np.clip(at, 0, limits).astype(int) for at in (np.floor(least) - 1, most + 2))
    return int(top), int(left), int(bottom), int(right)


def fill_centres(label: str, rings: Sequence[Points], size: Size, what: str) -> Shape:
    """The pixels whose centre lies within an odd number of closed rings, so that a ring in another is a hole.

    A centre on an outline counts where the shape lies right of it or below: shapes that share an outline share no
    pixel, and leave none out.

    Args:
        label: of the shape.
        rings: each closed, its first point repeated at its end or not.
        size: of the image.
        what: where they are, for the error.

    Raises:
        DataError: for rings that are too long to be drawn.
    """
    rings = [ring for ring in rings if len(ring)]
    top, left, bottom, right = bound(rings, size)
    if top >= bottom or left >= right:
        return Shape(label, np.zeros((0, 0), bool), 0, 0)
    starts, ends = np.concatenate(rings), np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])
    # One direction for both shapes beside an outline, so that both round alike.
    upward = (starts[:, 1] > ends[:, 1])[:, None]
    (x0, y0), (x1, y1) = np.where(upward, ends, starts).T, np.where(upward, starts, ends).T
    # An edge crosses the centres of the rows from `first` to before `stop`.
    first, stop = (np.ceil(np.clip(y - 0.5, top, bottom)).astype(np.int64) for y in (y0, y1))
    lengths = stop - first
    if lengths.sum() > 10 * _MOST_STEPS:
        raise DataError(f"{what}: an outline of {lengths.sum():.3g} pixels, more than can be drawn; simplify it")
    # Each crossing changes all pixels from it to the right: uint8 wraps, and keeps what is odd.
    changes = np.zeros((bottom - top, right - left + 1), np.uint8)
    for part in _cut(lengths):
        count = lengths[part]
        edge = np.repeat(np.arange(part.start, part.stop), count)
        row = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + first[edge]
        share = (row + 0.5 - y0[edge]) / (y1[edge] - y0[edge])
        column = np.ceil(np.clip(x0[edge] + share * (x1[edge] - x0[edge]) - 0.5, left, right)).astype(np.int64)
        np.add.at(changes, (row - top, column - left), np.uint8(1))
    inside = np.cumsum(changes, axis=1, dtype=np.uint8)[:, :-1] & np.uint8(1)
    return Shape(label, inside.astype(bool), top, left)


def _cut(lengths: NDArray[np.int64]) -> list[slice]:
    """Runs of edges with about `_CHUNK` crossings each."""
    ends = np.cumsum(lengths)
    cuts = np.searchsorted(ends, np.arange(0, int(ends[-1]), _CHUNK), side="right")
    places = [*dict.fromkeys([0, *cuts.tolist(), len(lengths)])]
    return [slice(start, stop) for start, stop in pairwise(places)]


def join(shapes: Sequence[Shape]) -> Shape:
    """One shape of all the pixels of several, with the label of the first."""
    if len(shapes) == 1:
        return shapes[0]
    filled = [shape for shape in shapes if shape.mask.size]
    if not filled:
        return shapes[0]
    top, left = min(shape.top for shape in filled), min(shape.left for shape in filled)
    bottom = max(shape.top + shape.mask.shape[0] for shape in filled)
    right = max(shape.left + shape.mask.shape[1] for shape in filled)
    mask = np.zeros((bottom - top, right - left), bool)
    for shape in filled:
        view_of(mask, shape, top, left)[...] |= shape.mask
    return Shape(shapes[0].label, mask, top, left, shapes[0].silent)


def cut_out(shape: Shape, hole: Shape) -> None:
    """Takes the pixels of a hole out of a shape, in place."""
    tall, wide = shape.mask.shape
    top, left = max(hole.top, shape.top), max(hole.left, shape.left)
    bottom = min(hole.top + hole.mask.shape[0], shape.top + tall)
    right = min(hole.left + hole.mask.shape[1], shape.left + wide)
    if top < bottom and left < right:
        there = hole.mask[top - hole.top : bottom - hole.top, left - hole.left : right - hole.left]
        shape.mask[top - shape.top : bottom - shape.top, left - shape.left : right - shape.left] &= ~there


def view_of(mask: NDArray[np.bool_], shape: Shape, top: int, left: int) -> NDArray[np.bool_]:
    """The part of a mask that begins at `top` and `left` of an image, in which a shape of that image lies whole."""
    tall, wide = shape.mask.shape
    return mask[shape.top - top : shape.top - top + tall, shape.left - left : shape.left - left + wide]
