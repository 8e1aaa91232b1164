"""What the network looks like and how it joins its two paths."""

from typing import Annotated, Literal

from pydantic import Field

from unet_exp.config.values import Count, Fraction
from unet_exp.schema import Strict


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
