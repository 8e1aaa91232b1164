"""Transforms of a part of an image as it is stored, which is cut larger than the patch: lists of words, own classes.

Shapes: S side of what is cut, C channels.
"""

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from unet_exp.augmentation.flips import Unchanged
from unet_exp.augmentation.protocol import Augmentation, StoredImage, Window
from unet_exp.config.values import IGNORE_LABEL
from unet_exp.mirror import Pixels

INVENTED, OUTSIDE, COUNTS = 0, 1, 2
"""Values of the map that says what a pixel is: made up, beyond the image's border, or one that counts."""

_STREAM = 1
"""Number of the random numbers of transforms after another augmentation, whose own come from the seed."""


class CutTransform(Protocol):
    """Changes what is cut."""

    @property
    def moves(self) -> bool:
        """Whether it changes maps, too."""

    @property
    def deforms(self) -> bool:
        """See `Augmentation`."""

    def find_margin(self, side: int) -> int:
        """Pixels around a square of this side that it brings in."""

    def __call__(
        self, image: NDArray[Any], maps: Sequence[NDArray[Any]], seed: int
    ) -> tuple[NDArray[Any], list[NDArray[Any]]]:
        """Transforms an image and its maps.

        Args:
            image: (S, S, C) uint8, or float32 in 0 .. 1; not changed in place.
            maps: (S, S) each: first the label, last what each pixel is (`COUNTS` ...), between them maps whose 0 is
                nothing; none where it does not move.
            seed: of this call.

        Returns:
            The same, of the same shapes and types.
        """


class CutAugmentation:
    """Cuts patches for a transform.

    A pixel that the transform invents counts as one without data: 0 in the network's input, and ignored.

    Args:
        transform: what is done.
        context: pixels that are cut around; `auto`: as the transform needs.
        outside: whether the label beyond the image's border is ignored, or mirrored as the image is.
        first: an augmentation before it; what that brings in from beyond the border is mirrored.
    """

    def __init__(
        self,
        transform: CutTransform,
        context: int | Literal["auto"] = "auto",
        outside: Literal["ignore", "mirror"] = "mirror",
        first: Augmentation | None = None,
    ) -> None:
        self.transform = transform
        self._context = context
        self._outside = outside
        self._first = first

    @property
    def deforms(self) -> bool:
        """See `Augmentation`."""
        return self.transform.deforms or (self._first is not None and self._first.deforms)

    def find_side(self, side: int) -> int:
        """The side of what is cut for a patch of some side, pixels."""
        margin = self.transform.find_margin(side) if self._context == "auto" else self._context
        return side + 2 * margin

    def __call__(self, image: Pixels, window: Window, seed: int, *maps: Pixels) -> tuple[NDArray[Any], ...]:
        """See `Augmentation`; the image must be a `StoredImage`."""
        assert isinstance(image, StoredImage)
        around = (self.find_side(window.side) - window.size) // 2
        wide = window
        if self.transform.moves:
            wide = Window(window.top - around, window.left - around, window.size + 2 * around)
        valid = () if image.valid is None else (image.valid,)
        if valid and not self.transform.moves:  # of all of the square, which the label may not cover
            wide = wide._replace(surround=max(0, wide.surround))
        pixels, moved = self._cut(image, wide, seed, (*maps, *valid))
        places = self._describe(image.shape, wide)
        later = seed if self._first is None else int(np.random.default_rng([seed, _STREAM]).integers(2**31))
        if self.transform.moves:
            pixels, (*moved, places) = self.transform(pixels, [*moved, places], later)
        else:
            pixels, _ = self.transform(pixels, [], later)
        return self._finish(image, window, pixels, moved, places)

    def _cut(
        self, image: StoredImage, window: Window, seed: int, maps: tuple[Pixels, ...]
    ) -> tuple[NDArray[Any], list[NDArray[Any]]]:
        if self._first is None:
            pixels, *cut = Unchanged()(image, window, seed, *maps)
            return pixels, cut
        patch, *cut = self._first(image.normalized, window, seed, *maps)
        return image.restore(patch), cut

    def _describe(self, shape: tuple[int, ...], window: Window) -> NDArray[np.uint8]:
        """What each pixel of the maps is."""
        side = window.size + 2 * window.surround
        found = np.full((side, side), COUNTS, np.uint8)
        if self._outside == "ignore":
            top, left = window.top - window.surround, window.left - window.surround
            rows, columns = top + np.arange(side), left + np.arange(side)
            found[(rows < 0) | (rows >= shape[0])] = OUTSIDE
            found[:, (columns < 0) | (columns >= shape[1])] = OUTSIDE
        return found

    def _finish(
        self,
        image: StoredImage,
        window: Window,
        pixels: NDArray[Any],
        moved: list[NDArray[Any]],
        places: NDArray[np.uint8],
    ) -> tuple[NDArray[Any], ...]:
        """Takes the middle of all that was cut, and sets what does not count."""
        patch = image.normalize(_take_middle(pixels, window.size))
        gone = places == INVENTED
        if image.valid is not None:
            gone |= moved.pop() == 0
        if gone.any():  # only the maps that cover the square may have any
            patch[_take_middle(gone, window.size)] = 0
        side = window.size + 2 * window.surround
        ignored, maps = _take_middle(places != COUNTS, side), [_take_middle(one, side) for one in moved]
        for number, one in enumerate(maps):
            one[ignored] = 0 if number else IGNORE_LABEL
        return patch, *maps


def _take_middle(array: NDArray[Any], side: int) -> NDArray[Any]:
    """A copy of the middle of an array (S, S, ...)."""
    start = (len(array) - side) // 2
    return array[start : start + side, start : start + side].copy()
