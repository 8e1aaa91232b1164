"""Targets of batches on a device are those of single labels, and the definition's."""

from math import exp
from typing import Any, Literal

import numpy as np
import pytest
import torch
from conftest import composed, options
from devices import needs_cuda, on_each_device
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from torch import Tensor

from unet_exp import losses
from unet_exp.config import IGNORE_LABEL, BorderWeightedConfig, parse
from unet_exp.data.sets.synthetic import generate
from unet_exp.losses import batched
from unet_exp.losses.batched import BatchedTargets

Where = Literal["background", "everywhere"]
BOTH: tuple[Where, ...] = ("background", "everywhere")
INSTANCES = arrays(
    np.int32,
    array_shapes(min_dims=3, max_dims=3, max_side=11),
    elements=st.sampled_from([0, 0, 0, 1, 2, 3, 7, 2**31 - 1]),
    fill=st.just(0),
)


def loss(**changes: Any) -> BorderWeightedConfig:
    config = parse(composed("loss=border_weighted")).loss
    assert isinstance(config, BorderWeightedConfig)
    return config.model_copy(update=changes)


def surrounded(instances: NDArray[np.int32], margin: int) -> Tensor:
    """With nothing around the image, as an image has it that ends there."""
    return torch.from_numpy(np.pad(instances, ((0, 0), (margin, margin), (margin, margin))))


def brute_force(instances: NDArray[Any], config: BorderWeightedConfig) -> NDArray[np.float64]:
    """The definition: every distance from every pixel to every pixel of every cell."""
    weights = np.zeros(instances.shape)
    cells = [np.argwhere(instances == number) for number in np.unique(instances[instances > 0])]
    for pixel in np.ndindex(instances.shape):
        distances = sorted(np.hypot(*(cell - pixel).T).min() for cell in cells)
        if len(cells) >= 2 and (config.where == "everywhere" or not instances[pixel]):
            weights[pixel] = config.w0 * exp(-((distances[0] + distances[1]) ** 2) / (2 * config.sigma**2))
    return weights


@given(
    instances=INSTANCES, sigma=st.floats(0.3, 4), w0=st.sampled_from([0, 1e-6, 0.5, 10]), where=st.sampled_from(BOTH)
)
def test_the_weights_are_the_definition_s(instances: NDArray[np.int32], sigma: float, w0: float, where: Where) -> None:
    config = loss(sigma=sigma, w0=w0, where=where, open_touching=False)
    targets = BatchedTargets(config)
    label = torch.from_numpy((instances > 0).astype(np.uint8))
    same, weights = targets(label, surrounded(instances, targets.margin))
    assert torch.equal(same, label)
    assert weights is not None
    assert weights.dtype == torch.float32
    for found, cells in zip(weights.numpy(), instances, strict=True):
        np.testing.assert_allclose(found, brute_force(cells, config), atol=1e-5)


@given(instances=INSTANCES, touching=st.booleans(), where=st.sampled_from(BOTH), seed=st.integers(0, 99))
def test_they_are_those_of_each_label_alone(
    instances: NDArray[np.int32], touching: bool, where: Where, seed: int
) -> None:
    config = loss(sigma=2.5, where=where, open_touching=touching)
    targets, alone = BatchedTargets(config), losses.targets(config)
    assert targets.margin <= alone.reach
    random = np.random.default_rng(seed)
    label = random.choice(np.array([0, 1, 2, IGNORE_LABEL], np.uint8), instances.shape)
    found, weights = targets(torch.from_numpy(label), surrounded(instances, targets.margin))
    assert weights is not None
    for index, pair in enumerate(zip(label, instances, strict=True)):
        expected, expected_weights = alone(*pair)
        assert (found[index].numpy() == expected).all()
        np.testing.assert_allclose(weights[index], expected_weights, atol=1e-5)  # type: ignore[arg-type]


@on_each_device
@pytest.mark.parametrize("where", BOTH)
def test_a_part_has_the_weights_of_the_whole(device: str, where: Where, monkeypatch: pytest.MonkeyPatch) -> None:
    config = loss(where=where)
    targets = BatchedTargets(config)
    images = [generate(150, 160, 0, index) for index in range(2)]
    whole = [losses.targets(config)(image.label, image.instances) for image in images]
    margin, start, side = targets.margin, targets.margin + 5, 60
    outer, inner = slice(5, 5 + side + 2 * margin), slice(start, start + side)
    label = torch.stack([torch.from_numpy(image.label[inner, inner]) for image in images]).to(device)
    instances = torch.stack([torch.from_numpy(image.instances[outer, outer]) for image in images]).to(device)
    found, weights = targets(label, instances)
    assert weights is not None
    for index, (expected, expected_weights) in enumerate(whole):
        assert expected_weights is not None
        assert expected_weights.max() > 5
        assert (found[index].cpu().numpy() == expected[inner, inner]).all()
        np.testing.assert_allclose(weights[index].cpu(), expected_weights[inner, inner], atol=1e-5)
    monkeypatch.setattr(batched, "_CHUNK", 2**21)
    assert torch.equal(targets(label, instances)[1], weights), "rows do not depend on the memory"  # type: ignore[arg-type]


@pytest.mark.parametrize("word", sorted(set(options("loss")) - {"border_weighted"}))
def test_other_losses_take_the_label_alone(word: str) -> None:
    targets, label = BatchedTargets(parse(composed(f"loss={word}")).loss), torch.ones((2, 3, 3), dtype=torch.uint8)
    assert (targets.weighs, targets.margin) == (False, 0)
    assert targets(label, None) == (label, None)


@needs_cuda
def test_nothing_waits_for_the_device() -> None:
    targets = BatchedTargets(loss())
    side = 40 + 2 * targets.margin
    label = torch.ones((2, 40, 40), dtype=torch.uint8, device="cuda")
    instances = torch.arange(2 * side * side, dtype=torch.int32, device="cuda").view(2, side, side) // 100
    targets(label, instances)
    torch.cuda.set_sync_debug_mode("error")
    try:
        targets(label, instances)
    finally:
        torch.cuda.set_sync_debug_mode("default")
