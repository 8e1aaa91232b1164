"""What every augmentation promises, for every word of `conf/augmentation` but those of lists and own classes."""

import pickle
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest
from conftest import composed, options
from hypothesis import example, given
from hypothesis import strategies as st
from patterns import noise, numbers, ramps, reflect, smooth

from unet_exp import augmentation
from unet_exp.augmentation import Augmentation, Window
from unet_exp.config import IGNORE_LABEL, AugmentationConfig, parse
from unet_exp.samples.normalization import Normalization

WORDS = [word for word in options("augmentation") if word != "albumentations"]
ALL = {"flip": True, "probability": 1.0}
"""Whatever an augmentation can do is done."""
EXACT = {"gamma": (1.0, 1.0), "blur": 0.0, "noise": 0.0}
"""Grey values change linearly."""
OFF = EXACT | {"shift": 0.0, "rotation": 0.0, "flip": False, "std": 0.0, "contrast": 0.0, "brightness": 0.0}
OFF |= {"quarter_turns": False, "zoom": (1.0, 1.0)}
every = pytest.mark.parametrize("word", WORDS)


@cache
def config(word: str) -> AugmentationConfig:
    return parse(composed(f"augmentation={word}")).augmentation


def build(word: str, **changes: Any) -> Augmentation:
    """The word's augmentation with those of the changes for which it has a key."""
    as_configured = config(word)
    known = {key: value for key, value in changes.items() if key in type(as_configured).model_fields}
    return augmentation.build(as_configured.model_copy(update=known))


@every
def test_it_says_whether_it_deforms(word: str) -> None:
    assert build(word).deforms == ("std" in type(config(word)).model_fields)


@every
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_image_and_maps_are_moved_together_and_no_value_of_a_map_changes(word: str, channels: int) -> None:
    image, number = smooth(90, 120, channels), numbers(90, 120)
    random = np.random.default_rng(1)
    ids = random.integers(0, 2**31 - 1, (90, 120), endpoint=True).astype(np.int32)
    label = random.choice(np.array([0, 1, IGNORE_LABEL], np.uint8), (90, 120))
    weights = random.lognormal(0, 20, (90, 120)).astype(np.float32)
    before = [array.copy() for array in (image, number, ids, label, weights)]
    augment = build(word, **ALL, **EXACT)
    for seed in range(10):
        patch, where, *moved = augment(image, Window(-20, 30, 80), seed, number, ids, label, weights)
        assert patch.shape == (80, 80, channels)
        assert patch.dtype == np.float32
        for whole, cut in zip((ids, label, weights), moved, strict=True):
            assert cut.dtype == whole.dtype
            assert (cut == whole.ravel()[where]).all()
        found = image.reshape(-1, channels)[where]
        if augment.deforms:  # grey values change linearly; the nearest pixel is up to 0.7 px away
            for channel in range(channels):
                gain, offset = np.polyfit(found[..., channel].ravel(), patch[..., channel].ravel(), 1)
                assert np.abs(patch[..., channel] - gain * found[..., channel] - offset).max() < 0.25
        else:
            assert (patch == found).all()
    assert all((array == old).all() for array, old in zip((image, number, ids, label, weights), before, strict=True))


@every
def test_a_map_has_the_pixel_that_is_nearest_to_where_the_image_is_looked_up(word: str) -> None:
    image, number = ramps(200, 220), numbers(200, 220)
    augment = build(word, **ALL, **EXACT, contrast=0.0, brightness=0.0)
    for seed in range(10):
        place, where = augment(image, Window(70, 80, 60), seed, number)
        assert np.abs(place - image.reshape(-1, 2)[where]).max() < 0.55  # half a pixel, and the cubic's 1/32


