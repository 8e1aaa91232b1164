"""Aperio ImageScope: regions of one image, as in MoNuSeg and MoNuSAC; a pixel is in a region if its centre is.

A region's label is the first that there is: the Name of its Annotation, the Value of an Attribute of that, the Name of
an Attribute but `Description`, the Text of the region, `region`.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from unet_exp.annotations.outlines import Points, Size, Wanted, clip_outline, cut_out, fill_centres, to_points
from unet_exp.annotations.painting import Shape
from unet_exp.annotations.plain import warn_once
from unet_exp.errors import DataError

_NO_LABEL = "region"
_AREAS = ("", "0", "1")
"""Types of regions that are closed outlines: drawn by hand, and rectangles."""


class _Region(NamedTuple):
    label: str
    points: Points
    layer: int
    negative: bool
    what: str


class ImageScope:
    """A parsed file, of one image.

    Attributes:
        names: None.
        labels: the number of regions of each label, those that are cut out left out.
    """

    names: list[str] | None = None

    def __init__(self, path: Path) -> None:
        self._path = path
        self.labels: Counter[str] = Counter()
        self._regions: list[_Region] = []
        self._left_out = 0
        self._layer = 0
        self._names: list[str] = []
        self._region: Mapping[str, str] | None = None
        self._vertices: list[float] = []
        self._pending: list[tuple[Mapping[str, str], Points, str]] = []

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """See `Handler`."""
        if tag == "Annotation":
            self._layer += 1
            self._names = [attributes.get("Name", "")]
        elif tag == "Attribute" and self._region is None:
            name = attributes.get("Name", "")
            self._names += [attributes.get("Value", ""), "" if name == "Description" else name]
        elif tag == "Region":
            self._region, self._vertices = attributes, []
        elif tag == "Vertex" and self._region is not None:
            try:
                place = float(attributes["X"]), float(attributes["Y"])
            except (KeyError, ValueError):
                place = math.nan, math.nan
            if not all(map(math.isfinite, place)):
                raise DataError(f"{self._name_region()}: a vertex without numbers X and Y; export it again")
            self._vertices += place

    def end(self, tag: str) -> None:
        """See `Handler`."""
        if tag == "Region" and self._region is not None:
            if self._region.get("Type", "") not in _AREAS:
                self._left_out += 1
            else:
                what = self._name_region()
                self._pending.append((self._region, to_points(np.array(self._vertices), what), what))
            self._region, self._vertices = None, []
        elif tag == "Annotation":
            self._add_regions()
        elif tag == "Annotations" and self._left_out:
            warn_once(
                f"{self._path}: regions that are no outlines (ellipses, arrows ...) are left out: {self._left_out}"
            )

    def shapes(self, wanted: Wanted) -> Iterator[Shape]:
        """See `Annotations`: negative regions are cut out of the others of their Annotation."""
        holes: dict[int, list[Shape]] = {}
        for region in self._regions:
            if region.negative:
                holes.setdefault(region.layer, []).append(_draw(region, wanted.size))
        for region in self._regions:
            if not region.negative:
                shape = _draw(region, wanted.size)
                for hole in holes.get(region.layer, ()):
                    cut_out(shape, hole)
                yield shape

    def _name_region(self) -> str:
        number = "" if self._region is None else self._region.get("Id", "")
        return f"{self._path}: region {number[:20] or len(self._regions) + len(self._pending) + 1}"

    def _add_regions(self) -> None:
        """Takes the regions of an Annotation, whose label may stand behind them."""
        for attributes, points, what in self._pending:
            names = [*self._names, attributes.get("Text", ""), _NO_LABEL]
            label = next(name.strip() for name in names if name.strip())
            negative = attributes.get("NegativeROA", "0") == "1"
            self._regions.append(_Region(label, points, self._layer, negative, what))
            self.labels[label] += not negative
        self._pending = []
        self.labels = +self.labels


def _draw(region: _Region, size: Size) -> Shape:
    return fill_centres(region.label, [clip_outline(region.points, size)], size, region.what)
