"""What each way to join a decoder map and its skip gives and costs, in plain integers.

`up` and `skip` are the channels of the up-sampled map and of its skip, which have one size by then, and `norm` is the
network's normalisation. The module that does what is declared here is `unet_exp.network.fusion.MODULES` of the same
word; tests compare the two.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from unet_exp.geometry.norms import Norm, conv_parameters


class Learned(NamedTuple):
    """A step of a fusion that has weights.

    Attributes:
        name: For people, as in the table of layers: `conv 1x1 of the skip`.
        channels_in: Channels that it reads.
        channels_out: Channels that it gives.
        kernel: Side of its convolution's kernel; 0 where it multiplies no matrix, as a scale a channel does not.
        parameters: Weights and biases, and those of its norm.
    """

    name: str
    channels_in: int
    channels_out: int
    kernel: int
    parameters: int


@dataclass(frozen=True)
class Fusion:
    """One way to join the two maps.

    Attributes:
        channels: Channels of the joined map.
        learned: Its steps with weights, in their order; of `up`, `skip` and `norm`.
        refuses: Why it cannot join so many channels, in words that follow `fusion=<word>`; None where it can.
        scratch: Channels of the maps that it holds at once while it computes, without `up`, `skip` and the joined map.
        takes_skip: Whether the skip is read; where it is not, the joined map is the up-sampled one itself.
    """

    channels: Callable[[int, int], int]
    learned: Callable[[int, int, Norm], tuple[Learned, ...]] = lambda _up, _skip, _norm: ()
    refuses: Callable[[int, int], str | None] = lambda _up, _skip: None
    scratch: Callable[[int, int], int] = lambda _up, _skip: 0
    takes_skip: bool = True


def _unequal(up: int, skip: int) -> str | None:
    return None if up == skip else f"cannot add {up} channels to {skip}"


def inner_channels(skip: int) -> int:
    """Return the channels in which an attention gate compares both maps: half of the skip's."""
    return max(skip // 2, 1)


def _steps_of_gate(up: int, skip: int, norm: Norm) -> tuple[Learned, ...]:
    inner = inner_channels(skip)
    convs = (("of the map", up, inner), ("of the skip", skip, inner), ("to one channel", inner, 1))
    return tuple(
        Learned(f"gate: conv 1x1 {what}", read, given, 1, conv_parameters(read, given, 1, norm))
        for what, read, given in convs
    )


FUSIONS: Final[dict[str, Fusion]] = {
    "concat": Fusion(channels=lambda up, skip: up + skip),
    "add": Fusion(channels=lambda up, _skip: up, refuses=_unequal),
    "none": Fusion(channels=lambda up, _skip: up, takes_skip=False),
    # The gate's one channel and the gated skip live beside the joined map; what comes before that takes less.
    "attention": Fusion(
        channels=lambda up, skip: up + skip, learned=_steps_of_gate, scratch=lambda _up, skip: skip + 1
    ),
}
"""The one list of the words that `fusion` may be."""