@every
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    window=st.tuples(st.integers(-70, 40), st.integers(-70, 40), st.integers(1, 70), st.integers(0, 9)).map(
        lambda parts: Window(*parts)
    ),
    seed=st.integers(0, 2**31 - 1),
)
@example((1, 1), Window(-300, -300, 572), 3)
@example((1, 40), Window(400, 3, 64), 3)
@example((40, 1), Window(5, -2, 1), 3)
@example((2, 3), Window(-9, 2, 31, surround=17), 3)
@example((30, 20), Window(-300, -300, 572), 3)
def test_any_image_fills_any_window(word: str, size: tuple[int, int], window: Window, seed: int) -> None:
    patch, where = build(word, **ALL)(noise(*size, 2), window, seed, numbers(*size))
    assert patch.shape == (window.size, window.size, 2)
    assert np.isfinite(patch).all()
    assert where.shape == (window.side, window.side)
    assert where.min() >= 0
    assert where.max() < size[0] * size[1]


@every
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_any_kind_of_image(word: str, kind: type) -> None:
    augment = build(word)
    modes: tuple[Any, ...] = ("image", "none")
    for channels, mode in product((1, 3, 4, 6), modes):
        raw = np.random.default_rng(0).uniform(0, 1, (70, 80, channels))
        image = raw.astype(kind) if kind is np.float32 else (raw * np.iinfo(kind).max).astype(kind)
        normalized = Normalization(mode=mode)(image)
        before = normalized.copy()
        (patch,) = augment(normalized, Window(-5, 3, 72), 2)
        assert patch.shape == (72, 72, channels)
        assert patch.dtype == np.float32
        assert np.isfinite(patch).all()
        assert (normalized == before).all()


@every
def test_equal_seeds_cut_equally_with_any_maps_and_others_differently(word: str) -> None:
    image, number, window = noise(60, 60, 1), numbers(60, 60), Window(8, 8, 44)
    one, other = build(word), build(word)
    first = one(image, window, 5, number)
    other(image, window, 6)
    again = other(image, window, 5, number, number.astype(np.float32), number)
    assert (first[0] == again[0]).all()
    assert (first[1] == again[1]).all()
    assert (first[1] == again[3]).all()
    distinct = {one(image, window, seed)[0].tobytes() for seed in range(60)}
    assert len(distinct) == {"none": 1, "flips": 8}.get(word, 60)


@every
def test_a_surround_changes_the_size_of_the_maps_alone(word: str) -> None:
    image, number, augment = smooth(80, 90), numbers(80, 90), build(word, **ALL)
    for seed in range(5):
        patch, where = augment(image, Window(20, -3, 50), seed, number)
        again, far = augment(image, Window(20, -3, 50, surround=13), seed, number)
        near, middle = augment(image, Window(20, -3, 50, surround=-13), seed, number)
        assert [one.shape for one in (again, far, near, middle)] == [(50, 50, 1), (76, 76), (50, 50, 1), (24, 24)]
        np.testing.assert_allclose(again, patch, atol=1e-4 if word == "strong" else 1e-5)
        assert (far[13:-13, 13:-13] == where).mean() > 0.999
        assert (near == patch).all()
        assert (middle == where[13:-13, 13:-13]).all()


@pytest.mark.parametrize("word", [word for word in WORDS if word != "flips"])
@given(
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    window=st.tuples(st.integers(-70, 40), st.integers(-70, 40), st.integers(1, 90)).map(lambda parts: Window(*parts)),
    channels=st.sampled_from([1, 3, 5]),
    probability=st.sampled_from([0.0, 1.0]),
)
def test_with_everything_off_the_window_is_cut_as_it_is(
    word: str, size: tuple[int, int], window: Window, channels: int, probability: float
) -> None:
    image, number = noise(*size, channels), numbers(*size)
    patch, where = build(word, **OFF, probability=probability)(image, window, 0, number)
    assert (patch == reflect(image, window)).all()
    assert (where == reflect(number, window)).all()


@every
def test_it_can_be_sent_to_a_spawned_worker(word: str) -> None:
    augment, image, number = build(word), smooth(80, 80), numbers(80, 80)
    sent = pickle.loads(pickle.dumps(augment))
    for seed in range(3):
        for one, other in zip(*(each(image, Window(0, 0, 64), seed, number) for each in (sent, augment)), strict=True):
            assert (one == other).all()
