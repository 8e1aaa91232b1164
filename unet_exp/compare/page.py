"""The command compare: finished runs in, one page out."""

import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from unet_exp.compare import ALPHA
from unet_exp.compare.collect import collect
from unet_exp.compare.comparison import compare_runs
from unet_exp.compare.pictures import describe_gone
from unet_exp.compare.report import MOST_EXCLUDED, MOST_SHOWN, describe_left_out, table_rows, write_report
from unet_exp.compare.results import Comparison
from unet_exp.compare.wording import write_verdicts
from unet_exp.console import make_console
from unet_exp.runs.run_folder import OUTPUTS, dated_folder

_TERMINAL_COLUMNS = {
    "group": "group",
    "runs": "runs",
    "mean ± std": "mean ± std (95 % interval)",
    "difference": "difference (95 % interval)",
    "p (Holm)": "p (Holm)",
    "parameters": "parameters (mismatch)",
    "minutes": "minutes",
}
"""Columns of the page's table on the terminal, which shows the first line of each cell."""
_WIDTH = 120  # of the table in a file, and at most


def write_comparison(
    places: Sequence[str],
    metric: str | None = None,
    baseline: str | None = None,
    alpha: float = ALPHA,
    output: str | None = None,
) -> Path:
    """Compares runs, prints the verdict and the table, and writes the page; returns the path of `report.html`.

    Args:
        places: folders or globs, see `unet_exp.compare.collect.collect`.
        metric: see `compare_runs`.
        baseline: see `compare_runs`.
        alpha: see `compare_runs`.
        output: folder of the page; None: the sweep's own if `places` names one and the three choices above are the
            defaults, so that its own page stays as it is; else a new folder below `outputs/compare`.

    Raises:
        ConfigError: for an unknown metric or baseline.
        DataError: without runs, without comparable ones, or if the page cannot be written.
    """
    comparison = compare_runs(*collect(places), metric, baseline, alpha)
    console = make_console()
    _print_comparison(comparison, console if console.is_terminal else make_console(width=_WIDTH))
    sweep = _find_sweep(places)
    if output:
        folder = _expand(output)
    elif sweep and (metric, baseline, alpha) == (None, None, ALPHA):
        folder = sweep
    else:
        folder = dated_folder(Path(OUTPUTS) / "compare", comparison.metric.replace("/", "-"))
    title = sweep.resolve().name if sweep else f"Comparison: {', '.join(comparison.varying) or 'one group'}"
    report = write_report(comparison, folder, title)
    if gone := describe_gone(comparison):
        console.print(f"warning: {gone}", soft_wrap=True)
    console.print(str(report), style="bold", soft_wrap=True)
    return report


def _find_sweep(places: Sequence[str]) -> Path | None:
    """The only place, if it is a sweep's folder."""
    folder = _expand(places[0])
    return folder if len(places) == 1 and os.path.isfile(folder / "sweep.json") else None


def _expand(place: str) -> Path:
    return Path(os.path.expanduser(place))


def _print_comparison(whole: Comparison, console: Console) -> None:
    comparison = whole.select_best(MOST_SHOWN)
    if whole.reason:
        console.print(f"compared by {whole.metric}, as {whole.reason}", soft_wrap=True)
    best_alone, more_excluded = describe_left_out(whole)
    for verdict in write_verdicts(comparison.differences, comparison.baseline):
        console.print(verdict, soft_wrap=True)
    if best_alone:
        console.print(best_alone, soft_wrap=True)
    for warning in comparison.warnings:
        console.print(f"warning: {warning}", soft_wrap=True)
    table = Table(caption=Text(f"{comparison.metric}, baseline {comparison.baseline.label}"), caption_justify="left")
    for column in _TERMINAL_COLUMNS:
        first = column == "group"
        table.add_column(column, justify="left" if first else "right", no_wrap=not first, overflow="fold")
    for row in table_rows(comparison):
        table.add_row(*(Text(row.cells[cell].partition("\n")[0]) for cell in _TERMINAL_COLUMNS.values()))
    console.print(table)
    for run in comparison.excluded[:MOST_EXCLUDED]:
        console.print(f"excluded: {run.folder}: {run.reason}", soft_wrap=True)
    if more_excluded:
        console.print(more_excluded, soft_wrap=True)
