"""The sheet on which the drawings in `docs/` are made, and the small PNG files that they become.

One unit is one inch; y points up. Nothing here keeps or changes pyplot's state.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image  # comes with matplotlib

DPI = 160
ENCODER, DECODER, SUM, SCORES = "#9ec5e8", "#f5c27a", "#cfd3a8", "#d9a5c7"
DARK, GREY = "#222222", "#6b6b6b"
OBLIQUE = (0.62, 0.40)  # where the channels of a slab lead, for one unit of them

Point = tuple[float, float]
Dash = str | tuple[float, Sequence[float]]


class Board:
    """A sheet of `width` x `height` inches."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height), facecolor="white")
        self.canvas = FigureCanvasAgg(self.figure)
        self.axes: Axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, width), ylim=(0, height))
        self.axes.axis("off")

    def text(self, x: float, y: float, words: str, size: float = 9, **style: Any) -> None:
        """Words around (x, y); `style` as matplotlib's."""
        self.axes.text(x, y, words, size=size, **{"ha": "center", "va": "center", "color": DARK, **style})

    def line(self, *points: Point, color: str = DARK, width: float = 1.4, dash: Dash = "-") -> None:
        """A line from point to point."""
        xs, ys = zip(*points, strict=True)
        self.axes.plot(xs, ys, color=color, lw=width, ls=dash, solid_joinstyle="miter")

    def arrow(self, start: Point, end: Point, color: str = DARK, dash: str = "-") -> None:
        """An arrow; its head is never dashed."""
        style = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, "mutation_scale": 10, "color": color, "lw": 1.4}
        away = ((end[0] - start[0]) * 0.02, (end[1] - start[1]) * 0.02)
        self.line(start, (end[0] - away[0], end[1] - away[1]), color=color, dash=dash)
        self.axes.annotate("", end, (end[0] - away[0], end[1] - away[1]), arrowprops=style)

    def box(self, x: float, y: float, width: float, height: float, face: str, dash: str = "-") -> None:
        """A rectangle around (x, y)."""
        left, right, low, high = x - width / 2, x + width / 2, y - height / 2, y + height / 2
        self._shape([(left, low), (right, low), (right, high), (left, high)], face, dash)

    def slab(self, x: float, y: float, side: float, depth: float, face: str) -> None:
        """A stack of feature maps: a square around (x, y), its channels leading away behind it."""
        right, up = (depth * part for part in OBLIQUE)
        low, high, left, end = y - side / 2, y + side / 2, x - side / 2, x + side / 2
        self._shape([(left, high), (left + right, high + up), (end + right, high + up), (end, high)], face)
        self._shape([(end, low), (end + right, low + up), (end + right, high + up), (end, high)], face)
        self.box(x, y, side, side, face)

    def plus(self, x: float, y: float, size: float = 9) -> None:
        """A circled plus."""
        self.axes.plot(x, y, "o", ms=size, mfc="white", mec=DARK)
        self.axes.plot(x, y, "+", ms=size * 0.6, color=DARK)

    def times(self, x: float, y: float, size: float = 9) -> None:
        """A circled cross."""
        self.axes.plot(x, y, "o", ms=size, mfc="white", mec=DARK)
        self.axes.plot(x, y, "x", ms=size * 0.45, color=DARK)

    def save(self, target: Path, dpi: float, colors: int = 128) -> None:
        """Writes the sheet; see `save_picture`."""
        self.figure.set_dpi(dpi)
        self.canvas.draw()  # type: ignore[no-untyped-call]
        pixels: NDArray[np.uint8] = np.asarray(self.canvas.buffer_rgba())  # type: ignore[no-untyped-call]
        save_picture(pixels[..., :3], target, colors)

    def _shape(self, points: Sequence[Point], face: str, dash: str = "-") -> None:
        self.axes.fill(*zip(*points, strict=True), facecolor=face, edgecolor=DARK, lw=1.0, ls=dash)


def save_picture(pixels: NDArray[np.uint8], target: Path, colors: int = 128) -> None:
    """Writes a PNG with a palette, a fraction of the size of a full one.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        target: the file; its folder is made.
        colors: of the palette, 256 at most.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.quantize(colors, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        target, format="PNG", optimize=True
    )


def shrink_picture(source: Path, target: Path, width: int = 1200, limit: int = 200_000) -> None:
    """Copies a picture, made so small that a page can show it.

    Args:
        source: an image file.
        target: the PNG to write.
        width: pixels that it has at most.
        limit: bytes that it has at most; colours, then pixels are given up for that.
    """
    whole = Image.open(source).convert("RGB")
    for shown in range(min(width, whole.width), 0, -100):
        picture = whole.resize((shown, round(whole.height * shown / whole.width)), Image.Resampling.LANCZOS)
        for colors in (128, 64, 32):
            save_picture(np.asarray(picture), target, colors)
            if target.stat().st_size <= limit:
                return
