"""Training patches: where they lie, in which order they come, and how they are cut.

Everything is a function of (seed, epoch, position): the number of workers changes nothing, and a resumed training draws
the patches of an uninterrupted one.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import heapify, heappop, heappush
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
    """One patch to cut: its epoch, its position in the epoch, its image, and the class of its centre if that is set."""

    epoch: int
    position: int
    image: int
    centre: int | None = None


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
        self._known_rows: dict[tuple[int, int], NDArray[np.int64]] = {}

    def __getitem__(self, draw: Draw) -> dict[str, Tensor]:
        """Cuts one patch.

        Returns:
            `image` (C, S, S) float32, `label` (S, S) uint8 class indices and, where the loss has any, `weights` (S, S)
            float32, all in the same frame, S = `input_size`; the labelled patch is the middle `tile` x `tile` of it.
        """
        random = np.random.default_rng([self._seed, draw.epoch, draw.position])
        surround = (self._input_size - self._tile) // 2
        top, left = (start - surround for start in self._draw_place(draw, random))
        cut = self._cut_then_weigh if self._augmentation.deforms else self._weigh_then_cut
        patch, *maps = cut(draw.image, Window(top, left, self._input_size), int(random.integers(2**31)))
        arrays = {"image": patch.transpose(2, 0, 1), **dict(zip(("label", "weights"), maps, strict=False))}
        return {
            name: torch.from_numpy(np.ascontiguousarray(center_crop(array, self._input_size)))
            for name, array in arrays.items()
        }

    def _draw_place(self, draw: Draw, random: np.random.Generator) -> tuple[int, int]:
        """The first row and column of the labelled patch; one larger than the image is centred on it.

        A uniform place would almost never show the corners: the centre is drawn from the whole line, and a patch that
        leaves the image is moved back to its border.
        """
        sizes, tile = self._label(draw.image).shape, self._tile
        if draw.centre is None:
            centres = [0 if tile >= size else int(random.integers(size)) for size in sizes]
        else:
            centres = self._draw_pixel(draw.image, draw.centre, random)
        top, left = (
            (size - tile) // 2 if tile >= size else min(max(centre - tile // 2, 0), size - tile)
            for centre, size in zip(centres, sizes, strict=True)
        )
        return top, left

    def _draw_pixel(self, index: int, category: int, random: np.random.Generator) -> list[int]:
        """Row and column of a pixel of a class that the image shows, each equally likely.

        Kept are only the counts by row, summed up: a list of the pixels would take more memory than the image.
        """
        label = self._label(index)
        if (index, category) not in self._known_rows:
            self._known_rows[index, category] = (label == category).sum(axis=1).cumsum()
        until = self._known_rows[index, category]
        number = int(random.integers(until[-1]))
        row = int(until.searchsorted(number, side="right"))
        before = int(until[row - 1]) if row else 0
        return [row, int(np.flatnonzero(label[row] == category)[number - before])]

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


class Foreground:
    """Which classes a share of the patches is centred on, and which images show them.

    The class comes first, each with the same chance however few images show it, and then one of these images. Class 0
    is the background; ignored pixels are of no class.

    Args:
        labels: of the training images, (H, W) class indices each.
        classes: their number.
        shares: how often each image is drawn in relation to the others.
        share: of the patches, 0..1.
    """

    def __init__(self, labels: Sequence[NDArray[np.uint8]], classes: int, shares: Sequence[int], share: float) -> None:
        shown = [set(np.unique(label).tolist()) for label in labels]
        self._share = share
        self._images: Mapping[int, list[int]] = {
            category: holders
            for category in range(1, classes)
            if (holders := [index for index, categories in enumerate(shown) if category in categories])
        }
        self._chances = {
            category: np.array([shares[index] for index in images]) / sum(shares[index] for index in images)
            for category, images in self._images.items()
        }

    def replace(self, draw: Draw, number: int, seed: int) -> Draw:
        """The draw, or one that is centred on a class in its place; `number` counts the draws of a process."""
        if not self._images or math.floor((number + 1) * self._share) == math.floor(number * self._share):
            return draw
        random = np.random.default_rng([seed, draw.epoch, draw.position, 1])
        category = list(self._images)[random.integers(len(self._images))]
        image = random.choice(self._images[category], p=self._chances[category])
        return draw._replace(image=int(image), centre=category)


class PatchSampler(Sampler[Draw]):
    """The draws of an epoch, in a new order each epoch. Over the epochs every image comes as often as its share says.

    After any epoch an image has come less than once more or less than that.

    Args:
        shares: how often each image is drawn in relation to the others, at least 1.
        tiles: draws of an epoch, which the processes of a distributed training, `rank` of `world`, share.
        seed: of the training.
        repeat: whether the first epoch is repeated, to overfit on it.
        rank: see `tiles`.
        world: see `tiles`.
        foreground: puts patches on classes; None leaves all where they are.
    """

    def __init__(
        self,
        shares: Sequence[int],
        tiles: int,
        seed: int,
        repeat: bool = False,
        rank: int = 0,
        world: int = 1,
        foreground: Foreground | None = None,
    ) -> None:
        self._turns = take_turns(shares)
        self._tiles = tiles
        self._seed = seed
        self._repeat = repeat
        self._rank = rank
        self._world = world
        self._foreground = foreground
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
        first = epoch * self._tiles
        order = self._turns[(random.permutation(self._tiles) + first) % len(self._turns)]
        for position in range(self._rank, len(self) * self._world, self._world):
            draw = Draw(epoch, position, int(order[position]))
            # Counted by process, so that each has its share.
            number = (first + position) // self._world
            yield draw if self._foreground is None else self._foreground.replace(draw, number, self._seed)


def take_turns(shares: Sequence[int]) -> NDArray[np.intp]:
    """An order of images to be repeated for ever, in which each comes as often as its share says, evenly spread.

    The turn number k, from 0, of an image with a part p of all turns is one of the places k / p to (k + 1) / p, and of
    the turns that may come at a place the one goes first that must come first. So among the first n turns the image has
    less than one more or less than n p.

    Args:
        shares: of each image, at least 1.

    Returns:
        Indices of images, as few as possible: 0, 1, 2 ... for equal shares.
    """
    divisor = math.gcd(*shares)
    turns = [share // divisor for share in shares]
    total = sum(turns)
    order = np.empty(total, np.intp)
    waiting = [(0, image, 0) for image in range(len(turns))]
    due: list[tuple[int, int, int]] = []
    heapify(waiting)
    for place in range(total):
        while waiting and waiting[0][0] <= place:
            _, image, turn = heappop(waiting)
            heappush(due, (-(-(turn + 1) * total // turns[image]), image, turn))
        _, image, turn = heappop(due)
        order[place] = image
        if turn + 1 < turns[image]:
            heappush(waiting, ((turn + 1) * total // turns[image], image, turn + 1))
    return order


def count_patches(samples: Sequence[Sample], tile: int) -> int:
    """How many patches lie side by side on all images."""
    return sum(-(-sample.image.shape[0] // tile) * -(-sample.image.shape[1] // tile) for sample in samples)
