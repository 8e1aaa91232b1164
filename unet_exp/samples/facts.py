"""What is known of images without reading them again: names, sizes, moments, classes, digests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unet_exp.config import IGNORE_LABEL
from unet_exp.io.arrays import Array
from unet_exp.io.texts import Texts
from unet_exp.samples.moments import Moments, find_moments

if TYPE_CHECKING:
    from unet_exp.samples.sample import Sample

DIGEST = 32
"""Bytes of a sha256."""


class ImageFacts(NamedTuple):
    """What is known of an image.

    Attributes:
        name: unique in its data set.
        size: height and width, pixels.
        moments: of its values.
        counts: (classes + 1,) pixels of each class, then the ignored ones; None without a label.
        digest: of its pixels, see `image_digest`.
        content: digest of its pixels, label, instances and valid pixels.
    """

    name: str
    size: tuple[int, int]
    moments: Moments
    counts: NDArray[np.int64] | None
    digest: bytes
    content: bytes


@dataclass(frozen=True, eq=False)
class Facts:
    """What is known of N images: a column each, so that a million of them take little memory.

    Attributes:
        names: (N,).
        sizes: (N, 2) height and width, pixels.
        pixels: (N,) those that hold data.
        mean: (N, C) of these, see `Moments`.
        std: (N, C).
        labelled: (N,) whether it has a label.
        counts: (N, classes + 1), see `ImageFacts`; 0 without a label.
        digests: (N, 32).
        contents: (N, 32).
    """

    names: Sequence[str]
    sizes: NDArray[np.int32]
    pixels: NDArray[np.int64]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    labelled: NDArray[np.bool_]
    counts: NDArray[np.int64]
    digests: NDArray[np.uint8]
    contents: NDArray[np.uint8]

    @classmethod
    def of(cls, images: Sequence[ImageFacts], classes: int) -> Facts:
        """Puts those of single images in columns; `classes` is the number of classes."""
        none = np.zeros(classes + 1, np.int64)
        return cls(
            names=[one.name for one in images],
            sizes=np.array([one.size for one in images], np.int32).reshape(-1, 2),
            pixels=np.array([one.moments.pixels for one in images], np.int64),
            mean=_stack([one.moments.mean for one in images]),
            std=_stack([one.moments.std for one in images]),
            labelled=np.array([one.counts is not None for one in images], bool),
            counts=np.array([none if one.counts is None else one.counts for one in images], np.int64).reshape(
                -1, classes + 1
            ),
            digests=_unpack([one.digest for one in images]),
            contents=_unpack([one.content for one in images]),
        )

    def take(self, places: Sequence[int] | NDArray[np.intp]) -> Facts:
        """Those of the images at some places, in their order; of a run of them without a copy."""
        chosen = np.asarray(places, np.intp)
        run = len(chosen) > 0 and bool((np.diff(chosen) == 1).all())
        picked = slice(int(chosen[0]), int(chosen[-1]) + 1) if run else chosen
        columns = ("sizes", "pixels", "mean", "std", "labelled", "counts", "digests", "contents")
        names = self.names.take(chosen) if isinstance(self.names, Texts) else [self.names[place] for place in chosen]
        return replace(self, names=names, **{column: getattr(self, column)[picked] for column in columns})

    def moments(self, index: int) -> Moments:
        """Those of one image."""
        return Moments(int(self.pixels[index]), self.mean[index], self.std[index])

    @property
    def shown(self) -> NDArray[np.bool_]:
        """(N, classes + 1), whether an image shows a class and, last, ignored pixels."""
        found: NDArray[np.bool_] = self.counts > 0
        return found


def find_facts(sample: Sample, classes: int) -> ImageFacts:
    """The facts of an image in memory; `classes` is the number of classes in labels."""
    counts = None
    if sample.label is not None:
        found = np.bincount(sample.label.ravel(), minlength=256)
        counts = np.append(found[:classes], found[IGNORE_LABEL])
    content = hashlib.sha256()
    for kind in ("image", "label", "instances", "valid"):
        array: Array | None = getattr(sample, kind)
        if array is not None:
            content.update(digest_array(array, kind))
    height, width = sample.image.shape[:2]
    moments = find_moments(sample.image, sample.valid)
    digest = bytes.fromhex(image_digest(sample.image))
    return ImageFacts(sample.name, (height, width), moments, counts, digest, content.digest())


def image_digest(image: Array) -> str:
    """sha256 in hexadecimal over an image's shape, type and pixels (H, W, C): tells the same image by any name."""
    header = f"{image.shape} {image.dtype.str}".encode()
    digest = hashlib.sha256(header)
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def digest_array(array: Array, kind: str) -> bytes:
    """sha256 over the kind, the shape, the type and the values of an array."""
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    digest = hashlib.sha256(json.dumps([kind, list(little.shape), little.dtype.str]).encode())
    digest.update(little.data)
    return digest.digest()


def _stack(rows: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.stack(rows) if rows else np.zeros((0, 1))


def _unpack(digests: Sequence[bytes]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, DIGEST)
