"""Normalisation of feature maps (B, C, H, W), and convolutions with it."""

from torch import nn

from unet_exp.geometry import Norm, norm_groups


def norm_layer(norm: Norm, channels: int) -> nn.Module:
    """Return the normalisation of (B, C, H, W) with two parameters a channel; `none` is the identity."""
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "instance":
        return nn.InstanceNorm2d(channels, affine=True)
    if norm == "group":
        return nn.GroupNorm(norm_groups(channels), channels)
    return nn.Identity()


def conv_and_norm(
    in_channels: int, out_channels: int, kernel: int, norm: Norm, padding: int = 0
) -> tuple[nn.Conv2d, nn.Module]:
    """Return a convolution and the norm behind it, which has its bias."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, padding=padding, bias=norm == "none")
    return conv, norm_layer(norm, out_channels)
