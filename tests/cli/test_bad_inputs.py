"""What a stranger can get wrong with images and masks: each mistake is one line that says file, reason and mend.

`PYTHONPATH=tests python tests/cli/test_bad_inputs.py` prints mistakes and messages as Markdown.
"""

import gzip
import io
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
import tifffile
from bombs import chunk, png_claiming, tiff_claiming
from PIL import Image

from unet_exp import data
from unet_exp.compose import compose_train, prepare_words
from unet_exp.config import parse
from unet_exp.errors import ConfigError, DataError
from unet_exp.io.writing import write_image, write_pages

RNG = np.random.default_rng(0)
SIZE = 16
CAMERA = (RNG.random((SIZE, SIZE, 3)) * 200).astype(np.uint8)
LABEL = (255 * (RNG.random((SIZE, SIZE)) > 0.5)).astype(np.uint8)
ROOM = 1_500_000_000
"""Bytes that a bomb may take beyond what the program itself takes."""


class Bad(NamedTuple):
    """A mistake: what it is, how it is made in a good data set, what is typed, and words of the message."""

    what: str
    make: Callable[[Path], object]
    words: list[str]
    said: str


def good(root: Path) -> None:
    """Six grey images with masks of 0 and 255."""
    for place in ("images", "masks"):
        (root / place).mkdir(parents=True)
    for number in range(6):
        write_image(root / f"images/a{number}.png", CAMERA[..., :1])
        write_image(root / f"masks/a{number}.png", LABEL)


def image(content: bytes, name: str = "a1.png") -> Callable[[Path], object]:
    return lambda root: (root / "images" / name).write_bytes(content)


def mask(content: bytes, name: str = "a1.png") -> Callable[[Path], object]:
    def make(root: Path) -> None:
        (root / "masks/a1.png").unlink()
        (root / "masks" / name).write_bytes(content)

    return make


def png(array: np.ndarray) -> bytes:
    return cv2.imencode(".png", array)[1].tobytes()


def jpeg(array: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", array)[1].tobytes()


def saved(save: Callable[..., object], *args: object, **options: object) -> bytes:
    file = io.BytesIO()
    save(file, *args, **options)
    return file.getvalue()


def npy(array: np.ndarray, **options: object) -> bytes:
    return saved(np.save, array, **options)


def tiff(array: np.ndarray, **options: object) -> bytes:
    return saved(tifffile.imwrite, array, **options)


def npy_claiming(shape: str, descr: str = "|u1") -> bytes:
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(64)


def tiff_of_one_strip(pages: int) -> bytes:
    """Pages that all show the same 4000 x 4000 zeros, of which the file holds one packed copy."""
    side, strip = 4000, zlib.compress(bytes(4000 * 4000), 9)
    data = [b"II*\0", struct.pack("<I", 8 + len(strip)), strip]
    tags = [(256, side), (257, side), (258, 8), (259, 8), (262, 1), (273, 8), (277, 1), (278, side), (279, len(strip))]
    entries = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    for page in range(1, pages + 1):
        following = 8 + len(strip) + page * (len(entries) + 4) if page < pages else 0
        data += [entries, struct.pack("<I", following)]
    return b"".join(data)


def palette_png(index: int, colour: tuple[int, int, int]) -> bytes:
    picture = Image.fromarray(np.full((SIZE, SIZE), index, np.uint8)).convert("P")
    picture.putpalette(bytes(3 * index) + bytes(colour))
    return saved(picture.save, format="PNG")


def with_text_bomb() -> bytes:
    whole = png(CAMERA[..., 0])
    return whole[:33] + chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100_000_000), 1)) + whole[33:]


def removed(*names: str) -> Callable[[Path], object]:
    return lambda root: [(root / name).unlink() for name in names]


def nothing(root: Path) -> None:
    del root


def doubled(root: Path) -> None:
    write_image(root / "images/a1.tif", CAMERA[..., 0])


def renamed(root: Path) -> None:
    (root / "masks/a1.png").rename(root / "masks/a1_mask.png")


def in_folders(*parts: str) -> Callable[[Path], object]:
    def make(root: Path) -> None:
        for place in ("images", "masks"):
            for number, part in enumerate(parts):
                (root / place / part).mkdir(exist_ok=True)
                (root / place / f"a{number}.png").rename(root / place / part / f"a{number}.png")
            for number in range(len(parts), 6):
                (root / place / f"a{number}.png").unlink()

    return make


