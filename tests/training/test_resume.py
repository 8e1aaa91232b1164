"""A training that is broken off and resumed ends with the numbers of one that nothing has disturbed."""

import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import TINY, change_summary, run_training, summary, table
from hypothesis import given
from hypothesis import strategies as st
from resuming import (
    EPOCH,
    SETTINGS,
    Cli,
    Part,
    Train,
    Whole,
    breaking,
    broken_off,
    check_equal,
    differences,
    in_a_child,
    kill,
    newest,
)

from unet_exp.checkpoints.reading import read_content
from unet_exp.config import parse
from unet_exp.errors import DataError
from unet_exp.files import hold_lock
from unet_exp.inference.predictor import Predictor
from unet_exp.runs.earlier import find_unfinished
from unet_exp.runs.run_folder import RunFolder
from unet_exp.training import resume_point as training
from unet_exp.training.resume_point import ResumePoint

FAST = list(SETTINGS)[:2]


@pytest.fixture
def part(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Part:
    """See `breaking`."""
    return breaking(train, tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], RunFolder]:
    """`whole(name)` is the undisturbed training of these settings."""

    @cache
    def run(name: str) -> RunFolder:
        return run_training(tmp_path_factory.mktemp("whole"), *EPOCH, *SETTINGS[name].split())

    return run


class TestEqual:
    """To the undisturbed run."""

    @pytest.mark.parametrize(("name", "batch"), [pytest.param(FAST[0], 8, marks=pytest.mark.slow), (FAST[1], 8)])
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
        first, second = (int(number) for number in random.integers(3, 8, 2))
        how = random.choice([None, kill])
        folder = part(*words, batch=first, how=how)
        saves = str(random.choice(["always", "at validations"]))
        part(f"resume={folder.path}", *words, batch=min(second, 4), saves=saves, how=how)
        check_equal(train(f"resume={folder.path}", *words), whole(name))
        assert len(summary(folder)["resumed"]) == 2

    @pytest.mark.slow
    def test_when_what_came_after_the_checkpoint_is_lost(self, train: Train, part: Part, whole: Whole) -> None:
        words = (*EPOCH, *SETTINGS[FAST[0]].split())
        folder = part(*words, batch=12, saves="at validations")
        assert [row["step"] for row in table(folder.metrics)] == ["5", "10"]
        folder.last.unlink()
        assert read_content(folder.previous)["global_step"] == 5
        check_equal(train(f"resume={folder.path}", *words), whole(FAST[0]))
        seconds = [float(row["seconds"]) for row in table(folder.metrics)]
        assert seconds == sorted(seconds)

    @pytest.mark.slow
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

    @pytest.mark.slow
    def test_killed_while_testing(
        self, train: Train, whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        words = (*EPOCH, *SETTINGS[FAST[1]].split())
        with monkeypatch.context() as patch:
            patch.setattr(Predictor, "score", lambda *_: kill())
            in_a_child(lambda: train(*words))
        folder = newest(tmp_path)
        assert folder.read_summary().status == "running"
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
        assert mistake(resume, "seed=3", "optimizer.lr=1").startswith(
            f"{changed}seed: 0 -> 3, optimizer.lr: 0.001 -> 1.0; leave"
        )
        assert mistake(*TINY, resume, "debug=fast").startswith(changed)
        assert "a sweep, with sweep.resume=<its folder>" in mistake(resume, "seed=3,4", "-m")
        with hold_lock(folder.lock):
            assert mistake(resume) == "a process is still at this run; wait for its end, or end it"
        told = summary(folder)
        change_summary(folder, data_fingerprint="0" * 64)
        assert mistake(resume).startswith("the data are no longer those that it was trained on")
        change_summary(folder, **{**told, "precision": "bf16-mixed"})
        assert "its precision on cpu was bf16-mixed and would be 32 on cpu" in mistake(resume)
        assert "give the folder of a run" in cli("train", f"resume={tmp_path}").mistake
        assert not (tmp_path / "outputs").exists()

        change_summary(folder, **{**told, "processes": 2})
        assert "2 processes shared its work and today it would be 1" in mistake(resume)
        change_summary(folder, **{**told, "versions": {**told["versions"], "torch": "2.0"}})
        said = cli("train", f"resume={folder.path}", "data.num_workers=1", "trainer.save_every=1h")
        assert said.folder == folder.path
        assert f"going on from step 6 ({folder.last})" in said.out
        assert "it goes on under other conditions and may differ from an undisturbed run: " in said.out
        assert "torch: 2.0 then, " in said.out
        assert (summary(folder)["status"], summary(folder)["steps"]) == ("finished", 7)
        assert "resume=" not in folder.config.read_text() + "".join(summary(folder)["overrides"])
        again = cli("train", f"resume={folder.path}").mistake
        assert again.startswith(f"resume={folder.path}: this run is over; ")

    @pytest.mark.parametrize("key", ["resume", "rerun", "sweep.resume"])
    def test_a_variable_of_the_shell_that_is_not_set(self, cli: Cli, key: str, tmp_path: Path) -> None:
        assert "there is no folder behind it" in cli("train", f"{key}=").mistake
        assert not list(tmp_path.iterdir())

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
        change_summary(folder, **{**summary(finished), "status": "failed"})
        return folder

    def found(**changed: Any) -> Path | None:
        folder = find_unfinished(parse({**before, **changed}))
        return folder and folder.path

    assert found() is None
    one, other = left("2026-01-01_00-00-00_a"), left("2026-01-01_00-00-01_a")
    left("2026-01-01_00-00-02_a").config.write_text("{}")
    assert found() == other.path
    assert found(trust=["mine"], data={**before["data"], "num_workers": 3}) == other.path
    assert found(trainer={**before["trainer"], "max_steps": 7}) is None
    assert found(seed=2) is None
    with hold_lock(other.lock):
        assert found() == one.path
    change_summary(other, status="finished")
    assert found() == one.path
    change_summary(one, status="stopped", pruned_at=1)
    assert found() is None


def test_auto_leaves_a_run_to_the_process_that_was_faster(
    train: Train, part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*EPOCH, "trainer.max_steps=1")
    folder = part(*words, batch=0)
    with ExitStack() as other:
        monkeypatch.setattr(training, "refuse_links", lambda _: other.enter_context(hold_lock(folder.lock)))
        assert train("resume=auto", *words).path != folder.path


class TestDamage:
    """A checkpoint that is not whole."""

    def test_the_one_before_is_taken(self, train: Train, part: Part, finished: RunFolder) -> None:
        folder = part(*EPOCH, "trainer.max_steps=5", batch=4)
        content = bytearray(folder.last.read_bytes())
        content[len(content) // 2] ^= 1
        folder.last.write_bytes(content)
        past = ResumePoint.find(folder)
        assert (past.checkpoint, past.step) == (folder.previous, 3)
        assert "last.ckpt: this is no checkpoint, or it is damaged" in past.notes[0]
        shutil.copy(finished.last, folder.last)
        past = ResumePoint.find(folder)
        assert (past.checkpoint, past.step) == (folder.previous, 3)
        assert "last.ckpt: it is of another run (seed: 0 -> 1, " in past.notes[0]
        folder.previous.write_bytes(b"")
        with pytest.raises(DataError, match="it has no checkpoint to go on from; start anew"):
            train(f"resume={folder.path}", *EPOCH, "trainer.max_steps=5")

    @given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
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
