"""What the page draws: intervals, curves, costs, and the same images side by side."""

import re
import shutil
from collections.abc import Mapping
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image
from sweeps_on_disk import (
    ADD,
    CLASSES,
    CONCAT,
    FUSIONS,
    compared,
    draw_pictures,
    page,
    run_in_memory,
    write_run,
    write_sweep,
)

from unet_exp.compare import plots
from unet_exp.compare.collect import collect
from unet_exp.compare.comparison import Comparison, compare_runs
from unet_exp.compare.pictures import make_strips
from unet_exp.compare.plots import mean_curve, plot_costs, plot_curves, plot_intervals
from unet_exp.figures.overlay import draw_panels, split_panels
from unet_exp.pages.plots import PALETTE, Plot


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweeps") / "skip"
    write_sweep(folder, FUSIONS, seeds=4, folds=2)
    draw_pictures(folder)
    return folder


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
    assert [plot.title for plot in plot_curves(compared(tmp_path))] == ["Validation: iou/mean", "Training loss"]


def test_steps_are_whole_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    embed = plots.embed

    def look(figure: Figure, *words: str) -> Plot:
        drawn.append(figure.axes[0].xaxis.get_major_locator().tick_values(13, 15))
        return embed(figure, *words)

    monkeypatch.setattr(plots, "embed", look)
    history = pd.DataFrame({"epoch": range(3), "step": [13, 14, 15], "val/iou/mean": [0.1, 0.3, 0.2]})
    write_run(tmp_path / "a", {"seed": 0}, history=history)
    plot_curves(compared(tmp_path))
    assert drawn
    assert all(float(tick).is_integer() for ticks in drawn for tick in ticks)


@pytest.mark.usefixtures("draws")
def test_plots_of_classes_with_similar_names_share_no_id(tmp_path: Path) -> None:
    names = ("a b", "a-b", "a.b")
    for seed, name in enumerate(names):
        history = pd.DataFrame({"epoch": range(3), "step": [1, 2, 3], f"val/iou/{name}": [0.1, 0.3, 0.2]})
        write_run(tmp_path / f"{seed}", {"seed": seed, "trainer.monitor": f"val/iou/{name}"}, history=history)
    plots = plot_curves(compared(tmp_path))
    assert len(plots) == len(names)
    ids = [found for plot in plots for found in set(re.findall(r'\bid="([^"]+)"', plot.svg))]
    assert len(ids) == len(set(ids)) > 0


@pytest.mark.slow
@pytest.mark.usefixtures("draws")
def test_pairs_are_joined_between_neighbours(sweep: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "a", {"seed": 0})
    write_run(tmp_path / "b", {"seed": 1, "fusion.name": "add"})

    def lines(folder: Path) -> int:
        return plot_intervals(compared(folder))[0].svg.count("stroke-opacity: 0.25")

    assert lines(sweep) == 2 * 8
    assert lines(tmp_path) == 0


@pytest.mark.usefixtures("draws")
def test_labels_lie_over_lines_and_under_data() -> None:
    runs = [run_in_memory({**words, "seed": seed}, {"a": 0.5}) for words in (CONCAT, ADD) for seed in range(2)]
    for plot, labels, line in zip(
        plot_intervals(compare_runs(runs)), (2, 1), ("stroke-opacity: 0.25", "stroke-dasharray: 4,3"), strict=True
    ):
        assert plot.svg.count("var(--page)") == labels, "each has the page's colour behind it"
        first, last = plot.svg.index("var(--page)"), plot.svg.rindex("var(--page)")
        assert plot.svg.rindex(line) < first
        assert last < plot.svg.index("fill-opacity: 0.55"), "single runs come later"


