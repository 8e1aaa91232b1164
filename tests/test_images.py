"""Image files in and out: what is stored comes back, and what is broken is refused in one line."""

import errno
import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from unet_exp.data import images
from unet_exp.errors import DataError

RNG = np.random.default_rng(0)


def noise(channels, dtype, height=24, width=17):
    values = RNG.integers(0, 256, (height, width, channels))
    return (
        (values / 7).astype(dtype) if dtype == "float32" else (values * (257 if dtype == "uint16" else 1)).astype(dtype)
    )


def failure(call, *args):
    with pytest.raises(DataError) as caught:
        call(*args)
    message = str(caught.value)
    assert "\n" not in message
    return message


def jpeg(height=64, width=48):
    return cv2.imencode(".jpg", noise(3, "uint8", height, width))[1].tobytes()


def png(array=None):
    return cv2.imencode(".png", noise(3, "uint8") if array is None else array)[1].tobytes()


def tiff(array, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(
    ("suffix", "dtype"),
    [(".png", "uint8"), (".png", "uint16"), (".tif", "uint8"), (".TIFF", "uint16"), (".tif", "float32")],
)
def test_write_then_read(tmp_path, suffix, dtype, channels):
    array = noise(channels, dtype)
    path = tmp_path / f"a{suffix}"
    images.write_image(path, array)
    back = images.read_image(str(path))
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_channels_are_rgb(tmp_path):
    red = np.zeros((4, 5, 3), np.uint8)
    red[..., 0] = 255
    for name in ("red.png", "red.tif"):
        images.write_image(tmp_path / name, red)
        assert cv2.imread(str(tmp_path / name))[0, 0].tolist() == [0, 0, 255]  # OpenCV's order is BGR.
    (tmp_path / "red.tif").write_bytes(tiff(red, photometric="rgb"))
    np.testing.assert_array_equal(images.read_image(tmp_path / "red.tif"), red)
    (tmp_path / "red.jpg").write_bytes(cv2.imencode(".jpg", red[..., ::-1].copy())[1].tobytes())
    assert images.read_image(tmp_path / "red.jpg")[0, 0].tolist() == [254, 0, 0]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_stacks(tmp_path, dtype, monkeypatch):
    pages = [noise(1, dtype), noise(3, dtype, 9, 30)]
    images.write_pages(tmp_path / "s.tif", pages)
    monkeypatch.delattr(cv2, "imencodemulti", raising=False)  # As OpenCV 4.10 is.
    images.write_pages(tmp_path / "t.tif", pages)
    for name in ("s.tif", "t.tif"):
        for back, page in zip(images.read_pages(tmp_path / name), pages, strict=True):
            np.testing.assert_array_equal(back, page)
    assert "2 pages where one" in failure(images.read_image, tmp_path / "s.tif")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.tif", "t.tif"]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bigtiff": True},
        {"byteorder": ">"},
        {"imagej": True},
        {"tile": (16, 16)},
        {"compression": "zlib"},
    ],
)
def test_tiff_dialects(tmp_path, options):
    stack = np.stack([noise(1, "uint16", 40, 50)[..., 0] for _ in range(3)])
    path = tmp_path / "s.tif"
    path.write_bytes(tiff(stack, photometric="minisblack", **options))
    np.testing.assert_array_equal(np.stack(images.read_pages(path))[..., 0], stack)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.7)])
    assert "cut short" in failure(images.read_pages, path)


@pytest.mark.parametrize(("stored", "given"), [("int32", "uint16"), ("int16", "uint16"), ("float64", "float32")])
def test_other_types_keep_their_values(tmp_path, stored, given):
    array = noise(1, "uint8")[..., 0].astype(stored)
    (tmp_path / "a.tif").write_bytes(tiff(array))
    back = images.read_image(tmp_path / "a.tif")
    assert back.dtype == given
    np.testing.assert_array_equal(back[..., 0], array)
    if stored != "float64":
        (tmp_path / "a.tif").write_bytes(tiff(-array))
        assert "do not fit" in failure(images.read_image, tmp_path / "a.tif")


def test_one_bit_tiff_is_0_and_255(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff(noise(1, "uint8")[..., 0] > 127))
    assert np.unique(images.read_image(tmp_path / "a.tif")).tolist() == [0, 255]


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, -2, -1])
@pytest.mark.parametrize("kind", ["png", "jpg", "tif", "tif_header_first", "tif_planes"])
def test_a_cut_file_is_no_half_picture(tmp_path, kind, part):
    rgb = noise(3, "uint8", 64, 48)
    data = {
        "png": png,
        "jpg": jpeg,
        "tif": lambda: cv2.imencode(".tif", rgb)[1].tobytes(),
        "tif_header_first": lambda: tiff(rgb, photometric="rgb"),
        "tif_planes": lambda: tiff(np.moveaxis(rgb, 2, 0).copy(), photometric="rgb", planarconfig="separate"),
    }[kind]()
    path = tmp_path / "a"
    path.write_bytes(data)
    assert images.read_image(path).shape[2] == 3
    path.write_bytes(data[: int(len(data) * part) if isinstance(part, float) else part])
    assert any(words in failure(images.read_image, path) for words in ("cut short", "none of its pixels"))


