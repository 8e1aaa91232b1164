"""The page of one run, `report.html` in its folder: what was trained, how it went, its scores and some images."""

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from unet_exp.config import ClassSpec
from unet_exp.errors import DataError
from unet_exp.figures.curves import read_history
from unet_exp.files import write_text
from unet_exp.keys import flat
from unet_exp.metrics.declarations import direction, read_own
from unet_exp.pages.pictures import Panel, Strip, encode, list_score_pictures, rank, read_panels
from unet_exp.pages.run_facts import (
    describe_distances,
    describe_result,
    list_facts,
    list_own_files,
    list_words,
    name_status,
)
from unet_exp.pages.run_plots import plot_history
from unet_exp.pages.run_scores import make_tables
from unet_exp.pages.template import make_environment
from unet_exp.runs.again import write_again
from unet_exp.runs.run_folder import RunFolder
from unet_exp.runs.summary import Summary

_RANKED_BY = "iou/mean"
_TITLES = {3: ("input", "prediction", "overlay"), 4: ("input", "truth", "prediction", "error")}


def write_run_page(folder: RunFolder, summary: Summary, classes: Sequence[ClassSpec]) -> Path:
    """Writes the page completely or not at all; of a run that failed, what there is.

    Args:
        folder: of a training or an evaluation, with its config.
        summary: of the run as it ended, which may not be written yet.
        classes: whose colours the pictures have.

    Returns:
        The path of the page.

    Raises:
        DataError: if the config is missing or damaged.
        OSError: if the page cannot be written.
    """
    config = flat(folder.read_config())
    own = read_own(config.get("metrics.own"))
    monitor = str(config.get("trainer.monitor"))
    rows = read_history(folder.metrics) if folder.metrics.is_file() else []
    status, tone = name_status(summary)
    split = next((name.partition("/")[0] for name in summary.metrics), "unlabelled")
    page = (
        make_environment()
        .get_template("run.html.j2")
        .render(
            title=summary.name or str(config.get("name", folder.path.name)),
            kind="Evaluation" if summary.checkpoint else "Training",
            status=status,
            tone=tone,
            end=describe_result(summary),
            error=summary.error,
            warnings=summary.warnings,
            words=list_words(summary),
            files_of_own=list_own_files(summary, config),
            facts=list_facts(summary, config),
            config=config,
            curves=plot_history(rows, monitor, direction(monitor, own)) if rows else [],
            tables=make_tables(summary.metrics, own),
            distances=describe_distances(summary, config),
            more=list_score_pictures(folder),
            strips=list(_make_strips(folder, split)),
            split=split,
            ranked=split != "unlabelled",
            swatches=[(spec.name, "#{:02x}{:02x}{:02x}".format(*spec.color)) for spec in classes],
            again=_write_again(folder, summary),
            files=[path.name for path in folder.list_files()],
        )
    )
    write_text(folder.page, page)
    return folder.page


def _write_again(folder: RunFolder, summary: Summary) -> tuple[str, str] | None:
    """What can be done with the run, and the command line: one that is over is not resumed, another not repeated."""
    if summary.checkpoint is not None or summary.pruned_at is not None:
        return None
    if summary.is_over:
        return "To repeat it and compare number by number:", write_again("rerun", folder)
    return "To go on with it:", write_again("resume", folder)


def _make_strips(folder: RunFolder, split: str) -> Iterator[Strip]:
    """The worst, the median and the best image of those that are drawn; without scores, three of them."""
    if split == "unlabelled":
        paths = sorted(folder.predictions.glob("unlabelled_*.png")) if folder.predictions.is_dir() else []
        names = [path.stem.removeprefix("unlabelled_") for path in paths]
        for number in dict.fromkeys((0, len(names) // 2, len(names) - 1)) if names else ():
            yield _make_strip(folder, split, "", names[number], "", 3)
        return
    scores = _read_scores(folder)
    drawn = [name for name in sorted(scores, key=scores.__getitem__) if folder.picture(split, name).is_file()]
    for place, image in rank(drawn).items():
        yield _make_strip(folder, split, place, image, f"IoU {scores[image]:.3f}", 4)


def _make_strip(folder: RunFolder, split: str, place: str, image: str, score: str, count: int) -> Strip:
    parts = read_panels(folder, split, image, count)
    if parts is None:
        return Strip(place, image, "", [Panel("picture", score, None)])
    texts = [score if title == "prediction" else "" for title in _TITLES[count]]
    panels = [Panel(title, text, encode(part)) for title, text, part in zip(_TITLES[count], texts, parts, strict=True)]
    return Strip(place, image, "", panels)


def _read_scores(folder: RunFolder) -> dict[str, float]:
    """The images that have a score, by name."""
    if not folder.per_image.is_file():
        return {}
    with folder.per_image.open(newline="") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    known = {str(row["image"]): row.get(_RANKED_BY) or "nan" for row in rows if row.get("image")}
    try:
        return {name: float(value) for name, value in known.items() if not math.isnan(float(value))}
    except ValueError:
        raise DataError(f"{folder.per_image} is damaged: {_RANKED_BY}") from None
