"""Writes files of the kinds that data sets come in."""

import gzip
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[Any]

VOC_PALETTE = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128, 128, 0, 128, 0, 128, 128, 128, 128, 128]
"""The first eight colours of the palette of Pascal VOC."""


def place(path: Path) -> Path:
    """Makes the folder of a path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def picture(path: Path, pixels: Array, palette: Sequence[int] | None = None, kind: str | None = None) -> None:
    """Writes a picture by Pillow.

    Args:
        path: of any suffix that Pillow writes, also with .gz behind it.
        pixels: (H, W) or (H, W, C); booleans become one bit.
        palette: red, green and blue of each index.
        kind: the format where the suffix does not say, or says another.
    """
    image = Image.fromarray(pixels)
    if palette is not None:
        image.putpalette(palette)
    held = io.BytesIO()
    name = path.name.removesuffix(".gz")
    image.save(held, kind or Image.registered_extensions()[Path(name).suffix.lower()], quality=90)
    data = held.getvalue()
    place(path).write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def tiff(path: Path, pixels: Array, **options: Any) -> None:
    """Writes a TIFF, of a stack one page a slice."""
    rgb = pixels.ndim > 2 and pixels.shape[-1] in (3, 4)
    tifffile.imwrite(place(path), pixels, photometric="rgb" if rgb else "minisblack", metadata=None, **options)


def text(path: Path, *lines: str) -> None:
    """Writes lines."""
    place(path).write_text("".join(f"{line}\n" for line in lines))


def as_json(path: Path, content: Any) -> None:
    """Writes JSON."""
    place(path).write_text(json.dumps(content))


def nifti(path: Path, volume: Array, spacing: Sequence[float] = (1, 1, 1), flips: Sequence[int] = (1, 1, 1)) -> None:
    """Writes a volume (Z, Y, X) or (Z, Y, X, C) as NIfTI, whose first axis is x.

    Args:
        path: ends in .nii or .nii.gz.
        volume: the array.
        spacing: mm along x, y and z.
        flips: 1 or -1 along x, y and z: whether the index rises to the right, to the front and to the head.
    """
    import nibabel

    turned = np.moveaxis(volume, (0, 1, 2), (2, 1, 0))
    affine = np.diag([*(size * flip for size, flip in zip(spacing, flips, strict=True)), 1.0])
    nibabel.save(nibabel.Nifti1Image(turned, affine), place(path))  # type: ignore[no-untyped-call]


def hdf5(path: Path, arrays: Mapping[str, Array], attributes: Mapping[str, Mapping[str, Any]] | None = None) -> None:
    """Writes arrays by their paths inside the file, and attributes of some."""
    import h5py

    with h5py.File(place(path), "w") as file:
        for name, array in arrays.items():
            made = file.create_dataset(name, data=array, compression="gzip")
            made.attrs.update((attributes or {}).get(name, {}))


def dicom(path: Path, pixels: Array, number: int, series: str, position: float = 0.0, intercept: int = 0) -> None:
    """Writes a slice (H, W) of 16 bits as DICOM.

    Args:
        path: of the file.
        pixels: stored values.
        number: of the instance.
        series: its UID.
        position: mm along the normal of the slices.
        intercept: added to stored values.
    """
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = UID(f"{series}.{number}")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    held = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    held.SOPClassUID, held.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    held.SeriesInstanceUID, held.InstanceNumber, held.Modality = series, number, "CT"
    held.Rows, held.Columns = pixels.shape
    held.SamplesPerPixel, held.PhotometricInterpretation = 1, "MONOCHROME2"
    held.BitsAllocated = held.BitsStored = 16
    held.HighBit, held.PixelRepresentation = 15, int(pixels.dtype.kind == "i")
    held.PixelSpacing = [1, 1]
    held.ImageOrientationPatient, held.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, position]
    held.RescaleSlope, held.RescaleIntercept = 1, intercept
    held.PixelData = pixels.tobytes()
    held.save_as(place(path), enforce_file_format=True)


def outline(mask: NDArray[np.bool_]) -> list[list[float]]:
    """The polygon (x, y) around the largest part of a mask (H, W), in pixels, a pixel's middle at a half."""
    import cv2

    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    contour = max(contours, key=len).reshape(-1, 2)
    return [[float(x) + 0.5, float(y) + 0.5] for x, y in contour]


def polygons(objects: Array) -> list[list[list[float]]]:
    """The polygons around the objects (H, W) of a scene that have an area."""
    found = [outline(objects == number) for number in np.unique(objects) if number]
    return [polygon for polygon in found if len(polygon) > 2]


def flatten(polygon: Sequence[Sequence[float]]) -> list[float]:
    """A polygon (x, y) as COCO has it: x1, y1, x2, y2 ..."""
    return [value for point in polygon for value in point]
