"""Image files in: every kind of `unet_exp.io.kinds`, whole, by page or by window.

Damage that libraries ignore silently is an error here: wrong checksums, missing strips, a broken chain of pages.

Everything is read as it is seen: turned as its orientation says (EXIF, TIFF tag 274).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

from unet_exp.config.user_data import NoData
from unet_exp.errors import DataError
from unet_exp.io.arrays import Array
from unet_exp.io.kinds import explain_unread, find_kind
from unet_exp.io.pixel_size import PixelSize
from unet_exp.io.scene import OpenImages, Reading, Scene, explain_damage
from unet_exp.io.stored import open_stored, split_inner

Page = TypeVar("Page", Array, Scene)


@contextmanager
def open_images(path: str | Path, reading: Reading) -> Iterator[OpenImages]:
    """Opens the images of a file or a folder; each is read when it is asked for.

    Args:
        path: of a file of any kind that is read, recognised by content, not by suffix; of a folder that is a Zarr or
            one DICOM series; or of an array inside a container, such as `a.h5/raw/volume`.
        reading: what is wanted of the pixels.

    Raises:
        DataError: for a file that is missing, unreadable, damaged, cut short or not an image.
    """
    path = Path(path)
    with open_stored(path) as stored:
        kind = find_kind(stored)
        if kind is None:
            raise DataError(f"{path}: {explain_unread(stored.start, stored.packed)}")
        if stored.inner and not kind.is_container:
            raise DataError(f"{stored.place}: is a {kind.name} file, which holds nothing by the name {stored.inner}")
        with explain_damage(path):
            images = kind.open(stored, reading)
        try:
            yield images
        finally:
            images.close()


def read_scenes(path: str | Path, nodata: NoData = "declared") -> list[Scene]:
    """Reads all images of a file, and which of their pixels are valid.

    Args:
        path: see `open_images`. An array is (H, W), (H, W, C) or, as pages, (N, H, W, C).
        nodata: which pixels are not valid. `declared`: those that the file calls so (GDAL's nodata value, an alpha of
            0, a mask page) and NaN; a value: those that hold it in all channels in place of the declared one; None:
            none, and NaN is an error.

    Returns:
        One a page, or one a slice where metadata arrange pages as slices and channels (ImageJ, OME, MetaMorph). C is 1
        (grey), 3 (RGB), 4 (RGBA) or any other number up to `MAX_CHANNELS`. Palettes are resolved; one-bit pages and
        booleans are 0 and 255; other integers that fit become uint16, other floats become float32.

    Raises:
        DataError: for a file that is missing, unreadable, damaged, cut short, absurdly large or not an image,
            and for valid pixels that are of another type, not finite or of another number of channels.
    """
    return _read(path, Reading(nodata))


def read_pages(path: str | Path) -> list[Array]:
    """Reads all images of a file as `read_scenes` does, with every pixel valid."""
    return [scene.pixels for scene in _read(path, Reading())]


def read_labels(path: str | Path, indices: bool = False) -> list[Array]:
    """Reads all label images of a file, as `read_pages` but for their meaning.

    Whole numbers may be of any type; those that do not fit into 16 bits are int64. White is not made black where a TIFF
    has white at 0. A label has no channels: where metadata arrange some, they are slices.

    Args:
        path: as there.
        indices: return the indices of a palette that has colours, not its colours.
    """
    return [scene.pixels for scene in _read(path, Reading(label=True, indices=indices))]


def _read(path: str | Path, reading: Reading) -> list[Scene]:
    with open_images(path, reading) as images:
        return [images.page(index) for index in range(len(images))]


def read_image(path: str | Path) -> Array:
    """Reads the only image of a file, as `read_pages` does; a DataError for several."""
    return _require_one(path, read_pages(path))


def read_label(path: str | Path) -> Array:
    """Reads the only label image of a file, as `read_labels` does; a DataError for several."""
    return _require_one(path, read_labels(path))


def read_scene(path: str | Path) -> Scene:
    """Reads the only image of a file, as `read_scenes` does; a DataError for several."""
    return _require_one(path, read_scenes(path))


def _require_one(path: str | Path, pages: list[Page]) -> Page:
    if len(pages) != 1:
        raise DataError(f"{path}: has {len(pages)} pages where one image is expected; save each page as a file")
    return pages[0]


def read_pixel_size(path: str | Path) -> PixelSize | None:
    """Reads what a file declares of the size of a pixel; a DataError as of `open_images`."""
    with open_images(path, Reading()) as images:
        return images.pixel_size


class StoredSize(NamedTuple):
    """The size of the decoded images of a file.

    Attributes:
        pages: how many.
        largest: values (H x W x C) of the largest.
        values: of all.
        itemsize: bytes of each.
    """

    pages: int
    largest: int
    values: int
    itemsize: int


def stored_pages(path: Path, reading: Reading | None = None) -> StoredSize:
    """Reads the size of the images of a file from its headers.

    Args:
        path: see `open_images`.
        reading: what is wanted of the pixels.

    Returns:
        A broken file counts by its own size; one that is not there, and a page too large to be read, as nothing:
        reading it raises the error.
    """
    try:
        with open_images(path, reading or Reading()) as images, explain_damage(path):
            values = [images.count_values(page) for page in range(len(images))]
            return StoredSize(len(values), max(values, default=0), sum(values), images.itemsize)
    except DataError:
        place, _ = split_inner(path)
        size = place.stat().st_size if place.is_file() else 0
        return StoredSize(1, size, size, 1)
