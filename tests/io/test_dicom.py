"""DICOM files and series made by pydicom: read as pydicom decodes them, rescaled by hand."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from opened import read_every_way, refuse
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_color_lut, pixel_array
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    RLELossless,
    generate_uid,
)

from unet_exp.io.directions import NOWHERE
from unet_exp.io.images import open_images
from unet_exp.io.listing import list_files
from unet_exp.io.scene import Reading

RNG = np.random.default_rng(3)
LABEL = Reading(label=True)
SERIES = generate_uid()


def write(path: Path, pixels: np.ndarray, syntax: str = ExplicitVRLittleEndian, bits: int = 0, **tags: Any) -> Path:
    """Writes frames (H, W), (H, W, 3) or (N, H, W[, 3]) as a DICOM file."""
    colours = tags.get("SamplesPerPixel", 1) == 3
    frames = pixels[None] if pixels.ndim == 2 + colours else pixels
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = tags.get("SOPClassUID", CTImageStorage)
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax in (RLELossless,) else syntax
    order = {"is_implicit_VR": syntax == ImplicitVRLittleEndian, "is_little_endian": syntax != ExplicitVRBigEndian}
    data = FileDataset(path, {}, file_meta=meta, preamble=bytes(128), **order)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.SeriesInstanceUID, data.SeriesNumber, data.SeriesDescription = SERIES, 3, "thorax"
    data.NumberOfFrames, data.Rows, data.Columns = len(frames), *frames.shape[1:3]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = 8 * frames.dtype.itemsize
    data.BitsStored = bits or data.BitsAllocated
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, int(frames.dtype.kind == "i")
    if colours:
        data.PlanarConfiguration = 0
    for tag, value in tags.items():
        setattr(data, tag, value)
    raw = frames.astype(frames.dtype.newbyteorder("<" if order["is_little_endian"] else ">")).tobytes()
    data.PixelData = raw + bytes(len(raw) % 2)
    data["PixelData"].VR = "OB" if frames.dtype.itemsize == 1 else "OW"
    if syntax == RLELossless:
        data.compress(RLELossless)
    data.save_as(path, enforce_file_format=True)
    return path


def stack(path: Path, reading: Reading | None = None) -> np.ndarray:
    return np.stack([scene.pixels for scene in read_every_way(path, reading)])


def noise(*shape: int, dtype: str = "u2", low: int = 0, high: int = 4096) -> np.ndarray:
    return RNG.integers(low, high, shape).astype(dtype)


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless], ids=str
)
@pytest.mark.parametrize(("dtype", "bits"), [("u1", 8), ("u2", 12), ("u2", 16), ("i2", 12), ("i2", 16), ("u4", 32)])
@pytest.mark.parametrize("frames", [1, 3])
def test_greys_of_every_type(tmp_path, syntax, dtype, bits, frames):
    if (syntax, bits) == (RLELossless, 32):
        pytest.skip("the standard knows none")
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if dtype[0] == "i" else (0, min(2**bits, 2**24))
    path = write(tmp_path / "a.dcm", noise(frames, 9, 7, dtype=dtype, low=low, high=high), syntax, bits)
    wanted = pixel_array(path).reshape(frames, 9, 7)
    found = stack(path)
    assert found.dtype == (dtype if dtype in ("u1", "u2") else "f4")
    np.testing.assert_array_equal(found[..., 0], wanted)
    np.testing.assert_array_equal(stack(path, LABEL)[..., 0], wanted)
    if syntax != ExplicitVRBigEndian:
        with open_images(path, Reading()) as images:
            assert images.by_window == (syntax != RLELossless)


@pytest.mark.parametrize("dtype", ["u2", "i2"])
def test_spare_bits_hold_nothing(tmp_path, dtype):
    path = write(tmp_path / "a.dcm", noise(9, 7, dtype=dtype, high=2**15), bits=12)
    stored = np.frombuffer(pydicom.dcmread(path).PixelData, "<u2")[: 9 * 7].reshape(9, 7).astype(int)
    assert (stored >= 4096).any()
    wanted = stored % 4096
    wanted = np.where(wanted >= 2048, wanted - 4096, wanted) if dtype == "i2" else wanted
    np.testing.assert_array_equal(stack(path)[0, ..., 0], wanted)
    np.testing.assert_array_equal(pixel_array(path), wanted)


@pytest.mark.parametrize(
    ("slope", "intercept", "dtype", "label"),
    [
        ("1", "-1024", "f4", "i8"),
        ("0.5", "3", "f4", "f4"),
        ("2", "10", "u2", "u2"),
        ("1", "0", "u2", "u2"),
        ("-1", "4095", "u2", "u2"),
    ],
)
def test_values_are_rescaled(tmp_path, slope, intercept, dtype, label):
    raw = noise(9, 7)
    raw[0, 0] = 0
    path = write(tmp_path / "a.dcm", raw, bits=12, RescaleSlope=slope, RescaleIntercept=intercept)
    wanted = raw.astype(float) * float(slope) + float(intercept)
    found = stack(path)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found[0, ..., 0], wanted.astype(dtype))
    labels = stack(path, LABEL)
    assert labels.dtype == label
    np.testing.assert_array_equal(labels[0, ..., 0], wanted.astype(label))


def test_frames_have_rescales_of_their_own(tmp_path):
    raw = noise(3, 9, 7)

    def group(slope: str) -> Dataset:
        inner, outer = Dataset(), Dataset()
        inner.RescaleSlope, inner.RescaleIntercept = slope, "1"
        outer.PixelValueTransformationSequence = [inner]
        return outer

    slopes = ["1", "0.5", "2"]
    path = write(tmp_path / "a.dcm", raw, PerFrameFunctionalGroupsSequence=[group(slope) for slope in slopes])
    wanted = np.stack([plane * float(slope) + 1 for plane, slope in zip(raw, slopes, strict=True)])
    found = stack(path)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[..., 0], wanted.astype("f4"))
    path = write(tmp_path / "b.dcm", raw, SharedFunctionalGroupsSequence=[group("3")])
    np.testing.assert_array_equal(stack(path)[..., 0], (raw * 3 + 1).astype("f4"))


@pytest.mark.parametrize(("dtype", "bits"), [("u2", 12), ("i2", 12), ("u1", 8)])
def test_white_at_zero_is_inverted_in_images(tmp_path, dtype, bits):
    low, high = (-2048, 2048) if dtype == "i2" else (0, 2**bits)
    raw = noise(9, 7, dtype=dtype, low=low, high=high)
    path = write(tmp_path / "a.dcm", raw, bits=bits, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(stack(path)[0, ..., 0], (low + high - 1 - raw.astype(int)).astype("f4"))
    np.testing.assert_array_equal(stack(path, LABEL)[0, ..., 0], raw)


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_colours(tmp_path, planar, frames, photometric):
    raw = noise(frames, 8, 6, 3, dtype="u1", high=256)
    path = write(
        tmp_path / "a.dcm",
        raw,
        SamplesPerPixel=3,
        PlanarConfiguration=planar,
        PhotometricInterpretation=photometric,
    )
    wanted = pixel_array(path).reshape(frames, 8, 6, 3)
    np.testing.assert_array_equal(stack(path), wanted)
    if (planar, photometric) == (0, "RGB"):
        np.testing.assert_array_equal(wanted, raw)


def test_palettes(tmp_path):
    tags: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name in ("Red", "Green", "Blue"):
        tags[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        tags[f"{name}PaletteColorLookupTableData"] = RNG.integers(0, 65536, 256, np.uint16).tobytes()
    raw = noise(9, 7, dtype="u1", high=256)
    path = write(tmp_path / "a.dcm", raw, **tags)
    wanted = apply_color_lut(raw, pydicom.dcmread(path))
    np.testing.assert_array_equal(stack(path)[0], wanted)
    np.testing.assert_array_equal(stack(path, Reading(label=True, indices=True))[0, ..., 0], raw)


def test_compressed_frames(tmp_path):
    from io import BytesIO

    from PIL import Image

    raw = noise(2, 32, 24, dtype="u1", high=256)
    for syntax, kind in [(JPEGBaseline8Bit, "JPEG"), (JPEG2000Lossless, "JPEG2000")]:
        frames = []
        for plane in raw:
            file = BytesIO()
            Image.fromarray(plane).save(file, kind, **({"no_jp2": True} if kind == "JPEG2000" else {}))
            frames.append(file.getvalue())
        path = write(tmp_path / "a.dcm", raw)
        data = pydicom.dcmread(path)
        data.file_meta.TransferSyntaxUID = syntax
        data.PixelData = encapsulate(frames)
        data["PixelData"].is_undefined_length = True
        data.save_as(path)
        np.testing.assert_array_equal(stack(path)[..., 0], pixel_array(path))
        if kind == "JPEG2000":
            np.testing.assert_array_equal(pixel_array(path), raw)
        whole = path.read_bytes()
        for end in range(140, len(whole) - 30, len(whole) // 25):
            path.write_bytes(whole[:end])
            refuse(path)
    data.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    data.save_as(path)
    said = refuse(path)
    assert "is compressed as JPEG Lossless, Non-Hierarchical, First-Order Prediction" in said
    assert "gdcmconv --raw" in said


def test_pixels_that_only_fill_the_image_are_without_data(tmp_path):
    raw = noise(9, 7, dtype="i2", low=-1000, high=1000)
    raw[:2] = -2000
    path = write(tmp_path / "a.dcm", raw, PixelPaddingValue=-2000, RescaleSlope="1", RescaleIntercept="5")
    (scene,) = read_every_way(path, Reading("declared"))
    np.testing.assert_array_equal(scene.valid, raw != -2000)
    assert read_every_way(path)[0].valid is None


def write_series(folder: Path, volume: np.ndarray, **tags: Any) -> None:
    """Slices of a volume in an order that neither the names nor the numbers tell."""
    folder.mkdir()
    names = RNG.permutation(len(volume)).tolist()
    for place, plane in enumerate(volume):
        across = np.array([0.6, 0, 0.8]) * (2.5 * place - 20)  # along the normal of an oblique plane
        own = {
            "ImagePositionPatient": [f"{value:.6f}" for value in across],
            "ImageOrientationPatient": [0, 1, 0, -0.8, 0, 0.6],
            "InstanceNumber": len(volume) - place,
            **tags,
        }
        write(folder / f"IM{names[place]}", plane, **{key: value for key, value in own.items() if value is not None})


def test_a_series_is_sorted_along_its_normal(tmp_path):
    volume = noise(12, 9, 7)
    write_series(tmp_path / "s", volume)
    (tmp_path / "s/notes.txt").write_text("no DICOM")
    normal = np.cross([0, 1, 0], [-0.8, 0, 0.6])
    assert normal @ [0.6, 0, 0.8] > 0
    np.testing.assert_array_equal(stack(tmp_path / "s")[..., 0], volume)
    assert list_files(tmp_path / "s").images == [("s", tmp_path / "s")], "it is one item"
    for axis, place in (("y", 1), ("x", 2)):
        found = stack(tmp_path / "s", Reading(slice_axis=axis))
        np.testing.assert_array_equal(found[..., 0], np.moveaxis(volume, place, 0))


def test_a_series_without_positions_is_sorted_by_number(tmp_path):
    volume = noise(5, 9, 7)
    write_series(tmp_path / "s", volume, ImagePositionPatient=None)
    np.testing.assert_array_equal(stack(tmp_path / "s")[..., 0], volume[::-1])
    write_series(tmp_path / "t", volume, ImagePositionPatient=None, InstanceNumber=None)
    assert "neither the positions nor the numbers of its 5 slices tell their order" in refuse(tmp_path / "t")


def test_slices_of_a_series_have_one_type(tmp_path):
    volume = noise(2, 9, 7)
    write_series(tmp_path / "s", volume)
    names = sorted((tmp_path / "s").iterdir())
    data = pydicom.dcmread(names[0])
    data.RescaleSlope, data.RescaleIntercept = "0.25", "0"
    data.save_as(names[0])
    assert stack(tmp_path / "s").dtype == np.float32


def test_folders_that_are_no_series(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "is a folder, and neither a Zarr nor a DICOM series" in refuse(tmp_path / "empty")
    write_series(tmp_path / "s", noise(3, 9, 7))
    write(tmp_path / "s/other", noise(9, 7), SeriesInstanceUID=generate_uid(), SeriesNumber=4)
    said = refuse(tmp_path / "s")
    assert "holds 2 DICOM series: 3 'thorax' (3 files), 4 'thorax' (1 files); move each into a folder" in said
    (tmp_path / "s/other").unlink()
    write(tmp_path / "s/other", noise(9, 8))
    assert "move them apart" in refuse(tmp_path / "s")


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4"}, "is a DICOM segmentation"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.7"}, "is a DICOM segmentation"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.77.1.6"}, "is a DICOM slide"),
        ({"HighBit": 15, "BitsStored": 12}, "do not begin at the lowest bit"),
        ({"PhotometricInterpretation": "CMYK"}, "its colours are CMYK"),
        ({"Rows": 900}, "missing"),
        ({"NumberOfFrames": 2**31 - 1}, "missing"),
        ({"Rows": 0}, "damaged"),
        ({"BitsStored": 0, "HighBit": 0}, "damaged"),
        ({"RescaleSlope": "1e400", "RescaleIntercept": "0"}, "damaged"),
    ],
)
def test_what_is_not_read(tmp_path, tags, words):
    assert words in refuse(write(tmp_path / "a.dcm", noise(9, 7), **tags))


def test_files_without_pixels(tmp_path):
    path = write(tmp_path / "a.dcm", noise(9, 7))
    data = pydicom.dcmread(path)
    del data.PixelData, data.Rows
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    data.save_as(path)
    assert "holds no pixels (it is of the kind Basic Text SR Storage)" in refuse(path)
    for kind in ("1.2.840.10008.5.1.4.1.1.481.3", CTImageStorage):  # which some programs write
        data.Modality, data.file_meta.MediaStorageSOPClassUID = "RTSTRUCT", kind
        data.save_as(path)
        assert "holds outlines (RTSTRUCT) and no pixels; draw them into NIfTI masks" in refuse(path)
    assert "its 1 DICOM files hold no images" in refuse(tmp_path)


def test_deflated_files_are_not_unpacked(tmp_path):
    path = write(tmp_path / "a.dcm", noise(9, 7))
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data.save_as(path)
    assert "is a deflated DICOM file" in refuse(path)


def test_a_library_that_is_missing(tmp_path, monkeypatch):
    write(tmp_path / "a.dcm", noise(9, 7))
    monkeypatch.setitem(sys.modules, "pydicom", None)
    for path in (tmp_path / "a.dcm", tmp_path):
        assert "DICOM files are read with pydicom, which is not installed; type pip install -e '.[dicom]'" in refuse(
            path
        )


def test_a_series_leads_where_its_positions_do(tmp_path):
    volume = noise(3, 9, 7)
    write_series(tmp_path / "s", volume)
    with open_images(tmp_path / "s", Reading()) as images:
        # What leads to the left and the back in DICOM leads to the right and the front by a negative number here.
        np.testing.assert_allclose(images.directions, [[0, -1, 0], [0.8, 0, 0.6], [-0.6, 0, 0.8]], atol=1e-9)
    write_series(tmp_path / "t", volume, ImagePositionPatient=None)
    with open_images(tmp_path / "t", Reading()) as images:
        assert images.directions == NOWHERE
    one = write(tmp_path / "one", volume[0], ImagePositionPatient=[0, 0, 0], ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    with open_images(one, Reading()) as images:
        assert (images.directions.describe(), images.directions.z) == ("left, back", None)
