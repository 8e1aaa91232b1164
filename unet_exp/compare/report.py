"""Writes the page of a comparison: `report.html` in one file, the same as `report.md`, and `table.csv`, `runs.csv`."""

import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
from matplotlib.ticker import EngFormatter

from unet_exp.compare.collect import Run
from unet_exp.compare.comparison import Comparison, Difference, Group
from unet_exp.compare.pictures import MOST_GROUPS, describe_gone, draws_some, make_strips
from unet_exp.compare.plots import plot_costs, plot_curves, plot_intervals
from unet_exp.compare.statistics import DRAWS, MOST_EXACT
from unet_exp.compare.wording import (
    VERDICTS,
    format_commit,
    format_count,
    format_interval,
    format_number,
    format_two_digits,
    write_match_note,
)
from unet_exp.errors import DataError
from unet_exp.files import write_whole
from unet_exp.pages.template import make_environment
from unet_exp.runs.run_folder import RunFolder

MOST_SHOWN = 100
"""Groups on the page and on the terminal; table.csv has all."""
MOST_LISTED = 500
"""Runs that the page lists, and leads to; runs.csv has all."""
MOST_EXCLUDED = 100
"""Excluded runs on the page and on the terminal; likewise."""

_NONE, _DASH = "n/a", "\N{EN DASH}"


@dataclass(frozen=True)
class Row:
    """A group's line in the table: text by heading, brackets on a line of their own, and the class of the colour."""

    cells: dict[str, str]
    tone: str


