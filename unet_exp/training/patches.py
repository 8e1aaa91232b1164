"""Training patches: where they lie, in which order they come, and how they are cut.

Everything is a function of (seed, epoch, position): the number of workers changes nothing, and a resumed training draws
the patches of an uninterrupted one.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from unet_exp.augmentation import Augmentation, Window
from unet_exp.data.normalization import Normalization
from unet_exp.data.samples import Sample
from unet_exp.losses import Targets
from unet_exp.network import center_crop
from unet_exp.weight_map import find_instances


class Draw(NamedTuple):
    """One patch to cut: its epoch, its position in the epoch and its image."""

    epoch: int
    position: int
    image: int


class PatchDataset(Dataset[dict[str, Tensor]]):
    """Random labelled patches with the surroundings that the network needs.

    The labelled patch has a side of `tile` pixels and lies in the middle of the network's input of `input_size` pixels.
    The normalization is applied to each whole image, once.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        normalization: Normalization,
        tile: int,
        input_size: int,
        augmentation: Augmentation,
        targets: Targets,
        seed: int,
    ) -> None:
        self._samples = samples
        self._images = [normalization(sample.image, sample.valid) for sample in samples]
        self._tile = tile
        self._input_size = input_size
        self._augmentation = augmentation
        self._targets = targets
        self._seed = seed
        self._known_instances: dict[int, NDArray[np.int32]] = {}
        self._known_targets: dict[int, tuple[NDArray[Any], ...]] = {}

    def __getitem__(self, draw: Draw) -> dict[str, Tensor]:
        """Cuts one patch.

        Returns:
            `image` (C, S, S) float32, `label` (S, S) uint8 class indices and, where the loss has any, `weights` (S, S)
            float32, all in the same frame, S = `input_size`; the labelled patch is the middle `tile` x `tile` of it.
        """
        random = np.random.default_rng([self._seed, draw.epoch, draw.position])
        surround = (self._input_size - self._tile) // 2
        top, left = (_draw_place(random, size, self._tile) - surround for size in self._label(draw.image).shape)
        cut = self._cut_then_weigh if self._augmentation.deforms else self._weigh_then_cut
        patch, *maps = cut(draw.image, Window(top, left, self._input_size), int(random.integers(2**31)))
        arrays = {"image": patch.transpose(2, 0, 1), **dict(zip(("label", "weights"), maps, strict=False))}
        return {
            name: torch.from_numpy(np.ascontiguousarray(center_crop(array, self._input_size)))
            for name, array in arrays.items()
        }

    def _weigh_then_cut(self, index: int, window: Window, seed: int) -> tuple[NDArray[Any], ...]:
        """Cuts image, label and weights; the weights of the whole image are computed once."""
        if index not in self._known_targets:
            self._known_targets[index] = _drop_none(self._targets(self._label(index), self._samples[index].instances))
        return self._cut(index, window, seed, *self._known_targets[index])

    def _cut_then_weigh(self, index: int, window: Window, seed: int) -> tuple[NDArray[Any], ...]:
        """The same with weights of the deformed label; cuts as much more around it as they depend on."""
        reach, label = self._targets.reach, self._label(index)
        window = window._replace(surround=max(0, reach - (self._input_size - self._tile) // 2))
        maps = (label, self._instances(index)) if reach else (label,)
        patch, moved, *instances = self._cut(index, window, seed, *maps)
        return patch, *_drop_none(self._targets(moved, instances[0] if reach else None))

    def _cut(self, index: int, window: Window, seed: int, *maps: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """Cuts image and maps; pixels without data stay 0 whatever the augmentation does to grey values."""
        valid = self._samples[index].valid
        if valid is None:
            return self._augmentation(self._images[index], window, seed, *maps)
        patch, *cut, kept = self._augmentation(self._images[index], window, seed, *maps, valid.view(np.uint8))
        patch[kept == 0] = 0
        return patch, *cut

    def _label(self, index: int) -> NDArray[np.uint8]:
        label = self._samples[index].label
        assert label is not None
        return label

    def _instances(self, index: int) -> NDArray[np.int32]:
        """The objects of a whole image: an object that a border or a fold cuts in two stays one."""
        if index not in self._known_instances:
            given = self._samples[index].instances
            self._known_instances[index] = find_instances(self._label(index)) if given is None else given
        return self._known_instances[index]


def _drop_none(arrays: Iterable[NDArray[Any] | None]) -> tuple[NDArray[Any], ...]:
    return tuple(array for array in arrays if array is not None)


def _draw_place(random: np.random.Generator, size: int, tile: int) -> int:
    """A patch's first row or column; one larger than the image is centred on it.

    A uniform place would almost never show the corners: the centre is drawn from the whole line, and a patch that
    leaves the image is moved back to its border.
    """
    if tile >= size:
        return (size - tile) // 2
    return int(np.clip(random.integers(-(tile // 2), size - tile // 2), 0, size - tile))


class PatchSampler(Sampler[Draw]):
    """The draws of an epoch. Over the epochs every image comes equally often, in a new order each epoch.

    The processes of a distributed training, `rank` of `world`, share the `tiles` draws of an epoch. `repeat` repeats
    the first epoch, to overfit on it.
    """

    def __init__(self, images: int, tiles: int, seed: int, repeat: bool = False, rank: int = 0, world: int = 1) -> None:
        self._images = images
        self._tiles = tiles
        self._seed = seed
        self._repeat = repeat
        self._rank = rank
        self._world = world
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch; Lightning calls it before each one."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._tiles // self._world

    def __iter__(self) -> Iterator[Draw]:
        epoch = 0 if self._repeat else self._epoch
        random = np.random.default_rng([self._seed, epoch])
        # Each epoch starts where the last one ended; otherwise images beyond `tiles` never come.
        order: NDArray[np.intp] = (random.permutation(self._tiles) + epoch * self._tiles) % self._images
        for position in range(self._rank, len(self) * self._world, self._world):
            yield Draw(epoch, position, int(order[position]))


def count_patches(samples: Sequence[Sample], tile: int) -> int:
    """How many patches lie side by side on all images."""
    return sum(-(-sample.image.shape[0] // tile) * -(-sample.image.shape[1] // tile) for sample in samples)
