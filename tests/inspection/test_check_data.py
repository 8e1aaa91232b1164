"""A look at images and masks before a training: what is counted, suspicious, proposed and refused."""

import re
import shlex
from collections import Counter
from copy import deepcopy
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml
from conftest import TINY, TINY_STACK, Said
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from unet_exp import data
from unet_exp.compose import compose_train
from unet_exp.config import IGNORE_LABEL, ClassSpec, parse
from unet_exp.data.sets.synthetic import generate
from unet_exp.errors import UserError
from unet_exp.folder.label_map import LabelMap
from unet_exp.folder.pairs import Pair
from unet_exp.folder.rules import Rules
from unet_exp.folder.survey import Survey
from unet_exp.inspection import survey, tables
from unet_exp.inspection.check import check_data
from unet_exp.inspection.findings import Totals, find_suspicious_images, propose_classes
from unet_exp.inspection.survey import survey_samples
from unet_exp.io.images import read_image
from unet_exp.io.writing import write_image, write_pages
from unet_exp.samples.data_set import DataSet
from unet_exp.samples.sample import Sample

RNG = np.random.default_rng(0)
COLOURS = np.array([(60, 60, 60), (0, 160, 0), (0, 0, 255), (200, 120, 0), (255, 255, 255)], np.uint8)
FOLDER = ("data=folder", "data.images=images", "data.masks=masks", "data.tile=16", "output=look")
SHEET = "look/contact_sheet.png"


def grey(size=32):
    return RNG.integers(60, 200, (size, size, 1)).astype(np.uint8)


def two_values(size=32):
    return np.where(np.add.outer(np.arange(size), np.arange(size)) % 16 < 6, np.uint8(255), np.uint8(0))


def put(root, name, image=None, mask=None, suffix=".png"):
    for place, array in (("images", grey() if image is None else image), ("masks", mask)):
        path = root / place / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, two_values() if array is None else array)


@pytest.fixture
def root(tmp_path):
    for number in range(8):
        put(tmp_path, f"s{number}")
    return tmp_path


@cache
def composed():
    return compose_train(FOLDER)


def config(**keys):
    """Hydra composes once: it takes longer than a look at some small images."""
    values = deepcopy(composed())
    for key, value in keys.items():
        group, _, name = key.rpartition("__")
        values[group or "data"][name] = value
    return parse(values)


