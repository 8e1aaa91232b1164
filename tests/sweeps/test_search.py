"""`search=optuna`: what can be searched, trials asked for and told of, pruning inside a run, the W&B sweep file."""

import functools
import logging
import math
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import matplotlib.pyplot
import numpy as np
import pytest
import yaml
from conftest import TINY, table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.importance import get_param_importances
from PIL import Image

from unet_exp.cli.command import read_command
from unet_exp.compose import compose_command, compose_train, conf_dir, parse_overrides
from unet_exp.config import Config, parse
from unet_exp.config.multirun import OptunaConfig, parse_search
from unet_exp.errors import ConfigError
from unet_exp.metrics.declarations import direction
from unet_exp.sweeps.search import Outcome, Search, Trial
from unet_exp.sweeps.space import add_typed, check_space, space_entry

SPACE: dict[str, Any] = {"x": {"low": -4.0, "high": 4.0}, "n": {"low": 1, "high": 64, "log": True}, "c": ["a", "b"]}


@functools.cache
def shipped() -> dict[str, Any]:
    return compose_command(["search=optuna"]).search


def optuna_config(**changes: Any) -> OptunaConfig:
    """The shipped settings, in `SPACE`."""
    config = parse_search({**shipped(), "space": SPACE, **changes})
    assert config is not None
    return config


@pytest.fixture(autouse=True)
def _no_wait_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Optuna has each line written through; a busy disk takes longer for that than all else here."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def search(tmp_path: Path) -> Callable[..., Search]:
    """`search(trials=3, ...)` opens the study in `tmp_path`, or in `journal`."""

    def make(journal: str = "search.journal", monitor: str = "val/iou/mean", **changes: Any) -> Search:
        return Search(optuna_config(**changes), monitor, tmp_path / journal)

    return make


def plain(trial: Trial) -> dict[str, Any]:
    """A trial's values as Hydra reads its words."""
    return {override.key_or_group: override.value() for override in parse_overrides(trial.overrides)}


def bowl(values: Mapping[str, Any]) -> float:
    """At most 1, at x = 1.5, c = b."""
    return 1 - (values["x"] - 1.5) ** 2 / 30 - 0.3 * (values["c"] == "a")


def run(search: Search, trials: int | None = None, value: Callable[[Mapping[str, Any]], float] = bowl) -> list[Trial]:
    """Answers the search until it ends, or that many trials."""
    done: list[Trial] = []
    while (trials is None or len(done) < trials) and (asked := search.ask()):
        for trial in asked:
            search.tell(trial.number, Outcome("finished", value(plain(trial))))
        done += asked
    return done


