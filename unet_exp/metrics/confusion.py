"""Scores that follow from one confusion matrix pooled over a whole set of images."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unet_exp.config import IGNORE_LABEL


def confusion_matrix(truth: NDArray[np.uint8], prediction: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    """Counts of pixels by true and predicted class.

    Args:
        truth: class indices of any shape; pixels of `IGNORE_LABEL` are left out.
        prediction: class indices of the same shape, each below `classes`.
        classes: number of classes.

    Returns:
        (classes, classes), rows the truth and columns the prediction; matrices of several images add up.

    Raises:
        ValueError: for shapes that differ or labels out of range.
    """
    if truth.shape != prediction.shape:
        raise ValueError(f"truth {truth.shape} and prediction {prediction.shape} must have one shape")
    counted = truth != IGNORE_LABEL
    rows, columns = truth[counted].astype(np.int64), prediction[counted].astype(np.int64)
    if rows.size and max(rows.max(), columns.max()) >= classes:
        raise ValueError(f"labels must be below {classes}, or {IGNORE_LABEL} in the truth")
    return np.bincount(rows * classes + columns, minlength=classes**2).reshape(classes, classes)


def scores(matrix: NDArray[np.int64], class_names: Sequence[str]) -> dict[str, float]:
    """Dice and IoU of each class and their means, and pixel accuracy.

    IoU = TP / (TP + FP + FN), Dice = 2 TP / (2 TP + FP + FN). A class absent from both truth and prediction has no
    score: `nan`, left out of the means.

    Args:
        matrix: (classes, classes) of `confusion_matrix`.
        class_names: in the order of the matrix.

    Returns:
        `accuracy`, `iou/<class>`, `iou/mean`, `dice/<class>` and `dice/mean`, each 0..1 or nan.
    """
    hits = np.diag(matrix).astype(np.float64)
    sizes = matrix.sum(axis=0) + matrix.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        iou = hits / (sizes - hits)
        dice = 2 * hits / sizes
        accuracy = hits.sum() / matrix.sum()
    result = {"accuracy": float(accuracy)}
    for kind, values in (("iou", iou), ("dice", dice)):
        result |= {f"{kind}/{name}": float(value) for name, value in zip(class_names, values, strict=True)}
        present = values[~np.isnan(values)]
        result[f"{kind}/mean"] = float(present.mean()) if present.size else float("nan")
    return result


def score_names(class_names: Sequence[str]) -> list[str]:
    """The keys of `scores`."""
    return list(scores(np.zeros((len(class_names),) * 2, np.int64), class_names))
