"""The U-Net: its blocks, fusions and initialisation; encoders of timm; users' networks; and what logits mean."""

import torch

from unet_exp import geometry
from unet_exp.config import Config
from unet_exp.config.model import EncoderModelConfig, UNetConfig
from unet_exp.geometry import Architecture, CustomArchitecture, EncoderArchitecture, seen_radius
from unet_exp.network.base import Network
from unet_exp.network.custom import CustomNetwork, count_macs
from unet_exp.network.encoder import EncoderNetwork
from unet_exp.network.folding import copy_network, fold_batch_norm
from unet_exp.network.fusion import center_crop
from unet_exp.network.outputs import probabilities
from unet_exp.network.receptive_field import measure_sight
from unet_exp.network.timm_encoders import find_maps
from unet_exp.network.unet import UNet

__all__ = [
    "CustomNetwork",
    "EncoderNetwork",
    "Network",
    "UNet",
    "build",
    "center_crop",
    "complete",
    "copy_network",
    "cost",
    "count_parameters",
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
        ConfigError: if a user's own class cannot be imported or does not fit, or timm has no such encoder.
    """
    architecture = config.architecture(channels, classes)
    if isinstance(architecture, CustomArchitecture):
        return CustomNetwork(architecture)
    if isinstance(architecture, EncoderArchitecture):
        assert isinstance(config.model, EncoderModelConfig)
        pretrained = config.model.weights is not None
        return EncoderNetwork(architecture, pretrained and config.data.normalization == "none")
    assert isinstance(config.model, UNetConfig)
    return UNet(architecture, config.model.dropout, config.model.upconv_fan_in)


def complete(config: Config) -> Config:
    """The config of a new training with what only its network knows: what an encoder of timm sees.

    Raises:
        ConfigError: if timm is missing, or has no such encoder.
    """
    model = config.model
    if not isinstance(model, EncoderModelConfig):
        return config
    find_maps(model.encoder, model.depth)
    if model.receptive_field_radius is not None:
        return config
    architecture, seen = config.architecture(in_channels=1, classes=2), measure_sight(model.encoder, model.depth)
    assert isinstance(architecture, EncoderArchitecture)
    radius = "image" if seen is None else seen_radius(architecture.decoder, seen)
    return config.model_copy(update={"model": model.model_copy(update={"receptive_field_radius": radius})})


def count_parameters(config: Config, channels: int, classes: int) -> int:
    """The learned parameters of the network that `build` gives, without taking memory for them.

    Raises:
        ConfigError: as `build`.
    """
    architecture = config.architecture(channels, classes)
    if isinstance(architecture, Architecture):
        return geometry.parameters(architecture)
    with torch.device("meta"):
        return _count_learned(build(config, channels, classes))


def _count_learned(network: Network) -> int:
    """Parameters that the optimizer takes: timm's encoders may hold some that their maps do not need."""
    return sum(parameter.numel() for group in network.parameter_groups() for parameter in group["params"])


def cost(network: Network, size: int) -> tuple[int, int | None]:
    """Learned parameters, and multiply-accumulates of one square image.

    Args:
        network: any.
        size: side of the image in pixels.

    Returns:
        Both counts; the second is None where it is not known.
    """
    architecture = network.architecture
    if isinstance(architecture, Architecture):
        return geometry.parameters(architecture), geometry.macs(architecture, size, size)
    return _count_learned(network), count_macs(network, size)
