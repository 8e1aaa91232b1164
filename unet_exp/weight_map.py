"""The paper's weight map (section 3): a pixel near to two cells counts more."""

from math import log, sqrt
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from unet_exp.config import IGNORE_LABEL

Label = NDArray[np.uint8]
Instances = NDArray[np.int32]

_NEGLIGIBLE = 1e-6


def find_instances(label: Label) -> Instances:
    """Finds the cells of a semantic label: the 4-connected components of its foreground.

    Args:
        label: (H, W) class indices.

    Returns:
        (H, W), ids from 1; 0 where the label is background (class 0) or ignored.
    """
    inside = (label != 0) & (label != IGNORE_LABEL)
    instances: Instances = cv2.connectedComponents(inside.astype(np.uint8), connectivity=4, ltype=cv2.CV_32S)[1]
    return instances


def open_touching(label: Label, instances: Instances) -> tuple[Label, Instances]:
    """Opens a line of background, one pixel wide, between instances that touch, as the authors' later code does.

    Args:
        label: (H, W) class indices.
        instances: (H, W) ids, 0 = none.

    Returns:
        Copies of both, in which no two ids are 8-neighbours; an ignored pixel of the label stays ignored.
    """
    separate = instances.copy()
    # One direction after the other, so that pixels which are separate already both stay: all at once, an upright border
    # would lose a pixel on either side.
    for down, right in ((1, 0), (0, 1), (1, 1), (1, -1)):
        rows, columns = separate.shape
        here = separate[: rows - down, max(0, -right) : columns - max(0, right)]
        there = separate[down:, max(0, right) : columns - max(0, -right)]
        here[(here != there) & (here != 0) & (there != 0)] = 0
    opened = (separate != instances) & (label != IGNORE_LABEL)
    return np.where(opened, np.uint8(0), label), separate


def reach(w0: float, sigma: float) -> float:
    """The d1 + d2, in pixels, from which `border_term` is 0: there the formula is below 1e-6."""
    return sigma * sqrt(2 * log(max(1.0, w0 / _NEGLIGIBLE)))


def border_term(
    instances: Instances, w0: float, sigma: float, where: Literal["background", "everywhere"]
) -> NDArray[np.float32]:
    """The distance term of the weight map: w0 exp(-(d1 + d2)^2 / (2 sigma^2)) (paper, section 3, equation 2).

    d1 and d2 are the Euclidean distances, in pixels, to the nearest pixel of the nearest and of the second-nearest
    cell; within a cell its own distance is 0. With fewer than two cells the term is 0.

    Args:
        instances: (H, W) ids of at least 0, 0 = none; they may have gaps.
        w0: the largest weight, at least 0.
        sigma: in pixels, above 0.
        where: `background`: 0 within cells; `everywhere`: the formula.

    Returns:
        (H, W), 0 .. w0; values below 1e-6 are 0.
    """
    weights = np.zeros(instances.shape, np.float32)
    farthest = reach(w0, sigma)
    if farthest <= 1:  # d1 + d2 is never less
        return weights
    # On background d1 is at least 1, which leaves 1 less for d2.
    margin = farthest - 1 if where == "background" else farthest
    first, second = _two_distances(instances, int(min(margin, sum(instances.shape))))
    near = first + second < farthest + 1  # few pixels are: compute only these
    if where == "background":
        near &= instances == 0
    # OpenCV's last bit depends on where the array lies in memory; the squares are whole numbers.
    total = np.sqrt(np.rint(first[near] ** 2)) + np.sqrt(np.rint(second[near] ** 2))
    weights[near] = np.where(total < farthest, w0 * np.exp(-0.5 * (total / sigma) ** 2), 0)
    return weights


def _two_distances(instances: NDArray[Any], margin: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The distances (H, W) to the nearest and to the second-nearest cell; those above `margin` may be too large.

    One transform a cell, on its bounding box and a margin around it: full-size ones take some 40 times as long.
    """
    nearest, second = (np.full(instances.shape, np.inf, np.float32) for _ in range(2))
    if instances.max(initial=0) > instances.size:  # `find_objects` makes a list as long as the largest id
        instances = np.searchsorted(np.unique(np.append(instances, 0)), instances)
    for number, box in enumerate(ndimage.find_objects(instances), start=1):
        if box is None:
            continue
        window = tuple(slice(max(0, side.start - margin), side.stop + margin) for side in box)
        outside = (instances[window] != number).view(np.uint8)
        distance = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        first, other = nearest[window], second[window]
        np.minimum(other, np.maximum(first, distance), out=other)
        np.minimum(first, distance, out=first)
    return nearest, second
