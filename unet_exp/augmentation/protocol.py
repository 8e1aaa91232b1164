"""What every augmentation is: a way to cut a patch out of an image and of all maps that belong to it."""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from unet_exp.mirror import Pixels, Plane


class Window(NamedTuple):
    """A square of an image that may reach beyond it on any side.

    Attributes:
        top: first row of the square, may be negative.
        left: first column, may be negative.
        size: its side, pixels.
        surround: pixels by which maps are cut larger than the square on every side, or, below 0, smaller. What an
            augmentation draws refers to the square alone, so that equal seeds give the same patch with any surround.
    """

    top: int
    left: int
    size: int
    surround: int = 0

    @property
    def side(self) -> int:
        """Side of the larger one, the square or the maps, pixels."""
        return self.size + 2 * max(0, self.surround)

    @property
    def inset(self) -> slice:
        """The square within all that is cut."""
        return slice(max(0, self.surround), max(0, self.surround) + self.size)

    @property
    def maps_inset(self) -> slice:
        """The maps within all that is cut."""
        return slice(max(0, -self.surround), self.side - max(0, -self.surround))


class Augmentation(Protocol):
    """Cuts a patch, transformed at random together with all that is known of its pixels.

    It is given the whole image, of which `mirror_window` reads what it asks for: what a rotation or a deformation
    brings into the patch is real where the image goes on, and mirrored (the border pixel not repeated) only beyond the
    image's border.
    """

    @property
    def deforms(self) -> bool:
        """Whether distances change, so that what is computed from a label must be computed from the moved one."""

    def __call__(self, image: Pixels, window: Window, seed: int, *maps: Pixels) -> tuple[NDArray[Any], ...]:
        """Cuts one patch.

        Args:
            image: (H, W, C) float32, any number of channels.
            window: where to cut; S is its `size`, and M = S + 2 `surround`.
            seed: of this one call; equal seeds give equal results.
            *maps: (H, W) each: label, instance ids, weights; their values are moved, never mixed.

        Returns:
            The patch (S, S, C) float32, and the maps (M, M) in the order and of the types given, of the same middle.
        """


@runtime_checkable
class StoredImage(Protocol):
    """An image for transforms of pixels as they are stored: a `Plane` of them, and the way to the network's input.

    Images of 8 bits are read as they are. Others are read as float32 from 0 to 1, the least and the largest value of
    the whole image: the two kinds that albumentations takes.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W, C)."""

    def read(self, top: int, left: int, height: int, width: int) -> NDArray[Any]:
        """Reads a part: (height, width, C) uint8, or float32 in 0 .. 1."""

    @property
    def normalized(self) -> Plane:
        """The image as the network takes it, (H, W, C) float32."""

    @property
    def valid(self) -> Plane | None:
        """(H, W) uint8, 1 where a pixel holds data, else 0; None: everywhere."""

    def normalize(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """What `read` gives, as the network takes it."""

    def restore(self, patch: NDArray[np.float32]) -> NDArray[Any]:
        """The inverse of `normalize`; what lies beyond the range of the type, or of the image, is clipped."""
