"""Image files out, whole or not at all: pictures, TIFF, NumPy and NIfTI."""

import gzip
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
from PIL import Image
from tifffile import TiffWriter

from unet_exp.config.user_data import Axis
from unet_exp.errors import DataError
from unet_exp.files import write_whole
from unet_exp.io.arrays import Array
from unet_exp.io.georeference import read_georeference
from unet_exp.io.kinds import TIFF_SUFFIXES
from unet_exp.io.scene import DTYPES, explain_damage

_TIFF, _NIFTI = (".tif", ".tiff"), (".nii", ".nii.gz")
_CHANNELS = ((), (1,), (3,), (4,))
_WIDE = np.dtype(np.uint32)
_WEBP_SIDE = 16383


class _Kind(NamedTuple):
    """What a kind of file holds without loss.

    Attributes:
        encode: makes the bytes of a file.
        dtypes: of its pixels.
        channels: of them.
        pages: at most.
        side: of an image, at most, in pixels.
    """

    encode: Callable[[Sequence[Array]], bytes]
    dtypes: tuple[str, ...]
    channels: tuple[int, ...]
    pages: float = 1
    side: float = np.inf

    def holds(self, pages: Sequence[Array]) -> bool:
        """Whether it holds these pages, which have one type and, if there are several, one shape."""
        return len(pages) <= self.pages and all(
            page.dtype.name in self.dtypes
            and _count_channels(page) in self.channels
            and max(page.shape[:2]) <= self.side
            and (page.shape, page.dtype) == (pages[0].shape, pages[0].dtype)
            for page in pages
        )


def write_image(path: str | Path, array: Array) -> None:
    """Writes one image; see `write_pages`."""
    write_pages(path, [array])


def write_pages(path: str | Path, pages: Sequence[Array], like: Path | None = None, slice_axis: Axis = "z") -> None:
    """Writes images as the pages of one file, without loss; the file appears whole or not at all.

    Args:
        path: its suffix says which kind; its folder exists. `choose_suffix` knows one that holds the pages.
        pages: each (H, W) or (H, W, C), C 1, 3 (RGB) or 4 (RGBA); uint8, uint16, uint32 or float32.
        like: the image of which these are masks: a TIFF gets its georeference, a NIfTI its geometry.
        slice_axis: the axis of a NIfTI along which its slices are the pages.

    Raises:
        DataError: for another suffix, pages that this kind does not hold, or where the file cannot be written.
    """
    path = Path(path)
    suffix = suffix_of(path)
    if suffix not in (*_KINDS, *_TIFF, *_NIFTI):
        known = " ".join((*_KINDS, *_TIFF, *_NIFTI))
        raise DataError(f"{path}: cannot write this kind of file; end its name in one of {known}")
    for page in pages:
        if page.ndim < 2 or not page.size or page.shape[2:] not in _CHANNELS or page.dtype not in (*DTYPES, _WIDE):
            raise ValueError(f"cannot store {page.dtype} of shape {page.shape} as an image")
    # Copies: a view of one pixel counts as contiguous whatever its strides, and imagecodecs refuses them.
    stored = [np.array(page[:, :, 0] if page.shape[2:] == (1,) else page, order="C") for page in pages]
    if suffix in _NIFTI and (like is None or not _fits_volume(like, stored, slice_axis)):
        raise DataError(f"{path}: these are not the slices of a NIfTI volume; end its name in .tif")
    if suffix in _KINDS and not _KINDS[suffix].holds(stored):
        kind, here = _KINDS[suffix], f"{len(pages)} of {stored[0].dtype} and {_count_channels(stored[0])} channels"
        most = "one page" if kind.pages == 1 else "pages of one size"
        raise DataError(
            f"{path}: a {suffix[1:].upper()} holds {most} of {' or '.join(kind.dtypes)} pixels, of at most "
            f"{max(kind.channels)} channels, and here are {here}; end its name in .tif"
        )
    try:
        with write_whole(path) as side:
            if suffix in _TIFF:
                _write_tiff(side, stored, like)
            elif suffix in _NIFTI:
                assert like is not None
                side.write_bytes(_encode_volume(like, stored, suffix, slice_axis))
            else:
                side.write_bytes(_KINDS[suffix].encode(stored))
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error}); choose another place") from None


def choose_suffix(image: Path, pages: Sequence[Array], wanted: str | None = None, slice_axis: Axis = "z") -> str:
    """The suffix of a file for the masks of an image.

    Args:
        image: its file.
        pages: as for `write_pages`.
        wanted: the suffix that they should have; None: any.
        slice_axis: as for `write_pages`.

    Returns:
        That of a TIFF for a TIFF, whose georeference is kept, and that of a NIfTI for a NIfTI; else the wanted one
        where such files hold the pages without loss, else `.png` or, for what a PNG does not hold, `.tif`.
    """
    own, wanted = suffix_of(image), (wanted or "").lower()
    if own in _NIFTI and _fits_volume(image, pages, slice_axis):
        return wanted if wanted in _NIFTI else own
    if own in TIFF_SUFFIXES:
        return ".tif"
    if wanted in _TIFF or (wanted in _KINDS and _KINDS[wanted].holds(pages)):
        return wanted
    return ".png" if _KINDS[".png"].holds(pages) else ".tif"


