"""Which sizes a network takes and what it makes of them: six numbers, and what follows from them.

Whatever a network is made of, the rest of the program asks it for no more than this.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Protocol

from unet_exp.errors import ConfigError


@dataclass(frozen=True)
class Sizes:
    """What a network does to sizes along one axis, in pixels.

    Args:
        smallest: The smallest legal input size.
        step: Legal sizes are `smallest`, `smallest` + `step`, `smallest` + 2 `step` …
        total_stride: See the function of this name; a multiple of `step`.
        lost_border: See the function of this name.
        receptive_field_radius: See the function of this name.
        invents: Whether something that is not the image's, such as the zeros of padding, is seen by outputs that
            lie within `receptive_field_radius` of the input's end.
        words: The keys that decide all this, for messages: `model.padding=valid and model.depth=5`.
    """

    smallest: int
    step: int
    total_stride: int
    lost_border: int
    receptive_field_radius: int
    invents: bool
    words: str


class HasSizes(Protocol):
    """An architecture, as far as sizes go."""

    @property
    def sizes(self) -> Sizes:
        """What it does to sizes."""


def total_stride(network: HasSizes) -> int:
    """Return the shift to whose multiples the network is equivariant, and to no others: 2^(depth-1) for a U-Net."""
    return network.sizes.total_stride


def lost_border(network: HasSizes) -> int:
    """Return (input - output) / 2 in pixels: what unpadded convolutions take from each side, 0 for `same`."""
    return network.sizes.lost_border


def receptive_field_radius(network: HasSizes) -> int:
    """Return how many input pixels an output pixel sees to either side at most, over all total stride phases.

    In coordinates in which input and output are aligned it is the same for `valid` and `same` (paper network:
    107, bilinear 122). It is at least `lost_border`, which is what the phase that sees least to one side needs.
    Instance and group norm, and batch norm while training, see the whole image: this counts convolutions,
    pooling and up-sampling alone.
    """
    return network.sizes.receptive_field_radius


def is_legal(network: HasSizes, size: int) -> bool:
    """Tell whether the network takes an input of `size` pixels along an axis."""
    sizes = network.sizes
    return size >= sizes.smallest and (size - sizes.smallest) % sizes.step == 0


def legal_sizes(network: HasSizes) -> Iterator[int]:
    """Iterate over all legal input sizes from the smallest, without end (paper network: 188, 204, 220 …)."""
    return count(network.sizes.smallest, network.sizes.step)


def smaller_legal(network: HasSizes, size: int) -> int | None:
    """Return the largest legal input size below `size`, or None where there is none."""
    smallest, step = network.sizes.smallest, network.sizes.step
    return None if size <= smallest else smallest + (size - 1 - smallest) // step * step


def larger_legal(network: HasSizes, size: int) -> int:
    """Return the smallest legal input size above `size`."""
    smallest, step = network.sizes.smallest, network.sizes.step
    return smallest if size < smallest else smallest + ((size - smallest) // step + 1) * step


def check_size(network: HasSizes, size: int, what: str = "input size") -> None:
    """Refuse an illegal input size; the one place where a size is checked.

    Args:
        network: What takes it.
        size: Input size along one axis, in pixels.
        what: Where the size comes from, as the user knows it, such as `data.tile`.

    Raises:
        ConfigError: Names the size, its source and the nearest legal sizes.
    """
    if is_legal(network, size):
        return
    smaller, larger = smaller_legal(network, size), larger_legal(network, size)
    mend = (
        f"the smallest legal size is {larger}"
        if smaller is None
        else f"the nearest legal sizes are {smaller} and {larger}"
    )
    raise ConfigError(f"{what}={size} does not fit a network with {network.sizes.words}: {mend}")


def output_size(network: HasSizes, size: int, what: str = "input size") -> int:
    """Return the size of the logits for an input of `size` pixels (paper network: 572 gives 388).

    Raises:
        ConfigError: If `size` is illegal; `what` says where it comes from.
    """
    check_size(network, size, what)
    return size - 2 * lost_border(network)


def input_for_output(network: HasSizes, tile: int, what: str = "data.tile") -> int:
    """Return the smallest legal input whose output covers `tile` pixels (388: `valid` 572, `same` 400).

    Raises:
        ConfigError: If `tile` is not positive; `what` says where it comes from.
    """
    if tile < 1:
        raise ConfigError(f"{what}={tile} is out of range: set 1 or more pixels")
    return larger_legal(network, tile + 2 * lost_border(network) - 1)


def tile_step(network: HasSizes, tile: int, blend: int = 0) -> int:
    """Return the largest step between tiles that give `tile` pixels each (paper network: 388 gives 384).

    It is a multiple of the total stride, on which the tiles of one image start.

    Args:
        network: What predicts them.
        tile: Pixels that one pass gives at most, along one axis.
        blend: Pixels in which neighbours overlap.

    Raises:
        ConfigError: If `tile` has no room for a step that is at least `blend`; names the smallest that has.
    """
    step = total_stride(network)
    smallest = max(step, -(-blend // step) * step) + blend
    if tile < smallest:
        beside = f", and inference.blend={blend}" if blend else ""
        raise ConfigError(
            f"inference.tile={tile} is too small for a network with {network.sizes.words}{beside}: "
            f"set {smallest} or more pixels"
        )
    return (tile - blend) // step * step
