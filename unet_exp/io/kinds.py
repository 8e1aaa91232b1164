"""Kinds of files: those that are read, and the names of others for messages."""

import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from unet_exp.files import FETCH_FROM_GIT_LFS, is_git_lfs_pointer

JPEG_SUFFIXES = (".jpg", ".jpeg")
TIFF_SUFFIXES = (".tif", ".tiff", ".stk", ".lsm")
SUFFIXES = (".png", *JPEG_SUFFIXES, *TIFF_SUFFIXES, ".npy")
"""Of files that can be read, in lower case."""
ANNOTATION_SUFFIXES = (".json", ".xml", ".geojson")
"""Of files from which masks are drawn, in lower case."""
READ = f"PNG, JPEG, TIFF and NumPy files are read, with names that end in {' '.join(SUFFIXES)}"

_OTHER_IMAGES = {
    *(".bmp", ".dib", ".gif", ".webp", ".avif", ".heic", ".heif", ".jp2", ".j2k", ".jxl", ".pbm", ".pgm", ".ppm"),
    *(".pnm", ".tga", ".exr", ".hdr", ".dcm", ".nii", ".nrrd", ".mha", ".mhd", ".mrc", ".h5", ".hdf5", ".zarr", ".npz"),
    *(".czi", ".lif", ".nd2", ".oib", ".oif", ".vsi", ".svs", ".ndpi", ".mrxs", ".scn", ".qptiff"),
    *(".jfif", ".jpe", ".jpx", ".psd", ".pdf", ".svg", ".raw", ".dng", ".cr2", ".nef", ".mat", ".gz"),
}
"""Suffixes of images, and of what holds images, that are not read."""
_STARTS = (
    (rb"GIF8[79]a", "a GIF image"),
    (rb"BM.{4}\0\0\0\0", "a BMP image"),
    (rb"RIFF.{4}WEBP", "a WebP image"),
    (rb".{4}ftyp(heic|heix|hevc|mif1|msf1)", "an HEIC image"),
    (rb".{4}ftyp(avif|avis)", "an AVIF image"),
    (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (rb"\0\0\0\x0cJXL |\xff\x0a", "a JPEG XL image"),
    (rb"P[1-6]\s", "a PNM image"),
    (rb".{128}DICM", "a DICOM file"),
    (rb"\x89HDF\r\n", "an HDF5 file"),
    (rb"(\x5c\x01\0\0|\0\0\x01\x5c)", "a NIfTI file"),
    (rb"\x1f\x8b", "compressed with gzip"),
    (rb"PK\x03\x04", "a zip archive"),
    (rb"%PDF", "a PDF"),
    (rb"8BPS", "a Photoshop file"),
    (rb"\s*<(!doctype html|html)", "a web page, as a failed download leaves it"),
)


def explain_unread(start: bytes) -> str:
    """Says why a file is not read, and what to do.

    Args:
        start: its first bytes, 132 at least if it has so many.
    """
    if is_git_lfs_pointer(start):
        return FETCH_FROM_GIT_LFS
    found = (what for pattern, what in _STARTS if re.match(pattern, start, re.DOTALL | re.IGNORECASE))
    what = "empty" if not start else next(found, "")
    return (
        f"is {what + ', ' if what else ''}not a PNG, JPEG or TIFF image, nor a NumPy array; convert it to one of them"
    )


def is_jpeg(path: str | Path) -> bool:
    """Whether a file is a JPEG by its content or, where it cannot be opened, by its name."""
    try:
        with Path(path).open("rb") as file:
            return file.read(3) == b"\xff\xd8\xff"
    except OSError:
        return str(path).lower().endswith(JPEG_SUFFIXES)


def is_unread(path: str) -> bool:
    """Whether a file is an image by its suffix, of a kind that is not read."""
    return os.path.splitext(path)[1].lower() in _OTHER_IMAGES


def list_unread(paths: Iterable[Path]) -> list[Path]:
    """The files that are images by their suffix, of a kind that is not read."""
    return [path for path in paths if is_unread(path.name)]


def describe_files(paths: list[Path], shown: int = 3) -> str:
    """The number of files and their kinds: `12 files, such as scans/a.bmp (*.bmp 10, *.txt 2)`."""
    kinds = Counter(f"*{path.suffix.lower()}" if path.suffix else "no suffix" for path in paths).most_common(shown)
    number = f"{len(paths)} file{'s' * (len(paths) > 1)}, such as {paths[0]}"
    return f"{number} ({', '.join(f'{kind} {count}' for kind, count in kinds)})"
