"""The U-Net: its blocks, its fusions, its initialisation, and what its logits mean."""

from unet_exp.config import Config
from unet_exp.network.fusion import center_crop
from unet_exp.network.outputs import probabilities
from unet_exp.network.unet import UNet

__all__ = ["UNet", "build", "center_crop", "probabilities"]


def build(config: Config, channels: int, classes: int) -> UNet:
    """The network that the config describes, freshly initialised.

    Args:
        config: a training's.
        channels: of the images.
        classes: that the labels tell apart.
    """
    return UNet(config.architecture(channels, classes), config.model.dropout, config.model.upconv_fan_in)
