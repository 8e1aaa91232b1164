"""Which images of a split are drawn, and that nothing else depends on it."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY, Said, change_summary, summary, table
from hypothesis import given
from hypothesis import strategies as st

from unet_exp.config import ClassSpec
from unet_exp.inference.pictures import choose_pictures, write_pictures
from unet_exp.runs.run_folder import RunFolder
from unet_exp.samples.sample import Sample

Cli = Callable[..., Said]
NONE = math.nan


@pytest.mark.parametrize(
    ("scores", "count", "places"),
    [
        ([0.5, 0.1, 0.9], 3, [0, 1, 2]),
        ([0.5, 0.1, 0.9], 5, [0, 1, 2]),
        ([0.5, 0.1, 0.9], 0, []),
        ([0.5, 0.1, 0.9, 0.4], 1, [1]),
        ([0.5, 0.1, 0.9, 0.4], 2, [1, 2]),
        ([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1], 3, [0, 4, 8]),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], 6, [0, 1, 3, 4, 7, 8]),
        ([0.3] * 9, 3, [0, 4, 8]),
        ([NONE, 0.5, NONE, 0.1], 2, [1, 3]),
        ([NONE, 0.5, NONE, 0.1, NONE], 3, [0, 1, 3]),
        ([NONE] * 10, 5, [0, 2, 4, 6, 8]),
        ([], 4, []),
    ],
)
def test_the_worst_the_middle_and_the_best_are_chosen(scores: list[float], count: int, places: list[int]) -> None:
    assert choose_pictures(np.array(scores, np.float64), count) == places


@given(st.lists(st.sampled_from([NONE, 0.0, 0.25, 0.5, 1.0]), max_size=40), st.integers(0, 45))
def test_so_many_are_chosen_each_once_and_the_extremes_among_them(scores: list[float], count: int) -> None:
    values = np.array(scores, np.float64)
    chosen = choose_pictures(values, count)
    assert len(chosen) == min(count, len(scores))
    assert chosen == sorted(set(chosen))
    defined = values[~np.isnan(values)]
    found = values[chosen]
    assert np.isnan(found).sum() == max(0, len(chosen) - len(defined)), "those without a score come last"
    if defined.size and count > 1:
        assert (np.nanmin(found), np.nanmax(found)) == (defined.min(), defined.max())


def pictures(folder: RunFolder) -> list[str]:
    return sorted(path.name for path in folder.predictions.iterdir()) if folder.predictions.exists() else []


@pytest.mark.slow
def test_a_few_images_are_drawn_and_all_are_scored(cli: Cli, finished: RunFolder) -> None:
    def evaluate(*words: str) -> tuple[RunFolder, str]:
        said = cli("evaluate", f"checkpoint={finished.best}", "output=out", "data.test_images=7", *words)
        return RunFolder(said.folder), said.out

    whole, said = evaluate()
    assert (len(pictures(whole)), "are drawn" in said) == (7, False)
    rows = table(whole.per_image)
    few, said = evaluate("metrics.pictures=3")
    assert "3 of 7 test images are drawn (metrics.pictures): the worst, the middle and the best by mean IoU" in said
    ranked = sorted(rows, key=lambda row: float(row["iou/mean"]))
    assert pictures(few) == sorted(f"test_{ranked[rank]['image']}.png" for rank in (0, 3, 6))
    for name in pictures(few):
        drawn = [(folder.predictions / name).read_bytes() for folder in (whole, few)]
        assert drawn[0] == drawn[1], "the picture is the one that it would be among all"
    none, said = evaluate("metrics.pictures=0")
    assert "0 of 7 test images are drawn (metrics.pictures)\n" in said
    assert pictures(none) == []
    for other in (few, none):
        assert table(other.per_image) == rows
        assert summary(other)["metrics"] == summary(whole)["metrics"]


def test_a_training_draws_as_many_and_says_so(cli: Cli, isbi_folder: Callable[..., Path]) -> None:
    root = isbi_folder(count=3, tests=5)
    words = [word for word in TINY if not word.startswith("data.")]
    data = ["data=isbi2012", f"data.root={root}", "data.split=all", "data.tile=32", "data.tiles_per_epoch=4"]
    said = cli("train", *words, *data, "output=out", "metrics.pictures=2")
    folder = RunFolder(said.folder)
    assert pictures(folder) == ["unlabelled_test_00.png", "unlabelled_test_02.png"]
    assert "2 of 5 unlabelled images are drawn (metrics.pictures): evenly spread ones" in said.out
    assert "test images are drawn" not in said.out
    # It computes nothing, so it may be another one where the run goes on or is repeated.
    assert cli("train", f"rerun={folder.path}", "output=out", "metrics.pictures=1").code == 0
    change_summary(folder, status="running")
    assert cli("train", f"resume={folder.path}", "metrics.pictures=null").code == 0
    assert len(pictures(folder)) == 5


def test_an_earlier_checkpoint_draws_all_unless_told(cli: Cli) -> None:
    path = Path(__file__).parents[1] / "fixtures" / "format-3"
    words = [f"checkpoint={path}", "output=out", "split=train"]
    folder = RunFolder(cli("evaluate", *words).folder)
    assert len(pictures(folder)) == len(table(folder.per_image)) > 1
    assert len(pictures(RunFolder(cli("evaluate", *words, "metrics.pictures=1").folder))) == 1


def test_pictures_are_written_in_threads_and_an_error_of_one_is_told(tmp_path: Path) -> None:
    classes = [ClassSpec(name="a", value=0, color=[0, 0, 0]), ClassSpec(name="b", value=1, color=[255, 255, 255])]
    samples = [Sample(f"test_{number}", np.full((16, 16, 1), number, np.uint8)) for number in range(9)]
    label = np.zeros((16, 16), np.uint8)
    with write_pictures(tmp_path / "new", "test", classes) as writer:
        for sample in samples:
            writer.write(sample, label, NONE)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [f"test_{number}.png" for number in range(9)]
    (tmp_path / "in_the_way").touch()
    with pytest.raises(OSError, match="in_the_way"), write_pictures(tmp_path / "in_the_way", "test", classes) as writer:
        writer.write(samples[0], label, NONE)
