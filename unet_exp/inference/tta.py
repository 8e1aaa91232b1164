"""Test-time augmentation: the mean over turned and flipped versions of an image (paper, section 4: seven rotations).

Flips and quarter turns only permute pixels. Any other rotation resamples the image on a canvas that holds all of it,
with mirrored pixels beyond the image.
"""

from collections.abc import Callable, Iterable, Sequence
from math import ceil, cos, radians, sin
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from unet_exp.config import InferenceConfig, RotationTTAConfig
from unet_exp.geometry import Activation
from unet_exp.inference.tiling.overlap_tile import (
    Part,
    Size,
    Source,
    mirror_source,
    part_logits,
    part_window,
    tiled_logits,
)
from unet_exp.inference.tiling.tile_plan import surround
from unet_exp.network import Network, probabilities

Predict = Callable[[Source, int, int], Tensor]
"""Returns class probabilities (B, classes, height, width) of a source, a height and a width."""


@torch.no_grad()
def average_probabilities(network: Network, image: Tensor, settings: InferenceConfig, activation: Activation) -> Tensor:
    """Class probabilities of an image, or of equal ones: the mean over those of its versions, each turned back.

    Args:
        network: in eval mode, on any device.
        image: (B, C, H, W) float32, normalised, on any device.
        settings: `none`, `rotations7` with its `angles`, or `flips8`; and the tiles of each version.
        activation: of the logits.

    Returns:
        (B, classes, H, W) float32, with the sum 1 over the classes, where `tiled_logits` leaves its result.

    Raises:
        ConfigError: if `settings.tile` is too small for the network.
    """

    def predict(source: Source, height: int, width: int) -> Tensor:
        return probabilities(tiled_logits(network, source, height, width, settings, len(image)), activation)

    if isinstance(settings, RotationTTAConfig):
        border = surround(network.architecture, settings.context)
        rotated = (predict_rotated(predict, image, angle, border) for angle in settings.angles)
        return average(rotated, len(settings.angles))
    turns = list_turns(settings) or []
    return average((predict_turned(predict, image, *turn) for turn in turns), len(turns))


def count_versions(settings: InferenceConfig) -> int:
    """How often an image is predicted."""
    if isinstance(settings, RotationTTAConfig):
        return len(settings.angles)
    return len(list_turns(settings) or ())


def average(versions: Iterable[Tensor], count: int) -> Tensor:
    """The mean of `count` versions, one in memory at a time, where the first one lies.

    What is free on a GPU may send a later one to the CPU.
    """
    total = torch.zeros(())
    for number, found in enumerate(versions):
        total = total + found.to(total.device if number else found.device)
    return total / count


@torch.no_grad()
def part_probabilities(
    network: Network, source: Source, size: Size, part: Part, settings: InferenceConfig, activation: Activation
) -> Tensor:
    """Class probabilities (1, classes, height, width), float32 on the network's device, of a part of an image.

    They equal those of `average_probabilities` there, for angles that are multiples of 90. `source` returns the
    normalised image of `size`, mirrored beyond its border.
    """
    turns, total = list_turns(settings) or [], torch.zeros(())
    for quarters, flip in turns:
        seen_size, seen_part = _turn_part(size, part, quarters, flip)

        def seen(*window: int, quarters: int = quarters, flip: bool = flip, seen_size: Size = seen_size) -> Tensor:
            pixels = source(*_turn_back(window, size, seen_size, quarters, flip)).rot90(quarters, (-2, -1))
            return pixels.flip(-1) if flip else pixels

        found = probabilities(part_logits(network, seen, seen_size, seen_part, settings), activation)
        found = found.flip(-1) if flip else found
        total = total + found.rot90(-quarters, (-2, -1))
    return total / len(turns)


def list_windows(network: Network, size: Size, part: Part, settings: InferenceConfig) -> list[Part]:
    """The windows that `part_probabilities` asks its source for, in this order, to read them before."""
    windows = []
    for quarters, flip in list_turns(settings) or []:
        seen_size, seen_part = _turn_part(size, part, quarters, flip)
        window = part_window(network, seen_size, seen_part, settings)
        windows.append(_turn_back(window, size, seen_size, quarters, flip))
    return windows


def _turn_part(size: Size, part: Part, quarters: int, flip: bool) -> tuple[Size, Part]:
    """The size of an image of `size` after quarter turns and a flip, and where a part of it lies then."""
    seen_size = size if quarters % 2 == 0 else size[::-1]
    seen_part = _undo_turns(part, seen_size, -quarters % 4)
    return seen_size, _flip_window(seen_part, seen_size) if flip else seen_part


def _turn_back(window: Sequence[int], size: Size, seen_size: Size, quarters: int, flip: bool) -> Part:
    """Maps a window of an image after quarter turns and a flip back to the image."""
    inside = _flip_window(window, seen_size) if flip else window
    return _undo_turns(inside, size, quarters)


