"""The page of a comparison: what it says and shows, that it opens anywhere, and what the command does."""

import re
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable, Mapping
from html import escape, unescape
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Said
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sweeps_on_disk import write_run, write_sweep

from unet_exp.compare.collect import collect
from unet_exp.compare.comparison import Comparison, compare
from unet_exp.compare.pictures import strips
from unet_exp.compare.plots import PALETTE, cost_plots, curve_plots, interval_plots, mean_curve
from unet_exp.compare.report import table_rows, write_report
from unet_exp.config import ClassSpec
from unet_exp.figures.overlay import columns, panels

Cli = Callable[..., Said]

CLASSES = [
    ClassSpec(name="membrane", value=0, color=[10, 20, 30]),
    ClassSpec(name="cell", value=255, color=[200, 210, 220]),
]
FUSIONS = [{"fusion.name": "concat"}, {"fusion.name": "add"}, {"fusion.name": "none"}]


def draw_pictures(sweep: Path, size: int = 40) -> None:
    """The pictures of all test images of all runs of a sweep."""
    for summary in sorted(sweep.glob("*/summary.json")):
        folder = summary.parent / "predictions"
        folder.mkdir()
        rng = np.random.default_rng(zlib.crc32(summary.parent.name.encode()))
        for image in pd.read_csv(summary.parent / "per_image.csv")["image"]:
            grey = rng.integers(0, 256, (size, size, 1), np.uint8)
            truth, wrong = grey[..., 0] // 128, rng.random((size, size)) < 0.2
            picture = panels(grey, truth, np.where(wrong, 1 - truth, truth), CLASSES, "IoU 0.8")
            Image.fromarray(picture).save(folder / f"test_{image}.png")


def compared(folder: Path, **choices: Any) -> Comparison:
    return compare(*collect([folder]), **choices)


def page(folder: Path, title: str = "a sweep", **choices: Any) -> str:
    return write_report(compared(folder, **choices), folder / "page", title).read_text()


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweeps") / "2026-01-01_00-00-00_skip"
    write_sweep(folder, FUSIONS, seeds=4, folds=2, gains=[0, 0.001, -0.1])
    draw_pictures(folder)
    return folder


@pytest.fixture(scope="module")
def written(sweep: Path) -> Path:
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
    for warning in comparison.warnings:
        assert text.index(warning) < text.index("<table")


def test_the_page_is_whole_html_and_needs_nothing_else(report: str) -> None:
    elements = outline(report)
    assert elements[0][0] == "html"
    assert "http" not in report
    assert "<script" not in report
    assert "@import" not in report
    assert not [tag for tag, _ in elements if tag in ("link", "script", "iframe", "object")]
    for _, attributes in elements:
        source = attributes.get("src")
        assert source is None or source.startswith("data:image/jpeg;base64,")
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
    assert len(images) == 3 * (2 + 3), "worst, median and best: input, truth and three groups"
    assert len(plots) == 6, "means, differences, validation, loss, MACs, minutes"
    assert all(attributes["alt"] for attributes in images)
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in plots)


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


@pytest.mark.parametrize("background", ["#ffffff", "#14171a"])
def test_every_colour_stands_out_from_the_page(background: str) -> None:
    """WCAG 2.2, 1.4.11, asks for a contrast of 3; Okabe and Ito's purple falls short of it by 0.1 on white."""

    def luminance(color: str) -> float:
        parts = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)]) / 255
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    for color in PALETTE:
        low, high = sorted((luminance(color), luminance(background)))
        assert (high + 0.05) / (low + 0.05) >= 2.9, color


def test_the_same_comparison_gives_the_same_bytes(sweep: Path, written: Path, tmp_path: Path) -> None:
    again = write_report(compared(sweep), tmp_path / "again", "a sweep").parent
    assert {file.name for file in again.iterdir()} == {"report.html", "report.md", "table.csv"}
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
        assert row.cells["difference (95 % interval)"].startswith(f"{difference.mean:+.4f}\n(")


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


def test_twelve_groups_show_six_pictures_and_say_so(tmp_path: Path) -> None:
    write_sweep(tmp_path, [{"model.width": width} for width in range(8, 20)], seeds=2)
    draw_pictures(tmp_path)
    text = page(tmp_path)
    assert count(text, "img") == 3 * (2 + 6)
    assert "Only the first 6 groups are shown; 6 more are not." in text
    assert all(f"model.width={width}" in text for width in range(8, 20))
    assert "no bands for so many groups" in text


def test_without_a_history_there_are_no_curves(tmp_path: Path) -> None:
    write_sweep(tmp_path, FUSIONS[:2], seeds=2)
    for history in tmp_path.glob("*/metrics.csv"):
        history.unlink()
    assert not curve_plots(compared(tmp_path))
    assert "no history" in page(tmp_path)


