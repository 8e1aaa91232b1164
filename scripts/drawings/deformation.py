"""The drawing of the paper's deformation in `docs/`, made by the augmentation itself."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from drawings.board import DPI, GREY, Board
from unet_exp.augmentation import Window
from unet_exp.augmentation.paper import Motion, resample
from unet_exp.data.sets.synthetic import generate

_SIDE = 160  # pixels of the image, and of the patch cut from all of it; below: inches
_PANEL, _GAP = 2.74, 0.29
_CHECKERS, _MICROGRAPH = 3.92, 1.0  # the lower edges of the panels
_VECTOR, _OUTLINE, _BORDER = "#d1341f", "#ffc60a", "#1f6fd1"


class _Column(NamedTuple):
    """One panel above another: the same motion of a checkerboard and of a micrograph."""

    title: str
    words: str
    motion: Motion


def draw_deformation(target: Path, dpi: float = DPI) -> None:
    """Draws what the random vectors do to a checkerboard and to a micrograph with its label.

    Args:
        target: the PNG to write.
        dpi: pixels per inch; the drawing is 9.4 inches wide.
    """
    vectors = np.random.default_rng(381).normal(0, 10, (2, 3, 3))
    still = Motion(0, False, (0, 0), np.zeros_like(vectors), "border")
    elastic = replace(still, vectors=vectors)
    everything = replace(elastic, angle=30, shift=(12, 0))
    columns = [
        _Column("3 x 3 random vectors", "Gaussian, standard deviation 10 px", still),
        _Column("the image deformed by them", "bicubic from the vectors to every pixel", elastic),
        _Column("turned and shifted too", "30° and 12 px, in the same resampling", everything),
    ]
    squares = (np.indices((_SIDE, _SIDE)) // 16).sum(axis=0) % 2
    checkers = (90 + 130 * squares).astype(np.float32)
    made = generate(_SIDE, _SIDE, seed=0, index=1)
    grey = ndimage.gaussian_filter(made.image.astype(np.float32), 0.8)  # fine noise makes large files
    board = Board(9.4, 7.4)
    for number, column in enumerate(columns):
        left = _GAP + number * (_PANEL + _GAP)
        source = column.motion.source(Window(0, 0, _SIDE))
        beyond = np.minimum(source, _SIDE - 1 - source).min(axis=0)
        board.text(left, 7.22, column.title, 11, ha="left", weight="bold")
        board.text(left, 6.99, column.words, ha="left", color=GREY)
        for low, image in ((_CHECKERS, checkers), (_MICROGRAPH, grey)):
            patch, label = resample(image[..., None], source, made.label)
            extent = (left, left + _PANEL, low, low + _PANEL)
            board.axes.imshow(
                np.round(patch[..., 0] / 16), "gray", vmin=0, vmax=15, extent=extent, interpolation="nearest"
            )
            if low == _MICROGRAPH:
                _contour(board, left, low, label, 0.5, _OUTLINE)
            if number:
                _contour(board, left, low, beyond, 0, _BORDER, "--")
    board.axes.set(xlim=(0, board.width), ylim=(0, board.height))
    knots = np.linspace(0, _SIDE - 1, 3)
    for (row, column), down, right in zip(np.ndindex(3, 3), *vectors.reshape(2, 9), strict=True):
        start = _point(_GAP, _CHECKERS, knots[row], knots[column])
        board.axes.plot(*start, "o", ms=4, color=_VECTOR)
        board.arrow(start, _point(_GAP, _CHECKERS, knots[row] + down, knots[column] + right), _VECTOR)
    for y, color, dash, words in (
        (0.7, _VECTOR, "-", "from a pixel of the patch to the place in the image whose value it takes; drawn to scale"),
        (
            0.45,
            _BORDER,
            "--",
            "border of the image, which here is no larger than the patch; beyond it the image is mirrored",
        ),
        (0.2, _OUTLINE, "-", "outline of the label, which takes the nearest pixel's value"),
    ):
        board.line((_GAP, y), (_GAP + 0.35, y), color=color, dash=dash)
        board.text(_GAP + 0.45, y, words, ha="left")
    board.save(target, dpi, colors=128)


def _point(left: float, low: float, row: float, column: float) -> tuple[float, float]:
    """Where the middle of a pixel lies on the sheet."""
    unit = _PANEL / _SIDE
    return left + (column + 0.5) * unit, low + _PANEL - (row + 0.5) * unit


def _contour(
    board: Board, left: float, low: float, field: NDArray[np.generic], level: float, color: str, dash: str = "-"
) -> None:
    """Draws where a field (H, W) has a level."""
    x, y = zip(*(_point(left, low, at, at) for at in range(_SIDE)), strict=True)
    board.axes.contour(x, y, field, [level], colors=color, linewidths=1.4, linestyles=dash)
