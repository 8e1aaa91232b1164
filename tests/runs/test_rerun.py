"""A run that is repeated comes to the same numbers, and one that does not is told."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import TINY, Said, run_training, summary, table

from unet_exp.checkpoints.opening import open_checkpoint
from unet_exp.errors import TrainingError
from unet_exp.files import hold_lock
from unet_exp.inference.predictor import Predictor
from unet_exp.runs.differences import RerunReport, compare_numbers
from unet_exp.runs.run_folder import RunFolder

Cli = Callable[..., Said]

EARLIER = {
    "dropout, workers": "model=release augmentation=paper data.num_workers=2 data.tiles_per_epoch=10",
    "averaged, bf16, accumulated": "model=same model.norm=batch loss=border_weighted trainer.ema_decay=0.9 "
    "trainer.precision=bf16-mixed trainer.accumulate=2 scheduler=cosine",
    "another loss, a fold": "loss=dice augmentation=none data.folds=4 data.fold=1 seed=3 trainer.max_time=1h",
}


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], RunFolder]:
    """`earlier(name)` is a run with these settings; read it, do not change it."""

    @cache
    def run(name: str) -> RunFolder:
        return run_training(tmp_path_factory.mktemp("earlier"), *EARLIER[name].split())  # type: ignore[no-any-return]

    return run


@pytest.fixture
def other(finished: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy of a finished run; a test changes what it likes."""
    return RunFolder(Path(shutil.copytree(finished.path, tmp_path / "earlier")))


def weights_in(path: Path) -> dict[str, Any]:
    return {name: value.numpy() for name, value in open_checkpoint(path).weights.items()}


def told(folder: RunFolder, **changes: Any) -> None:
    """Changes what a run's summary tells."""
    folder.summary.write_text(json.dumps({**summary(folder), **changes}))


def edited(path: Path, column: str, value: str) -> str:
    """Writes another value into a column of a table's last row; returns what was there."""
    header, *rows = path.read_text().splitlines()
    cells, at = rows[-1].split(","), header.split(",").index(column)
    before, cells[at] = cells[at], value
    path.write_text("\n".join([header, *rows[:-1], ",".join(cells)]) + "\n")
    return before


@contextmanager
def undone(path: Path) -> Iterator[None]:
    """Gives a file its content back."""
    content = path.read_bytes()
    yield
    path.write_bytes(content)


class TestEqual:
    @pytest.mark.slow
    @pytest.mark.parametrize("name", EARLIER)
    def test_a_repeated_run_has_the_same_numbers(self, cli: Cli, earlier: Any, name: str, tmp_path: Path) -> None:
        before = earlier(name)
        said = cli("train", f"rerun={before.path}", f"output={tmp_path}/out", "name=again")
        assert said.code == 0
        (path,) = (tmp_path / "out" / "train").iterdir()
        after, now, then = RunFolder(path), summary(RunFolder(path)), summary(before)
        assert path.name.endswith("_again")
        for key in ("status", "metrics", "best", "steps", "epochs", "precision", "fold"):
            assert now[key] == then[key]
        for one, same in zip(table(before.metrics), table(after.metrics), strict=True):
            assert {**one, "seconds": ""} == {**same, "seconds": ""}
        assert before.per_image.read_bytes() == after.per_image.read_bytes()
        weights = [torch.load(run.best)["state_dict"] for run in (before, after)]
        assert all(torch.equal(*pair) for pair in zip(*(values.values() for values in weights), strict=True))

        count = now["rerun"]["numbers"]
        assert said.out.splitlines()[-1] == f"equal: all {count:,} numbers are those of {before.path}"
        assert count > then["parameters"] + len(then["metrics"])
        verdict = {key: now["rerun"][key] for key in ("of", "equal", "differing", "differences", "not_compared")}
        assert verdict == {
            "of": str(before.path), "equal": True, "differing": 0, "differences": [], "not_compared": []
        }  # fmt: skip
        assert ("the clock may end it elsewhere" in said.out) == ("max_time" in EARLIER[name])
        # It tells its own story: how it can be typed, and nothing of what was done with it.
        assert now["overrides"] == [*then["overrides"], f"output={tmp_path}/out", "name=again"]
        assert not {"rerun", "resume"} & yaml.safe_load(after.config.read_text()).keys()

    @pytest.mark.slow
    def test_the_whole_command_may_be_typed_again(self, cli: Cli, earlier: Any, tmp_path: Path) -> None:
        name = "another loss, a fold"
        words = [*TINY, *EARLIER[name].split(), f"output={tmp_path}/out", f"rerun={earlier(name).path}"]
        assert "equal: all" in cli("train", *words, "debug=none").out


