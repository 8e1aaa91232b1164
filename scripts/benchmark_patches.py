"""How fast training patches come from memory, the disk or the files, beside decoding alone and beside whole images."""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from benchmark_files import list_data_words
from PIL import Image
from rich.table import Table
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler

from unet_exp.cache_folder import VARIABLE
from unet_exp.compose import compose_train
from unet_exp.config import Config, parse
from unet_exp.config.user_data import FolderConfig
from unet_exp.data import load_data
from unet_exp.data.sets.folder import find_folder_pairs
from unet_exp.folder.pairs import Pair
from unet_exp.folder.rules import Rules
from unet_exp.samples.data_set import DataSet
from unet_exp.samples.normalization import Normalization
from unet_exp.training.datamodule import SegmentationData
from unet_exp.training.draws import PatchSampler

CACHES = ("memory", "disk", "none")
DECODING, WHOLE = "decoding alone", "plain data set, whole images"
IN_A_ROW = "none, {} patches in a row"
_SCALE = 0.5
"""Of the whole images, as that repository has it."""


@dataclass(frozen=True)
class Rate:
    """How fast one way is.

    Attributes:
        augmentation: of patches.
        workers: processes that read.
        way: a value of `data.cache`, `IN_A_ROW`, `DECODING` or `WHOLE`.
        per_second: patches or images a second, of each turn.
        pixels: of one of these.
        share: median of the ratios to the other way of the same turn; None where it is compared with none.
    """

    augmentation: str
    workers: int
    way: str
    per_second: tuple[float, ...]
    pixels: float
    share: float | None


class DecodedFiles(Dataset[int]):
    """Pairs that are read whole and given up; an item is the number of its pixels."""

    def __init__(self, pairs: Sequence[Pair], rules: Rules) -> None:
        self._pairs, self._rules = pairs, rules

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> int:
        return sum(page.scene[0][..., 0].size for page in self._rules.read(self._pairs[index]))


class WholeImages(Dataset[dict[str, Tensor]]):
    """Whole images, opened and resized by Pillow each time, as the best-known U-Net repository (milesial's) has them.

    An item has `image` (C, H, W) float32 in 0..1 and `mask` (H, W) int64 class indices.
    """

    def __init__(self, pairs: Sequence[Pair], values: Sequence[int]) -> None:
        self._pairs, self._values = pairs, values

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        pair = self._pairs[index]
        assert pair.mask is not None
        image = _open_resized(pair.image, Image.Resampling.BICUBIC)
        mask = _open_resized(pair.mask, Image.Resampling.NEAREST)
        label = np.zeros(mask.shape, np.int64)
        for number, value in enumerate(self._values):
            label[mask == value] = number
        pixels = image.reshape(*mask.shape, -1).transpose(2, 0, 1) / np.float32(255)
        return {"image": torch.from_numpy(pixels).contiguous(), "mask": torch.from_numpy(label)}


def _open_resized(path: Path, resample: Image.Resampling) -> np.ndarray[Any, np.dtype[np.uint8]]:
    with Image.open(path) as image:
        return np.asarray(image.resize((int(_SCALE * image.width), int(_SCALE * image.height)), resample))


def measure_patches(place: Path, patches: int, in_a_row: int, repeats: int, workers: Sequence[int]) -> Iterator[Rate]:
    """Measures all ways in turn: once unmeasured, then `repeats` times, without augmentation and with the default one.

    Args:
        place: of `images` and `masks`; the cache of the disk is made beside it, and removed.
        patches: of a turn; of other ways as many images.
        in_a_row: `data.patches_in_a_row` of one more way, without a cache.
        repeats: turns.
        workers: processes that read, one number after another; 0 is this process.

    Raises:
        UserError: if these images cannot be used.
    """
    words = [*list_data_words(place), "model=same", "data.tile=256", f"data.tiles_per_epoch={patches}"]
    configs = [parse(compose_train([*words, *more])) for more in (["augmentation=none"], [])]
    with (
        tempfile.TemporaryDirectory(prefix="patches_", dir=place.parent) as cache,
        patch.dict(os.environ, {VARIABLE: cache}),
    ):
        data = configs[0].data
        sets = {kind: load_data(data.model_copy(update={"cache": kind})) for kind in CACHES}
        for config in configs:
            for readers in workers:
                loaders = _make_loaders(config, sets, readers, in_a_row)
                yield from _measure_loaders(loaders, patches, repeats, config.augmentation.name, readers)