class TestWords:
    def test_the_word_makes_a_sweep_of_its_own_accord(self) -> None:
        composed = compose_command(["search=optuna"])
        assert composed.multirun
        config = parse_search(composed.search)
        assert config is not None
        assert set(config.space) == {"optimizer.lr", "model.dropout"}
        assert not compose_command([]).multirun
        assert parse_search(compose_command([]).search) is None

    @pytest.mark.parametrize(
        ("words", "space"),
        [
            (["search.space.optimizer.lr.high=0.1", "search.space.model=null"], {"optimizer.lr": (0.0001, 0.1)}),
            (["search.space.optimizer=null", "+search.space.model.width=[8,16]"], {"model.width": [8, 16]}),
        ],
    )
    def test_the_space_is_changed_on_the_command_line(self, words: list[str], space: dict[str, Any]) -> None:
        config = parse_search(compose_command(["search=optuna", *words]).search)
        assert config is not None
        for key, wanted in space.items():
            entry = config.space[key]
            assert (entry if isinstance(entry, list) else (entry.low, entry.high)) == wanted
        assert "optimizer.lr" not in config.space or "optimizer.lr" in space

    def test_dots_and_nesting_are_the_same_key(self) -> None:
        nested = {"optimizer": {"lr": {"low": 0.1, "high": 0.2}}, "fusion": ["add", "none"]}
        dotted = {"optimizer.lr": {"low": 0.1, "high": 0.2}, "fusion": ["add", "none"]}
        assert optuna_config(space=nested) == optuna_config(space=dotted)
        both = {"optimizer": ["adam", "sgd"], "optimizer.lr": {"low": 0.1, "high": 0.2}}
        assert set(optuna_config(space=both).space) == {"optimizer", "optimizer.lr"}

    @pytest.mark.parametrize(
        ("entry", "part"),
        [
            ({"low": 2, "high": 2}, "low=2 should be less than high=2"),
            ({"low": 0.0, "high": 1.0, "log": True}, "low=0.0 should be above 0"),
            ({"low": "1e-4", "high": 1.0}, "low='1e-4' should be a number"),
            ({"low": 1.0}, "high=None should be a number"),
            ({"low": 1.0, "high": math.inf}, "high=inf should be a number"),
            ({"low": 1, "high": 9, "step": 9}, "step=9 should be"),
            ({"low": 1, "high": 9, "step": 2, "log": True}, "log and step do not go together"),
            ({"low": 1, "high": 9, "stride": 2}, "unknown key stride"),
            ([], "leaves nothing to choose"),
            (["add"], "leaves nothing to choose"),
            (["add", "none", "add"], "has a value twice"),
            ("add", "'add' is neither a list"),
        ],
    )
    def test_a_mistake_in_the_space_names_its_key(self, entry: Any, part: str) -> None:
        with pytest.raises(ConfigError, match=r"search\.space\.some\.key: ") as caught:
            optuna_config(space={"some": {"key": entry}})
        assert part in str(caught.value)

    def test_other_mistakes(self) -> None:
        with pytest.raises(ConfigError, match=r"search\.trials=0"):
            optuna_config(trials=0)
        with pytest.raises(ConfigError, match=r"search\.sampler='grid'"):
            optuna_config(sampler="grid")
        with pytest.raises(ConfigError, match=r"search\.space"):
            optuna_config(space=["lr"])


class TestTyped:
    @pytest.mark.parametrize(
        ("text", "entry"),
        [
            ("fusion=concat,add", ["concat", "add"]),
            ("fusion=choice(concat,add)", ["concat", "add"]),
            ("trainer.ema_decay=null,0.99", [None, 0.99]),
            ("model.relu_after_upsample=true,false", [True, False]),
            ("loss.class_weights=[1.0,2.0],inverse", [[1.0, 2.0], "inverse"]),
            ("trainer.max_time='4m','1h'", ["4m", "1h"]),
            ("optimizer.lr=interval(1e-4,1e-2)", {"low": 1e-4, "high": 1e-2, "log": False}),
            ("optimizer.lr=tag(log, interval(1e-4,1e-2))", {"low": 1e-4, "high": 1e-2, "log": True}),
            ("model.width=int(interval(4,9))", {"low": 4, "high": 9, "log": False}),
            ("model.width=range(8,33,8)", {"low": 8, "high": 32, "log": False, "step": 8}),
            ("model.width=range(32,0,-8)", {"low": 8, "high": 32, "log": False, "step": 8}),
            ("model.width=tag(log, range(1,65))", {"low": 1, "high": 64, "log": True, "step": None}),
            ("model.dropout=range(0.0,0.35,0.1)", {"low": 0.0, "high": 0.3, "log": False, "step": 0.1}),
        ],
    )
    def test_a_sweep_becomes_an_entry(self, text: str, entry: Any) -> None:
        (override,) = parse_overrides([text], sweeps=True)
        assert space_entry(override) == entry
        assert override.key_or_group in add_typed(optuna_config(), [override]).space

    @pytest.mark.parametrize(
        ("text", "part"),
        [
            ("fusion=glob(*)", "takes no glob"),
            ("optimizer.lr=tag(even, interval(1e-4,1e-2))", "the only tag is log"),
            ("fusion=tag(log, choice(add,none))", "the only tag is log"),
            ("model.width=range(8,9)", "leaves nothing to choose"),
            ("model.width=tag(log, range(1,9,2))", "log and step"),
            ("optimizer.lr=interval(1,1)", "should be less than"),
        ],
    )
    def test_what_has_no_meaning_in_a_search(self, text: str, part: str) -> None:
        with pytest.raises(ConfigError, match=r".+") as caught:
            add_typed(optuna_config(), parse_overrides([text], sweeps=True))
        assert part in str(caught.value)
        assert text.partition("=")[0] in str(caught.value)

    def test_several_values_join_and_one_value_leaves(self) -> None:
        typed = parse_overrides(["x=1", "n=2,4", "fusion=add,none", "model=same"], sweeps=True)
        space = add_typed(optuna_config(), typed).space
        assert space == {"n": [2, 4], "c": ["a", "b"], "fusion": ["add", "none"]}


