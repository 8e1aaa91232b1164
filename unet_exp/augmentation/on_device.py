"""Deformations of a batch as tensors, on the device of a training: the same draws and the same formulas.

A batch is a dict of tensors of B patches. `describe_motion` and `describe_values` give the entries of one patch, which
`stack_values` and PyTorch stack; `Lookup` and `change_values` make the patches of them. An image equals that of
`unet_exp.augmentation.paper.resample` up to rounding; OpenCV 4 rounds places to 1/32 px, here they are exact. Nothing
here waits for the device.
"""

from collections.abc import Mapping, Sequence
from math import ceil, floor
from typing import Literal, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from unet_exp.augmentation.paper import Floats, GreyChange, Motion, spline_basis
from unet_exp.augmentation.protocol import Window


class Box(NamedTuple):
    """A part of an image, which may reach beyond it."""

    top: int
    left: int
    height: int
    width: int

    def clip(self, size: tuple[int, int]) -> "Box":
        """What of it lies in an image of this size."""
        top, left = max(0, self.top), max(0, self.left)
        bottom, right = min(size[0], self.top + self.height), min(size[1], self.left + self.width)
        return Box(top, left, bottom - top, right - left)


def describe_motion(motion: Motion, window: Window, size: tuple[int, int]) -> dict[str, Tensor]:
    """The numbers that say where the pixels of a patch come from.

    They are float64: places are exact in images of any size, and a GPU takes no short cuts for products of float32
    matrices.

    Args:
        motion: as drawn.
        window: which it moves.
        size: of the image.

    Returns:
        `turn` (2, 2), `vectors` (2, G, G), `origin` and `size` (2,).
    """
    turn, vectors, origin = motion.affine(window)
    named = {"turn": turn, "vectors": vectors, "origin": origin, "size": size}
    return {name: torch.from_numpy(np.array(value, np.float64)) for name, value in named.items()}


def describe_values(grey: GreyChange, shape: tuple[int, int, int]) -> dict[str, Tensor]:
    """The numbers that change the grey values of a patch of this shape (S, S, C), float32.

    Returns:
        `grey` (3,), gain, offset and gamma; `blur` (K,), the weights of the blur, K odd, 1 for none; and, where there
        is any, `noise` (C, S, S).
    """
    found: dict[str, Floats] = {
        "grey": np.array([grey.gain, grey.offset, grey.gamma], np.float32),
        "blur": np.ones(1, np.float32),
    }
    if grey.blur:
        count = round(grey.blur * 4 * 2 + 1) | 1  # as `cv2.GaussianBlur` counts them
        found["blur"] = np.array(cv2.getGaussianKernel(count, grey.blur, cv2.CV_32F)[:, 0], np.float32)
    if grey.noise:
        found["noise"] = grey.draw_noise(shape).transpose(2, 0, 1).copy()
    return {name: torch.from_numpy(value) for name, value in found.items()}


