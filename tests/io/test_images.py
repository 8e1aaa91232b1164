"""Image files in and out: what is stored comes back, and what is broken is refused in one line."""

import errno
import io
import logging
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from unet_exp.errors import DataError
from unet_exp.io import images, listing, scene, writing

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
    writing.write_image(path, array)
    back = images.read_image(str(path))
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_channels_are_rgb(tmp_path):
    red = np.zeros((4, 5, 3), np.uint8)
    red[..., 0] = 255
    for name in ("red.png", "red.tif"):
        writing.write_image(tmp_path / name, red)
        assert cv2.imread(str(tmp_path / name))[0, 0].tolist() == [0, 0, 255]  # OpenCV's order is BGR.
    (tmp_path / "red.tif").write_bytes(tiff(red, photometric="rgb"))
    np.testing.assert_array_equal(images.read_image(tmp_path / "red.tif"), red)
    (tmp_path / "red.jpg").write_bytes(cv2.imencode(".jpg", red[..., ::-1].copy())[1].tobytes())
    assert images.read_image(tmp_path / "red.jpg")[0, 0].tolist() == [254, 0, 0]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_stacks(tmp_path, dtype):
    # Rows of 3 or 4 pixels, or 3 or 4 rows, are easily taken for channels.
    pages = [noise(c, dtype, h, w) for c, h, w in [(1, 24, 17), (3, 9, 30), (4, 4, 4), (1, 5, 3), (3, 3, 1), (1, 1, 1)]]
    writing.write_pages(tmp_path / "s.tif", pages)
    for back, page in zip(images.read_pages(tmp_path / "s.tif"), pages, strict=True):
        np.testing.assert_array_equal(back, page)
    assert "6 pages where one" in failure(images.read_image, tmp_path / "s.tif")
    assert [p.name for p in tmp_path.iterdir()] == ["s.tif"]
    read, opencv = cv2.imreadmulti(str(tmp_path / "s.tif"), flags=cv2.IMREAD_UNCHANGED)  # Other programs can read it.
    assert read
    np.testing.assert_array_equal(opencv[1][..., ::-1], pages[1])


def test_what_a_tiff_says_of_itself(tmp_path):
    writing.write_pages(tmp_path / "s.tif", [noise(1, "uint8"), noise(3, "uint8"), noise(4, "uint8")])
    with tifffile.TiffFile(tmp_path / "s.tif") as file:
        assert [page.photometric.name for page in file.pages] == ["MINISBLACK", "RGB", "RGB"]
        assert [[kind.name for kind in page.extrasamples] for page in file.pages] == [[], [], ["UNASSALPHA"]]
        assert {page.compression.name for page in file.pages} == {"ADOBE_DEFLATE"}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bigtiff": True},
        {"byteorder": ">"},
        {"imagej": True},
        {"tile": (16, 16)},
        {"compression": "zlib"},
        {"compression": "lzw", "predictor": True, "rowsperstrip": 7},
        {"compression": "zstd", "tile": (32, 32)},
        {"ome": True},
    ],
)
def test_tiff_dialects(tmp_path, options):
    stack = np.stack([noise(1, "uint16", 40, 50)[..., 0] for _ in range(3)])
    path = tmp_path / "s.tif"
    path.write_bytes(tiff(stack, photometric="minisblack", metadata={"axes": "ZYX"}, **options))
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


def test_half_floats_become_floats(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff(np.float16([[0.5, 2]])))
    assert images.read_image(tmp_path / "a.tif")[0, :, 0].tolist() == [0.5, 2]
    (tmp_path / "a.tif").write_bytes(tiff(np.array([[1e300]])))
    assert "not finite" in failure(images.read_image, tmp_path / "a.tif")
    (tmp_path / "a.tif").write_bytes(tiff(np.array([[1j]])))
    assert "complex128 pixels do not fit" in failure(images.read_image, tmp_path / "a.tif")


