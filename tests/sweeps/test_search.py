"""`search=optuna`: trials that are handed out, what came of them, and the files that say so."""

import math
import os
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import matplotlib.pyplot
import numpy as np
import optuna
import pytest
from conftest import table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.importance import get_param_importances
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from PIL import Image
from searching import SPACE, ask, bowl, make_place, opener, optuna_config, plain, run

from unet_exp.errors import ConfigError
from unet_exp.runs.study_storage import StudyAddress
from unet_exp.sweeps.run_search import write_results
from unet_exp.sweeps.search import Search
from unet_exp.sweeps.study import Outcome, Trial


@pytest.fixture(autouse=True)
def _no_wait_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Optuna has each line written through; a busy disk takes longer for that than all else here."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def search(tmp_path: Path) -> Callable[..., Search]:
    return opener(tmp_path)


class TestSearch:
    @pytest.mark.slow
    def test_it_comes_nearer_than_chance(self, search: Callable[..., Search]) -> None:
        """The mean of the last ten of thirty trials, the median over three seeds: TPE against random draws."""

        def late(sampler: str, seed: int) -> float:
            trials = run(search(f"{sampler}{seed}", sampler=sampler, seed=seed, trials=30))
            return statistics.fmean(bowl(plain(trial)) for trial in trials[20:])

        tpe, random = ([late(sampler, seed) for seed in range(3)] for sampler in ("tpe", "random"))
        assert statistics.median(tpe) > statistics.median(random) + 0.1

    @pytest.mark.parametrize(("monitor", "mode"), [("val/loss", "min"), ("val/iou/forest_loss", "max")])
    def test_the_best_is_the_best(self, search: Callable[..., Search], monitor: str, mode: str) -> None:
        study = search(monitor=monitor, trials=12)
        assert study.best() is None
        trials = run(study)
        best = study.best()
        assert best is not None
        values = {trial.number: bowl(plain(trial)) for trial in trials}
        number = (min if mode == "min" else max)(values, key=values.__getitem__)
        assert best == (trials[number], pytest.approx(values[number]))

    @pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
    @pytest.mark.parametrize("stopped", [1, 6])
    def test_a_search_that_goes_on_asks_for_what_an_undisturbed_one_does(
        self, search: Callable[..., Search], sampler: str, stopped: int
    ) -> None:
        changes = {"sampler": sampler, "trials": 10, "startup_trials": 3}
        whole = run(search("whole", **changes))
        parts = run(search("parts", **changes), stopped)
        half_done = search("parts", **changes).ask()  # asked for, and the process dies
        parts += run(search("parts", **changes))
        assert parts == whole
        assert half_done == whole[stopped]
        assert len({tuple(trial.overrides) for trial in whole}) == 10

    def test_seeds_differ(self, search: Callable[..., Search]) -> None:
        one, other = (run(search(f"{seed}", seed=seed, trials=4)) for seed in (0, 1))
        assert all(left != right for left, right in zip(one, other, strict=True))

    def test_two_at_once_are_two(self, search: Callable[..., Search]) -> None:
        changes = {"trials": 7, "startup_trials": 2}
        workers = [search(**changes), search(beside=True, **changes)]
        sizes: list[int] = []
        seen: set[tuple[str, ...]] = set()
        while asked := [(worker, trial) for worker in workers if (trial := worker.ask())]:
            sizes.append(len(asked))
            seen |= {tuple(trial.overrides) for _, trial in asked}
            for worker, trial in reversed(asked):
                worker.tell(trial.number, Outcome("finished", bowl(plain(trial))))
        assert sizes == [2, 2, 2, 1]
        assert len(seen) == 7

    def test_the_next_begins_when_one_ends(self, search: Callable[..., Search]) -> None:
        slow, quick = search(trials=5), search(trials=5, beside=True)
        assert ask(slow).number == 0
        assert [trial.number for trial in run(quick)] == [1, 2, 3, 4]
        assert quick.counts()["running"] == 1
        slow.tell(0, Outcome("finished", 0.5))
        assert slow.ask() is None
        assert not slow.waits

    def test_what_was_half_done_comes_first(self, search: Callable[..., Search]) -> None:
        first = search(trials=5)
        out = [ask(first) for _ in range(3)]
        first.tell(1, Outcome("finished", 0.5))
        again = search(trials=5)
        assert again.counts() == {"finished": 1, "pruned": 0, "failed": 0, "repeated": 0, "running": 2}
        assert [ask(again), ask(again)] == [out[0], out[2]]
        for number in (0, 2):
            again.tell(number, Outcome("finished", 0.1))
        assert [trial.number for trial in run(again)] == [3, 4]

    def test_more_trials_can_be_had_later(self, search: Callable[..., Search]) -> None:
        assert len(run(search(trials=3))) == 3
        assert search(trials=3).ask() is None
        assert [trial.number for trial in run(search(trials=5))] == [3, 4]

    def test_failures_are_counted_and_not_asked_again(self, search: Callable[..., Search]) -> None:
        study = search(trials=8)
        outcomes = [
            Outcome("failed"),
            Outcome("finished", math.nan),
            Outcome("finished", None),
            Outcome("pruned", 0.9),
            Outcome("finished", 0.25),
        ]
        for number, outcome in enumerate(outcomes):
            trial = ask(study)
            assert trial.number == number
            study.tell(number, outcome)
        study.tell(4, Outcome("failed"))  # told already, before the process died
        assert study.counts() == {"finished": 1, "pruned": 1, "failed": 3, "repeated": 0, "running": 0}
        assert [trial.number for trial in run(search(trials=8))] == [5, 6, 7]
        (best, value), *_ = [study.best()]
        assert (best.number, value) == (4, 0.25) or value > 0.25

    def test_another_space_or_score_is_another_search(self, search: Callable[..., Search]) -> None:
        run(search(), 1)
        changed = {**SPACE, "n": {"low": 1, "high": 32, "log": True}, "extra": [1, 2]}
        wrong: list[tuple[dict[str, Any], str]] = [
            ({"space": changed}, "another search.space.n, search.space.extra;"),
            ({"monitor": "val/loss"}, "another trainer.monitor;"),
            ({"journal": "third.journal", "monitor": "val/iuo/mean"}, "val/iuo/mean: there is no such score"),
        ]
        for changes, part in wrong:
            with pytest.raises(ConfigError) as caught:
                search(**changes)
            assert part in str(caught.value)
        goes_on = search(sampler="random", trials=4, pruner="none")
        assert [trial.number for trial in run(goes_on)] == [1, 2, 3]

    def test_a_line_that_a_killed_process_left_half_written_is_dropped(
        self, search: Callable[..., Search], tmp_path: Path
    ) -> None:
        run(search(trials=5), 2)
        journal = tmp_path / "search.journal"
        journal.write_bytes(journal.read_bytes() + b'{"op_code":4,"worker')
        assert [trial.number for trial in run(search(trials=5))] == [2, 3, 4]
        assert search(trials=5).counts()["finished"] == 5

    def test_a_journal_named_by_a_relative_path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        config = optuna_config(trials=2)
        place = make_place(tmp_path / "sweep", config)
        study = Search(config, "val/iou/mean", StudyAddress(str(Path("search.journal")), "search"), place)
        monkeypatch.chdir("/")
        assert len(run(study)) == 2

    def test_nothing_is_printed(
        self, search: Callable[..., Search], capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
    ) -> None:
        for sampler in ("tpe", "random", "qmc"):
            study = search(sampler, sampler=sampler, trials=11, startup_trials=2)
            run(study)
        assert "".join(capfd.readouterr()) == ""
        assert len(recwarn) == 0

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        low=st.floats(1e-12, 1e12),
        factor=st.floats(1.5, 1e6),
        log=st.booleans(),
        choices=st.lists(
            st.one_of(
                st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False),
                st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S", "Zs")), min_size=1),
                st.lists(st.integers(0, 9), min_size=1),
            ),
            min_size=2, max_size=4, unique_by=repr,
        ),
    )  # fmt: skip
    def test_words_mean_to_hydra_what_the_space_says(
        self, tmp_path: Path, low: float, factor: float, log: bool, choices: list[Any]
    ) -> None:
        high = low * factor
        if len({str(value) for value in choices}) < len(choices) or any(choices.count(value) > 1 for value in choices):
            return
        space = {"number": {"low": low, "high": high, "log": log}, "choice": choices}
        study = opener(tmp_path)(f"{abs(hash(repr(space)))}", space=space, trials=3, sampler="random")
        for _ in range(3):
            trial = ask(study)
            values = plain(trial)
            assert low <= values["number"] <= high
            assert isinstance(values["number"], float)
            assert any(values["choice"] == value and type(values["choice"]) is type(value) for value in choices)
            study.tell(trial.number, Outcome("finished", 0.0))

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(low=st.integers(1, 50), steps=st.integers(1, 20), step=st.integers(1, 9), log=st.booleans())
    def test_whole_numbers_stay_whole(self, tmp_path: Path, low: int, steps: int, step: int, log: bool) -> None:
        entry = {"low": low, "high": low + steps * step, **({"log": True} if log else {"step": step})}
        name = f"{low}-{steps}-{step}-{log}"
        (tmp_path / name).unlink(missing_ok=True)
        shutil.rmtree(tmp_path / f"runs-{name}", ignore_errors=True)
        study = opener(tmp_path)(name, space={"n": entry}, trials=4)
        allowed = range(low, low + steps * step + 1, 1 if log else step)
        assert all(plain(trial)["n"] in allowed for trial in run(study, value=lambda values: values["n"]))


