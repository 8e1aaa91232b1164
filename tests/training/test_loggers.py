"""All loggers keep one contract: opened, logged to, given pictures, finished, and never the end of a training."""

import logging
import os
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TINY, composed, summary, table
from numpy.typing import NDArray
from resuming import Train

from unet_exp.compose import compose_train
from unet_exp.config import ClassSpec, parse
from unet_exp.errors import ConfigError
from unet_exp.runs.run_folder import RunFolder
from unet_exp.samples.sample import Sample
from unet_exp.training.loggers import LOGGERS, Predictions, RunLogger, Start, TrainingLogger, open_logger

CLASSES = [ClassSpec(name=name, value=value, color=[value] * 3) for name, value in (("membrane", 0), ("cell", 255))]


class Toy(RunLogger):
    """Remembers what it is given; fails where it is told to."""

    title = "Toy"
    run_id = "toy-7"
    fails_at: tuple[str, ...] = ()
    opened: list["Toy"]

    def __init__(self, start: Start) -> None:
        self.start = start
        self.calls: list[tuple[str, Any]] = []

    @classmethod
    def open(cls, start: Start) -> "Toy":
        toy = cls(start)
        cls.opened.append(toy)
        toy._note("open", start)
        return toy

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        self._note("metrics", (step, dict(metrics)))

    def log_predictions(self, shown: Predictions) -> None:
        shapes = [(sample.name, label.shape) for sample, label in zip(shown.samples, shown.labels, strict=True)]
        self._note("pictures", (shown.step, shown.epoch, shapes, [spec.name for spec in shown.classes]))

    def log_pictures(self, pictures: Mapping[str, NDArray[np.uint8]], step: int) -> None:
        self._note("views", (step, {name: picture.shape for name, picture in pictures.items()}))

    def finish(self, metrics: Mapping[str, float], failed: bool) -> None:
        self._note("finish", (dict(metrics), failed))

    def _note(self, what: str, content: Any) -> None:
        self.calls.append((what, content))
        if what in self.fails_at:
            raise RuntimeError(f"no {what}\nand a second line")

    def of(self, what: str) -> list[Any]:
        return [content for kind, content in self.calls if kind == what]


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> type[Toy]:
    """Stands in the table in TensorBoard's place, so that configs can name it."""
    monkeypatch.setattr(Toy, "opened", [], raising=False)
    monkeypatch.setitem(LOGGERS, "tensorboard", Toy)
    return Toy


SLOW = pytest.param("mlflow", marks=pytest.mark.slow)  # making its database takes seconds


