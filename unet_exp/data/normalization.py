"""Grey values to network input, always by the whole image: normalising each tile would make seams."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from unet_exp.data.samples import Sample


@dataclass(frozen=True)
class Normalization:
    """How an image becomes the network's input.

    Attributes:
        mode: `image` (each channel of each image to mean 0 and standard deviation 1), `dataset` (by the mean and
            standard deviation of the training images) or `none` (0..1).
        mean: a value a channel, in units of full scale; empty but for `dataset`.
        std: likewise.
    """

    mode: Literal["image", "dataset", "none"]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __call__(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """Normalises one whole image.

        Args:
            image: (H, W, C) uint8, uint16 or float32.

        Returns:
            (H, W, C) float32.
        """
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

    def as_plain(self) -> dict[str, Any]:
        """Plain containers for a checkpoint."""
        return {"mode": self.mode, "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> "Normalization":
        """The inverse of `as_plain`."""
        return cls(values["mode"], tuple(values["mean"]), tuple(values["std"]))

    @classmethod
    def fit(cls, mode: Literal["image", "dataset", "none"], samples: Sequence[Sample]) -> "Normalization":
        """What `mode` needs to know of the training images."""
        if mode != "dataset":
            return cls(mode)
        # Image by image, twice: all of them in float64 would take eight times as much as they do.
        pixels = sum(sample.image.shape[0] * sample.image.shape[1] for sample in samples)
        mean = sum(full_scale(sample.image).sum(axis=(0, 1), dtype=np.float64) for sample in samples) / pixels
        squares = (((full_scale(sample.image) - mean) ** 2).sum(axis=(0, 1)) for sample in samples)
        variance = sum(squares) / pixels
        return cls(mode, tuple(mean.tolist()), tuple(np.sqrt(variance).tolist()))


def full_scale(image: NDArray[Any]) -> NDArray[np.float32]:
    """Integers divided by their type's largest value; floats as they are."""
    scaled = image.astype(np.float32)
    return scaled / np.float32(np.iinfo(image.dtype).max) if image.dtype.kind == "u" else scaled
