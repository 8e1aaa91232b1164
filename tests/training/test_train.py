"""Trainings from their words to their folder, end to end on tiny images."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import TINY, TINY_STACK, Said, summary, table
from run_folders import FIVE, TWO, check_folder

from unet_exp.checkpoints.opening import open_checkpoint
from unet_exp.errors import ConfigError, DataError, TrainingError
from unet_exp.inference.predictor import Predictor
from unet_exp.network import build
from unet_exp.runs.run_folder import RunFolder
from unet_exp.training import prepare
from unet_exp.training.callbacks import TimeLimit
from unet_exp.training.fine_tuning import load_initial_weights
from unet_exp.training.module import SegmentationModule
from unet_exp.training.profilers import explain_profile

Train = Callable[..., RunFolder]
Cli = Callable[..., Said]


def weights(folder: RunFolder) -> dict[str, torch.Tensor]:
    return open_checkpoint(folder.last).weights


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def rates(folder: RunFolder) -> list[float]:
    return [float(row["lr"]) for row in table(folder.metrics)]


def no_run_in(place: Path) -> bool:
    return not (place / "out").exists()


@pytest.mark.parametrize(
    ("model", "fusion", "words"),
    # Each option once: what they do together is tested beside the network.
    [
        ("valid", "concat", "model.norm=batch model.upsample=bilinear"),
        ("same", "add", "model.norm=instance"),
        ("pad", "none", "model.norm=group"),
        ("release", "concat", ""),
    ],
)
def test_every_network_trains_and_leaves_a_whole_folder(train: Train, model: str, fusion: str, words: str) -> None:
    folder = train(f"model={model}", f"fusion={fusion}", *words.split())
    assert folder.path.name.endswith(f"_synthetic_{model}_{fusion}")
    check_folder(folder)


@pytest.mark.parametrize(
    ("words", "classes", "out_channels"),
    [
        (["loss=bce"], TWO, 1),
        (["loss=bce", "data.organelles=true"], FIVE, 5),
        (["loss=cross_entropy", "data.organelles=true"], FIVE, 5),
    ],
)
def test_losses_and_classes(train: Train, words: list[str], classes: tuple[str, ...], out_channels: int) -> None:
    folder = train(*words)
    check_folder(folder, classes)
    assert weights(folder)["head.weight"].shape[0] == out_channels


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        # Two epochs of two steps; the table holds the rate that the next step would take.
        ("optimizer=sgd scheduler=none scheduler.warmup_steps=3", [0.75, 1.0]),
        ("optimizer=adam scheduler=poly scheduler.power=1", [0.5, 0.0]),
        ("optimizer=adamw scheduler=cosine scheduler.final=0.2", [0.6, 0.2]),
        ("optimizer=rmsprop scheduler=one_cycle scheduler.warmup_steps=2 scheduler.final=0.1", [1.0, 0.1]),
    ],
)
def test_optimizers_and_schedules(train: Train, words: str, expected: list[float]) -> None:
    folder = train(*words.split(), "optimizer.lr=0.001", "trainer.max_steps=4")
    assert rates(folder) == pytest.approx([0.001 * factor for factor in expected], abs=1e-9)
    check_folder(folder)


def test_plateau_lowers_the_rate_where_the_score_stands_still(train: Train) -> None:
    # Steps so short that the score cannot move.
    folder = train(
        "scheduler=plateau", "scheduler.patience=1", "scheduler.factor=0.5", "optimizer=sgd", "optimizer.lr=0.1",
        "trainer.clip_norm=1e-12", "trainer.max_steps=8", "model=same",
    )  # fmt: skip
    assert len({row["val/iou/mean"] for row in table(folder.metrics)}) == 1
    # The third score is the second without improvement; the epoch after it is slower.
    assert rates(folder) == pytest.approx([0.1, 0.1, 0.1, 0.05])


def test_accumulation_clipping_and_the_moving_average(train: Train) -> None:
    folder = train(
        "trainer.accumulate=2", "trainer.clip_norm=1e-3", "trainer.ema_decay=0.5", "optimizer=sgd",
        "optimizer.momentum=0", "optimizer.lr=1", "model=same",
    )  # fmt: skip
    check_folder(folder)
    # Two batches a step and two batches an epoch.
    assert (summary(folder)["steps"], summary(folder)["epochs"]) == (2, 2)
    content = torch.load(folder.last, weights_only=True)
    averaged, raw = content["state_dict"], content["current_model_state"]
    assert averaged.keys() == raw.keys()
    assert not equal(averaged, raw)
    # The average lags behind two steps, none of them longer than 1e-3.
    way = sum((raw[name] - averaged[name]).double().square().sum().item() for name in raw) ** 0.5
    assert 0 < way <= 2.001e-3
    assert equal(weights(folder), {name.removeprefix("network."): value for name, value in averaged.items()})


def test_early_stopping(train: Train) -> None:
    folder = train("trainer.early_stopping=2", "optimizer.lr=1e-12", "trainer.max_steps=null", "trainer.max_epochs=20")
    assert len(table(folder.metrics)) == 3
    check_folder(folder)


def test_the_last_epoch_is_validated_though_cut_short(train: Train) -> None:
    folder = train("trainer.max_steps=5", "trainer.val_every_epochs=2")
    check_folder(folder)
    rows = table(folder.metrics)
    assert [(row["step"], bool(row["val/loss"])) for row in rows] == [("2", False), ("4", True), ("5", True)]


def test_max_epochs(train: Train) -> None:
    folder = train("trainer.max_steps=null", "trainer.max_epochs=2")
    assert (summary(folder)["steps"], summary(folder)["epochs"]) == (4, 2)


@pytest.mark.slow
def test_max_time_stops_and_still_validates(train: Train) -> None:
    start = time.monotonic()
    folder = train("trainer.max_steps=null", "trainer.max_time=1")
    assert time.monotonic() - start < 20
    assert summary(folder)["steps"] > 2
    check_folder(folder)


def test_max_time_counts_validations_and_neither_setup_nor_test(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine, passed = time.monotonic, [0.0]

    def lasting(owner: Any, name: str, seconds: float) -> None:
        function = getattr(owner, name)

        def called(*arguments: Any, **words: Any) -> Any:
            passed[0] += seconds
            return function(*arguments, **words)

        monkeypatch.setattr(owner, name, called)

    monkeypatch.setattr(time, "monotonic", lambda: genuine() + passed[0])
    lasting(prepare, "_build_module", 1000)
    lasting(SegmentationModule, "validation_step", 200)
    lasting(Predictor, "score", 3000)
    words = ("trainer.max_steps=null", "trainer.max_time=5m", "output=out")
    said = cli("train", *TINY, *words)
    told = summary(RunFolder(said.folder))
    # Two steps and a validation an epoch; the time is over after the second, seen after the next step, then validated.
    assert told["steps"] == 5
    assert told["seconds_setup"] == pytest.approx(1000, abs=50)
    assert told["seconds_training"] == pytest.approx(600, abs=50)
    assert told["seconds_test"] == pytest.approx(6000, abs=50)  # of validation and test images
    assert told["seconds"] == pytest.approx(7600, abs=100)
    seconds = [f"{told[f'seconds_{part}']:.0f} s" for part in ("training", "setup", "test")]
    assert (told["ended_by"], told["planned_steps"]) == ("trainer.max_time", None)
    assert said.out.splitlines()[-2] == (
        "ended by trainer.max_time at step 5, after {} with validations (setup {}, test {}); everything is in"
    ).format(*seconds)


def test_a_training_that_the_time_ends_says_so(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TimeLimit, "time_elapsed", lambda *_: 1000.0)
    said = cli("train", *TINY, "trainer.max_steps=300", "trainer.max_time=5m", "output=out")
    told, folder = summary(RunFolder(said.folder)), RunFolder(said.folder)
    assert (told["status"], told["ended_by"], told["planned_steps"], told["steps"]) == (
        *("finished", "trainer.max_time"),
        *(300, 1),
    )
    assert said.out.splitlines()[-2].startswith("ended by trainer.max_time at step 1 of 300, after ")
    assert "Ended by trainer.max_time at step 1 of 300 in 1 epoch" in folder.page.read_text()


def test_a_training_that_the_time_does_not_end_says_nothing_of_it(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TimeLimit, "time_elapsed", lambda *_: 1000.0)
    said = cli("train", *TINY, "trainer.max_steps=1", "trainer.max_time=5m", "output=out")
    assert "ended_by" not in summary(RunFolder(said.folder))
    assert said.out.splitlines()[-2].startswith("1 step in ")


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("model=same", "fusion=add", "model.depth=1"),
        ("model=pad", "model.depth=3", "model.deep_supervision=true"),
    ],
    ids=["plain", "deeply supervised"],
)
def test_compiled(train: Train, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    if "model.deep_supervision=true" in words:  # traced alike, and not turned into code, which takes most of the time
        monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    compiled = train(*words, "trainer.compile=true")
    check_folder(compiled)
    plain = train(*words)
    for name, value in weights(plain).items():
        torch.testing.assert_close(weights(compiled)[name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_two_processes_share_a_training_and_its_folder(tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "scripts" / "train.py"  # the second process is started by this path
    words = [*TINY, "output=out", "logger=wandb", "trainer.devices=2", "trainer.max_steps=4"]
    done = subprocess.run(
        [sys.executable, str(script), *words], cwd=tmp_path, capture_output=True, text=True, timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "out" / "train").iterdir()
    told = summary(RunFolder(path))
    assert (told["status"], told["steps"]) == ("finished", 4)
    assert len(list(path.glob("wandb/offline-run-*"))) == 1


def test_bfloat16_on_a_cpu(train: Train) -> None:
    folder = train("trainer.precision=bf16-mixed")
    check_folder(folder)
    assert summary(folder)["precision"] == "bf16-mixed"
    assert weights(folder)["head.weight"].dtype == torch.float32


def test_balanced_weights_and_normalization_by_the_data_set_are_kept_in_the_checkpoint(train: Train) -> None:
    from unet_exp.data.sets.synthetic import generate

    folder = train("loss.class_weights=inverse", "data.normalization=dataset")
    check_folder(folder)
    made = [generate(64, 64, 0, index) for index in range(2)]
    images, labels = np.stack([item.image for item in made]) / 255, np.stack([item.label for item in made])
    checkpoint = open_checkpoint(folder.best)
    assert checkpoint.record.class_weights == pytest.approx([0.5 / (labels == 0).mean(), 0.5 / (labels == 1).mean()])
    assert checkpoint.record.normalization.mean == pytest.approx((images.mean(),), rel=1e-5)
    assert checkpoint.record.normalization.std == pytest.approx((images.std(),), rel=1e-5)
    assert yaml.safe_load(folder.config.read_text())["loss"]["class_weights"] == "inverse"


def test_folds_of_generated_images(train: Train) -> None:
    split = summary(train("data.folds=4", "data.fold=3"))["split"]
    assert split["test"] == ["synthetic_003"]
    assert split["val"] == ["synthetic_000"]
    assert split["train"] == ["synthetic_001", "synthetic_002"]


class TestDebug:
    """The debug words."""

    def test_fast(self, train: Train) -> None:
        base = [word for word in TINY if not word.startswith(("trainer.max", "data.val", "data.test"))]
        folder = train("debug=fast", "data.val_images=3", "data.test_images=4", base=base)
        check_folder(folder, tests=2)
        told = summary(folder)
        assert (told["steps"], len(told["split"]["val"])) == (2, 2)

    @pytest.mark.slow
    def test_overfit_learns(self, cli: Cli) -> None:
        base = [word for word in TINY if not word.startswith("trainer.max")]
        said = cli(
            "train", *base, "output=out", "debug=overfit", "model=same", "model.norm=batch", "model.width=8",
            "optimizer.lr=0.02", "data.tile=16", "data.batch_size=1",
        )  # fmt: skip
        folder = RunFolder(said.folder)
        verdict = summary(folder)["overfit"]
        assert verdict["fell"]
        assert verdict["last"] < 0.1 * verdict["first"]
        assert f"overfitting one batch: the loss went from {verdict['first']:.4f}" in said.out
        assert summary(folder)["steps"] == 200

    def test_overfit_says_that_nothing_is_learnt(self, cli: Cli, tmp_path: Path) -> None:
        said = cli("train", *TINY, "output=out", "debug=overfit", "optimizer.lr=1e-9", "trainer.max_steps=4")
        assert "the loss went from" in said.mistake
        assert "it should fall below a tenth: look at predictions/, optimizer.lr" in said.mistake
        (folder,) = (tmp_path / "out" / "train").iterdir()
        told = summary(RunFolder(folder))
        assert (told["status"], said.code) == ("failed", 2)
        assert "the loss went from" in told["error"]

    @pytest.mark.slow
    def test_profile(self, train: Train) -> None:
        base = [word for word in TINY if not word.startswith("trainer.max")]
        folder = train("debug=profile", "model=same", base=base)
        check_folder(folder)
        names = {path.name for path in folder.path.iterdir() if "profile" in path.name}
        assert names == {"profile.txt", "profile_training.json"}
        assert (folder.path / "profile.txt").stat().st_size > 1000
        assert str(explain_profile(folder)).endswith(
            "profile_training.json: a timeline, open it in https://ui.perfetto.dev"
        )


class TestInitFrom:
    """Fine-tuning from a checkpoint."""

    def test_the_same_classes_take_every_weight(self, finished: RunFolder) -> None:
        checkpoint = open_checkpoint(finished.best)
        network = build(checkpoint.config, 1, 2)
        assert not equal(network.state_dict(), checkpoint.weights)
        assert load_initial_weights(network, checkpoint) == []
        assert equal(network.state_dict(), checkpoint.weights)

    def test_another_number_of_classes_starts_with_a_fresh_head(self, finished: RunFolder) -> None:
        checkpoint = open_checkpoint(finished.best)
        network = build(checkpoint.config, 1, 5)
        head = network.head.weight.clone()
        fresh = load_initial_weights(network, checkpoint)
        assert set(fresh) == {"head.weight", "head.bias"}
        assert torch.equal(network.head.weight, head)
        taken = {name: value for name, value in network.state_dict().items() if name not in fresh}
        assert all(torch.equal(value, checkpoint.weights[name]) for name, value in taken.items())

    def test_a_training_goes_on_from_it(self, cli: Cli, finished: RunFolder) -> None:
        # So small a rate that the weights stay where they began.
        words = [*TINY, "model=same", "output=out", "optimizer.lr=1e-12"]
        said = cli("train", *words, f"init_from={finished.best}")
        start, end = open_checkpoint(finished.best).weights, weights(RunFolder(said.folder))
        for name in start:
            torch.testing.assert_close(end[name], start[name], rtol=0, atol=1e-9)
        said = cli("train", *words, f"init_from={finished.path}", "data.organelles=true")
        assert "another number of classes, so head.weight, head.bias start fresh" in said.out
        check_folder(RunFolder(said.folder), FIVE)

    @pytest.mark.parametrize("word", ["model.width=5", "model.depth=3", "fusion=add", "model.norm=batch"])
    def test_another_network_is_refused(self, train: Train, finished: RunFolder, tmp_path: Path, word: str) -> None:
        with pytest.raises(ConfigError, match=r"its network differs: .* there and .* here; set model, fusion"):
            train("model=same", f"init_from={finished.best}", word)
        assert no_run_in(tmp_path)

    def test_a_missing_checkpoint(self, cli: Cli, tmp_path: Path) -> None:
        said = cli("train", *TINY, "output=out", "init_from=none.ckpt")
        assert "none.ckpt: there is no such file" in said.mistake
        assert no_run_in(tmp_path)


class TestMistakes:
    """What is found before there is a folder."""

    @pytest.mark.parametrize(
        ("words", "part"),
        [
            ("trainer.monitor=val/iou/nucleus", "trainer.monitor=val/iou/nucleus: there is no such score; choose"),
            ("trainer.monitor=train/loss", "trainer.monitor=train/loss: there is no such score; choose one of val/"),
            ("loss.class_weights=[1,1,1]", "loss.class_weights=[1.0, 1.0, 1.0]: the classes are 2 (membrane, cell)"),
            ("loss.class_weights=[1,2] data.organelles=true", "the classes are 5 (membrane, cytoplasm"),
            ("model.width=65536", "model.width=65536 model.depth=2: 420,908,105,730 parameters"),
            ("data.folds=9", "data.folds=9 is more than the 4 images"),
            ("trainer.accelerator=mps", "trainer.accelerator=mps: PyTorch finds none here; take auto or cpu"),
            pytest.param(
                "trainer.accelerator=gpu",
                "trainer.accelerator=gpu: PyTorch finds none here; take auto or cpu",
                marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is one"),
            ),
        ],
    )
    def test_one_line_and_no_folder(self, cli: Cli, tmp_path: Path, words: str, part: str) -> None:
        said = cli("train", *TINY, "output=out", *words.split())
        assert part in said.mistake
        assert no_run_in(tmp_path)

    def test_missing_data(self, cli: Cli, tmp_path: Path) -> None:
        said = cli("train", *TINY_STACK, "output=out", "data=isbi2012", "data.root=nowhere", "data.download=false")
        assert said.mistake.startswith("data.root=nowhere: there are no data; check the path, which needs train/image")
        assert no_run_in(tmp_path)

    def test_an_output_that_is_a_file(self, cli: Cli, tmp_path: Path) -> None:
        (tmp_path / "out").write_text("")
        assert "out" in cli("train", *TINY, "output=out").mistake


def test_a_loss_that_is_not_finite_stops_the_training(cli: Cli, tmp_path: Path) -> None:
    said = cli("train", *TINY, "output=out", "optimizer=sgd", "optimizer.lr=1e30", "trainer.max_steps=20")
    assert "the training loss is nan at step 1 (learning rate 1e+30)" in said.mistake
    assert "try a smaller optimizer.lr" in said.mistake
    (path,) = (tmp_path / "out" / "train").iterdir()
    told = summary(RunFolder(path))
    assert (told["status"], told["metrics"]) == ("failed", {})
    assert "TrainingError: the training loss is nan at step 1" in told["error"]


def test_a_bug_keeps_its_traceback_and_the_summary_says_failed(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(SegmentationModule, "validation_step", broken)
    with pytest.raises(ZeroDivisionError):
        train()
    (path,) = (tmp_path / "out" / "train").iterdir()
    assert summary(RunFolder(path))["status"] == "failed"
    assert summary(RunFolder(path))["error"] == "ZeroDivisionError: a bug"


@pytest.mark.slow
def test_equal_runs_are_equal_to_the_bit_for_any_number_of_workers(train: Train) -> None:
    words = "model=release", "trainer.max_steps=6", "optimizer.lr=0.01"  # release: its dropout draws too
    one, workers, other = train(*words), train(*words, "data.num_workers=2"), train(*words, "seed=1")

    def rows(folder: RunFolder) -> list[dict[str, str]]:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in table(folder.metrics)]

    assert equal(weights(workers), weights(one))
    assert rows(workers) == rows(one)
    assert workers.per_image.read_text() == one.per_image.read_text()
    assert summary(workers)["metrics"] == summary(one)["metrics"]
    assert summary(workers)["data_fingerprint"] == summary(one)["data_fingerprint"]
    assert not equal(weights(other), weights(one))
    assert summary(other)["data_fingerprint"] == summary(one)["data_fingerprint"]
    assert len({folder.path for folder in (one, workers, other)}) == 3


def test_the_data_seed_changes_the_images_alone(train: Train, finished: RunFolder) -> None:
    folder = train("model=same", "seed=1", "data.seed=1")
    assert summary(folder)["data_fingerprint"] != summary(finished)["data_fingerprint"]


def test_training_learns(train: Train) -> None:
    folder = train(
        "model=same", "model.norm=batch", "model.width=8", "optimizer.lr=0.01", "trainer.max_steps=24",
        "trainer.val_every_epochs=3",
    )  # fmt: skip
    rows = table(folder.metrics)
    assert float(rows[-1]["train/loss"]) < 0.8 * float(rows[0]["train/loss"])
    # The best epoch is the one of the best score, and the test is made with it.
    scores = {int(row["step"]): float(row["val/iou/mean"]) for row in rows if row["val/iou/mean"]}
    assert open_checkpoint(folder.best).step == max(scores, key=lambda step: scores[step])


def test_the_best_epoch_by_the_loss_is_the_smallest(train: Train) -> None:
    folder = train("model=same", "trainer.monitor=val/loss", "optimizer.lr=0.3", "trainer.max_steps=8")
    losses = {int(row["step"]): float(row["val/loss"]) for row in table(folder.metrics)}
    assert all(one != other for one, other in pairwise(losses.values()))
    assert open_checkpoint(folder.best).step == min(losses, key=lambda step: losses[step])


class TestFiles:
    """A stack in ISBI-2012's layout."""

    def test_all_slices_with_unlabelled_ones(self, train: Train, isbi_folder: Callable[..., Path]) -> None:
        root = isbi_folder(count=3, tests=2)
        folder = train("data=isbi2012", f"data.root={root}", "data.split=all", "data.tile=32", base=TINY_STACK)
        check_folder(folder, tests=0, unlabelled=2, seg=False)
        told = summary(folder)
        assert told["split"]["test"] == []
        assert told["split"]["unlabelled"] == ["test_00", "test_01"]
        assert len(told["split"]["train"]) == 3

    @pytest.mark.slow
    def test_folds(self, train: Train, isbi_folder: Callable[..., Path]) -> None:
        words = "data=isbi2012", f"data.root={isbi_folder(count=7, tests=0)}", "data.tile=32"
        tested = []
        for fold in (0, 2):
            folder = train(*words, "data.folds=3", f"data.fold={fold}", base=TINY_STACK)
            split = summary(folder)["split"]
            check_folder(folder, tests=len(split["test"]), seg=False)
            assert not {*split["train"]} & {*split["test"]} | {*split["val"]} & {*split["test"]}
            tested.append(split["test"])
        assert tested == [["train_00", "train_01", "train_02"], ["train_05", "train_06"]]

    def test_fewer_slices_than_the_standard_split(self, train: Train, isbi_folder: Callable[..., Path]) -> None:
        with pytest.raises(ConfigError, match=r"needs 30 labelled slices and there are 3: set data\.folds"):
            train("data=isbi2012", f"data.root={isbi_folder(count=3, tests=0)}", base=TINY_STACK)

    def test_a_broken_slice_is_named(self, train: Train, isbi_folder: Callable[..., Path], tmp_path: Path) -> None:
        root = isbi_folder(count=3, tests=0)
        (root / "train/label/1.png").write_bytes(b"no image")
        with pytest.raises(DataError, match=r"label/1\.png: is not a PNG"):
            train("data=isbi2012", f"data.root={root}", "data.split=all", base=TINY_STACK)
        assert no_run_in(tmp_path)

    @pytest.mark.slow
    def test_real_data(self, train: Train, isbi2012_root: Path) -> None:
        folder = train(
            "data=isbi2012", f"data.root={isbi2012_root}", "data.tile=64", "model=same", "debug=fast", base=TINY_STACK
        )
        check_folder(folder, tests=2, unlabelled=2, seg=False)


