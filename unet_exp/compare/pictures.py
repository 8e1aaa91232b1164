"""The same test images side by side for each group, from the pictures of the runs."""

from collections.abc import Sequence

import pandas as pd

from unet_exp.compare.collect import Run
from unet_exp.compare.results import Comparison
from unet_exp.compare.wording import format_count
from unet_exp.pages.pictures import Panel, Strip, encode, rank, read_legend, read_panels
from unet_exp.runs.run_folder import RunFolder, picture_name

MOST_GROUPS = 6  # more groups would make the page large and the panels small


def make_strips(comparison: Comparison) -> list[Strip]:
    """The baseline's worst, median and best test image, each from runs of one seed and fold.

    The panels are input and truth, if there is a picture to take them from, then one per group.

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
        in_all = [
            image for image in images if any(picture_name("test", image) in drawn[name] for name in sources[image])
        ]
        images = in_all or images
    made = []
    for place, image in rank(images).items():
        name = _find_most_pictures(sources[image], image, shown)
        made.append(_make_strip(comparison, place, image, name, [runs[name] for runs in shown]))
    return made


def _find_most_pictures(names: Sequence[str], image: str, shown: Sequence[dict[str, Run]]) -> str:
    """The first of the runs that the groups have in common in which the fewest pictures of an image are missing."""
    missing: dict[str, int] = {}
    for name in names:
        missing[name] = sum(not _has_picture(runs[name], image) for runs in shown)
        if not missing[name]:
            break
    return min(missing, key=lambda name: missing[name])


def draws_some(comparison: Comparison) -> bool:
    """Whether a run of the groups shown has drawn only some of its test images (`metrics.pictures`)."""
    runs = [run for of_group in _list_shown(comparison) for run in of_group.values()]
    limits = [(run.config.get("metrics.pictures"), len(run.images)) for run in runs]
    return any(isinstance(limit, int) and 0 < limit < count for limit, count in limits)


def describe_gone(comparison: Comparison) -> str:
    """What is said of runs whose pictures somebody has deleted; empty where there are none."""
    runs = [run for group in comparison.groups for run in group.runs]
    drawn = [run for run in runs if run.config.get("metrics.pictures") != 0]
    gone = sum(not RunFolder(run.folder).predictions.is_dir() for run in drawn)
    if not gone:
        return ""
    left = "the page has no pictures" if gone == len(drawn) else "the page has only pictures of the others"
    return f"predictions of {gone} of {format_count(len(runs), 'run')} are gone: {left}"


def _list_shown(comparison: Comparison) -> list[dict[str, Run]]:
    """The runs of each group that is shown, by what distinguishes them."""
    return [{_describe_run(run): run for run in group.runs} for group in comparison.groups[:MOST_GROUPS]]


def _describe_run(run: Run) -> str:
    """What distinguishes a run from the others of its group."""
    return f"seed {run.seed}" + ("" if run.fold is None else f", fold {run.fold}")


def _make_strip(comparison: Comparison, place: str, image: str, name: str, runs: Sequence[Run]) -> Strip:
    first: list[Panel] = []
    legend = None
    errors = []
    for group, run in zip(comparison.groups, runs, strict=False):
        folder = RunFolder(run.folder)
        parts = read_panels(folder, "test", image)
        score = f"{run.images[comparison.metric][image]:.3f}"
        errors.append(Panel(group.label, score, None if parts is None else encode(parts[3])))
        if parts is not None and not first:
            first = [Panel("input", "", encode(parts[0])), Panel("truth", "", encode(parts[1]))]
            legend = read_legend(folder, "test", image)
    return Strip(place, image, name, first + errors, legend)


def _list_pictures(run: Run) -> set[str]:
    """Names of its pictures, see `picture_name`."""
    folder = RunFolder(run.folder).predictions
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def _has_picture(run: Run, image: str) -> bool:
    return RunFolder(run.folder).picture("test", image).is_file()
