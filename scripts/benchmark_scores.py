"""What the scores of one image take: `python scripts/benchmark_scores.py`; docs/metrics.md has the table."""

import time
import tracemalloc
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from unet_exp.metrics.confusion import confusion_matrix
from unet_exp.metrics.probabilities import Histogram
from unet_exp.metrics.scoreboard import class_scores
from unet_exp.metrics.surfaces import Scale, find_distances

SIDES = (512, 4096)
NAMES = ("background", "cell")


def make_blobs(side: int, seed: int) -> NDArray[np.float32]:
    """Smooth probabilities (side, side) with blobs some 20 pixels wide."""
    noise = np.random.default_rng(seed).normal(size=(side, side)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 8)
    shares: NDArray[np.float32] = 1 / (1 + np.exp(-4 * smooth / smooth.std()))
    return shares


def measure(work: Callable[[], object]) -> str:
    """CPU seconds, and the peak of memory in a second call."""
    began = time.process_time()
    work()
    seconds = time.process_time() - began
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return f"{seconds:.3g} s, {peak / 1e6:.0f} MB"


def score_matrix(truth: NDArray[np.uint8], found: NDArray[np.uint8]) -> dict[str, float]:
    """All scores of classes."""
    return class_scores(confusion_matrix(truth, found, 2), NAMES)


def main() -> None:
    cv2.setNumThreads(1)
    print("| image | confusion matrix and its scores | distances | distances, oblong pixels | probabilities |")
    print("| --- | --- | --- | --- | --- |")
    for side in SIDES:
        truth = (make_blobs(side, 0) > 0.5).astype(np.uint8)
        shares = np.clip(0.8 * make_blobs(side, 0) + 0.2 * make_blobs(side, 1), 0, 1)
        found = (shares > 0.5).astype(np.uint8)
        works: list[Callable[[], object]] = [
            partial(score_matrix, truth, found),
            partial(find_distances, truth, found, 1),
            partial(find_distances, truth, found, 1, Scale((1.0, 2.5), 2.5)),
            partial(Histogram.of, truth, found, 1 - shares[None], 2),
        ]
        print(f"| {side} x {side} | {' | '.join(map(measure, works))} |")


if __name__ == "__main__":
    main()