def test_strips_show_the_worst_the_median_and_the_best(tmp_path: Path) -> None:
    scores: list[Mapping[str, float]] = [
        {"low": 0.1, "mid": 0.5, "high": 0.9, "more": 0.6, "less": 0.2},
        {"low": 0.3, "mid": 0.4, "high": 0.8, "more": 0.7, "less": 0.3},
    ]
    for seed, of_seed in enumerate(scores):
        write_run(tmp_path / f"concat{seed}", {"seed": seed}, of_seed)
        reverse = {name: 1 - score for name, score in of_seed.items()}
        write_run(tmp_path / f"add{seed}", {"seed": seed, "fusion.name": "add"}, reverse)
    found = make_strips(compared(tmp_path, baseline="concat"))
    assert [(strip.rank, strip.image) for strip in found] == [("worst", "low"), ("median", "mid"), ("best", "high")]
    assert [panel.score for panel in found[0].panels] == ["0.100", "0.900"]
    assert found[0].run == "seed 0"
    by_loss = make_strips(compared(tmp_path, baseline="concat", metric="loss"))
    assert [strip.image for strip in by_loss] == ["low", "mid", "high"], "a smaller loss is better"


def test_strips_take_a_run_that_has_pictures(tmp_path: Path) -> None:
    write_sweep(tmp_path, FUSIONS[:2], seeds=2)
    draw_pictures(tmp_path)
    shutil.rmtree(tmp_path / "fusion=add,seed=0" / "predictions")
    found = make_strips(compared(tmp_path))
    assert {strip.run for strip in found} == {"seed 1"}
    assert all(panel.source for strip in found for panel in strip.panels)


def test_strips_are_of_images_that_all_groups_have_drawn(tmp_path: Path) -> None:
    scores = {f"t_{number}": number / 10 for number in range(10)}
    for name, variant in (("concat", CONCAT), ("add", ADD)):
        write_run(tmp_path / name, {**variant, "metrics.pictures": 6}, scores)
    draw_pictures(tmp_path)
    for image in ("t_0", "t_1", "t_9", "t_5"):
        (tmp_path / "add" / "predictions" / f"test_{image}.png").unlink()
    found = make_strips(compared(tmp_path, baseline="concat"))
    assert [(strip.rank, strip.image) for strip in found] == [("worst", "t_2"), ("median", "t_6"), ("best", "t_8")]
    assert all(panel.source for strip in found for panel in strip.panels)
    assert "these are of those that every group has drawn" in page(tmp_path)
    shutil.rmtree(tmp_path / "add" / "predictions")
    assert [strip.image for strip in make_strips(compared(tmp_path, baseline="concat"))] == ["t_0", "t_5", "t_9"]


@pytest.mark.parametrize(("images", "ranks"), [(1, ["only"]), (2, ["worst", "best"])])
def test_few_images_make_few_strips(tmp_path: Path, images: int, ranks: list[str]) -> None:
    write_sweep(tmp_path, FUSIONS[:2], seeds=2, images=images)
    assert [strip.rank for strip in make_strips(compared(tmp_path))] == ranks


@given(st.integers(1, 40), st.integers(1, 40), st.booleans())
def test_columns_are_what_panels_put_together(height: int, width: int, labelled: bool) -> None:
    rng = np.random.default_rng(height * 41 + width)
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    truth = rng.integers(0, 2, (height, width)).astype(np.uint8)
    parts = split_panels(draw_panels(image, truth if labelled else None, truth, CLASSES), 4 if labelled else 3)
    times = min(-(-200 // width), 1000 // height)
    assert [part.shape for part in parts] == [(times * height, times * width, 3)] * (4 if labelled else 3)
    assert (parts[0][::times, ::times] == image).all()


def test_a_picture_of_another_size_has_no_columns() -> None:
    with pytest.raises(ValueError, match="is not 4 panels"):
        split_panels(np.zeros((100, 101, 3), np.uint8))


def long_labels(common: str) -> Comparison:
    odds = [f"{common}-one.ckpt", f"{common}-two.ckpt", f"{common}-{'x' * 60}1", f"{common}-{'x' * 60}2"]
    return compare_runs([run_in_memory({"init_from": odd}, {"a": 0.5}, macs=1000 + len(odd)) for odd in odds])


@pytest.mark.usefixtures("draws")
@pytest.mark.parametrize("common", ["outputs/train/" + "long" * 20, "two words " * 9])
def test_long_labels_lose_their_middle_and_stay_apart(common: str) -> None:
    comparison = long_labels(common)
    shown = []
    for plot in (*plot_intervals(comparison), *plot_costs(comparison)):
        texts = [unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", plot.svg)]
        labels = [text for text in texts if "…" in text]
        assert len(labels) == len(set(labels)) == (3 if plot.title.startswith("Difference") else 4)
        assert all(text.startswith("init_from=") and len(text) <= 60 for text in labels)
        shown.append(labels)
    assert shown[0][1:] == shown[1], "the same group has the same label in every plot"
    assert shown[0][0].endswith("-one.ckpt")


def test_losses_of_different_functions_are_not_read_by_their_heights(tmp_path: Path) -> None:
    write_sweep(tmp_path, [{"loss.name": "bce"}, {"loss.name": "dice"}], seeds=2)
    score, loss = plot_curves(compared(tmp_path))
    assert "different functions" in loss.caption
    assert "different functions" not in score.caption


@pytest.mark.parametrize("background", ["#ffffff", "#14171a"])
def test_every_colour_stands_out_from_the_page(background: str) -> None:
    """WCAG 2.2, 1.4.11, asks for a contrast of 3; Okabe and Ito's purple, orange and sky blue fall short of it."""

    def luminance(color: str) -> float:
        parts = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)]) / 255
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    for color in PALETTE:
        low, high = sorted((luminance(color), luminance(background)))
        assert (high + 0.05) / (low + 0.05) >= 3, color


