"""The page of a comparison: `report.html`, one file that opens anywhere, its twin `report.md`, and `table.csv`."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from matplotlib.ticker import EngFormatter

from unet_exp.compare.collect import Run
from unet_exp.compare.comparison import Comparison, Difference, Verdict
from unet_exp.compare.pictures import MOST_GROUPS, strips
from unet_exp.compare.plots import cost_plots, curve_plots, interval_plots
from unet_exp.compare.wording import counted, number
from unet_exp.errors import DataError
from unet_exp.files import replacing

MARKS: dict[Verdict, str] = {
    "better": "▲",
    "worse": "▼",
    "not distinguishable": "≈",
    "identical": "=",
    "too few pairs": "?",
    "no pairs": "?",
}
"""A sign for each verdict, so that colour is not the only one."""

_TONES: dict[Verdict, str] = {
    "better": "better",
    "worse": "worse",
    "not distinguishable": "unclear",
    "identical": "unclear",
    "too few pairs": "few",
    "no pairs": "few",
}
_NONE = "n/a"


@dataclass(frozen=True)
class Row:
    """A group's line in the table.

    Attributes:
        cells: text under its heading; what stands in brackets is on a line of its own.
        tone: class of the verdict's colour.
    """

    cells: dict[str, str]
    tone: str


def write_report(comparison: Comparison, folder: Path, title: str) -> Path:
    """Writes `table.csv`, `report.md` and `report.html`, each whole or not at all.

    Args:
        comparison: what is told.
        folder: where; made if it is not there, once the pages are ready.
        title: stands above the page.

    Returns:
        The path of `report.html`.

    Raises:
        DataError: if the folder cannot be made.
    """
    words = _words(comparison, title)
    drawings = {
        "intervals": interval_plots(comparison),
        "curves": curve_plots(comparison),
        "costs": cost_plots(comparison),
        "strips": strips(comparison),
    }
    environment = _environment()
    pages = {
        "table.csv": comparison.table().to_csv(index=False, lineterminator="\n"),
        "report.md": environment.get_template("report.md.j2").render(words),
        "report.html": environment.get_template("report.html.j2").render(words, **drawings),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"the folder {folder} cannot be made ({error.strerror}); choose another place with output="
        ) from None
    for name, page in pages.items():
        with replacing(folder / name) as side:
            side.write_text(page, encoding="utf-8")
    return folder / "report.html"


def table_rows(comparison: Comparison) -> list[Row]:
    """The table for readers: a row a group, numbers as text."""
    found = {difference.group.label: difference for difference in comparison.differences}
    rows = []
    for record in comparison.table().to_dict("records"):
        numbers: dict[str, Any] = {str(name): value for name, value in record.items()}
        difference = found.get(numbers["label"])
        cells = {
            "group": str(numbers["label"]),
            "verdict": f"{MARKS[difference.verdict]} {difference.verdict}" if difference else "baseline",
            "runs": f"{numbers['runs']:.0f}",
            "mean ± std (95 % interval)": _estimate(numbers),
            **_difference_cells(difference),
            "parameters (mismatch)": _matched(numbers, "parameters"),
            "MACs (mismatch)": _matched(numbers, "macs"),
            "minutes": _rounded(numbers["minutes"], ".1f"),
            "memory (peak)": _amount(numbers["peak_memory"], "B"),
        }
        rows.append(Row(cells, _TONES[difference.verdict] if difference else ""))
    return rows


def _estimate(numbers: dict[str, Any]) -> str:
    values = [float(numbers[name]) for name in ("mean", "std", "low", "high")]
    mean, std, low, high = (number(value, "", values) for value in values)
    return f"{mean} ± {std}\n({low} to {high})" if numbers["runs"] > 1 else mean


def _matched(numbers: dict[str, Any], key: str) -> str:
    """A cost, and by how much it misses the baseline's."""
    return f"{_amount(numbers[key])}\n({_rounded(numbers[f'{key}_mismatch'], '+.1f', ' %')})"


def _difference_cells(difference: Difference | None) -> dict[str, str]:
    names = ("difference (95 % interval)", "pairs", "p (Holm)", "effect (d_z)")
    if difference is None:
        return dict.fromkeys(names, "")
    values = (difference.mean, difference.low, difference.high)
    mean, low, high = (number(value, "+", values) for value in values)
    cells = (
        f"{mean}\n({low} to {high})" if difference.pairs > 1 else mean,
        str(difference.pairs),
        number(difference.p_holm, "p"),
        _rounded(difference.effect, "+.2f"),
    )
    return dict(zip(names, cells, strict=True))


