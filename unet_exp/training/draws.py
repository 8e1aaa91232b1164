"""Which patches a training draws, and in which order.

Everything is a function of (seed, epoch, position): the number of workers changes nothing, and a resumed training draws
the patches of an uninterrupted one.
"""

import math
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler


class Draw(NamedTuple):
    """One patch to cut: its epoch, its position in the epoch, its image, and the class of its centre if that is set."""

    epoch: int
    position: int
    image: int
    centre: int | None = None


class Foreground:
    """Which classes a share of the patches is centred on, and which images show them.

    The class comes first, each with the same chance however few images show it, and then one of these images. Class 0
    is the background; ignored pixels are of no class.

    Args:
        shown: (N, classes), which classes each training image shows.
        shares: (N,), how often each image is drawn in relation to the others.
        share: of the patches, 0..1.
    """

    def __init__(self, shown: NDArray[np.bool_], shares: NDArray[np.int64], share: float) -> None:
        self._share = share
        holders = {category: np.flatnonzero(shown[:, category]) for category in range(1, shown.shape[1])}
        self._images = {category: images for category, images in holders.items() if images.size}
        self._chances = {category: shares[images] / shares[images].sum() for category, images in self._images.items()}

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
        shares: (N,), how often each image is drawn in relation to the others, at least 1.
        tiles: draws of an epoch, which the processes of a distributed training, `rank` of `world`, share.
        seed: of the training.
        repeat: whether the first epoch is repeated, to overfit on it.
        rank: see `tiles`.
        world: see `tiles`.
        foreground: puts patches on classes; None leaves all where they are.
        in_a_row: how many draws of one image follow each other.
    """

    def __init__(
        self,
        shares: NDArray[np.int64],
        tiles: int,
        seed: int,
        repeat: bool = False,
        rank: int = 0,
        world: int = 1,
        foreground: Foreground | None = None,
        in_a_row: int = 1,
    ) -> None:
        self._turns = take_turns(shares)
        self._tiles = tiles
        self._seed = seed
        self._repeat = repeat
        self._rank = rank
        self._world = world
        self._foreground = foreground
        self._in_a_row = in_a_row
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch; Lightning calls it before each one."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._tiles // self._world

    def __iter__(self) -> Iterator[Draw]:
        epoch = 0 if self._repeat else self._epoch
        random = np.random.default_rng([self._seed, epoch])
        # Each epoch starts where the last one ended; otherwise images beyond its rows never come.
        rows = -(-self._tiles // self._in_a_row)
        order = self._turns[(random.permutation(rows) + epoch * rows) % len(self._turns)]
        for position in range(self._rank, len(self) * self._world, self._world):
            draw = Draw(epoch, position, int(order[position // self._in_a_row]))
            # Counted by process, so that each has its share.
            number = (epoch * self._tiles + position) // self._world
            yield draw if self._foreground is None else self._foreground.replace(draw, number, self._seed)


def take_turns(shares: NDArray[np.int64]) -> NDArray[np.intp]:
    """An order of images to be repeated for ever, in which each comes as often as its share says, evenly spread.

    The turn number k, from 0, of an image with a part p of all turns is one of the places k / p to (k + 1) / p, and of
    the turns that may come at a place the one goes first that must come first. So among the first n turns the image has
    less than one more or less than n p.

    Args:
        shares: (N,), of each image, at least 1.

    Returns:
        Indices of images, as few as possible: 0, 1, 2 ... for equal shares.
    """
    divisor = int(np.gcd.reduce(shares))
    turns = (shares // divisor).tolist()
    total = sum(turns)
    if total == len(turns):
        return np.arange(total, dtype=np.intp)
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
