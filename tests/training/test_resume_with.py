"""Exact resume together with what else a training can have: own losses, processes, limits, searches, loggers."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from conftest import TINY, TINY_STACK, run_training, summary, table
from own_images import grey, mask, put
from resuming import (
    EPOCH,
    Broken,
    Cli,
    Part,
    Train,
    breaking,
    broken_off,
    check_equal,
    differences,
    in_a_child,
    in_two_processes,
    kill,
    newest,
)
from torch import Tensor, nn

from unet_exp.checkpoints.reading import read_content
from unet_exp.config import IGNORE_LABEL
from unet_exp.errors import ConfigError, DataError
from unet_exp.runs.run_folder import RunFolder


class Remembering(nn.Module):
    """Cross-entropy that depends on what it has seen, and draws as many random numbers as the labels have it."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, logits: Tensor, label: Tensor, pixel_weights: Tensor | None = None) -> Tensor:
        del pixel_weights
        loss = nn.functional.cross_entropy(logits.float(), label.long(), ignore_index=IGNORE_LABEL)
        noise = torch.rand(1 + int(label.sum()) % 7).mean()
        if self.training:
            self.seen += loss.detach()
        return loss * (1 + 0.1 * noise + 0.1 * self.seen)


@pytest.fixture
def part(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Part:
    """See `breaking`."""
    return breaking(train, tmp_path, monkeypatch)


@pytest.mark.slow
def test_what_a_loss_remembers_and_after_what_it_began_with_is_gone(
    train: Train, part: Part, finished: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = shutil.copy(finished.best, tmp_path / "start.ckpt")
    words = (*EPOCH, "model=same", "data.folds=4", "data.fold=1", f"init_from={start}", "trainer.max_steps=7")
    words = (*words, "loss=custom", f"loss.target={__name__}.Remembering")
    undisturbed = train(*words)
    folder = part(*words, batch=6)
    start.unlink()
    folder.metrics.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=60_000))
        with pytest.raises(ConfigError, match="MB are free and the checkpoints take up to"):
            train(*[word for word in words if not word.startswith("init_from=")])
        check_equal(train(f"resume={folder.path}", *words), undisturbed)


@pytest.mark.slow
def test_what_is_left_of_a_run_without_its_checkpoints_stays(train: Train, part: Part) -> None:
    words = (*EPOCH, "trainer.max_steps=13")
    folder = part(*words, batch=11)
    shutil.rmtree(folder.checkpoints)
    left = folder.metrics.read_bytes()
    with pytest.raises(DataError, match="its checkpoints are gone"):
        train(f"resume={folder.path}", *words)
    assert train("resume=auto", *words).path != folder.path
    assert folder.metrics.read_bytes() == left


