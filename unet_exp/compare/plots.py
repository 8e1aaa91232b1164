"""The plots of the page, see `unet_exp.pages.plots`.

A plot is narrow, so that groups stand below each other with their labels above, and the number and length of labels are
limited.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator
from numpy.typing import NDArray

from unet_exp.compare.collect import Run
from unet_exp.compare.results import Comparison, Difference, Estimate
from unet_exp.pages.plots import INK, PALETTE, PAPER, STYLE, WIDTH, Plot, embed

MOST_BANDS = 8  # groups with bands in the learning curves; more hide each other
MOST_DOTS = 200  # single values of a group; more hide each other, and make the page large

_MARKERS = "oDs^vPX*"  # their number and that of the colours have no common divisor: 56 looks
_DASHES = ("-", "--", "-.", ":")
_ROW = 0.62  # inches
_LABEL, _POINTS = 52, 300  # characters of a label; points of a curve

Curve = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def plot_intervals(comparison: Comparison) -> list[Plot]:
    """The groups' means, and their differences from the baseline, with intervals and single runs."""
    with rc_context(STYLE):
        return [_plot_means(comparison), *([_plot_differences(comparison)] if comparison.differences else [])]


def plot_curves(comparison: Comparison) -> list[Plot]:
    """The monitored validation score and the training loss over the optimizer steps; none where there is no history.

    A group's runs are interpolated to common steps, each inside its own range. The line is the mean of the runs that
    reached a step, the band one standard deviation (ddof 1).
    """
    monitors = {str(run.config.get("trainer.monitor")) for group in comparison.groups for run in group.runs}
    columns = [*sorted(monitors), "train/loss"]
    with rc_context(STYLE):
        return [plot for column in dict.fromkeys(columns) if (plot := _plot_curve(comparison, column))]


def plot_costs(comparison: Comparison) -> list[Plot]:
    """The score against the cost: MACs and minutes; none where the runs lack it."""
    with rc_context(STYLE):
        macs = _plot_cost(comparison, "macs", "MACs", "multiply-accumulates of one training input")
        minutes = _plot_cost(comparison, "seconds_training", "minutes", "minutes of training", unit=60)
    return [plot for plot in (macs, minutes) if plot]


def _plot_means(comparison: Comparison) -> Plot:
    groups, metric = comparison.groups, comparison.metric
    many = any(len(group.runs) > MOST_DOTS for group in groups)
    figure, axes = _make_rows(_shorten_labels(comparison), metric)
    for row, group in enumerate(groups):
        _draw_interval(axes, row, row, list(group.pair_scores(metric).values()), group.estimate)
    for row, (upper, lower) in enumerate(pairwise(groups)):
        before, after = upper.pair_scores(metric), lower.pair_scores(metric)
        for pair in [pair for pair in before if pair in after and not many]:
            ends = [before[pair], after[pair]]
            axes.plot(ends, [row + 0.25, row + 1.25], color=INK, lw=0.5, alpha=0.25, zorder=1)
    joined = "Thin lines join runs of the same seed and fold."
    caption = (
        "Large marks are means over runs, bars their 95 % intervals, small dots single runs. "
        f"{_describe_dots('runs') if many else joined}"
    )
    return embed(figure, "means", f"{metric} by group", caption)


def _plot_differences(comparison: Comparison) -> Plot:
    baseline = comparison.baseline
    figure, axes = _make_rows(_shorten_labels(comparison)[1:], f"difference in {comparison.metric}")
    axes.axvline(0, color=INK, lw=1, ls=(0, (4, 3)), zorder=1)
    for row, difference in enumerate(comparison.differences):
        real = difference.verdict in ("better", "worse")
        _draw_interval(axes, row, row + 1, difference.gains, difference, filled=real)
    side = "right" if comparison.higher_is_better else "left"
    caption = (
        f"Each group minus {baseline.label}; {side} of the dashed line is better. Bars are 95 % intervals, small dots "
        "single pairs. A filled mark is a difference that the test calls real; of a hollow one it does not say so."
    )
    if any(difference.pairs > MOST_DOTS for difference in comparison.differences):
        caption += f" {_describe_dots('pairs')}"
    return embed(figure, "differences", f"Difference from {baseline.label}", caption)


def _plot_curve(comparison: Comparison, column: str) -> Plot | None:
    groups = comparison.groups
    known = [(place, curve) for place, group in enumerate(groups) if (curve := mean_curve(group.runs, column))]
    if not known:
        return None
    labels = _shorten_labels(comparison)
    figure, axes = _make_axes([labels[place] for place, _ in known], [place for place, _ in known], lines=True)
    for place, (steps, mean, std) in known:
        color, marker, dash = _pick_style(place)
        single = "" if len(steps) > 1 else marker
        axes.plot(steps, mean, color=color, ls=dash, lw=1.6, marker=single)
        if len(known) <= MOST_BANDS:
            axes.fill_between(steps, mean - std, mean + std, color=color, alpha=0.16, lw=0)
    axes.set(xlabel="optimizer steps", ylabel=column)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    bands = "bands one standard deviation" if len(known) <= MOST_BANDS else "no bands for so many groups"
    title = "Training loss" if column == "train/loss" else f"Validation: {column.removeprefix('val/')}"
    caption = f"Lines are means over the runs that reached a step; {bands}."
    if comparison.losses_differ and column in ("train/loss", "val/loss"):
        caption += " The groups' losses are different functions: compare their shapes, not their heights."
    return embed(figure, f"curve-{column}", title, caption)


