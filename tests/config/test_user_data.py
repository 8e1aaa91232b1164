"""Classes and ignored pixels of a user's data: several values, colours and labels, and what they make of masks."""

import json

import pytest

from unet_exp.compose import compose_train
from unet_exp.config import parse
from unet_exp.errors import ConfigError
from unet_exp.folder.rules import Rules

CITYSCAPES = [7, 8, 11, 12, 13, 17, *range(19, 29), 31, 32, 33]
VOID = [0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30, -1]
GREY = "{name: a, value: 0}, {name: b, value: 255}"
COLOURED = "{name: a, value: [0, 0, 0]}, {name: b, value: [1, 2, 3]}"
LABELLED = "{name: a, value: 0}, {name: b, value: cell, also: [nucleus, 'two words']}, {name: c, value: dirt}"


@pytest.fixture
def make():
    def run(*words):
        return parse(compose_train(["data=folder", *words])).data

    return run


def read(make, classes, *words):
    return make(f"data.classes=[{classes}]", *words)


def test_cityscapes_can_be_said(make):
    classes = ", ".join(f"{{name: c{value}, value: {value}}}" for value in CITYSCAPES)
    rules = Rules.of(read(make, classes, f"data.ignore={VOID}"))
    assert [spec.value for spec in rules.classes] == CITYSCAPES
    assert rules.ignored == tuple(VOID)


@pytest.mark.parametrize(
    ("classes", "words", "ignored"),
    [
        (GREY, ["data.ignore=7"], (7,)),
        (GREY, ["data.ignore=[7]"], (7,)),
        (GREY, ["data.ignore=[7, 8, 9]"], (7, 8, 9)),
        (GREY, ["data.ignore=[]"], ()),
        (COLOURED, ["data.ignore=[7, 8, 9]"], ([7, 8, 9],)),
        (COLOURED, ["data.ignore=[[7, 8, 9], [5, 5, 5]]"], ([7, 8, 9], [5, 5, 5])),
        (COLOURED, ["data.ignore=[7, 8]"], (7, 8)),
        (GREY, ["data.labels=instances", "data.ignore=[7, 8, 9]"], ([7, 8, 9],)),
        (GREY, ["data.labels=instances", "data.ignore=[7, [1, 2, 3]]"], (7, [1, 2, 3])),
        (LABELLED, ["data.ignore=[edge, dust]"], ()),
    ],
)
def test_ignored_values_are_numbers_or_colours(make, classes, words, ignored):
    config = read(make, classes, *words)
    assert Rules.of(config).ignored == ignored
    assert config.ignored_labels == (("edge", "dust") if classes == LABELLED else ())


@pytest.mark.parametrize(
    ("classes", "words", "said"),
    [
        ("{name: a, value: 0}, {name: b, value: 1, also: [0]}", [], "the value 0 is given twice"),
        ("{name: a, value: 0}, {name: b, value: 1, also: [[1, 2, 3]]}", [], "give all of one kind"),
        ("{name: a, value: 0}, {name: b, value: 1, also: 2}", [], "its also must be a list of more values"),
        ("{name: a, value: 0}, {name: b, value: 1, also: [70000]}", [], "its also must be a list of more values"),
        (
            "{name: a, value: 0}, {name: b, value: 1, also: [9]}",
            ["data.ignore=[8, 9]"],
            "data.ignore=9 is the value of",
        ),
        (GREY, ["data.ignore=[[1, 2, 3]]"], "is a colour and data.classes have grey values"),
        (GREY, ["data.ignore=[[1, 2, 300]]"], "data.ignore"),
        (COLOURED, ["data.ignore=[1, 2, 300]"], "data.ignore=[1, 2, 300] is no colour [red, green, blue]"),
        (LABELLED, ["data.ignore=9"], "data.ignore=9 is a value and data.classes have labels; give a label"),
        (LABELLED, ["data.ignore=dirt"], "data.ignore=dirt is the value of a class too"),
        (LABELLED, ["data.labels=instances"], "data.labels=instances needs two data.classes"),
        (GREY[:-1] + ", also: [3]}", ["data.labels=instances"], "also= means nothing"),
        (LABELLED.replace("0}", "0, also: [7]}"), [], "give all of one kind"),
        ("{name: a, value: 0, also: [sky]}, {name: b, value: 255}", [], "has the value 0 and, perhaps, labels as also"),
        (COLOURED, ["data.inexact=threshold"], "divides the greys of two data.classes"),
        (GREY, ["data.inexact=nearest", "data.labels=instances"], "each object has one of its own"),
        (GREY, ["data.inexact=near"], "data.inexact"),
        (GREY, ["data.images=[]"], "data.images=[]: must be a folder, a glob or a file, or a list of such"),
        (
            GREY,
            ["data.masks={}"],
            "data.masks={}: must be a folder, a glob or a file or, for one file a class, such as {",
        ),
        (GREY, ["data.masks=[a_*.png,b_*.png]"], "must be a folder, a glob or a file or, for one file a class"),
        (LABELLED, ["data.masks={cell: a}"], "data.masks: has no files of dirt, which data.classes has; add 'dirt:"),
    ],
)
def test_what_does_not_fit_is_one_line(make, classes, words, said):
    with pytest.raises(ConfigError) as caught:
        read(make, classes, *words)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_labels_are_classes(make):
    rules = Rules.of(read(make, LABELLED, "data.ignore=edge"))
    assert rules.labels == {"cell": 1, "nucleus": 1, "two words": 1, "dirt": 2}
    assert rules.ignored_labels == ("edge",)
    assert [(spec.value, spec.also) for spec in rules.classes] == [(0, []), (1, []), (2, [])]
    assert Rules.of(read(make, GREY)).labels == {"*": 1}
    assert Rules.of(read(make, GREY, "data.labels=instances")).labels is None
    cells = "{name: a, value: 0}, {name: b, value: cell}"
    assert Rules.of(read(make, cells, "data.labels=instances")).labels == {"cell": 1}
    assert Rules.of(read(make, f"{GREY}, {{name: c, value: 9}}")).labels == {}


