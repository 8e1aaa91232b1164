"""Deformations of tensors are those of arrays."""

from typing import Any

import numpy as np
import pytest
import torch
from conftest import composed
from devices import on_each_device
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from patterns import Array, noise, numbers, smooth
from torch import Tensor

from unet_exp import augmentation
from unet_exp.augmentation import Window
from unet_exp.augmentation.on_device import (
    Lookup,
    change_values,
    describe_motion,
    describe_values,
    find_box,
    make_basis,
    stack_values,
)
from unet_exp.augmentation.paper import Deformation, Motion, fold, resample
from unet_exp.config import parse
from unet_exp.mirror import mirror_window

STILL = ("shift=0", "rotation=0", "flip=false", "std=0", "quarter_turns=false", "zoom=[1,1]")
MOTIONS = st.builds(
    Motion,
    angle=st.one_of(st.floats(-180, 180), st.sampled_from([0.0, 90.0, 180.0])),
    flip=st.booleans(),
    shift=st.tuples(st.floats(-30, 30), st.floats(-30, 30)),
    vectors=st.tuples(st.integers(2, 5), st.floats(0, 20), st.integers(0, 99)).map(
        lambda drawn: np.random.default_rng(drawn[2]).normal(0, drawn[1], (2, drawn[0], drawn[0]))
    ),
    knots=st.sampled_from(["border", "inside"]),
    zoom=st.floats(0.5, 2),
)
WINDOWS = st.tuples(st.integers(-50, 40), st.integers(-50, 40), st.integers(1, 60), st.integers(0, 9)).map(
    lambda parts: Window(*parts)
)


def looked_up(
    image: NDArray[np.float32], number: Array, motion: Motion, window: Window, device: str = "cpu"
) -> tuple[Tensor, Tensor]:
    """(C, S, S) and (S, S), as a batch of one."""
    height, width = number.shape
    box = find_box(motion.source(window), (height, width))
    inside = box.clip((height, width))
    described = describe_motion(motion, window, (height, width))
    batch = {name: value[None].to(device) for name, value in described.items()}
    lookup = Lookup(batch, make_basis(window.size, window.surround, motion.vectors.shape[-1], motion.knots).to(device))
    parts = torch.from_numpy(mirror_window(image, *box)).permute(2, 0, 1).contiguous()[None].to(device)
    maps = torch.from_numpy(mirror_window(number, *inside))[None].to(device)
    corners = (torch.tensor([corner[:2]]).to(device) for corner in (box, inside))
    patch = lookup.image(parts, next(corners), 0, window.side)
    return patch[0].cpu(), lookup.nearest(maps, next(corners), 0, window.side)[0].cpu()


@given(
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)), window=WINDOWS, motion=MOTIONS, channels=st.integers(1, 5)
)
@example((1, 1), Window(-300, -300, 60), Motion(30, True, (1, 2), noise(2, 3, 3) * 9, "border"), 2)
@example((2, 90), Window(-30, -30, 172), Motion(30, True, (1, 2), noise(2, 3, 3) * 9, "inside", 0.7), 1)
def test_patches_are_those_of_opencv(size: tuple[int, int], window: Window, motion: Motion, channels: int) -> None:
    image, number = smooth(*size, channels), numbers(*size)
    patch, where = resample(image, motion.source(window), number)
    found, found_where = looked_up(image, number, motion, window)
    # Where it folds, the image has a kink: there 1/64 px of OpenCV 4 tell most.
    assert np.abs(found.permute(1, 2, 0).numpy() - patch).max() < 0.02
    moved = found_where.numpy() != where
    assert moved.sum() <= max(2, 1e-3 * moved.size), "half way between two pixels either is the nearest"
    assert found_where.dtype == torch.int32


