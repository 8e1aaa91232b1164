"""check_data proposes the words that fit an unknown folder, and they do."""

import re
import shlex
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from replicas import DATA_SETS

from unet_exp.compose import compose_train
from unet_exp.config import parse
from unet_exp.inspection.families import find_families
from unet_exp.inspection.proposal import RECIPE_TILE, propose_files, write_words
from unet_exp.io.writing import write_image

RNG = np.random.default_rng(0)
IN_FOLDERS = {name for name, one in DATA_SETS.items() if one.recipe == "experiment=own"}
"""Others have words of their own."""
NOT_FOUND = {
    "acdc": "images end in _frame01 and _frame12, beside others that do not",
    "itksnap": "files without a suffix are DICOM only where a folder of them is named",
    "left_atrium": "its replica has few slices, which look like channels",
}


def image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, RNG.integers(0, 256, (24, 24), np.uint8))


def mask(path: Path, value: int = 255, left: int = 6) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((24, 24), np.uint8)
    pixels[4:12, left : left + 9] = value
    write_image(path, pixels)


def write_segnet(root: Path) -> list[str]:
    for part in ("train", "val", "test"):
        for number in range(3):
            image(root / part / f"0001TP_{number:06}.png")
            mask(root / f"{part}annot" / f"0001TP_{number:06}.png", value=3)
    classes = "data.classes=[{name: background, value: 0}, {name: foreground, value: 3}]"
    return [
        'data.images="{test,train,val}/*.png"',
        'data.masks="{test,train,val}annot/*.png"',
        "data.split=folders",
        classes,
    ]


def write_objects(root: Path) -> list[str]:
    for name in ("a3f", "b07", "c9e", "d55"):
        image(root / "stage1_train" / name / "images" / f"{name}.png")
        for number in range(2):
            mask(root / "stage1_train" / name / "masks" / f"{name[::-1]}{number}.png", left=12 * number)
    return ["data.images=stage1_train/*/images/*.png", "data.masks=stage1_train/*/masks/", "data.labels=instances"]


def write_endings(root: Path) -> list[str]:
    for number in range(21, 26):
        image(root / "images" / f"{number}_training.tif")
        mask(root / "1st_manual" / f"{number}_manual1.png")
        inside = np.full((24, 24), 255, np.uint8)
        inside[:3] = 0
        (root / "mask").mkdir(exist_ok=True)
        write_image(root / "mask" / f"{number}_training_mask.png", inside)
    words = ["data.images=images/*_training.tif", "data.masks=1st_manual/*_manual1.png"]
    return [*words, "data.field_of_view=mask/*_training_mask.png"]


def write_lists(root: Path) -> list[str]:
    for number in range(8):
        image(root / "JPEGImages" / f"2007_{number:06}.png")
    for number in range(5):
        mask(root / "SegmentationClass" / f"2007_{number:06}.png")
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    for part, numbers in (("train", range(3)), ("val", range(3, 5))):
        lines = "".join(f"2007_{number:06}\n" for number in numbers)
        (root / "ImageSets/Segmentation" / f"{part}.txt").write_text(lines)
    words = ["data.images=JPEGImages/*.png", "data.masks=SegmentationClass/*.png", "data.split=lists"]
    return [*words, "data.lists=ImageSets/Segmentation", "data.without_mask=unlabelled"]


def write_beside(root: Path) -> list[str]:
    for number in range(4):
        image(root / f"s{number}.png")
        mask(root / f"s{number}_mask.png")
    return ["data.images=*.png", "data.masks=*.png", "data.mask_suffix=_mask"]


LAYOUTS = (write_segnet, write_objects, write_endings, write_lists, write_beside)


def proposed(out: str) -> list[str]:
    (line,) = [line for line in out.splitlines() if line.startswith("  data=folder ")]
    return shlex.split(line)


@pytest.mark.parametrize("write", LAYOUTS, ids=lambda write: write.__name__.removeprefix("write_"))
def test_the_words_are_found_and_fit(write, cli, tmp_path):
    words = write(tmp_path / "data set")
    root = f"data.root={tmp_path / 'data set'}"
    looked = cli("check_data", "data=folder", root, "data.tile=16")
    assert looked.code == 0, looked.out + looked.err
    assert proposed(looked.out) == ["data=folder", root, *words]


