"""The ISBI-2012 reader, the splits and the fingerprint."""

import dataclasses
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from patterns import in_memory

from unet_exp.config import ISBI2012Config
from unet_exp.data.sets import isbi2012
from unet_exp.data.sets.isbi2012 import ISBI_CHECKSUMS, ISBI_CLASSES, load_isbi2012
from unet_exp.errors import ConfigError, DataError
from unet_exp.io.writing import write_image, write_pages
from unet_exp.samples.fingerprint import fingerprint
from unet_exp.samples.sample import Sample
from unet_exp.samples.splits import split_indices

REAL = os.environ.get("UNET_EXP_ISBI2012")
needs_real = pytest.mark.skipif(not REAL, reason="set UNET_EXP_ISBI2012 to a folder with the ISBI-2012 data")


def read(root, **words):
    words = {"split": "held_out", "fold": 0, "folds": 0, "download": False, **words}
    return load_isbi2012(ISBI2012Config.model_construct(name="isbi2012", root=str(root), **words))


def stack(count, seed=0):
    rng = np.random.default_rng(seed)
    images = [rng.integers(0, 256, (16, 20)).astype(np.uint8) for _ in range(count)]
    return images, [np.where(image > 100, 255, 0).astype(np.uint8) for image in images]


def folder(root, count=30, tests=2):
    images, labels = stack(count)
    for place, slices in [
        ("train/image", images),
        ("train/label", labels),
        ("test/image", stack(tests, 1)[0]),
    ]:
        if slices:
            (root / place).mkdir(parents=True)
        for number, pixels in enumerate(slices):
            write_image(root / place / f"{number}.png", pixels)
    return root


def names(samples):
    return [sample.name for sample in samples]


