"""From whole images to batches: mirroring, where patches lie, their order, their flips, and normalisation."""

import math
from collections import Counter
from functools import cache
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from patterns import in_memory
from resuming import differences
from torch import Tensor, nn

from unet_exp import augmentation, losses
from unet_exp.augmentation import Window
from unet_exp.checkpoints.record import CheckpointRecord
from unet_exp.compose import compose_train
from unet_exp.config import IGNORE_LABEL, ClassSpec, Config, parse
from unet_exp.geometry import input_for_output
from unet_exp.mirror import mirror_indices, mirror_window
from unet_exp.samples.data_set import DataSet
from unet_exp.samples.normalization import Normalization
from unet_exp.samples.sample import Sample
from unet_exp.training.datamodule import SegmentationData, count_classes, count_patches
from unet_exp.training.draws import Draw, Foreground, PatchSampler
from unet_exp.training.last_checkpoint import ResumableSampler
from unet_exp.training.module import SegmentationModule
from unet_exp.training.patches import PatchDataset

AS_IT_IS = Normalization(mode="none")
CLASSES = (
    ClassSpec(name="membrane", value=0, color=[0, 0, 0]),
    ClassSpec(name="cell", value=255, color=[255, 255, 255]),
)
SMALL = ("data.batch_size=2", "model.depth=3", "model.width=2", "data.tile=12", "trainer.channels_last=false")


@cache
def values(*overrides: str) -> dict[str, Any]:
    return compose_train(overrides)


@cache
def config(*overrides: str) -> Config:
    return parse(values(*overrides))


def flips() -> augmentation.Augmentation:
    return augmentation.build(config("augmentation=flips").augmentation)


def unchanged() -> augmentation.Augmentation:
    return augmentation.build(config("augmentation=none").augmentation)


def label_alone() -> losses.Targets:
    return losses.targets(config().loss)


def coordinates(height: int, width: int) -> Sample:
    """Each pixel is its own row and column, plus 1; the label is a number that follows from them."""
    rows, columns = np.mgrid[1 : height + 1, 1 : width + 1].astype(np.float32)
    image = np.stack([rows, columns], axis=-1)
    return Sample(f"{height}x{width}", image, label_of(image))


def label_of(image: NDArray[Any]) -> NDArray[np.uint8]:
    """The label that a (..., 2) image of coordinates has where it shows them."""
    return ((17 * image[..., 0] + 5 * image[..., 1]) % 251).astype(np.uint8)


def numpy_mirror(image: NDArray[Any], top: int, left: int, height: int, width: int) -> NDArray[Any]:
    """A window by `numpy.pad`, wide enough on every side."""
    reach = [(max(0, -start), max(0, start + length)) for start, length in ((top, height), (left, width))]
    pad = [*reach, *[(0, 0)] * (image.ndim - 2)]
    padded = np.pad(image, pad, mode="reflect")
    top, left = top + reach[0][0], left + reach[1][0]
    return padded[top : top + height, left : left + width]


def shown(labels: list[NDArray[np.uint8]], classes: int) -> NDArray[np.bool_]:
    """Which classes each label shows."""
    return np.array([[bool((label == index).any()) for index in range(classes)] for label in labels])


# --- mirroring ---


@given(start=st.integers(-60, 60), length=st.integers(0, 80), size=st.integers(1, 20))
@example(start=-1, length=3, size=1)
@example(start=-7, length=20, size=2)
def test_mirror_indices_are_those_of_numpy(start: int, length: int, size: int) -> None:
    before, after = max(0, -start), max(0, start + length - size)
    expected = np.pad(np.arange(size), (before, after), mode="reflect")[start + before :][:length]
    indices = mirror_indices(start, length, size)
    assert indices.dtype == np.intp
    assert indices.tolist() == expected.tolist()


def test_the_border_pixel_is_not_repeated() -> None:
    assert mirror_indices(-2, 8, 4).tolist() == [2, 1, 0, 1, 2, 3, 2, 1]


@given(
    top=st.integers(-30, 20),
    left=st.integers(-30, 20),
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    size=st.tuples(st.integers(2, 9), st.integers(2, 9)),
)
def test_mirrored_window_is_cut_from_the_mirrored_image(
    top: int, left: int, height: int, width: int, size: tuple[int, int]
) -> None:
    image = coordinates(*size).image
    window = mirror_window(image, top, left, height, width)
    assert window.flags.c_contiguous
    assert (window == numpy_mirror(image, top, left, height, width)).all()
    assert (mirror_window(image[..., 0], top, left, height, width) == window[..., 0]).all()


def test_a_window_is_a_copy() -> None:
    image = coordinates(4, 4).image
    mirror_window(image, 0, 0, 4, 4)[:] = 0
    assert image.min() == 1