def test_broken_files(tmp_path, capfd):
    path = tmp_path / "a.png"
    data = bytearray(png())
    data[len(data) // 2] ^= 255
    for content, words in [
        (b"", "empty"),
        (b"GIF89a and so on", "not a PNG, JPEG or TIFF"),
        (b"<html>404</html>", "not a PNG, JPEG or TIFF"),
        (bytes(data), "damaged"),
        (b"\xff\xd8\xff\xe0\x00\x04ab\x00\x00" + bytes(20), "damaged"),
        (b"II*\0\x08\0\0\0\0\0\x08\0\0\0", "no size"),
        (b"II+\0\x08\0\0\0" + b"\xff" * 8, "cut short"),
        (
            b"II*\0\x08\0\0\0"
            + b"\x02\0"
            + b"".join(struct.pack("<HHII", t, 4, 1, 3) for t in (256, 257))
            + b"\x08\0\0\0",
            "ring",
        ),
        (
            b"II*\0\x08\0\0\0" + b"\x02\0" + b"".join(struct.pack("<HHII", t, 4, 1, 3) for t in (256, 257)) + bytes(4),
            "none of its pixels",
        ),
        (png() + b"left over", None),
    ]:
        path.write_bytes(content)
        if words is None:
            assert images.read_image(path).ndim == 3
        else:
            assert words in failure(images.read_image, path)
    assert capfd.readouterr().err == ""  # OpenCV is quiet.


def test_absurd_sizes_are_refused_unread(tmp_path):
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    data = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    assert "100000 x 100000 pixels" in failure(images.read_image, tmp_path / "bomb.png")


@pytest.mark.parametrize("channels", [2, 3, 5])
def test_channels_that_opencv_would_drop(tmp_path, channels):
    (tmp_path / "a.tif").write_bytes(tiff(noise(channels, "uint8"), photometric="minisblack", planarconfig="contig"))
    assert f"{channels} channels" in failure(images.read_image, tmp_path / "a.tif")


def test_pixels_must_be_finite(tmp_path):
    array = noise(1, "float32")
    array[0, 0] = np.nan
    images.write_image(tmp_path / "a.tif", array)
    assert "not finite" in failure(images.read_image, tmp_path / "a.tif")


def test_what_cannot_be_opened(tmp_path, monkeypatch):
    assert "no such file" in failure(images.read_image, tmp_path / "none.png")
    assert "is a folder" in failure(images.read_image, tmp_path)
    assert "not a regular file" in failure(images.read_image, "/dev/null")
    (tmp_path / "a.png").write_bytes(png())
    assert "no such file" in failure(images.read_image, tmp_path / "a.png" / "b.png")

    def refuse(_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)  # chmod does not stop root.
    assert "permission denied" in failure(images.read_image, tmp_path / "a.png")


def test_what_cannot_be_written(tmp_path, monkeypatch):
    grey = noise(1, "uint8")
    assert "end its name" in failure(images.write_image, tmp_path / "a.jpg", grey)
    assert "float32" in failure(images.write_image, tmp_path / "a.png", noise(1, "float32"))
    assert "one page" in failure(images.write_pages, tmp_path / "a.png", [grey, grey])
    assert "no such file or directory" in failure(images.write_image, tmp_path / "none" / "a.png", grey)
    (tmp_path / "folder.png").mkdir()
    assert "is a directory" in failure(images.write_image, tmp_path / "folder.png", grey)
    images.write_image(tmp_path / "old.png", grey)

    def full(path, _):
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert "no space left" in failure(images.write_image, tmp_path / "old.png", grey + 1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder.png", "old.png"]
    np.testing.assert_array_equal(images.read_image(tmp_path / "old.png"), grey)
    for wrong in (np.zeros((2, 2), bool), np.zeros((2, 2, 2), np.uint8), np.zeros((0, 2), np.uint8)):
        with pytest.raises(ValueError, match="cannot store"):
            images.write_image(tmp_path / "b.png", wrong)


def test_list_images(tmp_path):
    for name in ("10.png", "2.PNG", "1.tif", ".hidden.png", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "3.jpg").touch()

    def names(spec):
        return [path.name for path in images.list_images(spec)]

    assert names(tmp_path) == ["1.tif", "2.PNG", "10.png"]
    assert names(str(tmp_path / "*")) == ["1.tif", "2.PNG", "10.png"]
    assert names(tmp_path / "**" / "*.jpg") == ["3.jpg"]
    assert names(tmp_path / "notes.txt") == ["notes.txt"]
    (tmp_path / "a[1].png").touch()
    assert names(tmp_path / "a[1].png") == ["a[1].png"]
    assert "no such file or folder" in failure(images.list_images, tmp_path / "none")
    assert "nothing matches" in failure(images.list_images, tmp_path / "z*.png")
    assert "none of the 1 matches" in failure(images.list_images, tmp_path / "*.txt")
    (tmp_path / "empty").mkdir()
    assert ".png .jpg .jpeg .tif .tiff" in failure(images.list_images, tmp_path / "empty")
