"""Selects the runs that can be compared with each other."""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from itertools import compress

import numpy as np

from unet_exp.compare.collect import Excluded, Run, find_ignored, find_score
from unet_exp.compare.fingerprints import explain_versions, translate_fingerprints
from unet_exp.compare.settings import NO_SETTING, format_value
from unet_exp.compare.wording import format_count
from unet_exp.errors import ConfigError, suggest
from unet_exp.metrics.declarations import LOSS

_OF_DATA = ("data.name", "data.folds", "data.seed", "data.split")
"""Keys that determine the fingerprint of the data."""


@dataclass
class _Selection:
    kept: list[Run]
    excluded: list[Excluded] = field(default_factory=list)

    def keep(self, fits: Callable[[Run], bool], reason: Callable[[Run], str], lost: bool = False) -> None:
        fitting = [fits(run) for run in self.kept]
        rest = compress(self.kept, (not fit for fit in fitting))
        self.excluded += [Excluded(run.folder, reason(run), lost) for run in rest]
        self.kept = list(compress(self.kept, fitting))

    def keep_most_common(
        self,
        value: Callable[[Run], Hashable],
        reason: Callable[[Run, Run], str],
        group: Callable[[Run], Hashable] = lambda _: None,
    ) -> None:
        """In each group; `reason` also gets the earliest run with the most common value."""
        models: dict[Hashable, Run] = {}
        for name in {group(run) for run in self.kept}:
            runs = [run for run in self.kept if group(run) == name]
            common = Counter(map(value, runs)).most_common(1)[0][0]
            models[name] = next(run for run in runs if value(run) == common)
        self.keep(lambda run: value(run) == value(models[group(run)]), lambda run: reason(run, models[group(run)]))


def select_comparable(runs: Sequence[Run], metric: str) -> tuple[list[Run], list[Excluded]]:
    """Separates runs that measured the same score on the same images from the others.

    It keeps what most runs have in common, of equally common values that of the earliest: the version of the metrics,
    the data in words, then the fingerprint of each fold, which covers images, labels and split. The data are read where
    some fingerprints are of an earlier version.

    Args:
        runs: finished runs.
        metric: a column of `per_image.csv`.

    Returns:
        The runs to compare by their start, and the others with the reason.

    Raises:
        ConfigError: for a metric that none of the runs has.
    """
    selection = _Selection(sorted(runs, key=lambda run: run.order))
    _require_scores(selection, metric)
    selection.keep_most_common(
        lambda run: run.summary.metrics_version,
        lambda run, model: f"metrics version {run.summary.metrics_version}, the others {model.summary.metrics_version}",
    )
    if selection.kept and find_score(metric, selection.kept).name == "warping_error":
        selection.keep_most_common(
            lambda run: run.config.get("metrics.warping_radius"),
            lambda run, model: _list_differences(run, model, ["metrics.warping_radius"]),
        )
    if selection.kept and find_score(metric, selection.kept).family == "distances":
        selection.keep_most_common(
            lambda run: run.summary.distance_unit,
            lambda run, model: (
                f"distances in {run.summary.distance_unit}, the others in {model.summary.distance_unit} "
                "(data.pixel_size)"
            ),
        )
    if selection.kept and find_score(metric, selection.kept).name == "surface_dice":
        selection.keep_most_common(
            lambda run: format_value(run.config.get("metrics.tolerance")),
            lambda run, model: _list_differences(run, model, ["metrics.tolerance"]),
        )
    selection.keep_most_common(lambda run: tuple(format_value(run.config.get(key)) for key in _OF_DATA), _describe_data)
    selection.kept = translate_fingerprints(selection.kept)
    selection.keep_most_common(
        lambda run: run.summary.data_fingerprint,
        lambda run, model: explain_versions(run, model) or _describe_data(run, model),
        lambda run: run.fold,
    )
    return selection.kept, selection.excluded


def _require_scores(selection: _Selection, metric: str) -> None:
    """Keeps the runs with a defined score; a loss that is not finite is a result, and the worst that there is."""
    selection.keep(lambda run: not run.images.empty, lambda _: "no test scores", lost=True)
    names = list(dict.fromkeys(name for run in selection.kept for name in run.images.columns))
    if selection.kept and metric not in names:
        raise ConfigError(
            f"metric={metric}: the runs do not have it{_guess(metric, names)}; choose one of {', '.join(names)}"
        )
    selection.keep(lambda run: metric in run.images, lambda _: f"{metric} is not among its scores")
    if selection.kept and find_score(metric, selection.kept) is LOSS:
        selection.keep(
            lambda run: not _count_not_finite(run, metric),
            lambda run: f"its loss is not finite on {format_count(_count_not_finite(run, metric), 'image')}",
            lost=True,
        )
    selection.keep(
        lambda run: bool(run.images[metric].notna().any()),
        lambda _: f"{metric} is undefined for all its images",
        lost=True,
    )


def _guess(metric: str, names: Sequence[str]) -> str:
    """The column that is meant: a score of classes without the class, or one with the split of another."""
    bare = metric.removeprefix("val/").removeprefix("train/")
    likely = [name for name in (bare, f"{bare}/mean") if name in names]
    return f" (did you mean {likely[0]}?)" if likely else suggest(bare, names)


def _count_not_finite(run: Run, metric: str) -> int:
    """The images without a finite loss; one that is ignored altogether has none to be finite."""
    images = run.images[~find_ignored(run.images)]
    return int(np.count_nonzero(~np.isfinite(images[metric])))


def _describe_data(run: Run, model: Run) -> str:
    """Names every setting of the data that differs and that both have; the others follow from the data's name."""
    keys = [key for key in run.config if key.startswith("data.") and key not in NO_SETTING and key in model.config]
    different = _list_differences(run, model, keys)
    return f"other data or split than {model.folder.name}{': ' if different else ''}{different}"


def _list_differences(run: Run, model: Run, keys: Sequence[str]) -> str:
    values = [(key, format_value(run.config.get(key)), format_value(model.config.get(key))) for key in keys]
    return "; ".join(f"{key}={own}, the others {others}" for key, own, others in values if own != others)
