"""Which runs can be compared with each other."""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from itertools import compress

from unet_exp.compare.collect import Apart, Run
from unet_exp.compare.settings import typed_value
from unet_exp.errors import ConfigError

_OF_DATA = ("data.name", "data.folds", "data.seed", "data.split")
"""Keys that say in words why fingerprints differ."""


def comparable(runs: Sequence[Run], metric: str) -> tuple[list[Run], list[Apart]]:
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
    apart: list[Apart] = []

    def keep(fits: Callable[[Run], bool], reason: Callable[[Run], str]) -> None:
        nonlocal kept
        fitting = [fits(run) for run in kept]
        apart.extend(Apart(run.folder, reason(run)) for run, fit in zip(kept, fitting, strict=True) if not fit)
        kept = list(compress(kept, fitting))

    def keep_commonest(of: Callable[[Run], Hashable], reason: Callable[[Run, Run], str]) -> None:
        if kept:
            common = Counter(of(run) for run in kept).most_common(1)[0][0]
            model = next(run for run in kept if of(run) == common)
            keep(lambda run: of(run) == common, lambda run: reason(run, model))

    keep(lambda run: not run.images.empty, lambda _: "no test scores: it has no per_image.csv")
    names = list(dict.fromkeys(name for run in kept for name in run.images.columns))
    if kept and metric not in names:
        raise ConfigError(f"metric={metric}: the runs do not have it; choose one of {', '.join(names)}")
    keep(
        lambda run: metric in run.images and bool(run.images[metric].notna().any()),
        lambda run: f"{metric} is {'undefined for all its images' if metric in run.images else 'not among its scores'}",
    )
    keep_commonest(
        lambda run: run.summary["metrics_version"],
        lambda run, model: (
            f"metrics version {run.summary['metrics_version']}, the others {model.summary['metrics_version']}"
        ),
    )
    keep_commonest(_data, _other_data)
    fingerprints = {
        fold: Counter(run.summary["data_fingerprint"] for run in kept if run.fold == fold).most_common(1)[0][0]
        for fold in {run.fold for run in kept}
    }
    models = {run.fold: run for run in reversed(kept) if run.summary["data_fingerprint"] == fingerprints[run.fold]}
    keep(
        lambda run: run.summary["data_fingerprint"] == fingerprints[run.fold],
        lambda run: f"other data or split than {models[run.fold].folder.name}",
    )
    return kept, apart


def _data(run: Run) -> tuple[str, ...]:
    return tuple(typed_value(run.config.get(key)) for key in _OF_DATA)


def _other_data(run: Run, model: Run) -> str:
    parts = [
        f"{key}={mine}, the others {others}"
        for key, mine, others in zip(_OF_DATA, _data(run), _data(model), strict=True)
        if mine != others
    ]
    return f"other data or split than {model.folder.name}: {'; '.join(parts)}"
