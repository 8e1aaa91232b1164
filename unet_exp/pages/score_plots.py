"""Plots of a split's scores for the page of a run: its confusion matrix, and curves of its probabilities."""

from collections.abc import Sequence

from unet_exp.figures.confusion import plot_confusion
from unet_exp.figures.score_curves import plot_curves
from unet_exp.metrics.probabilities import curve_classes
from unet_exp.metrics.scoreboard import Scoreboard
from unet_exp.pages.plots import Plot, embed


def plot_scores(board: Scoreboard | None, names: Sequence[str]) -> list[Plot]:
    """The plots of a board's images; none where nothing is labelled.

    Args:
        board: that has scored them.
        names: of the classes.
    """
    if board is None:
        return []
    rows = "Each row is a true class: which share of its pixels was predicted as what."
    plots = [embed(plot_confusion(board.matrix, names), "confusion", "Confusion matrix", rows, paper=True)]
    if board.curves is not None:
        title = "Precision and recall, ROC and calibration"
        caption = "Over all thresholds of the probabilities; docs/metrics.md explains the numbers."
        figure = plot_curves(board.curves, curve_classes(names))
        plots.append(embed(figure, "probability-curves", title, caption, paper=True))
    return plots