def lists(train: str | bytes, val: str = "a4", test: str | None = None) -> Callable[[Path], object]:
    def make(root: Path) -> None:
        (root / "train.txt").write_bytes(train if isinstance(train, bytes) else train.encode())
        (root / "val.txt").write_text(val)
        if test is not None:
            (root / "test.txt").write_text(test)

    return make


def linked(root: Path) -> None:
    (root / "images/a1.png").unlink()
    (root / "images/a1.png").symlink_to("a1.png")


def dangling(root: Path) -> None:
    (root / "masks/a1.png").unlink()
    (root / "masks/a1.png").symlink_to("gone.png")


def looped(root: Path) -> None:
    for name in ("loop", "again"):
        (root / "images" / name).symlink_to(root / "images")
    (root / "masks/a5.png").unlink()


def piped(root: Path) -> None:
    (root / "images/a1.png").unlink()
    os.mkfifo(root / "images/a1.png")


def foldered(root: Path) -> None:
    (root / "images/a1.png").unlink()
    (root / "images/a1.png").mkdir()


def emptied(root: Path) -> None:
    for path in (root / "images").iterdir():
        path.unlink()


def bitmaps(root: Path) -> None:
    emptied(root)
    (root / "images/a.psd").write_bytes(b"8BPS")


def one_stack(pages: int, masks: int) -> Callable[[Path], object]:
    def make(root: Path) -> None:
        write_pages(root / "s.tif", [CAMERA[..., :1]] * pages)
        write_pages(root / "m.tif", [LABEL] * masks)

    return make


def stacks(root: Path) -> None:
    for number in range(3):
        for place, page in (("images", CAMERA[..., :1]), ("masks", LABEL)):
            (root / place / f"a{number}.png").unlink()
            write_pages(root / place / f"a{number}.tif", [page, page])
    lists("a0_000\na1", "a0_001\na3")(root)


def long_named(root: Path) -> None:
    for place, array in (("images", CAMERA[..., :1]), ("masks", LABEL)):
        folder = root / place / ("a" * 120) / ("b" * 120)
        folder.mkdir(parents=True)
        write_image(folder / "c.png", array)


def every_mask(array: np.ndarray) -> Callable[[Path], object]:
    return lambda root: [write_image(root / f"masks/a{number}.png", array) for number in range(6)]


def clash(root: Path) -> None:
    for place, array in (("images", CAMERA[..., :1]), ("masks", LABEL)):
        (root / place / "x").mkdir()
        write_image(root / place / "x/y.png", array)
        write_image(root / place / "x_y.png", array)


def strange(root: Path) -> None:
    (root / "masks/a1.png").unlink()
    (root / "images/a1.png").rename(root / "images/Präparat 1 (größer).png")


def bytes_in_name(root: Path) -> None:
    (root / "images/a1.png").rename(os.fsdecode(os.fsencode(root) + b"/images/a\xff.png"))


def line_in_name(root: Path) -> None:
    (root / "images/a1.png").rename(root / "images/a\n1.png")


def turned(root: Path) -> None:
    (root / "images/a1.png").unlink()
    (root / "images/a1.jpg").write_bytes(jpeg(WIDE.T))
    mask(png(WIDE))(root)


def many_unknown(root: Path) -> None:
    for number in range(5):
        write_image(root / f"masks/a{number}.png", np.full((SIZE, SIZE), 10 + number, np.uint8))


def floats(value: float) -> bytes:
    array = CAMERA[..., 0].astype(np.float32)
    array[3, 3] = value
    return tiff(array)


def classes(*entries: str) -> list[str]:
    return [f"data.classes=[{', '.join(entries)}]"]


STACK = ["data.images=s.tif", "data.masks=m.tif"]
COLOURS = classes("{name: a, value: [0, 0, 0]}", "{name: b, value: [255, 255, 255]}")
INSTANCES = ["data.labels=instances"]
RED = np.dstack([LABEL, 0 * LABEL, 0 * LABEL])
BY_LISTS = ["data.split=lists", "data.lists=."]
WIDE = np.zeros((SIZE, SIZE + 1), np.uint8)

