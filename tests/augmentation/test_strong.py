"""`augmentation=strong`: its geometry, its grey values and its config."""

from collections.abc import Iterator
from itertools import product
from math import log, sqrt
from typing import Any

import numpy as np
import pytest
import torch
from conftest import composed
from numpy.typing import NDArray
from patterns import Array, in_memory, noise, numbers, smooth
from scipy import ndimage, stats
from torch.utils.data import DataLoader

from unet_exp import augmentation, losses
from unet_exp.augmentation import Augmentation, Window
from unet_exp.augmentation.paper import Motion, resample
from unet_exp.compose import compose_train
from unet_exp.config import IGNORE_LABEL, parse
from unet_exp.config.augmentation import StrongAugmentationConfig
from unet_exp.errors import ConfigError
from unet_exp.samples.normalization import Normalization
from unet_exp.samples.sample import Sample
from unet_exp.training.draws import Draw
from unet_exp.training.patches import PatchDataset

OFF: dict[str, Any] = {
    "shift": 0, "rotation": 0, "flip": False, "grid": 3, "std": 0, "knots": "border", "contrast": 0, "brightness": 0,
    "probability": 1, "quarter_turns": False, "zoom": [1, 1], "gamma": [1, 1], "blur": 0, "noise": 0,
}  # fmt: skip
WHOLE = Window(0, 0, 64)


def strong(**changes: Any) -> Augmentation:
    """With everything off but what is named, which is always done."""
    return augmentation.build(StrongAugmentationConfig.model_validate({"name": "strong", **OFF, **changes}))


def from_words(*words: str) -> Augmentation:
    return augmentation.build(parse(composed("augmentation=strong", *words)).augmentation)


def many(augment: Augmentation, image: NDArray[np.float32], window: Window, count: int = 300) -> Iterator[Array]:
    for seed in range(count):
        yield augment(image, window, seed)[0]


# --- geometry ---


def test_never_chosen_is_off() -> None:
    lively = {"std": 20, "zoom": [0.5, 2], "gamma": [0.3, 3], "blur": 5, "noise": 3}
    image = noise(80, 80, 1)
    for seed in range(20):
        assert (strong(**lively, probability=0)(image, WHOLE, seed)[0] == image[:64, :64]).all()


def test_flips_and_quarter_turns_are_exact_and_equally_often() -> None:
    number = numbers(64, 64)
    eight = [np.rot90(mirrored, turns) for mirrored, turns in product((number, np.fliplr(number)), range(4))]
    augment = strong(flip=True, quarter_turns=True)
    found = []
    for seed in range(400):
        patch, where = augment(number[..., None].astype(np.float32), WHOLE, seed, number)
        assert (patch[..., 0] == where).all()
        found.append([(where == one).all() for one in eight])
    counts = np.sum(found, axis=0)
    assert counts.sum() == 400
    assert stats.chisquare(counts).pvalue > 1e-3


def test_zoom_is_even_on_a_logarithmic_scale_and_about_the_centre() -> None:
    ramps = np.stack(np.mgrid[:300, :300], axis=-1).astype(np.float32)
    zooms = []
    for patch in many(strong(zoom=[0.5, 2]), ramps, Window(100, 100, 65)):
        np.testing.assert_allclose(patch[32, 32], 132, atol=0.1)
        zooms.append(64 / (patch[-1, 32, 0] - patch[0, 32, 0]))
    assert stats.kstest(np.log(zooms), stats.uniform(-log(2), 2 * log(2)).cdf).statistic < 2 / sqrt(len(zooms))


def test_zoom_is_that_of_scipy() -> None:
    image = smooth(121, 121)
    for zoom in (0.7, 1.0, 1.6):
        motion = Motion(20.0, True, (0.0, 0.0), np.zeros((2, 3, 3)), "border", zoom)
        (patch,) = resample(image, motion.source(Window(30, 30, 61)))
        cos, sin = np.cos(np.radians(20)), np.sin(np.radians(20))
        matrix = np.array([[cos, sin], [-sin, cos]]) @ np.diag([1, -1]) / zoom
        expected = ndimage.affine_transform(
            image[..., 0], matrix, np.array([60, 60]) - matrix @ np.array([30, 30]), (61, 61), order=3, mode="mirror"
        )
        assert np.abs(patch[..., 0] - expected).max() < 0.02


def test_a_landmark_of_the_label_lies_where_that_of_the_image_lies() -> None:
    rows, columns = np.mgrid[:160, :160]
    spots = [(50, 60), (80, 90), (100, 60)]
    image = sum(np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 18) for y, x in spots)[..., None].astype(np.float32)
    label = (image[..., 0] > 0.5).astype(np.uint8)
    label[:3] = IGNORE_LABEL
    augment = from_words("augmentation.noise=0", "augmentation.blur=0", "augmentation.gamma=[1,1]")
    seen = 0
    for seed in range(30):
        patch, moved = augment(image, Window(16, 16, 128), seed, label)
        assert set(np.unique(moved)) <= {0, 1, IGNORE_LABEL}
        assert moved.dtype == np.uint8
        parts, count = ndimage.label(moved == 1)
        for part in range(1, count + 1):
            y, x = np.nonzero(parts == part)
            if y.min() < 8 or x.min() < 8 or y.max() > 119 or x.max() > 119:
                continue
            box = patch[y.min() : y.max() + 1, x.min() : x.max() + 1, 0]
            bright = np.unravel_index(box.argmax(), box.shape)
            middle = np.array([y.mean() - y.min(), x.mean() - x.min()])
            assert np.abs(np.array(bright) - middle).max() < 2.5
            seen += 1
    assert seen > 30


