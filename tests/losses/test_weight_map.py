"""The weight map: hand-worked pixels, a slow computation from the definition, and what must hold for any label."""

from itertools import product
from math import exp, sqrt
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from drawings.weight_map import draw_weight_map
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage import measure

from unet_exp import cell_distances
from unet_exp.config import IGNORE_LABEL
from unet_exp.data.sets.synthetic import generate
from unet_exp.weight_map import border_term, find_instances, open_touching, reach

Where = Literal["background", "everywhere"]
BOTH: tuple[Where, ...] = ("background", "everywhere")

SHAPES = array_shapes(min_dims=2, max_dims=2, max_side=14)
INSTANCES = arrays(np.int32, SHAPES, elements=st.sampled_from([0, 0, 0, 1, 2, 3, 7]), fill=st.just(0))
LABELS = arrays(np.uint8, SHAPES, elements=st.sampled_from([0, 1, 1, 2, IGNORE_LABEL]))


def brute_force(instances: NDArray[Any], w0: float, sigma: float, where: Where) -> NDArray[np.float64]:
    """The definition, word by word: every distance from every pixel to every pixel of every cell."""
    weights = np.zeros(instances.shape)
    cells = [np.argwhere(instances == number) for number in np.unique(instances[instances > 0])]
    for pixel in np.ndindex(instances.shape):
        distances = sorted(np.hypot(*(cell - pixel).T).min() for cell in cells)
        if len(cells) >= 2 and (where == "everywhere" or not instances[pixel]):
            weights[pixel] = w0 * exp(-((distances[0] + distances[1]) ** 2) / (2 * sigma**2))
    return weights


def full_size(instances: NDArray[Any], w0: float, sigma: float, where: Where) -> NDArray[np.float64]:
    """The same by one transform of the whole image a cell."""
    nearest, second = (np.full(instances.shape, np.inf) for _ in range(2))
    for number in np.unique(instances[instances > 0]):
        distance = ndimage.distance_transform_edt(instances != number)
        second = np.minimum(second, np.maximum(nearest, distance))
        nearest = np.minimum(nearest, distance)
    weights: NDArray[np.float64] = w0 * np.exp(-((nearest + second) ** 2) / (2 * sigma**2))
    return np.where((instances == 0) | (where == "everywhere"), weights, 0)


def voronoi(seed: int, cells: int, side: int = 40) -> NDArray[np.int32]:
    """Cells that fill a square; each touches its neighbours."""
    points = np.random.default_rng(seed).random((cells, 2)) * side
    grid = np.stack(np.indices((side, side)), axis=-1)[:, :, None]
    return (((grid - points) ** 2).sum(-1).argmin(-1) + 1).astype(np.int32)


def touching(instances: NDArray[Any]) -> bool:
    """Whether two different ids are 8-neighbours."""
    rows, columns = instances.shape
    for down, right in product((-1, 0, 1), repeat=2):
        for row, column in np.ndindex(rows, columns):
            there = (row + down, column + right)
            if 0 <= there[0] < rows and 0 <= there[1] < columns:
                one, other = instances[row, column], instances[there]
                if one and other and one != other:
                    return True
    return False


def real_label(root: Path, index: int) -> NDArray[np.uint8]:
    return (np.asarray(Image.open(root / f"train/label/{index}.png").convert("L")) > 0).astype(np.uint8)


# --- the cells of a semantic label ---


def test_cells_are_4_connected_pixels_of_the_foreground() -> None:
    ignored = IGNORE_LABEL
    label = np.array(
        [
            [1, 1, 0, 1, 2],
            [0, 0, 1, 0, 2],
            [2, 0, ignored, ignored, 1],
        ],
        np.uint8,
    )
    found = find_instances(label)
    assert found.dtype == np.int32
    cells = {frozenset(map(tuple, np.argwhere(found == number).tolist())) for number in range(1, found.max() + 1)}
    assert cells == {
        frozenset({(0, 0), (0, 1)}),
        frozenset({(0, 3), (0, 4), (1, 4), (2, 4)}),
        frozenset({(1, 2)}),
        frozenset({(2, 0)}),
    }
    assert (found == 0).tolist() == ((label == 0) | (label == ignored)).tolist()


