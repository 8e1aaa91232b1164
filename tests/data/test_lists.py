"""Parts of a data set by folders and by lists, as data sets come with them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from own_images import config

from unet_exp.errors import ConfigError, DataError
from unet_exp.folder.groups import SplitItem, split
from unet_exp.folder.tails import NONE, SEVERAL, match_tails
from unet_exp.io.texts import Texts

DEFAULTS = config("x")


def split_names(names, **values):
    items = [SplitItem(name, name) for name in names]
    words = DEFAULTS.model_validate({**DEFAULTS.model_dump(), "group": "image", **values})
    return [[names[place] for place in part] for part in split(items, words)]


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (["Training/a", "VALID/b", "Testing/c"], [["Training/a"], ["VALID/b"], ["Testing/c"]]),
        (["train/a", "dev/b", "validation/c"], [["train/a"], ["dev/b", "validation/c"], []]),
        (["x/train/a", "y/val/train", "z/val/c"], [["x/train/a"], ["y/val/train", "z/val/c"], []]),
        (["train/val/a", "val/train/b"], [["train/val/a"], ["val/train/b"], []]),
        (["train/val/a", "x/y/b"], None),
        (["train/a", "others/b"], None),
        (["train", "val/a"], None),
    ],
)
def test_folders_of_parts_have_several_names_and_one_place(names, parts):
    if parts is None:
        with pytest.raises(ConfigError, match=f"data.split=folders: {names['/' in names[0]]} is not in a folder train"):
            split_names(names, split="folders")
    else:
        assert split_names(names, split="folders") == parts


def lists(folder, **texts):
    for part, text in texts.items():
        (folder / f"{part}.txt").write_text(text)
    return {"split": "lists", "lists": str(folder)}


def test_a_line_may_name_the_mask_too(tmp_path):
    names = ["1", "2", "my scan 1", "my", "a b.c"]
    words = lists(
        tmp_path, train="# image mask\n1.png\tm/1.png\n2 m/2\nmy scan 1\n", val="a b.c.JPG a b.c_m.png\nmy\tx"
    )
    assert split_names(names, **words) == [["1", "2", "my scan 1"], ["my", "a b.c"], []]


def test_foreign_paths_are_known_by_their_ends_and_told(tmp_path, caplog):
    names = ["train/0001TP_1", "train/0001TP_2", "val/0001TP_1"]
    words = lists(
        tmp_path,
        train="\n".join(
            f"/SegNet/CamVid/train/0001TP_{n}.png /SegNet/CamVid/trainannot/0001TP_{n}.png" for n in (1, 2)
        ),
        valid="C:\\data\\val\\0001TP_1.jpg\n",
    )
    assert split_names(names, **words) == [names[:2], names[2:], []]
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == (
        f"{tmp_path}/train.txt: 2 of 2 lines are no name of an image, such as /SegNet/CamVid/train/0001TP_1.png "
        "/SegNet/CamVid/trainannot/0001TP_1.png, which is taken for train/0001TP_1"
    )
    assert len(said) == 2


def test_names_without_their_folders(tmp_path):
    names = ["JPEGImages/2007_1", "JPEGImages/2007_2", "x/3", "y/3"]
    words = lists(tmp_path, train="2007_1\n", val="2007_2", trainval="2007_1\n2007_2")
    assert split_names(names, **words)[:2] == [["JPEGImages/2007_1"], ["JPEGImages/2007_2"]]
    lists(tmp_path, val="2007_2\n3")
    with pytest.raises(DataError, match=r"val\.txt: 3 may be one of several images; write their folders into the list"):
        split_names(names, **words)
    lists(tmp_path, val="2007_2\nq/4.png\n5")
    with pytest.raises(
        DataError,
        match=r"val\.txt: 2 of 3 names have no labelled image, q/4, 5 first; names .*; correct the list, and leave",
    ):
        split_names(names, **words)
    lists(tmp_path, val="2007_2\n/there/JPEGImages/2007_1.png")
    with pytest.raises(DataError, match=r"val\.txt: JPEGImages/2007_1 is in train\.txt already"):
        split_names(names, **words)


def test_other_words_for_a_list(tmp_path):
    words = lists(tmp_path, TRAIN="a", validation="b", testing="c")
    (tmp_path / "TRAIN.txt").rename(tmp_path / "Train.TXT")
    assert split_names(["a", "b", "c"], **words) == [["a"], ["b"], ["c"]]
    (tmp_path / "validation.txt").unlink()
    with pytest.raises(DataError, match=r"val\.txt: cannot be read"):
        split_names(["a", "b", "c"], **words)


NAMES = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join)


@given(st.lists(NAMES, max_size=6), st.lists(NAMES, min_size=1, max_size=6, unique=True), st.booleans())
def test_tails_against_a_plain_search(wanted, names, deep):
    paths = [f"r/{name}" for name in names] if deep else names
    found = match_tails(Texts.of(wanted), Texts.of(names), paths if deep else None)
    for one, number in zip(wanted, found.tolist(), strict=True):
        inside = [place for place, path in enumerate(paths) if f"/{path}".endswith(f"/{one}")]
        parts = one.split("/")
        ends = [
            place
            for start in range(1, len(parts))
            for place, name in enumerate(names)
            if parts[start:] == name.split("/")
        ]
        exact = [place for place, name in enumerate(names) if name == one]
        if exact:
            assert number == exact[0]
        elif inside:
            assert number == (inside[0] if len(inside) == 1 else SEVERAL)
        else:
            assert number == (ends[0] if ends else NONE)
    assert found.dtype == np.int64
