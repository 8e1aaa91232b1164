"""How long trainings take to start, and how much memory they take: each in a process of its own."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark_files import list_data_words
from benchmarks.processes import peak_bytes, wait_measured

from unet_exp.cache_folder import VARIABLE
from unet_exp.errors import UserError
from unet_exp.progress import watch
from unet_exp.runs.run_folder import RunFolder

if TYPE_CHECKING:
    from rich.table import Table

_WORDS = (
    *("data.tile=256", "model=same", "model.depth=3", "model.width=8"),
    *("logger=csv", "trainer.accelerator=cpu"),
)
CACHE = "cache"
"""The cache folder in the folder of a measurement."""
_BLOCK = 2**24


@dataclass(frozen=True)
class Start:
    """A training of a few steps.

    Attributes:
        cache: `data.cache`.
        images: of its data set.
        start: `first`, with an empty cache folder, or `second`.
        steps: it makes; so many images at most are validated, and tested.
        until_step: seconds from the start of the process to that of the first step.
        seconds: of the process.
        peak: bytes of resident memory, pages of mapped files included.
        cached: bytes of the files in the cache folder at its end.
    """

    cache: str
    images: int
    start: str
    steps: int
    until_step: float
    seconds: float
    peak: int
    cached: int


def measure_starts(place: Path, images: int, cache: str, steps: int) -> Iterator[Start]:
    """Starts trainings with a cache folder of their own: twice for one step, then once for more of them.

    Args:
        place: of `images` and `masks`; the cache is made beside it, and removed.
        images: in it.
        cache: `data.cache`.
        steps: of the last training.
    """
    with tempfile.TemporaryDirectory(prefix="start_", dir=place.parent) as work:
        for start, count in (("first", 1), ("second", 1), ("second", steps)):
            yield start_training(place, images, cache, start, count, Path(work))


def start_training(place: Path, images: int, cache: str, start: str, steps: int, work: Path) -> Start:
    """Starts one training.

    This process must not hold more memory than a training takes: what it holds when it starts another process counts as
    that one's memory too.

    Args:
        place: of `images` and `masks`.
        images: in it.
        cache: `data.cache`.
        start: see `Start`.
        steps: of the training.
        work: folder of its run, and of its cache.

    Raises:
        UserError: if the training fails.
    """
    cache_folder, output, log = work / CACHE, Path(tempfile.mkdtemp(dir=work)), work / "log.txt"
    words = [*list_data_words(place), *_WORDS, f"data.cache={cache}", f"output={output}"]
    words += [f"trainer.max_steps={steps}", f"trainer.limit_batches={steps}"]
    script = Path(__file__).with_name("train.py")
    environment = {**os.environ, VARIABLE: str(cache_folder)}
    began, clock = time.time(), time.monotonic()
    with log.open("w") as file, watch(f"training on {images} images, data.cache={cache}, {start} start"):
        command = [sys.executable, str(script), *words]
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
        usage = wait_measured(process)
    seconds = time.monotonic() - clock
    if process.returncode:
        said = log.read_text().splitlines() or [""]
        raise UserError(f"a training on {place} failed with exit code {process.returncode}: {said[-1]}")
    summary = RunFolder(next((output / "train").iterdir())).read_summary()
    until_step = datetime.fromisoformat(summary.started or "").timestamp() + (summary.seconds_setup or 0) - began
    peak = peak_bytes(usage)
    cached = sum(path.stat().st_size for path in cache_folder.rglob("*") if path.is_file())
    return Start(cache, images, start, steps, until_step, seconds, peak, cached)


def measure_disk(folder: Path, size: int) -> float:
    """Bytes a second at which a file of this size gets onto the disk of a folder; the file is removed."""
    block = os.urandom(_BLOCK)  # which no disk can compress
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        start = time.perf_counter()
        for _ in range(-(-size // _BLOCK)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        return file.tell() / (time.perf_counter() - start)


def starts_table(starts: Sequence[Start]) -> "Table":
    """A row a training."""
    from rich.table import Table

    caption = (
        "until step: from the start of the process to that of its first step; peak: of resident memory, mapped files "
        "included\nThe system's own cache of files was not dropped: what was written or read before may have been in it"
    )
    table = Table(caption=caption, caption_justify="left")
    for column in ("data.cache", "images", "start", "steps", "until step s", "in all s", "peak MB", "cache MB"):
        table.add_column(column, justify="left" if column in ("data.cache", "start") else "right")
    for start in starts:
        table.add_row(
            start.cache, f"{start.images:,}", start.start, str(start.steps), f"{start.until_step:.1f}",
            f"{start.seconds:.1f}", f"{start.peak / 1e6:.0f}", f"{start.cached / 1e6:.1f}",
        )  # fmt: skip
    return table


def describe_growth(starts: Sequence[Start]) -> Iterator[str]:
    """How much more memory the largest data set takes than the smallest: a line for each cache."""
    fewest, most = (choose(start.images for start in starts) for choose in (min, max))
    for cache in dict.fromkeys(start.cache for start in starts):
        few, many = ([one for one in starts if (one.cache, one.images) == (cache, size)] for size in (fewest, most))
        rows = (
            f"{(b.peak - a.peak) / 1e6:+.0f} MB ({a.start} start, {a.steps} step{'s' * (a.steps > 1)})"
            for a, b in zip(few, many, strict=True)
        )
        if fewest < most:
            yield f"data.cache={cache}: peak with {most:,} images above that with {fewest:,}: {', '.join(rows)}"