TABLE = [
    # Files that are broken.
    Bad("empty file", image(b""), [], "a1.png: is empty, not a PNG, JPEG or TIFF image"),
    Bad("text named .png", image(b"<html>404</html>"), [], "nor of another kind that is read; convert it"),
    Bad("HEIC named .png", image(b"\0\0\0\x18ftypheic"), [], "convert it to one of them"),
    Bad("gzip named .png", image(gzip.compress(b"x")), [], "nor of another kind that is read; convert it"),
    Bad("PNG cut short", image(png(CAMERA)[:300]), [], "a1.png: the file is damaged, cut short"),
    Bad(
        "PNG with a flipped byte",
        image(png(CAMERA)[:200] + b"\xff\x00" + png(CAMERA)[202:]),
        [],
        "copy or export it again",
    ),
    Bad("PNG of a signature alone", image(png(CAMERA)[:8]), [], "damaged"),
    Bad("JPEG cut short", image(jpeg(CAMERA)[:400]), [], "damaged, cut short"),
    Bad("TIFF cut short", image(tiff(CAMERA, photometric="rgb")[:500]), [], "damaged, cut short"),
    Bad("TIFF without pages", image(b"II*\0" + bytes(4)), [], "pages are missing"),
    Bad("NumPy file cut short", image(npy(CAMERA)[:-5]), [], "some of its pixels are missing"),
    Bad("NumPy file of a header alone", image(npy(CAMERA)[:20]), [], "damaged, cut short"),
    Bad(
        "pickled NumPy objects",
        image(npy(np.array([[{}]], object), allow_pickle=True)),
        [],
        "is a pickle (as Cellpose's _seg.npy), which could run code",
    ),
    Bad("NumPy array of one axis", image(npy(np.zeros(9, np.uint8))), [], "has the shape (9,); save it as (H, W)"),
    Bad("NumPy array of size zero", image(npy(np.zeros((0, 4), np.uint8))), [], "has the shape (0, 4)"),
    Bad("NumPy stack without a channel axis", image(npy(np.zeros((9, 16, 99), np.uint8))), [], "has 99 channels"),
    Bad("NumPy array of text", image(npy(np.array([["a"]]))), [], "holds <U1 and no numbers"),
    Bad("NumPy array of complex numbers", image(npy(np.zeros((4, 4), complex))), [], "holds complex128 and no numbers"),
    Bad("negative integers", image(npy(np.full((4, 4), -1))), [], "int64 pixels, -1 to -1, do not fit into 16 bits"),
    Bad(
        "integers above 16 bits",
        image(npy(np.full((4, 4), 70000))),
        [],
        "70000 to 70000, do not fit into 16 bits",
    ),
    Bad("infinite pixel", image(floats(np.inf)), [], "a1.png: some pixels are not finite; replace infinite values"),
    Bad("NaN that counts", image(floats(np.nan)), ["data.nodata=null"], "count NaN as without data (data.nodata="),
    Bad("infinity in an image", image(floats(np.inf)), [], "not finite"),
    Bad("TIFF in CMYK", image(tiff(np.zeros((8, 8, 4), np.uint8), photometric="separated")), [], "not grey, RGB"),
    Bad(
        "three broken files", lambda root: [image(b"", f"a{n}.png")(root) for n in range(3)], [], "3 of 6 images cannot"
    ),
    # Names and folders.
    Bad("no such folder", nothing, ["data.images=nowhere"], "data.images=nowhere: there is no such file or folder"),
    Bad("no such folder of masks", nothing, ["data.masks=nowhere"], "data.masks=nowhere: there is no such"),
    Bad("empty folder", emptied, [], "data.images=images: no files in this folder"),
    Bad(
        "images of another kind (BMP)",
        bitmaps,
        [],
        "images: holds nothing that is read, only 1 file, such as images/a.psd (*.psd 1)",
    ),
    Bad("glob that matches nothing", nothing, ["data.images=images/*.jpg"], "nothing matches"),
    Bad("glob that lumps two folders", nothing, ["data.masks=*/a1.png"], "no mask in data.masks=*/a1.png"),
    Bad("image without mask", removed("masks/a1.png"), [], "images/a1.png: no mask in data.masks=masks"),
    Bad("mask without image", removed("images/a1.png"), [], "if this is an image, swap data.images and data.masks"),
    Bad("mask named otherwise", renamed, [], "a1.png: no mask in data.masks=masks"),
    Bad("masks are the images", nothing, ["data.masks=images"], "these are the files of data.images"),
    Bad("no mask with the suffix", nothing, ["data.masks=images", "data.mask_suffix=_m"], "or data.mask_suffix"),
    Bad("name of 240 letters", long_named, [], "longer than 200 bytes, too long for a file of its prediction; rename"),
    Bad("wrong mask_suffix", nothing, ["data.mask_suffix=_m"], "a0.png: does not end in data.mask_suffix=_m"),
    Bad("two images of one stem", doubled, [], "has the same name as"),
    Bad("x/y.png beside x_y.png", clash, [], "would be called x_y too"),
    Bad("name with spaces and umlauts", strange, [], "Präparat 1 (größer).png: no mask in"),
    Bad("name that is not UTF-8", bytes_in_name, [], r"images/a\udcff.png: its name holds a line break or the like"),
    Bad("name of two lines", line_in_name, [], r"images/a\n1.png: its name holds a line break or the like, or is not"),
    Bad("glob with letters from z to a", nothing, ["data.images=images/[z-a]*.png"], "brackets are no set of letters"),
    Bad("link to itself", linked, [], "a1.png: is a link to nothing"),
    Bad("link to nothing", dangling, [], "masks/a1.png: is a link to nothing"),
    Bad("folders that link to themselves", looped, [], "images/a5.png: no mask in"),
    Bad("named pipe", piped, [], "is a device, not a file"),
    Bad("folder named a1.png", foldered, [], "masks/a1.png: a mask without an image"),
    Bad("no masks at all", removed(*(f"masks/a{n}.png" for n in range(1, 6))), [], "a1.png, images/a2.png"),
    # Images that do not fit each other.
    Bad(
        "mask of another size",
        mask(png(WIDE)),
        [],
        "masks/a1.png: is 17 x 16 pixels and its image images/a1.png is 16 x 16",
    ),
    Bad("photograph that is turned and does not say so", turned, [], "save both in one size"),
    Bad("real transparency", image(png(np.dstack([CAMERA, CAMERA[..., 0]]))), [], "has 4 channel(s) and other"),
    Bad("one image of 16 bits", image(png(CAMERA[..., 0].astype(np.uint16))), [], "has uint16 pixels and other"),
    Bad("one image of floats", image(floats(0.5)), [], "has float32 pixels and other"),
    Bad("more masks than pages", one_stack(4, 5), STACK, "m.tif: has 5 pages and its image s.tif has 4"),
    Bad("channels as pages", one_stack(4, 1), STACK, "(if they are channels, save them as one page"),
    # Masks.
    Bad("mask of 0 and 1", mask(png(LABEL // 255)), [], "pixels belong to no class: 1 x"),
    Bad(
        "all masks of 0 and 1",
        every_mask(LABEL // 255),
        [],
        "type 'data.classes=[{name: background, value: 0}, {name: foreground, value: 1}]'",
    ),
    Bad("masks of 0 and 65535", every_mask(LABEL.astype(np.uint16) * 257), [], "{name: foreground, value: 65535}]'"),
    Bad(
        "black and red masks for grey classes",
        every_mask(RED),
        [],
        "type 'data.classes=[{name: background, value: [0, 0, 0]}, {name: foreground, value: [255, 0, 0]}]'",
    ),
    Bad("unknown values in five masks", many_unknown, [], "1280 pixels belong to no class: 10 x 256, 11 x 256"),
    Bad("JPEG mask named .png", mask(jpeg(LABEL)), [], "JPEG changes pixels: save masks as PNG"),
    Bad("JPEG mask", mask(jpeg(LABEL), "a1.jpg"), [], "JPEG changes pixels: save masks as PNG"),
    Bad("mask that is a photograph", mask(png(CAMERA)), [], "and this is a colour file"),
    Bad("a number for each object", every_mask(np.arange(256, dtype=np.uint8).reshape(16, 16)), [], "labels=instances"),
    Bad("unknown colour", mask(png(np.full((SIZE, SIZE, 3), (3, 2, 1), np.uint8))), COLOURS, "(1, 2, 3) x 256"),
    Bad("palette with an index too many", mask(palette_png(4, (9, 8, 7))), [], "4 x 256"),
    Bad("palette with an unknown colour", mask(palette_png(4, (9, 8, 7))), COLOURS, "(9, 8, 7) x 256"),
    Bad("transparent mask", mask(png(np.zeros((SIZE, SIZE, 4), np.uint8))), [], "transparent pixels"),
    Bad("mask of fractions", mask(floats(0.5)), [], "a label file with fractional pixels"),
    Bad("infinite mask", mask(floats(np.inf)), [], "masks/a1.png: some pixels are not finite"),
    Bad("mask of two channels", mask(npy(np.zeros((SIZE, SIZE, 2), np.uint8))), [], "a label file with 2 channels"),
    Bad("mask in 16-bit colours", mask(png(np.full((SIZE, SIZE, 3), 999, np.uint16))), COLOURS, "16-bit colours"),
    Bad("empty mask file", mask(b""), [], "masks/a1.png: is empty, not a PNG"),
    Bad("objects in JPEG", mask(jpeg(LABEL), "a1.jpg"), INSTANCES, "masks/a1.jpg: 1 mask in JPEG, which changes the"),
    Bad("objects with fractions", mask(floats(0.5)), INSTANCES, "a label file with fractional pixels"),
    # The list of classes.
    Bad(
        "classes without a name",
        nothing,
        classes("{value: 0}", "{name: b, value: 1}"),
        "entry 1 {'value': 0}: its name",
    ),
    Bad("grey value of 70000", nothing, classes("{name: a, value: 0}", "{name: b, value: 70000}"), "entry 2"),
    Bad(
        "colour of two numbers",
        nothing,
        classes("{name: a, value: [0, 0]}", "{name: b, value: 1}"),
        "its value must be",
    ),
    Bad(
        "misspelt key",
        nothing,
        classes("{name: a, value: 0, colour: red}", "{name: b, value: 1}"),
        "its keys must be name, value",
    ),
    Bad(
        "one value for two classes",
        nothing,
        classes("{name: a, value: 1}", "{name: b, value: 1}"),
        "the value 1 is given twice",
    ),
    Bad(
        "one name for two classes",
        nothing,
        classes("{name: a, value: 0}", "{name: a, value: 1}"),
        "the name a is given twice",
    ),
    Bad(
        "grey and colour mixed",
        nothing,
        classes("{name: a, value: 0}", "{name: b, value: [1, 2, 3]}"),
        "all of one kind",
    ),
    Bad("a single class", nothing, classes("{name: a, value: 0}"), "1 classes; give 2 to 254"),
    Bad("classes are no list", nothing, ["data.classes=3"], "data.classes=3: must be a list"),
    Bad("ignored value of a class", nothing, ["data.ignore=255"], "data.ignore=255 is the value of a class too"),
    Bad(
        "nothing but ignored pixels", every_mask(LABEL * 0 + 9), ["data.ignore=9"], "training masks, a0 first, are ign"
    ),
    Bad("ignored background of objects", nothing, [*INSTANCES, "data.ignore=0"], "data.ignore=0 is the value of a cl"),
    Bad("ignored colour, grey classes", nothing, ["data.ignore=[[1,2,3]]"], "is a colour and data.classes have grey"),
    Bad("objects of many classes", nothing, [*INSTANCES, *COLOURS], "data.labels=instances needs two"),
    # Splits.
    Bad(
        "too few images",
        removed(*(f"{p}/a{n}.png" for p in ("images", "masks") for n in range(2, 6))),
        [],
        "3 parts are wanted and data.group=",
    ),
    Bad("one stack", one_stack(4, 4), STACK, "data.group=file makes 1 group of images, each of wh"),
    Bad(
        "more folds than images",
        nothing,
        ["data.folds=7"],
        "data.folds=7: 7 parts are wanted and data.group=file makes 6",
    ),
    Bad("shares above one", nothing, ["data.val=0.6", "data.test=0.5"], "both less than 1 together"),
    Bad("no validation", nothing, ["data.val=0"], "data.val must be more than 0"),
    Bad("broken regular expression", nothing, ["data.group='(a'"], "is no regular expression"),
    Bad("expression that does not match", nothing, ["data.group=b"], "does not match a0; give file, folder, image or"),
    *(
        Bad(
            f"expression {typed} that lost its backslashes",
            nothing,
            [f"data.group={typed}"],
            f"data.group={typed}: does not match a0 (did you mean 'data.group={meant}'? without single quotes",
        )
        for typed, meant in (
            ("^ad+", r"^a\d+"),
            ("^w?d+", r"^\w?\d+"),
            ("a[d]", r"a[\d]"),
            ("^d*a$|a(d)", r"^\d*a$|a(\d)"),
        )
    ),
    Bad("expression of plain words", nothing, ["data.group=ad"], "data.group=ad: does not match a0; give file"),
    Bad(
        "expression of what the wildcards leave out",
        nothing,
        ["data.images=images/a*.png", "data.masks=masks/a*.png", r"data.group='^a\d'"],
        "does not match 0; give file, folder, image or a regular expression that all names match; names are what the "
        "wildcards match in data.images=images/a*.png: with data.images=images/*.png this one is 'a0'",
    ),
    Bad("folders without parts", nothing, ["data.split=folders"], "a0 is not in a folder train, val, test"),
    Bad("folder of another name", in_folders("train", "wild"), ["data.split=folders"], "wild/a1 is not in a folder"),
    Bad("no folder val", in_folders("train", "test"), ["data.split=folders"], "there is no image in val"),
    Bad("folds and folders", nothing, ["data.split=folders", "data.folds=3"], "are two splits"),
    Bad("lists without their folder", nothing, ["data.split=lists"], "go together"),
    Bad("list that is missing", nothing, BY_LISTS, "train.txt: cannot be read (No such file"),
    Bad(
        "list of missing names",
        lists("a0\nb1\nb2"),
        BY_LISTS,
        "train.txt: 2 of 3 names have no labelled image, b1, b2 first",
    ),
    Bad("lists without a folder", nothing, ["data.split=lists", "data.lists=''"], "data.lists='': String should have"),
    Bad("image in two lists", lists("a0\na4"), BY_LISTS, "val.txt: a4 is in train.txt already"),
    Bad("image twice in a list", lists("a0\na0"), BY_LISTS, "a0 is in train.txt already"),
    Bad("empty list", lists("\n \n"), BY_LISTS, "holds no name"),
    Bad("list that is no text", lists(b"\xff\xfe\x00a"), BY_LISTS, "is not a text in UTF-8"),
    Bad("pages of a stack in two lists", stacks, BY_LISTS, "keep a group together, or set data.group=image"),
    # More than memory holds.
    Bad(
        "more than max_memory",
        nothing,
        ["data.max_memory=0.000001", "data.cache=memory"],
        "more than data.max_memory=1e-06 (most for images/",
    ),
]

BOMBS = [
    Bad("PNG that claims 100,000 x 100,000", image(png_claiming(100_000, 100_000)), [], "predict, save it as a tiled"),
    Bad("PNG of 1 GB of zeros", image(png_claiming(16_000, 60_000, 2**24)), [], "are too many to be read at once"),
    Bad("PNG with 100 MB of text", lambda root: image(with_text_bomb())(root), [], "a1.png: the file is damaged"),
    Bad(
        "JPEG that claims 65,500 x 65,500",
        image(re.sub(b"(?s)(\xff\xc0..\x08)....", b"\\1\xff\xdc\xff\xdc", jpeg(CAMERA))),
        [],
        "65500 x 65500",
    ),
    Bad(
        "NumPy header of 10^18 pixels",
        image(npy_claiming("(1000000000, 1000000000)")),
        [],
        "1000000000 x 1000000000 pixels are too many",
    ),
    Bad("NumPy header without pixels", image(npy_claiming("(16000, 16000)")), [], "some of its pixels are missing"),
    Bad("NumPy stack of 10^12 pages", image(npy_claiming("(1000000000000, 16, 16, 1)")), [], "are missing"),
    Bad(
        "TIFF that claims to be 10^9 wide",
        image(tiff_claiming(2**30)),
        [],
        "1073741824 x 16 pixels are too many",
    ),
    Bad(
        "TIFF with 20,000 times one page",
        lambda root: image(tiff_of_one_strip(20_000))(root),
        [],
        "has 1 page and its image",
    ),
    Bad(
        "mask of 16,000 x 16,000 zeros",
        mask(png_claiming(16_000, 16_000)),
        ["data.max_memory=0.2", "data.cache=memory"],
        "256 MB of memory, more than data.max_memory=0.2",
    ),
]


def told(bad: Bad, root: Path) -> str:
    """The message for a mistake; the folders are typed as they lie below the working directory."""
    good(root)
    bad.make(root)
    os.chdir(root)
    typed = ["data=folder", "data.images=images", "data.masks=masks", *bad.words]
    try:
        data.load_data(parse(compose_train(prepare_words(typed))).data)
    except (ConfigError, DataError) as error:
        return str(error)
    return "nothing: it was read"


@pytest.mark.parametrize("bad", TABLE, ids=[bad.what for bad in TABLE])
def test_a_mistake_is_one_line(bad, tmp_path, monkeypatch, capfd, recwarn):
    monkeypatch.chdir(tmp_path)
    message = told(bad, tmp_path / "set")
    assert bad.said in message
    assert "\n" not in message
    assert len(message) < 700
    assert capfd.readouterr().err == ""
    assert not recwarn.list


def test_the_table_is_long_enough():
    assert len(TABLE) + len(BOMBS) >= 60
    assert len({bad.what for bad in (*TABLE, *BOMBS)}) == len(TABLE) + len(BOMBS)


def bombs() -> list[str]:
    """The messages of all bombs, from a process that can neither fill the memory nor go on for ever."""
    done = subprocess.run(
        [sys.executable, __file__, "bombs"], capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
def test_no_bomb_fills_the_memory():
    for bad, message in zip(BOMBS, bombs(), strict=True):
        assert bad.said in message, bad.what
        assert "\n" not in message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything, so nothing can be refused")
@pytest.mark.parametrize(
    ("name", "said"), [("images/a1.png", "cannot be read (Permission"), ("images", "cannot be opened")]
)
def test_what_may_not_be_read(name, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bad = Bad("", lambda root: (root / name).chmod(0), [], said)
    try:
        assert said in told(bad, tmp_path / "set")
    finally:
        (tmp_path / "set" / name).chmod(0o700)


@pytest.mark.parametrize("word", ["data.masks=nowhere", "data.classes=3", "data.val=0"])
def test_the_entry_point_says_it_and_ends(word, cli, tmp_path):
    good(tmp_path / "set")
    said = cli("train", "data=folder", "data.images=set/images", "data.masks=set/masks", word, "output=out")
    assert word.split("=")[0] in said.mistake
    assert not (tmp_path / "out").exists()


def test_what_looks_wrong_and_is_not(tmp_path, monkeypatch):
    """Suffixes and channels are taken for what they hold."""
    monkeypatch.chdir(tmp_path)
    for number, make in enumerate(
        (
            mask(png(np.repeat(LABEL[..., None], 3, axis=2))),
            mask(png(np.dstack([LABEL] * 3 + [np.full_like(LABEL, 255)]))),
            mask(tiff(LABEL), "a1.jpg"),
            image(tiff(CAMERA[..., 0])),
            image(png(CAMERA[..., 0]) + b"left over"),
            image(npy(np.asfortranarray(CAMERA[..., 0]))),
            lambda root: (root / "images/.a9.png").touch(),
            lambda root: (root / "images/notes.txt").touch(),
        )
    ):
        assert told(Bad("", make, [], ""), tmp_path / f"set{number}") == "nothing: it was read"


def _messages(rows: list[Bad]) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        messages = [told(bad, home / str(number)) for number, bad in enumerate(rows)]
        os.chdir("/")
        return [message.replace(folder, "") for message in messages]


def markdown() -> str:
    """The table of mistakes and what is said of each."""
    rows = zip((*TABLE, *BOMBS), (*_messages(TABLE), *bombs()), strict=True)
    lines = [f"| {bad.what} | {message.replace('|', chr(92) + '|')} |" for bad, message in rows]
    return "\n".join(["| input | what is said |", "| --- | --- |", *lines])


def _limit_memory() -> None:
    import resource

    taken = int(re.findall(r"VmSize:\s+(\d+)", Path("/proc/self/status").read_text())[0]) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (taken + ROOM, taken + ROOM))


if __name__ == "__main__":
    warnings.simplefilter("error")
    if sys.argv[1:] == ["bombs"]:
        _limit_memory()
        print(json.dumps(_messages(BOMBS)))
    else:
        print(markdown())
