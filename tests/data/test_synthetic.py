"""The generator: deterministic, exact labels, no trivial pictures, and a cache that cannot hurt."""

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from skimage.metrics import adapted_rand_error
from skimage.segmentation import watershed

from unet_exp.cache_folder import find_cache_folder
from unet_exp.data.sets import synthetic
from unet_exp.data.sets.synthetic import (
    CELL,
    CLASSES,
    MANY_CLASSES,
    MEMBRANE,
    Micrograph,
    generate,
    generate_set,
)

FIELDS = ("image", "label", "instances")
TYPES = {"image": np.uint8, "label": np.uint8, "instances": np.int32}


def same(one: Micrograph, other: Micrograph) -> bool:
    return all(np.array_equal(getattr(one, field), getattr(other, field)) for field in FIELDS)


@pytest.fixture(scope="module")
def slices() -> list[Micrograph]:
    return [generate(320, 320, seed=0, index=index) for index in range(3)]


def test_equal_arguments_give_equal_pixels(slices):
    assert same(slices[0], generate(320, 320, seed=0, index=0))


@pytest.mark.parametrize(("seed", "index"), [(0, 1), (1, 0)])
def test_another_seed_or_index_gives_another_picture(seed, index):
    one, other = generate(96, 96, 0, 0), generate(96, 96, seed, index)
    assert not np.array_equal(one.image, other.image)
    assert not np.array_equal(one.label, other.label)


@pytest.mark.parametrize("shape", [(32, 32), (33, 47), (32, 250), (181, 64), (128, 96), (257, 300)])
@pytest.mark.parametrize("organelles", [False, True])
def test_any_size(shape, organelles):
    for index in range(3):
        made = generate(*shape, seed=5, index=index, organelles=organelles)
        for field in FIELDS:
            array = getattr(made, field)
            assert array.shape == shape
            assert array.dtype == TYPES[field]
        names = MANY_CLASSES if organelles else CLASSES
        assert made.label.max() < len(names)
        assert 0.1 < np.mean(made.label == MEMBRANE) < 0.7
        assert made.instances.max() >= 1


@pytest.mark.parametrize(("height", "width"), [(31, 64), (64, 0)])
def test_too_small_is_refused(height, width):
    with pytest.raises(ValueError, match="at least 32 px"):
        generate(height, width, 0, 0)


def test_negative_seed_is_refused():
    with pytest.raises(ValueError, match="0 or more"):
        generate(64, 64, -1, 0)


def test_shares_and_grey_levels_are_those_of_a_micrograph(slices):
    for made in slices:
        assert 0.15 < np.mean(made.label == MEMBRANE) < 0.35
        assert set(np.unique(made.label)) == {MEMBRANE, CELL}
        # The real slices: mean 117-137, standard deviation 40-46.
        assert 95 < made.image.mean() < 160
        assert 30 < made.image.std() < 50
        assert np.mean((made.image == 0) | (made.image == 255)) < 0.01


def test_cells_vary_in_size(slices):
    areas = np.concatenate([np.bincount(made.instances.ravel())[1:] for made in slices])
    assert np.percentile(areas, 90) > 10 * np.percentile(areas, 25)


def test_instances_are_the_4_connected_components_of_the_cells(slices):
    for made in slices:
        pieces, count = ndimage.label(made.label != MEMBRANE)  # SciPy's default is 4-connected
        assert count == made.instances.max()
        assert np.array_equal(made.instances > 0, made.label == CELL)
        pairs = np.unique(np.stack([pieces.ravel(), made.instances.ravel()]), axis=1)
        assert pairs.shape[1] == count + 1  # one to one, membrane to membrane


def test_many_classes_refine_the_two(slices):
    found = set()
    for index, plain in enumerate(slices):
        rich = generate(320, 320, seed=0, index=index, organelles=True)
        found |= set(np.unique(rich.label).tolist())
        assert np.array_equal(rich.image, plain.image)
        assert np.array_equal(rich.instances, plain.instances)
        assert np.array_equal(rich.label == MEMBRANE, plain.label == MEMBRANE)
    assert found == set(range(len(MANY_CLASSES)))
    assert len({colour for _, colour in MANY_CLASSES}) == len(MANY_CLASSES)


def rand_f(truth: np.ndarray, cells: np.ndarray) -> float:
    """Foreground-restricted adapted-Rand F of a cell mask whose borders are thinned by a watershed."""
    pieces, _ = ndimage.label(cells)
    proposal = watershed(~cells, pieces) if pieces.any() else pieces
    return 1 - adapted_rand_error(truth, proposal, ignore_labels=(0,))[0]


