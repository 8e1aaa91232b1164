"""Pictures beside PNG and JPEG: as stored, whole and by window, against Pillow or the values that were written."""

import gzip
import io
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from opened import read_every_way, refuse
from PIL import Image

from unet_exp.io import pictures, stored
from unet_exp.io.images import read_image, read_labels, read_pages, read_scenes
from unet_exp.io.scene import Reading

RNG = np.random.default_rng(1)
GREY = RNG.integers(0, 256, (24, 17), np.uint8)
RGB = RNG.integers(0, 256, (24, 17, 3), np.uint8)


def save(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def pixels_of(path: Path, reading: Reading | None = None) -> np.ndarray:
    (scene,) = read_every_way(path, reading)
    return scene.pixels


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
@pytest.mark.parametrize("kind", ["BMP", "GIF", "WEBP"])
def test_pictures_of_every_mode(tmp_path, kind, mode):
    picture = Image.fromarray(RGB).quantize(7) if mode == "P" else Image.fromarray(RGB).convert(mode)
    if (kind, mode) == ("GIF", "RGBA"):
        picture = Image.fromarray(RGB).quantize(7)
    (tmp_path / "a").write_bytes(save(picture, kind, **({"lossless": True} if kind == "WEBP" else {})))
    found = pixels_of(tmp_path / "a")
    shown = Image.open(tmp_path / "a").convert("RGBA")
    wanted = np.asarray(shown)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, wanted[..., : found.shape[2]])
    assert found.shape[2] == 4 or (wanted[..., 3] == 255).all()


@pytest.mark.parametrize("kind", ["BMP", "GIF", "PNG"])
def test_indices_of_a_palette_are_those_stored(tmp_path, kind):
    indices = RNG.integers(0, 3, (24, 17), np.uint8)
    picture = Image.fromarray(indices, "P")
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 200, 9])
    (tmp_path / "a").write_bytes(save(picture, kind))
    found = pixels_of(tmp_path / "a", Reading(label=True, indices=True))
    np.testing.assert_array_equal(found[..., 0], indices)
    colours = pixels_of(tmp_path / "a", Reading(label=True))
    np.testing.assert_array_equal(colours, np.array([[0, 0, 0], [255, 0, 0], [0, 200, 9]], np.uint8)[indices])


def test_a_transparent_index_of_a_gif_is_without_data(tmp_path):
    indices = RNG.integers(0, 3, (24, 17), np.uint8)
    picture = Image.fromarray(indices, "P")
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 200, 9])
    (tmp_path / "a.gif").write_bytes(save(picture, "GIF", transparency=2))
    (scene,) = read_scenes(tmp_path / "a.gif")
    np.testing.assert_array_equal(scene.valid, indices != 2)
    assert read_labels(tmp_path / "a.gif")[0].shape == (24, 17, 3)


def test_animations_are_refused(tmp_path):
    frames = [Image.fromarray(RNG.integers(0, 256, (24, 17), np.uint8)) for _ in range(2)]
    for kind in ("GIF", "WEBP", "PNG"):
        (tmp_path / "a").write_bytes(save(frames[0], kind, save_all=True, append_images=frames[1:]))
        assert "is an animation; save each of its frames" in refuse(tmp_path / "a")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["WEBP", "PNG"])
def test_exif_turns_them(tmp_path, kind, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    (tmp_path / "a").write_bytes(save(Image.fromarray(RGB), kind, exif=exif, lossless=True))
    marks = {1: (), 2: (1,), 3: (0, 1), 4: (0,)}
    if orientation in marks:
        wanted = np.flip(RGB, marks[orientation])
    else:
        flips: dict[int, tuple[int, ...]] = {5: (), 6: (1,), 7: (0, 1), 8: (0,)}
        wanted = np.flip(RGB.swapaxes(0, 1), flips[orientation])
    np.testing.assert_array_equal(pixels_of(tmp_path / "a"), wanted)


def pnm(values: np.ndarray, most: int, text: bool) -> bytes:
    height, width, samples = values.shape
    magic = {1: (5, 2), 3: (6, 3)}[samples][text]
    header = b"P%d\n# a comment\n%d %d\n# another\n%d\n" % (magic, width, height, most)
    if text:
        return header + b"\n".join(b" ".join(b"%d" % value for value in row.ravel()) for row in values)
    return header + values.astype(np.uint8 if most < 256 else ">u2").tobytes()


@given(
    most=st.sampled_from([1, 3, 200, 255, 256, 1000, 65535]),
    samples=st.sampled_from([1, 3]),
    text=st.booleans(),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    seed=st.integers(0, 99),
)
def test_pnm_values_are_those_stored(tmp_path_factory, most, samples, text, size, seed):
    values = np.random.default_rng(seed).integers(0, most + 1, (*size, samples))
    path = tmp_path_factory.mktemp("pnm") / "a.pnm"
    path.write_bytes(pnm(values, most, text))
    found = pixels_of(path)
    assert found.dtype == (np.uint8 if most < 256 else np.uint16)
    np.testing.assert_array_equal(found, values)


def test_long_texts_are_read_by_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "_PART", 7)
    values = RNG.integers(0, 256, (24, 17, 3), np.uint8)
    (tmp_path / "a.ppm").write_bytes(pnm(values, 255, True))
    np.testing.assert_array_equal(pixels_of(tmp_path / "a.ppm"), values)


def test_opencv_writes_the_same_16_bit_pnm(tmp_path):
    values = RNG.integers(0, 65536, (9, 7, 3), np.uint16)
    cv2.imwrite(str(tmp_path / "a.ppm"), values)
    np.testing.assert_array_equal(pixels_of(tmp_path / "a.ppm"), values[..., ::-1])


