"""Losses of regions: what the soft prediction and the label of a class share, not pixel by pixel.

Shapes: G groups of pixels that are counted together (the batch, or each image), C classes, N pixels of a group.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from unet_exp.config import IGNORE_LABEL
from unet_exp.losses.pixelwise import CrossEntropy, one_hot, weight_tensor, widen


class RegionLoss(nn.Module, ABC):
    """A loss a class, and their mean weighted by `class_weights`; then the mean over the groups that count anything.

    A pixel counts once, plus its own weight where one is given, and not at all where the label is ignored.

    Args:
        class_weights: a weight a class, at least 0, or None for ones.
        per_image: whether each image is a group of its own; else the whole batch is one.
        classes: `present`: a class that no counted pixel of the group is labelled with is left out of the mean;
            `all`: it is in it, and asks that nothing be predicted as this class.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        per_image: bool = False,
        classes: Literal["present", "all"] = "present",
    ) -> None:
        super().__init__()
        self.per_image = per_image
        self.classes = classes
        self.register_buffer("class_weights", weight_tensor(class_weights), persistent=False)

    def forward(self, logits: Tensor, label: Tensor, pixel_weights: Tensor | None = None) -> Tensor:
        """The loss of a batch.

        Args:
            logits: (B, classes, H, W).
            label: (B, H, W) class indices, `IGNORE_LABEL` where no pixel counts.
            pixel_weights: (B, H, W), at least 0, added to the 1 of every pixel.

        Returns:
            A float32 scalar (float64 for float64 logits); 0 where no pixel counts.
        """
        counts = (label != IGNORE_LABEL).long()
        weights = counts if pixel_weights is None else counts * (1 + pixel_weights)
        truth = self._group(one_hot(label, logits.shape[1]))
        weights = self._group(weights[:, None])
        losses = self.class_losses(self._group(widen(logits).softmax(dim=1)), truth, weights)
        shares = weights.sum(dim=2) > 0 if self.classes == "all" else (truth & (weights > 0)).any(dim=2)
        shares = shares.to(losses.dtype).expand_as(losses)
        if self.class_weights is not None:
            shares = shares * self.class_weights
        of_group = shares.sum(dim=1)
        means = (shares * losses).sum(dim=1) / of_group.clamp_min(torch.finfo(torch.float32).tiny)
        return means.sum() / (of_group > 0).sum().clamp_min(1)

    def _group(self, values: Tensor) -> Tensor:
        """(B, C, H, W) to (G, C, N)."""
        return values.flatten(2) if self.per_image else values.movedim(1, 0).flatten(1)[None]

    @abstractmethod
    def class_losses(self, probabilities: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
        """The loss of each class in each group.

        Args:
            probabilities: (G, C, N).
            truth: (G, C, N) bool, one-hot, all false where the label is ignored.
            weights: (G, 1, N), whole numbers or float32; 0 where the label is ignored.

        Returns:
            (G, C).
        """


class Tversky(RegionLoss):
    """Tversky loss: 1 - (TP + s) / (TP + alpha FP + beta FN + s) (Salehi et al. 2017, equations 4 and 5).

    TP = sum p g, FP = sum p (1 - g), FN = sum (1 - p) g over a group's pixels, p the softmax and g the label.

    Args:
        class_weights: see `RegionLoss`.
        alpha: weight of false positives, at least 0.
        beta: weight of false negatives, at least 0; above `alpha` it favours recall.
        smooth: s, pixels, at least 0; above 0 a class with next to no pixels has a smaller say.
        per_image: see `RegionLoss`.
        classes: see `RegionLoss`.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        alpha: float = 0.3,
        beta: float = 0.7,
        smooth: float = 1.0,
        per_image: bool = False,
        classes: Literal["present", "all"] = "present",
    ) -> None:
        super().__init__(class_weights, per_image, classes)
        self.alpha, self.beta, self.smooth = alpha, beta, smooth

    def class_losses(self, probabilities: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
        """See `RegionLoss`."""
        both = (weights * truth * probabilities).sum(dim=2)
        false_positive = (weights * ~truth * probabilities).sum(dim=2)
        false_negative = (weights * truth * (1 - probabilities)).sum(dim=2)
        # Not as 1 - quotient: where the prediction is good, the difference of two ones has no digits left.
        wrong = self.alpha * false_positive + self.beta * false_negative
        return wrong / (both + wrong + self.smooth).clamp_min(torch.finfo(torch.float32).tiny)


class Dice(Tversky):
    """Soft Dice loss: 1 - (2 sum p g + s) / (sum p + sum g + s) (Milletari et al. 2016, without their squares).

    It is the Tversky loss with alpha = beta = 1/2 and half of s.

    Args:
        class_weights: see `RegionLoss`.
        smooth: s, pixels, at least 0.
        per_image: see `RegionLoss`.
        classes: see `RegionLoss`.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        smooth: float = 1.0,
        per_image: bool = False,
        classes: Literal["present", "all"] = "present",
    ) -> None:
        super().__init__(class_weights, 0.5, 0.5, smooth / 2, per_image, classes)


