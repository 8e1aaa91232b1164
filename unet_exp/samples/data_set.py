"""Data sets: samples in four splits."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from unet_exp.config import ClassSpec
from unet_exp.io.pixel_size import PixelSize
from unet_exp.metrics.declarations import ScoreFamily
from unet_exp.metrics.surfaces import PIXELS, Scale
from unet_exp.samples.group_counts import GroupCount
from unet_exp.samples.sample import Images, ImagesInMemory, Sample

SPLITS = ("train", "val", "test", "unlabelled")


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
        mask_suffix: of the files of a user's own masks, such as `.png`; predicted ones get it too.
        scale: of distances.
        groups: of the images of each split; empty where each image is one of its own, or they are not known.
    """

    train: Images
    val: Images
    test: Images
    unlabelled: Images
    classes: tuple[ClassSpec, ...]
    channels: int
    metrics: tuple[ScoreFamily, ...] = ()
    meaning: str = ""
    mask_suffix: str | None = None
    scale: Scale = PIXELS
    groups: Mapping[str, GroupCount] = field(default_factory=dict)

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


def choose_scale(declared: Iterable[PixelSize | None]) -> Scale:
    """The scale of images whose files declare these sizes of a pixel: that of all, or pixels where they differ."""
    found = sorted(set(declared), key=lambda size: (size is None, size))
    known = [size for size in found if size is not None]
    if not known:
        return PIXELS
    if len(found) > 1:
        told = ", ".join(size.describe() for size in known[:3]) + ", ..." * (len(known) > 3)
        others = " or none" if len(found) > len(known) else ""
        return Scale(note=f"image files declare a pixel of {told}{others}; data.pixel_size names one")
    size = known[0]
    return Scale((size.height, size.width), max(size[:2]), f"{size.unit} (a pixel is {size.describe()}, say its files)")
