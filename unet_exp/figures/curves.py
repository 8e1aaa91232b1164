"""Learning curves of one run."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from unet_exp.files import write_whole
from unet_exp.metrics.declarations import Direction, direction


def draw_curves(metrics: Path, target: Path, monitor: str, best: Direction | None = None) -> None:
    """Draws the losses, the validation scores and the learning rate over the optimizer steps.

    Args:
        metrics: a run's `metrics.csv`.
        target: the PNG to write.
        monitor: the score of the best epoch; its best value gets a mark.
        best: whether that is the smallest or the largest; None: as `monitor`, a score of this project's, says.
    """
    rows = read_history(metrics)
    with rc_context({"text.parse_math": False}), write_whole(target) as side:  # a class may have dollars in its name
        _draw(rows, monitor, best or direction(monitor)).savefig(side, dpi=110)


def read_history(metrics: Path) -> list[dict[str, str]]:
    """The rows of a run's `metrics.csv`; the last one may be incomplete after a full disk, and is left out then."""
    with metrics.open(newline="") as file:
        return [row for row in csv.DictReader(file) if None not in row.values()]


def read_points(rows: Sequence[Mapping[str, str]], name: str) -> tuple[list[int], list[float]]:
    """The steps at which a column has a number, and these."""
    known = [row for row in rows if row.get(name)]
    return [int(row["step"]) for row in known], [float(row[name]) for row in known]


def find_best(steps: Sequence[int], values: Sequence[float], mode: Direction) -> tuple[int, float] | None:
    """Step and value of the best epoch; None where it is never defined."""
    known = [(value, step) for step, value in zip(steps, values, strict=True) if not math.isnan(value)]
    if not known:
        return None
    value, step = (min if mode == "min" else max)(known, key=lambda pair: pair[0])
    return step, value


def _draw(rows: Sequence[Mapping[str, str]], monitor: str, mode: Direction) -> Figure:
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    losses, scores, rates = figure.subplots(1, 3)

    for name, label in (("train/loss", "training"), ("val/loss", "validation")):
        _plot(losses, rows, name, label=label)
    losses.set(title="loss", xlabel="step")
    losses.legend()
    names = [name for name in (rows[0] if rows else {}) if name.startswith("val/iou/") or name == "val/accuracy"]
    if monitor not in ("val/loss", *names):
        names.append(monitor)
    for name in names:
        _plot(scores, rows, name, label=name.removeprefix("val/"), lw=2 if name == monitor else 1)
    best = find_best(*read_points(rows, monitor), mode)
    if best is not None:
        axes = losses if monitor == "val/loss" else scores
        axes.plot(*best, "o", color="black", ms=5, zorder=4, label=f"best: {best[1]:.4f}")
    scores.set(title="validation scores", xlabel="step")
    if scores.has_data():
        scores.legend(loc="lower right", fontsize="small")
    _plot(rates, rows, "lr", color="grey")
    rates.set(title="learning rate", xlabel="step")
    for axes in (losses, scores, rates):
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    return figure


def _plot(axes: Axes, rows: Sequence[Mapping[str, str]], name: str, **look: Any) -> None:
    """Plots a column; a single point, of which a line shows nothing, as a dot that others do not hide."""
    steps, values = read_points(rows, name)
    point: dict[str, Any] = {"marker": "D", "ms": 8, "zorder": 3} if sum(map(math.isfinite, values)) == 1 else {}
    axes.plot(steps, values, **point, **look)
