"""How far the maps of an encoder see, measured: a column of pixels that are no numbers, and where it can be seen."""

from collections.abc import Mapping
from math import gcd

import torch
from torch import Tensor, nn

from unet_exp.errors import ConfigError
from unet_exp.network.timm_encoders import create_encoder, find_maps
from unet_exp.user_class import describe_error

_WIDTHS = (1024, 2048, 4096, 8192)
"""Pixels of the strips that are tried."""
_SPACING = 4
"""Pixels between the columns that are tried: each side is right to one less than that, and never too small."""


@torch.no_grad()
def measure_sight(name: str, depth: int) -> dict[int, tuple[int, int]] | None:
    """Measure how far each map of an encoder sees in evaluation mode.

    Convolution, pooling and all else that reads a pixel without number gives none. The strip of an image is as high as
    the smallest image, twice the total stride, which is all that the other axis needs.

    Args:
        name: In timm.
        depth: Level of the coarsest map.

    Returns:
        By level, how many input pixels pixel i of its map sees to the left and to the right of input pixel
        i x 2^(level-1), at most; None where one sees the whole image, as by global pooling and attention, or where
        shifting the image by the total stride does more than to shift the maps.

    Raises:
        ConfigError: If it is no encoder of images of any multiple of the total stride.
    """
    stride, levels = 1 << (depth - 1), list(find_maps(name, depth).channels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = create_encoder(name, depth, 3).eval()
        _check_shapes(name, encoder, find_maps(name, depth).channels, stride)
        try:
            return _measure_all(encoder, levels, stride)
        except Exception as error:  # whatever a model of timm does with a size that it does not take
            raise ConfigError(
                f"model.encoder={name}: it does not take images of {2 * stride} x {_WIDTHS[0]} pixels or of twice that "
                f"width and more ({describe_error(error)}); set another"
            ) from None


def _measure_all(encoder: nn.Module, levels: list[int], stride: int) -> dict[int, tuple[int, int]] | None:
    for width in _WIDTHS:
        if _measure(encoder, levels, stride, width, [0]):
            found = _measure(encoder, levels, stride, width, list(range(0, stride, _SPACING)))
            return found if found and _shifts(encoder, found, stride, width) else None
    return None


def _measure(
    encoder: nn.Module, levels: list[int], stride: int, width: int, columns: list[int]
) -> dict[int, tuple[int, int]] | None:
    """The same on strips of `width` pixels, by columns right of their middle; None where one sees to their end."""
    images = torch.zeros(len(columns), 3, 2 * stride, width)
    places = [width // 2 + column for column in columns]
    for image, place in zip(images, places, strict=True):
        image[..., place] = torch.nan
    found = {}
    for level, maps in zip(levels, encoder(images), strict=True):
        side, seeing = 1 << (level - 1), maps.isnan().any(dim=1).any(dim=1)
        if seeing[:, 0].any() or seeing[:, -1].any():
            return None
        ends = [(side * int(row.nonzero()[0]), side * int(row.nonzero()[-1])) for row in seeing]
        missed = gcd(side, _SPACING) - 1  # pixels between two places that were tried
        pairs = list(zip(ends, places, strict=True))
        left, right = max(last - place for (_, last), place in pairs), max(place - first for (first, _), place in pairs)
        found[level] = left + missed, right + missed
    return found


def _shifts(encoder: nn.Module, seen: Mapping[int, tuple[int, int]], stride: int, width: int) -> bool:
    """Whether a shift of the image by the total stride shifts the maps, away from the ends of the image."""
    image = torch.randn(1, 3, 2 * stride, width + stride)
    for (level, ends), here, there in zip(
        seen.items(), encoder(image[..., :width]), encoder(image[..., stride:]), strict=True
    ):
        side = 1 << (level - 1)
        first, last = -(-(max(ends) + stride) // side), (width - max(ends) - 2 * stride) // side
        one, other = here[..., first + stride // side : last + stride // side], there[..., first:last]
        if not torch.allclose(one, other, atol=1e-4 * float(here.abs().max())):
            return False
    return True


def _check_shapes(name: str, encoder: nn.Module, channels: Mapping[int, int], stride: int) -> None:
    where, size = f"model.encoder={name}", (2 * stride, 3 * stride)
    try:
        maps: list[Tensor] = encoder(torch.zeros(1, 3, *size))
    except Exception as error:  # whatever a model of timm does with a size that it does not take
        raise ConfigError(
            f"{where}: it does not take images of {size[0]} x {size[1]} pixels ({describe_error(error)}); set another"
        ) from None
    promised = [(1, count, *(side >> (level - 1) for side in size)) for level, count in channels.items()]
    if [tuple(each.shape) for each in maps] != promised:
        raise ConfigError(f"{where}: its maps are not (B, C, H, W) of the sizes that timm promises; set another")
