"""Trainings on a user's images: equal to the bit wherever these are kept, and one line for what happens to them."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY_STACK, Said, run_training, summary
from hypothesis import given
from hypothesis import strategies as st
from own_images import config, put
from resuming import Part, Train, breaking, check_equal, newest

from unet_exp import cache_folder, data
from unet_exp.cache_folder import wait_for_lock
from unet_exp.files import hold_lock
from unet_exp.training.draws import PatchSampler
from unet_exp.training.patches import PatchDataset

Cli = Callable[..., Said]

WORDS = (
    *("data=folder", "data.images=images", "data.masks=masks", "data.tile=24", "data.batch_size=2", "data.val=0.2"),
    *("data.test=0.2", "data.patches_in_a_row=2", "data.tiles_per_epoch=8", "trainer.max_steps=9"),
    *("model=same", "loss=border_weighted", "augmentation=flips"),
)


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    monkeypatch.chdir(tmp_path)
    return lambda *words: run_training(tmp_path / "out", *words, base=TINY_STACK)


@pytest.fixture
def part(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Part:
    return breaking(train, tmp_path, monkeypatch)


@pytest.fixture(autouse=True)
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten images with masks, and a cache folder of their own."""
    monkeypatch.setenv("UNET_EXP_CACHE", str(tmp_path / "cache"))
    random = np.random.default_rng(0)
    for number in range(10):
        mask = 255 * np.kron(random.integers(0, 2, (8, 8), np.uint8), np.ones((5, 6), np.uint8))
        put(tmp_path, number, random.integers(0, 255, (40, 48, 3), np.uint8), mask)
    return tmp_path


@pytest.mark.slow
def test_a_training_may_go_on_with_another_cache(train: Train, part: Part) -> None:
    whole = train(*WORDS, "data.cache=memory")
    for number, (first, then) in enumerate(
        (("data.cache=none", "data.cache=disk data.num_workers=1"), ("data.cache=disk", "data.cache=none"))
    ):
        words = (*WORDS, f"name=part{number}")
        folder = part(*words, first, batch=5)
        check_equal(train(f"resume={folder.path}", *words, *then.split()), whole)


@pytest.mark.parametrize("words", [["data.num_workers=1"], []])
def test_a_file_that_disappears_ends_a_training_in_one_line(
    words: list[str], cli: Cli, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = PatchDataset.__getitem__

    def cut(dataset: PatchDataset, draw: object) -> object:
        for path in (images / "images").iterdir():
            path.unlink()
        return genuine(dataset, draw)  # type: ignore[arg-type]

    monkeypatch.setattr(PatchDataset, "__getitem__", cut)
    said = cli("train", *TINY_STACK, *WORDS, "data.cache=none", "output=out", *words)
    assert said.mistake.startswith("images/")
    assert "is gone since the images were looked at; bring it back as it was and resume" in said.mistake
    assert summary(newest(images))["status"] == "failed"


def test_a_look_at_all_files_is_an_order_for_one_start(train: Train) -> None:
    folder = train(*WORDS, "data.verify=true", "trainer.max_steps=1")
    assert folder.read_config()["data"]["verify"] is False


def test_weights_of_a_part_are_those_of_the_whole_image(images: Path) -> None:
    from test_patch_targets import BORDER, build, targets

    from unet_exp.samples.normalization import Normalization
    from unet_exp.training.draws import Draw

    loaded = data.load_data(config(images, "data.val=0.2", "data.test=0.2"), find_objects=True).train
    kept, computed = (
        PatchDataset(loaded, Normalization(mode="image"), 20, 44, build("flips"), targets(*BORDER), 1, keep)
        for keep in (True, False)
    )
    for position in range(12):
        one, other = (dataset[Draw(0, position, position % 6)] for dataset in (kept, computed))
        assert one.keys() == other.keys() == {"image", "label", "weights"}
        assert all(bool((one[name] == other[name]).all()) for name in one)
        assert float(one["weights"].max()) > 0


@given(images=st.integers(1, 9), tiles=st.integers(1, 50), row=st.integers(1, 7), seed=st.integers(0, 99))
def test_patches_in_a_row_are_of_one_image_and_images_come_equally_often(
    images: int, tiles: int, row: int, seed: int
) -> None:
    sampler = PatchSampler(np.ones(images, np.int64), tiles, seed, in_a_row=row)
    rows = -(-tiles // row)
    seen = np.zeros(images, int)
    for epoch in range(4):
        sampler.set_epoch(epoch)
        order = [draw.image for draw in sampler]
        assert len(order) == tiles
        starts = [order[start : start + row] for start in range(0, tiles, row)]
        assert all(len(set(of_one)) == 1 for of_one in starts)
        seen += np.bincount([of_one[0] for of_one in starts], minlength=images)
        assert seen.max() - seen.min() <= 1
        assert seen.sum() == rows * (epoch + 1)


def test_a_training_waits_for_another_that_reads_the_same_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, held, over, order = tmp_path / "a.lock", threading.Event(), threading.Event(), []

    def other() -> None:
        with hold_lock(path):
            held.set()
            over.wait()
            order.append("other")

    thread = threading.Thread(target=other)
    thread.start()
    held.wait()
    monkeypatch.setattr(cache_folder.time, "sleep", lambda _: over.set())
    with wait_for_lock(path, "reading the same images"):
        order.append("mine")
    thread.join()
    assert order == ["other", "mine"]


def test_what_is_kept_is_listed_and_cleared(cli: Cli, images: Path) -> None:
    for cache in ("disk", "none"):
        data.load_data(config(images, f"data.cache={cache}", "data.val=0.2"))
    listed = cli("cache")
    assert listed.code == 0
    assert str(images / "images")[:20] in listed.out.replace("\n", "")
    assert {"arrays/", "index/"} <= {word[: word.find("/") + 1] for word in listed.out.split() if "/" in word}
    assert "there is" not in cli("cache", "clear=nothing").out
    assert cli("cache", "clear=nothing").mistake.startswith("clear=nothing: nothing has this name")
    assert cli("cache", "clear=arrays").code == 0
    assert not list((images / "cache/arrays").glob("*"))
    assert list((images / "cache/index").glob("*.npz"))
    (lock,) = (images / "cache/index").glob("*.lock")
    with hold_lock(lock):
        assert "a process is reading these images" in cli("cache", "clear=all").mistake
    assert cli("cache", "clear=[index]").code == 0
    assert cli("cache").out.startswith("0 kB in ")


def test_no_folder_to_list(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNET_EXP_CACHE", "")
    assert cli("cache").out.strip() == "nothing is kept: UNET_EXP_CACHE is empty"
