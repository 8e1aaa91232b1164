"""How patches are cut and transformed: the paper's deformation and its statistics, and the targets that go with it."""

import pickle
from collections.abc import Callable
from functools import cache
from math import sqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import interpolate, ndimage, stats

from unet_exp import augmentation, losses
from unet_exp.augmentation import Augmentation, Window
from unet_exp.augmentation.paper import Motion, resample
from unet_exp.compose import compose_train
from unet_exp.config import IGNORE_LABEL, Config, PaperAugmentationConfig, parse
from unet_exp.config.learning import PlainAugmentationConfig
from unet_exp.data.normalization import Normalization
from unet_exp.data.samples import Sample
from unet_exp.data.sets.synthetic import generate
from unet_exp.losses import Targets
from unet_exp.training.patches import Draw, PatchDataset
from unet_exp.weight_map import border_term, find_instances

Array = NDArray[Any]
STILL = {"shift": 0, "rotation": 0, "flip": False, "grid": 3, "std": 0, "knots": "border", "contrast": 0,
         "brightness": 0}  # fmt: skip


def paper(**changes: Any) -> Augmentation:
    """The paper's augmentation with everything off but what is named."""
    return augmentation.build(PaperAugmentationConfig.model_validate({"name": "paper", **STILL, **changes}))


def plain(name: Any) -> Augmentation:
    return augmentation.build(PlainAugmentationConfig(name=name))


@cache
def config(*overrides: str) -> Config:
    return parse(compose_train(overrides))


def everything() -> Augmentation:
    """As `augmentation=paper` has it, and flips."""
    return augmentation.build(config("augmentation=paper", "augmentation.flip=true").augmentation)


EVERY: dict[str, Callable[[], Augmentation]] = {
    "none": lambda: plain("none"),
    "flips": lambda: plain("flips"),
    "paper": everything,
}


def motion(**changes: Any) -> Motion:
    still: dict[str, Any] = {"angle": 0.0, "flip": False, "shift": (0.0, 0.0), "knots": "border"}
    return Motion(**{**still, "vectors": np.zeros((2, 3, 3)), **changes})


def ramps(height: int, width: int) -> NDArray[np.float32]:
    """(H, W, 2): each pixel is its own row and column."""
    return np.stack(np.mgrid[:height, :width], axis=-1).astype(np.float32)


def numbers(height: int, width: int) -> NDArray[np.int32]:
    """(H, W): each pixel has a number of its own."""
    return np.arange(height * width, dtype=np.int32).reshape(height, width)


def smooth(height: int, width: int, channels: int = 1) -> NDArray[np.float32]:
    """(H, W, C) of some waves, their gradient at most 0.2 a pixel."""
    rows, columns, channel = np.ogrid[:height, :width, :channels]
    return (np.sin(rows / 9 + channel) * np.cos(columns / 11 - channel) + 0.3 * np.sin(columns / 7)).astype(np.float32)


