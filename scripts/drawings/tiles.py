"""The drawing of the overlap-tile strategy in `docs/`: what is kept of each tile, and what it reads."""

from pathlib import Path

import numpy as np

from drawings.board import Board
from drawings.diagram import PAPER, PHOTO_DPI
from unet_exp.data.sets.synthetic import generate
from unet_exp.geometry import input_for_output, lost_border, output_size, tile_step, total_stride
from unet_exp.mirror import mirror_window

SIDE, TILE = 512, 180  # of the image, and `inference.tile`; three tiles a side, whose step needs no balancing
_WIDTH, _HEIGHT, _LEFT, _PHOTO = 9.4, 5.3, 0.15, 5.0  # inches
_OUTPUT, _CORNER, _INNER = "#ffe11a", "#3aa0ff", "#ff7a3a"


def draw_tiles(target: Path, dpi: float = PHOTO_DPI) -> None:
    """Draws a generated micrograph in its mirrored surround, its tiles, and the input of a corner and an inner tile.

    Args:
        target: the PNG to write.
        dpi: pixels per inch; it is 9.4 inches wide.
    """
    image, step, before = generate(SIDE, SIDE, seed=0, index=1).image, tile_step(PAPER, TILE), lost_border(PAPER)
    size = input_for_output(PAPER, step)
    given = output_size(PAPER, size)
    border = before + total_stride(PAPER) // 2
    whole = SIDE + 2 * border
    shown = mirror_window(image, -border, -border, whole, whole).astype(np.float32)
    inside = slice(border, border + SIDE)
    pale = 0.5 * shown + 120
    pale[inside, inside] = shown[inside, inside]
    board, unit, top = Board(_WIDTH, _HEIGHT), _PHOTO / whole, _HEIGHT - _LEFT
    extent = (_LEFT, _LEFT + _PHOTO, top - _PHOTO, top)
    board.axes.imshow(pale, "gray", vmin=-40, vmax=255, extent=extent, interpolation="antialiased")
    board.axes.set(xlim=(0, board.width), ylim=(0, board.height))

    def outline(row: int, column: int, high: int, wide: int, color: str, dash: str = "-", width: float = 2.6) -> None:
        near, far = (_LEFT + (place + border) * unit for place in (column, column + wide))
        upper, lower = (top - (place + border) * unit for place in (row, row + high))
        corners = [(near, upper), (far, upper), (far, lower), (near, lower), (near, upper)]
        board.line(*corners, width=width + 2.2)
        board.line(*corners, color=color, width=width, dash=dash)

    starts = range(0, SIDE, step)
    for row in starts:
        for column in starts:
            outline(row, column, min(step, SIDE - row), min(step, SIDE - column), _OUTPUT, width=1.4)
    for first, color in ((0, _CORNER), (step, _INNER)):
        outline(first - before, first - before, size, size, color)
        outline(first, first, step, step, color, dash="--")
    for y, color, title, words in (
        (4.85, _OUTPUT, "output tiles meet on the image",
         f"one starts every {step} px: the step is a\nmultiple of {total_stride(PAPER)}, so that the tiles give what\n"
         "one pass over the image would give"),
        (3.45, _CORNER, "corner tile",
         f"it keeps {step} x {step} px (dashed) of the\n{given} x {given} that the network gives.\n"
         f"It reads {size} x {size} (solid), {before} px of them\nbefore the image's border: there (paler)\n"
         "the image is mirrored"),
        (1.65, _INNER, "inner tile",
         f"it reads {size} x {size} px too. Around the\n{step} x {step} that it keeps are their real\n"
         "neighbours, pixels of other tiles:\nnothing is mirrored at a tile's border"),
    ):  # fmt: skip
        board.line((5.45, y), (5.9, y), width=4.8)
        board.line((5.45, y), (5.9, y), color=color, width=2.6)
        board.text(6.05, y, title, 11, ha="left", weight="bold")
        board.text(6.05, y - 0.18, words, 10, ha="left", va="top")
    board.save(target, dpi, colors=24)
