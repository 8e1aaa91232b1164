"""Annotations of labelling programs, drawn as masks: COCO, LabelMe, CVAT, Aperio ImageScope and GeoJSON.

Each file is recognised by its content, and parsed once in a process.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

from unet_exp.annotations.kept import open_annotations
from unet_exp.annotations.outlines import Wanted
from unet_exp.annotations.painting import paint, require_known
from unet_exp.io.arrays import Array
from unet_exp.io.listing import normalize_name
from unet_exp.io.scene import explain_damage
from unet_exp.io.valid import Valid


def list_images(path: Path) -> list[str] | None:
    """The images that a file annotates, by their names in it, such as `train2017/0001.jpg`.

    Returns:
        None for a file that belongs to one image.

    Raises:
        DataError: for a file that cannot be read.
    """
    names = open_annotations(path).names
    return None if names is None else [*names]


def list_labels(path: Path) -> Counter[str]:
    """The labels in a file, each accented letter as one code, and the number of shapes of each.

    Raises:
        DataError: for a file that cannot be read.
    """
    labels: Counter[str] = Counter()
    for label, count in open_annotations(path).labels.items():
        labels[normalize_name(label)] += count
    return labels


def draw_mask(
    path: Path,
    image: Path,
    name: str | None,
    size: tuple[int, int],
    labels: Mapping[str, int] | None,
    ignored: Collection[str] = (),
    objects: Collection[str] | None = None,
) -> tuple[Array, Valid]:
    """Draws the mask of an image.

    Args:
        path: of the annotations.
        image: the image's file, whose georeference places the coordinates of GeoJSON.
        name: one of `list_images`; None for a file that belongs to one image.
        size: height H and width W of the image.
        labels: see `unet_exp.annotations.painting.paint`.
        ignored: likewise.
        objects: likewise.

    Returns:
        (H, W, 1) class indices or, without `labels`, the numbers of objects; and the pixels (H, W) that say something,
        None for all.

    Raises:
        DataError: for a file that cannot be read or does not fit the image, and labels without a class.
    """
    require_known(list_labels(path), labels, ignored, path)
    with explain_damage(path):
        shapes = open_annotations(path).shapes(Wanted(image, name, size))
        named = (shape._replace(label=normalize_name(shape.label)) for shape in shapes)
        return paint(named, size, labels, ignored, path, objects)