@pytest.mark.slow
def test_twelve_groups_show_six_pictures_and_say_so(tmp_path: Path) -> None:
    write_sweep(tmp_path, [{"model.width": width} for width in range(8, 20)], seeds=2)
    draw_pictures(tmp_path)
    text = page(tmp_path)
    assert text.count("<img ") == 3 * (2 + 6) + 1
    assert "Only the first 6 groups are shown; 6 more are not." in text
    assert all(f"model.width={width}" in text for width in range(8, 20))
    assert "no bands for so many groups" in text


def test_without_a_history_there_are_no_curves(tmp_path: Path) -> None:
    write_sweep(tmp_path, FUSIONS[:2], seeds=2)
    for history in tmp_path.glob("*/metrics.csv"):
        history.unlink()
    assert not plot_curves(compared(tmp_path))
    assert "no history" in page(tmp_path)


def test_runs_that_do_not_say_their_cost(tmp_path: Path) -> None:
    write_sweep(tmp_path, FUSIONS[:2], seeds=2, macs=None, seconds_training=None, parameters=None, peak_memory=None)
    assert not plot_costs(compared(tmp_path))
    assert "do not say what they cost" in page(tmp_path)


def test_missing_and_damaged_pictures_are_said(sweep: Path, tmp_path: Path) -> None:
    shutil.copytree(sweep, tmp_path / "s")
    for at, picture in enumerate(sorted((tmp_path / "s").glob("fusion=add*/predictions/*.png"))):
        picture.unlink() if at % 2 else picture.write_bytes(b"\x89PNG\r\n\x1a\n broken")
    text = page(tmp_path / "s")
    assert text.count("no picture") == 3
    assert text.count("<img ") == 3 * (2 + 2) + 1
    for picture in (tmp_path / "s").glob("*/predictions/*.png"):
        picture.unlink()
    panels_left = [panel for strip in make_strips(compared(tmp_path / "s")) for panel in strip.panels]
    assert [panel.source for panel in panels_left] == [None] * 9


def test_groups_without_a_common_image(tmp_path: Path) -> None:
    write_run(tmp_path / "a", {"seed": 0}, {"one": 0.5})
    write_run(tmp_path / "b", {"seed": 1, "fusion.name": "add"}, {"one": 0.5})
    assert not make_strips(compared(tmp_path))
    assert "No test image is common" in page(tmp_path)


def test_a_picture_too_large_to_be_opened_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sweep(tmp_path, FUSIONS[:2], seeds=2)
    draw_pictures(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # more than twice as many are an error
    assert {panel.source for strip in make_strips(compared(tmp_path)) for panel in strip.panels} == {None}


def test_a_group_beyond_those_shown_needs_no_common_image(tmp_path: Path) -> None:
    write_sweep(tmp_path, [{"model.width": width} for width in range(8, 14)], seeds=1)
    write_run(tmp_path / "other", {"model.width": 20, "seed": 9})
    assert len(make_strips(compared(tmp_path, baseline="8"))) == 3
