"""Precision and recall, ROC and reliability as pictures."""

from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from unet_exp.figures.names import shorten
from unet_exp.metrics.probabilities import CONFIDENCE_BINS, Curves, Reliability

# Okabe and Ito, Color universal design, 2008; without yellow, which white swallows.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_STYLES = ("-", "--", ":")
_LONGEST = 20
_WIDTH, _LEFT, _PANEL = 13.0, 0.7, 3.45  # inches: of the picture, left of a panel, and of its side
_MOST_INSIDE = 6
"""Classes that a legend lists inside its panel; more stand below."""


def plot_curves(curves: Curves, names: Sequence[str]) -> Figure:
    """Draws three panels: precision over recall, the ROC curve, and the accuracy over the confidence.

    Args:
        curves: of a set of images.
        names: of the classes that have a curve, see `unet_exp.metrics.probabilities.curve_classes`.

    Raises:
        ValueError: if they are not as many as the curves.
    """
    if len(curves.by_class) != len(names):
        raise ValueError(f"{len(curves.by_class)} curves of {len(names)} classes")
    with rc_context({"text.parse_math": False}):  # a class may have dollars in its name
        below = len(names) > _MOST_INSIDE
        height = 4.4 + 0.26 * (len(names) + 1) * below
        figure = Figure(figsize=(_WIDTH, height))
        FigureCanvasAgg(figure)
        # A layout that matplotlib finds takes as long as two drawings.
        bottom, size = 1 - (0.4 + _PANEL) / height, (_PANEL / _WIDTH, _PANEL / height)
        precision, roc, reliability = (
            figure.add_axes((_LEFT / _WIDTH + place / 3, bottom, *size)) for place in range(3)
        )
        for place, (curve, name) in enumerate(zip(curves.by_class, names, strict=True)):
            color, style = _COLORS[place % len(_COLORS)], _STYLES[place // len(_COLORS) % len(_STYLES)]
            short = shorten(name, _LONGEST)
            for axes, x, y, word, score in (
                (precision, curve.recall, curve.precision, "AP", curve.average_precision),
                (roc, curve.false_positive_rate, curve.recall, "AUC", curve.roc_auc),
            ):
                label = f"{short}: {word} {'undefined' if np.isnan(score) else f'{score:.4f}'}"
                start = [0.0] if axes is roc else []  # the precision of nothing is not defined
                axes.plot([*start, *x], [*start, *y], style, color=color, lw=1.8, label=label)
        precision.set(title="precision and recall", xlabel="recall", ylabel="precision")
        roc.plot([0, 1], [0, 1], color="#999999", lw=1, label="chance")
        roc.set(title="ROC", xlabel="false positive rate", ylabel="recall (true positive rate)")
        _draw_reliability(reliability, curves.reliability)
        for axes in (precision, roc):
            if below:
                axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), fontsize="small")
            else:
                axes.legend(loc="lower left" if axes is precision else "lower right", fontsize="small")
        for axes in (precision, roc, reliability):
            axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
            axes.grid(alpha=0.3)
    return figure


def _draw_reliability(axes: Axes, found: Reliability) -> None:
    """The accuracy of each bin of confidence, as bars, with the share of the pixels that lie in it as a line."""
    there = found.pixels > 0
    edges = np.arange(CONFIDENCE_BINS) / CONFIDENCE_BINS
    width = 1 / CONFIDENCE_BINS
    accuracy = found.right[there] / found.pixels[there]
    confidence = found.confidence[there] / found.pixels[there]
    axes.bar(edges[there], accuracy, width, align="edge", color="#56B4E9", edgecolor="white", label="accuracy")
    axes.plot([0, 1], [0, 1], color="#999999", lw=1, label="as it should be")
    axes.plot(confidence, accuracy, "o", color="#0072B2", ms=4, label="at the mean confidence")
    if there.any():
        shares = found.pixels / found.pixels.sum()
        axes.stairs(shares, [*edges, 1.0], color="#D55E00", lw=1.2, label="share of the pixels")
    score = "undefined" if np.isnan(found.ece) else f"{found.ece:.4f}"
    axes.set(title=f"reliability, ECE {score}", xlabel="probability of the predicted class", ylabel="accuracy")
    axes.legend(loc="upper left", fontsize="small")
