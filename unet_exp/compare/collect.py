"""Reads finished runs from their folders."""

import csv
import glob
import math
import os
import textwrap
from collections.abc import Hashable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from unet_exp.config import parse
from unet_exp.config.running import OwnMetricConfig
from unet_exp.errors import ConfigError, DataError, UserError
from unet_exp.keys import flat, rename_keys
from unet_exp.metrics.declarations import LOSS, Direction, Metric, find_metric, read_own
from unet_exp.progress import watch
from unet_exp.runs.plain_yaml import SharedBlocks
from unet_exp.runs.run_folder import OUTPUTS, RunFolder
from unet_exp.runs.summary import Summary
from unet_exp.runs.sweep_folder import SweepFolder

_USUAL = "iou/mean"
"""The score that compares runs whose own choice is none."""


@dataclass(frozen=True)
class Run:
    """A finished run, read from its folder.

    Attributes:
        folder: the run's folder.
        config: resolved and flat, with dotted keys; that of an earlier version in the words of today.
        summary: its `summary.json` without `metrics` and `split`.
        images: its `per_image.csv`, indexed by image; nan where a score is undefined. Empty without test images.
        history: what is drawn of its `metrics.csv`: step, training loss and monitored score, one row per epoch. Empty
            where there is none.
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
    runs, excluded, reader = [], [], _Reader()
    with watch("reading the runs", len(found)) as phase:
        for folder in found.values():
            try:
                runs.append(reader.read_run(folder))
            except _NotComparable as reason:
                excluded.append(Excluded(folder, str(reason), reason.lost))
            phase.done += 1
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
        several = "; several are written as runs=[a,b], and a name with commas or equals signs in quotes there: "
        hint = (
            f"{several}runs=['a,b','c']"
            if "," in place
            else f"; runs are in {OUTPUTS}/train, sweeps in {OUTPUTS}/sweep"
        )
        raise DataError(f"{place}: there is no such folder{hint}")
    return [match for match in matches if match.is_dir()]


def _run_folders(top: Path) -> Iterator[Path]:
    """Run folders in and below `top`, but none inside another."""
    for place, below, files in os.walk(top):
        if "config.yaml" in files or "summary.json" in files:
            below.clear()
            yield Path(place)
        below[:] = sorted(name for name in below if not name.startswith("."))


class _Reader:
    """Reads the files of many runs; what these have in common is read once, and kept once."""

    def __init__(self) -> None:
        self._blocks = SharedBlocks()
        self._configs: dict[str, dict[str, Any]] = {}
        self._places: dict[Path, dict[str, tuple[str, int]]] = {}
        self._shared: dict[Hashable, Any] = {}

    def read_run(self, path: Path) -> Run:
        """The run in a folder.

        Raises:
            _NotComparable: if it is not finished, or damaged.
        """
        folder = RunFolder(path)
        summary = _read_finished(folder)
        try:
            tested = folder.read_split(summary)["test"]
            config = self._read_config(folder)
        except DataError as error:
            raise _NotComparable(str(error).removeprefix(f"{path}/")) from None
        if not all(type(config.get(key)) is int for key in ("seed", "data.fold", "data.folds")):
            raise _NotComparable("config.yaml is damaged: it lacks seed, data.fold or data.folds")
        images = self._read_numbers(folder.per_image, index="image")
        if LOSS.name in images and (ignored := find_ignored(images)).any():
            images.loc[ignored, LOSS.name] = np.nan  # earlier versions wrote 0
        if folder.per_image.exists() and sorted(images.index) != sorted(tested):
            raise _NotComparable(f"per_image.csv is damaged: {len(images)} rows for {len(tested)} test images")
        history = self._read_numbers(folder.metrics, only=("step", "train/loss", str(config.get("trainer.monitor"))))
        return Run(path, config, self._slim(summary), images, history, self._find_order(path, summary))

    def _read_config(self, folder: RunFolder) -> dict[str, Any]:
        values = rename_keys(folder.read_config(self._blocks.parse))
        with suppress(ConfigError):  # of another version: compared as it is
            parsed = parse(values)
            rest = repr({key: value for key, value in values.items() if key not in ("seed", "name")})
            if rest not in self._configs:
                self._configs[rest] = flat(parsed.model_dump())  # keys of later versions mean what this one did
            return {**self._configs[rest], "seed": parsed.seed, "name": parsed.name}
        return flat(values)

    def _slim(self, summary: Summary) -> Summary:
        """Without the scores of all images together, and the names of these."""
        versions = self._shared.setdefault(tuple((summary.versions or {}).items()), summary.versions)
        return summary.model_copy(update={"metrics": {}, "split": None, "versions": versions})

    def _read_numbers(self, path: Path, index: str | None = None, only: Sequence[str] | None = None) -> pd.DataFrame:
        """A CSV file of numbers, with nan for infinite ones; empty where the file is missing.

        Args:
            path: of the file.
            index: the column of text, which names the rows.
            only: columns to keep; None: all.
        """
        if not path.exists():
            return pd.DataFrame()
        try:
            names, labels, values = _read_table(path, index)
        except (OSError, ValueError, csv.Error):
            raise _NotComparable(f"{path.name} is damaged") from None
        if only is not None:
            kept = [place for place, name in enumerate(names) if name in only]
            names, values = [names[place] for place in kept], values[:, kept]
        rows = None if labels is None else self._share_index(labels, index)
        return pd.DataFrame(values, index=rows, columns=self._share_index(names))

    def _share_index(self, names: Sequence[str], of: str | None = None) -> "pd.Index[Any]":
        key = (of, *names)
        if key not in self._shared:
            self._shared[key] = pd.Index(names, name=of)
        found: pd.Index[Any] = self._shared[key]
        return found

    def _find_order(self, path: Path, summary: Summary) -> tuple[str, int, str]:
        """By the place in the plan of its sweep, also if it ran again after the others."""
        if path.parent not in self._places:
            self._places[path.parent] = {}
            with suppress(DataError):
                sweep = SweepFolder.open(path.parent)
                self._places[path.parent] = {run.name: (sweep.created, at) for at, run in enumerate(sweep.runs)}
        return (*self._places[path.parent].get(path.name, (summary.started or "", 0)), str(path))


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


def choose_metric(runs: Sequence[Run]) -> tuple[str, str]:
    """The score that compares runs if nobody has typed one, and why it does, in words.

    The counterpart on the test images of the validation score that has selected the networks of all runs; where that
    has thresholds, its value at that of validation. A loss compares nothing: another one has values of another kind.
    """
    monitors = {str(run.config.get("trainer.monitor")) for run in runs}
    if len(monitors) != 1:
        return _USUAL, "the runs differ in trainer.monitor" if monitors else ""
    (monitor,) = monitors
    name = monitor.removeprefix("val/")
    try:
        score = find_score(name, runs)
    except UserError:
        return _USUAL, f"trainer.monitor={monitor} is no score of theirs"
    if score is LOSS:
        return _USUAL, f"trainer.monitor={monitor} is a loss"
    tables = [run.images for run in runs if not run.images.empty]
    candidates = [score.at_val, name] if score.has_threshold else [name]
    shared = [column for column in candidates if all(column in table for table in tables)]
    defined = [column for column in shared if any(table[column].notna().any() for table in tables)]
    if not defined:
        return _USUAL, f"the test has no {candidates[-1]} (trainer.monitor={monitor})"
    return defined[0], f"trainer.monitor={monitor}"


def find_ignored(images: pd.DataFrame) -> "pd.Series[bool]":
    """Which images of a `per_image.csv` have no pixel that counts: these have no accuracy."""
    if "accuracy" not in images:
        return pd.Series(False, index=images.index)
    return images["accuracy"].isna()


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


def _read_table(path: Path, index: str | None) -> tuple[list[str], list[str] | None, NDArray[np.float64]]:
    """Names of the columns of numbers, texts of the column `index`, and the numbers (rows, columns), finite or nan.

    Raises:
        OSError, ValueError, csv.Error: for a file that is none.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        names, *rows = (row for row in csv.reader(file) if row)
    if len(set(names)) < len(names) or any(len(row) > len(names) for row in rows):
        raise ValueError("more values than names of columns, or a name twice")
    rows = [row if len(row) == len(names) else [*row, *[""] * (len(names) - len(row))] for row in rows]
    labels = None
    if index is not None:
        place = names.index(index)
        labels = [row.pop(place) for row in rows]
        names.pop(place)
    numbers = [float(text) if text else math.nan for row in rows for text in row]
    values = np.array(numbers, np.float64).reshape(len(rows), len(names))
    values[np.isinf(values)] = np.nan
    return names, labels, values
