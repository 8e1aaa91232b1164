"""The paper's initialisation."""

from math import sqrt
from typing import Literal

from torch import nn

from unet_exp.errors import ConfigError
from unet_exp.network.blocks import ResidualUnit

UpconvFanIn = Literal["incoming", "release"]


def initialise(network: nn.Module, upconv_fan_in: UpconvFanIn = "incoming") -> None:
    """Draw every weight with variance 2 / fan_in and set every bias to zero, in place (paper, Sec. 3).

    A convolution's fan_in is kernel area x input channels (He et al. 2015). For a 2x2 up-convolution of
    stride 2 there are two counts.

    The 2 makes up for the half that a ReLU takes away. In a network of residual units it holds inside the units alone:
    what lies between two of them reads maps without a ReLU, and has 1 / fan_in. The two maps that a unit adds share the
    variance: 1 / fan_in in its second convolution, and half of that in a shortcut, which has no ReLU before it.

    Args:
        network: The network; its norm layers keep their ones and zeros.
        upconv_fan_in: `incoming` counts what feeds one output pixel, in_channels, since the kernels do not
            overlap; `release` counts 4 x out_channels, as the authors' Caffe release. The paper says neither.

    Raises:
        ConfigError: For an unknown `upconv_fan_in`.
    """
    if upconv_fan_in not in ("incoming", "release"):
        raise ConfigError(f"model.upconv_fan_in={upconv_fan_in} is unknown: choose one of incoming, release")
    units = [unit for unit in network.modules() if isinstance(unit, ResidualUnit)]
    inside = {part: 2.0 for unit in units for part in unit.modules()}
    numerators = inside | {unit.convs[-1]: 1.0 for unit in units} | {unit.shortcut: 0.5 for unit in units}
    for module in network.modules():
        if isinstance(module, nn.ConvTranspose2d):
            area = module.kernel_size[0] * module.kernel_size[1]
            fan_in = module.in_channels if upconv_fan_in == "incoming" else area * module.out_channels
        elif isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
        else:
            continue
        nn.init.normal_(module.weight, std=sqrt(numerators.get(module, 1.0 if units else 2.0) / fan_in))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