class DiceCrossEntropy(nn.Module):
    """Weighted sum of `Dice` and `CrossEntropy` (as nnU-Net trains: Isensee et al. 2021, both weights 1).

    Args:
        class_weights: of both parts, see `RegionLoss`.
        dice_weight: of the Dice loss, at least 0.
        ce_weight: of the cross-entropy, at least 0.
        smooth: see `Dice`.
        per_image: of the Dice loss, see `RegionLoss`.
        classes: of the Dice loss, see `RegionLoss`.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        dice_weight: float = 1.0,
        ce_weight: float = 1.0,
        smooth: float = 1.0,
        per_image: bool = False,
        classes: Literal["present", "all"] = "present",
    ) -> None:
        super().__init__()
        self.dice = Dice(class_weights, smooth, per_image, classes)
        self.cross_entropy = CrossEntropy(class_weights)
        self.dice_weight, self.ce_weight = dice_weight, ce_weight

    def forward(self, logits: Tensor, label: Tensor, pixel_weights: Tensor | None = None) -> Tensor:
        """See `RegionLoss`."""
        dice: Tensor = self.dice(logits, label, pixel_weights)
        cross_entropy: Tensor = self.cross_entropy(logits, label, pixel_weights)
        return self.dice_weight * dice + self.ce_weight * cross_entropy


class Lovasz(RegionLoss):
    """Lovász-softmax: the Lovász extension of 1 - IoU at the errors `|g - p|` (Berman et al. 2018, eq. 9 and 11).

    Its arguments are those of `RegionLoss`; the paper's is `present`, over the batch or per image.
    """

    def class_losses(self, probabilities: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
        """See `RegionLoss`."""
        errors = torch.where(truth, 1 - probabilities, probabilities)
        # The slope is constant between changes of the order; each error is weighted by its pixel's.
        return (errors * self._slope(errors.detach(), truth, weights)).sum(dim=2)

    @staticmethod
    def _slope(errors: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
        """By how much 1 - IoU grows with each pixel that is got wrong, the largest error first (Algorithm 1).

        The paper takes differences of neighbouring values of 1 - I / U. Here they are closed forms, because in
        float32 the differences vanish in large images: w / U for a pixel of the class, which leaves the intersection,
        and w I / (U (U - w)) for another, which joins the union.
        """
        # Ignored pixels come last, where they take and join nothing. A stable order makes ties reproducible.
        order = errors.masked_fill(weights <= 0, -1).sort(dim=2, descending=True, stable=True).indices
        weights = weights.expand_as(errors).gather(2, order)
        truth = truth.gather(2, order)
        inside, outside = weights * truth, weights * ~truth
        # Whole numbers, unless pixels have weights: CUDA has no deterministic cumulative sum of floats.
        size = inside.sum(dim=2, keepdim=True)
        union = (size + outside.cumsum(dim=2)).to(errors.dtype)
        kept = (size - inside.cumsum(dim=2)).to(errors.dtype)
        before = union - outside
        joins = torch.where(before > 0, kept / union * outside / before, outside / union)
        slope = torch.where(truth, inside / union, joins)
        return slope.masked_fill(weights <= 0, 0).gather(2, order.argsort(dim=2))
