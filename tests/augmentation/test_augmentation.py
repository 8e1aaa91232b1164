"""`augmentation=paper`: its geometry, its deformation and the statistics of what it draws."""

from math import sqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from patterns import Array, noise, numbers, ramps, reflect, smooth
from scipy import interpolate, ndimage, stats

from unet_exp import augmentation
from unet_exp.augmentation import Augmentation, Window
from unet_exp.augmentation.paper import Motion, resample
from unet_exp.config import PaperAugmentationConfig

STILL = {"shift": 0, "rotation": 0, "flip": False, "grid": 3, "std": 0, "knots": "border", "contrast": 0,
         "brightness": 0}  # fmt: skip


def paper(**changes: Any) -> Augmentation:
    """The paper's augmentation with everything off but what is named."""
    return augmentation.build(PaperAugmentationConfig.model_validate({"name": "paper", **STILL, **changes}))


def motion(**changes: Any) -> Motion:
    still: dict[str, Any] = {"angle": 0.0, "flip": False, "shift": (0.0, 0.0), "knots": "border"}
    return Motion(**{**still, "vectors": np.zeros((2, 3, 3)), **changes})


def follows(values: Array, distribution: Any) -> bool:
    """Kolmogorov and Smirnov's test; values that do follow it fail once in 1,500 times, and seeds are fixed."""
    return bool(stats.kstest(values.ravel(), distribution.cdf).statistic < 2 / sqrt(values.size))


windows = st.tuples(st.integers(-70, 40), st.integers(-70, 40), st.integers(1, 90)).map(lambda parts: Window(*parts))
sizes = st.tuples(st.integers(1, 30), st.integers(1, 30))


# --- geometry ---


@given(size=sizes, window=windows, turns=st.integers(0, 3), flip=st.booleans())
def test_quarter_turns_and_mirror_images_are_exact(
    size: tuple[int, int], window: Window, turns: int, flip: bool
) -> None:
    image, number = noise(*size, 1), numbers(*size)
    patch, where = resample(image, motion(angle=90.0 * turns, flip=flip).source(window), number)
    for whole, cut in ((image, patch), (number, where)):
        expected = np.rot90(reflect(whole, window), turns)
        assert (cut == (np.fliplr(expected) if flip else expected)).all()


@given(size=sizes, window=windows, down=st.integers(-50, 50), right=st.integers(-50, 50))
def test_a_shift_is_another_window(size: tuple[int, int], window: Window, down: int, right: int) -> None:
    image, number = noise(*size, 2), numbers(*size)
    patch, where = resample(image, motion(shift=(down, right)).source(window), number)
    there = Window(window.top + down, window.left + right, window.size)
    assert (patch == reflect(image, there)).all()
    assert (where == reflect(number, there)).all()


def test_any_rotation_is_that_of_scipy() -> None:
    image = smooth(61, 61)
    for angle in (-170.0, -33.0, 10.0, 45.0, 121.5):
        (patch,) = resample(image, motion(angle=angle).source(Window(0, 0, 61)))
        expected = ndimage.rotate(image[..., 0], angle, reshape=False, order=3, mode="mirror")
        assert np.abs(patch[..., 0] - expected).max() < 0.02


@given(size=sizes, seed=st.integers(0, 10**6))
def test_what_leaves_the_image_is_mirrored_from_it(size: tuple[int, int], seed: int) -> None:
    image, number = smooth(*size), numbers(*size)
    random = np.random.default_rng(seed)
    window = Window(int(random.integers(-40, 20)), int(random.integers(-40, 20)), 50)
    moved = motion(angle=random.uniform(-180, 180), vectors=random.normal(0, 8, (2, 3, 3)))
    patch, where = resample(image, moved.source(window), number)
    around = 200
    whole, known = (reflect(array, Window(-around, -around, 2 * around + 30)) for array in (image, number))
    expected, there = resample(whole, moved.source(window) + np.float32(around), known)
    assert np.abs(patch - expected).max() < 0.02
    assert (where == there).mean() > 0.99  # a place midway between two pixels may fall to either