@pytest.mark.slow
def test_a_threshold_does_not_segment_the_cells(slices):
    scores = []  # each slice at its own best threshold; a slice with few faint spots may reach 0.86
    for made in slices:
        smoothed = [ndimage.gaussian_filter(made.image.astype(np.float32), sigma) for sigma in (1.0, 2.0)]
        levels = (8, 12, 16, 20, 25, 30, 40)
        masks = [smooth > np.percentile(smooth, level) for smooth in smoothed for level in levels]
        scores.append(max(rand_f(made.instances, mask) for mask in masks))
        assert rand_f(made.instances, made.label == CELL) > 0.999
    assert np.mean(scores) < 0.8


def test_a_threshold_does_not_find_the_membranes(slices):
    for made in slices:
        truth = made.label == MEMBRANE
        dark = [made.image < level for level in range(40, 200, 4)]
        iou = max(np.sum(mask & truth) / np.sum(mask | truth) for mask in dark)
        accuracy = max(np.mean(mask == truth) for mask in dark)
        assert 0.25 < iou < 0.7  # there is signal, and a threshold does not exhaust it
        assert accuracy < 0.93


def test_cache_is_read_on_the_second_call(tmp_path, monkeypatch):
    first = generate_set(2, 64, 48, seed=3, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1  # no side file is left

    def refuse(*_args):
        raise AssertionError("generated again")

    monkeypatch.setattr(synthetic, "generate", refuse)
    again = generate_set(2, 64, 48, seed=3, cache=tmp_path, workers=2)
    assert all(same(one, other) for one, other in zip(first, again, strict=True))
    for changed in ({"count": 3}, {"height": 65}, {"width": 49}, {"seed": 4}, {"organelles": True}):
        with pytest.raises(AssertionError, match="generated again"):
            generate_set(**{"count": 2, "height": 64, "width": 48, "seed": 3, **changed}, cache=tmp_path)
    monkeypatch.setattr(synthetic, "GENERATOR_VERSION", -1)
    with pytest.raises(AssertionError, match="generated again"):
        generate_set(2, 64, 48, seed=3, cache=tmp_path)


@pytest.mark.parametrize("damage", ["empty", "half", "flipped", "text", "other arrays", "other shape"])
def test_damaged_cache_is_regenerated(tmp_path, damage):
    first = generate_set(2, 64, 64, seed=3, cache=tmp_path)
    (path,) = tmp_path.iterdir()
    good = path.read_bytes()
    middle = len(good) // 2
    if damage == "other arrays":
        np.savez(path, image=np.zeros(3))
    elif damage == "other shape":
        np.savez(path, **{field: np.zeros((2, 8, 8), TYPES[field]) for field in FIELDS})
    else:
        flipped = good[:middle] + bytes(255 - value for value in good[middle : middle + 64]) + good[middle + 64 :]
        path.write_bytes({"empty": b"", "half": good[:middle], "flipped": flipped, "text": b"hello"}[damage])
    again = generate_set(2, 64, 64, seed=3, cache=tmp_path)
    assert all(same(one, other) for one, other in zip(first, again, strict=True))
    assert path.read_bytes() != b"hello"
    with np.load(path, allow_pickle=False) as file:
        assert np.array_equal(file["image"][0], first[0].image)


def test_unwritable_cache_is_no_error(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    made = generate_set(1, 64, 64, seed=3, cache=blocked / "cache")
    assert same(made[0], generate(64, 64, 3, 0))


def test_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def full(*_args, **_arrays):
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    assert len(generate_set(1, 64, 64, seed=3, cache=tmp_path)) == 1
    assert not list(tmp_path.iterdir())


def test_default_cache_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("UNET_EXP_CACHE", str(tmp_path))
    generate_set(1, 48, 48, seed=0)
    assert len(list(tmp_path.glob("*.npz"))) == 1
    monkeypatch.setenv("UNET_EXP_CACHE", "")
    assert find_cache_folder() is None
    monkeypatch.delenv("UNET_EXP_CACHE")
    assert find_cache_folder() == Path.home() / ".cache" / "unet_exp"


def test_workers_change_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("UNET_EXP_CACHE", "")
    alone, together = (generate_set(3, 64, 64, seed=9, workers=workers) for workers in (1, 3))
    assert all(same(one, other) for one, other in zip(alone, together, strict=True))
    assert not list(tmp_path.iterdir())


def test_an_empty_set_is_refused():
    with pytest.raises(ValueError, match="at least 1 image"):
        generate_set(0, 64, 64, seed=0)
