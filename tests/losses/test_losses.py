"""The pixelwise losses: worked numbers, PyTorch's own functions, border weights and class weights."""

from math import exp, log
from typing import Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import composed
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from unet_exp import losses
from unet_exp.config import IGNORE_LABEL, BorderWeightedConfig, parse
from unet_exp.losses import BinaryCrossEntropy, BorderWeighted, CrossEntropy, PixelwiseLoss

MEANS = [pytest.param(CrossEntropy, 2, 2, id="cross_entropy"), pytest.param(CrossEntropy, 3, 3, id="cross_entropy-3")]
MEANS += [pytest.param(BinaryCrossEntropy, 1, 2, id="bce"), pytest.param(BinaryCrossEntropy, 3, 3, id="bce-3")]


def pixels(*logits: list[float]) -> Tensor:
    """(1, out, 1, W) from the logits of each pixel."""
    return torch.tensor(logits).T[None, :, None]


def row(*labels: int) -> Tensor:
    """(1, 1, W) uint8, as the data sets give them."""
    return torch.tensor(labels, dtype=torch.uint8)[None, None]


def random_batch(out: int, classes: int, ignored: float = 0.3) -> tuple[Tensor, Tensor]:
    label = torch.randint(0, classes, (2, 5, 7), dtype=torch.uint8)
    label[torch.rand(label.shape) < ignored] = IGNORE_LABEL
    return 3 * torch.randn(2, out, 5, 7), label


# --- worked numbers: softmax(0, log 3) and sigmoid(log 3) are 3/4 ---

IGNORE = IGNORE_LABEL
LOG3 = log(3)
RIGHT, WRONG, HALF = -log(3 / 4), log(4), log(2)
TABLE = [
    # loss, class weights, logits by pixel, labels, pixel weights, expected
    ("ce", None, [[0, 0]], [0], None, HALF),
    ("ce", None, [[0, 0, 0]], [2], None, LOG3),
    ("ce", None, [[0, LOG3]], [1], None, RIGHT),
    ("ce", None, [[0, LOG3]], [0], None, WRONG),
    ("ce", None, [[0, LOG3], [0, LOG3]], [0, 1], None, (WRONG + RIGHT) / 2),
    ("ce", [3, 1], [[0, LOG3], [0, LOG3]], [0, 1], None, (3 * WRONG + RIGHT) / 4),
    ("ce", [3, 1], [[0, LOG3], [0, LOG3]], [IGNORE, 1], None, RIGHT),
    ("ce", [0, 1], [[0, LOG3], [0, 0]], [0, 1], None, HALF),
    ("ce", [0, 1], [[0, LOG3]], [0], None, 0),
    # A pixel's weight is added to its class's.
    ("ce", None, [[0, LOG3], [0, 0]], [0, 1], [1, 4], (2 * WRONG + 5 * HALF) / 7),
    ("ce", [3, 1], [[0, LOG3], [0, 0]], [0, 1], [1, 4], (4 * WRONG + 5 * HALF) / 9),
    ("ce", [3, 1], [[0, LOG3], [0, 0]], [0, IGNORE], [1, 4], WRONG),
    ("ce", None, [[0, LOG3], [0, 0]], [0, 1], [0, 0], (WRONG + HALF) / 2),
    ("ce", [0, 0], [[0, LOG3], [0, 0]], [0, 1], [0, 4], HALF),
    ("ce", [0, 0], [[0, LOG3], [0, 0]], [0, 1], [0, 0], 0),
    ("ce", None, [[0, LOG3], [0, 0]], [IGNORE, IGNORE], None, 0),
    ("bce", None, [[0]], [0], None, HALF),
    ("bce", None, [[LOG3]], [1], None, RIGHT),
    ("bce", None, [[LOG3]], [0], None, WRONG),
    ("bce", None, [[-LOG3]], [0], None, RIGHT),
    ("bce", [3, 1], [[LOG3], [LOG3]], [0, 1], None, (3 * WRONG + RIGHT) / 4),
    ("bce", [3, 1], [[LOG3], [LOG3]], [0, IGNORE], None, WRONG),
    ("bce", None, [[LOG3], [0]], [0, 1], [1, 4], (2 * WRONG + 5 * HALF) / 7),
    ("bce", None, [[LOG3]], [IGNORE], None, 0),
    # Each class against the rest, the mean over the classes.
    ("bce", None, [[LOG3, 0, -LOG3]], [0], None, (RIGHT + HALF + RIGHT) / 3),
    ("bce", None, [[LOG3, 0, -LOG3]], [1], None, (WRONG + HALF + RIGHT) / 3),
    ("bce", None, [[LOG3, 0, -LOG3]], [2], None, (WRONG + HALF + WRONG) / 3),
    ("bce", [2, 1, 1], [[LOG3, 0, -LOG3]] * 2, [0, 1], None, (2 * (2 * RIGHT + HALF) + WRONG + HALF + RIGHT) / 9),
]
NAMED: dict[str, type[PixelwiseLoss]] = {"ce": CrossEntropy, "bce": BinaryCrossEntropy}


