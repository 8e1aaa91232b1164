"""Label files to class indices and back."""

import time

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from unet_exp.config import IGNORE_LABEL, ClassSpec
from unet_exp.errors import DataError
from unet_exp.samples.classes import (
    IGNORE_COLOR,
    choose_fill,
    colorize,
    decode,
    encode,
    name_values,
    object_ids,
)
from unet_exp.typed import dump_in_one_line

GREY = (
    ClassSpec(name="membrane", value=0, color=[213, 94, 0]),
    ClassSpec(name="cell", value=255, color=[0, 1, 2]),
)
RGB = (
    ClassSpec(name="sky", value=[0, 0, 255], color=[0, 0, 255]),
    ClassSpec(name="road", value=[128, 64, 128], color=[1, 2, 3]),
    ClassSpec(name="void", value=[9, 9, 9], color=[4, 5, 6]),
)


def grey(*values, dtype=np.uint8):
    return np.array(values, dtype)[None, :, None]


def failure(pixels, classes, path="labels/3.png", ignored=()):
    with pytest.raises(DataError) as caught:
        decode(pixels, classes, path, ignored)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


channel = st.integers(0, 255)


@st.composite
def cases(draw):
    values = channel if draw(st.booleans()) else st.lists(channel, min_size=3, max_size=3)
    drawn = draw(st.lists(values, min_size=2, max_size=40, unique_by=str))
    specs = [ClassSpec(name=f"c{i}", value=value, color=[i, 0, 0]) for i, value in enumerate(drawn)]
    ignore = specs.pop().value if draw(st.booleans()) else None
    indices = st.sampled_from([*range(len(specs)), *([IGNORE_LABEL] if ignore is not None else [])])
    return draw(arrays(np.uint8, st.tuples(*[st.integers(1, 8)] * 2), elements=indices)), specs, ignore


@st.composite
def groups_of_values(draw):
    """Classes of several values, some of which are ignored: grey ones or colours."""
    values = channel if draw(st.booleans()) else st.lists(channel, min_size=3, max_size=3)
    drawn = draw(st.lists(values, min_size=3, max_size=30, unique_by=str))
    owners = [0, 1, *draw(st.lists(st.integers(0, 4), min_size=len(drawn) - 2, max_size=len(drawn) - 2))]
    groups = [[value for value, owner in zip(drawn, owners, strict=True) if owner == number] for number in range(4)]
    classes = [
        ClassSpec(name=f"c{i}", value=first, also=also, color=[i, 0, 0])
        for i, (first, *also) in enumerate(group for group in groups if group)
    ]
    ignored = [value for value, owner in zip(drawn, owners, strict=True) if owner == 4]
    used = draw(arrays(np.int64, st.tuples(*[st.integers(1, 8)] * 2), elements=st.integers(0, len(drawn) - 1)))
    return np.array(drawn, np.uint8).reshape(len(drawn), -1)[used], classes, ignored


@settings(deadline=None)
@given(groups_of_values())
def test_each_value_of_a_class_means_it(case):
    pixels, classes, ignored = case
    label = decode(pixels, classes, "a.png", ignored)
    meant = {str(value): index for index, spec in enumerate(classes) for value in spec.values}
    meant |= {str(value): IGNORE_LABEL for value in ignored}
    for found, value in zip(label.ravel(), pixels.reshape(-1, pixels.shape[2]).tolist(), strict=True):
        assert found == meant[str(value[0] if len(value) == 1 else value)]
    known = label != IGNORE_LABEL
    written = encode(np.where(known, label, 0).astype(np.uint8), classes)
    for index, spec in enumerate(classes):
        assert (written[known & (label == index)] == spec.value).all()


