"""Stitched tiles against one pass over the whole image, and the plan that they follow."""

import random
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from drawings import tiles as tiles_picture
from hypothesis import given, settings
from hypothesis import strategies as st
from one_piece import whole_image_logits
from torch import Tensor, nn

from unet_exp.config.running import PlainInferenceConfig
from unet_exp.data.sets.synthetic import generate
from unet_exp.errors import ConfigError
from unet_exp.geometry import (
    Architecture,
    input_for_output,
    is_legal,
    lost_border,
    output_size,
    receptive_field_radius,
    tile_step,
    total_stride,
)
from unet_exp.inference.tiling.overlap_tile import mirror_source, tiled_logits
from unet_exp.inference.tiling.tile_plan import plan_tiles, plan_whole, surround
from unet_exp.network import UNet

MODELS: dict[str, Any] = {"valid": ("valid", "crop"), "same": ("same", "exact"), "pad": ("same", "pad")}
NORMS = ("none", "batch")
PAPER = Architecture("valid", "crop", 5, 64, 1, 2, "concat", "none", "transposed")
Context = int | Literal["auto"]


def settings_of(tile: int, blend: int = 0, context: Context = "auto", batch_size: int = 1) -> PlainInferenceConfig:
    return PlainInferenceConfig(name="none", tile=tile, batch_size=batch_size, context=context, blend=blend)


@cache
def architecture(model: str, depth: int, norm: str = "none", upsample: str = "transposed") -> Architecture:
    return Architecture(*MODELS[model], depth, 3, 1, 2, "concat", norm, upsample)  # type: ignore[arg-type]


@cache
def build(model: str, depth: int, norm: str = "none", upsample: str = "transposed") -> UNet:
    """Random in all that training changes, so that where an input ends makes a difference."""
    torch.manual_seed(depth)
    network = UNet(architecture(model, depth, norm, upsample)).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
        if getattr(module, "bias", None) is not None:
            nn.init.normal_(module.bias, std=0.3)
    return network


def random_image(height: int, width: int) -> Tensor:
    return torch.randn(1, 1, height, width, generator=torch.Generator().manual_seed(height * width))


def one_piece(network: UNet, image: Tensor) -> Tensor:
    with torch.no_grad():
        return whole_image_logits(network, image)


def stitched(network: UNet, image: Tensor, config: PlainInferenceConfig) -> Tensor:
    return tiled_logits(network, mirror_source(image), image.shape[-2], image.shape[-1], config)


def assert_equal_logits(found: Tensor, expected: Tensor) -> None:
    """To 1e-5 of the largest logit; float32 sums of other sizes are rounded otherwise. `pytest -s` shows the figure."""
    assert found.shape == expected.shape
    assert found.dtype == torch.float32
    largest = float((found - expected).abs().max()) / max(1.0, float(expected.abs().max()))
    print(f"{tuple(found.shape[-2:])}: largest difference {largest:.1e} of the largest logit")
    assert largest <= 1e-5


# --- equality with one piece ---


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("depth", [3, pytest.param(4, marks=pytest.mark.slow), 5])
def test_stitched_equals_one_piece(depth: int, model: str, norm: str) -> None:
    network, step = build(model, depth, norm), 2 ** (depth - 1)

    @settings(deadline=None, max_examples=4)
    @given(st.integers(1, 10 * step), st.integers(1, 10 * step), st.integers(step, 6 * step), st.sampled_from([1, 3]))
    def holds(height: int, width: int, tile: int, batch_size: int) -> None:
        image = random_image(height, width)
        found = stitched(network, image, settings_of(tile, batch_size=batch_size))
        assert_equal_logits(found, one_piece(network, image))

    holds()


