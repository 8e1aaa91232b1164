"""From shapes to masks: the index of a class, or the number of an object, in every pixel."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unet_exp.errors import DataError
from unet_exp.io.arrays import Array
from unet_exp.io.valid import Valid
from unet_exp.typed import dump_in_one_line

ANY = "*"
"""Stands for every label that has no class of its own."""
_MOST_NAMED = 12


class Shape(NamedTuple):
    """An object, or a part of one, in a box of an image.

    Attributes:
        label: what it is.
        mask: (h, w), True where it is; the box may go beyond the image.
        top: row of the image in which the box begins.
        left: its column, likewise.
        silent: whether its pixels say nothing whatever its label, as those of a crowd do.
    """

    label: str
    mask: NDArray[np.bool_]
    top: int
    left: int
    silent: bool = False


def paint(
    shapes: Iterable[Shape],
    size: tuple[int, int],
    labels: Mapping[str, int] | None,
    ignored: Collection[str] = (),
    path: str | Path = "masks",
    objects: Collection[str] | None = None,
) -> tuple[Array, Valid]:
    """Paints shapes, later ones over earlier ones.

    Args:
        shapes: in their order.
        size: height H and width W of the image.
        labels: the index of the class of each label, that of `ANY` for all others; None: objects are numbered.
        ignored: labels whose pixels say nothing.
        path: of their file, for the error.
        objects: the labels that are numbered, where objects are, and others are background; None: all.

    Returns:
        (H, W, 1) class indices, uint8 or, above 255, uint16, 0 where there is no shape; or the numbers of objects,
        int32, from 1 in their order. And the pixels (H, W) that say something, None for all: the last shape over a
        pixel decides that too.

    Raises:
        DataError: for a label that is neither in `labels` nor ignored.
    """
    wide = labels is not None and max(labels.values(), default=0) > np.iinfo(np.uint8).max
    mask = np.zeros((*size, 1), np.int32 if labels is None else np.uint16 if wide else np.uint8)
    silent: NDArray[np.bool_] | None = None
    count = 0
    for shape in shapes:
        says_nothing = shape.silent or shape.label in ignored
        value = 0
        if not says_nothing and labels is not None:
            if not {shape.label, ANY} & labels.keys():
                require_known({shape.label: 1}, labels, ignored, path)
            value = labels[shape.label] if shape.label in labels else labels[ANY]
        elif not says_nothing and (objects is None or shape.label in objects):
            count += 1
            value = count
        rows, columns, seen = _crop(shape, size)
        mask[rows, columns, 0][seen] = value
        if says_nothing and silent is None:
            silent = np.zeros(size, bool)
        if silent is not None:
            silent[rows, columns][seen] = says_nothing
    return mask, None if silent is None or not silent.any() else ~silent


def require_known(
    found: Mapping[str, int], labels: Mapping[str, int] | None, ignored: Collection[str], path: str | Path
) -> None:
    """Checks that each label has a class, or is ignored.

    Args:
        found: the labels of a file, and the number of their shapes.
        labels: see `paint`.
        ignored: see `paint`.
        path: of the file, for the error.

    Raises:
        DataError: with the words that give them classes.
    """
    if labels is None or ANY in labels:
        return
    has_class = {*labels, *ignored}
    unknown = [name for name in found if name not in has_class]
    if not unknown:
        return
    known = [name for name in found if name not in unknown]
    numbers = [f"{name} x {found[name]}" for name in [*unknown, *known][:_MOST_NAMED]]
    more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    shown = [name for name in found if name not in ignored][:_MOST_NAMED]
    classes = ", ".join(dump_in_one_line({"name": name.replace("/", "_"), "value": name}) for name in shown)
    first = dump_in_one_line(unknown[0])
    raise DataError(
        f"{path}: its labels are {', '.join(numbers)}{more} (label x shapes), and {first} has no class: type "
        f"data.classes='[{{name: background, value: 0}}, {classes}{', ...' * bool(more)}]'; also: [{first}] of another "
        f"class joins them, of the background leaves them out, and data.ignore='[{first}]' ignores them"
    )


def _crop(shape: Shape, size: tuple[int, int]) -> tuple[slice, slice, NDArray[np.bool_]]:
    """The rows and columns of an image in which a shape is, and its pixels there."""
    (height, width), (tall, wide) = size, shape.mask.shape
    top, left = max(shape.top, 0), max(shape.left, 0)
    bottom, right = max(min(shape.top + tall, height), top), max(min(shape.left + wide, width), left)
    seen = shape.mask[top - shape.top : bottom - shape.top, left - shape.left : right - shape.left]
    return slice(top, bottom), slice(left, right), seen
