"""The size of a pixel is read where a file declares it, and used where all images of a data set agree."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from unet_exp.compose import compose_train
from unet_exp.config import parse
from unet_exp.data import load_data
from unet_exp.io.images import open_images, read_pixel_size
from unet_exp.io.scene import Reading
from unet_exp.metrics.surfaces import Scale

PIXELS = np.arange(24, dtype=np.uint8).reshape(4, 6)
GEO = [(33550, "d", 3, (0.5, 0.25, 0.0)), (33922, "d", 6, (0.0, 0.0, 0.0, 1000.0, 2000.0, 0.0))]
PROJECTED, IN_DEGREES = (1, 1, 0, 1, 3076, 0, 1, 9001), (1, 1, 0, 1, 2054, 0, 1, 9102)


def describe(path: Path, **tags: Any) -> str | None:
    tifffile.imwrite(path, PIXELS, **tags)
    found = read_pixel_size(path)
    return None if found is None else found.describe()


def geo(keys: tuple[int, ...]) -> dict[str, Any]:
    return {"extratags": [(*tag, True) for tag in (*GEO, (34735, "H", len(keys), keys))]}


@pytest.mark.parametrize(
    ("tags", "size"),
    [
        ({"resolution": (50000, 40000), "resolutionunit": "CENTIMETER"}, "0.25 x 0.2 µm"),
        ({"resolution": (25400, 25400), "resolutionunit": "INCH"}, "1 µm"),
        ({"resolution": (72, 72), "resolutionunit": "INCH"}, None),
        ({"resolution": (96, 96), "resolutionunit": "INCH"}, None),
        ({"resolution": (118, 118), "resolutionunit": "CENTIMETER"}, None),
        ({"resolution": (50000, 50000), "resolutionunit": "NONE"}, None),
        ({}, None),
        ({"resolution": (1 / 0.65, 1 / 0.65), "metadata": {"unit": "um"}, "imagej": True}, "0.65 µm"),
        ({"resolution": (0.25, 0.25), "metadata": {"unit": "nm"}, "imagej": True}, "4 nm"),
        ({"resolution": (72, 72), "metadata": {"unit": "inch"}, "imagej": True}, None),
        ({"resolution": (2, 2), "metadata": {"unit": "pixel"}, "imagej": True}, None),
        ({"resolution": (50000, 40000), "resolutionunit": 3, "extratags": [(274, "H", 1, 6, True)]}, "0.2 x 0.25 µm"),
        (geo(PROJECTED), "0.25 x 0.5 m"),
        (geo(IN_DEGREES), None),
        ({**geo(IN_DEGREES), "resolution": (50000, 40000), "resolutionunit": "CENTIMETER"}, None),
    ],
)
def test_a_tiff(tmp_path: Path, tags: dict[str, Any], size: str | None) -> None:
    assert describe(tmp_path / "a.tif", **tags) == size


@pytest.mark.parametrize(
    ("told", "size"),
    [
        ({"PhysicalSizeX": 0.2, "PhysicalSizeY": 0.3}, "0.3 x 0.2 µm"),
        ({f"PhysicalSize{axis}": 4.0 for axis in "XY"} | {f"PhysicalSize{axis}Unit": "nm" for axis in "XY"}, "4 nm"),
        ({"PhysicalSizeX": 1, "PhysicalSizeY": 1, "PhysicalSizeXUnit": "nm"}, None),
        ({f"PhysicalSize{axis}": 1 for axis in "XY"} | {f"PhysicalSize{axis}Unit": "pixel" for axis in "XY"}, None),
        ({}, None),
    ],
)
def test_ome_xml(tmp_path: Path, told: dict[str, Any], size: str | None) -> None:
    assert describe(tmp_path / "a.ome.tif", metadata={"axes": "YX", **told}) == size


def test_pages_of_several_sizes_have_none(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for resolution in (50000, 40000):
            writer.write(PIXELS, resolution=(resolution,) * 2, resolutionunit="CENTIMETER", metadata=None)
    assert read_pixel_size(tmp_path / "a.tif") is None


@pytest.mark.parametrize(
    ("unit", "axis", "size"),
    [("mm", "z", "0.5 x 0.4 mm"), ("micron", "z", "0.5 x 0.4 µm"), ("mm", "x", "3 x 0.5 mm"), ("unknown", "z", None)],
)
def test_nifti_in_the_axes_of_its_slices(tmp_path: Path, unit: str, axis: Any, size: str | None) -> None:
    nibabel = pytest.importorskip("nibabel")
    volume = nibabel.Nifti1Image(np.zeros((6, 5, 4), np.uint8), np.diag([0.4, 0.5, 3, 1]))
    volume.header.set_xyzt_units(unit)
    nibabel.save(volume, tmp_path / "a.nii")
    with open_images(tmp_path / "a.nii", Reading(slice_axis=axis)) as images:
        found = images.pixel_size
        assert (None if found is None else found.describe()) == size


@pytest.mark.parametrize(
    ("tags", "size"),
    [
        ({"PixelSpacing": [0.7, 0.6], "ImagerPixelSpacing": [1, 1]}, "0.7 x 0.6 mm"),
        ({"ImagerPixelSpacing": [0.1, 0.1]}, "0.1 mm"),
        ({}, None),
    ],
)
def test_dicom(tmp_path: Path, tags: dict[str, Any], size: str | None) -> None:
    pydicom = pytest.importorskip("pydicom")
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    data.Rows, data.Columns = PIXELS.shape
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelData = 1, "MONOCHROME2", PIXELS.tobytes()
    for word, value in tags.items():
        setattr(data, word, value)
    data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    found = read_pixel_size(tmp_path / "a.dcm")
    assert (None if found is None else found.describe()) == size


def test_ome_zarr_in_full_resolution(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=2)
    group.create_array("0", shape=(2, 4, 6), chunks=(2, 4, 6), dtype="uint8")
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    scale = [{"type": "scale", "scale": [2.0, 0.4, 0.3]}]
    datasets = [{"path": "0", "coordinateTransformations": scale}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    found = read_pixel_size(tmp_path / "a.zarr")
    assert found is not None
    assert found.describe() == "0.4 x 0.3 µm"


def write_folder(folder: Path, *sizes: float | None) -> None:
    for number, size in enumerate(sizes):
        told = {} if size is None else {"resolution": (1 / size, 1 / size), "metadata": {"unit": "um"}}
        for kind in ("images", "masks"):
            (folder / kind).mkdir(exist_ok=True)
        pixels = np.full((32, 32), number, np.uint8)
        tifffile.imwrite(folder / "images" / f"{number}.tif", pixels, imagej=True, **told)
        pixels = np.arange(32 * 32, dtype=np.uint8).reshape(32, 32) // 128 * 255
        tifffile.imwrite(folder / "masks" / f"{number}.tif", pixels)


def load(folder: Path, *words: str) -> Scale:
    where = [f"data.images={folder}/images", f"data.masks={folder}/masks"]
    return load_data(parse(compose_train(["model=same", "data=folder", *where, "data.tile=32", *words])).data).scale


def test_images_that_agree_are_measured_in_their_unit(tmp_path: Path) -> None:
    write_folder(tmp_path, 0.65, 0.65, 0.65)
    for _ in range(2):  # by the files, then by the index
        found = load(tmp_path)
        assert found == Scale((0.65, 0.65), 0.65, "µm (a pixel is 0.65 µm, say its files)")
    assert load(tmp_path, "data.pixel_size=pixels") == Scale()
    assert load(tmp_path, "data.pixel_size=2") == Scale((2, 2), 2, "the unit of data.pixel_size=2")


@pytest.mark.parametrize(
    ("sizes", "note"),
    [
        ((0.5, 0.65, 0.65), "a pixel of 0.5 µm, 0.65 µm; data.pixel_size"),
        ((0.65, 0.65, None), "a pixel of 0.65 µm or none; data.pixel_size"),
        ((None, None, None), ""),
    ],
)
def test_images_that_differ_are_measured_in_pixels(tmp_path: Path, sizes: tuple[float | None, ...], note: str) -> None:
    write_folder(tmp_path, *sizes)
    found = load(tmp_path)
    assert found[:3] == Scale()[:3]
    assert note in found.note
    assert bool(note) == bool(found.note)