@pytest.mark.parametrize("data", [b"P4\n5 2\n\xa8\x50", b"P1\n5 2\n1 0 1 0 1\n01010\n"])
def test_bits_of_a_pbm_are_black_where_set(tmp_path, data):
    (tmp_path / "a.pbm").write_bytes(data)
    assert pixels_of(tmp_path / "a.pbm")[..., 0].tolist() == [[0, 255, 0, 255, 0], [255, 0, 255, 0, 255]]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (pnm(GREY[..., None], 255, False) * 2, "several images"),
        (pnm(GREY[..., None].astype(int) + 1, 200, True), "200 is the largest"),
        (pnm(GREY[..., None], 255, True)[:-30], "missing"),
        (b"P5\n100000 100000\n255\n", "100000 x 100000 pixels are too many"),
        (b"P5\n-1 5\n255\n", "damaged"),
        (b"P2\n2 1\n255\n1 x", "damaged"),
        (b"P5\n99999999999 5\n255\n", "damaged"),
    ],
)
def test_broken_pnm(tmp_path, data, words):
    (tmp_path / "a.pgm").write_bytes(data)
    assert words in refuse(tmp_path / "a.pgm")


PACKED = {
    "png": save(Image.fromarray(RGB), "PNG"),
    "ppm": save(Image.fromarray(RGB), "PPM"),
    "gif": save(Image.fromarray(GREY), "GIF"),
    "npy": b"",
    "tif": b"",
}


@pytest.mark.parametrize("kind", PACKED)
def test_gzip_around_a_file(tmp_path, kind):
    data = PACKED[kind]
    if kind == "npy":
        np.save(tmp_path / "plain", RGB)
        data = (tmp_path / "plain.npy").read_bytes()
    if kind == "tif":
        tifffile.imwrite(tmp_path / "plain.tif", np.stack([GREY, GREY + 1]), photometric="minisblack")
        data = (tmp_path / "plain.tif").read_bytes()
    (tmp_path / "a").write_bytes(data)
    (tmp_path / "a.gz").write_bytes(gzip.compress(data))
    wanted = read_pages(tmp_path / "a")
    for found, page in zip(read_every_way(tmp_path / "a.gz"), wanted, strict=True):
        np.testing.assert_array_equal(found.pixels, page)


@pytest.mark.parametrize("kind", ["png", "ppm"])
def test_a_cut_gzip_is_refused(tmp_path, kind):
    packed = gzip.compress(PACKED[kind])
    for end in range(0, len(packed), 29):
        (tmp_path / "a.gz").write_bytes(packed[:end])
        assert "damaged" in refuse(tmp_path / "a.gz") or end == 0
    broken = bytearray(packed)
    broken[-6] ^= 1  # of its checksum
    (tmp_path / "a.gz").write_bytes(broken)
    assert "damaged" in refuse(tmp_path / "a.gz")


def test_bombs_are_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "MAX_PACKED", 2**16)
    monkeypatch.setattr(stored, "MAX_UNPACKED", 2**16)
    head = save(Image.fromarray(RGB), "PPM")
    (tmp_path / "a.ppm.gz").write_bytes(gzip.compress(head + bytes(2**20)))
    assert "unpacks to more than" in refuse(tmp_path / "a.ppm.gz")
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((1024, 1024), np.uint8))
    (tmp_path / "a.tif.gz").write_bytes(gzip.compress((tmp_path / "a.tif").read_bytes()))
    assert "unpacks to more than" in refuse(tmp_path / "a.tif.gz")
    np.save(tmp_path / "a.npy", np.zeros((1024, 1024), np.uint8))
    (tmp_path / "a.npy.gz").write_bytes(gzip.compress((tmp_path / "a.npy").read_bytes()))
    assert "unpacks to more than" in refuse(tmp_path / "a.npy.gz")
    np.save(tmp_path / "b.npy", GREY)  # what comes behind the array is not unpacked
    (tmp_path / "b.npy.gz").write_bytes(gzip.compress((tmp_path / "b.npy").read_bytes() + bytes(2**20)))
    np.testing.assert_array_equal(read_image(tmp_path / "b.npy.gz")[..., 0], GREY)


@pytest.mark.parametrize("kind", ["BMP", "GIF", "WEBP", "PPM"])
def test_cut_and_mutated_pictures_give_pixels_or_one_line(tmp_path, kind, capfd):
    whole = save(Image.fromarray(RGB), kind, **({"lossless": True} if kind == "WEBP" else {}))
    path, rng = tmp_path / "a", np.random.default_rng(1)
    path.write_bytes(whole)
    wanted = read_image(path)
    for end in range(0, len(whole), max(1, len(whole) // 60)):
        path.write_bytes(whole[:end])
        try:
            found = read_image(path)
        except Exception:
            refuse(path)
        else:  # nothing but an end mark is gone
            assert end > len(whole) - 12
            np.testing.assert_array_equal(found, wanted)
    for number in range(60):
        mutated = bytearray(whole)
        for place in rng.integers(0, len(whole) if number % 2 else 60, size=2):
            mutated[place] = rng.integers(256)
        path.write_bytes(mutated)
        try:
            assert read_image(path).ndim == 3
        except Exception:
            refuse(path)
    assert capfd.readouterr().err == ""


def test_what_is_within_gzip_is_told(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"%PDF-1.4"))
    assert "compressed with gzip and a PDF" in refuse(tmp_path / "a.gz")
    (tmp_path / "b.gz").write_bytes(gzip.compress(gzip.compress(PACKED["png"])))
    assert "gzip and of an unknown kind within" in refuse(tmp_path / "b.gz")
    (tmp_path / "c.gz").write_bytes(b"\x1f\x8b" + zlib.compress(bytes(99)))
    assert "damaged" in refuse(tmp_path / "c.gz")
