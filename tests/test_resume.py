"""A training that is broken off and resumed ends with the numbers of one that nothing has disturbed."""

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import TINY, Said, run_training, summary, table
from hypothesis import given, settings
from hypothesis import strategies as st

from unet_exp.app.past import Past
from unet_exp.app.resume import find
from unet_exp.checkpoint import read_content
from unet_exp.config import parse
from unet_exp.errors import DataError
from unet_exp.files import locked
from unet_exp.runs import RunFolder
from unet_exp.training.module import SegmentationModule

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
    "accumulated unevenly": "trainer.accumulate=3 scheduler=cosine model=pad fusion=add trainer.max_steps=9 "
    "trainer.monitor=val/loss",
}
FAST = list(SETTINGS)[:2]


class Broken(Exception):
    """What breaks a training off."""


@pytest.fixture(scope="module", autouse=True)
def _no_curves() -> Iterator[None]:
    """Drawing them takes half of a tiny training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unet_exp.app.train.draw_curves", lambda *_: None)
        yield


@pytest.fixture
def part(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Part:
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


def in_a_child(run: Callable[[], Any]) -> None:
    """Runs it in a forked process, which must die of SIGKILL."""
    child = os.fork()
    if child == 0:
        try:
            run()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def newest(tmp_path: Path) -> RunFolder:
    return RunFolder(max((tmp_path / "out" / "train").iterdir(), key=lambda path: path.stat().st_mtime_ns))


def check_equal(one: RunFolder, other: RunFolder) -> None:
    """All that a run has come to is equal to the bit, and its table is one."""

    def rows(folder: RunFolder) -> list[dict[str, str]]:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in table(folder.metrics)]

    here, there = read_content(one.last), read_content(other.last)
    for key in ("state_dict", "current_model_state", "optimizer_states", "lr_schedulers", "global_step", "epoch"):
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


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], RunFolder]:
    """`whole(name)` is the undisturbed training of these settings."""

    @cache
    def run(name: str) -> RunFolder:
        return run_training(tmp_path_factory.mktemp("whole"), *EPOCH, *SETTINGS[name].split())  # type: ignore[no-any-return]

    return run


class TestEqual:
    """To the undisturbed run."""

    @pytest.mark.parametrize(("name", "batch"), [(FAST[0], 8), (FAST[1], 8)])
    def test_wherever_it_is_broken_off(self, train: Train, part: Part, whole: Whole, name: str, batch: int) -> None:
        words = (*EPOCH, *SETTINGS[name].split())
        folder = part(*words, batch=batch)
        assert summary(folder)["status"] == "failed"
        check_equal(train(f"resume={folder.path}", *words), whole(name))
        (resumed,) = summary(folder)["resumed"]
        assert resumed["step"] == (8 if name == FAST[0] else 4)  # the odd batch is not yet a step

    @pytest.mark.slow
    @pytest.mark.parametrize("name", SETTINGS)
    def test_wherever_it_is_broken_off_again_and_again(self, train: Train, part: Part, whole: Whole, name: str) -> None:
        words = (*EPOCH, *SETTINGS[name].split())
        random = np.random.default_rng(len(name))
        for _ in range(4):
            first, second = (int(number) for number in random.integers(3, 8, 2))
            how = random.choice([None, kill])
            folder = part(*words, batch=first, how=how)
            saves = str(random.choice(["always", "at validations"]))
            part(f"resume={folder.path}", *words, batch=min(second, 4), saves=saves, how=how)
            check_equal(train(f"resume={folder.path}", *words), whole(name))
            assert len(summary(folder)["resumed"]) == 2

    def test_when_what_came_after_the_checkpoint_is_lost(self, train: Train, part: Part, whole: Whole) -> None:
        words = (*EPOCH, *SETTINGS[FAST[0]].split())
        folder = part(*words, batch=12, saves="at validations")
        assert [row["step"] for row in table(folder.metrics)] == ["5", "10"]
        folder.last.unlink()
        assert read_content(folder.previous)["global_step"] == 5
        check_equal(train(f"resume={folder.path}", *words), whole(FAST[0]))
        seconds = [float(row["seconds"]) for row in table(folder.metrics)]
        assert seconds == sorted(seconds)

    def test_killed_with_workers_and_in_the_middle_of_saving(
        self, train: Train, part: Part, whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        words = (*EPOCH, *SETTINGS[FAST[0]].split())
        folder = part(*words, batch=7, how=kill)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", lambda *_: kill())
            in_a_child(lambda: train("resume=auto", *words))
        assert list(folder.checkpoints.glob(".last.*"))
        assert read_content(folder.last)["global_step"] == 7
        check_equal(train("resume=auto", *words), whole(FAST[0]))
        assert newest(tmp_path).path == folder.path
        assert not list(folder.checkpoints.glob(".last.*"))
        assert [start["step"] for start in summary(folder)["resumed"]] == [7, 7]

    def test_killed_while_testing(
        self, train: Train, whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        words = (*EPOCH, *SETTINGS[FAST[1]].split())
        with monkeypatch.context() as patch:
            patch.setattr("unet_exp.app.train.score_test", lambda *_: kill())
            in_a_child(lambda: train(*words))
        folder = newest(tmp_path)
        assert folder.read_summary()["status"] == "running"
        with broken_off(monkeypatch, batch=0):  # not a batch more
            train(f"resume={folder.path}", *words)
        check_equal(folder, whole(FAST[1]))


class TestCommandLine:
    def test_the_folder_alone_goes_on_and_what_would_change_the_result_is_refused(
        self, cli: Cli, part: Part, tmp_path: Path
    ) -> None:
        folder = part(*EPOCH, "trainer.max_steps=7", batch=6)
        resume = f"resume={folder.path}"

        def mistake(*words: str) -> str:
            return cli("train", *words).mistake.removeprefix(f"resume={folder.path}: ")

        changed = "what is typed would change its result: "
        assert mistake(resume, "seed=3", "optimizer.lr=1") == f"{changed}seed: 0 -> 3, optimizer.lr: 0.001 -> 1.0"
        assert mistake(*TINY, resume, "debug=fast").startswith(changed)
        assert "a sweep, with sweep.resume=<its folder>" in mistake(resume, "seed=3,4", "-m")
        with locked(folder.lock):
            assert mistake(resume) == "a process is still at this run; wait for its end, or end it"
        told = summary(folder)
        folder.write_summary({**told, "data_fingerprint": "0" * 64})
        assert mistake(resume).startswith("the data are no longer those that it was trained on")
        folder.write_summary({**told, "precision": "bf16-mixed"})
        assert "its precision on cpu was bf16-mixed and would be 32 on cpu" in mistake(resume)
        assert "give the folder of a run" in cli("train", f"resume={tmp_path}").mistake
        assert not (tmp_path / "outputs").exists()

        folder.write_summary(told)
        said = cli("train", f"resume={folder.path}", "data.num_workers=1", "trainer.save_every=1h")
        assert said.folder == folder.path
        assert f"going on from step 6 ({folder.last})" in said.out
        assert (summary(folder)["status"], summary(folder)["steps"]) == ("finished", 7)
        assert "resume=" not in folder.config.read_text() + "".join(summary(folder)["overrides"])
        again = cli("train", f"resume={folder.path}").mistake
        assert again == f"resume={folder.path}: this run is over (summary.json); there is nothing to go on with"

    def test_a_class_of_somebody_elses_is_not_imported(self, cli: Cli, finished: RunFolder, tmp_path: Path) -> None:
        values = yaml.safe_load(finished.config.read_text())
        values |= {
            "loss": {"name": "custom", "target": "their_package.Loss", "params": None, "class_weights": None},
            "trust": ["their_package"],
        }
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
        said = cli("train", f"resume={tmp_path}").mistake
        assert said.endswith("whose code would run; if you trust it, add trust=[their_package]")
        assert "their_package" in cli("train", f"resume={tmp_path}", "trust=[their_package]").mistake  # not there

    def test_a_run_without_a_checkpoint_begins_anew_in_its_folder(self, cli: Cli, part: Part) -> None:
        folder = part(*EPOCH, "trainer.max_steps=1", batch=0)
        (folder.path / "left.txt").touch()
        said = cli("train", f"resume={folder.path}")
        assert "has no checkpoint yet: it starts from the beginning" in said.out
        assert said.folder == folder.path
        assert summary(folder)["status"] == "finished"
        assert "resumed" not in summary(folder)
        assert not (folder.path / "left.txt").exists()


def test_auto_takes_the_newest_unfinished_run_of_this_config(finished: RunFolder, tmp_path: Path) -> None:
    before = yaml.safe_load(finished.config.read_text())
    before |= {"output": str(tmp_path), "resume": "auto"}

    def left(name: str) -> RunFolder:
        folder = RunFolder(tmp_path / "train" / name)
        folder.path.mkdir(parents=True)
        folder.config.write_text(finished.config.read_text())
        folder.write_summary({**summary(finished), "status": "failed"})
        return folder

    def found(**changed: Any) -> Path | None:
        folder = find(parse({**before, **changed}))
        return folder and folder.path

    assert found() is None
    one, other = left("2026-01-01_00-00-00_a"), left("2026-01-01_00-00-01_a")
    left("2026-01-01_00-00-02_a").config.write_text("{}")
    assert found() == other.path
    assert found(trust=["mine"], data={**before["data"], "num_workers": 3}) == other.path
    assert found(trainer={**before["trainer"], "max_steps": 7}) is None
    assert found(seed=2) is None
    with locked(other.lock):
        assert found() == one.path
    other.write_summary({**summary(other), "status": "finished"})
    assert found() == one.path
    one.write_summary({**summary(one), "status": "stopped", "pruned_at": 1})
    assert found() is None


class TestDamage:
    """A checkpoint that is not whole."""

    def test_the_one_before_is_taken(self, train: Train, part: Part) -> None:
        folder = part(*EPOCH, "trainer.max_steps=5", batch=4)
        content = bytearray(folder.last.read_bytes())
        content[len(content) // 2] ^= 1
        folder.last.write_bytes(content)
        past = Past.of(folder)
        assert (past.checkpoint, past.step) == (folder.previous, 3)
        assert "last.ckpt: this is no checkpoint, or it is damaged" in past.notes[0]
        folder.previous.write_bytes(b"")
        with pytest.raises(DataError, match="it has no checkpoint to go on from; start anew"):
            train(f"resume={folder.path}", *EPOCH, "trainer.max_steps=5")

    @given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
    @settings(deadline=None, max_examples=60)
    def test_a_flipped_bit_is_found_or_does_no_harm(self, finished: RunFolder, place: float, bit: int) -> None:
        content = bytearray(finished.last.read_bytes())
        content[int(place * len(content))] ^= 1 << bit
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "last.ckpt"
            path.write_bytes(content)
            try:
                found = read_content(path)
            except DataError:
                return
        assert not list(differences(found, read_content(finished.last)))


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
    folder = part(*words, batch=17, saves="at validations")
    train("resume=auto", *words)
    found = events.EventAccumulator(str(folder.path / "tensorboard"))
    found.Reload()
    for key, steps in LOGGED.items():
        assert [event.step for event in found.Scalars(key)] == steps, key
