"""The pictures of a confusion matrix and of curves: what they say, whatever classes are called."""

import numpy as np
import pytest

from unet_exp.figures.confusion import plot_confusion
from unet_exp.figures.names import shorten
from unet_exp.figures.score_curves import plot_curves
from unet_exp.metrics.probabilities import Curves, Histogram, curve_classes


def curves_of(classes: int) -> Curves:
    random = np.random.default_rng(0)
    truth = random.integers(0, max(classes - 1, 2), (20, 30)).astype(np.uint8)
    shares = random.dirichlet(np.ones(classes), truth.shape).transpose(2, 0, 1).astype(np.float32)
    return Histogram.of(truth, shares.argmax(axis=0).astype(np.uint8), shares, classes).curves


@pytest.mark.usefixtures("draws")
@pytest.mark.parametrize("count", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_names_stand_as_they_are_and_are_cut_where_they_are_long(count: int) -> None:
    names = [f"$cell_{index}$" if index else "a very long name of a class: the first" for index in range(count)]
    matrix = np.diag(np.arange(count)).astype(np.int64)
    axes = plot_confusion(matrix, names).axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == [shorten(name, 24) for name in names]
    assert len(labels[0]) == 24
    figure = plot_curves(curves_of(count), curve_classes(names))
    figure.canvas.draw()
    legend = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]  # type: ignore[union-attr]
    assert len(legend) == len(curve_classes(names)) + 1
    assert "$cell_1$: AUC 0." in "\n".join(legend)


def test_a_matrix_says_shares_and_counts_and_no_zero_that_is_none() -> None:
    matrix = np.array([[99_999, 1], [0, 0]])
    texts = [text.get_text() for text in plot_confusion(matrix, ["a", "b"]).axes[0].texts]
    assert texts == [">99.9%\n100.0k", "<0.1%\n1", "-", "-"]


def test_the_areas_stand_in_the_legends_and_the_calibration_in_the_title() -> None:
    curves = curves_of(4)
    precision, roc, reliability = plot_curves(curves, list("abcd")).axes
    for axes, score in ((precision, "average_precision"), (roc, "roc_auc")):
        legend = axes.get_legend()
        assert legend is not None
        texts = [text.get_text() for text in legend.get_texts()]
        assert f"{getattr(curves.by_class[0], score):.4f}" in texts[0]
        assert texts[3].endswith("undefined")
    assert reliability.get_title() == f"reliability, ECE {curves.reliability.ece:.4f}"


def test_names_that_are_too_few_are_refused() -> None:
    with pytest.raises(ValueError, match="of 1 classes"):
        plot_confusion(np.eye(2, dtype=np.int64), ["a"])
    with pytest.raises(ValueError, match="of 2 classes"):
        plot_curves(curves_of(2), ["a", "b"])