def stack_values(patches: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Stacks what `describe_values` gives.

    Returns:
        `grey` (B, 2), gain and offset; where any patch has it, `gamma` (B,), `blur` (B, K), `noise` (B, C, S, S).
    """
    grey = torch.stack([patch["grey"] for patch in patches])
    found = {"grey": grey[:, :2]}
    if (grey[:, 2] != 1).any():
        found["gamma"] = grey[:, 2]
    longest = max(len(patch["blur"]) for patch in patches)
    if longest > 1:
        margins = [(longest - len(patch["blur"])) // 2 for patch in patches]
        found["blur"] = torch.stack(
            [functional.pad(patch["blur"], (margin, margin)) for patch, margin in zip(patches, margins, strict=True)]
        )
    noisy = next((patch["noise"] for patch in patches if "noise" in patch), None)
    if noisy is not None:
        found["noise"] = torch.stack([patch.get("noise", torch.zeros_like(noisy)) for patch in patches])
    return found


class Lookup:
    """Looks up patches in images and maps, of which a batch holds the parts that are looked at.

    Args:
        batch: has the entries of `describe_motion`, stacked.
        basis: (side, G) float64, see `make_basis`.
    """

    def __init__(self, batch: Mapping[str, Tensor], basis: Tensor) -> None:
        places = _find_places(batch["turn"], batch["vectors"], batch["origin"], basis)
        self._places = _fold(places, batch["size"][..., None, None])

    def image(self, parts: Tensor, corner: Tensor, start: int, side: int) -> Tensor:
        """Looks up images bicubically, with the coefficient of OpenCV, -0.75.

        Args:
            parts: (B, C, h, w) float32, of the boxes that `find_box` finds.
            corner: (B, 2), their first rows and columns.
            start: first row and column of the window that is wanted.
            side: of what is wanted, pixels.

        Returns:
            (B, C, side, side).
        """
        rows, columns = (self._cut(start, side) - corner[..., None, None]).unbind(dim=1)
        height, width = parts.shape[-2:]
        grid = torch.stack([columns / (width - 1), rows / (height - 1)], dim=-1) * 2 - 1
        return functional.grid_sample(parts, grid.to(parts.dtype), mode="bicubic", align_corners=True)

    def nearest(self, parts: Tensor, corner: Tensor, start: int, side: int) -> Tensor:
        """Looks up the nearest pixels of maps (B, h, w) of any type: (B, side, side), otherwise as `image`.

        What of the boxes lies beyond the images is not needed.
        """
        # Rounded in the image: half way between two pixels its even one is taken.
        rows, columns = (self._cut(start, side).round() - corner[..., None, None]).long().unbind(dim=1)
        flat = (rows * parts.shape[-1] + columns).flatten(1)
        return parts.flatten(1).gather(1, flat).view(rows.shape)

    def _cut(self, start: int, side: int) -> Tensor:
        return self._places[..., start : start + side, start : start + side]


def find_box(places: Floats, size: tuple[int, int]) -> Box:
    """The part of an image of this size at which places (2, S, S) look, with room for the cubic kernel."""
    (top, bottom), (left, right) = (
        _fold_span(float(line.min()), float(line.max()), length) for line, length in zip(places, size, strict=True)
    )
    top, left = int(top) - 2, int(left) - 2
    return Box(top, left, int(bottom) + 4 - top, int(right) + 4 - left)


def _fold_span(low: float, high: float, size: int) -> tuple[float, float]:
    """The least and the greatest place of a line, folded as in `unet_exp.augmentation.paper.fold`."""
    if size == 1:
        return 0.0, 0.0
    ends = [abs(place - 2 * (size - 1) * round(place / (2 * (size - 1)))) for place in (low, high)]
    # Between them, it turns back at each multiple of size - 1: at 0 the even ones, at the other end the odd ones.
    turns = range(ceil(low / (size - 1)), floor(high / (size - 1)) + 1)
    ends += [turn % 2 * (size - 1.0) for turn in turns[:2]]
    return min(ends), max(ends)


def make_basis(size: int, surround: int, grid: int, knots: Literal["border", "inside"]) -> Tensor:
    """What each knot contributes to each pixel of a line of a window: (size + 2 surround, grid) float64."""
    return torch.from_numpy(spline_basis(size, surround, grid, knots).astype(np.float64))


def _find_places(turn: Tensor, vectors: Tensor, origin: Tensor, basis: Tensor) -> Tensor:
    """`Motion.source` for a batch: (B, 2, S, S) float64 rows and columns in the image."""
    side = basis.shape[0]
    from_centre = torch.arange(side, dtype=basis.dtype, device=basis.device) - (side - 1) / 2
    places = basis @ vectors @ basis.T
    places += (turn[..., :1] * from_centre + origin[..., None])[..., None]
    places += (turn[..., 1:] * from_centre)[..., None, :]
    return places


def _fold(places: Tensor, size: Tensor) -> Tensor:
    """`unet_exp.augmentation.paper.fold`: mirrored into 0 .. size - 1."""
    period = 2 * (size - 1)
    folded = (places - period * (places / period.clamp_min(1)).round()).abs()
    return folded.masked_fill(size == 1, 0)


def change_values(images: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    """Changes the grey values of patches (B, C, S, S) as the entries of `stack_values` say."""
    if "blur" in batch:
        images = _blur_lines(_blur_lines(images, batch["blur"], 3), batch["blur"], 2)
    if "gamma" in batch:
        images = _bend(images, batch["gamma"][:, None, None, None])
    gain, offset = batch["grey"][..., None, None, None].unbind(dim=1)
    images = images * gain + offset
    return images + batch["noise"] if "noise" in batch else images


def _bend(images: Tensor, gamma: Tensor) -> Tensor:
    """The power of the values, scaled to the range of each patch."""
    low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
    bent = ((images - low) / (high - low)).clamp(0, 1) ** gamma * (high - low) + low
    return torch.where((gamma != 1) & (low < high), bent, images)


def _blur_lines(images: Tensor, weights: Tensor, axis: int) -> Tensor:
    """Blurs along an axis with weights (B, K), mirrored at the ends, the border pixel not repeated."""
    size, count = images.shape[axis], weights.shape[1]
    period = max(2 * (size - 1), 1)
    places = (torch.arange(size + count - 1, device=images.device) - count // 2).remainder(period)
    lines = images.index_select(axis, torch.minimum(places, (period - places).clamp_max(size - 1)))
    blurred = torch.zeros_like(images)
    for number in range(count):  # a convolution would take TF32 on a GPU
        blurred += weights[:, number, None, None, None] * lines.narrow(axis, number, size)
    return blurred
