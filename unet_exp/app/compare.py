"""Which difference is real? Finished runs in, one page out."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from unet_exp.errors import ConfigError
from unet_exp.runs import dated_folder
from unet_exp.schema import Strict, validate

if TYPE_CHECKING:
    from rich.console import Console

    from unet_exp.compare.comparison import Comparison

USAGE = """Compare finished runs and write one page that says which difference is real.

Usage: python scripts/compare.py runs=<folder> [key=value] ...

  runs      a run's folder, a sweep's, any folder above them, a glob, or a list of these: runs=[a,b]
            (in a list, a name with commas or equals signs goes in quotes)
  baseline  the group that the others are compared with: its label, or a value that it alone has (the first run's)
  metric    a column of the runs' per_image.csv (iou/mean)
  alpha     the risk of calling any difference real by chance, for this metric, with the number of runs fixed
            beforehand (0.05)
  output    folder of report.html, report.md and table.csv
            (the sweep's own folder if runs= names one sweep and the three keys above are not typed, so that its own
            page stays what it is; else outputs/compare/<date>_<time>_<metric>)

Which keys vary is found in the runs' configs. Runs that differ only in seed or fold are one group; runs of the same
seed and fold are paired. Runs that cannot be compared are set apart with the reason.

Examples:
  python scripts/compare.py runs=outputs/sweep/<sweep> baseline=concat
  python scripts/compare.py runs='outputs/train/*skip*' metric=v_rand_at_val
  python scripts/compare.py runs=[outputs/sweep/<one>,outputs/sweep/<other>] output=here
  python scripts/compare.py "runs=['outputs/sweep/<sweep>/fusion=add,seed=0','outputs/train/<run>']"
"""


class Comparing(Strict):
    """The entry point's own keys."""

    runs: str | list[str]
    baseline: str | None
    metric: str | None
    alpha: Annotated[float, Field(gt=0, lt=1)]
    output: str | None


DEFAULTS: dict[str, Any] = {"runs": "", "baseline": None, "metric": None, "alpha": 0.05, "output": None}

_COLUMNS = {
    "group": "group",
    "runs": "runs",
    "mean ± std": "mean ± std (95 % interval)",
    "difference": "difference (95 % interval)",
    "p (Holm)": "p (Holm)",
    "parameters": "parameters (mismatch)",
    "minutes": "minutes",
}
"""What the terminal shows of the page's table: the first line of its cells."""
_WIDTH = 120  # of the table in a file, and at most


def compare(values: dict[str, Any]) -> Path:
    """Compares, prints the verdict and the table, and writes the page.

    Args:
        values: the keys of `Comparing`.

    Returns:
        The path of `report.html`.

    Raises:
        ConfigError: for an unknown key, metric or baseline, or a number out of range.
        DataError: where there are no runs, none that can be compared, or the page cannot be written.
    """
    task = validate(Comparing, values)
    if not task.runs:
        raise ConfigError("runs=<folder> is missing, such as runs=outputs/sweep/<sweep>")

    from rich.console import Console

    from unet_exp.compare.collect import collect
    from unet_exp.compare.comparison import compare as compare_runs
    from unet_exp.compare.report import write_report

    places = [task.runs] if isinstance(task.runs, str) else task.runs
    comparison = compare_runs(*collect(places), task.metric, task.baseline, task.alpha)
    # What is told is paths and labels of the user's: brackets and colons in them are no markup.
    plain: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
    console = Console(**plain)
    _tell(comparison, console if console.is_terminal else Console(**plain, width=_WIDTH))
    sweep = _sweep(places)
    if task.output:
        folder = _expanded(task.output)
    elif sweep and all(getattr(task, key) == DEFAULTS[key] for key in ("baseline", "metric", "alpha")):
        folder = sweep
    else:
        folder = dated_folder(Path("outputs") / "compare", comparison.metric.replace("/", "-"))
    title = sweep.resolve().name if sweep else f"Comparison: {', '.join(comparison.varying) or 'one group'}"
    report = write_report(comparison, folder, title)
    console.print(str(report), style="bold", soft_wrap=True)
    return report


def _sweep(places: list[str]) -> Path | None:
    """The only place, if it is a sweep's folder."""
    folder = _expanded(places[0])
    return folder if len(places) == 1 and os.path.isfile(folder / "sweep.json") else None


def _expanded(place: str) -> Path:
    return Path(os.path.expanduser(place))


def _tell(comparison: "Comparison", console: "Console") -> None:
    from rich.table import Table
    from rich.text import Text

    from unet_exp.compare.report import table_rows
    from unet_exp.compare.wording import VERDICTS

    def say(text: str) -> None:
        console.print(text, soft_wrap=True)

    for difference in comparison.differences:
        say(f"{VERDICTS[difference.verdict].mark} {difference.sentence}")
    for warning in comparison.warnings:
        say(f"warning: {warning}")
    table = Table(caption=Text(f"{comparison.metric}, baseline {comparison.baseline.label}"), caption_justify="left")
    for column in _COLUMNS:
        first = column == "group"
        table.add_column(column, justify="left" if first else "right", no_wrap=not first, overflow="fold")
    for row in table_rows(comparison):
        table.add_row(*(Text(row.cells[cell].partition("\n")[0]) for cell in _COLUMNS.values()))
    console.print(table)
    for run in comparison.apart:
        say(f"set apart: {run.folder}: {run.reason}")
