"""Which images are predicted together."""

from collections.abc import Sequence

import torch

from unet_exp.config import InferenceConfig
from unet_exp.inference.tiling.overlap_tile import Size

_PIXELS_AT_ONCE = 2**20
_BATCHED = ("cuda", "mps")
"""On a CPU batches round differently and are no faster."""


def can_batch(device: torch.device) -> bool:
    """Whether images are predicted together on a device."""
    return device.type in _BATCHED


def fits_batch(batch: Sequence[Size], size: Size, device: torch.device, settings: InferenceConfig) -> bool:
    """Whether an image of `size` is predicted together with those of a batch, in one pass for each tile.

    Only images of one size are, see `can_batch`, and at most the pixels of a large tile.

    Args:
        batch: height and width of each image that is in it, at least one.
        size: of the next one.
        device: of the network.
        settings: tiles.
    """
    most = min(settings.batch_size * settings.tile_pixels**2, _PIXELS_AT_ONCE)
    return can_batch(device) and size == batch[0] and (len(batch) + 1) * size[0] * size[1] <= most
