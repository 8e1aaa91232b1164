"""A steady step asks the device for nothing; what stays there is looked at before it could do harm."""

import math
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from conftest import summary
from hypothesis import given
from hypothesis import strategies as st
from resuming import Train, at_step, in_a_child, in_two_processes, newest
from torch.overrides import TorchFunctionMode

from unet_exp.checkpoints.reading import read_content
from unet_exp.config import parse
from unet_exp.errors import TrainingError
from unet_exp.training import callbacks, datamodule
from unet_exp.training.callbacks import LossWatch
from unet_exp.training.epoch_losses import EpochLosses
from unet_exp.training.loggers import TrainingLogger
from unet_exp.training.module import SegmentationModule
from unet_exp.training.schedule import learning_rate_factor

SGD = ("model=same", "optimizer=sgd", "optimizer.lr=0.01", "scheduler=cosine", "data.batch_size=1")
ASKING = {"item", "tolist", "cpu", "numpy", "nonzero", "__bool__", "__int__", "__float__", "__index__"}
"""Methods of a tensor that wait for what is on its device."""


# --- the losses of an epoch ---

numbers = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=30)


@given(losses=numbers, looks=st.sets(st.integers(0, 30)), known=numbers)
def test_whenever_one_looks_the_losses_are_the_same(losses: list[float], looks: set[int], known: list[float]) -> None:
    found = EpochLosses()
    found.add(torch.tensor(7.0), 0, 0.1)
    found.start(known)
    for number, loss in enumerate(losses):
        found.add(torch.tensor(loss, requires_grad=True), number, 0.1)
        if number in looks:
            found.look()
            assert found.last == loss
    assert found.all() == known + losses
    if losses:
        assert found.last == losses[-1]
    mean = torch.tensor(known + losses, dtype=torch.float64).mean().item()
    assert found.mean() == mean or (math.isnan(mean) and not known + losses)


@given(before=st.integers(0, 5), after=st.integers(0, 5), bad=st.sampled_from([math.nan, math.inf, -math.inf]))
def test_the_first_loss_that_is_not_finite_is_named(before: int, after: int, bad: float) -> None:
    found = EpochLosses()
    for step, loss in enumerate([1.0] * before + [bad] + [math.nan] * after):
        found.add(torch.tensor(loss), step, 0.5**step)
    with pytest.raises(TrainingError) as caught:
        found.look()
    assert str(caught.value).startswith(
        f"the training loss is {bad} at step {before} (learning rate {0.5**before:.3g}): try a smaller optimizer.lr"
    )
    found.look()  # it has been told


# --- what a step asks ---