@pytest.mark.parametrize(("name", "class_weights", "logits", "labels", "pixel_weights", "expected"), TABLE)
def test_worked_numbers(
    name: str,
    class_weights: list[float] | None,
    logits: list[list[float]],
    labels: list[int],
    pixel_weights: list[float] | None,
    expected: float,
) -> None:
    weights = None if pixel_weights is None else torch.tensor(pixel_weights, dtype=torch.float32)[None, None]
    loss = NAMED[name](class_weights)(pixels(*logits), row(*labels), weights)
    assert loss.shape == ()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected, abs=1e-6)


# --- PyTorch's own ---


@pytest.mark.parametrize("class_weights", [None, [0.3, 1.0, 4.0]])
@pytest.mark.parametrize("ignored", [0.0, 0.3])
def test_cross_entropy_and_its_gradient_are_those_of_torch(class_weights: list[float] | None, ignored: float) -> None:
    logits, label = random_batch(3, 3, ignored)
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    weight = None if class_weights is None else torch.tensor(class_weights)
    loss = CrossEntropy(class_weights)(ours, label)
    expected = F.cross_entropy(theirs, label.long(), weight, ignore_index=IGNORE_LABEL)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("class_weights", [None, [0.3, 4.0]])
@pytest.mark.parametrize("ignored", [0.0, 0.3])
def test_bce_and_its_gradient_are_those_of_torch(class_weights: list[float] | None, ignored: float) -> None:
    logits, label = random_batch(1, 2, ignored)
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    counted = label != IGNORE_LABEL
    target = label[counted].float()
    weight = torch.ones_like(target) if class_weights is None else torch.tensor(class_weights)[target.long()]
    loss = BinaryCrossEntropy(class_weights)(ours, label)
    summed = F.binary_cross_entropy_with_logits(theirs[:, 0][counted], target, weight, reduction="sum")
    expected = summed / weight.sum()
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(ours.grad, theirs.grad)
    if class_weights is None and not ignored:
        plain = F.binary_cross_entropy_with_logits(logits[:, 0], label.float())
        torch.testing.assert_close(loss, plain)


def test_bce_of_three_classes_is_the_mean_of_one_against_the_rest() -> None:
    logits, label = random_batch(3, 3)
    counted = label != IGNORE_LABEL
    each = [
        F.binary_cross_entropy_with_logits(logits[:, index][counted], (label[counted] == index).float())
        for index in range(3)
    ]
    torch.testing.assert_close(BinaryCrossEntropy()(logits, label), torch.stack(each).mean())
    # The weight is that of the pixel's class, for all of the pixel's three terms.
    weights = torch.tensor([0.5, 1.0, 3.0])[label[counted].long()]
    one_hot = F.one_hot(label[counted].long(), 3).float()
    terms = F.binary_cross_entropy_with_logits(logits.movedim(1, -1)[counted], one_hot, reduction="none").mean(1)
    torch.testing.assert_close(
        BinaryCrossEntropy([0.5, 1.0, 3.0])(logits, label), (weights * terms).sum() / weights.sum()
    )


def test_one_logit_is_the_difference_of_two() -> None:
    logits, label = random_batch(2, 2)
    one = (logits[:, 1] - logits[:, 0])[:, None]
    torch.testing.assert_close(BinaryCrossEntropy([1.0, 5.0])(one, label), CrossEntropy([1.0, 5.0])(logits, label))


# --- weighted means ---


@pytest.mark.parametrize(("loss", "out", "classes"), MEANS)
def test_only_the_ratios_of_weights_count(loss: type[PixelwiseLoss], out: int, classes: int) -> None:
    logits, label = random_batch(out, classes)
    weights = torch.rand(label.shape) + 0.1
    by_class = torch.rand(classes)
    once = loss(by_class.tolist())(logits, label, weights)
    for factor in (1000, 1e-3):
        scaled = loss((factor * by_class).tolist())(logits, label, factor * weights)
        torch.testing.assert_close(scaled, once)
    torch.testing.assert_close(loss()(logits, label, torch.full_like(weights, 7.0)), loss()(logits, label))
    assert not torch.isclose(once, loss()(logits, label), rtol=1e-4)


