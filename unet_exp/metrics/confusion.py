"""Scores of one confusion matrix, pooled over a whole set of images."""

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
    # Of all pairs of bytes: ten times faster than picking out the pixels that count.
    pairs = truth.astype(np.uint16) << 8 | prediction
    counts = np.bincount(pairs.ravel(), minlength=2**16).reshape(256, 256)
    counts[IGNORE_LABEL] = 0
    if counts[classes:].any() or counts[:, classes:].any():
        raise ValueError(f"labels must be below {classes}, or {IGNORE_LABEL} in the truth")
    return counts[:classes, :classes].copy()


def accuracy(matrix: NDArray[np.int64]) -> float:
    """The share of pixels in their true class, 0..1; nan where there are none."""
    with np.errstate(invalid="ignore"):
        return float(np.diag(matrix).astype(np.float64).sum() / matrix.sum())


def iou(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    """IoU = TP / (TP + FP + FN) of each class.

    Args:
        matrix: (classes, classes) of `confusion_matrix`.

    Returns:
        (classes,), each 0..1; nan for a class that is absent from both truth and prediction.
    """
    hits, sizes = _hits_and_sizes(matrix)
    with np.errstate(invalid="ignore"):
        return hits / (sizes - hits)


def dice(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    """Dice = 2 TP / (2 TP + FP + FN) of each class; see `iou`."""
    hits, sizes = _hits_and_sizes(matrix)
    with np.errstate(invalid="ignore"):
        return 2 * hits / sizes


def precision(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    """Precision = TP / (TP + FP) of each class; nan for one that is never predicted; see `iou`."""
    with np.errstate(invalid="ignore"):
        result: NDArray[np.float64] = np.diag(matrix).astype(np.float64) / matrix.sum(axis=0)
    return result


def recall(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    """Recall = TP / (TP + FN) of each class, its sensitivity; nan for one that the truth lacks; see `iou`."""
    with np.errstate(invalid="ignore"):
        result: NDArray[np.float64] = np.diag(matrix).astype(np.float64) / matrix.sum(axis=1)
    return result


def specificity(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    """Specificity = TN / (TN + FP) of each class; nan where the truth has no other class; see `iou`."""
    of_others = matrix.sum() - matrix.sum(axis=1)
    false_positives = matrix.sum(axis=0) - np.diag(matrix)
    with np.errstate(invalid="ignore"):
        result: NDArray[np.float64] = (of_others - false_positives).astype(np.float64) / of_others
    return result


def balanced_accuracy(matrix: NDArray[np.int64]) -> float:
    """The mean recall of the classes that the truth has, 0..1; nan without pixels (Brodersen et al., ICPR 2010)."""
    there = matrix.sum(axis=1) > 0
    return float(recall(matrix)[there].mean()) if there.any() else float("nan")


def kappa(matrix: NDArray[np.int64]) -> float:
    """Cohen's kappa = (p_o - p_e) / (1 - p_e), -1..1 (Cohen, Educational and Psychological Measurement 20, 1960).

    p_o is the share of right pixels, and p_e that of pixels that would be right by chance, with these frequencies of
    the classes. nan where that is 1: truth and prediction have one and the same class alone.
    """
    total = float(matrix.sum())
    if not total:
        return float("nan")
    by_chance = float((matrix.sum(axis=0) / total) @ (matrix.sum(axis=1) / total))
    right = float(np.diag(matrix).sum()) / total
    return (right - by_chance) / (1 - by_chance) if by_chance < 1 else float("nan")


def _hits_and_sizes(matrix: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """TP, and 2 TP + FP + FN: (classes,) each."""
    return np.diag(matrix).astype(np.float64), matrix.sum(axis=0) + matrix.sum(axis=1)
