"""Pictures of runs on pages: read from the run's own folder, and put into the page itself."""

import base64
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unet_exp.figures.legend import GAP
from unet_exp.figures.overlay import cut_legend, split_panels
from unet_exp.runs.run_folder import RunFolder

_BOMB = (Image.DecompressionBombWarning, Image.DecompressionBombError)
_PNG = "data:image/png;base64,"
_SIDE, _QUALITY = 320, 82  # pixels of a panel at most; of its JPEG


@dataclass(frozen=True)
class Panel:
    """One picture of a strip: such as `input`, `truth` or the label of a group, a score, a `data:` URI or None."""

    title: str
    score: str
    source: str | None


@dataclass(frozen=True)
class Strip:
    """Panels of one image, the `worst`, `median`, `best` or `only` one.

    Attributes:
        rank: which one.
        image: its name.
        run: the runs that have predicted it, such as `seed 0, fold 1`; empty on the page of one.
        panels: from left to right.
        legend: a `data:` URI, of the picture that shows the truth.
    """

    rank: str
    image: str
    run: str
    panels: list[Panel]
    legend: str | None = None


class ScorePicture(NamedTuple):
    """A picture of scores, white on a dark page too: its title, what explains it, and a `data:` URI."""

    title: str
    caption: str
    source: str


def rank(images: Sequence[str]) -> dict[str, str]:
    """The worst, median and best of images that are sorted from the worst to the best; fewer of fewer images."""
    if len(images) < 2:
        return dict(zip(["only"], images, strict=False))
    ends = {"worst": images[0], "best": images[-1]}
    return ends if len(images) == 2 else {"worst": images[0], "median": images[len(images) // 2], "best": images[-1]}


def read_panels(run: RunFolder, split: str, image: str, count: int = 4) -> list[NDArray[np.uint8]] | None:
    """The panels of an image's picture, see `split_panels`; None where the picture is missing or not ours."""
    picture = _read(run, run.picture(split, image))
    try:
        return None if picture is None else split_panels(picture, count)
    except ValueError:
        return None


def read_legend(run: RunFolder, split: str, image: str) -> str | None:
    """The legend of an image's picture as a `data:` URI; None where there is none, as in earlier versions."""
    picture = _read(run, run.picture(split, image))
    legend = None if picture is None else cut_legend(picture)
    if legend is None or not legend.size:
        return None
    used = np.flatnonzero((legend != 255).any(axis=(0, 2)))
    legend = legend[:, : int(used.max(initial=0)) + GAP]
    data = BytesIO()
    Image.fromarray(np.ascontiguousarray(legend)).save(data, "PNG")
    return _PNG + base64.b64encode(data.getvalue()).decode()


def list_score_pictures(run: RunFolder) -> list[ScorePicture]:
    """Those of a run that are there."""
    rows = "Each row is a true class: which share of its pixels was predicted as what."
    thresholds = "Over all thresholds of the probabilities; docs/metrics.md explains the numbers."
    told = [
        (run.confusion_picture, "Confusion matrix", rows),
        (run.curves_picture, "Precision and recall, ROC and calibration", thresholds),
    ]
    return [
        ScorePicture(title, caption, _PNG + base64.b64encode(path.read_bytes()).decode())
        for path, title, caption in told
        if _read(run, path) is not None
    ]


def encode(panel: NDArray[np.uint8]) -> str:
    """A panel as a `data:` URI, at most 320 pixels a side."""
    picture = Image.fromarray(np.ascontiguousarray(panel))
    picture.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    data = BytesIO()
    picture.save(data, "JPEG", quality=_QUALITY, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()


def _read(run: RunFolder, path: Path) -> NDArray[np.uint8] | None:
    """A picture of the run; None for one elsewhere, which a name such as ../../holiday leads to, or a damaged one."""
    try:
        if not path.resolve().is_relative_to(run.path.resolve()):
            return None
        strict = warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning)
        with strict, Image.open(path, formats=["PNG"]) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError, *_BOMB):  # what Pillow raises for damaged files
        return None
