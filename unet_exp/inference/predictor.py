"""A trained network as users see it: an array in, class probabilities or a label out."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unet_exp.checkpoints.checkpoint import Checkpoint
from unet_exp.config import IGNORE_LABEL, InferenceConfig
from unet_exp.errors import DataError
from unet_exp.geometry import tile_step
from unet_exp.inference.device import autocast, choose_layouts, memory_format, resolve_device, resolve_precision
from unet_exp.inference.tiling.overlap_tile import Part, Size, Source, mirror_source, tiled_logits
from unet_exp.inference.tta import average_probabilities, part_probabilities, to_logits
from unet_exp.io.valid import Valid, clear_invalid, find_valid
from unet_exp.losses import Targets
from unet_exp.metrics.scoreboard import Scoreboard
from unet_exp.network import probabilities
from unet_exp.samples.sample import Sample


def likeliest_class(probabilities: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(H, W) class indices from (classes, H, W) probabilities, `IGNORE_LABEL` where these are NaN."""
    label: NDArray[np.uint8] = probabilities.argmax(axis=0).astype(np.uint8)
    label[np.isnan(probabilities[0])] = IGNORE_LABEL
    return label


class Predictor:
    """Predicts whole images with a checkpoint's network.

    Args:
        checkpoint: an opened checkpoint.
        accelerator: `auto`, `cpu`, `gpu`, `cuda` or `mps`.
        precision: `auto`, `32`, `bf16-mixed` or `16-mixed`.
        inference: tiles and test-time augmentation; None takes those of the checkpoint's config. Change them with
            `checkpoint.config.inference.model_copy(update={"tile": 512})`, or make others with
            `FlipTTAConfig(name="flips8", tile=1024, batch_size=1, context="auto", blend=0)`.

    Raises:
        ConfigError: if the machine has no such accelerator, or `inference.tile` is too small for the network.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        accelerator: str = "auto",
        precision: str = "auto",
        inference: InferenceConfig | None = None,
    ) -> None:
        config = checkpoint.config
        self.checkpoint = checkpoint
        self.classes = checkpoint.record.classes
        self.inference = inference or config.inference
        self.device = resolve_device(accelerator)
        self.precision = resolve_precision(precision, self.device)
        self._activation = config.activation
        self.network = checkpoint.network().to(self.device)
        tile_step(self.network.architecture, self.inference.tile, self.inference.blend)
        architecture = self.network.architecture
        layouts = choose_layouts(config.trainer.channels_last, self.device, self.precision, architecture)
        convert: Any = self.network.to  # PyTorch's stubs do not know that it takes a memory format
        convert(memory_format=memory_format(layouts.prediction))

    def prepare(self, image: NDArray[Any], valid: Valid = None) -> Tensor:
        """Normalises an image as read from a file: (1, C, H, W) float32 on the CPU; arguments as `probabilities`.

        Raises:
            DataError: if it has other channels than the training images had.
        """
        if image.ndim == 2:
            image = image[:, :, None]
        channels = self.checkpoint.record.channels
        if image.dtype == np.float64:
            image = image.astype(np.float32)
        if image.ndim != 3 or image.dtype not in (np.uint8, np.uint16, np.float32):
            raise DataError(f"{image.dtype} {image.shape} is no image: (H, W) or (H, W, C), uint8, uint16 or float")
        alpha = image[:, :, 3:4] if valid is None else image[valid][:, 3:4]
        opaque = image.shape[2] == 4 and bool((alpha == alpha.max(initial=0)).all())
        colours = image[:, :, :3] if opaque and channels != 4 else image
        alike = channels == 1 and bool((colours == colours[:, :, :1]).all())
        image = image[:, :, : self.count_used_channels(image.shape[2], opaque, alike)]
        pixels = self.checkpoint.record.normalization(image, valid)
        return torch.from_numpy(pixels.transpose(2, 0, 1)[None]).contiguous()

    def count_used_channels(self, channels: int, opaque: bool, alike: bool) -> int:
        """The number of an image's first channels that the network takes.

        Args:
            channels: of the image.
            opaque: whether a fourth channel has one value everywhere.
            alike: whether the channels, without such a fourth one, are equal everywhere.

        Raises:
            DataError: if it has other channels than the training images had.
        """
        wanted = self.checkpoint.record.channels
        colours = 3 if channels == 4 and wanted != 4 and opaque else channels
        if wanted == 1 and alike:
            colours = 1
        if colours != wanted:
            kind = {1: "grey", 3: "RGB", 4: "RGBA"}.get(wanted)
            wish = f"{kind} images: save it as {kind}" if kind else f"images of {wanted}: save it with as many"
            raise DataError(f"it has {colours} channels and the network was trained on {wish}")
        return wanted

    @torch.inference_mode()
    def part_probabilities(self, source: Source, size: Size, part: Part) -> NDArray[np.float32]:
        """Class probabilities (classes, height, width) of a part of a large image, in one pass; see `probabilities`.

        `source` returns windows of the normalised image of height and width `size`, mirrored beyond its border.
        """
        with autocast(self.precision, self.device):
            found = part_probabilities(self.network, source, size, part, self.inference, self._activation)
        result: NDArray[np.float32] = found[0].numpy()
        return result

    @torch.inference_mode()
    def _prediction(self, image: NDArray[Any], valid: Valid) -> tuple[Tensor, Tensor]:
        """Logits (1, out, H, W) and class probabilities (1, classes, H, W), both float32 on the CPU."""
        pixels, settings = self.prepare(image, valid), self.inference
        with autocast(self.precision, self.device):
            if settings.name == "none":  # exact logits, also where probabilities are too small for a float
                height, width = pixels.shape[-2:]
                logits = tiled_logits(self.network, mirror_source(pixels), height, width, settings)
                return logits, probabilities(logits, self._activation)
            mean = average_probabilities(self.network, pixels, settings, self._activation)
        return to_logits(mean, self._activation), mean

    def probabilities(self, image: NDArray[Any], valid: Valid = None) -> NDArray[np.float32]:
        """Class probabilities of an image of any size, with the tiles and test-time augmentation of `inference`.

        Args:
            image: (H, W) or (H, W, C), uint8, uint16 or float32, as read from a file.
            valid: (H, W), the pixels that hold data, as `unet_exp.io.images.read_scenes` finds them; None: all but
                NaN.

        Returns:
            (classes, H, W), summing to 1 over the classes; NaN where a pixel is not valid.

        Raises:
            DataError: if it has other channels than the training images had.
        """
        if valid is None and image.ndim in (2, 3):
            valid = find_valid(image, "declared")
        result: NDArray[np.float32] = self._prediction(clear_invalid(image, valid), valid)[1][0].numpy()
        if valid is not None:
            result[:, ~valid] = np.nan
        return result

    def predict(self, image: NDArray[Any], valid: Valid = None) -> NDArray[np.uint8]:
        """The likeliest class of each pixel: (H, W) class indices, 255 where not valid; see `probabilities`."""
        return likeliest_class(self.probabilities(image, valid))

    def label(self, sample: Sample) -> NDArray[np.uint8]:
        """The likeliest class of each pixel of a data set's image, as `score` yields it: (H, W) class indices."""
        found = self._prediction(sample.image, sample.valid)[1][0].numpy()
        label: NDArray[np.uint8] = found.argmax(axis=0).astype(np.uint8)
        return label

    def score(
        self, samples: Sequence[Sample], loss: nn.Module, targets: Targets, board: Scoreboard
    ) -> Iterator[tuple[Sample, NDArray[np.uint8], dict[str, float | str] | None]]:
        """Predicts samples one by one; labelled ones count on the board. `loss` moves to the CPU.

        Yields each sample with its predicted label (H, W), and its row on the board if it is labelled.
        """
        loss = loss.cpu()
        for sample in samples:
            logits, shares = self._prediction(sample.image, sample.valid)
            found: NDArray[np.float32] = shares[0].numpy()
            prediction = found.argmax(axis=0).astype(np.uint8)
            row = None
            if sample.label is not None:
                label, weights = targets(sample.label, sample.instances)
                pixel_weights = None if weights is None else torch.from_numpy(weights)[None]
                value = float(loss(logits, torch.from_numpy(label)[None], pixel_weights))
                row = board.add(sample.name, sample.label, prediction, value, found, sample.instances)
            yield sample, prediction, row