def _make_loaders(config: Config, sets: dict[str, DataSet], workers: int, in_a_row: int) -> dict[str, DataLoader[Any]]:
    """The loader of a training for each place of decoded images, and those of other ways with as many workers."""
    assert isinstance(config.data, FolderConfig)
    data = config.data.model_copy(update={"num_workers": workers})
    ways = {kind: (found, data) for kind, found in sets.items()}
    ways[IN_A_ROW.format(in_a_row)] = sets["none"], data.model_copy(update={"patches_in_a_row": in_a_row})
    loaders: dict[str, DataLoader[Any]] = {}
    for way, (found, settings) in ways.items():
        normalization = Normalization.fit(data.normalization, found.train.facts)
        ours = config.model_copy(update={"data": settings})
        loaders[way] = SegmentationData(ours, found, normalization).train_dataloader()
    pairs, rules = find_folder_pairs(data), Rules.of(data)
    others: dict[str, Dataset[Any]] = {
        DECODING: DecodedFiles(pairs, rules),
        WHOLE: WholeImages(pairs, [spec.value for spec in rules.classes if isinstance(spec.value, int)]),
    }
    for way, dataset in others.items():
        order = RandomSampler(
            pairs, replacement=True, num_samples=data.tiles_per_epoch, generator=torch.Generator().manual_seed(0)
        )
        loaders[way] = DataLoader(
            dataset,
            sampler=order,
            num_workers=workers,
            multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
            persistent_workers=workers > 0,
        )
    return loaders


def _measure_loaders(
    loaders: dict[str, DataLoader[Any]], number: int, repeats: int, augmentation: str, workers: int
) -> Iterator[Rate]:
    """Lets all loaders give so many patches or images in turn."""
    rates: dict[str, list[float]] = {way: [] for way in loaders}
    pixels: dict[str, float] = {}
    for turn in range(1 + repeats):
        for way, loader in loaders.items():
            if isinstance(loader.sampler, PatchSampler):
                loader.sampler.set_epoch(turn)
            start, shown = time.perf_counter(), sum(map(_count_pixels, loader))
            if turn:  # the first one starts the workers
                rates[way].append(number / (time.perf_counter() - start))
            pixels[way] = shown / number
    for way, found in rates.items():
        other = rates.get(_name_compared(way))
        share = None if other is None else statistics.median(a / b for a, b in zip(found, other, strict=True))
        yield Rate(augmentation, workers, way, tuple(found), pixels[way], share)


def _name_compared(way: str) -> str:
    """The way that this one is a share of; empty for none."""
    if way.startswith("none"):
        return DECODING
    return "memory" if way == "disk" else ""


def _count_pixels(batch: Any) -> int:
    """Pixels of the images of a batch; `DecodedFiles` gives nothing else."""
    return int(batch.sum()) if isinstance(batch, Tensor) else batch["image"][:, 0].numel()


def patches_table(rates: Sequence[Rate], images: int, patches: int) -> Table:
    """A row a way."""
    caption = (
        f"{images} images, {len(rates[0].per_second)} turns of {patches} patches or images: medians and extremes\n"
        "share: of memory (disk) or of decoding alone (none; above 1 where several patches come from one decoded image)"
    )
    table = Table(caption=caption, caption_justify="left")
    for column in ("augmentation", "workers", "way"):
        table.add_column(column)
    for column in ("a second", "lowest", "highest", "share", "million pixels a second"):
        table.add_column(column, justify="right")
    for rate in rates:
        median = statistics.median(rate.per_second)
        table.add_row(
            rate.augmentation, str(rate.workers), rate.way,
            *(f"{number:.1f}" for number in (median, min(rate.per_second), max(rate.per_second))),
            "" if rate.share is None else f"{rate.share:.2f}", f"{median * rate.pixels / 1e6:.1f}",
        )  # fmt: skip
    return table
