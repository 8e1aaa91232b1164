"""The pages of a user's image files, each with its mask and its field of view."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from unet_exp.config.user_data import NoData
from unet_exp.errors import DataError
from unet_exp.folder.drawing import Drawing, draw_pair, is_drawn, is_of_objects, open_class_files
from unet_exp.folder.groups import SplitItem
from unet_exp.io.arrays import Array, check_same_size
from unet_exp.io.directions import check_directions
from unet_exp.io.georeference import check_places
from unet_exp.io.images import open_images
from unet_exp.io.kinds import is_jpeg
from unet_exp.io.pixel_size import PixelSize
from unet_exp.io.scene import MAX_CHANNELS, OpenImages, Reading, Scene
from unet_exp.io.valid import Valid, clear_invalid, join_valid
from unet_exp.samples.classes import shows_colors

if TYPE_CHECKING:
    from unet_exp.folder.pairs import Pair


class PairPage(NamedTuple):
    """A page of an image file.

    Attributes:
        item: its name.
        scene: its pixels.
        mask: those of its mask (H, W, C), as stored; None without one.
        labelled: (H, W), where both of them hold data; None: everywhere.
        changed: pixels of the mask, where both hold data, that `Rules.finish` has given the value of a class.
        pixel_size: what the image file declares.
    """

    item: SplitItem
    scene: Scene
    mask: Array | None = None
    labelled: Valid = None
    changed: int = 0
    pixel_size: PixelSize | None = None


class PairPages:
    """The pages of an image, with their masks and their field of view, each read when it is asked for.

    It belongs to one process and one thread, and is to be closed, as a context or by `close`.

    Args:
        pair: its files.
        reading: what is wanted of the pixels of images.
        of_masks: likewise of masks that are stored.
        drawing: how other masks are drawn.
        finish: what becomes of each page that is read.

    Raises:
        DataError: for files that cannot be read or do not fit each other; `[page]` may raise it too.
    """

    def __init__(
        self,
        pair: "Pair",
        reading: Reading,
        of_masks: Reading,
        drawing: Drawing,
        finish: Callable[[PairPage], PairPage] = lambda page: page,
    ) -> None:
        self._pair, self._nodata, self._drawing, self._finish = pair, reading.nodata, drawing, finish
        self._drawn = is_drawn(pair)
        self._stack = ExitStack()
        try:
            self._images = [self._stack.enter_context(open_images(path, reading)) for path in pair.images]
            self._pixel_size = self._images[0].pixel_size
            self._view = None if pair.view is None else self._stack.enter_context(_open_view(pair.view, reading))
            stored = pair.mask is not None and not self._drawn
            self._mask = self._stack.enter_context(open_images(pair.mask, of_masks)) if pair.mask and stored else None
            self._of_classes = open_class_files(pair, drawing, self._stack) if self._drawn else {}
            self._check_geometry()
            self._check_counts()
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self._images[0])

    def __getitem__(self, page: int) -> PairPage:
        pair = self._pair
        item, scene = name_page(pair.name, page, len(self)), self._read_scene(page)
        if pair.mask is None:
            return PairPage(item, scene, pixel_size=self._pixel_size)
        if self._mask is None:
            mask, valid = draw_pair(pair, scene.pixels.shape[:2], self._drawing, self._of_classes, page)
        else:
            mask, valid, _ = self._mask.page(page)
            mend = f"save both in one size{self._hint_axes()}"
            check_same_size(pair.mask, mask, scene.pixels, f"its image {pair.image}", mend)
        labelled = join_valid(scene.valid, valid)
        return self._finish(PairPage(item, scene, mask, labelled, pixel_size=self._pixel_size))

    def __iter__(self) -> Iterator[PairPage]:
        return map(self.__getitem__, range(len(self)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the files."""
        self._stack.close()

    def _read_scene(self, page: int) -> Scene:
        pair = self._pair
        scene = join_channels(pair.images, [images.page(page) for images in self._images], self._nodata)
        if pair.view is None or self._view is None:
            return scene
        seen = self._view.page(page if len(self._view) > 1 else 0)
        return _cut_view(scene, pair.image, seen.pixels, pair.view)

    def _check_geometry(self) -> None:
        """Checks that all files lie where the first says that it does; a DataError if not."""
        pair, first = self._pair, self._images[0]
        directions, place = first.directions, first.georeference
        masks = [*self._of_classes.items(), (pair.mask, self._mask), (pair.view, self._view)]
        for path, images in [*zip(pair.images[1:], self._images[1:], strict=True), *masks]:
            if path is not None and images is not None:
                check_directions(path, images.directions, pair.image, directions)
                if place is not None:
                    check_places(path, images.georeference, pair.image, place, first.size(0)[:2])

    def _check_counts(self) -> None:
        """Checks that all files have as many pages.

        Raises:
            DataError: if not.
        """
        pair, count = self._pair, len(self)
        for path, images in zip(pair.images[1:], self._images[1:], strict=True):
            if len(images) != count:
                raise DataError(
                    f"{path}: has {_count_pages(len(images))} and {pair.image}, of which it holds more channels, has "
                    f"{_count_pages(count)}; export both with as many pages"
                )
        if pair.view is not None and self._view is not None:
            _check_views(pair.view, len(self._view), pair.image, count)
        masks = dict(self._of_classes) if pair.mask is None or self._mask is None else {pair.mask: self._mask}
        for path, images in masks.items():
            if len(images) != count:
                raise self._explain_count(path, len(images), "")
        if pair.mask is not None and not masks and count != 1:
            if is_of_objects(pair.mask):
                raise DataError(
                    f"{pair.mask}: is a folder, which is read as one file an object of one page, and its image "
                    f"{pair.image} has {_count_pages(count)}; save the slices of the mask in one file, such as NIfTI"
                )
            raise self._explain_count(pair.mask, 1, " (it is drawn as one)")

    def _explain_count(self, mask: Path, masks: int, told: str) -> DataError:
        """The error of a mask that has so many pages, and its image has others; `told` says more of it."""
        count = len(self)
        if count == 1 and (channels := self._images[0].page(0).pixels.shape[2]) == masks:
            told = f" of {channels} channels (if they are slices, save it with the axes ZYX)"
        elif count > masks == 1 and not told:
            told = " (if they are channels, save them as one page: docs/your_images.md)"
        return DataError(
            f"{mask}: has {_count_pages(masks)} and its image {self._pair.image} has {_count_pages(count)}{told}; "
            f"export both with as many pages{self._hint_axes()}"
        )

    def _hint_axes(self) -> str:
        """What else may explain a difference, where the axes of an array are guessed; else empty."""
        arrays = [*self._images, self._mask, *self._of_classes.values()]
        guessed = next((images.guessed for images in arrays if images is not None and images.guessed), "")
        such = "such as zyx (slices) or cyx (channels)"
        return f", or, if the axes of an array are not {guessed}, say in data.axes what they are, {such}" * bool(
            guessed
        )


