"""Volumes and containers that are cut short, damaged or hostile: one line each, and nothing runs."""

import gzip
import io
import json
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest
import zarr
from opened import read_all, refuse
from test_dicom import noise, write, write_series

from unet_exp.errors import DataError
from unet_exp.io.images import stored_pages
from unet_exp.io.scene import Reading

RNG = np.random.default_rng(4)
VOLUME = RNG.integers(0, 999, (3, 12, 10), np.uint16)


class Bomb:
    """Leaves a file where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path("ran").write_text, ("it ran",))


@pytest.fixture(autouse=True)
def _nothing_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert not Path("ran").exists()


def write_kind(folder: Path, kind: str) -> Path:
    path = folder / f"a.{kind}"
    if kind.startswith("nii"):
        nibabel.save(nibabel.Nifti1Image(VOLUME.T, np.eye(4)), path)
    elif kind == "h5":
        with h5py.File(path, "w") as file:
            file.create_dataset("a", data=VOLUME, chunks=(1, 12, 10), compression="gzip")
    elif kind == "npz":
        np.savez_compressed(path, VOLUME)
    else:
        write(path, noise(3, 12, 10))
    return path


@pytest.mark.parametrize("kind", ["nii", "nii.gz", "h5", "npz", "dcm"])
def test_cut_and_mutated_files(tmp_path, kind, capfd):
    path = write_kind(tmp_path, kind)
    whole, rng = path.read_bytes(), np.random.default_rng(5)
    wanted = np.stack([scene.pixels for scene in read_all(path, Reading())])
    for end in [*range(0, len(whole), max(1, len(whole) // 50)), len(whole) - 1]:
        path.write_bytes(whole[:end])
        try:
            found = np.stack([scene.pixels for scene in read_all(path, Reading())])
        except DataError:
            refuse(path)
        else:  # nothing but padding is gone
            assert end > len(whole) - 12
            np.testing.assert_array_equal(found, wanted)
        assert stored_pages(path).itemsize in (1, 2)
    for number in range(80):
        mutated = bytearray(whole)
        for place in rng.integers(0, min(len(whole), [360, len(whole)][number % 2]), size=2):
            mutated[place] = rng.choice([0, 1, 127, 255, rng.integers(256)])
        path.write_bytes(mutated)
        try:
            read_all(path, Reading())
        except Exception:
            refuse(path)
        stored_pages(path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("a.nii", struct.pack("<i", 348)),
        ("b.nii", struct.pack("<i", 348) + bytes(340) + b"n+1\0"),
        ("c.nii", struct.pack("<i", 540) + b"n+2\0\r\n\x1a\n"),
        ("a.hdr", struct.pack("<i", 348) + bytes(340) + b"ni1\0"),
        ("a.h5", b"\x89HDF\r\n\x1a\n"),
        ("a.npz", b"PK\x03\x04"),
        ("a.dcm", bytes(128) + b"DICM"),
        ("a.npy", b"\x93NUMPY"),
        ("b.npy", b"\x93NUMPY\x02\0\xff\xff\xff\xff"),
    ],
)
def test_noise_behind_a_right_start(tmp_path, name, start, capfd):
    for noise_bytes in (b"", bytes(600), RNG.bytes(2000)):
        (tmp_path / name).write_bytes(start + noise_bytes)
        refuse(tmp_path / name)
    assert capfd.readouterr().err == ""


def test_pickles_are_not_read(tmp_path):
    np.save("a_seg.npy", np.array({"masks": Bomb()}, object), allow_pickle=True)
    said = refuse(tmp_path / "a_seg.npy")
    assert "is a pickle (as Cellpose's _seg.npy), which could run code; in Cellpose export masks as PNG or" in said
    np.savez("a.npz", np.array([[Bomb()]], object))
    assert "is a pickle" in refuse(tmp_path / "a.npz")
    np.savez("b.npz", meta=np.array([[Bomb()]], object), image=VOLUME)  # the array beside it is read
    assert len(read_all(tmp_path / "b.npz", Reading())) == 3
    assert "is a pickle" in refuse(tmp_path / "b.npz/meta")
    (tmp_path / "c.npy").write_bytes(pickle.dumps(Bomb()))
    assert "is a pickle, which could run code, not a PNG" in refuse(tmp_path / "c.npy")


def test_zip_archives_that_are_no_arrays(tmp_path):
    with zipfile.ZipFile("a.npz", "w") as archive:
        archive.writestr("notes.txt", "nothing")
    assert "is a zip archive that holds no NumPy arrays" in refuse(tmp_path / "a.npz")


def numpy_header(shape: tuple[int, ...], descr: str = "<u2") -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"shape": shape, "fortran_order": False, "descr": descr})
    return file.getvalue()


def test_headers_that_promise_too_much(tmp_path):
    huge = (2, 2**20, 2**20)
    (tmp_path / "a.npy").write_bytes(numpy_header(huge))
    assert "1048576 x 1048576 pixels are too many" in refuse(tmp_path / "a.npy", Reading(axes="zyx"))
    (tmp_path / "a.npy.gz").write_bytes(gzip.compress(numpy_header(huge) + bytes(2**20)))
    assert "pixels are too many" in refuse(tmp_path / "a.npy.gz", Reading(axes="zyx"))
    (tmp_path / "b.npy.gz").write_bytes(gzip.compress(numpy_header((2**16, 2**10, 2**10)) + bytes(2**20)))
    assert "unpacks to more than 4 GiB" in refuse(tmp_path / "b.npy.gz", Reading(axes="zyx"))
    with zipfile.ZipFile("a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", numpy_header((2**16, 2**10, 2**10)) + bytes(2**24))
    assert "unpacks to more than 4 GiB" in refuse(tmp_path / "a.npz")
    header = nibabel.Nifti1Header()
    header.set_data_shape((32767, 32767, 32767))
    header["magic"] = b"n+1"
    (tmp_path / "a.nii").write_bytes(header.binaryblock + bytes(4))
    assert "missing" in refuse(tmp_path / "a.nii")
    with h5py.File("a.h5", "w") as file:  # of a thousand bytes
        file.create_dataset("a", (2**40, 4, 5), np.uint8, chunks=(1, 4, 5))[0] = 1
        file.create_dataset("b", (2, 2**20, 2**20), np.uint8, chunks=(1, 4, 5))[0, :4, :5] = 1
        file.create_dataset("c", (2, 2**17, 2**15), np.uint8, chunks=(1, 2**16, 2**15))
        file.create_dataset("d", (2, 9, 9), np.uint8)
    assert f"has {2**40} slices, {2**20} are most" in refuse(tmp_path / "a.h5/a")
    assert "1048576 x 1048576 pixels are too many" in refuse(tmp_path / "a.h5/b")
    assert "is stored in chunks of 2147483648 bytes" in refuse(tmp_path / "a.h5/c")
    assert "holds an array without values" in refuse(tmp_path / "a.h5/d")
    zarr.create_array("a.zarr", shape=(2**40, 4, 5), chunks=(1, 4, 5), dtype="u1")
    assert "slices" in refuse(tmp_path / "a.zarr")
    zarr.create_array("b.zarr", shape=(2, 2**17, 2**15), chunks=(1, 2**16, 2**15), dtype="u1")
    assert "is stored in chunks of 2147483648 bytes" in refuse(tmp_path / "b.zarr")


def test_hdf5_leads_to_no_other_file(tmp_path):
    with h5py.File("secret.h5", "w") as file:
        file["a"] = VOLUME
    VOLUME.tofile("raw")
    layout = h5py.VirtualLayout(VOLUME.shape, "u2")
    layout[:] = h5py.VirtualSource("secret.h5", "a", VOLUME.shape)
    inner = h5py.VirtualLayout(VOLUME.shape, "u2")
    with h5py.File("a.h5", "w") as file:
        file["link"] = h5py.ExternalLink("secret.h5", "/a")
        file["ring"] = h5py.SoftLink("/ring")
        file["nowhere"] = h5py.SoftLink("/nothing")
        file["group/self"] = h5py.SoftLink("/group")
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("outside", VOLUME.shape, "u2", external=[("raw", 0, h5py.h5f.UNLIMITED)])
        file["own"] = VOLUME
        inner[:] = h5py.VirtualSource(file["own"])
        file.create_virtual_dataset("inner", inner)
    assert "is a link to another file, secret.h5" in refuse(tmp_path / "a.h5/link")
    assert "is a link to another file, secret.h5" in refuse(tmp_path / "a.h5/link/deeper")
    assert "form a ring" in refuse(tmp_path / "a.h5/ring")
    assert "holds nothing by the name nowhere" in refuse(tmp_path / "a.h5/nowhere")
    assert "holds no array" in refuse(tmp_path / "a.h5/group/self/self")
    for name in ("virtual", "outside"):
        assert "keeps its values in other files" in refuse(tmp_path / "a.h5" / name)
    scenes = read_all(tmp_path / "a.h5/inner", Reading())
    np.testing.assert_array_equal(np.stack([scene.pixels for scene in scenes])[..., 0], VOLUME)


def test_hdf5_types_that_are_no_numbers(tmp_path):
    with h5py.File("a.h5", "w") as file:
        file["text"] = np.array([["a", "b"]], "S3")
        file["compound"] = np.zeros((3, 4), [("a", "u1"), ("b", "u2")])
        file.create_dataset("vlen", (3, 4), h5py.vlen_dtype(np.uint8))
        file.create_dataset("references", (3, 4), h5py.ref_dtype)
        file["complex"] = np.zeros((3, 4), complex)
    for name in ("text", "compound", "vlen", "references", "complex"):
        assert "and no numbers of pixels" in refuse(tmp_path / "a.h5" / name)
    assert "holds no array of numbers" in refuse(tmp_path / "a.h5")


@pytest.mark.parametrize("role", ["compressor", "filters"])
@pytest.mark.parametrize("codec", [{"id": "pickle", "protocol": 5}, {"id": "base64"}])
def test_zarr_codecs_that_are_not_known_are_refused(tmp_path, role, codec):
    array = zarr.create_array("a.zarr", shape=(12, 10), chunks=(12, 10), dtype="u2", zarr_format=2, compressors=None)
    array[:] = VOLUME[0]
    meta = json.loads(Path("a.zarr/.zarray").read_text())
    meta[role] = codec if role == "compressor" else [codec]
    Path("a.zarr/.zarray").write_text(json.dumps(meta))
    Path("a.zarr/0.0").write_bytes(pickle.dumps(Bomb()))
    said = refuse(tmp_path / "a.zarr")
    # zarr itself takes pickles for no more than objects.
    assert "is packed by base64, which is not read" in said or codec["id"] == "pickle"


ODD = [None, -1, 0, 2**70, "x", [], {}, [[]], "<O", "|O", 1.5, True]


@pytest.mark.parametrize("version", [2, 3])
def test_odd_metadata_of_zarr(tmp_path, version, capfd):
    zarr.create_array("a.zarr", data=VOLUME, chunks=(2, 8, 8), zarr_format=version)
    place = Path("a.zarr") / {2: ".zarray", 3: "zarr.json"}[version]
    whole = place.read_text()
    for key in json.loads(whole):
        for value in ODD:
            place.write_text(json.dumps({**json.loads(whole), key: value}))
            try:
                read_all(tmp_path / "a.zarr", Reading())
            except Exception:
                refuse(tmp_path / "a.zarr")
    for end in range(0, len(whole) - 2, 40):
        place.write_text(whole[:end])
        refuse(tmp_path / "a.zarr")
    place.write_text("[" * 100_000)
    refuse(tmp_path / "a.zarr")
    place.unlink()
    refuse(tmp_path / "a.zarr")
    assert capfd.readouterr().err == ""


def test_odd_attributes_of_ome_zarr(tmp_path):
    group = zarr.open_group("a.zarr", mode="w")
    group.create_array("0", data=VOLUME)
    for images in (1, "x", [1], [{}], [{"datasets": []}], [{"datasets": [{"path": "9"}]}], [{"datasets": [{}]}]):
        group.attrs["multiscales"] = images
        refuse(tmp_path / "a.zarr")
    group.attrs["multiscales"] = [{"axes": [{"name": "y"}, 5, {}], "datasets": [{"path": "0"}]}]
    refuse(tmp_path / "a.zarr")
    assert "holds nothing by the name ../b" in refuse(tmp_path / "a.zarr/../b")


def test_damaged_files_of_a_series(tmp_path):
    write_series(tmp_path / "s", noise(3, 9, 7))
    first = min((tmp_path / "s").iterdir())
    whole = first.read_bytes()
    for end in range(140, len(whole), 60):
        first.write_bytes(whole[:end])
        refuse(tmp_path / "s")
    first.write_bytes(b"")
    assert "is empty" in refuse(tmp_path / "s")
    first.rename(tmp_path / "s/a.dcm").write_bytes(bytes(999))
    assert "is no DICOM file" in refuse(tmp_path / "s")


def test_a_header_without_its_values(tmp_path):
    nibabel.save(nibabel.Nifti1Pair(VOLUME.T, np.eye(4)), tmp_path / "a.hdr")
    (tmp_path / "a.img").unlink()
    assert "is a header, and its values are not beside it as a.img" in refuse(tmp_path / "a.hdr")
    nibabel.save(nibabel.analyze.AnalyzeImage(VOLUME.T.astype("i2"), np.eye(4)), tmp_path / "b.hdr")
    assert "is an Analyze volume, not a NIfTI" in refuse(tmp_path / "b.hdr")
