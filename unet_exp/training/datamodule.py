"""The DataModule: patches to train on, whole images to validate on."""

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from unet_exp import augmentation
from unet_exp.config import Config
from unet_exp.data.normalization import Normalization
from unet_exp.data.samples import DataSet, Sample
from unet_exp.data.tiles import TileDataset, TileSampler, tiles_that_cover
from unet_exp.geometry import input_for_output


class WholeImages(Dataset[dict[str, Any]]):
    """Whole normalised images with their labels, for validation."""

    def __init__(self, samples: tuple[Sample, ...], normalization: Normalization) -> None:
        self._samples = samples
        self._normalization = normalization

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """`image` (C, H, W) float32, `label` (H, W) uint8 and `name`."""
        sample = self._samples[index]
        image = torch.from_numpy(self._normalization(sample.image).transpose(2, 0, 1).copy())
        assert sample.label is not None
        return {"image": image, "label": torch.from_numpy(sample.label), "name": sample.name}


class SegmentationData(pl.LightningDataModule):
    """Feeds a training from images in memory.

    Args:
        config: the training's.
        dataset: its images.
        normalization: of the network's input.
        processes: that share an epoch's patches.
    """

    def __init__(self, config: Config, dataset: DataSet, normalization: Normalization, processes: int = 1) -> None:
        super().__init__()
        self._config = config
        self._dataset = dataset
        self._normalization = normalization
        self._processes = processes
        architecture = config.architecture(dataset.channels, len(dataset.classes))
        self.input_size = input_for_output(architecture, config.data.tile)

    @property
    def tiles(self) -> int:
        """Patches in an epoch."""
        data = self._config.data
        if self._config.trainer.overfit:
            return data.batch_size
        return data.tiles_per_epoch or tiles_that_cover(self._dataset.train, data.tile)

    @property
    def batches(self) -> int:
        """Batches in an epoch of one process."""
        whole = -(-(self.tiles // self._processes) // self._config.data.batch_size)
        return min(whole, self._config.trainer.limit_batches or whole)

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches of `image` (B, C, S, S) and `label` (B, S, S)."""
        config, data = self._config, self._config.data
        dataset = TileDataset(
            self._dataset.train,
            self._normalization,
            data.tile,
            self.input_size,
            augmentation.build(config.augmentation),
            config.seed,
        )
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        sampler = TileSampler(len(self._dataset.train), self.tiles, config.seed, config.trainer.overfit, rank, world)
        return self._loader(dataset, sampler=sampler, batch_size=data.batch_size, num_workers=data.num_workers)

    def val_dataloader(self) -> DataLoader[Any]:
        """Whole images, one by one: `image` (1, C, H, W), `label` (1, H, W), `name` [str]."""
        return self._loader(WholeImages(tuple(self._dataset.val), self._normalization), batch_size=1, num_workers=0)

    def _loader(self, dataset: Dataset[Any], num_workers: int, **settings: Any) -> DataLoader[Any]:
        return DataLoader(
            dataset,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=self.trainer is not None and self.trainer.strategy.root_device.type == "cuda",
            # A generator of its own: the loader must not draw from the one that dropout draws from.
            generator=torch.Generator().manual_seed(self._config.seed),
            **settings,
        )


def balanced_class_weights(dataset: DataSet) -> list[float]:
    """Pixels / (classes * pixels of the class) over the training labels; 0 for a class that they do not show."""
    counts = torch.zeros(256, dtype=torch.int64)
    for sample in dataset.train:
        counts += torch.bincount(torch.from_numpy(sample.label).flatten().long(), minlength=256)
    of_class: Tensor = counts[: len(dataset.classes)].double()
    weights = of_class.sum() / (len(dataset.classes) * of_class)
    return torch.where(of_class > 0, weights, 0.0).tolist()
