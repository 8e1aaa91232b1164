"""What happens to a training patch before the network sees it."""

from unet_exp.augmentation.custom import CustomTransform
from unet_exp.augmentation.flips import Flips, Unchanged
from unet_exp.augmentation.on_cut import CutAugmentation
from unet_exp.augmentation.paper import PaperAugmentation
from unet_exp.augmentation.protocol import Augmentation, StoredImage, Window
from unet_exp.augmentation.strong import StrongAugmentation
from unet_exp.augmentation.trial import try_augmentation
from unet_exp.config import AugmentationConfig, PaperAugmentationConfig
from unet_exp.config.augmentation import (
    AlbumentationsConfig,
    CustomAugmentationConfig,
    PlainAugmentationConfig,
    StrongAugmentationConfig,
)

__all__ = ["Augmentation", "CutAugmentation", "StoredImage", "Window", "build", "try_augmentation"]


def build(config: AugmentationConfig) -> Augmentation:
    """The augmentation that the config names.

    Raises:
        ConfigError: for arguments that a transform of a list does not take, and for a user's own class that cannot be
            imported or does not fit.
    """
    if isinstance(config, CustomAugmentationConfig):
        return CutAugmentation(CustomTransform(config), config.context, config.outside)
    if isinstance(config, AlbumentationsConfig):
        # Only now: it takes a second to import.
        from unet_exp.augmentation.listed import ListedTransforms

        transforms = ListedTransforms(config.transforms, "augmentation.transforms")
        return CutAugmentation(transforms, config.context, config.outside)
    first = _build_ours(config)
    if not config.then:
        return first
    from unet_exp.augmentation.listed import ListedTransforms

    return CutAugmentation(ListedTransforms(config.then, "augmentation.then"), first=first)


def _build_ours(config: PlainAugmentationConfig | PaperAugmentationConfig | StrongAugmentationConfig) -> Augmentation:
    if isinstance(config, PaperAugmentationConfig):
        return PaperAugmentation(config)
    if isinstance(config, StrongAugmentationConfig):
        return StrongAugmentation(config)
    return Flips() if config.name == "flips" else Unchanged()
