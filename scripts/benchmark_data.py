"""What images on the disk cost: how long trainings take to start, their memory, and how fast patches come."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any, Literal

from benchmark_files import PHOTOGRAPHS, SMALL, make_pairs, make_small, simulate_index
from benchmark_report import make_result_file, make_table_console, use_threads, write_results
from benchmark_starts import CACHE, Start, describe_growth, measure_disk, measure_starts, start_training, starts_table
from pydantic import Field

from unet_exp.cli.entry import run_with_own_keys
from unet_exp.config.values import Count, Natural
from unet_exp.errors import ConfigError
from unet_exp.schema import Strict, validate

USAGE = """Measure what images on the disk cost: the start of trainings, their memory, and patches a second.

Usage: python scripts/benchmark_data.py [parts=[start,patches]] [key=value] ...

  parts      make     writes JPEG photographs with PNG masks, in folders of links, and says where they are
             start    starts trainings of a few steps on them, each in a process of its own, with an empty cache folder
                      and again: seconds until the first step, and the peak of resident memory
             million  the same for a million small images, with an index that is simulated: the few different files are
                      looked at, and what is known of them is repeated for all links
             patches  patches a second from data.cache=memory, disk and none, and beside them decoding alone and a plain
                      PyTorch data set of whole images
             Each part makes the files that it lacks; files that are there are taken as they are.
  folder     of the files, and of caches while they are measured (outputs/benchmark_data)
  output     folder of benchmark_data.json (outputs/benchmark)
  clean      true: removes the files that were made for these parts at the end (false)
  size       height and width of the photographs ([1280,1918])
  distinct   different photographs; each further one is a link to one of them, with a mask of its own (300)
  processes  that make the files (2)

  images     for start: numbers of images ([20,5088])
  caches     for start: values of data.cache ([none,disk])
  steps      for start and million: of the last training of each (30)
  probe      for start: MB that are written to measure the disk, if a cache is disk (2000)
  links      for million: small images (1000000)

  subset     for patches: images (200)
  patches    of a turn (400)
  in_a_row   data.patches_in_a_row of one more way with data.cache=none (4)
  repeats    turns (5)
  workers    numbers of processes that read ([0,2])
  threads    that PyTorch and OpenCV may use (1)

With 5088 photographs data.cache=disk takes 50 GB in the folder while it is measured. The system's own cache of files is
not dropped between the measurements. For Linux and macOS.
"""

Part = Literal["make", "start", "million", "patches"]
PARTS: tuple[Part, ...] = ("make", "start", "million", "patches")
"""In this order: patches load PyTorch, and this process must be small while it starts trainings."""


class DataBenchmark(Strict):
    """The entry point's own keys."""

    parts: str | list[str]
    folder: str
    output: str
    clean: bool
    size: Annotated[list[Count], Field(min_length=2, max_length=2)]
    distinct: Count
    processes: Count
    images: Annotated[list[Count], Field(min_length=1)]
    caches: Annotated[list[Literal["memory", "disk", "none"]], Field(min_length=1)]
    steps: Count
    probe: Count
    links: Count
    subset: Count
    patches: Count
    in_a_row: Count
    repeats: Count
    workers: Annotated[list[Natural], Field(min_length=1)]
    threads: Count


DEFAULTS: dict[str, Any] = {
    "parts": ["start", "patches"],
    "folder": "outputs/benchmark_data",
    "output": "outputs/benchmark",
    "clean": False,
    "size": [1280, 1918],
    "distinct": 300,
    "processes": 2,
    "images": [20, 5088],
    "caches": ["none", "disk"],
    "steps": 30,
    "probe": 2000,
    "links": 1_000_000,
    "subset": 200,
    "patches": 400,
    "in_a_row": 4,
    "repeats": 5,
    "workers": [0, 2],
    "threads": 1,
}


