"""A small search: its space, and ways to open and to answer it."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from unet_exp.compose import compose_command, parse_overrides
from unet_exp.config.multirun import OptunaConfig, parse_search
from unet_exp.sweeps.search import Outcome, Search, Trial

SPACE: dict[str, Any] = {"x": {"low": -4.0, "high": 4.0}, "n": {"low": 1, "high": 64, "log": True}, "c": ["a", "b"]}


@functools.cache
def shipped() -> dict[str, Any]:
    return compose_command(["search=optuna"]).search


def optuna_config(**changes: Any) -> OptunaConfig:
    """The shipped settings, in `SPACE`."""
    config = parse_search({**shipped(), "space": SPACE, **changes})
    assert config is not None
    return config


def opener(folder: Path) -> Callable[..., Search]:
    """A function that opens the study in `folder`: `search(trials=3, ...)`, or in another `journal` there."""

    def make(journal: str = "search.journal", monitor: str = "val/iou/mean", **changes: Any) -> Search:
        return Search(optuna_config(**changes), monitor, folder / journal)

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
