"""Legends: what the colours of a picture mean, as a strip of it."""

from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from unet_exp.config import ClassSpec

INK, GREY, RED = (34, 34, 34), (110, 110, 110), (200, 40, 30)
GAP = 10
"""Between the names, and around the strip, pixels."""
_ROW, _BOX = 22, 14
_STRIPE = 3

Look = Literal["full", "striped", "frame"]


class Mark(NamedTuple):
    """An entry of a legend: a name, its RGB colour, and how that is drawn."""

    name: str
    color: tuple[int, ...]
    look: Look = "full"


def class_marks(classes: Iterable[ClassSpec]) -> tuple[Mark, ...]:
    """The names and colours of classes."""
    return tuple(Mark(spec.name, tuple(spec.color)) for spec in classes)


@lru_cache(maxsize=8)
def draw_legend(marks: tuple[Mark, ...], width: int) -> NDArray[np.uint8]:
    """A white strip with all marks, in as many rows as it takes.

    Args:
        marks: in this order.
        width: of the strip, pixels; names that are longer lose their beginning.

    Returns:
        (h, width, 3) uint8 RGB, h = 0 without marks; do not write into it.
    """
    room = max(0, width - _BOX - 6 - 2 * GAP)
    names = [shorten(mark.name, room) for mark in marks]
    places = _place(names, width)
    height = GAP + _ROW * (places[-1][1] + 1) if places else 0
    strip = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(strip)
    for mark, name, (left, row) in zip(marks, names, places, strict=True):
        top = GAP + row * _ROW
        box = np.full((_BOX + 1, _BOX + 1, 3), 255 if mark.look == "frame" else mark.color, np.uint8)
        if mark.look == "striped":
            box[~stripes(box.shape[:2])] = 255
        strip.paste(Image.fromarray(box), (left, top))
        frame = mark.color if mark.look == "frame" else INK
        pen.rectangle((left, top, left + _BOX, top + _BOX), outline=frame, width=2 if mark.look == "frame" else 1)
        pen.text((left + _BOX + 6, top), name, fill=INK, font=font())
    drawn: NDArray[np.uint8] = np.asarray(strip)
    return drawn


def stripes(shape: Sequence[int]) -> NDArray[np.bool_]:
    """(H, W), where a surface of diagonal stripes has its colour."""
    rows, columns = np.indices(tuple(shape), sparse=True)
    striped: NDArray[np.bool_] = (rows + columns) // _STRIPE % 2 == 0
    return striped


@cache
def font(size: int = 12) -> ImageFont.FreeTypeFont:
    """The font of all pictures, which knows most scripts."""
    import matplotlib  # only for the place of its fonts

    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), size)


def shorten(text: str, width: int) -> str:
    """Shortens a text to its end, which differs most between names, so that it takes at most `width` pixels."""
    if font().getlength(text) <= width:
        return text
    while text and font().getlength(f"…{text}") > width:
        text = text[1:]
    return f"…{text}"


def _place(names: Sequence[str], width: int) -> list[tuple[int, int]]:
    """The left edge and the row of each name."""
    places: list[tuple[int, int]] = []
    left, row = GAP, 0
    for name in names:
        needed = _BOX + 6 + round(font().getlength(name)) + 2 * GAP
        if left > GAP and left + needed > width:
            left, row = GAP, row + 1
        places.append((left, row))
        left += needed
    return places
