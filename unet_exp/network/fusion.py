"""How a decoder map and its skip come together: first one size, then one map.

What each fusion gives and costs in plain integers is `unet_exp.geometry.FUSIONS`.

Shapes: B batch, C channels, H height, W width.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from unet_exp.geometry import Align, Norm
from unet_exp.geometry.fusions import inner_channels
from unet_exp.network.norms import conv_and_norm

Array = TypeVar("Array", Tensor, NDArray[Any])


def center_crop(x: Array, size: int | tuple[int, int]) -> Array:
    """Crop the last two axes at the centre; the one function for skips, labels, weight maps and logits.

    Args:
        x: Tensor or array of shape (..., H, W).
        size: Height and width of the result in pixels, or one number for both.

    Returns:
        A view of shape (..., height, width). Of an odd surplus the odd pixel goes at the bottom or right.

    Raises:
        ValueError: If `x` is smaller than `size`.
    """
    height, width = (size, size) if isinstance(size, int) else size
    high, wide = x.shape[-2:]
    # A compiled or exported graph keeps its sizes symbolic; a comparison here would pin them.
    if not torch.compiler.is_compiling() and (height > high or width > wide):
        raise ValueError(f"cannot crop {height} x {width} pixels out of {high} x {wide}")
    top, left = (high - height) // 2, (wide - width) // 2
    return x[..., top : top + height, left : left + width]


def pad_to(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Pad (B, C, H, W) with zeros at the bottom and right to `size` (height, width) in pixels."""
    height, width = size
    return F.pad(x, (0, width - x.shape[-1], 0, height - x.shape[-2]))


def align(up: Tensor, skip: Tensor, how: Align) -> tuple[Tensor, Tensor]:
    """Bring a decoder map (B, C, H, W) and its skip (B, C', H', W') to one size.

    Args:
        up: The up-sampled map.
        skip: The encoder's map of the same level.
        how: `crop` crops the skip (paper, Sec. 2); `pad` pads the decoder's map, which floor pooling has left
            at most one pixel short; `exact` leaves both as they are.

    Returns:
        Both maps, of equal height and width.
    """
    if how == "crop":
        return up, center_crop(skip, (up.shape[-2], up.shape[-1]))
    if how == "pad":
        return pad_to(up, (skip.shape[-2], skip.shape[-1])), skip
    return up, skip


class Concat(nn.Module):
    """Concatenates along the channels, the up-sampled map first (the order of the authors' release)."""

    def forward(self, up: Tensor, skip: Tensor) -> Tensor:
        """Join (B, C, H, W) and (B, C', H, W) to (B, C + C', H, W)."""
        return torch.cat([up, skip], dim=1)


class Add(nn.Module):
    """Adds the two maps: the same as `Concat` with the weights of both halves tied."""

    def forward(self, up: Tensor, skip: Tensor) -> Tensor:
        """Join two maps (B, C, H, W) to one."""
        return up + skip


class DropSkip(nn.Module):
    """Takes the up-sampled map alone: a control without skips, called like the others."""

    def forward(self, up: Tensor, skip: Tensor) -> Tensor:  # noqa: ARG002
        """Give (B, C, H, W) back as it is."""
        return up


class AttentionGate(nn.Module):
    """Concatenates like `Concat`, after each pixel of the skip is multiplied by a number from 0 to 1.

    The number is sigmoid(psi(relu(of_up(up) + of_skip(skip)))), each function a 1x1 convolution with the network's
    norm: the additive attention gate of Oktay et al. 2018 (equations 1 and 2) in the form of MONAI's AttentionUnet,
    where the norm is batch norm and the skip comes first. In the paper the gating signal is the coarser map before its
    up-sampling, a strided convolution brings the skip to that resolution, the numbers are up-sampled (trilinearly, in
    volumes), and the skip of the full resolution has no gate.
    """

    def __init__(self, up: int, skip: int, norm: Norm) -> None:
        super().__init__()
        inner = inner_channels(skip)
        self.of_up = nn.Sequential(*conv_and_norm(up, inner, 1, norm))
        self.of_skip = nn.Sequential(*conv_and_norm(skip, inner, 1, norm))
        self.psi = nn.Sequential(*conv_and_norm(inner, 1, 1, norm), nn.Sigmoid())

    def forward(self, up: Tensor, skip: Tensor) -> Tensor:
        """Join (B, C, H, W) and (B, C', H, W) to (B, C + C', H, W)."""
        gate = self.psi(F.relu(self.of_up(up) + self.of_skip(skip)))
        return torch.cat([up, gate * skip], dim=1)


MODULES: Final[dict[str, Callable[[int, int, Norm], nn.Module]]] = {
    "concat": lambda _up, _skip, _norm: Concat(),
    "add": lambda _up, _skip, _norm: Add(),
    "none": lambda _up, _skip, _norm: DropSkip(),
    "attention": AttentionGate,
}
"""Makes the module of a fusion from the channels of the up-sampled map and of the skip, and the network's norm; one for
each decoder level.

A module draws its own initial weights; those of its convolutions `initialise` draws anew.
"""
