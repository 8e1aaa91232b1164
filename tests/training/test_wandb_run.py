"""W&B runs: written offline and read back, sent to a stand-in of the server, kept alive where W&B fails."""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb
from PIL import Image
from wandb_server import WandbServer

from unet_exp.compose import compose_train
from unet_exp.config import ClassSpec, parse
from unet_exp.config.loggers import WandbConfig
from unet_exp.runs.run_folder import RunFolder
from unet_exp.samples.sample import Sample
from unet_exp.training.loggers import Predictions, Start, TrainingLogger
from unet_exp.training.loggers.wandb_run import WandbRun, finish, log_checkpoint_artifact, open_run, resolve_mode

CONFIG: dict[str, Any] = {"model": {"depth": 5, "padding": "valid"}, "seed": 7}
LABELS = {"0": "membrane", "1": "cell", "255": "ignored"}
TRUTH = np.array([[0, 1, 255], [1, 1, 0]], np.uint8)


@pytest.fixture(autouse=True)
def _isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No key, setting or cache of the user's is seen or touched; each test has a W&B process of its own."""
    wandb.teardown()
    for variable in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(variable)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NETRC", str(home / "netrc"))
    for variable in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(variable, str(home / variable))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    # Where a test forgets the stand-in, it meets a closed port and not the internet.
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("W&B asked a question"))
    yield
    wandb.teardown()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", server.key)
        yield server


def _open(directory: Path, mode: str = "auto", run_id: str | None = None) -> wandb.Run:
    """Open a run with short time limits."""
    settings = WandbConfig.model_validate(
        {
            "name": "wandb",
            "project": "unet",
            "entity": None,
            "mode": mode,
            "group": "fold-study",
            "tags": ["isbi", "", "x" * 80],
            "init_timeout": 2.0,
            "log_checkpoint": False,
            "images": 1,
            "images_every_epochs": 1,
        }
    )
    return open_run(directory, "valid, concat", CONFIG, settings, run_id, finish_timeout=2.0)


def _logger(run: wandb.Run) -> TrainingLogger:
    return TrainingLogger({"wandb": WandbRun(run)})


def _train(run: wandb.Run, directory: Path) -> None:
    """Do what a training does: metrics, images, the best checkpoint."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        logger = _logger(run)
        assert logger.run_ids == {"wandb": run.id}
    logger.log_metrics({"train/loss": 0.5}, step=1)
    logger.log_metrics({"train/loss": 0.25}, step=2)
    samples = [
        Sample("slice 20", np.full((2, 3, 1), 9, np.uint8), TRUTH),
        Sample("slice 21", np.full((2, 3, 3), 9, np.uint8)),
    ]
    classes = [ClassSpec(name=name, value=0, color=[0, 0, 0]) for name in ("membrane", "cell")]
    logger.log_predictions(Predictions(2, 1, samples, [np.ones((2, 3), np.uint8)] * 2, classes))
    checkpoint = directory / "best.ckpt"
    checkpoint.write_bytes(b"weights")
    log_checkpoint_artifact(run, checkpoint, "valid, concat", {"epoch": 1})


def _inspect(directory: Path, *options: str) -> list[dict[str, Any]]:
    """Read the only run under a run folder back, with W&B's own reader."""
    (folder,) = (directory / "wandb").glob("*run-*")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", *options, str(folder)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [json.loads(text)] if options else [json.loads(line) for line in text.splitlines()]


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING and "unet_exp" in r.name]


