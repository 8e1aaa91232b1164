"""A trained network, or several, as users see them: an array in, class probabilities or a label out."""

from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unet_exp.checkpoints.checkpoint import Checkpoint
from unet_exp.config import IGNORE_LABEL, InferenceConfig
from unet_exp.errors import DataError
from unet_exp.folder.threads import run_ahead
from unet_exp.geometry import tile_step
from unet_exp.inference.batching import fits_batch
from unet_exp.inference.copies import Copies
from unet_exp.inference.counting import count_parts, hand_over_whole
from unet_exp.inference.device import resolve_device, resolve_precision
from unet_exp.inference.ensemble import agree_on_inference, check_alike
from unet_exp.inference.member import Member
from unet_exp.inference.tiling.overlap_tile import Part, Size, Source
from unet_exp.inference.tiling.tile_size import resolve_tile
from unet_exp.inference.tta import average, list_windows, to_logits
from unet_exp.io.images import read_scene
from unet_exp.io.valid import Valid, clear_invalid, find_valid
from unet_exp.losses import Targets
from unet_exp.metrics.probabilities import Histogram
from unet_exp.metrics.scoreboard import Scoreboard
from unet_exp.network import Network
from unet_exp.samples.normalization import Normalization
from unet_exp.samples.sample import Sample

T = TypeVar("T")


