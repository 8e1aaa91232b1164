"""Annotations of many images in one file: which of them belong to which image."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from unet_exp.annotations import list_images
from unet_exp.errors import DataError
from unet_exp.folder.matching import Side
from unet_exp.folder.named_files import NamedFiles
from unet_exp.folder.tails import NONE, SEVERAL, match_tails
from unet_exp.io.kinds import ANNOTATION_SUFFIXES
from unet_exp.io.listing import normalize_name
from unet_exp.io.texts import Places, TextIndex, Texts


def annotate_many(masked: NamedFiles) -> bool:
    """Whether files are annotations of many images each; the first of them decides.

    Raises:
        DataError: for one that cannot be read.
    """
    if not masked.has_annotations:
        return False
    paths = (masked.path(int(number)) for number in masked.sort(np.arange(len(masked.names))))
    first = next((path for path in paths if path.suffix.lower() in ANNOTATION_SUFFIXES), None)
    return first is not None and list_images(first) is not None


def match_entries(images: Side, masked: NamedFiles) -> tuple[Places, Texts, str]:
    """Finds the annotations of each image.

    An image and its annotation have the same path, without suffix, as far as both are known, see `match_tails`.

    Args:
        images: in their order.
        masked: annotations of many images each.

    Returns:
        (N,) the number of the file that annotates each image, -1 for none; (N,) what it calls the image; and what the
        user is told.

    Raises:
        DataError: for files of other kinds, names that several images fit, and two annotations of one image.
    """
    listed = list(_list_entries(masked))
    source = images.files.files.source
    wanted = Texts.of(source.strip_suffix(normalize_name(entry).replace("\\", "/")) for _, entry in listed)
    paths = (_path_name(images, place) for place in range(len(images.names)))
    found = match_tails(wanted, images.names, paths)
    several = np.flatnonzero(found == SEVERAL)
    if len(several):
        number, entry = listed[int(several[0])]
        raise DataError(
            f"{masked.path(number)}: {entry} may be one of several images in {images.files.spec}; give a part of them, "
            "or write their folders into the file"
        )
    there = np.flatnonzero(found != NONE)
    firsts, counts = np.unique(found[there], return_counts=True)
    if (counts > 1).any():
        image = int(firsts[counts > 1][0])
        one, other = (listed[int(place)] for place in there[found[there] == image][:2])
        raise DataError(
            f"{images.path(image)}: is annotated twice, as {one[1]} in {masked.path(one[0])} and as {other[1]} in "
            f"{masked.path(other[0])}; keep one of the two"
        )
    numbers, entries = np.full(len(images.names), -1, np.int64), [""] * len(images.names)
    for place in there.tolist():
        image = int(found[place])
        numbers[image], entries[image] = listed[place]
    return numbers, Texts.of(entries), _tell(images, wanted, listed, found)


def _tell(images: Side, wanted: Texts, listed: list[tuple[int, str]], found: Places) -> str:
    """What the user is told of annotations whose names are longer than those of their images; mostly nothing."""
    exact = TextIndex(images.names).find(wanted) >= 0
    for place in np.flatnonzero((found != NONE) & ~exact).tolist():
        image = int(found[place])
        if not f"/{_path_name(images, image)}".endswith(f"/{wanted[place].lstrip('/')}"):
            return f"data.masks: paired by the ends of paths, such as {images.path(image)} with {listed[place][1]}"
    return ""


def _path_name(images: Side, place: int) -> str:
    return images.files.files.source.strip_suffix(normalize_name(images.path(place).absolute().as_posix()))


def _list_entries(masked: NamedFiles) -> Iterator[tuple[int, str]]:
    """The number of each file, with each name that it annotates."""
    for number in masked.sort(np.arange(len(masked.names))).tolist():
        path: Path = masked.path(number)
        names = list_images(path) if path.suffix.lower() in ANNOTATION_SUFFIXES else None
        if names is None:
            raise DataError(f"{path}: is for one image, and others in {masked.spec} annotate many; give one kind")
        for name in names:
            yield number, name
