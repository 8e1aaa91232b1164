"""One search by several launchers: nothing is lost, nothing is done twice, and what is left behind is taken over."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import table
from searching import FEW, answer_at_once, ask, bowl, opener, optuna_config, plain, run

from unet_exp import signals
from unet_exp.compose import compose_command
from unet_exp.errors import ConfigError
from unet_exp.runs.summary import Summary
from unet_exp.runs.sweep_folder import SweepFolder
from unet_exp.sweeps.run_search import write_results
from unet_exp.sweeps.search import Search
from unet_exp.sweeps.search_task import Place, SearchTask, get_address
from unet_exp.sweeps.study import Outcome
from unet_exp.sweeps.worker import work


@pytest.fixture(autouse=True)
def _no_wait_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(params=["journal", "sqlite"])
def storage(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    return {"journal": f"{tmp_path}/shared.journal", "sqlite": f"sqlite:///{tmp_path}/shared.db"}[request.param]


@pytest.fixture
def search(tmp_path: Path, storage: str) -> Callable[..., Search]:
    make = opener(tmp_path)

    def share(launcher: str = "one", **changes: Any) -> Search:
        return make(launcher=launcher, **{"storage": storage, "study": "shared", **changes})

    return share


@pytest.mark.slow
def test_every_storage_draws_the_same(search: Callable[..., Search], tmp_path: Path) -> None:
    changes = {"trials": 8, "startup_trials": 3}
    assert run(search(**changes)) == run(opener(tmp_path / "other")("a.journal", **changes))


def test_two_launchers_share_the_trials(search: Callable[..., Search], tmp_path: Path) -> None:
    one, two = search("one", trials=9), search("two", trials=9)
    first = ask(one)
    others = run(two, 5)
    one.tell(first.number, Outcome("finished", 0.5))
    others += run(one)
    assert sorted(trial.number for trial in (first, *others)) == [*range(9)]
    assert two.ask() is None
    assert one.counts() == two.counts() == {"finished": 9, "pruned": 0, "failed": 0, "repeated": 0, "running": 0}
    write_results(one, tmp_path)
    rows = table(tmp_path / "trials.csv")
    assert [Path(row["folder"]).name for row in rows] == [f"trial-{number:03d}" for number in range(9)]
    assert [Path(row["folder"]).parent.name[-3:] for row in rows] == ["one", *["two"] * 5, *["one"] * 3]


@pytest.mark.slow
def test_many_at_once_lose_nothing_and_repeat_nothing(search: Callable[..., Search]) -> None:
    """Two workers of each of two launchers in a small space: six combinations."""
    answer_at_once([search(name, beside=True, trials=20, **FEW) for name in ("one", "one", "two", "two")])


def test_the_last_trial_is_drawn_once(search: Callable[..., Search], monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have looked before either has drawn; the one that is too much serves when there are to be more."""
    one, two = search("one", trials=3), search("two", trials=3)
    run(one, 2)
    with monkeypatch.context() as patch:
        patch.setattr(Search, "all_out", property(lambda worker: len(worker.optuna.trials) > 3))
        assert ask(one).number == 2
        assert two.ask() is None
    one.tell(2, Outcome("finished", 0.5))
    assert sum(one.counts().values()) == 3
    assert one.ask() is None
    assert [trial.number for trial in run(search("two", trials=5))] == [3, 4]


def test_two_that_draw_the_same_words_at_once_train_them_once(
    search: Callable[..., Search], monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, Any] = {"space": {"fusion": ["concat", "add"]}, "sampler": "random", "trials": 2}
    one, two = search("one", **changes), search("two", **changes)
    monkeypatch.setattr("unet_exp.sweeps.search.make_sampler", lambda *_: _Constant())
    first = ask(one)
    assert two.ask() is None
    assert two.waits, "for the outcome of the first"
    assert two.list_left() == [], "no other worker could do more"
    one.tell(first.number, Outcome("finished", 0.5))
    assert two.ask() is None
    assert [(trial.number, trial.repeats) for trial in two.list_repeats()] == [(1, 0)]


def _Constant() -> Any:
    from optuna.samplers import RandomSampler

    return RandomSampler(0)