def benchmark_data(values: dict[str, Any]) -> dict[str, Any]:
    """Measures the parts that are asked for, prints their tables and writes `benchmark_data.json`.

    Args:
        values: the keys of `DataBenchmark`.

    Raises:
        ConfigError: for an unknown part or key, or a number out of range.
        UserError: if a training fails.
    """
    task = validate(DataBenchmark, values)
    wanted = [task.parts] if isinstance(task.parts, str) else task.parts
    for word in wanted:
        if word not in PARTS:
            raise ConfigError(f"parts={word}: no such part; choose from {', '.join(PARTS)}")
    folder = Path(task.folder).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"folder={folder}: cannot be made ({error.strerror}); choose another") from None
    target = make_result_file(task.output, "benchmark_data.json")
    results: dict[str, Any] = {part: RUNS[part](task, folder) for part in PARTS if part in wanted}
    if task.clean:
        for made in {SMALL if part == "million" else PHOTOGRAPHS for part in wanted}:
            shutil.rmtree(folder / made, ignore_errors=True)
    write_results(target, {"settings": task.model_dump(), **results})
    return results


def _make(task: DataBenchmark, folder: Path) -> list[str]:
    """Makes the photographs of all parts; returns their folders."""
    made = [str(_make_pairs(task, folder, number)) for number in dict.fromkeys((*task.images, task.subset))]
    for place in made:
        make_table_console().print(place, soft_wrap=True)
    return made


def _make_pairs(task: DataBenchmark, folder: Path, number: int) -> Path:
    return make_pairs(folder, number, task.distinct, task.size, task.processes)


def _measure_starts(task: DataBenchmark, folder: Path) -> dict[str, Any]:
    places = {number: _make_pairs(task, folder, number) for number in task.images}
    speed = measure_disk(folder, task.probe * 10**6) if "disk" in task.caches else None
    starts = [
        start
        for cache in task.caches
        for number, place in places.items()
        for start in measure_starts(place, number, cache, task.steps)
    ]
    _print_starts(starts, *describe_growth(starts), *_describe_disk(starts, speed))
    return {"starts": [asdict(start) for start in starts], "disk_bytes_per_second": speed}


def _describe_disk(starts: list[Start], speed: float | None) -> Iterator[str]:
    """How long the disk takes for each cache, at the speed that was measured."""
    for start in starts:
        if speed is not None and (start.cache, start.start) == ("disk", "first"):
            yield (
                f"the disk takes {speed / 1e6:.0f} MB/s: the cache of {start.images:,} images, "
                f"{start.cached / 1e6:,.0f} MB, at this rate {start.cached / speed:.1f} s"
            )


def _measure_million(task: DataBenchmark, folder: Path) -> dict[str, Any]:
    place = make_small(folder, task.links)
    with tempfile.TemporaryDirectory(prefix="start_", dir=folder) as name:
        work = Path(name)
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            pool.submit(simulate_index, place, work / CACHE).result()
        starts = [start_training(place, task.links, "none", "second", steps, work) for steps in (1, task.steps)]
    _print_starts(starts, "the index was simulated: the few different files were looked at, and repeated for all links")
    return {"starts": [asdict(start) for start in starts]}


def _print_starts(starts: list[Start], *lines: str) -> None:
    console = make_table_console()
    console.print(starts_table(starts))
    for line in lines:
        console.print(line, soft_wrap=True)


def _measure_patches(task: DataBenchmark, folder: Path) -> list[dict[str, Any]]:
    place = _make_pairs(task, folder, task.subset)
    with use_threads(task.threads):
        from benchmark_patches import measure_patches, patches_table

        rates = list(measure_patches(place, task.patches, task.in_a_row, task.repeats, task.workers))
    make_table_console().print(patches_table(rates, task.subset, task.patches))
    return [asdict(rate) for rate in rates]


RUNS: dict[Part, Callable[[DataBenchmark, Path], Any]] = {
    "make": _make,
    "start": _measure_starts,
    "million": _measure_million,
    "patches": _measure_patches,
}


def main() -> None:
    run_with_own_keys(USAGE, DEFAULTS, benchmark_data)


if __name__ == "__main__":
    main()