def noise(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def reflected(image: Array, window: Window) -> Array:
    """The window by `numpy.pad`."""
    reach = [
        (max(0, -start), max(0, start + window.size - size))
        for start, size in zip((window.top, window.left), image.shape, strict=False)
    ]
    padded = np.pad(image, [*reach, *[(0, 0)] * (image.ndim - 2)], mode="reflect")
    top, left = window.top + reach[0][0], window.left + reach[1][0]
    return padded[top : top + window.size, left : left + window.size]


def follows(values: Array, distribution: Any) -> bool:
    """Kolmogorov and Smirnov's test; values that do follow it fail once in 1,500 times, and seeds are fixed."""
    return bool(stats.kstest(values.ravel(), distribution.cdf).statistic < 2 / sqrt(values.size))


windows = st.tuples(st.integers(-70, 40), st.integers(-70, 40), st.integers(1, 90)).map(lambda parts: Window(*parts))
sizes = st.tuples(st.integers(1, 30), st.integers(1, 30))


# --- the seam: what holds for every augmentation ---


def test_only_the_paper_s_deforms() -> None:
    assert {name: build().deforms for name, build in EVERY.items()} == {"none": False, "flips": False, "paper": True}


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_image_and_maps_are_moved_together_and_no_value_of_a_map_changes(name: str, channels: int) -> None:
    image, number = smooth(90, 120, channels), numbers(90, 120)
    random = np.random.default_rng(1)
    ids = random.integers(0, 2**31 - 1, (90, 120), endpoint=True).astype(np.int32)
    label = random.choice(np.array([0, 1, IGNORE_LABEL], np.uint8), (90, 120))
    weights = random.lognormal(0, 20, (90, 120)).astype(np.float32)
    before = [array.copy() for array in (image, number, ids, label, weights)]
    augment = EVERY[name]()
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


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (2, 3), (30, 20)])
def test_any_image_fills_any_window(name: str, size: tuple[int, int]) -> None:
    image, number = noise(*size, 2), numbers(*size)
    for window in (Window(-300, -300, 572), Window(5, -2, 1), Window(400, 3, 64), Window(-9, 2, 31, surround=17)):
        patch, where = EVERY[name]()(image, window, 3, number)
        assert patch.shape == (window.side, window.side, 2)
        assert np.isfinite(patch).all()
        assert where.min() >= 0
        assert where.max() < number.size


@pytest.mark.parametrize("name", EVERY)
def test_equal_seeds_cut_equally_with_any_maps_and_others_differently(name: str) -> None:
    image, number, window = noise(60, 60, 1), numbers(60, 60), Window(8, 8, 44)
    one, other = EVERY[name](), EVERY[name]()
    first = one(image, window, 5, number)
    other(image, window, 6)
    again = other(image, window, 5, number, number.astype(np.float32), number)
    assert (first[0] == again[0]).all()
    assert (first[1] == again[1]).all()
    assert (first[1] == again[3]).all()
    distinct = {one(image, window, seed)[0].tobytes() for seed in range(60)}
    assert len(distinct) == {"none": 1, "flips": 8, "paper": 60}[name]


@pytest.mark.parametrize("name", EVERY)
def test_a_surround_adds_to_the_same_patch(name: str) -> None:
    image, number = smooth(80, 90), numbers(80, 90)
    for seed in range(5):
        patch, where = EVERY[name]()(image, Window(20, -3, 50), seed, number)
        wide, far = EVERY[name]()(image, Window(20, -3, 50, surround=13), seed, number)
        assert wide.shape == (76, 76, 1)
        np.testing.assert_allclose(wide[13:-13, 13:-13], patch, atol=1e-5)
        assert (far[13:-13, 13:-13] == where).mean() > 0.999


# --- geometry ---


@given(size=sizes, window=windows, channels=st.sampled_from([1, 3, 5]))
def test_with_everything_off_the_window_is_cut_as_it_is(size: tuple[int, int], window: Window, channels: int) -> None:
    image, number = noise(*size, channels), numbers(*size)
    for augment in (paper(), plain("none")):
        patch, where = augment(image, window, 0, number)
        assert (patch == reflected(image, window)).all()
        assert (where == reflected(number, window)).all()


@given(size=sizes, window=windows, turns=st.integers(0, 3), flip=st.booleans())
def test_quarter_turns_and_mirror_images_are_exact(
    size: tuple[int, int], window: Window, turns: int, flip: bool
) -> None:
    image, number = noise(*size, 1), numbers(*size)
    patch, where = resample(image, motion(angle=90.0 * turns, flip=flip).source(window), number)
    for whole, cut in ((image, patch), (number, where)):
        expected = np.rot90(reflected(whole, window), turns)
        assert (cut == (np.fliplr(expected) if flip else expected)).all()


