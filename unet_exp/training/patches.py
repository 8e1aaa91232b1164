"""How training patches are cut out of images, and what the network and the loss get of them."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from unet_exp.augmentation import Augmentation, Window
from unet_exp.augmentation.on_cut import CutAugmentation
from unet_exp.losses import Targets
from unet_exp.mirror import Pixels
from unet_exp.network import center_crop
from unet_exp.samples.moments import Range, summarize
from unet_exp.samples.normalization import Normalization
from unet_exp.samples.sample import Images, Region
from unet_exp.training.draws import Draw
from unet_exp.training.parts import ImageParts, TargetParts, drop_none
from unet_exp.weight_map import find_instances

_ROWS_KEPT = 1024
"""Counts by row that are kept, of an image and a class each."""


class PatchDataset(Dataset[dict[str, Tensor]]):
    """Random labelled patches with the surroundings that the network needs.

    The labelled patch has a side of `tile` pixels and lies in the middle of the network's input of `input_size` pixels.
    Of each image the part that a patch shows is read, and normalised as a part of the whole.

    Args:
        images: labelled.
        normalization: of the images.
        tile: see above.
        input_size: see above.
        augmentation: cuts and changes the patches.
        targets: what the loss makes of labels.
        seed: of the training.
        keep_targets: whether the targets of whole images are kept, where the augmentation lets them; otherwise they are
            computed for each patch, with the same result.
    """

    def __init__(
        self,
        images: Images,
        normalization: Normalization,
        tile: int,
        input_size: int,
        augmentation: Augmentation,
        targets: Targets,
        seed: int,
        keep_targets: bool = True,
    ) -> None:
        self._images = images
        self._normalization = normalization
        self._tile = tile
        self._input_size = input_size
        self._augmentation = augmentation
        self._targets = targets
        self._seed = seed
        self._keep_targets = keep_targets
        self._known_instances: dict[int, NDArray[np.int32]] = {}
        self._known_targets: dict[int, tuple[NDArray[Any], ...]] = {}
        self._known_ranges: dict[int, Range] = {}
        self._known_rows: dict[tuple[int, int], NDArray[np.int64]] = {}

    def __getitem__(self, draw: Draw) -> dict[str, Tensor]:
        """Cuts one patch.

        Returns:
            `image` (C, S, S) float32, S = `input_size`, and of the labelled patch, the middle T x T of it, T = `tile`:
            `label` (T, T) uint8 class indices and, where the loss has any, `weights` (T, T) float32.

        Raises:
            DataError: for a file that is gone or has changed.
        """
        cut = self._cut_then_weigh if self._augmentation.deforms else self._weigh_then_cut
        patch, *maps = cut(draw.image, *self._draw_window(draw))
        arrays = {"image": patch.transpose(2, 0, 1), **dict(zip(("label", "weights"), maps, strict=False))}
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}

    @property
    def _lost(self) -> int:
        """Pixels of the input before the labelled patch."""
        return (self._input_size - self._tile) // 2

    def _draw_window(self, draw: Draw) -> tuple[Window, int]:
        """The network's input, with maps of the labelled patch, and the seed of its augmentation."""
        random = np.random.default_rng([self._seed, draw.epoch, draw.position])
        top, left = (start - self._lost for start in self._draw_place(draw, random))
        return Window(top, left, self._input_size, -self._lost), int(random.integers(2**31))

    def _draw_place(self, draw: Draw, random: np.random.Generator) -> tuple[int, int]:
        """The first row and column of the labelled patch; one larger than the image is centred on it.

        A uniform place would almost never show the corners: the centre is drawn from the whole line, and a patch that
        leaves the image is moved back to its border.
        """
        sizes, tile = self._images.facts.sizes[draw.image].tolist(), self._tile
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
        until = self._count_by_row(index, category)
        number = int(random.integers(until[-1]))
        row = int(until.searchsorted(number, side="right"))
        before = int(until[row - 1]) if row else 0
        line = self._images.read(index, Region(row, 0, 1, int(self._images.facts.sizes[index, 1]))).label
        assert line is not None
        return [row, int(np.flatnonzero(line[0] == category)[number - before])]

    def _count_by_row(self, index: int, category: int) -> NDArray[np.int64]:
        known = self._known_rows
        if (index, category) not in known:
            label = self._images.read(index).label
            assert label is not None
            if len(known) >= _ROWS_KEPT:
                del known[next(iter(known))]
            known[index, category] = (label == category).sum(axis=1).cumsum()
        return known[index, category]

    def _weigh_then_cut(self, index: int, window: Window, seed: int) -> tuple[NDArray[Any], ...]:
        """Cuts image, label and weights, the two of the whole image, whether or not they are kept."""
        parts = ImageParts(self._images, index, self._normalization)
        if not self._targets.reach:
            return self._cut(parts, window, seed, parts.plane("label"))
        if not self._keep_targets:
            targets = TargetParts(parts, self._targets, self._whole_instances(index))
            return self._cut(parts, window, seed, *targets.planes())
        if index not in self._known_targets:
            whole = self._images.read(index)
            assert whole.label is not None
            self._known_targets[index] = drop_none(self._targets(whole.label, whole.instances))
        return self._cut(parts, window, seed, *self._known_targets[index])

    def _cut_then_weigh(self, index: int, window: Window, seed: int) -> tuple[NDArray[Any], ...]:
        """The same with weights of the deformed label; cuts as much more around it as they depend on."""
        reach, parts = self._targets.reach, ImageParts(self._images, index, self._normalization)
        if not reach:
            return self._cut(parts, window, seed, parts.plane("label"))
        found = self._whole_instances(index)
        instances = parts.plane("instances") if found is None else found
        window = window._replace(surround=reach - self._lost)
        patch, label, moved = self._cut(parts, window, seed, parts.plane("label"), instances, around=reach)
        inside = slice(reach, reach + self._tile)
        return patch, *drop_none(self._targets(label, moved, (inside, inside)))

    def _cut(
        self, parts: ImageParts, window: Window, seed: int, *maps: Pixels, around: int = 0
    ) -> tuple[NDArray[Any], ...]:
        """Cuts image and maps, these as the labelled patch and `around` pixels more on every side.

        Pixels without data stay 0 whatever the augmentation does to grey values.
        """
        side = self._tile + 2 * around
        if isinstance(self._augmentation, CutAugmentation):
            patch, *cut = self._augmentation(parts.stored(self._find_range), window, seed, *maps)
            return patch, *(one[:side, :side] for one in cut)
        if not parts.has_invalid:
            patch, *cut = self._augmentation(parts.plane("image"), window, seed, *maps)
            return patch, *(one[:side, :side] for one in cut)
        # One more map, which covers all of the image, and so all of them do.
        more = max(0, -window.surround)
        window = window._replace(surround=window.surround + more)
        patch, *cut, kept = self._augmentation(parts.plane("image"), window, seed, *maps, parts.plane("valid"))
        patch[center_crop(kept, self._input_size) == 0] = 0
        return patch, *(one[more : more + side, more : more + side] for one in cut)

    def _find_range(self, index: int) -> Range:
        """The range of the values of a whole image."""
        if index not in self._known_ranges:
            whole = self._images.read(index)
            self._known_ranges[index] = summarize(whole.image, whole.valid)[1]
        return self._known_ranges[index]

    def _whole_instances(self, index: int) -> NDArray[np.int32] | None:
        """The objects of a whole image that has none of its own: one that a border or a fold cuts in two stays one."""
        if self._images.has_instances:
            return None
        if index not in self._known_instances:
            whole = self._images.read(index)
            assert whole.label is not None
            self._known_instances[index] = find_instances(whole.label)
        return self._known_instances[index]
