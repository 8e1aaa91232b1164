"""The one way in: kinds of files, paths that go on inside a container, and TIFFs by page, by slice and by window."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from opened import read_every_way, refuse
from PIL import Image

from unet_exp.io.images import open_images, read_pages, stored_pages
from unet_exp.io.kinds import KINDS, READ, SUFFIXES, is_unread
from unet_exp.io.scene import Reading
from unet_exp.io.stored import CONTAINERS, split_inner

RNG = np.random.default_rng(6)


def test_every_suffix_belongs_to_one_kind():
    plain = [suffix for kind in KINDS for suffix in kind.suffixes]
    assert len(set(plain)) == len(plain)
    assert set(plain) <= set(SUFFIXES)
    assert {".nii.gz", ".ppm.gz", ".tif.gz", ".npy.gz"} <= set(SUFFIXES)
    assert not {".h5.gz", ".zarr.gz", ".dcm.gz", ".npz.gz"} & set(SUFFIXES)
    assert set(CONTAINERS) <= set(plain)
    assert all(f" {suffix}" in READ for suffix in plain)
    assert not any(is_unread(f"a{suffix}") for suffix in SUFFIXES)
    assert all(map(is_unread, ("a.HEIC", "a.czi", "a.jp2", "a.nd2", "a.psd", "a.tar.gz")))
    assert not any(map(is_unread, ("a.txt", "a", "a.json")))


@given(
    folder=st.lists(st.sampled_from(["data", "a b", "x.y"]), max_size=2),
    container=st.sampled_from(["v.h5", "V.HDF5", "a.zarr", "b.npz"]),
    inner=st.lists(st.sampled_from(["raw", "0", "labels"]), max_size=3),
)
def test_paths_are_split_at_a_container(folder, container, inner):
    place, found = split_inner(Path("/", *folder, container, *inner))
    assert place == Path("/", *folder, container)
    assert found == "/".join(inner)
    assert split_inner(Path("/", *folder, *inner)) == (Path("/", *folder, *inner), "")


def test_a_path_inside_of_what_is_no_container(tmp_path):
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(tmp_path / "a.h5", "PNG")
    assert "holds nothing by the name raw" in refuse(tmp_path / "a.h5/raw")
    assert "no such file" in refuse(tmp_path / "b.h5/raw")
    assert stored_pages(tmp_path / "b.h5/raw") == (1, 0, 0, 1)


@pytest.mark.parametrize(
    ("axes", "options"),
    [
        ("ZCYX", {"imagej": True}),
        ("TZCYX", {"imagej": True}),
        ("ZCYX", {"ome": True}),
        ("CZYX", {"ome": True, "compression": "zlib"}),
        ("ZCYXS", {"ome": True, "photometric": "rgb"}),
        ("ZCSYX", {"ome": True, "photometric": "rgb", "planarconfig": "separate"}),
        ("ZYX", {"imagej": True, "truncate": True}),
        ("QYX", {"truncate": True}),
        ("QYX", {"truncate": True, "byteorder": ">"}),
    ],
)
def test_slices_are_read_one_by_one(tmp_path, axes, options):
    sizes = {"T": 2, "Z": 4, "C": 3, "Y": 20, "X": 16, "S": 3, "Q": 5}
    values = RNG.integers(0, 9999, [sizes[axis] for axis in axes], np.uint16)
    options = {"photometric": "minisblack", **options}
    if axes != "QYX":
        options["metadata"] = {"axes": axes}
    tifffile.imwrite(tmp_path / "a.tif", values, **options)
    for reading, behind in ((Reading(), "YXCS"), (Reading(label=True), "YXS")):
        found = np.stack([scene.pixels for scene in read_every_way(tmp_path / "a.tif", reading)])
        last = [axes.index(axis) for axis in behind if axis in axes]
        order = [place for place in range(len(axes)) if place not in last] + last
        np.testing.assert_array_equal(found, values.transpose(order).reshape(found.shape))


@pytest.mark.parametrize("orientation", [1, 6, 7])
@pytest.mark.parametrize("indices", [True, False])
def test_sizes_are_as_seen(tmp_path, orientation, indices):
    palette = RNG.integers(0, 65536, (3, 256), np.uint16)
    tags = [(274, "H", 1, orientation, True)]
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for height in (9, 14):
            values = RNG.integers(0, 256, (height, 12), np.uint8)
            file.write(values, photometric="palette", colormap=palette, extratags=tags, metadata=None)
    sizes = [scene.pixels.shape for scene in read_every_way(tmp_path / "a.tif", Reading(indices=indices))]
    assert sizes[1] == (*((12, 14) if orientation > 4 else (14, 12)), 1 if indices else 3)
    assert stored_pages(tmp_path / "a.tif", Reading(indices=indices))[2:] == (12 * (9 + 14) * sizes[0][2], 1)


def test_slices_of_a_tiff_have_one_axis(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 8, 8), np.uint8), photometric="minisblack")
    assert "data.slice_axis=y is for volumes, and the pages of a TIFF are images" in refuse(
        tmp_path / "a.tif", Reading(slice_axis="y")
    )
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((8, 8), np.uint8))
    with open_images(tmp_path / "b.tif", Reading(slice_axis="y")) as images:
        assert len(images) == 1


def test_a_page_that_is_not_there(tmp_path):
    for name in ("a.tif", "a.npy"):
        values = np.zeros((3, 8, 8, 1), np.uint8)
        np.save(tmp_path / name, values) if name == "a.npy" else tifffile.imwrite(
            tmp_path / name, values[..., 0], photometric="minisblack"
        )
        with open_images(tmp_path / name, Reading()) as images, pytest.raises(Exception, match="damaged"):
            images.page(3)


def test_errors_of_who_reads_are_their_own(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((8, 8), np.uint8))
    with pytest.raises(KeyError), open_images(tmp_path / "a.npy", Reading()):
        raise KeyError("mine")
    assert len(read_pages(tmp_path / "a.npy")) == 1


def test_a_header_that_another_thread_disturbs_is_read_again(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", np.ones((8, 8), np.uint8))
    read, disturbed = np.lib.format.read_array_header_1_0, [True, True]

    def parse(file):
        header = read(file)
        if disturbed and disturbed.pop():
            raise SystemError("AST constructor recursion depth mismatch (before=60, after=57)")
        return header

    monkeypatch.setattr(np.lib.format, "read_array_header_1_0", parse)
    (page,) = read_pages(tmp_path / "a.npy")
    assert (page == 1).all()
    assert not disturbed
