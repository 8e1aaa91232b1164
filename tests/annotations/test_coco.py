"""COCO against pycocotools itself."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as reference

from unet_exp.annotations import draw_mask, list_images, list_labels
from unet_exp.annotations.coco import draw_outlines
from unet_exp.errors import DataError

# Of pycocotools, which the tests compare with.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SIZE = (40, 50)
RNG = np.random.default_rng(0)
STAR = [10.3, 2.5, 20.7, 30.1, 2.2, 12.9, 25, 11, 4.75, 29.5]
LABELS = {"cell": 1, "nucleus": 2}


def annotation(number, segmentation, image=7, category=1, **more):
    return {"id": number, "image_id": image, "category_id": category, "segmentation": segmentation, **more}


def write(path, annotations, images=None, **more):
    names = [{"id": 1, "name": "cell"}, {"id": 5, "name": "nucleus"}, {"id": 6, "name": "unused"}]
    pages = [
        {"id": 7, "file_name": "train/a.jpg", "height": SIZE[0], "width": SIZE[1]},
        {"id": 8, "file_name": "b.jpg"},
    ]
    plain = {"images": pages if images is None else images, "annotations": annotations, "categories": names, **more}
    path.write_text(json.dumps(plain))
    return path


def mask_of(path, labels=LABELS, name="train/a.jpg", size=SIZE):
    return draw_mask(path, path.with_name("a.jpg"), name, size, labels)


def decode(segmentation):
    packed = segmentation if isinstance(segmentation, dict) else None
    if packed is None or isinstance(packed["counts"], list):
        packed = reference.frPyObjects(segmentation, *SIZE)
    return reference.decode(reference.merge(packed) if isinstance(packed, list) else packed).astype(bool)


def random_runs(seed):
    mask = np.random.default_rng(seed).random(SIZE) < 0.4
    packed = reference.encode(np.asfortranarray(mask.astype(np.uint8)))
    changes = np.flatnonzero(np.diff(np.concatenate([[False], mask.T.ravel()]).astype(int)))
    counts = np.diff(np.concatenate([[0], changes, [mask.size]])).tolist()
    return mask, {"size": list(SIZE), "counts": packed["counts"].decode()}, {"size": list(SIZE), "counts": counts}


def test_draws_every_kind_of_outline_in_order(tmp_path):
    mask, text, counts = random_runs(1)
    found = [STAR, [30.5, 20, 45, 20.5, 44, 38.2]]
    path = write(tmp_path / "x.json", [annotation(1, text), annotation(2, found, category=5), annotation(3, [STAR])])
    expected = np.where(decode(found), 2, mask.astype(int))
    expected[decode([STAR])] = 1
    drawn, valid = mask_of(path)
    np.testing.assert_array_equal(drawn[..., 0], expected)
    assert valid is None
    numbers = np.where(decode(found), 2, mask.astype(int))
    numbers[decode([STAR])] = 3
    np.testing.assert_array_equal(mask_of(path, None)[0][..., 0], numbers)
    assert list_images(path) == ["train/a.jpg", "b.jpg"]
    assert list_labels(path) == {"cell": 2, "nucleus": 1}
    assert not mask_of(path, name="b.jpg", size=(3, 4))[0].any()  # listed without objects: background
    np.testing.assert_array_equal(
        mask_of(write(tmp_path / "y.json", [annotation(1, counts)]))[0], mask_of(write(path, [annotation(1, text)]))[0]
    )


def test_crowds_say_nothing_where_no_object_is(tmp_path):
    mask, text, _ = random_runs(2)
    path = write(tmp_path / "x.json", [annotation(1, [STAR]), annotation(2, text, iscrowd=1)])
    drawn, valid = mask_of(path)
    star = decode([STAR])
    np.testing.assert_array_equal(drawn[..., 0], star)
    np.testing.assert_array_equal(valid, ~mask | star)
    assert list_labels(path) == {"cell": 1}


corner = st.floats(-20, 80, allow_nan=False).map(lambda value: round(value, 2))


@given(st.lists(st.lists(st.tuples(corner, corner), min_size=3, max_size=8), min_size=1, max_size=3))
@settings(max_examples=80, deadline=None)
def test_equals_pycocotools_for_any_outlines_near_the_image(outlines):
    flat = [[float(number) for point in outline for number in point] for outline in outlines]
    shape = draw_outlines("cell", [np.array(outline) for outline in outlines], SIZE, "x")
    drawn = np.zeros(SIZE, bool)
    drawn[shape.top :, shape.left :][: shape.mask.shape[0], : shape.mask.shape[1]] = shape.mask
    np.testing.assert_array_equal(drawn, decode(flat))


def test_outlines_far_outside_are_cut_off(tmp_path):
    square = [-1e12, -1e12, 1e12, -1e12, 1e12, 20, -1e12, 20]
    drawn = mask_of(write(tmp_path / "x.json", [annotation(1, [square])]))[0][..., 0]
    assert drawn[:19].all()
    assert not drawn[21:].any()
    away = [1e9, 1e9, 2e9, 1e9, 2e9, 2e9]
    assert not mask_of(write(tmp_path / "y.json", [annotation(1, [away])]))[0].any()


def test_the_list_of_every_label_is_told_with_the_words(tmp_path):
    path = write(tmp_path / "x.json", [annotation(1, [STAR]), annotation(2, [STAR], category=5)])
    with pytest.raises(DataError, match="nucleus x 1, cell x 1") as error:
        mask_of(path, {"cell": 1})
    assert "{name: cell, value: cell}, {name: nucleus, value: nucleus}" in str(error.value)
    assert not mask_of(path, {"cell": 1, "nucleus": 0})[0].any()  # the last, which is background, covers the first


BROKEN = {
    "of the image 9": [annotation(1, [STAR], image=9)],
    "of the category 2": [annotation(1, [STAR], category=2)],
    "of the category \\[1\\]": [annotation(1, [STAR], category=[1])],
    "annotation 4: in its segmentation: an outline of 2 points": [annotation(4, [[1, 1, 2, 2]])],
    "not pairs": [annotation(4, [[1, 1, 2, 2, 3, 3, 4]])],
    "annotation 1: has no outline": [annotation(1, [])],
    "annotation 3: has no outline": [annotation(3, None)],
    "id of annotations 1 stands there 2 times": [annotation(1, [STAR])] * 2,
    "without id, image_id or category_id": [{"id": 1}],
    "neither a number nor a text": [annotation([1], [STAR])],
    "panoptic": [{"id": 1, "image_id": 7, "category_id": 1, "segments_info": []}],
    "run lengths are of 4 x 3 pixels and the image has 50 x 40": [annotation(1, {"size": [3, 4], "counts": [12]})],
    "not those of 50 x 40": [annotation(1, {"size": list(SIZE), "counts": [3, 4]})],
    "run lengths are not those": [annotation(1, {"size": list(SIZE), "counts": "oooooooooooooooooooooo"})],
    "neither whole numbers nor a text": [annotation(1, {"size": list(SIZE), "counts": [-3, 4]})],
    "without their size": [annotation(1, {"counts": [3, 4]})],
    "not pairs of numbers": [annotation(1, [["1", "2"] * 3])],
    "more than can be drawn": [annotation(1, [[0, 0, 49, 39] * 100_000])],
}


@pytest.mark.parametrize("message", BROKEN)
def test_what_is_broken_is_one_line(tmp_path, message):
    with pytest.raises(DataError, match=message) as error:
        mask_of(write(tmp_path / "x.json", BROKEN[message]))
    assert "\n" not in str(error.value)
    assert str(tmp_path / "x.json") in str(error.value)


def test_images_and_categories_are_checked(tmp_path):
    def failure(**more):
        with pytest.raises(DataError) as error:
            mask_of(write(tmp_path / "x.json", [], **more))
        return str(error.value)

    one = {"id": 1, "file_name": "a"}
    assert "the file_name 'a' stands there 2 times" in failure(images=[one, {**one, "id": 2}])
    assert "the id of images 1" in failure(images=[one, {**one, "file_name": "b"}])
    assert "without a file_name" in failure(images=[{"id": 1}])
    assert "has no id" in failure(images=[{"file_name": "a"}])
    assert "not a list" in failure(images={})
    assert "category 3 has no name" in failure(categories=[{"id": 3}])
    assert "without an id" in failure(categories=["a"])
    assert "lists no image" in failure(images=[one])
    with pytest.raises(DataError, match=r"of an image of 50 x 40 pixels, train/a.jpg, and .*a.jpg has 6 x 5"):
        mask_of(write(tmp_path / "x.json", []), size=(5, 6))


def test_without_pycocotools_the_words_that_install_it(tmp_path, monkeypatch):
    path = write(tmp_path / "x.json", [annotation(1, [STAR])])
    monkeypatch.setitem(__import__("sys").modules, "pycocotools", None)
    with pytest.raises(DataError, match=r"x.json: .*pip install -e '\.\[coco\]'"):
        mask_of(path)
