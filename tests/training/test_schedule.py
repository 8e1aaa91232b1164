"""Learning-rate schedules beside PyTorch's own, and the optimizers that the words build."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    LRScheduler,
    OneCycleLR,
    PolynomialLR,
    ReduceLROnPlateau,
)

from unet_exp.compose import compose_train
from unet_exp.config import Config, parse
from unet_exp.metrics.declarations import direction
from unet_exp.training.schedule import build_optimizer, build_schedulers, learning_rate_factor

LR = 0.5
HORIZON = 40


@cache
def config(*overrides: str) -> Config:
    return parse(compose_train([*overrides, "trainer.max_steps=40"]))


def factors(*overrides: str, horizon: int = HORIZON, steps: int | None = None) -> list[float]:
    schedule = config(*overrides).scheduler
    return [learning_rate_factor(schedule, step, horizon) for step in range((steps or horizon) + 1)]


def optimizer_of(lr: float = LR) -> Optimizer:
    return SGD([nn.Parameter(torch.zeros(1))], lr=lr)


def rates(optimizer: Optimizer, schedulers: list[LRScheduler], steps: int) -> list[float]:
    """The learning rate before each step and after the last one."""
    seen = [optimizer.param_groups[0]["lr"]]
    for _ in range(steps):
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
        seen.append(optimizer.param_groups[0]["lr"])
    return seen


# --- PyTorch's own ---


@pytest.mark.parametrize(
    ("overrides", "theirs"),
    [
        (("scheduler=none",), lambda it: ConstantLR(it, 1.0)),
        (("scheduler=poly",), lambda it: PolynomialLR(it, HORIZON, power=0.9)),
        (("scheduler=poly", "scheduler.power=2.0"), lambda it: PolynomialLR(it, HORIZON, power=2.0)),
        (("scheduler=cosine",), lambda it: CosineAnnealingLR(it, HORIZON)),
        (("scheduler=cosine", "scheduler.final=0.1"), lambda it: CosineAnnealingLR(it, HORIZON, eta_min=0.1 * LR)),
    ],
)
def test_equals_the_schedule_of_torch(overrides: tuple[str, ...], theirs: Callable[[Optimizer], LRScheduler]) -> None:
    optimizer = optimizer_of()
    expected = rates(optimizer, [theirs(optimizer)], HORIZON)
    assert [LR * factor for factor in factors(*overrides)] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("warmup", "start", "final"), [(9, 0.04, 0.01), (20, 0.5, 0.2), (1, 0.1, 0.05)])
def test_one_cycle_equals_that_of_torch(warmup: int, start: float, final: float) -> None:
    words = ("scheduler=one_cycle", f"scheduler.warmup_steps={warmup}", f"scheduler.start={start}")
    optimizer = optimizer_of()
    one_cycle = OneCycleLR(
        optimizer,
        max_lr=LR,
        total_steps=HORIZON + 1,
        pct_start=(warmup + 1) / (HORIZON + 1),
        cycle_momentum=False,
        div_factor=1 / start,
        final_div_factor=start / final,
    )
    expected = rates(optimizer, [one_cycle], HORIZON)
    assert [LR * factor for factor in factors(*words, f"scheduler.final={final}")] == pytest.approx(expected, abs=1e-9)


def test_after_a_warm_up_the_shape_is_that_of_the_rest() -> None:
    optimizer = optimizer_of()
    expected = rates(optimizer, [PolynomialLR(optimizer, HORIZON - 10, power=0.9)], HORIZON - 10)
    warmed = factors("scheduler=poly", "scheduler.warmup_steps=10")
    assert [LR * factor for factor in warmed[10:]] == pytest.approx(expected, abs=1e-9)


# --- the warm-up and the ends ---


@pytest.mark.parametrize("word", ["none", "poly", "cosine"])
@pytest.mark.parametrize("warmup", [0, 1, 4, 39])
def test_the_warm_up_is_linear_and_never_zero(word: str, warmup: int) -> None:
    found = factors(f"scheduler={word}", f"scheduler.warmup_steps={warmup}")
    assert found[: warmup + 1] == pytest.approx([(step + 1) / (warmup + 1) for step in range(warmup + 1)])
    assert found[0] > 0
    assert found[warmup] == 1


@pytest.mark.parametrize(
    ("overrides", "last"),
    [
        (("scheduler=none",), 1),
        (("scheduler=poly",), 0),
        (("scheduler=cosine",), 0),
        (("scheduler=cosine", "scheduler.final=0.25"), 0.25),
        (("scheduler=one_cycle", "scheduler.warmup_steps=5"), 0),
        (("scheduler=one_cycle", "scheduler.warmup_steps=5", "scheduler.final=0.25"), 0.25),
    ],
)
def test_it_ends_at_the_horizon_and_stays_there(overrides: tuple[str, ...], last: float) -> None:
    found = factors(*overrides, steps=HORIZON + 5)
    assert found[HORIZON:] == pytest.approx([last] * 6, abs=1e-12)
    if last < 1:
        assert min(found[5:HORIZON]) > last


@given(
    word=st.sampled_from(["none", "poly", "cosine", "one_cycle"]),
    warmup=st.integers(0, 60),
    horizon=st.integers(0, 60),
    step=st.integers(0, 80),
)
def test_a_factor_is_in_0_to_1_for_any_horizon(word: str, warmup: int, horizon: int, step: int) -> None:
    schedule = config(f"scheduler={word}").scheduler.model_copy(update={"warmup_steps": warmup})
    here, there = (learning_rate_factor(schedule, at, horizon) for at in (step, step + 1))
    assert 0 <= here <= 1
    assert learning_rate_factor(schedule, 0, max(horizon, 1)) > 0
    assert (here <= there) if step < warmup else (there <= here), "up to the end of the warm-up, then down"


# --- what Lightning is given ---


def built(optimizer: Optimizer, *overrides: str, horizon: int = HORIZON) -> list[dict[str, Any]]:
    chosen = config(*overrides)
    return build_schedulers(chosen.scheduler, chosen.trainer, optimizer, horizon, direction(chosen.trainer.monitor))


@pytest.mark.parametrize("word", ["none", "poly", "cosine", "one_cycle"])
def test_a_schedule_sets_the_rate_at_every_step(word: str) -> None:
    optimizer = optimizer_of()
    (described,) = built(optimizer, f"scheduler={word}", "scheduler.warmup_steps=6")
    assert described["interval"] == "step"
    expected = factors(f"scheduler={word}", "scheduler.warmup_steps=6")
    assert rates(optimizer, [described["scheduler"]], HORIZON) == pytest.approx([LR * factor for factor in expected])


def test_a_resumed_schedule_goes_on() -> None:
    optimizer, other = optimizer_of(), optimizer_of()
    words = ("scheduler=cosine", "scheduler.warmup_steps=6")
    (whole,), (resumed,) = built(optimizer, *words), built(other, *words)
    expected = rates(optimizer, [whole["scheduler"]], 20)
    rates(other, [resumed["scheduler"]], 9)
    again = optimizer_of()
    (loaded,) = built(again, *words)
    again.load_state_dict(other.state_dict())
    loaded["scheduler"].load_state_dict(resumed["scheduler"].state_dict())
    assert rates(again, [loaded["scheduler"]], 11) == pytest.approx(expected[9:])


def test_plateau_watches_the_monitor_after_each_validation() -> None:
    for monitor, mode in (("val/iou/mean", "max"), ("val/loss", "min"), ("val/iou/forest_loss", "max")):
        optimizer = optimizer_of()
        words = (
            "scheduler=plateau",
            "scheduler.patience=1",
            f"trainer.monitor={monitor}",
            "trainer.val_every_epochs=3",
        )
        (described,) = built(optimizer, *words)
        assert described["monitor"] == monitor
        assert (described["interval"], described["frequency"]) == ("epoch", 3)
        plateau = described["scheduler"]
        assert isinstance(plateau, ReduceLROnPlateau)
        assert plateau.mode == mode
        better = -1 if mode == "min" else 1
        for score, factor in ((1, 1), (1 + better * 0.5, 1), (1, 1), (1, 0.3), (1, 0.3), (1, 0.09)):
            plateau.step(score)
            assert optimizer.param_groups[0]["lr"] == pytest.approx(LR * factor)


def test_plateau_and_warm_up_leave_each_other_alone() -> None:
    optimizer = optimizer_of()
    words = ("scheduler=plateau", "scheduler.patience=0", "scheduler.factor=0.5", "scheduler.warmup_steps=4")
    warmup, plateau = built(optimizer, *words)
    assert warmup["interval"] == "step"
    # No progress at the validations after steps 2, 4 and 7: each halves the rate and the rise goes on from there.
    scores = {1: 0.5, 2: 0.5, 4: 0.5, 7: 0.5}
    expected = {0: 1 / 5, 1: 2 / 5, 2: 3 / 5 / 2, 3: 4 / 5 / 2, 4: 5 / 5 / 4, 5: 1 / 4, 6: 1 / 4, 7: 1 / 8, 8: 1 / 8}
    for step, factor in expected.items():
        if step:
            optimizer.step()
            warmup["scheduler"].step()
        if step in scores:
            plateau["scheduler"].step(scores[step])
        assert optimizer.param_groups[0]["lr"] == pytest.approx(LR * factor)


@given(warmup=st.integers(1, 30))
def test_the_warm_up_of_plateau_is_that_of_the_others(warmup: int) -> None:
    schedule = config("scheduler=none").scheduler.model_copy(update={"warmup_steps": warmup})
    expected = [LR * learning_rate_factor(schedule, step, 60) for step in range(41)]
    plateau = config("scheduler=plateau")
    optimizer = optimizer_of()
    described = build_schedulers(
        plateau.scheduler.model_copy(update={"warmup_steps": warmup}), plateau.trainer, optimizer, 60, "max"
    )
    assert rates(optimizer, [described[0]["scheduler"]], 40) == pytest.approx(expected)


# --- optimizers ---


@pytest.mark.parametrize(
    ("overrides", "kind", "expected"),
    [
        (("optimizer=sgd",), SGD, {"lr": 0.001, "momentum": 0.99, "nesterov": False, "weight_decay": 0}),
        (
            ("optimizer=sgd", "optimizer.lr=0.2", "optimizer.momentum=0.5", "optimizer.nesterov=true"),
            SGD,
            {"lr": 0.2, "momentum": 0.5, "nesterov": True},
        ),
        (("optimizer=adam",), Adam, {"lr": 0.001, "betas": (0.9, 0.999), "weight_decay": 0}),
        (
            ("optimizer=adam", "optimizer.betas=[0.5,0.9]", "optimizer.weight_decay=0.1"),
            Adam,
            {"betas": (0.5, 0.9), "weight_decay": 0.1, "decoupled_weight_decay": False},
        ),
        (
            ("optimizer=adamw", "optimizer.lr=0.003"),
            AdamW,
            {"lr": 0.003, "betas": (0.9, 0.999), "weight_decay": 0.01, "decoupled_weight_decay": True},
        ),
        (
            ("optimizer=rmsprop", "optimizer.alpha=0.5"),
            RMSprop,
            {"lr": 0.0001, "momentum": 0.9, "alpha": 0.5, "weight_decay": 0},
        ),
    ],
)
def test_the_word_builds_the_optimizer_with_its_values(
    overrides: tuple[str, ...], kind: type[Optimizer], expected: dict[str, Any]
) -> None:
    network = nn.Linear(3, 2)
    optimizer = build_optimizer(config(*overrides).optimizer, network.parameters())
    assert type(optimizer) is kind
    (group,) = optimizer.param_groups
    assert {id(parameter) for parameter in group["params"]} == {id(parameter) for parameter in network.parameters()}
    found = {key: tuple(group[key]) if key == "betas" else group[key] for key in expected}
    assert found == expected


@pytest.mark.parametrize("word", ["sgd", "adam", "adamw", "rmsprop"])
def test_an_optimizer_goes_downhill_and_its_state_is_plain(word: str) -> None:
    weight = nn.Parameter(torch.tensor([1.0]))
    optimizer = build_optimizer(config(f"optimizer={word}", "optimizer.lr=0.01").optimizer, [weight])
    for _ in range(3):
        optimizer.zero_grad()
        (weight**2).sum().backward()
        optimizer.step()
    assert 0 < weight.item() < 1
    again = build_optimizer(config(f"optimizer={word}", "optimizer.lr=0.01").optimizer, [weight])
    again.load_state_dict(optimizer.state_dict())
