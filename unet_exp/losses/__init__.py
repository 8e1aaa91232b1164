"""Losses: logits and labels in, one number out; all of them honour class weights, pixel weights and ignored pixels.

A training needs three things of this room: `class_weights` once, `targets` for each label, and what `build` returns.
"""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from unet_exp.config import IGNORE_LABEL, BorderWeightedConfig, LossConfig
from unet_exp.config.learning import CustomLossConfig
from unet_exp.losses.custom import CustomLoss
from unet_exp.losses.deep_supervision import supervise
from unet_exp.losses.pixelwise import BinaryCrossEntropy, BorderWeighted, CrossEntropy, Focal, PixelwiseLoss
from unet_exp.losses.region import Dice, DiceCrossEntropy, Lovasz, RegionLoss, Tversky
from unet_exp.losses.targets import Targets, targets

__all__ = [
    "BinaryCrossEntropy",
    "BorderWeighted",
    "CrossEntropy",
    "CustomLoss",
    "Dice",
    "DiceCrossEntropy",
    "Focal",
    "Lovasz",
    "PixelwiseLoss",
    "RegionLoss",
    "Targets",
    "Tversky",
    "build",
    "class_weights",
    "count_images",
    "supervise",
    "targets",
]

_BUILT_IN: dict[str, Callable[..., nn.Module]] = {
    "cross_entropy": CrossEntropy,
    "bce": BinaryCrossEntropy,
    "focal": Focal,
    "dice": Dice,
    "dice_ce": DiceCrossEntropy,
    "tversky": Tversky,
    "lovasz": Lovasz,
}
"""Each takes the class weights, and the keys of its config by their names."""


def build(config: LossConfig, class_weights: Sequence[float] | None) -> nn.Module:
    """The loss that the config names, with the numbers that `class_weights` found.

    Every loss is called with logits (B, out, H, W), a label (B, H, W) and, or None, pixel weights (B, H, W).

    Raises:
        ConfigError: if a user's own class cannot be imported or does not fit.
    """
    if isinstance(config, BorderWeightedConfig):
        return BorderWeighted(class_weights, config.normalize)
    if isinstance(config, CustomLossConfig):
        return CustomLoss(config, class_weights)
    keys: dict[str, Any] = config.model_dump(exclude={"name", "class_weights"})
    return _BUILT_IN[config.name](class_weights, **keys)


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


def count_images(label: Tensor) -> int:
    """How many images of a batch have a pixel that counts; where there is none, the loss of the batch means nothing.

    Args:
        label: (B, H, W) class indices, `IGNORE_LABEL` where no pixel counts.
    """
    return int((label != IGNORE_LABEL).flatten(1).any(dim=1).sum())
