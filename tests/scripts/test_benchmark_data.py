"""The benchmark of images on the disk makes what it says, measures every way, and simulates the index truly."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from benchmark_files import list_data_words, make_pairs, make_small, simulate_index
from benchmark_starts import CACHE, Start, describe_growth, measure_disk
from conftest import Said

from unet_exp.compose import compose_train
from unet_exp.config import parse
from unet_exp.data.sets.folder import find_folder_pairs
from unet_exp.folder.survey import survey

Cli = Callable[..., Said]

SMALL = ["size=[96,128]", "distinct=3", "processes=1", "folder=made", "output=here"]


def test_photographs_are_linked_and_no_two_masks_are_equal(tmp_path: Path) -> None:
    made = make_pairs(tmp_path, 6, 3, (96, 128), 1)
    images, masks = (sorted((made / kind).iterdir()) for kind in ("images", "masks"))
    assert [path.name for path in images] == [f"000{number}.jpg" for number in range(1, 7)]
    assert [path.stem for path in masks] == [path.stem for path in images]
    assert len({path.stat().st_ino for path in images}) == len({path.read_bytes() for path in images}) == 3
    assert len({path.read_bytes() for path in masks}) == 6
    before = [path.stat().st_mtime_ns for path in (*images, *masks)]
    assert make_pairs(tmp_path, 6, 3, (96, 128), 1) == made
    assert [path.stat().st_mtime_ns for path in (*images, *masks)] == before
    few = make_pairs(tmp_path, 2, 3, (96, 128), 1)
    assert [path.stat().st_ino for path in sorted((few / "masks").iterdir())] == [
        path.stat().st_ino for path in masks[:2]
    ]


@pytest.mark.slow
def test_patches_and_what_they_are_compared_with(cli: Cli, tmp_path: Path) -> None:
    words = ["parts=patches", "subset=6", "patches=4", "in_a_row=2", "repeats=1", "workers=[0]", "clean=true"]
    said = cli("benchmark_data", *SMALL, *words)
    assert said.code == 0, said
    assert said.out.count("│ decoding alone") == 2
    rates = json.loads((tmp_path / "here" / "benchmark_data.json").read_text())["patches"]
    assert [(rate["augmentation"], rate["way"]) for rate in rates[::3]] == [
        ("none", "memory"), ("none", "none, 2 patches in a row"), ("flips", "memory"),
        ("flips", "none, 2 patches in a row"),
    ]  # fmt: skip
    pixels = {rate["way"]: rate["pixels"] for rate in rates}
    assert list(pixels.values()) == [256 * 256] * 4 + [96 * 128, 48 * 64]
    shares = {rate["way"]: rate["share"] for rate in rates if rate["share"] is not None}
    assert list(shares) == ["disk", "none", "none, 2 patches in a row"]
    by_way = {rate["way"]: rate["per_second"][0] for rate in rates[6:]}
    assert shares["disk"] == pytest.approx(by_way["disk"] / by_way["memory"])
    assert shares["none"] == pytest.approx(by_way["none"] / by_way["decoding alone"])
    assert list((tmp_path / "made").iterdir()) == []


@pytest.mark.slow
def test_the_simulated_index_is_the_one_that_a_first_start_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = make_small(tmp_path, 34)  # two more than there are different ones
    simulate_index(place, tmp_path / "simulated")
    monkeypatch.setenv("UNET_EXP_CACHE", str(tmp_path / "found"))
    config = parse(compose_train(list_data_words(place))).data
    survey(config, find_folder_pairs)
    (simulated,) = (tmp_path / "simulated").rglob("*.npz")
    found = tmp_path / "found" / simulated.relative_to(tmp_path / "simulated")
    with np.load(simulated) as one, np.load(found) as other:
        assert one.files == other.files
        assert all(one[name].tobytes() == other[name].tobytes() for name in one.files)


def test_how_much_more_memory_many_images_take() -> None:
    def start(cache: str, images: int, peak: int) -> Start:
        return Start(cache, images, "first", 1, 1.0, 2.0, peak, 0)

    starts = [start("none", 20, 10**9), start("none", 5000, 13 * 10**8), start("disk", 20, 2), start("disk", 5000, 1)]
    assert list(describe_growth(starts)) == [
        "data.cache=none: peak with 5,000 images above that with 20: +300 MB (first start, 1 step)",
        "data.cache=disk: peak with 5,000 images above that with 20: -0 MB (first start, 1 step)",
    ]


def test_the_disk_is_measured_and_left_as_it_was(tmp_path: Path) -> None:
    assert measure_disk(tmp_path, 10**6) > 0
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_starts(cli: Cli, tmp_path: Path) -> None:
    said = cli("benchmark_data", *SMALL, "parts=[start]", "images=[8]", "caches=[disk]", "steps=2", "probe=1")
    assert said.code == 0, said
    starts = json.loads((tmp_path / "here" / "benchmark_data.json").read_text())["start"]["starts"]
    assert [(start["start"], start["steps"]) for start in starts] == [("first", 1), ("second", 1), ("second", 2)]
    assert all(0 < start["until_step"] < start["seconds"] for start in starts)
    assert all(start["peak"] > 10**8 for start in starts)
    assert starts[0]["cached"] > 8 * 96 * 128 * 4
    assert "failed with exit code 2: error: " in cli("benchmark_data", *SMALL, "parts=start", "images=[1]").mistake


@pytest.mark.slow
def test_links_are_trained_on_with_a_simulated_index(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(place: Path, images: int, cache: str, start: str, steps: int, work: Path) -> Start:
        """Stands for a process that trains."""
        assert list((work / CACHE).rglob("*"))
        return Start(cache, images, start, steps, 1.0, 2.0, 3, len(list((place / "images").iterdir())))

    monkeypatch.setattr("benchmark_data.start_training", start)
    assert cli("benchmark_data", *SMALL, "parts=[million]", "steps=2", "links=40").code == 0
    starts = json.loads((tmp_path / "here" / "benchmark_data.json").read_text())["million"]["starts"]
    assert [(start["start"], start["steps"], start["cached"]) for start in starts] == [
        ("second", 1, 40),
        ("second", 2, 40),
    ]
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["made_million"]


@pytest.mark.parametrize(
    ("word", "part"),
    [
        ("parts=speed", "parts=speed: no such part; choose from make, start, million, patches"),
        ("size=[0,5]", "size=0: should be greater"),
        ("part=make", "unknown key part (did you mean parts?); the keys are parts, folder, output"),
    ],
)
def test_mistakes(cli: Cli, word: str, part: str, tmp_path: Path) -> None:
    assert part in cli("benchmark_data", word).mistake
    assert not list(tmp_path.iterdir())
