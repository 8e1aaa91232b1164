"""Thousands of runs that train nothing: their folders, and a sweep over them."""

import csv
import io
import json
import os
import resource
import subprocess
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from dataclasses import dataclass
from datetime import datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import yaml

from benchmarks.processes import peak_bytes, wait_measured
from unet_exp.errors import UserError
from unet_exp.progress import watch
from unet_exp.runs.run_folder import RunFolder
from unet_exp.runs.sweep_folder import PlannedRun, SweepFolder

if TYPE_CHECKING:
    from unet_exp.config import Config
    from unet_exp.training.pruning import Pruning

TINY = (
    *("experiment=small", "data.height=64", "data.width=64", "data.tile=32", "data.train_images=2"),
    *("data.val_images=1", "data.test_images=1", "model.depth=2", "model.width=4", "trainer.max_steps=4"),
    *("scheduler.warmup_steps=0", "trainer.accelerator=cpu", "trainer.precision=32"),
)
"""A training of a second."""
CSV = "logger=csv"
_READ = ("config.yaml", "summary.json", "per_image.csv", "metrics.csv")
_SPREAD = 0.02  # of the scores of a group's runs


@dataclass(frozen=True)
class Cost:
    """What something took.

    Attributes:
        what: it was.
        runs: of it.
        seconds: of its process, or of a part of it.
        cpu: seconds of processors that it took; on a busy machine they say more.
        peak: bytes of resident memory.
        written: bytes of a file.
    """

    what: str
    runs: int
    seconds: float | None = None
    cpu: float | None = None
    peak: int | None = None
    written: int | None = None


def write_copies(run: Path, sweep: Path, runs: int, groups: int, images: int, epochs: int) -> None:
    """Writes a sweep over `optimizer.lr` and `seed`, each run a copy of a real one with scores of its own.

    Args:
        run: the real one.
        sweep: the folder; is made.
        runs: of it.
        groups: values of `optimizer.lr`.
        images: test images of each run.
        epochs: of each run.
    """
    folder = RunFolder(run)
    config, summary = folder.read_config(), json.loads(folder.summary.read_text())
    scores, history = (_read_first(path) for path in (folder.per_image, folder.metrics))
    names = [f"synthetic_{number:05d}" for number in range(images)]
    others = [path.relative_to(run) for path in run.rglob("*") if path.is_file() and path.name not in _READ]
    rng = np.random.default_rng(0)
    planned = []
    for number in range(runs):
        rate, seed = round(0.001 * (1 + number % groups), 6), number // groups
        words = [*TINY, CSV, f"optimizer.lr={rate}", f"seed={seed}"]
        place = RunFolder(sweep / f"optimizer.lr={rate},seed={seed}")
        planned.append(PlannedRun(place.path.name, words))
        for path in others:
            (place.path / path.parent).mkdir(parents=True, exist_ok=True)
            os.link(run / path, place.path / path)
        own = {**config, "seed": seed, "name": place.path.name, "optimizer": {**config["optimizer"], "lr": rate}}
        place.config.write_text(yaml.dump(own, Dumper=yaml.CSafeDumper, sort_keys=False))
        started = datetime(2026, 1, 1) + timedelta(seconds=number)
        split = {**summary["split"], "test": names}
        told = {**summary, "seed": seed, "overrides": words, "split": split, "started": started.isoformat()}
        place.summary.write_text(json.dumps(told, indent=2) + "\n")
        shift = rng.normal(0, _SPREAD) + 0.001 * (number % groups)
        drawn = rng.normal(0, _SPREAD, images) + shift
        _write_rows(place.per_image, scores, [{"image": name} for name in names], list(drawn))
        places = [{"epoch": str(epoch), "step": str(4 * (epoch + 1))} for epoch in range(epochs)]
        _write_rows(place.metrics, history, places, [shift + 0.001 * epoch for epoch in range(epochs)])
    SweepFolder(sweep, list(TINY), planned=planned)._write_plan()


def _read_first(path: Path) -> dict[str, str]:
    with path.open(newline="") as file:
        return next(csv.DictReader(file))


def _write_rows(
    path: Path, values: Mapping[str, str], places: Sequence[Mapping[str, str]], shifts: Sequence[float]
) -> None:
    """A table with one row of numbers again and again, each shifted."""
    numbers = {name: float(text) for name, text in values.items() if name not in places[0] and text}
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(values))
        writer.writeheader()
        for place, shift in zip(places, shifts, strict=True):
            writer.writerow({**values, **{name: value + shift for name, value in numbers.items()}, **place})


def measure_command(what: str, command: Sequence[str], runs: int) -> Cost:
    """Runs a command; its process counts alone, if this one is smaller.

    Raises:
        UserError: if it fails.
    """
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    usage = wait_measured(process)
    seconds = time.monotonic() - start
    if process.returncode:
        raise UserError(f"{what} failed with exit code {process.returncode}")
    return Cost(what, runs, seconds, usage.ru_utime + usage.ru_stime, peak_bytes(usage))


def measure_sweep(runs: int, groups: int, work: Path) -> list[Cost]:
    """A sweep whose trainings only write a finished run's config and summary, and its resume, in another process."""
    with watch(f"a sweep of {runs:,} runs without training"), ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(run_empty_sweep, runs, groups, work).result()


def run_empty_sweep(runs: int, groups: int, work: Path) -> list[Cost]:
    """Runs a sweep with nothing in place of the trainings, and finds then that nothing is missing."""
    rates = ",".join(str(round(0.001 * (1 + number), 6)) for number in range(groups))
    words = [*TINY, CSV, f"optimizer.lr={rates}", f"seed=range({runs // groups})"]
    costs = _run_parts("sweep", [*words, f"output={work}", "sweep.report=false"])
    (sweep,) = (work / "sweep").iterdir()
    return [*costs, *_run_parts("resume", [f"sweep.resume={sweep}"])]


def _run_parts(what: str, words: Sequence[str]) -> list[Cost]:
    import unet_exp.training.run
    from unet_exp.cli.command import read_command
    from unet_exp.sweeps.launch import run_sweep
    from unet_exp.sweeps.plan import SweepPlan

    unet_exp.training.run.train = _train_nothing  # type: ignore[assignment]
    begun = time.monotonic(), time.process_time()
    plan = read_command(words, multirun=True)
    assert isinstance(plan, SweepPlan)
    planned = time.monotonic(), time.process_time()
    with redirect_stdout(io.StringIO()):
        run_sweep(plan)
    ended = time.monotonic(), time.process_time()
    runs = len(plan.runs)
    return [
        Cost(f"{what}: read and check all words", runs, planned[0] - begun[0], planned[1] - begun[1]),
        Cost(f"{what}: all around the trainings", runs, ended[0] - planned[0], ended[1] - planned[1], _peak()),
    ]


def _train_nothing(config: "Config", words: Sequence[str], folder: RunFolder, pruning: "Pruning | None") -> None:
    from unet_exp.runs.summary import Summary

    del pruning
    folder.write_config(config.model_dump())
    Summary(status="finished", seed=config.seed, overrides=list(words)).write(folder.summary)


def _peak() -> int:
    return peak_bytes(resource.getrusage(resource.RUSAGE_SELF))