FEW: dict[str, Any] = {"fusion": ["concat", "add"], "model.depth": {"low": 2, "high": 3}}


def score(trial: Trial) -> float:
    values = plain(trial)
    return 0.1 * values["model.depth"] + 0.3 * (values["fusion"] == "add")


class TestRepeats:
    """Few choices: Optuna draws words again that it had drawn before."""

    @staticmethod
    def _answer(
        *workers: Search, outcomes: Callable[[Trial], Outcome] | None = None
    ) -> tuple[list[Trial], list[Trial]]:
        """Answers all that these workers ask at once; the trials that were run, and those that repeat one."""
        new: list[Trial] = []
        while asked := [(worker, trial) for worker in workers if (trial := worker.ask())]:
            for worker, trial in asked:
                new.append(trial)
                worker.tell(trial.number, outcomes(trial) if outcomes else Outcome("finished", score(trial)))
        return new, workers[0].list_repeats()

    @pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
    @pytest.mark.parametrize("parallel", [1, 3])
    def test_a_repeat_takes_the_known_value(
        self, search: Callable[..., Search], tmp_path: Path, sampler: str, parallel: int
    ) -> None:
        changes = {"space": {**FEW, "more": list(range(9))}, "sampler": sampler, "trials": 40}
        workers = [search(beside=True, **changes) for _ in range(parallel)]
        study = workers[0]
        new, repeats = self._answer(*workers)
        by_number = {trial.number: trial for trial in new}
        assert len(new) + len(repeats) == 40
        assert len({tuple(trial.overrides) for trial in new}) == len(new), "nothing is run twice"
        for repeat in repeats:
            assert repeat.repeats is not None
            assert repeat.repeats < repeat.number
            assert by_number[repeat.repeats].overrides == repeat.overrides
            assert repeat.outcome == Outcome("finished", score(repeat))
        assert study.counts() == {
            "finished": len(new), "pruned": 0, "failed": 0, "repeated": len(repeats), "running": 0
        }  # fmt: skip
        write_results(study, tmp_path)
        rows = table(tmp_path / "trials.csv")
        for number, trial in {trial.number: trial for trial in (*new, *repeats)}.items():
            assert float(rows[number]["val/iou/mean"]) == score(trial)
            assert rows[number]["repeats"] == ("" if trial.repeats is None else str(trial.repeats))
        best = study.best()
        assert best is not None
        assert best[0].number in by_number, "the best trial has a folder"

    @pytest.mark.parametrize("stopped", range(1, 4))
    def test_a_search_that_goes_on_repeats_the_same(self, search: Callable[..., Search], stopped: int) -> None:
        changes = {"space": FEW, "trials": 12, "sampler": "random"}
        whole = self._answer(search("whole", **changes))
        assert whole[1]
        first = search("parts", **changes)
        parts = [ask(first)]
        for _ in range(stopped):
            first.tell(parts[-1].number, Outcome("finished", score(parts[-1])))
            parts.append(ask(first))
        # The last of them has been asked for, and the process dies.
        new, repeats = self._answer(search("parts", **changes))
        assert [*parts[:-1], *new] == whole[0]
        assert repeats == whole[1]

    WAITING: dict[str, Any] = {"space": {**FEW, "more": [1, 2]}, "sampler": "random", "seed": 1, "trials": 6}  # noqa: RUF012
    """Six draws of which some are equal."""

    def test_a_repeat_of_a_running_trial_waits_for_it(self, search: Callable[..., Search]) -> None:
        workers = [search(beside=True, **self.WAITING) for _ in range(6)]
        asked = [(worker, trial) for worker in workers if (trial := worker.ask())]
        assert 1 < len(asked) < 6, "some of the six are equal"
        assert len({tuple(trial.overrides) for _, trial in asked}) == len(asked)
        assert workers[0].counts()["running"] == 6
        idle = [worker for worker in workers if worker not in [busy for busy, _ in asked]]
        assert [worker.ask() for worker in idle] == [None] * len(idle)
        assert all(worker.waits for worker in idle)
        waiting = sorted({*range(6)} - {trial.number for _, trial in asked})
        for worker, trial in asked:
            worker.tell(trial.number, Outcome("finished", score(trial)))
        repeats = workers[0].list_repeats()
        assert [trial.number for trial in repeats] == waiting
        for repeat in repeats:
            (twin,) = [trial for _, trial in asked if trial.overrides == repeat.overrides]
            assert (repeat.repeats, repeat.outcome) == (twin.number, Outcome("finished", score(twin)))
        assert [worker.ask() for worker in workers] == [None] * 6
        assert not any(worker.waits for worker in workers)

    def test_a_repeat_that_waited_for_a_failure_is_run(self, search: Callable[..., Search]) -> None:
        before = [trial for _ in range(6) if (trial := search(beside=True, **self.WAITING).ask())]
        waiting = sorted({*range(6)} - {trial.number for trial in before})
        study = search(**self.WAITING)  # the processes died, and one goes on
        asked = [ask(study) for _ in before]
        assert asked == before
        for trial in asked:
            study.tell(trial.number, Outcome("failed"))
        again = ask(study)
        assert again.number in waiting
        assert again.overrides in [trial.overrides for trial in asked]
        study.tell(again.number, Outcome("finished", score(again)))
        new, repeats = self._answer(study)
        assert {trial.number for trial in (again, *new, *repeats)} == {*waiting}
        assert study.counts()["running"] == 0

    def test_a_failed_trial_is_tried_again(self, search: Callable[..., Search]) -> None:
        study = search(space={"fusion": ["concat", "add"]}, sampler="random", trials=9)
        new, repeats = self._answer(study, outcomes=lambda _: Outcome("failed"))
        assert ([trial.number for trial in new], repeats) == (list(range(9)), [])
        assert not study.exhausted

    def test_a_repeat_of_a_pruned_trial_is_pruned_at_the_same_scores(
        self, search: Callable[..., Search], tmp_path: Path
    ) -> None:
        study = search(space={**FEW, "more": [1, 2]}, sampler="random", trials=12)

        def prune(trial: Trial) -> Outcome:
            journal = JournalStorage(JournalFileBackend(str(tmp_path / "search.journal")))
            reported = optuna.Trial(optuna.load_study(study_name="search", storage=journal), trial.number)
            for validation in range(3):
                reported.report(score(trial) + validation, validation)
            return Outcome("pruned")

        new, repeats = self._answer(study, outcomes=prune)
        assert repeats
        assert study.best() is None
        assert study.counts()["pruned"] == len(new)
        write_results(study, tmp_path)
        rows = table(tmp_path / "trials.csv")
        for trial in (*new, *repeats):
            row = rows[trial.number]
            assert (row["status"], row["validations"]) == ("pruned", "3")
            assert float(row["val/iou/mean"]) == score(trial) + 2
        assert {repeat.outcome.status for repeat in repeats if repeat.outcome} == {"pruned"}

    @pytest.mark.parametrize(
        ("space", "count"),
        [
            ({"c": ["a", "b", "c"]}, 3),
            ({"n": {"low": 2, "high": 4}}, 3),
            ({"n": {"low": 1, "high": 6, "step": 2}}, 3),
            ({"n": {"low": 1, "high": 4, "log": True}}, 4),
            ({"x": {"low": 0.0, "high": 0.3, "step": 0.1}}, 4),
            ({"x": {"low": 0, "high": 1, "step": 0.4}}, 3),
            ({"c": ["a", "b"], "n": {"low": 1, "high": 3}}, 6),
        ],
    )
    def test_a_search_ends_when_all_its_space_is_known(
        self, search: Callable[..., Search], space: dict[str, Any], count: int
    ) -> None:
        changes = {"space": space, "sampler": "random"}
        study, other = (search(beside=True, trials=1000, **changes) for _ in range(2))
        new, _ = self._answer(study, other, outcomes=lambda trial: Outcome("finished", float(trial.number)))
        assert len({tuple(trial.overrides) for trial in new}) == len(new) == count
        assert study.exhausted
        assert sum(study.counts().values()) < 1000
        assert search(trials=2000, **changes).ask() is None

    def test_real_numbers_have_no_end(self, search: Callable[..., Search]) -> None:
        study = search(space={"x": {"low": 0.0, "high": 1.0}, "c": [1, 2]}, trials=5)
        new, repeats = self._answer(study, outcomes=lambda _: Outcome("finished", 0.5))
        assert (len(new), repeats, study.exhausted) == (5, [], False)