def mean_curve(runs: Sequence[Run], column: str) -> Curve | None:
    """Steps, mean and standard deviation (ddof 1, nan for a single run) of a column of the runs' histories.

    Each run is interpolated to the steps of all, inside its own range; None if no run has the column.
    """
    singles = []
    for run in runs:
        if {"step", column} <= set(run.history.columns):
            points = np.column_stack([run.history[name].to_numpy() for name in ("step", column)])
            points = points[~np.isnan(points).any(axis=1)][::-1]
            own, places = np.unique(points[:, 0], return_index=True)  # of one step twice the later one
            if own.size:
                singles.append((own, points[places, 1]))
    if not singles:
        return None
    steps = np.unique(np.concatenate([own for own, _ in singles]))
    steps = steps[np.linspace(0, len(steps) - 1, min(len(steps), _POINTS)).astype(int)]
    values = pd.DataFrame(np.array([np.interp(steps, *single, left=np.nan, right=np.nan) for single in singles]))
    return steps, values.mean().to_numpy(), values.std().to_numpy()


def _plot_cost(comparison: Comparison, key: str, name: str, axis: str, unit: float = 1) -> Plot | None:
    costs = [
        pd.to_numeric(pd.Series([getattr(run.summary, key) for run in group.runs], dtype=object), errors="coerce")
        for group in comparison.groups
    ]
    known = [place for place, cost in enumerate(costs) if cost.notna().any()]
    if not known:
        return None
    labels = _shorten_labels(comparison)
    figure, axes = _make_axes([labels[place] for place in known], known, lines=False)
    for place in known:
        estimate, cost = comparison.groups[place].estimate, costs[place] / unit
        color, marker, _ = _pick_style(place)
        middle = cost.mean()
        if np.isfinite(estimate.low):
            axes.plot([middle, middle], [estimate.low, estimate.high], color=color, lw=1.6)
        axes.plot([cost.min(), cost.max()], [estimate.mean] * 2, color=color, lw=1.6)
        axes.plot(middle, estimate.mean, marker, color=color, ms=7)
    axes.set(xlabel=axis, ylabel=comparison.metric)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    if key == "macs":
        axes.xaxis.set_major_formatter(EngFormatter(sep="\N{NO-BREAK SPACE}"))
    axes.margins(x=0.12)
    caption = "Marks are means over runs, upright bars 95 % intervals, level bars from the cheapest to the dearest run."
    return embed(figure, f"cost-{key}", f"{comparison.metric} against {name}", caption)


def _shorten_labels(comparison: Comparison) -> list[str]:
    """The groups' labels, long ones without their middle, equal ones numbered."""
    cut = [_shorten(group.label) for group in comparison.groups]
    return [
        f"{label} ({cut[: place + 1].count(label)})" if cut.count(label) > 1 else label
        for place, label in enumerate(cut)
    ]


def _shorten(label: str) -> str:
    if len(label) <= _LABEL:
        return label
    end = (_LABEL - 3) // 2
    return f"{label[:end]} … {label[-end:]}"


def _make_rows(labels: Sequence[str], xlabel: str) -> tuple[Figure, Axes]:
    """A figure with one row per label, from top to bottom."""
    figure = Figure(figsize=(WIDTH, 0.65 + _ROW * len(labels)), layout="constrained")
    axes = figure.subplots()
    axes.set(ylim=(len(labels) - 0.5, -0.75), yticks=[], xlabel=xlabel)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.spines["left"].set_visible(False)
    for row, label in enumerate(labels):
        place: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "va": "bottom", "in_layout": False}
        box = {"facecolor": PAPER, "linewidth": 0, "pad": 1}  # lines end before the words
        axes.text(0, row - 0.2, label, zorder=1.5, bbox=box, **place)
    return figure, axes


def _make_axes(labels: Sequence[str], looks: Sequence[int], lines: bool) -> tuple[Figure, Axes]:
    """A figure with two axes, and above them a legend of lines or marks."""
    figure = Figure(figsize=(WIDTH, 2.9 + 0.2 * len(labels)), layout="constrained")
    axes = figure.subplots()
    handles = []
    for color, marker, dash in map(_pick_style, looks):
        style: dict[str, Any] = {"ls": dash, "lw": 1.6} if lines else {"ls": "", "marker": marker, "ms": 6}
        handles.append(Line2D([], [], color=color, **style))
    figure.legend(handles, labels, loc="outside upper left", handlelength=2.4, borderaxespad=0.2, labelspacing=0.3)
    return figure, axes


def _draw_interval(
    axes: Axes, row: int, place: int, single: Sequence[float], around: Estimate | Difference, filled: bool = True
) -> None:
    """The mean and interval of the group at `place`, and its single values below."""
    color, marker, _ = _pick_style(place)
    if len(single) > MOST_DOTS:
        single = np.sort(single)[np.linspace(0, len(single) - 1, MOST_DOTS).round().astype(int)].tolist()
    axes.plot(single, np.full(len(single), row + 0.25), "o", color=color, ms=3.5, alpha=0.55, mew=0)
    if np.isfinite(around.low):
        axes.plot([around.low, around.high], [row, row], color=color, lw=3, alpha=0.6, solid_capstyle="butt")
    axes.plot(around.mean, row, marker, color=color, ms=7, mew=1.6, mfc=color if filled else "none")


def _describe_dots(singles: str) -> str:
    return f"Of more than {MOST_DOTS} {singles} that many are dots, evenly from the least to the largest."


def _pick_style(place: int) -> tuple[str, str, str]:
    """Colour, marker and dash of a group, the same in every plot."""
    color = PALETTE[place % len(PALETTE)]
    return color, _MARKERS[place % len(_MARKERS)], _DASHES[place // len(PALETTE) % len(_DASHES)]
