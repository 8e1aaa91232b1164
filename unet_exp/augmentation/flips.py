"""No augmentation at all, and flips with quarter turns."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unet_exp.augmentation.protocol import Window
from unet_exp.mirror import Pixels, mirror_window

# In this order albumentations' D4 has them, and draws from them: it was used before, and took as long to import as
# all of the rest of a training.
_TURNS: tuple[Callable[[NDArray[Any]], NDArray[Any]], ...] = (
    lambda pixels: pixels,
    lambda pixels: np.rot90(pixels, 1),
    lambda pixels: np.rot90(pixels, 2),
    lambda pixels: np.rot90(pixels, 3),
    np.flipud,
    lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
    np.fliplr,
    lambda pixels: pixels.swapaxes(0, 1),
)


class Unchanged:
    """Cuts the window as it is."""

    deforms = False

    def __call__(self, image: Pixels, window: Window, seed: int, *maps: Pixels) -> tuple[NDArray[Any], ...]:
        """See `Augmentation`."""
        del seed
        patch = mirror_window(image, window.top, window.left, window.size, window.size)
        top, left, side = window.top - window.surround, window.left - window.surround, window.size + 2 * window.surround
        return patch, *(mirror_window(one, top, left, side, side) for one in maps)


class Flips:
    """Cuts the window and turns it into one of its eight mirror images and quarter turns."""

    deforms = False

    def __call__(self, image: Pixels, window: Window, seed: int, *maps: Pixels) -> tuple[NDArray[Any], ...]:
        """See `Augmentation`."""
        turn = _TURNS[np.random.default_rng(seed).integers(len(_TURNS))]
        return tuple(np.ascontiguousarray(turn(cut)) for cut in Unchanged()(image, window, seed, *maps))