# --- one patch ---


def patches(
    sample: Sample, tile: int, input_size: int, count: int, seed: int = 0, flip: bool = False
) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """`count` patches as (S, S, C) image and (T, T) label."""
    dataset = PatchDataset(
        in_memory([sample]), AS_IT_IS, tile, input_size, flips() if flip else unchanged(), label_alone(), seed
    )
    drawn = [dataset[Draw(0, position, 0)] for position in range(count)]
    return [(item["image"].permute(1, 2, 0).numpy(), item["label"].numpy()) for item in drawn]


@pytest.mark.parametrize("size", [(20, 20), (12, 31), (31, 12), (5, 40), (3, 4)])
@pytest.mark.parametrize(("tile", "input_size"), [(8, 8), (8, 24), (7, 16), (12, 61)])
def test_a_patch_is_a_window_of_the_mirrored_image_with_the_labelled_part_in_its_middle(
    size: tuple[int, int], tile: int, input_size: int
) -> None:
    sample = coordinates(*size)
    surround = (input_size - tile) // 2
    for image, label in patches(sample, tile, input_size, 15):
        assert image.shape == (input_size, input_size, 2)
        assert image.dtype == np.float32
        assert label.dtype == np.uint8
        middle = image[surround : surround + tile, surround : surround + tile]
        assert (label == label_of(middle)).all(), "the label is the middle of the image's"
        if tile <= min(size):  # every labelled pixel is a real one, in order and once
            top, left = (int(start) - 1 for start in middle[0, 0])
            assert 0 <= top <= size[0] - tile
            assert 0 <= left <= size[1] - tile
            assert (middle == sample.image[top : top + tile, left : left + tile]).all()
        else:
            # Along an axis on which the tile is larger the image lies in its middle; find where along the other.
            top, left = (
                (length - tile) // 2 if tile >= length else int(middle[..., axis].min()) - 1
                for axis, length in enumerate(size)
            )
        expected = numpy_mirror(sample.image, top - surround, left - surround, input_size, input_size)
        assert (image == expected).all()


