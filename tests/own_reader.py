"""A reader of the user's own, of arrays in memory."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from conftest import composed

from unet_exp import data
from unet_exp.config import parse
from unet_exp.config.user_data import CustomDataConfig
from unet_exp.samples.data_set import DataSet

RNG = np.random.default_rng(0)
NUMBER, HEIGHT, WIDTH = 7, 37, 52
CACHES = ("memory", "disk", "none")
GREY = RNG.integers(0, 255, (NUMBER, HEIGHT, WIDTH, 1), np.uint8)
CLASSES = np.kron(RNG.integers(0, 2, (NUMBER, 10, 13), np.uint8), np.ones((4, 4), np.uint8))[:, :HEIGHT] * np.uint8(255)
OBJECTS = np.kron(RNG.integers(0, 9, (NUMBER, 10, 13)), np.ones((4, 4), int))[:, :HEIGHT].astype(np.uint16)
HOLES = np.where(GREY < 60, np.float32(np.nan), GREY.astype(np.float32) / 7)
COLOURS = np.array([[0, 0, 0], [200, 10, 10], [10, 200, 10]], np.uint8)[OBJECTS % 3]
RGB = "data.classes=[{name: a, value: [0, 0, 0]}, {name: b, value: [200, 10, 10]}]"

Pairs = dict[str, tuple[Any, Any]]
CASES: dict[str, tuple[Any, Any, list[str]]] = {
    "grey": (GREY, CLASSES, []),
    "one unlabelled": (GREY, [*CLASSES[:-1], None], []),
    "16 bits, objects": (GREY.astype(np.uint16) * 200, OBJECTS, ["data.labels=instances"]),
    "holes": (HOLES, CLASSES, ["data.folds=3", "data.fold=1"]),
    "colours": (
        (np.repeat(GREY, 3, axis=3) // [1, 2, 3]).astype(np.uint8),
        COLOURS,
        [RGB, "data.ignore=[10, 200, 10]"],
    ),
    "smeared": (GREY, CLASSES // 255 * 200 + 20, ["data.inexact=threshold"]),
    "folders": (GREY, CLASSES, ["data.split=folders"]),
}


class Arrays:
    """A reader of arrays in memory; it notes the calls."""

    pairs: ClassVar[Pairs] = {}
    calls: ClassVar[list[tuple[int, ...]]] = []

    def __len__(self) -> int:
        return len(self.pairs)

    def name(self, index: int) -> str:
        return list(self.pairs)[index]

    def shape(self, index: int) -> tuple[int, ...]:
        return self.pairs[self.name(index)][0].shape  # type: ignore[no-any-return]

    def read(self, index: int, top: int, left: int, height: int, width: int) -> tuple[Any, Any]:
        self.calls.append((index, top, left, height, width))
        window = slice(top, top + height), slice(left, left + width)
        image, mask = self.pairs[self.name(index)]
        return image[window], None if mask is None else mask[window]


class Versioned(Arrays):
    """Says when an image changes."""

    versions: ClassVar[dict[int, Any]] = {}

    def version(self, index: int) -> Any:
        return self.versions.get(index, 0)


def begin(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has a cache folder of its own, and the grey images."""
    monkeypatch.setenv("UNET_EXP_CACHE", str(folder / "cache"))
    monkeypatch.setattr(Arrays, "pairs", name_pairs("grey"))
    monkeypatch.setattr(Arrays, "calls", [])
    monkeypatch.setattr(Versioned, "versions", {})


def name_pairs(case: str) -> Pairs:
    images, masks, _ = CASES[case]
    parts = ["train", "train", "train", "train", "val", "val", "test"]
    names = [f"{parts[number]}/{number}" if case == "folders" else f"s{number}" for number in range(NUMBER)]
    return {name: (np.ascontiguousarray(image), mask) for name, image, mask in zip(names, images, masks, strict=True)}


def config(*words: str, reader: type = Arrays) -> CustomDataConfig:
    target = f"data.target={reader.__module__}.{reader.__qualname__}"
    found = parse(composed("data=custom", target, *words)).data
    assert isinstance(found, CustomDataConfig)
    return found


def load(*words: str, reader: type = Arrays, find_objects: bool = False) -> DataSet:
    return data.load_data(config(*words, reader=reader), find_objects)
