"""The benchmark measures both ways in turn, and says what it measured."""

import json
from collections.abc import Callable
from pathlib import Path

import benchmark
import pytest
from benchmark import GROUPS, Pair, Timed, measure
from conftest import Said

Cli = Callable[..., Said]


def test_both_ways_are_run_once_and_then_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    clock = iter([0, 2, 10, 15, 20, 21, 30, 34, 40, 42, 50, 54])  # 2 and 5 s, 1 and 4 s, 2 and 4 s
    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: next(clock))
    pair = Pair("group", "what", "a", "b", lambda: order.append("a"), lambda: order.append("b"))
    result = measure(pair, 3)
    assert order == list("abababab")
    assert (result.ours_seconds, result.other_seconds) == ((2, 1, 2), (5, 4, 4))
    assert (result.lowest, result.ratio, result.highest) == (2, 2.5, 4)


def test_a_table_and_json(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pair = Pair("quick", "nothing", "this way", "that way", lambda: None, lambda: None)
    monkeypatch.setitem(GROUPS, "quick", lambda: [pair, pair])
    said = cli("benchmark", "groups=quick", "repeats=2", "output=here")
    assert said.code == 0
    assert said.out.count("this way") == 2
    told = json.loads((tmp_path / "here" / "benchmark.json").read_text())
    assert [result["other"] for result in told["results"]] == ["that way"] * 2
    assert (told["repeats"], told["threads"]) == (2, 1)
    assert "torch" in told["versions"]


@pytest.mark.slow
def test_every_group_has_pairs_that_run() -> None:
    (distance,) = GROUPS["weightmap"]()
    assert abs(distance.first() - distance.second()).max() < 1e-4  # type: ignore[operator]
    for name in ("augmentation", "metrics"):
        GROUPS[name]()[0].first()


@pytest.mark.slow
def test_the_time_between_the_runs_of_a_sweep() -> None:
    timed = GROUPS["sweep"]()[0].first()
    assert isinstance(timed, Timed)
    assert timed.seconds > 0


def test_what_a_way_has_measured_itself_counts() -> None:
    pair = Pair("group", "what", "a", "b", lambda: Timed(2.0), lambda: Timed(3.0))
    assert measure(pair, 2).ratio == 1.5


@pytest.mark.parametrize(
    ("word", "part"),
    [
        (
            "groups=speed",
            "groups=speed: no such group; choose from weightmap, augmentation, tiles, metrics, sweep, predict, or all",
        ),
        ("repeats=0", "repeats=0"),
        ("repeat=3", "unknown key repeat; the keys are groups, repeats, threads, output"),
    ],
)
def test_mistakes(cli: Cli, word: str, part: str, tmp_path: Path) -> None:
    assert part in cli("benchmark", word).mistake
    assert not list(tmp_path.iterdir())


def test_help(cli: Cli) -> None:
    assert "groups" in cli("benchmark", "--help").out