def test_what_a_killed_launcher_leaves_is_taken_over_once(search: Callable[..., Search]) -> None:
    killed = search("one", trials=4)
    trial = ask(killed)
    folder = killed.place.run(trial.number)
    (folder.path / "kept").touch()
    two, three = search("two", trials=4), search("three", trials=4)
    assert ask(two).number == 1, "the other one lives"
    killed.close()
    assert ask(three) == trial
    assert (three.place.run(trial.number).path / "kept").exists(), "it goes on from there"
    assert not folder.path.exists()
    assert ask(two).number == 2
    back = search("one", trials=4)
    assert ask(back).number == 3
    three.tell(trial.number, Outcome("finished", 0.5))
    assert back.counts()["finished"] == 1


def test_what_is_on_no_disk_of_this_machine_is_left_alone(search: Callable[..., Search], tmp_path: Path) -> None:
    away = search("away", trials=2)
    trial = ask(away)
    away.close()
    os.rename(away.place.folder, tmp_path / "not mounted here")
    here = search("here", trials=2)
    assert [trial.number for trial in run(here)] == [1]
    ((number, place),) = here.list_elsewhere()
    assert (number, place) == (trial.number, away.place)
    assert here.list_left() == []
    # Another folder that lies there by chance is another one.
    os.makedirs(away.place.folder)
    assert here.ask() is None
    os.rmdir(away.place.folder)
    os.rename(tmp_path / "not mounted here", away.place.folder)
    assert ask(here) == trial


def test_a_trial_at_which_processes_die_fails_in_the_end(search: Callable[..., Search]) -> None:
    for _ in range(3):
        worker = search(trials=2)
        trial = ask(worker)
        assert trial.number == 0
        Summary(status="running").write(worker.place.run(0).summary)
    worker = search(trials=2)
    assert ask(worker).number == 1
    assert worker.counts()["failed"] == 1
    assert worker.place.run(0).read_summary().error == "its process has died 3 times"


def test_one_that_was_stopped_goes_on_as_often_as_it_is_stopped(search: Callable[..., Search]) -> None:
    for _ in range(5):
        worker = search(trials=1)
        assert ask(worker).number == 0
        Summary(status="stopped").write(worker.place.run(0).summary)
        worker.leave(0)


def test_launchers_of_other_trainings_are_refused(search: Callable[..., Search]) -> None:
    search(settings={"trainer.max_steps": 8, "data.tile": 32})
    search("two", settings={"trainer.max_steps": 8, "new": 1})
    with pytest.raises(ConfigError, match=r"started with another trainer\.max_steps, data\.tile; go on"):
        search("three", settings={"trainer.max_steps": 9, "data.tile": 64})


def test_studies_of_other_names_are_other_searches(search: Callable[..., Search]) -> None:
    assert len(run(search(trials=2), value=bowl)) == 2
    other = search(trials=2, study="another", monitor="val/loss")
    assert plain(ask(other)).keys() == {"x", "n", "c"}


def test_one_that_comes_while_another_begins(search: Callable[..., Search], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time the first has recorded something more of itself, a second one opens the study."""
    from optuna import Study

    genuine, others = Study.set_user_attr, 0

    def set_and_open(study: Any, key: str, value: Any) -> None:
        nonlocal others
        genuine(study, key, value)
        with monkeypatch.context() as patch:
            patch.setattr(Study, "set_user_attr", genuine)
            search(f"other{others}", settings={"trainer.max_steps": 8})
        others += 1

    monkeypatch.setattr(Study, "set_user_attr", set_and_open)
    search(settings={"trainer.max_steps": 8})
    assert others


def test_a_signal_between_two_trials_ends_a_worker_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If it raised anything, joblib would kill the other workers, which still save."""
    config, training = optuna_config(trials=2), compose_command([]).parse()
    sweep = SweepFolder.create(tmp_path, "x", [], None, "optuna", [])
    task = SearchTask.write(sweep.path, config, None, detached=True)
    genuine = Search.ask

    def ask_in_a_signal(search: Search) -> Any:
        signal.raise_signal(signal.SIGTERM)
        return genuine(search)

    with monkeypatch.context() as patch, signals.install_handlers():
        patch.setattr(Search, "ask", ask_in_a_signal)
        work(sweep, [], training, lambda *_: pytest.fail("it trains"))
        assert signals.received() == signal.SIGTERM
    place, address = Place.here(sweep.path, task), get_address(config, sweep)
    assert ask(Search(config, training.trainer.monitor, address, place)).number == 0
