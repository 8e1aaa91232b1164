"""A small search: its space, and ways to open and to answer it."""

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from unet_exp.compose import compose_command, parse_overrides
from unet_exp.config.multirun import OptunaConfig, parse_search
from unet_exp.runs.study_storage import StudyAddress
from unet_exp.sweeps.search import Search
from unet_exp.sweeps.search_task import Place, SearchTask
from unet_exp.sweeps.study import Outcome, Trial

SPACE: dict[str, Any] = {"x": {"low": -4.0, "high": 4.0}, "n": {"low": 1, "high": 64, "log": True}, "c": ["a", "b"]}
FEW: dict[str, Any] = {
    "space": {"fusion": ["concat", "add"], "model.depth": {"low": 2, "high": 4}},
    "sampler": "random",
}
"""Six combinations."""


@functools.cache
def shipped() -> dict[str, Any]:
    return compose_command(["search=optuna"]).search


def optuna_config(**changes: Any) -> OptunaConfig:
    """The shipped settings, in `SPACE`."""
    config = parse_search({**shipped(), "space": SPACE, **changes})
    assert config is not None
    return config


def make_place(folder: Path, config: OptunaConfig) -> Place:
    """A sweep's folder for the trials of a launcher."""
    folder.mkdir(parents=True, exist_ok=True)
    return Place.here(folder, SearchTask.write(folder, config, None, False))


def opener(folder: Path) -> Callable[..., Search]:
    """A function that opens the study in `folder`: `search(trials=3, ...)`, or in another `journal` there.

    The process that had it opened before has died, unless this one is `beside` it. With `storage` the study is shared,
    and each `launcher` has a folder of its own.
    """
    opened: dict[str, list[Search]] = {}

    def make(
        journal: str = "search.journal",
        monitor: str = "val/iou/mean",
        beside: bool = False,
        launcher: str = "",
        settings: Mapping[str, Any] | None = None,
        **changes: Any,
    ) -> Search:
        config = optuna_config(**changes)
        place = make_place(folder / f"runs-{journal}{launcher}", config)
        address = StudyAddress(config.storage or str(folder / journal), config.study or "search")
        before = opened.setdefault(place.folder, [])
        while before and not beside:
            before.pop().close()
        search = Search(config, monitor, address, place, (), settings)
        before.append(search)
        return search

    return make


def plain(trial: Trial) -> dict[str, Any]:
    """A trial's values as Hydra reads its words."""
    return {override.key_or_group: override.value() for override in parse_overrides(trial.overrides)}


def bowl(values: Mapping[str, Any]) -> float:
    """At most 1, at x = 1.5, c = b."""
    return 1 - (values["x"] - 1.5) ** 2 / 30 - 0.3 * (values["c"] == "a")


def ask(search: Search) -> Trial:
    """The next trial, which there must be."""
    trial = search.ask()
    assert trial is not None
    return trial


def run(search: Search, trials: int | None = None, value: Callable[[Mapping[str, Any]], float] = bowl) -> list[Trial]:
    """Answers the search until it ends, or that many trials."""
    done: list[Trial] = []
    while (trials is None or len(done) < trials) and (trial := search.ask()) is not None:
        search.tell(trial.number, Outcome("finished", value(plain(trial))))
        done.append(trial)
    return done


def answer_at_once(workers: Sequence[Search]) -> None:
    """Lets workers of a search in `FEW` answer all of it, each in a thread; nothing is trained twice."""
    trained: list[Trial] = []

    def work(worker: Search) -> None:
        while (trial := worker.ask()) is not None or worker.waits:
            if trial is not None:
                trained.append(trial)
                worker.tell(trial.number, Outcome("finished", float(trial.number)))

    threads = [threading.Thread(target=work, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert len({trial.number for trial in trained}) == len(trained)
    assert len({tuple(trial.overrides) for trial in trained}) == len(trained) <= 6
    counts = workers[0].counts()
    assert counts["finished"] == len(trained)
    assert counts["running"] == counts["failed"] == 0
    assert sum(counts.values()) <= 20
