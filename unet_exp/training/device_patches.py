"""Patches that are deformed in batch, on the device of the training: what is read of them, and what becomes of it.

The patches are those of `unet_exp.training.patches.PatchDataset`, up to rounding. An item of the loader is cheap to
make: the part of the image that the patch looks at, and the numbers that are drawn.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unet_exp import losses
from unet_exp.augmentation import on_device
from unet_exp.augmentation.paper import Deformation, fold
from unet_exp.config import IGNORE_LABEL, Config, LossConfig
from unet_exp.config.augmentation import DeformationConfig
from unet_exp.errors import ConfigError
from unet_exp.losses.batched import BatchedTargets
from unet_exp.mirror import mirror_window
from unet_exp.samples.normalization import Normalization
from unet_exp.samples.sample import Images
from unet_exp.training.draws import Draw
from unet_exp.training.parts import ImageParts
from unet_exp.training.patches import PatchDataset
from unet_exp.training.workers import count_workers

_MOTION = ("turn", "vectors", "origin", "size", "corner", "map_corner")
_PARTS = {"image": 0, "label": IGNORE_LABEL, "instances": 0, "valid": 1}
"""What the parts of a batch are filled up with, where a larger one has more; and one that an item lacks altogether."""


def resolve_place(
    config: Config, device: torch.device, processes: int, before: str | None = None
) -> Literal["cpu", "gpu"]:
    """Where patches are augmented: `gpu` in batch on the device of the training, `cpu` by the processes that read them.

    `auto` is the GPU where these would take longer than the network: with fewer than two of them for each patch of a
    batch (docs/performance.md). Else a small batch, which leaves the GPU waiting for the CPU, is better left alone.

    Args:
        config: of the training.
        device: of the network.
        processes: of the training on this machine.
        before: where an earlier run did it, which `auto` takes again on a GPU.

    Raises:
        ConfigError: if it is wanted on a device that cannot do it.
    """
    augmentation = config.augmentation
    wanted = "cpu"
    if isinstance(augmentation, DeformationConfig) and not augmentation.then:  # which is of the CPU
        wanted = augmentation.device
    if wanted == "gpu" and device.type != "cuda":
        raise ConfigError(
            f"augmentation.device=gpu needs a training on CUDA, and this one is on {device.type}; take auto or cpu"
        )
    if wanted != "auto" or device.type != "cuda":
        return "gpu" if wanted == "gpu" else "cpu"
    if before is not None:
        return "gpu" if before == "gpu" else "cpu"
    workers = count_workers(config.data.num_workers, device.type, processes)
    return "gpu" if 2 * config.data.batch_size >= workers else "cpu"


class PatchParts(PatchDataset):
    """Of what patches are made; `collate_parts` makes a batch of it, and `PatchMaker` their patches.

    Args:
        images: as `PatchDataset`.
        normalization: likewise.
        tile: likewise.
        input_size: likewise.
        augmentation: draws what is done on the device.
        loss: for which the patches are.
        seed: as `PatchDataset`.
    """

    def __init__(
        self,
        images: Images,
        normalization: Normalization,
        tile: int,
        input_size: int,
        augmentation: Deformation,
        loss: LossConfig,
        seed: int,
    ) -> None:
        super().__init__(images, normalization, tile, input_size, augmentation, losses.targets(loss), seed)
        self._deformation = augmentation
        self._batched = BatchedTargets(loss)
        self._surround = _find_surround(tile, input_size, self._batched)

    def __getitem__(self, draw: Draw) -> dict[str, Tensor]:
        """Reads the parts of one patch.

        Returns:
            `image` (C, h, w) float32, normalised, `label` (h, w) uint8 and, where they are needed, `instances` (h, w)
            int32 and `valid` (h, w) uint8; `corner` and `map_corner` (2,), the first row and column of the part of the
            image and of those of the maps; `counts`, whether a pixel of the labelled patch counts; the entries of
            `describe_motion` and `describe_values` of `unet_exp.augmentation.on_device`.

        Raises:
            DataError: for a file that is gone or has changed.
        """
        window, seed = self._draw_window(draw)
        window = window._replace(surround=self._surround)
        motion, grey = self._deformation.draw(seed)
        parts = ImageParts(self._images, draw.image, self._normalization)
        places = motion.source(window)
        box = on_device.find_box(places, parts.size)
        inside = box.clip(parts.size)
        image = mirror_window(parts.plane("image"), *box)
        label = mirror_window(parts.plane("label"), *inside)
        arrays = {"image": np.ascontiguousarray(image.transpose(2, 0, 1)), "label": label}
        if self._batched.weighs:
            found = self._whole_instances(draw.image)
            arrays["instances"] = mirror_window(parts.plane("instances") if found is None else found, *inside)
        if parts.has_invalid:
            arrays["valid"] = mirror_window(parts.plane("valid"), *inside)
        return {
            **{name: torch.from_numpy(array) for name, array in arrays.items()},
            **on_device.describe_motion(motion, window, parts.size),
            **on_device.describe_values(grey, (window.size, window.size, image.shape[2])),
            "corner": torch.tensor(box[:2]),
            "map_corner": torch.tensor(inside[:2]),
            "counts": torch.tensor(self._has_label(label, inside, places, parts.size)),
        }

    def _has_label(
        self, label: NDArray[np.uint8], box: on_device.Box, places: NDArray[np.float32], size: tuple[int, int]
    ) -> bool:
        """Whether the labelled patch has a pixel that counts, from a part of the label and the places in the image."""
        if (label != IGNORE_LABEL).all():
            return True
        start = self._surround + (self._input_size - self._tile) // 2
        middle = places[:, start : start + self._tile, start : start + self._tile]
        rows, columns = (np.rint(fold(*line)).astype(np.intp) for line in zip(middle, size, strict=True))
        return bool((label[rows - box.top, columns - box.left] != IGNORE_LABEL).any())


def collate_parts(items: Sequence[Mapping[str, Tensor]]) -> dict[str, Any]:
    """A batch of the items of `PatchParts`.

    Parts of different sizes are filled up at the bottom and right. `patches` is the number of those on which a pixel
    counts: known here, so that nobody asks the device for it.
    """
    names = [name for name in _PARTS if any(name in item for item in items)]
    return {
        **{name: _stack_parts([_get_part(item, name) for item in items], _PARTS[name]) for name in names},
        **{name: torch.stack([item[name] for item in items]) for name in _MOTION},
        **on_device.stack_values(items),
        "patches": sum(bool(item["counts"]) for item in items),
    }


def _get_part(item: Mapping[str, Tensor], name: str) -> Tensor:
    return item[name] if name in item else torch.full_like(item["label"], _PARTS[name])


def _stack_parts(parts: Sequence[Tensor], fill: int) -> Tensor:
    """(..., h, w) of different heights and widths to (B, ..., H, W)."""
    height, width = (max(part.shape[axis] for part in parts) for axis in (-2, -1))
    stacked = parts[0].new_full((len(parts), *parts[0].shape[:-2], height, width), fill)
    for place, part in zip(stacked, parts, strict=True):
        place[..., : part.shape[-2], : part.shape[-1]] = part
    return stacked


class PatchMaker:
    """Makes the patches of a batch of `collate_parts`, on the device where it is, without waiting for it.

    Args:
        tile: side of the labelled patch, pixels.
        input_size: side of the network's input, pixels.
        deformation: of the augmentation.
        loss: for which the patches are.
    """

    def __init__(self, tile: int, input_size: int, deformation: DeformationConfig, loss: LossConfig) -> None:
        self._tile, self._input_size = tile, input_size
        self._targets = BatchedTargets(loss)
        self._surround = _find_surround(tile, input_size, self._targets)
        self._basis = on_device.make_basis(input_size, self._surround, deformation.grid, deformation.knots)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Makes the patches.

        Returns:
            `image` (B, C, S, S) float32, S = `input_size`; of its middle `label` (B, tile, tile) uint8 and, where the
            loss has any, `weights` (B, tile, tile) float32; `patches`, an int.
        """
        device, targets = batch["image"].device, self._targets
        self._basis = self._basis.to(device, non_blocking=True)
        start = self._surround + (self._input_size - self._tile) // 2
        # Lightning calls this outside autocast, others may not; half precision would displace pixels.
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            lookup, corner = on_device.Lookup(batch, self._basis), batch["map_corner"]
            image = lookup.image(batch["image"], batch["corner"], self._surround, self._input_size)
            image = on_device.change_values(image, batch)
            if "valid" in batch:
                valid = lookup.nearest(batch["valid"], corner, self._surround, self._input_size)
                image = image.masked_fill(valid[:, None] == 0, 0)
            label, instances = lookup.nearest(batch["label"], corner, start, self._tile), None
            if targets.weighs:
                side = self._tile + 2 * targets.margin
                instances = lookup.nearest(batch["instances"], corner, start - targets.margin, side)
            label, weights = targets(label, instances)
        made = {"image": image, "label": label, "patches": batch["patches"]}
        return made if weights is None else {**made, "weights": weights}


def _find_surround(tile: int, input_size: int, targets: BatchedTargets) -> int:
    """How far the instances that decide a patch's targets reach beyond the network's input."""
    return max(0, targets.margin - (input_size - tile) // 2)
