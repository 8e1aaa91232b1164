"""Patches on one page: what the network gets, the label and the weights that it is trained on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from unet_exp.config import IGNORE_LABEL, ClassSpec
from unet_exp.figures.legend import GAP, GREY, INK, Mark, class_marks, draw_legend, font, shorten, stripes
from unet_exp.samples.classes import colorize

_PANEL, _WIDTH = 288, 1900
_LINE, _TITLE = 18, 34
_BAR = 220
_CHANNELS = 6
"""Most channels that are drawn of an image that is neither grey nor RGB."""
_INVENTED, _IGNORED, _OUTLINE = (235, 30, 180), (40, 80, 200), (250, 210, 0)
_DIM = 0.35

Panel = NDArray[np.uint8]


@dataclass(frozen=True)
class PatchView:
    """One patch.

    Attributes:
        title: names it.
        image: (S, S, C) float32, the network's input.
        label: (T, T) uint8 class indices, of the middle of the input.
        weights: (T, T) float32, of the pixels in the loss, those of the classes included; None where all are alike.
        invented: (S, S), where the input shows what lies beyond the image; None where it is not known.
    """

    title: str
    image: NDArray[np.float32]
    label: NDArray[np.uint8]
    weights: NDArray[np.float32] | None
    invented: NDArray[np.bool_] | None


def draw_preview(views: Sequence[PatchView], classes: Sequence[ClassSpec], facts: Sequence[str]) -> Panel:
    """Draws patches side by side, with a legend; grey values and weights have one scale in all of them.

    Args:
        views: at least one, all of one size and with the same channels.
        classes: of the labels.
        facts: lines of text above.

    Returns:
        (H, W, 3) uint8 RGB, about 1,900 pixels wide, or one patch.
    """
    ranges = _find_ranges(views)
    limits = _find_weights(views)
    drawn = [(view.title, list(_draw_panels(view, classes, ranges, limits))) for view in views]
    side = drawn[0][1][0][1].shape[0]
    wide = len(drawn[0][1]) * (side + GAP // 2) + GAP
    columns = max(1, min(len(views), _WIDTH // wide))
    width = max(columns * wide + GAP, 700)
    strip = draw_legend(_list_marks(views, classes), width)
    below_text = GAP + _LINE * len(facts)
    scale = 0 if limits is None else _LINE + GAP
    top = below_text + len(strip) + scale + GAP
    rows = -(-len(views) // columns)
    sheet = Image.new("RGB", (width, top + rows * (_TITLE + side + GAP) + GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for number, line in enumerate(facts):
        pen.text((GAP, GAP + number * _LINE), line, fill=INK, font=font())
    sheet.paste(Image.fromarray(strip), (0, below_text))
    if limits is not None:
        _draw_scale(sheet, pen, below_text + len(strip) + GAP // 2, limits)
    for number, (title, panels) in enumerate(drawn):
        left, upper = GAP + number % columns * wide, top + number // columns * (_TITLE + side + GAP)
        pen.text((left, upper), shorten(title, wide - GAP), fill=INK, font=font())
        for place, (name, panel) in enumerate(panels):
            start = left + place * (side + GAP // 2)
            pen.text((start, upper + 16), shorten(name, side), fill=GREY, font=font())
            sheet.paste(Image.fromarray(panel), (start, upper + _TITLE))
    picture: Panel = np.asarray(sheet)
    return picture


def _draw_panels(
    view: PatchView,
    classes: Sequence[ClassSpec],
    ranges: Sequence[tuple[float, float]],
    limits: tuple[float, float] | None,
) -> Iterator[tuple[str, Panel]]:
    """The panels of one patch with their names: the input, channel by channel unless it is grey or RGB; the rest."""
    size, tile = view.image.shape[0], view.label.shape[0]
    frame = _Frame(size, tile)
    grey = [np.clip((view.image[..., place] - low) / (high - low), 0, 1) for place, (low, high) in enumerate(ranges)]
    shown = (255 * np.stack(grey, axis=-1)).astype(np.uint8)
    inputs = [shown] if len(grey) == 3 else [shown[..., place : place + 1] for place in range(len(grey))]
    for place, one in enumerate(inputs):
        panel = frame.fit(one.repeat(3, axis=-1) if one.shape[-1] == 1 else one)
        if view.invented is not None:
            marked = frame.fit(view.invented.view(np.uint8)).astype(bool) & stripes(panel.shape[:2])
            panel[marked] = (0.35 * panel[marked] + 0.65 * np.array(_INVENTED)).astype(np.uint8)
        name = "input" if len(inputs) == 1 else f"input, channel {place + 1}"
        unknown = ", beyond the image: not known" if view.invented is None else ""
        yield f"{name}{unknown}", frame.outline(panel)
    around = (_DIM * frame.fit(shown.mean(axis=-1, keepdims=True).astype(np.uint8).repeat(3, axis=-1))).astype(np.uint8)
    label, ignored = colorize(view.label, classes), frame.fit_tile((view.label == IGNORE_LABEL).view(np.uint8)) > 0
    fitted = frame.fit_tile(label)
    fitted[ignored] = 255
    fitted[ignored & stripes(ignored.shape)] = _IGNORED
    yield "label", frame.outline(frame.put(around, fitted))
    if view.weights is not None and limits is not None:
        yield "weights in the loss", frame.outline(frame.put(around, frame.fit_tile(_color(view.weights, limits))))


class _Frame:
    """A panel in which an input of `size` pixels is drawn, and the labelled `tile` of it."""

    def __init__(self, size: int, tile: int) -> None:
        self._scale = _PANEL // size if size <= _PANEL else _PANEL / size
        self._side = round(size * self._scale)
        self._start = round((size - tile) // 2 * self._scale)
        self._tile = max(1, min(round(tile * self._scale), self._side - self._start))
        self._outlined = tile < size

    def fit(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """What covers the whole input: (S, S) or (S, S, 3)."""
        return _resize(pixels, self._side)

    def fit_tile(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """What covers the tile."""
        return _resize(pixels, self._tile)

    def put(self, panel: Panel, inner: Panel) -> Panel:
        """The panel with the tile in its place."""
        filled, inside = panel.copy(), slice(self._start, self._start + self._tile)
        filled[inside, inside] = inner
        return filled

    def outline(self, panel: Panel) -> Panel:
        """The panel with a line around the tile, if that is not all."""
        if self._outlined:
            first, last = self._start - 1, self._start + self._tile
            cv2.rectangle(panel, (first, first), (last, last), _OUTLINE, 1)
        return panel


def _resize(pixels: NDArray[Any], side: int) -> NDArray[Any]:
    """Means where an image shrinks; nearest pixels of maps, and where it grows."""
    shrinks = side < pixels.shape[0] and pixels.ndim == 3
    return cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST)


def _find_ranges(views: Sequence[PatchView]) -> list[tuple[float, float]]:
    """The values of each channel that are drawn black and white: of RGB one range for all."""
    images = np.stack([view.image for view in views])
    channels = [images] if images.shape[-1] == 3 else [images[..., place] for place in range(images.shape[-1])]
    found = []
    for values in channels[:_CHANNELS]:
        low, high = (float(value) for value in np.percentile(values, (0.2, 99.8)))
        found.append((low, max(high, low + 1e-6)))
    return found * 3 if images.shape[-1] == 3 else found


def _find_weights(views: Sequence[PatchView]) -> tuple[float, float] | None:
    weights = [view.weights for view in views if view.weights is not None]
    return (float(np.min(weights)), float(np.max(weights))) if weights else None


def _color(values: NDArray[np.float32], limits: tuple[float, float]) -> Panel:
    """Values as colours, (H, W, 3) RGB."""
    low, high = limits
    scaled = np.clip((values - low) / max(high - low, 1e-6), 0, 1)
    colored: Panel = cv2.applyColorMap((255 * scaled).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1].copy()
    return colored


def _draw_scale(sheet: Image.Image, pen: ImageDraw.ImageDraw, top: int, limits: tuple[float, float]) -> None:
    """The colours of the weights, with the least and the greatest."""
    low, high = (f"{value:.3g}" for value in limits)
    left = GAP + round(font().getlength(f"weights in the loss: {low}")) + 6
    pen.text((GAP, top), f"weights in the loss: {low}", fill=INK, font=font())
    ramp = _color(np.linspace(*limits, _BAR, dtype=np.float32)[None].repeat(14, axis=0), limits)
    sheet.paste(Image.fromarray(ramp), (left, top))
    pen.text((left + _BAR + 6, top), high, fill=INK, font=font())


def _list_marks(views: Sequence[PatchView], classes: Sequence[ClassSpec]) -> tuple[Mark, ...]:
    marks = class_marks(classes)
    marks += (Mark("ignored", _IGNORED, "striped"),)
    if any(view.invented is not None and view.invented.any() for view in views):
        marks += (Mark("beyond the image (mirrored)", _INVENTED, "striped"),)
    if views[0].label.shape[0] < views[0].image.shape[0]:
        marks += (Mark("labelled patch", _OUTLINE, "frame"),)
    return marks
