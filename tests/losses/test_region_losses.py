"""Dice, Dice with cross-entropy, Tversky, Lovász-softmax and focal: worked numbers, other libraries, definitions."""

from collections.abc import Callable
from itertools import pairwise, product
from math import log
from typing import Any

import numpy as np
import pytest
import torch
from conftest import composed
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from unet_exp import losses
from unet_exp.compose import compose_train
from unet_exp.config import IGNORE_LABEL, parse
from unet_exp.errors import ConfigError
from unet_exp.losses import CrossEntropy, Dice, DiceCrossEntropy, Focal, Lovasz, Tversky

LOG3 = log(3)
REGIONS: dict[str, Callable[..., nn.Module]] = {
    "dice": Dice,
    "dice_ce": DiceCrossEntropy,
    "tversky": Tversky,
    "lovasz": Lovasz,
}
every_region = pytest.mark.parametrize("loss", REGIONS.values(), ids=list(REGIONS))


def random_batch(classes: int = 3, ignored: float = 0.3, seed: int = 0, images: int = 2) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    label = torch.randint(0, classes, (images, 5, 7), generator=random).to(torch.uint8)
    label[torch.rand(label.shape, generator=random) < ignored] = IGNORE_LABEL
    return 3 * torch.randn(images, classes, 5, 7, generator=random), label


def pixels(*logits: list[float]) -> Tensor:
    """(1, out, 1, W) from the logits of each pixel."""
    return torch.tensor(logits).T[None, :, None]


def row(*labels: int) -> Tensor:
    return torch.tensor(labels, dtype=torch.uint8)[None, None]


def from_words(*words: str, weights: list[float] | None = None) -> nn.Module:
    return losses.build(parse(composed(*words)).loss, weights)


# --- worked numbers: softmax(0, log 3) is (1/4, 3/4) ---

A, B, EVEN = [0.0, LOG3], [LOG3, 0.0], [0.0, 0.0]
CE_RIGHT, CE_WRONG = -log(3 / 4), log(4)
WORKED: list[tuple[nn.Module, list[list[float]], list[int], float]] = [
    # p1 = 3/4, 1/4; labels 1, 0: each class has TP 3/4, FP 1/4, FN 1/4
    (Dice(smooth=0), [A, B], [1, 0], 1 / 4),
    (Dice(smooth=2), [A, B], [1, 0], 1 - (3 / 2 + 2) / (2 + 2)),
    (Tversky(alpha=0.2, beta=1.0, smooth=0), [A, B], [1, 0], 1 - 0.75 / (0.75 + 0.05 + 0.25)),
    (Tversky(alpha=0.2, beta=1.0, smooth=1), [A, B], [1, 0], 1 - 1.75 / (0.75 + 0.05 + 0.25 + 1)),
    # errors of each class 1/4 and 1/4: 1 - IoU of both wrong is 1, and of the first alone is 1/2 or 1/2
    (Lovasz(), [A, B], [1, 0], 1 / 4),
    # class 1, errors 3/4 (its pixel) and 1/4: 3/4 * 1 + 1/4 * 0; class 0: 3/4 joins: 1/2, then 1/4 * 1/2
    (Lovasz(), [B, B], [1, 0], (3 / 4 * 1 + 3 / 4 * 1 / 2 + 1 / 4 * 1 / 2) / 2),
    # class 1 alone is there; class 0 is absent
    (Dice(smooth=0), [A, A], [1, 1], 1 - 2 * 1.5 / (1.5 + 2)),
    (Dice(smooth=0, classes="all"), [A, A], [1, 1], (1 - 2 * 1.5 / (1.5 + 2) + 1) / 2),
    (Dice(smooth=1, classes="all"), [A, A], [1, 1], (1 - (3 + 1) / (3.5 + 1) + 1 - 1 / (0.5 + 1)) / 2),
    (Lovasz(), [A, EVEN], [1, 1], (1 / 2 * 1 / 2 + 1 / 4 * 1 / 2)),
    (Lovasz(classes="all"), [A, EVEN], [1, 1], (3 / 8 + 1 / 2) / 2),
    (Dice([3, 1], smooth=0), [B, B], [1, 0], (3 * (1 - 1.5 / 2.5) + (1 - 0.5 / 1.5)) / 4),
    (DiceCrossEntropy(None, 2.0, 3.0, smooth=0), [A, B], [1, 0], 2 / 4 + 3 * CE_RIGHT),
    (Focal(), [A, B], [1, 1], ((1 / 4) ** 2 * CE_RIGHT + (3 / 4) ** 2 * CE_WRONG) / 2),
    (Focal([3, 1], gamma=1.0), [A, A], [0, 1], (3 * 3 / 4 * CE_WRONG + 1 / 4 * CE_RIGHT) / 4),
    (Focal(gamma=0.5), [EVEN], [1], (1 / 2) ** 0.5 * log(2)),
]


