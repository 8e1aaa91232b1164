"""Config of running: trainer, inference, metrics and callbacks."""

import re
from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from unet_exp.config.own_classes import check_callback_name, suggest_callback
from unet_exp.config.values import Count, Duration, ImportPath, Natural, Positive, duration_seconds, require_items
from unet_exp.schema import Strict


class TrainerConfig(Strict):
    """How long, on what and in which precision; the first limit reached ends the training."""

    max_epochs: Count | None
    max_steps: Count | None
    max_time: Duration | None
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"]
    devices: Count | Literal["auto"]
    num_nodes: Count = 1  # for earlier runs, which lack it and the next two; conf/ has the defaults
    sync_batchnorm: bool = False
    peer_timeout: Duration = "10m"
    precision: Literal["auto", "32", "bf16-mixed", "16-mixed"]
    deterministic: bool | Literal["warn"]
    channels_last: bool | Literal["auto"]
    compile: bool
    accumulate: Count
    clip_norm: Positive | None
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None
    monitor: str
    val_every_epochs: Count
    save_every: Duration = "10m"  # for earlier runs, which lack it; conf/ has the default
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

    @field_validator("max_time", "save_every", "peer_timeout")
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


def _check_metric_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z]\w{0,59}", name):
        raise ValueError("must be letters, digits and _, and begin with a letter (it names a column)")
    return name


class OwnMetricConfig(Strict):
    """A score of the user's own; see `unet_exp.metrics.own`.

    Attributes:
        name: in tables and files.
        target: `package.module.Name` of its class.
        direction: whether the best value is the smallest or the largest.
        params: keyword arguments; null for none.
    """

    name: Annotated[str, AfterValidator(_check_metric_name)]
    target: ImportPath
    direction: Literal["min", "max"]
    params: dict[str, Any] | None = None


_OWN_METRIC = "{name: their_score, target: their_package.scores.TheirScore, direction: min}"
_NEEDED = {
    "name": "of its column",
    "target": "the import path of its class",
    "direction": "min or max: which value is the best",
}
_OwnMetrics = Annotated[list[OwnMetricConfig], require_items("metrics.own", _OWN_METRIC, _NEEDED)]


class MetricsConfig(Strict):
    """What validations, the end of a training, and an evaluation compute beside the usual scores, and draw.

    Attributes:
        pictures: how many images of a split get a picture; None: all.
        distances: between the surfaces of masks.
        tolerance: of the surface Dice, in the unit of `data.pixel_size`; None: the longer side of a pixel.
        probabilities: scores over all thresholds, calibration and, of two classes, the best threshold.
        own: scores of the user's own.
    """

    warping: bool
    warping_radius: Count | None
    pictures: Natural | None = None  # as earlier runs, which lack it, drew; conf/ has the default
    distances: bool = False  # likewise
    tolerance: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    probabilities: bool = False  # likewise
    own: _OwnMetrics = Field(default_factory=list)

    @field_validator("own")
    @classmethod
    def _check_names(cls, own: list[OwnMetricConfig]) -> list[OwnMetricConfig]:
        if twice := [name for name, count in Counter(metric.name for metric in own).items() if count > 1]:
            raise ValueError(f"metrics.own: two scores have the name {twice[0]}; give each its own")
        return own


class CallbackConfig(Strict):
    """A callback of Lightning's or of the user's own.

    Attributes:
        target: `package.module.Name` of its class.
        params: keyword arguments; null for none.
    """

    target: Annotated[ImportPath, AfterValidator(check_callback_name)]
    params: dict[str, Any] | None = None


CallbackConfigs = Annotated[
    list[CallbackConfig],
    require_items(
        "callbacks",
        "{target: package.module.Class, params: {...}}",
        {"target": "the import path of its class"},
        suggest_callback,
    ),
]