class TestLoggers:
    """Loggers beside the CSV, which is always there."""

    @pytest.mark.slow
    def test_offline_wandb(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:

        import wandb

        monkeypatch.setenv("WANDB_MODE", "offline")
        wandb.teardown()
        said = cli(
            "train", *TINY, "output=out", "model=same", "logger=wandb", "logger.tags=[tiny]", "logger.group=tests",
            "logger.images_every_epochs=1", "logger.log_checkpoint=true",
        )  # fmt: skip
        wandb.teardown()
        folder = RunFolder(said.folder)
        check_folder(folder)
        (run,) = (folder.path / "wandb").glob("offline-run-*")
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", "--summary", str(run)]
        told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        config = {key: value for key, value in told["config"].items() if not key.startswith("_")}
        assert config == yaml.safe_load(folder.config.read_text())
        assert told["exit_code"] == 0
        for name, value in summary(folder)["metrics"].items():
            assert told["summary"][name] == pytest.approx(value)
        row = table(folder.metrics)[-1]
        assert told["summary"]["val/loss"] == pytest.approx(float(row["val/loss"]))
        assert told["summary"]["train/loss"] == pytest.approx(float(row["train/loss"]))
        assert any(key.startswith("predictions/") for key in told["summary"])

    def test_tensorboard(self, train: Train) -> None:
        events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
        folder = train("logger=tensorboard", "logger.images_every_epochs=1", "model=same")
        check_folder(folder)
        found = events.EventAccumulator(str(folder.path / "tensorboard"))
        found.Reload()
        scalars = found.Tags()["scalars"]
        assert {"train/loss", "val/loss", "val/iou/mean", "test/iou/mean"} <= set(scalars)
        (value,) = found.Scalars("test/iou/mean")
        assert value.value == pytest.approx(summary(folder)["metrics"]["test/iou/mean"])
        assert found.Tags()["images"]


def test_a_score_that_validation_cannot_give_is_no_monitor(cli: Cli, tmp_path: Path) -> None:
    words = [*TINY, "data.organelles=true", "data.height=32", "data.width=32", "output=out"]
    said = cli("train", *words, "trainer.monitor=val/iou/granule")
    assert "trainer.monitor=val/iou/granule: no validation image shows this class" in said.mistake
    assert no_run_in(tmp_path)


def test_what_was_typed_is_in_the_summary(cli: Cli) -> None:
    words = [*TINY, "output=out", "name=mine", "model=same"]
    said = cli("train", *words)
    assert said.folder.name.endswith("_mine")
    assert summary(RunFolder(said.folder))["overrides"] == words
    assert "IoU" in said.out
    assert said.err == ""


def test_training_error_is_what_the_python_api_raises(train: Train) -> None:
    with pytest.raises(TrainingError, match="the training loss is nan at step 1"):
        train("optimizer=sgd", "optimizer.lr=1e30", "trainer.max_steps=20")
