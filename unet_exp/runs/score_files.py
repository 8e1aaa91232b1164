"""The files of a confusion matrix and of curves over thresholds, and their readers."""

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unet_exp.errors import DataError
from unet_exp.files import write_whole
from unet_exp.metrics.probabilities import CONFIDENCE_BINS, Curve, Reliability

_CORNER = "truth \\ prediction"
_OF_CURVES = ("class", "threshold", "true_positives", "false_positives", "precision", "recall", "false_positive_rate")
_OF_RELIABILITY = ("above", "up_to", "pixels", "right", "sum_of_confidence")


def write_confusion(path: Path, matrix: NDArray[np.int64], names: Sequence[str]) -> None:
    """Writes a confusion matrix: a row for each true class, a column for each predicted one; pixels."""
    _write(path, [_CORNER, *names], ([name, *row] for name, row in zip(names, matrix.tolist(), strict=True)))


def read_confusion(path: Path) -> tuple[NDArray[np.int64], list[str]]:
    """The matrix (classes, classes) of `write_confusion`, and the names of the classes.

    Raises:
        DataError: if the file is missing or damaged.
    """
    with _reading(path) as (header, rows):
        matrix = np.array([[int(number) for number in row[1:]] for row in rows], np.int64)
        if matrix.shape != (len(header) - 1,) * 2 or [row[0] for row in rows] != header[1:] or (matrix < 0).any():
            raise ValueError
        return matrix, header[1:]


def write_curves(path: Path, by_class: Sequence[Curve], names: Sequence[str]) -> None:
    """Writes a row for each class and threshold above which more pixels lie than above the one before."""
    rows = (row for curve, name in zip(by_class, names, strict=True) for row in _curve_rows(curve, name))
    _write(path, _OF_CURVES, rows)


def _curve_rows(curve: Curve, name: str) -> Iterator[list[Any]]:
    columns = (curve.true_positives, curve.false_positives, curve.precision, curve.recall, curve.false_positive_rate)
    more = np.diff(curve.true_positives + curve.false_positives, prepend=0) > 0
    more[-1] = True
    for at in np.flatnonzero(more).tolist():
        yield [name, f"{curve.thresholds[at]:.9g}", *(column[at].item() for column in columns)]


def read_curves(path: Path) -> tuple[tuple[Curve, ...], list[str]]:
    """The curves of `write_curves`, and their classes.

    Raises:
        DataError: if the file is missing or damaged.
    """
    with _reading(path) as (header, rows):
        if header != list(_OF_CURVES):
            raise ValueError
        names = list(dict.fromkeys(row[0] for row in rows))
        of_class = [[row for row in rows if row[0] == name] for name in names]
        return tuple(
            Curve(
                np.array([float(row[1]) for row in own]),
                np.array([int(row[2]) for row in own], np.int64),
                np.array([int(row[3]) for row in own], np.int64),
            )
            for own in of_class
        ), names


def write_reliability(path: Path, found: Reliability) -> None:
    """Writes a row for each bin of confidence."""
    edges = np.arange(CONFIDENCE_BINS + 1) / CONFIDENCE_BINS
    columns = edges[:-1].round(6), edges[1:].round(6), found.pixels, found.right, found.confidence
    _write(path, _OF_RELIABILITY, zip(*(column.tolist() for column in columns), strict=True))


def read_reliability(path: Path) -> Reliability:
    """What `write_reliability` has written.

    Raises:
        DataError: if the file is missing or damaged.
    """
    with _reading(path) as (header, rows):
        if header != list(_OF_RELIABILITY) or len(rows) != CONFIDENCE_BINS:
            raise ValueError
        counts = np.array([[int(number) for number in row[2:4]] for row in rows], np.int64)
        return Reliability(counts[:, 0], counts[:, 1], np.array([float(row[4]) for row in rows]))


def _write(path: Path, header: Sequence[str], rows: Any) -> None:
    with write_whole(path) as side, side.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


@contextmanager
def _reading(path: Path) -> Iterator[tuple[list[str], list[list[str]]]]:
    """The header and the rows of a file, each as long as the header; what fails in the block is its damage."""
    try:
        with path.open(newline="") as file:
            header, *rows = csv.reader(file)
        if not header or not rows or any(len(row) != len(header) for row in rows):
            raise ValueError
        yield header, rows
    except (OSError, ValueError, OverflowError, csv.Error):
        raise DataError(f"{path} is missing or damaged") from None