def test_runs_that_do_not_say_their_cost(tmp_path: Path) -> None:
    write_sweep(tmp_path, FUSIONS[:2], seeds=2, macs=None, seconds_training=None, parameters=None, peak_memory=None)
    assert not cost_plots(compared(tmp_path))
    assert "do not say what they cost" in page(tmp_path)


def test_missing_and_damaged_pictures_are_said(sweep: Path, tmp_path: Path) -> None:
    shutil.copytree(sweep, tmp_path / "s")
    for at, picture in enumerate(sorted((tmp_path / "s").glob("fusion=add*/predictions/*.png"))):
        picture.unlink() if at % 2 else picture.write_bytes(b"\x89PNG\r\n\x1a\n broken")
    text = page(tmp_path / "s")
    assert text.count("no picture") == 3
    assert count(text, "img") == 3 * (2 + 2)
    for picture in (tmp_path / "s").glob("*/predictions/*.png"):
        picture.unlink()
    panels_left = [panel for strip in strips(compared(tmp_path / "s")) for panel in strip.panels]
    assert [panel.source for panel in panels_left] == [None] * 9


def test_groups_without_a_common_image(tmp_path: Path) -> None:
    write_run(tmp_path / "a", {"seed": 0}, {"one": 0.5})
    write_run(tmp_path / "b", {"seed": 1, "fusion.name": "add"}, {"one": 0.5})
    assert not strips(compared(tmp_path))
    assert "No test image is common" in page(tmp_path)


# --- plots and pictures ---


def test_curves_are_means_over_the_runs_inside_their_own_ranges(tmp_path: Path) -> None:
    def history(steps: list[int], values: list[float]) -> pd.DataFrame:
        return pd.DataFrame({"epoch": range(len(steps)), "step": steps, "train/loss": values})

    write_run(tmp_path / "a", {"seed": 0}, history=history([10, 30], [1.0, 3.0]))
    write_run(tmp_path / "b", {"seed": 1}, history=history([20, 40], [4.0, 8.0]))
    runs, _ = collect([tmp_path])
    found = mean_curve(runs, "train/loss")
    assert found is not None
    steps, mean, std = found
    assert steps.tolist() == [10, 20, 30, 40]
    assert mean.tolist() == [1, (2 + 4) / 2, (3 + 6) / 2, 8]
    np.testing.assert_allclose(std, [np.nan, 2 / np.sqrt(2), 3 / np.sqrt(2), np.nan])
    assert mean_curve(runs, "val/nothing") is None


def test_the_monitored_score_is_drawn(tmp_path: Path) -> None:
    write_sweep(tmp_path, FUSIONS[:2], seeds=2)
    assert [plot.title for plot in curve_plots(compared(tmp_path))] == ["Validation: iou/mean", "Training loss"]


def test_pairs_are_joined_between_neighbours(sweep: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "a", {"seed": 0})
    write_run(tmp_path / "b", {"seed": 1, "fusion.name": "add"})

    def lines(folder: Path) -> int:
        return interval_plots(compared(folder))[0].svg.count("stroke-opacity: 0.25")

    assert lines(sweep) == 2 * 8
    assert lines(tmp_path) == 0


def test_strips_show_the_worst_the_median_and_the_best(tmp_path: Path) -> None:
    scores: list[Mapping[str, float]] = [
        {"low": 0.1, "mid": 0.5, "high": 0.9, "more": 0.6, "less": 0.2},
        {"low": 0.3, "mid": 0.4, "high": 0.8, "more": 0.7, "less": 0.3},
    ]
    for seed, of_seed in enumerate(scores):
        write_run(tmp_path / f"concat{seed}", {"seed": seed}, of_seed)
        reverse = {name: 1 - score for name, score in of_seed.items()}
        write_run(tmp_path / f"add{seed}", {"seed": seed, "fusion.name": "add"}, reverse)
    found = strips(compared(tmp_path, baseline="concat"))
    assert [(strip.rank, strip.image) for strip in found] == [("worst", "low"), ("median", "mid"), ("best", "high")]
    assert [panel.score for panel in found[0].panels] == ["0.100", "0.900"]
    assert found[0].run == "seed 0"
    by_loss = strips(compared(tmp_path, baseline="concat", metric="loss"))
    assert [strip.image for strip in by_loss] == ["low", "mid", "high"], "a smaller loss is better"


def test_strips_take_a_run_that_has_pictures(tmp_path: Path) -> None:
    write_sweep(tmp_path, FUSIONS[:2], seeds=2)
    draw_pictures(tmp_path)
    shutil.rmtree(tmp_path / "fusion=add,seed=0" / "predictions")
    found = strips(compared(tmp_path))
    assert {strip.run for strip in found} == {"seed 1"}
    assert all(panel.source for strip in found for panel in strip.panels)


