"""LabelMe (https://github.com/wkentaro/labelme): outlines in an image, drawn as its own `shape_to_mask` draws them."""

import base64
import math
from collections import Counter
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL.Image import new
from PIL.ImageDraw import Draw, ImageDraw
from PIL.PngImagePlugin import PngImageFile

from unet_exp.annotations.outlines import Points, Size, Wanted, bound, draw, join, require_size, to_pairs
from unet_exp.annotations.painting import Shape
from unet_exp.errors import DataError
from unet_exp.io.arrays import Array
from unet_exp.io.scene import explain_damage

_LINE_WIDTH, _POINT_RADIUS = 10, 5
"""Of labelme, in pixels."""
_FARTHEST = 100_000
"""Pixels from the image at which a corner of a box, a circle or a line may lie."""


class _Drawn(NamedTuple):
    label: str
    kind: str
    points: Points
    group: int | str | None
    mask: str | None


def is_labelme(plain: Any) -> bool:
    """Whether a file is of this format."""
    return isinstance(plain, dict) and "shapes" in plain and bool({"imagePath", "version"} & plain.keys())


class LabelMe:
    """A parsed file, of one image.

    Attributes:
        names: None.
        labels: the number of shapes of each label.
    """

    names: list[str] | None = None

    def __init__(self, path: Path, plain: dict[str, Any]) -> None:
        self._path = path
        shapes = plain["shapes"]
        if not isinstance(shapes, list):
            raise DataError(f"{path}: its shapes are not a list; save it again in labelme")
        self._size = plain.get("imageHeight"), plain.get("imageWidth")
        self._shapes = [self._read_shape(shape, number) for number, shape in enumerate(shapes, start=1)]
        self.labels = Counter(shape.label for shape in self._shapes)

    def shapes(self, wanted: Wanted) -> Iterator[Shape]:
        """See `Annotations`: shapes of one label and `group_id` are one."""
        require_size(self._path, self._size, wanted)
        groups: dict[Any, list[tuple[_Drawn, str]]] = {}
        for number, shape in enumerate(self._shapes, start=1):
            key = number if shape.group is None else (shape.label, shape.group)
            groups.setdefault(key, []).append((shape, f"{self._path}: shape {number}, {shape.label}"))
        for group in groups.values():
            yield join([_draw(shape, wanted.size, what) for shape, what in group])

    def _read_shape(self, shape: Any, number: int) -> _Drawn:
        what = f"{self._path}: shape {number}"
        if not isinstance(shape, dict) or not isinstance(shape.get("label"), str) or not shape["label"]:
            raise DataError(f"{what}: has no label; give it one in labelme")
        label, kind, group = shape["label"], str(shape.get("shape_type") or "polygon"), shape.get("group_id")
        if kind not in _NEEDED:
            raise DataError(f"{what}, {label}: is a {kind[:60]}; those that are drawn are {', '.join(_NEEDED)}")
        points = to_pairs(shape.get("points"), f"{what}, {label}")
        least, most = _NEEDED[kind]
        if not least <= len(points) <= most:
            wanted = least if least == most else f"{least} or more"
            raise DataError(
                f"{what}, {label}: a {kind} of {len(points)} points, and it needs {wanted}; correct or delete it"
            )
        packed = shape.get("mask")
        if kind == "mask" and not isinstance(packed, str):
            raise DataError(f"{what}, {label}: is a mask without pixels; delete it")
        if group is not None and type(group) not in (int, str):
            raise DataError(f"{what}, {label}: its group_id is no number; correct it")
        return _Drawn(label, kind, points, group, packed if kind == "mask" else None)


def _draw(shape: _Drawn, size: Size, what: str) -> Shape:
    if shape.kind in ("polygon", "oriented_rectangle"):
        return draw(shape.label, [shape.points], size, what, _fill_polygon)
    if np.abs(shape.points).max() > _FARTHEST + max(size):
        raise DataError(f"{what}: lies far outside the image; correct or delete it")
    return _draw_on(shape, size) if shape.mask is None else _read_mask(shape, shape.mask, size, what)


def _fill_polygon(outlines: list[Points], box: Size) -> Array:
    canvas = new("L", box[::-1])
    for points in outlines:
        Draw(canvas).polygon([(x, y) for x, y in points.tolist()], outline=1, fill=1)
    return np.array(canvas)


def _draw_on(shape: _Drawn, size: Size) -> Shape:
    """Draws all but polygons and masks."""
    paint, reach = _PAINTERS[shape.kind](shape.points)
    top, left, bottom, right = bound([shape.points - reach, shape.points + reach], size)
    if top >= bottom or left >= right:
        return Shape(shape.label, np.zeros((0, 0), bool), 0, 0)
    canvas = new("L", (right, bottom))
    paint(Draw(canvas))
    return Shape(shape.label, np.array(canvas)[top:, left:] != 0, top, left)


_Painter = tuple[Callable[[ImageDraw], None], float]
"""Draws, and how far beyond the points."""


def _paint_box(points: Points) -> _Painter:
    corners = [*points.min(axis=0).tolist(), *points.max(axis=0).tolist()]
    return lambda on: on.rectangle(corners, outline=1, fill=1), 1


def _paint_disc(centre: NDArray[np.float64], radius: float) -> _Painter:
    (x, y), reach = centre.tolist(), radius
    box = [x - reach, y - reach, x + reach, y + reach]
    return lambda on: on.ellipse(box, outline=1, fill=1), radius + 1


def _paint_circle(points: Points) -> _Painter:
    (x, y), (other_x, other_y) = points.tolist()
    return _paint_disc(points[0], math.sqrt((x - other_x) ** 2 + (y - other_y) ** 2))


def _paint_line(points: Points) -> _Painter:
    corners = [(x, y) for x, y in points.tolist()]
    return lambda on: on.line(corners, fill=1, width=_LINE_WIDTH), _LINE_WIDTH


_PAINTERS: dict[str, Callable[[Points], _Painter]] = {
    "rectangle": _paint_box,
    "circle": _paint_circle,
    "line": _paint_line,
    "linestrip": _paint_line,
    "point": lambda points: _paint_disc(points[0], _POINT_RADIUS),
}
_MANY = 10**9
_NEEDED = {
    "polygon": (3, _MANY),
    "rectangle": (2, 2),
    "circle": (2, 2),
    "line": (2, 2),
    "linestrip": (2, _MANY),
    "point": (1, 1),
    "mask": (1, _MANY),
    "oriented_rectangle": (4, 4),
}
"""The points of each kind: at least and at most."""


def _read_mask(shape: _Drawn, packed: str, size: Size, what: str) -> Shape:
    """The pixels of a mask, a PNG whose upper left corner is the first point."""
    with explain_damage(Path(what)):
        picture = PngImageFile(BytesIO(base64.b64decode(packed, validate=True)))
        if picture.height > size[0] + 1 or picture.width > size[1] + 1:
            raise DataError(f"{what}: its mask is larger than the image; delete it")
        mask = np.logical_or.reduce(np.atleast_3d(np.array(picture)), axis=2)
    left, top = shape.points[0].astype(int).tolist()
    return Shape(shape.label, mask, top, left)
