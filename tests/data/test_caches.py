"""Images that are read when they are needed: equal from memory, disk and files, whole and in parts."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from own_images import config
from PIL import Image
from resuming import in_a_child, kill

from unet_exp import data
from unet_exp.errors import ConfigError, DataError
from unet_exp.folder import choice, stores, survey
from unet_exp.folder.threads import run_ahead
from unet_exp.io.images import read_scenes
from unet_exp.samples.data_set import DataSet
from unet_exp.samples.fingerprint import fingerprint
from unet_exp.samples.sample import KINDS, Images, Region, Sample
from unet_exp.weight_map import find_instances

RNG = np.random.default_rng(0)
HEIGHT, WIDTH, NUMBER = 45, 70, 4
GREY = RNG.integers(1, 255, (NUMBER, HEIGHT, WIDTH), np.uint8)
RGB = RNG.integers(1, 255, (NUMBER, HEIGHT, WIDTH, 3), np.uint8)
EMPTY = np.zeros((HEIGHT, WIDTH), bool)
EMPTY[:, :17] = True
CACHES = ("memory", "disk", "none")

smooth = np.stack([cv2.GaussianBlur(page.astype(np.float32), (0, 0), 4) for page in GREY])
LABELS = (smooth > np.median(smooth)).astype(np.uint8)
MASKS = 255 * LABELS
OBJECTS = np.stack([cv2.connectedComponents(label)[1] for label in LABELS]).astype(np.uint16)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UNET_EXP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def put_all(root: Path, write: Callable[[Path, Any], object], images: Any, masks: Any, suffix: str) -> None:
    for place, pages in (("images", images), ("masks", masks)):
        (root / place).mkdir(parents=True)
        for number, page in enumerate(pages):
            write(root / place / f"{number}{suffix}", page)


def png(path: Path, pixels: Any) -> None:
    Image.fromarray(pixels).save(path)


def jpegs(root: Path) -> None:
    put_all(root, png, RGB, MASKS, ".png")
    for number in range(NUMBER):
        (root / f"images/{number}.png").unlink()
        png(root / f"images/{number}.jpg", RGB[number])


def grey_among_colours(root: Path) -> None:
    """The images of one channel decide that grey RGB images have one too; one has an alpha beside it."""
    put_all(root, png, [GREY[0], np.dstack([GREY[1]] * 3), np.dstack([GREY[2]] * 3), GREY[3]], MASKS, ".png")


def tiled(root: Path, **options: Any) -> None:
    def write(path: Path, page: Any) -> None:
        tags = [(42113, "s", 0, "0", True)] if path.parent.name == "images" else []
        settings: dict[str, Any] = {"metadata": None, "extratags": tags, "compression": "zlib", "tile": (16, 32)}
        tifffile.imwrite(path, page, **{**settings, **options})

    put_all(root, write, [np.where(EMPTY, np.uint8(0), page) for page in GREY], MASKS, ".tif")


def turned(root: Path) -> None:
    tiled(root)
    for path in (root / "images").iterdir():
        tags = [(42113, "s", 0, "0", True), (274, "H", 1, 6, True)]
        tifffile.imwrite(path, np.where(EMPTY, np.uint8(0), GREY[int(path.stem)]).T, metadata=None, extratags=tags)


def stack(root: Path) -> None:
    def write(path: Path, pages: Any) -> None:
        tifffile.imwrite(path, pages, metadata=None, photometric="minisblack")

    put_all(root, write, [GREY.astype(np.uint16) * 257], [MASKS], ".tif")


def arrays(root: Path) -> None:
    images = [np.where(EMPTY, np.nan, page / np.float64(255)) for page in GREY]
    put_all(root, np.save, images, [np.asfortranarray(label.astype(bool)) for label in LABELS], ".npy")


def numbered(root: Path) -> None:
    put_all(root, png, GREY, OBJECTS, ".png")


def seen(root: Path) -> None:
    put_all(root, png, GREY, MASKS, ".png")
    png(root / "view.png", np.where(EMPTY, np.uint8(0), np.uint8(255)))


def coloured_where_nothing_counts(root: Path) -> None:
    """The mask is red where its image has no data."""
    seen(root)
    for number in range(NUMBER):
        red = np.where(EMPTY[..., None], np.array([255, 0, 0], np.uint8), np.dstack([MASKS[number]] * 3))
        png(root / f"masks/{number}.png", red)


def channels(root: Path) -> None:
    """Colours in two files: one is read by window, the other whole."""
    tiled(root)
    put_all(root / "more", png, RGB, MASKS, ".png")


def containers(root: Path) -> None:
    """Image and mask are two arrays of one file."""
    (root / "both").mkdir(parents=True)
    for number in range(NUMBER):
        np.savez_compressed(root / f"both/{number}.npz", raw=RGB[number], label=LABELS[number] * np.uint8(255))


def braces(root: Path) -> None:
    for number in range(NUMBER):
        part = root / ("odd" if number % 2 else "even")
        part.mkdir(parents=True, exist_ok=True)
        png(part / f"{number}.jpg", RGB[number])
        png(part / f"{number}.png", MASKS[number])


def classes(root: Path) -> None:
    """A file for each of two classes, where one does not cover the other; some images have one of them."""
    put_all(root, png, GREY, MASKS, ".png")
    put_all(root / "more", png, GREY, np.where(EMPTY, 255, 0).astype(np.uint8)[None].repeat(2, 0), ".png")


def objects(root: Path) -> None:
    """A folder for each image, with a file for each object."""
    for number in range(NUMBER):
        (root / f"{number}/masks").mkdir(parents=True)
        png(root / f"{number}/image.png", GREY[number])
        for value in range(1, int(OBJECTS[number].max()) + 1):
            png(root / f"{number}/masks/{value}.png", np.where(OBJECTS[number] == value, 255, 0).astype(np.uint8))


def smeared(root: Path) -> None:
    """Masks in JPEG: hardly a pixel is 0 or 255."""
    put_all(root, png, RGB, MASKS, ".png")
    for number in range(NUMBER):
        (root / f"masks/{number}.png").unlink()
        soft = cv2.GaussianBlur(MASKS[number], (0, 0), 2)
        Image.fromarray(np.dstack([soft, soft, 255 - soft])).save(root / f"masks/{number}.jpg", quality=60)


def smeared_tiff(root: Path) -> None:
    """Masks are RGB TIFFs, tiled, without data in a corner, and resized smoothly, each channel in its own way."""
    tiled(root)
    for number in range(NUMBER):
        soft = [cv2.GaussianBlur(MASKS[number], (0, 0), size) for size in (1, 2, 3)]
        tifffile.imwrite(root / f"masks/{number}.tif", np.dstack(soft), metadata=None, tile=(16, 32))


def fractions(root: Path) -> None:
    """Masks are maps of floats, with values beside those of the classes."""
    arrays(root)
    for number in range(NUMBER):
        np.save(root / f"masks/{number}.npy", smooth[number] / smooth[number].max() * 9)


def several_values(root: Path) -> None:
    """Each class has two values, and two are ignored."""
    tiled(root)
    for number in range(NUMBER):
        values = np.array([[3, 5], [7, 255], [9, 200]], np.uint8)
        label = np.where(RGB[number, ..., 0] > 200, 2, LABELS[number])
        np.save(root / f"masks/{number}.npy", values[label, GREY[number] % 2])
        (root / f"masks/{number}.tif").unlink()


COLOURED = "data.classes=[{name: a, value: [0, 0, 255]}, {name: b, value: [255, 255, 0], also: [[200, 200, 0]]}]"
SEVERAL = "data.classes=[{name: a, value: 3, also: [5]}, {name: b, value: 255, also: [7]}]"
NEAR = "data.classes=[{name: a, value: 0, also: [3]}, {name: b, value: 9}]"

SETS: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "JPEG": (jpegs, []),
    "grey and RGB": (grey_among_colours, []),
    "tiled TIFF without data in a corner": (tiled, []),
    "turned TIFF": (turned, []),
    "TIFF stack of 16 bits": (stack, ["data.group=image"]),
    "NumPy with NaN": (arrays, []),
    "objects": (numbered, ["data.labels=instances"]),
    "field of view": (seen, ["data.field_of_view={root}/view.png"]),
    "mask that is red without data": (coloured_where_nothing_counts, ["data.field_of_view={root}/view.png"]),
    "channels of two files": (channels, ["data.images=[{root}/images,{root}/more/images]"]),
    "arrays in containers": (
        containers,
        ["data.images='{root}/both/*.npz/raw'", "data.masks='{root}/both/*.npz/label'"],
    ),
    "braces": (braces, ["data.images='{root}/{odd,even}/*.jpg'", "data.masks='{root}/{odd,even}/*.png'"]),
    "one file a class": (
        classes,
        ["data.masks={foreground: {root}/masks, void: {root}/more/masks}", "data.ignore=void"],
    ),
    "one file an object": (
        objects,
        ["data.images='{root}/*/image.png'", "data.masks='{root}/*/masks/'", "data.labels=instances"],
    ),
    "JPEG masks": (smeared, ["data.inexact=nearest", COLOURED, "data.ignore=[[128, 128, 128]]"]),
    "smeared RGB masks": (smeared_tiff, ["data.inexact=threshold"]),
    "masks of floats": (fractions, ["data.inexact=nearest", NEAR, "data.ignore=[6, -1]"]),
    "several values a class": (several_values, [SEVERAL, "data.ignore=[9, 200]"]),
    "without a mask": (jpegs, ["data.without_mask=unlabelled"]),
}


def load(root: Path, *words: str, find_objects: bool = False) -> DataSet:
    settled = ["data.val=0.25", "data.test=0.25", *(word.replace("{root}", str(root)) for word in words)]
    return data.load_data(config(root, *settled), find_objects)


def parts(dataset: DataSet) -> list[Images]:
    return [dataset.train, dataset.val, dataset.test, dataset.unlabelled]


def assert_equal(one: Sample, other: Sample) -> None:
    assert one.name == other.name
    for kind in KINDS:
        mine, theirs = getattr(one, kind), getattr(other, kind)
        if kind == "valid":  # a part may be valid everywhere
            mine, theirs = (np.ones(one.image.shape[:2], bool) if of is None else of for of in (mine, theirs))
        assert (mine is None) == (theirs is None), kind
        if mine is not None:
            assert mine.dtype == theirs.dtype
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("find_objects", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.parametrize("name", SETS)
def test_every_cache_gives_the_same_images_and_parts(
    name: str, find_objects: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, words = SETS[name]
    make(tmp_path)
    for module in (stores, choice):
        monkeypatch.setattr(module, "STRIP", 32)  # the images are wider
    if name == "without a mask":
        (tmp_path / "masks/1.png").unlink()
    sets = [load(tmp_path, *words, f"data.cache={cache}", find_objects=find_objects) for cache in (*CACHES, "disk")]
    first = sets[0]
    of_files = load(tmp_path, *words, "data.cache=none")  # found objects are no data
    assert len({fingerprint(one, version) for one in [*sets, of_files] for version in (1, 2)}) == 2
    random = np.random.default_rng(1)
    for number, images in enumerate(parts(first)):
        for index, whole in enumerate(images):
            height, width = whole.image.shape[:2]
            assert images.facts.sizes[index].tolist() == [height, width]
            for other in sets[1:]:
                assert_equal(parts(other)[number][index], whole)
            for _ in range(4):
                top, left = int(random.integers(height)), int(random.integers(width))
                high, wide = int(random.integers(height - top)) + 1, int(random.integers(width - left)) + 1
                region = Region(top, left, high, wide)
                for other in sets:
                    assert_equal(parts(other)[number].read(index, region), whole.cut(region))
    if find_objects and name == "JPEG":
        (sample, *_) = first.train
        assert sample.label is not None
        assert (sample.instances == find_instances(sample.label)).all()


@pytest.mark.parametrize("name", SETS)
def test_what_is_known_of_an_image_is_what_its_pixels_say(name: str, tmp_path: Path) -> None:
    make, words = SETS[name]
    make(tmp_path)
    dataset = load(tmp_path, *words, "data.cache=none")
    for images in parts(dataset):
        for index, sample in enumerate(images):
            facts = images.facts
            valid = np.ones(sample.image.shape[:2], bool) if sample.valid is None else sample.valid
            full = np.iinfo(sample.image.dtype).max if sample.image.dtype.kind == "u" else 1
            pixels = sample.image[valid].astype(np.float64) / full
            np.testing.assert_allclose(facts.mean[index], pixels.mean(axis=0), rtol=1e-6)
            np.testing.assert_allclose(facts.std[index], pixels.std(axis=0), rtol=1e-6)
            assert facts.pixels[index] == valid.sum()
            assert sample.label is not None
            counts = [int((sample.label == value).sum()) for value in (0, 1, 255)]
            assert facts.counts[index].tolist() == counts


def read_files(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The images that are decoded from here on."""
    asked: list[str] = []
    genuine = survey.Rules.read

    def read(rules: Any, pair: Any) -> Any:
        asked.append(pair.name)
        return genuine(rules, pair)

    monkeypatch.setattr(survey.Rules, "read", read)
    return asked


