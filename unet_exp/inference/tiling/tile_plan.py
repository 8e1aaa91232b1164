"""Which tiles an image is predicted in, in plain integers; the paper's overlap-tile strategy (section 2, Fig. 2).

The two axes are planned apart, and the tiles of an image are the product of both plans. All tiles share one grid
that starts at the image's pixel 0: a U-Net is equivariant only to shifts by multiples of its total stride, so a tile
that starts on one gives what one pass over the whole image would give.
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
        start: first pixel of the network's input; before 0 it is a mirrored one.
        size: pixels of the input, a legal size; what lies beyond the image's end is mirrored.
        first: first pixel that is kept of what the network gives.
        stop: the pixel after the last that is kept.
        offset: where `first` lies in what the network gives.
    """

    start: int
    size: int
    first: int
    stop: int
    offset: int


def plan_whole(architecture: HasSizes, size: int) -> Tile:
    """The one pass over a line of `size` pixels, which every plan of several tiles must agree with.

    Its output starts at pixel 0. What a legal size has more than the line lies at the end.
    """
    return _tile(architecture, size, 0, size, 0)


def plan_tiles(architecture: HasSizes, size: int, settings: InferenceConfig) -> list[Tile]:
    """The passes that together give every pixel of a line.

    Args:
        architecture: of the network.
        size: pixels of the line, at least 1.
        settings: `tile`: pixels that a pass gives at most. `blend`: pixels in which neighbours overlap. `context`: see
            `surround`.

    Returns:
        As few tiles as can be, of one length but for the last, in their order.

    Raises:
        ConfigError: if `tile` is too small; see `unet_exp.geometry.tile_step`.
    """
    longest, blend = tile_step(architecture, settings.tile, settings.blend), settings.blend
    if size <= settings.tile:
        return [plan_whole(architecture, size)]
    count = 1 + -(-(size - settings.tile) // longest)
    balanced = max(blend, -(-(size - blend) // count))  # shorter tiles where as many of them are enough
    step = min(longest, _round_up(balanced, total_stride(architecture)))
    extra = surround(architecture, settings.context)
    stops = [step * index + blend for index in range(1, count)] + [size]
    return [_tile(architecture, size, step * index, stop, extra) for index, stop in enumerate(stops)]


def plan_part(architecture: HasSizes, size: int, first: int, stop: int, reach: int | Literal["auto"]) -> Tile:
    """The one pass that gives a part of a line, wherever it starts.

    Args:
        architecture: of the network.
        size: pixels of the line.
        first: pixel of the part.
        stop: the pixel after its last.
        reach: see `surround`.
    """
    return _tile(architecture, size, first, stop, surround(architecture, reach))


def surround(architecture: HasSizes, reach: int | Literal["auto"]) -> int:
    """Pixels that a tile computes on each side of what it keeps, and throws away.

    Padding invents pixels at the end of an input, and so does bilinear up-sampling at the end of a map. With unpadded
    convolutions and up-convolutions nothing is invented, and nothing need be thrown away.

    Args:
        architecture: of the network.
        reach: pixels to be read around what is kept, those counted that unpadded convolutions need. `auto`: as far as
            an output sees, so that no kept pixel sees an invented one but at the border of the image.

    Returns:
        A multiple of the total stride.
    """
    needed = lost_border(architecture)
    if reach == "auto":
        reach = receptive_field_radius(architecture) if architecture.sizes.invents else needed
    return _round_up(max(reach - needed, 0), total_stride(architecture))


def _tile(architecture: HasSizes, size: int, first: int, stop: int, extra: int) -> Tile:
    """A tile that keeps `first` to `stop` and reaches no further than the one pass over the whole line does."""
    before, step = lost_border(architecture), total_stride(architecture)
    end = input_for_output(architecture, size) - 2 * before
    smallest = next(legal_sizes(architecture)) - 2 * before
    start = min(max(first - extra, 0) // step * step, (end - smallest) // step * step)
    length = input_for_output(architecture, min(stop + extra, end) - start)
    return Tile(start - before, length, first, stop, first - start)


def _round_up(number: int, step: int) -> int:
    return -(-number // step) * step
