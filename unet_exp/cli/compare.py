"""The command compare: which difference between finished runs is real."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from unet_exp.cli.entry import run_with_own_keys
from unet_exp.compare import ALPHA
from unet_exp.config.values import PathName
from unet_exp.errors import ConfigError
from unet_exp.schema import Strict, validate

USAGE = """Compare finished runs and write one page that says which difference is real.

Usage: python scripts/compare.py runs=<folder> [key=value] ...

  runs      a run's folder, a sweep's, any folder above them, a glob, or a list of these: runs=[a,b]
            (in a list, a name with commas or equals signs goes in quotes)
  baseline  the group that the others are compared with: its label, or a value that only it has (the first run's)
  metric    a column of the runs' per_image.csv (the test score of trainer.monitor, if all runs have the same one:
            v_rand_at_val for val/v_rand; else, and for val/loss, iou/mean)
  alpha     the risk of calling any difference real by chance, for this metric, with the number of runs fixed
            beforehand (0.05)
  output    folder of report.html, report.md, table.csv (the groups) and runs.csv
            (the sweep's folder if runs= names one sweep and none of the three keys above is typed, which keeps its own
            page; else outputs/compare/<date>_<time>_<metric>)

The runs' configs show which keys vary. Runs that differ only in seed or fold are one group; runs with the same seed and
fold are paired. Runs that cannot be compared are excluded with the reason.

Examples:
  python scripts/compare.py runs=outputs/sweep/<sweep> baseline=concat
  python scripts/compare.py runs='outputs/train/*skip*' metric=v_rand_at_val
  python scripts/compare.py runs=[outputs/sweep/<one>,outputs/sweep/<other>] output=here
  python scripts/compare.py "runs=['outputs/sweep/<sweep>/fusion=add,seed=0','outputs/train/<run>']"
"""


class CompareTask(Strict):
    """The command's keys."""

    runs: PathName | list[PathName]
    baseline: str | None
    metric: str | None
    alpha: Annotated[float, Field(gt=0, lt=1)]
    output: PathName | None


DEFAULTS: dict[str, Any] = {"runs": "", "baseline": None, "metric": None, "alpha": ALPHA, "output": None}


def main() -> None:
    """Runs `scripts/compare.py`."""
    run_with_own_keys(USAGE, DEFAULTS, _run_comparison)


def _run_comparison(values: dict[str, Any]) -> Path:
    task = validate(CompareTask, values)
    if not task.runs:
        raise ConfigError("runs=<folder> is missing, such as runs=outputs/sweep/<sweep>")

    from unet_exp.compare.page import write_comparison

    places = [task.runs] if isinstance(task.runs, str) else task.runs
    return write_comparison(places, task.metric, task.baseline, task.alpha, task.output)
