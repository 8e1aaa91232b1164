"""A reader of the user's own: its pixels are those of files, and each mistake in it is one line."""

import os
import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import tifffile
from conftest import Said, composed
from own_images import config as folder_config

from unet_exp import data
from unet_exp.config import parse
from unet_exp.config.user_data import CustomDataConfig
from unet_exp.data.kept import list_kept
from unet_exp.errors import ConfigError, DataError, UserError
from unet_exp.samples.data_set import DataSet
from unet_exp.samples.fingerprint import fingerprint
from unet_exp.samples.sample import KINDS, Images, Region, Sample

RNG = np.random.default_rng(0)
NUMBER, HEIGHT, WIDTH = 7, 37, 52
CACHES = ("memory", "disk", "none")
GREY = RNG.integers(0, 255, (NUMBER, HEIGHT, WIDTH, 1), np.uint8)
CLASSES = np.kron(RNG.integers(0, 2, (NUMBER, 10, 13), np.uint8), np.ones((4, 4), np.uint8))[:, :HEIGHT] * np.uint8(255)
OBJECTS = np.kron(RNG.integers(0, 9, (NUMBER, 10, 13)), np.ones((4, 4), int))[:, :HEIGHT].astype(np.uint16)
HOLES = np.where(GREY < 60, np.float32(np.nan), GREY.astype(np.float32) / 7)
COLOURS = np.array([[0, 0, 0], [200, 10, 10], [10, 200, 10]], np.uint8)[OBJECTS % 3]
RGB = "data.classes=[{name: a, value: [0, 0, 0]}, {name: b, value: [200, 10, 10]}]"