def test_what_is_known_is_found_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jpegs(tmp_path)
    asked = read_files(monkeypatch)
    before = fingerprint(load(tmp_path, "data.cache=none"))
    assert sorted(asked) == ["0", "1", "2", "3"]
    asked.clear()
    assert fingerprint(load(tmp_path, "data.cache=none")) == before
    assert asked == []
    # Other classes are no other files.
    load(tmp_path, "data.cache=none", "data.classes=[{name: a, value: 255}, {name: b, value: 0}]")
    assert asked == []
    load(tmp_path, "data.cache=none", "data.verify=true")
    assert sorted(asked) == ["0", "1", "2", "3"]
    asked.clear()
    png(tmp_path / "images/2.jpg", RGB[3])
    assert fingerprint(load(tmp_path, "data.cache=none")) != before
    assert asked == ["2"]
    asked.clear()
    for place, suffix in (("images", "jpg"), ("masks", "png")):
        os.rename(tmp_path / place / f"1.{suffix}", tmp_path / place / f"9.{suffix}")
    assert "9" in load(tmp_path, "data.cache=none").test.names
    assert asked == ["9"]


def kept_files(cache: Path) -> list[Path]:
    """The files of decoded images."""
    return sorted(cache.glob("arrays/*/*/[0-9a-f]*"))


