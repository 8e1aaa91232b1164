"""The normalisations that a network may have, and what a convolution has to learn with them, in plain integers."""

from math import gcd
from typing import Literal

Norm = Literal["none", "batch", "instance", "group"]


def norm_groups(channels: int) -> int:
    """Return the number of groups of a group norm: the largest divisor of `channels` among 1, 2, 4 and 8."""
    return gcd(8, channels)


def norm_parameters(norm: Norm, channels: int) -> int:
    """Return the parameters of a normalisation, a factor and a summand a channel."""
    return 0 if norm == "none" else 2 * channels


def conv_parameters(read: int, given: int, kernel: int, norm: Norm) -> int:
    """Return the parameters of a convolution and its norm, which takes the place of its bias.

    Args:
        read: Channels that it reads.
        given: Channels that it gives.
        kernel: Side of its kernel.
        norm: That follows it.
    """
    return read * given * kernel**2 + (norm_parameters(norm, given) or given)
