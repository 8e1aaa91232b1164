"""Volumes and arrays: NIfTI, HDF5, Zarr and NumPy archives, whole and by window, against the libraries themselves."""

import gzip
import json
import sys
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from opened import read_every_way, refuse

from unet_exp.io.images import open_images, read_labels, read_pages, stored_pages
from unet_exp.io.scene import Reading
from unet_exp.io.volumes import fit_axes, guess_axes

RNG = np.random.default_rng(2)
VOLUME = RNG.integers(0, 60000, (5, 9, 7), np.uint16)
LABEL = Reading(label=True)


def stack(path: Path, reading: Reading | None = None) -> np.ndarray:
    """(slices, H, W, C) of a file, read in every way."""
    return np.stack([scene.pixels for scene in read_every_way(path, reading)])


def write_nifti(path: Path, values: np.ndarray, kind: type = nibabel.Nifti1Image, scale=None) -> np.ndarray:
    """Writes values (i, j, k, ...), and returns what nibabel reads: (k, j, i, ...)."""
    image = kind(values, np.diag([1, 2, 3, 1.0]))
    if scale is not None:
        image.header.set_slope_inter(*scale)
    nibabel.save(image, path)
    found = np.asanyarray(nibabel.load(path).dataobj)
    return np.moveaxis(found, [0, 1, 2], [2, 1, 0]) if found.ndim > 2 else found.T


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.hdr"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", ">u2", "i2", "i4", "u4", "f4", ">f8"])
def test_nifti_of_every_type(tmp_path, name, dtype):
    low = -99 if np.dtype(dtype).kind in "if" else 0
    values = RNG.integers(low, 120, (7, 9, 5)).astype(dtype)
    kind = nibabel.Nifti1Pair if name.endswith("hdr") else nibabel.Nifti1Image
    if dtype[0] == ">":  # the header gives the order
        header = kind.header_class(endianness=">")
        header.set_data_dtype(dtype)
        image = kind(values, np.eye(4), header)
        nibabel.save(image, tmp_path / name)
        wanted = values.T
    else:
        wanted = write_nifti(tmp_path / name, values, kind)
    found = stack(tmp_path / name)
    assert found.dtype == (dtype if dtype in ("u1", "u2") else "u2" if dtype == ">u2" else "f4")
    np.testing.assert_array_equal(found[..., 0], wanted)
    np.testing.assert_array_equal(stack(tmp_path / name, LABEL)[..., 0], wanted)


@pytest.mark.parametrize("scale", [(0.37, -5.25), (1, -1024), (2, 0), (1, 0)])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_nifti_is_scaled(tmp_path, scale, kind):
    values = RNG.integers(0, 4096, (7, 9, 5), np.int16)
    wanted = write_nifti(tmp_path / "a.nii", values, kind, scale)
    found = stack(tmp_path / "a.nii")
    np.testing.assert_array_equal(found[..., 0], wanted.astype(np.float32))
    labels = stack(tmp_path / "a.nii", LABEL)
    np.testing.assert_array_equal(labels[..., 0], wanted.astype(labels.dtype))
    assert labels.dtype.kind == ("f" if scale[0] < 1 else labels.dtype.kind)


def test_nifti_of_large_labels_is_exact(tmp_path):
    values = RNG.integers(2**24, 2**31 - 1, (7, 9, 5), np.int32)
    write_nifti(tmp_path / "a.nii", values)
    np.testing.assert_array_equal(stack(tmp_path / "a.nii", LABEL)[..., 0], values.T)
    assert "do not fit into floats exactly" in refuse(tmp_path / "a.nii")


def test_nifti_of_two_and_four_axes(tmp_path):
    flat = write_nifti(tmp_path / "a.nii", RNG.random((7, 9)).astype("f4"))
    np.testing.assert_array_equal(stack(tmp_path / "a.nii")[0, ..., 0], flat)
    deep = write_nifti(tmp_path / "b.nii", RNG.random((7, 9, 5, 3)).astype("f4"))
    np.testing.assert_array_equal(stack(tmp_path / "b.nii"), deep)
    write_nifti(tmp_path / "c.nii", RNG.random((7, 9, 5, 1, 2)).astype("f4"))
    assert stack(tmp_path / "c.nii").shape == (5, 9, 7, 2)
    write_nifti(tmp_path / "d.nii", RNG.random((7, 9, 5, 2, 2)).astype("f4"))
    assert "at most i, j, k and channels" in refuse(tmp_path / "d.nii")
    write_nifti(tmp_path / "e.nii", RNG.random((7, 9, 5, 70)).astype("f4"))
    assert "has 70 channels, 64 are most (its shape is 7 x 9 x 5 x 70)" in refuse(tmp_path / "e.nii")


