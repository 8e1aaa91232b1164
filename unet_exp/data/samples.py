"""Data sets: named samples in four splits, in memory or read when they are needed, and how slices are split.

Shapes: H height, W width, C channels.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple, Self, overload

import numpy as np
from numpy.typing import NDArray

from unet_exp.config import ClassSpec
from unet_exp.data.facts import Facts, find_facts
from unet_exp.errors import ConfigError
from unet_exp.io.arrays import Array
from unet_exp.memory import free_memory
from unet_exp.metrics.declarations import ScoreFamily

SPLITS = ("train", "val", "test", "unlabelled")
KINDS = ("image", "label", "instances", "valid")
"""The arrays of a sample."""
STANDARD_COUNT = 30
"""Slices of the standard split: train 0-19, validate 20-23, test 24-29."""
MIN_FOLDS = 3


class Region(NamedTuple):
    """A part of an image, within it; pixels."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, array: Array) -> Array:
        """The part of an array (H, W, ...), a view."""
        return array[self.top : self.top + self.height, self.left : self.left + self.width]


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


@dataclass(frozen=True, eq=False)
class DataSet:
    """All samples of a run; `unlabelled` ones get pictures and no metrics.

    Attributes:
        train: samples, in a sequence that may read them when they are asked for.
        val: likewise.
        test: likewise.
        unlabelled: likewise.
        classes: the class of label i at index i.
        channels: C of every image.
        metrics: scores beyond those of the classes: `isbi` (boundary map of a stack: V_Rand, V_Info, warping, Rand and
            pixel error), `seg` (objects: SEG of the Cell Tracking Challenge).
        meaning: what the values of masks mean, where the digests of `facts` are of these values; part of the
            fingerprint.
    """

    train: Images
    val: Images
    test: Images
    unlabelled: Images
    classes: tuple[ClassSpec, ...]
    channels: int
    metrics: tuple[ScoreFamily, ...] = ()
    meaning: str = ""

    @classmethod
    def of(
        cls,
        train: Sequence[Sample],
        val: Sequence[Sample],
        test: Sequence[Sample],
        unlabelled: Sequence[Sample],
        classes: tuple[ClassSpec, ...],
        channels: int,
        metrics: tuple[ScoreFamily, ...] = (),
    ) -> Self:
        """A data set of samples in memory."""
        first, second, third, rest = (
            ImagesInMemory(samples, len(classes)) for samples in (train, val, test, unlabelled)
        )
        return cls(first, second, third, rest, classes, channels, metrics)

    @classmethod
    def divide(
        cls,
        samples: Sequence[Sample],
        split: Sequence[Sequence[int]],
        classes: tuple[ClassSpec, ...],
        channels: int,
        metrics: tuple[ScoreFamily, ...] = (),
        unlabelled: Sequence[Sample] = (),
    ) -> Self:
        """Puts the samples of the three index lists of `split` into train, val and test."""
        train, val, test = ([samples[index] for index in part] for part in split)
        return cls.of(train, val, test, unlabelled, classes, channels, metrics)


class Split(NamedTuple):
    """Indices of the slices of each part."""

    train: list[int]
    val: list[int]
    test: list[int]


def split_indices(count: int, fold: int, folds: int | None, mode: Literal["held_out", "all"] = "held_out") -> Split:
    """Splits the slices of a stack into contiguous blocks, for neighbours look alike.

    Args:
        count: number of labelled slices.
        fold: the block that tests; the next one (the first after the last) validates, the rest trains.
        folds: number of blocks, or 0 or None: train 0-19, validate 20-23, test 24-29 of 30 slices.
        mode: `all` trains on every slice and tests none; validation then is on slices seen in training (20-23
            of 30, the same share of fewer) and only monitors.

    Raises:
        ConfigError: for a fold that there is not, or too many or too few slices for the split.
    """
    folds = folds or 0
    if mode not in ("held_out", "all"):
        raise ConfigError(f"data.split={mode} is unknown; take held_out or all")
    if mode == "all":
        if folds or fold:
            raise ConfigError("data.split=all trains on every slice: leave data.fold and data.folds at 0")
        if count < 1:
            raise ConfigError("data.split=all needs at least one labelled slice")
        start = count * 20 // STANDARD_COUNT
        stop = max(start + 1, count * 24 // STANDARD_COUNT)
        return Split(list(range(count)), list(range(start, stop)), [])
    if not folds:
        if fold:
            raise ConfigError(f"data.fold={fold} needs data.folds ({MIN_FOLDS} or more)")
        if count != STANDARD_COUNT:
            raise ConfigError(
                f"the standard split needs {STANDARD_COUNT} labelled slices and there are {count}: "
                f"set data.folds ({MIN_FOLDS} or more), or data.split=all"
            )
        return Split(list(range(20)), list(range(20, 24)), list(range(24, 30)))
    if folds < MIN_FOLDS:
        raise ConfigError(f"data.folds={folds} must be 0 (the standard split) or at least {MIN_FOLDS}")
    if folds > count:
        raise ConfigError(f"data.folds={folds} is more than the {count} labelled slices: set it to {count} at most")
    if not 0 <= fold < folds:
        raise ConfigError(f"data.fold={fold} must be 0 or more and less than data.folds={folds}")
    blocks = [block.tolist() for block in np.array_split(np.arange(count), folds)]
    test, val = blocks[fold], blocks[(fold + 1) % folds]
    return Split([index for block in blocks if block not in (test, val) for index in block], val, test)