Pairs = dict[str, tuple[Any, Any]]
CASES: dict[str, tuple[Any, Any, list[str]]] = {
    "grey": (GREY, CLASSES, []),
    "one unlabelled": (GREY, [*CLASSES[:-1], None], []),
    "16 bits, objects": (GREY.astype(np.uint16) * 200, OBJECTS, ["data.labels=instances"]),
    "holes": (HOLES, CLASSES, ["data.folds=3", "data.fold=1"]),
    "colours": (
        (np.repeat(GREY, 3, axis=3) // [1, 2, 3]).astype(np.uint8),
        COLOURS,
        [RGB, "data.ignore=[10, 200, 10]"],
    ),
    "smeared": (GREY, CLASSES // 255 * 200 + 20, ["data.inexact=threshold"]),
    "folders": (GREY, CLASSES, ["data.split=folders"]),
}


class Arrays:
    """A reader of arrays in memory; it notes the calls."""

    pairs: ClassVar[Pairs] = {}
    calls: ClassVar[list[tuple[int, ...]]] = []

    def __len__(self) -> int:
        return len(self.pairs)

    def name(self, index: int) -> str:
        return list(self.pairs)[index]

    def shape(self, index: int) -> tuple[int, ...]:
        return self.pairs[self.name(index)][0].shape  # type: ignore[no-any-return]

    def read(self, index: int, top: int, left: int, height: int, width: int) -> tuple[Any, Any]:
        self.calls.append((index, top, left, height, width))
        window = slice(top, top + height), slice(left, left + width)
        image, mask = self.pairs[self.name(index)]
        return image[window], None if mask is None else mask[window]


class Versioned(Arrays):
    """Says when an image changes."""

    versions: ClassVar[dict[int, Any]] = {}

    def version(self, index: int) -> Any:
        return self.versions.get(index, 0)


@pytest.fixture(autouse=True)
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNET_EXP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Arrays, "pairs", name_pairs("grey"))
    monkeypatch.setattr(Arrays, "calls", [])
    monkeypatch.setattr(Versioned, "versions", {})


def name_pairs(case: str) -> Pairs:
    images, masks, _ = CASES[case]
    parts = ["train", "train", "train", "train", "val", "val", "test"]
    names = [f"{parts[number]}/{number}" if case == "folders" else f"s{number}" for number in range(NUMBER)]
    return {name: (np.ascontiguousarray(image), mask) for name, image, mask in zip(names, images, masks, strict=True)}


def config(*words: str, reader: type = Arrays) -> CustomDataConfig:
    target = f"data.target={__name__}.{reader.__qualname__}"
    found = parse(composed("data=custom", target, *words)).data
    assert isinstance(found, CustomDataConfig)
    return found


def load(*words: str, reader: type = Arrays, find_objects: bool = False) -> DataSet:
    return data.load_data(config(*words, reader=reader), find_objects)


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
    assert {kept.about for kept in list_kept()} == {f"data.target={__name__}.Arrays"}


# Mistakes


def change(**methods: Any) -> Callable[[pytest.MonkeyPatch], None]:
    def apply(monkeypatch: pytest.MonkeyPatch) -> None:
        for name, method in methods.items():
            monkeypatch.setattr(Arrays, name, method, raising=False)

    return apply


def raises(*_: Any) -> Any:
    raise ValueError("no such\nkey")


def give(image: Any, mask: Any) -> Any:
    return lambda *_: (image, mask)


def tiny(shape: tuple[int, ...] = (4, 4, 1), dtype: Any = np.uint8) -> Any:
    return np.zeros(shape, dtype)


SIZE = f"shape \\({HEIGHT}, {WIDTH}, 1\\)"
MISTAKES: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str]] = {
    "len": (change(__len__=raises), r"its len\(\) raises ValueError: no such key$"),
    "empty": (change(__len__=lambda _: 0), r"its len\(\) is 0; it must be the number of images"),
    "negative": (change(__len__=lambda _: -1), r"its len\(\) raises ValueError"),
    "no number": (change(__len__=lambda _: "3"), r"its len\(\) raises TypeError"),
    "too long": (change(__len__=lambda _: NUMBER + 1), r"its name of image 7 raises IndexError"),
    "name": (change(name=lambda *_: 3), r"its name of image 0 must be a text that can be shown, not 3"),
    "no name": (change(name=lambda *_: ""), r"its name of image 0 must be a text that can be shown, not ''"),
    "hidden name": (change(name=lambda *_: "a\nb"), r"its name of image 0 must be a text .* not 'a\\nb'"),
    "twice": (change(name=lambda _, index: f"a{index % 2}"), r"its name of images 0 and 2 is a0; give each one"),
    "version": (change(version=lambda *_: None), r"its version of image 0 \(s0\) must be a whole number or a text"),
    "no shape": (change(shape=raises), r"its shape of image 0 \(s0\) raises ValueError: no such key$"),
    "two": (change(shape=lambda *_: (3, 4)), r"its shape of image 0 \(s0\) must be three whole .* not \(3, 4\)"),
    "zero": (change(shape=lambda *_: (0, 4, 1)), r"must be three whole numbers from 1 on"),
    "float": (change(shape=lambda *_: (3.0, 4, 1)), r"must be three whole numbers from 1 on"),
    "huge": (change(shape=lambda *_: (10**6, 10**6, 1)), r"1000000 x 1000000 pixels are too many to be read at once"),
    "planar": (change(shape=lambda *_: (3, 4, 500)), r"has 500 channels"),
    "raises": (change(read=raises), r"its read of image 0 \(s0\) raises ValueError: no such key$"),
    "alone": (change(read=lambda *_: tiny()), r"must return two things, \(image, mask\) or .*, not an array"),
    "nothing": (change(read=lambda *_: None), r"must return two things, \(image, mask\) or \(image, None\), not None"),
    "list": (change(read=give([1], None)), rf"must return an image of {SIZE} in uint8, uint16 or float32, not .* list"),
    "flat": (change(read=give(tiny((37, 52)), None)), rf"image of {SIZE} in .* not an array of shape \(37, 52\) in"),
    "small": (change(read=give(tiny(), None)), rf"image of {SIZE} .* not an array of shape \(4, 4, 1\) in uint8"),
    "double": (change(read=give(tiny((37, 52, 1), float), None)), r"not an array of shape \(37, 52, 1\) in float64"),
    "mask": (change(read=give(GREY[0], CLASSES[0, :9])), r"None or a mask of shape \(37, 52\) or \(37, 52, 3\) .* not"),
    "soft": (change(read=give(GREY[0], CLASSES[0] / 2)), r"in whole numbers, not an array of shape .* in float64"),
    "infinite": (change(read=give(np.full_like(HOLES[0], np.inf), None)), r"without infinite values; make them NaN"),
    "whole": (change(read=give(GREY[0], CLASSES[0])), r"image of shape \(19, 18, 1\) .* of shape \(37, 52, 1\)"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    apply, said = MISTAKES[mistake]
    apply(monkeypatch)
    with pytest.raises(DataError, match=said) as told:
        load()
    assert str(told.value).startswith(f"data.target={__name__}.Arrays: i")
    assert "\n" not in str(told.value)


def test_a_long_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Arrays, "pairs", {f"{name}" * 101: arrays for name, arrays in Arrays.pairs.items()})
    with pytest.raises(DataError, match=r"\): its name, with its folders, is longer than 200 bytes"):
        load()


def test_a_part_must_be_that_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Arrays, "read", lambda _, index, __, ___, *size: (GREY[index][: size[0], : size[1]], None))
    with pytest.raises(
        DataError, match=r"with top=9, left=17, height=19, width=18 returns other values than the whole"
    ):
        load()
    noise = iter(range(99))
    monkeypatch.setattr(Arrays, "read", lambda _, __, ___, ____, *size: (np.full((*size, 1), next(noise), "u1"), None))
    with pytest.raises(DataError, match=r"and the same each time"):
        load()