@pytest.mark.parametrize(("loss", "logits", "labels", "expected"), WORKED)
def test_worked_numbers(loss: nn.Module, logits: list[list[float]], labels: list[int], expected: float) -> None:
    value = loss(pixels(*logits), row(*labels))
    assert value.shape == ()
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected, abs=1e-6)
    # An ignored pixel is as if it were not there.
    more = loss(pixels(*logits, [9.0, -9.0]), row(*labels, IGNORE_LABEL))
    assert more.item() == pytest.approx(expected, abs=1e-6)


# --- other libraries ---


def agrees(ours: nn.Module, theirs: Callable[[Tensor, Tensor], Tensor], logits: Tensor, label: Tensor) -> None:
    """Value and gradient."""
    mine, other = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    value, expected = ours(mine, label), theirs(other, label.long())
    value.backward()
    expected.backward()
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(mine.grad, other.grad)


BATCHES = [random_batch(classes, 0.0, seed) for classes, seed in product((2, 3, 5), (0, 1))]


@pytest.mark.parametrize("batch", [True, False])
@pytest.mark.parametrize("smooth", [1e-5, 1.0])
def test_dice_tversky_and_dice_ce_are_monai_s(batch: bool, smooth: float) -> None:
    monai = pytest.importorskip("monai.losses", reason="needs the extra `reference`")
    words: dict[str, Any] = {"softmax": True, "to_onehot_y": True, "batch": batch}
    words |= {"smooth_nr": smooth, "smooth_dr": smooth}
    for logits, label in BATCHES:
        dice, tversky = monai.DiceLoss(**words), monai.TverskyLoss(**words, alpha=0.2, beta=0.9)
        both = monai.DiceCELoss(**words, lambda_dice=0.5, lambda_ce=2.0)
        for ours, theirs in (
            (Dice(smooth=smooth, per_image=not batch, classes="all"), dice),
            (Tversky(alpha=0.2, beta=0.9, smooth=smooth, per_image=not batch, classes="all"), tversky),
            (DiceCrossEntropy(None, 0.5, 2.0, smooth, not batch, "all"), both),
        ):
            agrees(ours, lambda scores, truth, theirs=theirs: theirs(scores, truth[:, None]), logits, label)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_is_monai_s(gamma: float) -> None:
    monai = pytest.importorskip("monai.losses", reason="needs the extra `reference`")
    for logits, label in BATCHES:
        weights = torch.linspace(0.5, 2, logits.shape[1])
        theirs = monai.FocalLoss(to_onehot_y=True, use_softmax=True, gamma=gamma, weight=weights, reduction="none")
        mass = weights[label.long()].sum()  # ours is a weighted mean

        def reference(scores: Tensor, truth: Tensor, theirs: Any = theirs, mass: Tensor = mass) -> Tensor:
            total: Tensor = theirs(scores, truth[:, None]).sum()
            return total / mass

        agrees(Focal(weights.tolist(), gamma), reference, logits, label)


def test_lovasz_per_image_over_all_classes_is_kornia_s() -> None:
    kornia = pytest.importorskip("kornia.losses", reason="needs the extra `reference`")
    for logits, label in BATCHES:
        agrees(Lovasz(per_image=True, classes="all"), kornia.lovasz_softmax_loss, logits, label)


# --- the definitions, in plain NumPy ---


def soft_counts(p: NDArray[Any], g: NDArray[Any], w: NDArray[Any]) -> tuple[float, float, float]:
    return float((w * p * g).sum()), float((w * p * (1 - g)).sum()), float((w * (1 - p) * g).sum())


def lovasz_extension(p: NDArray[Any], g: NDArray[Any], w: NDArray[Any]) -> float:
    """The extension itself: sum over thresholds of 1 - IoU of the pixels whose errors reach it."""
    errors = np.abs(g - p)
    total, levels = 0.0, [0.0, *np.unique(errors)]
    for low, high in pairwise(levels):
        wrong = errors >= high
        right_of_class = w[(g == 1) & ~wrong].sum()
        union = w[(g == 1) | wrong].sum()
        total += (high - low) * (1 - right_of_class / union if union else 0)
    return total


