"""What a smaller `inference.context` gains in time and costs in exactness, for tiles that a small memory allows.

Usage: python scripts/benchmark_context.py checkpoint=<file> input=<image> tile=256 contexts=96,64,32,16,8,0

Times are those of the process on one thread, so that other programs disturb them little.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from unet_exp.inference.predictor import Predictor

DEFAULTS = {"checkpoint": "", "input": "", "tile": "256", "contexts": "96,64,32,16,8,0"}


def measure_contexts(
    predictor: "Predictor", image: NDArray[np.uint8], tile: int, contexts: Sequence[int]
) -> Iterator[tuple[str, float, float, float, float]]:
    """Yields for one piece, `auto` and each context: its name, its seconds, and how it differs from one piece.

    The differences are the largest and the mean one of a probability, and the share of pixels of another class.
    """
    given = predictor.inference
    predictor.inference = given.model_copy(update={"tile": max(image.shape[:2])})
    predictor.probabilities(image)  # a first pass loads what it needs
    start = time.process_time()
    whole = predictor.probabilities(image)
    yield "one piece", time.process_time() - start, 0.0, 0.0, 0.0
    for context in ("auto", *contexts):
        predictor.inference = given.model_copy(update={"tile": tile, "context": context})
        start = time.process_time()
        found = predictor.probabilities(image)
        seconds, difference = time.process_time() - start, np.abs(found - whole)
        other = (found.argmax(axis=0) != whole.argmax(axis=0)).mean()
        yield f"{context}", seconds, float(difference.max()), float(difference.mean()), float(other)


def main() -> None:
    """Prints the rows."""
    typed = dict(word.split("=", 1) for word in sys.argv[1:])
    if unknown := typed.keys() - DEFAULTS.keys():
        sys.exit(f"unknown: {', '.join(sorted(unknown))}; the keys are {', '.join(DEFAULTS)}")
    words = DEFAULTS | typed

    import torch

    from unet_exp import load
    from unet_exp.io.images import read_image
    from unet_exp.memory import keep_freed_memory

    torch.set_num_threads(1)
    keep_freed_memory()
    image = read_image(Path(words["input"]))
    contexts = [int(context) for context in words["contexts"].split(",")]
    print(f"{'context':>10} {'s':>7} {'largest':>8} {'mean':>8} {'other class':>11}")
    rows = measure_contexts(load(words["checkpoint"], "cpu", "32"), image, int(words["tile"]), contexts)
    for name, seconds, largest, mean, other in rows:
        print(f"{name:>10} {seconds:7.2f} {largest:8.1e} {mean:8.1e} {other:11.2%}", flush=True)


if __name__ == "__main__":
    main()
