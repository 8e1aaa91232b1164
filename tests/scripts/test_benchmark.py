"""The benchmark measures both ways in turn, and says what it measured."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from benchmarks import GROUPS, pairs
from benchmarks.pairs import Goal, Pair, Result, Timed, measure, measure_all
from benchmarks.settings import DEFAULTS, Benchmark
from benchmarks.table import write_markdown
from conftest import Said

Cli = Callable[..., Said]
QUICK = Benchmark.model_validate({**DEFAULTS, "quick": True})


def test_both_ways_are_run_once_and_then_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    clock = iter([0, 2, 10, 15, 20, 21, 30, 34, 40, 42, 50, 54])  # 2 and 5 s, 1 and 4 s, 2 and 4 s
    monkeypatch.setattr(pairs.time, "perf_counter", lambda: next(clock))
    pair = Pair("group", "what", "a", "b", lambda: order.append("a"), lambda: order.append("b"))
    (result,) = measure([pair], 3)
    assert order == list("abababab")
    assert (result.ours_seconds, result.other_seconds) == ((2, 1, 2), (5, 4, 4))
    assert (result.lowest, result.ratio, result.highest) == (2, 2.5, 4)


def test_a_table_and_json(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pair = Pair("quick", "nothing", "this way", "that way", lambda: None, lambda: None)
    absent = Pair("quick", "nothing", "this way", "no way", lambda: None, lambda: None, needs="no_such_package")
    monkeypatch.setitem(GROUPS, "quick", lambda _: [pair, pair, absent])
    said = cli("benchmark", "groups=quick", "repeats=2", "output=here")
    assert said.code == 0
    assert said.out.count("this way") == 2
    line = "quick, no way: no_such_package is not installed: pip install -e '.[benchmark]'"
    assert line in said.out
    told = json.loads((tmp_path / "here" / "benchmark.json").read_text())
    assert [result["other"] for result in told["results"]] == ["that way"] * 2
    assert told["missing"] == [line]
    assert (told["repeats"], told["threads"]) == (2, 1)
    assert "torch" in told["versions"]


@pytest.mark.slow
def test_every_group_has_pairs_that_run() -> None:
    (distance,) = GROUPS["weightmap"](QUICK)
    assert abs(distance.first() - distance.second()).max() < 1e-4  # type: ignore[operator]
    for name in ("augmentation", "metrics"):
        for pair in GROUPS[name](QUICK):
            pair.first(), pair.second()


@pytest.mark.slow
def test_the_time_between_the_runs_of_a_sweep() -> None:
    timed = GROUPS["sweep"](QUICK)[0].first()
    assert isinstance(timed, Timed)
    assert timed.seconds > 0


def test_what_a_way_has_measured_itself_counts() -> None:
    pair = Pair("group", "what", "a", "b", lambda: Timed(2.0), lambda: Timed(3.0))
    assert measure([pair], 2)[0].ratio == 1.5


def test_pairs_with_one_first_way_are_measured_together() -> None:
    order: list[str] = []

    def first() -> None:
        order.append("a")

    both = [Pair("g", "w", "a", name, first, lambda name=name: order.append(name), most=2) for name in "bc"]
    results = list(measure_all(both, 7))
    assert "".join(order) == "abc" * 3
    assert results[0].ours_seconds == results[1].ours_seconds


@pytest.mark.parametrize(
    ("goal", "ours", "other", "met"),
    [
        (Goal("ratio", 0.95), 1.0, 0.96, True),
        (Goal("ratio", 0.95), 1.0, 0.94, False),
        (Goal("more", 0.3), 1.25, 1.0, True),
        (Goal("more", 0.3), 1.35, 1.0, False),
        (Goal("seconds", 0.025), 0.024, 9.0, True),
        (Goal("seconds", 0.025), 0.026, 9.0, False),
    ],
)
def test_a_goal_is_met_or_not(goal: Goal, ours: float, other: float, met: bool) -> None:
    pair = Pair("group", "what", "a", "b", lambda: Timed(ours), lambda: Timed(other), goal)
    (result,) = measure([pair], 3)
    assert (result.goal, result.met) == (str(goal), met)


def test_the_table_of_a_machine_is_replaced_and_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "performance.md"
    path.write_text("# Performance\n\nWords.\n\n## Another machine\n\n| a |\n")
    for group, ratio in (("step", 1.25), ("tiles", 3.5), ("step", 2.5)):
        result = Result(group, "what", "a", "b", (1.0,), (ratio,), ratio, ratio, ratio, 1 - ratio, "goal", True)
        write_markdown(path, [result], QUICK)
    text = path.read_text()
    assert text.startswith("# Performance\n\nWords.\n\n## Another machine\n\n| a |\n\n## ")
    assert "2.50 (2.50-2.50)" in text
    assert "3.50 (3.50-3.50)" in text  # of another group
    assert "1.25" not in text
    assert text.count("| group |") == 1
    assert text.count("\n## ") == 2


@pytest.mark.slow
@pytest.mark.parametrize("group", ["step", "overhead", "data", "layouts", "tiles", "predict", "startup"])
def test_every_goal_is_measured(group: str) -> None:
    for pair in GROUPS[group](QUICK)[:: 4 if group == "startup" else 1]:  # of some alike one, where each is a process
        if pair.missing is None:
            pair.first(), pair.second()


@pytest.mark.parametrize(
    ("word", "part"),
    [
        (
            "groups=speed",
            "groups=speed: no such group; choose from step, overhead, data, layouts, tiles, predict, startup, train, "
            "weightmap, augmentation, metrics, sweep, large, or all",
        ),
        ("repeats=0", "repeats=0"),
        ("repeat=3", "unknown key repeat (did you mean repeats?); the keys are groups, repeats, threads, quick"),
    ],
)
def test_mistakes(cli: Cli, word: str, part: str, tmp_path: Path) -> None:
    assert part in cli("benchmark", word).mistake
    assert not list(tmp_path.iterdir())


def test_help(cli: Cli) -> None:
    assert "groups" in cli("benchmark", "--help").out
