"""The Cell Tracking Challenge: its layout, what is ignored, its splits and its download; all on small made-up data."""

import hashlib
import io
import logging
import shutil
import zipfile
from unittest import mock

import numpy as np
import pytest
import tifffile
from challenge_on_disk import COLUMNS, HELA, LEFT, LONE, RIGHT, ROWS, frame, full, hela, plane, write
from conftest import TINY_STACK, summary
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from test_download import serving

from unet_exp.compose import compose_train
from unet_exp.config import IGNORE_LABEL, CellTrackingConfig, parse
from unet_exp.data import load_data
from unet_exp.data.sets import celltracking
from unet_exp.data.sets.celltracking import MARKER_RADIUS, ignored_pixels
from unet_exp.errors import ConfigError, DataError
from unet_exp.samples.fingerprint import fingerprint


@pytest.fixture(autouse=True)
def _no_internet(monkeypatch):
    monkeypatch.setenv(celltracking.CHALLENGE_URL_VARIABLE, "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def read(root, name="phc_u373", **words):
    words = {"split": "held_out", "fold": 0, "folds": 0, "download": False, **words}
    return celltracking.load_cell_tracking(CellTrackingConfig.model_construct(name=name, root=str(root), **words))


def names(samples):
    return [sample.name for sample in samples]


def failure(root, kind=DataError, **options):
    with pytest.raises(kind) as caught:
        read(root, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def only(root):
    """The label of the only frame."""
    return read(root, split="all").train[0].label


def test_annotated_frames_become_samples(tmp_path):
    data = read(full(tmp_path), split="all")
    assert names(data.train) == [f"01_t{n:03d}" for n in range(5)] + [f"02_t{n:03d}" for n in range(3)]
    sample = data.train[6]
    np.testing.assert_array_equal(sample.image[..., 0], tifffile.imread(tmp_path / "02" / "t001.tif"))
    np.testing.assert_array_equal(sample.instances, plane(LEFT, RIGHT))
    np.testing.assert_array_equal(sample.label, plane((1, 4, 5, 12, 19)))
    assert sample.image.dtype == np.uint8
    assert [spec.name for spec in data.classes] == ["background", "cell"]
    assert (data.channels, data.metrics, list(data.unlabelled)) == (1, ("seg",), [])


def test_label_files_are_compressed_as_the_real_ones(tmp_path):
    with tifffile.TiffFile(full(tmp_path) / "01_GT/SEG/man_seg000.tif") as tiff:
        assert tiff.pages[0].compression == tifffile.COMPRESSION.LZW
        assert tiff.pages[0].dtype == np.uint16


def test_names_with_four_digits_and_images_of_16_bits(tmp_path):
    data = read(full(tmp_path, digits=4, image=np.uint16), split="all")
    assert names(data.train)[:2] == ["01_t0000", "01_t0001"]
    assert data.train[0].image.dtype == np.uint16


def test_the_folder_above_will_do_and_either_data_set_reads_its_own(tmp_path):
    full(tmp_path / "PhC-C2DH-U373", first=5)
    full(tmp_path / "DIC-C2DH-HeLa", first=4)
    assert fingerprint(read(tmp_path)) == fingerprint(read(tmp_path / "PhC-C2DH-U373"))
    assert len(read(tmp_path, "dic_hela").train) == 3


def test_a_cell_without_outline_is_ignored_where_its_silver_mask_is(tmp_path):
    # The marker of 9 lies on silver object 4 with two of its columns, on object 5 with one.
    silver = plane((4, 7, 98, 6, 4), (5, 7, 102, 6, 9), (3, 0, 60, 3, 3), LEFT)
    frame(tmp_path, "01", "000", plane(LEFT), plane((1, 8, 8, 2, 2), (9, 9, 100, 2, 3)), silver)
    expected = plane((1, *LEFT[1:]), (255, 7, 98, 6, 4), (255, 9, 102, 2, 1))
    np.testing.assert_array_equal(only(tmp_path), expected)


def test_a_cell_without_outline_and_silver_mask_is_ignored_around_its_marker(tmp_path):
    tra = plane((2, 8, 8, 2, 2), (9, 10, 100, 1, 2))  # A marker's number need not be the outline's.
    frame(tmp_path, "01", "000", plane(LEFT), tra, plane((4, 0, 60, 5, 5)))
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    near = np.minimum(np.hypot(rows - 10, columns - 100), np.hypot(rows - 10, columns - 101)) <= MARKER_RADIUS
    expected = np.where(near, 255, plane((1, *LEFT[1:])))
    np.testing.assert_array_equal(only(tmp_path), expected)
    assert near.any(axis=0).nonzero()[0][0] == 100 - MARKER_RADIUS


def test_an_outline_is_never_ignored(tmp_path):
    # The silver mask of the cell that SEG lacks runs over its touching neighbour.
    frame(tmp_path, "01", "000", plane(LEFT), plane((1, 8, 8, 2, 2), (2, 8, 17, 2, 2)), plane((4, 4, 8, 12, 16)))
    np.testing.assert_array_equal(only(tmp_path), plane((255, 4, 8, 12, 16), (1, *LEFT[1:])))


def test_the_same_number_elsewhere_is_another_cell(tmp_path):
    frame(tmp_path, "01", "000", plane(LEFT), plane((1, *LONE[1:])), plane(LONE))
    np.testing.assert_array_equal(only(tmp_path), plane((1, *LEFT[1:]), (255, *LONE[1:])))


def test_a_frame_without_any_outline_shows_what_is_known(tmp_path):
    frame(tmp_path, "01", "000", plane(), plane(LONE), plane(LONE))
    sample = read(tmp_path, split="all").train[0]
    np.testing.assert_array_equal(sample.label, plane((255, *LONE[1:])))
    assert not sample.instances.any()


def test_a_marker_that_touches_the_outline_next_door_is_still_without_one(tmp_path):
    beside = (2, 8, 14, 4, 4)  # one column of four on LEFT, the rest beyond it
    frame(tmp_path, "01", "000", plane(LEFT), plane((1, 6, 7, 3, 3), beside), plane((5, 4, 15, 12, 9)))
    label = only(tmp_path)
    assert (label[4:16, 5:15] == 1).all()
    assert (label[4:16, 15:24] == 255).all()
    assert (label[:, 24:] == 0).all()


def slow_ignored(segmentation, markers, silver, radius):
    """Pixel by pixel, from the definition."""
    ignored = np.zeros(markers.shape, bool)
    for cell in set(markers.ravel().tolist()) - {0}:
        marker = np.argwhere(markers == cell).tolist()
        if 2 * sum(segmentation[row, column] > 0 for row, column in marker) > len(marker):
            continue
        objects = [int(silver[row, column]) for row, column in marker if silver[row, column]]
        chosen = max(sorted(set(objects)), key=objects.count, default=None)
        for row, column in np.ndindex(markers.shape):
            near = min((row - r) ** 2 + (column - c) ** 2 for r, c in marker) <= (0 if objects else radius**2)
            ignored[row, column] |= near or silver[row, column] == chosen
    return ignored & (segmentation == 0)


PLANES = arrays(np.int32, (5, 7), elements=st.integers(0, 3), fill=st.just(0))


@given(PLANES, PLANES, PLANES, st.integers(1, 3))
def test_ignored_pixels_follow_the_definition(segmentation, markers, silver, radius):
    with mock.patch.object(celltracking, "MARKER_RADIUS", radius):
        found = ignored_pixels(segmentation, markers, silver)
    np.testing.assert_array_equal(found, slow_ignored(segmentation, markers, silver, radius))


def test_without_markers_nothing_is_ignored_and_that_is_said_once(tmp_path, caplog):
    for number in ("000", "001"):
        frame(tmp_path, "01", number, plane(LEFT), silver=plane(LONE))
        frame(tmp_path, "02", number, plane(LEFT), plane(LEFT, LONE), silver=plane(LONE))
    with caplog.at_level(logging.WARNING):
        data = read(tmp_path)
    assert [IGNORE_LABEL in sample.label for sample in (*data.train, *data.val, *data.test)] == [False] * 2 + [True] * 2
    (record,) = caplog.records
    assert record.name == "unet_exp.data.sets.celltracking"
    assert record.getMessage().startswith(f"{tmp_path / '01_GT' / 'TRA'}: no such folder, so cells that SEG lacks")


@pytest.mark.parametrize(("first", "val"), [(2, 1), (4, 1), (5, 1), (9, 1), (10, 2), (15, 3)])
def test_held_out_and_all(tmp_path, first, val):
    root = full(tmp_path, first=first, second=2)
    data = read(root)
    every = [f"01_t{number:03d}" for number in range(first)]
    assert (names(data.train), names(data.val)) == (every[:-val], every[-val:])
    assert names(data.test) == ["02_t000", "02_t001"]
    data = read(root, split="all")
    assert (names(data.train), names(data.val), names(data.test)) == ([*every, "02_t000", "02_t001"], every[-val:], [])


FIRST, SECOND = ([f"{sequence}_t{number:03d}" for number in HELA[sequence]] for sequence in ("01", "02"))


@pytest.mark.parametrize(
    ("name", "split", "val"),
    [
        ("dic_hela", "held_out", "01_t054"),
        ("dic_hela", "all", "01_t054"),
        ("dic_hela", "held_out_v1", "01_t067"),
        ("dic_hela", "all_v1", "01_t067"),
        ("phc_u373", "held_out", "01_t067"),
        ("phc_u373", "all", "01_t067"),
    ],
)
def test_no_frame_that_is_hardly_outlined_chooses_the_best_epoch_of_hela(tmp_path, name, split, val):
    data = read(hela(tmp_path), name, split=split)
    assert names(data.val) == [val]
    whole = split in ("all", "all_v1")
    assert names(data.train) == [one for one in (*FIRST, *SECOND) if whole or (one in FIRST and one != val)]
    assert names(data.test) == ([] if whole else SECOND)


@pytest.mark.parametrize(
    ("outlined", "val"),
    [
        ([2, 2, 2, 2], ["01_t003"]),
        ([2, 2, 2, 1], ["01_t003"]),  # a half is enough
        ([2, 2, 2, 0], ["01_t002"]),
        ([0, 2, 0, 0], ["01_t001"]),
        ([0, 0, 0, 0], ["01_t003"]),  # none is better than another
        ([2, 0, *[2] * 9, 0], ["01_t009", "01_t010"]),
    ],
)
def test_the_last_fifth_of_the_frames_that_are_outlined_validates(tmp_path, outlined, val):
    cells = (LEFT, (2, *LONE[1:]))
    for number, count in enumerate(outlined):
        frame(tmp_path, "01", f"{number:03d}", plane(*cells[:count]), plane(*cells))
    frame(tmp_path, "02", "000", plane(LEFT), plane(LEFT))
    data = read(tmp_path, "dic_hela")
    assert names(data.val) == val
    assert sorted([*names(data.train), *val]) == [f"01_t{number:03d}" for number in range(len(outlined))]


def test_frames_without_markers_are_taken_for_outlined(tmp_path):
    root = hela(tmp_path)
    for place in ("01", "02"):
        shutil.rmtree(root / f"{place}_GT" / "TRA")
    assert names(read(root, "dic_hela").val) == ["01_t067"]
    write(root / "01_GT/TRA/man_track067.tif", plane())
    for number in [*HELA["01"]][:-1]:
        write(root / f"01_GT/TRA/man_track{number:03d}.tif", plane(LEFT))
    assert names(read(root, "dic_hela").val) == ["01_t067"], "nothing is marked, so nothing lacks its outline"


def test_the_earlier_split_is_of_hela_alone():
    assert from_config("data=dic_hela").split == "held_out"
    assert from_config("data=dic_hela", "data.split=held_out_v1").split == "held_out_v1"
    with pytest.raises(ConfigError, match=r"data\.split='held_out_v1': should be 'held_out' or 'all'"):
        from_config("data=phc_u373", "data.split=held_out_v1")
    with pytest.raises(ConfigError, match=r"data\.split=all_v1 trains on every image and has no folds"):
        from_config("data=dic_hela", "data.split=all_v1", "data.folds=3")
    with pytest.raises(ConfigError, match=r"data\.split_version=1: should be 2"):
        from_config("data=dic_hela", "data.split_version=1")


@pytest.mark.parametrize(
    ("name", "then", "now"),
    [
        ("dic_hela", "held_out", "held_out_v1"),
        ("dic_hela", "all", "all_v1"),
        ("phc_u373", "held_out", "held_out"),
        ("isbi2012", "all", "all"),
    ],
)
def test_the_split_of_an_earlier_run_keeps_its_meaning(name, then, now):
    values = compose_train([f"data={name}", f"data.split={then}"])
    values["data"].pop("split_version", None)
    earlier = parse(values)
    assert earlier.data.split == now
    assert parse(earlier.model_dump()) == earlier
    assert parse(compose_train([f"data={name}", f"data.split={now}"])) == earlier, "the same as typed today"


def test_one_sequence(tmp_path):
    root = full(tmp_path, first=4, second=0)
    message = failure(root, kind=ConfigError)
    assert "no annotated frame of sequence 02: set data.folds (3 or more), or data.split=all" in message
    assert names(read(root, folds=4).test) == ["01_t000"]
    assert names(read(root, split="all").val) == ["01_t003"]


def test_splits_that_the_frames_do_not_make(tmp_path):
    root = full(tmp_path / "a", first=1, second=2)
    assert "needs two annotated frames of sequence 01" in failure(root, kind=ConfigError)
    assert "data.folds=4 is more than the 3" in failure(root, kind=ConfigError, folds=4)
    assert "data.fold=1 needs data.folds" in failure(root, kind=ConfigError, fold=1)
    assert "data.folds at 0" in failure(root, kind=ConfigError, split="all", folds=3)
    assert "of sequence 01: set" in failure(full(tmp_path / "b", first=0), kind=ConfigError)


SEG, TRA, SILVER = "01_GT/SEG/man_seg001.tif", "01_GT/TRA/man_track001.tif", "01_ST/SEG/man_seg001.tif"
SMALLER = plane(shape=(ROWS, 90))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: (r / "01/t001.tif").unlink(), f"{SEG}: its image "),
        (lambda r: (r / TRA).unlink(), f"{TRA}: there is no such file"),
        (lambda r: write(r / SEG, SMALLER), f"{SEG}: is 90 x 24 pixels and its image is 130 x 24"),
        (lambda r: write(r / TRA, SMALLER), f"{TRA}: is 90 x 24 pixels and its image is 130 x 24"),
        (lambda r: write(r / SILVER, SMALLER), f"{SILVER}: is 90 x 24 pixels and its image is 130 x 24"),
        (lambda r: write(r / SEG, plane(dtype=np.float32) + 0.5), f"{SEG}: is not one plane of whole numbers"),
        (lambda r: write(r / SEG, plane((-1, 0, 0, 1, 1), dtype=np.int16)), f"{SEG}: is not one plane of whole"),
        (lambda r: write(r / "01/t001.tif", plane(dtype=np.float32)), "t001.tif: is not a grey image of 8 or 16 bits"),
        (lambda r: tifffile.imwrite(r / SEG, np.zeros((2, ROWS, COLUMNS), np.uint16)), f"{SEG}: has 2 pages"),
        (lambda r: tifffile.imwrite(r / SEG, np.zeros((ROWS, COLUMNS, 3), np.uint8)), f"{SEG}: is not one plane"),
        (lambda r: (r / SEG).rename(r / "01_GT/SEG/man_seg_001_004.tif"), "man_seg_001_004.tif: is not named as man_"),
        (lambda r: [p.unlink() for p in r.glob("0?_GT/SEG/*")], "01_GT/SEG and 02_GT/SEG hold no man_seg000.tif"),
    ],
)
def test_files_that_do_not_fit(tmp_path, change, words):
    root = full(tmp_path / "d")
    change(root)
    message = failure(root)
    assert message.startswith(str(root))
    assert words in message


