"""Overlays: a prediction beside its image, its truth and its errors."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from unet_exp.config import IGNORE_LABEL, ClassSpec
from unet_exp.figures.legend import Mark, class_marks, draw_legend, stripes
from unet_exp.samples.classes import IGNORE_COLOR, colorize

_GAP = 8
_HEADER = 28
_NARROWEST, _LONGEST = 200, 1000
"""Width and height of a panel, pixels, between which the pixels of a small image are squares: its title needs room."""
_GOLDEN = 0.618
"""Of a turn of the colour wheel from a number to the next."""
_CORRECT = (70, 70, 70)
_WRONG = (230, 60, 40)
_NOT_COUNTED = (40, 80, 200)
_RULE = (200, 200, 200)
"""The line above a legend: the only row of a picture without the white between panels."""


def view_as_rgb(image: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> NDArray[np.uint8]:
    """Turns any image into (H, W, 3) uint8: one or three channels, the range of valid pixels stretched to 0..255."""
    shown: NDArray[Any] = image[..., :3] if image.shape[-1] >= 3 else image[..., :1].repeat(3, axis=-1)
    if shown.dtype == np.uint8:
        view: NDArray[np.uint8] = shown.copy()
        return view
    counted = shown if valid is None or not valid.any() else shown[valid]
    low, high = np.percentile(counted, (0.5, 99.5))
    stretched: NDArray[np.float32] = (shown.astype(np.float32) - low) / max(float(high - low), 1e-6)
    return (np.clip(stretched, 0, 1) * 255).astype(np.uint8)


def draw_panels(
    image: NDArray[Any],
    truth: NDArray[np.uint8] | None,
    prediction: NDArray[np.uint8],
    classes: Sequence[ClassSpec],
    score: str = "",
    valid: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """Input, truth, prediction and error side by side; without a truth, input, prediction and their blend.

    Args:
        image: (H, W, C), as read.
        truth: (H, W) class indices, ignored pixels included, or None.
        prediction: (H, W) class indices.
        classes: their colours.
        score: text above the prediction.
        valid: (H, W), the pixels of the image that hold data; None for all. Elsewhere nothing is predicted.

    Returns:
        (k H + header + legend, about 4 k W, 3) uint8 RGB; k is 1, and more for images below 200 columns. In the
        error panel a wrong pixel is red over the darkened input, and ignored ones are striped blue.
    """
    grey = view_as_rgb(image, valid)
    if valid is not None:
        prediction = np.where(valid, prediction, np.uint8(IGNORE_LABEL))
    predicted = colorize(prediction, classes)
    if truth is None:
        blend = (0.6 * grey + 0.4 * predicted).astype(np.uint8)
        columns = [("input", grey), ("prediction", predicted), ("overlay", blend)]
        columns = [(title, _enlarge(panel)) for title, panel in columns]
    else:
        error = (grey * 0.45).astype(np.uint8)
        ignored = truth == IGNORE_LABEL
        error[(prediction != truth) & ~ignored] = _WRONG
        wrong = prediction[~ignored] != truth[~ignored]
        columns = [
            ("input", _enlarge(grey)),
            ("truth", _enlarge(colorize(truth, classes))),
            (f"prediction {score}".strip(), _enlarge(predicted)),
            (f"error {wrong.mean():.1%}" if wrong.size else "all ignored", _stripe(_enlarge(error), _enlarge(ignored))),
        ]
    panels = np.concatenate([_add_title(title, panel) for title, panel in columns], axis=1)
    return np.concatenate([panels, _draw_meanings(classes, truth, prediction, panels.shape[1])])


def draw_prediction(
    image: NDArray[Any],
    prediction: NDArray[np.uint8],
    classes: Sequence[ClassSpec],
    valid: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """Input, prediction and their blend as `draw_panels` has them, of a large image every n-th pixel.

    Args:
        image: (H, W, C), as read.
        prediction: (H, W) class indices.
        classes: their colours.
        valid: (H, W), see `draw_panels`.
    """
    step = -(-max(prediction.shape) // _LONGEST)
    few = (slice(None, None, step),) * 2
    return draw_panels(image[few], None, prediction[few], classes, valid=None if valid is None else valid[few])


def color_cells(ids: NDArray[np.integer], image: NDArray[Any], valid: NDArray[np.bool_] | None) -> NDArray[np.uint8]:
    """Cells over their image, each in a colour that differs from those of the numbers beside its own.

    Args:
        ids: (H, W), 0 between cells.
        image: (H, W, C), as read.
        valid: (H, W), the pixels of the image that hold data; None for all.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    view = view_as_rgb(image, valid)
    turns = np.arange(int(ids.max(initial=0)) + 1) * _GOLDEN % 1
    hues = np.stack([180 * turns, np.full_like(turns, 190), np.full_like(turns, 255)], axis=1).astype(np.uint8)
    colors = cv2.cvtColor(hues[None], cv2.COLOR_HSV2RGB)[0]
    painted: NDArray[np.uint8] = np.where(ids[..., None] > 0, view // 3 + colors[ids] // 3 * 2, view)
    return painted


def _enlarge(pixels: NDArray[Any]) -> NDArray[Any]:
    """Each pixel as a square where an image is narrow, but not a long one."""
    times = min(-(-_NARROWEST // pixels.shape[1]), _LONGEST // pixels.shape[0])
    return pixels.repeat(times, axis=0).repeat(times, axis=1) if times > 1 else pixels


def _stripe(panel: NDArray[np.uint8], ignored: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Stripes, since a class may have any colour."""
    panel[ignored & stripes(ignored.shape)] = _NOT_COUNTED
    return panel


def _draw_meanings(
    classes: Sequence[ClassSpec], truth: NDArray[np.uint8] | None, prediction: NDArray[np.uint8], width: int
) -> NDArray[np.uint8]:
    """The legend of `draw_panels`, below a line."""
    marks = class_marks(classes)
    if (prediction if truth is None else np.append(truth, prediction)).max() == IGNORE_LABEL:
        marks += (Mark("ignored", IGNORE_COLOR),)
    if truth is not None:
        marks += (Mark("error: wrong", _WRONG), Mark("error: ignored", _NOT_COUNTED, "striped"))
    legend = draw_legend(marks, width)
    return np.concatenate([np.full((1, width, 3), _RULE, np.uint8), legend])


def cut_legend(picture: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """The legend of a picture of `draw_panels`; None for a picture of an earlier version, which has none."""
    rule = _find_rule(picture)
    return None if rule == len(picture) else picture[rule + 1 :]


def _find_rule(picture: NDArray[np.uint8]) -> int:
    """The row of the line above the legend; the height of the picture where there is none."""
    rows = np.flatnonzero((picture == _RULE).all(axis=(1, 2)))
    return int(rows[0]) if rows.size else len(picture)


def split_panels(picture: NDArray[np.uint8], count: int = 4) -> list[NDArray[np.uint8]]:
    """Cuts the panels out of a picture of `draw_panels`, without titles, gaps and legend.

    Args:
        picture: (H, W, 3) uint8 RGB.
        count: number of panels: four with a truth.

    Returns:
        `count` arrays of one size, from left to right.

    Raises:
        ValueError: if the picture's size is not that of so many panels.
    """
    height, width = _find_rule(picture) - _HEADER - _GAP, picture.shape[1] // count - _GAP
    if picture.shape[1] % count or height < 1 or width < 1:
        raise ValueError(f"a picture of {picture.shape[1]} x {picture.shape[0]} pixels is not {count} panels")
    lefts = [place * (width + _GAP) + _GAP // 2 for place in range(count)]
    return [picture[_HEADER : _HEADER + height, left : left + width] for left in lefts]


def _add_title(title: str, panel: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = panel.shape[:2]
    canvas = np.full((height + _HEADER + _GAP, width + _GAP, 3), 255, np.uint8)
    canvas[:_HEADER] = _draw_title(title, width)
    canvas[_HEADER : _HEADER + height, _GAP // 2 : _GAP // 2 + width] = panel
    return canvas


@lru_cache(maxsize=64)  # text takes longer to draw than a small picture, and most pictures have the same
def _draw_title(title: str, width: int) -> NDArray[np.uint8]:
    """The stripe above a panel, not to be changed."""
    stripe = np.full((_HEADER, width + _GAP, 3), 255, np.uint8)
    scale = min(0.6, width / 400)
    cv2.putText(stripe, title, (_GAP, 20), cv2.FONT_HERSHEY_SIMPLEX, scale, _CORRECT, 1, cv2.LINE_AA)
    return stripe
