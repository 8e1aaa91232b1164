"""Predictions averaged over turned and flipped images."""

from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates
from torch import Tensor, nn

from unet_exp.config.running import FlipTTAConfig, InferenceConfig, PlainInferenceConfig, RotationTTAConfig
from unet_exp.geometry import Architecture, lost_border, out_channels, output_size, receptive_field_radius
from unet_exp.inference.tiling.overlap_tile import mirror_source, tiled_logits
from unet_exp.inference.tiling.tile_plan import surround
from unet_exp.inference.tta import average_probabilities, to_logits
from unet_exp.network import UNet, probabilities

MODELS: dict[str, Any] = {"valid": ("valid", "crop"), "same": ("same", "exact"), "pad": ("same", "pad")}
TILES: dict[str, Any] = {"tile": 1024, "batch_size": 2, "context": "auto", "blend": 0}


def plain(**tiles: Any) -> InferenceConfig:
    return PlainInferenceConfig(name="none", **TILES | tiles)


def flips8(**tiles: Any) -> InferenceConfig:
    return FlipTTAConfig(name="flips8", **TILES | tiles)


def rotations(*angles: float, **tiles: Any) -> InferenceConfig:
    return RotationTTAConfig(name="rotations7", angles=list(angles), **TILES | tiles)


@cache
def build(
    model: str = "pad",
    depth: int = 3,
    channels: int = 1,
    classes: int = 2,
    activation: Any = "softmax",
    upsample: Any = "transposed",
) -> UNet:
    torch.manual_seed(depth)
    out = out_channels(classes, activation)
    network = UNet(Architecture(*MODELS[model], depth, 3, channels, out, "concat", "none", upsample)).eval()
    for module in network.modules():
        if getattr(module, "bias", None) is not None:
            nn.init.normal_(module.bias, std=0.3)
    return network


class Echo(nn.Module):
    """Stands for a network: its logits are the pixel that they belong to and its negative."""

    def __init__(self, model: str) -> None:
        super().__init__()
        self.architecture = build(model).architecture
        self.on_device = nn.Parameter(torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        border = lost_border(self.architecture)
        high, wide = (output_size(self.architecture, size) for size in images.shape[-2:])
        given = images[..., border : border + high, border : border + wide]
        return torch.cat([-given / 2, given / 2], dim=1)


def random_image(*shape: int) -> Tensor:
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(sum(shape)))


def averaged(network: Any, image: Tensor, config: InferenceConfig, activation: Any = "softmax") -> NDArray[np.float32]:
    found = average_probabilities(network, image, config, activation)
    assert found.dtype == torch.float32
    assert found.shape[-2:] == image.shape[-2:]
    torch.testing.assert_close(found.sum(dim=1), torch.ones(1, *image.shape[-2:]), atol=1e-6, rtol=0)
    assert float(found.min()) >= 0
    return found[0].numpy()


def once(network: UNet, image: Tensor, config: InferenceConfig, activation: Any = "softmax") -> NDArray[np.float32]:
    logits = tiled_logits(network, mirror_source(image), image.shape[-2], image.shape[-1], config)
    return probabilities(logits, activation)[0].numpy()


def numpy_turned(network: UNet, image: Tensor, config: InferenceConfig, turns: int) -> NDArray[np.float32]:
    """Turned by numpy, predicted, turned back."""
    seen = torch.from_numpy(np.rot90(image.numpy(), turns, (2, 3)).copy())
    return np.rot90(once(network, seen, config), -turns, (1, 2))


# --- flips and quarter turns ---


@pytest.mark.parametrize("tile", [32, 1024])
@pytest.mark.parametrize("model", MODELS)
def test_quarter_turns_are_exact(model: str, tile: int) -> None:
    network, image = build(model), random_image(1, 37, 52)
    for turns in range(4):
        for angle in (90.0 * turns, 90.0 * turns - 360):
            found = averaged(network, image, rotations(angle, tile=tile))
            assert (found == numpy_turned(network, image, plain(tile=tile), turns)).all()
    mean = averaged(network, image, rotations(0, 90, 180, 270, tile=tile))
    expected = np.mean([numpy_turned(network, image, plain(tile=tile), turns) for turns in range(4)], axis=0)
    np.testing.assert_allclose(mean, expected, atol=1e-6)
    assert (averaged(network, image, plain(tile=tile)) == once(network, image, plain(tile=tile))).all()