@given(size=sizes, window=windows, down=st.integers(-50, 50), right=st.integers(-50, 50))
def test_a_shift_is_another_window(size: tuple[int, int], window: Window, down: int, right: int) -> None:
    image, number = noise(*size, 2), numbers(*size)
    patch, where = resample(image, motion(shift=(down, right)).source(window), number)
    there = Window(window.top + down, window.left + right, window.size)
    assert (patch == reflected(image, there)).all()
    assert (where == reflected(number, there)).all()


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
    whole, known = (reflected(array, Window(-around, -around, 2 * around + 30)) for array in (image, number))
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


def test_image_and_label_agree_after_all_of_it() -> None:
    image = smooth(200, 200)
    label = (image[..., 0] > 0).astype(np.uint8)
    augment = paper(shift=20, rotation=180, flip=True, std=10)
    for seed in range(10):
        patch, moved = augment(image, Window(-30, 20, 160), seed, label)
        clear = np.abs(patch[..., 0]) > 0.15  # the gradient times the 0.7 px to the nearest pixel
        assert clear.mean() > 0.5
        assert (moved[clear] == (patch[..., 0] > 0)[clear]).all()


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


# --- the targets of a patch ---


class Watched:
    """An augmentation that remembers what it was asked for."""

    def __init__(self, inner: Augmentation) -> None:
        self._inner = inner
        self.deforms = inner.deforms
        self.calls: list[tuple[Window, int, tuple[Array, ...]]] = []

    def __call__(self, image: NDArray[np.float32], window: Window, seed: int, *maps: Array) -> tuple[Array, ...]:
        self.calls.append((window, seed, maps))
        return self._inner(image, window, seed, *maps)


class Counted:
    """Targets that remember how often they were asked."""

    def __init__(self, inner: Targets) -> None:
        self._inner = inner
        self.reach = inner.reach
        self.calls = 0

    def __call__(self, label: NDArray[np.uint8], instances: NDArray[np.int32] | None) -> Any:
        self.calls += 1
        return self._inner(label, instances)


def targets(*overrides: str) -> Targets:
    return losses.targets(config(*overrides).loss)


def cells(size: int = 120, index: int = 0, with_instances: bool = True) -> Sample:
    """A generated label beside an image that shows each pixel's row and column."""
    made = generate(size, size, 0, index)
    return Sample(str(index), ramps(size, size), made.label, made.instances if with_instances else None)


BORDER = ("loss=border_weighted",)
AS_IT_IS = Normalization(mode="none")


@pytest.mark.parametrize("name", ["none", "flips"])
@pytest.mark.parametrize("with_instances", [True, False])
def test_without_deformation_weights_are_the_whole_image_s_computed_once(name: str, with_instances: bool) -> None:
    samples = [cells(index=index, with_instances=with_instances) for index in range(2)]
    asked = Counted(targets(*BORDER))
    dataset = PatchDataset(samples, AS_IT_IS, 36, 60, plain(name), asked, 3)
    assert asked.calls == 0, "not before they are needed"
    for position in range(12):
        index = position % 2
        item = dataset[Draw(0, position, index)]
        label, weights = targets(*BORDER)(samples[index].label, samples[index].instances)  # type: ignore[arg-type]
        rows, columns = item["image"].numpy().astype(int)
        assert weights is not None
        assert item.keys() == {"image", "label", "weights"}
        assert item["weights"].numpy().dtype == np.float32
        assert (item["weights"].numpy() == weights[rows, columns]).all()
        assert (item["label"].numpy() == label[rows, columns]).all()
    assert asked.calls == 2


