"""TIFFs whose pages are no images of their own: metadata arrange their planes as slices and channels.

ImageJ and OME write each channel as a page; MetaMorph (STK), ImageJ for huge stacks and tifffile's `truncate` write one
page that stands for many planes.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tifffile import TiffFile, TiffPage, TiffPageSeries

from unet_exp.errors import DataError
from unet_exp.io.arrays import Array
from unet_exp.io.tiff import ImagePage, check_page

_KINDS = ("shaped", "ome", "imagej", "stk", "mmstack", "fluoview")
"""What tifffile calls the metadata that arrange planes."""


class Stack(NamedTuple):
    """The planes of a file.

    Attributes:
        series: what tifffile reads.
        page: the first one, which describes the pixels of all.
        slices: images.
        height: of each, in pixels.
        width: in pixels.
        channels: of each, planes and samples of a pixel.
    """

    series: TiffPageSeries
    page: TiffPage
    slices: int
    height: int
    width: int
    channels: int

    def count(self, channels_are_slices: bool) -> int:
        """The images; where the planes of channels are slices too, more."""
        return self.slices * self.channels // self.count_channels(channels_are_slices)

    def count_channels(self, channels_are_slices: bool) -> int:
        """The channels of each image."""
        return self.page.samplesperpixel if channels_are_slices else self.channels

    def read(self, index: int, channels_are_slices: bool) -> Array:
        """Reads an image (H, W, C), as stored; the planes of channels are slices if so wanted.

        Only its own planes are read, of pages that stand for one each or that lie in one run.
        """
        axes, series = self.series.axes, self.series
        behind = [axes.index(axis) for axis in ("YXS" if channels_are_slices else "YXCS") if axis in axes]
        before = [place for place in range(len(axes)) if place not in behind]
        place = np.unravel_index(index, [series.shape[axis] for axis in before])
        chosen = dict(zip(before, map(int, place), strict=True))
        key = tuple(chosen.get(axis, slice(None)) for axis in range(len(axes)))
        left = [axis for axis in range(len(axes)) if axis not in chosen]
        image = self._cut(key).transpose([left.index(axis) for axis in behind])
        return image.reshape(self.height, self.width, self.count_channels(channels_are_slices))

    def _cut(self, key: tuple[int | slice, ...]) -> Array:
        """Reads the part of the series that an index for each axis chooses."""
        axes, shape = self.series.axes, self.series.shape
        planes = axes.rstrip("YXS")
        if not set("YXS") & set(planes) and len(self.series.pages) == math.prod(shape[: len(planes)]):
            places = np.arange(len(self.series.pages)).reshape(shape[: len(planes)])[key[: len(planes)]]
            pages = [self.series.pages[place] for place in places.ravel().tolist()]
            pixels = np.stack([page.asarray() for page in pages if page is not None])
            return pixels.reshape(*places.shape, *shape[len(planes) :])[(..., *key[len(planes) :])]
        if self.series.dataoffset is None:
            return np.asarray(self.series.asarray()[key])
        kind = self.series.dtype.newbyteorder(self.page.parent.byteorder)
        mapped = self.page.parent.filehandle.memmap_array(kind, shape, self.series.dataoffset)
        return np.array(mapped[key])


def find_stack(path: Path, file: TiffFile, pages: Sequence[ImagePage], size: int) -> Stack | None:
    """The planes of a file whose metadata arrange them otherwise than one image a page; None for all others.

    Args:
        path: of the file.
        file: opened.
        pages: those of its pages that are images, see `unet_exp.io.tiff.list_image_pages`.
        size: of the file, in bytes.

    Raises:
        DataError: for planes in several series, or in other files.
        ValueError: for planes that are missing.
    """
    if not any(getattr(file, f"is_{kind}") for kind in _KINDS):
        return None
    images = len(pages)
    series = [one for one in file.series if not (one.keyframe.is_reduced or one.keyframe.is_mask)]
    claimed = (file.imagej_metadata or {}).get("images", 1)
    if series[0].kind != "imagej" and claimed > images:  # tifffile takes such a file for one without metadata
        raise DataError(_explain_count(path, "imagej", claimed, images))
    # Channels within a page are the page's own.
    apart = any(one.size // one.keyframe.size != _count_slices(one) for one in series)
    if not apart and sum(map(_count_slices, series)) == images:
        return None
    first = series[0]
    if len(series) > 1 or not {"Y", "X"} <= set(first.axes):
        raise DataError(
            f"{path}: its metadata ({first.kind}) arrange its planes as {len(series)} series with the axes "
            f"{', '.join(one.axes for one in series)}; save each image, with all of its channels, as a page"
        )
    sizes = dict(zip(first.axes, first.shape, strict=True))
    slices, channels, samples = _count_slices(first), sizes.get("C", 1), sizes.get("S", 1)
    planes = slices * channels
    told = f"{path}: its metadata ({first.kind}) tell of {planes} planes"
    if any(page is None or page.parent is not file for page in first.pages):
        raise DataError(f"{told}, and some lie in other files; save all of them in one file")
    # One page may stand for many planes; several stand for one each.
    if planes != images and (images > 1 or planes < images):
        raise DataError(_explain_count(path, first.kind, planes, images))
    for page, _ in pages:
        check_page(path, page, size)
    if first.dataoffset is not None and first.dataoffset + first.nbytes > size:
        raise DataError(f"{told}, and it ends before the last of them; export it again")
    return Stack(first, pages[0].page, slices, sizes["Y"], sizes["X"], channels * samples)


def _explain_count(path: Path, kind: str, planes: int, pages: int) -> str:
    has = f"it has {pages} page{'s' * (pages > 1)}"
    return f"{path}: its metadata ({kind}) tell of {planes} planes, and {has}; export it again"


def _count_slices(series: TiffPageSeries) -> int:
    return math.prod(size for axis, size in zip(series.axes, series.shape, strict=True) if axis not in "YXCS")