def failure(*args, kind=DataError, **options):
    with pytest.raises(kind) as caught:
        read(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_standard_split(tmp_path):
    data = read(folder(tmp_path / "d"))
    images, labels = stack(30)
    assert names(data.train) == [f"train_{i:02d}" for i in range(20)]
    assert names(data.val) == [f"train_{i:02d}" for i in range(20, 24)]
    assert names(data.test) == [f"train_{i:02d}" for i in range(24, 30)]
    assert names(data.unlabelled) == ["test_00", "test_01"]
    assert data.unlabelled[0].label is None
    assert (data.classes, data.channels) == (ISBI_CLASSES, 1)
    np.testing.assert_array_equal(data.train[10].image[..., 0], images[10])  # 10.png comes after 9.png.
    np.testing.assert_array_equal(data.test[0].label, labels[24] // 255)


def test_all_slices_train(tmp_path):
    data = read(folder(tmp_path / "d", tests=0), split="all")
    assert [len(part) for part in (data.train, data.val, data.test, data.unlabelled)] == [30, 4, 0, 0]
    assert names(data.val) == [f"train_{i:02d}" for i in range(20, 24)]


def test_fewer_slices(tmp_path):
    root = folder(tmp_path / "d", count=7)
    message = failure(root, kind=ConfigError)
    assert "needs 30" in message
    assert "data.folds" in message
    assert [len(part) for part in (lambda d: (d.train, d.val, d.test))(read(root, split="all"))] == [7, 1, 0]


def test_tiff_stacks_give_the_same(tmp_path):
    root = folder(tmp_path / "d")
    stacks = tmp_path / "s"
    stacks.mkdir()
    images, labels = stack(30)
    write_pages(stacks / "train-volume.tif", images)
    assert "train-labels.tif: there is no such file" in failure(stacks)
    write_pages(stacks / "train-labels.tif", labels)
    assert not read(stacks).unlabelled
    write_pages(stacks / "test-volume.tif", stack(2, 1)[0])
    assert fingerprint(read(stacks)) == fingerprint(read(root))
    write_pages(stacks / "train-labels.tif", labels[:-1])
    assert "has 29 pages and train-volume.tif has 30" in failure(stacks)
    labels[7] = labels[7] // 2
    write_pages(stacks / "train-labels.tif", labels)
    assert "train-labels.tif, page 7: " in failure(stacks)


def test_the_public_repositorys_layout(tmp_path):
    root = folder(tmp_path / "d", tests=3)
    want = fingerprint(read(root))
    for path in (root / "test" / "image").iterdir():
        path.rename(root / "test" / path.name)
    (root / "test" / "image").rmdir()
    write_image(root / "test" / "0_predict.png", stack(1)[0][0])
    assert fingerprint(read(root)) == want


def test_mistakes_are_named(tmp_path):
    good = folder(tmp_path / "good")
    image, label = Path("train/image/3.png"), Path("train/label/3.png")
    small = np.zeros((8, 8), np.uint8)

    def broken(change):
        root = tmp_path / "broken"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(good, root)
        change(root)
        return failure(root)

    assert "image/3.png: has no label" in broken(lambda r: (r / label).unlink())
    assert "label/3.png: has no image" in broken(lambda r: (r / image).unlink())
    assert "7 x 320 (value x pixels)" in broken(lambda r: write_image(r / label, np.full((16, 20), 7, np.uint8)))
    assert "8-bit grey" in broken(lambda r: write_image(r / image, stack(1)[0][0].astype(np.uint16)))
    assert "3.tif: has the same name" in broken(lambda r: write_image(r / "train/image/3.tif", small))
    assert "label: this folder is missing" in broken(lambda r: shutil.rmtree(r / "train/label"))
    assert "no files in this folder" in broken(
        lambda r: [p.unlink() for d in ("image", "label") for p in (r / "train" / d).iterdir()]
    )


def test_no_data(tmp_path):
    assert "data.download=true" in failure(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert "data.download=true" in failure(tmp_path / "empty")
    (tmp_path / "empty" / "x").touch()
    assert "is not a folder with train/image/N.png" in failure(tmp_path / "empty")
    assert "is not a folder" in failure(tmp_path / "empty" / "x")


def test_download_is_asked_for_where_nothing_is(tmp_path, monkeypatch):
    asked = []

    def fetch(root, **_):
        asked.append(root)
        folder(root)

    monkeypatch.setattr(isbi2012, "fetch_isbi2012", fetch)
    for _ in range(2):
        assert len(read(tmp_path / "new", download=True).train) == 20
    assert asked == [tmp_path / "new"]


def test_fingerprint_knows_every_pixel(tmp_path):
    data = read(folder(tmp_path / "d"))
    sample = data.train[0]
    image, label = sample.image.copy(), sample.label.copy()
    image[0, 0] ^= 1
    label[0, 0] ^= 1
    instances = np.zeros(label.shape, np.int32)
    others = [
        dataclasses.replace(sample, **change)
        for change in (
            {"name": "other"},
            {"image": image},
            {"label": label},
            {"label": None},
            {"instances": instances},
        )
    ]
    variants = [data, *(dataclasses.replace(data, train=in_memory([other, *data.train[1:]])) for other in others)]
    val = in_memory([data.train[-1], *data.val])
    variants.append(dataclasses.replace(data, train=data.train[:-1], val=val))
    for version in (1, 2):
        assert len({fingerprint(variant, version) for variant in variants}) == len(variants)


def test_a_sample_fits_together():
    image = np.zeros((4, 5, 1), np.uint8)
    for wrong in (
        {"label": np.zeros((5, 4), np.uint8)},
        {"label": np.zeros((4, 5), int)},
        {"instances": image[..., 0]},
    ):
        with pytest.raises(ValueError, match="beside an image"):
            Sample("a", image, **wrong)
    with pytest.raises(ValueError, match="image float64"):
        Sample("a", image.astype(float))


@settings(deadline=None)  # Other processes may share the machine.
@given(st.integers(3, 60), st.data())
def test_folds_are_disjoint_and_cover(count, data):
    folds = data.draw(st.integers(3, count))
    splits = [split_indices(count, fold, folds) for fold in range(folds)]
    assert [index for split in splits for index in split.test] == list(range(count))
    sizes = {len(split.test) for split in splits}
    assert max(sizes) - min(sizes) <= 1
    for split in splits:
        assert sorted(split.train + split.val + split.test) == list(range(count))
        assert min(map(len, split)) > 0
        for part in (split.val, split.test):
            assert part == list(range(part[0], part[-1] + 1))
    assert sorted(index for split in splits for index in split.test) == list(range(count))
    assert [split.val for split in splits] == [split.test for split in splits[1:] + splits[:1]]


@settings(deadline=None)  # Other processes may share the machine.
@given(st.integers(1, 60))
def test_all_mode_covers(count):
    split = split_indices(count, 0, None, "all")
    assert split.train == list(range(count))
    assert split.val
    assert set(split.val) <= set(split.train)
    assert split.test == []


@pytest.mark.parametrize(
    ("args", "key"),
    [
        ((30, 1, 0), "data.fold=1"),
        ((29, 0, 0), "data.folds"),
        ((30, 0, 2), "data.folds=2"),
        ((30, 5, 5), "data.fold=5"),
        ((30, -1, 5), "data.fold=-1"),
        ((4, 0, 5), "data.folds=5"),
        ((30, 0, 5, "all"), "data.folds"),
        ((0, 0, 0, "all"), "data.split=all"),
        ((30, 0, 0, "some"), "data.split=some"),
    ],
)
def test_wrong_splits(args, key):
    with pytest.raises(ConfigError, match=key):
        split_indices(*args)


def test_no_heavy_imports():
    heavy = "{'torch', 'pooch', 'requests'}"
    code = f"import sys; from unet_exp.data.sets import isbi2012; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@needs_real
def test_real_data():
    data = read(REAL)
    labelled = [*data.train, *data.val, *data.test]
    assert (len(data.train), len(data.val), len(data.test), len(data.unlabelled)) == (20, 4, 6, 30)
    label = np.stack([sample.label for sample in labelled])
    assert label.shape == (30, 512, 512)
    assert 1 - label.mean() == pytest.approx(0.22, abs=0.001)
    found = {
        "train/image": np.stack([sample.image for sample in labelled]),
        "train/label": label * np.uint8(255),
        "test/image": np.stack([sample.image for sample in data.unlabelled]),
    }
    for place, pixels in found.items():
        assert hashlib.sha256(pixels.tobytes()).hexdigest() == ISBI_CHECKSUMS[place]
