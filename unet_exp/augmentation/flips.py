"""No augmentation at all, and flips with quarter turns; the one seam to albumentations."""

import os
from typing import Any

from numpy.typing import NDArray

from unet_exp.augmentation.protocol import Window
from unet_exp.mirror import Pixels, mirror_window

# It looks for updates when it is imported.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations


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

    def __init__(self) -> None:
        # Maps may be smaller or larger than the image.
        self._turn = albumentations.Compose([albumentations.D4(p=1.0)], is_check_shapes=False)

    def __call__(self, image: Pixels, window: Window, seed: int, *maps: Pixels) -> tuple[NDArray[Any], ...]:
        """See `Augmentation`."""
        patch, *cut = Unchanged()(image, window, seed, *maps)
        # A target of its own for each map: a list of masks would be stacked, and made one type.
        named = {f"map{index}": one for index, one in enumerate(cut)}
        self._turn.add_targets(dict.fromkeys(named, "mask"))
        # Left to itself, every worker draws the same numbers and every epoch replays them.
        self._turn.set_random_seed(seed)
        turned = self._turn(image=patch, **named)
        return (turned["image"], *(turned[name] for name in named))
