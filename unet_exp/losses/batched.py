"""What a loss makes of the labels of a batch, as tensors: `unet_exp.losses.targets` on the device of a training.

Nothing here waits for the device; `torch.where` with a number would, which it copies there.
"""

from math import ceil
from typing import Literal

import torch
from torch import Tensor

from unet_exp.config import IGNORE_LABEL, BorderWeightedConfig, LossConfig
from unet_exp.weight_map import reach

_FAR = 2**30
"""The square of a distance to no cell."""
_CHUNK = 2**29
"""Bytes that the distances of a chunk of rows take at most, about."""
_BYTES = 24
"""Of a pixel, at one place around it."""


class BatchedTargets:
    """`unet_exp.losses.Targets` for batches on any device, with the same result.

    Args:
        config: of the loss.

    Attributes:
        weighs: whether there are weights, and instances are needed.
        margin: how far around a pixel the instances decide its target, pixels.
    """

    def __init__(self, config: LossConfig) -> None:
        self._config = config if isinstance(config, BorderWeightedConfig) else None
        self.weighs = self._config is not None
        self.margin = 0
        if self._config is not None:
            # Each of the four steps of opening looks one pixel ahead.
            self.margin = find_margin(self._config) + 4 * self._config.open_touching

    def __call__(self, label: Tensor, instances: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The targets of labels.

        Args:
            label: (B, H, W) uint8.
            instances: (B, H + 2 margin, W + 2 margin), where there are weights.

        Returns:
            The labels to train on (B, H, W), and the weights of their pixels (B, H, W), or None.
        """
        config = self._config
        if config is None:
            return label, None
        assert instances is not None
        if config.open_touching:
            separate = open_touching(instances)
            opened = _trim(separate != instances, self.margin) & (label != IGNORE_LABEL)
            label, instances = label.masked_fill(opened, 0), _trim(separate, 4)
        return label, border_term(instances, find_margin(config), config.w0, config.sigma, config.where)


def find_margin(config: BorderWeightedConfig) -> int:
    """How far from a pixel a cell counts, pixels: d1 + d2 < reach, and on background d1 is at least 1."""
    farthest = reach(config.w0, config.sigma) - (config.where == "background")
    return max(0, ceil(farthest) - 1)


def open_touching(instances: Tensor) -> Tensor:
    """A copy of ids (B, H, W) in which no two are 8-neighbours: `unet_exp.weight_map.open_touching`."""
    separate = instances.clone()
    rows, columns = separate.shape[-2:]
    for down, right in ((1, 0), (0, 1), (1, 1), (1, -1)):
        here = separate[:, : rows - down, max(0, -right) : columns - max(0, right)]
        there = separate[:, down:, max(0, right) : columns - max(0, -right)]
        here.masked_fill_((here != there) & (here != 0) & (there != 0), 0)
    return separate


def border_term(
    instances: Tensor, margin: int, w0: float, sigma: float, where: Literal["background", "everywhere"]
) -> Tensor:
    """`unet_exp.weight_map.border_term` for all but the outer `margin` pixels of ids (B, H, W).

    Both distances are exact for pixels that count, in two passes: in each column the two nearest cells, and of those of
    all columns the two nearest. A column's third cell is never needed: of its two nearest, one is not the pixel's
    nearest cell, and is as near.
    """
    farthest, height = reach(w0, sigma), instances.shape[1] - 2 * margin
    row = _BYTES * (2 * margin + 1) * (instances.shape[2] + 2 * (instances.shape[2] - 2 * margin)) * len(instances)
    step = max(1, _CHUNK // row)
    found = []
    for top in range(0, height, step):
        part = instances[:, top : min(top + step, height) + 2 * margin]
        first, second = _two_squares(part, margin)
        total = first.float().sqrt() + second.float().sqrt()
        none = total >= farthest
        if where == "background":
            none |= _trim(part, margin) != 0
        found.append((w0 * torch.exp(-0.5 * (total / sigma) ** 2)).masked_fill(none, 0))
    return torch.cat(found, dim=1)


def _two_squares(instances: Tensor, margin: int) -> tuple[Tensor, Tensor]:
    """Squares of the distances to the nearest and the second-nearest cell, of all but the outer `margin` pixels."""
    offsets = torch.arange(-margin, margin + 1, dtype=torch.int32, device=instances.device).square()[
        :, None, None, None
    ]
    # The places around each pixel come first, so that neighbours lie side by side in memory.
    ids = instances.unfold(1, 2 * margin + 1, 1).movedim(-1, 0)
    column = _two_nearest(offsets.masked_fill(ids == 0, _FAR), ids)
    squares, ids = (
        torch.cat([pixels.unfold(2, 2 * margin + 1, 1).movedim(-1, 0) for pixels in pair]) for pair in column
    )
    (first, second), _ = _two_nearest(squares + torch.cat([offsets, offsets]), ids)
    return first, second


def _two_nearest(squares: Tensor, ids: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Of K cells of each pixel, (K, B, H, W), the nearest one and the nearest one of another id."""
    first, place = squares.min(dim=0)
    nearest = ids.gather(0, place[None])
    second, place = squares.masked_fill(ids == nearest, _FAR).min(dim=0)
    return (first, second), (nearest[0], ids.gather(0, place[None])[0])


def _trim(pixels: Tensor, margin: int) -> Tensor:
    """Without the outer pixels (B, H, W)."""
    rows, columns = pixels.shape[-2:]
    return pixels[:, margin : rows - margin, margin : columns - margin]