def plain_tiff(pixels, bits, photometric, palette=None):
    """One uncompressed strip of 8 pixels a row, packed as given, in a TIFF built by hand."""
    pixels = bytes(pixels)
    table = b"" if palette is None else np.asarray(palette, "<u2").tobytes()
    height, place = len(pixels) // bits, 8 + len(pixels)
    tags = [(256, 8), (257, height), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1), (278, height)]
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in [*tags, (279, len(pixels))]]
    entries += [struct.pack("<HHII", 320, 3, len(table) // 2, place)] if table else []
    first = struct.pack("<I", place + len(table))
    return b"II*\0" + first + pixels + table + struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)


@pytest.mark.parametrize(
    ("pixels", "bits", "photometric", "values"),
    [
        ([0b01010011], 1, 1, [0, 255, 0, 255, 0, 0, 255, 255]),
        ([0b01010011], 1, 0, [255, 0, 255, 0, 255, 255, 0, 0]),
        ([0b00011011, 0], 2, 1, [0, 85, 170, 255, 0, 0, 0, 0]),
        ([0x01, 0x23, 0x45, 0xEF], 4, 1, [0, 17, 34, 51, 68, 85, 238, 255]),
        (range(8), 8, 0, range(255, 247, -1)),
        (range(16), 16, 1, [256, 770, 1284, 1798, 2312, 2826, 3340, 3854]),
        (range(16), 16, 0, [65279, 64765, 64251, 63737, 63223, 62709, 62195, 61681]),
    ],
)
def test_grey_tiffs_are_black_at_zero(tmp_path, pixels, bits, photometric, values):
    (tmp_path / "a.tif").write_bytes(plain_tiff(pixels, bits, photometric))
    assert images.read_image(tmp_path / "a.tif")[0, :, 0].tolist() == list(values)


@pytest.mark.parametrize("bits", [1, 4, 8])
@pytest.mark.parametrize("scale", [1, 256])
def test_tiff_palettes(tmp_path, bits, scale):
    palette = RNG.integers(0, 256, (3, 2**bits))
    (tmp_path / "a.tif").write_bytes(plain_tiff([255] * bits + [0] * bits, bits, 3, palette * scale))
    page = images.read_image(tmp_path / "a.tif")
    assert page.dtype == np.uint8
    assert page[:, 0].tolist() == [palette[:, -1].tolist(), palette[:, 0].tolist()]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "transparent P"])
def test_pngs_of_every_kind(tmp_path, mode):
    rgb = Image.fromarray(noise(3, "uint8"))
    picture = Image.fromarray(noise(1, "uint16")[..., 0]) if mode == "I;16" else rgb.convert(mode.split()[-1])
    if mode == "P":
        picture = rgb.quantize(5)
    picture.save(tmp_path / "a.png", **({"transparency": 3} if mode == "transparent P" else {}))
    wanted = picture.convert({"1": "L", "LA": "RGBA", "P": "RGB"}.get(mode, mode)) if " " not in mode else None
    page = images.read_image(tmp_path / "a.png")
    assert page.dtype == (np.uint16 if mode == "I;16" else np.uint8)
    assert page.flags.writeable
    if wanted is None:
        assert page.shape[2] == 4
        np.testing.assert_array_equal(page[..., 3], 255 * (np.asarray(picture) != 3))
    else:
        np.testing.assert_array_equal(np.squeeze(page), np.asarray(wanted))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pngs_of_16_bits_keep_all_of_them(tmp_path, channels):
    stored = noise(channels, "uint16")
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(np.squeeze(stored)))
    wanted = stored[:, :, [0, 0, 0, 1]] if channels == 2 else stored  # Grey with an alpha is a colour with an alpha.
    np.testing.assert_array_equal(images.read_image(tmp_path / "a.png"), wanted)


def test_a_view_of_one_pixel_can_be_written(tmp_path):
    writing.write_image(tmp_path / "a.png", noise(3, "uint8")[:1, :1, :1])
    assert images.read_image(tmp_path / "a.png").shape == (1, 1, 1)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"mode": "L"}, {"mode": "CMYK"}])