def test_decoded_images_are_read_from_the_cache_and_again_from_the_files_where_it_is_gone(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jpegs(tmp_path)
    before = [sample.image.copy() for sample in load(tmp_path, "data.cache=disk").train]
    asked = read_files(monkeypatch)
    dataset = load(tmp_path, "data.cache=disk")
    assert all((image == sample.image).all() for image, sample in zip(before, dataset.train, strict=True))
    assert asked == []
    kept = kept_files(cache)
    assert len(kept) == NUMBER
    for path in kept[:2]:
        path.write_bytes(path.read_bytes()[:100])
    kept[2].unlink()
    assert all((image == sample.image).all() for image, sample in zip(before, dataset.train, strict=True))
    assert not (kept[0].parents[1] / "complete").exists(), "the next start looks what is there"
    asked.clear()
    load(tmp_path, "data.cache=disk")
    assert len(asked) == 3, "what is whole is not made again"


def test_an_interrupted_build_leaves_nothing_that_is_trusted(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jpegs(tmp_path)
    genuine = os.replace

    def replace(source: Any, target: Any) -> None:
        if len(kept_files(cache)) >= 2:
            raise KeyboardInterrupt
        genuine(source, target)

    monkeypatch.setattr("os.replace", replace)
    with pytest.raises(KeyboardInterrupt):
        load(tmp_path, "data.cache=disk")
    monkeypatch.setattr("os.replace", genuine)
    (kept_files(cache)[0].parent / ".left.1.part").write_bytes(b"half")
    assert not list(cache.glob("arrays/*/complete"))
    dataset = load(tmp_path, "data.cache=disk")
    assert not list(cache.glob("arrays/*/*/.*"))
    for sample in dataset.train:
        (scene,) = read_scenes(tmp_path / f"images/{sample.name}.jpg")
        assert (sample.image == scene.pixels).all()


def test_equal_images_are_kept_once(tmp_path: Path, cache: Path) -> None:
    put_all(tmp_path, png, [GREY[0]] * 24, [MASKS[0]] * 24, ".png")
    load(tmp_path, "data.cache=none")
    for sample in load(tmp_path, "data.cache=disk").train:
        assert (sample.image[..., 0] == GREY[0]).all()
    assert len(kept_files(cache)) == 1


def test_a_later_start_leaves_what_another_is_writing(tmp_path: Path, cache: Path) -> None:
    jpegs(tmp_path)
    load(tmp_path, "data.cache=disk")
    part = kept_files(cache)[0].parent / ".another.1.part"
    part.write_bytes(b"half")
    load(tmp_path, "data.cache=disk")
    assert part.exists()


def test_a_build_that_is_killed_is_no_loss_but_of_time(tmp_path: Path, cache: Path) -> None:
    jpegs(tmp_path)
    genuine = os.replace

    def replace(source: Any, target: Any) -> None:
        if len(kept_files(cache)) >= 2:
            kill()
        genuine(source, target)

    def build() -> None:
        os.replace = replace  # type: ignore[assignment]
        load(tmp_path, "data.cache=disk")

    in_a_child(build)
    assert 2 <= len(kept_files(cache)) < NUMBER
    assert [sample.name for sample in load(tmp_path, "data.cache=disk").train] == ["0", "1"]
    assert len(kept_files(cache)) == NUMBER
    assert not list(cache.glob("arrays/*/*/.*"))


def test_a_file_that_changes_while_it_is_decoded_is_not_kept(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jpegs(tmp_path)
    load(tmp_path, "data.cache=none")
    genuine = survey.Rules.read

    def read(rules: Any, pair: Any) -> Any:
        pages = genuine(rules, pair)
        os.utime(pair.mask, ns=(1, 1))
        return pages

    monkeypatch.setattr(survey.Rules, "read", read)
    with pytest.raises(DataError, match="has changed since the images were looked at"):
        load(tmp_path, "data.cache=disk")
    assert not kept_files(cache)


def test_a_mistake_of_an_image_that_is_read_again_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grey_among_colours(tmp_path)
    asked = read_files(monkeypatch)
    genuine = survey.Rules.read

    def read(rules: Any, pair: Any) -> Any:
        if asked.count(pair.name):
            raise DataError(f"{pair.image}: is broken")
        return genuine(rules, pair)

    monkeypatch.setattr(survey.Rules, "read", read)
    with pytest.raises(DataError, match="is broken"):
        load(tmp_path, "data.cache=none")


def test_images_whose_channels_others_decide_are_read_again_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grey_among_colours(tmp_path)
    load(tmp_path, "data.cache=none")
    asked = read_files(monkeypatch)
    load(tmp_path, "data.cache=none")
    assert asked == []


def test_found_and_given_objects_are_other_data(tmp_path: Path) -> None:
    numbered(tmp_path)
    for number in range(NUMBER):
        png(tmp_path / f"masks/{number}.png", MASKS[number])
    prints = {fingerprint(load(tmp_path, f"data.labels={labels}")) for labels in ("classes", "instances")}
    assert len(prints) == 2


class TestChoice:
    def test_auto_takes_the_first_that_fits_and_says_which(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        jpegs(tmp_path)
        needed = NUMBER * HEIGHT * WIDTH * 4
        said = []
        for limit, free in ((1e-3, 10**9), (1e-6, 2 * needed + 2), (1e-6, needed)):
            monkeypatch.setattr("unet_exp.folder.choice.free_disk", lambda _, free=free: free)
            load(tmp_path, f"data.max_memory={limit}")
            said.append(capsys.readouterr().out.splitlines()[-1])
            for path in (tmp_path / "cache").rglob("complete"):
                path.unlink()
            for path in (tmp_path / "cache/arrays").rglob("*-3"):
                path.unlink()
        assert [line.rpartition("data.cache=")[2] for line in said] == ["memory)", "disk)", "none)"]
        assert said[0].startswith("4 images, 50.4 kB decoded: kept in memory")

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (
                ["data.cache=memory", "data.max_memory=1e-6"],
                r"take 50\.4 kB of memory, more than data\.max_memory=1e-06",
            ),
            (["data.cache=disk"], r"the decoded images take 50\.4 kB and 1 kB are free in .*scripts/cache\.py lists"),
        ],
    )
    def test_what_does_not_fit_is_refused_before_anything_is_decoded(
        self, words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        jpegs(tmp_path)
        monkeypatch.setattr("unet_exp.folder.choice.free_disk", lambda _: 1000)
        asked = read_files(monkeypatch)
        with pytest.raises(ConfigError, match=said):
            load(tmp_path, *words)
        assert asked == []

    def test_no_folder_for_a_cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        jpegs(tmp_path)
        monkeypatch.setenv("UNET_EXP_CACHE", "")
        assert len(load(tmp_path, "data.cache=none").train) == 2
        with pytest.raises(ConfigError, match="no folder for it \\(UNET_EXP_CACHE is empty\\)"):
            load(tmp_path, "data.cache=disk")

    def test_auto_takes_no_folder_that_cannot_be_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        jpegs(tmp_path)
        (tmp_path / "file").touch()
        monkeypatch.setenv("UNET_EXP_CACHE", str(tmp_path / "file"))
        assert len(load(tmp_path, "data.max_memory=1e-6").train) == 2
        assert capsys.readouterr().out.splitlines()[-1].endswith("(data.cache=none)")
        with pytest.raises(DataError, match=r"cannot be written .*; name another folder with UNET_EXP_CACHE"):
            load(tmp_path, "data.cache=disk")

    def test_an_image_too_large_for_the_memory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        jpegs(tmp_path)
        monkeypatch.setattr("unet_exp.folder.survey.free_memory", lambda: 20_000)
        with pytest.raises(ConfigError, match=r"0\.jpg: to read it takes 37\.8 kB of memory and 20 kB are free"):
            load(tmp_path, "data.cache=none")

    def test_a_full_disk_ends_the_build_in_one_line(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        jpegs(tmp_path)

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(
            DataError, match=r"cannot be written \(No space left on device\); free some space"
        ) as caught:
            load(tmp_path, "data.cache=disk")
        assert "\n" not in str(caught.value)
        assert not list((tmp_path / "cache/arrays").rglob("*.part*"))


@pytest.mark.parametrize(("change", "said"), [("touch", "has changed"), ("unlink", "is gone")])
@pytest.mark.parametrize("place", ["images/0.jpg", "masks/0.png"])
def test_a_file_that_changes_later_is_told(change: str, said: str, place: str, tmp_path: Path) -> None:
    jpegs(tmp_path)
    dataset = load(tmp_path, "data.cache=none")
    path = tmp_path / place
    if change == "touch":
        os.utime(path, ns=(1, 1))
    else:
        path.unlink()
    with pytest.raises(DataError, match=f"{place}: {said} since the images were looked at"):
        dataset.train[0]


def test_a_link_to_a_file_is_no_change_of_it(tmp_path: Path) -> None:
    jpegs(tmp_path)
    dataset = load(tmp_path, "data.cache=none")
    os.link(tmp_path / "images/0.jpg", tmp_path / "another.jpg")
    assert dataset.train[0].name == "0"


def test_work_in_threads_is_done_in_order_and_not_far_ahead() -> None:
    begun: list[int] = []

    def work(place: int) -> int:
        begun.append(place)
        return -place

    some = run_ahead(work, range(1000), threads=2)
    assert [next(some) for _ in range(3)] == [0, -1, -2]
    assert len(begun) < 20
    some.close()  # type: ignore[attr-defined]
    assert len(begun) < 20


def test_patches_of_one_image_in_a_row_decode_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jpegs(tmp_path)
    images = load(tmp_path, "data.cache=none").train
    asked = read_files(monkeypatch)
    for index in (0, 0, 1, 1, 0):
        images.read(index, Region(1, 2, 3, 4))
    assert asked == ["0", "1", "0"]


def test_parts_of_tiles_are_read_without_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiled(tmp_path)
    images = load(tmp_path, "data.cache=none").train
    asked = read_files(monkeypatch)
    assert images.read(0, Region(20, 30, 8, 8)).image.shape == (8, 8, 1)
    assert asked == []
