"""What check_data offers for masks that JPEG or smooth resizing has smeared, and what it tells of several values."""

import re
import shlex

import numpy as np
import pytest
from PIL import Image

from unet_exp import data
from unet_exp.compose import compose_train
from unet_exp.config import ClassSpec, parse
from unet_exp.data.sets.synthetic import generate
from unet_exp.folder.label_map import LabelMap
from unet_exp.io.writing import write_image

FOLDER = ("data=folder", "data.images=images", "data.masks=masks", "data.tile=16")
COLOURS = np.array([(0, 160, 0), (0, 0, 255)], np.uint8)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("UNET_EXP_CACHE", str(tmp_path / "cache"))


def smear(root, how):
    (root / "images").mkdir()
    (root / "masks").mkdir()
    for number in range(4):
        made = generate(96, 96, 0, number)
        write_image(root / f"images/{number}.png", made.image)
        mask = Image.fromarray(COLOURS[made.label] if how == "colours" else (made.label * 255).astype(np.uint8))
        if how == "resized":
            mask = mask.resize((60, 60), Image.Resampling.BICUBIC).resize((96, 96), Image.Resampling.BICUBIC)
            mask.save(root / f"masks/{number}.png")
        else:
            mask.save(root / f"masks/{number}.jpg", quality=85)


@pytest.mark.parametrize(("how", "word"), [("jpeg", "threshold"), ("resized", "threshold"), ("colours", "nearest")])
def test_the_words_that_it_offers_for_smeared_masks_take_them(cli, tmp_path, how, word):
    smear(tmp_path, how)
    said = cli("check_data", *FOLDER, "output=look")
    assert said.code == 2
    (percent,) = re.findall(rf"data.inexact={word} changes ([\d.]+ %) of the pixels:", said.out)
    (line,) = [line for line in said.out.splitlines() if re.match(r"  '?data\.\w+=", line)]
    words = shlex.split(line)
    assert words[-1] == f"data.inexact={word}"
    assert len(words) == 1 + (how == "colours"), "else the classes are those of the config"
    said = cli("check_data", *FOLDER, *words, "output=look")
    assert said.code == 0
    assert f"{word}: {percent} of the pixels of 4 masks were given the value of the " in said.out
    found = data.load_data(parse(compose_train([*FOLDER, *words])).data)
    true = [generate(96, 96, 0, number).label for number in range(4)]
    labels = [sample.label for part in (found.train, found.val, found.test) for sample in part]
    green = int(how == "colours")  # the proposed classes are in the order of their values: blue first
    assert np.mean(np.stack(labels) == np.stack(true) ^ green) > 0.97


def test_several_values_are_one_row_and_are_offered_together(cli, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    values = np.repeat(np.array([7, 8, 26, 33, 0, 1], np.uint8), 16)
    for number in range(4):
        write_image(tmp_path / f"images/{number}.png", np.full((96, 96, 1), 9 * number, np.uint8))
        write_image(tmp_path / f"masks/{number}.png", np.broadcast_to(values, (96, 96)).copy())
    classes = "data.classes=[{name: road, value: 7, also: [8]}, {name: car, value: 26}]"
    said = cli("check_data", *FOLDER, classes, "data.ignore=[0, 1, -1]", "output=look")
    assert said.code == 2
    words = " ".join(said.out.replace("│", " ").split())
    assert "7, 8 road 12288" in words
    assert "0, 1 ignored 12288" in words
    assert "33 none 6144" in words
    (line,) = [line for line in said.out.splitlines() if re.match(r"  '?data\.\w+=", line)]
    typed = parse(compose_train([*FOLDER, *shlex.split(line)])).data
    assert [(spec.name, spec.value, spec.also) for spec in typed.classes] == [
        ("road", 7, [8]),
        ("car", 26, []),
        ("class_2", 33, []),
    ]
    assert typed.ignored == (0, 1, -1)
    assert cli("check_data", *FOLDER, *shlex.split(line), "output=look").code == 0


def test_each_value_has_the_meaning_of_its_class():
    classes = [
        ClassSpec(name="a", value=[9, 9, 9], also=[[1, 1, 2]], color=[0, 0, 0]),
        ClassSpec(name="b", value=[1, 2, 3], also=[[5, 5, 5], [4, 4, 5]], color=[0, 0, 0]),
    ]
    label_map = LabelMap(classes, [7, [8, 8, 8], [1, 0, 0]], objects=False)
    found = [label_map(value) for value in (9, (1, 1, 2), (1, 2, 3), 5, (4, 4, 5), 7, 8, (1, 0, 0), 6)]
    assert found == [0, 0, 1, 1, 1, 255, 255, 255, -1]
