"""The table of a benchmark, on the terminal and in a Markdown file."""

import platform
import re
import statistics
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.pairs import Result
from benchmarks.settings import Benchmark

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = ("group", "what", "A", "B", "A ms", "B ms", "B / A", "goal", "met")


def list_cells(result: Result) -> list[str]:
    """The cells of a row."""
    times = (_median_and_spread(seconds) for seconds in (result.ours_seconds, result.other_seconds))
    ratio = f"{result.ratio:.2f} ({result.lowest:.2f}-{result.highest:.2f})"
    met = {None: "", True: "yes", False: "no"}[result.met]
    goal = result.goal or ""
    if goal.startswith("at most +"):
        goal = f"{goal}: {1e3 * result.more:+.2f} ms"
    return [result.group, result.what, result.ours, result.other, *times, ratio, goal, met]


def _median_and_spread(seconds: Sequence[float]) -> str:
    """In milliseconds: the median, and the smallest and the largest."""
    median, low, high = (1e3 * number for number in (statistics.median(seconds), min(seconds), max(seconds)))
    digits = 1 if median < 1000 else 0
    return f"{median:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def make_table(results: Sequence[Result], task: Benchmark) -> "Table":
    """A row a pair."""
    from rich.table import Table

    caption = f"{task.repeats} repeats (long ones fewer), {task.threads} threads; medians with the least and the most"
    table = Table(caption=caption, caption_justify="left")
    for column in COLUMNS:
        table.add_column(column, justify="right" if column in ("A ms", "B ms", "B / A") else "left")
    for result in results:
        table.add_row(*list_cells(result))
    return table


def describe_machine(accelerator: str) -> str:
    """The kind of this machine, in words."""
    import os

    import torch

    if accelerator == "gpu":
        return torch.cuda.get_device_name()
    found = re.search(r"model name\s*: (.*)", _read("/proc/cpuinfo"))
    flags = re.search(r"^flags\s*: (.*)", _read("/proc/cpuinfo"), re.MULTILINE)
    known = set(flags[1].split()) if flags else set()
    best = [name for flag, name in (("avx512_bf16", "AVX-512 with bf16"), ("avx512f", "AVX-512"), ("avx2", "AVX2"))
            if flag in known]  # fmt: skip
    name = found[1].strip() if found else platform.processor() or platform.machine()
    return ", ".join([name, f"{os.cpu_count()} cores", *best[:1]])


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def write_markdown(path: Path, results: Sequence[Result], task: Benchmark) -> None:
    """Puts rows into the table of this kind of machine in a file.

    They are in place of earlier rows of the same groups; a table that is missing is added at the end.
    """
    from unet_exp.files import write_text
    from unet_exp.runs.environment import git_state, versions

    title = f"## {describe_machine(task.accelerator)}"
    packages = ", ".join(f"{name} {version}" for name, version in versions().items() if name in _NAMED)
    state = git_state()
    commit = "" if state is None else f", commit {state.commit[:10]}{' and changes' if state.changed else ''}"
    about = (
        f"Last measured with {packages}{commit}; precision {task.precision}, threads={task.threads}, "
        f"repeats={task.repeats}{', quick=true' if task.quick else ''}. Of a goal in ms, what follows is A - B."
    )
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    parts = [part.rstrip() + "\n" for part in re.split(r"(?m)^(?=## )", before) if part.strip()]
    ours = next((part for part in parts if part.startswith(f"{title}\n")), "")
    measured = {result.group for result in results}
    today = date.today().isoformat()
    rows = [f"| {' | '.join([*list_cells(result), today])} |" for result in results]
    kept = [row for row in ours.splitlines() if row.startswith("| ") and row.split(" | ")[0][2:] not in measured]
    head = [f"| {' | '.join([*COLUMNS, 'date'])} |", "| --- " * (len(COLUMNS) + 1) + "|"]
    section = "\n".join([title, "", about, "", *head, *(row for row in kept if row not in head), *rows]) + "\n"
    whole = [section if part is ours else part for part in parts] if ours else [*parts, section]
    write_text(path, "\n".join(whole))


_NAMED = ("python", "torch", "pytorch-lightning")