def suffix_of(path: Path) -> str:
    """The suffix of a file in lower case, with the one before `.gz`: `.nii.gz`."""
    name = path.name.lower()
    return Path(name.removesuffix(".gz")).suffix + (".gz" if name.endswith(".gz") else "")


def stem_of(path: Path) -> str:
    """The name of a file without `suffix_of`."""
    return path.name[: len(path.name) - len(suffix_of(path))]


def make_output_folder(folder: Path) -> None:
    """Makes the folder of the key `output`, and its parents.

    Raises:
        DataError: if it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"output={folder}: this folder cannot be made ({error.strerror}); choose another") from None


def _count_channels(page: Array) -> int:
    return page.shape[2] if page.ndim == 3 else 1


def _write_tiff(side: Path, pages: Sequence[Array], like: Path | None) -> None:
    place = None if like is None else read_georeference(like)
    with TiffWriter(side, bigtiff=sum(page.nbytes for page in pages) > 2**31) as tiff:
        for page in pages:
            tiff.write(
                page,
                photometric="rgb" if page.ndim == 3 else "minisblack",
                planarconfig="contig",
                compression="zlib",
                metadata=None,
                extratags=() if place is None else place.tags,
            )


def _encode_png(pages: Sequence[Array]) -> bytes:
    return bytes(imagecodecs.png_encode(pages[0], level=1))


def _encode_numpy(pages: Sequence[Array]) -> bytes:
    """One page as (H, W) or (H, W, C), several as (N, H, W, C), which are read as pages."""
    stream = BytesIO()
    np.save(stream, pages[0] if len(pages) == 1 else np.stack([np.atleast_3d(page) for page in pages]))
    return stream.getvalue()


def _encode_picture(pages: Sequence[Array], kind: str) -> bytes:
    picture, stream = Image.fromarray(pages[0]), BytesIO()
    if kind == "WEBP":  # which has no grey
        picture.convert("RGB").save(stream, kind, lossless=True, exact=True)
    else:
        picture.save(stream, kind)
    return stream.getvalue()


def _encode_pnm(pages: Sequence[Array]) -> bytes:
    return _encode_picture(pages, "PPM")


_BYTES, _NUMBERS = ("uint8",), ("uint8", "uint16")
_KINDS = {
    ".png": _Kind(_encode_png, _NUMBERS, (1, 3, 4)),
    ".npy": _Kind(_encode_numpy, (*_NUMBERS, "uint32", "float32"), (1, 3, 4), np.inf),
    ".bmp": _Kind(lambda pages: _encode_picture(pages, "BMP"), _BYTES, (1, 3)),
    ".webp": _Kind(lambda pages: _encode_picture(pages, "WEBP"), _BYTES, (1, 3), side=_WEBP_SIDE),
    ".pgm": _Kind(_encode_pnm, _NUMBERS, (1,)),
    ".ppm": _Kind(_encode_pnm, _BYTES, (3,)),
    ".pnm": _Kind(_encode_pnm, _BYTES, (1, 3)),
}
"""Kinds of files beside TIFF and NIfTI, which take something over from an image."""

_ORDERS = {"z": (2, 1, 0), "y": (2, 0, 1), "x": (0, 2, 1)}
"""How (pages, rows, columns) become the axes i, j and k of a NIfTI, by the axis of the slices: z is k, y is j, x is i.

The pages of z have the rows j and columns i, those of y k and i, those of x k and j.
"""


def _fits_volume(like: Path, pages: Sequence[Array], slice_axis: Axis) -> bool:
    """Whether grey pages have the shape of the slices of a NIfTI volume."""
    grey = all(_count_channels(page) == 1 and page.dtype.kind == "u" for page in pages)
    if suffix_of(like) not in _NIFTI or not grey or len({page.shape[:2] for page in pages}) > 1:
        return False
    import nibabel

    with explain_damage(like):
        source: Any = nibabel.load(like)
        shape = (*source.shape, 1, 1)[:3]
    have = (len(pages), *pages[0].shape[:2])
    return tuple(have[axis] for axis in _ORDERS[slice_axis]) == shape


def _encode_volume(like: Path, pages: Sequence[Array], suffix: str, slice_axis: Axis) -> bytes:
    """Grey pages as a NIfTI with the geometry of another."""
    import nibabel

    with explain_damage(like):
        source: Any = nibabel.load(like)
        values = np.stack([page.reshape(page.shape[:2]) for page in pages]).transpose(_ORDERS[slice_axis])
        values = values.reshape(source.shape[:3])
        header = source.header.copy()
        header.set_data_dtype(values.dtype)
        header.set_slope_inter(1, 0)
        header["cal_min"] = header["cal_max"] = 0
        header.extensions.clear()  # they are of the image, and may name a person
        kind: Any = nibabel.Nifti2Image if header["sizeof_hdr"] == 540 else nibabel.Nifti1Image
        data: bytes = kind(np.asfortranarray(values), source.affine, header).to_bytes()
    return gzip.compress(data, 6, mtime=0) if suffix.endswith(".gz") else data