def plainly(name: str, logits: Tensor, label: Tensor, weights: Tensor, by_class: list[float], classes: str) -> float:
    """The loss of one group in double precision."""
    p_all = logits.double().softmax(dim=1).movedim(1, 0).flatten(1).numpy()
    flat, w_all = label.flatten().numpy(), weights.double().flatten().numpy()
    counted = flat != IGNORE_LABEL
    values, shares = [], []
    for index, p in enumerate(p_all):
        g = (flat[counted] == index).astype(float)
        if classes == "present" and not g.any():
            continue
        tp, fp, fn = soft_counts(p[counted], g, w_all[counted])
        values.append(
            {
                "dice": 1 - (2 * tp + 1) / (2 * tp + fp + fn + 1),
                "tversky": 1 - (tp + 1) / (tp + 0.3 * fp + 0.7 * fn + 1),
                "lovasz": lovasz_extension(p[counted], g, w_all[counted]),
            }[name]
        )
        shares.append(by_class[index])
    return float(np.average(values, weights=shares))


@pytest.mark.parametrize("name", ["dice", "tversky", "lovasz"])
@pytest.mark.parametrize("classes", ["present", "all"])
@given(seed=st.integers(0, 2**16), per_image=st.booleans(), weighted=st.booleans())
def test_the_definition(name: str, classes: str, seed: int, per_image: bool, weighted: bool) -> None:
    logits, label = random_batch(4, 0.3, seed)
    label[0][label[0] == 3] = 1  # absent from the first image
    random = np.random.default_rng(seed)
    by_class = random.uniform(0.1, 2, 4).tolist()
    extra = torch.tensor(random.exponential(2, label.shape), dtype=torch.float32) if weighted else None
    weights = torch.ones(label.shape) if extra is None else 1 + extra
    loss = REGIONS[name](by_class, per_image=per_image, classes=classes)
    groups = [slice(0, 1), slice(1, 2)] if per_image else [slice(None)]
    expected = [plainly(name, logits[part], label[part], weights[part], by_class, classes) for part in groups]
    assert loss(logits, label, extra).item() == pytest.approx(np.mean(expected), rel=1e-4, abs=1e-6)


def test_lovasz_of_hard_predictions_is_1_minus_iou() -> None:
    guess, label = (random_batch(3, 0.0, seed)[1].long() for seed in (1, 2))
    logits = 1e4 * torch.nn.functional.one_hot(guess, 3).movedim(-1, 1).float()
    ious = [((guess == c) & (label == c)).sum() / ((guess == c) | (label == c)).sum() for c in range(3)]
    torch.testing.assert_close(Lovasz()(logits, label), 1 - torch.stack(ious).mean())


@pytest.mark.slow
def test_lovasz_keeps_its_digits_in_a_large_image() -> None:
    random = torch.Generator().manual_seed(0)
    label = (torch.rand(1, 1024, 1024, generator=random) < 0.3).to(torch.uint8)
    logits = torch.randn(1, 2, 1024, 1024, generator=random)
    value, exact = Lovasz()(logits, label), Lovasz()(logits.double(), label)
    assert value.item() == pytest.approx(exact.item(), rel=1e-6)


def test_focal_without_focus_is_the_cross_entropy() -> None:
    logits, label = random_batch()
    torch.testing.assert_close(Focal([1, 2, 3], 0.0)(logits, label), CrossEntropy([1, 2, 3])(logits, label))


def test_dice_is_tversky_with_halves() -> None:
    logits, label = random_batch()
    torch.testing.assert_close(Dice(smooth=2.0)(logits, label), Tversky(None, 0.5, 0.5, 1.0)(logits, label))


# --- images, and settings beyond the defaults ---


@every_region
def test_an_image_with_nothing_to_count_does_not_dilute_the_others(loss: Callable[..., nn.Module]) -> None:
    logits, label = random_batch()
    label[1] = IGNORE_LABEL
    for classes in ("present", "all"):
        alone = loss(per_image=True, classes=classes)(logits[:1], label[:1])
        torch.testing.assert_close(loss(per_image=True, classes=classes)(logits, label), alone)


