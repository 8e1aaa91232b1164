"""CVAT for images 1.1: outlines in many images, drawn as CVAT exports them as masks.

https://docs.cvat.ai/docs/manual/advanced/xml_format/. CVAT turns boxes and polygons into masks with pycocotools,
ellipses with OpenCV from rounded numbers, and paints by `z_order`.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from unet_exp.annotations.coco import draw_outlines
from unet_exp.annotations.outlines import Points, Size, Wanted, require_size, to_points
from unet_exp.annotations.painting import Shape
from unet_exp.annotations.plain import warn_once
from unet_exp.errors import DataError

_WITHOUT_AREA = ("polyline", "points", "skeleton", "cuboid")
_FARTHEST = 1e6
"""Numbers beyond it are no pixels."""


class _Found(NamedTuple):
    label: str
    order: int
    kind: str
    numbers: bytes
    line: int


class Cvat:
    """A parsed file.

    Attributes:
        names: of its images.
        labels: the number of shapes of each label.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.names: list[str] | None = []
        self.labels: Counter[str] = Counter()
        self._sizes: dict[str, Size] = {}
        self._shapes: dict[str, list[_Found]] = {}
        self._left_out: Counter[str] = Counter()
        self._name = ""
        self._inside = 0

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """See `Handler`."""
        if self._inside:
            self._inside += 1
        if tag == "track" and not self._name:
            raise DataError(f"{self._path}: is CVAT for video; export it as CVAT for images 1.1")
        if tag == "image" and not self._name:
            self._begin_image(attributes)
        elif self._inside == 2 and tag in _READERS:
            found = self._read(tag, attributes, len(self._shapes[self._name]) + 1)
            self._shapes[self._name].append(found)
            self.labels[found.label] += 1
        elif self._inside == 2 and tag in _WITHOUT_AREA:
            self._left_out[tag] += 1

    def end(self, tag: str) -> None:
        """See `Handler`."""
        self._inside = max(self._inside - 1, 0)
        if tag == "image" and not self._inside:
            self._name = ""
        if tag == "annotations" and self._left_out:
            kinds = ", ".join(f"{count} {kind}" for kind, count in self._left_out.items())
            warn_once(f"{self._path}: shapes without an area are left out: {kinds}")

    def shapes(self, wanted: Wanted) -> Iterator[Shape]:
        """See `Annotations`."""
        name = wanted.name
        if name is None or name not in self._shapes:
            raise DataError(f"{self._path}: lists no image {name}")
        require_size(self._path, self._sizes[name], wanted)
        for found in sorted(self._shapes[name], key=lambda found: found.order):
            yield _draw(found, wanted.size, f"{self._path}: {name}, shape {found.line}, {found.label}")

    def _begin_image(self, attributes: Mapping[str, str]) -> None:
        name = attributes.get("name", "")
        if not name:
            raise DataError(f"{self._path}: an image without a name; export it again")
        if name in self._shapes:
            raise DataError(f"{self._path}: lists the image {name} twice; export each job once")
        what = f"{self._path}: {name}"
        height, width = (int(_number(attributes, key, what)) for key in ("height", "width"))
        assert self.names is not None
        self.names.append(name)
        self._name, self._inside = name, 1
        self._sizes[name], self._shapes[name] = (height, width), []

    def _read(self, kind: str, attributes: Mapping[str, str], number: int) -> _Found:
        label = attributes.get("label", "")
        what = f"{self._path}: {self._name}, shape {number}"
        if not label:
            raise DataError(f"{what}: has no label; give it one in CVAT")
        order = int(_number(attributes, "z_order", what, "0"))
        numbers = _READERS[kind](attributes, what)
        return _Found(label, order, kind, numbers.tobytes(), number)


def _number(attributes: Mapping[str, str], key: str, what: str, default: str = "") -> float:
    try:
        value = float(attributes.get(key, default))
    except ValueError:
        value = math.nan
    if not abs(value) <= _FARTHEST:
        raise DataError(
            f"{what}: its {key} is {attributes.get(key, 'missing')[:60]!r}, no number of pixels; export it again"
        )
    return value


def _read_polygon(attributes: Mapping[str, str], what: str) -> Points:
    pairs = [point.split(",") for point in attributes.get("points", "").split(";") if point.strip()]
    try:
        return to_points([[float(part) for part in pair] for pair in pairs], what)
    except ValueError:
        raise DataError(f"{what}: points that are not pairs of numbers x, y; export it again") from None


def _read_mask(attributes: Mapping[str, str], what: str) -> Points:
    """Its left, top, width and height, and then its run lengths."""
    sides = [int(_number(attributes, key, what)) for key in ("left", "top", "width", "height")]
    try:
        counts = [int(count) for count in attributes.get("rle", "").split(",")]
    except ValueError:
        raise DataError(f"{what}: its rle is not a list of whole numbers; export it again") from None
    if min(sides[2:]) < 1 or min(counts) < 0 or sum(counts) != sides[2] * sides[3]:
        raise DataError(f"{what}: its rle is not that of its width and height; export it again")
    return np.array([*sides, *counts], np.float64)


def _read_numbers(attributes: Mapping[str, str], what: str, keys: tuple[str, ...]) -> Points:
    values = [_number(attributes, key, what) for key in keys]
    return np.array([*values, _number(attributes, "rotation", what, "0")])


_READERS: dict[str, Callable[[Mapping[str, str], str], Points]] = {
    "polygon": _read_polygon,
    "mask": _read_mask,
    "box": partial(_read_numbers, keys=("xtl", "ytl", "xbr", "ybr")),
    "ellipse": partial(_read_numbers, keys=("cx", "cy", "rx", "ry")),
}


def _draw(found: _Found, size: Size, what: str) -> Shape:
    numbers = np.frombuffer(found.numbers)
    if found.kind == "polygon":
        return draw_outlines(found.label, [numbers.reshape(-1, 2)], size, what)
    if found.kind == "mask":
        left, top, width, height = numbers[:4].astype(int).tolist()
        if height > size[0] or width > size[1]:
            raise DataError(f"{what}: its mask is larger than the image; export it again")
        counts = numbers[4:].astype(np.int64)
        mask = np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(height, width)
        return Shape(found.label, mask, top, left)
    if found.kind == "ellipse":
        return _draw_ellipse(found.label, numbers.tolist(), size)
    left, top, right, bottom, rotation = numbers.tolist()
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    if rotation:
        angle, centre = math.radians(rotation), np.array([left + (right - left) / 2, top + (bottom - top) / 2])
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        corners = (corners - centre) @ turn.T + centre
    return draw_outlines(found.label, [corners], size, what)


def _draw_ellipse(label: str, numbers: list[float], size: Size) -> Shape:
    """As CVAT does, in the part of the image where it may lie."""
    x, y, half_width, half_height = (round(number) for number in numbers[:4])
    reach = abs(half_width) + abs(half_height) + 2
    left, top = (min(max(at - reach, 0), side) for at, side in ((x, size[1]), (y, size[0])))
    right, bottom = (min(max(at + reach, 0), side) for at, side in ((x, size[1]), (y, size[0])))
    mask = np.zeros((max(bottom - top, 0), max(right - left, 0)), np.uint8)
    if mask.size:
        axes = abs(half_width), abs(half_height)
        cv2.ellipse(mask, (x - left, y - top), axes, numbers[4], 0, 360, 1, thickness=-1)
    return Shape(label, mask.astype(bool), top, left)