def test_what_cityscapes_has():
    road = ClassSpec(name="road", value=7, also=[8], color=[128, 64, 128])
    car = ClassSpec(name="car", value=26, color=[0, 0, 142])
    ignored = [0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30, -1]
    pixels = grey(7, 8, 26, 0, 30, -1, dtype=np.int16).astype(np.int64)
    assert decode(pixels, [road, car], "a.png", ignored).tolist() == [[0, 0, 1, *[IGNORE_LABEL] * 3]]
    assert encode(np.array([[0, 1]], np.uint8), [road, car]).ravel().tolist() == [7, 26]
    assert choose_fill([road, car], [-1, 70000, 5, 6]) == 5
    assert choose_fill([road, car], [-1]) == 255
    assert choose_fill(RGB, [-1, 300, [1, 2, 3]]) == (1, 2, 3)
    assert "7 road, 8 road, 26 car, 0 ignored, 1 ignored" in failure(grey(11), [road, car], ignored=[0, 1])
    entries = name_values({0, 8, 26, 33}, [road, car])
    assert [(entry["name"], entry["value"], entry.get("also")) for entry in entries] == [
        ("class_0", 0, None), ("road", 7, [8]), ("car", 26, None), ("class_3", 33, None),
    ]  # fmt: skip


def test_every_ignored_number_and_colour_is_no_object():
    ids, ignored = object_ids(grey(0, 5, 9, 300, dtype=np.uint16), "a.tif", [9, [5, 5, 5], [1, 2, 3]])
    assert (ids.tolist(), ignored.tolist()) == ([[0, 0, 0, 300]], [[False, True, True, False]])


@settings(deadline=None)  # Other processes may share the machine.
@given(cases())
def test_decode_undoes_encode(case):
    label, classes, ignore = case
    pixels = encode(label, classes, ignore)
    assert pixels.shape == (*label.shape, 1 if isinstance(classes[0].value, int) else 3)
    back = decode(pixels, classes, "a.png", () if ignore is None else [ignore])
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, label)
    np.testing.assert_array_equal(encode(back, classes, ignore), pixels)


@given(st.sets(channel, min_size=2, max_size=12), st.sets(channel, min_size=2, max_size=6), st.randoms())
def test_proposed_classes_have_names_and_values_of_their_own(found, configured, random):
    names = random.sample(["background", "foreground", *(f"class_{number}" for number in range(14))], len(configured))
    classes = [
        ClassSpec(name=name, value=value, color=[0, 0, 0]) for name, value in zip(names, configured, strict=True)
    ]
    entries = yaml.safe_load(dump_in_one_line(name_values(found, classes)))
    assert [entry["value"] for entry in entries] == sorted(found)
    assert len({entry["name"] for entry in entries}) == len(found)
    kept = {spec.value: spec.name for spec in classes}
    assert all(entry["name"] == kept.get(entry["value"], entry["name"]) for entry in entries)


def test_254_classes():
    classes = [ClassSpec(name=str(i), value=255 - i, color=[i, i, i]) for i in range(254)]
    label = np.arange(254, dtype=np.uint8)[None]
    np.testing.assert_array_equal(decode(encode(label, classes), classes, "a.png"), label)


def test_forms_of_a_grey_file():
    want = [[0, 1, 1]]
    for pixels in (
        grey(0, 255, 255),
        np.repeat(grey(0, 255, 255), 3, axis=2),
        np.concatenate([np.repeat(grey(0, 255, 255), 3, axis=2), grey(255, 255, 255)], axis=2),
        grey(0, 255, 255, dtype=np.uint16),
        grey(0, 255, 255, dtype=np.float32),
    ):
        assert decode(pixels, GREY, "a.png").tolist() == want
    assert decode(grey(0, 9, 255), GREY, "a.png", [9]).tolist() == [[0, IGNORE_LABEL, 1]]


def test_forms_of_a_colour_file():
    pixels = np.array([[[0, 0, 255], [128, 64, 128], [9, 9, 9], [7, 7, 7]]], np.uint8)
    assert decode(pixels, RGB, "a.png", [7]).tolist() == [[0, 1, 2, IGNORE_LABEL]]
    assert decode(pixels.astype(np.uint16), RGB, "a.png", [[7, 7, 7]]).tolist() == [[0, 1, 2, IGNORE_LABEL]]
    assert decode(grey(9, 9), RGB, "a.png").tolist() == [[2, 2]]  # A grey file of a colour data set.


