"""Scenes that a network can learn in a few steps: ellipses on a ground, seen with noise."""

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.uint8]
Image = NDArray[Any]

SIDE = 48


class Scene(NamedTuple):
    """What is to be learnt.

    Attributes:
        label: (H, W) the class of each pixel, 0 for the ground.
        objects: (H, W) the number of the object there, 1..n, 0 for the ground.
    """

    label: Map
    objects: Map


def draw_scene(seed: int, height: int = SIDE, width: int = SIDE, classes: int = 2, count: int = 6) -> Scene:
    """Draws ellipses that may touch, of all classes in turn.

    Args:
        seed: another one, another scene.
        height: in pixels.
        width: in pixels.
        classes: with the ground.
        count: of ellipses, fewer than 256.
    """
    random = np.random.default_rng(seed)
    label, objects = np.zeros((2, height, width), np.uint8)
    for number in range(1, count + 1):
        middle = [int(random.integers(4, size - 4)) for size in (width, height)]
        axes = random.integers(4, max(6, min(height, width) // 6), 2).tolist()
        drawn = cv2.ellipse(np.zeros_like(label), middle, axes, int(random.integers(180)), 0, 360, 1, -1)
        free = (drawn == 1) & (objects == 0)
        objects[free], label[free] = number, 1 + (number - 1) % (classes - 1)
    return Scene(label, objects)


def draw_volume(seed: int, depth: int, height: int, width: int, classes: int = 2) -> Map:
    """Draws a volume (depth, height, width) of classes: a scene that shrinks towards both ends."""
    label = draw_scene(seed, height, width, classes).label
    slices: list[Map] = []
    for place in range(depth):
        side = 1 + 2 * round(2 * abs(place - depth // 2) / depth)
        slices.append(cv2.erode(label, np.ones((side, side), np.uint8)).astype(np.uint8))
    return np.stack(slices)


def see(label: Map, seed: int, channels: int = 3, low: float = 0, high: float = 255, dtype: Any = np.uint8) -> Image:
    """Makes an image of a map of classes: a colour a class, and noise.

    Args:
        label: (...) any shape.
        seed: of the noise.
        channels: 0 for an image without an axis of channels.
        low: the darkest value.
        high: the brightest.
        dtype: of the result, which is rounded unless it is of floats.

    Returns:
        (..., channels), or (...).
    """
    colors = np.random.default_rng(channels).uniform(0.2, 0.8, (256, max(1, channels)))
    seen = colors[label] + np.random.default_rng(seed).normal(0, 0.05, (*label.shape, max(1, channels)))
    values = low + (high - low) * seen.clip(0, 1)
    image = values.astype(dtype) if np.dtype(dtype).kind == "f" else values.round().astype(dtype)
    return image if channels else image[..., 0]
