"""The first patches of a training as the network will see them, before it starts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pytorch_lightning.utilities.seed import isolate_rng
from torch import Tensor, nn

from unet_exp.augmentation import Window
from unet_exp.config import IGNORE_LABEL
from unet_exp.figures.preview_sheet import PatchView, draw_preview
from unet_exp.losses.pixelwise import PixelwiseLoss
from unet_exp.mirror import Pixels, Plane, mirror_window
from unet_exp.network import center_crop
from unet_exp.samples.sample import Region
from unet_exp.training.parts import ImageParts, Kind, PartPlane
from unet_exp.training.patches import PatchDataset
from unet_exp.training.prepare import Job

_MARGIN = 4
"""Widths of the window around an image within which an augmentation may look."""


@dataclass(frozen=True)
class Preview:
    """A picture, (H, W, 3) uint8 RGB, and what it shows, in lines."""

    picture: NDArray[np.uint8]
    facts: list[str]


def make_preview(job: Job, count: int) -> Preview:
    """Cuts and draws the first patches of a training; its random numbers stay as they are.

    Args:
        job: the training.
        count: of patches; fewer where an epoch has fewer.

    Raises:
        DataError: for a file that is gone or has changed.
    """
    with isolate_rng():
        views = list(cut_views(job, count))
    facts = _describe(job, views, count)
    return Preview(draw_preview(views, job.dataset.classes, facts), facts)


def cut_views(job: Job, count: int) -> Iterator[PatchView]:
    """The first patches, and which of their pixels are invented."""
    datamodule, names = job.datamodule, job.dataset.train.names
    draws = datamodule.first_draws(count)
    watched = datamodule.make_patches(WatchedPatches)
    for number, (draw, patch) in enumerate(zip(draws, datamodule.cut_patches(draws, job.device), strict=True), 1):
        arrays = {name: item.numpy() for name, item in patch.items()}
        watched[draw]
        yield PatchView(
            title=f"{number}: {names[draw.image]}",
            image=arrays["image"].transpose(1, 2, 0),
            label=arrays["label"],
            weights=_weigh(job.module.loss, patch),
            invented=watched.invented,
        )


def _weigh(loss: nn.Module, patch: Mapping[str, Tensor]) -> NDArray[np.float32] | None:
    """The weights of the pixels in the loss, (T, T), ignored ones 0; None for a loss without a map of weights."""
    if "weights" not in patch or not isinstance(loss, PixelwiseLoss):
        return None
    found: NDArray[np.float32] = loss.weigh(patch["label"][None], patch["weights"][None])[0].numpy()
    return found


class WatchedPatches(PatchDataset):
    """Patches, and which of their pixels show what lies beyond the image.

    What is beyond looks like the image, which is mirrored there. So each patch is cut once more, from a canvas that
    shows the same and has no border near the window, with a map of where the image is on it. Where an augmentation
    gives another patch there, nothing is known.

    Attributes:
        invented: (S, S) of the last patch; None where it is not known.
    """

    invented: NDArray[np.bool_] | None = None

    def _cut(
        self, parts: ImageParts, window: Window, seed: int, *maps: Pixels, around: int = 0
    ) -> tuple[NDArray[Any], ...]:
        cut = super()._cut(parts, window, seed, *maps, around=around)
        margin = _MARGIN * window.size
        canvas, inside = _CanvasParts(parts, margin), _Inside(parts.size, margin)
        # What a list of transforms draws depends on how much is cut: as much as for the patch, and all of the input.
        moved = Window(window.top + margin, window.left + margin, window.size, max(0, window.surround))
        patch, real = super()._cut(canvas, moved, seed, inside, around=moved.side)
        seen = real[moved.inset, moved.inset]
        self.invented = seen == 0 if _look_alike(patch, cut[0]) else None
        return cut


def _look_alike(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether two patches are equal up to the rounding of places."""
    return one.shape == other.shape and bool(np.abs(one - other).mean() <= 0.02 * other.std() + 1e-5)


