"""Grey values to network input, by the whole image: normalising each tile would make seams."""

from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from unet_exp.config.values import NonNegative
from unet_exp.data.samples import Sample
from unet_exp.errors import DataError
from unet_exp.schema import Strict

_Mode = Literal["image", "dataset", "none"]


class Normalization(Strict):
    """Turns an image into the network's input.

    Attributes:
        mode: `image` (each channel of each image to mean 0 and standard deviation 1), `dataset` (by the mean and
            standard deviation of the training images) or `none` (0..1).
        mean: of each channel, in units of full scale; empty but for `dataset`.
        std: likewise.
    """

    mode: _Mode
    mean: list[float] = Field(default_factory=list)
    std: list[NonNegative] = Field(default_factory=list)

    def __call__(self, image: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
        """Normalises one whole image.

        Args:
            image: (H, W, C) uint8, uint16 or float32.
            valid: (H, W), the pixels that count; None for all.

        Returns:
            (H, W, C) float32, 0 where not valid.
        """
        scaled = full_scale(image)
        counted = scaled if valid is None else scaled[valid][:, None]
        if self.mode == "dataset":
            mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
            scaled = ((scaled - mean) / np.maximum(std, 1e-6)).astype(np.float32)
        elif self.mode == "image" and counted.size:
            # In float64: float32 sums of a large colour image are off by a good part of a standard deviation.
            mean = counted.mean(axis=(0, 1), dtype=np.float64).astype(np.float32)
            std = counted.std(axis=(0, 1), dtype=np.float64).astype(np.float32)
            scaled = ((scaled - mean) / np.maximum(std, 1e-6)).astype(np.float32)
        if valid is not None:
            scaled[~valid] = 0
        return scaled

    @classmethod
    def fit(cls, mode: _Mode, samples: Sequence[Sample]) -> Self:
        """Computes mean and standard deviation of the training images where `mode` needs them."""
        if mode != "dataset":
            return cls(mode=mode)
        # Image by image, twice: all of them in float64 would take eight times their memory.
        pixels = sum(_count(sample) for sample in samples)
        if not pixels:
            raise DataError("data.normalization=dataset: no pixel of the training images holds data (data.nodata)")
        mean = sum(_scaled(sample).sum(axis=(0, 1), dtype=np.float64) for sample in samples) / pixels
        squares = (((_scaled(sample) - mean) ** 2).sum(axis=(0, 1)) for sample in samples)
        variance = sum(squares) / pixels
        return cls(mode=mode, mean=mean.tolist(), std=np.sqrt(variance).tolist())


def _count(sample: Sample) -> int:
    return sample.image.shape[0] * sample.image.shape[1] if sample.valid is None else int(sample.valid.sum())


def _scaled(sample: Sample) -> NDArray[np.float32]:
    """The valid pixels, with two axes before the channels."""
    scaled = full_scale(sample.image)
    return scaled if sample.valid is None else scaled[sample.valid][:, None]


def full_scale(image: NDArray[Any]) -> NDArray[np.float32]:
    """Integers divided by their type's largest value; floats as they are."""
    scaled = image.astype(np.float32)
    return scaled / np.float32(np.iinfo(image.dtype).max) if image.dtype.kind == "u" else scaled
