"""CVAT for images against the steps by which CVAT exports masks: pycocotools, OpenCV and plain loops."""

import math
from xml.sax.saxutils import quoteattr

import cv2
import numpy as np
import pytest
from pycocotools import mask as reference

from unet_exp.annotations import draw_mask, list_images, list_labels
from unet_exp.errors import DataError

# Of pycocotools, which the tests compare with.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SIZE = (60, 80)
RNG = np.random.default_rng(0)


def element(kind, label="cell", **attributes):
    words = {"label": label, "source": "manual", "occluded": "0", "z_order": "0", **attributes}
    text = " ".join(f"{key}={quoteattr(str(value))}" for key, value in words.items())
    return f'<{kind} {text}><attribute name="label">x</attribute></{kind}>'


def write(path, shapes, name="frames/a.png", head="", **attributes):
    size = {"width": SIZE[1], "height": SIZE[0], **attributes}
    text = " ".join(f'{key}="{value}"' for key, value in size.items())
    meta = "<meta><task><labels><label><name>cell</name></label></labels></task></meta>"
    image = f'<image id="0" name="{name}" {text}>{"".join(shapes)}</image>'
    other = '<image id="1" name="b.png" width="3" height="2"></image>'
    path.write_text(f'<?xml version="1.0" encoding="utf-8"?>{head}<annotations>{meta}{image}{other}</annotations>')
    return path


def mask_of(path, labels=None, size=SIZE, name="frames/a.png"):
    return draw_mask(path, path.with_name("a.png"), name, size, labels)[0][..., 0]


def decode(points):
    packed = reference.frPyObjects([np.ravel(points).tolist()], *SIZE)
    return reference.decode(reference.merge(packed)).astype(bool)


def test_polygons_and_boxes_are_those_of_pycocotools(tmp_path):
    points = np.round(RNG.random((6, 2)) * [100, 80] - [10, 10], 2)
    text = ";".join(f"{x},{y}" for x, y in points)
    np.testing.assert_array_equal(mask_of(write(tmp_path / "a.xml", [element("polygon", points=text)])), decode(points))
    for rotation in (0, 30, 271.5):
        box = element("box", xtl=20.5, ytl=10.25, xbr=60, ybr=31.1, rotation=rotation)
        turned = []
        for x, y in ((20.5, 10.25), (60, 10.25), (60, 31.1), (20.5, 31.1)):
            angle, cx, cy = math.radians(rotation), 40.25, 20.675
            across, down = x - cx, y - cy
            turned += [cx + math.cos(angle) * across - math.sin(angle) * down]
            turned += [cy + math.sin(angle) * across + math.cos(angle) * down]
        np.testing.assert_array_equal(mask_of(write(tmp_path / f"{rotation}.xml", [box])), decode(turned))


def test_ellipses_are_those_of_opencv(tmp_path):
    for number, (cx, cy, rx, ry, rotation) in enumerate(
        [(30, 20, 10.5, 5.2, 0), (5.5, 55, 20, 8, 33), (-50, 5, 9, 9, 1)]
    ):
        shape = element("ellipse", cx=cx, cy=cy, rx=rx, ry=ry, rotation=rotation)
        expected = np.zeros(SIZE, np.uint8)
        centre, axes = (round(cx), round(cy)), (round(rx), round(ry))
        cv2.ellipse(expected, centre, axes, rotation, 0, 360, 1, thickness=-1)
        np.testing.assert_array_equal(mask_of(write(tmp_path / f"{number}.xml", [shape])), expected)


def test_run_lengths_are_rows_of_a_box(tmp_path):
    runs = [2, 3, 0, 4, 6, 5]
    expected, value, place = np.zeros(SIZE, bool), False, 0
    for count in runs:
        for _ in range(count):
            if 78 + place % 5 < SIZE[1]:
                expected[7 + place // 5, 78 + place % 5] = value
            place += 1
        value = not value
    shape = element("mask", rle=", ".join(map(str, runs)), left=78, top=7, width=5, height=4)
    np.testing.assert_array_equal(mask_of(write(tmp_path / "a.xml", [shape])), expected)


def test_paints_by_z_order_and_tells_what_has_no_area(tmp_path, caplog):
    boxes = [
        element("box", label, xtl=x, ytl=0, xbr=x + 20, ybr=9, z_order=order)
        for label, x, order in (("cell", 0, 1), ("nucleus", 10, 0), ("cell", 50, 0))
    ]
    rest = [element("polyline", points="1,1;2,2"), element("points", points="1,1"), '<tag label="x"/>']
    path = write(tmp_path / "a.xml", [*boxes, *rest])
    assert list_images(path) == ["frames/a.png", "b.png"]
    assert list_labels(path) == {"cell": 2, "nucleus": 1}
    found = mask_of(path, {"cell": 1, "nucleus": 2})
    assert found[4, [5, 15, 25, 40, 55]].tolist() == [1, 1, 2, 0, 1]
    assert mask_of(path)[4, [5, 15, 25, 55]].tolist() == [3, 3, 1, 2]
    assert "left out: 1 polyline, 1 points" in caplog.text
    assert not mask_of(path, size=(2, 3), name="b.png").any()


BROKEN = {
    "shape 1: has no label": element("box", "", xtl=1, ytl=1, xbr=2, ybr=2),
    "its xbr is 'missing'": element("box", xtl=1, ytl=1, ybr=2),
    "its xtl is 'nan'": element("box", xtl="nan", ytl=1, xbr=2, ybr=2),
    "its ry is '1e9'": element("ellipse", cx=1, cy=1, rx=2, ry="1e9"),
    "an outline of 2 points": element("polygon", points="1,1;2,2"),
    "not pairs": element("polygon", points="1,1;2,2;3"),
    "not pairs of numbers": element("polygon", points="1,1;2,2;3,x"),
    "not finite": element("polygon", points="1,1;2,2;3,inf"),
    "not a list of whole numbers": element("mask", rle="", left=0, top=0, width=1, height=1),
    "not that of its width": element("mask", rle="1, 2", left=0, top=0, width=1, height=1),
    "larger than the image": element("mask", rle="10000", left=0, top=0, width=100, height=100),
    "CVAT for video": "</image><track></track><image name='c' width='1' height='1'>",
    "lists the image frames/a.png twice": "</image><image name='frames/a.png' width='1' height='1'>",
    "an image without a name": "</image><image width='1' height='1'>",
}


@pytest.mark.parametrize("message", BROKEN)
def test_what_is_broken_is_one_line(tmp_path, message):
    with pytest.raises(DataError, match=message) as error:
        mask_of(write(tmp_path / "a.xml", [BROKEN[message]]))
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_other_sizes_and_names_are_told(tmp_path):
    path = write(tmp_path / "a.xml", [], width=9)
    with pytest.raises(DataError, match=r"9 x 60 pixels, frames/a.png, and .*a.png has 80 x 60"):
        mask_of(path)
    with pytest.raises(DataError, match="lists no image c"):
        mask_of(path, name="c")
