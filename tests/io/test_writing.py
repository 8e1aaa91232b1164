"""Masks out: kinds of files read back by other libraries, georeference and geometry, and the choice of the kind."""

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from unet_exp.errors import DataError
from unet_exp.io.georeference import read_georeference
from unet_exp.io.images import read_pages
from unet_exp.io.writing import choose_suffix, stem_of, suffix_of, write_image, write_pages

RNG = np.random.default_rng(0)
AFFINE = np.array([[-0.7, 0.1, 0, 12], [0, 0.8, 0.2, -7], [0, -0.1, 2.5, 3], [0, 0, 0, 1]])
KEYS = (1, 1, 0, 4, 1024, 0, 1, 1, 1025, 0, 1, 1, 1026, 34737, 9, 0, 3072, 0, 1, 32633)
GEO = [
    (33550, "d", 3, (10.0, 10.0, 0.0), True),
    (33922, "d", 6, (0.0, 0.0, 0.0, 399960.0, 4900020.0, 0.0), True),
    (34735, "H", len(KEYS), KEYS, True),
    (34736, "d", 2, (6378137.0, 298.257), True),
    (34737, "s", 0, "UTM 33N|W", True),
]


def noise(dtype="uint8", channels=1, size=(7, 9)):
    most = np.iinfo(dtype).max if np.dtype(dtype).kind != "f" else 1
    return (RNG.random((*size, channels)) * most).astype(dtype)


def read_back(path):
    """As other programs read it: (H, W) or (H, W, C), or pages of such."""
    if path.suffix == ".npy":
        return np.load(path)
    return tifffile.imread(path) if path.suffix in (".tif", ".tiff") else np.asarray(Image.open(path))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".npy", ".bmp", ".pgm", ".pnm"])
def test_grey_is_what_other_programs_read(tmp_path, suffix):
    mask = noise()
    write_image(tmp_path / f"a{suffix}", mask)
    np.testing.assert_array_equal(read_back(tmp_path / f"a{suffix}"), mask[..., 0])
    wide = noise("uint16")
    if suffix in (".bmp", ".pnm"):
        with pytest.raises(DataError, match=f"a {suffix[1:].upper()} holds one page of uint8 pixels"):
            write_image(tmp_path / f"b{suffix}", wide)
        return
    write_image(tmp_path / f"b{suffix}", wide)
    np.testing.assert_array_equal(read_back(tmp_path / f"b{suffix}"), wide[..., 0])


@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy", ".bmp", ".ppm", ".pnm", ".webp"])
def test_colours_are_what_other_programs_read(tmp_path, suffix):
    mask = noise(channels=3)
    write_image(tmp_path / f"a{suffix}", mask)
    np.testing.assert_array_equal(read_back(tmp_path / f"a{suffix}"), mask)


def test_webp_has_grey_as_equal_colours(tmp_path):
    mask = noise()
    write_image(tmp_path / "a.webp", mask)
    np.testing.assert_array_equal(read_back(tmp_path / "a.webp"), np.repeat(mask, 3, axis=2))


def test_several_pages(tmp_path):
    pages = [noise("uint16") for _ in range(3)]
    for suffix in (".tif", ".npy"):
        write_pages(tmp_path / f"a{suffix}", pages)
        for page, again in zip(pages, read_pages(tmp_path / f"a{suffix}"), strict=True):
            np.testing.assert_array_equal(again, page)
    wide = noise("uint32")
    write_image(tmp_path / "w.tif", wide)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "w.tif"), wide[..., 0])
    with pytest.raises(DataError, match="a WEBP holds one page"):
        write_pages(tmp_path / "a.webp", pages)
    with pytest.raises(DataError, match="a NPY holds pages of one size"):
        write_pages(tmp_path / "b.npy", [noise(), noise(size=(3, 4))])


