"""What thousands of runs cost beside their training: the files they leave, their comparison, and their sweep."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from benchmark_report import make_result_file, make_table_console, write_results
from benchmarks.many_runs import CSV, TINY, Cost, measure_command, measure_sweep, write_copies

from unet_exp.cli.entry import run_with_own_keys
from unet_exp.config.values import Count
from unet_exp.errors import ConfigError, UserError
from unet_exp.progress import watch
from unet_exp.schema import Strict, validate

USAGE = """Measure what thousands of runs cost beside their training.

Usage: python scripts/benchmark_runs.py [count=10000] [key=value] ...

  parts    some of them (all):
    files    files and bytes of one run, by kind, with words that leave fewer or more
    compare  scripts/compare.py on copies of this run, in a sweep of its own
    sweep    a sweep whose trainings do nothing: its plan, all around each run, and what a resume looks at
  count    of runs, in the comparison and of the sweep (10000)
  groups   that the runs are in (10)
  images   test images of a compared run (20)
  epochs   of a compared run (50)
  output   folder of benchmark_runs.json (outputs/benchmark)

A tiny run is really trained. The compared ones are its copies with scores of their own: what compare.py reads is
written, the other files are links. All of it lies in a temporary folder (TMPDIR). For Linux and macOS.
"""
Part = Literal["files", "compare", "sweep"]
KINDS = (CSV, f"{CSV} metrics.pictures=0 metrics.probabilities=false", "logger=wandb logger.mode=offline")
"""Words that change what a run leaves."""
PARTS: tuple[Part, ...] = ("files", "compare", "sweep")


class RunsBenchmark(Strict):
    """The entry point's own keys."""

    parts: list[Part]
    count: Count
    groups: Count
    images: Count
    epochs: Count
    output: str


DEFAULTS: dict[str, Any] = {
    "parts": list(PARTS),
    "count": 10_000,
    "groups": 10,
    "images": 20,
    "epochs": 50,
    "output": "outputs/benchmark",
}


def benchmark_runs(values: dict[str, Any]) -> list[Cost]:
    """Measures the parts that are asked for, prints tables and writes `benchmark_runs.json`.

    Raises:
        ConfigError: for an unknown part or key, or more groups than runs.
        UserError: if one of the commands fails.
    """
    task = validate(RunsBenchmark, values)
    if task.groups > task.count:
        raise ConfigError(f"groups={task.groups} are more than count={task.count}; take fewer")
    target = make_result_file(task.output, "benchmark_runs.json")
    with tempfile.TemporaryDirectory(prefix="runs_") as work:
        wanted = KINDS if "files" in task.parts else KINDS[:1] if "compare" in task.parts else ()
        runs = {words: _train(Path(work), words) for words in wanted}
        files = {words: count_files(run) for words, run in runs.items()}
        costs: list[Cost] = []
        if "files" in task.parts:
            _print_files(files)
        if "compare" in task.parts:
            costs += _measure_comparison(task, runs[CSV], Path(work))
        if "sweep" in task.parts:
            costs += measure_sweep(task.count, task.groups, Path(work))
    if costs:
        _print_costs(costs)
    write_results(target, {"settings": task.model_dump(), "files": files, "costs": [asdict(cost) for cost in costs]})
    return costs


def _train(work: Path, words: str) -> Path:
    """The folder of a tiny run, trained by a process of its own."""
    script = Path(__file__).with_name("train.py")
    with watch("training one run"):
        command = [sys.executable, str(script), *TINY, *words.split(), "name=run", f"output={work}"]
        trained = subprocess.run(command, capture_output=True, text=True, check=False)
    if trained.returncode:
        raise UserError(f"the training failed: {trained.stderr.strip().splitlines()[-1]}")
    return Path(trained.stdout.splitlines()[-1])


def count_files(run: Path) -> dict[str, tuple[int, int]]:
    """Files and bytes in a run's folder, by the file, or by the folder; links and folders count as files of no size."""
    found: dict[str, tuple[int, int]] = {}
    for path in sorted(run.rglob("*")):
        kind = path.relative_to(run).parts[0] + ("/" if path.is_dir() or path.parent != run else "")
        files, size = found.get(kind, (0, 0))
        found[kind] = files + 1, size + (path.stat().st_size if path.is_file() and not path.is_symlink() else 0)
    return found


def _measure_comparison(task: RunsBenchmark, run: Path, work: Path) -> Iterator[Cost]:
    sweep = work / "compared"
    with watch("writing runs"):
        write_copies(run, sweep, task.count, task.groups, task.images, task.epochs)
    script = Path(__file__).with_name("compare.py")
    pages = ("report.html", "report.md", "table.csv", "runs.csv")
    with watch(f"comparing {task.count:,} runs"):
        cost = measure_command("compare.py", [sys.executable, str(script), f"runs={sweep}"], task.count)
    yield cost
    for page in pages:
        if (sweep / page).is_file():
            yield Cost(f"  {page}", task.count, written=(sweep / page).stat().st_size)


def _print_files(files: Mapping[str, Mapping[str, tuple[int, int]]]) -> None:
    from rich.table import Table

    table = Table(title="what one tiny run leaves: files, folders and links, and bytes")
    table.add_column("file")
    for words in files:
        table.add_column(words, justify="right")
    for kind in sorted({kind for found in files.values() for kind in found}):
        cells = (found.get(kind) for found in files.values())
        table.add_row(kind, *("" if cell is None else f"{cell[0]}   {cell[1]:>9,}" for cell in cells))
    totals = (tuple(map(sum, zip(*found.values(), strict=True))) for found in files.values())
    table.add_row("in all", *(f"{count}   {size:>9,}" for count, size in totals))
    make_table_console().print(table)


def _print_costs(costs: Sequence[Cost]) -> None:
    from rich.table import Table

    table = Table(title="beside the trainings")
    for column in ("what", "runs", "seconds", "CPU seconds", "CPU ms a run", "peak MB", "written MB"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for cost in costs:
        table.add_row(
            cost.what,
            f"{cost.runs:,}",
            "" if cost.seconds is None else f"{cost.seconds:.1f}",
            "" if cost.cpu is None else f"{cost.cpu:.1f}",
            "" if cost.cpu is None else f"{1e3 * cost.cpu / cost.runs:.2f}",
            "" if cost.peak is None else f"{cost.peak / 1e6:.0f}",
            "" if cost.written is None else f"{cost.written / 1e6:.2f}",
        )
    make_table_console().print(table)


def main() -> None:
    run_with_own_keys(USAGE, DEFAULTS, benchmark_runs)


if __name__ == "__main__":
    main()
