"""The DataModule: patches to train on, whole images to validate on."""

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, TypeVar, overload

import cv2
import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from unet_exp import augmentation, losses, signals
from unet_exp.augmentation.paper import Deformation
from unet_exp.config import Config
from unet_exp.config.augmentation import DeformationConfig
from unet_exp.geometry import input_for_output
from unet_exp.losses import Targets
from unet_exp.network import center_crop
from unet_exp.samples.data_set import DataSet
from unet_exp.samples.normalization import Normalization
from unet_exp.samples.sample import Images
from unet_exp.training.device_patches import PatchMaker, PatchParts, collate_parts
from unet_exp.training.draws import Draw, Foreground
from unet_exp.training.last_checkpoint import ResumableSampler
from unet_exp.training.patches import PatchDataset
from unet_exp.training.workers import count_workers

Patches = TypeVar("Patches", bound=PatchDataset)

_TARGET_BYTES = 5
"""Of a pixel: its label and its weight."""


class WholeImages(Dataset[dict[str, Any]]):
    """Whole normalised images with their labels, for validation."""

    def __init__(self, images: Images, normalization: Normalization, targets: Targets) -> None:
        self._images = images
        self._normalization = normalization
        self._targets = targets

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns one image.

        Returns:
            `name`, `image` (C, H, W) float32, `target` (H, W) uint8 and, where there are any, `weights` (H, W) float32:
            tensors, for the device; `label` (H, W) uint8 and, where there are any, `instances` (H, W) int32: arrays,
            for scores on the CPU.
        """
        sample = self._images[index]
        assert sample.label is not None
        moments = self._images.facts.moments(index)
        target, weights = self._targets(sample.label, sample.instances)
        arrays = {
            "image": self._normalization(sample.image, sample.valid, moments).transpose(2, 0, 1).copy(),
            "target": target,
            "weights": weights,
        }
        tensors = {key: torch.from_numpy(array) for key, array in arrays.items() if array is not None}
        instances = {} if sample.instances is None else {"instances": sample.instances}
        return {"name": sample.name, "label": sample.label, **instances, **tensors}


class SharedImages(Dataset[dict[str, Any]]):
    """Every `world`-th of the images, from the one with the number `rank` on; an empty item where that is none.

    A process must not be without an item: Lightning would leave out its validation, for which the others wait.
    """

    def __init__(self, images: WholeImages, rank: int, world: int) -> None:
        self._images = images
        self._numbers = range(rank, len(images), world)

    def __len__(self) -> int:
        return len(self._numbers) or min(len(self._images), 1)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._images[self._numbers[index]] if self._numbers else {}


def _leave(item: Any) -> Any:
    """Instead of PyTorch's own function, which makes tensors of arrays."""
    return item