def test_nifti_of_colours(tmp_path):
    colours = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    values = RNG.integers(0, 256, (7, 9, 5, 3), np.uint8)
    nibabel.save(nibabel.Nifti1Image(values.copy().view(colours)[..., 0], np.eye(4)), tmp_path / "a.nii")
    np.testing.assert_array_equal(stack(tmp_path / "a.nii"), np.moveaxis(values, [0, 1, 2], [2, 1, 0]))


@pytest.mark.parametrize("axis", "zyx")
def test_slices_lie_along_the_wanted_axis(tmp_path, axis):
    write_nifti(tmp_path / "a.nii", np.ascontiguousarray(VOLUME.T))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a"] = VOLUME
    np.save(tmp_path / "a.npy", VOLUME[..., None])
    place = "zyx".index(axis)
    for name in ("a.nii", "a.h5", "a.npy"):
        found = stack(tmp_path / name, Reading(slice_axis=axis))
        np.testing.assert_array_equal(found[..., 0], np.moveaxis(VOLUME, place, 0))


def test_nan_of_a_volume_is_without_data(tmp_path):
    values = RNG.random((7, 9, 5)).astype("f4")
    values[2, 3, 4] = np.nan
    write_nifti(tmp_path / "a.nii", values)
    scenes = read_every_way(tmp_path / "a.nii", Reading("declared"))
    assert scenes[0].valid is None
    assert np.argwhere(~scenes[4].valid).tolist() == [[3, 2]]
    assert scenes[4].pixels[3, 2, 0] == 0
    assert "not finite" in refuse(tmp_path / "a.nii")


LETTERS = {"t": 2, "c": 3, "z": 5, "y": 9, "x": 7}


@given(axes=st.permutations("tczyx"), number=st.integers(2, 5), axis=st.sampled_from("zyx"))
def test_arrays_of_any_axes(tmp_path_factory, axes, number, axis):
    some = sorted(axes, key="yxzct".index)[:number] if number < 4 else axes
    axes = "".join(letter for letter in axes if letter in some)
    values = RNG.integers(0, 255, [LETTERS[letter] for letter in axes], np.uint8)
    path = tmp_path_factory.mktemp("axes") / "a.npy"
    np.save(path, values)
    found = stack(path, Reading(axes=axes, slice_axis=axis))
    sliced = axis if "z" in axes else "z"  # without z there are no slices but those of times
    absent = [letter for letter in "tczyx" if letter not in axes]
    full = values.reshape([1] * len(absent) + list(values.shape))
    order = ["t", sliced, *(letter for letter in "zyx" if letter != sliced), "c"]
    wanted = full.transpose(["".join([*absent, *axes]).index(letter) for letter in order])
    np.testing.assert_array_equal(found, wanted.reshape(-1, *wanted.shape[2:]))


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((9, 7), "yx"),
        ((5, 9, 7), "zyx"),
        ((9, 7, 4), "yxc"),
        ((9, 7, 5), "zyx"),
        ((5, 9, 7, 3), "zyxc"),
        ((3, 5, 9, 7), "czyx"),
        ((3, 5, 9, 4), "zyxc"),
    ],
)
def test_axes_by_shape(tmp_path, shape, axes):
    assert guess_axes(tmp_path, shape) == axes
    values = RNG.integers(0, 255, shape, np.uint8)
    np.savez_compressed(tmp_path / "a.npz", values)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a"] = values
    zarr.save_array(tmp_path / "a.zarr", values)
    found = [stack(tmp_path / name) for name in ("a.npz", "a.h5", "a.zarr")]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    assert found[0].size == values.size


def test_axes_that_are_not_known(tmp_path):
    for shape, words in [
        ((5, 6, 9, 7), "data.axes=czyx"),
        ((6, 3, 9, 7), "data.axes=zcyx"),
        ((2, 2, 5, 9, 7), "data.axes=tczyx"),
        ((3,), "1 axes"),
    ]:
        zarr.save_array(tmp_path / f"{shape}.zarr", np.ones(shape, np.uint8))
        assert words in refuse(tmp_path / f"{shape}.zarr")
    assert fit_axes(tmp_path, (5, 9, 7), "czyx") == "zyx"  # a mask
    zarr.save_array(tmp_path / "a.zarr", np.ones((9, 7), np.uint8))
    assert "data.axes=tczyx names 5" in refuse(tmp_path / "a.zarr", Reading(axes="tczyx"))
    np.save(tmp_path / "a.npy", np.ones((70, 9, 70), np.uint8))
    assert "say what its axes are, such as data.axes=zyx" in refuse(tmp_path / "a.npy")
    assert stack(tmp_path / "a.npy", Reading(axes="zyx")).shape == (70, 9, 70, 1)


