"""The pages of a user's image files, each with its mask and its field of view."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unet_exp.config.user_data import NoData
from unet_exp.errors import DataError
from unet_exp.folder.groups import SplitItem
from unet_exp.folder.pairs import Pair
from unet_exp.io.arrays import Array, check_same_size
from unet_exp.io.images import Scene, read_labels, read_masks, read_scenes
from unet_exp.io.kinds import is_jpeg
from unet_exp.io.valid import Valid, clear_invalid, join_valid
from unet_exp.samples.classes import shows_colors


class PairPage(NamedTuple):
    """A page of an image file.

    Attributes:
        item: its name.
        scene: its pixels.
        mask: those of its mask (H, W, C), as stored; None without one.
        labelled: (H, W), where both of them hold data; None: everywhere.
        changed: pixels of the mask, where both hold data, that `Rules.read` has given the value of a class.
    """

    item: SplitItem
    scene: Scene
    mask: Array | None = None
    labelled: Valid = None
    changed: int = 0


def read_pair(pair: Pair, nodata: NoData, indices: bool, classes: Collection[float] = ()) -> list[PairPage]:
    """Reads the pages of an image file, with their masks and their field of view.

    Args:
        pair: its files.
        nodata: see `read_scenes`.
        indices: whether the indices of masks with a palette are the values, not its colours.
        classes: values of masks that mean something though their file declares that they do not.

    Raises:
        DataError: for files that cannot be read or do not fit each other.
    """
    scenes = read_within(pair.image, nodata, pair.view)
    count = len(scenes)
    items = [name_page(pair.name, page, count) for page in range(count)]
    if pair.mask is None:
        return [PairPage(item, scene) for item, scene in zip(items, scenes, strict=True)]
    masks = read_masks(pair.mask, indices, None if nodata is None else "declared", classes)
    if len(masks) != count:
        have, want = (f"{len(of)} page{'s' * (len(of) > 1)}" for of in (masks, scenes))
        channels = scenes[0].pixels.shape[2]
        told = ""
        if count == 1 and channels == len(masks):
            told = f" of {channels} channels (if they are slices, save it with the axes ZYX)"
        elif count > len(masks) == 1:
            told = " (if they are channels, save them as one page: docs/your_images.md)"
        raise DataError(
            f"{pair.mask}: has {have} and its image {pair.image} has {want}{told}; export both with as many pages"
        )
    for scene, mask in zip(scenes, masks, strict=True):
        check_same_size(pair.mask, mask.pixels, scene.pixels, f"its image {pair.image}", "save both in one size")
    return [
        PairPage(item, scene, mask.pixels, join_valid(scene.valid, mask.valid))
        for item, scene, mask in zip(items, scenes, masks, strict=True)
    ]


def name_page(name: str, page: int, count: int) -> SplitItem:
    """The name of a page of an image file, which has so many: that of the file if it is the only one."""
    return SplitItem(name, f"{name}_{page:03d}" if count > 1 else name)


def read_within(image: Path, nodata: NoData, view: Path | None) -> list[Scene]:
    """Reads all images of a file; what lies outside their field of view is not valid.

    Args:
        image: the file.
        nodata: see `read_scenes`.
        view: file of the field of view, 0 outside, with one page for all images or one each; None: there is none.

    Raises:
        DataError: for files that cannot be read or do not fit each other.
    """
    scenes = read_scenes(image, nodata)
    if view is None:
        return scenes
    if is_jpeg(view):
        raise DataError(f"{view}: is a JPEG, which changes pixels; save the field of view as PNG")
    pages = read_labels(view)
    if len(pages) not in (1, len(scenes)):
        raise DataError(f"{view}: has {len(pages)} pages and its image {image} has {len(scenes)}; save one for each")
    seen = []
    for scene, page in zip(scenes, pages * len(scenes) if len(pages) == 1 else pages, strict=True):
        check_same_size(view, page, scene.pixels, f"its image {image}", "save both in one size")
        inside = (page[:, :, :3] != 0).any(axis=2)
        valid = join_valid(scene.valid, None if inside.all() else inside)
        seen.append(scene._replace(pixels=clear_invalid(scene.pixels, valid), valid=valid))
    return seen


class ImageKind(NamedTuple):
    """Channels of an image as stored, whether the fourth is an alpha that is opaque, and whether it shows colours."""

    channels: int
    opaque: bool
    colors: bool

    @classmethod
    def of(cls, scene: Scene) -> "ImageKind":
        """The kind of an image."""
        image = scene.pixels
        opaque = image.shape[2] == 4 and image.dtype.kind == "u"
        if opaque:
            alpha = image[:, :, 3] if scene.valid is None else image[:, :, 3][scene.valid]
            opaque = bool((alpha == np.iinfo(image.dtype).max).all())
        return cls(image.shape[2], opaque, shows_colors(image))


def used_channels(kinds: Sequence[ImageKind] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Finds how many channels of each image are used: not an alpha that is opaque in all images.

    RGB images that show only greys count as grey if other images are grey.

    Args:
        kinds: (N, 3), of each image.

    Returns:
        (N,).
    """
    channels, opaque, colors = np.array(kinds, np.int64).reshape(-1, 3).T
    counts = np.where((channels == 4) & opaque[channels == 4].all(), 3, channels)
    return np.where(colors == 1, counts, 1) if set(np.unique(counts).tolist()) == {1, 3} else counts