def likeliest_class(probabilities: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(H, W) class indices from (classes, H, W) probabilities, `IGNORE_LABEL` where these are NaN."""
    label: NDArray[np.uint8] = probabilities.argmax(axis=0).astype(np.uint8)
    label[np.isnan(probabilities[0])] = IGNORE_LABEL
    return label


class Predictor:
    """Predicts whole images with a checkpoint's network, or with the mean of the probabilities of several.

    The members of such an ensemble lie in memory together and predict one after another, each with its own
    normalisation and its own test-time augmentation. The first of them stands for all in what is asked about the
    training: the loss, and settings.

    Args:
        checkpoints: an opened checkpoint, or several whose classes and channels agree.
        accelerator: `auto`, `cpu`, `gpu`, `cuda` or `mps`.
        precision: `auto`, `32`, `bf16-mixed` or `16-mixed`.
        inference: tiles and test-time augmentation; None takes those of the checkpoint's config. Change them with
            `checkpoint.config.inference.model_copy(update={"tile": 512})`, or make others with
            `FlipTTAConfig(name="flips8", tile=1024, batch_size=1, context="auto", blend=0)`.
        memory: bytes that a pass may take, for `inference.tile=auto`; None: a third of what is free on the device. The
            attribute `inference` holds the tile in pixels.

    Raises:
        ConfigError: if the machine has no such accelerator, `inference.tile` is too small for a network, or the
            checkpoints have different settings of inference and none are given.
        DataError: if their classes or channels differ, or there is none.
    """

    def __init__(
        self,
        checkpoints: Checkpoint | Sequence[Checkpoint],
        accelerator: str = "auto",
        precision: str = "auto",
        inference: InferenceConfig | None = None,
        memory: int | None = None,
    ) -> None:
        opened = [checkpoints] if isinstance(checkpoints, Checkpoint) else list(checkpoints)
        if not opened:
            raise DataError("Predictor([]): give a checkpoint, or several")
        check_alike(opened)
        wanted = inference or agree_on_inference(opened)
        self.checkpoint = opened[0]
        self.classes = self.checkpoint.record.classes
        self.device = resolve_device(accelerator)
        self.precision = resolve_precision(precision, self.device)
        self.members = [Member(checkpoint, self.device, self.precision) for checkpoint in opened]
        self.has_auto_tile = wanted.tile == "auto"
        self.inference = resolve_tile(wanted, self.networks, self.device, memory)
        for network in self.networks:
            tile_step(network.architecture, self.inference.tile_pixels, self.inference.blend)
        # Most ensembles have one, and then an image is normalised once.
        self.normalizations: list[Normalization] = []
        for checkpoint in opened:
            if checkpoint.record.normalization not in self.normalizations:
                self.normalizations.append(checkpoint.record.normalization)
        self._places = [self.normalizations.index(checkpoint.record.normalization) for checkpoint in opened]

    @property
    def networks(self) -> list[Network]:
        """The network of each member, in evaluation mode, on the device."""
        return [member.network for member in self.members]

    def prepare(self, image: NDArray[Any], valid: Valid = None) -> list[Tensor]:
        """Normalises an image as read from a file, as `normalizations` say; arguments as `probabilities`.

        Returns:
            (1, C, H, W) float32 on the CPU for each of `normalizations`.

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
        found = (normalization(image, valid) for normalization in self.normalizations)
        return [torch.from_numpy(pixels.transpose(2, 0, 1)[None]).contiguous() for pixels in found]

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
            raise _OtherChannels(colours, wanted)
        return wanted

    def list_windows(self, size: Size, part: Part) -> list[list[Part]]:
        """The windows of a large image that `part_probabilities` asks of each source, to read them before."""
        wanted: list[dict[Part, None]] = [{} for _ in self.normalizations]
        for member, windows in self._pair(wanted):
            windows.update(dict.fromkeys(list_windows(member.network, size, part, self.inference)))
        return [list(windows) for windows in wanted]

    @torch.inference_mode()
    def part_probabilities(self, sources: Sequence[Source], size: Size, part: Part) -> NDArray[np.float32]:
        """Class probabilities (classes, height, width) of a part of a large image, in one pass; see `probabilities`.

        `sources` return windows of the image of height and width `size`, mirrored beyond its border, normalised as each
        of `normalizations` says.
        """
        parts = (member.predict_part(source, size, part, self.inference) for member, source in self._pair(sources))
        found = next(parts) if len(self.members) == 1 else average(parts, len(self.members))
        result: NDArray[np.float32] = found[0].cpu().numpy()
        return result

    @torch.inference_mode()
    def _prediction(self, pixels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits (B, out, H, W) and class probabilities (B, classes, H, W), float32, of what `prepare` returns."""
        found = (member.predict(given, self.inference) for member, given in self._pair(pixels))
        if len(self.members) == 1:
            mean, logits = next(found)
        else:
            mean, logits = average(map(attrgetter("probabilities"), found), len(self.members)), None
        return to_logits(mean, self.members[0].activation) if logits is None else logits, mean

    def _pair(self, inputs: Sequence[T]) -> Iterator[tuple[Member, T]]:
        """Each member with the input of its normalisation."""
        return ((member, inputs[place]) for member, place in zip(self.members, self._places, strict=True))

    def probabilities(self, image: NDArray[Any] | str | Path, valid: Valid = None) -> NDArray[np.float32]:
        """Class probabilities of an image of any size, with the tiles and test-time augmentation of `inference`.

        Args:
            image: (H, W) or (H, W, C), uint8, uint16 or float32, as read from a file; or the path of a file of one
                image, whose pixels without data are found too.
            valid: (H, W), the pixels that hold data, as `unet_exp.io.images.read_scenes` finds them; None: all but
                NaN.

        Returns:
            (classes, H, W), summing to 1 over the classes; NaN where a pixel is not valid.

        Raises:
            DataError: if it has other channels than the training images had, or the file is not of one image.
        """
        if isinstance(image, str | Path):
            scene = read_scene(image)
            return self.batch_probabilities([(scene.pixels, scene.valid if valid is None else valid)])[0]
        try:
            return self.batch_probabilities([(image, valid)])[0]
        except _OtherChannels as error:
            shape = "(H, W)" if error.wanted == 1 else f"(H, W, {error.wanted})"
            raise DataError(
                f"an array of shape {image.shape} is taken as {'(H, W)' if image.ndim == 2 else '(H, W, C)'}: "
                f"{error.told}; give {shape}"
            ) from None

    def batch_probabilities(self, images: Sequence[tuple[NDArray[Any], Valid]]) -> list[NDArray[np.float32]]:
        """Class probabilities of images of one size, at least one, predicted together; see `probabilities`."""
        known = [
            (image, find_valid(image, "declared") if valid is None and image.ndim in (2, 3) else valid)
            for image, valid in images
        ]
        pixels = _join([self.prepare(clear_invalid(image, valid), valid) for image, valid in known])
        found: list[NDArray[np.float32]] = list(self._prediction(pixels)[1].cpu().numpy())
        for shares, (_, valid) in zip(found, known, strict=True):
            if valid is not None:
                shares[:, ~valid] = np.nan
        return found

    def predict(self, image: NDArray[Any] | str | Path, valid: Valid = None) -> NDArray[np.uint8]:
        """The likeliest class of each pixel: (H, W) class indices, 255 where not valid; see `probabilities`."""
        return likeliest_class(self.probabilities(image, valid))

    def label(self, sample: Sample) -> NDArray[np.uint8]:
        """The likeliest class of each pixel of a data set's image, as `score` yields it: (H, W) class indices."""
        found = self._prediction(self.prepare(sample.image, sample.valid))[1][0]
        label: NDArray[np.uint8] = found.argmax(dim=0).to(torch.uint8).cpu().numpy()
        return label

    def score(
        self, samples: Sequence[Sample], loss: nn.Module, targets: Targets, board: Scoreboard
    ) -> Iterator[tuple[Sample, NDArray[np.uint8], dict[str, float | str] | None]]:
        """Predicts samples; labelled ones count on the board, in their order. `loss` moves to where an image is.

        Yields each sample with its predicted label (H, W), and its row on the board if it is labelled. The next samples
        are predicted before that, and those after them read: on a GPU all else is done while it works.
        """

        def read(place: int) -> _Read:
            sample = samples[place]
            aims = None if sample.label is None else targets(sample.label, sample.instances)
            return _Read(sample, self.prepare(sample.image, sample.valid), aims)

        before: list[_Begun] = []
        for batch in self._join_neighbours(run_ahead(read, range(len(samples)), threads=1, ahead_of_each=1)):
            after = self._begin(batch, loss, board)
            for waiting in before:
                yield self._score(*waiting, board)
            before = after
        for waiting in before:
            yield self._score(*waiting, board)

    def _join_neighbours(self, items: Iterable["_Read"]) -> Iterator[list["_Read"]]:
        """Neighbours that are predicted together."""
        batch: list[_Read] = []
        for item in items:
            if batch and not fits_batch([other.size for other in batch], item.size, self.device, self.inference):
                yield batch
                batch = []
            batch.append(item)
        if batch:
            yield batch

    def _begin(self, batch: list["_Read"], loss: nn.Module, board: Scoreboard) -> "list[_Begun]":
        """Predicts samples together; label, loss and the probabilities that `board` takes go to the CPU."""
        all_logits, all_shares = self._prediction(_join([item.pixels for item in batch]))
        begun = []
        for place, item in enumerate(batch):
            logits, probable = all_logits[place : place + 1], all_shares[place]
            found = {"label": probable.argmax(dim=0).to(torch.uint8)}
            histogram = None
            if item.aims is not None and item.sample.label is not None:
                (label, weights), home = item.aims, logits.device
                pixel_weights = None if weights is None else torch.from_numpy(weights)[None].to(home)
                found["loss"] = loss.to(home)(logits, torch.from_numpy(label)[None].to(home), pixel_weights)
                shares = hand_over_whole(board, item.size)
                found |= {"probabilities": probable[:shares]} if shares else {}
                histogram = count_parts(board, item.sample.label, found["label"], probable)
            begun.append(_Begun(item.sample, Copies(found), histogram))
        return begun

    def _score(
        self, sample: Sample, copies: Copies, histogram: Histogram | None, board: Scoreboard
    ) -> tuple[Sample, NDArray[np.uint8], dict[str, float | str] | None]:
        found = copies.arrays()
        if sample.label is None:
            return sample, found["label"], None
        loss, shares = float(found["loss"]), histogram or found.get("probabilities")
        row = board.add(sample.name, sample.label, found["label"], loss, shares, sample.instances)
        if self.device.type == "cpu":
            board.wait()  # the next image takes all cores
        return sample, found["label"], row


class _OtherChannels(DataError):
    """An image has other channels than the training images had.

    Attributes:
        wanted: how many these had.
        told: what is wrong, without what to do.
    """

    def __init__(self, channels: int, wanted: int) -> None:
        kind = {1: "grey", 3: "RGB", 4: "RGBA"}.get(wanted)
        images = f"{kind} images" if kind else f"images of {wanted}"
        self.wanted = wanted
        self.told = f"it has {channels} channels and the network was trained on {images}"
        super().__init__(f"{self.told}: save it {f'as {kind}' if kind else 'with as many'}")


class _Begun(NamedTuple):
    """A sample whose prediction is on its way to the CPU; the histogram of its probabilities if it is large."""

    sample: Sample
    copies: Copies
    histogram: Histogram | None


class _Read(NamedTuple):
    """A sample, what `prepare` returns of it, and what the loss compares with its logits if it is labelled."""

    sample: Sample
    pixels: list[Tensor]
    aims: tuple[NDArray[np.uint8], NDArray[np.float32] | None] | None

    @property
    def size(self) -> Size:
        height, width = self.pixels[0].shape[-2:]
        return height, width


def _join(images: Sequence[list[Tensor]]) -> list[Tensor]:
    """Puts images of one size together, (B, C, H, W) for each normalisation."""
    return [torch.cat(alike) for alike in zip(*images, strict=True)]
