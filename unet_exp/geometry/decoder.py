"""The channels of the decoder's levels, and what its output sees above an encoder of timm, in plain integers.

Level 1 is the full resolution, level `depth` the coarsest map of the encoder. Which maps an encoder of timm has, and
what they see, only timm knows: `unet_exp.network.timm_encoders`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from unet_exp.geometry.architecture import Architecture, channels, upsampled_channels
from unet_exp.geometry.fusions import FUSIONS


@dataclass(frozen=True)
class DecoderChannels:
    """Channels of one decoder level.

    Attributes:
        below: Of the map that is up-sampled.
        up: Of the up-sampled map.
        skip: Of the encoder's map of this resolution; None where it has none.
        fused: Of both joined.
        out: Of the level's output.
    """

    below: int
    up: int
    skip: int | None
    fused: int
    out: int


def decoder_channels(architecture: Architecture) -> list[DecoderChannels]:
    """Return the channels of the U-Net's decoder levels, from the coarsest to the full resolution."""
    found, fusion = [], FUSIONS[architecture.fusion]
    for level in range(architecture.depth - 1, 0, -1):
        up, width = upsampled_channels(architecture, level), channels(architecture, level)
        found.append(DecoderChannels(2 * width, up, width, fusion.channels(up, width), width))
    return found


def channels_above(decoder: Architecture, maps: Mapping[int, int]) -> list[DecoderChannels]:
    """Return the same of the decoder of an `EncoderArchitecture`.

    A map is up-sampled to as many channels as its skip has, so that every fusion can join the two.

    Args:
        decoder: Of an `EncoderArchitecture`.
        maps: Channels of the encoder's maps by their level, that of the level `decoder.depth` among them.
    """
    below, found, fusion = maps[decoder.depth], [], FUSIONS[decoder.fusion]
    for level in range(decoder.depth - 1, 0, -1):
        out, skip = channels(decoder, level), maps.get(level)
        up, fused = (out, out) if skip is None else (skip, fusion.channels(skip, skip))
        found.append(DecoderChannels(below, up, skip, fused, out))
        below = out
    return found


def seen_radius(decoder: Architecture, seen: Mapping[int, tuple[int, int]]) -> int:
    """Return how many input pixels an output pixel sees to either side at most, over all phases of the total stride.

    Args:
        decoder: Of an `EncoderArchitecture`.
        seen: By the level of each map of the encoder, how many input pixels its pixel i sees to the left and to the
            right of input pixel i x 2^(level-1).
    """
    blur = 1 if decoder.upsample == "bilinear" else 0  # it also reads the coarse pixel next door

    def find(level: int, low: int, high: int) -> tuple[int, int]:
        """The input pixels on which pixels `low` to `high` of a level depend; of the coarsest it is the encoder's."""
        ends = [_widen(seen[level], level, low, high)] if level == decoder.depth else []
        if level < decoder.depth:
            low, high = low - 2, high + 2  # two 3x3 convolutions
            ends = [_widen(seen[level], level, low, high)] if level in seen else []
            ends.append(find(level + 1, (low - blur) // 2, (high + blur) // 2))
        return min(end[0] for end in ends), max(end[1] for end in ends)

    fields = [(pixel, *find(1, pixel, pixel)) for pixel in range(decoder.sizes.total_stride)]
    return max(max(pixel - low, high - pixel) for pixel, low, high in fields)


def _widen(seen: tuple[int, int], level: int, low: int, high: int) -> tuple[int, int]:
    return (low << (level - 1)) - seen[0], (high << (level - 1)) + seen[1]
