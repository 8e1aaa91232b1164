"""What a search has found: the score of each trial, and which keys mattered."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from unet_exp.files import replacing
from unet_exp.metrics.declarations import Direction, direction

STYLES = {
    "finished": ("o", "#1f77b4"),
    "pruned": ("v", "#e08a1e"),
    "running": ("s", "#888888"),
    "failed": ("x", "#c0392b"),
}


@dataclass(frozen=True)
class TrialPoint:
    """One trial of a search.

    Attributes:
        number: counted from 0.
        status: what has become of it.
        value: its score; None where it has none.
    """

    number: int
    status: Literal["finished", "pruned", "failed", "running"]
    value: float | None


def draw_search(
    trials: Sequence[TrialPoint],
    importance: Mapping[str, float],
    target: Path,
    monitor: str,
) -> None:
    """Draws the scores over the trials with the best so far, and the importance of the keys.

    Args:
        trials: in the order of their numbers. A pruned one is drawn at the last score that it reported; what has no
            score is marked at the lower edge.
        importance: share of each key, 0 to 1; empty where there are too few trials to tell.
        target: the PNG to write.
        monitor: name of the score.
    """
    figure = Figure(figsize=(11, max(3.6, 1.2 + 0.3 * len(importance))), layout="constrained")
    FigureCanvasAgg(figure)
    history, bars = figure.subplots(1, 2, width_ratios=(3, 2))
    for status, (marker, color) in STYLES.items():
        these = [trial for trial in trials if trial.status == status]
        scored = [(trial.number, trial.value) for trial in these if trial.value is not None]
        bare = [trial.number for trial in these if trial.value is None]
        style = {"marker": marker, "color": color, "ls": "none", "clip_on": False, "zorder": 3}
        label = f"{status} ({len(these)})" if these else None
        if scored:
            history.plot(*zip(*scored, strict=True), label=label, **style)
        if bare:
            edge = history.get_xaxis_transform()
            history.plot(bare, [0.0] * len(bare), transform=edge, label=None if scored else label, **style)
    steps, values = _best_so_far(trials, direction(monitor))
    history.step(steps, values, where="post", color="#1f77b4", lw=1, label="best so far")
    history.set(title="trials", xlabel="trial", ylabel=monitor)
    history.xaxis.set_major_locator(MaxNLocator(integer=True))
    history.grid(alpha=0.3)
    history.legend(fontsize="small")
    bars.set_title("which keys the best trials depend on")
    if importance:
        keys = sorted(importance, key=importance.__getitem__)
        drawn = bars.barh(keys, [importance[key] for key in keys], color="#9ec5e8")
        bars.bar_label(drawn, fmt="%.2f", padding=3, fontsize="small")
        bars.set(xlabel="share of the importance (PED-ANOVA)", xlim=(0, 1.1))
    else:
        bars.text(0.5, 0.5, "too few finished trials to tell", ha="center", va="center", transform=bars.transAxes)
        bars.axis("off")
    with replacing(target) as side:
        figure.savefig(side, dpi=110)


def _best_so_far(trials: Sequence[TrialPoint], mode: Direction) -> tuple[list[int], list[float]]:
    """Numbers and values of a step function over the trials; pruned ones do not count."""
    best = math.inf if mode == "min" else -math.inf
    better = min if mode == "min" else max
    numbers, values = [], []
    for trial in trials:
        if trial.status == "finished" and trial.value is not None:
            best = better(best, trial.value)
        if math.isfinite(best):
            numbers.append(trial.number)
            values.append(best)
    return numbers, values