def test_mistakes_of_other_images_are_told_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(Arrays.pairs, "s3", (GREY[3].astype(np.int64), None))
    monkeypatch.setitem(Arrays.pairs, "s5", (GREY[5], CLASSES[5][:3]))
    with pytest.raises(DataError, match=r"^2 of 7 images cannot be used: .*image 3 \(s3\) .*; .*image 5 \(s5\) must"):
        load()
    monkeypatch.setattr(Arrays, "pairs", {name: (image, None) for name, (image, _) in name_pairs("grey").items()})
    with pytest.raises(DataError, match=r"Arrays: no image has a mask"):
        load("data.verify=true")


def test_values_without_a_class_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(Arrays.pairs, "s3", (GREY[3], CLASSES[3] // 5))
    with pytest.raises(DataError, match=r"Arrays: mask of image 3 \(s3\): \d+ pixels belong to no class: 51 x"):
        load()


class Unready:
    def __init__(self, path: str) -> None:
        raise FileNotFoundError(path)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data.target=nowhere.Reader"], "there is no module nowhere; install its package, or put its folder on PYTHON"),
        ([f"data.target={__name__}.Arays"], "has no Arays (did you mean Arrays?)"),
        ([f"data.target={__name__}.load"], "it is no class"),
        (["data.target=builtins.dict"], "it has no method shape(index)"),
        ([f"data.target={__name__}.Arrays", "data.params={a: 1}"], "it is built with (), and given a=1; see data.params"),
        ([f"data.target={__name__}.Unready", "data.params={path: x}"], "building it with path='x' raises FileNotFoundError: x"),
    ],
)  # fmt: skip
def test_a_class_that_does_not_fit_is_told(words: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as told:
        data.load_data(parse(composed("data=custom", *words)).data)
    assert said in str(told.value)
    assert str(told.value).startswith(words[0])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data.target=Reader"], "data.target='Reader': must be a class's import path"),
        (
            ["data.target=a.B", "data.classes=[{name: a, value: 0}, {name: b, value: cell}]"],
            "labels are of annotations",
        ),
        (["data.target=a.B", "data.ignore=unsure"], "labels are of annotations"),
        (["data.target=a.B", "data.images=x"], "unknown key data.images"),
    ],
)
def test_a_wrong_config_is_told(words: list[str], said: str) -> None:
    with pytest.raises(UserError) as told:
        parse(composed("data=custom", *words))
    assert said in str(told.value)


@pytest.mark.parametrize("name", ["read", "name", "version"])
def test_a_method_that_takes_other_arguments_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Arrays, name, lambda _: 0, raising=False)
    with pytest.raises(ConfigError, match=rf"Arrays: its {name} takes \(\) and is called with \(index"):
        load()


@pytest.fixture
def check(cli: Callable[..., Said]) -> Iterator[Callable[..., Said]]:
    yield lambda *words: cli("check_data", "data=custom", f"data.target={__name__}.Arrays", "output=look", *words)


def test_it_is_checked_before_a_training(check: Callable[..., Said], tmp_path: Path) -> None:
    said = check("data.tile=16")
    assert (said.code, "52 x 37" in said.out) == (0, True)
    assert (tmp_path / "look" / "contact_sheet.png").stat().st_size
    said = check("data.tile=16", "data.classes=[{name: a, value: 0}, {name: b, value: 3}]")
    assert "{name: foreground, value: 255" in said.out
    assert said.mistake.endswith("1 mistake, listed above")


def test_a_mistake_is_told_by_the_check(check: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(Arrays.pairs, "s3", (GREY[3].astype(np.int64), None))
    said = check("data.tile=16")
    assert "mistake: data.target=" in said.out
    assert "image 3 (s3) must return an image of shape" in said.out
    monkeypatch.setattr(Arrays, "read", raises)
    monkeypatch.setattr(Arrays, "__len__", lambda _: 2)
    assert check("data.tile=16").mistake.endswith("its read of image 0 (s0) raises ValueError: no such key")
