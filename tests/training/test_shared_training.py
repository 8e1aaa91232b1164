"""Trainings that two processes share: what is equal to one process, and what ends both."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ALL_SCORES, TINY, Said, change_summary, summary, table
from pytorch_lightning.callbacks import Callback
from resuming import at_step, check_equal, differences, in_a_child, in_two_processes, newest

from unet_exp.checkpoints.reading import RANDOM_STATES, read_content
from unet_exp.errors import ConfigError, UserError
from unet_exp.runs.run_folder import RunFolder
from unet_exp.training.datamodule import SharedImages

Train = Callable[..., RunFolder]
TWO = ("trainer=ddp", "trainer.devices=2", "data.tiles_per_epoch=12")


def said_by_two(tmp_path: Path, run: Callable[[], Any]) -> list[str]:
    """Runs a training in two processes; returns what each of them says at its end."""

    def tell() -> None:
        said = "done"
        try:
            run()
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        (tmp_path / f"said {os.environ['RANK']}").write_text(said)

    in_a_child(lambda: in_two_processes(tell), ends=0)
    return [(tmp_path / f"said {rank}").read_text() for rank in range(2)]


def check_done(tmp_path: Path, run: Callable[[], Any]) -> RunFolder:
    assert said_by_two(tmp_path, run) == ["done", "done"]
    return newest(tmp_path)


def first() -> bool:
    return os.environ["RANK"] == "0"


@pytest.mark.parametrize(("images", "world"), [(7, 2), (7, 3), (2, 3), (0, 2)])
def test_validation_images_are_shared_out(images: int, world: int) -> None:
    whole: Any = list(range(1, images + 1))
    parts = [SharedImages(whole, rank, world) for rank in range(world)]
    shared = [[part[place] for place in range(len(part))] for part in parts]
    assert sorted(image for part in shared for image in part if image) == whole, "none twice, none never"
    assert not images or all(shared), "Lightning validates in no process without an item"


WORDS = ("data.val_images=3", "model=same", "model.norm=batch", "trainer.ema_decay=0.5", "trainer.max_steps=6")


@pytest.mark.slow
def test_two_processes_score_as_one_and_learn_what_one_learns(train: Train, tmp_path: Path) -> None:
    words = (*WORDS, "model.norm=none", "trainer.monitor=val/v_rand", *ALL_SCORES)
    two = check_done(tmp_path, lambda: train(*TWO, *words, "data.batch_size=2"))
    one = train("data.tiles_per_epoch=12", *words, "data.batch_size=4")
    (here, there) = (read_content(folder.last)["state_dict"] for folder in (two, one))
    for name, weight in here.items():
        torch.testing.assert_close(weight, there[name], rtol=1e-4, atol=1e-6)
    rows = [table(folder.metrics) for folder in (two, one)]
    assert len(rows[0]) == len(rows[1]) == 2
    for mine, theirs in zip(*rows, strict=True):
        scores = [name for name in mine if name.startswith(("val/", "train/"))]
        assert {name: float(mine[name]) for name in scores} == pytest.approx(
            {name: float(theirs[name]) for name in scores}, rel=1e-3, nan_ok=True
        )


@pytest.mark.slow
@pytest.mark.parametrize("images", [3, 1])  # of which a process has one more than the other, or all
def test_pooled_scores_are_those_of_one_process_to_the_last_bit(
    cli: Callable[..., Said], train: Train, tmp_path: Path, images: int
) -> None:
    words = (*WORDS, f"data.val_images={images}", "trainer.monitor=val/v_rand", "data.batch_size=1")
    folder = check_done(tmp_path, lambda: train(*TWO, *words))
    best = max(table(folder.metrics), key=lambda row: float(row["val/v_rand"]))
    said = cli("evaluate", f"checkpoint={folder.best}", "split=val", "output=scored")
    alone = summary(RunFolder(said.folder))["metrics"]
    shared = {name: float(value) for name, value in best.items() if name.startswith("val/") and value}
    assert shared == {name: alone[name] for name in shared}


@pytest.mark.slow
def test_a_shared_training_is_repeatable_and_each_process_drops_out_its_own(train: Train, tmp_path: Path) -> None:
    words = (*TWO, "model=release", "augmentation=paper", "data.batch_size=1", "trainer.accumulate=2")
    runs = [check_done(tmp_path, lambda: train(*words, "trainer.max_steps=4")) for _ in range(2)]
    check_equal(*runs)
    states = read_content(runs[0].last)[RANDOM_STATES]["cpu"]
    assert list(differences(states[0], states[1]))
    run = summary(runs[0])
    assert (run["processes"], run["steps"], run["epochs"]) == (2, 4, 2)


class StopsInOne(Callback):
    """Stops the second process after three steps."""

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == 3 and trainer.global_rank == 1:
            trainer.should_stop = True


@pytest.mark.slow
def test_both_stop_when_a_callback_of_ones_own_stops_one(train: Train, tmp_path: Path) -> None:
    words = (*TWO, "trainer.max_steps=20", "data.batch_size=1", f"callbacks=[{{target: {__name__}.StopsInOne}}]")
    folder = check_done(tmp_path, lambda: train(*words))
    assert (summary(folder)["status"], summary(folder)["steps"]) == ("finished", 3)


@pytest.mark.slow
def test_a_signal_to_one_stops_both_at_one_step_and_they_go_on(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*TWO, "model=release", "trainer.max_steps=9", "data.batch_size=1", "data.val_images=3")
    whole = check_done(tmp_path, lambda: train(*words))
    with monkeypatch.context() as patch:
        at_step(patch, 4, lambda: None if first() else os.kill(os.getpid(), signal.SIGTERM))
        said = said_by_two(tmp_path, lambda: train(*words))
    folder = newest(tmp_path)
    assert said == [
        f"Stopped: stopped by SIGTERM; go on with: python scripts/train.py resume={folder.path}",
        "SystemExit: 0",
    ]
    assert summary(folder)["status"] == "stopped"
    check_done(tmp_path, lambda: train(f"resume={folder.path}", *words))
    check_equal(folder, whole)


@pytest.mark.slow
def test_what_ends_one_ends_the_other_and_what_was_trained_is_kept(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*TWO, "trainer.max_steps=20", "data.batch_size=1")

    def fail() -> None:
        if not first():
            raise ConfigError("the second process cannot go on")

    at_step(monkeypatch, 7, fail)  # behind the validation of the first epoch, of six steps
    said = said_by_two(tmp_path, lambda: train(*words))
    message = "process 1 of 2: the second process cannot go on"
    assert said == [f"TrainingError: {message}", "ConfigError: the second process cannot go on"]
    folder = newest(tmp_path)
    assert summary(folder)["status"] == "failed"
    assert read_content(folder.last)["global_step"] == 6


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_other(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> None:
        with pytest.raises(
            UserError,
            match=r"^another of the 2 processes was killed.*is kept; go on with: python scripts/train.py resume=",
        ):
            train(*TWO, "trainer.max_steps=20", "data.batch_size=1")

    monkeypatch.setattr("unet_exp.training.group._ENDS", 0.5)
    at_step(monkeypatch, 7, lambda: None if first() else os.kill(os.getpid(), signal.SIGKILL))
    in_a_child(lambda: in_two_processes(run), ends=0)
    assert summary(newest(tmp_path))["status"] == "failed"


@pytest.mark.slow
def test_what_the_first_cannot_prepare_ends_the_second(train: Train, tmp_path: Path) -> None:
    said = said_by_two(tmp_path, lambda: train(*TWO, "data.tiles_per_epoch=1"))
    line = "trainer.devices=2: an epoch has 1 tiles, fewer than the 2 processes; set a larger data.tiles_per_epoch"
    assert said == [f"ConfigError: {line}", f"TrainingError: process 0 of 2: {line}"]
    assert not (tmp_path / "out").exists()


def test_another_number_of_processes_is_refused(tmp_path: Path, cli: Callable[..., Said], finished: RunFolder) -> None:
    before = summary(finished)
    try:
        change_summary(finished, processes=2)
        said = cli("train", f"rerun={finished.path}", "output=again")
        assert said.mistake == (
            f"rerun={finished.path}: 2 processes shared its work and today it would be 1, so the numbers would differ; "
            "repeat it in 2 (trainer.devices x trainer.num_nodes)"
        )
        change_summary(finished, processes=2, status="stopped", error="stopped")
        said = cli("train", f"resume={finished.path}")
        assert said.mistake.startswith(f"resume={finished.path}: 2 processes shared its work and today it would be 1")
    finally:
        change_summary(finished, **before)
    assert not (tmp_path / "again").exists()


def test_sync_batch_norm_needs_cuda_and_a_norm(cli: Callable[..., Said]) -> None:
    said = cli("train", *TINY, *TWO, "trainer.sync_batchnorm=true", "model=same", "model.norm=batch")
    assert said.mistake.startswith("trainer.sync_batchnorm=true: PyTorch has it on CUDA alone, and this training is on")