def test_images_larger_than_opencv_takes() -> None:
    tall = smooth(40_000, 50)
    moved = motion(angle=30.0, vectors=np.random.default_rng(0).normal(0, 5, (2, 3, 3)))
    for image in (tall, tall.transpose(1, 0, 2)):
        for start in (100, 34_000, 39_980):
            along, across = (start, 4) if image is tall else (4, start)
            patch, where = resample(image, moved.source(Window(along, across, 60)), numbers(*image.shape[:2]))
            assert np.abs(patch[..., 0] - image.ravel()[where]).max() < 0.2
            first = start - 1000
            part = image[first:] if image is tall else image[:, max(0, first) :]
            if first > 0:
                near = Window(1000, 4, 60) if image is tall else Window(4, 1000, 60)
                (expected,) = resample(part, moved.source(near))
                assert np.abs(patch - expected).max() < 0.02


# --- the elastic deformation ---


@pytest.mark.parametrize(
    ("grid", "knots", "places"),
    [(3, "border", (0, 22, 44)), (3, "inside", (7, 22, 37)), (5, "border", (0, 11, 22, 33, 44))],
)
def test_the_vectors_at_the_knots_are_gaussian_with_the_configured_deviation(
    grid: int, knots: str, places: tuple[int, ...]
) -> None:
    # Read off an image of coordinates; OpenCV's cubic shows a slope 0.05 px beside its place, which 20 px make small.
    image, count, here = ramps(345, 345), 500, slice(150, 195)
    augment = paper(std=20, grid=grid, knots=knots)
    moved = np.stack([augment(image, Window(150, 150, 45), seed)[0] for seed in range(count)]) - image[here, here]
    values = moved[:, places][:, :, places].reshape(count, -1)
    assert abs(values.mean()) < 0.8
    assert values.std() == pytest.approx(20, rel=0.03)
    assert np.allclose(values.std(axis=0), 20, rtol=0.15), "at each knot, down and right"
    assert np.abs(np.corrcoef(values.T) - np.eye(values.shape[1])).max() < 0.2, "independently"
    assert follows(values, stats.norm(0, 20))


def field(vectors: Array, window: Window, knots: str) -> Array:
    """(2, S, S) displacements of a motion that does nothing else."""
    still = motion(vectors=np.zeros_like(vectors)).source(window)
    return motion(vectors=vectors, knots=knots).source(window) - still


@pytest.mark.parametrize("grid", [2, 3, 4, 7])
def test_between_the_knots_the_field_is_a_bicubic_spline(grid: int) -> None:
    size = 83
    vectors = np.random.default_rng(grid).normal(0, 10, (2, grid, grid))
    border, inside = (field(vectors, Window(0, 0, size), knots) for knots in ("border", "inside"))
    at, pixels = np.linspace(0, size - 1, grid), np.arange(size)
    # Mirrored at the ends, it is the twice continuously differentiable cubic through the knots that ends flat.
    lines = interpolate.CubicSpline(at, vectors, axis=1, bc_type="clamped")(pixels)
    expected = interpolate.CubicSpline(at, lines, axis=2, bc_type="clamped")(pixels)
    np.testing.assert_allclose(border, expected, atol=1e-4)
    for found, mode, of_cells in ((border, "mirror", False), (inside, "nearest", True)):
        for component, vector in zip(found, vectors, strict=True):
            zoomed = ndimage.zoom(vector, size / grid, order=3, mode=mode, grid_mode=of_cells)
            np.testing.assert_allclose(component, zoomed, atol=1e-4)


