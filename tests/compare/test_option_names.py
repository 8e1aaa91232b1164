"""Groups of runs with options of the user's own are named as these were typed."""

from typing import Any

import pytest
from sweeps_on_disk import runs_of

from unet_exp.compare.collect import Run
from unet_exp.compare.comparison import Comparison, compare_runs
from unet_exp.errors import ConfigError

SAME: dict[str, Any] = {"model.name": "same"}
SCORES = {0: 0.5, 1: 0.6}


def tiny(target: str = "tiny.Tiny") -> dict[str, Any]:
    return {"model.name": "custom", "model.target": target}


def group(variant: dict[str, Any], *words: str) -> list[Run]:
    return runs_of(variant, SCORES, overrides=[*words, "seed=0"])


def labels(comparison: Comparison) -> list[str]:
    return [group.label for group in comparison.groups]


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ([(SAME, "model=same"), (tiny(), "model=tiny")], ["model=same", "model=tiny"]),
        # The word of an experiment is nowhere.
        ([(SAME, "experiment=small"), (tiny(), "model=tiny")], ["model=same", "model=tiny"]),
        ([(tiny(), "model=tiny"), (tiny("a.B"), "model=large")], ["model=tiny", "model=large"]),
        # What was typed beside it stays.
        (
            [(tiny(), "model=custom", "model.target=tiny.Tiny"), (tiny("a.B"), "model=custom", "model.target=a.B")],
            ["model.target=tiny.Tiny", "model.target=a.B"],
        ),
        # One word that has come to stand for two settings.
        ([(tiny(), "model=tiny"), (tiny("a.B"), "model=tiny")], ["model.target=tiny.Tiny", "model.target=a.B"]),
        # Whatever else differs is said too.
        (
            [(SAME | {"optimizer.lr": 0.1}, "model=same"), (tiny() | {"optimizer.lr": 0.2}, "model=tiny")],
            ["model=same, optimizer.lr=0.1", "model=tiny, optimizer.lr=0.2"],
        ),
        (
            [({"loss.name": "dice", "loss.smooth": 1.0}, "loss=mine"), ({"loss.name": "dice", "loss.smooth": 2.0}, "")],
            ["loss.smooth=1.0", "loss.smooth=2.0"],
        ),
        (
            [
                ({"optimizer.name": "adamw", "optimizer.lr": 0.1}, "optimizer=mine"),
                ({"optimizer.name": "sgd", "optimizer.lr": 0.2}, "optimizer=sgd"),
            ],
            ["optimizer.lr=0.1, optimizer=adamw", "optimizer.lr=0.2, optimizer=sgd"],
        ),
        # One class with other parameters.
        (
            [
                (tiny() | {"model.params.width": 8}, "model=tiny", "model.params.width=8"),
                (tiny() | {"model.params.width": 16}, "model=tiny", "model.params.width=16"),
            ],
            ["model.params.width=8", "model.params.width=16"],
        ),
        (
            [(tiny() | {"model.params.width": 8}, "model=tiny"), (tiny() | {"model.params.width": 16}, "model=big")],
            ["model=tiny", "model=big"],
        ),
    ],
)
def test_the_typed_word_is_the_label(groups: list[tuple[Any, ...]], expected: list[str]) -> None:
    comparison = compare_runs([run for variant, *words in groups for run in group(variant, *words)])
    assert labels(comparison) == expected
    assert comparison.varying == list(comparison.groups[0].settings)


def test_equal_settings_are_one_group_whatever_was_typed() -> None:
    runs = [*group(SAME, "model=same"), *runs_of(tiny(), {0: 0.7}, overrides=["model=tiny"])]
    comparison = compare_runs([*runs, *runs_of(tiny(), {1: 0.7}, overrides=["model=other"])])
    assert labels(comparison) == ["model=same", "model=custom"]
    assert [len(group.runs) for group in comparison.groups] == [2, 2]


def test_the_typed_word_is_the_baseline() -> None:
    runs = [*group(SAME, "model=same"), *group(tiny(), "model=tiny")]
    for word in ("tiny", "model=tiny"):
        assert compare_runs(runs, baseline=word).baseline.label == "model=tiny"
    with pytest.raises(ConfigError, match=r"type one of: baseline=model=same or baseline=model=tiny$"):
        compare_runs(runs, baseline="custom")
