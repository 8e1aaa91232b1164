"""Losses: logits and labels in, one number out; all of them honour class weights, pixel weights and ignored pixels."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from unet_exp.config import IGNORE_LABEL, LossConfig


class PixelwiseLoss(nn.Module, ABC):
    """A loss that is a weighted mean over pixels: sum(w * l) / sum(w).

    A pixel's weight w is its class's weight, times its own where one is given, and 0 where the label is ignored.

    Args:
        class_weights: a weight a class, or None for ones.
    """

    class_weights: Tensor | None

    def __init__(self, class_weights: Sequence[float] | None = None) -> None:
        super().__init__()
        weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, logits: Tensor, label: Tensor, pixel_weights: Tensor | None = None) -> Tensor:
        """The loss of a batch.

        Args:
            logits: (B, out, H, W).
            label: (B, H, W) class indices, `IGNORE_LABEL` where no pixel counts.
            pixel_weights: (B, H, W), at least 0.

        Returns:
            A float32 scalar; 0 where no pixel counts.
        """
        counted = label != IGNORE_LABEL
        target = torch.where(counted, label, 0).long()
        weights = counted.float()
        if self.class_weights is not None:
            weights = weights * self.class_weights[target]
        if pixel_weights is not None:
            weights = weights * pixel_weights
        losses = self.pixel_losses(logits.float(), target)
        return (weights * losses).sum() / weights.sum().clamp_min(torch.finfo(torch.float32).tiny)

    @abstractmethod
    def pixel_losses(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of each pixel: (B, out, H, W) float32 and (B, H, W) int64 to (B, H, W)."""


class CrossEntropy(PixelwiseLoss):
    """Softmax cross-entropy (paper, section 3, without the distance term): -log p of the pixel's class."""

    def pixel_losses(self, logits: Tensor, target: Tensor) -> Tensor:
        """See `PixelwiseLoss`; `out` is the number of classes."""
        # Gathered by hand: the fused kernel has no deterministic version on CUDA.
        return -functional.log_softmax(logits, dim=1).gather(1, target[:, None])[:, 0]


class BinaryCrossEntropy(PixelwiseLoss):
    """Binary cross-entropy: of class 1's only logit, or the mean over the classes, each against the rest."""

    def pixel_losses(self, logits: Tensor, target: Tensor) -> Tensor:
        """See `PixelwiseLoss`; `out` is 1 for two classes, else the number of classes."""
        if logits.shape[1] == 1:
            one_hot = target[:, None].to(logits.dtype)
        else:
            one_hot = functional.one_hot(target, logits.shape[1]).movedim(-1, 1).to(logits.dtype)
        return functional.binary_cross_entropy_with_logits(logits, one_hot, reduction="none").mean(dim=1)


_LOSSES: dict[str, type[PixelwiseLoss]] = {"cross_entropy": CrossEntropy, "bce": BinaryCrossEntropy}


def build(config: LossConfig, class_weights: Sequence[float] | None) -> nn.Module:
    """The loss that the config names, with `balanced` weights already resolved to numbers."""
    return _LOSSES[config.name](class_weights)
