"""Made-up images whose pixels say where they come from."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unet_exp.augmentation import Window
from unet_exp.samples.sample import ImagesInMemory, Sample

Array = NDArray[Any]


def ramps(height: int, width: int) -> NDArray[np.float32]:
    """(H, W, 2): each pixel is its own row and column."""
    return np.stack(np.mgrid[:height, :width], axis=-1).astype(np.float32)


def numbers(height: int, width: int) -> NDArray[np.int32]:
    """(H, W): each pixel has a number of its own."""
    return np.arange(height * width, dtype=np.int32).reshape(height, width)


def smooth(height: int, width: int, channels: int = 1) -> NDArray[np.float32]:
    """(H, W, C) of some waves, their gradient at most 0.2 a pixel."""
    rows, columns, channel = np.ogrid[:height, :width, :channels]
    return (np.sin(rows / 9 + channel) * np.cos(columns / 11 - channel) + 0.3 * np.sin(columns / 7)).astype(np.float32)


def noise(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def reflect(image: Array, window: Window) -> Array:
    """The window by `numpy.pad`."""
    reach = [
        (max(0, -start), max(0, start + window.size - size))
        for start, size in zip((window.top, window.left), image.shape, strict=False)
    ]
    padded = np.pad(image, [*reach, *[(0, 0)] * (image.ndim - 2)], mode="reflect")
    top, left = window.top + reach[0][0], window.left + reach[1][0]
    return padded[top : top + window.size, left : left + window.size]


def in_memory(samples: Sequence[Sample]) -> ImagesInMemory:
    """Samples as the images of a data set with as many classes as a label can have."""
    return ImagesInMemory(samples, 254)
