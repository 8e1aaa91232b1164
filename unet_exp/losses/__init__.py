"""Losses: logits and labels in, one number out; all of them honour class weights, pixel weights and ignored pixels.

A training needs three things of this room: `class_weights` once, `targets` for each label, and what `build` returns.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from unet_exp.config import IGNORE_LABEL, BorderWeightedConfig, LossConfig
from unet_exp.weight_map import Instances, Label, border_term, instances_of, open_touching, reach


class Targets(Protocol):
    """What a loss makes of a label; `targets` builds it. It can be pickled, for the workers of a loader."""

    @property
    def reach(self) -> int:
        """How far around a pixel the label decides its target, pixels; 0 where the pixel's own label is all."""

    def __call__(self, label: Label, instances: Instances | None) -> tuple[Label, NDArray[np.float32] | None]:
        """The target of a label.

        Args:
            label: (H, W).
            instances: (H, W), where there are any; not used where `reach` is 0.

        Returns:
            The label to train on (H, W), and the weights of its pixels (H, W), or None.
        """


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
        weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, logits: Tensor, label: Tensor, pixel_weights: Tensor | None = None) -> Tensor:
        """The loss of a batch.

        Args:
            logits: (B, out, H, W).
            label: (B, H, W) class indices, `IGNORE_LABEL` where no pixel counts.
            pixel_weights: (B, H, W), at least 0, added to the class weights.

        Returns:
            A float32 scalar; 0 where no pixel counts.
        """
        counted = label != IGNORE_LABEL
        target = torch.where(counted, label, 0).long()
        weights = torch.ones_like(target, dtype=torch.float32)
        if self.class_weights is not None:
            weights = self.class_weights[target]
        if pixel_weights is not None:
            weights = weights + pixel_weights
        weights = torch.where(counted, weights, 0)
        losses = self.pixel_losses(logits.float(), target)
        total = weights if self.normalize == "weights" else counted.float()
        return (weights * losses).sum() / total.sum().clamp_min(torch.finfo(torch.float32).tiny)

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


_PLAIN: dict[str, type[PixelwiseLoss]] = {"cross_entropy": CrossEntropy, "bce": BinaryCrossEntropy}


def build(config: LossConfig, class_weights: Sequence[float] | None) -> PixelwiseLoss:
    """The loss that the config names, with the numbers that `class_weights` found."""
    if isinstance(config, BorderWeightedConfig):
        return BorderWeighted(class_weights, config.normalize)
    return _PLAIN[config.name](class_weights)


def targets(config: LossConfig) -> Targets:
    """What the loss that the config names makes of a label.

    For `border_weighted`: touching instances opened (`open_touching`), and the distance term of the weight map; the
    cells are the instances, or the 4-connected components of each class where there are none. Give the instances of
    the whole image where the label is a patch of it: a cell that the patch cuts in two stays one cell.
    For the other losses: the label as it is, and None.
    """
    return _BorderTargets(config) if isinstance(config, BorderWeightedConfig) else _LabelAlone()


@dataclass(frozen=True)
class _BorderTargets:
    config: BorderWeightedConfig

    @property
    def reach(self) -> int:
        # The distance term is negligible farther away; each of the four steps of opening looks one pixel ahead.
        return ceil(reach(self.config.w0, self.config.sigma)) + 4 * self.config.open_touching

    def __call__(self, label: Label, instances: Instances | None) -> tuple[Label, NDArray[np.float32]]:
        if instances is None:
            instances = instances_of(label)
        if self.config.open_touching:
            label, instances = open_touching(label, instances)
        return label, border_term(instances, self.config.w0, self.config.sigma, self.config.where)


class _LabelAlone:
    reach = 0

    def __call__(self, label: Label, instances: Instances | None) -> tuple[Label, None]:
        del instances
        return label, None


def class_weights(config: LossConfig, counts: Sequence[int]) -> list[float] | None:
    """The weight of each class, from the config's words.

    With C classes, n pixels and n_c of them of class c, f_c = n_c / n is the share of the class:

    - a list: as it is;
    - `inverse`: n / (C n_c) = 1 / (C f_c), so that each class weighs the same; 0 for an absent class;
    - `frequency`: 1 - f_c, the share of the other classes (Xie and Tu 2015, section 2.2, for two classes);
    - null: None, which stands for ones.

    Args:
        config: of the loss.
        counts: pixels of each class in the training labels.

    Returns:
        A weight a class, or None.
    """
    if isinstance(config.class_weights, list):
        return config.class_weights
    pixels = max(1, sum(counts))
    if config.class_weights == "inverse":
        return [pixels / (len(counts) * count) if count else 0.0 for count in counts]
    if config.class_weights == "frequency":
        return [1 - count / pixels for count in counts]
    return None
