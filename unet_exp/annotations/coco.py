"""COCO: outlines and run lengths of objects in many images, drawn as pycocotools draws them.

https://cocodataset.org/#format-data. While a file is read, its text and what was packed of it are in memory, together
about two and a half times its size; then arrays of about its size, 8 bytes for a coordinate, which forked processes
share.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unet_exp.annotations.outlines import Points, Size, Wanted, draw, require_size, to_points
from unet_exp.annotations.painting import Shape
from unet_exp.errors import DataError
from unet_exp.extras import hint_extra
from unet_exp.io.arrays import Array

_POLYGON, _COUNTS, _TEXT = range(3)
"""Kinds of parts: corners, run lengths, and run lengths as pycocotools packs them."""


class Part(NamedTuple):
    """A part of an object: its kind, the bytes of its numbers or letters, and of run lengths the height and width."""

    kind: int
    packed: bytes
    size: Size = (0, 0)


class _Record(NamedTuple):
    """An annotation as it is read."""

    number: Any
    image: Any
    category: Any
    crowd: bool
    parts: list[Part] | str


def compact(found: dict[str, Any]) -> Any:
    """Packs an annotation of COCO; gives back anything else.

    Of an outline that cannot be packed, the reason is kept instead.
    """
    if not {"image_id", "category_id", "id"} <= found.keys() or "segments_info" in found:
        return found
    parts: list[Part] | str
    try:
        parts = _pack(found.get("segmentation"))
    except DataError as error:
        parts = str(error)
    return _Record(found["id"], found["image_id"], found["category_id"], found.get("iscrowd") in (1, True), parts)


def is_coco(plain: Any) -> bool:
    """Whether a file is of this format."""
    return isinstance(plain, dict) and {"images", "annotations"} <= plain.keys()


class Coco:
    """A parsed file.

    Attributes:
        names: `file_name` of each image.
        labels: the number of objects of each category, crowds left out.
    """

    def __init__(self, path: Path, plain: dict[str, Any]) -> None:
        self._path = path
        images = [self._require_image(image) for image in self._list(plain, "images")]
        self.names: list[str] | None = [image["file_name"] for image in images]
        self._refuse_twice("file_name", self.names)
        self._refuse_twice("id of images", [image["id"] for image in images])
        self._places = {name: place for place, name in enumerate(self.names)}
        self._sizes = [(image.get("height"), image.get("width")) for image in images]
        categories = self._read_categories(self._list(plain, "categories"))
        self._categories = list(categories.values())
        records = self._list(plain, "annotations")
        self._check_records(records)
        self._columns(records, {image["id"]: place for place, image in enumerate(images)}, list(categories))
        numbers = Counter(self._category[~self._crowd].tolist())
        self.labels: Counter[str] = Counter()
        for place, count in numbers.items():
            self.labels[self._categories[place]] += count

    def shapes(self, wanted: Wanted) -> Iterator[Shape]:
        """See `Annotations`: crowds first, so that objects within them are known."""
        place = None if wanted.name is None else self._places.get(wanted.name)
        if place is None:
            raise DataError(f"{self._path}: lists no image {wanted.name}")
        require_size(self._path, self._sizes[place], wanted)
        mine = self._order[self._starts[place] : self._starts[place + 1]]
        for number in [*mine[self._crowd[mine]].tolist(), *mine[~self._crowd[mine]].tolist()]:
            what = f"{self._path}: annotation {self._ids[number]}"
            label = self._categories[self._category[number]]
            yield _draw(label, self._unpack(number), wanted.size, what)._replace(silent=bool(self._crowd[number]))

    def _columns(self, records: Sequence[_Record], places: dict[Any, int], categories: list[Any]) -> None:
        """Keeps annotations in columns, those of each image by `_order` from `_starts` on."""
        known = {number: place for place, number in enumerate(categories)}
        owners = np.zeros(len(records), np.int64)
        self._category = np.zeros(len(records), np.int32)
        self._crowd = np.zeros(len(records), bool)
        self._ids = [record.number for record in records]
        for number, record in enumerate(records):
            what = f"{self._path}: annotation {record.number}"
            for key, value, those in (("image", record.image, places), ("category", record.category, known)):
                if type(value) not in (int, str) or value not in those:
                    raise DataError(f"{what}: is of the {key} {value!r}, which the file does not list; correct it")
            if isinstance(record.parts, str):
                raise DataError(f"{what}: {record.parts}")
            owners[number], self._category[number] = places[record.image], known[record.category]
            self._crowd[number] = record.crowd
        parts = [part for record in records for part in record.parts if isinstance(part, Part)]
        self._firsts = np.cumsum([0, *(len(record.parts) for record in records)])
        self._kinds = np.array([part.kind for part in parts], np.uint8)
        self._run_sizes = np.array([part.size for part in parts], np.int64).reshape(-1, 2)
        self._ends = np.cumsum([0, *(len(part.packed) for part in parts)])
        self._packed = b"".join(part.packed for part in parts)
        self._order: NDArray[np.int64] = np.argsort(owners, kind="stable")
        self._starts = np.searchsorted(owners[self._order], np.arange(len(places) + 1))

    def _unpack(self, number: int) -> list[Part]:
        """The parts of an annotation."""
        return [
            Part(
                int(self._kinds[place]),
                self._packed[self._ends[place] : self._ends[place + 1]],
                (int(self._run_sizes[place, 0]), int(self._run_sizes[place, 1])),
            )
            for place in range(self._firsts[number], self._firsts[number + 1])
        ]

    def _list(self, plain: dict[str, Any], key: str) -> list[Any]:
        found = plain.get(key)
        if not isinstance(found, list):
            raise DataError(f"{self._path}: its {key} are not a list; export it again")
        return found

    def _require_image(self, image: Any) -> dict[str, Any]:
        if not isinstance(image, dict) or not isinstance(image.get("file_name"), str) or not image["file_name"]:
            raise DataError(f"{self._path}: an image without a file_name; export it again")
        if type(image.get("id")) not in (int, str):
            raise DataError(f"{self._path}: the image {image['file_name']} has no id; export it again")
        return image

    def _read_categories(self, categories: list[Any]) -> dict[Any, str]:
        for category in categories:
            if not isinstance(category, dict) or type(category.get("id")) not in (int, str):
                raise DataError(f"{self._path}: a category without an id; export it again")
            if not isinstance(category.get("name"), str) or not category["name"]:
                raise DataError(f"{self._path}: the category {category['id']} has no name; give it one")
        self._refuse_twice("id of categories", [category["id"] for category in categories])
        return {category["id"]: category["name"] for category in categories}

    def _check_records(self, records: list[Any]) -> None:
        for record in records:
            if isinstance(record, dict) and "segments_info" in record:
                raise DataError(
                    f"{self._path}: is COCO panoptic, whose masks are PNGs beside it; take those as data.masks"
                )
            if not isinstance(record, _Record):
                raise DataError(f"{self._path}: an annotation without id, image_id or category_id; export it again")
        self._refuse_twice("id of annotations", [record.number for record in records])

    def _refuse_twice(self, what: str, values: Sequence[Any]) -> None:
        try:
            numbers = Counter(values)
        except TypeError:
            raise DataError(f"{self._path}: an {what} that is neither a number nor a text; export it again") from None
        if len(numbers) < len(values):
            value, count = numbers.most_common(1)[0]
            raise DataError(f"{self._path}: the {what} {value!r} stands there {count} times; give each one of its own")


def _pack(found: Any) -> list[Part]:
    """The parts of a `segmentation`.

    Raises:
        DataError: for what is none; the message continues the name of its annotation.
    """
    if isinstance(found, dict):
        size, counts = found.get("size"), found.get("counts")
        if not isinstance(size, list) or len(size) != 2 or not all(map(_is_count, size)):
            raise DataError("run lengths without their size [height, width]; export it again")
        if isinstance(counts, str) and counts.isascii():
            return [Part(_TEXT, counts.encode(), (size[0], size[1]))]
        if isinstance(counts, list) and all(map(_is_count, counts)):
            return [Part(_COUNTS, np.array(counts, np.int64).tobytes(), (size[0], size[1]))]
        raise DataError("run lengths that are neither whole numbers nor a text; export it again")
    if not isinstance(found, list) or not found:
        raise DataError("has no outline (segmentation), only a box or less; draw it, or delete it")
    outlines = found if isinstance(found[0], list) else [found]
    return [Part(_POLYGON, to_points(outline, "in its segmentation").tobytes()) for outline in outlines]


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**31


def _draw(label: str, parts: Sequence[Part], size: Size, what: str) -> Shape:
    if parts[0].kind == _POLYGON:
        return draw_outlines(label, [np.frombuffer(part.packed).reshape(-1, 2) for part in parts], size, what)
    part = parts[0]
    if part.size != size:
        have, want = (f"{sides[1]} x {sides[0]}" for sides in (part.size, size))
        raise DataError(f"{what}: its run lengths are of {have} pixels and the image has {want}")
    counts = _unpack_text(part.packed) if part.kind == _TEXT else np.frombuffer(part.packed, np.int64)
    if (counts < 0).any() or counts.sum() != size[0] * size[1]:
        raise DataError(f"{what}: its run lengths are not those of {size[1]} x {size[0]} pixels; export it again")
    return Shape(label, _lay_runs(counts, size), 0, 0)


def draw_outlines(label: str, outlines: Sequence[Points], size: Size, what: str) -> Shape:
    """Draws outlines as pycocotools does.

    Args:
        label: of the shape.
        outlines: all of one object.
        size: height and width of the image.
        what: where they are, for errors.

    Raises:
        DataError: if pycocotools is not installed, and for outlines that are too long.
    """
    try:
        from pycocotools import mask as coco_mask
    except ImportError:
        raise DataError(
            f"{what.partition(': ')[0]}: outlines of COCO and CVAT are drawn with pycocotools, which is not installed; "
            f"type {hint_extra('coco')}"
        ) from None

    def fill(clipped: list[Points], box: Size) -> Array:
        packed = coco_mask.merge(coco_mask.frPyObjects([points.ravel() for points in clipped], *box))
        return _lay_runs(_unpack_text(packed["counts"]), box)

    return draw(label, outlines, size, what, fill)


def _lay_runs(counts: NDArray[np.int64], size: Size) -> NDArray[np.bool_]:
    """Pixels (H, W) from run lengths: columns one after the other, the first run not of the object."""
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(size[1], size[0]).T


def _unpack_text(text: bytes) -> NDArray[np.int64]:
    """Run lengths from the text in which pycocotools packs them.

    Five bits a letter, the sixth says that more follow; from the fourth number on the difference to the last but one.
    """
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        bits = letter - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32 and shift < 60:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    return np.array(counts, np.int64)