def random_geometries(count: int) -> list[tuple[str, int, str, str, int, int, int, int]]:
    dice = random.Random(3)
    rows = []
    for _ in range(count):
        depth = dice.choice([3, 4, 5])
        step = 2 ** (depth - 1)
        blend = dice.choice([0, dice.randint(1, 2 * step)])
        rows.append(
            (
                dice.choice(list(MODELS)),
                depth,
                dice.choice(NORMS),
                dice.choice(["transposed", "bilinear"]),
                dice.randint(1, 200),
                dice.randint(1, 200),
                dice.randint(4 * step + blend, 100),
                blend,
            )
        )
    return rows


@pytest.mark.parametrize(
    ("model", "depth", "norm", "upsample", "height", "width", "tile", "blend"), random_geometries(20)
)
def test_stitched_equals_one_piece_on_random_geometries(
    model: str, depth: int, norm: str, upsample: str, height: int, width: int, tile: int, blend: int
) -> None:
    network, image = build(model, depth, norm, upsample), random_image(height, width)
    found = stitched(network, image, settings_of(tile, blend, batch_size=2))
    assert_equal_logits(found, one_piece(network, image))


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_a_large_image_equals_one_piece(model: str) -> None:
    network, image = build(model, 4, "batch"), random_image(1100, 1700)
    assert_equal_logits(stitched(network, image, settings_of(512, batch_size=2)), one_piece(network, image))


@pytest.mark.parametrize("model", MODELS)
def test_an_image_that_fits_into_one_tile_is_one_pass(model: str) -> None:
    network, image = build(model, 3), random_image(37, 64)
    assert torch.equal(stitched(network, image, settings_of(64)), one_piece(network, image))


def test_a_batch_of_tiles_gives_what_single_tiles_give() -> None:
    network, image = build("same", 3, "batch"), random_image(75, 130)
    one, three = (stitched(network, image, settings_of(24, batch_size=size)) for size in (1, 3))
    assert_equal_logits(three, one)


def test_too_little_context_is_not_exact_and_enough_of_it_is() -> None:
    network, image = build("same", 3, "batch"), random_image(80, 90)
    whole = one_piece(network, image)
    errors = [float((stitched(network, image, settings_of(24, context=c)) - whole).abs().max()) for c in (0, 4, 24)]
    assert errors[0] > errors[1] > 0.01
    assert receptive_field_radius(network.architecture) < 24
    assert errors[2] < 1e-5


# --- what the passes read ---


