"""Opens annotations by what they hold, and keeps what was parsed for the next images."""

import os
import re
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from unet_exp.annotations import coco, cvat, geojson, imagescope, labelme
from unet_exp.annotations.outlines import Wanted
from unet_exp.annotations.painting import Shape
from unet_exp.annotations.plain import Handler, XmlReader, check_file, read_json
from unet_exp.errors import DataError
from unet_exp.io.scene import explain_damage

READ = "COCO, LabelMe, CVAT for images, Aperio ImageScope and GeoJSON are read"
_MOST_FILES = 32
_MOST_BYTES = 2**32
"""Of the kept files together; the last one is kept whatever its size."""
_START = 4096


class Annotations(Protocol):
    """A parsed file.

    Attributes:
        names: of the images that it annotates; None: it belongs to one image.
        labels: the number of shapes of each label.
    """

    names: list[str] | None
    labels: Counter[str]

    def shapes(self, wanted: Wanted) -> Iterator[Shape]:
        """The shapes of one image, in the order of their painting.

        Raises:
            DataError: for shapes that cannot be drawn, and an image of another size.
        """


class XmlAnnotations(Annotations, Handler, Protocol):
    """Annotations that are filled while their file is read."""


_JSON: tuple[tuple[Callable[[Any], bool], Callable[[Path, Any], Annotations]], ...] = (
    (coco.is_coco, coco.Coco),
    (labelme.is_labelme, labelme.LabelMe),
    (geojson.is_geojson, geojson.GeoJson),
)
_XML: Mapping[str, Callable[[Path], XmlAnnotations]] = {"annotations": cvat.Cvat, "Annotations": imagescope.ImageScope}
_OTHER_ROOTS = {
    "annotation": "Pascal VOC, boxes without outlines, or LabelMe of the web",
    "ASAP_Annotations": "ASAP",
}
_OTHER_KEYS = (
    ({"_via_img_metadata"}, "a project of VIA"),
    ({"_via_settings"}, "a project of VIA"),
    ({"imgHeight", "imgWidth", "objects"}, "Cityscapes polygons, which come with masks: take *_labelIds.png"),
    ({"size", "objects", "tags"}, "Supervisely"),
    ({"image_id", "segmentation", "score"}, "results of COCO, without their images"),
    ({"image_id", "bbox", "score"}, "results of COCO, without their images"),
    ({"data", "annotations"}, "Label Studio: export it as COCO"),
    ({"filename", "regions"}, "annotations of VIA"),
    ({"info", "licenses"}, "COCO without images or annotations"),
)

_kept: "OrderedDict[tuple[str, int, int], Annotations]" = OrderedDict()
_lock = threading.Lock()


def open_annotations(path: Path) -> Annotations:
    """Parses a file, or returns what was parsed of it before, if it has not changed.

    Parsing holds a lock: it is Python's own work, which threads do one after the other in any case, and none parses a
    large file that another one does.

    Raises:
        DataError: for a file that cannot be read.
    """
    check_file(path)
    status = path.stat()
    key = (os.path.abspath(path), status.st_size, status.st_mtime_ns)
    with _lock:
        if key not in _kept:
            with explain_damage(path):
                _kept[key] = _parse(path)
        _kept.move_to_end(key)
        while len(_kept) > _MOST_FILES or (len(_kept) > 1 and sum(size for _, size, _ in _kept) > _MOST_BYTES):
            _kept.popitem(last=False)
        return _kept[key]


def _forget_lock() -> None:
    """A process that is forked while another thread parses would wait for ever."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_lock)


def _parse(path: Path) -> Annotations:
    with path.open("rb") as file:
        start = file.read(_START)
    if re.match(rb"(\xef\xbb\xbf)?\s*<|\xff\xfe<|\xfe\xff\0<", start):
        return XmlReader(path, lambda tag: _choose_handler(path, tag)).read()
    if not re.match(rb"(\xef\xbb\xbf)?\s*[\[{]", start):
        raise DataError(f"{path}: is neither JSON nor XML; of annotations {READ}")
    plain = read_json(path, coco.compact)
    for recognise, parse in _JSON:
        if recognise(plain):
            return parse(path, plain)
    raise DataError(f"{path}: is {_name_kind(plain)}; of annotations {READ}")


def _choose_handler(path: Path, tag: str) -> XmlAnnotations:
    if tag not in _XML:
        what = _OTHER_ROOTS.get(tag, f"XML with the root <{tag[:60]}>")
        raise DataError(f"{path}: is {what}; of annotations {READ}")
    return _XML[tag](path)


def _name_kind(plain: Any) -> str:
    """What a JSON file is, if that is known: its first object tells."""
    objects = [plain, *(plain if isinstance(plain, list) else [])[:1]]
    if isinstance(plain, dict):
        objects += list(plain.values())[:1]
    for keys, name in _OTHER_KEYS:
        if any(isinstance(one, dict) and keys <= one.keys() for one in objects):
            return name
    return "JSON of an unknown kind"