@pytest.mark.parametrize(("loss", "out", "classes"), MEANS)
def test_a_weight_of_two_counts_a_pixel_twice_and_of_zero_ignores_it(
    loss: type[PixelwiseLoss], out: int, classes: int
) -> None:
    logits, label = random_batch(out, classes, ignored=0.0)
    once_more = torch.zeros(label.shape)
    once_more[1] = 1
    repeated = loss()(torch.cat([logits, logits[1:]]), torch.cat([label, label[1:]]))
    torch.testing.assert_close(loss()(logits, label, once_more), repeated)
    without = torch.ones(label.shape)
    without[0] = 0
    ignored = label.clone()
    ignored[0] = IGNORE_LABEL
    torch.testing.assert_close(loss([0.0] * classes)(logits, label, without), loss()(logits, ignored))


# --- the border-weighted loss ---


def border_config(*words: str) -> BorderWeightedConfig:
    config = parse(composed("loss=border_weighted", *words)).loss
    assert isinstance(config, BorderWeightedConfig)
    return config


def plain_formula(
    logits: Tensor, label: Tensor, pixel_weights: Tensor, class_weights: list[float], normalize: str
) -> float:
    """The paper's energy, pixel by pixel in double precision."""
    total, weights, counted = 0.0, 0.0, 0
    for batch, row, column in np.ndindex(*label.shape):
        index = int(label[batch, row, column])
        if index == IGNORE_LABEL:
            continue
        scores = [float(score) for score in logits[batch, :, row, column]]
        weight = class_weights[index] + float(pixel_weights[batch, row, column])
        total += weight * -log(exp(scores[index]) / sum(exp(score) for score in scores))
        weights += weight
        counted += 1
    return total / (weights if normalize == "weights" else counted)


@pytest.mark.parametrize("normalize", ["pixels", "weights"])
@pytest.mark.parametrize("classes", [2, 3])
def test_border_weighted_is_the_plain_formula(normalize: str, classes: int) -> None:
    logits, label = random_batch(classes, classes)
    pixel_weights, class_weights = 10 * torch.rand(label.shape), [0.7, 1.3, 2.5][:classes]
    loss = losses.build(border_config(f"loss.normalize={normalize}"), class_weights)
    assert isinstance(loss, BorderWeighted)
    expected = plain_formula(logits, label, pixel_weights, class_weights, normalize)
    assert loss(logits, label, pixel_weights).item() == pytest.approx(expected, rel=1e-5)
    ones = losses.build(border_config(f"loss.normalize={normalize}"), None)
    expected = plain_formula(logits, label, pixel_weights, [1.0] * classes, normalize)
    assert ones(logits, label, pixel_weights).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("normalize", ["pixels", "weights"])
def test_border_weighted_by_hand(normalize: Literal["pixels", "weights"]) -> None:
    logits, label, weights = pixels([0, LOG3], [0, LOG3], [0, 0]), row(0, 1, IGNORE), torch.tensor([[[9.0, 0.0, 50.0]]])
    value = BorderWeighted([2.0, 1.0], normalize)(logits, label, weights)
    assert value.item() == pytest.approx((11 * WRONG + RIGHT) / (2 if normalize == "pixels" else 12))


@pytest.mark.parametrize("normalize", ["pixels", "weights"])
def test_border_weights_never_count_where_the_label_is_ignored(normalize: Literal["pixels", "weights"]) -> None:
    logits, label = random_batch(2, 2)
    ignored = label == IGNORE_LABEL
    weights = torch.rand(label.shape)
    loss = BorderWeighted([0.5, 2.0], normalize)
    logits.requires_grad_()
    value = loss(logits, label, weights)
    value.backward()
    assert logits.grad is not None
    assert (logits.grad[ignored[:, None].expand_as(logits)] == 0).all()
    torch.testing.assert_close(loss(logits.detach(), label, torch.where(ignored, 1e6, weights)), value)
    nothing = torch.full_like(label, IGNORE_LABEL)
    assert loss(logits, nothing, weights).item() == 0


def test_border_weighted_gradients_are_those_of_finite_differences() -> None:
    logits, label = random_batch(3, 3, ignored=0.0)
    small, target = logits[:1, :, :2, :3].double().requires_grad_(), label[:1, :2, :3].long()
    loss = BorderWeighted([0.5, 1.0, 2.0])
    assert torch.autograd.gradcheck(lambda scores: loss.pixel_losses(scores, target), small)
    # The gradient of the whole: w (softmax - one-hot) / number of pixels.
    weights = 10 * torch.rand(label.shape)
    logits.requires_grad_()
    BorderWeighted([0.5, 1.0, 2.0], "pixels")(logits, label, weights).backward()
    one_hot = F.one_hot(label.long(), 3).movedim(-1, 1)
    whole = (torch.tensor([0.5, 1.0, 2.0])[label.long()] + weights)[:, None]
    torch.testing.assert_close(logits.grad, whole * (logits.detach().softmax(1) - one_hot) / label.numel())


