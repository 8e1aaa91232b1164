"""Scores of a set of images: pooled over the set, and image by image."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unet_exp.metrics.confusion import confusion_matrix, score_names, scores


class Scoreboard:
    """Collects images one after another.

    Args:
        class_names: in the order of the class indices.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self._names = tuple(class_names)
        self._matrix = np.zeros((len(self._names),) * 2, np.int64)
        self.per_image: list[dict[str, float | str]] = []

    def add(self, name: str, truth: NDArray[np.uint8], prediction: NDArray[np.uint8], loss: float) -> None:
        """Counts one image.

        Args:
            name: of the image.
            truth: (H, W) class indices, ignored pixels included.
            prediction: (H, W) class indices.
            loss: the mean over the image.
        """
        matrix = confusion_matrix(truth, prediction, len(self._names))
        self._matrix += matrix
        self.per_image.append({"image": name, "loss": loss, **scores(matrix, self._names)})

    def result(self) -> dict[str, float]:
        """`loss` (the mean over the images) and the pooled scores of `unet_exp.metrics.confusion.scores`."""
        losses = [float(row["loss"]) for row in self.per_image]
        return {"loss": math.fsum(losses) / len(losses) if losses else math.nan, **scores(self._matrix, self._names)}


def metric_names(class_names: Sequence[str]) -> list[str]:
    """The keys of `Scoreboard.result`."""
    return ["loss", *score_names(class_names)]