class Spy(nn.Module):
    """Stands for a network of one channel: a logit is the pixel that it belongs to. Keeps what it was given."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.on_device = nn.Parameter(torch.zeros(()))
        self.windows: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.windows.append(images)
        sizes = [output_size(self.architecture, size) for size in images.shape[-2:]]
        border = lost_border(self.architecture)
        given = images[..., border : border + sizes[0], border : border + sizes[1]]
        return torch.cat([given, -given], dim=1)


@pytest.mark.parametrize("tile", [16, 31, 48])
@pytest.mark.parametrize("model", MODELS)
def test_windows_hold_real_neighbours_and_the_image_mirrored(model: str, tile: int) -> None:
    plan, size, border = architecture(model, 3), (50, 83), 300
    image = np.random.default_rng(0).normal(size=size).astype(np.float32)
    beyond = np.pad(image, border, mode="reflect")
    spy: Any = Spy(plan)
    stitched(spy, torch.from_numpy(image)[None, None], settings_of(tile))
    rows, columns = (plan_tiles(plan, length, settings_of(tile)) for length in size)
    expected = {
        beyond[
            border + row.start : border + row.start + row.size,
            border + column.start : border + column.start + column.size,
        ].tobytes()
        for row in rows
        for column in columns
    }
    assert len(rows) > 1
    assert {window[0, 0].numpy().tobytes() for window in spy.windows} == expected


@pytest.mark.parametrize("blend", [0, 5])
@pytest.mark.parametrize("model", MODELS)
def test_each_logit_is_that_of_its_own_pixel(model: str, blend: int) -> None:
    for depth in (1, 4):
        spy: Any = Spy(architecture(model, depth))
        for height, width in ((1, 1), (5, 40), (49, 26)):
            image = random_image(height, width)
            found = stitched(spy, image, settings_of(21, blend))
            torch.testing.assert_close(found[:, :1], image)


def test_an_image_that_is_mirrored_at_each_tile_gives_something_else() -> None:
    network, image = build("valid", 3), random_image(64, 64)
    first, second = (stitched(network, image[..., part], settings_of(32)) for part in (slice(0, 32), slice(32, 64)))
    error = (torch.cat([first, second], dim=-1) - one_piece(network, image)).abs()
    assert float(error[..., 24:40].max()) > 0.1


# --- the plan ---


@pytest.mark.parametrize("upsample", ["transposed", "bilinear"])
@pytest.mark.parametrize("model", MODELS)
def test_a_plan_is_legal_on_the_total_stride_and_keeps_every_pixel(model: str, upsample: str) -> None:
    @settings(deadline=None, max_examples=80)
    @given(
        st.sampled_from(NORMS),
        st.integers(1, 6),
        st.integers(1, 700),
        st.integers(0, 60),
        st.integers(0, 200),
        st.data(),
    )
    def holds(norm: str, depth: int, size: int, blend: int, reach: int, data: Any) -> None:
        plan = architecture(model, depth, norm, upsample)
        step, border = total_stride(plan), lost_border(plan)
        smallest = max(step, -(-blend // step) * step) + blend
        tile = data.draw(st.integers(smallest, smallest + 300))
        tiles = plan_tiles(plan, size, settings_of(tile, blend, data.draw(st.sampled_from(["auto", reach]))))
        whole = plan_whole(plan, size)
        kept = np.zeros(size, int)
        for found in tiles:
            assert is_legal(plan, found.size)
            assert (found.start + border) % step == 0
            assert 0 < found.stop - found.first <= tile
            assert found.offset == found.first - found.start - border >= 0
            assert found.offset + found.stop - found.first <= output_size(plan, found.size)
            assert whole.start <= found.start
            assert found.start + found.size <= whole.start + whole.size
            kept[found.first : found.stop] += 1
        assert kept.min() == 1
        assert kept.max() <= (2 if blend else 1)
        assert (kept == 2).sum() == blend * (len(tiles) - 1)
        assert len(tiles) == (1 if size <= tile else 1 - (tile - size) // tile_step(plan, tile, blend))

    holds()


@pytest.mark.parametrize(("model", "upsample"), [("same", "transposed"), ("pad", "bilinear"), ("valid", "bilinear")])
def test_a_kept_pixel_sees_nothing_that_was_invented(model: str, upsample: str) -> None:
    plan = architecture(model, 4, "none", upsample)
    whole, reach = plan_whole(plan, 501), receptive_field_radius(plan)
    for found in plan_tiles(plan, 501, settings_of(70, blend=6)):
        assert found.start <= max(found.first - reach, whole.start)
        assert found.start + found.size >= min(found.stop + reach, whole.start + whole.size)


def test_the_tile_of_the_paper_steps_by_384() -> None:
    tiles = plan_tiles(PAPER, 1540, settings_of(388))
    assert [tile.start for tile in tiles] == [-92, 292, 676, 1060]
    assert [tile.size for tile in tiles] == [572] * 4
    assert [(tile.first, tile.stop) for tile in tiles] == [(0, 384), (384, 768), (768, 1152), (1152, 1540)]
    assert plan_tiles(PAPER, 388, settings_of(388)) == [plan_whole(PAPER, 388)]
    assert surround(PAPER, "auto") == 0


def test_the_picture_shows_the_plan(tmp_path: Path) -> None:
    tiles = plan_tiles(PAPER, tiles_picture.SIDE, settings_of(tiles_picture.TILE))
    step = tile_step(PAPER, tiles_picture.TILE)
    assert [tile.first for tile in tiles] == list(range(0, tiles_picture.SIDE, step))
    assert [tile.start for tile in tiles[:2]] == [-lost_border(PAPER), step - lost_border(PAPER)]
    assert [tile.size for tile in tiles[:2]] == [input_for_output(PAPER, step)] * 2
    tiles_picture.draw_tiles(tmp_path / "tiles.png", dpi=40)
    assert (tmp_path / "tiles.png").stat().st_size > 5_000


def test_tiles_are_balanced() -> None:
    tiles = plan_tiles(architecture("same", 4), 1100, settings_of(1024))
    assert [tile.stop - tile.first for tile in tiles] == [552, 548]


def test_a_number_for_the_context_is_rounded_up_to_the_total_stride() -> None:
    same, valid = architecture("same", 4), architecture("valid", 4)
    assert [surround(same, number) for number in (0, 1, 8, 9)] == [0, 8, 8, 16]
    assert lost_border(valid) == 44
    assert [surround(valid, number) for number in (0, 44, 45)] == [0, 0, 8]


@pytest.mark.parametrize(("depth", "tile", "blend", "least"), [(5, 15, 0, 16), (5, 1, 0, 16), (4, 20, 9, 25)])
def test_a_tile_without_room_for_a_step_is_refused_in_words(depth: int, tile: int, blend: int, least: int) -> None:
    plan = architecture("same", depth)
    for size in (1, 1000):
        with pytest.raises(ConfigError, match=rf"inference\.tile={tile} is too small .*: set {least} or more pixels"):
            plan_tiles(plan, size, settings_of(tile, blend))
    plan_tiles(plan, 1000, settings_of(least, blend))


# --- blending, and the norms that see the whole of their input ---


def trained(norm: Any) -> UNet:
    """A small network after a few steps on generated images: random weights would say nothing of real ones."""
    made = [generate(64, 64, 0, index) for index in range(4)]
    images = torch.cat([normalised(one.image) for one in made])
    labels = torch.from_numpy(np.stack([one.label for one in made])).long()
    torch.manual_seed(0)
    network = UNet(Architecture("same", "exact", 3, 4, 1, 2, "concat", norm, "transposed"))
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(25):
        loss = nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


def normalised(image: Any) -> Tensor:
    return torch.from_numpy((image.astype(np.float32) - image.mean()) / image.std())[None, None].float()


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["instance", pytest.param("group", marks=pytest.mark.slow)])
def test_the_bound_for_norms_that_see_the_whole_tile(norm: str) -> None:
    """As `overlap_tile` states it: a probability is off by 0.06 at most in the mean in halves, by 0.12 in quarters."""
    network, image = trained(norm), normalised(generate(256, 256, 1, 0).image)
    whole = one_piece(network, image).softmax(dim=1)
    half, quarter, blended = (
        (stitched(network, image, config).softmax(dim=1) - whole)[0, 1]
        for config in (settings_of(128), settings_of(64), settings_of(80, blend=16))
    )
    assert 1e-3 < float(half.abs().mean()) < 0.06
    assert float(half.abs().mean()) < float(quarter.abs().mean()) < 0.12
    assert float(blended.abs().mean()) < 0.12
    seam, ramp = quarter[:, 64] - quarter[:, 63], blended[:, 64:80].diff(dim=1)
    assert float(ramp.abs().mean()) < 0.7 * float(seam.abs().mean()), "no seam where tiles are blended"


@pytest.mark.parametrize(("model", "blend"), [("valid", 0), ("same", 8)])
def test_tiles_of_several_images_share_a_pass(model: str, blend: int) -> None:
    network, images = build(model, 2), torch.randn(3, 1, 50, 41)
    config = settings_of(32, blend, batch_size=2)
    passes: list[int] = []
    handle = network.register_forward_pre_hook(lambda _, given: passes.append(len(given[0])))
    found = tiled_logits(network, mirror_source(images), 50, 41, config, images=3)
    assert set(passes) <= {3, 6}
    handle.remove()
    for image, logits in zip(images, found, strict=True):
        alone = tiled_logits(network, mirror_source(image[None]), 50, 41, config)[0]
        torch.testing.assert_close(logits, alone, atol=1e-5, rtol=1e-5)