class _CanvasParts(ImageParts):
    """The parts of an image on a canvas, which shows as much around it as `margin` pixels, mirrored."""

    def __init__(self, parts: ImageParts, margin: int) -> None:
        self._parts: Any = parts
        self._margin = margin
        self.has_invalid = parts.has_invalid
        self.size = parts.size[0] + 2 * margin, parts.size[1] + 2 * margin

    def plane(self, kind: Kind) -> PartPlane:
        """See `ImageParts.plane`."""
        return _widen(self._parts.plane(kind), self._margin)

    def stored(self, *settings: Any) -> Any:
        """See `ImageParts.stored`."""
        return _StoredCanvas(self._parts.stored(*settings), self._margin)


class _StoredCanvas:
    """See `unet_exp.augmentation.StoredImage`."""

    def __init__(self, stored: Any, margin: int) -> None:
        self._plane = _widen(stored, margin)
        self.shape = self._plane.shape
        self.read = self._plane.read
        self.normalized = _widen(stored.normalized, margin)
        self.valid = None if stored.valid is None else _widen(stored.valid, margin)
        self.normalize = stored.normalize
        self.restore = stored.restore


def _widen(plane: Plane, margin: int) -> PartPlane:
    """A plane with its mirrored surroundings."""
    height, width, *rest = plane.shape

    def cut(region: Region) -> NDArray[Any]:
        return mirror_window(plane, region.top - margin, region.left - margin, region.height, region.width)

    return PartPlane((height + 2 * margin, width + 2 * margin, *rest), cut)


class _Inside:
    """Where on a canvas the image is, 1, and what is invented, 0; see `unet_exp.mirror.Plane`."""

    def __init__(self, size: tuple[int, int], margin: int) -> None:
        self._size, self._margin = size, margin
        self.shape: tuple[int, ...] = (size[0] + 2 * margin, size[1] + 2 * margin)

    def read(self, top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
        """Reads a part."""
        places = np.arange(top, top + height) - self._margin, np.arange(left, left + width) - self._margin
        rows, columns = ((line >= 0) & (line < size) for line, size in zip(places, self._size, strict=True))
        return np.outer(rows, columns).astype(np.uint8)


def _describe(job: Job, views: Sequence[PatchView], wanted: int) -> list[str]:
    """What the patches are, and shares of their pixels."""
    size, tile, channels = job.datamodule.input_size, job.config.data.tile, job.dataset.channels
    labels = np.stack([view.label for view in views])
    known = labels[labels != IGNORE_LABEL]
    shares = [f"{spec.name} {_percent(known == place)}" for place, spec in enumerate(job.dataset.classes)]
    images = np.stack([view.image for view in views])
    few = f", all of an epoch (preview={wanted})" if len(views) < wanted else ""
    lines = [
        f"the first {len(views)} patches{few}: augmentation={job.config.augmentation.name}, seed={job.config.seed}",
        f"input {size} x {size} pixels of {channels} channel{'s' * (channels > 1)}; labelled patch {tile} x {tile}",
        f"labels: {', '.join(shares)}; ignored {_percent(labels == IGNORE_LABEL)}",
        _describe_invented(views, tile),
        f"grey values of the input: {images.min():.3g} to {images.max():.3g}, mean {images.mean():.3g}, "
        f"standard deviation {images.std():.3g}",
    ]
    weights = [view.weights[view.label != IGNORE_LABEL] for view in views if view.weights is not None]
    counted = np.concatenate(weights or [np.zeros(0)])
    if counted.size:
        lines.append(f"weights in the loss, with those of the classes: {counted.min():.3g} to {counted.max():.3g}")
    return lines


def _describe_invented(views: Sequence[PatchView], tile: int) -> str:
    known = [view.invented for view in views if view.invented is not None]
    open_ = [str(number) for number, view in enumerate(views, 1) if view.invented is None]
    reason = "the augmentation makes another patch of them where the image's border is farther away"
    if not known:
        return f"beyond the image: not known of any patch: {reason}"
    whole = np.stack(known)
    labelled = np.stack([center_crop(one, tile) for one in known])
    shares = f"{_percent(whole)} of the input, {_percent(labelled)} of the labelled patches"
    unknown = f"; not known of patch {', '.join(open_)}: {reason}" if open_ else ""
    return f"beyond the image (mirrored): {shares}{unknown}"


def _percent(share: NDArray[np.bool_]) -> str:
    return f"{100 * share.mean():.1f} %" if share.size else "none"
