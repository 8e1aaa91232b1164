"""Image files out: PNG (imagecodecs) and TIFF (tifffile), whole or not at all."""

from collections.abc import Sequence
from pathlib import Path

import imagecodecs
import numpy as np
from tifffile import TiffWriter

from unet_exp.errors import DataError
from unet_exp.files import write_whole
from unet_exp.io.arrays import Array
from unet_exp.io.scene import DTYPES

WRITE_SUFFIXES = (".png", ".tif", ".tiff")

_CHANNELS = ((), (1,), (3,), (4,))


def write_image(path: str | Path, array: Array) -> None:
    """Writes one image; see `write_pages`."""
    write_pages(path, [array])


def write_pages(path: str | Path, pages: Sequence[Array]) -> None:
    """Writes images as the pages of one file, without loss; the file appears whole or not at all.

    Args:
        path: ends in .png, .tif or .tiff; its folder exists.
        pages: each (H, W) or (H, W, C), C 1, 3 (RGB) or 4 (RGBA); uint8, uint16, or (TIFF only) float32.

    Raises:
        DataError: for another suffix, several pages or float32 in a PNG, or where the file cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in WRITE_SUFFIXES:
        raise DataError(f"{path}: cannot write this kind of file; end its name in one of {' '.join(WRITE_SUFFIXES)}")
    for page in pages:
        if page.ndim < 2 or not page.size or page.shape[2:] not in _CHANNELS or page.dtype not in DTYPES:
            raise ValueError(f"cannot store {page.dtype} of shape {page.shape} as an image")
    if suffix == ".png" and (len(pages) > 1 or pages[0].dtype == np.float32):
        raise DataError(f"{path}: a PNG holds one page, and no float32 pixels; end its name in .tif")
    # Copies: a view of one pixel counts as contiguous whatever its strides, and imagecodecs refuses them.
    stored = [np.array(page[:, :, 0] if page.shape[2:] == (1,) else page, order="C") for page in pages]
    try:
        with write_whole(path) as side:
            if suffix == ".png":
                side.write_bytes(imagecodecs.png_encode(stored[0], level=1))
            else:
                with TiffWriter(side, bigtiff=sum(page.nbytes for page in stored) > 2**31) as tiff:
                    for page in stored:
                        colours = "rgb" if page.ndim == 3 else "minisblack"
                        tiff.write(page, photometric=colours, planarconfig="contig", compression="zlib", metadata=None)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error}); choose another place") from None


def make_output_folder(folder: Path) -> None:
    """Makes the folder of the key `output`, and its parents.

    Raises:
        DataError: if it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"output={folder}: this folder cannot be made ({error.strerror}); choose another") from None
