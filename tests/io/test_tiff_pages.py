"""TIFF pages that are no slices, and slices that are no pages."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from unet_exp.errors import DataError
from unet_exp.io.images import read_labels, read_pages, read_scenes, stored_pages
from unet_exp.io.windows import open_pages

RNG = np.random.default_rng(0)
PLANES = RNG.integers(0, 255, (6, 40, 32), np.uint8)
FULL = RNG.integers(0, 255, (64, 48, 3), np.uint8)


def refusal(path: Path) -> str:
    """What is said of a file, whole and by window: the same."""
    said = []
    for ask in (lambda: read_pages(path), lambda: open_pages(path).__enter__()):
        with pytest.raises(DataError) as caught:
            ask()
        said.append(str(caught.value))
    assert said[0] == said[1]
    return said[0]


def write_pages(path: Path, *pages: tuple[np.ndarray, dict[str, Any]]) -> None:
    with tifffile.TiffWriter(path) as file:
        for pixels, options in pages:
            file.write(pixels, metadata=None, **options)


def count(path: Path) -> tuple[int, int]:
    """Images that are read whole and by window."""
    with open_pages(path) as pages:
        return len(read_pages(path)), len(pages)


REDUCED, MASK = {"subfiletype": 1}, {"subfiletype": 4}


@pytest.mark.parametrize(
    "others",
    [
        [(FULL[::2, ::2], REDUCED), (FULL[::4, ::4], REDUCED)],  # overviews
        [(FULL[::5, ::5], REDUCED)],  # a thumbnail
        [(FULL[..., 0] > 9, MASK), (FULL[::2, ::2], REDUCED), (FULL[::2, ::2, 0] > 9, {"subfiletype": 5})],
        [(FULL[::2, ::2], {"extratags": [(255, "H", 1, 2, True)]})],  # the older tag, SubfileType
    ],
)
def test_copies_and_masks_of_an_image_are_no_images(others: list[Any], tmp_path: Path) -> None:
    write_pages(tmp_path / "a.tif", (FULL, {"photometric": "rgb"}), *others)
    assert count(tmp_path / "a.tif") == (1, 1)
    np.testing.assert_array_equal(read_scenes(tmp_path / "a.tif", None)[0].pixels, FULL)
    assert stored_pages(tmp_path / "a.tif")[2:] == (FULL.size, 1)


def test_halves_of_a_tiled_image_are_copies_though_nothing_says_so(tmp_path: Path) -> None:
    tiled = {"photometric": "rgb", "tile": (16, 16)}
    halves = [FULL, FULL[::2, ::2], FULL[::4, ::4]]
    write_pages(tmp_path / "a.tif", *((np.ascontiguousarray(one), tiled) for one in halves))
    assert len(tifffile.TiffFile(tmp_path / "a.tif").series[0].levels) == 3
    assert count(tmp_path / "a.tif") == (1, 1)
    write_pages(tmp_path / "b.tif", *((np.ascontiguousarray(one), tiled) for one in (FULL, FULL[:30], FULL[:20])))
    assert count(tmp_path / "b.tif") == (3, 3)


def test_a_file_in_which_every_page_calls_itself_a_mask_holds_images(tmp_path: Path) -> None:
    write_pages(tmp_path / "a.tif", *((plane > 99, MASK) for plane in PLANES[:2]))
    assert count(tmp_path / "a.tif") == (2, 2)


@pytest.mark.parametrize("kind", [{"imagej": True}, {"ome": True}])
def test_channels_and_slices_are_those_of_the_metadata(kind: dict[str, Any], tmp_path: Path) -> None:
    planes = PLANES.reshape(3, 2, 40, 32)
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="minisblack", metadata={"axes": "ZCYX"}, **kind)
    images = read_pages(tmp_path / "a.tif")
    assert len(images) == 3
    np.testing.assert_array_equal(np.stack(images), np.moveaxis(planes, 1, -1))
    assert stored_pages(tmp_path / "a.tif")[2:] == (planes.size, 1)
    # A label has no channels: each plane is one.
    np.testing.assert_array_equal(np.stack(read_labels(tmp_path / "a.tif"))[..., 0], PLANES)
    with pytest.raises(DataError, match="3 slices of 2 channels, which cannot be read by window"):
        open_pages(tmp_path / "a.tif").__enter__()


@pytest.mark.parametrize("options", [{"imagej": True, "metadata": {"axes": "ZYX"}}, {}])
def test_one_page_can_stand_for_many_planes(options: dict[str, Any], tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", PLANES, photometric="minisblack", truncate=True, **options)
    assert len(tifffile.TiffFile(tmp_path / "a.tif").pages) == 1
    np.testing.assert_array_equal(np.stack(read_pages(tmp_path / "a.tif"))[..., 0], PLANES)
    whole = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(whole[:-900])
    said = refusal(tmp_path / "a.tif")
    assert "tell of 6 planes, and it has 1 page;" in said or "6 planes, and it ends before the last" in said


def metamorph(path: Path, planes: np.ndarray) -> None:
    """A MetaMorph STK: one page, and a UIC2 tag whose count is the number of planes."""
    number, height, width = planes.shape
    data = planes.tobytes()
    uic = np.ones(6 * number, "<u4").tobytes()
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 4, 1, 8), (259, 4, 1, 1), (262, 4, 1, 1)]
    tags += [(273, 4, 1, 8), (277, 4, 1, 1), (278, 4, 1, height), (279, 4, 1, height * width)]
    tags += [(33628, 5, number, 8 + len(data)), (33629, 5, number, 8 + len(data))]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    first = 8 + len(data) + len(uic)
    head = b"II*\0" + struct.pack("<I", first)
    path.write_bytes(head + data + uic + struct.pack("<H", len(tags)) + entries + bytes(4))


def test_the_planes_of_metamorph_are_all_read(tmp_path: Path) -> None:
    metamorph(tmp_path / "a.tif", PLANES)
    assert tifffile.TiffFile(tmp_path / "a.tif").is_stk
    np.testing.assert_array_equal(np.stack(read_pages(tmp_path / "a.tif"))[..., 0], PLANES)


def test_pages_that_were_appended_one_by_one_are_all_images(tmp_path: Path) -> None:
    for number, plane in enumerate(PLANES):
        tifffile.imwrite(tmp_path / "a.tif", plane, append=number > 0)
    with tifffile.TiffWriter(tmp_path / "b.tif") as file:
        file.write(PLANES[0], photometric="minisblack")
        file.write(PLANES[1:], photometric="minisblack")
    for name in ("a.tif", "b.tif"):
        np.testing.assert_array_equal(np.stack(read_pages(tmp_path / name))[..., 0], PLANES, name)
        assert count(tmp_path / name) == (6, 6)


@pytest.mark.parametrize("told", [3, 9])
def test_metadata_that_tell_of_another_number_of_planes_are_no_reason_to_lose_or_invent_any(
    told: int, tmp_path: Path
) -> None:
    description = f"ImageJ=1.53\nimages={told}\nslices={told}\n"
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for number, plane in enumerate(PLANES):
            file.write(plane, metadata=None, description=description if number == 0 else None)
    assert f"(imagej) tell of {told} planes, and it has 6 pages" in refusal(tmp_path / "a.tif")


def test_planes_in_other_files_are_told(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "m.ome.tif", PLANES[:2], photometric="minisblack", metadata={"axes": "ZYX"})
    text = tifffile.TiffFile(tmp_path / "m.ome.tif").ome_metadata
    assert text is not None
    more = '<TiffData FirstZ="2" IFD="0" PlaneCount="2"><UUID FileName="n.ome.tif">urn:uuid:0</UUID></TiffData>'
    text = text.replace('SizeZ="2"', 'SizeZ="4"').replace("</Pixels>", more + "</Pixels>")
    with tifffile.TiffWriter(tmp_path / "m.ome.tif") as file:
        file.write(PLANES[0], description=text, metadata=None)
        file.write(PLANES[1], metadata=None)
    for _ in range(2):
        assert "(ome) tell of 4 planes" in refusal(tmp_path / "m.ome.tif")
        tifffile.imwrite(tmp_path / "n.ome.tif", PLANES[2:4], photometric="minisblack", metadata={"axes": "ZYX"})


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16"])
def test_white_at_zero_turns_images_and_never_labels(dtype: str, tmp_path: Path) -> None:
    stored = (PLANES[0] > 99) if dtype == "bool" else PLANES[0].astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="miniswhite")
    scale, largest = (255, 255) if dtype == "bool" else (1, np.iinfo(dtype).max)
    values = stored.astype(dtype if dtype != "bool" else "uint8") * scale
    np.testing.assert_array_equal(read_pages(tmp_path / "a.tif")[0][..., 0], largest - values)
    for indices in (True, False):
        np.testing.assert_array_equal(read_labels(tmp_path / "a.tif", indices)[0][..., 0], values)
    with open_pages(tmp_path / "a.tif") as (page,):
        np.testing.assert_array_equal(page.region(0, 0, 40, 32)[0][..., 0], largest - values)


def test_a_sparse_file_is_called_one(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", FULL, photometric="rgb", tile=(16, 16))
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as file:
        for tag in (324, 325):
            values = file.pages.first.tags[tag].value
            file.pages.first.tags[tag].overwrite((0, *values[1:]))
    assert "is a sparse TIFF" in refusal(tmp_path / "a.tif")


@pytest.mark.parametrize("factor", [4, 8])
def test_smaller_copies_that_nothing_marks_are_refused(factor: int, tmp_path: Path) -> None:
    large = RNG.integers(0, 255, (256, 320), np.uint8)
    write_pages(tmp_path / "a.tif", (large, {}), (np.ascontiguousarray(large[::factor, ::factor]), {}))
    assert "as an image and smaller copies of it that are not marked as such" in refusal(tmp_path / "a.tif")


@pytest.mark.parametrize(("axes", "shape"), [("CYX", (3, 40, 32)), ("YXC", (40, 32, 3))])
def test_channels_within_one_page_are_read_by_window(axes: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    planes = RNG.integers(0, 255, shape, np.uint8)
    separate = "separate" if axes == "CYX" else "contig"
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig=separate, metadata={"axes": axes})
    wanted = np.moveaxis(planes, 0, 2) if axes == "CYX" else planes
    np.testing.assert_array_equal(read_pages(tmp_path / "a.tif")[0], wanted)
    with open_pages(tmp_path / "a.tif") as (page,):
        np.testing.assert_array_equal(page.region(0, 0, 40, 32)[0], wanted)
