"""The schema of every word and key that a user can type. It knows nothing of torch, Hydra or files.

`Config` is one training; `conf/` holds its default values, one folder per choice. A group whose options have different
keys is a union with `name` as discriminator, so that a key of another option is an unknown key.
"""

import re
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from unet_exp.config.augmentation import AugmentationConfig, DeformationConfig, PaperAugmentationConfig
from unet_exp.config.data import CellTrackingConfig, DataConfig, ISBI2012Config, SyntheticConfig
from unet_exp.config.learning import (
    BorderWeightedConfig,
    LossConfig,
)
from unet_exp.config.loggers import LoggerConfig
from unet_exp.config.model import CustomModelConfig, EncoderModelConfig, FusionConfig, ModelConfig, UNetConfig
from unet_exp.config.optimizer import OptimizerConfig, PlateauConfig, SchedulerConfig
from unet_exp.config.running import CallbackConfigs, InferenceConfig, MetricsConfig, RotationTTAConfig, TrainerConfig
from unet_exp.config.values import IGNORE_LABEL, ClassSpec, PathName, duration_seconds
from unet_exp.geometry import (
    Activation,
    AnyArchitecture,
    Architecture,
    CustomArchitecture,
    EncoderArchitecture,
    input_for_output,
    matched_width,
    out_channels,
    tile_step,
)
from unet_exp.schema import Strict, validate

__all__ = [
    "IGNORE_LABEL",
    "AugmentationConfig",
    "BorderWeightedConfig",
    "CellTrackingConfig",
    "ClassSpec",
    "Config",
    "DataConfig",
    "ISBI2012Config",
    "InferenceConfig",
    "LossConfig",
    "MetricsConfig",
    "ModelConfig",
    "OptimizerConfig",
    "PaperAugmentationConfig",
    "PlateauConfig",
    "RotationTTAConfig",
    "SchedulerConfig",
    "SyntheticConfig",
    "TrainerConfig",
    "duration_seconds",
    "parse",
]


class Config(Strict):
    """One training. `resume`, `rerun`, `preview` and `verbose` say what to do with it, and are not recorded."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    name: Annotated[str, Field(description="1 to 100 letters, digits or `_ . , = + -`")]
    output: PathName
    resume: Annotated[str, Field(description="path · `auto`")] | None = Field(default=None, exclude=True)
    rerun: PathName | None = Field(default=None, exclude=True)
    preview: Annotated[int, Field(ge=0, le=100)] = Field(default=0, exclude=True)
    verbose: bool = Field(default=False, exclude=True)
    init_from: PathName | None
    trust: list[str]
    model: ModelConfig
    fusion: FusionConfig
    loss: LossConfig
    augmentation: AugmentationConfig
    data: DataConfig
    optimizer: OptimizerConfig
    scheduler: SchedulerConfig
    trainer: TrainerConfig
    inference: InferenceConfig
    metrics: MetricsConfig
    logger: LoggerConfig
    callbacks: CallbackConfigs = Field(default_factory=list)  # for earlier runs, which lack it

    @field_validator("name")
    @classmethod
    def _check_name(cls, value: str) -> str:
        if not re.fullmatch(r"[\w.,=+-]{1,100}", value) or value.startswith("."):
            raise ValueError("must be 1 to 100 letters, digits or _ . , = + - (it names the run's folder)")
        return value

    @model_validator(mode="after")
    def _check_combinations(self) -> "Config":
        if self.resume is not None and self.rerun is not None:
            raise ValueError("rerun repeats a run and resume goes on with one: type one of them")
        if self.preview and self.resume not in (None, "auto"):
            raise ValueError(
                f"preview={self.preview} shows patches before the first step: leave it out with resume=<folder>"
            )
        trainer = self.trainer
        endless = trainer.max_epochs is None and trainer.max_steps is None
        if endless and self.scheduler.name in ("poly", "cosine", "one_cycle"):
            raise ValueError(
                f"scheduler={self.scheduler.name} needs to know where the training ends: "
                "set trainer.max_steps or trainer.max_epochs beside trainer.max_time"
            )
        if trainer.precision == "16-mixed" and trainer.accelerator == "cpu":
            raise ValueError("trainer.precision=16-mixed needs a GPU; on a CPU take 32, bf16-mixed or auto")
        on_gpu = isinstance(self.augmentation, DeformationConfig) and self.augmentation.device == "gpu"
        if on_gpu and trainer.accelerator in ("cpu", "mps"):
            raise ValueError("augmentation.device=gpu needs a training on CUDA; take auto or cpu")
        if isinstance(self.model, CustomModelConfig) and self.fusion.name != "concat":
            raise ValueError(f"fusion={self.fusion.name} is of the U-Net: leave it out with model=custom")
        tile_step(self.architecture(in_channels=1, classes=2), self.inference.tile_pixels, self.inference.blend)
        return self

    @property
    def activation(self) -> Activation:
        """What turns this loss's logits into probabilities."""
        return "sigmoid" if self.loss.name == "bce" else "softmax"

    @property
    def level_weights(self) -> tuple[float, ...]:
        """The weights of the losses of a network's outputs in training, in sum 1; see `UNetConfig.level_weights`."""
        return self.model.level_weights if isinstance(self.model, UNetConfig) else (1.0,)

    def architecture(self, in_channels: int, classes: int) -> AnyArchitecture:
        """The network of this config, its width resolved by `model.match`.

        Raises:
            ConfigError: for words that do not go together, such as `release` with `add`.
        """
        model, logits = self.model, out_channels(classes, self.activation)
        if isinstance(model, CustomModelConfig):
            keys: dict[str, Any] = model.model_dump(exclude={"name"})
            return CustomArchitecture(in_channels=in_channels, out_channels=logits, **keys)
        if isinstance(model, EncoderModelConfig):
            shape: dict[str, Any] = model.model_dump(include={"depth", "width", "norm", "upsample", "block"})
            shape |= {"in_channels": in_channels, "out_channels": logits, "fusion": self.fusion.name}
            decoder = Architecture("same", "exact", **shape)
            radius = model.receptive_field_radius
            return EncoderArchitecture(model.encoder, decoder, radius if isinstance(radius, int) else None)
        choices = model.model_dump(exclude={"name", "dropout", "upconv_fan_in", "match", "deep_supervision_weights"})
        requested = Architecture(in_channels=in_channels, out_channels=logits, fusion=self.fusion.name, **choices)
        if model.match == "none":
            return requested
        size = input_for_output(requested, self.data.tile)
        return replace(requested, width=matched_width(requested, model.match, size))


def parse(values: dict[str, Any]) -> Config:
    """Checks plain values of `conf/` and the command line against the schema.

    Raises:
        ConfigError: in one line, for the first mistake: the key, the value and what is allowed.
    """
    return validate(Config, values)
