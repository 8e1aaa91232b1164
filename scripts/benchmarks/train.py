"""Whole trainings, from typing to the end."""

import atexit
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.pairs import Goal, Pair
from benchmarks.processes import SCRIPTS, finish, open_process, start
from benchmarks.settings import Benchmark


def list_pairs(task: Benchmark) -> list[Pair]:
    """A training beside a plain loop, and two beside each other."""
    place = Path(tempfile.mkdtemp(prefix="benchmark_train_"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    steps, tile, side = task.choose(60, 2), task.choose(256, 32), task.choose(384, 64)
    images = _write_images(place, side)
    words = ["experiment=small", "logger=csv", f"trainer.max_steps={steps}", f"data.tile={tile}", *task.words]
    words += [f"data.height={side}", f"data.width={side}", "data.train_images=8", "data.val_images=2"]
    words += ["data.test_images=2", "scheduler.warmup_steps=0", "output=runs"]
    command = [str(SCRIPTS / "train.py"), *words]
    loop = [str(SCRIPTS / "benchmarks" / "plain_loop.py"), str(steps), str(tile), str(images), str(SCRIPTS.parent)]
    what = f"experiment=small, {steps} steps, from typing to the end"
    both = f"two trainings of {steps} steps on this machine's cores"
    return [
        Pair(
            "train", what, "train, with validation, test and pictures", "plain loop",
            partial(start, command, place), partial(start, loop, place), None, 2,
        ),
        Pair(
            "train", both, "beside each other", "one after the other",
            _side_by_side(command, place), _in_a_row(command, place),
            Goal("ratio", 1 / 1.2), 2,
        ),
    ]  # fmt: skip


def _side_by_side(command: list[str], place: Path) -> Callable[[], None]:
    def run() -> None:
        for process in [open_process([*command, f"seed={seed}"], place) for seed in range(2)]:
            finish(process)

    return run


def _in_a_row(command: list[str], place: Path) -> Callable[[], None]:
    def run() -> None:
        for seed in range(2):
            start([*command, f"seed={seed}"], place)

    return run


def _write_images(place: Path, side: int) -> Path:
    from unet_exp.data.sets.synthetic import generate

    made = [generate(side, side, 0, index) for index in range(8)]
    path = place / "images.npz"
    images = np.stack([one.image.astype(np.float32) / 255 for one in made])
    np.savez(path, images=images, labels=np.stack([one.label.astype(np.int64) for one in made]))
    return path