@given(label=LABELS)
def test_cells_are_those_of_an_independent_labelling(label: NDArray[np.uint8]) -> None:
    before = label.copy()
    found = find_instances(label)
    other = measure.label((label != IGNORE_LABEL) & (label != 0), connectivity=1)
    pairs = {(int(one), int(two)) for one, two in zip(found.flat, other.flat, strict=True)}
    assert len(pairs) == len({one for one, _ in pairs}) == len({two for _, two in pairs})
    assert set(np.unique(found)) - {0} == set(range(1, found.max() + 1))
    assert (label == before).all()


# --- touching cells are parted ---


@pytest.mark.parametrize("turned", [False, True])
def test_a_straight_border_gives_a_line_of_one_pixel(turned: bool) -> None:
    instances = np.repeat([[1, 1, 1, 2, 2, 2]], 5, axis=0).astype(np.int32)
    instances = instances.T if turned else instances
    label, parted = open_touching(np.ones(instances.shape, np.uint8), instances)
    line = (parted == 0).T if turned else parted == 0
    assert line.tolist() == [[False, False, True, False, False, False]] * 5
    assert ((label == 0) == (parted == 0)).all()


@pytest.mark.parametrize("flipped", [False, True])
def test_a_slanting_border_gives_a_staircase(flipped: bool) -> None:
    rows, columns = np.indices((6, 6))
    instances = np.where(rows + columns <= 5, 1, 2).astype(np.int32)
    instances = instances[:, ::-1] if flipped else instances
    _, parted = open_touching(np.ones((6, 6), np.uint8), instances)
    assert not touching(parted)
    # Two pixels a row: a diagonal of single ones would leave the cells neighbours across its corners.
    assert (parted == 0).sum() in (10, 11)
    assert_no_square(parted == 0)


def assert_no_square(line: NDArray[np.bool_]) -> None:
    assert not (line[1:, 1:] & line[1:, :-1] & line[:-1, 1:] & line[:-1, :-1]).any()


@given(seed=st.integers(0, 2**16))
def test_the_line_between_two_cells_is_thin_at_any_slope(seed: int) -> None:
    instances = voronoi(seed, cells=2)
    _, parted = open_touching(np.ones((40, 40), np.uint8), instances)
    assert not touching(parted)
    assert_no_square(parted == 0)
    # An end at the image's border aside, each pixel of it is needed.
    for row, column in np.argwhere(parted[1:-1, 1:-1] == 0) + 1:
        around = parted[row - 1 : row + 2, column - 1 : column + 2]
        close = min(row, column, 39 - row, 39 - column) <= 2
        assert close or ((around != 0) & (around != instances[row, column])).any()


@given(seed=st.integers(0, 2**16), cells=st.integers(3, 12))
def test_cells_that_fill_a_plane_keep_nearly_all_of_it(seed: int, cells: int) -> None:
    instances = voronoi(seed, cells)
    _, parted = open_touching(np.ones((40, 40), np.uint8), instances)
    assert not touching(parted)
    pairs = (instances[:, 1:] != instances[:, :-1]).sum() + (instances[1:] != instances[:-1]).sum()
    assert (parted == 0).sum() <= pairs + 2 * cells


