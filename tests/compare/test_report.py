"""The page of a comparison: what it says, and that it opens anywhere."""

import re
import shutil
import subprocess
from html import escape, unescape
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import drawing
from sweeps_on_disk import FUSIONS, compared, draw_pictures, page, write_run, write_sweep

from unet_exp.compare.report import table_rows, write_report
from unet_exp.pages.plots import PALETTE


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweeps") / "2026-01-01_00-00-00_skip"
    write_sweep(folder, FUSIONS, seeds=4, folds=2, gains=[0, 0.001, -0.1])
    draw_pictures(folder)
    return folder


@pytest.fixture(scope="module")
def written(sweep: Path) -> Path:
    with drawing():
        return write_report(compared(sweep), sweep / "page", "a sweep").parent


@pytest.fixture(scope="module")
def report(written: Path) -> str:
    return (written / "report.html").read_text()


class Outline(HTMLParser):
    """Elements with their attributes; fails where they are not closed in order."""

    VOID = ("meta", "img", "br", "hr", "link")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def outline(text: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Outline()
    parser.feed(text)
    parser.close()
    assert not parser.open
    return parser.found


def count(text: str, tag: str) -> int:
    return sum(found == tag for found, _ in outline(text))


# --- the page ---


def test_the_verdict_stands_above_everything_else(sweep: Path, report: str) -> None:
    text = unescape(report)
    comparison = compared(sweep)
    assert len(comparison.differences) == 2
    for difference in comparison.differences:
        assert text.index(difference.sentence) < text.index("<table")
        assert difference.verdict in text
    assert comparison.warnings == []
    assert "Before you rely on it" not in text


def test_warnings_stand_above_the_table(tmp_path: Path) -> None:
    write_sweep(tmp_path, FUSIONS, seeds=2)
    write_run(tmp_path / "elsewhere", {"seed": 5}, device="cuda:0")
    write_run(tmp_path / "broken", {"seed": 6}, status="failed", error="no luck")
    warnings = compared(tmp_path).warnings
    starts = (
        "1 run failed",
        "fusion=add and fusion=none, and fusion=concat, have no comparable run",
        "the runs are of",
    )
    assert len(warnings) == len(starts)
    assert all(warning.startswith(start) for warning, start in zip(warnings, starts, strict=True))
    text = unescape(page(tmp_path))
    markdown = (tmp_path / "page" / "report.md").read_text().replace("\\", "")
    for warning in warnings:
        assert text.index(warning) < text.index("<table")
        assert markdown.index(warning) < markdown.index("| group |")


def test_the_page_is_whole_html_and_needs_nothing_else(report: str) -> None:
    elements = outline(report)
    assert elements[0][0] == "html"
    assert "http" not in report
    assert "<script" not in report
    assert "@import" not in report
    assert not [tag for tag, _ in elements if tag in ("link", "script", "iframe", "object")]
    for _, attributes in elements:
        source = attributes.get("src")
        assert source is None or source.startswith(("data:image/jpeg;base64,", "data:image/png;base64,"))
        assert (attributes.get("href") or "#").startswith("#")


def test_ids_are_unique_and_references_are_met(report: str) -> None:
    elements = outline(report)
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = re.findall(r"url\(#([^)]+)\)", report)
    wanted += [str(attributes["href"])[1:] for _, attributes in elements if "href" in attributes]
    assert wanted
    assert set(wanted) <= set(ids)


def test_pictures_and_plots_are_all_there_and_described(report: str) -> None:
    elements = outline(report)
    images = [attributes for tag, attributes in elements if tag == "img"]
    plots = [attributes for tag, attributes in elements if tag == "svg"]
    assert len(images) == 3 * (2 + 3) + 1, "worst, median and best: input, truth and three groups; and the legend"
    assert len(plots) == 6, "means, differences, validation, loss, MACs, minutes"
    assert all(attributes["alt"] for attributes in images)
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in plots)


def test_the_page_is_not_large(written: Path) -> None:
    assert (written / "report.html").stat().st_size < 3_000_000