class TestDifferent:
    def test_the_first_and_the_largest_difference_are_told(self, cli: Cli, other: RunFolder, tmp_path: Path) -> None:
        then = edited(other.metrics, "val/loss", "0.5")
        told(other, steps=5, threads=None, git={"commit": "a" * 40, "changed": False}, device="cuda")
        told(other, versions={**summary(other)["versions"], "torch": "1.0"})
        other.per_threshold.unlink()
        said = cli("train", f"rerun={other.path}", f"output={tmp_path}/out")
        assert said.code == 1
        (path,) = (tmp_path / "out" / "train").iterdir()
        verdict = summary(RunFolder(path))["rerun"]
        assert (verdict["equal"], verdict["differing"], verdict["not_compared"]) == (False, 2, ["per_threshold.csv"])
        assert verdict["differences"] == [
            {"number": "metrics.csv, epoch 2: val/loss", "then": 0.5, "now": float(then)},
            {"number": "steps", "then": 5, "now": 6},
        ]
        assert f"not equal: 2 of {verdict['numbers']:,} numbers are not those of {other.path}" in said.out
        rows = [line.strip("│").split("│") for line in said.out.splitlines()]
        cells = {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows}
        assert cells["number"] == ["metrics.csv, epoch 2: val/loss", "steps"]
        assert (cells["then"], cells["now"]) == (["0.5", "5"], [then, "6"])
        assert cells["apart"] == [f"{abs(float(then) - 0.5):.3g}", "1"]
        for note in (
            "code: commit aaaaaaaaa then, ",
            f"torch: 1.0 then, {torch.__version__.partition('+')[0]}",
            "device: cuda then, cpu now",
            "threads (OMP_NUM_THREADS): unknown then, 1 now",
        ):
            assert any(one.startswith(note) for one in verdict["notes"]), note
            assert said.out.count(f"note: {note}") == 2  # before and after

    def test_one_number_changed_anywhere_is_found(self, finished: RunFolder, other: RunFolder) -> None:
        def found() -> RerunReport:
            return compare_numbers(other, finished, weights_in)

        def names() -> list[str]:
            return [one.number for one in found().differences]

        assert (found().equal, names(), found().lost) == (True, [], [])
        with undone(other.metrics):
            edited(other.metrics, "seconds", "1e9")
            assert found().equal
            edited(other.metrics, "lr", "nan")
            assert names() == ["metrics.csv, epoch 2: lr"]
            edited(other.metrics, "epoch", "7")
            assert {name.split(":")[0] for name in names()} == {"metrics.csv, epoch 2", "metrics.csv, epoch 7"}
        with undone(other.per_image):
            edited(other.per_image, "dice/cell", "")
            assert names() == ["per_image.csv, image synthetic_003: dice/cell"]
        with undone(other.per_threshold):
            edited(other.per_threshold, "v_rand", "2")
            assert names() == ["per_threshold.csv, image synthetic_003, threshold 1.0: v_rand"]
        with undone(other.summary):
            told(other, metrics={**summary(other)["metrics"], "test/iou/cell": None}, best=None)
            assert names() == ["best val/iou/mean", "test/iou/cell"]

    def test_one_weight_changed_is_found(self, finished: RunFolder, other: RunFolder) -> None:
        content = torch.load(other.best)
        weight = content["state_dict"]["network.head.weight"]
        weight[1, 2, 0, 0] += 1e-6
        weight[0, 0, 0, 0] += 1e-3
        torch.save(content, other.best)
        found = compare_numbers(other, finished, weights_in)
        assert found.differing == 2
        (one,) = found.differences
        assert one.number == "best.ckpt, head.weight[0, 0, 0, 0]"
        assert one.size == pytest.approx(1e-3, rel=1e-3)
        weight[:] = torch.nan
        torch.save(content, other.best)
        assert compare_numbers(other, other, weights_in).equal
        assert compare_numbers(other, finished, weights_in).differing == weight.numel()
        other.best.unlink()
        assert compare_numbers(other, finished, weights_in).lost == ["best.ckpt"]