def test_jpegs_of_every_kind(tmp_path, options):
    options = dict(options)
    picture = Image.fromarray(np.full((16, 24, 3), (200, 90, 30), np.uint8)).convert(options.pop("mode", "RGB"))
    picture.save(tmp_path / "a.jpg", **options)
    page = images.read_image(tmp_path / "a.jpg")
    assert page.shape == (16, 24, 1 if picture.mode == "L" else 3)
    assert np.abs(page[0, 0] - np.array([115] if picture.mode == "L" else [200, 90, 30], float)).max() < 5


def kinds():
    rgb = noise(3, "uint8", 64, 48)
    return {
        "png": png(),
        "png16": png(noise(3, "uint16")),
        "jpg": jpeg(),
        "tif": cv2.imencode(".tif", rgb)[1].tobytes(),
        "tif_header_first": tiff(rgb, photometric="rgb"),
        "tif_planes": tiff(np.moveaxis(rgb, 2, 0).copy(), photometric="rgb", planarconfig="separate"),
        "tif_tiles": tiff(rgb, photometric="rgb", tile=(16, 16), compression="lzw", bigtiff=True),
        "tif_jpeg": tiff(rgb, photometric="rgb", compression="jpeg"),
        "tif_floats": tiff(noise(3, "float32"), photometric="rgb", compression="zlib", predictor=True),
    }


