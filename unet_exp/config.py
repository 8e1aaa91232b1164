"""The typed schema of every word and key that a user can type. Knows nothing of torch, Hydra or files.

`Config` is one training; `conf/` holds its default values, one folder a choice. Each group whose options differ in
their keys is a union told apart by `name`, so that a key which an option does not use is an unknown key.
"""

import re
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from unet_exp.geometry import Activation, Architecture, input_for_output, matched_width, out_channels
from unet_exp.schema import Strict, validate

IGNORE_LABEL = 255
"""Label of a pixel that no loss and no metric counts."""

Channel = Annotated[int, Field(ge=0, le=255)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


class ClassSpec(Strict):
    """One class: its name, the grey value or RGB colour it has in label files, and its colour in pictures."""

    name: str
    value: Channel | Annotated[list[Channel], Field(min_length=3, max_length=3)]
    color: Annotated[list[Channel], Field(min_length=3, max_length=3)]


class ModelConfig(Strict):
    """The network; `unet_exp.geometry.Architecture` explains the choices."""

    name: Literal["valid", "same", "pad", "release"]
    padding: Literal["valid", "same"]
    align: Literal["crop", "exact", "pad"]
    depth: Annotated[int, Field(ge=1, le=8)]
    width: Count
    norm: Literal["none", "batch", "instance", "group"]
    upsample: Literal["transposed", "bilinear"]
    dropout: Fraction
    relu_after_upsample: bool
    keep_last_upsample_channels: bool
    upconv_fan_in: Literal["incoming", "release"]
    match: Literal["none", "parameters", "flops"]


class FusionConfig(Strict):
    """How a decoder level takes in the skip."""

    name: Literal["concat", "add", "none"]


def _some_weight(weights: list[float]) -> list[float]:
    if not any(weights):
        raise ValueError("at least one weight must be more than 0")
    return weights


ClassWeights = (
    Literal["balanced"] | Annotated[list[NonNegative], Field(min_length=2), AfterValidator(_some_weight)] | None
)


class CrossEntropyConfig(Strict):
    """Softmax cross-entropy."""

    name: Literal["cross_entropy"]
    class_weights: ClassWeights


class BCEConfig(Strict):
    """Binary cross-entropy: one logit for two classes, else one against the rest."""

    name: Literal["bce"]
    class_weights: ClassWeights


LossConfig = Annotated[CrossEntropyConfig | BCEConfig, Field(discriminator="name")]


class AugmentationConfig(Strict):
    """What happens to a training patch before the network sees it."""

    name: Literal["none", "flips"]


class _DataConfig(Strict):
    tile: Count
    batch_size: Count
    num_workers: Annotated[int, Field(ge=0)]
    tiles_per_epoch: Count | None
    normalization: Literal["image", "dataset", "none"]
    fold: Annotated[int, Field(ge=0)]
    folds: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _fold_exists(self) -> "_DataConfig":
        if self.folds in (1, 2):
            raise ValueError("data.folds must be 0 (the standard split) or at least 3 (train, validate, test)")
        if self.folds and self.fold >= self.folds:
            raise ValueError(f"data.fold={self.fold} must be less than data.folds={self.folds}")
        if not self.folds and self.fold:
            raise ValueError(f"data.fold={self.fold} needs data.folds (3 or more)")
        return self


class SyntheticConfig(_DataConfig):
    """Generated micrographs."""

    name: Literal["synthetic"]
    seed: Annotated[int, Field(ge=0)]
    height: Annotated[int, Field(ge=32)]
    width: Annotated[int, Field(ge=32)]
    train_images: Count
    val_images: Count
    test_images: Count
    organelles: bool


class ISBI2012Config(_DataConfig):
    """The electron-microscopy stack of the ISBI 2012 challenge."""

    name: Literal["isbi2012"]
    root: str
    download: bool
    split: Literal["held_out", "all"]


DataConfig = Annotated[SyntheticConfig | ISBI2012Config, Field(discriminator="name")]


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
    warmup_steps: Annotated[int, Field(ge=0)]


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
    patience: Annotated[int, Field(ge=0)]


SchedulerConfig = Annotated[
    ConstantConfig | PolyConfig | CosineConfig | OneCycleConfig | PlateauConfig, Field(discriminator="name")
]

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


def duration_seconds(text: str | int) -> int:
    """Seconds in `240`, `"4m"`, `"1h30m"`, `"2d"` or Lightning's `"DD:HH:MM:SS"`.

    Raises:
        ValueError: for anything else, and for nothing at all.
    """
    if isinstance(text, int):
        seconds = text
    elif re.fullmatch(r"\d+:\d+:\d+:\d+", text):
        days, hours, minutes, rest = map(int, text.split(":"))
        seconds = ((days * 24 + hours) * 60 + minutes) * 60 + rest
    elif text and (match := _DURATION.fullmatch(text)):
        days, hours, minutes, rest = (int(part or 0) for part in match.groups())
        seconds = ((days * 24 + hours) * 60 + minutes) * 60 + rest
    else:
        seconds = 0
    if seconds <= 0:
        raise ValueError("must be a time such as 240 (seconds), 4m, 1h30m or 00:00:04:00")
    return seconds


class TrainerConfig(Strict):
    """How long, on what and in which precision; the first limit reached ends the training."""

    max_epochs: Count | None
    max_steps: Count | None
    max_time: str | int | None
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"]
    devices: Count | Literal["auto"]
    precision: Literal["auto", "32", "bf16-mixed", "16-mixed"]
    deterministic: bool | Literal["warn"]
    channels_last: bool
    compile: bool
    accumulate: Count
    clip_norm: Positive | None
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None
    monitor: str
    val_every_epochs: Count
    early_stopping: Count | None
    limit_batches: Count | None
    overfit: bool
    profiler: Literal["simple", "pytorch"] | None

    @model_validator(mode="before")
    @classmethod
    def _some_limit(cls, values: Any) -> Any:
        limits = ("max_epochs", "max_steps", "max_time")
        if isinstance(values, dict) and all(values.get(key) is None for key in limits):
            return {**values, "max_epochs": 50}
        return values

    @field_validator("precision", mode="before")
    @classmethod
    def _precision_as_word(cls, value: Any) -> Any:
        return str(value) if type(value) is int else value

    @field_validator("max_time")
    @classmethod
    def _time_can_be_read(cls, value: str | int | None) -> str | int | None:
        if value is not None:
            duration_seconds(value)
        return value

    @property
    def monitor_mode(self) -> Literal["min", "max"]:
        """Whether a smaller or a larger value of `monitor` is better."""
        return "min" if self.monitor.rsplit("/", 1)[-1] in ("loss", "error") else "max"


class _LoggerConfig(Strict):
    images: Annotated[int, Field(ge=0)]
    images_every_epochs: Count


class WandbConfig(_LoggerConfig):
    """Weights & Biases; never asks, never fails a training."""

    name: Literal["wandb"]
    project: str
    entity: str | None
    mode: Literal["auto", "online", "offline", "disabled"]
    group: str | None
    tags: list[str]
    init_timeout: Positive
    log_checkpoint: bool


class CSVConfig(Strict):
    """Nothing but the run folder's own `metrics.csv`, which every logger has beside it."""

    name: Literal["csv"]


class TensorBoardConfig(_LoggerConfig):
    """TensorBoard event files in the run folder."""

    name: Literal["tensorboard"]


LoggerConfig = Annotated[WandbConfig | CSVConfig | TensorBoardConfig, Field(discriminator="name")]


class Config(Strict):
    """One training."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    name: str
    output: str
    init_from: str | None
    model: ModelConfig
    fusion: FusionConfig
    loss: LossConfig
    augmentation: AugmentationConfig
    data: DataConfig
    optimizer: OptimizerConfig
    scheduler: SchedulerConfig
    trainer: TrainerConfig
    logger: LoggerConfig

    @field_validator("name")
    @classmethod
    def _name_is_a_file_name(cls, value: str) -> str:
        if not re.fullmatch(r"[\w.,=+-]{1,100}", value) or value.startswith("."):
            raise ValueError("must be 1 to 100 letters, digits or _ . , = + - (it names the run's folder)")
        return value

    @model_validator(mode="after")
    def _parts_fit(self) -> "Config":
        trainer = self.trainer
        endless = trainer.max_epochs is None and trainer.max_steps is None
        if endless and self.scheduler.name in ("poly", "cosine", "one_cycle"):
            raise ValueError(
                f"scheduler={self.scheduler.name} needs to know where the training ends: "
                "set trainer.max_steps or trainer.max_epochs beside trainer.max_time"
            )
        if trainer.precision == "16-mixed" and trainer.accelerator == "cpu":
            raise ValueError("trainer.precision=16-mixed needs a GPU; on a CPU take 32, bf16-mixed or auto")
        if isinstance(self.data, ISBI2012Config) and self.data.split == "all" and self.data.folds:
            raise ValueError("data.split=all trains on every slice and has no folds: leave data.folds at 0")
        self.architecture(in_channels=1, classes=2)
        return self

    @property
    def activation(self) -> Activation:
        """What turns this loss's logits into probabilities."""
        return "sigmoid" if self.loss.name == "bce" else "softmax"

    def architecture(self, in_channels: int, classes: int) -> Architecture:
        """The network that these words mean, its width resolved by `model.match`.

        Raises:
            ConfigError: for words that do not go together, such as `release` with `add`.
        """
        model = self.model
        requested = Architecture(
            padding=model.padding,
            align=model.align,
            depth=model.depth,
            width=model.width,
            in_channels=in_channels,
            out_channels=out_channels(classes, self.activation),
            fusion=self.fusion.name,
            norm=model.norm,
            upsample=model.upsample,
            relu_after_upsample=model.relu_after_upsample,
            keep_last_upsample_channels=model.keep_last_upsample_channels,
        )
        if model.match == "none":
            return requested
        size = input_for_output(requested, self.data.tile)
        return replace(requested, width=matched_width(requested, model.match, size))


def parse(values: dict[str, Any]) -> Config:
    """Check plain values against the schema.

    Args:
        values: what `conf/` and the command line gave, as plain containers.

    Returns:
        The configuration, frozen.

    Raises:
        ConfigError: in one line, for the first thing that is wrong: the key, the value and what is allowed.
    """
    return validate(Config, values)
