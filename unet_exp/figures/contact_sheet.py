"""Many images on one page, each beside the same image with its mask over it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw  # comes with matplotlib

from unet_exp.figures.legend import GAP, GREY, INK, RED, Mark, draw_legend, font, shorten
from unet_exp.figures.overlay import view_as_rgb
from unet_exp.io.writing import write_image

MOST = 20
"""Most images on a sheet."""
_COLUMNS = 4
_PANEL = 232
_TEXT = 34


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


def draw_contact_sheet(cells: Sequence[Cell], legend: Sequence[Mark], target: Path) -> None:
    """Writes the sheet, at most 1,934 pixels wide.

    Args:
        cells: up to `MOST`.
        legend: the classes.
        target: the PNG; its folder exists.
    """
    wide = 2 * _PANEL + GAP // 2
    columns = min(_COLUMNS, max(1, len(cells)))
    width = columns * (wide + GAP) + GAP
    strip = draw_legend(tuple(legend), width)
    top = max(GAP, len(strip))
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    heights = [_TEXT + max(one.image.shape[0] for one in row) + GAP for row in rows]
    sheet = Image.new("RGB", (width, top + sum(heights) + GAP), "white")
    pen = ImageDraw.Draw(sheet)
    if len(strip):
        sheet.paste(Image.fromarray(strip), (0, 0))
    for number, one in enumerate(cells):
        row = number // columns
        left, upper = GAP + number % columns * (wide + GAP), top + sum(heights[:row])
        pen.text((left, upper), shorten(one.title, wide), fill=INK, font=font())
        pen.text((left, upper + 16), shorten(one.remark, wide), fill=RED if one.warned else GREY, font=font())
        for place, panel in enumerate((one.image, one.overlay)):
            if panel is not None:
                sheet.paste(Image.fromarray(panel), (left + place * (_PANEL + GAP // 2), upper + _TEXT))
        if one.warned:
            pen.rectangle((left - 3, upper - 3, left + wide + 2, upper + heights[row] - GAP + 2), outline=RED, width=2)
    write_image(target, np.asarray(sheet))


def _fit(pixels: NDArray[Any]) -> NDArray[Any]:
    """Resizes to a panel, (h, w, C): means where it shrinks, nearest pixels where it grows."""
    scale = _PANEL / max(pixels.shape[:2])
    height, width = (max(1, round(scale * side)) for side in pixels.shape[:2])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    return cv2.resize(pixels, (width, height), interpolation=how).reshape(height, width, pixels.shape[2])
