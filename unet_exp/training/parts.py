"""The parts of an image that one patch shows: read once, as planes that an augmentation looks up."""

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unet_exp.losses import Targets
from unet_exp.mirror import Plane
from unet_exp.samples.moments import Range
from unet_exp.samples.normalization import Normalization, full_scale
from unet_exp.samples.sample import Images, Region, Sample
from unet_exp.weight_map import Instances

Kind = Literal["image", "label", "instances", "valid"]


class PartPlane(NamedTuple):
    """Pixels of which parts are read; see `unet_exp.mirror.Plane`."""

    shape: tuple[int, ...]
    cut: Callable[[Region], NDArray[Any]]

    def read(self, top: int, left: int, height: int, width: int) -> NDArray[Any]:
        """Reads a part: (height, width, ...)."""
        return self.cut(Region(top, left, height, width))


class ImageParts:
    """One image and its maps for one patch, whose parts are read once for all of them."""

    def __init__(self, images: Images, index: int, normalization: Normalization) -> None:
        facts = images.facts
        self._images, self._index, self._normalization = images, index, normalization
        height, width = facts.sizes[index].tolist()
        self.size = height, width
        self.has_invalid = bool(facts.pixels[index] < height * width)
        self._read: dict[Region, Sample] = {}

    def plane(self, kind: Kind) -> PartPlane:
        """The normalised image (H, W, C), or a map (H, W); `valid` as 0 and 1."""
        if kind == "image":
            return PartPlane((*self.size, self._images.facts.mean.shape[1]), self._normalize)
        return PartPlane(self.size, lambda region: self._map(region, kind))

    def sample(self, region: Region) -> Sample:
        """A part of it as stored."""
        for known, sample in self._read.items():
            if known.contains(region):
                return sample.cut(region.within(known))
        self._read[region] = self._images.read(self._index, region)
        return self._read[region]

    def stored(self, find_range: Callable[[int], Range]) -> "StoredPixels":
        """The image as it is stored, for transforms of such pixels; see `StoredPixels`."""
        return StoredPixels(self, lambda: find_range(self._index))

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of its pixels."""
        known = next(iter(self._read.values()), None)
        return (known or self.sample(Region(0, 0, 1, 1))).image.dtype

    def normalize(self, image: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
        """Normalises pixels (h, w, C) as a part of the whole image."""
        return self._normalization(image, valid, self._images.facts.moments(self._index))

    def invert(self, patch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Network input (h, w, C) in units of full scale again."""
        return self._normalization.invert(patch, self._images.facts.moments(self._index))

    def _normalize(self, region: Region) -> NDArray[np.float32]:
        part = self.sample(region)
        return self.normalize(part.image, part.valid)

    def _map(self, region: Region, kind: Kind) -> NDArray[Any]:
        part: NDArray[Any] | None = getattr(self.sample(region), kind)
        if kind == "valid":  # a part may be valid everywhere
            return np.ones(region[2:], np.uint8) if part is None else part.view(np.uint8)
        assert part is not None
        return part


class StoredPixels:
    """See `unet_exp.augmentation.StoredImage`.

    Args:
        parts: of the image.
        find_range: gives the range of all values of the image, asked where it does not have 8 bits.
    """

    def __init__(self, parts: ImageParts, find_range: Callable[[], Range]) -> None:
        self._parts, self._find_range = parts, find_range
        self.normalized: Plane = parts.plane("image")
        self.shape = self.normalized.shape
        self.valid: Plane | None = parts.plane("valid") if parts.has_invalid else None

    @cached_property
    def _limits(self) -> tuple[np.float32, np.float32] | None:
        """The least value and the span, in units of full scale; None for 8 bits."""
        if self._parts.dtype == np.uint8:
            return None
        low, high = full_scale(np.array(self._find_range(), self._parts.dtype))
        return low, high - low or np.float32(1)

    def read(self, top: int, left: int, height: int, width: int) -> NDArray[Any]:
        """See `StoredImage`."""
        image = self._parts.sample(Region(top, left, height, width)).image
        return image if self._limits is None else self._scale(full_scale(image))

    def normalize(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """See `StoredImage`."""
        if self._limits is not None:
            low, span = self._limits
            pixels = pixels * span + low
        return self._parts.normalize(pixels)

    def restore(self, patch: NDArray[np.float32]) -> NDArray[Any]:
        """See `StoredImage`."""
        scaled = self._parts.invert(patch)
        if self._limits is not None:
            return self._scale(scaled)
        return np.rint(scaled * 255).clip(0, 255).astype(np.uint8)

    def _scale(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values in units of full scale to 0 .. 1; a pixel without data may lie below the range."""
        assert self._limits is not None
        low, span = self._limits
        return ((values - low) / span).clip(0, 1)


class TargetParts:
    """What a loss makes of the label of a whole image, of which only parts are computed.

    Args:
        parts: of the image.
        targets: of the loss; they depend on what lies around a pixel up to `targets.reach`.
        instances: of the whole image, if it has none of its own.
    """

    def __init__(self, parts: ImageParts, targets: Targets, instances: Instances | None) -> None:
        self._parts, self._targets, self._instances = parts, targets, instances
        self._known: dict[Region, tuple[NDArray[Any], ...]] = {}

    def planes(self) -> tuple[PartPlane, PartPlane]:
        """The label to train on and the weights, (H, W) each."""
        return (
            PartPlane(self._parts.size, lambda region: self._find(region)[0]),
            PartPlane(self._parts.size, lambda region: self._find(region)[1]),
        )

    def _find(self, region: Region) -> tuple[NDArray[Any], ...]:
        if region not in self._known:
            wide = _widen(region, self._targets.reach, self._parts.size)
            part = self._parts.sample(wide)
            assert part.label is not None
            instances = part.instances if self._instances is None else wide.cut(self._instances)
            self._known[region] = drop_none(self._targets(part.label, instances, region.within(wide).slices))
        return self._known[region]


def drop_none(arrays: Iterable[NDArray[Any] | None]) -> tuple[NDArray[Any], ...]:
    """The arrays that there are."""
    return tuple(array for array in arrays if array is not None)


def _widen(region: Region, margin: int, size: tuple[int, int]) -> Region:
    """The region and so many pixels around it, where the image goes on."""
    top, left = max(0, region.top - margin), max(0, region.left - margin)
    bottom = min(size[0], region.top + region.height + margin)
    right = min(size[1], region.left + region.width + margin)
    return Region(top, left, bottom - top, right - left)
