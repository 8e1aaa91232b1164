"""Where the axes of a file lead, as far as it says: those of a volume in the patient."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unet_exp.errors import DataError

Vector = tuple[float, float, float]
"""Of length 1, its parts to the right, the front and the head of the patient."""

_ENDS = (("left", "right"), ("back", "front"), ("feet", "head"))
_ALIKE = 0.5
"""Least cosine between axes of one direction: they differ by up to 60 degrees."""


class Directions(NamedTuple):
    """Where columns (x), rows (y) and slices (z) of a volume lead; None where its file does not say."""

    x: Vector | None = None
    y: Vector | None = None
    z: Vector | None = None

    @classmethod
    def of(cls, axes: Sequence[Sequence[float] | NDArray[np.float64] | None]) -> "Directions":
        """Those of three vectors (right, front, head) of any length; one of no length says nothing."""
        return cls(*map(_normalize, axes))

    def lead_elsewhere(self, other: "Directions") -> bool:
        """Whether an axis is flipped, or exchanged with one of another; small angles pass, as do unknown axes."""
        pairs = [(one, two) for one, two in zip(self, other, strict=True) if one is not None and two is not None]
        return any(np.dot(one, two) < _ALIKE for one, two in pairs)

    def describe(self) -> str:
        """In words, the nearest ends of the patient: `left, back, head`."""
        return ", ".join(_name_end(axis) for axis in self if axis is not None)


NOWHERE = Directions()
"""A file says nothing."""


def check_directions(path: Path, found: Directions, image: Path, expected: Directions) -> None:
    """Checks that the axes of a file lead where those of the image do to which it belongs.

    Small differences of angle pass, as do axes of which one of the files says nothing.

    Args:
        path: the file.
        found: its directions.
        image: the image's file.
        expected: the directions of the image.

    Raises:
        DataError: for axes that are flipped or exchanged: pixels would be put on others than their own.
    """
    if found.lead_elsewhere(expected):
        raise DataError(
            f"{path}: its columns, rows and slices lead to the patient's {found.describe()}, and those of its image "
            f"{image} to the {expected.describe()}: it would lie on it flipped or turned; export both by one program, "
            "such as dcm2niix, or put it onto the grid of the image"
        )


def _normalize(axis: Sequence[float] | NDArray[np.float64] | None) -> Vector | None:
    vector = np.zeros(3) if axis is None else np.asarray(axis, np.float64)
    length = float(np.linalg.norm(vector))
    if not np.isfinite(length) or length == 0:
        return None
    first, second, third = (vector / length).tolist()
    return first, second, third


def _name_end(axis: Vector) -> str:
    nearest = int(np.argmax(np.abs(axis)))
    return _ENDS[nearest][axis[nearest] > 0]