@given(
    places=arrays(np.float32, (2, 3, 3), elements=st.floats(-200, 200, width=32)),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_the_box_holds_all_places_and_not_much_more(places: NDArray[np.float32], size: tuple[int, int]) -> None:
    box = find_box(places, size)
    assert box.clip(size).height <= size[0]
    for line, length, start, count in zip(places, size, box[:2], box[2:], strict=True):
        between = np.linspace(line.min(), line.max(), 5000)  # a deformation leaves out none of them
        known = [fold(each.astype(np.float32), length) for each in (line, between)]
        assert start <= min(each.min() for each in known) - 1
        assert start + count >= max(each.max() for each in known) + 3
        assert start >= known[1].min() - 3.2
        assert start + count <= known[1].max() + 4.2


@on_each_device
def test_a_patch_of_the_paper_s_size(device: str) -> None:
    image, number = smooth(512, 512), numbers(512, 512)
    vectors = np.random.default_rng(0).normal(0, 10, (2, 3, 3))
    window, motion = Window(-92, 40, 572), Motion(33.0, True, (8.5, -3.25), vectors, "border")
    patch, where = resample(image, motion.source(window), number)
    found, found_where = looked_up(image, number, motion, window, device)
    assert np.abs(found.permute(1, 2, 0).numpy() - patch).max() < 0.01
    assert (found_where.numpy() != where).mean() < 1e-4


def test_the_place_in_a_large_image_costs_no_precision() -> None:
    image, number = noise(60_000, 8, 1), numbers(60_000, 8)
    motion = Motion(0.0, False, (0.2968, 0.0), np.random.default_rng(0).normal(0, 1, (2, 3, 3)), "border")
    far, far_where = looked_up(image, number, motion, Window(50_000, 0, 40))
    near, near_where = looked_up(image[49_900:50_100], number[49_900:50_100], motion, Window(100, 0, 40))
    torch.testing.assert_close(far, near, rtol=0, atol=1e-6)
    assert torch.equal(far_where, near_where)


# --- grey values ---


def deformation(word: str, *words: str) -> Deformation:
    found = augmentation.build(
        parse(composed(f"augmentation={word}", *(f"augmentation.{each}" for each in words))).augmentation
    )
    assert isinstance(found, Deformation)
    return found


def changed(augment: Deformation, image: NDArray[np.float32], device: str) -> Tensor:
    """(B, C, S, S) of the first 24 seeds."""
    drawn = [describe_values(augment.draw(seed)[1], image.shape) for seed in range(24)]  # type: ignore[arg-type]
    batch = {name: value.to(device) for name, value in stack_values(drawn).items()}
    images = torch.from_numpy(image.transpose(2, 0, 1).copy()).expand(24, -1, -1, -1)
    return change_values(images.to(device), batch).cpu()


@on_each_device
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "words",
    [
        (),
        ("probability=1",),
        ("gamma=[1,1]", "noise=0", "blur=9", "probability=1"),
        ("probability=0",),
    ],
)
def test_grey_values_change_as_they_do_on_the_cpu(channels: int, words: tuple[str, ...], device: str) -> None:
    image = smooth(40, 40, channels)
    augment = deformation("strong", *STILL, *words)
    found = changed(augment, image, device)
    for seed, patch in enumerate(found.permute(0, 2, 3, 1).numpy()):
        np.testing.assert_allclose(patch, augment(image, Window(0, 0, 40), seed)[0], atol=1e-4)


def test_those_of_the_paper_are_linear() -> None:
    augment, image = deformation("paper", "shift=0", "rotation=0", "std=0"), smooth(30, 30)
    for seed, patch in enumerate(changed(augment, image, "cpu").permute(0, 2, 3, 1).numpy()):
        np.testing.assert_allclose(patch, augment(image, Window(0, 0, 30), seed)[0], atol=1e-5)


def test_an_even_image_has_no_curve() -> None:
    even = np.full((20, 20, 1), 3.0, np.float32)
    words = (*STILL, "gamma=[0.5,2]", "blur=0", "noise=0", "contrast=0", "brightness=0", "probability=1")
    assert (changed(deformation("strong", *words), even, "cpu") == 3).all()


@pytest.mark.parametrize("word", ["paper", "strong"])
def test_equal_seeds_draw_equal_numbers_and_others_others(word: str) -> None:
    augment = deformation(word)

    def drawn(seed: int) -> tuple[Any, ...]:
        motion, grey = augment.draw(seed)
        return motion.angle, motion.flip, motion.shift, motion.zoom, motion.vectors.tobytes(), grey.gain, grey.gamma

    assert drawn(3) == drawn(3)
    assert len({drawn(seed)[0] for seed in range(50)}) == 50