@pytest.mark.parametrize(
    ("size", "tile"), [((20, 20), 8), ((20, 20), 7), ((12, 30), 8), ((30, 12), 11), ((9, 30), 9), ((16, 16), 15)]
)
def test_every_pixel_is_drawn_the_corners_too(size: tuple[int, int], tile: int) -> None:
    count = 1200
    seen = np.zeros(size, int)
    for image, _ in patches(coordinates(*size), tile, tile, count):
        top, left = (int(start) - 1 for start in image[0, 0])
        seen[top : top + tile, left : left + tile] += 1
    assert seen.sum() == count * tile**2
    # By axis: the centre falls into the last half tile, which moves the patch to the border, or the tile fits once. (A
    # uniform place would show a corner of 20 x 20 eight times less often.)
    shares = [1.0 if tile == length else ((tile + 1) // 2) / length for length in size]
    least = count * math.prod(shares)
    assert seen.min() > least - 4 * math.sqrt(least)


@pytest.mark.parametrize("size", [(5, 7), (8, 5), (8, 8), (5, 20)])
def test_a_tile_larger_than_the_image_holds_all_of_it(size: tuple[int, int]) -> None:
    sample = coordinates(*size)
    seen = set()
    for image, _ in patches(sample, 9, 21, 60):
        middle = image[6:15, 6:15]
        seen |= {(row, column) for row, column in middle.reshape(-1, 2).tolist()}
    assert seen == {(row, column) for row, column in sample.image.reshape(-1, 2).tolist()}


def test_a_patch_follows_from_seed_epoch_and_position_alone() -> None:
    samples = [coordinates(40, 50), coordinates(40, 50)]
    datasets = [PatchDataset(in_memory(samples), AS_IT_IS, 8, 12, flips(), label_alone(), seed) for seed in (3, 3, 4)]
    draw = Draw(epoch=2, position=5, image=1)
    first = datasets[0][draw]
    datasets[1][Draw(0, 0, 0)]  # what was drawn before does not matter
    again = datasets[1][draw]
    assert all(torch.equal(first[key], again[key]) for key in ("image", "label"))
    others = [
        datasets[0][Draw(2, 6, 1)],
        datasets[0][Draw(1, 5, 1)],
        datasets[0][Draw(5, 2, 1)],
        datasets[2][draw],
    ]
    assert not any(torch.equal(first["image"], other["image"]) for other in others)


def test_patches_are_cut_from_the_normalised_whole_image() -> None:
    sample = Sample("ramp", np.arange(400, dtype=np.uint8).reshape(20, 20, 1), np.zeros((20, 20), np.uint8))
    whole = Normalization(mode="image")(sample.image)
    dataset = PatchDataset(in_memory([sample]), Normalization(mode="image"), 8, 8, unchanged(), label_alone(), 0)
    patch = dataset[Draw(0, 0, 0)]["image"][0].numpy()
    windows = np.lib.stride_tricks.sliding_window_view(whole[..., 0], (8, 8)).reshape(-1, 8, 8)
    assert (windows == patch).all(axis=(1, 2)).any()


# --- flips ---


def test_flips_move_image_label_and_maps_together_and_all_eight_occur() -> None:
    sample = coordinates(6, 6)
    assert sample.label is not None
    assert len(np.unique(sample.label)) == 36
    depth = sample.image[..., 0] * 100 + sample.image[..., 1]
    far = (depth * 2).astype(np.float32)
    turns = [np.rot90(side, turn) for side in (depth, depth.T) for turn in range(4)]
    seen: Counter[int] = Counter()
    augment = flips()
    for seed in range(200):
        image, label, first, second = augment(sample.image, Window(0, 0, 6), seed, sample.label, far, sample.label)
        assert image.dtype == np.float32
        assert label.dtype == np.uint8
        assert (label == label_of(image)).all()
        moved = image[..., 0] * 100 + image[..., 1]
        assert (first == 2 * moved).all()
        assert (second == label).all()
        (variant,) = (index for index, turn in enumerate(turns) if (turn == moved).all())
        seen[variant] += 1
    assert set(seen) == set(range(8))
    assert min(seen.values()) > 8  # of 25 expected


def test_equal_seeds_flip_equally_with_and_without_maps() -> None:
    sample = coordinates(6, 6)
    assert sample.label is not None
    one, other = flips(), flips()
    for seed in range(10):
        image, label = one(sample.image, Window(0, 0, 6), seed, sample.label)
        again = other(sample.image, Window(0, 0, 6), seed, sample.label, sample.image[..., 0])
        assert (again[0] == image).all()
        assert (again[1] == label).all()
        assert len(again) == 3


@pytest.mark.parametrize("input_size", [8, 20])
def test_flipped_patches_keep_their_labelled_part(input_size: int) -> None:
    sample = coordinates(16, 24)
    surround = (input_size - 8) // 2
    turned = 0
    for (image, label), (plain, _) in zip(
        patches(sample, 8, input_size, 40, flip=True), patches(sample, 8, input_size, 40), strict=True
    ):
        assert (label == label_of(image)[surround : surround + 8, surround : surround + 8]).all()
        middle, expected = (x[surround : surround + 8, surround : surround + 8].reshape(-1, 2) for x in (image, plain))
        assert sorted(middle.tolist()) == sorted(expected.tolist())
        turned += not (image == plain).all()
    assert turned > 20


# --- the order of an epoch ---


def epoch_of(sampler: PatchSampler, epoch: int) -> list[Draw]:
    sampler.set_epoch(epoch)
    return list(sampler)


@given(images=st.integers(1, 12), tiles=st.integers(1, 40), seed=st.integers(0, 2**32 - 1), epochs=st.integers(1, 6))
@example(images=10, tiles=3, seed=0, epochs=5)
@example(images=3, tiles=4, seed=0, epochs=3)
def test_every_image_comes_equally_often(images: int, tiles: int, seed: int, epochs: int) -> None:
    sampler = PatchSampler(np.array([3] * images), tiles, seed)
    seen: Counter[int] = Counter(dict.fromkeys(range(images), 0))
    for epoch in range(epochs):
        draws = epoch_of(sampler, epoch)
        assert len(draws) == len(sampler) == tiles
        assert [draw.position for draw in draws] == list(range(tiles))
        assert {draw.epoch for draw in draws} == {epoch}
        seen.update(draw.image for draw in draws)
        assert set(seen) == set(range(images))
        assert max(seen.values()) - min(seen.values()) <= 1, "also after every epoch, whatever `tiles` is"


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    sampler = PatchSampler(np.array([1] * 10), 30, seed=1)
    third = epoch_of(sampler, 3)
    assert epoch_of(sampler, 3) == third
    assert epoch_of(PatchSampler(np.array([1] * 10), 30, seed=1), 3) == third
    orders = [
        [draw.image for draw in draws]
        for draws in (third, epoch_of(sampler, 4), epoch_of(PatchSampler(np.array([1] * 10), 30, seed=2), 3))
    ]
    assert len({tuple(order) for order in orders}) == 3
    assert orders[0] != sorted(orders[0])


def test_an_overfitting_run_draws_the_first_epoch_for_ever() -> None:
    sampler = PatchSampler(np.array([1] * 10), 4, seed=1, repeat=True)
    first = list(sampler)
    assert epoch_of(sampler, 7) == first
    assert first == epoch_of(PatchSampler(np.array([1] * 10), 4, seed=1), 0)


@pytest.mark.parametrize(("tiles", "world"), [(12, 1), (12, 2), (12, 3), (13, 2), (14, 4)])
def test_processes_share_an_epoch_without_overlap(tiles: int, world: int) -> None:
    whole = epoch_of(PatchSampler(np.array([4] * 5), tiles, seed=3), 2)
    parts = [
        epoch_of(PatchSampler(np.array([4] * 5), tiles, seed=3, rank=rank, world=world), 2) for rank in range(world)
    ]
    assert {len(part) for part in parts} == {tiles // world}, "all processes take the same number of steps"
    together = sorted(draw for part in parts for draw in part)
    assert together == whole[: tiles // world * world]


@given(
    shares=st.lists(st.integers(1, 30), min_size=1, max_size=9),
    tiles=st.integers(1, 60),
    seed=st.integers(0, 2**32 - 1),
)
@example(shares=[256, *[1] * 14], tiles=7, seed=0)
@example(shares=[1, *[50] * 8], tiles=60, seed=0)
def test_images_come_in_proportion_to_their_shares_after_each_epoch(shares: list[int], tiles: int, seed: int) -> None:
    sampler = PatchSampler(np.array(shares), tiles, seed)
    seen: Counter[int] = Counter()
    for epoch in range(5):
        seen.update(draw.image for draw in epoch_of(sampler, epoch))
        for image, share in enumerate(shares):
            assert abs(seen[image] - seen.total() * share / sum(shares)) < 1


@given(images=st.integers(1, 12), share=st.integers(1, 5), tiles=st.integers(1, 40), epoch=st.integers(0, 5))
def test_images_of_one_size_come_as_they_always_did(images: int, share: int, tiles: int, epoch: int) -> None:
    order = np.random.default_rng([7, epoch]).permutation(tiles) + epoch * tiles
    drawn = epoch_of(PatchSampler(np.array([share] * images), tiles, seed=7), epoch)
    assert drawn == [Draw(epoch, position, int(number) % images) for position, number in enumerate(order)]


def test_how_many_tiles_cover_all_images() -> None:
    samples = [coordinates(16, 16), coordinates(17, 8), coordinates(3, 30)]
    assert count_patches(in_memory(samples).facts.sizes, 8).sum() == 4 + 3 * 1 + 1 * 4


# --- patches that are centred on a class ---


def masked(*labels: NDArray[np.uint8]) -> list[Sample]:
    """Samples with these labels, whose pixels are their own row and column."""
    return [
        Sample(str(number), np.stack(np.indices(label.shape), axis=-1).astype(np.float32), label)
        for number, label in enumerate(labels)
    ]


def centred(sample: Sample, category: int, tile: int, count: int) -> list[tuple[int, int]]:
    """First row and column of patches of a class."""
    dataset = PatchDataset(in_memory([sample]), AS_IT_IS, tile, tile, unchanged(), label_alone(), 0)
    corners = (dataset[Draw(0, number, 0, category)]["image"][:, 0, 0].int().tolist() for number in range(count))
    return [(top, left) for top, left in corners]


def test_a_patch_lies_around_each_pixel_of_its_class_equally_often() -> None:
    label = np.zeros((40, 30), np.uint8)
    label[20, [10, 11, 12]] = 2
    label[21, 11] = label[9, 19] = 2
    label[20, 13], label[21, 12] = IGNORE_LABEL, 1
    corners = Counter(centred(masked(label)[0], 2, tile=9, count=1000))
    assert set(corners) == {(row - 4, column - 4) for row, column in np.argwhere(label == 2).tolist()}
    assert all(abs(count - 200) < 5 * math.sqrt(160) for count in corners.values())


@pytest.mark.parametrize(
    ("pixel", "tile", "corner"),
    [
        ((0, 0), 8, (0, 0)),
        ((39, 29), 8, (32, 22)),
        ((2, 20), 8, (0, 16)),
        ((20, 20), 7, (17, 17)),
        ((35, 5), 30, (10, 0)),
        ((39, 0), 40, (0, -5)),  # the image lies in the middle of a patch that is wider
    ],
)
def test_a_patch_around_a_pixel_at_the_border_is_moved_back(
    pixel: tuple[int, int], tile: int, corner: tuple[int, int]
) -> None:
    label = np.zeros((40, 30), np.uint8)
    label[pixel] = 1
    (sample,) = masked(label)
    dataset = PatchDataset(in_memory([sample]), AS_IT_IS, tile, tile, unchanged(), label_alone(), 0)
    patch = dataset[Draw(0, 0, 0, 1)]
    expected = numpy_mirror(sample.image, *corner, tile, tile)
    assert (patch["image"].permute(1, 2, 0).numpy() == expected).all()
    assert (patch["label"] == 1).any()


def test_each_class_is_drawn_as_often_however_few_images_show_it() -> None:
    common, both, none = (np.zeros((16, 16), np.uint8) for _ in range(3))
    common[3, 3], both[4, 4], both[5, 5], none[6, 6] = 1, 1, 3, IGNORE_LABEL
    labels, shares = [common, both, none], [1, 3, 5]
    sampler = PatchSampler(np.array(shares), 400, 0, foreground=Foreground(shown(labels, 5), np.array(shares), 0.5))
    drawn = [draw for epoch in range(10) for draw in epoch_of(sampler, epoch)]
    chosen = Counter((draw.centre, draw.image) for draw in drawn if draw.centre is not None)
    assert chosen.total() == 2000
    expected = {(1, 0): 250, (1, 1): 750, (3, 1): 1000}
    assert chosen.keys() == expected.keys()
    assert all(abs(chosen[key] - count) < 5 * math.sqrt(count) for key, count in expected.items())
    plain = [draw for epoch in range(10) for draw in epoch_of(PatchSampler(np.array(shares), 400, 0), epoch)]
    others = [(draw, same) for draw, same in zip(drawn, plain, strict=True) if draw.centre is None]
    assert len(others) == 2000
    assert all(draw == same for draw, same in others)


@pytest.mark.parametrize("share", [0.05, 0.33, 1.0])
def test_the_share_of_centred_patches_is_kept_over_few_tiles_and_many_epochs(share: float) -> None:
    label = np.ones((8, 8), np.uint8)
    sampler = PatchSampler(np.array([1]), 3, 0, foreground=Foreground(shown([label], 2), np.array([1]), share))
    centres = 0
    for epoch in range(40):
        centres += sum(draw.centre is not None for draw in epoch_of(sampler, epoch))
        assert abs(centres - share * 3 * (epoch + 1)) <= 1


def test_each_process_has_its_share_of_centred_patches() -> None:
    foreground = Foreground(shown([np.ones((8, 8), np.uint8)], 2), np.array([1]), 0.5)
    for rank in range(2):
        sampler = PatchSampler(np.array([1]), 40, 0, rank=rank, world=2, foreground=foreground)
        assert sum(draw.centre is not None for draw in epoch_of(sampler, 0)) == 10


def test_without_any_foreground_patches_lie_anywhere() -> None:
    label = np.zeros((8, 8), np.uint8)
    label[:4] = IGNORE_LABEL
    sampler = PatchSampler(np.array([1]), 30, 0, foreground=Foreground(shown([label], 3), np.array([1]), 1.0))
    assert epoch_of(sampler, 2) == epoch_of(PatchSampler(np.array([1]), 30, 0), 2)


# --- the DataModule ---


def data_set(*sizes: tuple[int, int]) -> DataSet:
    random = np.random.default_rng(0)
    samples = [
        Sample(
            f"image{index}", random.integers(0, 256, (*size, 1), np.uint8), random.integers(0, 2, size).astype(np.uint8)
        )
        for index, size in enumerate(sizes)
    ]
    return DataSet.of(samples, samples[:2], (), (), CLASSES, channels=1)


def epoch_batches(data: SegmentationData, epoch: int) -> list[dict[str, Tensor]]:
    loader = data.train_dataloader()
    assert isinstance(loader.sampler, PatchSampler)
    loader.sampler.set_epoch(epoch)
    return list(loader)


def test_no_thread_of_opencv_holds_a_lock_when_workers_are_forked() -> None:
    cv2.setNumThreads(2)
    data = SegmentationData(config(*SMALL, "data.num_workers=2"), data_set((30, 40)), AS_IT_IS)
    data.val_dataloader()
    assert cv2.getNumThreads() == 2
    data.train_dataloader()
    assert cv2.getNumThreads() == 1


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("words", [("augmentation=flips",), ("augmentation=paper", "loss=border_weighted")])
def test_batches_are_equal_for_any_number_of_workers(words: tuple[str, ...]) -> None:
    dataset = data_set((30, 40), (20, 20), (25, 12))
    alone, shared = (
        epoch_batches(SegmentationData(config(*SMALL, *words, f"data.num_workers={workers}"), dataset, AS_IT_IS), 3)
        for workers in (0, 2)
    )
    assert len(alone) == len(shared) > 2
    for one, other in zip(alone, shared, strict=True):
        assert not list(differences(one, other))
    distinct = {item.numpy().tobytes() for batch in shared for item in batch["image"]}
    assert len(distinct) == sum(len(batch["image"]) for batch in shared), "no worker draws what another drew"


def test_epochs_differ_and_the_loader_leaves_torch_alone() -> None:
    data = SegmentationData(config(*SMALL, "augmentation=flips"), data_set((30, 40), (20, 20)), AS_IT_IS)
    before = torch.get_rng_state()
    first, again, second = (epoch_batches(data, epoch) for epoch in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(one["image"], other["image"]) for one, other in zip(first, again, strict=True))
    assert not any(torch.equal(one["image"], other["image"]) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize(
    ("overrides", "tiles", "batches"),
    [
        ((), 4 * 3 + 2 * 2, 8),  # 40 x 30 and 20 x 20 by 12
        (("data.tiles_per_epoch=5",), 5, 3),
        (("trainer.limit_batches=3",), 16, 3),
        (("trainer.limit_batches=30",), 16, 8),
        (("trainer.overfit=true",), 2, 1),
    ],
)
def test_tiles_and_batches_of_an_epoch(overrides: tuple[str, ...], tiles: int, batches: int) -> None:
    data = SegmentationData(config(*SMALL, *overrides), data_set((40, 30), (20, 20)), AS_IT_IS)
    assert (data.tiles, data.batches) == (tiles, batches)
    shared = SegmentationData(config(*SMALL, *overrides), data_set((40, 30), (20, 20)), AS_IT_IS, processes=2)
    assert shared.batches == min(-(-(tiles // 2) // 2), config(*overrides).trainer.limit_batches or tiles)
    loader = data.train_dataloader()
    assert len(loader.sampler) == tiles  # type: ignore[arg-type]
    assert min(len(loader), data.batches) == batches


@pytest.mark.parametrize(
    ("words", "large"), [((), 256), (("data.tiles_per_epoch=27",), 25.6), (("data.sampling=image",), 18)]
)
def test_a_large_image_among_small_ones_is_seen_by_its_area(words: tuple[str, ...], large: float) -> None:
    data = SegmentationData(config("data.tile=16", *words), data_set((256, 256), *[(16, 16)] * 14), AS_IT_IS)
    sampler = data.train_dataloader().sampler
    assert isinstance(sampler, PatchSampler)
    seen: Counter[int] = Counter()
    for epoch in range(10):
        seen.update(draw.image for draw in epoch_of(sampler, epoch))
        assert abs(seen[0] - large * (epoch + 1)) < 1
        small = (data.tiles - large) / 14 * (epoch + 1)
        assert all(abs(seen[image] - small) < 1 for image in range(1, 15))


@pytest.mark.parametrize("words", [("data.sampling=area",), ("data.sampling=image",)])
def test_images_of_one_size_give_the_batches_that_they_always_gave(words: tuple[str, ...]) -> None:
    dataset = data_set((20, 30), (20, 30), (20, 30))
    data = SegmentationData(config(*SMALL, "augmentation=none", "model=same", *words), dataset, AS_IT_IS)
    for epoch in (0, 3):
        found = torch.cat([batch["image"] for batch in epoch_batches(data, epoch)])[:, 0]
        order = (np.random.default_rng([0, epoch]).permutation(18) + epoch * 18) % 3
        for position, patch in enumerate(found.numpy()):
            random = np.random.default_rng([0, epoch, position])
            top, left = (np.clip(random.integers(-6, size - 6), 0, size - 12) for size in (20, 30))
            whole = AS_IT_IS(dataset.train[order[position]].image)[..., 0]
            assert (patch == whole[top : top + 12, left : left + 12]).all()


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_centred_patches_are_equal_for_any_number_of_workers_and_after_a_resume() -> None:
    words = (*SMALL, "augmentation=flips", "data.foreground_share=0.5")
    dataset = data_set((30, 40), (20, 20), (25, 12))
    data = SegmentationData(config(*words), dataset, AS_IT_IS)
    first = epoch_batches(data, 3)
    shared = epoch_batches(SegmentationData(config(*words, "data.num_workers=2"), dataset, AS_IT_IS), 3)
    loader = data.train_dataloader()
    assert isinstance(loader.sampler, ResumableSampler)
    loader.sampler.start_at(3, 4)
    for batches in (shared, first[:2] + list(loader)):
        assert len(batches) == len(first)
        for one, other in zip(first, batches, strict=True):
            assert not list(differences(one, other))
    plain = epoch_batches(SegmentationData(config(*SMALL, "augmentation=flips"), dataset, AS_IT_IS), 3)
    assert any(not torch.equal(one["image"], other["image"]) for one, other in zip(first, plain, strict=True))


def test_whole_images_are_validated_one_by_one() -> None:
    dataset = data_set((30, 41), (20, 20))
    normalization = Normalization(mode="image")
    words = (*SMALL, "loss=border_weighted", "data.num_workers=2")
    data = SegmentationData(config(*words), dataset, normalization)
    # A process of its own would be left behind, and end no training, where one that reads patches is killed.
    assert data.val_dataloader().num_workers == 0
    for batch, sample in zip(data.val_dataloader(), dataset.val, strict=True):
        assert sample.label is not None
        target, weights = losses.targets(config("loss=border_weighted").loss)(sample.label, None)
        assert (batch["target"].numpy() == target).all()
        assert (batch["weights"].numpy() == weights).all()
        assert batch["name"] == sample.name
        assert (batch["image"][0].numpy() == normalization(sample.image)[..., 0]).all()
        assert (batch["label"] == sample.label).all()


# --- the label that a logit belongs to ---


def make_identity(network: nn.Module) -> None:
    """Lets the first skip carry the (positive) image unchanged to the logit of class 1."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        first, last = network.encoder[0], network.decoder[-1].convs  # type: ignore[index, union-attr, attr-defined]
        width = first[0].out_channels
        for conv, source in ((first[0], 0), (first[3], 0), (last[0], width), (last[3], 0)):
            conv.weight[0, source, 1, 1] = 1  # the decoder's map comes before the skip
        network.head.weight[1, 0] = 1  # type: ignore[union-attr, index]


@pytest.mark.parametrize(("tile", "flip"), [(12, "none"), (10, "flips"), (9, "none")])  # the output is 12, or as `tile`
@pytest.mark.parametrize("model", ["valid", "same", "pad"])
def test_the_loss_sees_each_logit_beside_the_label_of_its_own_pixel(
    model: str, flip: str, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = (*SMALL, f"model={model}", f"augmentation={flip}", f"data.tile={tile}")
    shape = (31, 26)
    image = np.arange(1, 1 + math.prod(shape), dtype=np.float32).reshape(*shape, 1)
    label = (image[..., 0] % 251).astype(np.uint8)
    sample = Sample("marked", image, label)
    data = SegmentationData(config(*overrides), DataSet.of([sample], (), (), (), CLASSES, 1), AS_IT_IS)
    record = CheckpointRecord(
        config=values(*overrides),
        classes=list(CLASSES),
        normalization=AS_IT_IS,
        channels=1,
        class_weights=None,
        trained_on=[],
    )
    module = SegmentationModule(record.model_dump(), horizon=1)
    make_identity(module.network)
    expected_input = input_for_output(module.network.architecture, tile)
    assert data.input_size == expected_input
    compared: list[tuple[Tensor, Tensor]] = []

    class Spy(nn.Module):
        def forward(self, logits: Tensor, label: Tensor, weights: Tensor | None) -> Tensor:
            assert weights is None
            compared.append((logits, label))
            return logits.sum()

    module.loss = Spy()
    monkeypatch.setattr(module, "log", lambda *_, **__: None)
    for index, batch in enumerate(epoch_batches(data, 0)):
        assert batch["image"].shape[-2:] == (expected_input, expected_input)
        module.training_step(batch, index)
    assert len(compared) == data.batches
    for logits, target in compared:
        assert logits.shape == (len(target), 2, tile, tile)
        shown = logits[:, 1].round().long()
        assert (shown % 251 == target).all()
        marks = shown.flatten(1)
        if (expected_input - tile) % 2 == 0:
            assert all(len(torch.unique(patch)) == tile**2 for patch in marks), "nothing mirrored is labelled"


# --- normalisation ---


def random_image(dtype: str, shape: tuple[int, ...] = (13, 9, 2), seed: int = 0) -> NDArray[Any]:
    random = np.random.default_rng(seed)
    if dtype == "float32":
        return random.normal(30, 7, shape).astype(np.float32)
    return random.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


FULL = {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}


@pytest.mark.parametrize("dtype", FULL)
def test_by_image_each_channel_has_mean_0_and_deviation_1(dtype: str) -> None:
    image = random_image(dtype)
    result = Normalization(mode="image")(image)
    assert result.dtype == np.float32
    exact = image.astype(np.float64)
    expected = (exact - exact.mean(axis=(0, 1))) / exact.std(axis=(0, 1))
    np.testing.assert_allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize("dtype", FULL)
def test_none_is_the_share_of_full_scale(dtype: str) -> None:
    image = random_image(dtype)
    result = Normalization(mode="none")(image)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, image / FULL[dtype], rtol=1e-6)
    assert Normalization(mode="none")(np.full((1, 1, 1), FULL[dtype], dtype)).item() == 1


@pytest.mark.parametrize("dtype", FULL)
def test_by_dataset_mean_and_deviation_are_those_of_all_pixels(dtype: str) -> None:
    images = [random_image(dtype, shape, seed) for seed, shape in enumerate([(13, 9, 2), (4, 50, 2), (1, 1, 2)])]
    fitted = Normalization.fit(
        "dataset", in_memory([Sample(str(index), image) for index, image in enumerate(images)]).facts
    )
    pixels = np.concatenate([image.reshape(-1, 2) for image in images]).astype(np.float64) / FULL[dtype]
    np.testing.assert_allclose(fitted.mean, pixels.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(fitted.std, pixels.std(axis=0), rtol=1e-6)
    for image in images:
        result = fitted(image)
        assert result.dtype == np.float32
        expected = (image / FULL[dtype] - pixels.mean(axis=0)) / pixels.std(axis=0)
        np.testing.assert_allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize("dtype", FULL)
@pytest.mark.parametrize("mode", ["image", "dataset"])
def test_a_constant_image_is_zero(dtype: str, mode: Any) -> None:
    for value in (0, 1, 200):
        image = np.full((64, 48, 3), value, dtype)
        result = Normalization.fit(mode, in_memory([Sample("flat", image)]).facts)(image)
        assert np.abs(result).max() < 0.1


def test_large_colour_images_are_summed_exactly() -> None:
    image = random_image("uint8", (1024, 1024, 3)) // 4 + 190
    result = Normalization(mode="image")(image).astype(np.float64)
    assert np.abs(result.mean(axis=(0, 1))).max() < 1e-5  # float32 sums: 6e-3 and more
    assert np.abs(result.std(axis=(0, 1)) - 1).max() < 1e-5
    assert np.abs(Normalization(mode="image")(np.full((512, 512, 3), 200, np.uint8))).max() < 0.1  # float32 sums: 1


@pytest.mark.parametrize("mode", ["image", "dataset", "none"])
def test_plain_containers_and_back(mode: Any) -> None:
    fitted = Normalization.fit(mode, in_memory([Sample("a", random_image("uint8"))]).facts)
    plain = fitted.model_dump()
    assert plain.keys() == {"mode", "mean", "std"}
    assert all(type(number) is float for number in [*plain["mean"], *plain["std"]])
    assert len(plain["mean"]) == len(plain["std"]) == (2 if mode == "dataset" else 0)
    assert Normalization.model_validate(plain) == fitted


# --- class weights ---


def labelled(*rows: list[int], classes: int = 2) -> DataSet:
    samples = [Sample(str(at), np.zeros((1, len(row), 1), np.uint8), np.array([row], np.uint8)) for at, row in
               enumerate(rows)]  # fmt: skip
    specs = tuple(ClassSpec(name=str(index), value=index, color=[0, 0, 0]) for index in range(classes))
    unseen = Sample("val", np.zeros((1, 1, 1), np.uint8), np.zeros((1, 1), np.uint8))
    return DataSet.of(samples, [unseen], [unseen], (), specs, channels=1)


def balanced(data: DataSet) -> list[float] | None:
    return losses.class_weights(config("loss.class_weights=inverse").loss, count_classes(data))


@pytest.mark.parametrize(
    ("rows", "classes", "expected"),
    [
        ([[0, 1]], 2, [1, 1]),
        ([[0, 0, 0, 1]], 2, [4 / 6, 4 / 2]),
        ([[0, 0], [0, 1]], 2, [4 / 6, 4 / 2]),
        ([[0, 0, 0, 1, *[IGNORE_LABEL] * 9]], 2, [4 / 6, 4 / 2]),
        ([[0, 2, 2, 2]], 3, [4 / 3, 0, 4 / 9]),
        ([[1, 1]], 2, [0, 1 / 2]),
        ([[IGNORE_LABEL]], 2, [0, 0]),
    ],
)
def test_inverse_class_weights(rows: list[list[int]], classes: int, expected: list[float]) -> None:
    weights = balanced(labelled(*rows, classes=classes))
    assert weights == pytest.approx(expected)
    assert weights is not None
    assert all(type(weight) is float for weight in weights)


def test_balanced_classes_weigh_the_same_together() -> None:
    random = np.random.default_rng(0)
    rows = [random.choice([0, 1, 2, IGNORE_LABEL], 50, p=[0.7, 0.1, 0.1, 0.1]).tolist() for _ in range(3)]
    counts = Counter(value for row in rows for value in row)
    weights = balanced(labelled(*rows, classes=3))
    assert weights is not None
    totals = [weight * counts[index] for index, weight in enumerate(weights)]
    assert totals == pytest.approx([sum(counts[index] for index in range(3)) / 3] * 3)


def test_pixels_in_any_order_of_memory_are_normalised_alike() -> None:
    image = random_image("uint8", (9, 7, 3))
    for mode in ("image", "none"):
        for other in (np.asfortranarray(image), np.ascontiguousarray(image.transpose(2, 0, 1)).transpose(1, 2, 0)):
            assert (Normalization(mode=mode)(other) == Normalization(mode=mode)(image)).all()