@pytest.mark.slow
def test_a_repetition_that_is_broken_off_is_compared_when_it_has_gone_on(
    cli: Cli, finished: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise TrainingError("broken off")

    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "score", broken)
        assert cli("train", f"rerun={finished.path}", f"output={tmp_path}/out").mistake == "broken off"
    (path,) = (tmp_path / "out" / "train").iterdir()
    said = cli("train", f"resume={path}")
    assert said.out.splitlines()[-1].startswith("equal: all ")
    assert summary(RunFolder(path))["rerun"]["equal"]


@pytest.mark.slow
def test_the_conditions_of_a_run_are_recorded_and_threads_and_layouts_are_taken_again(
    cli: Cli, finished: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "AVX2")
    words = [*TINY, "trainer.max_steps=1", "model=same", f"init_from={finished.path}", "output=out"]
    path = cli("train", *words).folder
    now = summary(RunFolder(path))
    assert (now["threads"], now["processes"]) == (1, 1)
    assert now["init_from_sha256"] == hashlib.sha256(finished.best.read_bytes()).hexdigest()
    assert now["layouts"] == {"training": "contiguous", "prediction": "channels_last"}
    other = {"training": "channels_last", "prediction": "contiguous"}  # as another version might have chosen
    told(RunFolder(path), threads=3, layouts=other)
    moved = shutil.copy(finished.best, tmp_path / "moved.ckpt")
    said = cli("train", f"rerun={path}", f"init_from={moved}", "name=again", "output=out")
    assert not [line for line in said.out.splitlines() if "threads" in line and not line.startswith("device ")]
    (again,) = (tmp_path / "out" / "train").glob("*_again")
    assert summary(RunFolder(again))["threads"] == 3
    assert summary(RunFolder(again))["layouts"] == other
    told(RunFolder(path), threads=2, status="failed")
    assert cli("train", f"resume={path}").code == 0
    assert (summary(RunFolder(path))["threads"], summary(RunFolder(path))["layouts"]) == (2, other)