class Questions(TorchFunctionMode):
    """Counts, by step, what is asked of tensors, but where batches are made.

    Attributes:
        asked: how often after this number of steps has begun.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[int] = Counter()
        self.steps = 0
        self.makes_batch = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in ASKING and not self.makes_batch:
            self.asked[self.steps] += 1
        return func(*args, **(kwargs or {}))

    def during(self, patch: pytest.MonkeyPatch) -> "Questions":
        """From the start of a training to its end."""
        genuine_fit, genuine_step, genuine_batch = (
            pl.Trainer.fit,
            SegmentationModule.training_step,
            datamodule.collate,
        )

        def fit(*arguments: Any, **more: Any) -> None:
            with self:
                genuine_fit(*arguments, **more)

        def step(*arguments: Any) -> Any:
            self.steps += 1
            return genuine_step(*arguments)

        def collate(*arguments: Any, **more: Any) -> Any:
            self.makes_batch = True
            batch = genuine_batch(*arguments, **more)
            self.makes_batch = False
            return batch

        patch.setattr(pl.Trainer, "fit", fit)
        patch.setattr(SegmentationModule, "training_step", step)
        patch.setattr(datamodule, "collate", collate)
        return self


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """No look because a step took long on this machine."""
    monkeypatch.setattr(callbacks, "LossWatch", partial(LossWatch, seconds=math.inf))


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize(
    "words",
    [
        "loss=cross_entropy",
        pytest.param("loss=dice_ce trainer.clip_norm=1", marks=pytest.mark.slow),
        pytest.param("loss=border_weighted augmentation=paper", marks=pytest.mark.slow),
        "loss=lovasz model.norm=batch logger=tensorboard logger.images=0",
        pytest.param("trainer.ema_decay=0.9", marks=pytest.mark.slow),
    ],
)
def test_between_two_looks_no_step_asks_for_anything(train: Train, monkeypatch: Any, words: str) -> None:
    if "tensorboard" in words:
        pytest.importorskip("tensorboard")
    questions = Questions().during(monkeypatch)
    train(*SGD, "data.tiles_per_epoch=25", "trainer.max_steps=25", *words.split())
    assert questions.steps == 25
    assert {step: questions.asked[step] for step in range(1, 25) if questions.asked[step]} == {1: 1, 10: 1, 20: 1}


def test_where_steps_take_long_each_loss_is_seen(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks, "LossWatch", partial(LossWatch, seconds=0))
    questions = Questions().during(monkeypatch)
    train(*SGD, "data.tiles_per_epoch=9", "trainer.max_steps=9")
    assert all(questions.asked[step] for step in range(1, 9))


@contextmanager
def without_waits(monkeypatch: pytest.MonkeyPatch, steps: range) -> Iterator[list[int]]:
    """From the start of the first of these steps to that of the last, a wait for the GPU is an error."""
    genuine, seen = SegmentationModule.training_step, []

    def step(module: SegmentationModule, batch: Any, index: int) -> Any:
        if module.global_step == steps[0]:
            torch.cuda.set_sync_debug_mode("error")
        if module.global_step == steps[-1]:
            torch.cuda.set_sync_debug_mode("default")
        if module.global_step in steps:
            seen.append(torch.cuda.get_sync_debug_mode())
        return genuine(module, batch, index)

    try:
        with monkeypatch.context() as patch:
            patch.setattr(SegmentationModule, "training_step", step)
            yield seen
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.usefixtures("unhurried")
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize(
    "words",
    [
        "optimizer=adam",
        "trainer.precision=bf16-mixed loss=dice_ce",
        "trainer.accumulate=2 trainer.clip_norm=1",
        "trainer.ema_decay=0.9",
        "loss=border_weighted model=valid scheduler=poly",
    ],
)
def test_a_steady_step_does_not_wait_for_the_gpu(train: Train, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    tiles = 50 if "accumulate" in words else 25
    with without_waits(monkeypatch, range(11, 19)) as seen:
        train(
            "model=same", "augmentation=none", "data.batch_size=1", f"data.tiles_per_epoch={tiles}",
            "trainer.max_steps=25", "trainer.accelerator=gpu", "trainer.devices=1", *words.split(),
        )  # fmt: skip
    assert set(seen[:-2]) == {2}, "two is the mode in which a wait is an error"
    assert len(seen) >= 8


# --- no look comes too late ---


def finite(folder: Any) -> bool:
    content = read_content(folder.last)
    states = (content["state_dict"], content.get("current_model_state", {}))
    return all(bool(value.isfinite().all()) for state in states for value in state.values())


def spoil(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """The loss of this step, from 0, is not a number, and from then on no weight is one."""
    genuine = SegmentationModule.training_step

    def step(module: SegmentationModule, batch: Any, index: int) -> Any:
        if module.global_step == at:
            batch["image"] = torch.full_like(batch["image"], math.nan)
        return genuine(module, batch, index)

    monkeypatch.setattr(SegmentationModule, "training_step", step)


def save_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unet_exp.training.callbacks.duration_seconds", lambda _: 0)


def crash() -> None:
    raise ZeroDivisionError


def leave() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


LONG = "data.tiles_per_epoch=30 trainer.max_steps=30"
SHORT = "data.tiles_per_epoch=4 trainer.max_steps=30"


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize(
    ("words", "saved", "happens"),
    [
        (LONG, None, lambda _: None),  # at the next look
        (LONG, 13, save_always),  # at the next checkpoint
        (SHORT, 12, lambda _: None),  # at the next validation
        ("data.tiles_per_epoch=4 trainer.max_steps=14", 12, lambda _: None),  # at the end
        (f"{SHORT} trainer.val_every_epochs=5", None, lambda _: None),  # at the end of the epoch
        (LONG, None, lambda patch: at_step(patch, 15, crash)),  # an error that comes of it
        (LONG, None, lambda patch: at_step(patch, 15, leave)),
        (f"{SHORT} trainer.ema_decay=0.9", 12, lambda _: None),
    ],
)
def test_no_weight_that_is_not_finite_is_saved_and_the_step_is_named(
    train: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: str,
    saved: int | None,
    happens: Callable[[pytest.MonkeyPatch], None],
) -> None:
    spoil(monkeypatch, at=13)
    happens(monkeypatch)
    typed = (*SGD, *words.split())
    with pytest.raises(TrainingError) as caught:
        train(*typed)
    steps = int(words.partition("max_steps=")[2].partition(" ")[0])
    rate = 0.01 * learning_rate_factor(scheduler_of(typed), 13, steps)
    assert str(caught.value).startswith(f"the training loss is nan at step 13 (learning rate {rate:.3g}): try")
    folder = newest(tmp_path)
    assert summary(folder)["status"] == "failed"
    assert folder.last.exists() == (saved is not None)
    if saved is not None:
        assert finite(folder)
        assert read_content(folder.last)["global_step"] == saved


def scheduler_of(words: tuple[str, ...]) -> Any:
    from conftest import TINY, composed

    return parse(composed(*TINY, *words)).scheduler


def test_weights_that_are_not_finite_under_a_finite_loss_are_not_saved(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = SegmentationModule.on_before_optimizer_step

    def hook(module: SegmentationModule, optimizer: Any) -> None:
        genuine(module, optimizer)
        if module.global_step == 3:
            next(iter(module.network.parameters())).grad[0] = math.inf  # type: ignore[index]

    monkeypatch.setattr(SegmentationModule, "on_before_optimizer_step", hook)
    save_always(monkeypatch)
    with pytest.raises(TrainingError, match=r"some weights are not finite at step 4 \(learning rate"):
        train(*SGD, LONG.split()[0], "trainer.max_steps=30")
    folder = newest(tmp_path)
    assert finite(folder)
    assert read_content(folder.last)["global_step"] == 3


# --- what loggers are given ---


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_logger_has_the_loss_and_the_learning_rate_of_each_tenth_step_and_the_last_loss(
    train: Train, monkeypatch: pytest.MonkeyPatch, accumulate: int
) -> None:
    pytest.importorskip("tensorboard")
    rows: list[tuple[int, dict[str, float]]] = []
    losses: dict[int, float] = {}
    genuine = EpochLosses.add

    def add(self: EpochLosses, loss: torch.Tensor, step: int, rate: float) -> None:
        losses[step] = loss.item()
        genuine(self, loss, step, rate)

    def log(_: Any, metrics: Mapping[str, float], step: int) -> None:
        rows.append((step, dict(metrics)))

    monkeypatch.setattr(EpochLosses, "add", add)
    monkeypatch.setattr(TrainingLogger, "log_metrics", log)
    typed = (*SGD, f"trainer.accumulate={accumulate}", f"data.tiles_per_epoch={7 * accumulate}")
    typed = (*typed, "trainer.max_steps=23", "logger=tensorboard", "logger.images=0")
    train(*typed)
    seen = {step: row for step, row in rows if "train/loss_step" in row}
    assert list(seen) == [9, 19, 22]
    for step, row in seen.items():
        assert (row["train/loss_step"], row["epoch"]) == (losses[step], step // 7)
    rates = {step: row["lr-SGD"] for step, row in rows if "lr-SGD" in row}
    assert list(rates) == [9, 19]
    for step, rate in rates.items():
        assert rate == pytest.approx(0.01 * learning_rate_factor(scheduler_of(typed), step, 23))


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="a process that has used a GPU cannot be forked")
def test_processes_ask_each_other_once_before_a_step_and_once_in_it(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine, calls = torch.distributed.all_reduce, []

    def all_reduce(*arguments: Any, **more: Any) -> Any:
        calls.append(step[0])
        return genuine(*arguments, **more)

    step = [0]
    genuine_step = SegmentationModule.training_step

    def training_step(module: SegmentationModule, *batch: Any) -> Any:
        step[0] += 1
        return genuine_step(module, *batch)

    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    monkeypatch.setattr(SegmentationModule, "training_step", training_step)

    def run() -> None:
        train(*SGD, "data.tiles_per_epoch=24", "trainer.accumulate=3", "trainer.max_steps=4", "trainer.devices=2")
        per_batch = Counter(calls)
        found = [per_batch[batch] for batch in range(1, 12)]
        (tmp_path / os.environ["LOCAL_RANK"]).write_text(str(found))

    in_a_child(lambda: in_two_processes(run), ends=0)
    assert (tmp_path / "0").read_text() == (tmp_path / "1").read_text() == str([0, 0, 2] * 3 + [0, 0])