@pytest.fixture(params=["csv", "toy", SLOW, *(word for word in LOGGERS if word != "mlflow")])
def word(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Each logger's; W&B's is offline."""
    word: str = request.param
    if word in ("tensorboard", "mlflow"):
        pytest.importorskip(word)
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if word == "wandb":
        import wandb

        monkeypatch.setenv("WANDB_MODE", "offline")
        wandb.teardown()
    if word == "toy":
        request.getfixturevalue("toy")
        word = "tensorboard"
    yield word
    if word == "wandb":
        wandb.teardown()


def opened(folder: Path, word: str, run_ids: Mapping[str, str] | None = None, **resumed: Any) -> TrainingLogger:
    folder.mkdir(exist_ok=True)
    config = parse({**composed(*TINY, f"logger={word}"), "output": str(folder.parent)})
    return open_logger(Start(config, RunFolder(folder), **resumed), run_ids)


def give(logger: TrainingLogger, steps: int = 3) -> None:
    """Numbers and pictures, as a training sends them."""
    image = np.zeros((8, 6, 1), np.uint8)
    samples = [Sample("a b", image, np.ones((8, 6), np.uint8)), Sample("c", image.repeat(3, axis=2).astype(np.uint16))]
    logger.log_pictures({"a preview": np.zeros((8, 6, 3), np.uint8)}, 0)
    for step in range(steps):
        logger.log_metrics({"train/loss": 1 / (step + 1), "lr": 0.1}, step)
    logger.log_predictions(Predictions(steps, 1, samples, [np.zeros((8, 6), np.uint8)] * 2, CLASSES))
    logger.log_pictures({"curves/roc": np.zeros((9, 7, 3), np.uint8)}, steps)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING and "unet_exp" in one.name]


def test_the_contract(word: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    logger = opened(tmp_path / "run", word)
    assert len(logger.lightning) == (word != "csv")
    give(logger)
    run_ids = dict(logger.run_ids)
    for _ in range(2):
        logger.finish({"test/iou/mean": 0.5}, 3, failed=False)
    give(logger)  # after the end, too, nothing happens
    resumed = opened(tmp_path / "run", word, run_ids, step=2)
    assert resumed.run_ids == run_ids
    give(resumed)
    resumed.finish({}, 3, failed=True)
    assert warnings(caplog) == []


def test_the_contract_with_a_folder_that_goes_away(word: str, tmp_path: Path) -> None:
    """What a logger makes of it is its own affair; the training goes on."""
    logger = opened(tmp_path / "run", word)
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    give(logger)
    logger.finish({"test/iou/mean": 0.5}, 3, failed=False)


@pytest.mark.parametrize("word", ["wandb", "tensorboard"])
def test_a_logger_that_cannot_be_opened_is_none(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(LOGGERS[word], "open", lambda _: 1 / 0)
    logger = opened(tmp_path / "run", word)
    give(logger)
    logger.finish({}, 3, failed=False)
    assert (logger.lightning, logger.run_ids) == ([], {})
    title = LOGGERS[word].title
    assert warnings(caplog) == [
        f"{title}: it cannot be opened; metrics go to the CSV alone (ZeroDivisionError: division by zero)"
    ]


WORDS = ("logger=tensorboard", "logger.images=1", "logger.images_every_epochs=1", "model=same", "trainer.max_steps=4")


def test_a_logger_of_the_table_is_given_a_training(train: Train, toy: type[Toy]) -> None:
    folder = train(*WORDS)
    (logger,) = toy.opened
    assert logger.start.folder.path == folder.path
    assert (logger.start.step, logger.start.run_id) == (None, None)
    assert summary(folder)["logger_ids"] == {"tensorboard": "toy-7"}
    logged: dict[str, float] = {}
    for _, metrics in logger.of("metrics"):
        logged |= metrics
    row = table(folder.metrics)[-1]
    assert logged["val/loss"] == pytest.approx(float(row["val/loss"]))
    assert logged["train/loss"] == pytest.approx(float(row["train/loss"]))
    for name, value in summary(folder)["metrics"].items():
        assert logged[name] == value
    assert [picture[2:] for picture in logger.of("pictures")] == [
        ([("synthetic_002", (64, 64))], ["membrane", "cell"])
    ] * 2
    assert logger.of("finish") == [(summary(folder)["metrics"], False)]
    assert logger.calls[-1][0] == "finish"


@pytest.mark.parametrize("fails_at", [("open",), ("metrics", "pictures", "finish")])
def test_a_logger_that_fails_fails_no_training(
    train: Train, toy: type[Toy], monkeypatch: pytest.MonkeyPatch, fails_at: tuple[str, ...]
) -> None:
    whole = train(*WORDS)
    monkeypatch.setattr(toy, "fails_at", fails_at)
    folder = train(*WORDS)
    assert summary(folder)["metrics"] == summary(whole)["metrics"]
    assert summary(folder)["status"] == "finished"
    warned = [line for line in folder.log.read_text().splitlines() if "Toy: " in line]
    assert [line.partition("(")[2] for line in warned if "pictures" not in line] == [
        f"RuntimeError: no {what})" for what in fails_at if what != "pictures"
    ]
    assert len(toy.opened[-1].of("metrics")) == ("metrics" in fails_at)


def test_a_preview_comes_before_the_first_step(train: Train, toy: type[Toy]) -> None:
    train(*WORDS, "preview=1")
    (logger,) = toy.opened
    (step, views), (last, scores) = logger.of("views")
    assert (step, list(views)) == (0, ["preview"])
    assert (last, list(scores)) == (4, ["test/confusion"]), "the test's, behind the last"
    assert {shape[2] for shape in scores.values()} == {3}
    assert [kind for kind, _ in logger.calls[:2]] == ["open", "views"]


def test_a_training_that_fails_is_told_to_its_logger(train: Train, toy: type[Toy]) -> None:
    with pytest.raises(Exception, match="the training loss is nan"):
        train(*WORDS, "optimizer=sgd", "optimizer.lr=1e30", "trainer.max_steps=20")
    (logger,) = toy.opened
    assert logger.of("finish") == [({}, True)]


def test_several_loggers_are_each_given_a_training(
    train: Train, toy: type[Toy], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Other(Toy):
        title, run_id, fails_at, opened = "Other", "other-9", (), []

    monkeypatch.setitem(LOGGERS, "wandb", Other)
    monkeypatch.setattr(toy, "fails_at", ("metrics",))
    folder = train(*WORDS[1:], "logger=[wandb,tensorboard]", "logger.project=mine")
    (one,), (other,) = toy.opened, Other.opened
    assert len(one.of("metrics")) == 1
    assert len(other.of("metrics")) > 3
    assert one.of("pictures") == other.of("pictures")
    assert one.of("finish") == other.of("finish") == [(summary(folder)["metrics"], False)]
    assert (summary(folder)["wandb_id"], summary(folder)["logger_ids"]) == ("other-9", {"tensorboard": "toy-7"})
    recorded = parse(folder.read_config()).logger
    assert (recorded.name, recorded.project, recorded.images) == (["wandb", "tensorboard"], "mine", 1)
    assert recorded.join_sweep("a sweep").group == "a sweep"


def test_a_signal_in_the_end_of_one_logger_leaves_the_others_to_a_second_call() -> None:
    class Stopped(Toy):
        def finish(self, metrics: Mapping[str, float], failed: bool) -> None:
            super().finish(metrics, failed)
            raise KeyboardInterrupt

    start = Start(parse(composed(*TINY)), RunFolder(Path()))
    first, second = Stopped(start), Toy(start)
    logger = TrainingLogger({"a": first, "b": second})
    with pytest.raises(KeyboardInterrupt):
        logger.finish({"test/iou/mean": 0.5}, 3, failed=False)
    logger.finish({"test/iou/mean": 0.5}, 3, failed=True)
    for one, failed in ((first, False), (second, True)):
        assert one.of("metrics") == [(3, {"test/iou/mean": 0.5})]
        assert one.of("finish") == [({"test/iou/mean": 0.5}, failed)]


def test_a_config_of_several_loggers_can_be_sent_to_another_process() -> None:
    config = parse(compose_train(["logger=[wandb,tensorboard]", "logger.project=mine"]))
    assert pickle.loads(pickle.dumps(config)) == config


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("logger=[wandb,wandb]", "logger=[wandb,wandb]: wandb is named twice"),
        ("logger=[csv,wandb]", "logger=[csv,wandb]: leave csv out; metrics.csv is written with every logger"),
        ("logger=[]", "logger=[]: name one at least; logger=csv has nothing but metrics.csv"),
        ("logger=[wandb,mlflo]", "logger=mlflo: no such option; choose one of csv, mlflow, tensorboard, wandb"),
        (
            "logger=[tensorboard,mlflow] logger.project=a",
            "unknown key logger.project: it is of logger=wandb, type that too; logger=['tensorboard', 'mlflow']",
        ),
        ("logger=mlflow logger.tracking_uri=http://me:secret@host", "logger.tracking_uri must hold no password"),
        ("logger=mlflow logger.tracking_uri=runs/here", "logger.tracking_uri=runs/here: must be a server"),
    ],
)
def test_a_mistake_in_the_loggers_is_one_line(words: str, said: str) -> None:
    with pytest.raises(ConfigError) as mistake:
        parse(compose_train(words.split()))
    assert str(mistake.value).startswith(said)
    assert "secret" not in str(mistake.value)


@pytest.mark.slow
def test_mlflow_keeps_runs_in_a_database_below_the_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    logger = opened(tmp_path / "run", "mlflow")
    give(logger)
    logger.finish({"test/iou/mean": 0.5}, 3, failed=False)
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    run = client.get_run(logger.run_ids["mlflow"])
    assert (run.info.status, run.data.metrics["test/iou/mean"], run.data.params["model.depth"]) == (
        "FINISHED",
        0.5,
        "2",
    )
    assert [each.value for each in client.get_metric_history(run.info.run_id, "train/loss")] == [1, 0.5, 1 / 3]
    pictures = [file.path.partition("+")[0] for file in client.list_artifacts(run.info.run_id, "images")]
    assert {"images/predictions~a b", "images/curves~roc"} <= set(pictures)
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    # A run that is gone, and a server that does not answer, with a password in its address.
    again = opened(tmp_path / "run", "mlflow", {"mlflow": "0" * 32}, step=2)
    assert again.run_ids["mlflow"] not in ("0" * 32, run.info.run_id)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert opened(tmp_path / "run", "mlflow").lightning == []
    assert ["new one begins" in line or "cannot be opened" in line for line in warnings(caplog)] == [True, True]
    assert "secret" not in caplog.text