@pytest.mark.slow
def test_images_that_lie_elsewhere_now_and_then_are_others(
    cli: Cli, isbi_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def images(name: str) -> list[str]:
        return [f"data.images={name}/train/image", f"data.masks={name}/train/label"]

    isbi_folder(name="here")
    words = (*TINY_STACK, "data=folder", "data.tile=16", "output=out", "trainer.max_steps=3")
    with broken_off(monkeypatch, batch=2), pytest.raises(Broken):
        cli("train", *words, *images("here"))
    resume = f"resume={newest(tmp_path).path}"
    (tmp_path / "here").rename(tmp_path / "there")
    image, label = (tmp_path / "there" / "train" / kind / "0.png" for kind in ("image", "label"))
    before = image.read_bytes()
    image.write_bytes(label.read_bytes())
    assert "the data are no longer those that it was trained on" in cli("train", resume, *images("there")).mistake
    image.write_bytes(before)
    assert cli("train", resume, *images("there")).code == 0


OF_THIS_VERSION = {"data": ("sampling", "foreground_share")}
"""Keys that the version before this one did not have."""


def make_earlier(folder: RunFolder) -> None:
    """Takes from a run's config what earlier versions did not record."""
    values = yaml.safe_load(folder.config.read_text())
    for group, keys in OF_THIS_VERSION.items():
        for key in keys:
            del values[group][key]
    folder.config.write_text(yaml.safe_dump(values))


@pytest.mark.slow
def test_a_run_of_an_earlier_version_draws_what_it_drew(
    train: Train, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, side in enumerate([64, 16, 16, 16, 16]):
        put(tmp_path, number, grey(side), mask(side))
    words = [
        *TINY_STACK, "data=folder", f"data.images={tmp_path}/images", f"data.masks={tmp_path}/masks", "data.tile=16",
        "data.batch_size=2", "data.val=0.2", "data.test=0.2", "model=same", "trainer.max_steps=8",
    ]  # fmt: skip
    whole = run_training(tmp_path / "whole", "data.sampling=image", base=words)
    assert any(differences(trained(whole), trained(run_training(tmp_path / "area", base=words))))
    make_earlier(whole)
    with broken_off(monkeypatch, batch=3), pytest.raises(Broken):
        run_training(tmp_path / "out", "data.sampling=image", base=words)
    folder = newest(tmp_path)
    make_earlier(folder)
    train("resume=auto", "data.sampling=area", base=words)
    assert newest(tmp_path).path != folder.path, "what is typed is another training"
    train("resume=auto", base=words)
    check_equal(folder, whole)
    said = cli("train", f"rerun={whole.path}", f"output={tmp_path}/again")
    assert said.out.splitlines()[-1].startswith("equal: all ")


@pytest.mark.slow
def test_new_runs_of_an_earlier_versions_sweep_mean_what_its_runs_meant(cli: Cli, tmp_path: Path) -> None:
    for number in range(5):
        put(tmp_path, number, grey(16), mask(16))
    words = [
        *TINY_STACK, "data=folder", "data.images=images", "data.masks=masks", "data.tile=16", "data.val=0.2",
        "data.test=0.2", "model=same", "output=out", "sweep.report=false",
    ]  # fmt: skip
    assert cli("train", "-m", *words, "seed=0,1").code == 0
    (sweep,) = (tmp_path / "out" / "sweep").iterdir()
    make_earlier(RunFolder(sweep / "seed=0"))
    shutil.rmtree(sweep / "seed=1")
    assert cli("train", f"sweep.resume={sweep}").code == 0
    values = yaml.safe_load((sweep / "seed=1" / "config.yaml").read_text())
    assert values["data"]["sampling"] == "image"


def trained(folder: RunFolder) -> Any:
    return read_content(folder.last)["state_dict"]


@pytest.mark.slow
def test_shared_by_two_processes(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = (*EPOCH, "model=release", "data.batch_size=1", "trainer.devices=2", "trainer.max_steps=8")
    words = (*words, "loss=custom", f"loss.target={__name__}.Remembering")

    def run(*words: str) -> None:
        in_two_processes(lambda: train(*words))

    in_a_child(lambda: run(*words), ends=0)
    undisturbed = newest(tmp_path)
    with broken_off(monkeypatch, batch=6, how=lambda: kill() if os.environ["LOCAL_RANK"] == "0" else None):
        in_a_child(lambda: run(*words))
    folder = newest(tmp_path)
    assert folder.path != undisturbed.path
    in_a_child(lambda: run(f"resume={folder.path}", *words), ends=0)
    assert [start["step"] for start in summary(folder)["resumed"]] == [6]
    check_equal(folder, undisturbed)


def test_the_time_of_all_parts_is_counted_and_the_end_is_validated(train: Train, part: Part) -> None:
    words = (*EPOCH, "trainer.max_steps=20", "trainer.max_time=1h")
    folder = part(*words, batch=6, saves="at validations")
    content = torch.load(folder.last, weights_only=True)
    (timer,) = [state for key, state in content["callbacks"].items() if key.startswith("TimeLimit")]
    assert timer["time_elapsed"]["train"] > 0
    timer["time_elapsed"]["train"] = 3600.0
    torch.save(content, folder.last)
    train(f"resume={folder.path}", *words)
    assert (summary(folder)["status"], summary(folder)["steps"]) == ("finished", 6)
    assert table(folder.metrics)[-1]["val/loss"]


@pytest.mark.slow
def test_a_sweep_goes_on_with_a_half_done_run(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    words = ("-m", *TINY, *EPOCH, "output=out", "trainer.max_steps=7", "sweep.report=false", "seed=0,1")
    with broken_off(monkeypatch, batch=6):  # the first run's; the second run ends
        assert cli("train", *words).code == 2
    (sweep,) = (tmp_path / "out" / "sweep").iterdir()
    assert cli("train", f"sweep.resume={sweep}").code == 0
    told = [summary(RunFolder(sweep / f"seed={seed}")) for seed in (0, 1)]
    assert [run["status"] for run in told] == ["finished", "finished"]
    assert [[start["step"] for start in run.get("resumed", [])] for run in told] == [[6], []]


LOGGED = {
    "train/loss": [4, 9, 14, 19, 21],
    "val/loss": [9, 19, 21],
    "train/loss_step": [9, 19, 21],
    "test/iou/mean": [22],
}
"""Steps of 22, with five to an epoch, a validation every second one, and ten between two losses."""


@pytest.mark.slow
def test_the_wandb_run_stays_one_and_nothing_is_in_it_twice(
    train: Train, part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb
    from wandb_server import WandbServer

    words = (*EPOCH, "trainer.max_steps=22", "trainer.val_every_epochs=2", "logger=wandb", "name=one")
    wandb.teardown()
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_MODE", "online")
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", server.key)
        folder = part(*words, batch=17, saves="at validations")
        train("resume=auto", *words)
        wandb.teardown()
        run = server.run("one")
    told = summary(folder)
    assert [start["step"] for start in told["resumed"]] == [10]
    assert run.id == told["wandb_id"]
    for key, steps in LOGGED.items():
        assert [row["trainer/global_step"] for row in run.history if key in row] == steps, key


@pytest.mark.slow
def test_tensorboard_shows_one_training(train: Train, part: Part) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    words = (*EPOCH, "trainer.max_steps=22", "trainer.val_every_epochs=2", "logger=tensorboard")
    words = (*words, "logger.images=1", "logger.images_every_epochs=2")
    folder = part(*words, batch=17, saves="at validations")
    train("resume=auto", *words)
    found = events.EventAccumulator(str(folder.path / "tensorboard"))
    found.Reload()
    for key, steps in LOGGED.items():
        assert [event.step for event in found.Scalars(key)] == steps, key
    (name,) = (name for name in found.Tags()["images"] if not name.startswith("test/"))
    assert [event.step for event in found.Images(name)] == LOGGED["val/loss"]


@pytest.mark.slow
def test_a_search_that_was_killed_comes_to_what_it_would_have_come_to(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    optuna = pytest.importorskip("optuna")
    words = (*TINY, *EPOCH, "trainer.max_steps=14", "search=optuna", "search.trials=2", "search.startup_trials=1")
    words = (*words, "search.warmup_validations=0", "search.seed=1", "sweep.report=false")
    words = (*words, "optimizer.lr=tag(log,interval(0.00001,1))")
    assert cli("train", *words, "output=whole").code == 0
    with broken_off(monkeypatch, batch=8, how=kill):
        in_a_child(lambda: cli("train", *words, "output=out"))
    (whole,), (sweep,) = (list((tmp_path / output / "sweep").iterdir()) for output in ("whole", "out"))
    with monkeypatch.context() as patch:  # two more validations of the first trial, then one that has been reported
        genuine, count = optuna.Trial.should_prune, iter(range(9))
        patch.setattr(optuna.Trial, "should_prune", lambda trial: kill() if next(count) == 2 else genuine(trial))
        in_a_child(lambda: cli("train", f"sweep.resume={sweep}"))
    assert cli("train", f"sweep.resume={sweep}").code == 0
    assert table(sweep / "trials.csv") == table(whole / "trials.csv")
    assert [row["status"] for row in table(sweep / "trials.csv")] == ["finished", "pruned"]
    told = [summary(RunFolder(sweep / f"trial-{number:03d}")) for number in (0, 1)]
    assert [run["resumed"][0]["step"] for run in told[:1]] == [8]
