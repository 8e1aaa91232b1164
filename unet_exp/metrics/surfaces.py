"""Distances between the surfaces of two masks: Hausdorff 95, average surface distance, surface Dice.

Definitions as in Metrics Reloaded (Maier-Hein, Reinke et al., Nature Methods 21, 2024) and MONAI:

- The surface of a mask is its pixels with an edge on the outside (4-connected); beyond the image is outside.
- Of each pixel of one surface the distance to the nearest pixel of the other counts, in both directions, centre to
  centre. Pixels count alike, whatever the length of the surface that passes through them.
- Ignored pixels belong to neither mask: both are cut off there, and where they agree the cut has the distance 0.
"""

import math
from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from unet_exp.config import IGNORE_LABEL


class Scale(NamedTuple):
    """In what distances are measured.

    Attributes:
        pixel_size: height and width of a pixel.
        tolerance: of the surface Dice, in the same unit.
        unit: for people.
        note: why these are pixels though files declare sizes; else empty.
    """

    pixel_size: tuple[float, float] = (1.0, 1.0)
    tolerance: float = 1.0
    unit: str = "pixels"
    note: str = ""

    @classmethod
    def of(cls, typed: float | list[float] | Literal["pixels"] | None, declared: "Scale | None" = None) -> "Scale":
        """The scale of `data.pixel_size`; `declared` is that of the files, for None."""
        if typed is None:
            return declared or cls()
        if typed == "pixels":
            return cls()
        height, width = typed if isinstance(typed, list) else (typed, typed)
        size = f"{height:g}" if height == width else f"[{height:g},{width:g}]"
        return cls((height, width), max(height, width), f"the unit of data.pixel_size={size}")

    def tolerate(self, tolerance: float | None) -> "Scale":
        """The same with `metrics.tolerance`, of which None is the longer side of a pixel."""
        return self if tolerance is None else self._replace(tolerance=tolerance)


PIXELS = Scale()
"""Where no size of a pixel is known."""


class Distances(NamedTuple):
    """From each pixel of a surface to the other surface.

    Attributes:
        of_truth: (N,) of the true one; infinite where the other mask is empty.
        of_prediction: (M,) of the predicted one, likewise.
        tolerance: of the surface Dice.
    """

    of_truth: NDArray[np.float64]
    of_prediction: NDArray[np.float64]
    tolerance: float

    @property
    def is_undefined(self) -> bool:
        """Whether one of the masks is empty and the other is not: then no distance is defined."""
        return (self.of_truth.size == 0) != (self.of_prediction.size == 0)


def find_distances(
    truth: NDArray[np.uint8], prediction: NDArray[np.uint8], index: int, scale: Scale | None = None
) -> Distances:
    """The distances between the surfaces of a class.

    Only the box around both masks is looked at. The memory holds one map of distances of it at a time: 4 bytes a pixel
    where pixels are square, else 16.

    Args:
        truth: (H, W) class indices, ignored pixels included.
        prediction: (H, W) class indices.
        index: of the class.
        scale: None measures in pixels.

    Raises:
        ValueError: for shapes that differ.
    """
    if truth.ndim != 2 or truth.shape != prediction.shape:
        raise ValueError(f"truth {truth.shape} and prediction {prediction.shape} must have one shape (H, W)")
    scale = scale or Scale()
    one = truth == index
    other = (prediction == index) & (truth != IGNORE_LABEL)
    box = _box(one | other)
    surfaces = _surface(one[box]), _surface(other[box])
    if not all(surface.any() for surface in surfaces):
        far = [np.full(np.count_nonzero(surface), math.inf) for surface in surfaces]
        return Distances(far[0], far[1], scale.tolerance)
    first, second = surfaces
    there, back = _to_nearest(first, second, scale.pixel_size), _to_nearest(second, first, scale.pixel_size)
    return Distances(there, back, scale.tolerance)


def hausdorff95(found: Distances) -> float:
    """The larger of the two directions' 95th percentiles (linear between ranks); nan where a mask is empty.

    Huttenlocher, Klanderman and Rucklidge, IEEE PAMI 15, 1993: the Hausdorff distance, without the most distant 5 %.
    """
    if not found.of_truth.size or not found.of_prediction.size:
        return math.nan
    return float(max(np.percentile(found.of_truth, 95), np.percentile(found.of_prediction, 95)))


def surface_distance(found: Distances) -> float:
    """The average symmetric surface distance: the mean over the pixels of both surfaces; nan where a mask is empty.

    Heimann et al., IEEE TMI 28, 2009.
    """
    if not found.of_truth.size or not found.of_prediction.size:
        return math.nan
    count = found.of_truth.size + found.of_prediction.size
    return float((found.of_truth.sum() + found.of_prediction.sum()) / count)


def surface_dice(found: Distances) -> float:
    """The share of the pixels of both surfaces that lie within the tolerance of the other; nan where both are empty.

    Nikolov et al., arXiv 1809.04430, 2018. Where one mask is empty no pixel lies near the other surface: 0.
    """
    count = found.of_truth.size + found.of_prediction.size
    if not count:
        return math.nan
    limit = found.tolerance * (1 + 1e-6)  # the map of distances is float32
    return float((np.sum(found.of_truth <= limit) + np.sum(found.of_prediction <= limit)) / count)


def _box(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """The rows and columns that hold all of a mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return slice(0, 0), slice(0, 0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _surface(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels of a mask with an edge on the outside; what lies beyond the array is outside."""
    inner = mask.copy()
    for at, of in ((np.s_[1:], np.s_[:-1]), (np.s_[:-1], np.s_[1:])):
        inner[at] &= mask[of]
        inner[:, at] &= mask[:, of]
    for edge in (np.s_[:1], np.s_[-1:]):
        inner[edge] = False
        inner[:, edge] = False
    surface: NDArray[np.bool_] = mask & ~inner
    return surface


def _to_nearest(
    start: NDArray[np.bool_], target: NDArray[np.bool_], pixel_size: tuple[float, float]
) -> NDArray[np.float64]:
    """(N,): from each pixel of one surface to the nearest of the other."""
    if pixel_size[0] == pixel_size[1]:
        # OpenCV's transform is exact, of square pixels, and ten times faster.
        far = cv2.distanceTransform((~target).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        # Its last digits depend on where the array lies in memory; the squares are whole numbers.
        found: NDArray[np.float64] = np.sqrt(np.rint(far[start].astype(np.float64) ** 2)) * pixel_size[0]
    else:
        found = ndimage.distance_transform_edt(~target, sampling=pixel_size)[start]
    return found
