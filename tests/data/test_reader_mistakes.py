"""Mistakes in a reader of the user's own: each is one line, before a training starts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Said, composed
from own_reader import CLASSES, GREY, HEIGHT, HOLES, NUMBER, WIDTH, Arrays, begin, load, name_pairs

from unet_exp import data
from unet_exp.config import parse
from unet_exp.errors import ConfigError, DataError, UserError


@pytest.fixture(autouse=True)
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(tmp_path, monkeypatch)


def change(**methods: Any) -> Callable[[pytest.MonkeyPatch], None]:
    def apply(monkeypatch: pytest.MonkeyPatch) -> None:
        for name, method in methods.items():
            monkeypatch.setattr(Arrays, name, method, raising=False)

    return apply


def raises(*_: Any) -> Any:
    raise ValueError("no such\nkey")


def give(image: Any, mask: Any) -> Any:
    return lambda *_: (image, mask)


def tiny(shape: tuple[int, ...] = (4, 4, 1), dtype: Any = np.uint8) -> Any:
    return np.zeros(shape, dtype)


SIZE = f"shape \\({HEIGHT}, {WIDTH}, 1\\)"
MISTAKES: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str]] = {
    "len": (change(__len__=raises), r"its len\(\) raises ValueError: no such key$"),
    "empty": (change(__len__=lambda _: 0), r"its len\(\) is 0; it must be the number of images"),
    "negative": (change(__len__=lambda _: -1), r"its len\(\) raises ValueError"),
    "no number": (change(__len__=lambda _: "3"), r"its len\(\) raises TypeError"),
    "too long": (change(__len__=lambda _: NUMBER + 1), r"its name of image 7 raises IndexError"),
    "name": (change(name=lambda *_: 3), r"its name of image 0 must be a text that can be shown, not 3"),
    "no name": (change(name=lambda *_: ""), r"its name of image 0 must be a text that can be shown, not ''"),
    "hidden name": (change(name=lambda *_: "a\nb"), r"its name of image 0 must be a text .* not 'a\\nb'"),
    "twice": (change(name=lambda _, index: f"a{index % 2}"), r"its name of images 0 and 2 is a0; give each one"),
    "version": (change(version=lambda *_: None), r"its version of image 0 \(s0\) must be a whole number or a text"),
    "no shape": (change(shape=raises), r"its shape of image 0 \(s0\) raises ValueError: no such key$"),
    "two": (change(shape=lambda *_: (3, 4)), r"its shape of image 0 \(s0\) must be three whole .* not \(3, 4\)"),
    "zero": (change(shape=lambda *_: (0, 4, 1)), r"must be three whole numbers from 1 on"),
    "float": (change(shape=lambda *_: (3.0, 4, 1)), r"must be three whole numbers from 1 on"),
    "huge": (change(shape=lambda *_: (10**6, 10**6, 1)), r"1000000 x 1000000 pixels are too many to be read at once"),
    "planar": (change(shape=lambda *_: (3, 4, 500)), r"has 500 channels"),
    "raises": (change(read=raises), r"its read of image 0 \(s0\) raises ValueError: no such key$"),
    "alone": (change(read=lambda *_: tiny()), r"must return two things, \(image, mask\) or .*, not an array"),
    "nothing": (change(read=lambda *_: None), r"must return two things, \(image, mask\) or \(image, None\), not None"),
    "list": (change(read=give([1], None)), rf"must return an image of {SIZE} in uint8, uint16 or float32, not .* list"),
    "flat": (change(read=give(tiny((37, 52)), None)), rf"image of {SIZE} in .* not an array of shape \(37, 52\) in"),
    "small": (change(read=give(tiny(), None)), rf"image of {SIZE} .* not an array of shape \(4, 4, 1\) in uint8"),
    "double": (change(read=give(tiny((37, 52, 1), float), None)), r"not an array of shape \(37, 52, 1\) in float64"),
    "mask": (change(read=give(GREY[0], CLASSES[0, :9])), r"None or a mask of shape \(37, 52\) or \(37, 52, 3\) .* not"),
    "soft": (change(read=give(GREY[0], CLASSES[0] / 2)), r"in whole numbers, not an array of shape .* in float64"),
    "infinite": (change(read=give(np.full_like(HOLES[0], np.inf), None)), r"without infinite values; make them NaN"),
    "whole": (change(read=give(GREY[0], CLASSES[0])), r"image of shape \(19, 18, 1\) .* of shape \(37, 52, 1\)"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    apply, said = MISTAKES[mistake]
    apply(monkeypatch)
    with pytest.raises(DataError, match=said) as told:
        load()
    assert str(told.value).startswith("data.target=own_reader.Arrays: i")
    assert "\n" not in str(told.value)


def test_a_long_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Arrays, "pairs", {f"{name}" * 101: arrays for name, arrays in Arrays.pairs.items()})
    with pytest.raises(DataError, match=r"\): its name, with its folders, is longer than 200 bytes"):
        load()


def test_a_part_must_be_that_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Arrays, "read", lambda _, index, __, ___, *size: (GREY[index][: size[0], : size[1]], None))
    with pytest.raises(
        DataError, match=r"with top=9, left=17, height=19, width=18 returns other values than the whole"
    ):
        load()
    noise = iter(range(99))
    monkeypatch.setattr(Arrays, "read", lambda _, __, ___, ____, *size: (np.full((*size, 1), next(noise), "u1"), None))
    with pytest.raises(DataError, match=r"and the same each time"):
        load()


def test_mistakes_of_other_images_are_told_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(Arrays.pairs, "s3", (GREY[3].astype(np.int64), None))
    monkeypatch.setitem(Arrays.pairs, "s5", (GREY[5], CLASSES[5][:3]))
    with pytest.raises(DataError, match=r"^2 of 7 images cannot be used: .*image 3 \(s3\) .*; .*image 5 \(s5\) must"):
        load()
    monkeypatch.setattr(Arrays, "pairs", {name: (image, None) for name, (image, _) in name_pairs("grey").items()})
    with pytest.raises(DataError, match=r"Arrays: no image has a mask"):
        load("data.verify=true")


def test_values_without_a_class_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(Arrays.pairs, "s3", (GREY[3], CLASSES[3] // 5))
    with pytest.raises(DataError, match=r"Arrays: mask of image 3 \(s3\): \d+ pixels belong to no class: 51 x"):
        load()


class Unready:
    def __init__(self, path: str) -> None:
        raise FileNotFoundError(path)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data.target=nowhere.Reader"], "there is no module nowhere; install its package, or put its"),
        (["data.target=own_reader.Arays"], "has no Arays (did you mean Arrays?)"),
        ([f"data.target={__name__}.load"], "it is no class"),
        (["data.target=builtins.dict"], "it has no method shape(index)"),
        (["data.target=own_reader.Arrays", "data.params={a: 1}"], "it is built with (), and given a=1"),
        ([f"data.target={__name__}.Unready", "data.params={path: x}"], "building it with path='x' raises FileN"),
    ],
)  # fmt: skip
def test_a_class_that_does_not_fit_is_told(words: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as told:
        data.load_data(parse(composed("data=custom", *words)).data)
    assert said in str(told.value)
    assert str(told.value).startswith(words[0])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data.target=Reader"], "data.target='Reader': must be a class's import path"),
        (
            ["data.target=a.B", "data.classes=[{name: a, value: 0}, {name: b, value: cell}]"],
            "labels are of annotations",
        ),
        (["data.target=a.B", "data.ignore=unsure"], "labels are of annotations"),
        (["data.target=a.B", "data.images=x"], "unknown key data.images"),
    ],
)
def test_a_wrong_config_is_told(words: list[str], said: str) -> None:
    with pytest.raises(UserError) as told:
        parse(composed("data=custom", *words))
    assert said in str(told.value)


@pytest.mark.parametrize("name", ["read", "name", "version"])
def test_a_method_that_takes_other_arguments_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Arrays, name, lambda _: 0, raising=False)
    with pytest.raises(ConfigError, match=rf"Arrays: its {name} takes \(\) and is called with \(index"):
        load()


@pytest.fixture
def check(cli: Callable[..., Said]) -> Callable[..., Said]:
    return lambda *words: cli("check_data", "data=custom", "data.target=own_reader.Arrays", "output=look", *words)


def test_it_is_checked_before_a_training(check: Callable[..., Said], tmp_path: Path) -> None:
    said = check("data.tile=16")
    assert (said.code, "52 x 37" in said.out) == (0, True)
    assert (tmp_path / "look" / "contact_sheet.png").stat().st_size
    said = check("data.tile=16", "data.classes=[{name: a, value: 0}, {name: b, value: 3}]")
    assert "{name: foreground, value: 255" in said.out
    assert said.mistake.endswith("1 mistake, listed above")


def test_a_mistake_is_told_by_the_check(check: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(Arrays.pairs, "s3", (GREY[3].astype(np.int64), None))
    said = check("data.tile=16")
    assert "mistake: data.target=" in said.out
    assert "image 3 (s3) must return an image of shape" in said.out
    monkeypatch.setattr(Arrays, "read", raises)
    monkeypatch.setattr(Arrays, "__len__", lambda _: 2)
    assert check("data.tile=16").mistake.endswith("its read of image 0 (s0) raises ValueError: no such key")