@pytest.mark.parametrize("with_instances", [True, False])
@pytest.mark.parametrize("input_size", [36, 41, 120])
def test_with_deformation_weights_are_those_of_the_deformed_label(input_size: int, with_instances: bool) -> None:
    sample, tile = cells(with_instances=with_instances), 36
    assert sample.label is not None
    watched = Watched(everything())
    dataset = PatchDataset([sample], AS_IT_IS, tile, input_size, watched, targets(*BORDER), 3)
    for position in range(4):
        item = dataset[Draw(0, position, 0)]
        assert {name: tuple(array.shape) for name, array in item.items()} == {
            "image": (2, input_size, input_size),
            "label": (input_size, input_size),
            "weights": (input_size, input_size),
        }
        window, seed, maps = watched.calls[-1]
        assert window.size == input_size, "what is drawn refers to the network's input alone"
        assert len(maps) == 2
        # Once more with ample surround, from the whole image's objects.
        whole = find_instances(sample.label) if sample.instances is None else sample.instances
        wide = window._replace(surround=70)
        patch, label, instances = everything()(sample.image.astype(np.float32), wide, seed, sample.label, whole)
        expected_label, expected = targets(*BORDER)(label, instances)
        assert expected is not None
        middle = (input_size - tile) // 2
        inner, outer = slice(middle, middle + tile), slice(70 + middle, 70 + middle + tile)
        np.testing.assert_allclose(item["image"][:, inner, inner], patch.transpose(2, 0, 1)[:, outer, outer], atol=1e-3)
        assert (item["label"].numpy()[inner, inner] == expected_label[outer, outer]).mean() > 0.999
        difference = np.abs(item["weights"].numpy()[inner, inner] - expected[outer, outer])
        assert (difference < 1e-3).mean() > 0.99


def test_the_distance_term_follows_the_deformed_label() -> None:
    sample = cells()
    unbalanced = targets(*BORDER, "loss.open_touching=false")
    dataset = PatchDataset([sample], AS_IT_IS, 100, 200, paper(rotation=180, std=10), unbalanced, 0)
    watched = Watched(paper(rotation=180, std=10))
    again = PatchDataset([sample], AS_IT_IS, 100, 200, watched, unbalanced, 0)
    for position in range(3):
        item = dataset[Draw(1, position, 0)]
        again[Draw(1, position, 0)]
        window, seed, maps = watched.calls[-1]
        _, instances = paper(rotation=180, std=10)(sample.image, window, seed, maps[1])
        expected = border_term(instances, w0=10, sigma=5, where="background")
        assert expected.max() > 5
        np.testing.assert_allclose(item["weights"].numpy(), expected, atol=1e-5)


def test_a_loss_without_weights_moves_the_label_alone() -> None:
    for build in (everything, lambda: plain("flips")):
        watched = Watched(build())
        item = PatchDataset([cells()], AS_IT_IS, 20, 44, watched, targets("loss=cross_entropy"), 0)[Draw(0, 0, 0)]
        assert item.keys() == {"image", "label"}
        ((window, _, maps),) = watched.calls
        assert (window.size, window.surround, len(maps)) == (44, 0, 1)


def test_the_loss_does_not_change_the_patches() -> None:
    sample = cells()
    plainly, weighted = (
        PatchDataset([sample], AS_IT_IS, 40, 44, everything(), targets(*words, "loss.class_weights=null"), 0)
        for words in (("loss=cross_entropy",), (*BORDER, "loss.open_touching=false"))
    )
    for position in range(3):
        one, other = (dataset[Draw(0, position, 0)] for dataset in (plainly, weighted))
        np.testing.assert_allclose(one["image"], other["image"], atol=1e-3)
        assert (one["label"] == other["label"]).float().mean() > 0.999


@pytest.mark.parametrize("name", EVERY)
def test_a_data_set_can_be_sent_to_a_spawned_worker(name: str) -> None:
    dataset = PatchDataset([cells()], AS_IT_IS, 36, 60, EVERY[name](), targets(*BORDER), 0)
    sent = pickle.loads(pickle.dumps(dataset))
    one, other = dataset[Draw(0, 1, 0)], sent[Draw(0, 1, 0)]
    assert one.keys() == other.keys()
    assert all((one[key] == other[key]).all() for key in one)
