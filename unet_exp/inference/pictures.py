"""Which images of a split are drawn, and how a picture of one is written."""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unet_exp.config import ClassSpec
from unet_exp.figures.overlay import draw_panels
from unet_exp.io.writing import write_image
from unet_exp.runs.run_folder import picture_name
from unet_exp.samples.sample import Sample

_THREADS = 2


def choose_pictures(scores: NDArray[np.float64], count: int) -> list[int]:
    """Chooses images to draw: a third each of the worst, the middle and the best; evenly spread ones without scores.

    Equal scores stay in the order of the images. Images without a score are taken only where the others are too few.

    Args:
        scores: (N,), of each image, higher is better; nan where there is none.
        count: at most so many.

    Returns:
        Their places, ascending, each once.
    """
    without = np.flatnonzero(np.isnan(scores)).tolist()
    ranked = np.argsort(scores, kind="stable")[: len(scores) - len(without)].tolist()
    if len(ranked) <= count:
        free = min(count - len(ranked), len(without))
        return sorted([*ranked, *(without[place * len(without) // free] for place in range(free))])
    worst, best, middle = (count + 2) // 3, (count + 1) // 3, count // 3
    start = (len(ranked) - middle) // 2
    return sorted([*ranked[:worst], *ranked[start : start + middle], *ranked[len(ranked) - best :]])


def write_picture(
    folder: Path, split: str, classes: Sequence[ClassSpec], sample: Sample, prediction: NDArray[np.uint8], score: float
) -> None:
    """Writes the picture of an image as `<split>_<name>.png`.

    Args:
        folder: is made.
        split: of the image.
        classes: of the prediction.
        sample: the image.
        prediction: (H, W) class indices.
        score: its mean IoU; nan where it has none.
    """
    text = "" if math.isnan(score) else f"IoU {score:.3f}"
    picture = draw_panels(sample.image, sample.label, prediction, classes, text, sample.valid)
    folder.mkdir(parents=True, exist_ok=True)
    write_image(folder / picture_name(split, sample.name), picture)


class PictureWriter:
    """Writes pictures in a few threads, beside the network; see `write_picture`.

    Args:
        pool: of `_THREADS`.
        folder: as for `write_picture`.
        split: as for `write_picture`.
        classes: as for `write_picture`.
    """

    def __init__(self, pool: ThreadPoolExecutor, folder: Path, split: str, classes: Sequence[ClassSpec]) -> None:
        self._pool = pool
        self._of_all = (folder, split, classes)
        self._begun: deque[Future[None]] = deque()

    def write(self, sample: Sample, prediction: NDArray[np.uint8], score: float) -> None:
        """Begins a picture; waits where several have been begun, so that few are in memory.

        Raises:
            DataError: of an earlier picture that cannot be written.
        """
        if len(self._begun) > _THREADS:
            self._begun.popleft().result()
        self._begun.append(self._pool.submit(write_picture, *self._of_all, sample, prediction, score))

    def finish(self) -> None:
        """Waits for all; raises as `write` does."""
        while self._begun:
            self._begun.popleft().result()


@contextmanager
def write_pictures(folder: Path, split: str, classes: Sequence[ClassSpec]) -> Iterator[PictureWriter]:
    """A `PictureWriter` whose pictures are there at the end; after an error no more of them begin.

    Raises:
        DataError: for a picture that cannot be written.
    """
    pool = ThreadPoolExecutor(_THREADS)
    try:
        writer = PictureWriter(pool, folder, split, classes)
        yield writer
        writer.finish()
    finally:
        pool.shutdown(cancel_futures=True)