def test_eight_flips_are_the_mean_over_all_of_them() -> None:
    network, image = build(), random_image(1, 21, 34)
    expected = np.zeros((2, 21, 34))
    for turns, flip in product(range(4), (False, True)):
        seen = image.flip(-1) if flip else image
        found = numpy_turned(network, seen, plain(), turns)
        expected += (found[..., ::-1] if flip else found) / 8
    np.testing.assert_allclose(averaged(network, image, flips8()), expected, atol=1e-6)


@pytest.mark.parametrize("model", MODELS)
def test_eight_flips_of_a_flipped_image_are_the_flipped_result(model: str) -> None:
    network = build(model)

    @settings(deadline=None, max_examples=4)
    @given(st.integers(1, 50), st.integers(1, 50), st.integers(0, 3), st.booleans(), st.sampled_from([16, 1024]))
    def holds(height: int, width: int, turns: int, flip: bool, tile: int) -> None:
        def moved(pixels: Tensor) -> Tensor:
            return (pixels.flip(-1) if flip else pixels).rot90(turns, (-2, -1))

        image = random_image(1, height, width)
        found = averaged(network, moved(image), flips8(tile=tile))
        expected = moved(torch.from_numpy(averaged(network, image, flips8(tile=tile)))).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-6)

    holds()


# --- other angles ---


def smooth_image(height: int, width: int) -> NDArray[np.float32]:
    noise = np.random.default_rng(0).normal(size=(height, width))
    return (gaussian_filter(noise, 4, mode="mirror") * 12).astype(np.float32)


def slowly_rotated(image: NDArray[Any], angle: float, canvas: tuple[int, int], start: int, size: Any) -> NDArray[Any]:
    """A window from (start, start) of a canvas with the mirrored image turned in its middle, by another library."""
    border = 400
    beyond = np.pad(image.astype(float), border, mode="reflect")
    y, x = np.mgrid[: size[0], : size[1]] + start
    y, x = y - (canvas[0] - 1) / 2, x - (canvas[1] - 1) / 2
    cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    row = x * sine + y * cosine + (image.shape[0] - 1) / 2 + border
    column = x * cosine - y * sine + (image.shape[1] - 1) / 2 + border
    found: NDArray[Any] = map_coordinates(beyond, [row, column], order=3)
    return found


@pytest.mark.parametrize("angle", [45.0, -30.0, 135.0, 200.0, 1.0])
@pytest.mark.parametrize("model", MODELS)
def test_what_the_network_sees_is_the_rotated_image_in_its_mirrored_surround(model: str, angle: float) -> None:
    image, seen = smooth_image(60, 90), []
    echo = Echo(model)
    echo.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][0, 0].numpy()))
    averaged(echo, torch.from_numpy(image)[None, None], rotations(angle))
    (window,) = seen
    cosine, sine = abs(np.cos(np.deg2rad(angle))), abs(np.sin(np.deg2rad(angle)))
    around = 2 * surround(echo.architecture, "auto")
    canvas = (int(np.ceil(60 * cosine + 90 * sine)) + around, int(np.ceil(90 * cosine + 60 * sine)) + around)
    expected = slowly_rotated(image, angle, canvas, -lost_border(echo.architecture), window.shape)
    assert expected.std() > 0.5
    np.testing.assert_allclose(window, expected, atol=0.06)
    assert around >= 2 * receptive_field_radius(echo.architecture) or model == "valid"


@pytest.mark.parametrize("angle", [45.0, -30.0, 135.0])
@pytest.mark.parametrize("tile", [40, 1024])
def test_what_was_turned_is_turned_back(tile: int, angle: float) -> None:
    image = smooth_image(60, 90)
    found = averaged(Echo("pad"), torch.from_numpy(image)[None, None], rotations(angle, tile=tile))
    np.testing.assert_allclose(found[1], 1 / (1 + np.exp(-image)), atol=0.015)


