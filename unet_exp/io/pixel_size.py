"""How large a pixel is, as files declare it."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Self

from tifffile import TiffFile, TiffPage

from unet_exp.io.georeference import find_georeference
from unet_exp.io.tiff import find_orientation

UNITS = ("", "nm", "µm", "mm", "m")
"""Of lengths; those of an index are places among them."""
COARSEST = 20.0
"""Side of a pixel in µm above which a number of dots an inch is not believed: 1270 dots. Screens and printers have
fewer, and programs write theirs (72, 96, 300) into files of which they know nothing."""
_WORDS = {
    **dict.fromkeys(("å", "angstrom"), ("nm", 0.1)),
    **dict.fromkeys(("nm", "nanometer", "nanometre", "nanometers"), ("nm", 1.0)),
    **dict.fromkeys(("µm", "um", "μm", "\\u00b5m", "micron", "microns", "micrometer", "micrometre"), ("µm", 1.0)),
    **dict.fromkeys(("mm", "millimeter", "millimetre"), ("mm", 1.0)),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), ("mm", 10.0)),
    **dict.fromkeys(("m", "meter", "metre"), ("m", 1.0)),
}
"""Words of files, in lower case, with the unit and how many of it they are."""
_INCH, _CENTIMETER = 2, 3
_MICROMETERS = {_INCH: 25400.0, _CENTIMETER: 10000.0}
_ACROSS, _DOWN, _UNIT = 282, 283, 296
_DIGITS = 6


class PixelSize(NamedTuple):
    """Height and width of a pixel, and their unit, one of `UNITS`."""

    height: float
    width: float
    unit: str

    @classmethod
    def of(cls, height: float, width: float, unit: str) -> Self | None:
        """A size that a file declares; None where it can be none, or its unit is no length.

        Files hold it as a ratio or with few digits, so that six of them count.

        Args:
            height: of a pixel.
            width: of it.
            unit: a word of a file, such as `micron`.
        """
        name, factor = _WORDS.get(unit.strip().lower(), ("", 1.0))
        height, width = (float(f"{side * factor:.{_DIGITS}g}") for side in (height, width))
        return cls(height, width, name) if name and 0 < height < math.inf and 0 < width < math.inf else None

    def describe(self) -> str:
        """For people: `0.65 µm`, `0.5 x 0.7 µm` (height and width)."""
        sides = f"{self.height:g}" if self.height == self.width else f"{self.height:g} x {self.width:g}"
        return f"{sides} {self.unit}"


class Spacing(NamedTuple):
    """The distance of neighbours along the axes of a volume, by their letters, and its unit as files call it."""

    along: Mapping[str, float]
    unit: str

    def of_slices(self, rows: str, columns: str) -> PixelSize | None:
        """The pixels of slices whose rows and columns lie along these axes."""
        if rows not in self.along or columns not in self.along:
            return None
        return PixelSize.of(self.along[rows], self.along[columns], self.unit)


def find_common(sizes: Iterable[PixelSize | None]) -> PixelSize | None:
    """The size of all, where they have one."""
    found = set(sizes)
    return found.pop() if len(found) == 1 else None


def find_tiff_size(file: TiffFile, pages: Iterable[TiffPage]) -> PixelSize | None:
    """What a TIFF declares: of OME and ImageJ their unit, of a GeoTIFF in metres its scale, else its resolution.

    Args:
        file: opened.
        pages: those that are images; they must agree.
    """
    if file.is_ome and (found := _find_in_ome(str(file.ome_metadata))):
        return found
    word = str((file.imagej_metadata or {}).get("unit", "")) if file.is_imagej else ""
    return find_common(_find_of_page(page, word) for page in pages)


def _find_in_ome(text: str) -> PixelSize | None:
    """The size of the images of OME-XML, whose unit is µm unless it says another."""
    sizes = []
    for pixels in re.findall(r"<(?:\w+:)?Pixels\b[^>]*>", text):
        told = dict(re.findall(r"\b(PhysicalSize[XY](?:Unit)?)\s*=\s*[\"']([^\"']*)[\"']", pixels))
        units = {told.get(f"PhysicalSize{axis}Unit", "µm") for axis in "XY"}
        try:
            sides = float(told["PhysicalSizeY"]), float(told["PhysicalSizeX"])
        except (KeyError, ValueError):
            return None
        sizes.append(PixelSize.of(*sides, units.pop()) if len(units) == 1 else None)
    return find_common(sizes)


def _find_of_page(page: TiffPage, imagej: str) -> PixelSize | None:
    """The size of a page as it is seen; `imagej` is ImageJ's unit, which its resolution counts by."""
    place = find_georeference(page)
    if place is not None:
        return None if place.pixel_size is None else PixelSize.of(*place.pixel_size, "m")
    across, down = (_read_ratio(page, code) for code in (_ACROSS, _DOWN))
    if not across or not down:
        return None
    if imagej.lower() in _WORDS and _WORDS[imagej.lower()] != _WORDS["cm"]:
        found = PixelSize.of(1 / down, 1 / across, imagej)
    else:  # dots an inch or a centimetre
        unit = int(page.tags[_UNIT].value) if _UNIT in page.tags else _INCH
        side = _MICROMETERS.get(unit, 0.0)
        found = PixelSize.of(side / down, side / across, "µm")
        found = None if found is None or max(found[:2]) > COARSEST else found
    turned = found is not None and find_orientation(page).transposed
    return found._replace(height=found.width, width=found.height) if found and turned else found


def _read_ratio(page: TiffPage, code: int) -> float:
    """The value of a tag that holds a fraction; 0 for none."""
    value = page.tags[code].value if code in page.tags else None
    match value:
        case (int(above), int(below)) if below:
            return above / below
    return 0.0