def test_border_weighted_without_its_weights_is_refused() -> None:
    logits, label = random_batch(2, 2)
    with pytest.raises(ValueError, match=r"losses\.targets"):
        BorderWeighted()(logits, label)


# --- what a loss makes of a label ---


def test_the_targets_of_border_weighted_are_the_opened_label_and_its_distance_term() -> None:
    label = np.array([[1, 1, 2, 2, 0, 0, 1], [1, 1, 2, 2, 0, 0, IGNORE]], np.uint8)
    cells = np.array([[7, 7, 3, 3, 0, 0, 5], [7, 7, 3, 3, 0, 0, 0]], np.int32)
    before = label.copy()
    opened, weights = losses.targets(border_config())(label, cells)
    assert opened.tolist() == [[1, 0, 2, 2, 0, 0, 1], [1, 0, 2, 2, 0, 0, IGNORE]]
    assert weights is not None
    assert weights.dtype == np.float32
    assert weights[0] == pytest.approx([0, 10 * exp(-4 / 50), 0, 0, 10 * exp(-9 / 50), 10 * exp(-9 / 50), 0])
    assert (label == before).all()
    same, wider = losses.targets(border_config("loss.open_touching=false"))(label, cells)
    assert (same == label).all()
    assert wider is not None
    assert wider[0, 1] == 0
    # Without instances a cell is what hangs together, of whatever classes.
    whole, _ = losses.targets(border_config())(label, None)
    assert (whole == label).all()


def test_the_words_of_the_config_reach_the_weight_map() -> None:
    label = np.array([[1, 0, 0, 1, 0, 0, 0, 1]], np.uint8)
    _, weights = losses.targets(border_config("loss.w0=4", "loss.sigma=2", "loss.where=everywhere"))(label, None)
    assert weights is not None
    assert weights[0] == pytest.approx(4 * np.exp(-np.array([9, 9, 9, 9, 16, 16, 16, 16]) / 8))


def test_given_instances_are_the_cells() -> None:
    label = np.array([[1, 0, 1, 1, 1, 1]], np.uint8)
    one_cell = np.array([[5, 0, 5, 5, 5, 5]], np.int32)
    two_cells = np.array([[5, 0, 5, 5, 9, 9]], np.int32)
    make = losses.targets(border_config())
    opened, weights = make(label, one_cell)
    assert weights is not None
    assert (opened == label).all()
    assert (weights == 0).all()
    opened, weights = make(label, two_cells)
    assert weights is not None
    assert opened.tolist() == [[1, 0, 1, 0, 1, 1]]
    assert weights[0] == pytest.approx([0, 10 * exp(-16 / 50), 0, 10 * exp(-4 / 50), 0, 0])
    assert two_cells.tolist() == [[5, 0, 5, 5, 9, 9]]


# --- class weights ---


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["loss=cross_entropy"], None),
        (["loss=bce"], None),
        (["loss=cross_entropy", "loss.class_weights=[1,2.5,0]"], [1, 2.5, 0]),
        (["loss=cross_entropy", "loss.class_weights=inverse"], [1000 / (3 * 200), 1000 / (3 * 800), 0]),
        (["loss=bce", "loss.class_weights=inverse"], [1000 / (3 * 200), 1000 / (3 * 800), 0]),
        (["loss=border_weighted", "loss.class_weights=null"], None),
        (["loss=border_weighted", "loss.class_weights=frequency"], [0.8, 0.2, 1]),
        (["loss=border_weighted", "loss.class_weights=inverse"], [1 / (3 * 0.2), 1 / (3 * 0.8), 0]),
        (["loss=border_weighted", "loss.class_weights=inverse", "loss.class_weights=[1,2,3]"], [1, 2, 3]),
    ],
)
def test_class_weights_by_hand(words: list[str], expected: list[float] | None) -> None:
    found = losses.class_weights(parse(composed(*words)).loss, [200, 800, 0])
    assert found == (None if expected is None else pytest.approx(expected))


INVERSE = border_config("loss.class_weights=inverse")


@given(counts=st.lists(st.integers(1, 10**9), min_size=2, max_size=6))
def test_inverse_makes_the_classes_weigh_the_same_and_a_pixel_1_on_average(counts: list[int]) -> None:
    weights = losses.class_weights(INVERSE, counts)
    assert weights is not None
    shares = [weight * count / sum(counts) for weight, count in zip(weights, counts, strict=True)]
    assert shares == pytest.approx([1 / len(counts)] * len(counts))


def test_labels_without_a_counted_pixel_have_weights_too() -> None:
    assert losses.class_weights(INVERSE, [0, 0]) == [0, 0]
    assert losses.class_weights(border_config("loss.class_weights=frequency"), [0, 0]) == [1, 1]