def composed(*words: str) -> Callable[[list[str]], Config]:
    return lambda more: parse(compose_train([*words, *more]))


class TestCheck:
    def test_the_shipped_space_goes_with_any_optimizer(self) -> None:
        config = parse_search(compose_command(["search=optuna"]).search)
        assert config is not None
        for name in ("adam", "sgd"):
            check_space(config, composed(f"optimizer={name}"))

    def test_groups_are_searched_by_their_words(self) -> None:
        space = {"fusion": ["concat", "add"], "loss": ["cross_entropy", "bce"], "data.batch_size": [1, 2]}
        check_space(optuna_config(space=space), composed())

    @pytest.mark.parametrize(
        ("space", "part"),
        [
            ({}, "nothing to search"),
            ({"optimizer.rate": [0.1, 0.2]}, "unknown key optimizer.rate"),
            ({"fusion": ["add", "concatenate"]}, "fusion=concatenate: no such option"),
            ({"optimizer": ["sgd", "adam"], "optimizer.momentum": [0.9, 0.99]}, "unknown key optimizer.momentum"),
            ({"model.dropout": {"low": 0, "high": 1}}, "write 0.0 and 1.0"),
            ({"model.width": {"low": 4.0, "high": 8.0}}, "model.width"),
            ({"model.dropout": {"low": 0.0, "high": 1.5}}, "model.dropout=1.5"),
            ({"seed": [0, 1]}, "search.space.seed: it changes seed"),
            ({"data.seed": [0, 1]}, "it changes data.seed"),
            ({"data.organelles": [True, False]}, "it changes data.organelles"),
            ({"data.fold": [0, 1], "data.folds": [3, 4]}, "it changes data.fold"),
            ({"trainer.monitor": ["val/loss", "val/accuracy"]}, "it changes trainer.monitor"),
            ({"trainer.val_every_epochs": [1, 2]}, "it changes trainer.val_every_epochs"),
            ({"experiment": ["small", "paper_isbi2012_small"]}, "search.space.experiment: it changes data"),
        ],
    )
    def test_mistakes_are_found_before_the_first_trial(self, space: dict[str, Any], part: str) -> None:
        with pytest.raises(ConfigError, match=r".+") as caught:
            check_space(optuna_config(space=space), composed())
        assert part in str(caught.value)

    def test_losses_are_comparable_unless_the_loss_is_the_score(self) -> None:
        config = optuna_config(space={"loss": ["cross_entropy", "bce"]})
        check_space(config, composed())
        with pytest.raises(ConfigError, match=r"search\.space\.loss: it changes loss"):
            check_space(config, composed("trainer.monitor=val/loss"))

    def test_optuna_is_an_extra(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        config = optuna_config()
        monkeypatch.setitem(sys.modules, "optuna", None)
        with pytest.raises(ConfigError, match=r"pip install 'unet-exp\[sweep\]'"):
            read_command(["search=optuna", *TINY])
        with pytest.raises(ConfigError, match=r"pip install 'unet-exp\[sweep\]'"):
            Search(config, "val/iou/mean", tmp_path / "search.journal")

    def test_importing_it_is_quick(self) -> None:
        heavy = "{'torch', 'optuna', 'numpy', 'matplotlib', 'pytorch_lightning'}"
        code = f"import sys, unet_exp.sweeps.search; assert not {heavy} & set(sys.modules), {heavy} & set(sys.modules)"
        subprocess.run([sys.executable, "-c", code], check=True)


class TestSearch:
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
        assert half_done == [whole[stopped]]
        assert len({tuple(trial.overrides) for trial in whole}) == 10

    def test_seeds_differ(self, search: Callable[..., Search]) -> None:
        one, other = (run(search(f"{seed}", seed=seed, trials=4)) for seed in (0, 1))
        assert all(left != right for left, right in zip(one, other, strict=True))

    def test_two_at_once_are_two(self, search: Callable[..., Search]) -> None:
        study = search(parallel=2, trials=7, startup_trials=2)
        sizes: list[int] = []
        seen: set[tuple[str, ...]] = set()
        while asked := study.ask():
            sizes.append(len(asked))
            assert study.ask() == []  # all that may be are out
            seen |= {tuple(trial.overrides) for trial in asked}
            for trial in reversed(asked):
                study.tell(trial.number, Outcome("finished", bowl(plain(trial))))
        assert sizes == [2, 2, 2, 1]
        assert len(seen) == 7

    def test_what_was_half_done_comes_first_and_fewer_fit_beside_it(self, search: Callable[..., Search]) -> None:
        first = search(parallel=3, trials=5)
        out = first.ask()
        first.tell(1, Outcome("finished", 0.5))
        again = search(parallel=2, trials=5)
        assert again.counts() == {"finished": 1, "pruned": 0, "failed": 0, "running": 2}
        assert again.ask() == [out[0], out[2]]
        for number in (0, 2):
            again.tell(number, Outcome("finished", 0.1))
        assert [trial.number for trial in run(again)] == [3, 4]

    def test_more_trials_can_be_had_later(self, search: Callable[..., Search]) -> None:
        assert len(run(search(trials=3))) == 3
        assert search(trials=3).ask() == []
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
            (trial,) = study.ask()
            assert trial.number == number
            study.tell(number, outcome)
        study.tell(4, Outcome("failed"))  # told already, before the process died
        assert study.counts() == {"finished": 1, "pruned": 1, "failed": 3, "running": 0}
        assert [trial.number for trial in run(search(trials=8))] == [5, 6, 7]
        (best, value), *_ = [study.best()]
        assert (best.number, value) == (4, 0.25) or value > 0.25

    def test_another_space_or_score_is_another_search(self, search: Callable[..., Search]) -> None:
        run(search(), 1)
        changed = {**SPACE, "n": {"low": 1, "high": 32, "log": True}, "extra": [1, 2]}
        with pytest.raises(ConfigError, match=r"another search\.space\.n, search\.space\.extra;"):
            search(space=changed)
        with pytest.raises(ConfigError, match=r"another trainer\.monitor;"):
            search(monitor="val/loss")
        with pytest.raises(ConfigError, match=r"^val/iuo/mean: there is no such score"):
            search("third.journal", monitor="val/iuo/mean")
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
        study = Search(optuna_config(trials=2), "val/iou/mean", Path("search.journal"))
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
        journal = tmp_path / f"{abs(hash(repr(space)))}"
        study = Search(optuna_config(space=space, trials=3, sampler="random"), "val/iou/mean", journal)
        for _ in range(3):
            (trial,) = study.ask()
            values = plain(trial)
            assert low <= values["number"] <= high
            assert isinstance(values["number"], float)
            assert any(values["choice"] == value and type(values["choice"]) is type(value) for value in choices)
            study.tell(trial.number, Outcome("finished", 0.0))

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(low=st.integers(1, 50), steps=st.integers(1, 20), step=st.integers(1, 9), log=st.booleans())
    def test_whole_numbers_stay_whole(self, tmp_path: Path, low: int, steps: int, step: int, log: bool) -> None:
        entry = {"low": low, "high": low + steps * step, **({"log": True} if log else {"step": step})}
        journal = tmp_path / f"{low}-{steps}-{step}-{log}"
        journal.unlink(missing_ok=True)
        study = Search(optuna_config(space={"n": entry}, trials=4), "val/iou/mean", journal)
        allowed = range(low, low + steps * step + 1, 1 if log else step)
        assert all(plain(trial)["n"] in allowed for trial in run(study, value=lambda values: values["n"]))


@pytest.mark.usefixtures("draws")
class TestFiles:
    def test_what_is_written(self, search: Callable[..., Search], tmp_path: Path) -> None:
        study = search(trials=14)
        trials = run(study, 12)
        for outcome in (Outcome("failed"), Outcome("pruned")):
            (trial,) = study.ask()
            study.tell(trial.number, outcome)
        study.write(tmp_path)
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

    def test_nothing_has_been_told_yet(self, search: Callable[..., Search], tmp_path: Path) -> None:
        study = search(trials=2)
        study.write(tmp_path)
        study.ask()
        study.write(tmp_path)
        assert [row["status"] for row in table(tmp_path / "trials.csv")] == ["running"]
        assert (tmp_path / "search.png").is_file()
        assert not (tmp_path / "best.txt").exists()

    @pytest.mark.parametrize(("mode", "count", "panels"), [("min", 0, 2), ("max", 1, 2), ("min", 2, 2), ("max", 28, 3)])
    def test_a_picture_of_any_number_of_trials(
        self, search: Callable[..., Search], tmp_path: Path, mode: Literal["min", "max"], count: int, panels: int
    ) -> None:
        outcomes = [Outcome("failed"), Outcome("finished", 0.5), Outcome("pruned"), Outcome("finished", 0.6), None]
        monitor = "val/loss" if mode == "min" else "val/iou/forest_loss"
        study = search(monitor=monitor, trials=count + 1, parallel=30)
        for trial in study.ask()[:count]:
            if outcome := outcomes[trial.number % 5]:
                study.tell(trial.number, outcome)
        before = matplotlib.rcParams["axes.facecolor"], matplotlib.pyplot.get_fignums()
        study.write(tmp_path)
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
        study.write(tmp_path)
        assert drawn == {}  # too few
        run(study)
        study.write(tmp_path)
        assert sum(drawn.values()) == pytest.approx(1)
        assert max(drawn, key=drawn.__getitem__) == "x"


class Trainer(SimpleNamespace):
    """As much of Lightning's trainer as the callback sees."""

    def __init__(self) -> None:
        super().__init__(is_global_zero=True, should_stop=False, global_step=0, callback_metrics={})
        self.strategy = SimpleNamespace(reduce_boolean_decision=lambda decision, **_: decision)


def trained(journal: Path, number: int, scores: list[float], state: dict[str, Any] | None = None) -> Any:
    """A training with these validation scores, ten steps each; returns its `Pruning`."""
    from unet_exp.training.pruning import Pruning

    pruning: Any = Pruning(journal, number, "val/iou/mean")
    if state is not None:
        pruning.load_state_dict(state)
    trainer: Any = Trainer()
    pruning.on_fit_start(trainer, None)
    for index, score in enumerate(scores):
        trainer.global_step += 10
        trainer.should_stop = index == len(scores) - 1
        trainer.callback_metrics = {"val/iou/mean": score}
        pruning.on_validation_end(trainer, None)
        if trainer.should_stop:
            break
    return pruning


GOOD, BAD = [0.5, 0.6, 0.7, 0.8, 0.9, 0.9], [0.1, 0.1, 0.1, 0.1, 0.1, 0.1]


class TestPruning:
    def started(self, search: Callable[..., Search], tmp_path: Path, good: int = 3, **changes: Any) -> Search:
        """A study with good trials told of and one out."""
        study = search(trials=20, **{"startup_trials": 3, **changes})
        for _ in range(good):
            (trial,) = study.ask()
            assert trained(tmp_path / "search.journal", trial.number, GOOD).pruned_at is None
            study.tell(trial.number, Outcome("finished", max(GOOD)))
        study.ask()
        return study

    def test_a_bad_trial_is_stopped_after_its_warm_up(self, search: Callable[..., Search], tmp_path: Path) -> None:
        study = self.started(search, tmp_path)
        pruning = trained(tmp_path / "search.journal", 3, BAD)
        assert pruning.pruned_at == 30  # the third validation: two are the warm-up
        study.tell(3, Outcome("pruned"))
        assert study.counts()["pruned"] == 1
        study.write(tmp_path)
        row = table(tmp_path / "trials.csv")[3]
        assert (row["status"], row["validations"], float(row["val/iou/mean"])) == ("pruned", "3", 0.1)

    @pytest.mark.parametrize(
        ("changes", "good", "pruned"),
        [
            ({"warmup_validations": 0}, 3, 10),
            ({"warmup_validations": 4}, 3, 50),
            ({"pruner": "none"}, 3, None),
            ({}, 2, None),  # too few have finished
            ({"pruner": "successive_halving"}, 3, 30),
            ({"pruner": "hyperband", "warmup_validations": 0}, 3, 20),
        ],
    )
    def test_when(
        self, search: Callable[..., Search], tmp_path: Path, changes: dict[str, Any], good: int, pruned: int | None
    ) -> None:
        self.started(search, tmp_path, good, **changes)
        assert trained(tmp_path / "search.journal", good, BAD).pruned_at == pruned

    def test_a_good_trial_and_one_at_its_end_are_not_pruned(
        self, search: Callable[..., Search], tmp_path: Path
    ) -> None:
        study = self.started(search, tmp_path)
        assert trained(tmp_path / "search.journal", 3, GOOD).pruned_at is None
        study.tell(3, Outcome("finished", max(GOOD)))
        study.ask()
        assert trained(tmp_path / "search.journal", 4, BAD[:3]).pruned_at is None

    def test_scores_that_are_not_finite_are_not_reported(self, search: Callable[..., Search], tmp_path: Path) -> None:
        study = self.started(search, tmp_path)
        assert trained(tmp_path / "search.journal", 3, [math.nan, math.inf, math.nan, 0.1, 0.1]).pruned_at == 40
        study.write(tmp_path)
        assert table(tmp_path / "trials.csv")[3]["validations"] == "1"

    def test_a_run_that_starts_again_passes_what_it_has_passed(
        self, search: Callable[..., Search], tmp_path: Path
    ) -> None:
        study = self.started(search, tmp_path, warmup_validations=4)
        assert trained(tmp_path / "search.journal", 3, BAD[:4]).pruned_at is None  # killed
        assert trained(tmp_path / "search.journal", 3, BAD).pruned_at == 50
        study.write(tmp_path)
        assert table(tmp_path / "trials.csv")[3]["validations"] == "5"

    def test_a_resumed_training_goes_on_counting(self, search: Callable[..., Search], tmp_path: Path) -> None:
        self.started(search, tmp_path, warmup_validations=4)
        state = trained(tmp_path / "search.journal", 3, BAD[:4]).state_dict()
        assert trained(tmp_path / "search.journal", 3, BAD, state).pruned_at == 10

    @pytest.mark.parametrize("damage", ["missing", "garbage", "no such trial", "told", "vanishes"])
    def test_a_journal_that_cannot_be_used_costs_one_warning(
        self, search: Callable[..., Search], tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        study = self.started(search, tmp_path)
        journal = tmp_path / "search.journal"
        number = 3
        if damage == "missing":
            journal = tmp_path / "elsewhere" / "search.journal"
        elif damage == "garbage":
            journal.write_bytes(b"no journal\n" + journal.read_bytes())
        elif damage == "no such trial":
            number = 17
        elif damage == "told":
            study.tell(3, Outcome("failed"))
        else:
            from unet_exp.training.pruning import Pruning

            pruning: Any = Pruning(journal, number, "val/iou/mean")
            trainer: Any = Trainer()
            pruning.on_fit_start(trainer, None)
            shutil.rmtree(tmp_path)
            trainer.callback_metrics = {"val/iou/mean": 0.1}
            for _ in range(5):
                pruning.on_validation_end(trainer, None)
            assert not trainer.should_stop
        if damage != "vanishes":
            with caplog.at_level(logging.WARNING):
                assert trained(journal, number, BAD).pruned_at is None
        (warning,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert str(journal) in warning
        assert "runs to its end" in warning

    def test_lightning_stops_where_it_says(self, search: Callable[..., Search], tmp_path: Path) -> None:
        import pytorch_lightning as pl
        import torch
        from torch.utils.data import DataLoader, TensorDataset

        from unet_exp.training.pruning import Pruning

        class Bad(pl.LightningModule):
            def __init__(self) -> None:
                super().__init__()
                self.layer = torch.nn.Linear(1, 1)

            def training_step(self, batch: Any) -> Any:
                return self.layer(batch[0]).mean()

            def validation_step(self, *_: Any) -> None:
                self.log("val/iou/mean", 0.1)

            def configure_optimizers(self) -> Any:
                return torch.optim.SGD(self.parameters(), 0.1)

        self.started(search, tmp_path)
        pruning = Pruning(tmp_path / "search.journal", 3, "val/iou/mean")
        loader: Any = DataLoader(TensorDataset(torch.zeros(4, 1)), batch_size=1)
        trainer = pl.Trainer(
            accelerator="cpu", max_epochs=6, callbacks=[pruning], logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, min_epochs=0,
        )  # fmt: skip
        trainer.fit(Bad(), loader, loader)
        assert pruning.pruned_at == trainer.global_step == 12


def test_the_wandb_sweep_file() -> None:
    """Expanded as W&B's agent does (`wandb.wandb_agent.Agent._command_run`), at the ends of every parameter."""
    # Here, since it takes two seconds.
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    path = conf_dir().parent / "scripts" / "wandb_sweep.yaml"
    sweep = yaml.safe_load(path.read_text())
    ends = {
        key: values if (values := parameter.get("values")) else [parameter["min"], parameter["max"]]
        for key, parameter in sweep["parameters"].items()
    }
    assert sweep["program"] == "scripts/train.py"
    assert (path.parents[1] / sweep["program"]).is_file()
    first = {key: values[0] for key, values in ends.items()}
    for chosen in [first, *({**first, key: value} for key, values in ends.items() for value in values[1:])]:
        variables = create_sweep_command_args({"args": {key: {"value": value} for key, value in chosen.items()}})
        variables |= {"env": ["/usr/bin/env"], "program": [sweep["program"]]}
        words: list[str] = []
        for chunk in create_sweep_command(list(sweep["command"])):
            macro = chunk.startswith("${") and chunk.endswith("}")
            words += variables[chunk[2:-1]] if macro else [chunk]
        assert words[:3] == ["/usr/bin/env", "python", sweep["program"]]
        assert sorted(words[-len(chosen) :]) == sorted(f"{key}={value}" for key, value in chosen.items())
        config = parse(compose_train(words[3:]))
        assert config.optimizer.lr == chosen["optimizer.lr"]
        assert config.fusion.name == chosen["fusion"]
        assert config.logger.name == "wandb"
        assert sweep["metric"] == {"name": config.trainer.monitor, "goal": f"{direction(config.trainer.monitor)}imize"}
