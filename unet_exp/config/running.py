"""Config of running: trainer, inference, metrics and logger."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from unet_exp.config.values import Count, Natural, Positive, duration_seconds
from unet_exp.schema import Strict


class TrainerConfig(Strict):
    """How long, on what and in which precision; the first limit reached ends the training."""

    max_epochs: Count | None
    max_steps: Count | None
    max_time: str | int | None
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"]
    devices: Count | Literal["auto"]
    precision: Literal["auto", "32", "bf16-mixed", "16-mixed"]
    deterministic: bool | Literal["warn"]
    channels_last: bool | Literal["auto"]
    compile: bool
    accumulate: Count
    clip_norm: Positive | None
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None
    monitor: str
    val_every_epochs: Count
    save_every: str | int = "10m"  # for earlier runs, which lack it; conf/ has the default
    early_stopping: Count | None
    limit_batches: Count | None
    overfit: bool
    profiler: Literal["simple", "pytorch"] | None

    @model_validator(mode="before")
    @classmethod
    def _set_default_limit(cls, values: Any) -> Any:
        limits = ("max_epochs", "max_steps", "max_time")
        if isinstance(values, dict) and all(values.get(key) is None for key in limits):
            return {**values, "max_epochs": 50}
        return values

    @field_validator("precision", mode="before")
    @classmethod
    def _convert_precision(cls, value: Any) -> Any:
        return str(value) if type(value) is int else value

    @field_validator("max_time", "save_every")
    @classmethod
    def _check_duration(cls, value: str | int | None) -> str | int | None:
        if value is not None:
            duration_seconds(value)
        return value


class _InferenceConfig(Strict):
    tile: Count | Literal["auto"]
    batch_size: Count
    context: Natural | Literal["auto"]
    blend: Natural

    @property
    def tile_pixels(self) -> int:
        """The longest side of a tile; 1024 for an `auto` that no memory has resolved yet."""
        return 1024 if self.tile == "auto" else self.tile


class PlainInferenceConfig(_InferenceConfig):
    """Each image as it is."""

    name: Literal["none"]


class RotationTTAConfig(_InferenceConfig):
    """The mean over turned images (paper, section 4: seven)."""

    name: Literal["rotations7"]
    angles: Annotated[list[float], Field(min_length=1)]


class FlipTTAConfig(_InferenceConfig):
    """The mean over the eight flips and quarter turns."""

    name: Literal["flips8"]


InferenceConfig = Annotated[PlainInferenceConfig | RotationTTAConfig | FlipTTAConfig, Field(discriminator="name")]


class MetricsConfig(Strict):
    """What the end of a training, and an evaluation, compute beside the usual scores, and draw.

    Attributes:
        pictures: how many images of a split get a picture; None: all.
        distances: between the surfaces of masks.
        tolerance: of the surface Dice, in the unit of `data.pixel_size`; None: the longer side of a pixel.
        probabilities: scores over all thresholds, calibration and, of two classes, the best threshold.
    """

    warping: bool
    warping_radius: Count | None
    pictures: Natural | None = None  # as earlier runs, which lack it, drew; conf/ has the default
    distances: bool = False  # likewise
    tolerance: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    probabilities: bool = False  # likewise


class _LoggerConfig(Strict):
    def join_sweep(self, sweep: str) -> Self:
        """The same for a run of this sweep."""
        del sweep
        return self


class _PictureLoggerConfig(_LoggerConfig):
    images: Natural
    images_every_epochs: Count


class WandbConfig(_PictureLoggerConfig):
    """Weights & Biases; never asks, never fails a training."""

    name: Literal["wandb"]
    project: str
    entity: str | None
    mode: Literal["auto", "online", "offline", "disabled"]
    group: str | None
    tags: list[str]
    init_timeout: Positive
    log_checkpoint: bool

    def join_sweep(self, sweep: str) -> Self:
        """W&B shows the runs of a sweep as one group."""
        return self.model_copy(update={"group": sweep}) if self.group is None else self


class CSVConfig(_LoggerConfig):
    """Nothing but the run folder's own `metrics.csv`, which every logger has beside it."""

    name: Literal["csv"]


class TensorBoardConfig(_PictureLoggerConfig):
    """TensorBoard event files in the run folder."""

    name: Literal["tensorboard"]


LoggerConfig = Annotated[WandbConfig | CSVConfig | TensorBoardConfig, Field(discriminator="name")]
