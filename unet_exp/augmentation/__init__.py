"""What happens to a training patch before the network sees it."""

from unet_exp.augmentation.flips import Flips, Unchanged
from unet_exp.augmentation.paper import PaperAugmentation
from unet_exp.augmentation.protocol import Augmentation, Window
from unet_exp.augmentation.strong import StrongAugmentation
from unet_exp.config import AugmentationConfig, PaperAugmentationConfig
from unet_exp.config.augmentation import StrongAugmentationConfig

__all__ = ["Augmentation", "Window", "build"]


def build(config: AugmentationConfig) -> Augmentation:
    """The augmentation that the config names."""
    if isinstance(config, PaperAugmentationConfig):
        return PaperAugmentation(config)
    if isinstance(config, StrongAugmentationConfig):
        return StrongAugmentation(config)
    return Flips() if config.name == "flips" else Unchanged()
