"""Shapes painted over each other, against one pixel after the other."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unet_exp.annotations.painting import Shape, paint
from unet_exp.errors import DataError
from unet_exp.typed import dump_in_one_line

NAMES = ("a", "b", "crowded", "c")
LABELS = {"a": 1, "b": 2, "c": 300}


@st.composite
def shapes(draw):
    height, width = draw(st.integers(0, 4)), draw(st.integers(0, 4))
    bits = draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    mask = np.array(bits, bool).reshape(height, width)
    top, left = draw(st.integers(-6, 9)), draw(st.integers(-6, 9))
    return Shape(draw(st.sampled_from(NAMES)), mask, top, left, draw(st.booleans()))


def paint_slowly(found, size, labels, ignored, objects=None):
    mask, says = np.zeros((*size, 1), int), np.ones(size, bool)
    number = 0
    for shape in found:
        silent = shape.silent or shape.label in ignored
        value = 0
        if not silent and labels is not None:
            value = labels[shape.label]
        elif not silent and (objects is None or shape.label in objects):
            number += 1
            value = number
        for row, column in np.argwhere(shape.mask) + np.array([shape.top, shape.left]):
            if 0 <= row < size[0] and 0 <= column < size[1]:
                mask[row, column, 0], says[row, column] = value, not silent
    return mask, says


@given(
    st.lists(shapes(), max_size=6),
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
    st.sampled_from([None, LABELS]),
    st.sampled_from([None, {"b"}]),
)
@settings(max_examples=60, deadline=None)
def test_paints_as_one_pixel_after_the_other(found, size, labels, objects):
    mask, valid = paint(found, size, labels, {"crowded"}, objects=objects)
    expected, says = paint_slowly(found, size, labels, {"crowded"}, objects)
    np.testing.assert_array_equal(mask, expected)
    np.testing.assert_array_equal(np.ones(size, bool) if valid is None else valid, says)
    assert mask.dtype == (np.int32 if labels is None else np.uint16)
    assert valid is None or not valid.all()


def test_every_label_is_one_class_by_the_star():
    one = Shape("whatever", np.ones((1, 1), bool), 0, 0)
    mask, valid = paint([one], (1, 2), {"*": 1})
    assert mask.tolist() == [[[1], [0]]]
    assert mask.dtype == np.uint8
    assert valid is None
    assert paint([one], (1, 1), {"*": 1, "whatever": 0})[0].item() == 0


def test_a_label_without_class_names_the_words_to_type():
    with pytest.raises(DataError) as error:
        paint([Shape("tram/bus", np.ones((1, 1), bool), 0, 0)], (1, 1), {"car": 1}, path="x.json")
    assert str(error.value) == (
        'x.json: its labels are tram/bus x 1 (label x shapes), and "tram/bus" has no class: type '
        "data.classes='[{name: background, value: 0}, {name: tram_bus, value: \"tram/bus\"}]'; "
        'also: ["tram/bus"] of another class joins them, of the background leaves them out, and '
        "data.ignore='[\"tram/bus\"]' ignores them"
    )


def test_quotes_what_hydra_does_not_take_bare():
    assert [dump_in_one_line(name) for name in ("cell", "red cell", "1", "a:b", "é")] == [
        "cell",
        "red cell",
        '"1"',
        '"a:b"',
        '"é"',
    ]