class SegmentationData(pl.LightningDataModule):
    """Feeds a training.

    Args:
        config: of the training.
        dataset: its images.
        normalization: of them.
        processes: how many share the patches of an epoch and the images of a validation.
        on_device: whether patches are deformed on the device of the network.
        local_processes: those of them on this machine; None: all.
    """

    def __init__(
        self,
        config: Config,
        dataset: DataSet,
        normalization: Normalization,
        processes: int = 1,
        on_device: bool = False,
        local_processes: int | None = None,
    ) -> None:
        super().__init__()
        self._config = config
        self._dataset = dataset
        self._normalization = normalization
        self._processes = processes
        self._local_processes = processes if local_processes is None else local_processes
        architecture = config.architecture(dataset.channels, len(dataset.classes))
        self.input_size = input_for_output(architecture, config.data.tile)
        self._maker: PatchMaker | None = None
        if on_device:
            assert isinstance(config.augmentation, DeformationConfig)
            self._maker = PatchMaker(config.data.tile, self.input_size, config.augmentation, config.loss)

    @property
    def tiles(self) -> int:
        """Patches per epoch."""
        data = self._config.data
        if self._config.trainer.overfit:
            return data.batch_size
        return data.tiles_per_epoch or int(self._counts.sum())

    @property
    def batches(self) -> int:
        """Batches per epoch of one process."""
        whole = -(-(self.tiles // self._processes) // self._config.data.batch_size)
        return min(whole, self._config.trainer.limit_batches or whole)

    @property
    def _counts(self) -> NDArray[np.int64]:
        """(N,), how many patches lie side by side on each training image."""
        return count_patches(self._dataset.train.facts.sizes, self._config.data.tile)

    @property
    def _shares(self) -> NDArray[np.int64]:
        """(N,), how often each training image is drawn in relation to the others."""
        return self._counts if self._config.data.sampling == "area" else np.ones(len(self._dataset.train), np.int64)

    @property
    def workers(self) -> int:
        """Processes that read patches for this one."""
        data, channels = self._config.data, self._dataset.channels
        device = self.trainer.strategy.root_device.type if self.trainer else "cpu"
        batch = data.batch_size * (4 * channels * self.input_size**2 + _TARGET_BYTES * data.tile**2)
        return count_workers(data.num_workers, device, self._local_processes, batch)

    def _keeps_targets(self) -> bool:
        """Whether each process that reads may keep the targets of all images it comes by: a label and weights each."""
        images, processes = self._dataset.train, max(1, self.workers)
        pixels = int(images.facts.sizes.astype(np.int64).prod(axis=1).sum())
        return images.in_memory and _TARGET_BYTES * pixels * processes <= images.spare_memory

    def _find_foreground(self) -> Foreground | None:
        share = self._config.data.foreground_share
        return Foreground(self._dataset.train.facts.shown[:, :-1], self._shares, share) if share else None

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches of `image` (B, C, S, S), `label` and perhaps `weights` (B, S, S), and `patches`, see `collate`."""
        data = self._config.data
        dataset = self.make_patches() if self._maker is None else self._make_parts()
        process = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        sampler = self._make_sampler(*process)
        if self.trainer:
            progress = self.trainer.fit_loop.epoch_loop.batch_progress.current
            sampler.start_at(self.trainer.current_epoch, progress.completed * data.batch_size)
        together = partial(collate, tile=data.tile) if self._maker is None else collate_parts
        size, workers = data.batch_size, self.workers
        return self._loader(dataset, sampler=sampler, batch_size=size, num_workers=workers, collate_fn=together)

    def _make_sampler(self, rank: int, world: int) -> ResumableSampler:
        config = self._config
        in_a_row, foreground = config.data.patches_in_a_row, self._find_foreground()
        overfit = config.trainer.overfit
        return ResumableSampler(self._shares, self.tiles, config.seed, overfit, rank, world, foreground, in_a_row)

    def first_draws(self, count: int) -> list[Draw]:
        """The first patches of the first epoch, as the first process draws them; at most those of one epoch."""
        most = self.batches * self._config.data.batch_size
        return list(islice(self._make_sampler(0, self._processes), min(count, most)))

    def cut_patches(self, draws: Sequence[Draw], device: torch.device) -> Iterator[dict[str, Tensor]]:
        """Patches as the network and the loss get them, one by one; where they are made in batch, in those batches.

        Args:
            draws: from the start of an epoch.
            device: of the training.

        Returns:
            `image` (C, S, S) float32, S = `input_size`, `label` (T, T) and perhaps `weights` (T, T), on the CPU.
        """
        if self._maker is None:
            patches = self.make_patches()
            yield from (patches[draw] for draw in draws)
            return
        parts, size = self._make_parts(), self._config.data.batch_size
        for start in range(0, len(draws), size):
            batch = collate_parts([parts[draw] for draw in draws[start : start + size]])
            moved = {name: item.to(device) if isinstance(item, Tensor) else item for name, item in batch.items()}
            made = {name: item.cpu() for name, item in self._maker(moved).items() if isinstance(item, Tensor)}
            yield from (dict(zip(made, of_one, strict=True)) for of_one in zip(*made.values(), strict=True))

    @overload
    def make_patches(self) -> PatchDataset: ...
    @overload
    def make_patches(self, kind: type[Patches]) -> Patches: ...

    def make_patches(self, kind: type[PatchDataset] = PatchDataset) -> PatchDataset:
        """The patches of the training, or a dataset of this kind that knows more of them."""
        config = self._config
        return kind(
            self._dataset.train,
            self._normalization,
            config.data.tile,
            self.input_size,
            augmentation.build(config.augmentation),
            losses.targets(config.loss),
            config.seed,
            self._keeps_targets(),
        )

    def _make_parts(self) -> PatchParts:
        config, deformation = self._config, augmentation.build(self._config.augmentation)
        assert isinstance(deformation, Deformation)
        return PatchParts(
            self._dataset.train,
            self._normalization,
            config.data.tile,
            self.input_size,
            deformation,
            config.loss,
            config.seed,
        )

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """Makes patches on the device of what `train_dataloader` gives; all else stays as it is."""
        del dataloader_idx
        return batch if self._maker is None or "turn" not in batch else self._maker(batch)

    def val_dataloader(self) -> DataLoader[Any]:
        """Whole images, one at a time, not batched; of several processes each has its share."""
        images = WholeImages(self._dataset.val, self._normalization, losses.targets(self._config.loss))
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        shared = SharedImages(images, rank, world) if world > 1 else images
        return self._loader(shared, batch_size=None, num_workers=0, collate_fn=_leave)

    def _loader(self, dataset: Dataset[Any], num_workers: int, **settings: Any) -> DataLoader[Any]:
        forks = num_workers > 0 and sys.platform == "linux"
        if forks:
            # A worker that is forked while one of OpenCV's threads holds a lock would wait for it for ever.
            cv2.setNumThreads(1)
        return DataLoader(
            dataset,
            num_workers=num_workers,
            # In a joblib process PyTorch cannot start its default kind of worker.
            multiprocessing_context="fork" if forks else None,
            persistent_workers=num_workers > 0,
            worker_init_fn=signals.leave_to_parent,
            pin_memory=self.trainer is not None and self.trainer.strategy.root_device.type == "cuda",
            # Its own generator: the loader must not share the one of dropout.
            generator=torch.Generator().manual_seed(self._config.seed),
            **settings,
        )


def collate(patches: list[dict[str, Tensor]], tile: int) -> dict[str, Any]:
    """A batch of patches, and the number `patches` of those that show a pixel that counts.

    It is counted where the labels are made: on the device, each step would wait for the answer.
    """
    batch: dict[str, Any] = default_collate(patches)
    return {**batch, "patches": losses.count_images(center_crop(batch["label"], tile))}


def count_classes(dataset: DataSet) -> list[int]:
    """Counts the pixels of each class in the training labels."""
    counts: list[int] = dataset.train.facts.counts[:, :-1].sum(axis=0).tolist()
    return counts


def count_patches(sizes: NDArray[np.int32], tile: int) -> NDArray[np.int64]:
    """Counts the patches that lie side by side on images of these heights and widths (N, 2): (N,)."""
    counts: NDArray[np.int64] = (-(-sizes.astype(np.int64) // tile)).prod(axis=1)
    return counts
