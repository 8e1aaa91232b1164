"""Many images on one page, each beside the same image with its mask over it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont  # comes with matplotlib

from unet_exp.figures.overlay import view_as_rgb
from unet_exp.io.writing import write_image

MOST = 20
"""Most images on a sheet."""
_COLUMNS = 4
_PANEL = 232
_GAP = 10
_TEXT = 34
_ROW = 22
_INK, _GREY, _RED = (34, 34, 34), (110, 110, 110), (200, 40, 30)


@dataclass(frozen=True)
class Cell:
    """One image on the sheet; see `make_cell`."""

    title: str
    remark: str
    warned: bool
    image: NDArray[np.uint8]
    overlay: NDArray[np.uint8] | None


def make_cell(title: str, remark: str, warned: bool, image: NDArray[Any], colors: NDArray[np.uint8] | None) -> Cell:
    """Shrinks an image for the sheet.

    Args:
        title: its name.
        remark: below the name.
        warned: draw the remark in red, and a frame.
        image: (H, W, C), as read; drawn by `view_as_rgb`.
        colors: (H, W, 3) RGB of its mask, or None.
    """
    small = view_as_rgb(_fit(image[..., :3] if image.shape[-1] >= 3 else image[..., :1]))
    overlay = None
    if colors is not None:
        overlay = (0.6 * small + 0.4 * _fit(colors)).astype(np.uint8)
    return Cell(title, remark, warned, small, overlay)


def draw_contact_sheet(cells: Sequence[Cell], legend: Sequence[tuple[str, Sequence[int]]], target: Path) -> None:
    """Writes the sheet, at most 1,934 pixels wide.

    Args:
        cells: up to `MOST`.
        legend: names and RGB colours of the classes.
        target: the PNG; its folder exists.
    """
    wide = 2 * _PANEL + _GAP // 2
    columns = min(_COLUMNS, max(1, len(cells)))
    width = columns * (wide + _GAP) + _GAP
    places = _place_legend([name for name, _ in legend], width)
    top = _GAP + _ROW * (places[-1][1] + 1 if places else 0)
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    heights = [_TEXT + max(one.image.shape[0] for one in row) + _GAP for row in rows]
    sheet = Image.new("RGB", (width, top + sum(heights) + _GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for (name, color), (left, row) in zip(legend, places, strict=True):
        y = _GAP + row * _ROW
        pen.rectangle((left, y, left + 14, y + 14), fill=tuple(color), outline=_INK)
        pen.text((left + 20, y), name, fill=_INK, font=_FONT)
    for number, one in enumerate(cells):
        row = number // columns
        left, upper = _GAP + number % columns * (wide + _GAP), top + sum(heights[:row])
        pen.text((left, upper), _shorten(one.title, wide), fill=_INK, font=_FONT)
        pen.text((left, upper + 16), _shorten(one.remark, wide), fill=_RED if one.warned else _GREY, font=_FONT)
        for place, panel in enumerate((one.image, one.overlay)):
            if panel is not None:
                sheet.paste(Image.fromarray(panel), (left + place * (_PANEL + _GAP // 2), upper + _TEXT))
        if one.warned:
            pen.rectangle(
                (left - 3, upper - 3, left + wide + 2, upper + heights[row] - _GAP + 2), outline=_RED, width=2
            )
    write_image(target, np.asarray(sheet))


_FONT = ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), 12)


def _fit(pixels: NDArray[Any]) -> NDArray[Any]:
    """Resizes to a panel, (h, w, C): means where it shrinks, nearest pixels where it grows."""
    scale = _PANEL / max(pixels.shape[:2])
    height, width = (max(1, round(scale * side)) for side in pixels.shape[:2])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    return cv2.resize(pixels, (width, height), interpolation=how).reshape(height, width, pixels.shape[2])


def _shorten(text: str, width: int) -> str:
    """Shortens a text to its end, which differs most between names."""
    if _FONT.getlength(text) <= width:
        return text
    while text and _FONT.getlength(f"…{text}") > width:
        text = text[1:]
    return f"…{text}"


def _place_legend(names: Sequence[str], width: int) -> list[tuple[int, int]]:
    """The left edge and the row of each name."""
    places: list[tuple[int, int]] = []
    left, row = _GAP, 0
    for name in names:
        needed = 20 + round(_FONT.getlength(name)) + 2 * _GAP
        if left > _GAP and left + needed > width:
            left, row = _GAP, row + 1
        places.append((left, row))
        left += needed
    return places
