"""Comparisons of many runs: each file is opened once, the page stays short, and nothing is lost."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from sweeps_on_disk import ADD, CONCAT, base_config, compared, run_in_memory, write_run, write_sweep

from unet_exp.compare import statistics
from unet_exp.compare.collect import Excluded, collect
from unet_exp.compare.comparison import compare_runs
from unet_exp.compare.plots import MOST_DOTS, plot_intervals
from unet_exp.compare.report import MOST_EXCLUDED, MOST_LISTED, MOST_SHOWN, table_rows, write_report
from unet_exp.runs.plain_yaml import SharedBlocks, parse_plain


def count_opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many files are opened to read the runs in a folder."""
    opened: list[Path] = []
    whole = Path.open

    def count(path: Path, *args: Any, **kwargs: Any) -> Any:
        opened.append(path)
        return whole(path, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", count)
        collect([folder])
    return len(opened)


def test_files_are_opened_once_a_run_and_the_plan_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seeds in (2, 5):
        write_sweep(tmp_path / str(seeds), [CONCAT, ADD], seeds=seeds)
        assert count_opened(tmp_path / str(seeds), monkeypatch) == 4 * 2 * seeds + 1


def test_what_configs_have_in_common_is_parsed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sweep(tmp_path / "sweep", [CONCAT, ADD], seeds=4)
    parsed: list[str] = []

    def count(text: str) -> Any:
        parsed.append(text)
        return parse_plain(text)

    monkeypatch.setattr("unet_exp.runs.plain_yaml.parse_plain", count)
    runs, _ = collect([tmp_path / "sweep"])
    assert len(parsed) == len(base_config()) + 3 + 1, "each key, three seeds more, a fusion more"
    read = {(run.config["fusion.name"], run.seed) for run in runs}
    assert read == {(word, seed) for word in ("concat", "add") for seed in range(4)}


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\nb:\n  c: [1, 2]\nlist:\n- x\n- {y: 2}\na: 3\n",
        "a: &x [1]\nb: *x\n",
        "a: &x [1]\nb: [*x, *x]\n",
        "a: 'two\n  lines'\nb: |\n  kept\n  so\n",
        "# a comment\na: 1\n\nb: 2\n",
        "a: 1",
        "- a\n- b\n",
    ],
)
def test_parts_make_the_whole(text: str) -> None:
    assert SharedBlocks().parse(text) == parse_plain(text)


@pytest.mark.parametrize("text", ["a: 1\nb: !!python/tuple [1]\n", "a: 1\n<<: {b: 2}\n", "a: [1\nb: 2\n", "a: *x\n"])
def test_parts_are_no_less_strict(text: str) -> None:
    for parse in (SharedBlocks().parse, parse_plain):
        with pytest.raises((ValueError, yaml.YAMLError)):
            parse(text)


def test_a_reference_is_refused_however_it_is_written(tmp_path: Path) -> None:
    for number, value in enumerate(["${oc.env:HOME}", r'"\x24{oc.env:HOME}"']):
        run = write_run(tmp_path / f"run-{number}")
        (run / "config.yaml").write_text((run / "config.yaml").read_text() + f"init_from: {value}\n")
    runs, excluded = collect([tmp_path])
    assert not runs
    assert all("refers to something beside it" in item.reason for item in excluded)
    assert len(excluded) == 2


@pytest.mark.parametrize(
    "text",
    ["image,iou/mean\na,high\n", "image,iou/mean\na,1,2\n", "name,iou/mean\na,1\n", "", "image,x,x\na,1,2\n"],
)
def test_a_damaged_table_is_told(tmp_path: Path, text: str) -> None:
    (write_run(tmp_path / "run") / "per_image.csv").write_text(text)
    runs, (excluded,) = collect([tmp_path])
    assert not runs
    assert excluded.reason == "per_image.csv is damaged"


