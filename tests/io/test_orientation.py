"""Orientation: images and masks are read as they are seen, whole and by window."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from conftest import Said
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from unet_exp.io.images import read_labels, read_pages, read_scenes
from unet_exp.io.orientation import Orientation
from unet_exp.io.windows import open_pages

Cli = Callable[..., Said]

STORED = np.arange(8 * 12, dtype=np.uint8).reshape(8, 12)
SEEN = {
    1: STORED,
    2: np.fliplr(STORED),
    3: np.rot90(STORED, 2),
    4: np.flipud(STORED),
    5: STORED.T,
    6: np.rot90(STORED, -1),
    7: np.rot90(STORED, 2).T,
    8: np.rot90(STORED),
}
"""By the value of the tag: EXIF 2.32, section 4.6.4; that Pillow agrees is tested below."""


def exif(value: int) -> bytes:
    return b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHH", 274, 3, 1, value, 0) + bytes(4)


def png(path: Path, pixels: np.ndarray, value: int) -> None:
    Image.fromarray(pixels).save(path, exif=exif(value))


def tiff(path: Path, pixels: np.ndarray, value: int, **layout: Any) -> None:
    tifffile.imwrite(path, pixels, extratags=[(274, "H", 1, value, True)], metadata=None, **layout)


@pytest.mark.parametrize("value", range(10))
def test_a_png_and_a_tiff_are_read_as_they_are_seen(value: int, tmp_path: Path) -> None:
    wanted = SEEN.get(value, STORED)
    png(tmp_path / "a.png", STORED, value)
    tiff(tmp_path / "a.tif", STORED, value)
    assert np.array_equal(np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.png"))), wanted)
    for name in ("a.png", "a.tif"):
        (scene,) = read_scenes(tmp_path / name)
        np.testing.assert_array_equal(scene.pixels[:, :, 0], wanted, name)
        np.testing.assert_array_equal(read_labels(tmp_path / name)[0][:, :, 0], wanted, name)
        assert scene.turned == (2 <= value <= 8)


@pytest.mark.parametrize("value", [3, 6])
def test_a_photograph_is_read_as_viewers_show_it(value: int, tmp_path: Path) -> None:
    picture = Image.fromarray(np.dstack([np.kron(STORED, np.ones((8, 8), np.uint8))] * 3))
    picture.save(tmp_path / "a.jpg", exif=b"Exif\0\0" + exif(value))
    (scene,) = read_scenes(tmp_path / "a.jpg")
    np.testing.assert_array_equal(scene.pixels, np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.jpg"))))
    assert scene.pixels.shape == ((64, 96, 3) if value == 3 else (96, 64, 3))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_an_orientation_in_xmp_alone_and_a_broken_exif(tmp_path: Path) -> None:
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description tiff:Orientation="8"/></rdf:RDF></x:xmpmeta>'
    )
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", packet)
    Image.fromarray(STORED).save(tmp_path / "a.png", pnginfo=info)
    np.testing.assert_array_equal(read_scenes(tmp_path / "a.png")[0].pixels[:, :, 0], SEEN[8])
    Image.fromarray(STORED).save(tmp_path / "b.png")
    plain = (tmp_path / "b.png").read_bytes()
    chunk = b"eXIf" + b"MM\0*\xff\xff\xff\xff"
    broken = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "b.png").write_bytes(plain[:33] + broken + plain[33:])
    np.testing.assert_array_equal(read_scenes(tmp_path / "b.png")[0].pixels[:, :, 0], STORED)


def test_each_page_has_an_orientation_of_its_own(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for value in (6, 1, 8):
            file.write(STORED, extratags=[(274, "H", 1, value, True)], metadata=None)
    seen = [scene.pixels[:, :, 0] for scene in read_scenes(tmp_path / "a.tif")]
    assert all(np.array_equal(found, SEEN[value]) for found, value in zip(seen, (6, 1, 8), strict=True))


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("layout", [{}, {"tile": (16, 16)}, {"compression": "zlib", "rowsperstrip": 7}])
def test_windows_are_those_of_the_image_as_it_is_seen(value: int, layout: dict[str, Any], tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (50, 61, 3), np.uint8)
    tiff(tmp_path / "a.tif", pixels, value, photometric="rgb", **layout)
    whole = read_scenes(tmp_path / "a.tif")[0].pixels
    with open_pages(tmp_path / "a.tif") as (page,):
        assert page.size == whole.shape[:2]
        found, _ = page.region(3, 5, 40, 41)
        np.testing.assert_array_equal(found, whole[3:43, 5:46])
        assert sum(part.astype(int).sum() for part, _ in page.parts()) == whole.astype(int).sum()


@given(st.integers(1, 8), st.integers(1, 9), st.integers(1, 9), st.data())
def test_a_stored_window_turned_is_the_window_of_the_turned_image(
    value: int, height: int, width: int, data: st.DataObject
) -> None:
    stored, orientation = np.arange(height * width).reshape(height, width), Orientation.of(value)
    seen = orientation.turn(stored)
    assert seen.shape == orientation.seen_size(height, width)
    top, left = (data.draw(st.integers(0, side - 1)) for side in seen.shape)
    high, wide = (data.draw(st.integers(1, side - at)) for side, at in zip(seen.shape, (top, left), strict=True))
    first, start, rows, columns = orientation.stored_window((top, left, high, wide), seen.shape)
    cut = orientation.turn(stored[first : first + rows, start : start + columns])
    np.testing.assert_array_equal(cut, seen[top : top + high, left : left + wide])


@pytest.mark.parametrize("value", [2, 6])
def test_a_mask_lies_over_the_image_as_it_is_seen(value: int, finished: Any, cli: Cli) -> None:
    upright = np.random.default_rng(0).integers(0, 255, (70, 150), np.uint8)
    undo = {2: 2, 6: 8}[value]  # stored so that the tag turns it upright
    Path("in").mkdir()
    Image.fromarray(upright).save("in/upright.png")
    stored = np.ascontiguousarray(Orientation.of(undo).turn(upright))
    png(Path("in/camera.png"), stored, value)
    tiff(Path("in/scan.tif"), stored, value)
    tiff(Path("in/tiled.tif"), np.ascontiguousarray(np.tile(stored, (5, 5))), value, tile=(64, 64))
    Image.fromarray(np.tile(upright, (5, 5))).save("in/large.png")
    words = [f"checkpoint={finished.path}", "output=out", "trainer.precision=32"]
    assert cli("predict", *words, "input=in").code == 0
    masks = {path.stem.removesuffix("_mask"): read_pages(path)[0] for path in Path("out").glob("*_mask.*")}
    for name in ("camera", "scan"):
        np.testing.assert_array_equal(masks[name], masks["upright"])
    np.testing.assert_array_equal(masks["tiled"], masks["large"])
    said = cli("predict", *words, "input=in/tiled.tif", "memory=45MB")
    assert "750 x 350 pixels, in tiles of" in said.out
    np.testing.assert_array_equal(read_pages("out/tiled_mask.tif")[0], masks["large"])
    assert Image.open("out/camera_mask.png").getexif().get(274) is None


def test_check_data_says_how_many_are_turned(cli: Cli) -> None:
    for number in range(6):
        for place in ("images", "masks"):
            Path(place).mkdir(exist_ok=True)
        picture = np.random.default_rng(number).integers(0, 255, (40, 64), np.uint8)
        mask = np.where(picture > 99, np.uint8(255), np.uint8(0))
        png(Path(f"images/{number}.png"), np.rot90(picture) if number < 2 else picture, 6 if number < 2 else 1)
        png(Path(f"masks/{number}.png"), np.rot90(mask) if number == 1 else mask, 6 if number == 1 else 1)
    said = cli("check_data", "data=folder", "data.images=images", "data.masks=masks", "data.tile=32")
    assert said.code == 0
    assert "2 of 6 images, in 2 files, are stored in another orientation" in said.out
    assert "64 x 40" in said.out
