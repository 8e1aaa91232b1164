"""Headers of DICOM files, by pydicom: all but the pixels, checked, and where the pixels begin."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from unet_exp.errors import DataError
from unet_exp.io.scene import quote

WHITE, PALETTE = "MONOCHROME1", "PALETTE COLOR"
GREYS = ("MONOCHROME2", WHITE)
"""What values may mean; see PS3.3 C.7.6.3.1.2."""

_TAGS = [
    *("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "SpecificCharacterSet"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "PixelPaddingValue"),
    *("RedPaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData", "PaletteColorLookupTableUID"),
    *("GreenPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableData"),
    *("BluePaletteColorLookupTableDescriptor", "BluePaletteColorLookupTableData"),
    *("SegmentedRedPaletteColorLookupTableData", "SegmentedGreenPaletteColorLookupTableData"),
    *("SegmentedBluePaletteColorLookupTableData", "AlphaPaletteColorLookupTableDescriptor"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("SOPClassUID", "Modality", "SeriesInstanceUID", "SeriesDescription", "SeriesNumber", "InstanceNumber"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "ImagerPixelSpacing"),
]
_SEGMENTATION = "a DICOM segmentation, whose frames name slices and segments of their own"
_UNREAD = {
    "1.2.840.10008.5.1.4.1.1.66.4": _SEGMENTATION,
    "1.2.840.10008.5.1.4.1.1.66.7": _SEGMENTATION,
    "1.2.840.10008.5.1.4.1.1.77.1.6": "a DICOM slide, whose frames are tiles",
}
_OUTLINES = "1.2.840.10008.5.1.4.1.1.481.3", "RTSTRUCT"
"""The kind of files of outlines, and what those of another kind call themselves."""
_IMAGE = "Image Storage"
"""In the names of kinds that hold pixels."""
_DEFLATED = "1.2.840.10008.1.2.1.99"
_LITTLE_ENDIAN = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")
_PIXEL_DATA, _ELEMENT = (0x7FE0, 0x0010), 12
"""The tag of pixels, and the bytes before them of an element that names its type."""


class Rescale(NamedTuple):
    """What makes values of those stored."""

    slope: float = 1.0
    intercept: float = 0.0


@dataclass
class DicomFile:
    """A DICOM file of one frame or several.

    Attributes:
        place: on the disk.
        header: all but its pixels.
        native: bytes before its pixels, where they can be mapped; None where pydicom decodes them.
    """

    place: Path
    header: Any
    native: int | None

    @property
    def frames(self) -> int:
        """How many it has."""
        return int(self.header.get("NumberOfFrames") or 1)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return int(self.header.Rows), int(self.header.Columns)

    @property
    def samples(self) -> int:
        """Values of a pixel as stored."""
        return int(self.header.get("SamplesPerPixel") or 1)

    @property
    def photometric(self) -> str:
        """What the values mean."""
        return quote(self.header.PhotometricInterpretation)

    @property
    def stored_type(self) -> np.dtype[Any]:
        """Of the values in the file."""
        kind = "i" if self.header.PixelRepresentation else "u"
        return np.dtype(f"<{kind}{max(1, int(self.header.BitsAllocated) // 8)}")

    @property
    def limits(self) -> tuple[int, int]:
        """The least and the largest value that can be stored."""
        bits = int(self.header.BitsStored)
        return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if self.header.PixelRepresentation else (0, 2**bits - 1)

    @property
    def spacing(self) -> tuple[float, float] | None:
        """Height and width of a pixel in mm: of the patient, else of the detector (PS3.3 10.7); None where unknown."""
        groups = self.header.get("SharedFunctionalGroupsSequence") or ()
        measures = [found for group in groups for found in group.get("PixelMeasuresSequence") or ()]
        for part in [*measures, self.header]:
            for word in ("PixelSpacing", "ImagerPixelSpacing"):
                value: Any = part.get(word)
                if value is not None and len(value) == 2:
                    return float(value[0]), float(value[1])
        return None

    def rescale(self, frame: int) -> Rescale:
        """That of a frame: its own, that of all frames, or that of the file."""
        own = self.header.get("PerFrameFunctionalGroupsSequence") or ()
        groups = [own[frame]] if frame < len(own) else []
        for group in [*groups, *(self.header.get("SharedFunctionalGroupsSequence") or ())]:
            for found in group.get("PixelValueTransformationSequence") or ():
                return _read_rescale(found)
        return _read_rescale(self.header)


def read_header(pydicom: Any, path: Path, place: Path, images: bool = True) -> DicomFile:
    """Reads all but the pixels of a file.

    Args:
        pydicom: the library, with `pydicom.pixels`.
        path: for messages.
        place: of the file.
        images: whether it must have pixels; without any, the header is empty.

    Raises:
        DataError: for a kind of DICOM that is not read.
        Exception: those of pydicom for a damaged file, and a ValueError where pixels are missing.
    """
    meta = pydicom.filereader.read_file_meta_info(place)
    syntax = meta.TransferSyntaxUID
    if syntax == _DEFLATED:  # pydicom unpacks it whatever its size
        raise DataError(f"{path}: is a deflated DICOM file, which is not read; unpack it, as dcmconv +te does")
    with place.open("rb") as stream:
        header = pydicom.dcmread(stream, specific_tags=_TAGS, stop_before_pixels=True)
        start = stream.read(_ELEMENT)  # of the pixels, if there are any
        tell = stream.tell()
    kind = pydicom.uid.UID(str(meta.get("MediaStorageSOPClassUID") or header.get("SOPClassUID")))
    if what := _UNREAD.get(kind):
        raise DataError(f"{path}: is {what}; convert it to NIfTI or TIFF")
    order: Literal["little", "big"] = "little" if syntax.is_little_endian else "big"
    if "Rows" not in header or start[:4] != b"".join(part.to_bytes(2, order) for part in _PIXEL_DATA):
        outlines = kind in _OUTLINES or header.get("Modality") in _OUTLINES
        if _IMAGE in kind.name and not outlines:
            raise ValueError("it ends before its pixels")
        if not images:
            return DicomFile(place, pydicom.Dataset(), None)
        if outlines:
            raise DataError(
                f"{path}: holds outlines (RTSTRUCT) and no pixels; draw them into NIfTI masks, as dcmrtstruct2nii does"
            )
        raise DataError(f"{path}: holds no pixels (it is of the kind {quote(kind.name)}); give the images themselves")
    file = DicomFile(place, header, None)
    _check_header(path, file)
    if syntax.is_encapsulated:
        _check_decoder(pydicom, path, syntax)
        return file
    offset = tell - 4 * bool(syntax.is_implicit_VR)  # without a word for the type and another without meaning
    length = int.from_bytes(start[4:8] if syntax.is_implicit_VR else start[8:12], order)
    needed = _count_bytes(file)
    if length < needed or offset + needed > place.stat().st_size:
        raise ValueError("some of its pixels are missing")
    plain = file.samples == 1 and header.BitsAllocated in (8, 16, 32) and syntax in _LITTLE_ENDIAN
    return DicomFile(place, header, offset) if plain else file


def _count_bytes(file: DicomFile) -> int:
    """Bytes of the pixels of a file that is not compressed."""
    pixels = file.frames * math.prod(file.size) * file.samples
    needed = -(-pixels * int(file.header.BitsAllocated) // 8)
    return needed * 2 // 3 if file.photometric == "YBR_FULL_422" else needed


def _check_header(path: Path, file: DicomFile) -> None:
    header = file.header
    allocated, bits = int(header.BitsAllocated), int(header.BitsStored)
    if not 1 <= bits <= allocated <= 32 or not math.prod(file.size) > 0 or file.frames < 1:
        raise ValueError(f"{header.Columns} x {header.Rows} pixels of {bits} bits in {allocated}")
    if int(header.get("HighBit", bits - 1)) != bits - 1:
        raise DataError(f"{path}: its values do not begin at the lowest bit, which is not read; export it again")
    colours = file.photometric in ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
    if (not colours and file.photometric not in (*GREYS, PALETTE)) or (3 if colours else 1) != file.samples:
        raise DataError(f"{path}: its colours are {file.photometric}, not grey, RGB or a palette; export it")


def _check_decoder(pydicom: Any, path: Path, syntax: Any) -> None:
    try:
        known = pydicom.pixels.get_decoder(syntax).is_available
    except NotImplementedError:
        known = False
    if not known:
        raise DataError(
            f"{path}: is compressed as {quote(syntax.name)}, which pydicom and Pillow do not decode; unpack it, as "
            "gdcmconv --raw does, or type pip install pylibjpeg pylibjpeg-libjpeg"
        )


def _read_rescale(header: Any) -> Rescale:
    slope, intercept = header.get("RescaleSlope"), header.get("RescaleIntercept")
    found = Rescale(1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept))
    if not all(map(math.isfinite, found)):
        raise ValueError(f"a rescale of {found.slope} and {found.intercept}")
    return found
