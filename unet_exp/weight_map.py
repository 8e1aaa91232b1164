"""The paper's weight map (section 3): a pixel near to two cells counts more."""

from math import log, sqrt
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from unet_exp.cell_distances import find_two_squares
from unet_exp.config import IGNORE_LABEL

Label = NDArray[np.uint8]
Instances = NDArray[np.int32]
Part = tuple[slice, slice]
"""Rows and columns of an array."""
ALL: Part = slice(None), slice(None)

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
    instances: Instances,
    w0: float,
    sigma: float,
    where: Literal["background", "everywhere"],
    part: Part = ALL,
) -> NDArray[np.float32]:
    """The distance term of the weight map: w0 exp(-(d1 + d2)^2 / (2 sigma^2)) (paper, section 3, equation 2).

    d1 and d2 are the Euclidean distances, in pixels, to the nearest pixel of the nearest and of the second-nearest
    cell; within a cell its own distance is 0. With fewer than two cells the term is 0.

    Args:
        instances: (H, W) ids of at least 0, 0 = none; they may have gaps.
        w0: the largest weight, at least 0.
        sigma: in pixels, above 0.
        where: `background`: 0 within cells; `everywhere`: the formula.
        part: the pixels that get a weight; those around are only looked at. What lies `reach` or farther from it
            changes nothing.

    Returns:
        (H, W) of the part, 0 .. w0; values below 1e-6 are 0.
    """
    inside = instances[part]
    weights = np.zeros(inside.shape, np.float32)
    farthest = reach(w0, sigma)
    if farthest <= 1:  # d1 + d2 is never less
        return weights
    wanted = np.zeros(instances.shape, np.bool_)
    wanted[part] = where == "everywhere" or inside == 0
    first, second = np.sqrt(find_two_squares(instances, wanted, farthest)).astype(np.float32, copy=False)
    total = first + second
    near = total < farthest
    values = np.zeros_like(total)
    values[near] = w0 * np.exp(-0.5 * (total[near] / sigma) ** 2)
    weights[wanted[part]] = values
    return weights