@pytest.mark.parametrize("dtype", ["?", "i1", "i2", "u4", "i8", "f2", "f8", ">u2"])
@pytest.mark.parametrize("kind", ["h5", "zarr", "npz"])
def test_values_of_every_type(tmp_path, kind, dtype):
    values = RNG.integers(0, 2 if dtype == "?" else 120, (5, 9, 7)).astype(dtype)
    path = tmp_path / f"a.{kind}"
    if kind == "h5":
        with h5py.File(path, "w") as file:
            file.create_dataset("a", data=values, chunks=(2, 4, 4), compression="gzip")
    elif kind == "zarr":
        zarr.save_array(path, values)
    else:
        np.savez(path, a=values)
    found = stack(path)
    narrow = {"?": "u1", ">u2": "u2"}.get(dtype) or ("f4" if kind != "npz" or dtype[0] == "f" else "u2")
    assert found.dtype == narrow
    np.testing.assert_array_equal(found[..., 0], values.astype("f8") * (255 if dtype == "?" else 1))
    np.testing.assert_array_equal(stack(path, LABEL), found)


def test_signed_values_have_one_type_in_all_slices(tmp_path):
    values = np.zeros((3, 9, 7), np.int16)
    values[1] = -1024
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a"] = values
    assert {page.dtype for page in read_pages(tmp_path / "a.h5")} == {np.dtype(np.float32)}


def test_arrays_by_name(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw/volume"] = VOLUME
        file["raw/spacing"] = [1.0, 2.0]
        file["link"] = h5py.SoftLink("/raw/volume")
        file["raw/names"] = ["a", "b"]
    np.testing.assert_array_equal(stack(tmp_path / "a.h5")[..., 0], VOLUME)
    for inner in ("raw/volume", "raw", "link"):
        np.testing.assert_array_equal(stack(tmp_path / "a.h5" / inner)[..., 0], VOLUME)
    assert "holds nothing by the name other, but raw/volume" in refuse(tmp_path / "a.h5/other")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["label"] = VOLUME.astype(np.uint8)
    said = refuse(tmp_path / "a.h5")
    assert "holds 2 arrays: label (5 x 9 x 7, uint8), raw/volume (5 x 9 x 7, uint16); type the name of" in said
    assert "behind that of the file or the glob, such as '*.h5/label'" in said
    np.savez(tmp_path / "a.npz", image=VOLUME, mask=VOLUME, note=np.array("text"))
    assert "holds 2 arrays: image (5 x 9 x 7, uint16), mask" in refuse(tmp_path / "a.npz")
    np.testing.assert_array_equal(stack(tmp_path / "a.npz/mask")[..., 0], VOLUME)
    assert "holds nothing by the name x, but image, mask, note" in refuse(tmp_path / "a.npz/x")
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    group.create_array("b/raw", data=VOLUME)
    group.create_array("c", data=VOLUME)
    said = refuse(tmp_path / "a.zarr")
    assert "c (5 x 9 x 7, uint16), b/raw (5 x 9 x 7, uint16); type the name of the one to read" in said
    for inner in ("b", "b/raw", "c"):
        np.testing.assert_array_equal(stack(tmp_path / "a.zarr" / inner)[..., 0], VOLUME)


def test_axes_of_ilastik(tmp_path):
    tags = {"axes": [{"key": key, "typeFlags": 2} for key in "xyzc"]}
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["exported_data"] = VOLUME.T[..., None]
        file["exported_data"].attrs["axistags"] = json.dumps(tags)
    np.testing.assert_array_equal(stack(tmp_path / "a.h5", Reading(axes="tczyx"))[..., 0], VOLUME)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("packed", [{"compressors": None}, {}, {"shards": (4, 8, 8)}])
def test_zarr_of_both_versions(tmp_path, version, packed):
    if version == 2 and "shards" in packed:
        packed = {"compressors": zarr.codecs.GzipCodec()} if version == 3 else {}
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=VOLUME.shape, chunks=(2, 4, 4), dtype="u2", zarr_format=version, **packed
    )
    array[:] = VOLUME
    np.testing.assert_array_equal(stack(tmp_path / "a.zarr")[..., 0], VOLUME)


