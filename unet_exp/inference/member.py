"""A checkpoint's network on a device: what a predictor is made of, alone or as one of an ensemble."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from unet_exp.checkpoints.checkpoint import Checkpoint
from unet_exp.config import InferenceConfig
from unet_exp.inference.device import autocast, choose_layouts, memory_format
from unet_exp.inference.tiling.overlap_tile import Part, Size, Source, choose_home, mirror_source, tiled_logits
from unet_exp.inference.tta import average_probabilities, list_turns, part_probabilities
from unet_exp.network import fold_batch_norm, probabilities

_TURNING = 8  # float32 a pixel beside the image while the places of a rotated one are computed, as `choose_home` counts


class Prediction(NamedTuple):
    """Class probabilities (B, classes, H, W), float32; logits (B, out, H, W) where the network gave these images some.

    A mean of probabilities has no logits.
    """

    probabilities: Tensor
    logits: Tensor | None


class Member:
    """Predicts normalised images with the network of a checkpoint.

    Args:
        checkpoint: an opened one.
        device: of the network.
        precision: resolved.
    """

    def __init__(self, checkpoint: Checkpoint, device: torch.device, precision: str) -> None:
        config = checkpoint.config
        self.checkpoint = checkpoint
        self.activation = config.activation
        self.network = fold_batch_norm(checkpoint.network()).to(device)
        self._device, self._precision = device, precision
        layouts = choose_layouts(config.trainer.channels_last, device, precision, self.network.architecture)
        convert: Any = self.network.to  # PyTorch's stubs do not know that it takes a memory format
        convert(memory_format=memory_format(layouts.prediction))

    def predict(self, pixels: Tensor, settings: InferenceConfig) -> Prediction:
        """Predicts images (B, C, H, W) of any size, as `tiled_logits` places the result."""
        turning = 0 if list_turns(settings) else _TURNING * pixels[:, 0].numel()
        pixels = pixels.to(choose_home(self._device, pixels.numel() + turning))
        with autocast(self._precision, self._device):
            if settings.name == "none":  # exact logits, also where probabilities are too small for a float
                height, width = pixels.shape[-2:]
                logits = tiled_logits(self.network, mirror_source(pixels), height, width, settings, len(pixels))
                return Prediction(probabilities(logits, self.activation), logits)
            return Prediction(average_probabilities(self.network, pixels, settings, self.activation), None)

    def predict_part(self, source: Source, size: Size, part: Part, settings: InferenceConfig) -> Tensor:
        """Class probabilities (1, classes, height, width) of a part of an image; see `tta.part_probabilities`."""
        with autocast(self._precision, self._device):
            return part_probabilities(self.network, source, size, part, settings, self.activation)
