"""Data sets: named samples in four splits, how slices are split, and a fingerprint of it all.

Shapes: H height, W width, C channels.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal, NamedTuple, Self

import numpy as np

from unet_exp.config import ClassSpec
from unet_exp.errors import ConfigError
from unet_exp.io.arrays import Array
from unet_exp.metrics.declarations import ScoreFamily

SPLITS = ("train", "val", "test", "unlabelled")
STANDARD_COUNT = 30
"""Slices of the standard split: train 0-19, validate 20-23, test 24-29."""
MIN_FOLDS = 3


@dataclass(frozen=True, eq=False)
class Sample:
    """One image with its label.

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


@dataclass(frozen=True, eq=False)
class DataSet:
    """All samples of a run; `unlabelled` ones get pictures and no metrics.

    Attributes:
        classes: the class of label i at index i.
        channels: C of every image.
        metrics: scores beyond those of the classes: `isbi` (boundary map of a stack: V_Rand, V_Info, warping, Rand and
            pixel error), `seg` (objects: SEG of the Cell Tracking Challenge).
    """

    train: Sequence[Sample]
    val: Sequence[Sample]
    test: Sequence[Sample]
    unlabelled: Sequence[Sample]
    classes: tuple[ClassSpec, ...]
    channels: int
    metrics: tuple[ScoreFamily, ...] = ()

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
        return cls(train, val, test, unlabelled, classes, channels, metrics)


class Split(NamedTuple):
    """Indices of the slices of each part."""

    train: list[int]
    val: list[int]
    test: list[int]


def fingerprint(dataset: DataSet) -> str:
    """sha256 in hexadecimal over split names, sample names, shapes, types, pixels, labels, instances, valid pixels."""
    digest = hashlib.sha256()
    for split in SPLITS:
        for sample, kind in product(getattr(dataset, split), ("image", "label", "instances", "valid")):
            array: Array | None = getattr(sample, kind)
            if array is not None:
                little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
                header = json.dumps([split, sample.name, kind, list(little.shape), little.dtype.str])
                digest.update(header.encode() + b"\n")
                digest.update(little.data)
    return digest.hexdigest()


def image_digest(image: Array) -> str:
    """sha256 in hexadecimal over an image's shape, type and pixels (H, W, C): tells the same image by any name."""
    header = f"{image.shape} {image.dtype.str}".encode()
    return hashlib.sha256(header + np.ascontiguousarray(image).tobytes()).hexdigest()


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
