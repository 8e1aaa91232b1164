"""The drawing of what an augmentation of albumentations cuts in `docs/`: the patch, its context, what is ignored."""

from pathlib import Path

import numpy as np
from matplotlib.patches import Rectangle

from drawings.board import DARK, Board
from drawings.diagram import PHOTO_DPI
from unet_exp.augmentation.listed import ListedTransforms
from unet_exp.augmentation.on_cut import COUNTS, OUTSIDE
from unet_exp.data.sets.synthetic import generate
from unet_exp.mirror import mirror_window

SIDE, PATCH, TOP, LEFT = 320, 160, -24, 120
_PATCH, _CUT, _IGNORED = "#ffe11a", "#3aa0ff", np.array([232, 97, 60])


def draw_context(target: Path, dpi: float = PHOTO_DPI) -> None:
    """Draws a patch at an image's border, the cut around it, the turned cut, and the patch with its ignored pixels.

    Args:
        target: the PNG to write.
        dpi: pixels per inch; it is 9.4 inches wide.
    """
    made = generate(SIDE, SIDE, seed=0, index=1)
    turn = ListedTransforms([{"name": "Rotate", "limit": [30, 30], "p": 1}], "augmentation.transforms")
    margin = turn.find_margin(PATCH)
    top, left, side = TOP - margin, LEFT - margin, PATCH + 2 * margin
    cut = mirror_window(made.image, top, left, side, side)
    places = np.full((side, side), COUNTS, np.uint8)
    places[: max(0, -top)] = OUTSIDE
    turned, (label, places) = turn(cut[..., None], [mirror_window(made.label, top, left, side, side), places], seed=0)
    middle = slice(margin, margin + PATCH)
    shown = np.repeat(np.where(label[..., None] == 1, 205, 70), 3, axis=2)[middle, middle].astype(np.uint8)
    shown[places[middle, middle] != COUNTS] = _IGNORED
    board = Board(9.4, 3.0)
    for left_edge, picture, words in (
        (0.1, cut, "the patch, cut with its context\n(above the line: mirrored)"),
        (2.45, turned[..., 0], "all of it turned"),
        (4.8, turned[middle, middle, 0], "its middle: what the network sees"),
        (7.15, shown, "its label; red: beyond the image,\nignored"),
    ):
        extent = (left_edge, left_edge + 2.15, 0.75, 2.9)
        board.axes.imshow(picture, "gray", vmin=0, vmax=255, extent=extent, interpolation="antialiased")
        board.text(left_edge + 1.075, 0.38, words, 9.5)
    unit = 2.15 / side
    for start, color in ((0.1, _CUT), (2.45, _CUT)):
        board.axes.add_patch(Rectangle((start, 0.75), 2.15, 2.15, fill=False, edgecolor=color, linewidth=2.4))
        inner = PATCH * unit
        corner = (start + margin * unit, 0.75 + margin * unit)
        board.axes.add_patch(Rectangle(corner, inner, inner, fill=False, edgecolor=_PATCH, linewidth=2.4))
    border = 2.9 + top * unit
    board.line((0.1, border), (2.25, border), color=DARK, width=1.6, dash="--")
    board.axes.set(xlim=(0, board.width), ylim=(0, board.height))
    board.save(target, dpi, colors=48)
