"""The numbers of two runs side by side: how many are equal, where the runs part, and how far they go."""

import csv
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table
from torch import Tensor

from unet_exp.checkpoint import open_checkpoint
from unet_exp.runs import RunFolder

Number = int | float | str | None
"""As a file has it: text where it is no number, None where there is nothing."""


@dataclass(frozen=True)
class Difference:
    """A number that two runs do not share.

    Attributes:
        number: which one, such as `metrics.csv, epoch 3: val/loss`.
        then: what the earlier run has.
        now: what the later one has.
    """

    number: str
    then: Number
    now: Number

    @property
    def size(self) -> float:
        """How far they are apart; infinite where one of them is no finite number."""
        if not isinstance(self.then, int | float) or not isinstance(self.now, int | float):
            return math.inf
        apart = abs(self.now - self.then)
        return apart if math.isfinite(apart) else math.inf


@dataclass
class Comparison:
    """What a comparison of two runs has found.

    Attributes:
        numbers: how many were compared; each weight is one.
        differing: how many of them differ.
        differences: the numbers that differ, in the order in which a training makes them; of each tensor of weights
            only the one that differs most.
        lost: files of the later run that the earlier one does not have any more; they were not compared.
    """

    numbers: int = 0
    differing: int = 0
    differences: list[Difference] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Whether no number differs."""
        return not self.differing

    def table(self) -> Table:
        """The first and the largest difference; there must be one."""
        first, largest = self.differences[0], max(self.differences, key=lambda one: one.size)
        shown = {"first": first, "largest": largest} if first != largest else {"first and largest": first}
        table = Table("")
        for which in shown:
            table.add_column(f"{which} difference", overflow="fold")
        for row, told in {
            "number": lambda one: one.number,
            "then": lambda one: _text(one.then),
            "now": lambda one: _text(one.now),
            "apart": lambda one: f"{one.size:.3g}" if math.isfinite(one.size) else "",
        }.items():
            table.add_row(row, *map(told, shown.values()))
        return table

    def add(self, before: Mapping[str, Number], after: Mapping[str, Number]) -> None:
        """Compares numbers by their names; nan is equal to nan."""
        names = dict.fromkeys([*before, *after])
        pairs = [Difference(name, before.get(name), after.get(name)) for name in names]
        found = [pair for pair in pairs if _text(pair.then) != _text(pair.now)]
        self.numbers += len(pairs)
        self.differing += len(found)
        self.differences += found

    def add_weights(self, before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> None:
        """Compares tensors by their names, element by element."""
        for name in dict.fromkeys([*before, *after]):
            then, now = before.get(name), after.get(name)
            if then is None or now is None or then.shape != now.shape:
                self.add({f"{name}: shape": _shape(then)}, {f"{name}: shape": _shape(now)})
                continue
            self.numbers += now.numel()
            differ = (then != now) & ~(then.isnan() & now.isnan())
            if count := int(differ.sum()):
                self.differing += count
                apart = torch.where(differ, (now.double() - then.double()).abs().nan_to_num(nan=math.inf), -1)
                at = tuple(int(index) for index in np.unravel_index(int(apart.argmax()), apart.shape))
                self.differences.append(Difference(f"{name}{list(at)}", then[at].item(), now[at].item()))


def compare(before: RunFolder, after: RunFolder, trust: Collection[str] = ()) -> Comparison:
    """Compares two finished runs of one config: all epochs, the best weights, the test scores.

    Args:
        before: the earlier one.
        after: the later one.
        trust: packages whose classes their checkpoints may name.

    Raises:
        DataError: if a checkpoint cannot be opened.
    """
    found = Comparison()

    def is_there(then: Path, now: Path) -> bool:
        if now.exists() and not then.exists():
            found.lost.append(now.name)
        return then.exists()

    if is_there(before.metrics, after.metrics):
        found.add(_rows(before.metrics, "epoch"), _rows(after.metrics, "epoch"))
    if is_there(before.best, after.best):
        found.add_weights(_weights(before.best, trust), _weights(after.best, trust))
    told = before.read_summary(), after.read_summary()
    found.add(*map(_ends, told))
    for then, now, keys in (
        (before.per_image, after.per_image, ("image",)),
        (before.per_threshold, after.per_threshold, ("image", "threshold")),
    ):
        if is_there(then, now):
            found.add(_rows(then, *keys), _rows(now, *keys))
    found.add(*(summary["metrics"] for summary in told))
    return found


def _rows(path: Path, *keys: str) -> dict[str, Number]:
    """The numbers of a table, but for its seconds, named by the columns that tell its rows apart."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {
            f"{path.name}, {', '.join(f'{key} {row[key]}' for key in keys)}: {column}": _number(text)
            for row in csv.DictReader(file)
            for column, text in row.items()
            if column not in (*keys, "seconds")
        }


def _weights(path: Path, trust: Collection[str]) -> dict[str, Tensor]:
    return {f"{path.name}, {name}": value for name, value in open_checkpoint(path, trust).weights.items()}


def _ends(summary: Mapping[str, Any]) -> dict[str, Number]:
    best = summary.get("best")
    scores = {f"best {best['monitor']}": best["value"]} if best else {}
    return {"steps": summary["steps"], "epochs": summary["epochs"], **scores}


def _number(text: str) -> Number:
    try:
        return float(text)
    except ValueError:
        return text or None


def _shape(tensor: Tensor | None) -> str | None:
    return None if tensor is None else str(tuple(tensor.shape))


def _text(value: Number) -> str:
    return "nothing" if value is None else str(value)