def test_what_else_pairs_is_told_and_pasted_words_are_taken(cli, tmp_path):
    write_beside(tmp_path / "x")
    for number in range(4):
        mask(tmp_path / "x" / "outlines" / f"s{number}.png")
    looked = cli("check_data", "data=folder", f"data.root={tmp_path / 'x'}", "data.tile=16")
    assert "other files pair with these images too" in looked.out
    again = cli("check_data", *proposed(looked.out), "data.tile=16")
    assert again.code == 0, again.out + again.err
    assert "by these words" not in again.out


def start_of(said) -> list[str]:
    (line,) = [line for line in said.out.splitlines() if line.startswith("  python scripts/train.py ")]
    return shlex.split(line)[2:]


def test_what_starts_a_training_is_printed_with_all_that_was_typed(cli, tmp_path):
    for number in range(8):
        image(tmp_path / "x/images" / f"p{number // 2} {number % 2}.png")
        mask(tmp_path / "x/masks" / f"p{number // 2} {number % 2}.png")
    root = f"data.root={tmp_path / 'x'}"
    looked = cli("check_data", "data=folder", root, r"data.group=^p\d", "data.tile=16")
    words = start_of(looked)
    assert words[:2] == ["experiment=own", root]
    assert {r"data.group=^p\d", "data.tile=16", "data.masks=masks/*.png"} <= set(words)
    again = cli("check_data", *words)
    assert again.code == 0, again.out + again.err
    assert start_of(again) == words
    untiled = [word for word in words[1:] if "data.tile" not in word]
    assert start_of(cli("check_data", "data=folder", *untiled)) == words  # the images have 24 pixels a side


def test_the_page_shows_what_is_printed(cli, tmp_path):
    page = (Path(__file__).resolve().parents[2] / "docs/your_images.md").read_text()
    made = r"python scripts/make_replica\.py (\w+) replicas[^\n]*\n"
    shown = rf"^```bash\n{made}python scripts/check_data\.py ([^\n]*)\n```\n\n```text\n(.*?)```$"
    found = re.findall(shown, page, re.MULTILINE | re.DOTALL)
    assert len(found) == page.count("make_replica.py")
    for name, command, said in found:
        DATA_SETS[name].write(tmp_path / "replicas" / name)
        assert cli("check_data", *shlex.split(command)).out.startswith(said)


def test_the_patch_of_the_recipe_is_known():
    assert parse(compose_train(["experiment=own"])).data.tile == RECIPE_TILE


def test_nothing_is_found(cli, tmp_path):
    image(tmp_path / "a" / "1.png")
    looked = cli("check_data", "data=folder", f"data.root={tmp_path}")
    assert looked.code == 2
    assert "nothing there looks like images with masks; it holds a/*.png (1); type data.images" in looked.err
    assert "there is no such folder" in cli("check_data", "data=folder", f"data.root={tmp_path / 'b'}").err


def test_folders_of_numbers_are_one_family(tmp_path):
    for number in range(1, 5):
        image(tmp_path / f"Slide_{number:02}" / "1.png")
        mask(tmp_path / f"GT_{number:02}" / "1.png")
    assert {family.spec for family in find_families(tmp_path)} == {"Slide_*/*.png", "GT_*/*.png"}


