"""What happens to a training patch before the network sees it; the one seam to albumentations."""

import os
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

# It looks for updates when it is imported.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations

from unet_exp.config import AugmentationConfig


class Augmentation(Protocol):
    """Transforms a patch and all that is known of its pixels together."""

    def __call__(
        self, image: NDArray[np.float32], label: NDArray[np.uint8], seed: int, **maps: NDArray[Any]
    ) -> tuple[NDArray[Any], ...]:
        """Transforms one patch.

        Args:
            image: (S, S, C).
            label: (S, S) class indices.
            seed: of this one call; equal seeds give equal results.
            **maps: further (S, S) maps, such as per-pixel weights, moved like the label.

        Returns:
            Image, label and the maps in the order given.
        """


def _unchanged(
    image: NDArray[np.float32], label: NDArray[np.uint8], seed: int, **maps: NDArray[Any]
) -> tuple[NDArray[Any], ...]:
    del seed
    return (image, label, *maps.values())


class _Composed:
    def __init__(self, transforms: list[Any]) -> None:
        self._transforms = transforms
        self._compositions: dict[tuple[str, ...], Any] = {}

    def __call__(
        self, image: NDArray[np.float32], label: NDArray[np.uint8], seed: int, **maps: NDArray[Any]
    ) -> tuple[NDArray[Any], ...]:
        names = tuple(maps)
        if names not in self._compositions:
            self._compositions[names] = albumentations.Compose(
                self._transforms, additional_targets=dict.fromkeys(names, "mask")
            )
        composition = self._compositions[names]
        # Left to itself, every worker draws the same numbers and every epoch replays them.
        composition.set_random_seed(seed)
        moved = composition(image=image, mask=label, **maps)
        return (moved["image"], moved["mask"], *(moved[name] for name in names))


def build(config: AugmentationConfig) -> Augmentation:
    """The augmentation that the config names."""
    transforms: dict[str, list[Any]] = {"flips": [albumentations.D4(p=1.0)]}
    return _unchanged if config.name == "none" else _Composed(transforms[config.name])
