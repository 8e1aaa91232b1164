"""A reader of the user's own: its pixels are those of the same images in files."""

import os
import pickle
import threading
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import tifffile
from own_images import config as folder_config
from own_reader import (
    CACHES,
    CASES,
    CLASSES,
    GREY,
    HEIGHT,
    NUMBER,
    WIDTH,
    Arrays,
    Pairs,
    Versioned,
    begin,
    load,
    name_pairs,
)

from unet_exp import data
from unet_exp.data.kept import list_kept
from unet_exp.errors import DataError
from unet_exp.samples.data_set import DataSet
from unet_exp.samples.fingerprint import fingerprint
from unet_exp.samples.sample import KINDS, Images, Region, Sample


@pytest.fixture(autouse=True)
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(tmp_path, monkeypatch)


def write_files(root: Path, pairs: Pairs) -> None:
    for name, arrays in pairs.items():
        for place, pixels in zip(("images", "masks"), arrays, strict=True):
            if pixels is not None:
                path = root / place / f"{name}.tif"
                path.parent.mkdir(parents=True, exist_ok=True)
                tifffile.imwrite(path, pixels, photometric="rgb" if pixels.shape[-1] == 3 else "minisblack")


def parts_of(dataset: DataSet) -> list[Images]:
    return [dataset.train, dataset.val, dataset.test, dataset.unlabelled]


def find(sample: Sample, kind: str) -> Any:
    """An array of a sample; None for valid pixels means all."""
    array = getattr(sample, kind)
    return np.ones(sample.image.shape[:2], bool) if array is None and kind == "valid" else array


def check_equal(found: DataSet, wanted: DataSet) -> None:
    for ours, theirs in zip(parts_of(found), parts_of(wanted), strict=True):
        assert list(ours.names) == list(theirs.names)
        for index in range(len(ours)):
            for region in (None, Region(3, 5, 21, 40), Region(HEIGHT - 2, WIDTH - 1, 2, 1)):
                one, other = ours.read(index, region), theirs.read(index, region)
                for kind in KINDS:
                    np.testing.assert_array_equal(find(one, kind), find(other, kind), strict=True)
        for key in ("sizes", "pixels", "mean", "std", "labelled", "counts", "digests", "contents"):
            np.testing.assert_array_equal(getattr(ours.facts, key), getattr(theirs.facts, key))
    assert fingerprint(found) == fingerprint(wanted)
    assert (found.classes, found.channels, found.metrics) == (wanted.classes, wanted.channels, wanted.metrics)


@pytest.mark.parametrize("case", CASES)
def test_it_is_what_the_same_pixels_in_files_are(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs, words = name_pairs(case), CASES[case][2]
    monkeypatch.setattr(Arrays, "pairs", pairs)
    write_files(tmp_path, pairs)
    files = folder_config(tmp_path, *words, "data.without_mask=unlabelled", "data.group=image")
    for find_objects in (False, True)[: 1 + (case == "grey")]:
        wanted = data.load_data(files, find_objects)
        for cache in CACHES:
            check_equal(load(*words, f"data.cache={cache}", find_objects=find_objects), wanted)


def test_a_part_is_read_alone() -> None:
    images = load("data.cache=none").train
    Arrays.calls.clear()
    images.read(1, Region(3, 5, 8, 9))
    assert Arrays.calls == [(1, 3, 5, 8, 9)]


def test_what_is_known_is_not_read_again() -> None:
    before = fingerprint(load("data.cache=disk"))
    assert {index for index, *_ in Arrays.calls} == set(range(NUMBER))
    Arrays.calls.clear()
    assert fingerprint(load("data.cache=disk")) == before
    assert not Arrays.calls
    assert load("data.cache=disk", "data.classes=[{name: a, value: 0}, {name: b, value: 255}]").classes[1].name == "b"
    assert not Arrays.calls
    load("data.cache=disk", "data.verify=true")
    assert {index for index, *_ in Arrays.calls} == set(range(NUMBER))


def test_a_change_is_seen_by_the_shape_or_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    load()
    image, mask = Arrays.pairs["s2"]
    Arrays.calls.clear()
    monkeypatch.setitem(Arrays.pairs, "s2", (image[:30], mask[:30]))
    assert load("data.cache=none").train.facts.sizes[:4].tolist() == [[37, 52], [37, 52], [30, 52], [37, 52]]
    assert {index for index, *_ in Arrays.calls} == {0, 2}  # the first one is tried
    images = load("data.cache=none", reader=Versioned).train
    Arrays.calls.clear()
    Versioned.versions[1] = "new"
    images.read(0)
    with pytest.raises(DataError, match=r"Versioned: image 1 \(s1\): has changed since the images were looked at"):
        images.read(1)
    load("data.cache=none", reader=Versioned)
    assert {index for index, *_ in Arrays.calls} == {0, 1}


def test_an_image_more_changes_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    load("data.cache=none")
    Arrays.calls.clear()
    monkeypatch.setattr(Arrays, "pairs", {"r": (GREY[0] + 1, CLASSES[0]), **Arrays.pairs})
    assert list(load("data.cache=none").train.names)[:2] == ["r", "s0"]
    assert {index for index, *_ in Arrays.calls} == {0}


def test_a_mask_that_comes_or_goes_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    images = load("data.cache=none").train
    monkeypatch.setitem(Arrays.pairs, "s1", (GREY[1], None))
    with pytest.raises(DataError, match=r"image 1 \(s1\): has no mask and had one when the images were looked at"):
        images.read(1)
    with pytest.raises(DataError, match=r"image 1 \(s1\): has no mask and had one"):
        load("data.cache=memory")


class Nameless(Arrays):
    name = None  # type: ignore[assignment]

    def __len__(self) -> int:
        return 3

    def shape(self, _: int) -> tuple[int, ...]:
        return 5, 6, 1

    def read(self, index: int, top: int, left: int, height: int, width: int) -> tuple[Any, Any]:
        part = GREY[index, top : top + height, left : left + width]
        return part, part[:, :, 0] > 99


def test_names_are_numbers_unless_they_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Arrays, "name")
    monkeypatch.delattr(Nameless, "name")
    dataset = load(reader=Nameless)
    assert [list(part.names) for part in parts_of(dataset)] == [["0000"], ["0001"], ["0002"], []]
    np.testing.assert_array_equal(dataset.train[0].label, GREY[0, :5, :6, 0] > 99)  # True counts as 255


