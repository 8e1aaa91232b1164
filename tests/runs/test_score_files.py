"""The files of a confusion matrix and of curves: what is written is read, and damage is told."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unet_exp.errors import DataError
from unet_exp.metrics.probabilities import Curve, Curves, Histogram, curve_classes
from unet_exp.runs import score_files

NAMES = ["a, b", 'the "cell"', "$x$ ü", "truth"]


def curves_of(classes: int) -> Curves:
    random = np.random.default_rng(0)
    truth = random.integers(0, classes, (20, 30)).astype(np.uint8)
    shares = random.dirichlet(np.ones(classes), truth.shape).transpose(2, 0, 1).astype(np.float32)
    return Histogram.of(truth, shares.argmax(axis=0).astype(np.uint8), shares, classes).curves


def test_a_matrix_is_read_as_it_was_written(tmp_path: Path) -> None:
    matrix = np.arange(16).reshape(4, 4) * 2**40
    score_files.write_confusion(tmp_path / "c.csv", matrix, NAMES)
    read, names = score_files.read_confusion(tmp_path / "c.csv")
    assert (read.tolist(), names) == (matrix.tolist(), NAMES)
    assert (tmp_path / "c.csv").read_text().splitlines()[0].startswith("truth \\ prediction,")


@pytest.mark.parametrize("classes", [2, 4])
def test_curves_keep_their_areas(tmp_path: Path, classes: int) -> None:
    curves, drawn = curves_of(classes), list(curve_classes(NAMES[:classes]))
    score_files.write_curves(tmp_path / "p.csv", curves.by_class, drawn)
    read, names = score_files.read_curves(tmp_path / "p.csv")
    assert names == drawn

    def areas(curve: Curve) -> tuple[float, float]:
        return curve.roc_auc, curve.average_precision

    assert [areas(curve) for curve in read] == [pytest.approx(areas(curve)) for curve in curves.by_class]
    score_files.write_reliability(tmp_path / "r.csv", curves.reliability)
    assert score_files.read_reliability(tmp_path / "r.csv").ece == pytest.approx(curves.reliability.ece)


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (score_files.read_confusion, None),
        (score_files.read_confusion, ""),
        (score_files.read_confusion, "x,a,b\na,1,2\n"),
        (score_files.read_confusion, "x,a,b\na,1,2\nc,3,4\n"),
        (score_files.read_confusion, "x,a\na,-1\n"),
        (score_files.read_confusion, "x,a\na,99999999999999999999999\n"),
        (score_files.read_confusion, "x,a\na,1,2\n"),
        (score_files.read_curves, "class,threshold\na,1\n"),
        (score_files.read_reliability, "above,up_to,pixels,right,sum_of_confidence\n0,1,2,3,4\n"),
    ],
)
def test_a_damaged_file_is_told(tmp_path: Path, read: Callable[[Path], Any], text: str | None) -> None:
    path = tmp_path / "x.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=r"x\.csv is missing or damaged"):
        read(path)
