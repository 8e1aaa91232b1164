"""`inference.tile=auto`: how large tiles are, by the memory that is free."""

from collections.abc import Sequence

import torch

from unet_exp.config import InferenceConfig
from unet_exp.geometry import Architecture, EncoderArchitecture, total_stride
from unet_exp.inference.large.budget import tile_bytes
from unet_exp.inference.tiling.overlap_tile import free_gpu_memory
from unet_exp.memory import free_memory
from unet_exp.network import Network

TILES = (4096, 2048, 1024, 512, 256)
"""Few sizes, far apart: what other programs take meanwhile seldom changes the tile, and the rounding with it."""


def resolve_tile(
    settings: InferenceConfig, networks: Sequence[Network], device: torch.device, memory: int | None = None
) -> InferenceConfig:
    """The settings with a tile in pixels: as they are, or for `auto` with the largest of `TILES` that fits.

    Large tiles spend less on their surroundings. Where tiles change the result (instance and group norm, encoders that
    see the whole image, and users' own networks, of which it is not known), it is 1024 on each machine, so that scores
    do not depend on its memory. Networks that predict together have one tile: 1024 if it is so for one of them, else
    the largest that fits for all.

    Args:
        settings: with any tile.
        networks: that predict, one after another.
        device: on which they do.
        memory: bytes that a pass may take; None: a third of what is free on the device, since the image, the result and
            freed memory that is kept lie beside it.
    """
    if settings.tile != "auto":
        return settings
    tile = settings.tile_pixels
    if all(are_exact(network) for network in networks):
        share = (_free_memory(device) // 3 if memory is None else memory) // settings.batch_size
        stride = max(total_stride(network.architecture) for network in networks)
        legal = [size for size in TILES if size >= 2 * settings.blend + stride] or [tile]
        fitting = (size for size in legal if _pass_bytes(networks, size, settings) <= share)
        tile = next(fitting, legal[-1])
    return settings.model_copy(update={"tile": tile})


def _pass_bytes(networks: Sequence[Network], tile: int, settings: InferenceConfig) -> int:
    """The peak of a pass over a tile of an image of float32."""
    architecture = networks[0].architecture
    channels, classes = architecture.in_channels, max(architecture.out_channels, 2)
    # Most of this is the networks' maps, whatever the type of the image's values is.
    return tile_bytes(networks, tile, settings.context, channels, 4, classes)


def are_exact(network: Network) -> bool:
    """Whether stitched tiles equal one pass over the whole image, to the rounding of float32."""
    architecture = network.architecture
    if isinstance(architecture, EncoderArchitecture):
        return architecture.has_exact_tiles
    return isinstance(architecture, Architecture) and architecture.norm in ("none", "batch")


def _free_memory(device: torch.device) -> int:
    return free_gpu_memory(device) if device.type == "cuda" else free_memory()