@pytest.mark.usefixtures("draws")
class TestFiles:
    def test_what_is_written(self, search: Callable[..., Search], tmp_path: Path) -> None:
        study = search(trials=14)
        trials = run(study, 12)
        for outcome in (Outcome("failed"), Outcome("pruned")):
            study.tell(ask(study).number, outcome)
        write_results(study, tmp_path)
        rows = table(tmp_path / "trials.csv")
        assert [row["status"] for row in rows] == ["finished"] * 12 + ["failed", "pruned"]
        for row, trial in zip(rows, trials, strict=False):
            assert float(row["val/iou/mean"]) == pytest.approx(bowl(plain(trial)))
            assert [f"{key}={row[key]}" for key in SPACE] == trial.overrides
        best = study.best()
        assert best is not None
        assert (tmp_path / "best.txt").read_text().split() == best[0].overrides
        with Image.open(tmp_path / "search.png") as picture:
            assert len(np.unique(np.asarray(picture))) > 50

    def test_the_legend_has_words_of_ours(
        self, search: Callable[..., Search], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        study = search(trials=3)
        run(study, 3)
        labels: list[str] = []
        close = matplotlib.pyplot.close

        def look(figure: Any) -> None:
            labels.extend(
                text.get_text()
                for legend in figure.axes
                if (found := legend.get_legend())
                for text in found.get_texts()
            )
            close(figure)

        monkeypatch.setattr(matplotlib.pyplot, "close", look)
        write_results(study, tmp_path)
        assert labels == ["val/iou/mean", "best so far"]

    def test_nothing_has_been_told_yet(self, search: Callable[..., Search], tmp_path: Path) -> None:
        study = search(trials=2)
        write_results(study, tmp_path)
        study.ask()
        write_results(study, tmp_path)
        assert [row["status"] for row in table(tmp_path / "trials.csv")] == ["running"]
        assert (tmp_path / "search.png").is_file()
        assert not (tmp_path / "best.txt").exists()

    @pytest.mark.parametrize(("mode", "count", "panels"), [("min", 0, 2), ("max", 1, 2), ("min", 2, 2), ("max", 28, 3)])
    def test_a_picture_of_any_number_of_trials(
        self, search: Callable[..., Search], tmp_path: Path, mode: Literal["min", "max"], count: int, panels: int
    ) -> None:
        outcomes = [Outcome("failed"), Outcome("finished", 0.5), Outcome("pruned"), Outcome("finished", 0.6), None]
        monitor = "val/loss" if mode == "min" else "val/iou/forest_loss"
        study = search(monitor=monitor, trials=count + 1)
        for trial in [ask(study) for _ in range(count)]:
            if outcome := outcomes[trial.number % 5]:
                study.tell(trial.number, outcome)
        before = matplotlib.rcParams["axes.facecolor"], matplotlib.pyplot.get_fignums()
        write_results(study, tmp_path)
        with Image.open(tmp_path / "search.png") as picture:
            assert picture.size == (panels * 605, 440)
        assert (matplotlib.rcParams["axes.facecolor"], matplotlib.pyplot.get_fignums()) == before

    def test_the_key_that_matters_is_found(
        self, search: Callable[..., Search], tmp_path: Path, monkeypatch: Any
    ) -> None:
        drawn: dict[str, float] = {}

        def importance(study: Any, evaluator: Any, *_: Any) -> None:
            if evaluator is not None:
                drawn.update(get_param_importances(study, evaluator=evaluator))

        monkeypatch.setattr("unet_exp.figures.search_plots.draw_search", importance)
        study = search(trials=50, sampler="random")
        run(study, 9)
        write_results(study, tmp_path)
        assert drawn == {}  # too few
        run(study)
        write_results(study, tmp_path)
        assert sum(drawn.values()) == pytest.approx(1)
        assert max(drawn, key=drawn.__getitem__) == "x"
