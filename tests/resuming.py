"""What the tests of exact resume share: trainings that are broken off, and runs that must be equal to the bit."""

import os
import signal
import socket
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from conftest import Said, summary, table

from unet_exp.checkpoints.reading import read_content
from unet_exp.runs.run_folder import RunFolder
from unet_exp.training.module import SegmentationModule
from unet_exp.training.processes import Place

Cli = Callable[..., Said]
Train = Callable[..., RunFolder]
Part = Callable[..., RunFolder]
Whole = Callable[[str], RunFolder]

EPOCH = ("data.tiles_per_epoch=10", "data.batch_size=2")  # of five batches
SETTINGS = {
    "dropout, workers, plateau": "model=release augmentation=paper data.num_workers=2 scheduler=plateau "
    "scheduler.patience=0 scheduler.warmup_steps=2 optimizer.lr=0.01 trainer.max_steps=13",
    "averaged, batch norm, bf16, accumulated, weighted": "model=same model.norm=batch trainer.ema_decay=0.9 "
    "scheduler=one_cycle trainer.precision=bf16-mixed trainer.accumulate=2 loss=border_weighted augmentation=paper "
    "trainer.max_epochs=3 trainer.max_steps=null",
    "strong": "augmentation=strong trainer.ema_decay=0.9 optimizer=sgd trainer.max_steps=13 data.num_workers=1",
    "instance norm, early stopping": "model=same model.norm=instance trainer.val_every_epochs=2 optimizer.lr=0.05 "
    "trainer.early_stopping=1 trainer.max_steps=40",
    "clipped, few batches": "trainer.clip_norm=1 scheduler=cosine trainer.limit_batches=3 loss=dice_ce "
    "trainer.max_epochs=4 trainer.max_steps=null",
    "gated, residual, deeply supervised": "model=valid model.depth=3 fusion=attention model.block=residual "
    "model.deep_supervision=true model.norm=batch trainer.ema_decay=0.9 trainer.accumulate=2 loss=border_weighted "
    "trainer.max_steps=9",
    "listed transforms": "augmentation=albumentations data.num_workers=2 loss=border_weighted trainer.max_steps=13 "
    "augmentation.transforms=[{name:Affine,rotate:[-180,180],p:1},{name:OneOf,transforms:[{name:Blur},{name:GaussNoise}]}]",
    "accumulated unevenly": "trainer.accumulate=3 scheduler=cosine model=pad fusion=add trainer.max_steps=9 "
    "trainer.monitor=val/loss",
}


class Broken(Exception):
    """What breaks a training off."""


def at_step(monkeypatch: pytest.MonkeyPatch, number: int, happens: Callable[[], Any]) -> None:
    """Calls `happens` once, when the step number `number`, from 0, is under way."""
    genuine, once = SegmentationModule.training_step, [happens]

    def step(module: SegmentationModule, batch: Any, index: int) -> Any:
        if module.global_step == number and once:
            once.pop()()
        return genuine(module, batch, index)

    monkeypatch.setattr(SegmentationModule, "training_step", step)


def breaking(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Part:
    """`part("seed=1", batch=3)` begins a training that is broken off when it begins its batch number 3, from 0.

    `how` says in what way, and `saves` how often it saves: always, or only at validations. Returns the `RunFolder`.
    """

    def run(*words: str, batch: int, saves: str = "always", how: Callable[[], Any] | None = None) -> RunFolder:
        with broken_off(monkeypatch, batch, saves, how):
            if how is None:
                with pytest.raises(Broken):
                    train(*words)
            else:
                in_a_child(lambda: train(*words))
        return newest(tmp_path)

    return run


@contextmanager
def broken_off(
    monkeypatch: pytest.MonkeyPatch, batch: int, saves: str = "always", how: Callable[[], Any] | None = None
) -> Iterator[None]:
    genuine, count = SegmentationModule.training_step, iter(range(1_000_000))

    def step(module: SegmentationModule, *arguments: Any) -> Any:
        if next(count) == batch:
            if how is not None:
                how()
            raise Broken
        return genuine(module, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(SegmentationModule, "training_step", step)
        if saves == "always":
            patch.setattr("unet_exp.training.callbacks.duration_seconds", lambda _: 0)
        yield


def in_a_child(run: Callable[[], Any], ends: int = -signal.SIGKILL) -> None:
    """Runs it in a forked process, which must end with this exit code, or the number of a signal."""
    child = os.fork()
    if child == 0:
        in_this_child(run)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == ends


def in_this_child(run: Callable[[], Any]) -> NoReturn:
    code = 1
    try:
        run()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def in_two_processes(run: Callable[[], Any]) -> None:
    """Runs a training of `trainer.devices=2` in this process, a forked child (`in_a_child`), and in one more."""
    place = Place(world=2, local_world=2, starter="torchrun", port=free_port())
    second = os.fork()
    if second == 0:
        os.environ.update(replace(place, rank=1, local_rank=1).write_environment({}))
        in_this_child(run)
    os.environ.update(place.write_environment({}))
    run()
    os.waitpid(second, 0)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def newest(tmp_path: Path) -> RunFolder:
    return RunFolder(max((tmp_path / "out" / "train").iterdir(), key=lambda path: path.stat().st_mtime_ns))


def check_equal(one: RunFolder, other: RunFolder) -> None:
    """All that a run has come to is equal to the bit, and its table is one."""

    def rows(folder: RunFolder) -> list[dict[str, str]]:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in table(folder.metrics)]

    here, there = read_content(one.last), read_content(other.last)
    for key in (
        "state_dict",
        "current_model_state",
        "optimizer_states",
        "lr_schedulers",
        "global_step",
        "epoch",
        "random",
    ):
        assert not list(differences(here.get(key), there.get(key), key))
    assert not list(differences(read_content(one.best)["state_dict"], read_content(other.best)["state_dict"]))
    assert rows(one) == rows(other)
    assert one.per_image.read_text() == other.per_image.read_text()
    for key in ("status", "metrics", "best", "steps", "epochs"):
        assert summary(one)[key] == summary(other)[key]


def differences(one: Any, other: Any, where: str = "") -> Iterator[str]:
    if isinstance(one, torch.Tensor):
        if not torch.equal(one, other):
            yield where
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            yield from differences(one[key], other[key], f"{where}/{key}")
    elif isinstance(one, list | tuple):
        for index, pair in enumerate(zip(one, other, strict=True)):
            yield from differences(*pair, f"{where}/{index}")
    elif one != other:
        yield where
