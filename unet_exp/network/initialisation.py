"""The paper's initialisation."""

from math import sqrt
from typing import Literal

from torch import nn

from unet_exp.errors import ConfigError

UpconvFanIn = Literal["incoming", "release"]


def initialise(network: nn.Module, upconv_fan_in: UpconvFanIn = "incoming") -> None:
    """Draw every weight with variance 2 / fan_in and set every bias to zero, in place (paper, Sec. 3).

    A convolution's fan_in is kernel area x input channels (He et al. 2015). For a 2x2 up-convolution of
    stride 2 the paper does not say.

    Args:
        network: The network; its norm layers keep their ones and zeros.
        upconv_fan_in: `incoming` counts what feeds one output pixel, in_channels, since the kernels do not
            overlap; `release` counts 4 x out_channels, as the authors' Caffe release. Both are assumptions.

    Raises:
        ConfigError: For an unknown `upconv_fan_in`.
    """
    if upconv_fan_in not in ("incoming", "release"):
        raise ConfigError(f"model.upconv_fan_in={upconv_fan_in} is unknown: choose one of incoming, release")
    for module in network.modules():
        if isinstance(module, nn.ConvTranspose2d):
            area = module.kernel_size[0] * module.kernel_size[1]
            fan_in = module.in_channels if upconv_fan_in == "incoming" else area * module.out_channels
        elif isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
        else:
            continue
        nn.init.normal_(module.weight, std=sqrt(2 / fan_in))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