@given(instances=INSTANCES, data=st.data())
def test_whatever_touches_is_parted_and_nothing_else_changes(instances: NDArray[np.int32], data: Any) -> None:
    label = data.draw(arrays(np.uint8, instances.shape, elements=st.sampled_from([0, 1, 2, IGNORE_LABEL])))
    before = label.copy(), instances.copy()
    opened, parted = open_touching(label, instances)
    assert (label == before[0]).all()
    assert (instances == before[1]).all()
    assert opened.dtype == np.uint8
    assert parted.dtype == np.int32
    assert not touching(parted)
    gone = parted != instances
    assert (parted[gone] == 0).all()
    assert (opened[gone & (label != IGNORE_LABEL)] == 0).all()
    assert (opened[~gone | (label == IGNORE_LABEL)] == label[~gone | (label == IGNORE_LABEL)]).all()
    if not touching(instances):
        assert not gone.any()
    opened[:], parted[:] = 9, 9
    assert (label == before[0]).all(), "the results are copies"
    assert (instances == before[1]).all()


# --- the distance term ---


def test_two_single_pixels_by_hand() -> None:
    instances = np.zeros((3, 5), np.int32)
    instances[1, 0], instances[1, 4] = 1, 2
    weights = border_term(instances, 10, 5, "background")
    assert weights.dtype == np.float32
    assert weights[1, 2] == pytest.approx(10 * exp(-16 / 50))  # 2 + 2
    assert weights[1, 1] == pytest.approx(10 * exp(-16 / 50))  # 1 + 3
    assert weights[0, 2] == pytest.approx(10 * exp(-20 / 50))  # sqrt 5 + sqrt 5
    assert weights[0, 0] == pytest.approx(10 * exp(-((1 + sqrt(17)) ** 2) / 50))
    assert weights[1, 0] == weights[1, 4] == 0
    inside = border_term(instances, 10, 5, "everywhere")
    assert inside[1, 0] == inside[1, 4] == pytest.approx(10 * exp(-16 / 50))  # 0 + 4
    assert (inside[instances == 0] == weights[instances == 0]).all()


def test_the_nearest_two_of_three_cells_count() -> None:
    instances = np.array([[1, 0, 0, 0, 2, 2, 0, 3]], np.int32)
    weights = border_term(instances, 4, 3, "background")[0]
    assert weights[1] == pytest.approx(4 * exp(-16 / 18))  # 1 + 3
    assert weights[6] == pytest.approx(4 * exp(-4 / 18))  # 1 + 1


def test_a_gap_of_one_pixel_weighs_the_same_at_any_place_of_a_long_border() -> None:
    label, instances = open_touching(np.ones((9, 9), np.uint8), np.repeat([[1] * 4 + [2] * 5], 9, axis=0))
    weights = border_term(instances, 10, 5, "background")
    assert weights[label == 0] == pytest.approx(10 * exp(-4 / 50))  # 1 + 1
    assert (weights[label == 1] == 0).all()


@pytest.mark.parametrize("where", BOTH)
@pytest.mark.parametrize("ids", [[0], [3], [0, 3]])
def test_fewer_than_two_cells_weigh_nothing(where: Where, ids: list[int]) -> None:
    instances = np.random.default_rng(0).choice(ids, (6, 9)).astype(np.int32)
    assert (border_term(instances, 10, 5, where) == 0).all()
    assert (border_term(instances[:1, :1], 10, 5, where) == 0).all()


@given(
    instances=INSTANCES,
    w0=st.sampled_from([0.0, 1e-7, 1e-6, 0.5, 10.0, 300.0]),
    sigma=st.sampled_from([1e-200, 0.1, 0.35, 1.0, 5.0, 60.0]),
    where=st.sampled_from(BOTH),
)
def test_equals_brute_force(instances: NDArray[np.int32], w0: float, sigma: float, where: Where) -> None:
    before = instances.copy()
    with np.errstate(all="raise", under="ignore"):
        weights = border_term(instances, w0, sigma, where)
    assert (instances == before).all()
    assert weights.shape == instances.shape
    expected = brute_force(instances, w0, max(sigma, 1e-100), where)
    np.testing.assert_allclose(weights, expected, rtol=2e-6, atol=2e-6)


