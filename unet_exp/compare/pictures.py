"""The same test images side by side for each group, from the pictures of the runs."""

import base64
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from unet_exp.compare.collect import Run
from unet_exp.compare.results import Comparison
from unet_exp.figures.overlay import split_panels
from unet_exp.runs.run_folder import RunFolder

MOST_GROUPS = 6  # more groups would make the page large and the panels small
_BOMB = (Image.DecompressionBombWarning, Image.DecompressionBombError)
_SIDE, _QUALITY = 320, 82  # pixels of a panel at most; of its JPEG


@dataclass(frozen=True)
class Panel:
    """One picture of a strip: `input`, `truth` or the label of a group, the score there, a `data:` URI or None."""

    title: str
    score: str
    source: str | None


@dataclass(frozen=True)
class Strip:
    """One test image, the `worst`, `median`, `best` or `only` one by the baseline's score, in every group.

    The panels are input and truth, if there is a picture to take them from, then one per group; `run` names their runs,
    such as `seed 0, fold 1`.
    """

    rank: str
    image: str
    run: str
    panels: list[Panel]


def make_strips(comparison: Comparison) -> list[Strip]:
    """The baseline's worst, median and best test image, each from runs of one seed and fold.

    The score of an image is its mean over the baseline's runs that tested it. Only images count that each of the groups
    shown has tested with a common seed and fold, and of these, where `draws_some`, those that all of them have drawn,
    if there are any; of several runs, those with the most pictures.

    Returns:
        Three strips, fewer for fewer images, none if no image is common to the groups shown.
    """
    shown = _list_shown(comparison)
    paired = [name for name in shown[0] if all(name in runs for runs in shown)]
    sources: dict[str, list[str]] = {}
    for name in paired:
        tested = [set(runs[name].images.index) for runs in shown]
        for image in set.intersection(*tested):
            sources.setdefault(str(image), []).append(name)
    scores = pd.concat([run.images[comparison.metric] for run in comparison.baseline.runs])
    ranked = scores.groupby(level=0).mean().dropna().sort_values(ascending=comparison.higher_is_better, kind="stable")
    images = [str(image) for image in ranked.index if image in sources]
    if draws_some(comparison):
        drawn = {name: set.intersection(*(_list_pictures(runs[name]) for runs in shown)) for name in paired}
        in_all = [image for image in images if any(_picture_name(image) in drawn[name] for name in sources[image])]
        images = in_all or images
    made = []
    for rank, image in _rank(images).items():
        name = min(
            sources[image], key=lambda name: sum(not _picture_path(runs[name], image).is_file() for runs in shown)
        )
        made.append(_make_strip(comparison, rank, image, name, [runs[name] for runs in shown]))
    return made


def draws_some(comparison: Comparison) -> bool:
    """Whether a run of the groups shown has drawn only some of its test images (`metrics.pictures`)."""
    runs = [run for of_group in _list_shown(comparison) for run in of_group.values()]
    limits = [(run.config.get("metrics.pictures"), len(run.images)) for run in runs]
    return any(isinstance(limit, int) and 0 < limit < count for limit, count in limits)


def _list_shown(comparison: Comparison) -> list[dict[str, Run]]:
    """The runs of each group that is shown, by what distinguishes them."""
    return [{_describe_run(run): run for run in group.runs} for group in comparison.groups[:MOST_GROUPS]]


def _describe_run(run: Run) -> str:
    """What distinguishes a run from the others of its group."""
    return f"seed {run.seed}" + ("" if run.fold is None else f", fold {run.fold}")


def _rank(images: Sequence[str]) -> dict[str, str]:
    """The shown ones of images that are sorted from the worst to the best."""
    if len(images) < 2:
        return dict(zip(["only"], images, strict=False))
    ends = {"worst": images[0], "best": images[-1]}
    return ends if len(images) == 2 else {"worst": images[0], "median": images[len(images) // 2], "best": images[-1]}


def _make_strip(comparison: Comparison, rank: str, image: str, name: str, runs: Sequence[Run]) -> Strip:
    first: list[Panel] = []
    errors = []
    for group, run in zip(comparison.groups, runs, strict=False):
        parts = _read_panels(run, image)
        score = f"{run.images[comparison.metric][image]:.3f}"
        errors.append(Panel(group.label, score, None if parts is None else _encode(parts[3])))
        if parts is not None and not first:
            first = [Panel("input", "", _encode(parts[0])), Panel("truth", "", _encode(parts[1]))]
    return Strip(rank, image, name, first + errors)


def _list_pictures(run: Run) -> set[str]:
    """Names of its pictures, see `_picture_name`."""
    folder = RunFolder(run.folder).predictions
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def _picture_name(image: str) -> str:
    return f"test_{image.removeprefix('test_')}.png"


def _picture_path(run: Run, image: str) -> Path:
    return RunFolder(run.folder).predictions / _picture_name(image)


def _read_panels(run: Run, image: str) -> list[NDArray[np.uint8]] | None:
    """Input, truth, prediction and error; None where the picture is missing or not ours."""
    path = _picture_path(run, image)
    try:
        if not path.resolve().is_relative_to(run.folder.resolve()):  # a name such as ../../holiday
            return None
        strict = warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning)
        with strict, Image.open(path, formats=["PNG"]) as picture:
            return split_panels(np.asarray(picture.convert("RGB")))
    except (OSError, ValueError, SyntaxError, *_BOMB):  # what Pillow raises for damaged files
        return None


def _encode(panel: NDArray[np.uint8]) -> str:
    picture = Image.fromarray(np.ascontiguousarray(panel))
    picture.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    data = BytesIO()
    picture.save(data, "JPEG", quality=_QUALITY, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()