def _rounded(value: float, form: str, unit: str = "") -> str:
    return _NONE if pd.isna(value) else f"{value:{form}}{unit}"


def _amount(value: float, unit: str = "") -> str:
    """A large number with its prefix: 30.6 M."""
    return _NONE if pd.isna(value) else EngFormatter(unit=unit, places=1)(value).strip()


def _words(comparison: Comparison, title: str) -> dict[str, Any]:
    """All that the pages say."""
    runs = [run for group in comparison.groups for run in group.runs]
    rows = table_rows(comparison)
    groups = len(comparison.groups)
    verdicts = [
        {
            "mark": MARKS[difference.verdict],
            "word": difference.verdict,
            "tone": _TONES[difference.verdict],
            "sentence": difference.sentence,
        }
        for difference in comparison.differences
    ]
    more = groups - MOST_GROUPS
    return {
        "title": title,
        "subtitle": f"{counted(len(runs), 'run')} in {counted(groups, 'group')}, compared by "
        f"{comparison.metric} on the test images ({'higher' if comparison.higher_is_better else 'lower'} is better); "
        f"the baseline is {comparison.baseline.label}.",
        "comparison": comparison,
        "verdicts": verdicts,
        "rows": rows,
        "headings": list(rows[0].cells),
        "table_note": "Scores are over runs; std is of single runs (ddof 1). MACs are multiply-accumulates of one "
        "training input. Peak memory is of the training process, or of the GPU. The mismatch says by how much "
        "parameters and MACs are above or below the baseline's.",
        "left_out": f"Only the first {MOST_GROUPS} groups are shown; {more} more are not." if more > 0 else "",
        "reading": _reading(comparison.alpha),
        "facts": _facts(comparison, runs),
        "count": counted(len(runs), "run"),
    }


def _reading(alpha: float) -> list[str]:
    return [
        "The unit is a run: one training with one seed on one fold. Its score is the mean over its test images, "
        "because images of one network are not independent evidence.",
        "Runs of the same seed and fold are a pair: what they share, such as images and split, drops out of their "
        "difference.",
        "An interval is a 95 % bootstrap interval of the mean over runs or over pairs; from very few of them it is "
        "too short.",
        "The test flips the signs of the pairs' differences: p is the share of all patterns of signs whose mean is at "
        "least as far from 0 as the one that was found.",
        "Holm's correction raises p where several groups are tested, so that the risk of calling any difference real "
        f"by chance is at most {alpha:g}.",
        "Runs of one fold test the same images: interval and p speak of new trainings on these images, not of new "
        "images.",
        "The effect d_z is the mean difference over its standard deviation; an effect without a small p is a guess.",
    ]


def _facts(comparison: Comparison, runs: list[Run]) -> dict[str, str]:
    """Where the numbers come from; what differs between runs is listed with commas."""

    def different(values: Iterable[Any]) -> str:
        return ", ".join(dict.fromkeys(str(value) for value in values if value is not None)) or _NONE

    def commit(run: Run) -> str | None:
        git = run.summary.get("git")
        return git and f"{str(git.get('commit'))[:10]}{' (with changes)' if git.get('changed') else ''}"

    def data(run: Run) -> str:
        fold = "" if run.fold is None else f"fold {run.fold}: "
        return f"{fold}{str(run.summary.get('data_fingerprint'))[:10]}"

    packages = dict.fromkeys(name for run in runs for name in run.summary.get("versions") or {})
    return {
        "varying": ", ".join(comparison.varying) or "nothing",
        "level": f"alpha = {comparison.alpha:g}",
        "metric version": different(run.summary.get("metrics_version") for run in runs),
        "data": different(sorted(data(run) for run in runs)),
        "device": different(run.summary.get("device") for run in runs),
        "precision": different(run.summary.get("precision") for run in runs),
        "git commit": different(commit(run) for run in runs),
        "versions": "; ".join(
            f"{name} {different((run.summary.get('versions') or {}).get(name) for run in runs)}" for name in packages
        )
        or _NONE,
    }


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("unet_exp.compare"),
        autoescape=select_autoescape(("html.j2",)),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = _markdown_cell
    return environment


def _markdown_cell(text: object) -> str:
    """Text that Markdown shows as it is, in a table too."""
    said = " ".join(str(text).split())
    for sign in "\\`*_|<>[]":
        said = said.replace(sign, f"\\{sign}")
    return said
