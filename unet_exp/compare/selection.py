"""Which runs can be compared with each other."""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from itertools import compress

import numpy as np

from unet_exp.compare.collect import Excluded, Run
from unet_exp.compare.settings import NO_SETTING, format_value
from unet_exp.errors import ConfigError
from unet_exp.metrics.declarations import LOSS, find_metric

_OF_DATA = ("data.name", "data.folds", "data.seed", "data.split")
"""Keys without which fingerprints cannot be expected to be the same."""


def select_comparable(runs: Sequence[Run], metric: str) -> tuple[list[Run], list[Excluded]]:
    """Parts runs that measured the same thing on the same images from the others.

    What most runs have in common is kept, what the earliest have where two are equally common: the version of the
    metrics, the data in words, then the fingerprint of each fold, which holds images, labels and split.

    Args:
        runs: finished runs.
        metric: a column of `per_image.csv`.

    Returns:
        The runs to compare by their start, and the others with the reason.

    Raises:
        ConfigError: for a metric that none of the runs has.
    """
    kept = sorted(runs, key=lambda run: run.order)
    excluded: list[Excluded] = []

    def keep(fits: Callable[[Run], bool], reason: Callable[[Run], str], lost: bool = False) -> None:
        nonlocal kept
        fitting = [fits(run) for run in kept]
        excluded.extend(
            Excluded(run.folder, reason(run), lost) for run, fit in zip(kept, fitting, strict=True) if not fit
        )
        kept = list(compress(kept, fitting))

    def keep_commonest(of: Callable[[Run], Hashable], reason: Callable[[Run, Run], str]) -> None:
        if kept:
            common = Counter(of(run) for run in kept).most_common(1)[0][0]
            model = next(run for run in kept if of(run) == common)
            keep(lambda run: of(run) == common, lambda run: reason(run, model))

    keep(lambda run: not run.images.empty, lambda _: "no test scores", lost=True)
    names = list(dict.fromkeys(name for run in kept for name in run.images.columns))
    if kept and metric not in names:
        raise ConfigError(f"metric={metric}: the runs do not have it; choose one of {', '.join(names)}")
    declared = find_metric(metric)
    keep(lambda run: metric in run.images, lambda _: f"{metric} is not among its scores")
    if declared is LOSS:
        # A loss is defined for every image: one that is not finite is a result, and the worst that there is.
        keep(
            lambda run: not _count_not_finite(run, metric),
            lambda run: _describe_loss(_count_not_finite(run, metric)),
            lost=True,
        )
    keep(
        lambda run: bool(run.images[metric].notna().any()),
        lambda _: f"{metric} is undefined for all its images",
        lost=True,
    )
    keep_commonest(
        lambda run: run.summary.metrics_version,
        lambda run, model: f"metrics version {run.summary.metrics_version}, the others {model.summary.metrics_version}",
    )
    if declared.name == "warping_error":
        keep_commonest(
            lambda run: run.config.get("metrics.warping_radius"),
            lambda run, model: _list_differences(run, model, ["metrics.warping_radius"]),
        )
    keep_commonest(lambda run: tuple(format_value(run.config.get(key)) for key in _OF_DATA), _describe_data)
    fingerprints = {
        fold: Counter(run.summary.data_fingerprint for run in kept if run.fold == fold).most_common(1)[0][0]
        for fold in {run.fold for run in kept}
    }
    models = {run.fold: run for run in reversed(kept) if run.summary.data_fingerprint == fingerprints[run.fold]}
    keep(
        lambda run: run.summary.data_fingerprint == fingerprints[run.fold],
        lambda run: _describe_data(run, models[run.fold]),
    )
    return kept, excluded


def _count_not_finite(run: Run, metric: str) -> int:
    return int(np.count_nonzero(~np.isfinite(run.images[metric])))


def _describe_loss(images: int) -> str:
    return f"its loss is not finite on {images} image{'' if images == 1 else 's'}"


def _describe_data(run: Run, model: Run) -> str:
    """Names every setting of the data that differs; one that only one of them has goes with the data's name."""
    keys = [key for key in run.config if key.startswith("data.") and key not in NO_SETTING and key in model.config]
    unlike = _list_differences(run, model, keys)
    return f"other data or split than {model.folder.name}{': ' if unlike else ''}{unlike}"


def _list_differences(run: Run, model: Run, keys: Sequence[str]) -> str:
    words = [(key, format_value(run.config.get(key)), format_value(model.config.get(key))) for key in keys]
    return "; ".join(f"{key}={own}, the others {others}" for key, own, others in words if own != others)