@given(
    seed=st.integers(0, 2**16),
    shape=st.tuples(st.integers(32, 90), st.integers(32, 90)),
    sigma=st.floats(0.5, 12),
    where=st.sampled_from(BOTH),
)
def test_equals_full_size_transforms_on_micrographs(
    seed: int, shape: tuple[int, int], sigma: float, where: Where
) -> None:
    instances = generate(*shape, seed, 0).instances
    np.testing.assert_allclose(
        border_term(instances, 10, sigma, where), full_size(instances, 10, sigma, where), atol=1e-5
    )


@pytest.mark.parametrize("where", BOTH)
def test_a_sigma_beyond_the_image_weighs_all_of_it(where: Where) -> None:
    instances = generate(40, 60, 0, 0).instances
    for sigma in (40.0, 1e4):
        weights = border_term(instances, 10, sigma, where)
        np.testing.assert_allclose(weights, full_size(instances, 10, sigma, where), atol=1e-5)
    far = np.zeros((1, 300), np.int32)
    far[0, 0], far[0, 1] = 1, 2
    np.testing.assert_allclose(border_term(far, 10, 1e3, where), full_size(far, 10, 1e3, where), atol=1e-5)
    assert border_term(far, 10, 1e30, where)[0, -1] == 10


@given(instances=INSTANCES, where=st.sampled_from(BOTH), data=st.data())
def test_the_names_of_the_cells_do_not_matter(instances: NDArray[np.int32], where: Where, data: Any) -> None:
    names = data.draw(st.lists(st.integers(1, 2**31 - 1), min_size=8, max_size=8, unique=True))
    renamed = np.array([0, *names[1:]], np.int32)[instances]
    assert (border_term(renamed, 10, 5, where) == border_term(instances, 10, 5, where)).all()


def test_large_ids_in_an_image_without_background() -> None:
    instances = np.array([[2_000_000_000, 2_000_000_000, 7]], np.int32)
    expected = [10 * exp(-4 / 50), 10 * exp(-1 / 50), 10 * exp(-1 / 50)]  # 0 + 2, 0 + 1, 0 + 1
    assert border_term(instances, 10, 5, "everywhere")[0] == pytest.approx(expected)
    assert (border_term(instances, 10, 5, "background") == 0).all()


@given(instances=INSTANCES, where=st.sampled_from(BOTH))
def test_flips_and_turns_commute(instances: NDArray[np.int32], where: Where) -> None:
    weights = border_term(instances, 10, 5, where)
    for turns, mirrored in product(range(4), (False, True)):

        def moved(pixels: NDArray[Any], turns: int = turns, mirrored: bool = mirrored) -> NDArray[Any]:
            return np.rot90(pixels[:, ::-1] if mirrored else pixels, turns)

        assert (border_term(moved(instances), 10, 5, where) == moved(weights)).all()


def test_the_distances_are_exact_to_the_last_bit() -> None:
    # OpenCV's are not, and change with the place of the array in memory: a training could not be repeated.
    rows, columns = np.indices((60, 80))
    instances = np.zeros((60, 80), np.int32)
    instances[11, 17], instances[43, 52] = 1, 2
    squares = ((rows - 11) ** 2 + (columns - 17) ** 2, (rows - 43) ** 2 + (columns - 52) ** 2)
    total = sum(np.sqrt(square.astype(np.float32)) for square in squares)
    expected = 10 * np.exp(-0.5 * (total / 40.0) ** 2)
    assert (border_term(instances, 10, 40, "everywhere") == expected).all()


@given(instances=INSTANCES, w0=st.floats(1e-3, 1e3), sigma=st.floats(0.5, 50), where=st.sampled_from(BOTH))
def test_weights_lie_between_0_and_w0(instances: NDArray[np.int32], w0: float, sigma: float, where: Where) -> None:
    weights = border_term(instances, w0, sigma, where)
    assert (weights >= 0).all()
    assert (weights <= w0 * (1 + 1e-6)).all()
    if where == "background":
        assert (weights[instances > 0] == 0).all()


