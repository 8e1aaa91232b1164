"""`inference.tile=auto` follows from the memory where tiles are exact, and is 1024 elsewhere."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unet_exp.config.running import PlainInferenceConfig
from unet_exp.geometry import Architecture, tile_step
from unet_exp.inference.large.budget import tile_bytes
from unet_exp.inference.tiling.tile_size import TILES, resolve_tile
from unet_exp.network import UNet

CPU = torch.device("cpu")


def network(norm: str, depth: int = 3) -> UNet:
    return UNet(Architecture("same", "exact", depth, 4, 1, 2, "concat", norm, "transposed"))  # type: ignore[arg-type]


def config(**changed: Any) -> PlainInferenceConfig:
    values: dict[str, Any] = {"tile": "auto", "batch_size": 1, "context": "auto", "blend": 0}
    return PlainInferenceConfig(name="none", **values | changed)


@given(st.integers(0, 2**36), st.integers(1, 4), st.sampled_from(["none", "batch"]), st.integers(0, 400))
@settings(max_examples=30, deadline=None)
def test_it_is_the_largest_that_fits(memory: int, batch: int, norm: str, blend: int) -> None:
    made, wanted = network(norm), config(batch_size=batch, blend=blend)
    tile = resolve_tile(wanted, [made], CPU, memory).tile_pixels
    tile_step(made.architecture, tile, blend)
    assert tile in TILES
    share = memory // batch
    larger = [size for size in TILES if size > tile]
    assert all(tile_bytes([made], size, "auto", 1, 4, 2) > share for size in larger)
    smaller = [size for size in TILES if size < tile and size >= 2 * blend + 4]
    assert tile_bytes([made], tile, "auto", 1, 4, 2) <= share or not smaller


@pytest.mark.parametrize("norm", ["instance", "group"])
@pytest.mark.parametrize("memory", [0, 2**24, 2**40, None])
def test_inexact_tiles_are_the_same_on_each_machine(norm: str, memory: int | None) -> None:
    assert resolve_tile(config(), [network(norm)], CPU, memory).tile == 1024


def test_a_typed_tile_stays() -> None:
    typed = config(tile=96)
    assert resolve_tile(typed, [network("batch")], CPU, 0) is typed


@pytest.mark.parametrize("size", TILES)
def test_without_a_budget_it_follows_from_the_free_memory(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made = network("batch")
    free = 3 * tile_bytes([made], size, "auto", 1, 4, 2)
    monkeypatch.setattr("unet_exp.inference.tiling.tile_size.free_memory", lambda: free)
    assert resolve_tile(config(), [made], CPU).tile == size