@every_region
def test_images_by_themselves_or_the_batch_as_one(loss: Callable[..., nn.Module]) -> None:
    logits, label = random_batch()
    together, apart = loss()(logits, label), loss(per_image=True)(logits, label)
    assert not torch.isclose(together, apart, rtol=1e-4)
    each = [loss()(logits[index : index + 1], label[index : index + 1]) for index in range(2)]
    if loss is not DiceCrossEntropy:  # whose cross-entropy is always the batch's
        torch.testing.assert_close(apart, torch.stack(each).mean())


SETTINGS = [
    *[(loss, {"per_image": True, "classes": "all"}) for loss in REGIONS.values()],
    (Focal, {"gamma": 0.5}),
    (Dice, {"smooth": 0.0, "classes": "all"}),
    (Tversky, {"smooth": 0.0, "alpha": 1.0, "beta": 0.0}),
]


@pytest.mark.parametrize(("loss", "words"), [*[(loss, {}) for loss in (*REGIONS.values(), Focal)], *SETTINGS])
def test_gradients_are_those_of_finite_differences(loss: Callable[..., nn.Module], words: dict[str, Any]) -> None:
    logits, label = random_batch()
    small = logits[:, :, :2, :3].double().requires_grad_()
    ours = loss([0.5, 1.0, 2.0], **words)
    assert ours(small, label[:, :2, :3]).dtype == torch.float64
    weights = torch.rand(label.shape, dtype=torch.float64)[:, :2, :3]
    for given_weights in (None, weights):
        assert torch.autograd.gradcheck(lambda scores, w=given_weights: ours(scores, label[:, :2, :3], w), small)


@pytest.mark.parametrize(("loss", "words"), SETTINGS)
@pytest.mark.parametrize("size", [1e4, 1e30])
def test_extreme_logits_stay_finite(loss: Callable[..., nn.Module], words: dict[str, Any], size: float) -> None:
    logits, label = random_batch()
    signs = [logits.sign(), torch.nn.functional.one_hot(label.long().clamp_max(2), 3).movedim(-1, 1) * 2.0 - 1]
    signs += [-signs[1], torch.ones_like(logits)]
    for sign in signs:
        extreme = (size * sign).requires_grad_()
        value = loss(**words)(extreme, label)
        value.backward()
        assert torch.isfinite(value)
        assert value >= 0
        assert extreme.grad is not None
        assert torch.isfinite(extreme.grad).all()


# --- from the config ---


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["loss=focal", "loss.gamma=3"], Focal(gamma=3)),
        (["loss=dice", "loss.smooth=0.1", "loss.per_image=true"], Dice(smooth=0.1, per_image=True)),
        (["loss=tversky", "loss.alpha=0.9", "loss.beta=0.2"], Tversky(alpha=0.9, beta=0.2)),
        (["loss=tversky", "loss.smooth=7", "loss.classes=all"], Tversky(smooth=7, classes="all")),
        (["loss=dice_ce", "loss.dice_weight=0.2", "loss.ce_weight=3"], DiceCrossEntropy(None, 0.2, 3)),
        (["loss=lovasz", "loss.per_image=true", "loss.classes=all"], Lovasz(per_image=True, classes="all")),
    ],
)
def test_the_keys_reach_the_loss(words: list[str], expected: nn.Module) -> None:
    logits, label = random_batch(4, images=3)
    label[label == 3] = 2
    label[0] = 1
    torch.testing.assert_close(from_words(*words)(logits, label), expected(logits, label))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["loss=focal", "loss.gamma=-1"], "loss.gamma=-1"),
        (["loss=dice", "loss.smooth=-1"], "loss.smooth=-1"),
        (["loss=dice", "loss.classes=some"], "loss.classes='some'"),
        (["loss=tversky", "loss.alpha=0", "loss.beta=0"], "loss.alpha or loss.beta must be above 0"),
        (["loss=dice_ce", "loss.dice_weight=0", "loss.ce_weight=0"], "loss.dice_weight or loss.ce_weight"),
        (["loss=lovasz", "loss.smooth=1"], "unknown key loss.smooth"),
    ],
)
def test_mistakes_are_told(words: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as mistake:
        parse(compose_train(words))
    assert str(mistake.value).startswith(said)


@pytest.mark.slow
@pytest.mark.parametrize("word", ["dice_ce", "focal"])
def test_a_training_with_it_is_like_any_other(word: str, train: Callable[..., Any]) -> None:
    folder = train("model=same", f"loss={word}", "loss.class_weights=inverse")
    assert (folder.path / "summary.json").is_file()
    assert "val/loss" in folder.metrics.read_text()