PLACES = {
    "two folders": ([f"images/{who}/{n}.png" for who in ("p0", "p1") for n in range(3)],
                    [f"ann/v1/{who}/final/{n}.png" for who in ("p0", "p1") for n in range(3)],
                    ["data.images=images/p*/*.png", "data.masks=ann/v1/p*/final/*.png"]),
    "two names": ([f"{who}/images/{n}.png" for who in ("ann", "bob") for n in range(3)],
                  [f"{who}/masks/{n}.png" for who in ("ann", "bob") for n in range(3)],
                  ["data.images=*/images/*.png", "data.masks=*/masks/*.png"]),
    "two kinds": ([f"images/{n}.{'tif' if n < 4 else 'png'}" for n in range(6)], [f"masks/{n}.png" for n in range(6)],
                  ['data.images="images/*.{png,tif}"', "data.masks=masks/*.png"]),
    "capitals": ([f"images/{n}.{'png' if n < 4 else 'PNG'}" for n in range(6)], [f"masks/{n}.png" for n in range(6)],
                 ['data.images="images/*.{PNG,png}"', "data.masks=masks/*.png"]),
    "numbered objects": ([f"id{n}/images/a.png" for n in range(4)],
                         [f"id{n}/masks/{k}x.png" for n in range(4) for k in range(2)],
                         ["data.images=id*/images/*.png", "data.masks=id*/masks/", "data.labels=instances"]),
    "kinds tell": ([f"s{n}.tif" for n in range(4)], [f"mask_s{n}.png" for n in range(4)],
                   ["data.images=*.tif", "data.masks=mask_*.png"]),
    "a word in all names": ([f"photos/patient0{n} slide {k}.png" for n in range(4) for k in range(2)],
                            [f"labels/patient0{n} slide {k}_mask.png" for n in range(4) for k in range(2)],
                            ["data.images=photos/*.png", "data.masks=labels/*_mask.png"]),
    "fields of view": ([f"images/p{n}_field{k:02}.png" for n in range(3) for k in range(1, 4)],
                       [f"masks/p{n}_field{k:02}.png" for n in range(3) for k in range(1, 4)],
                       ["data.images=images/*.png", "data.masks=masks/*.png"]),
    "words that differ": ([f"img_p{n}_x.tif" for n in range(4)], [f"lab_p{n}_x_gt.png" for n in range(4)],
                          ["data.images=img_*.tif", "data.masks=lab_*_gt.png"]),
}  # fmt: skip


@pytest.mark.parametrize(("images", "masks", "words"), PLACES.values(), ids=PLACES)
def test_all_files_of_a_role_are_found(tmp_path, images, masks, words):
    for name in images:
        image(tmp_path / name)
    for name in masks:
        mask(tmp_path / name)
    found = propose_files(parse(compose_train(["data=folder", f"data.root={tmp_path}"])).data)
    assert found == (found.values, len(images), [])
    assert write_words(found.values) == words


@pytest.mark.parametrize("place", ["masks/s{}_{}.png", "masks/{1}/s{0}.png"])
@pytest.mark.parametrize("left", [14, 7])
def test_one_file_a_class_unless_two_people_drew_the_same(tmp_path, place, left):
    for number in range(4):
        image(tmp_path / f"images/s{number}.png")
        mask(tmp_path / place.format(number, "lesion"))
        mask(tmp_path / place.format(number, "vessel"), left=left)
    found = propose_files(parse(compose_train(["data=folder", f"data.root={tmp_path}"])).data)
    specs = {label: place.format("*", label).replace("/s*", "/*") for label in ("lesion", "vessel")}
    if left == 7:
        told = f"other files pair with these images too: {specs['vessel']}"
        assert (found.values["masks"], found.remarks) == (specs["lesion"], [told])
        return
    assert (found.values["masks"], found.remarks) == (specs, [])
    words = write_words(found.values)
    assert compose_train(["data=folder", *words])["data"]["masks"] == specs
    assert [spec["value"] for spec in found.values["classes"]] == [0, "lesion", "vessel"]


def test_images_that_the_words_leave_out_are_told(tmp_path):
    for folder, number in (("first", 4), ("second", 3)):
        for name in range(number):
            image(tmp_path / folder / "images" / f"{folder}_{name}.png")
            mask(tmp_path / folder / f"{folder}_masks" / f"{folder}_{name}.png")
    found = propose_files(parse(compose_train(["data=folder", f"data.root={tmp_path}"])).data)
    told = "other images have masks too: second/images/*.png with second/second_masks/*.png (3)"
    assert (found.pairs, found.remarks) == (4, [told])


def test_masks_beside_the_images_are_theirs(tmp_path):
    for place, number in product(("", "backup/"), range(4)):
        image(tmp_path / f"{place}images/s{number}.png")
        mask(tmp_path / f"{place}masks/s{number}.png")
    found = propose_files(parse(compose_train(["data=folder", f"data.root={tmp_path}"])).data)
    assert write_words(found.values) == ["data.images=images/*.png", "data.masks=masks/*.png"]
    assert found.remarks == ["other images have masks too: backup/images/*.png with backup/masks/*.png (4)"]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(IN_FOLDERS - NOT_FOUND.keys()))
def test_words_for_public_data_sets(name, cli, tmp_path):
    DATA_SETS[name].write(tmp_path / name)
    looked = cli("check_data", "data=folder", f"data.root={tmp_path / name}", "data.tile=16")
    assert looked.code == 0, looked.out + looked.err
    assert len(proposed(looked.out)) > 3