def test_groups_and_lists_go_by_names(tmp_path: Path) -> None:
    for part, names in (("train", "s0\ns1\ns6"), ("val", "s2")):
        (tmp_path / f"{part}.txt").write_text(names)
    dataset = load("data.split=lists", f"data.lists={tmp_path}")
    assert [list(part.names) for part in parts_of(dataset)] == [["s0", "s1", "s6"], ["s2"], [], []]
    dataset = load("data.group='(?=s[^56])|s(?=[56])'", "data.test=0")
    assert [list(part.names) for part in parts_of(dataset)][1:] == [["s5", "s6"], [], []]


def test_calls_do_not_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    inside, together, genuine = threading.Lock(), list[int](), Arrays.read

    def read(reader: Arrays, index: int, *window: int) -> Any:
        if not inside.acquire(blocking=False):
            together.append(index)
        try:
            return genuine(reader, index, *window)
        finally:
            inside.release()

    monkeypatch.setattr(Arrays, "read", read)
    load()
    assert not together


class OnDisk:
    """Opens its file when it is built, as a user might who knows nothing of processes."""

    built: ClassVar[list[int]] = []

    def __init__(self, path: str) -> None:
        self.built.append(os.getpid())
        self.file = open(path, "rb")  # noqa: SIM115

    def __len__(self) -> int:
        return NUMBER

    def shape(self, _: int) -> tuple[int, int, int]:
        return HEIGHT, WIDTH, 1

    def read(self, index: int, top: int, left: int, height: int, width: int) -> tuple[Any, Any]:
        self.file.seek(index * HEIGHT * WIDTH)
        page = np.frombuffer(self.file.read(HEIGHT * WIDTH), np.uint8).reshape(HEIGHT, WIDTH)
        part = page[top : top + height, left : left + width]
        return part[:, :, None], part


def test_each_process_builds_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    CLASSES.tofile(tmp_path / "pixels")
    monkeypatch.setattr(OnDisk, "built", [])
    images = load(f"data.params={{path: {tmp_path}/pixels}}", "data.cache=none", reader=OnDisk).train
    assert OnDisk.built == [os.getpid()]
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        same = np.array_equal(images.read(1).image[:, :, 0], CLASSES[1])
        os.write(write, b"new" if same and OnDisk.built[1:] == [os.getpid()] else b"old")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 3) == b"new"
    sent = pickle.loads(pickle.dumps(images))
    np.testing.assert_array_equal(sent.read(2).image[:, :, 0], CLASSES[2])
    assert len(OnDisk.built) == 2


def test_the_cache_folder_names_it() -> None:
    load("data.cache=disk")
    assert {kept.about for kept in list_kept()} == {"data.target=own_reader.Arrays"}