def name_page(name: str, page: int, count: int) -> SplitItem:
    """The name of a page of an image file, which has so many: that of the file if it is the only one."""
    return SplitItem(name, f"{name}_{page:03d}" if count > 1 else name)


def join_channels(paths: Sequence[Path], scenes: Sequence[Scene], nodata: NoData) -> Scene:
    """Joins the channels of an image, or of a part of one, from several files.

    A pixel has no data where one of the files says so; or, where a value means that, where all of them hold it.

    Args:
        paths: the files.
        scenes: what was read of each.
        nodata: see `read_scenes`.

    Raises:
        DataError: for files of several sizes or types, and too many channels.
    """
    first, *others = scenes
    if not others:
        return first
    of_first = f"{paths[0]}, of which it holds more channels,"
    for path, scene in zip(paths[1:], others, strict=True):
        check_same_size(path, scene.pixels, first.pixels, of_first, "save both in one size")
        if scene.pixels.dtype != first.pixels.dtype:
            raise DataError(
                f"{path}: has {scene.pixels.dtype} pixels and {of_first} has {first.pixels.dtype}; save both with as "
                "many bits"
            )
    count = sum(scene.pixels.shape[2] for scene in scenes)
    if count > MAX_CHANNELS:
        raise DataError(f"{paths[0]}: has {count} channels in {len(paths)} files; give {MAX_CHANNELS} at most")
    pixels = np.concatenate([scene.pixels for scene in scenes], axis=2)
    valid: Valid = None
    if isinstance(nodata, str):
        valid = reduce(join_valid, [scene.valid for scene in scenes])
    elif nodata is not None and all(scene.valid is not None for scene in scenes):
        valid = reduce(np.logical_or, [scene.valid for scene in scenes if scene.valid is not None])
    if nodata is not None and not isinstance(nodata, str):
        ends = np.cumsum([scene.pixels.shape[2] for scene in scenes])
        for scene, end in zip(scenes, ends.tolist(), strict=True):
            if scene.valid is not None:  # cleared pixels of a file that others know
                pixels[:, :, end - scene.pixels.shape[2] : end][~scene.valid] = nodata
    return Scene(clear_invalid(pixels, valid), valid, any(scene.turned for scene in scenes))


def _open_view(path: Path, of_image: Reading) -> AbstractContextManager[OpenImages]:
    if is_jpeg(path):
        raise DataError(f"{path}: is a JPEG, which changes pixels; save the field of view as PNG")
    return open_images(path, of_image._replace(nodata=None, label=True))


def _check_views(view: Path, pages: int, image: Path, count: int) -> None:
    if pages not in (1, count):
        raise DataError(f"{view}: has {pages} pages and its image {image} has {count}; save one for each")


def _cut_view(scene: Scene, image: Path, page: Array, view: Path) -> Scene:
    """Leaves out what lies outside the field of view, where a page of its mask is 0."""
    check_same_size(view, page, scene.pixels, f"its image {image}", "save both in one size")
    inside = (page[:, :, :3] != 0).any(axis=2)
    valid = join_valid(scene.valid, None if inside.all() else inside)
    return scene._replace(pixels=clear_invalid(scene.pixels, valid), valid=valid)


def _count_pages(count: int) -> str:
    return f"{count} page{'s' * (count > 1)}"


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

    Beside images with colours a grey one has three equal channels; beside grey images an RGB one that shows greys alone
    has one.

    Args:
        kinds: (N, 3), of each image.

    Returns:
        (N,).
    """
    channels, opaque, colors = np.array(kinds, np.int64).reshape(-1, 3).T
    counts = np.where((channels == 4) & opaque[channels == 4].all(), 3, channels)
    if set(np.unique(counts).tolist()) == {1, 3}:
        return np.full(len(counts), 3 if (colors[counts == 3] == 1).any() else 1)
    return counts


def describe_repeated(channels: NDArray[np.int64], used: NDArray[np.int64]) -> str | None:
    """A line about grey images (N,) that have equal channels, as others show colours; None where there are none."""
    count = int((channels < used).sum())
    if not count:
        return None
    return (
        f"{count} of {len(used)} images are grey and others show colours: they are read with {used[0]} equal channels"
    )


def take_channels(image: Array, used: int) -> Array:
    """The first channels of an image (H, W, C): (H, W, used); a grey one that is to have more has equal ones."""
    if used == image.shape[2]:
        return image
    if image.shape[2] == 1:
        return np.repeat(image, used, axis=2)
    return np.ascontiguousarray(image[:, :, :used])
