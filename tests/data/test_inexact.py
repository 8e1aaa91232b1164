"""Masks whose values are those of classes only nearly."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from own_images import load, mask, put
from PIL import Image

from unet_exp.config import IGNORE_LABEL, ClassSpec
from unet_exp.errors import DataError
from unet_exp.samples import inexact
from unet_exp.samples.classes import decode
from unet_exp.samples.inexact import snap

TWO = [ClassSpec(name=str(value), value=value, color=[0, 0, 0]) for value in (0, 255)]
KINDS = {np.uint8: st.integers(0, 255), np.uint16: st.integers(0, 65535), np.int64: st.integers(-(2**62), 2**62)}
KINDS[np.float32] = st.floats(-1e6, 1e6, width=32)


def to_classes(groups):
    return [ClassSpec(name=f"c{i}", value=v, also=also, color=[0, 0, 0]) for i, (v, *also) in enumerate(groups)]


def list_values(classes, ignored):
    return [*(value for spec in classes for value in spec.values), *ignored]


@st.composite
def greys(draw, colored=False):
    """Pixels of a type, classes with grey values, and ignored values."""
    kind = draw(st.sampled_from([*KINDS][: 2 if colored else 4]))
    drawn = draw(st.lists(st.integers(0, 400), min_size=2, max_size=9, unique=True))
    ignored = draw(st.lists(st.integers(-900, 70000).filter(lambda value: value not in drawn), max_size=3))
    half = draw(st.integers(1, len(drawn) - 1))
    if draw(st.booleans()):
        drawn.reverse()
    shape = (2, 3, 3 if colored else 1)
    near = st.integers(0, 255 if kind is np.uint8 else 450)
    pixels = draw(arrays(kind, shape, elements=near if draw(st.booleans()) else KINDS[kind]))
    return pixels, to_classes([drawn[:half], drawn[half:]]), ignored


def find_nearest(pixel, values):
    """The first of the values at the least distance, in exact arithmetic."""

    def distance(value):
        color = value if isinstance(value, list) else [value] * 3
        channels = list(pixel) * 3 if len(pixel) == 1 else pixel
        return sum((Fraction(one.item()) - other) ** 2 for one, other in zip(channels, color, strict=True))

    return min(values, key=distance)  # of equal ones the first


@settings(deadline=None)
@given(st.booleans().flatmap(lambda colored: greys(colored)))
def test_the_nearest_grey_is_that_of_a_plain_search(case):
    pixels, classes, ignored = case
    snapped, changed = snap(pixels, classes, ignored, "nearest", "a.png")
    values = list_values(classes, ignored)
    wanted = [[find_nearest(pixel, values) for pixel in row] for row in pixels]
    assert snapped[:, :, 0].tolist() == wanted
    assert changed == int((pixels != np.array(wanted)[:, :, None]).any(axis=2).sum())
    label = decode(snapped, classes, "a.png", ignored)
    assert ((label == IGNORE_LABEL) == np.isin(snapped[:, :, 0], ignored)).all()


@settings(deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 255), min_size=3, max_size=3), min_size=3, max_size=9, unique_by=str), st.data()
)
def test_the_nearest_colour_is_that_of_a_plain_search(colors, draws):
    classes, ignored = to_classes([colors[:2], colors[2:-1] or [[1, 2, 3]]]), [colors[-1], 300, -1]
    kind, channels = draws.draw(st.sampled_from([np.uint8, np.uint16, np.float32])), draws.draw(st.sampled_from([1, 3]))
    pixels = draws.draw(arrays(kind, (2, 4, channels), elements=KINDS[kind]))
    snapped, changed = snap(pixels, classes, ignored, "nearest", "a.png")
    values = list_values(classes, ignored[:1])
    wanted = [[find_nearest(pixel, values) for pixel in row] for row in pixels]
    assert snapped.dtype == np.uint8
    assert snapped.tolist() == wanted
    assert changed == int((pixels != np.array(wanted)).any(axis=2).sum())


@settings(deadline=None)
@given(st.booleans().flatmap(lambda colored: greys(colored)))
def test_a_threshold_is_half_way(case):
    pixels, (first, second), ignored = case
    snapped, _ = snap(pixels, [first, second], ignored, "threshold", "a.png")
    low, high = sorted((first.value, second.value))
    for pixel, got in zip(pixels.reshape(6, -1), snapped.ravel().tolist(), strict=True):
        parts = [Fraction(part.item()) for part in pixel]
        exact = len(set(parts)) == 1 and parts[0] in list_values([first, second], ignored)
        far = sum(parts) * 2 >= (low + high) * len(parts)
        assert got == (parts[0] if exact else high if far else low)


def test_forms_of_a_mask():
    row = np.array([0, 127, 128, 255, 60], np.uint8)[None, :, None]
    opaque = np.concatenate([np.repeat(row, 3, axis=2), np.full_like(row, 255)], axis=2)
    valid = np.array([[True, True, False, True, True]])
    for pixels in (row, row.astype(np.uint16), row.astype(np.float32), np.repeat(row, 3, axis=2), opaque):
        for how in ("nearest", "threshold"):
            snapped, changed = snap(pixels, TWO, [60], how, "a.png", valid)
            assert snapped.dtype == np.uint8
            assert snapped[0, :, 0].tolist() == ([0, 60, 60, 255, 60] if how == "nearest" else [0, 0, 255, 255, 60])
            assert changed == 1
    shares = np.array([0.2, 0.5, 0.8], np.float32)[None, :, None]
    assert snap(shares, to_classes([[0], [1]]), (), "threshold", "a.npy")[0].ravel().tolist() == [0, 1, 1]
    assert snap(shares, TWO, (), "threshold", "a.npy")[0].ravel().tolist() == [0, 0, 0]
    opaque[0, 1, 3] = 9
    with pytest.raises(DataError, match="a label file with transparent pixels"):
        snap(opaque, TWO, (), "nearest", "a.png")
    with pytest.raises(DataError, match="with 2 channels"):
        snap(row[:, :, [0, 0]], TWO, (), "nearest", "a.png")


@pytest.mark.parametrize("how", ["nearest", "threshold"])
@pytest.mark.parametrize("channels", [1, 3])
def test_large_masks_are_taken_by_parts(monkeypatch, how, channels):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, channels), np.uint8)
    whole = snap(pixels, TWO, [60], how, "a.png")
    monkeypatch.setattr(inexact, "_AT_A_TIME", 15)
    parts = snap(pixels, TWO, [60], how, "a.png")
    np.testing.assert_array_equal(parts[0], whole[0])
    assert parts[1] == whole[1]


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Masks in JPEG."""
    monkeypatch.setenv("UNET_EXP_CACHE", str(tmp_path / "cache"))
    for number in range(4):
        label = np.zeros((32, 32), np.uint8)
        label[4 + number : 20, 5:25] = 255
        put(tmp_path, number, np.zeros((32, 32, 1), np.uint8), label)
        (tmp_path / f"masks/{number}.png").unlink()
        Image.fromarray(label).save(tmp_path / f"masks/{number}.jpg", quality=50)
    return tmp_path


