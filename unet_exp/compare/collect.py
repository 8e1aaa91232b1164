"""Reads finished runs from their folders."""

import glob
import os
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from unet_exp.config import parse
from unet_exp.config.running import OwnMetricConfig
from unet_exp.errors import ConfigError, DataError
from unet_exp.keys import flat, rename_keys
from unet_exp.metrics.declarations import LOSS, Direction, Metric, find_metric, read_own
from unet_exp.runs.run_folder import RunFolder
from unet_exp.runs.summary import Summary
from unet_exp.runs.sweep_folder import SweepFolder


@dataclass(frozen=True)
class Run:
    """A finished run, read from its folder.

    Attributes:
        folder: the run's folder.
        config: resolved and flat, with dotted keys; that of an earlier version in the words of today.
        summary: its `summary.json`.
        images: its `per_image.csv`, indexed by image; nan where a score is undefined. Empty without test images.
        history: its `metrics.csv`, one row per epoch. Empty where there is none.
        order: the sort key: time of its start, or its place in the plan of its sweep.
    """

    folder: Path
    config: dict[str, Any]
    summary: Summary
    images: pd.DataFrame
    history: pd.DataFrame
    order: tuple[str, int, str] = ("", 0, "")

    @property
    def seed(self) -> int:
        """Of the training."""
        return int(self.config["seed"])

    @property
    def fold(self) -> int | None:
        """The fold that was tested; None without folds."""
        return int(self.config["data.fold"]) if self.config.get("data.folds") else None


@dataclass(frozen=True)
class Excluded:
    """A run that is not compared; `lost` if it has no score at all, perhaps because of its settings."""

    folder: Path
    reason: str
    lost: bool = False


def collect(places: Sequence[str | Path]) -> tuple[list[Run], list[Excluded]]:
    """Reads the runs in some places.

    Args:
        places: run folders, sweep folders, any folders above such, or globs of these.

    Returns:
        The finished runs by their start, each once, and the excluded ones.

    Raises:
        DataError: for a place that does not exist or holds no run.
    """
    found: dict[Path, Path] = {}
    for place in places:
        folders = [folder for top in _find_folders(str(place)) for folder in _run_folders(top)]
        if not folders:
            raise DataError(
                f"{place}: no run is in there; name a run's folder (with summary.json), a sweep's or one above them"
            )
        for folder in folders:
            found.setdefault(folder.resolve(), folder)
    runs, excluded = [], []
    for folder in found.values():
        try:
            runs.append(_read_run(folder))
        except _NotComparable as reason:
            excluded.append(Excluded(folder, str(reason), reason.lost))
    return sorted(runs, key=lambda run: run.order), sorted(excluded, key=lambda item: item.folder)


class _NotComparable(Exception):
    """Why a run is excluded."""

    def __init__(self, reason: str, lost: bool = False) -> None:
        super().__init__(reason)
        self.lost = lost


def _find_folders(place: str) -> list[Path]:
    path = os.path.expanduser(place)  # pathlib's raises for ~nobody and for a too long name
    if os.path.isdir(path):
        return [Path(path)]
    if os.path.exists(path):
        raise DataError(f"{place} is a file; name the folder of a run or of a sweep")
    matches = sorted(Path(match) for match in glob.glob(path, recursive=True))
    if not matches:
        raise DataError(
            f"{place}: there is no such folder; several are written as runs=[a,b], and a name with commas or equals "
            "signs in quotes there: runs=['a,b','c']"
        )
    return [match for match in matches if match.is_dir()]


def _run_folders(top: Path) -> Iterator[Path]:
    """Run folders in and below `top`, but none inside another."""
    for place, below, files in os.walk(top):
        if "config.yaml" in files or "summary.json" in files:
            below.clear()
            yield Path(place)
        below[:] = sorted(name for name in below if not name.startswith("."))