def write_ome(path: Path, version: int, values: np.ndarray, axes: str) -> None:
    group = zarr.open_group(path, mode="w", zarr_format=version)
    for level in range(2):
        group.create_array(str(level), data=np.ascontiguousarray(values[..., :: 2**level, :: 2**level]))
    told = [{"name": axis, "type": "space"} for axis in axes]
    images = [{"axes": told, "datasets": [{"path": "0"}, {"path": "1"}]}]
    group.attrs.update({"multiscales": images} if version == 2 else {"ome": {"version": "0.5", "multiscales": images}})


@pytest.mark.parametrize("version", [2, 3])
def test_ome_zarr(tmp_path, version):
    values = RNG.integers(0, 9999, (2, 3, 5, 9, 7), np.uint16)
    write_ome(tmp_path / "a.zarr", version, values, "tczyx")
    write_ome(tmp_path / "a.zarr/labels/nuclei", version, values[:, 0], "tzyx")
    found = stack(tmp_path / "a.zarr", Reading(axes="zyx"))  # its own axes count
    np.testing.assert_array_equal(found, np.moveaxis(values, 1, -1).reshape(10, 9, 7, 3))
    np.testing.assert_array_equal(stack(tmp_path / "a.zarr/0", Reading(axes="tczyx")), found)
    label = stack(tmp_path / "a.zarr/labels/nuclei", LABEL)
    np.testing.assert_array_equal(label[..., 0], values[:, 0].reshape(10, 9, 7))
    assert stack(tmp_path / "a.zarr/1", Reading(axes="tczyx")).shape == (10, 5, 4, 3)
    write_ome(tmp_path / "b.zarr/0", version, values[0], "czyx")
    zarr.open_group(tmp_path / "b.zarr", mode="a", zarr_format=version).attrs["bioformats2raw.layout"] = 3
    np.testing.assert_array_equal(stack(tmp_path / "b.zarr"), np.moveaxis(values[0], 0, -1))
    write_ome(tmp_path / "c.zarr", version, values[0], "szyx")
    assert "its axes are s, z, y, x, and those of t, c, z, y and x are read" in refuse(tmp_path / "c.zarr")


def test_headers_alone_tell_the_size(tmp_path):
    """A packed volume is not unpacked for it: what follows its header is damaged here."""
    write_nifti(tmp_path / "a.nii", np.zeros((64, 64, 64), np.uint16) + RNG.integers(0, 9, (64, 64, 64), np.uint16))
    packed = gzip.compress((tmp_path / "a.nii").read_bytes())
    (tmp_path / "b.nii.gz").write_bytes(packed[: len(packed) // 2])
    assert stored_pages(tmp_path / "b.nii.gz") == (64, 64 * 64, 64**3, 2)
    assert "missing" in refuse(tmp_path / "b.nii.gz") or "damaged" in refuse(tmp_path / "b.nii.gz")


def test_only_a_window_is_read(tmp_path):
    """A chunk that is damaged is told where it is needed, and nowhere else."""
    zarr.create_array(tmp_path / "a.zarr", data=VOLUME, chunks=(1, 9, 7))
    (tmp_path / "a.zarr/c/3/0/0").write_bytes(b"broken")
    with open_images(tmp_path / "a.zarr", Reading()) as images:
        np.testing.assert_array_equal(images.page(2).pixels[..., 0], VOLUME[2])
        with pytest.raises(Exception, match="damaged"):
            images.region(3, 0, 0, 2, 2)


def test_labels_of_a_volume(tmp_path):
    np.savez(tmp_path / "a.npz", VOLUME.astype(np.int64) * 2**20)
    np.testing.assert_array_equal(np.stack(read_labels(tmp_path / "a.npz"))[..., 0], VOLUME.astype(np.int64) * 2**20)


@pytest.mark.parametrize(
    ("module", "name", "extra"),
    [("nibabel", "a.nii", "nifti"), ("h5py", "a.h5", "hdf5"), ("zarr", "a.zarr", "zarr")],
)
def test_a_library_that_is_missing(tmp_path, monkeypatch, module, name, extra):
    if name == "a.nii":
        write_nifti(tmp_path / name, VOLUME)
    elif name == "a.h5":
        h5py.File(tmp_path / name, "w").close()
    else:
        zarr.save_array(tmp_path / name, VOLUME)
    monkeypatch.setitem(sys.modules, module, None)
    said = refuse(tmp_path / name)
    assert f"files are read with {module}, which is not installed; type pip install -e '.[{extra}]'" in said
