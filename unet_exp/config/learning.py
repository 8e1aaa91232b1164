"""Config of the loss."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from unet_exp.config.values import ImportPath, NonNegative
from unet_exp.schema import Strict


def _require_weight(weights: list[float]) -> list[float]:
    if not any(weights):
        raise ValueError("at least one weight must be more than 0")
    return weights


def _read_words(value: object) -> object:
    if isinstance(value, str) and value not in ("none", "inverse", "frequency"):
        raise ValueError("must be null, inverse, frequency or a list of numbers, such as [1,2.5]")
    return None if value == "none" else value


def _require_number(value: object) -> object:
    if value is None or value == "none":
        raise ValueError("must be a number; 0 switches it off")
    return value


_WEIGHTS = "list of 2 or more, each: number, at least 0; not all 0"
ClassWeights = Annotated[
    Literal["inverse", "frequency"]
    | Annotated[list[NonNegative], Field(min_length=2, description=_WEIGHTS), AfterValidator(_require_weight)]
    | None,
    BeforeValidator(_read_words),
]
"""`unet_exp.losses.class_weights` has the formulas."""


class CrossEntropyConfig(Strict):
    """Softmax cross-entropy; `bce`: binary, with one logit for two classes, else one class against the rest."""

    name: Literal["cross_entropy", "bce"]
    class_weights: ClassWeights


class FocalConfig(Strict):
    """Cross-entropy in which correct pixels count little."""

    name: Literal["focal"]
    class_weights: ClassWeights
    gamma: NonNegative


class _RegionConfig(Strict):
    """`unet_exp.losses.region.RegionLoss` explains the keys."""

    class_weights: ClassWeights
    per_image: bool
    classes: Literal["present", "all"]


class DiceConfig(_RegionConfig):
    """Soft Dice."""

    name: Literal["dice"]
    smooth: NonNegative


class DiceCEConfig(_RegionConfig):
    """Soft Dice and cross-entropy, added."""

    name: Literal["dice_ce"]
    smooth: NonNegative
    dice_weight: NonNegative
    ce_weight: NonNegative

    @model_validator(mode="after")
    def _require_part(self) -> "DiceCEConfig":
        if not self.dice_weight and not self.ce_weight:
            raise ValueError("loss.dice_weight or loss.ce_weight must be above 0")
        return self


class TverskyConfig(_RegionConfig):
    """Dice with separate weights of false positives and false negatives."""

    name: Literal["tversky"]
    alpha: NonNegative
    beta: NonNegative
    smooth: NonNegative

    @model_validator(mode="after")
    def _require_penalty(self) -> "TverskyConfig":
        if not self.alpha and not self.beta:
            raise ValueError("loss.alpha or loss.beta must be above 0")
        return self


class LovaszConfig(_RegionConfig):
    """Lovász-softmax."""

    name: Literal["lovasz"]


class CustomLossConfig(Strict):
    """A user's own class.

    Attributes:
        target: `package.module.Name`.
        params: keyword arguments; null for none.
        class_weights: null, or its further argument `class_weights`, a list of numbers.
        labels: how a class of another package takes the label beside the logits, see `unet_exp.losses.custom`; null:
            it is called as the losses of this project are.
    """

    name: Literal["custom"]
    target: ImportPath
    params: dict[str, Any] | None
    class_weights: ClassWeights
    labels: Literal["indices", "channel", "one_hot"] | None = None  # for earlier runs, which lack it


class BorderWeightedConfig(Strict):
    """The paper's loss (section 3): softmax cross-entropy, weighted by class and by nearness to two cells."""

    name: Literal["border_weighted"]
    class_weights: ClassWeights
    w0: Annotated[NonNegative, BeforeValidator(_require_number)]
    sigma: Annotated[float, Field(gt=0, le=100)]
    where: Literal["background", "everywhere"]
    open_touching: bool
    normalize: Literal["pixels", "weights"]


LossConfig = Annotated[
    CrossEntropyConfig
    | BorderWeightedConfig
    | FocalConfig
    | DiceConfig
    | DiceCEConfig
    | TverskyConfig
    | LovaszConfig
    | CustomLossConfig,
    Field(discriminator="name"),
]