# --- grey values ---


def test_contrast_and_brightness_are_uniform() -> None:
    image = noise(64, 64, 1)
    lines = [
        np.polyfit(image.ravel(), patch.ravel(), 1) for patch in many(strong(contrast=0.3, brightness=2), image, WHOLE)
    ]
    gains, offsets = np.array(lines).T
    assert stats.kstest(gains, stats.uniform(0.7, 0.6).cdf).statistic < 2 / sqrt(len(gains))
    assert stats.kstest(offsets, stats.uniform(-2, 4).cdf).statistic < 2 / sqrt(len(offsets))
    assert abs(np.corrcoef(gains, offsets)[0, 1]) < 0.2


def test_gamma_is_even_on_a_logarithmic_scale_and_keeps_the_range() -> None:
    image = 5 * noise(64, 64, 2) - 3
    scaled = (image - image.min()) / (image.max() - image.min())
    gammas = []
    for patch in many(strong(gamma=[0.5, 2]), image, WHOLE):
        np.testing.assert_allclose([patch.min(), patch.max()], [image.min(), image.max()], rtol=1e-5)
        back = (patch - image.min()) / (image.max() - image.min())
        middle = (scaled > 0.2) & (scaled < 0.8)
        each = np.log(back[middle]) / np.log(scaled[middle])
        assert each.std() < 1e-2
        gammas.append(each.mean())
    assert stats.kstest(np.log(gammas), stats.uniform(-log(2), 2 * log(2)).cdf).statistic < 2 / sqrt(len(gammas))


def test_noise_is_gaussian_independent_and_of_uniform_strength() -> None:
    image = np.zeros((64, 64, 3), np.float32)
    patches = list(many(strong(noise=0.5), image, WHOLE))
    stds = np.array([patch.std() for patch in patches])
    assert stats.kstest(stds, stats.uniform(0, 0.5).cdf).statistic < 2 / sqrt(len(stds))
    one = patches[int(stds.argmax())]
    assert stats.kstest(one.ravel() / one.std(), "norm").statistic < 2 / sqrt(one.size)
    assert abs(np.corrcoef(one[:, 1:].ravel(), one[:, :-1].ravel())[0, 1]) < 0.05
    assert np.abs(np.corrcoef(one.reshape(-1, 3).T) - np.eye(3)).max() < 0.06


@pytest.mark.parametrize("channels", [1, 3, 4, 7])
def test_blur_is_a_gaussian(channels: int) -> None:
    image = noise(64, 64, channels)
    for seed in range(10):
        patch = strong(blur=3)(image, WHOLE, seed)[0]
        sigma = min(
            np.linspace(0.01, 3, 300),
            key=lambda sigma: np.abs(
                ndimage.gaussian_filter(image[..., 0], sigma, mode="mirror") - patch[..., 0]
            ).sum(),
        )
        expected = ndimage.gaussian_filter(image, (sigma, sigma, 0), mode="mirror")
        assert np.abs(patch - expected).max() < 0.05
        assert patch.mean() == pytest.approx(image.mean(), abs=0.02)


def test_an_even_image_has_no_curve() -> None:
    image = np.full((64, 64, 1), 3.0, np.float32)
    assert all((patch == 3).all() for patch in many(strong(gamma=[0.5, 2]), image, WHOLE, 10))


@pytest.mark.parametrize("probability", [0.25, 0.75])
def test_each_is_done_as_often_as_configured_and_by_itself(probability: float) -> None:
    image = noise(64, 64, 1)
    changes = {"std": 5, "zoom": [0.5, 0.6], "gamma": [2, 3], "blur": 3, "noise": 1}
    for name, value in changes.items():
        done = sum(
            (patch != image).any() for patch in many(strong(**{name: value}, probability=probability), image, WHOLE)
        )
        assert abs(done / 300 - probability) < 0.09, name


def test_any_number_of_workers_draws_the_same() -> None:
    label = (smooth(90, 90)[..., 0] > 0).astype(np.uint8)
    samples = [Sample("a", smooth(90, 90), label, None)]
    targets = losses.targets(parse(compose_train(["loss=border_weighted"])).loss)
    dataset = PatchDataset(in_memory(samples), Normalization(mode="image"), 36, 60, from_words(), targets, 3)
    draws = [Draw(epoch, position, 0) for epoch in range(2) for position in range(6)]
    by_workers = [list(DataLoader(dataset, sampler=draws, batch_size=2, num_workers=workers)) for workers in (0, 1, 2)]
    for one, *others in zip(*by_workers, strict=True):
        assert one.keys() == {"image", "label", "weights"}
        assert all(torch.equal(one[key], other[key]) for other in others for key in one)
    images = torch.cat([batch["image"] for batch in by_workers[0]])
    assert len({image.numpy().tobytes() for image in images}) == len(draws), "no draw is like another"


# --- the config ---


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("zoom=[2,1]", "augmentation.zoom=[2, 1]: must be [low, high] with low at most high"),
        ("zoom=[1]", "augmentation.zoom=[1]"),
        ("gamma=[0,1]", "augmentation.gamma"),
        ("gamma=2", "augmentation.gamma=2"),
        ("probability=1.5", "augmentation.probability=1.5"),
        ("blur=-1", "augmentation.blur=-1"),
        ("noise=-1", "augmentation.noise=-1"),
        ("contrast=1", "augmentation.contrast=1"),
        ("elastic=1", "unknown key augmentation.elastic"),
    ],
)
def test_mistakes_are_told(word: str, said: str) -> None:
    with pytest.raises(ConfigError) as mistake:
        from_words(f"augmentation.{word}")
    assert str(mistake.value).startswith(said)
