"""A trained network as users see it: an array in, class probabilities or a label out."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unet_exp.checkpoint import Checkpoint, open_checkpoint
from unet_exp.data.samples import Sample
from unet_exp.errors import DataError
from unet_exp.inference.device import autocast, resolve_device, resolve_precision
from unet_exp.inference.whole_image import whole_image_logits
from unet_exp.metrics.scoreboard import Scoreboard
from unet_exp.network import probabilities


class Predictor:
    """Predicts whole images with a checkpoint's network.

    Args:
        checkpoint: an opened checkpoint.
        accelerator: `auto`, `cpu`, `gpu`, `cuda` or `mps`.
        precision: `auto`, `32`, `bf16-mixed` or `16-mixed`.
    """

    def __init__(self, checkpoint: Checkpoint, accelerator: str = "auto", precision: str = "auto") -> None:
        config = checkpoint.parsed()
        self.checkpoint = checkpoint
        self.classes = checkpoint.classes
        self.device = resolve_device(accelerator)
        self.precision = resolve_precision(precision, self.device)
        self._activation = config.activation
        self._layout = torch.channels_last if config.trainer.channels_last else torch.contiguous_format
        self._network = checkpoint.network().to(self.device)
        convert: Any = self._network.to  # PyTorch's stubs do not know that it takes a memory format
        convert(memory_format=self._layout)

    def prepare(self, image: NDArray[Any]) -> Tensor:
        """The network's input for an image as it was read: (1, C, H, W).

        Raises:
            DataError: if it has other channels than the training images had.
        """
        if image.ndim == 2:
            image = image[:, :, None]
        channels = self.checkpoint.channels
        if image.dtype == np.float64:
            image = image.astype(np.float32)
        if image.ndim != 3 or image.dtype not in (np.uint8, np.uint16, np.float32):
            raise DataError(f"{image.dtype} {image.shape} is no image: (H, W) or (H, W, C), uint8, uint16 or float")
        opaque = image.shape[2] == 4 and channels != 4 and (image[:, :, 3] == image[:, :, 3].max()).all()
        if opaque:
            image = image[:, :, :3]
        if channels == 1 and image.shape[2] > 1 and (image == image[:, :, :1]).all():
            image = image[:, :, :1]
        if image.shape[2] != channels:
            kind = {1: "grey", 3: "RGB", 4: "RGBA"}.get(channels, f"of {channels} channels")
            raise DataError(
                f"it has {image.shape[2]} channels and the network was trained on {kind} images: save it as {kind}"
            )
        tensor = torch.from_numpy(self.checkpoint.normalization(image).transpose(2, 0, 1)[None])
        return tensor.to(self.device).contiguous(memory_format=self._layout)

    @torch.inference_mode()
    def logits(self, image: NDArray[Any]) -> Tensor:
        """(1, out, H, W) float32, on the predictor's device."""
        with autocast(self.precision, self.device):
            return whole_image_logits(self._network, self.prepare(image)).float()

    def probabilities(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """Class probabilities of an image.

        Args:
            image: (H, W) or (H, W, C), uint8, uint16 or float32, as read from a file.

        Returns:
            (classes, H, W), summing to 1 over the classes.

        Raises:
            DataError: if it has other channels than the training images had.
        """
        result: NDArray[np.float32] = probabilities(self.logits(image), self._activation)[0].cpu().numpy()
        return result

    def predict(self, image: NDArray[Any]) -> NDArray[np.uint8]:
        """The likeliest class of each pixel: (H, W) class indices; see `probabilities`."""
        label: NDArray[np.uint8] = self.probabilities(image).argmax(axis=0).astype(np.uint8)
        return label

    def score(
        self, samples: Sequence[Sample], loss: nn.Module, board: Scoreboard
    ) -> Iterator[tuple[Sample, NDArray[np.uint8]]]:
        """Predicts labelled or unlabelled samples one by one; labelled ones are counted on the board.

        Args:
            samples: whole images.
            loss: of logits and label.
            board: takes the scores.

        Yields:
            Each sample with its predicted label (H, W).
        """
        loss = loss.to(self.device)
        for sample in samples:
            logits = self.logits(sample.image)
            label = probabilities(logits, self._activation)[0].argmax(dim=0).to(torch.uint8).cpu().numpy()
            if sample.label is not None:
                target = torch.from_numpy(sample.label)[None].to(self.device)
                board.add(sample.name, sample.label, label, float(loss(logits, target)))
            yield sample, label


def load(path: str | Path, accelerator: str = "auto", precision: str = "auto") -> Predictor:
    """Opens a checkpoint for prediction.

    Args:
        path: a checkpoint, or a run's folder, whose `best.ckpt` is taken.
        accelerator: `auto`, `cpu`, `gpu`, `cuda` or `mps`.
        precision: `auto`, `32`, `bf16-mixed` or `16-mixed`.

    Raises:
        DataError: if it cannot be opened; see `unet_exp.checkpoint.open_checkpoint`.
    """
    return Predictor(open_checkpoint(path), accelerator, precision)