def test_offline_run_is_written_and_read_back(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WANDB_TAGS", "a,,b")  # W&B takes no empty one; the config has them
    run = _open(tmp_path / "run")  # auto without a key
    assert run.offline
    _train(run, tmp_path / "run")
    finish(run)
    finish(run)  # nothing happens
    assert "".join(capfd.readouterr()) == ""
    assert _warnings(caplog) == []

    monkeypatch.delenv("WANDB_TAGS")  # W&B's reader stops at it, too
    records = _inspect(tmp_path / "run")
    (header,) = [record["run"] for record in records if record["type"] == "run"]
    assert header["project"] == "unet"
    assert header["display_name"] == "valid, concat"
    assert header["run_group"] == "fold-study"
    assert header["tags"] == ["isbi", "x" * 64]
    (summary,) = _inspect(tmp_path / "run", "--summary")
    assert summary["config"] == CONFIG
    assert summary["exit_code"] == 0
    assert summary["summary"]["train/loss"] == 0.25
    assert summary["summary"]["predictions/slice_20"]["masks"].keys() == {"prediction", "ground_truth"}
    assert any(record["type"] == "artifact" for record in records)


def test_online_run_reaches_the_server_and_is_resumed(server: WandbServer, tmp_path: Path) -> None:
    run = _open(tmp_path / "run")
    assert not run.offline
    _train(run, tmp_path / "run")
    finish(run)
    labels = server.run("valid, concat").raw_config["_wandb"]["value"]["mask/class_labels"]
    assert all(masks["value"] == LABELS for masks in labels.values())
    run = _open(tmp_path / "run", run_id=run.id)
    _logger(run).log_metrics({"train/loss": 0.125}, step=3)
    finish(run, exit_code=3)

    assert server.unknown == []
    received = server.run("valid, concat")
    assert (received.project, received.group, received.tags) == ("unet", "fold-study", ["isbi", "x" * 64])
    assert received.config == CONFIG
    losses = [(row["trainer/global_step"], row["train/loss"]) for row in received.history if "train/loss" in row]
    assert losses == [(1, 0.5), (2, 0.25), (3, 0.125)]
    assert [row["_step"] for row in received.history] == [0, 1, 2, 3]
    assert received.exit_code == 3

    (row,) = [row for row in received.history if "predictions/slice_20" in row]
    assert (row["trainer/global_step"], row["epoch"]) == (2, 1)
    picture = row["predictions/slice_20"]
    assert np.asarray(Image.open(BytesIO(received.files[picture["path"]]))).tolist() == [[[9] * 3] * 3] * 2
    mask = picture["masks"]["ground_truth"]["path"]
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(received.files[mask]))), TRUTH)
    assert row["predictions/slice_21"]["masks"].keys() == {"prediction"}

    (artifact,) = server.artifacts.values()
    assert artifact["committed"]
    assert (artifact["name"], artifact["type"], artifact["metadata"]) == (
        "valid_concat",
        "model",
        {"epoch": 1},
    )
    assert set(artifact["aliases"]) == {"best", "latest"}
    assert b"weights" in server.uploads.values()


