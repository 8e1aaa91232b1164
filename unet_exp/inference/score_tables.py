"""Tables of scores for the console."""

import math
from collections.abc import Iterator, Mapping, Sequence

from rich.table import Table
from rich.text import Text

from unet_exp.config import ClassSpec
from unet_exp.config.running import OwnMetricConfig
from unet_exp.console import join_names
from unet_exp.metrics.declarations import BORDERS_NOTE, METRICS, UNDEFINED, Metric, ScoreFamily
from unet_exp.metrics.surfaces import Scale

_OF_VAL = ("at the threshold\nchosen on val", "threshold\nchosen on val")
"""What a score is at the threshold that the validation images chose, and that threshold."""


def score_tables(
    metrics: Mapping[str, float],
    classes: Sequence[ClassSpec],
    split: str,
    scale: Scale | None = None,
    own: Sequence[OwnMetricConfig] = (),
) -> list[Table]:
    """Tables of a split's scores: of classes, distances, curves, what has a threshold, and all that are one number.

    Args:
        metrics: by their full names, such as `test/iou/cell`.
        classes: of the data.
        split: of the scores.
        scale: of the distances; None: pixels.
        own: scores of the user's own.
    """
    names = [spec.name for spec in classes]
    tables = [_of_classes(metrics, names, split, None)]
    if f"{split}/hausdorff95/mean" in metrics:
        note = _describe_distances(metrics, names, split, scale or Scale())
        tables.append(_of_classes(metrics, names, split, "distances", note))
    if any(f"{split}/roc_auc/{name}" in metrics for name in names):
        tables.append(_of_classes(metrics, names, split, "probabilities"))
    return [*tables, *_of_thresholds(metrics, split), _of_numbers(metrics, split, own)]


def _describe_distances(metrics: Mapping[str, float], class_names: Sequence[str], split: str, scale: Scale) -> str:
    """The unit of distances, and how many images have none."""
    why = f" ({scale.note})" if scale.note else ""
    note = f"distances in {scale.unit}{why}; tolerance of the surface Dice {scale.tolerance:g}"
    counts = {name: metrics.get(f"{split}/{UNDEFINED}/{name}", 0) for name in class_names[1:]}
    if any(counts.values()):
        note += "; images with one mask empty, without a distance: "
        note += ", ".join(f"{name} {count:.0f}" for name, count in counts.items() if count)
    return note


def _of_classes(
    metrics: Mapping[str, float],
    class_names: Sequence[str],
    split: str,
    family: ScoreFamily | None,
    note: str | None = None,
) -> Table:
    """A row for each class that has the scores, then the mean."""
    per_class = [metric for metric in METRICS if metric.family == family and metric.per_class]
    table = _table(split, *(metric.title for metric in per_class), caption=note)
    rows = list(per_class[0].class_names(class_names))
    for name in [*rows, *["mean"] * (len(rows) > 1)]:
        cells = (_show(metrics, f"{split}/{metric.name}/{name}") for metric in per_class)
        table.add_row(Text(name), *("absent" if cell == "undefined" and family is None else cell for cell in cells))
    return table


def _of_thresholds(metrics: Mapping[str, float], split: str) -> Iterator[Table]:
    """The scores at thresholds."""
    there = [metric for metric in METRICS if metric.has_threshold and f"{split}/{metric.name}" in metrics]
    if there:
        # Only a test split has validation images beside it to choose thresholds by.
        chosen = any(f"{split}/{metric.at_val}" in metrics for metric in there)
        borders = any(metric.family == "isbi" for metric in there)
        table = _table(split, "best", "threshold", *_OF_VAL * chosen, caption=BORDERS_NOTE if borders else None)
        for metric in there:
            cells = [
                _show(metrics, f"{split}/{metric.name}"),
                _show_threshold(metrics, metric, metric.threshold, split),
            ]
            if chosen:
                cells.append(_show(metrics, f"{split}/{metric.at_val}"))
                cells.append(_show_threshold(metrics, metric, metric.threshold_at_val, split))
            table.add_row(metric.title, *cells)
        yield table


def warn_of_thresholds(metrics: Mapping[str, float], class_names: Sequence[str], split: str) -> Iterator[str]:
    """Says which thresholds that the validation images chose give every pixel the same class.

    Args:
        metrics: by their full names.
        class_names: of the data; the second one has a pixel whose probability is above the threshold.
        split: of the scores.
    """
    titles: dict[float, list[str]] = {}
    for metric in METRICS:
        chosen = metrics.get(f"{split}/{metric.threshold_at_val}") if metric.has_threshold else None
        if chosen in (0.0, 1.0):
            titles.setdefault(chosen, []).append(metric.title)
    for chosen, those in titles.items():
        everywhere = class_names[1 if chosen == 0 else 0]
        yield (
            f"the threshold chosen on val is {chosen:g} for {join_names(those)}: every pixel is {everywhere}, and the "
            "score says nothing of the network; train longer"
        )


def _of_numbers(metrics: Mapping[str, float], split: str, own: Sequence[OwnMetricConfig]) -> Table:
    """The scores that are one number, the user's own behind the others."""
    single = [metric for metric in METRICS if not metric.per_class and not metric.has_threshold]
    table = _table(split, "score")
    for name, title in [*((metric.name, metric.title) for metric in single), *((each.name, each.name) for each in own)]:
        if f"{split}/{name}" in metrics:
            table.add_row(Text(title), _show(metrics, f"{split}/{name}"))
    return table


def _show_threshold(metrics: Mapping[str, float], metric: Metric, name: str, split: str) -> str:
    return _show(metrics, f"{split}/{name}", 1 if metric.family == "isbi" else 2)


def _show(metrics: Mapping[str, float], name: str, digits: int = 4) -> str:
    number = metrics.get(name)
    return "" if number is None else "undefined" if math.isnan(number) else f"{number:.{digits}f}"


def _table(first: str, *numbers: str, caption: str | None = None) -> Table:
    table = Table(caption=caption, caption_justify="left", min_width=40)
    table.add_column(first)
    for number in numbers:
        table.add_column(number, justify="right")
    return table