def test_headings_are_in_order(report: str) -> None:
    levels = [int(tag[1]) for tag, _ in outline(report) if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_ink_takes_the_colour_of_the_page(report: str) -> None:
    assert "currentColor" in report
    drawings = "".join(re.findall(r"<svg.*?</svg>", report, re.DOTALL))
    colors = set(re.findall(r"#[0-9a-f]{6}\b", drawings))
    assert colors <= set(PALETTE)


@pytest.mark.slow
@pytest.mark.usefixtures("draws")
def test_the_same_comparison_gives_the_same_bytes(sweep: Path, written: Path, tmp_path: Path) -> None:
    again = write_report(compared(sweep), tmp_path / "again", "a sweep").parent
    assert {file.name for file in again.iterdir()} == {"report.html", "report.md", "table.csv", "runs.csv"}
    for file in again.iterdir():
        assert file.read_bytes() == (written / file.name).read_bytes()


def test_names_are_shown_as_they_are(tmp_path: Path) -> None:
    odd = '<b>"a|b"</b> $x$'
    write_sweep(tmp_path, [{"init_from": None}, {"init_from": odd}], seeds=2)
    text = page(tmp_path, title="<i>t</i>")
    assert "<b>&#34;" not in text.replace("<b>? ", "")
    assert odd not in text
    assert "<i>t</i>" not in text
    outline(text)
    assert odd in unescape(text)
    lines = (tmp_path / "page" / "report.md").read_text().splitlines()
    (row,) = [line for line in lines if line.startswith("| init") and "$x$" in line]
    assert r"\<b\>" in row
    heading = next(line for line in lines if line.startswith("| group"))
    assert len(re.findall(r"(?<!\\)\|", row)) == heading.count("|")


def test_the_page_says_where_its_numbers_come_from(sweep: Path, report: str) -> None:
    text = unescape(report)
    for part in ("0" * 10, "torch 2.7.0", "fold 0: fingerprin", "metric version", "alpha = 0.05"):
        assert part in text
    for group in compared(sweep).groups:
        assert all(str(run.folder) in text for run in group.runs)


def test_notes_say_what_the_numbers_are(report: str) -> None:
    for part in ("summary.json pools", "fewer than five", "fixed beforehand", "rough guess", "share the cores"):
        assert part in report
    assert "drawn" not in report
    assert "equalises" not in report


@pytest.mark.slow
def test_drawn_patterns_and_what_is_not_matched_are_said(tmp_path: Path) -> None:
    matched = [{**fusion, "model.match": "parameters"} for fusion in FUSIONS[:2]]
    write_sweep(tmp_path / "concat", matched[:1], seeds=16, macs=1000)
    write_sweep(tmp_path / "add", matched[1:], seeds=16, macs=900)
    assert compared(tmp_path, baseline="concat").warnings == []
    text = page(tmp_path, baseline="concat")
    assert "of 20,000 drawn ones" in text
    assert "model.match=parameters equalises parameters, not MACs (fusion=add: -10.0 %)" in text


def test_runs_that_are_set_apart_are_named_with_the_reason(tmp_path: Path) -> None:
    write_sweep(tmp_path, FUSIONS[:2], seeds=2)
    write_run(tmp_path / "broken", {"seed": 9}, status="failed", error="ValueError: no luck")
    for text in (page(tmp_path), (tmp_path / "page" / "report.md").read_text()):
        assert "broken" in text
        assert "no luck" in text


# --- the other files ---


def test_the_csv_is_the_comparisons_table(sweep: Path, written: Path) -> None:
    table = compared(sweep).table()
    read = pd.read_csv(written / "table.csv")
    assert list(read.columns) == list(table.columns)
    assert list(read["label"]) == list(table["label"])
    np.testing.assert_allclose(read["mean"], table["mean"], rtol=1e-12)


def test_markdown_has_the_sentences_and_the_table(sweep: Path, written: Path) -> None:
    comparison = compared(sweep)
    text = (written / "report.md").read_text()
    plain = text.replace("\\", "")
    assert all(difference.sentence in plain for difference in comparison.differences)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(comparison.groups)
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1


def test_the_tables_numbers_are_those_of_the_comparison(sweep: Path) -> None:
    comparison = compared(sweep)
    rows = table_rows(comparison)
    for row, group in zip(rows, comparison.groups, strict=True):
        assert row.cells["group"] == group.label
        estimate = group.estimate
        mean, interval = row.cells["mean ± std (95 % interval)"].split("\n")
        assert mean == f"{estimate.mean:.4f} ± {estimate.std:.4f}"
        assert interval == f"({estimate.low:.4f} to {estimate.high:.4f})"
        assert row.cells["parameters (mismatch)"] == "485.7 k\n(+0.0 %)"
        assert row.cells["memory (peak)"] == "800.0 MB"
        assert row.cells["minutes"] == "2.0"
    assert [row.cells["verdict"].split()[-1] for row in rows[:1]] == ["baseline"]
    for row, difference in zip(rows[1:], comparison.differences, strict=True):
        assert row.cells["pairs (least p)"] == "8\n(0.0078)"
        assert row.cells["difference (95 % interval)"].startswith(f"{difference.mean:+.4f}\n(")


@pytest.mark.parametrize(
    ("device", "before", "shown"), [("cpu", 0, True), ("cpu", 1, False), ("cuda", 1, True), ("cpu", None, True)]
)
def test_memory_is_left_out_where_a_process_has_trained_several(
    tmp_path: Path, device: str, before: int | None, shown: bool
) -> None:
    more = {} if before is None else {"trainings_before": before}
    write_sweep(tmp_path, [{"fusion.name": "concat"}, {"fusion.name": "add"}], seeds=1, device=device, **more)
    assert ["memory (peak)" in row.cells for row in table_rows(compared(tmp_path))] == [shown, shown]
    assert ("Peak memory is left out: one process trained several runs" in page(tmp_path)) != shown


# --- odd comparisons ---


def test_a_single_group_of_a_single_run(tmp_path: Path) -> None:
    write_run(tmp_path / "one", {"seed": 0}, {"a": 0.5})
    text = page(tmp_path)
    assert "one group only" in text
    assert count(text, "svg") == 5, "no differences"
    (row,) = table_rows(compared(tmp_path))
    assert row.cells["mean ± std (95 % interval)"] == "0.5000"
    assert row.cells["verdict"] == "baseline"


def test_groups_of_one_run_each(tmp_path: Path) -> None:
    write_sweep(tmp_path, FUSIONS, seeds=1)
    assert count(page(tmp_path), "svg") == 6


def test_a_real_training_has_a_page(finished: Any, tmp_path: Path) -> None:
    text = write_report(compared(finished.path), tmp_path, "real").read_text()
    assert count(text, "img") == 4, "one test image: input, truth and the group, and the legend"
    assert "only image" in text.lower()


# --- a browser ---


def chromium(folder: Path, *words: str) -> tuple[str, list[str]]:
    """What headless Chromium prints, and what the page said on its console."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("no chromium on PATH: the page was NOT opened in a browser")
    profile = folder / "profile"
    profile.mkdir()
    flags = [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
        f"--user-data-dir={profile}", "--enable-logging=stderr", "--v=0", "--virtual-time-budget=5000",
    ]  # fmt: skip
    ran = subprocess.run([found, *flags, *words], capture_output=True, text=True, timeout=120, check=True)
    return ran.stdout, [line for line in ran.stderr.splitlines() if "CONSOLE" in line]


A4 = 703
"""Pixels between the margins of a sheet: 186 mm at 96 in an inch."""


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
def test_a_browser_shows_the_page_on_a_phone(report: str, tmp_path: Path, dark: bool) -> None:
    """In frames as wide as two phones, paper, a tablet and a desktop, measured from outside by a script of the test."""
    printed = report.replace("@media print", "@media all")
    pages = {320: report, 390: report, A4: printed, 800: report, 1280: report}
    frames = "".join(
        f'<iframe width="{width}" height="844" srcdoc="{escape(text)}"></iframe>' for width, text in pages.items()
    )
    script = """onload = () => {
      const pages = [...document.querySelectorAll("iframe")].map(frame => frame.contentDocument)
      const images = pages.flatMap(page => [...page.images])
      Object.assign(document.body.dataset, {
        widths: pages.map(page => page.documentElement.scrollWidth).join(),
        images: images.length,
        shown: images.filter(image => image.complete && image.naturalWidth > 0).length,
        page: getComputedStyle(pages[0].body).backgroundColor,
      })
      console.log("measured")
    }"""
    (tmp_path / "frames.html").write_text(
        f"<!doctype html><style>iframe {{ border: 0 }}</style><body>{frames}<script>{script}</script>"
    )
    theme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    dom, console = chromium(tmp_path, theme, "--dump-dom", "--window-size=1300,1800", f"file://{tmp_path}/frames.html")
    assert len(console) == 1, "nothing but what this test says itself"
    assert "measured" in console[0]
    (body,) = re.findall(r"^<body[^>]*>", dom[dom.index("<body") :])
    found = dict(re.findall(r'data-(\w+)="([^"]*)"', body))
    assert found["widths"] == ",".join(map(str, pages)), "the page is as wide as its window"
    assert found["images"] == found["shown"] == str(len(pages) * 16)
    assert found["page"] == ("rgb(20, 23, 26)" if dark else "rgb(255, 255, 255)")
