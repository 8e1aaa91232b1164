"""Launchers that share a search, as processes with trainings: one is killed, and the server goes away for a while."""

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import TINY, Said, table
from killable import Training
from postgres_here import PASSWORD, Server, start_postgres
from searching import FEW, answer_at_once, ask, opener, plain, run, shipped

from unet_exp.errors import ConfigError
from unet_exp.runs.study_storage import StudyAddress, explain_errors, retry
from unet_exp.sweeps.run_search import check_storage

Cli = Callable[..., Said]
WORDS = (
    *TINY, "trainer.max_steps=30", "data.batch_size=1", "data.tiles_per_epoch=2", "search=optuna", "search.trials=4",
    "search.pruner=none", "fusion=concat,add",
)  # fmt: skip

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def postgres() -> Iterator[Server]:
    with start_postgres() as server:
        yield server


@pytest.fixture
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)


def start(output: Path, storage: str) -> Training:
    return Training([*WORDS, f"output={output}", storage], output.with_suffix(".log"))


def listen_until(found: Callable[[], object], launcher: Training) -> None:
    end = time.monotonic() + 120
    while not found():
        assert launcher.listen(0.1), launcher.log.read_text()
        assert time.monotonic() < end


def the_sweep(output: Path) -> Path:
    (path,) = (output / "sweep").iterdir()
    return path


@pytest.mark.parametrize("kind", ["journal", "postgresql"])
def test_one_of_two_launchers_is_killed(kind: str, cli: Cli, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """All four trials are trained, each once, and the half-done one from where it was."""
    if kind == "postgresql":
        request.getfixturevalue("password")
        storage = f"search.storage={request.getfixturevalue('postgres').url()}"
    else:
        storage = f"search.storage={tmp_path / 'shared.journal'}"
    killed, other = start(tmp_path / "killed", storage), start(tmp_path / "other", storage)
    listen_until(lambda: list((tmp_path / "killed").glob("sweep/*/trial-*/checkpoints/last.ckpt")), killed)
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    assert other.wait() == 0, other.log.read_text()
    assert "trials: 4 finished\n" in other.log.read_text()

    rows = table(the_sweep(tmp_path / "other") / "trials.csv")
    assert [(row["trial"], row["status"]) for row in rows] == [(str(number), "finished") for number in range(4)]
    folders = [Path(row["folder"]) for row in rows]
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in folders]
    assert [told["best"]["value"] for told in summaries] == [float(row["val/iou/mean"]) for row in rows]
    assert sorted(path.name for path in tmp_path.glob("*/sweep/*/trial-*")) == [folder.name for folder in folders]
    assert len([told for told in summaries if told.get("resumed")]) == 1, "the killed one's"

    left = the_sweep(tmp_path / "killed")
    said = cli("train", f"sweep.resume={left}")
    assert f"its trials are in a storage of its own; if you trust that, add {storage}" in said.mistake
    said = cli("train", f"sweep.resume={left}", storage)
    assert (said.code, "trials: 4 finished" in said.out) == (0, True), said
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or PASSWORD.encode() not in path.read_bytes(), path


class TestPostgres:
    @pytest.mark.usefixtures("password")
    def test_it_draws_what_a_journal_draws(self, postgres: Server, tmp_path: Path) -> None:
        changes = {"trials": 8, "startup_trials": 3}
        shared = opener(tmp_path)(storage=postgres.url(), study="drawn", **changes)
        assert run(shared) == run(opener(tmp_path / "other")(**changes))

    @pytest.mark.usefixtures("password")
    def test_many_at_once_lose_nothing_and_repeat_nothing(self, postgres: Server, tmp_path: Path) -> None:
        make = opener(tmp_path)
        names = ("one", "one", "two", "two", "three", "three")
        answer_at_once(
            [make(launcher=name, beside=True, storage=postgres.url(), study="many", trials=20, **FEW) for name in names]
        )

    @pytest.mark.usefixtures("password")
    def test_the_server_goes_away_for_a_while(self, postgres: Server, tmp_path: Path) -> None:
        search = opener(tmp_path)(storage=postgres.url(), study="away", trials=3)
        first = ask(search)
        postgres.stop()
        threading.Timer(1, postgres.start).start()
        trial = retry(search.ask)
        assert trial is not None
        assert trial.number > first.number
        assert plain(trial)

    @pytest.mark.parametrize(
        ("secret", "database", "said"),
        [
            ("wrong", "trials", "password authentication failed.*is taken from the variable PGPASSWORD"),
            ("", "trials", "password supplied.*is taken from the variable PGPASSWORD"),
            (PASSWORD, "none", 'database "none" does not exist; make it with createdb'),
        ],
    )
    def test_what_is_wrong_is_told_in_one_line(
        self, postgres: Server, secret: str, database: str, said: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PGPASSWORD", secret)
        url = postgres.url(database)
        with pytest.raises(ConfigError, match=said) as caught, explain_errors(url):
            StudyAddress(url, "x").open()
        assert "\n" not in str(caught.value)
        assert PASSWORD not in str(caught.value)


def test_another_training_is_refused_before_there_is_a_folder(cli: Cli, tmp_path: Path) -> None:
    storage = str(tmp_path / "shared.journal")
    opener(tmp_path)(storage=storage, study="mine", space=shipped()["space"], settings={"trainer.max_steps": 99})
    words = [*TINY, "search=optuna", "output=out", f"search.storage={storage}", "search.study=mine"]
    said = cli("train", *words)
    assert f"search.study=mine in {storage}: this search was started with another trainer.max_steps;" in said.mistake
    assert not (tmp_path / "out").exists()


def test_a_sweep_goes_on_only_in_a_storage_that_has_its_study(tmp_path: Path) -> None:
    first = tmp_path / "first.journal"
    study = opener(tmp_path)(storage=str(first), study="mine", space=shipped()["space"])
    check_storage(study.config, is_known=True)
    for storage in (str(tmp_path / "other.journal"), f"sqlite:///{tmp_path / 'other.db'}"):
        other = study.config.model_copy(update={"storage": storage})
        with pytest.raises(ConfigError, match="it has no study mine, where the trials of this sweep are"):
            check_storage(other, is_known=True)
    with pytest.raises(ConfigError, match="it has no study yours"):
        check_storage(study.config.model_copy(update={"study": "yours"}), is_known=True)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("other")]


def test_ctrl_c_says_how_to_go_on(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from unet_exp.training import run as module

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "train", interrupted)
    storage = f"search.storage={tmp_path / 'shared.journal'}"
    said = cli("train", *TINY, "search=optuna", "output=out", storage)
    assert said.code == 130
    assert (
        f"go on with: python scripts/train.py sweep.resume=out/sweep/{the_sweep(tmp_path / 'out').name} {storage}"
        in said.err
    )