def write_report(comparison: Comparison, folder: Path, title: str) -> Path:
    """Writes `table.csv`, `runs.csv`, `report.md` and `report.html`, each whole or not at all; makes their folder.

    The size of the page is bounded: of many groups it shows the best, of many runs it names the file that lists them.

    Returns:
        The path of `report.html`.

    Raises:
        DataError: if the folder cannot be made or written to.
    """
    shown = comparison.select_best(MOST_SHOWN)
    words = _describe(comparison, shown, title)
    drawings: dict[str, Any] = {
        "intervals": plot_intervals(shown),
        "curves": plot_curves(shown),
        "costs": plot_costs(shown),
        "strips": make_strips(shown),
    }
    environment = make_environment("unet_exp.compare")
    environment.filters["cell"] = _escape_markdown
    legend = next((strip.legend for strip in drawings["strips"] if strip.legend), None)
    links = _link_pages(words["listed"], folder)
    pages = {
        "table.csv": comparison.table().to_csv(index=False, lineterminator="\n"),
        "runs.csv": comparison.list_runs().to_csv(index=False, lineterminator="\n"),
        "report.md": environment.get_template("report.md.j2").render(words),
        "report.html": environment.get_template("report.html.j2").render(words, **drawings, legend=legend, links=links),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, page in pages.items():
            with write_whole(folder / name) as side:
                side.write_text(page, encoding="utf-8")
    except OSError as error:
        raise DataError(
            f"{error.filename or folder} cannot be written ({error.strerror}); choose another folder with output="
        ) from None
    return folder / "report.html"


def table_rows(comparison: Comparison) -> list[Row]:
    """The table for readers: one row per group, numbers as text."""
    rows = []
    for record, difference in zip(comparison.table().to_dict("records"), [None, *comparison.differences], strict=True):
        numbers: dict[str, Any] = {str(name): value for name, value in record.items()}
        cells = {
            "group": str(numbers["label"]),
            "verdict": f"{VERDICTS[difference.verdict].mark} {difference.verdict}" if difference else "baseline",
            "runs": f"{numbers['runs']:.0f}",
            "mean ± std (95 % interval)": _format_estimate(numbers),
            **_format_difference(difference),
            "parameters (mismatch)": _format_cost(numbers, "parameters"),
            "MACs (mismatch)": _format_cost(numbers, "macs"),
            "minutes": _NONE if pd.isna(numbers["minutes"]) else format_two_digits(numbers["minutes"]),
        }
        if comparison.memory_is_comparable:
            cells["memory (peak)"] = _format_amount(numbers["peak_memory"], "B")
        rows.append(Row(cells, VERDICTS[difference.verdict].tone if difference else ""))
    return rows


def _format_estimate(numbers: dict[str, Any]) -> str:
    values = [float(numbers[name]) for name in ("mean", "std", "low", "high")]
    mean, std, low, high = (format_number(value, "", values) for value in values)
    return f"{mean} ± {std}\n({low} to {high})" if numbers["runs"] > 1 else mean


def _format_cost(numbers: dict[str, Any], key: str) -> str:
    """A cost, and its difference from the baseline's in percent."""
    return f"{_format_amount(numbers[key])}\n({_round(numbers[f'{key}_mismatch'], '+.1f', ' %')})"


def _format_difference(difference: Difference | None) -> dict[str, str]:
    names = ("difference (95 % interval)", "pairs (least p)", "p (Holm)", "effect (d_z)")
    if difference is None:
        return dict.fromkeys(names, "")
    mean, low, high = format_interval(difference)
    least = format_number(difference.smallest_p, "p")
    cells = (
        f"{mean}\n({low} to {high})" if difference.pairs > 1 else mean,
        f"{difference.pairs}\n({least})" if difference.pairs else "0",
        format_number(difference.p_holm, "p") if difference.is_testable else _DASH,
        _round(difference.effect, "+.2f"),
    )
    return dict(zip(names, cells, strict=True))


def _round(value: float, form: str, unit: str = "") -> str:
    return _NONE if pd.isna(value) else f"{value:{form}}{unit}"


def _format_amount(value: float, unit: str = "") -> str:
    """A large number with its prefix: 30.6 M."""
    return _NONE if pd.isna(value) else EngFormatter(unit=unit, places=1)(value).strip()


def describe_left_out(comparison: Comparison) -> tuple[str, str]:
    """What is said of groups, and of excluded runs, that are too many to be shown; empty where all are."""
    groups, excluded = len(comparison.groups), len(comparison.excluded)
    of_groups = (
        f"Of {groups:,} groups, all tested together, only the baseline and the {MOST_SHOWN - 1} with the best means "
        "are shown; table.csv has all."
    )
    of_excluded = f"and {excluded - MOST_EXCLUDED:,} more, which are in runs.csv"
    return of_groups * (groups > MOST_SHOWN), of_excluded * (excluded > MOST_EXCLUDED)


def _describe(comparison: Comparison, shown: Comparison, title: str) -> dict[str, Any]:
    """All texts of the pages, of which some are about the groups that are shown."""
    runs = [run for group in comparison.groups for run in group.runs]
    rows = table_rows(shown)
    groups = len(comparison.groups)
    looks = [(VERDICTS[difference.verdict], difference) for difference in shown.differences]
    best_alone, more_excluded = describe_left_out(comparison)
    verdicts = [
        {"mark": look.mark, "word": difference.verdict, "tone": look.tone, "sentence": difference.sentence}
        for look, difference in looks
    ]
    more = len(shown.groups) - MOST_GROUPS
    memory = "Peak memory is of the training process, or of the GPU."
    if not comparison.memory_is_comparable:
        memory = "Peak memory is left out: one process trained several runs, and keeps memory of those before."
    table_note = (
        "Scores are over runs; std is of single runs (ddof 1). The least p is what so many pairs can reach; groups "
        "without a p have too few to reach a small one. MACs are multiply-accumulates of one training input. The "
        "mismatch says by how much parameters and MACs are above or below the baseline's. Minutes are of training; "
        f"runs side by side share the cores and take longer. {memory} "
        f"{write_match_note(shown.groups)}"
    )
    return {
        "title": title,
        "subtitle": f"{format_count(len(runs), 'run')} in {format_count(groups, 'group')}, "
        f"compared by {comparison.metric} on the test images "
        f"({'higher' if comparison.higher_is_better else 'lower'} is better)"
        f"{comparison.reason and f', as {comparison.reason}'}; the baseline is {comparison.baseline.label}.",
        "comparison": comparison,
        "verdicts": verdicts,
        "rows": rows,
        "headings": list(rows[0].cells),
        "table_note": table_note.strip(),
        "best_alone": best_alone,
        "excluded": comparison.excluded[:MOST_EXCLUDED],
        "more_excluded": more_excluded,
        "listed": comparison.groups if len(runs) <= MOST_LISTED else [],
        "some_drawn": draws_some(shown),
        "gone": describe_gone(comparison),
        "left_out": f"Only the first {MOST_GROUPS} groups are shown; {more} more are not." if more > 0 else "",
        "reading": _explain_method(comparison),
        "facts": _list_facts(comparison, runs),
        "count": format_count(len(runs), "run"),
    }


def _explain_method(comparison: Comparison) -> list[str]:
    many = any(difference.pairs > MOST_EXACT for difference in comparison.differences)
    drawn = f" (of more than {MOST_EXACT} pairs, of {DRAWS:,} drawn ones)" if many else ""
    return [
        "The unit is a run: one training with one seed on one fold. Its score is the mean of its test images' own "
        "scores, because images of one network are not independent evidence; summary.json pools the pixels of all "
        "images instead, so that its IoU differs a little.",
        "Runs of the same seed and fold are a pair: what they share, such as images and split, drops out of their "
        "difference. A pair is compared on the images whose score is defined in both of its runs; the mean and the std "
        "of a group are over all that each run has.",
        "Intervals are 95 % bootstrap intervals of the mean over runs or over pairs, whatever alpha is, and not "
        "adjusted for several groups; one of fewer than five values is too short. The verdict follows p.",
        f"The test flips the signs of the pairs' differences: p is the share of all patterns of signs{drawn} whose "
        "mean is at least as far from 0 as the one that was found. Few pairs cannot reach a small p at all.",
        "Holm's correction raises p where several groups are tested, so that the risk of calling any difference real "
        f"by chance is at most {comparison.alpha:g}, for this metric, with the number of runs fixed beforehand.",
        "Runs of one fold test the same images: interval and p speak of new trainings on these images, not of new "
        "images.",
        "The effect d_z is the mean difference over its standard deviation; an effect without a small p is a guess. "
        "How many pairs would find it is a rough guess, because it takes the effect that was seen for the true one.",
    ]


def _list_facts(comparison: Comparison, runs: list[Run]) -> dict[str, str]:
    """Where the numbers come from; values that differ between runs are listed with commas."""

    def different(values: Iterable[Any]) -> str:
        return ", ".join(dict.fromkeys(str(value) for value in values if value is not None)) or _NONE

    def code(run: Run) -> str | None:
        git = run.summary.git
        return f"{format_commit(run)}{' (with changes)' if git.changed else ''}" if git else None

    def data(run: Run) -> str:
        fold = "" if run.fold is None else f"fold {run.fold}: "
        return f"{fold}{str(run.summary.data_fingerprint)[:10]}"

    packages = dict.fromkeys(name for run in runs for name in run.summary.versions or {})
    return {
        "varying": ", ".join(comparison.varying) or "nothing",
        "level": f"alpha = {comparison.alpha:g}",
        "metric version": different(run.summary.metrics_version for run in runs),
        "data": different(sorted(data(run) for run in runs)),
        "device": different(run.summary.device for run in runs),
        "precision": different(run.summary.precision for run in runs),
        "git commit": different(code(run) for run in runs),
        "versions": "; ".join(
            f"{name} {different((run.summary.versions or {}).get(name) for run in runs)}" for name in packages
        )
        or _NONE,
    }


def _link_pages(groups: Sequence[Group], folder: Path) -> dict[Path, str]:
    """Where from the page's folder the runs' own pages are; runs of earlier versions have none."""
    found = {}
    for run in (run for group in groups for run in group.runs):
        page = RunFolder(run.folder).page
        with suppress(ValueError):  # on another drive
            if page.is_file():
                found[run.folder] = quote(Path(os.path.relpath(page, folder)).as_posix())
    return found


def _escape_markdown(text: object) -> str:
    """Text that Markdown shows as it is, in a table too."""
    return re.sub(r"[\\`*_|<>\[\]]", r"\\\g<0>", " ".join(str(text).split()))