def list_turns(settings: InferenceConfig) -> list[tuple[int, bool]] | None:
    """Lists the versions to average: quarter turns counter-clockwise, and whether a flip from left to right follows.

    Returns:
        None if other rotations are among them.
    """
    if isinstance(settings, RotationTTAConfig):
        if any(angle % 90 for angle in settings.angles):
            return None
        return [(int(angle // 90) % 4, False) for angle in settings.angles]
    if settings.name == "flips8":
        return [(quarters, flip) for flip in (False, True) for quarters in range(4)]
    return [(0, False)]


def _undo_turns(window: Sequence[int], size: Size, quarters: int) -> Part:
    """Maps a window of an image after `quarters` turns back to the image, of `size` before the turns."""
    top, left, height, width = window
    for turn in reversed(range(quarters)):
        across = size[1] if turn % 2 == 0 else size[0]  # before this turn
        top, left, height, width = left, across - top - height, width, height
    return top, left, height, width


def _flip_window(window: Sequence[int], size: Size) -> Part:
    """Maps a window of an image after a flip from left to right back to the image."""
    top, left, height, width = window
    return top, size[1] - left - width, height, width


def predict_turned(predict: Predict, image: Tensor, quarters: int, flip: bool = False) -> Tensor:
    """Probabilities of an image from its version after `quarters` turns counter-clockwise and a flip, turned back."""
    seen = image.rot90(quarters, (-2, -1))
    seen = seen.flip(-1) if flip else seen
    found = predict(mirror_source(seen), seen.shape[-2], seen.shape[-1])
    found = found.flip(-1) if flip else found
    return found.rot90(-quarters, (-2, -1))


def predict_rotated(predict: Predict, image: Tensor, angle: float, border: int) -> Tensor:
    """Probabilities (B, classes, H, W) of an image from its version after a rotation, turned back.

    Args:
        predict: predicts the version.
        image: (B, C, H, W), normalised.
        angle: degrees, counter-clockwise; multiples of 90 are exact.
        border: pixels of the mirrored image to predict around it, so that padding does not touch its corners.
    """
    if angle % 90 == 0:
        return predict_turned(predict, image, int(angle // 90))
    height, width = image.shape[-2:]
    cosine, sine = abs(cos(radians(angle))), abs(sin(radians(angle)))
    high = ceil(height * cosine + width * sine) + 2 * border
    wide = ceil(width * cosine + height * sine) + 2 * border

    def source(top: int, left: int, rows: int, columns: int) -> Tensor:
        return _sample(image, angle, (high, wide), (top, left, rows, columns), "bicubic")

    return _sample(predict(source, high, wide), -angle, (height, width), (0, 0, height, width), "bilinear")


def _sample(pixels: Tensor, angle: float, canvas: Size, window: Part, mode: Literal["bicubic", "bilinear"]) -> Tensor:
    """Samples a window of a canvas of which pixels (B, C, H, W), turned counter-clockwise by degrees, fill the middle.

    Beyond their border they are mirrored. `bilinear` keeps probabilities positive and their sum 1.
    """
    top, left, rows, columns = window
    numbers: Any = {"dtype": torch.float64, "device": pixels.device}
    y = (torch.arange(top, top + rows, **numbers) - (canvas[0] - 1) / 2)[:, None]
    x = (torch.arange(left, left + columns, **numbers) - (canvas[1] - 1) / 2)[None]
    cosine, sine = cos(radians(angle)), sin(radians(angle))
    places = torch.stack([x * cosine - y * sine, x * sine + y * cosine], dim=-1)  # from the centre of the pixels
    half = torch.tensor([max(size - 1, 1) / 2 for size in (pixels.shape[-1], pixels.shape[-2])], device=pixels.device)
    # -1 and 1 are the centres of the border pixels; these are not repeated
    grid = (places / half).float().expand(len(pixels), -1, -1, -1)
    return functional.grid_sample(pixels, grid, mode, padding_mode="reflection", align_corners=True)


def to_logits(mean: Tensor, activation: Activation) -> Tensor:
    """Inverts `unet_exp.network.probabilities`, for a loss that needs logits.

    Args:
        mean: (B, classes, H, W) probabilities.
        activation: `softmax`: log p, whose softmax is p. `sigmoid` with two classes: the logit of class 1; with more:
            the logit of each class against the rest, whose cross-entropy is that of the normalised probabilities.

    Returns:
        (B, out, H, W), finite.
    """
    tiny = torch.finfo(mean.dtype).tiny
    if activation == "softmax":
        return mean.clamp_min(tiny).log()
    if mean.shape[1] == 2:
        return mean[:, 1:].clamp_min(tiny).log() - mean[:, :1].clamp_min(tiny).log()
    return mean.logit(eps=torch.finfo(mean.dtype).eps)