class TestRefused:
    """Before anything is trained or made."""

    @pytest.fixture
    def mistake(self, cli: Cli, other: RunFolder, tmp_path: Path) -> Iterator[Callable[..., str]]:
        def told_in(*words: str) -> str:
            return cli("train", f"rerun={other.path}", *words).mistake.removeprefix(f"rerun={other.path}: ")

        yield told_in
        assert not (tmp_path / "outputs").exists()

    def test_what_would_change_the_numbers(self, mistake: Callable[..., str]) -> None:
        changed = "what is typed would change its numbers: "
        assert mistake("seed=3", "optimizer.lr=1").startswith(
            f"{changed}seed: 1 -> 3, optimizer.lr: 0.001 -> 1.0; leave"
        )
        assert mistake("debug=fast").startswith(changed)
        assert "unknown key optimizer.rate" in mistake("optimizer.rate=1")
        assert mistake("trainer.precision=bf16-mixed").startswith("its precision on cpu was 32 and would be bf16-mixed")

    def test_what_is_not_one_run(self, cli: Cli, mistake: Callable[..., str], tmp_path: Path) -> None:
        assert mistake("seed=1,2", "-m").startswith("this repeats one training, without -m")
        assert mistake("search=optuna").startswith("this repeats one training, without -m")
        assert "type one of them" in mistake("resume=auto")
        assert "type one of them" in mistake(f"resume={tmp_path}/earlier")
        assert "sweep.resume goes on with the words of the sweep" in mistake("sweep.resume=x")
        for path in ("auto", "with=signs, and spaces", f"{tmp_path}/earlier/summary.json"):
            said = cli("train", f"rerun={path}").mistake
            assert said == f"rerun={path}: there is no such folder; give the folder of a run"
        said = cli("train", f"rerun={tmp_path}").mistake
        assert said == f"rerun={tmp_path}: there is no config.yaml in it that can be read; give the folder of a run"
        (tmp_path / "sweep.json").touch()
        assert cli("train", f"rerun={tmp_path}").mistake.endswith("give the folder of one of the runs in this sweep")

    def test_a_run_that_has_not_finished(self, mistake: Callable[..., str], other: RunFolder) -> None:
        for status in ("failed", "stopped", "running"):
            told(other, status=status)
            said = f"this run has not finished (status: {status}); resume={other.path} goes on with it"
            assert mistake().startswith(said)
        with hold_lock(other.lock):
            assert mistake() == "a process is still at this run; wait for its end"
        told(other, status="stopped", pruned_at=3)
        assert mistake().startswith("a search pruned this run")

    def test_a_summary_that_does_not_tell(self, mistake: Callable[..., str], other: RunFolder) -> None:
        told(other, steps="many")
        assert mistake() == f"{other.summary}: it is damaged: steps='many': should be a valid integer"
        told(other, steps=6, versions={"torch": 2})
        assert "versions.torch=2" in mistake()
        other.summary.write_text("[]")
        assert mistake().startswith("there is no summary.json in it that can be read")

    def test_other_data_or_another_precision(self, mistake: Callable[..., str], other: RunFolder) -> None:
        before = summary(other)
        told(other, data_fingerprint="0" * 64)
        assert mistake().startswith("the data are no longer those that it was trained on")
        told(other, **{**before, "precision": "bf16-mixed"})
        assert mistake().endswith("so the numbers would differ; add trainer.precision=bf16-mixed")
        told(other, precision="16-mixed", device="cuda")
        assert mistake().endswith("repeat it on a machine with a GPU")
        told(other, **before)
        other.best.write_bytes(b"no checkpoint")
        assert mistake().endswith("or it is damaged; without this file, the weights are not compared")

    def test_another_start(
        self, mistake: Callable[..., str], other: RunFolder, finished: RunFolder, tmp_path: Path
    ) -> None:
        values = yaml.safe_load(other.config.read_text())
        initial = tmp_path / "initial.ckpt"
        other.config.write_text(yaml.safe_dump({**values, "init_from": str(initial)}))
        assert mistake() == f"it started from init_from={initial}, which is gone; bring it back"
        shutil.copy(finished.last, initial)
        told(other, init_from_sha256=hashlib.sha256(finished.best.read_bytes()).hexdigest())
        assert mistake().startswith(f"init_from={initial} has changed since it started from it")
        initial.unlink()
        assert mistake().endswith("which is gone; bring it back, or give its new place with init_from=")
        told(other, precision="bf16-mixed")  # what is found next
        assert mistake(f"init_from={finished.path}").startswith("its precision on cpu")

    def test_a_class_of_somebody_elses(self, mistake: Callable[..., str], other: RunFolder) -> None:
        values = yaml.safe_load(other.config.read_text())
        values["loss"] = {"name": "custom", "target": "their_package.Loss", "params": None, "class_weights": None}
        other.config.write_text(yaml.safe_dump({**values, "trust": ["their_package"]}))
        assert mistake().endswith("whose code would run; if you trust it, add trust=[their_package]")
        assert "there is no module their_package" in mistake("trust=[their_package]")
