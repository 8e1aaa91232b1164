"""What every loss promises, for every word of `conf/loss`."""

import pickle
from collections.abc import Callable
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import composed, options
from devices import needs_cuda
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from unet_exp import losses
from unet_exp.config import IGNORE_LABEL, Config, parse
from unet_exp.losses import (
    BinaryCrossEntropy,
    BorderWeighted,
    CrossEntropy,
    Dice,
    DiceCrossEntropy,
    Focal,
    Lovasz,
    Tversky,
)

WORDS = options("loss")
KINDS: dict[str, Callable[..., nn.Module]] = {
    "bce": BinaryCrossEntropy,
    "border_weighted": lambda weights: BorderWeighted(weights, "pixels"),
    "cross_entropy": CrossEntropy,
    "dice": Dice,
    "dice_ce": DiceCrossEntropy,
    "focal": Focal,
    "lovasz": Lovasz,
    "tversky": Tversky,
}


@cache
def config(word: str) -> Config:
    return parse(composed(f"loss={word}"))


class Case(NamedTuple):
    """A loss and a number of classes."""

    word: str
    classes: int

    @property
    def out(self) -> int:
        """The number of logits a pixel."""
        return 1 if self.word == "bce" and self.classes == 2 else self.classes

    def build(self, weights: list[float] | None = None) -> nn.Module:
        return losses.build(config(self.word).loss, weights)

    def sure(self, label: Tensor) -> Tensor:
        """(B, out, H, W): 1 for the label's class and -1 for the others."""
        hot = 2.0 * F.one_hot(label.long().clamp_max(self.classes - 1), self.classes).movedim(-1, 1) - 1
        return hot[:, 1:] if self.out == 1 else hot

    def optional(self, weights: Tensor) -> list[Tensor | None]:
        """Pixel weights that the loss takes: these and, where it can do without, none."""
        return [weights] if self.word == "border_weighted" else [weights, None]

    def predict(self, logits: Tensor) -> Tensor:
        return (logits[:, 0] > 0).long() if self.out == 1 else logits.argmax(dim=1)


CASES = [Case(word, classes) for word in WORDS for classes in (2, 3)]
every = pytest.mark.parametrize("case", CASES, ids=[f"{word}-{classes}" for word, classes in CASES])
every_word = pytest.mark.parametrize("word", WORDS)


