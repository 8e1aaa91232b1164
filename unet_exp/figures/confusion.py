"""A confusion matrix as a picture."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from unet_exp.figures.names import shorten

_LONGEST = 24
"""Letters of a class's name; more are cut."""
_MOST_COUNTED = 12
"""Classes up to which the counts stand below the shares."""


def plot_confusion(matrix: NDArray[np.int64], names: Sequence[str]) -> Figure:
    """Draws a confusion matrix: each cell says which share of the pixels of its row's true class it has.

    Args:
        matrix: (classes, classes) pixels, rows the truth and columns the prediction.
        names: of the classes.

    Raises:
        ValueError: if they are not as many as the rows.
    """
    if matrix.shape != (len(names), len(names)):
        raise ValueError(f"a matrix {matrix.shape} of {len(names)} classes")
    rows = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, rows, out=np.full(matrix.shape, np.nan), where=rows > 0)
    count, labels = len(names), [shorten(name, _LONGEST) for name in names]
    side, longest = 0.62 if count <= _MOST_COUNTED else 0.46, 0.085 * max(map(len, labels))
    # In inches. A layout that matplotlib finds takes as long as two drawings.
    left, below, above = longest + 0.6, (0.7 if count == 2 else 0.9 * longest + 0.7), 0.45
    width, height = max(4.6, left + side * count + 0.3), max(side * count, 2.0) + below + above
    with rc_context({"text.parse_math": False}):  # a class may have dollars in its name
        figure = Figure(figsize=(width, height))
        FigureCanvasAgg(figure)
        inner = width - left - 0.3, height - below - above
        axes = figure.add_axes((left / width, below / height, inner[0] / width, inner[1] / height))
        colors = colormaps["Blues"].with_extremes(bad="#eeeeee")
        axes.imshow(np.ma.masked_invalid(shares), cmap=colors, vmin=0, vmax=1, aspect="auto")
        size = 9 if count <= _MOST_COUNTED else 6.5
        for (row, column), share in np.ndenumerate(shares):
            text = _say(share)
            if count <= _MOST_COUNTED and matrix[row, column]:
                text += f"\n{_shorten_number(int(matrix[row, column]))}"
            color = "white" if share > 0.55 else "black"
            axes.text(column, row, text, ha="center", va="center", color=color, fontsize=size, parse_math=False)
        axes.set_xticks(range(count), labels, rotation=0 if count == 2 else 60, ha="center" if count == 2 else "right")
        axes.set_yticks(range(count), labels)
        if count > 2:
            for label in axes.get_xticklabels():
                label.set_rotation_mode("anchor")
        absent = "; grey: no such pixel" if np.isnan(shares).any() else ""
        axes.set(xlabel="predicted", ylabel="true")
        title = f"pixels by true class (rows: 100 %){absent}"
        figure.text(0.5, 1 - 0.15 / height, title, fontsize=10, ha="center", va="top")
    return figure


def _say(share: float) -> str:
    """A share in percent; nothing for none, and no 0 or 100 where that is not so."""
    if np.isnan(share):
        return "-"
    if share in (0.0, 1.0):
        return "100%" if share else "0"
    if share < 0.001:
        return "<0.1%"
    return ">99.9%" if share > 0.999 else f"{share:.1%}"


def _shorten_number(number: int) -> str:
    """`812`, `12.3k`, `4.6M`, `7.0G`."""
    for limit, letter in ((10**9, "G"), (10**6, "M"), (10**4, "k")):
        if number >= limit:
            return f"{number / (1000 if letter == 'k' else limit):.1f}{letter}"
    return f"{number}"
