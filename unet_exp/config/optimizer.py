"""Config of the optimizer and of the schedule of its learning rate."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from unet_exp.config.own_classes import check_torch_name
from unet_exp.config.values import Fraction, ImportPath, Natural, NonNegative, Positive
from unet_exp.schema import Strict


class _OptimizerConfig(Strict):
    lr: Positive
    weight_decay: NonNegative


class SGDConfig(_OptimizerConfig):
    """Stochastic gradient descent with momentum."""

    name: Literal["sgd"]
    momentum: Fraction
    nesterov: bool

    @model_validator(mode="after")
    def _check_nesterov(self) -> "SGDConfig":
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


def _refuse_params(group: str, params: dict[str, Any] | None, reasons: Mapping[str, str]) -> None:
    for key, reason in reasons.items():
        if key in (params or {}):
            raise ValueError(f"{group}.params: leave {key} out; {reason}")


class AnyOptimizerConfig(Strict):
    """Any class; a null leaves out an argument, so that the class's own default holds.

    Attributes:
        target: names the class.
        lr: its argument of this name.
        weight_decay: likewise.
        params: its other arguments.
    """

    target: str
    lr: Positive | None
    weight_decay: NonNegative | None
    params: dict[str, Any] | None

    @model_validator(mode="after")
    def _check_params(self) -> "AnyOptimizerConfig":
        typed = {key: f"type optimizer.{key}" for key in ("lr", "weight_decay")}
        _refuse_params("optimizer", self.params, {"params": "the network has them", **typed})
        return self


class TorchOptimizerConfig(AnyOptimizerConfig):
    """A class of `torch.optim`, by its name."""

    name: Literal["torch"]
    target: Annotated[
        str,
        AfterValidator(lambda name: check_torch_name("optimizer", name)),
        Field(description="a class of `torch.optim`"),
    ]


class CustomOptimizerConfig(AnyOptimizerConfig):
    """A user's own class."""

    name: Literal["custom"]
    target: ImportPath


OptimizerConfig = Annotated[
    SGDConfig | AdamConfig | RMSpropConfig | TorchOptimizerConfig | CustomOptimizerConfig, Field(discriminator="name")
]


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


class AnySchedulerConfig(_SchedulerConfig):
    """Any class.

    Attributes:
        target: names the class.
        params: its arguments beside the optimizer.
        interval: after what it takes a step: each step of the optimizer, or each epoch.
    """

    target: str
    params: dict[str, Any] | None
    interval: Literal["step", "epoch"]

    @model_validator(mode="after")
    def _check_params(self) -> "AnySchedulerConfig":
        _refuse_params("scheduler", self.params, dict.fromkeys(("optimizer", "last_epoch"), "the training has it"))
        return self


class TorchSchedulerConfig(AnySchedulerConfig):
    """A class of `torch.optim.lr_scheduler`, by its name."""

    name: Literal["torch"]
    target: Annotated[
        str,
        AfterValidator(lambda name: check_torch_name("scheduler", name)),
        Field(description="a class of `torch.optim.lr_scheduler`"),
    ]


class CustomSchedulerConfig(AnySchedulerConfig):
    """A user's own class."""

    name: Literal["custom"]
    target: ImportPath


SchedulerConfig = Annotated[
    ConstantConfig
    | PolyConfig
    | CosineConfig
    | OneCycleConfig
    | PlateauConfig
    | TorchSchedulerConfig
    | CustomSchedulerConfig,
    Field(discriminator="name"),
]
