"""Plans the tiles of an image in plain integers (paper, section 2, Fig. 2: the overlap-tile strategy).

Each axis has its plan, and the tiles of an image are the product of both. All tiles share one grid that starts at the
image's pixel 0: a U-Net is equivariant only to shifts by multiples of its total stride, so tiles that start on them
equal one pass over the whole image.
"""

from dataclasses import dataclass
from typing import Literal

from unet_exp.config import InferenceConfig
from unet_exp.geometry import (
    HasSizes,
    input_for_output,
    legal_sizes,
    lost_border,
    receptive_field_radius,
    tile_step,
    total_stride,
)


@dataclass(frozen=True)
class Tile:
    """One pass of the network along one axis, in pixels of the image.

    Attributes:
        start: first pixel of the network's input; negative ones are mirrored.
        size: pixels of the input, a legal size; those beyond the image's end are mirrored.
        first: first pixel of the output to keep.
        stop: the pixel after the last to keep.
        offset: index of `first` in the output.
    """

    start: int
    size: int
    first: int
    stop: int
    offset: int


def plan_whole(architecture: HasSizes, size: int) -> Tile:
    """Plans one pass over a line of `size` pixels, from pixel 0; the surplus of the legal size lies at the end."""
    return plan_part(architecture, size, 0, size, 0)


def plan_tiles(architecture: HasSizes, size: int, settings: InferenceConfig) -> list[Tile]:
    """Plans the passes for every pixel of a line.

    Args:
        architecture: of the network.
        size: pixels of the line, at least 1.
        settings: `tile`: most pixels of a pass. `blend`: pixels in which neighbours overlap. `context`: see `surround`.

    Returns:
        As few tiles as possible, of one length but for the last, in order.

    Raises:
        ConfigError: if `tile` is too small; see `unet_exp.geometry.tile_step`.
    """
    longest, blend = tile_step(architecture, settings.tile_pixels, settings.blend), settings.blend
    if size <= settings.tile_pixels:
        return [plan_whole(architecture, size)]
    count = 1 + -(-(size - settings.tile_pixels) // longest)
    balanced = max(blend, -(-(size - blend) // count))  # as short as their number allows
    step = min(longest, _round_up(balanced, total_stride(architecture)))
    extra = surround(architecture, settings.context)
    stops = [step * index + blend for index in range(1, count)] + [size]
    return [plan_part(architecture, size, step * index, stop, extra) for index, stop in enumerate(stops)]


def surround(architecture: HasSizes, reach: int | Literal["auto"]) -> int:
    """Pixels that a tile computes and discards on each side, a multiple of the total stride.

    Padding invents pixels at the end of an input, and so does bilinear up-sampling at the end of a map. With unpadded
    convolutions and up-convolutions there are none, and nothing to discard.

    Args:
        architecture: of the network.
        reach: pixels to read around the kept ones, including those that unpadded convolutions lose. `auto`: the
            receptive-field radius, so that a kept pixel sees invented ones only at the border of the image.
    """
    needed = lost_border(architecture)
    if reach == "auto":
        reach = receptive_field_radius(architecture) if architecture.sizes.invents else needed
    return _round_up(max(reach - needed, 0), total_stride(architecture))


def plan_part(architecture: HasSizes, size: int, first: int, stop: int, extra: int) -> Tile:
    """Plans the pass for the pixels `first` to `stop` of a line of `size`, with `extra` (`surround`) on each side.

    It reads no further than one pass over the whole line.
    """
    before, step = lost_border(architecture), total_stride(architecture)
    end = input_for_output(architecture, size) - 2 * before
    smallest = next(legal_sizes(architecture)) - 2 * before
    start = min(max(first - extra, 0) // step * step, (end - smallest) // step * step)
    length = input_for_output(architecture, min(stop + extra, end) - start)
    return Tile(start - before, length, first, stop, first - start)


def _round_up(number: int, step: int) -> int:
    return -(-number // step) * step