def _read_run(path: Path) -> Run:
    folder = RunFolder(path)
    summary = _read_finished(folder)
    try:
        values = rename_keys(folder.read_config())
        tested = folder.read_split(summary)["test"]
    except DataError as error:
        raise _NotComparable(str(error).removeprefix(f"{path}/")) from None
    with suppress(ConfigError):  # of another version: compared as it is
        values = parse(values).model_dump()  # keys of later versions mean what this one did
    config = flat(values)
    if not all(type(config.get(key)) is int for key in ("seed", "data.fold", "data.folds")):
        raise _NotComparable("config.yaml is damaged: it lacks seed, data.fold or data.folds")
    images = _read_numbers(folder.per_image, index="image")
    if LOSS.name in images:
        images.loc[find_ignored(images), LOSS.name] = np.nan  # earlier versions wrote 0
    if folder.per_image.exists() and sorted(images.index) != sorted(tested):
        raise _NotComparable(f"per_image.csv is damaged: {len(images)} rows for {len(tested)} test images")
    return Run(path, config, summary, images, _read_numbers(folder.metrics), _sort_key(path, summary))


def find_score(metric: str, runs: Sequence[Run]) -> Metric:
    """The declaration of a score: this project's, or the user's own, as the configs of the runs declare it.

    Raises:
        ConfigError: for a name that no score has.
        DataError: for one whose best value is the smallest in some of the runs, and the largest in others.
    """
    found: dict[str, Direction] = {}
    for run in runs:
        for own in read_own(run.config.get("metrics.own")):
            if found.setdefault(own.name, own.direction) != own.direction and own.name == metric:
                raise DataError(f"metric={metric}: for some of the runs its best value is the smallest")
    declarations = [OwnMetricConfig(name=name, target="of.Runs", direction=best) for name, best in found.items()]
    return find_metric(metric, declarations)


def find_ignored(images: pd.DataFrame) -> "pd.Series[bool]":
    """Which images of a `per_image.csv` have no pixel that counts: these have no accuracy."""
    if "accuracy" not in images:
        return pd.Series(False, index=images.index)
    return images["accuracy"].isna()


def _sort_key(path: Path, summary: Summary) -> tuple[str, int, str]:
    with suppress(DataError):
        sweep = SweepFolder.open(path.parent)
        names = [run.name for run in sweep.runs]
        if path.name in names:  # also if it ran again after the others
            return sweep.created, names.index(path.name), str(path)
    return summary.started or "", 0, str(path)


def _read_finished(folder: RunFolder) -> Summary:
    """The summary of a finished training."""
    try:
        summary = Summary.read(folder.summary)
    except DataError as error:
        raise _NotComparable(str(error).removeprefix(f"{folder.path}/")) from None
    if summary.checkpoint is not None:
        raise _NotComparable("an evaluation; only trainings are compared")
    if summary.pruned_at is not None:
        raise _NotComparable(f"pruned by the search at step {summary.pruned_at}")
    if summary.status == "running":
        raise _NotComparable("not finished: still running, or killed", lost=True)
    if summary.status != "finished":
        reason = textwrap.shorten(summary.error or "no reason is recorded", 160, placeholder=" ...")
        raise _NotComparable(f"{summary.status or 'not finished'}: {reason}", lost=True)
    parts = summary.split_counts if summary.split is None else summary.split
    tested = (parts or {}).get("test")
    needed = {"data_fingerprint": summary.data_fingerprint, "metrics_version": summary.metrics_version, "split": tested}
    missing = [key for key, value in needed.items() if value is None]
    if damaged := list(dict.fromkeys([*summary.damaged, *missing])):
        raise _NotComparable(f"summary.json is damaged: {', '.join(damaged)}")
    return summary


def _read_numbers(path: Path, index: str | None = None) -> pd.DataFrame:
    """A CSV file of numbers, with nan for infinite ones; empty where the file is missing."""
    if not path.exists():
        return pd.DataFrame()
    try:
        # As text first, so that an image named NA keeps its name.
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
        if not isinstance(frame.index, pd.RangeIndex):
            raise ValueError("more values than names of columns")
        frame = (frame.set_index(index) if index else frame).replace("", "nan").astype(np.float64)
    except (OSError, ValueError, KeyError):
        raise _NotComparable(f"{path.name} is damaged") from None
    return frame.replace([np.inf, -np.inf], np.nan)
