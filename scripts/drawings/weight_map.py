"""The drawing of the paper's weight map in `docs/`: what d1 and d2 are, and what they come to."""

from collections.abc import Sequence
from math import dist, exp
from pathlib import Path

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.patheffects import withStroke

from drawings.board import DPI, Board, Point
from unet_exp.data.sets.synthetic import generate
from unet_exp.weight_map import Instances, border_term, find_instances

_W0, _SIGMA = 10.0, 5.0  # the paper's
_IMAGE, _TOP, _LEFT, _CROP = 2, 11, 98, 36  # which part of which generated image, in pixels
_PIXEL = (21, 116)  # row and column: between two cells
_WIDTH, _FOOT, _SIDE, _GAP = 9.4, 0.82, 2.78, 0.16  # inches: of the sheet, below, of and between the panels
_COLORS = ("#ffffff", "#b5d4ef", "#f7d199", "#c5e0b8", "#e3bdd5")  # background, then the cells
_NEAREST, _SECOND = "#c0261c", "#17559c"


def draw_weight_map(target: Path, dpi: float = DPI) -> None:
    """Draws part of a generated micrograph, its cells with d1 and d2 of one pixel, and the weight of every pixel."""
    micrograph = generate(320, 320, seed=0, index=_IMAGE)
    instances = find_instances(micrograph.label)
    weights = 1 + border_term(instances, _W0, _SIGMA, "background")
    crop = np.s_[_TOP : _TOP + _CROP, _LEFT : _LEFT + _CROP]
    cells = np.searchsorted(np.unique(np.append(instances[crop], 0)), instances[crop])
    board = Board(_WIDTH, _FOOT + _SIDE + 0.4)
    lefts = [0.12 + column * (_SIDE + _GAP) for column in range(3)]
    high, middle = _FOOT + _SIDE, _FOOT + _SIDE / 2
    for left, title, pixels, colors, lowest, highest in (
        (lefts[0], "image", micrograph.image[crop], "gray", 0, 255),
        (lefts[1], "its cells, and one pixel x", cells, ListedColormap(_COLORS), 0, len(_COLORS) - 1),
        (lefts[2], f"weight map: $w_0$ = {_W0:g}, $\\sigma$ = {_SIGMA:g} px", weights[crop], "viridis", 1, 1 + _W0),
    ):
        extent = (left, left + _SIDE, _FOOT, high)
        picture = board.axes.imshow(pixels, colors, vmin=lowest, vmax=highest, extent=extent)
        board.box(left + _SIDE / 2, middle, _SIDE, _SIDE, "none")
        board.text(left, high + 0.2, title, 11, ha="left", weight="bold")
    place = ((lefts[2] + _SIDE + 0.08) / _WIDTH, _FOOT / board.height, 0.012, _SIDE / board.height)
    board.figure.colorbar(picture, cax=board.figure.add_axes(place), ticks=range(1, 12, 2)).ax.tick_params(labelsize=9)
    board.axes.set(xlim=(0, board.width), ylim=(0, board.height))

    (d1, first), (d2, second) = _nearest_two(instances)
    halo = [withStroke(linewidth=3, foreground="white")]
    start = _place(lefts[1], _PIXEL)
    for name, distance, pixel, color, side in (("d_1", d1, first, _NEAREST, 1), ("d_2", d2, second, _SECOND, -1)):
        end = _place(lefts[1], pixel)
        board.line(start, end, color=color, width=2.6)
        board.axes.plot(*end, "o", ms=4.5, color=color)
        board.text(end[0] + 0.08 * side, end[1], f"${name}$ = {distance:.1f} px", 11, color=color, weight="bold",
                   ha="left" if side > 0 else "right", path_effects=halo)  # fmt: skip
    for left in lefts[1:]:
        board.axes.plot(*_place(left, _PIXEL), "o", ms=6, mfc="white", mec="black", zorder=4)
        board.text(_place(left, _PIXEL)[0], _place(left, _PIXEL)[1] + 0.15, "x", 11, style="italic", path_effects=halo)

    value = 1 + _W0 * exp(-((d1 + d2) ** 2) / (2 * _SIGMA**2))
    formula = r"$w(x) = w_c(x) + w_0\,\exp\left(-\,(d_1(x) + d_2(x))^2 \,/\, 2\sigma^2\right)$"
    number = rf"$w(x) = 1 + {_W0:g}\,\exp\left(-\,({d1:.1f} + {d2:.1f})^2 \,/\, {2 * _SIGMA**2:g}\right) = {value:.1f}$"
    words = "$d_1$, $d_2$: distances to the nearest and to the second-nearest cell"
    right = lefts[2] + _SIDE
    board.text(lefts[0], 0.54, formula, 12, ha="left")
    board.text(lefts[0], 0.2, words, 10, ha="left")
    board.text(right, 0.54, number, 12, ha="right")
    board.text(right, 0.2, "at the pixel x, with $w_c$ = 1; within cells w = $w_c$", 10, ha="right")
    board.save(target, dpi, colors=256)


def _place(left: float, pixel: Sequence[int]) -> Point:
    """Where on the sheet the centre of a pixel (row, column) of the image lies in the panel at `left`."""
    unit = _SIDE / _CROP
    return left + (pixel[1] - _LEFT + 0.5) * unit, _FOOT + _SIDE - (pixel[0] - _TOP + 0.5) * unit


def _nearest_two(instances: Instances) -> list[tuple[float, list[int]]]:
    """Distance and place (row, column) of the nearest pixel of the nearest and of the second-nearest cell."""
    places = [np.argwhere(instances == number) for number in np.unique(instances[instances > 0])]
    return sorted(min((dist(_PIXEL, place), place) for place in cell.tolist()) for cell in places)[:2]
