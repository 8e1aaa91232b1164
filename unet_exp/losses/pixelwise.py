"""Losses that are a weighted mean over pixels: cross-entropy, the paper's border-weighted one, binary, focal."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from unet_exp.config import IGNORE_LABEL


def widen(logits: Tensor) -> Tensor:
    """Half precision as float32, whatever autocast says; float32 and float64 as they are."""
    return logits if logits.dtype == torch.float64 else logits.float()


def one_hot(label: Tensor, classes: int) -> Tensor:
    """(B, H, W) class indices to (B, classes, H, W) bool; no class where the label is `IGNORE_LABEL`."""
    return label[:, None] == torch.arange(classes, device=label.device)[:, None, None]


def _fill(label: Tensor) -> Tensor:
    """The label as indices, the first class where it is ignored."""
    # Not by `torch.where`: it copies a number to the device, and waits.
    return label.masked_fill(label == IGNORE_LABEL, 0).long()


def weight_tensor(class_weights: Sequence[float] | None) -> Tensor | None:
    """A weight a class as float32, or None."""
    return None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)


class PixelwiseLoss(nn.Module, ABC):
    """A loss that is a weighted mean over pixels: sum(w * l) / sum(w), or / their number.

    A pixel's weight w is its class's weight, plus its own where one is given, and 0 where the label is ignored: the
    sum of the paper's section 3, w(x) = w_c(x) + ...

    Args:
        class_weights: a weight a class, at least 0, or None for ones.
        normalize: what the sum is divided by: the `weights`, or the number of `pixels` that are not ignored.
    """

    class_weights: Tensor | None

    def __init__(
        self, class_weights: Sequence[float] | None = None, normalize: Literal["pixels", "weights"] = "weights"
    ) -> None:
        super().__init__()
        self.normalize = normalize
        self.register_buffer("class_weights", weight_tensor(class_weights), persistent=False)

    def forward(self, logits: Tensor, label: Tensor, pixel_weights: Tensor | None = None) -> Tensor:
        """The loss of a batch.

        Args:
            logits: (B, out, H, W).
            label: (B, H, W) class indices, `IGNORE_LABEL` where no pixel counts.
            pixel_weights: (B, H, W), at least 0, added to the class weights.

        Returns:
            A float32 scalar (float64 for float64 logits); 0 where no pixel counts.
        """
        counted = label != IGNORE_LABEL
        weights = self.weigh(label, pixel_weights)
        losses = self.pixel_losses(widen(logits), _fill(label))
        total = weights if self.normalize == "weights" else counted.float()
        return (weights * losses).sum() / total.sum().clamp_min(torch.finfo(torch.float32).tiny)

    def weigh(self, label: Tensor, pixel_weights: Tensor | None = None) -> Tensor:
        """The weight w of each pixel, (B, H, W) float32; arguments as `forward`'s."""
        target = _fill(label)
        weights = torch.ones_like(target, dtype=torch.float32)
        if self.class_weights is not None:
            weights = self.class_weights[target]
        if pixel_weights is not None:
            weights = weights + pixel_weights
        return weights.masked_fill(label == IGNORE_LABEL, 0)

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
            truth = target[:, None].to(logits.dtype)
        else:
            truth = one_hot(target, logits.shape[1]).to(logits.dtype)
        return functional.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean(dim=1)


class Focal(PixelwiseLoss):
    """Focal loss, softmax form: -(1 - p)^gamma log p of the pixel's class (Lin et al. 2017, equations 4 and 5).

    The paper's alpha is `class_weights`. It divides by the number of positive anchors; here it is a weighted mean.

    Args:
        class_weights: a weight a class, or None for ones.
        gamma: at least 0; 0 is the cross-entropy, the paper's is 2.
    """

    def __init__(self, class_weights: Sequence[float] | None = None, gamma: float = 2.0) -> None:
        super().__init__(class_weights)
        self.gamma = gamma

    def pixel_losses(self, logits: Tensor, target: Tensor) -> Tensor:
        """See `PixelwiseLoss`; `out` is the number of classes."""
        log_p = functional.log_softmax(logits, dim=1)
        # The other classes' sum: 1 - p would lose its digits where p is nearly 1, and its power's slope is infinite
        # at 0 where gamma is below 1.
        log_rest = log_p.masked_fill(one_hot(target, logits.shape[1]), -torch.inf).logsumexp(dim=1)
        return -torch.exp(self.gamma * log_rest) * log_p.gather(1, target[:, None])[:, 0]


class BorderWeighted(CrossEntropy):
    """The paper's loss (section 3): cross-entropy, each pixel weighted by w_c(x) + w0 exp(-(d1 + d2)^2 / (2 sigma^2)).

    `class_weights` are w_c; the other term is `pixel_weights`, which `targets` makes of the label.
    """

    def forward(self, logits: Tensor, label: Tensor, pixel_weights: Tensor | None = None) -> Tensor:
        """See `PixelwiseLoss`.

        Raises:
            ValueError: without `pixel_weights`: it would be a plain cross-entropy.
        """
        if pixel_weights is None:
            raise ValueError("border_weighted needs the pixel weights that unet_exp.losses.targets makes")
        return super().forward(logits, label, pixel_weights)
