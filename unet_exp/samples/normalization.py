"""Grey values to network input, by the whole image: normalising each tile would make seams."""

from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from unet_exp.config.values import NonNegative
from unet_exp.errors import DataError
from unet_exp.samples.facts import Facts
from unet_exp.samples.moments import Moments, find_moments
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

    def __call__(
        self, image: NDArray[Any], valid: NDArray[np.bool_] | None = None, moments: Moments | None = None
    ) -> NDArray[np.float32]:
        """Normalises one image, or a part of one.

        Args:
            image: (H, W, C) uint8, uint16 or float32.
            valid: (H, W), the pixels that count; None for all.
            moments: of the whole image; None: `image` is whole.

        Returns:
            (H, W, C) float32, 0 where not valid. A part is bit by bit that part of the whole.
        """
        scaled = full_scale(image)
        if self.mode == "dataset":
            scaled = _standardize(scaled, np.array(self.mean), np.array(self.std))
        elif self.mode == "image":
            known = find_moments(image, valid) if moments is None else moments
            scaled = _standardize(scaled, known.mean, known.std)
        if valid is not None:
            scaled[~valid] = 0
        return scaled

    def invert(self, patch: NDArray[np.float32], moments: Moments) -> NDArray[np.float32]:
        """Values of the network's input (H, W, C) in units of full scale again; `moments` are of the whole image."""
        if self.mode == "none":
            return patch
        mean, std = (self.mean, self.std) if self.mode == "dataset" else (moments.mean, moments.std)
        scaled = patch * np.maximum(np.array(std, np.float32), np.float32(1e-6))
        return scaled + np.array(mean, np.float32)

    @classmethod
    def fit(cls, mode: _Mode, facts: Facts) -> Self:
        """Pools mean and standard deviation of the training images where `mode` needs them."""
        if mode != "dataset":
            return cls(mode=mode)
        pixels = facts.pixels[:, None]
        if not pixels.any():
            raise DataError("data.normalization=dataset: no pixel of the training images holds data (data.nodata)")
        mean = (pixels * facts.mean).sum(axis=0) / pixels.sum()
        variance = (pixels * (facts.std**2 + (facts.mean - mean) ** 2)).sum(axis=0) / pixels.sum()
        return cls(mode=mode, mean=mean.tolist(), std=np.sqrt(variance).tolist())


def _standardize(
    scaled: NDArray[np.float32], mean: NDArray[np.float64], std: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Subtracts the mean and divides by the standard deviation of each channel, in float32 and in place."""
    # As rows of all channels: loops over three of them alone take eight times as long.
    rows = scaled.reshape(scaled.shape[0], -1)
    rows -= np.tile(mean.astype(np.float32), scaled.shape[1])
    rows /= np.tile(np.maximum(std.astype(np.float32), np.float32(1e-6)), scaled.shape[1])
    return scaled


def full_scale(image: NDArray[Any]) -> NDArray[np.float32]:
    """A copy, integers divided by their type's largest value; floats as they are."""
    scaled = image.astype(np.float32, order="C")
    if image.dtype.kind == "u":
        scaled /= np.float32(np.iinfo(image.dtype).max)
    return scaled