@pytest.fixture
def check(tmp_path, monkeypatch, capsys):
    """`check(val=0.2)` looks at the images below `tmp_path` with `data.val=0.2` and returns what is `Said`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(**keys):
        capsys.readouterr()
        try:
            check_data(config(**keys), Path("look"))
        except UserError as error:
            return Said(2, capsys.readouterr().out, f"error: {error}")
        return Said(0, *capsys.readouterr())

    return run


RULES = Rules("declared", False, (ClassSpec(name="none", value=0, color=[0, 0, 0]),))
"""Palettes are indices."""


def one_line(text):
    """What a table says, its cells joined again where they were wrapped."""
    return " ".join(text.replace("│", " ").split())


def pairs(root):
    return [
        Pair(path.stem, (path,), (("", root / "masks" / path.name),)) for path in sorted((root / "images").iterdir())
    ]


def stats(root):
    return look_at(pairs(root)).list_stats()


def look_at(pairs):
    found = Survey(pairs, RULES)
    found.look_at(range(len(pairs)))
    return found


def proposal(root, classes=()):
    found = stats(root)
    return propose_classes(Totals.of(one.mask for one in found), classes, (), survey.find_regions(found, RULES))


@given(arrays(np.uint8, (7, 9), elements=st.integers(0, 40)), st.booleans())
def test_values_are_counted_as_they_are_stored(tmp_path_factory, values, colored):
    folder = tmp_path_factory.mktemp("counted")
    pixels = np.stack([values, values // 2, values % 3], -1) if colored else values
    write_image(folder / "image.png", grey(9)[:7])
    write_image(folder / "mask.png", pixels)
    (one,) = look_at([Pair("x", (folder / "image.png",), (("", folder / "mask.png"),))]).list_stats()
    told = Counter(map(tuple, pixels.reshape(-1, 3).tolist())) if colored else Counter(values.ravel().tolist())
    if colored:
        told = Counter({value[0] if len(set(value)) == 1 else value: count for value, count in told.items()})
    assert one.mask.counts == told
    assert one.mask.distinct == len(told)


def test_an_image_is_told_by_its_pixels(tmp_path):
    image = np.dstack([grey(20)[:14], np.full((14, 20, 1), 7, np.uint8), np.full((14, 20, 1), 9, np.uint8)])
    opaque = np.dstack([image, np.full((14, 20, 1), 255, np.uint8)])
    put(tmp_path, "a", opaque, two_values(20)[:14])
    (one,) = stats(tmp_path)
    assert (one.width, one.height, one.kind.channels, one.dtype) == (20, 14, 4, "uint8")
    assert (one.kind.opaque, one.kind.colors) == (True, True)
    assert (one.low, one.high) == (7, image.max())
    assert one.mean == pytest.approx(image.mean() / 255)


def test_pages_of_a_stack_are_images_of_their_own(tmp_path):
    stack = RNG.integers(0, 65536, (3, 10, 12)).astype(np.uint16)
    for place, pages in (("images", stack), ("masks", (stack % 2).astype(np.uint8))):
        (tmp_path / place).mkdir()
        write_pages(tmp_path / place / "v.tif", list(pages))
    found = stats(tmp_path)
    assert [one.item.name for one in found] == ["v_000", "v_001", "v_002"]
    assert [one.high for one in found] == [page.max() for page in stack]
    assert [one.mask.counts[1] for one in found] == [int((page % 2).sum()) for page in stack]


@pytest.mark.usefixtures("root")
def test_a_folder_that_fits_is_told_to_fit(cli):
    said = cli("check_data", *FOLDER, "data.val=0.25", "data.test=0.25")
    assert said.code == 0
    words = one_line(said.out)
    assert "8 32 x 32 1 uint8" in words
    assert "train 4, val 2, test 2, unlabelled 0" in words
    white = int((two_values() > 0).sum())
    assert f"255 foreground {8 * white} {white / 1024:.3%} 8 4 2 2" in words
    assert said.out.splitlines()[-1] == SHEET
    assert "suspicious" not in words


def coloured(root, size=40):
    """Scenes of four classes and, at the border, pixels that nobody knows."""
    for number in range(6):
        label = np.zeros((size, size), int)
        label[: size // 2] = 1
        label[size // 2 :, : size // 2] = 2
        label[3 + number] = 3
        label[:2] = 4
        put(root, f"c{number}", np.repeat(grey(size), 3, 2), COLOURS[label])


@pytest.mark.parametrize("how", ["file", "word"])
def test_the_classes_that_it_offers_fit(cli, tmp_path, how):
    coloured(tmp_path)
    said = cli("check_data", *FOLDER)
    assert said.mistake == "data=folder: a training cannot start with these words: 1 mistake, listed above"
    lines = said.out.splitlines()
    start = lines.index("classes:")
    block = "\n".join(lines[start : lines.index("", start)])
    classes = yaml.safe_load(block)["classes"]
    assert sorted(entry["value"] for entry in classes) == sorted(COLOURS.tolist())
    if how == "word":
        (words,) = [
            shlex.split(line) for line in lines if line.startswith("  data.classes=") or "'data.classes" in line
        ]
        assert cli("check_data", *FOLDER, *words).code == 0
    else:
        (tmp_path / "mine/data").mkdir(parents=True)
        places = "defaults: [folder, _self_]\nimages: images\nmasks: masks\ntile: 16\n"
        (tmp_path / "mine/data/own.yaml").write_text(places + block)
        assert cli("check_data", "--config-dir", "mine", "data=own", "output=look").code == 0


def test_greys_are_offered_with_a_colour_for_pictures_and_names_are_kept(tmp_path):
    for number in range(4):
        put(tmp_path, number, mask=(two_values() // 255 + 2 * (grey()[..., 0] > 190)).astype(np.uint8))
    made = proposal(tmp_path, [ClassSpec(name="soil", value=2, color=[1, 2, 3])])
    assert made.kind == "classes"
    assert [spec.value for spec in made.classes] == [0, 1, 2, 3]
    assert made.classes[2].name == "soil"
    assert len({tuple(spec.color) for spec in made.classes}) == 4
    assert all("color" in entry for entry in yaml.safe_load(made.yaml())["classes"])


def test_a_255_beside_indices_is_offered_as_ignored(tmp_path):
    mask = two_values() // 255
    mask[:3] = 255
    put(tmp_path, "a", mask=mask)
    made = proposal(tmp_path)
    assert ([spec.value for spec in made.classes], made.ignore) == ([0, 1], 255)
    assert made.words()[-1] == "data.ignore=255"


CAMVID = [
    *((128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0), (192, 128, 128)),
    *((64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192), (0, 0, 0)),
]


def ragged(count, number, size=96):
    """Upright stripes of `count` kinds whose borders are ragged, as people paint them: full of tiny regions."""
    rng = np.random.default_rng(number)
    columns = np.arange(size) + rng.integers(-3, 4, (size, size)) + number
    return (columns // 8) % count


def stray(values, *pixels):
    """Masks of values; `pixels` (number of the mask, row, column, value) are changed."""
    masks = [np.array(values, np.uint8)[ragged(len(values), number)] for number in range(5)]
    for number, row, column, value in pixels:
        masks[number][row, column] = value
    return masks


@pytest.mark.parametrize(
    ("masks", "classes", "ignore"),
    [
        pytest.param(stray(range(12)), [*range(12)], None, id="CamVid by index"),
        pytest.param(stray(CAMVID), sorted(CAMVID), None, id="CamVid by colour"),
        pytest.param(stray([0, 5, 15, 255]), [0, 5, 15], 255, id="VOC with gaps"),
        pytest.param(stray([0, 2, 255]), [0, 2, 255], None, id="255 as common as all else"),
        pytest.param(stray([0, 0, 1, 255, 255]), [0, 1], 255, id="counted up from 0"),
        pytest.param([*stray([0, 255]), *stray([0, 1])[3:]], [0, 255], None, id="1 in some for 255 in others"),
        pytest.param(stray([0, 128, 255]), [0, 128, 255], None, id="three greys"),
        pytest.param(stray([0, 255], (0, 5, 5, 7)), None, 7, id="one stray pixel"),
        pytest.param(stray([0, 3, 9], (0, 5, 5, 7), (2, 5, 5, 7)), [0, 3, 9], 7, id="a stray value beside new ones"),
        pytest.param(stray([[0, 0, 0], [9, 200, 9]], (1, 2, 3, [9, 9, 200])), [(0, 0, 0), (9, 200, 9)], [9, 9, 200],
                     id="a stray colour"),
    ],
)  # fmt: skip
def test_what_it_offers_fits_and_a_training_offers_the_same(cli, tmp_path, masks, classes, ignore):
    for number, mask in enumerate(masks):
        put(tmp_path, f"m{number}", grey(96), mask)
    said = cli("check_data", *FOLDER)
    assert said.code == 2
    (words,) = [shlex.split(line) for line in said.out.splitlines() if re.match(r"  '?data\.(classes|ignore)=", line)]
    typed = parse(compose_train([*FOLDER[:-1], *words])).data
    if classes is None:
        assert not words[0].startswith("data.classes"), "the config has them"
    else:
        assert [spec.value if isinstance(spec.value, int) else tuple(spec.value) for spec in typed.classes] == classes
    assert typed.ignore == ignore
    assert cli("check_data", *FOLDER, *words).code == 0
    mistake = cli("train", *FOLDER[:-1], "output=out", *TINY_STACK).mistake
    assert mistake.endswith(f"type {shlex.join(words)}")


def test_stray_pixels_are_told_with_their_files(cli, tmp_path):
    masks = stray([0, 255], (0, 5, 5, 7), (1, 8, 9, 100), (1, 50, 50, 254), (1, 51, 70, 3), (3, 1, 1, 3))
    for number, mask in enumerate(masks):
        put(tmp_path, f"m{number}", grey(96), mask)
    said = cli("check_data", *FOLDER)
    assert said.code == 2
    lines = [
        "3: 2 pixels in masks/m1.png, masks/m3.png",
        "100: 1 pixel in masks/m1.png",
        "254: 1 pixel in masks/m1.png",
        "7: 1 pixel in masks/m0.png",
    ]
    assert [line.strip() for line in said.out.splitlines() if re.match(r"  \d+: ", line)] == lines
    remedy = "type data.inexact=threshold, which gives 0.011 % of the pixels the value of the class on their side of"
    assert f"Correct the masks, or {remedy} half-way.\n" in said.out
    assert "data.classes=" not in said.out, "the config has them"
    mistake = cli("train", *FOLDER[:-1], "output=out", *TINY_STACK).mistake
    assert mistake.endswith(f"{'; '.join(lines)}: probably slips; correct the masks, or {remedy} half-way")
    for number, mask in enumerate(masks):
        mask[~np.isin(mask, (0, 255))] = 0
        put(tmp_path, f"m{number}", grey(96), mask)
    assert cli("check_data", *FOLDER).code == 0


def test_a_small_class_of_the_config_is_not_stray(tmp_path):
    for number, mask in enumerate(stray([0, 255], (0, 5, 5, 7), (0, 6, 6, 9))):
        put(tmp_path, f"m{number}", grey(96), mask)
    made = proposal(tmp_path, [ClassSpec(name="speck", value=7, color=[1, 2, 3])])
    assert ([spec.value for spec in made.classes], made.ignore) == ([0, 7, 255], 9)


def test_names_that_a_command_line_would_misread_are_quoted(cli, tmp_path):
    names = ["größe", "a=b, c", "[x]", "it's", "yes"]
    for number, mask in enumerate(stray([0, 1, 2, 3, 4, 9])):
        put(tmp_path, f"m{number}", grey(96), mask)
    lines = "\n".join(f"  - {{name: {name!r}, value: {value}}}" for value, name in enumerate(names))
    (tmp_path / "mine/data").mkdir(parents=True)
    (tmp_path / "mine/data/own.yaml").write_text(
        f"defaults: [folder, _self_]\nimages: images\nmasks: masks\ntile: 16\nclasses:\n{lines}\n"
    )
    said = cli("check_data", "--config-dir", "mine", "data=own", "output=look")
    (words,) = [shlex.split(line) for line in said.out.splitlines() if line.startswith("  'data.classes=")]
    typed = parse(compose_train([*FOLDER[:-1], *words])).data
    assert [spec.name for spec in typed.classes] == [*names, "class_5"]


@pytest.mark.parametrize("colored", [False, True])
def test_numbers_of_objects_are_recognised(check, tmp_path, colored):
    for number in range(4):
        made = generate(64, 64, 0, number)
        table = np.array([(0, 0, 0), *RNG.integers(1, 255, (200, 3))], np.uint8)
        put(tmp_path, number, made.image, table[made.instances] if colored else made.instances.astype(np.uint16))
    said = check()
    assert said.code == 2
    assert "data.labels=instances" in said.out
    said = check(labels="instances")
    assert said.code == 0
    counts = [len(np.unique(generate(64, 64, 0, number).instances)) - 1 for number in range(4)]
    assert f"{sum(counts)} objects, {min(counts)} to {max(counts)} a mask" in said.out


@pytest.mark.parametrize("how", ["jpeg", "resized", "colours"])
def test_the_true_values_of_smeared_masks_are_guessed(tmp_path, how):
    for number in range(3):
        made = generate(96, 96, 0, number)
        mask = Image.fromarray(COLOURS[made.label + 1] if how == "colours" else (made.label * 255).astype(np.uint8))
        put(tmp_path, number, made.image, np.asarray(mask))
        path = tmp_path / f"masks/{number}.png"
        if how == "resized":
            mask.resize((60, 60), Image.Resampling.BICUBIC).resize((96, 96), Image.Resampling.BICUBIC).save(path)
        else:
            mask.save(path, "JPEG", quality=85)
    made = proposal(tmp_path)
    assert made.kind == "smeared"
    true = COLOURS[1:3] if how == "colours" else [(0,) * 3, (255,) * 3]
    values = [np.broadcast_to(spec.value, 3) for spec in made.classes]
    assert len(values) == 2
    for value in true:
        assert min(np.abs(np.subtract(value, guess, dtype=int)).max() for guess in values) <= 3


def test_photographs_are_no_masks(tmp_path):
    for number in range(3):
        put(tmp_path, number, mask=RNG.integers(0, 256, (32, 32, 3)).astype(np.uint8))
    assert proposal(tmp_path).kind == "unclear"


def test_suspicious_files_are_told(check, root):
    put(root, "s1", np.full((32, 32, 1), 77, np.uint8))
    put(root, "s2", mask=np.zeros((32, 32), np.uint8))
    write_image(root / "images/s3.png", two_values())
    put(root, "s4", (grey() / 8).astype(np.uint8))
    put(root, "s5", grey(12), two_values(12))
    write_image(root / "images/s7.png", read_image(root / "images/s0.png"))
    for number in range(10, 18):
        put(root, f"t{number}")
    write_image(root / "images/t11.png", read_image(root / "images/t10.png"))
    said = check(val=0.2, test=0.5)
    assert said.code == 0
    words = one_line(said.out)
    for told in (
        "constant image: all pixels are equal 1 s1 ",
        "one value fills the mask 1 s2 ",
        "the mask is the image 1 s3 ",
        "smaller than data.tile=16 1 s5 ",
        "same pixels in two splits: scores would be too good 1 s0 (train) = s7 (val) ",
        "same pixels under two names 1 t10 (test) = t11 (test) ",
    ):
        assert told in words
    assert re.search(r"much darker than the others \d [s\d, ]*s4 ", words)


def test_rare_and_absent_classes_are_told(check, tmp_path):
    for number in range(6):
        mask = (two_values(64) // 255).astype(np.uint8)
        mask[0, :number] = 2
        mask[60:, :] = 3 * (number == 5)
        put(tmp_path, number, grey(64), mask)
    said = check(classes=[{"name": f"c{value}", "value": value} for value in range(5)])
    assert said.code == 0
    words = one_line(said.out)
    assert "class below 0.1% of the pixels 1 c2 loss.class_weights=inverse, or loss=dice_ce" in words
    assert "class in no training image 1 c3 " in words
    assert "class in no mask 1 c4 " in words


def test_a_float_image_in_another_scale_is_told(tmp_path):
    for number in range(9):
        image = RNG.normal(0.5, 0.1, (16, 16, 1)).astype(np.float32) * (255 if number == 4 else 1)
        put(tmp_path, number, image, two_values(16), ".tif")
    (row,) = find_suspicious_images(stats(tmp_path), 16)
    assert (row.what, row.where) == ("much brighter than the others", ["4"])


def broken_png(root):
    (root / "images/s1.png").write_bytes((root / "images/s1.png").read_bytes()[:60])


def not_finite(root):
    (root / "images/s1.png").unlink()
    write_image(root / "images/s1.tif", np.full((32, 32), np.nan, np.float32))


def bare(root):
    (root / "masks/s2.png").unlink()


def sizes(root):
    write_image(root / "masks/s3.png", two_values(30))


def unknown(root):
    write_image(root / "masks/s4.png", two_values() // 2)


def colours(root):
    write_image(root / "images/s5.png", RNG.integers(0, 256, (32, 32, 3)).astype(np.uint8))


def sixteen(root):
    write_image(root / "images/s6.png", RNG.integers(0, 65536, (32, 32)).astype(np.uint16))


def fits(root):
    write_image(root / "images/s7.png", np.repeat(grey(), 3, 2))


def one_alpha(root):
    write_image(root / "images/s7.png", np.dstack([np.repeat(grey(), 3, 2), grey()]))


def all_white(root):
    for path in (root / "masks").iterdir():
        write_image(path, np.full((32, 32), 255, np.uint8))


def one_name_twice(root):
    put(root, "a/b")
    put(root, "a_b")


def all_alpha(root):
    for path in (root / "images").iterdir():
        write_image(path, np.dstack([np.repeat(grey(), 3, 2), grey()]))


def opaque(root):
    write_image(root / "images/s7.png", np.dstack([np.repeat(grey(), 3, 2), np.full((32, 32, 1), 255, np.uint8)]))


CHANGES = [
    broken_png,
    not_finite,
    bare,
    sizes,
    unknown,
    colours,
    sixteen,
    one_alpha,
    one_name_twice,
    all_alpha,
    opaque,
    fits,
]


GREYS = [{"name": "background", "value": 0}, {"name": "cell", "value": 127}]
WORDS = [{}, {"folds": 9}, {"ignore": 255, "classes": GREYS}, {"without_mask": "unlabelled"}, {"max_memory": 1e-7}]


# Each change and each word a few times; what they do together is slow.
TOGETHER = [
    pytest.param(change, words, id=f"{change.__name__}-{words}", marks=[pytest.mark.slow] * ((number - place) % 5 > 0))
    for number, change in enumerate(CHANGES)
    for place, words in enumerate(WORDS)
]


@pytest.mark.parametrize(("change", "words"), TOGETHER)
def test_it_refuses_what_a_training_refuses(check, root, change, words):
    change(root)
    said = check(**words)
    try:
        data.load_data(config(**words).data)
    except UserError:
        assert said.code == 2
        assert "mistake:" in said.out
    else:
        assert said.code == 0
    assert (root / SHEET).is_file()


def test_all_mistakes_are_listed_and_the_rest_is_read(check, root):
    for change in (broken_png, bare, sizes, unknown):
        change(root)
    said = check()
    assert "4 mistakes" in said.mistake
    mistakes = [line for line in said.out.splitlines() if line.startswith("mistake:")]
    for line, file in zip(mistakes, ["images/s2.png", "images/s1.png", "masks/s3.png", "pixels"], strict=True):
        assert file in line
    assert "6 32 x 32" in one_line(said.out)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"loss__class_weights": [1.0, 2.0, 3.0]}, "loss.class_weights=[1.0, 2.0, 3.0]: the classes are 2"),
        ({"trainer__monitor": "val/iou/foreground"}, "no validation image shows this class"),
        ({"trainer__monitor": "val/seg"}, "there is no such score"),
    ],
)
def test_words_that_do_not_go_with_the_classes_are_mistakes(check, root, words, told):
    for number in (6, 7):
        put(root, f"s{number}", mask=np.zeros((32, 32), np.uint8))
    said = check(val=0.25, test=0.0, **words)
    assert said.code == 2
    assert told in said.out


def soft(size=32):
    """Two values with a border of many between them, as JPEG leaves them."""
    return np.where(RNG.random((size, size)) < 0.3, grey(size)[..., 0], two_values(size))


def many_objects(size=32):
    """Objects of nine pixels, with no background between them."""
    rows, columns = np.indices((size, size)) // 3
    return (rows * 11 + columns + 1).astype(np.uint8)


@pytest.mark.usefixtures("root")
def test_swapped_images_and_masks_are_one_mistake(check):
    said = check(images="masks", masks="images")
    assert said.code == 2
    (mistake,) = [line for line in said.out.splitlines() if line.startswith("mistake:")]
    assert "data.images and data.masks look swapped: did you mean data.images=images data.masks=masks?" in mistake
    assert "The images have at most 8 values each" in mistake
    assert "8 of 8 masks more than 64" in mistake
    assert "classes:" not in said.out


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        (partial(two_values, 96), partial(soft, 96)),
        (two_values, many_objects),
        (two_values, two_values),
        (lambda: np.zeros((32, 32), np.uint8), grey),
        (grey, grey),
    ],
)
def test_images_of_two_values_and_masks_of_many_are_not_swapped(check, root, image, mask):
    for number in range(8):
        put(root, f"s{number}", image(), mask())
    assert "swapped" not in check().out


def test_two_images_are_not_called_swapped(check, root):
    for number in range(2, 8):
        for place in ("images", "masks"):
            (root / place / f"s{number}.png").unlink()
    assert "swapped" not in check(images="masks", masks="images").out


def test_images_of_several_types_are_named(check, root):
    put(root, "s2", image=grey().astype(np.uint16) * 257)
    put(root, "s5", image=np.dstack([grey()] * 4))
    said = check().out
    assert "images: uint8 pixels in 7, such as images/s0.png and uint16 pixels in 1, such as images/s2.png" in said
    assert "images: 1 channel(s) in 7, such as images/s0.png and 4 channel(s) in 1, such as images/s5.png" in said


def test_nothing_readable_is_told(check, root):
    for path in (root / "images").iterdir():
        path.write_bytes(b"x")
    said = check()
    assert "2 mistakes" in said.mistake
    assert "(and 7 more with the same mistake)" in said.out
    assert not (root / SHEET).exists()


def test_generated_images_are_looked_at_too(cli, tmp_path):
    said = cli("check_data", *TINY)
    assert said.code == 0
    assert "train 2, val 1, test 1, unlabelled 0" in said.out
    assert said.out.splitlines()[-1] == "outputs/check_data/synthetic/contact_sheet.png"
    assert {path.name for path in tmp_path.iterdir()} == {"outputs"}


def test_unlabelled_slices_are_drawn_without_a_mask(cli, isbi_folder):
    isbi_folder(count=5, tests=2)
    said = cli("check_data", "data=isbi2012", "data.root=stack", "data.split=all", "data.tile=16", "output=look")
    assert said.code == 0
    # With split=all the validation images are trained on too.
    assert "train 5, val 1, test 0, unlabelled 2" in said.out
    assert re.search(r"cell \d+ [\d.]+% 5 5 ", one_line(said.out))
    assert Image.open(SHEET).size[0] > 1000


def test_the_sheet_shows_images_and_classes(check, tmp_path):
    mask = np.zeros((100, 300), np.uint8)
    mask[:, 150:] = 255
    for number in range(30):
        put(tmp_path, f"wide {number} µ", np.full((100, 300, 1), 100 + number, np.uint8), mask)
    red, blue = ({"name": "a", "value": 0, "color": [250, 0, 0]}, {"name": "b", "value": 255, "color": [0, 0, 250]})
    assert check(classes=[red, blue]).code == 0
    sheet = np.asarray(Image.open(tmp_path / SHEET).convert("RGB"))
    assert max(sheet.shape) <= 2000
    shown = {(code >> 16, code >> 8 & 255, code & 255) for code in np.unique(sheet @ [65536, 256, 1]).tolist()}
    assert {(250, 0, 0), (0, 0, 250)} <= shown
    # Constant images are suspicious, and 20 of the 30 are drawn; those from the first to the last.
    for value in (100, 129):
        assert (value, value, value) in shown
        assert (int(0.6 * value + 100), int(0.6 * value), int(0.6 * value)) in shown


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-m"], "unknown option -m; there are --help, --version, --config-dir"),
        (["data=folde"], "data=folde: no such option"),
        (["data=folder", "data.images=nowhere"], "data.images=nowhere: there is no such file"),
        (["data=folder", "data.clases=[]"], "unknown key data.clases"),
        (["--config-dir", "nowhere"], "--config-dir nowhere: there is no such folder"),
        (["data=isbi2012", "data.root=nowhere", "data.download=false"], "data.root=nowhere: there are no data"),
    ],
)
def test_wrong_words_are_told_in_one_line(cli, tmp_path, words, told):
    assert told in cli("check_data", *words).mistake
    assert list(tmp_path.iterdir()) == []


def test_help_is_printed(cli):
    said = cli("check_data", "--help")
    assert said.code == 0
    assert re.search(r"^Usage: python scripts/check_data.py", said.out, re.M)


@pytest.mark.usefixtures("root")
def test_an_output_that_is_a_file_is_told(check):
    Path("look").write_text("")
    assert "output=look: this folder cannot be made" in check().mistake


def test_a_value_has_the_meaning_that_the_classes_give_it():
    classes = [ClassSpec(name=str(c), value=c, color=[0, 0, 0]) for c in ([9, 9, 9], [1, 2, 3])]
    label_map = LabelMap(classes, [(5, 6, 7)], objects=False)
    assert [label_map(value) for value in (9, (1, 2, 3), (5, 6, 7), 4)] == [0, 1, 255, -1]
    label_map = LabelMap(classes, [4], objects=True)
    assert [label_map(value) for value in (0, 1, (1, 2, 3), 4)] == [0, 1, 1, 255]


def test_ignored_pixels_without_a_value_are_no_object():
    objects = np.zeros((8, 8), np.int32)
    objects[1:3, 1:3], objects[5:7, 5:7] = 1, 2
    label = (objects > 0).astype(np.uint8)
    label[0, 7] = IGNORE_LABEL
    classes = tuple(ClassSpec(name=name, value=value, color=[value] * 3) for name, value in (("a", 0), ("b", 255)))
    sample = Sample("x", np.zeros((8, 8, 1), np.uint8), label, objects)
    (stats,) = survey_samples(DataSet.of([sample], [], [], [], classes, 1, ("seg",)))
    label_map = LabelMap(classes, (), objects=False)
    pixels = {"x": label_map.pixels(stats.mask)}
    table = tables.tabulate_classes(classes, label_map, Totals.of([stats.mask]), pixels, {"x": "train"}, objects=True)
    assert table.caption == "2 objects, 2 to 2 a mask"


@pytest.mark.parametrize(
    ("values", "keys", "told", "mend"),
    [
        ([-1, 0, 5, 70000], {"labels": "instances"}, "96 pixels hold negative numbers", {"ignore": -1}),
        ([-1, 0, 1, 2], {}, "ignore: -1", {"ignore": -1, "classes": [{"name": f"c{v}", "value": v} for v in range(3)]}),
        ([0, 1, 2, 70000], {}, "The masks hold too few or too many values to be classes", None),
    ],
)
def test_numbers_that_no_class_can_have_are_told(check, tmp_path, values, keys, told, mend):
    for number in range(4):
        label = np.repeat(np.array(values, np.int32), 24).reshape(8, 12)
        put(tmp_path, f"s{number}", grey(12)[:8], np.zeros((8, 12), np.uint8))
        (tmp_path / f"masks/s{number}.png").unlink()
        tifffile.imwrite(tmp_path / f"masks/s{number}.tif", label)
    said = check(tile=8, **keys)
    assert said.code == 2
    assert told in one_line(said.out)
    if mend is not None:
        assert check(tile=8, **keys, **mend).code == 0


def test_a_fill_that_nothing_declares_is_told_and_what_is_declared_is_counted(check, tmp_path):
    for number in range(5):
        image = grey(20)
        image[:, :6] = 9
        put(tmp_path, f"s{number}", image, two_values(20))
    said = one_line(check(tile=8).out)
    assert "one value fills a region at the border 5" in said
    assert "data.nodata=9" in said
    said = one_line(check(tile=8, nodata=9.0).out)
    assert "5 of 5 images have pixels without data, 30.00% of all; they count nowhere" in said
    assert "region at the border" not in said
    assert "60 .. 199" in said  # the range of what holds data
