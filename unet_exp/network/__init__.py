"""The U-Net: its blocks, its fusions, its initialisation, and what its logits mean; and a user's own network."""

from unet_exp import geometry
from unet_exp.config import Config
from unet_exp.config.model import CustomModelConfig
from unet_exp.geometry import Architecture, CustomArchitecture
from unet_exp.network.base import Network
from unet_exp.network.custom import CustomNetwork, count_macs
from unet_exp.network.folding import copy_network, fold_batch_norm
from unet_exp.network.fusion import center_crop
from unet_exp.network.outputs import probabilities
from unet_exp.network.unet import UNet

__all__ = [
    "CustomNetwork",
    "Network",
    "UNet",
    "build",
    "center_crop",
    "copy_network",
    "cost",
    "fold_batch_norm",
    "probabilities",
]


def build(config: Config, channels: int, classes: int) -> Network:
    """The network that the config describes, freshly initialised.

    Args:
        config: a training's.
        channels: of the images.
        classes: that the labels tell apart.

    Raises:
        ConfigError: if a user's own class cannot be imported or does not fit.
    """
    architecture = config.architecture(channels, classes)
    if isinstance(architecture, CustomArchitecture):
        return CustomNetwork(architecture)
    assert not isinstance(config.model, CustomModelConfig)
    return UNet(architecture, config.model.dropout, config.model.upconv_fan_in)


def cost(network: Network, size: int) -> tuple[int, int | None]:
    """Learned parameters, and multiply-accumulates of one square image.

    Args:
        network: the U-Net, or a user's own.
        size: side of the image in pixels.

    Returns:
        Both counts; the second is None where it is not known.
    """
    architecture = network.architecture
    if isinstance(architecture, Architecture):
        return geometry.parameters(architecture), geometry.macs(architecture, size, size)
    return sum(parameter.numel() for parameter in network.parameters()), count_macs(network, size)