@given(
    instances=INSTANCES,
    sigma=st.sampled_from([0.4, 1.0, 5.0, 60.0]),
    where=st.sampled_from(BOTH),
    ends=st.tuples(*[st.integers(0, 14)] * 4),
)
def test_a_part_gets_the_weights_that_it_has_in_the_whole(
    instances: NDArray[np.int32], sigma: float, where: Where, ends: tuple[int, ...]
) -> None:
    part = slice(*sorted(ends[:2])), slice(*sorted(ends[2:]))
    weights = border_term(instances, 10, sigma, where, part)
    assert (weights == border_term(instances, 10, sigma, where)[part]).all()
    assert weights.shape == instances[part].shape


@given(seed=st.integers(0, 2**16), sigma=st.floats(0.3, 6), where=st.sampled_from(BOTH))
def test_what_lies_beyond_reach_of_a_part_changes_nothing(seed: int, sigma: float, where: Where) -> None:
    instances = generate(90, 100, seed, 0).instances
    around = int(np.ceil(reach(10, sigma)))
    top, left = max(0, 40 - around), max(0, 50 - around)
    seen = instances[top : 47 + around, left : 62 + around]
    part = border_term(seen, 10, sigma, where, (slice(40 - top, 47 - top), slice(50 - left, 62 - left)))
    assert (part == border_term(instances, 10, sigma, where)[40:47, 50:62]).all()


@given(
    instances=INSTANCES,
    farthest=st.floats(0.5, 60),
    wanted=arrays(np.bool_, (14, 14)),
    pixels=st.sampled_from([1, 30, 10**6]),
)
def test_the_two_distances_are_exact_wherever_they_count_and_however_the_work_is_parted(
    instances: NDArray[np.int32], farthest: float, wanted: NDArray[np.bool_], pixels: int
) -> None:
    asked = wanted[: instances.shape[0], : instances.shape[1]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cell_distances, "_BAND", pixels)
        patch.setattr(cell_distances, "_AT_ONCE", pixels)
        first, second = cell_distances.find_two_squares(instances, asked, farthest)
    assert len(first) == len(second) == asked.sum()
    cells = [np.argwhere(instances == number) for number in np.unique(instances[instances > 0])]
    for pixel, *found in zip(np.argwhere(asked), first, second, strict=True):
        squares = sorted(int(((cell - pixel) ** 2).sum(axis=1).min()) for cell in cells)
        if len(squares) >= 2 and sqrt(squares[0]) + sqrt(squares[1]) < farthest:
            assert found == squares[:2]
        else:
            assert np.sqrt(found).sum() >= farthest


# --- real labels ---


@pytest.mark.slow
@pytest.mark.parametrize("where", BOTH)
def test_a_whole_real_slice(isbi2012_root: Path, where: Where) -> None:
    label = real_label(isbi2012_root, 12)
    _, instances = open_touching(label, find_instances(label))
    assert instances.max() > 80
    np.testing.assert_allclose(border_term(instances, 10, 5, where), full_size(instances, 10, 5, where), atol=1e-5)


@pytest.mark.parametrize("index", [0, 7, 29])
def test_parts_of_real_slices(isbi2012_root: Path, index: int) -> None:
    label = real_label(isbi2012_root, index)[100:220, 60:230]
    opened, instances = open_touching(label, find_instances(label))
    assert not touching(instances)
    assert 0 <= (opened != label).sum() <= 5, "cells of this data touch at corners alone"
    for w0, sigma, where in ((10, 5, "background"), (10, 5, "everywhere"), (40, 11.5, "background")):
        fast = border_term(instances, w0, sigma, where)  # type: ignore[arg-type]
        np.testing.assert_allclose(fast, full_size(instances, w0, sigma, where), atol=1e-5)  # type: ignore[arg-type]


# --- its picture ---


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    draw_weight_map(tmp_path / "weights.png", 40)
    pixels = np.asarray(Image.open(tmp_path / "weights.png").convert("L"))
    assert pixels.shape[1] == 376
    assert 0.1 < (pixels < 200).mean() < 0.9