def random_batch(case: Case) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (2, out, 5, 7), a label (2, 5, 7) of which a third is ignored, and pixel weights (2, 5, 7)."""
    random = torch.Generator().manual_seed(0)
    label = torch.randint(0, case.classes, (2, 5, 7), generator=random).to(torch.uint8)
    label[torch.rand(label.shape, generator=random) < 0.3] = IGNORE_LABEL
    return 3 * torch.randn(2, case.out, 5, 7, generator=random), label, torch.rand(label.shape, generator=random)


def gradient(value: Tensor, logits: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(value, logits)
    return found


# --- what is counted ---


@every
def test_ignored_pixels_change_nothing_and_get_no_gradient(case: Case) -> None:
    loss, (logits, label, weights) = case.build(), random_batch(case)
    ignored = label == IGNORE_LABEL
    there = ignored[:, None].expand_as(logits)
    logits.requires_grad_()
    for pixel_weights in case.optional(weights):
        value = loss(logits, label, pixel_weights)
        found = gradient(value, logits)
        assert (found[there] == 0).all()
        # Lovász has pixels whose error makes no difference.
        assert (found[~there] != 0).any() if case.word == "lovasz" else (found[~there] != 0).all()
        for logit, weight in ((50.0, 1e6), (-50.0, 0.0)):
            others = None if pixel_weights is None else torch.where(ignored, weight, pixel_weights)
            torch.testing.assert_close(loss(torch.where(there, logit, logits), label, others), value)


@every
@pytest.mark.parametrize("labelled", [False, True])
def test_nothing_to_count_is_zero_with_a_zero_gradient(case: Case, labelled: bool) -> None:
    label = torch.full((2, 3, 4), 0 if labelled else IGNORE_LABEL, dtype=torch.uint8)
    loss = case.build([0.0, *[1.0] * (case.classes - 1)] if labelled else None)  # labelled pixels, but of no weight
    for pixel_weights in case.optional(torch.zeros(label.shape)):
        logits = (100 * torch.randn(2, case.out, 3, 4)).requires_grad_()
        value = loss(logits, label, pixel_weights)
        assert value.item() == 0
        assert (gradient(value, logits) == 0).all()


@every
@given(seed=st.integers(0, 2**16), scale=st.floats(0.01, 20))
def test_never_negative_and_blind_to_the_order_of_pixels_and_of_classes(case: Case, seed: int, scale: float) -> None:
    random = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(2, case.out, 3, 4, generator=random)
    label = torch.randint(0, case.classes, (2, 3, 4), generator=random)
    pixel_weights, weights = torch.rand(label.shape, generator=random), torch.rand(case.classes, generator=random)
    value = case.build(weights.tolist())(logits, label, pixel_weights)
    assert value >= 0
    order = torch.randperm(24, generator=random)
    moved = logits.movedim(1, 0).reshape(case.out, 24)[:, order].reshape(1, case.out, 6, 4)
    others = [array.flatten()[order].reshape(1, 6, 4) for array in (label, pixel_weights)]
    torch.testing.assert_close(case.build(weights.tolist())(moved, *others), value)
    names = torch.randperm(case.classes, generator=random)
    renamed = logits[:, names] if case.out > 1 else torch.where(names[0] == 0, logits, -logits)
    loss = case.build(weights[names].tolist())
    torch.testing.assert_close(loss(renamed, names.argsort()[label], pixel_weights), value)


# --- numbers ---


@every
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(case: Case, half: torch.dtype) -> None:
    """Whatever autocast says."""
    loss, (logits, label, weights) = case.build(), random_batch(case)
    for pixel_weights in case.optional(weights):
        rounded = (10 * logits).to(half).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            value = loss(rounded, label, pixel_weights)
        found = gradient(value, rounded)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, loss(rounded.detach().float(), label, pixel_weights))
        assert found.dtype == half
        assert torch.isfinite(found).all()


@every
def test_extreme_logits_stay_finite(case: Case) -> None:
    loss, (logits, label, weights) = case.build(), random_batch(case)
    right = case.sure(label)
    for size, pattern in product((1e4, 1e30), (logits, logits.sign(), right, -right, torch.ones_like(logits))):
        extreme = (size * pattern).requires_grad_()
        value = loss(extreme, label, weights)
        assert torch.isfinite(value)
        assert value >= 0
        assert torch.isfinite(gradient(value, extreme)).all()


@every
def test_a_right_prediction_costs_nothing_and_a_wrong_one_much(case: Case) -> None:
    loss, (_, label, weights) = case.build(), random_batch(case)
    right = 50.0 * case.sure(label)
    assert loss(right, label, weights).item() == pytest.approx(0, abs=1e-5)
    assert loss(-right, label, weights) > 0.5


@every
def test_it_can_be_learned_from(case: Case) -> None:
    loss, (logits, label, weights) = case.build(), random_batch(case)
    logits = torch.zeros_like(logits, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=1.0)
    for _ in range(30):
        optimizer.zero_grad()
        loss(logits, label, weights).backward()
        optimizer.step()
    counted = label != IGNORE_LABEL
    assert (case.predict(logits)[counted] == label[counted]).all()


# --- from the config ---


@every_word
def test_the_word_builds_the_loss(word: str) -> None:
    case = Case(word, 2)
    logits, label, pixel_weights = random_batch(case)
    for weights in (None, [1.0, 2.5]):
        built, made = case.build(weights), KINDS[word](weights)
        assert type(built) is type(made)
        assert not built.state_dict(), "class weights belong to the config, not to the weights of a checkpoint"
        torch.testing.assert_close(built(logits, label, pixel_weights), made(logits, label, pixel_weights))
    both = [case.build(weights)(logits, label, pixel_weights) for weights in (None, [1.0, 2.5])]
    assert not torch.isclose(*both, rtol=1e-4), "the class weights count"
    assert config(word).activation == ("sigmoid" if word == "bce" else "softmax")


@every_word
def test_targets_can_be_sent_to_another_process(word: str) -> None:
    label, instances = np.array([[1, 2, 0, IGNORE_LABEL]], np.uint8), np.array([[1, 2, 0, 0]], np.int32)
    make = losses.targets(config(word).loss)
    found: Any = make(label, instances)
    for one, other in zip(pickle.loads(pickle.dumps(make))(label, instances), found, strict=True):
        np.testing.assert_equal(one, other)
    if word != "border_weighted":
        assert np.shares_memory(found[0], label), "no copy"
        assert found[1] is None


@needs_cuda
@pytest.mark.parametrize("word", WORDS)
def test_nothing_waits_for_the_gpu(word: str) -> None:
    loss = losses.build(config(word).loss, [0.3, 0.7]).cuda()
    logits = torch.randn((2, 1 if word == "bce" else 2, 16, 16), device="cuda", requires_grad=True)
    label = torch.randint(0, 2, (2, 16, 16), device="cuda").to(torch.uint8)
    label[:, :3] = IGNORE_LABEL
    weights = torch.rand((2, 16, 16), device="cuda")
    loss(logits, label, weights).backward()
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss(logits, label, weights).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