def test_the_kind_is_the_wanted_one_where_that_is_exact():
    grey, wide, red = [noise()], [noise("uint16")], [noise(channels=3)]
    stack, uneven = [noise(), noise()], [noise(), noise(size=(3, 4))]

    def chosen(wanted, pages, image="a.jpg"):
        return choose_suffix(Path(image), pages, wanted)

    assert [chosen(wanted, grey) for wanted in (None, "", ".jpg", ".gif", ".json", ".h5", ".dcm", ".nii.gz")] == [
        ".png"
    ] * 8
    for wanted in (".png", ".tif", ".tiff", ".npy", ".bmp", ".webp", ".pgm", ".pnm"):
        assert chosen(wanted, grey) == wanted
    assert chosen(".BMP", grey) == ".bmp"
    assert [chosen(wanted, wide) for wanted in (".bmp", ".webp", ".ppm", ".pgm")] == [".png", ".png", ".png", ".pgm"]
    assert [chosen(wanted, red) for wanted in (".pgm", ".ppm", ".webp")] == [".png", ".ppm", ".webp"]
    assert [chosen(wanted, stack) for wanted in (".png", ".npy", ".bmp", None)] == [".tif", ".npy", ".tif", ".tif"]
    assert [chosen(wanted, uneven) for wanted in (".npy", None)] == [".tif", ".tif"]
    assert chosen(".png", [noise("uint32")]) == ".tif"
    assert chosen(".webp", [np.zeros((1, 16384), np.uint8)]) == ".png"
    assert [chosen(".png", grey, image) for image in ("a.tif", "a.TIFF", "a.lsm")] == [".tif"] * 3


def test_names_have_a_stem_and_one_suffix():
    names = ["a.png", "a.b.TIF", "v.nii.gz", "im1.ppm.gz", "x.gz", "none", ".hidden"]
    assert [suffix_of(Path(name)) for name in names] == [".png", ".tif", ".nii.gz", ".ppm.gz", ".gz", "", ""]
    assert [stem_of(Path("f") / name) for name in names] == ["a", "a.b", "v", "im1", "x", "none", ".hidden"]