@pytest.mark.parametrize("kind", kinds())
def test_a_cut_file_is_no_half_picture(tmp_path, kind):
    data, path = kinds()[kind], tmp_path / "a"
    path.write_bytes(data)
    whole = images.read_image(path)
    assert whole.shape[2] == 3
    for end in sorted({*range(1, 60), *range(60, len(data), len(data) // 40), *range(len(data) - 30, len(data))}):
        path.write_bytes(data[:end])
        try:
            back = images.read_image(path)
        except DataError:
            pass
        else:  # Nothing but an end mark is gone.
            assert end > len(data) - 20
            np.testing.assert_array_equal(back, whole)


@pytest.mark.parametrize("kind", kinds())
def test_mutations(tmp_path, kind, capfd):
    """A mutated file gives a DataError of one line or pixels; PNG is all checksums, and never gives wrong ones."""
    data, path, rng = kinds()[kind], tmp_path / "a", np.random.default_rng(1)
    path.write_bytes(data)
    whole, messages = images.read_image(path), []
    for number in range(300):
        mutated = bytearray(data)
        # Headers lie at either end.
        among = [(0, len(data)), (0, 200), (len(data) - 200, len(data))][number % 3]
        for place in rng.integers(*among, size=rng.integers(1, 4)):
            mutated[place] = rng.choice([0, 1, 127, 128, 255, mutated[place] ^ 16])
        path.write_bytes(mutated)
        try:
            pages = images.read_pages(path)
        except DataError as error:
            messages.append(str(error))
        else:
            assert {(page.ndim, 1 <= page.shape[2] <= scene.MAX_CHANNELS) for page in pages} == {(3, True)}
            assert kind[:3] != "png" or np.array_equal(pages[0], whole)
    assert messages
    assert not any("\n" in message or len(message) > 500 for message in messages)
    assert capfd.readouterr().err == ""


def changed(tag, value):
    data = plain_tiff(range(8), 8, 1)
    place = data.index(struct.pack("<HHI", tag, 4, 1)) + 8
    return data[:place] + struct.pack("<I", value) + data[place + 4 :]


def tags(*pairs):
    return struct.pack("<H", len(pairs)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in pairs)


BROKEN = {
    "empty": (b"", "not a PNG, JPEG or TIFF"),
    "gif of a signature": (b"GIF89a and so on", "damaged"),
    "heic": (b"\0\0\0\x18ftypheic", "is an HEIC image, not a PNG, JPEG or TIFF"),
    "html": (b"<html>404</html>", "is a web page"),
    "git lfs pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
    "text": (b"nothing", "is not a PNG, JPEG or TIFF"),
    "png of a signature": (b"\x89PNG\r\n\x1a\n", "damaged"),
    "png without pixels": (png()[:33] + png()[-12:], "damaged"),
    "png of noise": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "damaged"),
    "jpeg of zeros": (b"\xff\xd8\xff\xe0\x00\x04ab\x00\x00" + bytes(20), "damaged"),
    "jpeg without pixels": (jpeg()[:20] + b"\xff\xd9", "damaged"),
    "tiff without pages": (b"II*\0" + bytes(4), "pages are missing"),
    "tiff that begins behind its end": (b"II*\0\xff\0\0\0", "pages are missing"),
    "tiff without size": (b"II*\0\x08\0\0\0\0\0" + bytes(4), "damaged"),
    "bigtiff": (b"II+\0\x08\0\0\0" + b"\xff" * 8, "pages are missing"),
    "tiff without pixels": (b"II*\0\x08\0\0\0" + tags((256, 3), (257, 3), (258, 8)) + bytes(4), "missing"),
    "tiff with an empty strip": (changed(279, 0), "missing"),
    "tiff with a strip behind its end": (changed(273, 999), "missing"),
    "tiff of an unknown compression": (changed(259, 999), "999"),
    "tiff of 99 bits": (changed(258, 99), "99 bits"),
    "tiff whose pages form a ring": (plain_tiff(range(8), 8, 1)[:-4] + struct.pack("<I", 16), "ring"),
    "tiff whose next page is missing": (plain_tiff(range(8), 8, 1)[:-4] + struct.pack("<I", 999), "pages are missing"),
    "tiff with 65 channels": (
        tiff(noise(65, "uint8"), photometric="minisblack", planarconfig="contig"),
        "65 channels",
    ),
    "tiff in CMYK": (tiff(noise(4, "uint8"), photometric="separated"), "colours are CMYK, not grey, RGB"),
    "tiff in Lab": (tiff(noise(3, "uint8"), photometric="cielab"), "colours are CIELAB, not grey, RGB"),
    "tiff of a volume": (tiff(np.zeros((16, 16, 16), np.uint8), volumetric=True, tile=(16, 16, 16)), "shape (16"),
    "png with bytes behind its end": (png() + b"left over", None),
}


@pytest.mark.parametrize(("content", "words"), BROKEN.values(), ids=BROKEN)
def test_broken_files(tmp_path, content, words, capfd, caplog, recwarn):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        if words is None:
            assert images.read_image(path).ndim == 3
        else:
            assert words in failure(images.read_image, path)
    assert capfd.readouterr().err == ""
    assert not caplog.records
    assert not recwarn.list


def test_a_checksum_that_does_not_fit(tmp_path):
    data = bytearray(png())
    data[len(data) // 2] ^= 255
    (tmp_path / "a.png").write_bytes(data)
    assert "checksum" in failure(images.read_image, tmp_path / "a.png")


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_libraries_are_quiet(tmp_path):
    """In a process of its own: pytest takes warnings and logging for itself."""
    data = png(noise(3, "uint16"))
    odd = chunk(b"iCCP", b"name\0\0" + zlib.compress(bytes(200))) + chunk(b"acTL", bytes(8)) + chunk(b"sRGB", b"\x09")
    (tmp_path / "odd.png").write_bytes(data[:33] + odd + data[33:])
    (tmp_path / "exif.jpg").write_bytes(jpeg()[:2] + b"\xff\xe1\x00\x12Exif\0\0II*\0\x08\0\0\0\x05\0" + jpeg()[2:])
    (tmp_path / "ring.tif").write_bytes(BROKEN["tiff whose pages form a ring"][0])
    (tmp_path / "cut.tif").write_bytes(BROKEN["tiff whose next page is missing"][0])
    code = """if True:
        import sys
        from unet_exp.io.images import DataError, read_image
        from unet_exp.io.listing import list_files
        for _, path in list_files(sys.argv[1]).images:
            try:
                print(path.name, read_image(path).shape[2])
            except DataError:
                print(path.name, "is broken")
    """
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["cut.tif is broken", "exif.jpg 3", "odd.png 3", "ring.tif is broken"]


def test_absurd_sizes_are_refused_unread(tmp_path, monkeypatch):
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    assert "100000 x 100000 pixels" in failure(images.read_image, tmp_path / "bomb.png")
    (tmp_path / "bomb.tif").write_bytes(changed(256, 2**31))
    assert "2147483648 x 1 pixels" in failure(images.read_image, tmp_path / "bomb.tif")
    (tmp_path / "tile.tif").write_bytes(tiff(noise(1, "uint8")[..., 0], tile=(32, 64)))
    (tmp_path / "a.jpg").write_bytes(jpeg())
    monkeypatch.setattr(scene, "MAX_PIXELS", 2000)
    assert "64 x 32 pixels" in failure(images.read_image, tmp_path / "tile.tif")
    assert "48 x 64 pixels" in failure(images.read_image, tmp_path / "a.jpg")


def test_pixels_must_be_finite(tmp_path):
    array = noise(1, "float32")
    array[0, 0] = np.nan
    writing.write_image(tmp_path / "a.tif", array)
    assert "not finite" in failure(images.read_image, tmp_path / "a.tif")


def test_what_cannot_be_opened(tmp_path, monkeypatch):
    assert "no such file" in failure(images.read_image, tmp_path / "none.png")
    assert "is a folder" in failure(images.read_image, tmp_path)
    assert "device, not a file" in failure(images.read_image, "/dev/null")
    (tmp_path / "a.png").write_bytes(png())
    assert "no such file" in failure(images.read_image, tmp_path / "a.png" / "b.png")

    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # chmod does not stop root.
    assert "Permission denied" in failure(images.read_image, tmp_path / "a.png")


def test_what_cannot_be_written(tmp_path, monkeypatch):
    grey = noise(1, "uint8")
    assert "end its name" in failure(writing.write_image, tmp_path / "a.jpg", grey)
    assert "float32" in failure(writing.write_image, tmp_path / "a.png", noise(1, "float32"))
    assert "one page" in failure(writing.write_pages, tmp_path / "a.png", [grey, grey])
    assert "No such file or directory" in failure(writing.write_image, tmp_path / "none" / "a.png", grey)
    (tmp_path / "folder.png").mkdir()
    assert "Is a directory" in failure(writing.write_image, tmp_path / "folder.png", grey)
    writing.write_image(tmp_path / "old.png", grey)

    def full(path, _):
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert "No space left" in failure(writing.write_image, tmp_path / "old.png", grey + 1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder.png", "old.png"]
    np.testing.assert_array_equal(images.read_image(tmp_path / "old.png"), grey)
    for wrong in (np.zeros((2, 2), bool), np.zeros((2, 2, 2), np.uint8), np.zeros((0, 2), np.uint8)):
        with pytest.raises(ValueError, match="cannot store"):
            writing.write_image(tmp_path / "b.png", wrong)


def test_list_files(tmp_path):
    for name in ("10.png", "2.PNG", "1.tif", ".hidden.png", "notes.txt", "scan.psd"):
        (tmp_path / name).touch()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "3.jpg").touch()

    def names(spec):
        return [path.name for _, path in listing.list_files(spec, recursive=False).images]

    assert names(tmp_path) == ["1.tif", "2.PNG", "10.png"]
    assert names(str(tmp_path / "*")) == ["1.tif", "2.PNG", "10.png"]
    assert names(tmp_path / "**" / "*.jpg") == ["3.jpg"]
    assert names(tmp_path / "notes.txt") == ["notes.txt"]
    (tmp_path / "a[1].png").touch()
    assert names(tmp_path / "a[1].png") == ["a[1].png"]
    inside = tmp_path / "run [1]"
    inside.mkdir()
    (inside / "4.png").touch()
    assert names(inside / "*.png") == ["4.png"]
    assert [path.name for path in listing.list_files(tmp_path).others] == ["notes.txt", "scan.psd"]
    assert "no such file or folder" in failure(listing.list_files, tmp_path / "none")
    assert "nothing matches" in failure(listing.list_files, tmp_path / "z*.png")
    said = failure(listing.list_files, tmp_path / "s*")
    assert f"only 1 file, such as {tmp_path / 'scan.psd'} (*.psd 1)" in said
    assert ".png .jpg .jpeg .tif .tiff .stk .lsm .npy" in said
    (tmp_path / "empty").mkdir()
    assert "no files in this folder" in failure(listing.list_files, tmp_path / "empty")
