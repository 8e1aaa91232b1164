"""LabelMe against Pillow, called as labelme calls it."""

import base64
import json
import math
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageDraw

from unet_exp.annotations import draw_mask, list_images, list_labels
from unet_exp.errors import DataError

SIZE = (60, 80)
RNG = np.random.default_rng(0)


def shape(kind, points, label="cell", **more):
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, "flags": {}, **more}


def write(path, shapes, **more):
    plain = {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": "a.png", "imageData": "AAAA"}
    path.write_text(json.dumps({**plain, "imageHeight": SIZE[0], "imageWidth": SIZE[1], **more}))
    return path


def mask_of(path, labels=None):
    return draw_mask(path, path.with_name("a.png"), None, SIZE, labels)[0][..., 0]


def draw_plainly(kind, points):
    picture = Image.fromarray(np.zeros(SIZE, np.uint8))
    on = ImageDraw.Draw(picture)
    xy = [tuple(point) for point in points]
    if kind == "circle":
        (x, y), (px, py) = xy
        d = math.sqrt((x - px) ** 2 + (y - py) ** 2)
        on.ellipse([x - d, y - d, x + d, y + d], outline=1, fill=1)
    elif kind == "rectangle":
        on.rectangle(xy, outline=1, fill=1)
    elif kind in ("line", "linestrip"):
        on.line(xy, fill=1, width=10)
    elif kind == "point":
        (x, y), r = xy[0], 5
        on.ellipse([x - r, y - r, x + r, y + r], outline=1, fill=1)
    else:
        on.polygon(xy, outline=1, fill=1)
    return np.array(picture).astype(bool)


def near_points(count):
    return (RNG.random((count, 2)) * [110, 90] - [15, 15]).tolist()


@pytest.mark.parametrize("kind", ["polygon", "rectangle", "circle", "line", "linestrip", "point", None])
def test_draws_as_pillow_draws_for_labelme(tmp_path, kind):
    count = {"polygon": 7, "linestrip": 4, "point": 1, None: 5}.get(kind, 2)
    for number in range(30):
        points = near_points(count)
        if kind == "rectangle":
            points = np.sort(points, axis=0).tolist()
        path = write(tmp_path / f"{number}.json", [shape(kind, points)])
        np.testing.assert_array_equal(mask_of(path), draw_plainly(kind, points))


def test_a_rectangle_drawn_backwards_is_the_same(tmp_path):
    forwards, backwards = (shape("rectangle", points) for points in ([[3, 4], [20, 30]], [[20, 4], [3, 30]]))
    np.testing.assert_array_equal(
        mask_of(write(tmp_path / "a.json", [forwards])), mask_of(write(tmp_path / "b.json", [backwards]))
    )


def test_a_mask_lies_where_its_first_point_is(tmp_path):
    pixels = RNG.random((9, 12)) > 0.5
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    packed = base64.b64encode(stream.getvalue()).decode()
    path = write(tmp_path / "a.json", [shape("mask", [[70.0, 5.0], [81.0, 13.0]], mask=packed)])
    expected = np.zeros(SIZE, bool)
    expected[5:14, 70:80] = pixels[:, :10]
    np.testing.assert_array_equal(mask_of(path), expected)


def test_later_shapes_lie_above_and_groups_are_one_object(tmp_path):
    boxes = [shape("rectangle", [[x, 0], [x + 9, 9]], group_id=group) for x, group in ((0, 1), (20, None), (40, 1))]
    path = write(tmp_path / "a.json", [*boxes, shape("rectangle", [[5, 5], [25, 9]], "nucleus", group_id=1)])
    found = mask_of(path)
    assert found[0, [0, 20, 40, 60]].tolist() == [1, 2, 1, 0]
    assert found[6, [6, 21]].tolist() == [3, 3]
    assert list_images(path) is None
    assert list_labels(path) == {"cell": 3, "nucleus": 1}
    assert mask_of(path, {"cell": 1, "nucleus": 2})[6, [0, 6]].tolist() == [1, 2]


def test_letters_with_accents_of_two_codes_are_those_of_one(tmp_path):
    path = write(tmp_path / "a.json", [shape("rectangle", [[2, 3], [9, 9]], "Ka\u0308tzchen")])
    assert list_labels(path) == {"K\u00e4tzchen": 1}
    assert mask_of(path, {"K\u00e4tzchen": 7})[5, 5] == 7


def test_sides_that_are_swapped_are_named(tmp_path):
    path = write(tmp_path / "a.json", [], imageHeight=SIZE[1], imageWidth=SIZE[0])
    with pytest.raises(DataError, match=r"of 60 x 80 pixels and .*a\.png has 80 x 60; its sides are swapped, as where"):
        mask_of(path)


BROKEN = {
    "shape 1: has no label": [{"points": [], "shape_type": "polygon"}],
    "shape 2, cell: is a cube": [shape("point", [[1, 1]]), shape("cube", [[1, 1]])],
    "a polygon of 2 points, and it needs 3 or more": [shape("polygon", [[1, 1], [2, 2]])],
    "a circle of 3 points, and it needs 2;": [shape("circle", [[1, 1]] * 3)],
    "not pairs of numbers": [shape("polygon", [[1, 1], [2, 2], [3]])],
    "a mask without pixels": [shape("mask", [[1, 1]])],
    "damaged": [shape("mask", [[1, 1]], mask="AAAA")],
    "far outside": [shape("circle", [[1, 1], [1e9, 1e9]])],
    "group_id": [shape("point", [[1, 1]], group_id=[1])],
    "its shapes are not a list": 3,
}


@pytest.mark.parametrize("message", BROKEN)
def test_what_is_broken_is_one_line(tmp_path, message):
    with pytest.raises(DataError, match=message) as error:
        mask_of(write(tmp_path / "a.json", BROKEN[message]))
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_another_size_is_told(tmp_path):
    with pytest.raises(DataError, match=r"of an image of 9 x 60 pixels and .*a.png has 80 x 60"):
        mask_of(write(tmp_path / "a.json", [], imageWidth=9))


def test_a_mask_larger_than_the_image_is_not_decoded(tmp_path):
    stream = BytesIO()
    Image.new("1", (2000, 2000)).save(stream, "PNG")
    packed = base64.b64encode(stream.getvalue()).decode()
    with pytest.raises(DataError, match="larger than the image"):
        mask_of(write(tmp_path / "a.json", [shape("mask", [[0, 0]], mask=packed)]))