@pytest.mark.parametrize("knots", ["border", "inside"])
def test_the_field_is_smooth(knots: str) -> None:
    # Of a twice continuously differentiable field, third differences fall with the cube of the pixel; of a less smooth
    # one with its square at most. The surround is part of it.
    vectors = np.random.default_rng(0).normal(0, 10, (2, 3, 3))
    coarse, fine = (
        np.abs(np.diff(field(vectors, Window(0, 0, size, size // 5), knots).astype(np.float64), 3)).max()
        for size in (60, 120)
    )
    assert coarse < 0.05
    assert coarse / fine > 6
    steps = np.abs(np.diff(field(vectors, Window(0, 0, 572), knots), 2))
    assert steps.max() < 20 * np.abs(vectors).max() / 286**2, "second differences, by the knots' distance"


def test_one_window_is_deformed_alike_at_any_place() -> None:
    vectors = np.random.default_rng(0).normal(0, 10, (2, 3, 3))
    near, far = (field(vectors, Window(top, 7, 50), "border") for top in (-500, 90))
    np.testing.assert_allclose(near, far, atol=1e-3)


# --- the ranges of the rest ---


def affine(count: int, **changes: Any) -> Array:
    """(count, 2, 3): the affine map of each patch, row and column from (row, column, 1) about the window's centre."""
    size, start = 41, 60
    image, augment = ramps(3 * start, 3 * start) - 80, paper(**changes)
    position = ramps(size, size).reshape(-1, 2) - 20
    known = np.concatenate([position, np.ones((len(position), 1))], axis=1)
    patches = [augment(image, Window(start, start, size), seed)[0].reshape(-1, 2) for seed in range(count)]
    return np.stack([np.linalg.lstsq(known, patch, rcond=None)[0].T for patch in patches])


@pytest.mark.parametrize("most", [180, 25])
def test_angles_are_uniform(most: float) -> None:
    maps = affine(300, rotation=most)
    angles = np.degrees(np.arctan2(maps[:, 0, 1], maps[:, 0, 0]))
    turned = np.radians(angles)
    expected = np.stack([np.cos(turned), np.sin(turned), -np.sin(turned), np.cos(turned)], axis=1)
    np.testing.assert_allclose(maps[:, :, :2].reshape(-1, 4), expected, atol=0.01)
    assert np.abs(maps[:, :, 2]).max() < 0.1, "about the centre"
    assert np.abs(angles).max() < most + 0.5
    assert follows(angles, stats.uniform(-most, 2 * most))


def test_shifts_are_uniform_along_each_axis_and_independent() -> None:
    maps = affine(300, shift=12)
    np.testing.assert_allclose(maps[:, :, :2], np.broadcast_to(np.eye(2), (300, 2, 2)), atol=1e-3)
    shifts = maps[:, :, 2]
    assert np.abs(shifts).max() < 12.1
    for axis in range(2):
        assert follows(shifts[:, axis], stats.uniform(-12, 24))
    assert abs(np.corrcoef(shifts.T)[0, 1]) < 0.15


def test_half_of_the_patches_are_mirrored_only_where_asked() -> None:
    mirrored, never = (np.linalg.det(affine(200, rotation=180, flip=flip)[:, :, :2]) < 0 for flip in (True, False))
    assert 70 < mirrored.sum() < 130
    assert not never.any()


def test_grey_values_change_linearly_by_one_draw_a_patch() -> None:
    image, label = noise(30, 30, 3), numbers(30, 30).astype(np.uint8)
    augment = paper(contrast=0.3, brightness=0.7)
    lines = []
    for seed in range(300):
        patch, moved = augment(image, Window(0, 0, 30), seed, label)
        gain, offset = np.polyfit(image.ravel(), patch.ravel(), 1)
        np.testing.assert_allclose(patch, gain * image + offset, atol=1e-5)
        assert (moved == label).all()
        lines.append((gain, offset))
    gains, offsets = np.array(lines).T
    assert follows(gains, stats.uniform(0.7, 0.6))
    assert follows(offsets, stats.uniform(-0.7, 1.4))
    assert abs(np.corrcoef(gains, offsets)[0, 1]) < 0.15


@given(
    changes=st.fixed_dictionaries(
        {
            "shift": st.floats(0, 300),
            "rotation": st.floats(0, 180),
            "flip": st.booleans(),
            "grid": st.integers(2, 9),
            "std": st.floats(0, 300),
            "knots": st.sampled_from(["border", "inside"]),
            "contrast": st.floats(0, 0.99),
            "brightness": st.floats(0, 10),
        }
    ),
    size=sizes,
    window=windows,
    seed=st.integers(0, 2**31 - 1),
)
def test_any_settings_give_finite_patches_of_the_image(
    changes: dict[str, Any], size: tuple[int, int], window: Window, seed: int
) -> None:
    image = noise(*size, 1)
    patch, where = paper(**changes)(image, window, seed, numbers(*size))
    assert np.isfinite(patch).all()
    assert where.min() >= 0
    assert where.max() < image.size
    most = 2 * np.abs(image).max() * (1 + changes["contrast"]) + changes["brightness"]
    assert np.abs(patch).max() <= most, "a cubic overshoots a little"
