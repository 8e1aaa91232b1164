"""Grey values to network input, by the whole image: normalising each tile would make seams."""

from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from unet_exp.config.values import NonNegative
from unet_exp.data.samples import Sample
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

    def __call__(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """Normalises one whole image, (H, W, C) uint8, uint16 or float32: (H, W, C) float32."""
        scaled = full_scale(image)
        if self.mode == "none":
            return scaled
        if self.mode == "dataset":
            mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        else:
            # In float64: float32 sums of a large colour image are off by a good part of a standard deviation.
            mean = scaled.mean(axis=(0, 1), dtype=np.float64).astype(np.float32)
            std = scaled.std(axis=(0, 1), dtype=np.float64).astype(np.float32)
        return ((scaled - mean) / np.maximum(std, 1e-6)).astype(np.float32)

    @classmethod
    def fit(cls, mode: _Mode, samples: Sequence[Sample]) -> Self:
        """Computes mean and standard deviation of the training images where `mode` needs them."""
        if mode != "dataset":
            return cls(mode=mode)
        # Image by image, twice: all of them in float64 would take eight times their memory.
        pixels = sum(sample.image.shape[0] * sample.image.shape[1] for sample in samples)
        mean = sum(full_scale(sample.image).sum(axis=(0, 1), dtype=np.float64) for sample in samples) / pixels
        squares = (((full_scale(sample.image) - mean) ** 2).sum(axis=(0, 1)) for sample in samples)
        variance = sum(squares) / pixels
        return cls(mode=mode, mean=mean.tolist(), std=np.sqrt(variance).tolist())


def full_scale(image: NDArray[Any]) -> NDArray[np.float32]:
    """Integers divided by their type's largest value; floats as they are."""
    scaled = image.astype(np.float32)
    return scaled / np.float32(np.iinfo(image.dtype).max) if image.dtype.kind == "u" else scaled
