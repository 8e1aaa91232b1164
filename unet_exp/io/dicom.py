"""DICOM images, by pydicom: a file of one frame or several, or a folder of one series, sorted by where slices lie.

Greys are rescaled (PS3.3 C.11.1: value x slope + intercept) and, where white is at 0 (MONOCHROME1), inverted; palettes
and YBR become colours.
"""

import logging
import math
import os
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unet_exp.errors import DataError
from unet_exp.io.arrays import Array
from unet_exp.io.dicom_header import GREYS, PALETTE, WHITE, DicomFile, read_header
from unet_exp.io.directions import NOWHERE, Directions
from unet_exp.io.pixel_size import Spacing
from unet_exp.io.scene import OpenImages, Reading, explain_damage, quote
from unet_exp.io.stored import Stored, import_reader
from unet_exp.io.valid import Declared
from unet_exp.io.volumes import Key, Volume

_START, _DICM = 128, b"DICM"
_MOST = 2**16 - 1  # of 16 bits


def open_dicom(stored: Stored, reading: Reading) -> OpenImages:
    """Opens a file of one frame or several.

    Raises:
        DataError: for a kind of DICOM that is not read.
        Exception: those of pydicom for a damaged file.
    """
    pydicom = _import(stored)
    return _open_files(pydicom, stored, [read_header(pydicom, stored.path, stored.place)], reading)


def open_series(stored: Stored, reading: Reading) -> OpenImages:
    """Opens a folder of one series; files in it that are no DICOM images are left out.

    Raises:
        DataError: for no or several series, and as `open_dicom` does.
        Exception: likewise.
    """
    places = sorted(Path(entry.path) for entry in os.scandir(stored.place) if entry.name[0] != "." and entry.is_file())
    places = [place for place in places if _is_dicom(place)]
    if not places:
        raise DataError(f"{stored.path}: is a folder, and neither a Zarr nor a DICOM series; check the path")
    pydicom = _import(stored)
    files = [file for place in places if (file := _read_image(pydicom, place)) is not None]
    if not files:
        raise DataError(f"{stored.path}: its {len(places)} DICOM files hold no images; check the path")
    series = Counter(str(file.header.get("SeriesInstanceUID")) for file in files)
    if len(series) > 1:
        raise DataError(_explain_series(stored.path, files, series))
    first = files[0]
    for file in files:
        if (file.size, file.samples, file.photometric) != (first.size, first.samples, first.photometric):
            raise DataError(
                f"{stored.path}: {file.place.name} is {file.size[1]} x {file.size[0]} pixels in {file.photometric} and "
                f"{first.place.name} {first.size[1]} x {first.size[0]} in {first.photometric}; move them apart"
            )
    return _open_files(pydicom, stored, _sort_slices(stored.path, files), reading)


def _import(stored: Stored) -> Any:
    pydicom = import_reader(stored.path, "pydicom", "DICOM", "dicom")
    import_reader(stored.path, "pydicom.pixels", "DICOM", "dicom")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)  # what it says becomes a DataError, or is mended
    warnings.filterwarnings("ignore", module=r"pydicom\.")
    return pydicom


def _is_dicom(place: Path) -> bool:
    """Whether a file of a folder is DICOM; a DataError for one that was and is damaged."""
    with place.open("rb") as file:
        start = file.read(_START + 4)
    if not start or (place.suffix.lower() == ".dcm" and start[_START:] != _DICM):
        what = "is no DICOM file" if start else "is empty"
        raise DataError(f"{place}: {what}; copy the series again, or take the file out of its folder")
    return start[_START:] == _DICM


def _read_image(pydicom: Any, place: Path) -> DicomFile | None:
    """Reads the header of a file of a folder; None of one without pixels, such as a report."""
    with explain_damage(place):
        file = read_header(pydicom, place, place, images=False)
    return file if "Rows" in file.header else None