def test_letters_with_accents_are_one_code_each(make):
    classes = "{name: a, value: 0}, {name: b, value: 'Ka\u0308tzchen'}"
    assert Rules.of(read(make, classes)).labels == {"K\u00e4tzchen": 1}


def test_the_background_has_labels_too(make):
    classes = LABELLED.replace("0}", "0, also: [tree, sky]}")
    rules = Rules.of(read(make, classes))
    assert rules.labels == {"tree": 0, "sky": 0, "cell": 1, "nucleus": 1, "two words": 1, "dirt": 2}
    assert [(spec.value, spec.also) for spec in rules.classes] == [(0, []), (1, []), (2, [])]
    assert rules.of_pixels != Rules.of(read(make, LABELLED)).of_pixels
    objects = "{name: a, value: 0, also: [tree]}, {name: b, value: cell}"
    assert Rules.of(read(make, objects, "data.labels=instances")).drawing.objects == ("cell",)


def test_a_class_stands_in_a_file_as_it_did_before_it_could_have_several_values(make):
    config = read(make, "{name: a, value: 0}, {name: b, value: 1, also: [2]}")
    assert config.model_dump()["classes"] == [
        {"name": "a", "value": 0, "color": None},
        {"name": "b", "value": 1, "also": [2], "color": None},
    ]
    plain = [spec.model_dump() for spec in Rules.of(config).classes]
    assert ["also" in spec for spec in plain] == [False, True]
    assert json.loads(config.model_dump_json())["classes"] == config.model_dump()["classes"]


def test_what_decides_stored_pixels(make):
    """Equal words take what is known of files; a fingerprint of an earlier run is made of the same text."""

    def tell(classes, *words):
        rules = Rules.of(read(make, classes, *words))
        return rules.of_pixels, rules.of_labels

    plain, meaning = tell(GREY)
    assert (json.loads(plain), json.loads(meaning)) == (["declared", False, True, None], [False, [0, 255], None])
    assert json.loads(tell(COLOURED, "data.ignore=[7, 8, 9]")[1]) == [False, [[0, 0, 0], [1, 2, 3]], [7, 8, 9]]
    assert tell(GREY, "data.ignore=7")[0] == tell("{name: x, value: 9}, {name: b, value: 3, also: [4]}")[0] == plain
    several = [tell("{name: a, value: 0}, {name: b, value: 255, also: [4]}"), tell(GREY, "data.ignore=[4, 5]")]
    assert len({meaning, *(of_labels for _, of_labels in several)}) == 3
    inexact = [
        tell(GREY, "data.inexact=nearest"),
        tell(GREY, "data.inexact=threshold"),
        tell(GREY, "data.inexact=nearest", "data.ignore=7"),
        tell(GREY.replace("255", "254"), "data.inexact=nearest"),
    ]
    drawn = [tell(LABELLED), tell(LABELLED, "data.ignore=edge"), tell(LABELLED.replace("dirt", "dust"))]
    assert len({plain, *(of_pixels for of_pixels, _ in [*inexact, *drawn])}) == 8
