"""A user's own augmentation."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unet_exp.config.augmentation import CustomAugmentationConfig
from unet_exp.errors import ConfigError
from unet_exp.user_class import build_custom, describe_error

_ROTATED = (2**0.5 - 1) / 2
"""What a rotated square needs around it, of its side."""


class CustomTransform:
    """Calls an object of the user's class; see `unet_exp.augmentation.on_cut.CutTransform`.

    It is called as `own(image, maps, random)` and returns image and maps. The maps are of types that OpenCV can move:
    the label uint8, ids and weights float32 (ids as 0, 1, 2 ... in the order of the real ones), and the last uint8. An
    object whose `moves_pixels` is False is given no maps.

    Args:
        config: names the class; it is built with `params`.

    Raises:
        ConfigError: if it cannot be imported or does not fit.
    """

    def __init__(self, config: CustomAugmentationConfig) -> None:
        self._where = f"augmentation.target={config.target}"
        methods = {"__call__": ("image", "maps", "random")}
        self._own = build_custom("augmentation", config.target, config.params or {}, methods)
        self.moves = bool(getattr(self._own, "moves_pixels", True))
        self.deforms = self.moves

    def find_margin(self, side: int) -> int:
        """See `CutTransform`: enough for any rotation."""
        return int(np.ceil(side * _ROTATED)) if self.moves else 0

    def __call__(
        self, image: NDArray[Any], maps: Sequence[NDArray[Any]], seed: int
    ) -> tuple[NDArray[Any], list[NDArray[Any]]]:
        """See `CutTransform`.

        Raises:
            ConfigError: for a result of another shape or type.
        """
        simple = [_simplify(one) for one in maps]
        given, numbers = [one for one, _ in simple], [ids for _, ids in simple]
        kept = image.copy()
        try:
            found = self._own(image.copy(), [one.copy() for one in given], np.random.default_rng(seed))
        except Exception as error:  # whatever the user's code does
            shape = " x ".join(map(str, image.shape))
            raise ConfigError(
                f"{self._where}: calling it on an image of {shape} ({image.dtype}) and {len(given)} maps raises "
                f"{describe_error(error)}"
            ) from error
        changed, moved = self._check(found, kept, given)
        for index, (one, ids) in enumerate(zip(moved, numbers, strict=True)):
            if ids is not None:
                moved[index] = self._name_ids(index, one, ids)
        return changed, moved

    def _name_ids(self, index: int, one: NDArray[Any], ids: NDArray[Any]) -> NDArray[Any]:
        """The ids of a moved map of their numbers."""
        places = np.rint(one).astype(np.intp)
        if (places != one).any() or places.min() < 0 or places.max() >= len(ids):
            raise ConfigError(
                f"{self._where}: it returns values in maps[{index}] that were not there; move maps by their nearest "
                "pixels (cv2.INTER_NEAREST), and set what is made up to 0"
            )
        found: NDArray[Any] = ids.take(places)
        return found

    def _check(
        self, found: Any, image: NDArray[Any], maps: Sequence[NDArray[Any]]
    ) -> tuple[NDArray[Any], list[NDArray[Any]]]:
        if not isinstance(found, tuple) or len(found) != 2:
            raise ConfigError(f"{self._where}: it must return (image, maps), not {type(found).__name__}")
        changed, moved = found
        if not isinstance(moved, list | tuple) or len(moved) != len(maps):
            count = len(moved) if isinstance(moved, list | tuple) else type(moved).__name__
            raise ConfigError(f"{self._where}: it is given {len(maps)} maps and must return as many, not {count}")
        for name, before, now in zip(
            ("the image", *(f"maps[{number}]" for number in range(len(maps)))),
            (image, *maps),
            (changed, *moved),
            strict=True,
        ):
            if not isinstance(now, np.ndarray) or now.shape != before.shape or now.dtype != before.dtype:
                is_array = isinstance(now, np.ndarray)
                what = f"{now.dtype} {now.shape}" if is_array else f"a {type(now).__name__}"
                raise ConfigError(
                    f"{self._where}: it must return {name} as {before.dtype} {before.shape}, as it is given, not {what}"
                )
        return changed, [np.ascontiguousarray(one) for one in moved]


def _simplify(one: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """A map of a type that OpenCV moves, and what its numbers stand for."""
    if one.dtype in (np.uint8, np.float32):
        return one, None
    ids, numbers = np.unique(np.append(one.ravel(), one.dtype.type(0)), return_inverse=True)
    zero = int(np.searchsorted(ids, 0))
    # 0 stays 0, as what is not there.
    order = np.append(ids[zero], np.delete(ids, zero))
    places = np.empty(len(ids), np.intp)
    places[np.append(zero, np.delete(np.arange(len(ids)), zero))] = np.arange(len(ids))
    return places[numbers[:-1]].reshape(one.shape).astype(np.float32), order
