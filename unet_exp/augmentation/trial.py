"""Tries what a user has chosen once, on made-up pixels of the type of the data, before a training starts."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unet_exp.augmentation.on_cut import COUNTS, CutAugmentation, CutTransform
from unet_exp.augmentation.protocol import Augmentation
from unet_exp.config import AugmentationConfig
from unet_exp.config.augmentation import AlbumentationsConfig, CustomAugmentationConfig
from unet_exp.config.transforms import list_leaves
from unet_exp.errors import ConfigError, UserError

_VALUES = (3, 60, 140, 200)
"""Of the label that is tried."""


def try_augmentation(
    config: AugmentationConfig, augmentation: Augmentation, side: int, channels: int, dtype: np.dtype[Any]
) -> None:
    """Calls what a user has chosen as a training does.

    Args:
        config: of the augmentation.
        augmentation: built of it.
        side: of the network's input, pixels.
        channels: of the images.
        dtype: of the images, as stored.

    Raises:
        ConfigError: if a transform raises anything, changes sizes, types or values of maps that it must not, or gives
            other results for equal seeds.
    """
    if not isinstance(augmentation, CutAugmentation):
        return
    side = augmentation.find_side(side)
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (side, side, channels), np.uint8)
    if dtype != np.uint8:
        image = image.astype(np.float32) / 255
    if isinstance(config, CustomAugmentationConfig):
        transform = augmentation.transform
        _try_one(f"augmentation.target={config.target}", transform, image)
        return
    from unet_exp.augmentation.listed import ListedTransforms

    if isinstance(config, AlbumentationsConfig):
        leaves = list_leaves(config.transforms, "augmentation.transforms")
    else:
        leaves = list_leaves(config.then, "augmentation.then")
    for where, entry in leaves:
        _try_one(f"{where}: {entry['name']}", ListedTransforms([{**entry, "p": 1.0}], where), image)


def _try_one(where: str, transform: CutTransform, image: NDArray[Any]) -> None:
    random, side = np.random.default_rng(1), len(image)
    label = np.array(_VALUES, np.uint8)[random.integers(0, len(_VALUES), (side // 8 + 1,) * 2)]
    label = label.repeat(8, axis=0).repeat(8, axis=1)[:side, :side].copy()
    maps: list[NDArray[Any]] = []
    if transform.moves:
        maps = [label, label.astype(np.int32) * 1000, np.full((side, side), COUNTS, np.uint8)]
    what = f"images of {side} x {side} px with {image.shape[2]} channel{'s' * (image.shape[2] > 1)} ({image.dtype})"
    try:
        (changed, moved), (again, moved_again) = (transform(image, maps, seed=1) for _ in range(2))
    except UserError:
        raise
    except Exception as error:  # whatever the library does
        first = (str(error).splitlines() or [""])[0]
        raise ConfigError(f"{where} does not take {what}: {type(error).__name__}: {first}") from error
    if changed.shape != image.shape or changed.dtype != image.dtype:
        raise ConfigError(
            f"{where} makes {changed.dtype} {changed.shape} of {what}; a patch must keep its size, type and channels"
        )
    if not np.isfinite(changed).all():
        raise ConfigError(f"{where} makes values of {what} that are no numbers")
    pairs = zip((changed, *moved), (again, *moved_again), strict=True)
    if not all(np.array_equal(one, other) for one, other in pairs):
        raise ConfigError(
            f"{where} gives other results for equal seeds, so that no run could be repeated or resumed; all its random "
            "numbers must come from the generator that it is given"
        )
    if moved and set(np.unique(moved[1]).tolist()) - {0, *np.unique(maps[1]).tolist()}:
        raise ConfigError(f"{where} mixes values of maps; they must be moved by their nearest pixels")
