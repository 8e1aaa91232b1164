"""How fast things are, each beside another way to the same end: ratios of two things measured in turn in one run."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmark_large import large_table, measure_large
from benchmark_report import make_result_file, make_table_console, use_threads, write_results
from benchmarks import GROUPS
from benchmarks.pairs import Result, measure_all
from benchmarks.settings import DEFAULTS, Benchmark

from unet_exp.cli.entry import run_with_own_keys
from unet_exp.errors import ConfigError
from unet_exp.schema import validate

USAGE = """Measure how fast things are, each beside another way to the same end, or beside another score.

Usage: python scripts/benchmark.py [groups=all] [key=value] ...

  groups       all (default), or some of them, such as groups=step or groups=[overhead,data]:
    step         a training step beside plain PyTorch in both layouts, and beside MONAI's network
    overhead     a step of almost no work beside a plain Lightning Trainer and a bare loop
    data         a sample of the paper's recipe; the augmentation beside other libraries; the weight map
    layouts      the memory layout that is chosen beside the other one, for several networks
    tiles        tiles beside one piece, and beside the network alone
    predict      beside MONAI's sliding window; a folder of small files and a large file beside the network alone
    startup      --help, --cfg job and mistakes beside an empty Hydra program; from typing to the first step
    train        from typing to the end beside a plain loop; two trainings beside each other
    weightmap    augmentation    metrics    sweep: each of these alone
  repeats      how often each pair is measured in turn (7); of those that take long fewer
  quick        true: small images, few steps, two repeats: to try a group, not to judge by (false)
  threads      that PyTorch and OpenCV may use (1)
  accelerator  of the trainings and predictions: cpu, gpu or mps (cpu)
  precision    of them: 32 or bf16-mixed (32)
  output       folder of benchmark.json (outputs/benchmark)
  markdown     a file, such as docs/performance.md, whose table of this kind of machine is replaced or added
  side         of the large image of `predict` and `large` in pixels (4096; of `large` 20000)

  groups=large    is not among all, it takes long: an image that is not held whole, predicted once a budget
  budgets      what these predictions may take ([500MB,2GB])
  layouts      of the file that each of them reads, in turn ([tiled,striped])

Each line is a pair, measured A B A B ...: medians with the smallest and the largest value, the ratio B / A, and the
goal of A where it has one. Where a package is missing, a line says how to install it. The images are generated.
"""

LARGE = "large"
"""The group that takes long."""
_PARTS_OF_DATA = ("weightmap", "augmentation")


def benchmark(values: dict[str, Any]) -> list[Result]:
    """Measures the groups that are asked for, prints a table and writes `benchmark.json`.

    Args:
        values: the keys of `Benchmark`.

    Raises:
        ConfigError: for an unknown group or key, or a number out of range.
    """
    task = validate(Benchmark, values)
    if task.quick:
        task = task.model_copy(update={"repeats": min(task.repeats, 2)})
    words = [task.groups] if isinstance(task.groups, str) else task.groups
    wanted = [name for name in GROUPS if name not in _PARTS_OF_DATA] if words == ["all"] else words
    for word in wanted:
        if word not in (*GROUPS, LARGE):
            raise ConfigError(f"groups={word}: no such group; choose from {', '.join([*GROUPS, LARGE])}, or all")
    console, target = make_table_console(), make_result_file(task.output, "benchmark.json")
    with use_threads(task.threads):
        results, missing = _measure([word for word in wanted if word != LARGE], task)
        large = []
        if LARGE in wanted:
            large = list(measure_large(task.side or 20_000, task.budgets, task.layouts, task.threads))
            console.print(large_table(large, task.side or 20_000, task.threads))
    for line in missing:
        console.print(line, soft_wrap=True)
    if results:
        from benchmarks.table import make_table, write_markdown

        console.print(make_table(results, task))
        if task.markdown:
            write_markdown(Path(task.markdown), results, task)
    content = {
        "repeats": task.repeats,
        "threads": task.threads,
        "quick": task.quick,
        "results": [asdict(result) for result in results],
        "missing": missing,
        "large": [asdict(result) for result in large],
    }
    write_results(target, content)
    return results


def _measure(names: Sequence[str], task: Benchmark) -> tuple[list[Result], list[str]]:
    """The results of groups, and a line for each pair whose package is missing."""
    results: list[Result] = []
    missing: list[str] = []
    for name in names:
        pairs = GROUPS[name](task)
        missing += [line for pair in pairs if (line := pair.missing)]
        results += measure_all(pairs, task.repeats)
    return results, missing


def main() -> None:
    run_with_own_keys(USAGE, DEFAULTS, benchmark)


if __name__ == "__main__":
    main()
