"""Config of the network."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from unet_exp.config.values import Count, Fraction, ImportPath, Natural, NonNegative, Positive
from unet_exp.geometry import FUSIONS
from unet_exp.keys import rename_keys
from unet_exp.schema import Strict

IMAGENET = "imagenet"
"""The word for the weights that timm has for an encoder."""


def _check_encoder_name(name: str) -> str:
    # Others, such as hf-hub:<repository>, would let a stranger's checkpoint reach for the network.
    if not re.fullmatch(r"\w+(\.\w+)?", name):
        raise ValueError("must be a name of timm, such as resnet34 or resnet34.a1_in1k")
    return name


EncoderName = Annotated[str, AfterValidator(_check_encoder_name), Field(description="a name of timm")]
"""Of a network of timm, with or without the tag of its weights."""


class UNetConfig(Strict):
    """The U-Net; `unet_exp.geometry.Architecture` explains the choices. Keys with a default came later."""

    name: Literal["valid", "same", "pad", "release"]
    padding: Literal["valid", "same"]
    align: Literal["crop", "exact", "pad"]
    depth: Annotated[int, Field(ge=1, le=8)]
    width: Annotated[int, Field(ge=1, le=65536)]
    norm: Literal["none", "batch", "instance", "group"]
    upsample: Literal["transposed", "bilinear"]
    dropout: Fraction
    relu_after_upsample: bool
    keep_last_upsample_channels: bool
    upconv_fan_in: Literal["incoming", "release"]
    match: Literal["none", "parameters", "flops"]
    block: Literal["plain", "residual"] = "plain"
    deep_supervision: bool = False
    deep_supervision_weights: Annotated[list[NonNegative], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _check_weights(self) -> "UNetConfig":
        weights, levels = self.deep_supervision_weights, max(1, self.depth - 1)
        if weights is None:
            return self
        given = f"model.deep_supervision_weights={weights}"
        if not self.deep_supervision:
            raise ValueError(f"{given} needs model.deep_supervision=true")
        if len(weights) != levels:
            raise ValueError(
                f"{given}: model.depth={self.depth} has {levels} level{'s' * (levels > 1)} in its decoder; "
                "give a weight for each, the full resolution first"
            )
        total = sum(weights)
        if not total or weights[0] / total < 1e-6:  # also where the sum is infinite
            raise ValueError(f"{given}: the first is that of the full resolution, which predicts; give it its share")
        return self

    @property
    def level_weights(self) -> tuple[float, ...]:
        """The weights of the losses of the decoder's levels, the full resolution first; their sum is 1.

        Without deep supervision there is one. By default each is half of the one before, as in nnU-Net (Isensee et al.
        2021), which leaves out the lowest level.
        """
        levels = max(1, self.depth - 1) if self.deep_supervision else 1
        weights = self.deep_supervision_weights or [0.5**level for level in range(levels)]
        return tuple(weight / sum(weights) for weight in weights)


class CustomModelConfig(Strict):
    """A user's own class; `unet_exp.geometry.CustomArchitecture` explains the keys."""

    name: Literal["custom"]
    target: ImportPath
    params: dict[str, Any] | None
    step: Annotated[int, Field(ge=1, le=4096)]
    smallest: Count | None
    total_stride: Count | None
    lost_border: Natural
    receptive_field_radius: Natural

    @model_validator(mode="before")
    @classmethod
    def _leave_out_keys_of_the_unet(cls, values: dict[str, Any]) -> dict[str, Any]:
        return _without_keys_of_the_unet(rename_keys(values, "model"), cls)


class EncoderModelConfig(Strict):
    """An encoder of timm below the U-Net's decoder; `unet_exp.geometry.EncoderArchitecture` explains the choices.

    Attributes:
        weights: `imagenet` (what timm has for it), the path of a safetensors file, or null for random ones.
        freeze_epochs: the encoder learns nothing in so many epochs at first.
        lr_factor: its learning rate after that, as a factor of `optimizer.lr`.
        lr_factor_epochs: in so many epochs; then the factor is 1. Null: in all.
        receptive_field_radius: `image` where an output pixel sees all of the image; null is replaced at the start.
    """

    name: Literal["encoder"]
    encoder: EncoderName
    weights: Annotated[str, Field(description="`imagenet` · path")] | None
    depth: Annotated[int, Field(ge=2, le=8)]
    width: Annotated[int, Field(ge=1, le=65536)]
    norm: Literal["none", "batch", "instance", "group"]
    upsample: Literal["transposed", "bilinear"]
    block: Literal["plain", "residual"]
    freeze_epochs: Natural
    lr_factor: Positive
    lr_factor_epochs: Count | None
    receptive_field_radius: Natural | Literal["image"] | None

    @model_validator(mode="before")
    @classmethod
    def _leave_out_keys_of_the_unet(cls, values: dict[str, Any]) -> dict[str, Any]:
        return _without_keys_of_the_unet(values, cls)

    @model_validator(mode="after")
    def _check_rate(self) -> "EncoderModelConfig":
        if self.lr_factor == 1 and self.lr_factor_epochs is not None:
            raise ValueError(
                f"model.lr_factor_epochs={self.lr_factor_epochs} does nothing with model.lr_factor=1: leave it out, or "
                "set another factor"
            )
        return self

    def encoder_rate(self, epoch: int) -> float:
        """The encoder's learning rate in an epoch, counted from 0, as a factor of `optimizer.lr`; 0: it is frozen."""
        if epoch < self.freeze_epochs:
            return 0.0
        ended = self.lr_factor_epochs is not None and epoch >= self.freeze_epochs + self.lr_factor_epochs
        return 1.0 if ended else self.lr_factor


def _without_keys_of_the_unet(values: dict[str, Any], schema: type[Strict]) -> dict[str, Any]:
    if values.get("dropout") == 0:  # debug=overfit sets it, and it asks for nothing
        values = {key: value for key, value in values.items() if key != "dropout"}
    for key in UNetConfig.model_fields:
        if key in values and key not in schema.model_fields:
            raise ValueError(f"model.{key} is of the U-Net: leave it out, or the experiment that sets it")
    return values


ModelConfig = Annotated[UNetConfig | EncoderModelConfig | CustomModelConfig, Field(discriminator="name")]


class FusionConfig(Strict):
    """How a decoder level takes in the skip."""

    name: str

    @field_validator("name")
    @classmethod
    def _check_name(cls, value: str) -> str:
        if value not in FUSIONS:
            raise ValueError(f"must be one of {', '.join(FUSIONS)}")
        return value
