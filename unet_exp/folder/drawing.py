"""Masks that are drawn: from annotations, from one file a class, or from a folder of one file an object."""

import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unet_exp.annotations import draw_mask
from unet_exp.annotations.painting import Shape, paint
from unet_exp.errors import DataError
from unet_exp.io.arrays import Array, check_same_size
from unet_exp.io.images import open_images
from unet_exp.io.kinds import ANNOTATION_SUFFIXES, is_jpeg
from unet_exp.io.listing import check_found, scan_files
from unet_exp.io.scene import OpenImages, Reading
from unet_exp.io.specs import is_zarr
from unet_exp.io.stored import split_inner
from unet_exp.io.valid import Valid

if TYPE_CHECKING:
    from unet_exp.folder.pairs import Pair

_log = logging.getLogger(__name__)

_told: set[tuple[str, ...]] = set()
"""Classes of which it is told that they overlap."""


class Drawing(NamedTuple):
    """How masks are drawn.

    Attributes:
        labels: the index of the class of each label, see `unet_exp.annotations.draw_mask`; None: objects are numbered.
        ignored: labels whose pixels say nothing.
        values: grey value or (red, green, blue) of each class, which its pixels get.
        objects: the labels that are numbered, where objects are; None: all.
        reading: what is wanted of the pixels of files of one class or object.
        halves: whether a pixel of a file of one class or object belongs to it from half the largest value on; else from
            1 on, and JPEG is refused.
    """

    labels: Mapping[str, int] | None
    ignored: tuple[str, ...] = ()
    values: tuple[int | list[int], ...] = (0, 1)
    objects: Collection[str] | None = None
    reading: Reading = Reading(label=True)
    halves: bool = False


def is_drawn(pair: "Pair") -> bool:
    """Whether the mask of a pair is drawn, and not stored as it is."""
    label, path = next(((label, path) for label, path in pair.masks if path is not None), ("", None))
    if path is None:
        return False
    return bool(label) or is_annotation(path) or is_of_objects(path)


def is_annotation(path: Path) -> bool:
    """Whether a mask is an annotation, by its name."""
    return path.suffix.lower() in ANNOTATION_SUFFIXES


def is_of_objects(path: Path) -> bool:
    """Whether a mask is a folder of one file an object, and no array of a Zarr, which is a folder too."""
    return path.is_dir() and not is_zarr(path) and not split_inner(path)[1]


def open_class_files(pair: "Pair", drawing: Drawing, stack: ExitStack) -> dict[Path, OpenImages]:
    """Opens the files of classes of a pair, which are closed with the stack; none of annotations and of folders.

    Raises:
        DataError: for a file that cannot be read, and a JPEG that is taken as it is.
    """
    paths = [path for _, path in pair.masks if path is not None and not is_annotation(path)]
    return {path: stack.enter_context(_open_lit(path, drawing)) for path in paths if not is_of_objects(path)}


def draw_pair(
    pair: "Pair", size: tuple[int, int], drawing: Drawing, opened: Mapping[Path, OpenImages], page: int
) -> tuple[Array, Valid]:
    """Draws the mask of a page of an image.

    Files of classes are drawn in the order of `data.masks`, later ones over earlier ones.

    Args:
        pair: whose mask is drawn.
        size: height H and width W of the page.
        drawing: how.
        opened: see `open_class_files`.
        page: its index in the files of classes; annotations and folders are of the only page.

    Returns:
        (H, W, C) values of classes or numbers of objects, as a mask that is stored; and the pixels (H, W) that say
        something, None for all.

    Raises:
        DataError: for files that cannot be read or do not fit.
    """
    assert pair.mask is not None
    labels, ignored, values, objects, *_ = drawing
    if is_annotation(pair.mask):
        entry = pair.entry or None
        mask, valid = draw_mask(pair.mask, pair.image, entry, size, labels, ignored, objects)
    else:
        if labels is not None and pair.masks[0][0] == "":
            labels = {"": 1}
        mask, valid = paint(_list_shapes(pair, size, drawing, opened, page), size, labels, ignored, pair.mask, objects)
    if labels is None:
        return mask.astype(np.uint16 if mask.max(initial=0) <= np.iinfo(np.uint16).max else np.int64), valid
    wide = max(np.ravel(values).tolist()) > np.iinfo(np.uint8).max
    drawn = np.array(values, np.uint16 if wide else np.uint8)[mask[:, :, 0]]
    return np.atleast_3d(drawn), valid


def _list_shapes(
    pair: "Pair", size: tuple[int, int], drawing: Drawing, opened: Mapping[Path, OpenImages], page: int
) -> Iterator[Shape]:
    """The shapes in files of classes and of objects, and tells of classes that overlap."""
    owner = np.zeros(size, np.uint8) if len(pair.masks) > 1 else None
    for number, (label, path) in enumerate(pair.masks, start=1):
        if path is None:
            continue
        lit = [_find_lit(path, opened[path], page, pair, size, drawing)] if path in opened else None
        for inside in lit or _read_objects(path, pair, size, drawing):
            if owner is not None:
                over = owner[inside]
                if ((over > 0) & (over != number)).any():
                    _tell_overlap(tuple(name for name, _ in pair.masks), pair.image)
                owner[inside] = number
            yield Shape(label, inside, 0, 0)


def _read_objects(folder: Path, pair: "Pair", size: tuple[int, int], drawing: Drawing) -> Iterator[NDArray[np.bool_]]:
    """Where each object of a folder lies: (H, W); there are none if it is empty.

    Raises:
        DataError: for a file that cannot be read, has several pages or another size than its image.
    """
    files = scan_files(folder, recursive=False, stamps=False)
    if len(files.paths):
        check_found(folder, files)
    for file in files.list_paths(files.sort(np.flatnonzero(files.read))):
        with _open_lit(file, drawing) as pages:
            if len(pages) != 1:
                raise DataError(f"{file}: has {len(pages)} pages, and holds one object of {pair.image}; save it alone")
            yield _find_lit(file, pages, 0, pair, size, drawing)


def _open_lit(path: Path, drawing: Drawing) -> AbstractContextManager[OpenImages]:
    """Opens a file of one class or object; a DataError for a JPEG that is taken as it is."""
    if not drawing.halves and is_jpeg(path):
        raise DataError(
            f"{path}: is a JPEG, which changes pixels; save masks as PNG, or take half of the brightness as the border "
            "(data.inexact=nearest)"
        )
    return open_images(path, drawing.reading)


def _find_lit(
    path: Path, opened: OpenImages, page: int, pair: "Pair", size: tuple[int, int], drawing: Drawing
) -> NDArray[np.bool_]:
    """Where a page of a file of one class or one object is lit: (H, W); a DataError for another size."""
    pixels = opened.page(page).pixels[:, :, :3]
    check_same_size(path, pixels, np.empty((*size, 0)), f"its image {pair.image}", "save both in one size")
    if not drawing.halves:
        lit: NDArray[np.bool_] = (pixels != 0).any(axis=2)
        return lit
    most = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
    bright: NDArray[np.bool_] = pixels.mean(axis=2) >= most / 2
    return bright


def _tell_overlap(labels: tuple[str, ...], image: Path) -> None:
    if labels not in _told:
        _told.add(labels)
        _log.warning(
            "%s: files of several classes cover the same pixels; there the last of %s counts, in all images",
            image,
            ", ".join(labels),
        )