def test_unknown_values_are_listed():
    message = failure(grey(*[3] * 5, *range(20), 255), GREY)
    assert "24 pixels belong to no class: 3 x 6, 1 x 1, 2 x 1, 4 x 1, 5 x 1, 6 x 1, 7 x 1, 8 x 1 and 11 more" in message
    assert "known are 0 membrane, 255 cell" in message
    assert "JPEG" not in message
    assert "save labels as PNG" in failure(grey(3), GREY, "a.JPG")
    assert "7 ignored" in failure(grey(3), GREY, ignored=[7])
    message = failure(np.full((2, 3, 3), (1, 2, 3), np.uint8), RGB)
    assert "(1, 2, 3) x 6 (value x pixels); known are (0, 0, 255) sky, (128, 64, 128) road" in message
    assert "300 x 1" in failure(grey(300, dtype=np.uint16), GREY)


def test_files_that_are_no_labels():
    assert "fractional" in failure(grey(0.5, dtype=np.float32), GREY)
    assert "-1 x 1" in failure(grey(-1, dtype=np.float32), GREY)
    assert "transparent" in failure(np.zeros((2, 2, 4), np.uint8), GREY)
    assert "colour file" in failure(np.full((2, 2, 3), (1, 2, 3), np.uint8), GREY)
    assert "16-bit colours" in failure(np.full((2, 2, 3), 300, np.uint16), RGB)


@pytest.mark.parametrize("dtype", [np.int64, np.uint32, np.float64])
def test_numbers_of_objects_may_be_of_any_size(dtype):
    numbers = np.array([[0, 1, 65537], [70000, 1, 2**31]], dtype)[..., None]
    ids, ignored = object_ids(numbers.astype(np.int64), "a.tif", [70000])
    assert ids.tolist() == [[0, 1, 2], [0, 1, 3]]  # np.unique's order, without the ignored one
    assert ignored.tolist() == [[False, False, False], [True, False, False]]
    assert object_ids(grey(0, 9, 65535, dtype=np.uint16), "a.tif")[0].tolist() == [[0, 9, 65535]]


def test_negative_numbers_are_no_objects_unless_they_are_ignored():
    pixels = grey(-1, 0, 5, dtype=np.int64)
    with pytest.raises(DataError, match="1 pixels hold negative numbers, -1 the least"):
        object_ids(pixels, "a.tif")
    assert object_ids(pixels, "a.tif", [-1])[0].tolist() == [[0, 0, 5]]
    assert decode(grey(-1, 0, 255, 70000, dtype=np.int64)[:, :3], GREY, "a.tif", [-1]).tolist() == [
        [IGNORE_LABEL, 0, 1]
    ]
    assert "-1 x 1, 70000 x 1" in failure(grey(70000, -1, 0, dtype=np.int64), GREY)


def test_colorize():
    preview = colorize(np.array([[0, 1, IGNORE_LABEL]], np.uint8), GREY)
    assert preview.dtype == np.uint8
    assert preview.tolist() == [[[213, 94, 0], [0, 1, 2], list(IGNORE_COLOR)]]


@pytest.mark.parametrize("label", [np.array([[2]], np.uint8), np.array([[IGNORE_LABEL]], np.uint8), np.array([[0]])])
def test_encode_refuses_what_has_no_class(label):
    with pytest.raises(ValueError, match="indices below 2"):
        encode(label, GREY)


def test_mixed_values_are_refused():
    for call in (decode, encode):
        with pytest.raises(ValueError, match="all grey or all RGB"):
            call(grey(0), [GREY[0], RGB[0]], *(["a.png"] if call is decode else []))
    with pytest.raises(ValueError, match="must be one too"):
        decode(grey(0), GREY, "a.png", [[1, 2, 3]])


def test_it_is_fast():
    label = np.random.default_rng(0).integers(0, 3, (1024, 1024)).astype(np.uint8)
    start = time.perf_counter()
    np.testing.assert_array_equal(decode(encode(label, RGB), RGB, "a.png"), label)
    assert time.perf_counter() - start < 1