def _explain_series(path: Path, files: Sequence[DicomFile], series: Counter[str]) -> str:
    """The message for a folder of several series."""
    firsts = {str(file.header.get("SeriesInstanceUID")): file.header for file in reversed(files)}
    told = [
        f"{quote(first.get('SeriesNumber', '?'))} '{quote(first.get('SeriesDescription', uid))}' ({count} files)"
        for uid, count in series.most_common(4)
        for first in (firsts[uid],)
    ]
    listed = ", ".join(told) + ", ..." * (len(series) > 4)
    return f"{path}: holds {len(series)} DICOM series: {listed}; move each into a folder of its own"


def _sort_slices(path: Path, files: list[DicomFile]) -> list[DicomFile]:
    """Sorts the files of a series along the normal of their slices, or else by their number."""
    if len(files) == 1:
        return files
    places = _find_places(files)
    if places is None or len(set(places)) < len(files):
        numbers = [file.header.get("InstanceNumber") for file in files]
        if None in numbers or len(set(numbers)) < len(files):
            raise DataError(
                f"{path}: neither the positions nor the numbers of its {len(files)} slices tell their order; move each "
                "volume into a folder of its own"
            )
        places = [float(number) for number in numbers]
    return [files[place] for place in np.argsort(places, kind="stable").tolist()]


def _find_places(files: Sequence[DicomFile]) -> list[float] | None:
    """Where slices lie along the normal of their plane, in mm; None where they do not say, or are not parallel."""
    try:
        turned = np.array([file.header.ImageOrientationPatient for file in files], float).reshape(-1, 2, 3)
        positions = np.array([file.header.ImagePositionPatient for file in files], float).reshape(-1, 3)
    except (AttributeError, TypeError, ValueError):
        return None
    if not np.allclose(turned, turned[:1], atol=1e-3) or not np.isfinite(positions).all():
        return None
    along: list[float] = np.round(positions @ np.cross(*turned[0]), 4).tolist()
    return along


def _open_files(pydicom: Any, stored: Stored, files: list[DicomFile], reading: Reading) -> OpenImages:
    values = _Slices(pydicom, files, reading)
    axes = "zyx"[3 - len(values.shape) :] if values.channels == 1 else ("zyxc" if values.slices > 1 else "yxc")
    by_window = all(file.native is not None for file in files)
    return Volume(
        stored.path,
        reading,
        values,
        axes,
        by_window=by_window,
        declared=values.declared,
        directions=_find_directions(files),
        spacing=_find_spacing(files),
    )


def _find_spacing(files: Sequence[DicomFile]) -> Spacing | None:
    """The size of pixels in which sorted files agree, and the distance of slices where it is one."""
    sizes = {file.spacing for file in files}
    size = sizes.pop() if len(sizes) == 1 else None
    if size is None:
        return None
    along = dict(zip("yx", size, strict=True))
    places = _find_places(files) if len(files) > 1 else None
    steps = None if places is None else np.abs(np.diff(places))
    if steps is not None and np.allclose(steps, steps[0], rtol=1e-3):
        along["z"] = float(steps[0])
    return Spacing(along, "mm")


def _find_directions(files: Sequence[DicomFile]) -> Directions:
    """What sorted files say of their axes; they have the axes left, back and head (PS3.3 C.7.6.2.1.1)."""
    try:
        turned = np.array(files[0].header.ImageOrientationPatient, float).reshape(2, 3)
        ends = np.array([file.header.ImagePositionPatient for file in (files[0], files[-1])], float).reshape(2, 3)
    except (AttributeError, TypeError, ValueError):
        return NOWHERE
    normal = np.cross(*turned)
    axes = (*turned, normal * np.sign((ends[1] - ends[0]) @ normal))
    return Directions.of([axis * (-1, -1, 1) for axis in axes])


