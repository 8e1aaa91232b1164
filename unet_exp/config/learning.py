"""What is learned from, and how: loss, augmentation, optimizer, schedule."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from unet_exp.config.values import Fraction, Natural, NonNegative, Positive
from unet_exp.schema import Strict


def _some_weight(weights: list[float]) -> list[float]:
    if not any(weights):
        raise ValueError("at least one weight must be more than 0")
    return weights


ClassWeights = Annotated[
    Literal["inverse", "frequency"]
    | Annotated[list[NonNegative], Field(min_length=2), AfterValidator(_some_weight)]
    | None,
    BeforeValidator(lambda value: None if value == "none" else value),
]
"""`unet_exp.losses.class_weights` has the formulas."""


class CrossEntropyConfig(Strict):
    """Softmax cross-entropy."""

    name: Literal["cross_entropy"]
    class_weights: ClassWeights


class BCEConfig(Strict):
    """Binary cross-entropy: one logit for two classes, else one against the rest."""

    name: Literal["bce"]
    class_weights: ClassWeights


class BorderWeightedConfig(Strict):
    """The paper's loss (section 3): softmax cross-entropy, weighted by class and by nearness to two cells."""

    name: Literal["border_weighted"]
    class_weights: ClassWeights
    w0: NonNegative
    sigma: Annotated[float, Field(gt=0, le=100)]
    where: Literal["background", "everywhere"]
    open_touching: bool
    normalize: Literal["pixels", "weights"]


LossConfig = Annotated[CrossEntropyConfig | BCEConfig | BorderWeightedConfig, Field(discriminator="name")]


class PlainAugmentationConfig(Strict):
    """Nothing, or flips and quarter turns."""

    name: Literal["none", "flips"]


class PaperAugmentationConfig(Strict):
    """The paper's section 3.1; what it does not state is a key."""

    name: Literal["paper"]
    shift: Annotated[float, Field(ge=0, le=1000)]
    rotation: Annotated[float, Field(ge=0, le=180)]
    flip: bool
    grid: Annotated[int, Field(ge=2, le=64)]
    std: Annotated[float, Field(ge=0, le=1000)]
    knots: Literal["border", "inside"]
    contrast: Fraction
    brightness: NonNegative


AugmentationConfig = Annotated[PlainAugmentationConfig | PaperAugmentationConfig, Field(discriminator="name")]


class _OptimizerConfig(Strict):
    lr: Positive
    weight_decay: NonNegative


class SGDConfig(_OptimizerConfig):
    """Stochastic gradient descent with momentum."""

    name: Literal["sgd"]
    momentum: Fraction
    nesterov: bool

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> "SGDConfig":
        if self.nesterov and not self.momentum:
            raise ValueError("optimizer.nesterov=true needs optimizer.momentum above 0")
        return self


class AdamConfig(_OptimizerConfig):
    """Adam, or AdamW with decoupled weight decay."""

    name: Literal["adam", "adamw"]
    betas: Annotated[list[Fraction], Field(min_length=2, max_length=2)]


class RMSpropConfig(_OptimizerConfig):
    """RMSprop."""

    name: Literal["rmsprop"]
    momentum: Fraction
    alpha: Fraction


OptimizerConfig = Annotated[SGDConfig | AdamConfig | RMSpropConfig, Field(discriminator="name")]


class _SchedulerConfig(Strict):
    warmup_steps: Natural


class ConstantConfig(_SchedulerConfig):
    """A constant learning rate after the warm-up."""

    name: Literal["none"]


class PolyConfig(_SchedulerConfig):
    """(1 - progress) ** power."""

    name: Literal["poly"]
    power: Positive


class CosineConfig(_SchedulerConfig):
    """Half a cosine from the learning rate down to `final` times it."""

    name: Literal["cosine"]
    final: Annotated[float, Field(ge=0, le=1)]


class OneCycleConfig(_SchedulerConfig):
    """Cosine up from `start` times the learning rate during the warm-up, cosine down to `final` times it."""

    name: Literal["one_cycle"]
    start: Annotated[float, Field(gt=0, le=1)]
    final: Annotated[float, Field(ge=0, le=1)]


class PlateauConfig(_SchedulerConfig):
    """Times `factor` whenever `trainer.monitor` has not improved for `patience` validations."""

    name: Literal["plateau"]
    factor: Annotated[float, Field(gt=0, lt=1)]
    patience: Natural


SchedulerConfig = Annotated[
    ConstantConfig | PolyConfig | CosineConfig | OneCycleConfig | PlateauConfig, Field(discriminator="name")
]
