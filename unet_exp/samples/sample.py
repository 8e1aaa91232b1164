"""Samples, in memory or read when they are needed.

Shapes: H height, W width, C channels.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from unet_exp.io.arrays import Array
from unet_exp.memory import free_memory
from unet_exp.samples.facts import Facts, find_facts

KINDS = ("image", "label", "instances", "valid")
"""The arrays of a sample."""


class Region(NamedTuple):
    """A part of an image, within it; pixels."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, array: Array) -> Array:
        """The part of an array (H, W, ...), a view."""
        return array[self.slices]

    @property
    def slices(self) -> tuple[slice, slice]:
        """Its rows and columns."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    def contains(self, other: "Region") -> bool:
        """Whether all of another part lies in it."""
        return (
            self.top <= other.top
            and self.left <= other.left
            and other.top + other.height <= self.top + self.height
            and other.left + other.width <= self.left + self.width
        )

    def within(self, other: "Region") -> "Region":
        """The same part, where that is told from the first pixel of another."""
        return self._replace(top=self.top - other.top, left=self.left - other.left)


@dataclass(frozen=True, eq=False)
class Sample:
    """One image, or a part of one, with its label.

    Attributes:
        name: unique in its data set.
        image: (H, W, C) uint8, uint16 or float32, as stored.
        label: (H, W) uint8 class indices, 255 where ignored; None in an unlabelled sample.
        instances: (H, W) int32, 0 where there is no object; None where only classes are known.
        valid: (H, W) bool, True where a pixel holds data; None: everywhere. Elsewhere the image and the instances are
            0, and the label is 255.
    """

    name: str
    image: Array
    label: Array | None = None
    instances: Array | None = None
    valid: Array | None = None

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.dtype not in (np.uint8, np.uint16, np.float32):
            raise ValueError(f"{self.name}: image {self.image.dtype} {self.image.shape}")
        for array, dtype in ((self.label, np.uint8), (self.instances, np.int32), (self.valid, np.bool_)):
            if array is not None and (array.shape != self.image.shape[:2] or array.dtype != dtype):
                raise ValueError(f"{self.name}: {array.dtype} {array.shape} beside an image {self.image.shape}")

    def cut(self, region: Region) -> "Sample":
        """A part of it; the arrays are views."""
        label, instances, valid = (
            None if array is None else region.cut(array) for array in (self.label, self.instances, self.valid)
        )
        return Sample(self.name, region.cut(self.image), label, instances, valid)


class Images(Sequence[Sample]):
    """Images of a data set, which may lie on a disk: each is read when it is asked for, whole or a part of it.

    Attributes:
        facts: what is known of each without reading it.
        in_memory: whether reading costs nothing.
        has_instances: whether every sample has instances.
        finds_instances: whether these are found in the label, and no data of their own.
        spare_memory: bytes that what is computed of them may take beside them.
    """

    facts: Facts
    in_memory = False
    has_instances = False
    finds_instances = False
    spare_memory = 0.0

    @abstractmethod
    def read(self, index: int, region: Region | None = None) -> Sample:
        """Reads an image, or a part of it.

        Raises:
            DataError: for a file that is gone or has changed.
        """

    @abstractmethod
    def take(self, places: Sequence[int] | NDArray[np.intp]) -> "Images":
        """The images at some places, in their order."""

    @property
    def names(self) -> Sequence[str]:
        """The name of each."""
        return self.facts.names

    def __len__(self) -> int:
        return len(self.facts.names)

    @overload
    def __getitem__(self, index: int) -> Sample: ...

    @overload
    def __getitem__(self, index: slice) -> "Images": ...

    def __getitem__(self, index: int | slice) -> "Sample | Images":
        places = range(len(self))[index]
        return self.take(places) if isinstance(places, range) else self.read(places)


class ImagesInMemory(Images):
    """Samples that are there already; `classes` is the number of classes in their labels."""

    in_memory = True

    def __init__(self, samples: Sequence[Sample], classes: int) -> None:
        self._samples, self._classes = list(samples), classes
        self.has_instances = all(sample.instances is not None for sample in samples)
        self.spare_memory = free_memory() / 2

    @cached_property
    def facts(self) -> Facts:  # type: ignore[override]
        """See `Images`."""
        return Facts.of([find_facts(sample, self._classes) for sample in self._samples], self._classes)

    @property
    def names(self) -> Sequence[str]:
        """See `Images`."""
        return [sample.name for sample in self._samples]

    def __len__(self) -> int:
        return len(self._samples)

    def read(self, index: int, region: Region | None = None) -> Sample:
        """See `Images`."""
        sample = self._samples[index]
        return sample if region is None else sample.cut(region)

    def take(self, places: Sequence[int] | NDArray[np.intp]) -> "ImagesInMemory":
        """See `Images`."""
        return ImagesInMemory([self._samples[place] for place in places], self._classes)