class _Slices:
    """The frames of files, one behind another, as values of one type.

    Attributes:
        shape: (slices, H, W, C); without slices if there is one, and without C if there is one.
        dtype: of the values.
        declared: the value of pixels that only fill the image.
    """

    def __init__(self, pydicom: Any, files: Sequence[DicomFile], reading: Reading) -> None:
        self._pydicom, self._reading = pydicom, reading
        self._frames = [(file, frame) for file in files for frame in range(file.frames)]
        self._kept: tuple[int, Array] | None = None
        self.slices = len(self._frames)
        # One frame for each way to rescale.
        self._examples = list(
            {(file.place, file.rescale(frame)): (file, frame) for file, frame in self._frames}.values()
        )
        ends = [self._convert(file, frame, np.array([file.limits], file.stored_type)) for file, frame in self._examples]
        self.dtype = np.result_type(*{end.dtype for end in ends})
        self.channels = 3 if ends[0].ndim == 3 or files[0].samples == 3 else 1
        self.shape = (self.slices,) * (self.slices > 1) + files[0].size + (3,) * (self.channels == 3)
        self.declared = self._find_padding()

    def __getitem__(self, key: Key) -> Array:
        if self.slices == 1:
            return self._read(0, key)
        place, *rest = key
        if isinstance(place, int):
            return self._read(place, tuple(rest))
        return np.stack([self._read(one, tuple(rest)) for one in range(*place.indices(self.slices))])

    def _read(self, place: int, key: Key) -> Array:
        """Reads a part of a slice."""
        file, frame = self._frames[place]
        if file.native is None:
            return self._decode(place)[key].astype(self.dtype)
        shape, dtype = file.size, file.stored_type
        with file.place.open("rb") as stream:
            offset = file.native + frame * math.prod(shape) * dtype.itemsize
            raw = np.array(np.memmap(stream, dtype, "r", offset, shape)[key[:2]])
        spare = 8 * dtype.itemsize - int(file.header.BitsStored)  # bits that may hold anything
        converted = self._convert(file, frame, (raw << spare) >> spare if spare else raw)
        return converted[(..., *key[2:])].astype(self.dtype)

    def _decode(self, place: int) -> Array:
        """Decodes a slice, which is kept for its next part."""
        file, frame = self._frames[place]
        if self._kept is None or self._kept[0] != place:
            raw = self._pydicom.pixels.pixel_array(file.place, index=frame)
            if raw.shape[:2] != file.size:
                raise ValueError(f"a frame of shape {raw.shape}")
            self._kept = place, self._convert(file, frame, raw)
        return self._kept[1]

    def _convert(self, file: DicomFile, frame: int, raw: Array) -> Array:
        """Turns stored values (H, W) into greys (H, W) or colours (H, W, 3)."""
        header, label = file.header, self._reading.label
        if file.photometric == PALETTE:
            if self._reading.indices:
                return raw
            colours: Array = self._pydicom.pixels.apply_color_lut(raw, header)[..., :3]
            return colours
        if file.photometric not in GREYS:
            return raw
        least, most = file.limits
        if file.photometric == WHITE and not label:
            raw = (least + most - raw.astype(np.int64)).astype(raw.dtype)
        if int(header.BitsAllocated) == 1:
            return raw.astype(np.uint8) * np.uint8(255)
        if header.get("ModalityLUTSequence"):
            looked: Array = self._pydicom.pixels.apply_modality_lut(raw, header)
            return looked
        slope, intercept = file.rescale(frame)
        ends = sorted((least * slope + intercept, most * slope + intercept))
        if (slope, intercept) == (1, 0) and (label or least >= 0) and raw.dtype.itemsize < 4:
            return raw
        whole = slope == int(slope) and intercept == int(intercept)
        scaled: Array = raw * np.float64(slope) + np.float64(intercept)
        if whole and label:
            return scaled.astype(np.int64)
        return scaled.astype(np.uint16 if whole and ends[0] >= 0 and ends[1] <= _MOST else np.float32)

    def _find_padding(self) -> Declared | None:
        """What files say of pixels that hold nothing, if they all say the same."""
        found = set()
        for file, frame in self._examples:
            value = file.header.get("PixelPaddingValue")
            if not isinstance(value, int) or file.photometric not in GREYS:
                return None
            signed = value - 2**16 if file.header.PixelRepresentation and value > file.limits[1] else value
            found.add(float(self._convert(file, frame, np.array([[signed]], file.stored_type))[0, 0]))
        return Declared(found.pop()) if len(found) == 1 else None