def test_masks_in_jpeg_are_told_and_read(root, capsys):
    stored = [np.asarray(Image.open(root / f"masks/{number}.jpg")) for number in range(4)]
    wrong = [float(((pixels != 0) & (pixels != 255)).mean()) for pixels in stored]
    with pytest.raises(DataError) as caught:
        load(root)
    percent = f"{100 * np.mean(wrong):.2g} %"
    assert str(caught.value).endswith(
        f"JPEG changes pixels: save masks as PNG, or type data.inexact=threshold, which gives {percent} of the pixels "
        "the value of the class on their side of half-way"
    )
    made = {}
    for how, which in (("threshold", "the class on their side of half-way"), ("nearest", "the nearest class")):
        capsys.readouterr()
        made[how] = load(root, f"data.inexact={how}")
        worst = max(range(4), key=lambda number: wrong[number])
        most = f"{root}/masks/{worst}.jpg ({100 * wrong[worst]:.2g} %)"
        told = f"data.inexact={how}: {percent} of the pixels of 4 masks were given the value of {which}, most in {most}"
        assert told in capsys.readouterr().out
    for of in made.values():
        for pixels, sample in zip(stored, (*of.train, *of.val, *of.test), strict=True):
            assert np.array_equal(sample.label, pixels > 127)


def test_other_words_look_at_the_masks_anew(root):
    first = load(root, "data.inexact=nearest").train[0].label
    low = load(root, "data.inexact=nearest", "data.classes=[{name: a, value: 250}, {name: b, value: 255}]").train[0]
    assert (low.label <= first).all()
    turned = load(root, "data.inexact=nearest", "data.classes=[{name: b, value: 255}, {name: a, value: 0}]").train[0]
    assert np.array_equal(turned.label, 1 - first)
    void = load(root, "data.inexact=nearest", "data.ignore=254").train[0]
    assert ((void.label == IGNORE_LABEL) | (void.label == first)).all()


def test_stray_pixels_and_smooth_resizing_name_the_word(tmp_path):
    for number in range(3):
        label = mask(64)
        label[3, :3] = 7
        put(tmp_path, number, np.zeros((64, 64, 1), np.uint8), label)
    with pytest.raises(
        DataError, match=r"correct the masks, or type data.inexact=threshold, which gives 0.073 % of the pi"
    ):
        load(tmp_path)
    for number in range(3):
        small = Image.fromarray(np.repeat(np.repeat(mask(8), 8, 0), 8, 1))
        put(
            tmp_path,
            number,
            np.zeros((60, 60, 1), np.uint8),
            np.asarray(small.resize((60, 60), Image.Resampling.BICUBIC)),
        )
    with pytest.raises(DataError, match=r"without interpolation, or type data.inexact=threshold, which gives \d+ % of"):
        load(tmp_path)
    load(tmp_path, "data.inexact=threshold")


def test_a_map_of_probabilities_names_the_word(tmp_path):
    shares = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    for number in range(3):
        put(tmp_path, number)
        (tmp_path / f"masks/{number}.png").unlink()
        np.save(tmp_path / f"masks/{number}.npy", shares)
    with pytest.raises(DataError, match=r"0.npy: a label file with fractional pixels; .* type data.inexact=nearest"):
        load(tmp_path)
    words = ["data.inexact=threshold", "data.classes=[{name: a, value: 0}, {name: b, value: 1}]"]
    assert np.array_equal(load(tmp_path, *words).train[0].label, shares >= 0.5)


def test_it_is_not_for_photographs(root):
    for number in range(4):
        Image.fromarray(np.full((32, 32), 90 + number, np.uint8)).save(root / f"masks/{number}.jpg")
    with pytest.raises(DataError) as caught:
        load(root)
    assert "inexact" not in str(caught.value)
