"""A validation, image by image: what it finds, in which order, and that it is what a later evaluation finds."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from conftest import composed
from torch import Tensor, nn

from unet_exp import losses, network
from unet_exp.config import IGNORE_LABEL, Config, parse
from unet_exp.inference import batching
from unet_exp.inference.copies import Copies
from unet_exp.metrics.scoreboard import Scoreboard
from unet_exp.network import Network, probabilities
from unet_exp.runs.conditions import Layouts
from unet_exp.training.validation import Validation, copy_for_prediction

NAMES = ("membrane", "cell")
SIZES = [(24, 31), (24, 31), (40, 16), (24, 31), (24, 31), (24, 31)]
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))]


def config() -> Config:
    return parse(composed("model=same", "model.norm=batch", "model.depth=2", "model.width=4"))


def made(device: str) -> Network:
    """A network whose batch norm has seen data, in eval mode."""
    torch.manual_seed(1)
    built = network.build(config(), 1, 2)
    built.train()
    for _ in range(3):
        built(3 * torch.randn(2, 1, 32, 32) + 1)
    return built.eval().to(device)


def images(device: str) -> list[dict[str, Any]]:
    random = np.random.default_rng(0)
    items = []
    for number, size in enumerate(SIZES):
        label = random.choice([0, 1, IGNORE_LABEL], size, p=[0.4, 0.5, 0.1]).astype(np.uint8)
        image = torch.from_numpy(random.standard_normal((1, *size)).astype(np.float32)).to(device)
        target = torch.from_numpy(label).to(device)
        items.append({"name": f"image {number}", "image": image, "label": label, "target": target})
    return items


def check(_: Tensor) -> None:
    """Every loss will do."""


def begin(predicting: Network, board: Scoreboard, pictures: int = 0, require_finite: Any = check) -> Validation:
    loss = losses.build(config().loss, None).to(next(predicting.parameters()).device)
    return Validation(predicting, loss, config().inference, "softmax", board, pictures, require_finite)


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("device", DEVICES)
def test_images_are_scored_in_their_order_as_each_alone(
    device: str, batched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "_BATCHED", (device,) if batched else ())
    predicting, items = made(device), images(device)
    board, by_hand = Scoreboard(NAMES, ["isbi"]), Scoreboard(NAMES, ["isbi"])
    checked: list[float] = []
    validation = begin(predicting, board, 4, lambda loss: checked.append(float(loss)))
    for item in items:
        validation.add(item)
    labels = validation.labels()
    scores = validation.finish()
    for item in items:
        with torch.no_grad():
            # The smallest legal size, mirrored at the end, is what a pass over the whole image takes.
            height, width = item["label"].shape
            padded = nn.functional.pad(item["image"][None], (0, width % 2, 0, height % 2), mode="reflect")
            logits = predicting(padded)[..., :height, :width]
            shares = probabilities(logits, "softmax")[0].cpu().numpy()
            loss = float(nn.functional.cross_entropy(logits, item["target"][None].long(), ignore_index=IGNORE_LABEL))
        by_hand.add(item["name"], item["label"], shares.argmax(axis=0).astype(np.uint8), loss, shares)
    assert scores == pytest.approx(by_hand.result(), rel=1e-4)
    assert [row["image"] for row in board.per_image()] == [item["name"] for item in items]
    assert checked == pytest.approx([row["loss"] for row in by_hand.per_image()], rel=1e-4)
    assert [label.shape for label in labels] == SIZES[:4]


def test_a_loss_that_is_not_finite_is_told_unless_no_pixel_counts() -> None:
    predicting, (first, second, _) = made("cpu"), images("cpu")[:3]
    next(predicting.parameters()).data.fill_(math.nan)
    nothing = {**first, "target": torch.full_like(first["target"], IGNORE_LABEL)}
    nothing["label"] = nothing["target"].numpy()
    given: list[Tensor] = []
    validation = begin(predicting, Scoreboard(NAMES), require_finite=given.append)
    for item in (nothing, second):
        validation.add(item)
    validation.finish()
    assert len(given) == 1
    assert not torch.isfinite(given[0])


@pytest.mark.parametrize("prediction", ["contiguous", "channels_last"])
def test_a_validation_predicts_with_a_folded_copy_and_leaves_the_network_as_it_is(prediction: Any) -> None:
    ours = made("cpu")
    before = copy.deepcopy(ours.state_dict())
    predicting = copy_for_prediction(ours, Layouts(training="contiguous", prediction=prediction))
    assert not any(isinstance(part, nn.BatchNorm2d) for part in predicting.modules())
    given = torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        found, expected = (probabilities(of(given), "softmax") for of in (predicting, ours))
    torch.testing.assert_close(found, expected, atol=5e-6, rtol=0)
    assert list(ours.state_dict()) == list(before)
    for name, weights in ours.state_dict().items():
        assert torch.equal(weights, before[name])
        assert weights.is_contiguous()


def test_without_batch_norm_another_layout_is_a_copy_and_the_same_one_is_the_network() -> None:
    ours = network.build(parse(composed("model=same", "model.depth=2", "model.width=4")), 1, 2).eval()
    assert copy_for_prediction(ours, Layouts(training="contiguous", prediction="contiguous")) is ours
    other = copy_for_prediction(ours, Layouts(training="contiguous", prediction="channels_last"))
    assert other is not ours
    assert all(weights.is_contiguous() for weights in ours.parameters())


@pytest.mark.parametrize("device", DEVICES)
def test_copies_are_what_was_given(device: str) -> None:
    given = {"label": torch.arange(6, dtype=torch.uint8).reshape(2, 3), "loss": torch.tensor(0.5)}
    moved = {name: tensor.to(device) for name, tensor in given.items()}
    copies = Copies(moved)
    found = copies.arrays()
    assert list(found) == list(given)
    for name, tensor in given.items():
        assert (found[name] == tensor.numpy()).all()
        assert found[name].dtype == tensor.numpy().dtype


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_copies_do_not_wait_for_the_gpu() -> None:
    numbers = torch.arange(1000.0, device="cuda")
    torch.cuda.synchronize()
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        copies = Copies({"numbers": numbers * 2})
    finally:
        torch.cuda.set_sync_debug_mode(mode)
    assert (copies.arrays()["numbers"] == np.arange(1000.0) * 2).all()


def test_a_batch_has_images_of_one_size_and_no_more_pixels_than_a_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "_BATCHED", ("cpu",))
    monkeypatch.setattr(batching, "_PIXELS_AT_ONCE", 2 * 24 * 31)
    predicting, batches = made("cpu"), []
    predicting.register_forward_pre_hook(lambda _, given: batches.append(len(given[0])))
    validation = begin(predicting, Scoreboard(NAMES))
    for item in images("cpu"):
        validation.add(item)
    validation.finish()
    assert batches == [2, 1, 2, 1]