@pytest.mark.parametrize(("images", "ranks"), [(1, ["only"]), (2, ["worst", "best"])])
def test_few_images_make_few_strips(tmp_path: Path, images: int, ranks: list[str]) -> None:
    write_sweep(tmp_path, FUSIONS[:2], seeds=2, images=images)
    assert [strip.rank for strip in strips(compared(tmp_path))] == ranks


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 40), st.integers(1, 40), st.booleans())
def test_columns_are_what_panels_put_together(height: int, width: int, labelled: bool) -> None:
    rng = np.random.default_rng(height * 41 + width)
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    truth = rng.integers(0, 2, (height, width)).astype(np.uint8)
    parts = columns(panels(image, truth if labelled else None, truth, CLASSES), 4 if labelled else 3)
    assert [part.shape for part in parts] == [image.shape] * (4 if labelled else 3)
    assert (parts[0] == image).all()


def test_a_picture_of_another_size_has_no_columns() -> None:
    with pytest.raises(ValueError, match="is not 4 panels"):
        columns(np.zeros((100, 101, 3), np.uint8))


# --- the command ---


def test_a_sweep_gets_its_page_in_its_own_folder(cli: Cli, tmp_path: Path) -> None:
    write_sweep(tmp_path / "sweep", FUSIONS, seeds=4, folds=2)
    write_run(tmp_path / "sweep" / "broken", {"seed": 9}, status="failed", error="ValueError: no luck")
    said = cli("compare", "runs=sweep", "baseline=fusion=none")
    assert said.folder == Path("sweep/report.html")
    assert (tmp_path / said.folder).is_file()
    for difference in compared(tmp_path / "sweep", baseline="none").differences:
        assert difference.sentence in said.out
    assert "set apart: sweep/broken: " in said.out
    table = [line for line in said.out.splitlines() if line[:1] in "┏┃┡│└"]
    assert len(table) == 3 + 3 + 1, "one line a group"
    assert max(map(len, table)) <= 120


def test_several_places_get_a_folder_of_their_own(cli: Cli, tmp_path: Path) -> None:
    write_sweep(tmp_path / "one", FUSIONS[:1], seeds=2)
    write_sweep(tmp_path / "two", FUSIONS[1:], seeds=2)
    said = cli("compare", "runs=[one,two]")
    assert said.folder.parts[:2] == ("outputs", "compare")
    assert (tmp_path / said.folder).is_file()
    assert cli("compare", "runs=[one,two]", "output=here", "metric=loss").folder == Path("here/report.html")
    assert cli("compare", "runs=t*", "output=there").folder == Path("there/report.html")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ([], "runs=<folder> is missing"),
        (["runs=nowhere"], "nowhere: there is no such folder"),
        (["runs=empty"], "empty: no run is in there"),
        (["runs=sweep", "metric=beauty"], "beauty"),
        (["runs=sweep", "baseline=nobody"], "nobody"),
        (["runs=sweep", "alpha=2"], "alpha=2"),
        (["run=sweep"], "unknown key run; the keys are runs, baseline, metric, alpha, output"),
        (["runs=sweep", "output=file/page"], "file/page cannot be made"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(cli: Cli, tmp_path: Path, words: list[str], part: str) -> None:
    write_sweep(tmp_path / "sweep", FUSIONS[:2], seeds=2)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    assert part in cli("compare", *words).mistake
    assert sorted(tmp_path.rglob("*")) == before


def test_help(cli: Cli) -> None:
    assert "baseline" in cli("compare", "--help").out


def test_the_command_does_not_import_torch() -> None:
    code = "import unet_exp.app.compare, unet_exp.compare.report, sys; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_a_real_training_has_a_page(finished: Any, tmp_path: Path) -> None:
    text = write_report(compared(finished.path), tmp_path, "real").read_text()
    assert count(text, "img") == 3, "one test image: input, truth and the group"
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


def test_a_browser_shows_the_page_on_a_phone(report: str, tmp_path: Path) -> None:
    """In frames as wide as two phones, a tablet and a desktop; a script of the test measures them from outside."""
    widths = (320, 390, 800, 1280)
    frames = "".join(f'<iframe width="{width}" height="844" srcdoc="{escape(report)}"></iframe>' for width in widths)
    script = """onload = () => {
      document.body.dataset.widths = [...document.querySelectorAll("iframe")]
        .map(frame => frame.contentDocument.documentElement.scrollWidth).join()
      console.log("measured")
    }"""
    (tmp_path / "frames.html").write_text(
        f"<!doctype html><style>iframe {{ border: 0 }}</style><body>{frames}<script>{script}</script>"
    )
    shot = tmp_path / "shot.png"
    dom, console = chromium(
        tmp_path, "--dump-dom", f"--screenshot={shot}", "--window-size=1300,1800", f"file://{tmp_path}/frames.html"
    )
    assert len(console) == 1, "nothing but what this test says itself"
    assert "measured" in console[0]
    measured = re.search(r'data-widths="([\d,]+)"', dom)
    assert measured is not None
    assert measured[1] == ",".join(map(str, widths)), "the page is as wide as its window"
    colors = Image.open(shot).convert("RGB").getcolors(2**24)
    assert colors is not None
    assert len(colors) > 500, "pictures are shown"