@pytest.mark.slow
def test_of_many_groups_the_best_are_shown_and_all_are_tested(tmp_path: Path) -> None:
    groups = MOST_SHOWN + 20
    runs = [
        run_in_memory({"optimizer.lr": 0.001 * (number + 1), "seed": 0}, {"a": 0.5 + 0.001 * number})
        for number in range(groups)
    ]
    comparison = compare_runs(runs)
    written = write_report(comparison, tmp_path / "page", "many")
    assert len(pd.read_csv(tmp_path / "page" / "table.csv")) == groups
    shown = comparison.select_best(MOST_SHOWN)
    assert shown.groups == [comparison.groups[0], *comparison.groups[21:]]
    assert len(table_rows(shown)) == MOST_SHOWN
    said = f"Of {groups} groups, all tested together, only the baseline and the {MOST_SHOWN - 1} with the best means"
    for text in (written.read_text(), (tmp_path / "page" / "report.md").read_text()):
        assert said in text
        assert f"{comparison.groups[-1].label} has too few pairs" in text
        assert f"{comparison.groups[5].label} has" not in text


def test_the_best_groups_are_found_among_undefined_ones() -> None:
    values = [0.5, 0.1, math.nan, 0.9, math.nan, 0.7, 0.2]
    comparison = compare_runs(
        [run_in_memory({"optimizer.lr": 0.001 * (at + 1), "seed": 0}, {"a": value}) for at, value in enumerate(values)]
    )
    assert [group.estimate.mean for group in comparison.select_best(3).groups] == [0.5, 0.9, 0.7]


@pytest.mark.slow
def test_runs_of_a_long_list_are_in_a_file(tmp_path: Path) -> None:
    runs = [run_in_memory({"seed": seed}, {"a": 0.5 + 0.0001 * seed}) for seed in range(MOST_LISTED + 1)]
    excluded = [Excluded(Path(f"lost-{number:04d}"), "failed: no luck", True) for number in range(MOST_EXCLUDED + 3)]
    comparison = compare_runs(runs, excluded)
    page = write_report(comparison, tmp_path / "page", "many").read_text()
    listed = pd.read_csv(tmp_path / "page" / "runs.csv")
    assert listed["run"].tolist() == [str(run.folder) for run in [*runs, *excluded]]
    assert listed["iou/mean"].count() == len(runs)
    assert listed["excluded"].dropna().tolist() == ["failed: no luck"] * len(excluded)
    assert "runs.csv</a> beside this page lists them" in page
    assert str(runs[0].folder) not in page
    assert page.count("lost-") == MOST_EXCLUDED
    assert "and 3 more, which are in runs.csv" in page


def test_a_short_list_is_on_the_page(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "sweep", [CONCAT, ADD], seeds=2)
    page = write_report(compared(sweep), sweep, "few").read_text()
    assert all(path.parent.name in page for path in sweep.glob("*/summary.json"))
    assert "beside this page lists them" not in page
    listed = pd.read_csv(sweep / "runs.csv")
    assert listed["group"].tolist() == ["fusion=concat"] * 2 + ["fusion=add"] * 2
    assert listed["seed"].tolist() == [0, 1, 0, 1]


@pytest.mark.usefixtures("draws")
def test_the_dots_of_a_plot_are_limited() -> None:
    runs = [run_in_memory({"seed": seed}, {"a": 0.5 + 0.0001 * seed}) for seed in range(MOST_DOTS + 50)]
    (means,) = plot_intervals(compare_runs(runs))
    assert f"Of more than {MOST_DOTS} runs that many are dots" in means.caption
    assert MOST_DOTS <= means.svg.count("<use") < MOST_DOTS + 40


def test_statistics_in_parts_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    gains = np.random.default_rng(0).normal(0.1, 1, 30)
    whole = statistics.mean_interval(gains), statistics.sign_flip_test(gains)
    monkeypatch.setattr(statistics, "_AT_ONCE", 30 * 1234)
    assert (statistics.mean_interval(gains), statistics.sign_flip_test(gains)) == whole