@pytest.mark.parametrize("mode", ["auto", pytest.param("online", marks=pytest.mark.slow)])
def test_server_that_cannot_be_reached_means_offline(
    server: WandbServer, tmp_path: Path, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    former = tmp_path / "wandb" / "run-20260101_000000-resumed"
    former.mkdir(parents=True)
    server.close()
    start = time.monotonic()
    run = _open(tmp_path, mode, run_id="resumed")
    assert time.monotonic() - start < 8
    assert run.offline
    run.log({"loss": 1.0})
    finish(run)
    (warning,) = _warnings(caplog)
    assert "cannot start online; it is offline" in warning
    former.rmdir()  # the first part of the training is kept, but the failed start leaves no folder
    (summary,) = _inspect(tmp_path, "--summary")
    assert (summary["run_id"], summary["summary"]["loss"]) == ("resumed", 1.0)


@pytest.mark.slow
def test_server_that_dies_half_way_neither_stops_nor_holds_up_the_training(
    server: WandbServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = _open(tmp_path)
    logger = _logger(run)
    server.close()
    start = time.monotonic()
    for step in range(500):
        logger.log_metrics({"loss": 1.0 / (step + 1)}, step=step)
    finish(run)
    assert time.monotonic() - start < 8
    (warning,) = _warnings(caplog)
    assert "wandb sync" in warning
    (summary,) = _inspect(tmp_path, "--summary")
    assert summary["summary"]["loss"] == 0.002


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the service process in /proc")
def test_death_of_the_service_process_is_survived(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = _open(tmp_path / "a")
    logger = _logger(run)
    (service,) = services()
    os.kill(service, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while not _warnings(caplog) and time.monotonic() < deadline:  # until W&B's reader has noticed
        logger.log_metrics({"loss": 1.0}, step=1)
    logger.log_metrics({"loss": 1.0}, step=1)
    finish(run)
    lost, unfinished = _warnings(caplog)
    assert "metrics go to the CSV alone" in lost
    assert "not everything was uploaded" in unfinished
    run = _open(tmp_path / "b")  # the next run of a sweep has a service again
    assert run.offline
    finish(run)


def services() -> list[int]:
    """The ids of this process's living wandb-core children."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            pid, name, state, parent = status.read_text().split()[:4]
            if name == "(wandb-core)" and int(parent) == os.getpid() and state != "Z":
                found.append(int(pid))
    return found


@pytest.mark.parametrize("key", ["too-short", "f" * 40])
def test_invalid_key_means_offline(
    server: WandbServer,
    tmp_path: Path,
    key: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", key)
    run = _open(tmp_path)
    assert run.offline
    finish(run)
    assert server.runs == {}
    assert len(_warnings(caplog)) == 1


@pytest.mark.parametrize(
    ("mode", "variable", "key", "resolved", "warns"),
    [
        ("auto", None, False, "offline", False),
        ("auto", None, True, "online", False),
        ("auto", "offline", True, "offline", False),
        ("auto", "dryrun", True, "offline", False),
        ("auto", "disabled", True, "disabled", False),
        ("auto", "online", True, "online", False),
        ("auto", "online", False, "offline", True),
        ("auto", "perhaps", True, "offline", True),
        ("online", None, False, "offline", True),
        ("online", "offline", True, "online", False),
        ("offline", "online", True, "offline", False),
        ("disabled", None, True, "disabled", False),
    ],
)
def test_resolve_mode(
    mode: str,
    variable: str | None,
    key: bool,
    resolved: str,
    warns: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if variable:
        monkeypatch.setenv("WANDB_MODE", variable)
    if key:
        monkeypatch.setenv("WANDB_API_KEY", "f" * 40)
    assert resolve_mode(mode) == resolved
    assert len(_warnings(caplog)) == warns


@pytest.mark.parametrize(("mode", "disabled"), [("auto", "disabled"), ("offline", "offline")])
def test_wandb_disabled_is_the_mode_that_is_not_typed(
    mode: str, disabled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_DISABLED", "true")
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert resolve_mode(mode) == disabled


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"WANDB_NAME": "mine"}, ["W&B: WANDB_NAME has no effect: the run's name is name="]),
        ({"WANDB_NAME": "mine", "WANDB_DIR": "x"}, ["W&B: WANDB_NAME and WANDB_DIR have no effect: the run's name is"]),
        ({"WANDB_DIR": "x", "WANDB_SWEEP_ID": "of an agent"}, []),
        ({"WANDB_PROJECT": "mine", "WANDB_TAGS": "a"}, []),
    ],
)
def test_variables_without_effect_are_told_in_one_line(
    variables: dict[str, str],
    told: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "sweep.json").touch()
    for mode, folder in (("disabled", "run"), ("offline", "sweep/seed=0")):
        config = parse(compose_train([f"logger.mode={mode}", f"output={tmp_path}"]))
        WandbRun.open(Start(config, RunFolder(tmp_path / folder))).finish({}, failed=False)
    assert not _warnings(caplog), "nothing is written, or the sweep says it"
    config = parse(compose_train(["logger.mode=offline", f"output={tmp_path}"]))
    WandbRun.open(Start(config, RunFolder(tmp_path / "run"))).finish({}, failed=False)
    warnings = _warnings(caplog)
    assert len(warnings) == len(told)
    assert all(warning.startswith(part) for warning, part in zip(warnings, told, strict=True))


def test_key_in_netrc_is_found(tmp_path: Path) -> None:
    netrc = tmp_path / "home" / "netrc"
    netrc.write_text(f"machine 127.0.0.1:9\n  login user\n  password {'f' * 40}\n")
    netrc.chmod(0o600)
    assert resolve_mode("auto") == "online"


def test_disabled_run_takes_everything_and_writes_nothing(tmp_path: Path) -> None:
    run = _open(tmp_path / "run", "disabled")
    assert run.disabled
    _train(run, tmp_path / "run")
    finish(run)
    assert not (tmp_path / "run" / "wandb").exists()


def test_folder_that_cannot_be_written_means_disabled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    genuine = wandb.init

    def init(**arguments: Any) -> wandb.Run:
        if arguments["mode"] == "offline":
            raise PermissionError("read-only file system")
        return genuine(**arguments)

    monkeypatch.setattr(wandb, "init", init)
    assert _open(tmp_path).disabled
    (warning,) = _warnings(caplog)
    assert "cannot start offline; it is disabled (PermissionError: read-only" in warning


def test_two_runs_in_one_process_are_two_runs(tmp_path: Path) -> None:
    first = _open(tmp_path / "a")
    second = _open(tmp_path / "b")  # the first was never finished
    assert first.id != second.id
    finish(second)


def test_under_an_agent_the_run_is_the_one_that_the_sweep_waits_for(
    server: WandbServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With the variables that `wandb.wandb_agent.Agent._command_run` sets."""
    chosen = tmp_path / "config-given.yaml"
    chosen.write_text("wandb_version: 1\noptimizer.lr: {desc: null, value: 0.003}\n")
    for variable, value in {
        "WANDB_SWEEP_ID": "sweep1",
        "WANDB_RUN_ID": "given",
        "WANDB_PROJECT": "sweeps-project",
        "WANDB_ENTITY": "somebody",
        "WANDB_SWEEP_PARAM_PATH": str(chosen),
        "WANDB_DIR": str(tmp_path),
    }.items():
        monkeypatch.setenv(variable, value)
    sweeps: list[Any] = []
    upsert = server._upsert_bucket

    def recorded(variables: dict[str, Any]) -> dict[str, Any]:
        sweeps.append(variables.get("sweep"))
        return upsert(variables)

    monkeypatch.setattr(server, "_upsert_bucket", recorded)
    run = _open(tmp_path / "run")
    _logger(run).log_metrics({"val/iou/mean": 0.5}, step=1)
    finish(run)
    assert "".join(capfd.readouterr()) == ""
    assert server.unknown == []
    assert set(server.runs) == {"given"}
    assert sweeps[0] == "sweep1"  # later messages name the run alone
    received = server.runs["given"]
    assert (received.project, received.entity) == ("sweeps-project", "somebody")
    assert received.config == {**CONFIG, "optimizer.lr": 0.003}
    assert [row["val/iou/mean"] for row in received.history] == [0.5]