@pytest.mark.parametrize("angle", [0.0, 45.0, 90.0, 120.0, 270.0])
def test_angles_are_counter_clockwise(angle: float) -> None:
    image, seen = np.zeros((61, 61), np.float32), []
    image[29:32, 49:52] = 1  # 20 px to the right of the centre
    echo = Echo("pad")
    echo.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][0, 0].numpy()))
    averaged(echo, torch.from_numpy(gaussian_filter(image, 1))[None, None], rotations(angle))
    (window,) = seen
    y, x = np.indices(window.shape) - (np.array(window.shape)[:, None, None] - 1) / 2
    near = window * (np.hypot(x, y) < 25)  # without the spots in the mirrored surround
    places = [np.average(axis, weights=near) for axis in (y, x)]
    turn = np.deg2rad(angle)
    np.testing.assert_allclose(places, [-20 * np.sin(turn), 20 * np.cos(turn)], atol=0.1)


@pytest.mark.parametrize("angle", [45.0, 10.0])
def test_a_constant_image_rotated_gives_what_it_gives_as_it_is(angle: float) -> None:
    network = build("valid", upsample="bilinear")  # an up-convolution makes a pattern of its own
    image = torch.full((1, 1, 20, 33), 0.7)
    np.testing.assert_allclose(averaged(network, image, rotations(angle)), averaged(network, image, plain()), atol=1e-5)


def test_tiles_of_a_rotated_image_give_what_one_pass_gives() -> None:
    network, image = build("same", channels=3), random_image(3, 70, 50)
    whole, tiled = (averaged(network, image, rotations(30, 45, tile=tile)) for tile in (1024, 24))
    np.testing.assert_allclose(tiled, whole, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 30), (2, 3), (40, 5)])
def test_images_of_any_size(height: int, width: int) -> None:
    averaged(build("pad"), random_image(1, height, width), rotations(0, 45, 90))


# --- classes and losses ---


@pytest.mark.parametrize("config", [plain(), flips8(tile=16), rotations(0, 45, 90, 135, 180, 225, 270, tile=32)])
@pytest.mark.parametrize(("activation", "classes"), [("softmax", 4), ("sigmoid", 2), ("sigmoid", 3)])
def test_several_classes_and_channels(config: InferenceConfig, activation: Any, classes: int) -> None:
    network = build("same", channels=3, classes=classes, activation=activation)
    found = averaged(network, random_image(3, 29, 41), config, activation)
    assert found.shape == (classes, 29, 41)
    assert found.std(axis=(1, 2)).min() > 1e-3


@pytest.mark.parametrize(("activation", "classes"), [("softmax", 2), ("softmax", 4), ("sigmoid", 2), ("sigmoid", 3)])
def test_logits_of_probabilities_give_them_back(activation: Any, classes: int) -> None:
    out = out_channels(classes, activation)
    shares = probabilities(torch.randn(1, out, 9, 9) * 3, activation)
    logits = to_logits(shares, activation)
    assert logits.shape == (1, out, 9, 9)
    if (activation, classes) == ("sigmoid", 3):
        torch.testing.assert_close(logits.sigmoid(), shares)
    else:
        torch.testing.assert_close(probabilities(logits, activation), shares)
    certain = torch.eye(classes)[None, :, :, None]
    assert bool(to_logits(certain, activation).isfinite().all())


def test_the_cross_entropy_of_a_single_version_is_that_of_its_logits() -> None:
    logits, label = torch.randn(1, 3, 9, 9), torch.randint(3, (1, 9, 9))
    entropy = nn.functional.cross_entropy
    torch.testing.assert_close(entropy(to_logits(logits.softmax(1), "softmax"), label), entropy(logits, label))
    one = torch.randn(1, 1, 9, 9) * 20
    torch.testing.assert_close(to_logits(probabilities(one, "sigmoid"), "sigmoid"), one)