def test_a_tiff_takes_the_georeference_over(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", noise()[..., 0], extratags=GEO, metadata=None, compression="zlib")
    write_pages(tmp_path / "m.tif", [noise(), noise()], tmp_path / "a.tif")
    with tifffile.TiffFile(tmp_path / "a.tif") as one, tifffile.TiffFile(tmp_path / "m.tif") as other:
        assert one.geotiff_metadata == other.geotiff_metadata
        for page in other.pages:
            for code, *_ in GEO:
                assert page.tags[code].value == one.pages[0].tags[code].value
                assert page.tags[code].dtype == one.pages[0].tags[code].dtype
    place = read_georeference(tmp_path / "m.tif")
    assert place is not None
    assert place.epsg == 32633
    assert place.affine.tolist() == [[10, 0, 399960], [0, -10, 4900020]]
    np.testing.assert_allclose(place.to_pixels(np.array([[399985.0, 4900000.0]])), [[2.5, 2]])


def test_images_that_lie_nowhere(tmp_path):
    write_image(tmp_path / "a.png", noise())
    write_image(tmp_path / "plain.tif", noise())
    turned = [*GEO, (274, "H", 1, 6, True)]
    tifffile.imwrite(tmp_path / "turned.tif", noise()[..., 0], extratags=turned, metadata=None)
    (tmp_path / "folder").mkdir()
    for name in ("a.png", "plain.tif", "turned.tif", "folder", "none/a.tif"):
        assert read_georeference(tmp_path / name) is None
        write_pages(tmp_path / "m.tif", [noise()], tmp_path / name)
        with tifffile.TiffFile(tmp_path / "m.tif") as file:
            assert 33550 not in file.pages[0].tags


@pytest.mark.parametrize(
    "tags",
    [
        [(33550, "d", 1, (1.0,), True), GEO[1]],
        [(33550, "d", 3, (0.0, 0.0, 0.0), True), GEO[1]],
        [(33550, "d", 3, (float("nan"), 1.0, 0.0), True), GEO[1]],
        [(34264, "d", 4, (1.0, 0.0, 0.0, 1.0), True)],
        [(34735, "H", 3, (1, 2, 3), True)],
        [(34735, "s", 0, "abc", True), (34737, "H", 2, (1, 2), True)],
    ],
)
def test_broken_tags_say_nothing_of_the_place(tmp_path, tags):
    tifffile.imwrite(tmp_path / "a.tif", noise()[..., 0], extratags=tags, metadata=None)
    place = read_georeference(tmp_path / "a.tif")
    assert place is not None
    assert (place.affine, place.epsg) == (None, None)
    write_pages(tmp_path / "m.tif", [noise()], tmp_path / "a.tif")
    assert tifffile.imread(tmp_path / "m.tif").shape == (7, 9)


@pytest.mark.parametrize("axis", ["z", "y", "x"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_nifti_has_the_geometry_of_the_image(tmp_path, axis, suffix):
    volume = RNG.integers(0, 4, (5, 6, 7)).astype(np.uint8)  # i, j, k
    image = nibabel.Nifti1Image(RNG.random((5, 6, 7)).astype(np.float32) * 900, AFFINE)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = b"scan"
    image.header.set_slope_inter(2, 5)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"a name"))
    nibabel.save(image, tmp_path / f"a{suffix}")
    pages = {
        "z": [volume[:, :, k].T[..., None] for k in range(7)],
        "y": [volume[:, j, :].T for j in range(6)],
        "x": [volume[i, :, :].T for i in range(5)],
    }[axis]
    assert choose_suffix(tmp_path / f"a{suffix}", pages, None, axis) == suffix
    write_pages(tmp_path / f"m{suffix}", pages, tmp_path / f"a{suffix}", axis)
    mask, image = nibabel.load(tmp_path / f"m{suffix}"), nibabel.load(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(np.asarray(mask.dataobj), volume)
    assert mask.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(mask.affine, image.affine)
    for key in ("pixdim", "xyzt_units", "qform_code", "sform_code", "srow_x", "quatern_b"):
        np.testing.assert_array_equal(mask.header[key], image.header[key])
    assert not mask.header.extensions
    if suffix == ".nii.gz":
        first = (tmp_path / "m.nii.gz").read_bytes()
        write_pages(tmp_path / "m.nii.gz", pages, tmp_path / "a.nii.gz", axis)
        assert (tmp_path / "m.nii.gz").read_bytes() == first
        assert gzip.decompress(first)[344:348] == b"n+1\0"


def test_niftis_of_other_shapes_and_versions(tmp_path):
    for name, kind, shape in (
        ("two.nii", nibabel.Nifti2Image, (5, 6, 7)),
        ("flat.nii", nibabel.Nifti1Image, (5, 6)),
        ("channels.nii", nibabel.Nifti1Image, (5, 6, 7, 3)),
    ):
        nibabel.save(kind(np.zeros(shape, np.float32), AFFINE), tmp_path / name)
        pages = [noise("uint16", size=(6, 5)) for _ in range(7 if len(shape) > 2 else 1)]
        write_pages(tmp_path / f"m_{name}", pages, tmp_path / name)
        mask = nibabel.load(tmp_path / f"m_{name}")
        assert (type(mask), mask.shape) == (kind, shape[:3])
        np.testing.assert_array_equal(np.asarray(mask.dataobj).T.reshape(-1, 6, 5), np.stack(pages)[..., 0])
        np.testing.assert_allclose(mask.affine, AFFINE, rtol=1e-6)
    assert choose_suffix(tmp_path / "two.nii", pages, ".nii.gz") == ".nii.gz"  # as the training masks are
    assert choose_suffix(tmp_path / "two.nii", pages[:1], ".npy") == ".npy"
    assert choose_suffix(tmp_path / "two.nii", [noise(channels=3, size=(6, 5))] * 7) == ".tif"
    with pytest.raises(DataError, match="not the slices of a NIfTI volume"):
        write_pages(tmp_path / "m.nii", [noise()] * 3, tmp_path / "two.nii")
    with pytest.raises(DataError, match="not the slices of a NIfTI volume"):
        write_image(tmp_path / "m.nii", noise())
    (tmp_path / "cut.nii").write_bytes((tmp_path / "two.nii").read_bytes()[:100])
    with pytest.raises(DataError, match="damaged"):
        choose_suffix(tmp_path / "cut.nii", pages[:1])
