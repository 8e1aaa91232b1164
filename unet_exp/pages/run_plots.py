"""The learning curves of one run, for its page."""

from collections.abc import Mapping, Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from unet_exp.figures.curves import find_best, read_points
from unet_exp.figures.names import shorten
from unet_exp.metrics.declarations import Direction
from unet_exp.pages.plots import INK, PALETTE, STYLE, WIDTH, Plot, embed

Row = Mapping[str, str]

_LONGEST = 22
"""Letters beside a plot."""
_POINTS = 500
"""Of a curve at most: more would make the page large."""


def plot_history(rows: Sequence[Row], monitor: str, mode: Direction) -> list[Plot]:
    """The losses, the monitored score and the learning rate over the optimizer steps; none without a row.

    Args:
        rows: of `metrics.csv`.
        monitor: the score of the best epoch, which is marked.
        mode: whether its best value is the smallest or the largest.
    """
    if not rows:
        return []
    with rc_context(STYLE):
        plots = [_plot_losses(rows, monitor, mode), _plot_score(rows, monitor, mode), _plot_rate(rows)]
    return [plot for plot in plots if plot is not None]


def _plot_losses(rows: Sequence[Row], monitor: str, mode: Direction) -> Plot | None:
    figure, axes = _make_axes("loss")
    names = [
        label
        for place, (name, label) in enumerate((("train/loss", "training"), ("val/loss", "validation")))
        if _draw(axes, rows, name, label, place)
    ]
    if not names:
        return None
    best = monitor == "val/loss" and _mark_best(axes, rows, monitor, mode)
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.1, handlelength=1.6, columnspacing=1.2
    )
    caption = "The mean of each epoch's training patches, and of the whole validation images."
    return embed(figure, "loss", "Loss", f"{caption}{' The mark is the best epoch.' if best else ''}")


def _plot_score(rows: Sequence[Row], monitor: str, mode: Direction) -> Plot | None:
    if monitor == "val/loss":
        return None
    name = monitor.removeprefix("val/")
    figure, axes = _make_axes(name)
    if not _draw(axes, rows, monitor, "validation", 2):
        return None
    _mark_best(axes, rows, monitor, mode)
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.1, handlelength=1.6, columnspacing=1.2
    )
    caption = "Of the validation images (trainer.monitor). The mark is the best epoch, whose weights are tested."
    return embed(figure, "score", f"Validation: {name}", caption)


def _plot_rate(rows: Sequence[Row]) -> Plot | None:
    figure, axes = _make_axes("learning rate")
    if not _draw(axes, rows, "lr", "learning rate", 6):
        return None
    return embed(figure, "rate", "Learning rate", "At the end of each epoch.")


def _make_axes(label: str) -> tuple[Figure, Axes]:
    # A layout engine would draw everything twice, half of the time of a page.
    figure = Figure(figsize=(WIDTH, 2.7))
    axes = figure.subplots(gridspec_kw={"left": 0.21, "right": 0.97, "bottom": 0.19, "top": 0.87})
    axes.set(xlabel="optimizer steps", ylabel=shorten(label, _LONGEST))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    return figure, axes


def _draw(axes: Axes, rows: Sequence[Row], name: str, label: str, place: int) -> bool:
    """Draws a column; whether there is anything in it."""
    steps, values = read_points(rows, name)
    every = -(-len(steps) // _POINTS) or 1
    style = "o-" if len(steps) < 2 else "-"
    axes.plot(steps[::every], values[::every], style, color=PALETTE[place], lw=1.6, ms=4, label=label)
    return bool(steps)


def _mark_best(axes: Axes, rows: Sequence[Row], monitor: str, mode: Direction) -> bool:
    best = find_best(*read_points(rows, monitor), mode)
    if best is not None:
        axes.plot(*best, "o", color=INK, ms=6, label=f"best: {best[1]:.4f} at step {best[0]}")
    return best is not None
