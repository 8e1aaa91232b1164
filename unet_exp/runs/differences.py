"""Differences between the numbers of two runs: how many, where they begin, and how large."""

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from unet_exp.runs.run_folder import RunFolder
from unet_exp.runs.summary import Summary

Number = int | float | str | None
"""As in the file: text where it is no number, None where it is empty."""


@dataclass(frozen=True)
class ChangedNumber:
    """A number that differs between two runs, named such as `metrics.csv, epoch 3: val/loss`."""

    number: str
    then: Number
    now: Number

    @property
    def size(self) -> float:
        """The absolute difference; infinite where one of the two is no finite number."""
        if not isinstance(self.then, int | float) or not isinstance(self.now, int | float):
            return math.inf
        apart = abs(self.now - self.then)
        return apart if math.isfinite(apart) else math.inf


@dataclass
class RerunReport:
    """The comparison of a run with its repetition.

    Attributes:
        numbers: how many were compared; each weight is one.
        differing: how many of them differ.
        differences: in the order in which a training makes them; of each tensor only the element that differs most.
        lost: files of the later run that the earlier one lacks; they were not compared.
    """

    numbers: int = 0
    differing: int = 0
    differences: list[ChangedNumber] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Whether no number differs."""
        return not self.differing

    def table(self) -> Table:
        """The first and the largest difference; there must be one."""
        first, largest = self.differences[0], max(self.differences, key=lambda found: found.size)
        columns = {"first": first, "largest": largest} if first != largest else {"first and largest": first}
        table = Table("")
        for which in columns:
            table.add_column(f"{which} difference", overflow="fold")
        table.add_row("number", *(found.number for found in columns.values()))
        table.add_row("then", *(_format_number(found.then) for found in columns.values()))
        table.add_row("now", *(_format_number(found.now) for found in columns.values()))
        sizes = (found.size for found in columns.values())
        table.add_row("apart", *(f"{size:.3g}" if math.isfinite(size) else "" for size in sizes))
        return table

    def add(self, before: Mapping[str, Number], after: Mapping[str, Number]) -> None:
        """Compares numbers by name; nan equals nan."""
        names = dict.fromkeys([*before, *after])
        pairs = [ChangedNumber(name, before.get(name), after.get(name)) for name in names]
        found = [pair for pair in pairs if _format_number(pair.then) != _format_number(pair.now)]
        self.numbers += len(pairs)
        self.differing += len(found)
        self.differences += found

    def add_weights(self, before: Mapping[str, NDArray[Any]], after: Mapping[str, NDArray[Any]]) -> None:
        """Compares arrays by name, element by element; nan equals nan."""
        for name in dict.fromkeys([*before, *after]):
            then, now = before.get(name), after.get(name)
            if then is None or now is None or then.shape != now.shape:
                self.add({f"{name}: shape": _format_shape(then)}, {f"{name}: shape": _format_shape(now)})
                continue
            self.numbers += now.size
            differ = (then != now) & ~((then != then) & (now != now))
            if count := int(differ.sum()):
                self.differing += count
                with np.errstate(invalid="ignore"):  # infinity minus infinity
                    apart = np.abs(now.astype(np.float64) - then.astype(np.float64))
                apart = np.where(differ, np.where(np.isnan(apart), np.inf, apart), -1)
                at = tuple(int(index) for index in np.unravel_index(int(apart.argmax()), apart.shape))
                self.differences.append(ChangedNumber(f"{name}{list(at)}", then[at].item(), now[at].item()))


def compare_numbers(
    before: RunFolder, after: RunFolder, read_weights: Callable[[Path], Mapping[str, NDArray[Any]]]
) -> RerunReport:
    """Compares two finished runs of one config: all epochs, the best weights (by `read_weights`), the test scores.

    Raises:
        DataError: if a checkpoint cannot be opened.
    """
    found = RerunReport()

    def is_there(then: Path, now: Path) -> bool:
        if now.exists() and not then.exists():
            found.lost.append(now.name)
        return then.exists()

    if is_there(before.metrics, after.metrics):
        found.add(*_read_both(before.metrics, after.metrics, "epoch"))
    if is_there(before.best, after.best):
        found.add_weights(*(_prefix_names(path, read_weights(path)) for path in (before.best, after.best)))
    summaries = before.read_summary(), after.read_summary()
    found.add(*map(_select_ends, summaries))
    for then, now, keys in (
        (before.per_image, after.per_image, ("image",)),
        (before.per_threshold, after.per_threshold, ("image", "threshold")),
    ):
        if is_there(then, now):
            found.add(*_read_both(then, now, *keys))
    known = summaries[0].metrics
    found.add(known, {name: value for name, value in summaries[1].metrics.items() if name in known or not known})
    return found


def _read_both(then: Path, now: Path, *keys: str) -> tuple[dict[str, Number], dict[str, Number]]:
    """The numbers of two tables, without scores that only the later one has: those of a later version."""
    with then.open(newline="") as file:
        known = next(csv.reader(file), [])
    return _read_rows(then, known, *keys), _read_rows(now, known, *keys)


def _read_rows(path: Path, known: Sequence[str], *keys: str) -> dict[str, Number]:
    """The numbers in the `known` columns of a table but the seconds, named by the columns `keys`."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {
            f"{path.name}, {', '.join(f'{key} {row[key]}' for key in keys)}: {column}": _parse_number(text)
            for row in csv.DictReader(file)
            for column, text in row.items()
            if column in known and column not in (*keys, "seconds")
        }


def _prefix_names(path: Path, weights: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {f"{path.name}, {name}": value for name, value in weights.items()}


def _select_ends(summary: Summary) -> dict[str, Number]:
    best = {} if summary.best is None else {f"best {summary.best.monitor}": summary.best.value}
    return {"steps": summary.steps, "epochs": summary.epochs, **best}


def _parse_number(text: str) -> Number:
    try:
        return float(text)
    except ValueError:
        return text or None


def _format_shape(array: NDArray[Any] | None) -> str | None:
    return None if array is None else str(array.shape)


def _format_number(value: Number) -> str:
    return "nothing" if value is None else str(value)
