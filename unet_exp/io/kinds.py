"""Kinds of files: how each begins, what its names end in, how it is opened; and the names of others, for messages."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from unet_exp.files import FETCH_FROM_GIT_LFS, is_git_lfs_pointer
from unet_exp.io import pictures
from unet_exp.io.dicom import open_dicom, open_series
from unet_exp.io.hdf5 import open_hdf5
from unet_exp.io.nifti import open_nifti
from unet_exp.io.numpy_files import open_npz, open_numpy
from unet_exp.io.scene import OpenImages, Reading
from unet_exp.io.stored import CONTAINERS, HDF5_SUFFIXES, NPZ_SUFFIXES, ZARR_SUFFIXES, Stored
from unet_exp.io.tiff_images import TiffImages
from unet_exp.io.zarr_files import is_zarr, open_zarr


class Kind(NamedTuple):
    """A kind of file that is read.

    Attributes:
        name: for people.
        suffixes: of names, in lower case.
        start: a regular expression for the first bytes; None of a folder.
        open: opens it.
        packed: whether it is also read with gzip around it.
    """

    name: str
    suffixes: tuple[str, ...]
    start: bytes | None
    open: Callable[[Stored, Reading], OpenImages]
    packed: bool = True

    @property
    def is_container(self) -> bool:
        """Whether it holds arrays by name."""
        return not set(self.suffixes).isdisjoint(CONTAINERS)


_JPEG = Kind("JPEG", (".jpg", ".jpeg"), rb"\xff\xd8\xff", pictures.open_jpeg)
_TIFF = Kind("TIFF", (".tif", ".tiff", ".stk", ".lsm"), rb"II[*+]\0|MM\0[*+]", TiffImages)
_ZARR = Kind("Zarr", ZARR_SUFFIXES, None, open_zarr, packed=False)
_SERIES = Kind("DICOM", (), None, open_series, packed=False)
_DICOM = Kind("DICOM", (".dcm",), rb".{128}DICM", open_dicom, packed=False)
KINDS = (
    Kind("PNG", (".png",), rb"\x89PNG\r\n\x1a\n", pictures.open_png),
    _JPEG,
    _TIFF,
    Kind("NumPy", (".npy",), rb"\x93NUMPY", open_numpy),
    Kind("NumPy", NPZ_SUFFIXES, rb"PK\x03\x04", open_npz, packed=False),
    Kind("BMP", (".bmp",), rb"BM.{4}\0\0\0\0", pictures.open_bmp),
    Kind("GIF", (".gif",), rb"GIF8[79]a", pictures.open_gif),
    Kind("PNM", (".pbm", ".pgm", ".ppm", ".pnm"), rb"P[1-6]\s", pictures.open_pnm),
    Kind("WebP", (".webp",), rb"RIFF.{4}WEBP", pictures.open_webp),
    Kind("NIfTI", (".nii", ".hdr"), rb"(\x5c\x01\0\0|\0\0\x01\x5c|\x1c\x02\0\0|\0\0\x02\x1c)", open_nifti),
    _DICOM,
    Kind("HDF5", HDF5_SUFFIXES, rb"\x89HDF\r\n\x1a\n", open_hdf5, packed=False),
    _ZARR,
)
JPEG_SUFFIXES, TIFF_SUFFIXES, DICOM_SUFFIXES = _JPEG.suffixes, _TIFF.suffixes, _DICOM.suffixes
_PLAIN = tuple(suffix for kind in KINDS for suffix in kind.suffixes)
SUFFIXES = (*_PLAIN, *(f"{suffix}.gz" for kind in KINDS if kind.packed for suffix in kind.suffixes))
"""Of files and folders that can be read, in lower case; some have two dots."""
ANNOTATION_SUFFIXES = (".json", ".xml", ".geojson")
"""Of files from which masks are drawn, in lower case."""
_NAMES = list(dict.fromkeys(kind.name for kind in KINDS))
READ = (
    f"{', '.join(_NAMES[:-1])} and {_NAMES[-1]} files are read, with names that end in {' '.join(_PLAIN)} (pictures, "
    "TIFF, NumPy and NIfTI files also with .gz behind)"
)


class _Unread(NamedTuple):
    """A kind of image that is not read: what it is for people, suffixes, and how it begins (as of `Kind`)."""

    name: str
    suffixes: tuple[str, ...] = ()
    start: bytes | None = None


_UNREAD = (
    _Unread("an HEIC image", (".heic", ".heif"), rb".{4}ftyp(heic|heix|hevc|mif1|msf1)"),
    _Unread("an AVIF image", (".avif",), rb".{4}ftyp(avif|avis)"),
    _Unread("a JPEG 2000 image", (".jp2", ".j2k", ".jpx"), rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"),
    _Unread("a JPEG XL image", (".jxl",), rb"\0\0\0\x0cJXL |\xff\x0a"),
    _Unread("a PDF", (".pdf",), rb"%PDF"),
    _Unread("a Photoshop file", (".psd",), rb"8BPS"),
    _Unread("a Zeiss CZI file", (".czi",), rb"ZISRAWFILE"),
    _Unread("a Nikon ND2 file", (".nd2",), rb"\xda\xce\xbe\x0a"),
    _Unread("an OpenEXR image", (".exr",), rb"\x76\x2f\x31\x01"),
    _Unread("a Radiance HDR image", (), rb"#\?(RADIANCE|RGBE)"),
    _Unread("an NRRD volume", (".nrrd",), rb"NRRD"),
    _Unread("a MetaImage volume", (".mha", ".mhd"), rb"ObjectType|NDims"),
    _Unread("an MRC volume", (".mrc",), rb".{208}MAP "),
    _Unread("a MATLAB file", (".mat",), rb"MATLAB "),
    _Unread("a pickle, which could run code", (), rb"\x80[\x02-\x05]"),
    _Unread("a web page, as a failed download leaves it", (), rb"\s*<(!doctype html|html)"),
    _Unread("a slide", (".svs", ".ndpi", ".mrxs", ".scn", ".qptiff", ".vsi")),
    _Unread("a microscope's file", (".lif", ".oib", ".oif")),
    _Unread("a raw photograph", (".raw", ".dng", ".cr2", ".nef")),
    _Unread("another image", (".dib", ".tga", ".jfif", ".jpe", ".svg", ".gz")),
)
_UNREAD_SUFFIXES = {suffix for kind in _UNREAD for suffix in kind.suffixes}


def find_kind(stored: Stored) -> Kind | None:
    """The kind of a file by its first bytes, or of a folder; None of one that is not read."""
    if stored.file is None:
        return _ZARR if is_zarr(stored.place) else _SERIES
    for kind in KINDS:
        if kind.start is not None and re.match(kind.start, stored.start, re.DOTALL):
            return kind if kind.packed or not stored.packed else None
    return None


def explain_unread(start: bytes, packed: bool = False) -> str:
    """Says why a file is not read, and what to do.

    Args:
        start: its first bytes, 1024 if it has so many.
        packed: whether they are unpacked.
    """
    if is_git_lfs_pointer(start):
        return FETCH_FROM_GIT_LFS
    found = (
        kind.name
        for kind in _UNREAD
        if kind.start is not None and re.match(kind.start, start, re.DOTALL | re.IGNORECASE)
    )
    what = "empty" if not start else next(found, "")
    if packed:
        what = f"compressed with gzip and {what or 'of an unknown kind within'}"
    return (
        f"is {what + ', ' if what else ''}not a PNG, JPEG or TIFF image, nor of another kind that is read; convert it "
        "to one of them"
    )


def is_jpeg(path: str | Path) -> bool:
    """Whether a file is a JPEG by its content or, where it cannot be opened, by its name."""
    return _begins_as(_JPEG, path, 3)


def is_dicom(path: str | Path) -> bool:
    """Whether a file is DICOM, as `is_jpeg`."""
    return _begins_as(_DICOM, path, 132)


def _begins_as(kind: Kind, path: str | Path, size: int) -> bool:
    assert kind.start is not None
    try:
        with Path(path).open("rb") as file:
            return re.match(kind.start, file.read(size), re.DOTALL) is not None
    except OSError:
        return str(path).lower().endswith(kind.suffixes)


def is_unread(path: str) -> bool:
    """Whether a file is an image by its suffix, of a kind that is not read."""
    return not path.lower().endswith(SUFFIXES) and os.path.splitext(path)[1].lower() in _UNREAD_SUFFIXES


def list_unread(paths: Iterable[Path]) -> list[Path]:
    """The files that are images by their suffix, of a kind that is not read."""
    return [path for path in paths if is_unread(path.name)]


def describe_files(paths: list[Path], shown: int = 3) -> str:
    """The number of files and their kinds: `12 files, such as scans/a.bmp (*.bmp 10, *.txt 2)`."""
    kinds = Counter(f"*{path.suffix.lower()}" if path.suffix else "no suffix" for path in paths).most_common(shown)
    number = f"{len(paths)} file{'s' * (len(paths) > 1)}, such as {paths[0]}"
    return f"{number} ({', '.join(f'{kind} {count}' for kind, count in kinds)})"