def test_no_data(tmp_path):
    assert "there are no data; check the path" in failure(tmp_path / "none")
    (tmp_path / "x").mkdir()
    assert "data.download=true" in failure(tmp_path / "x")
    (tmp_path / "x" / "thesis.tex").touch()
    assert "x: is not a folder with 01, 01_GT, 02 and 02_GT" in failure(tmp_path / "x", download=True)
    assert "is not a folder with" in failure(tmp_path / "x" / "thesis.tex")


def archive_of(root):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for path in sorted(root.rglob("*.tif")):
            archive.write(path, f"PhC-C2DH-U373/{path.relative_to(root)}")
    return data.getvalue()


def from_config(*words):
    return parse(compose_train([*TINY_STACK, *words])).data


def from_words(*words):
    return load_data(from_config(*words))


def test_download(tmp_path, monkeypatch, capfd):
    source = full(tmp_path / "source")
    with serving() as server:
        server.files["/PhC-C2DH-U373.zip"] = archive_of(source)
        monkeypatch.setenv(celltracking.CHALLENGE_URL_VARIABLE, server.url + "/")
        words = ["data=phc_u373", f"data.root={tmp_path / 'data' / 'u373'}", "data.download=true"]
        with pytest.raises(DataError, match=r"there are no data; check the path, .* or add data.download=true"):
            from_words(*words[:2])
        with pytest.raises(DataError, match=r"PhC-C2DH-U373\.zip: what arrived is not the published archive \(sha256"):
            from_words(*words)
        assert [path.name for path in tmp_path.iterdir()] == ["source"]
        digest = hashlib.sha256(server.files["/PhC-C2DH-U373.zip"]).hexdigest()
        monkeypatch.setitem(celltracking.ARCHIVE_CHECKSUMS, "phc_u373", digest)
        for _ in range(2):
            assert fingerprint(from_words(*words)) == fingerprint(read(source))
    assert server.asked == ["/PhC-C2DH-U373.zip"] * 2
    assert "cite Maska et al., Bioinformatics 2014" in capfd.readouterr().err


def test_a_server_without_the_archive(tmp_path, monkeypatch):
    with serving() as server:
        monkeypatch.setenv(celltracking.CHALLENGE_URL_VARIABLE, server.url)
        server.answer["/DIC-C2DH-HeLa.zip"] = lambda handler: not handler.send(b"x", 1, 404)
        with pytest.raises(DataError, match=r"404 Not Found, so the DIC-C2DH-HeLa download was .* 02_GT of"):
            read(tmp_path / "d", "dic_hela", download=True)


def test_training(tmp_path, train):
    root = tmp_path / "cells"
    for sequence, number in (("01", "000"), ("01", "001"), ("02", "000")):
        frame(root, sequence, number, plane(LEFT), plane(LEFT, LONE), plane(LONE))
    words = ("model=same", "loss=cross_entropy", "data=phc_u373", f"data.root={root}", "data.tile=32")
    folder = train(*words, "data.download=false", base=TINY_STACK)
    found = summary(folder)
    assert found["status"] == "finished"
    assert found["split"]["test"] == ["02_t000"]
    assert found["metrics"]["test/iou/cell"] is not None
