"""Tables of scores for the console."""

import math
from collections.abc import Iterator, Mapping, Sequence

from rich.table import Table
from rich.text import Text

from unet_exp.config import ClassSpec
from unet_exp.config.running import OwnMetricConfig
from unet_exp.metrics.declarations import LOSS, METRICS, UNDEFINED, Metric, ScoreFamily
from unet_exp.metrics.surfaces import Scale


def score_tables(
    metrics: Mapping[str, float],
    classes: Sequence[ClassSpec],
    split: str,
    scale: Scale | None = None,
    own: Sequence[OwnMetricConfig] = (),
) -> list[Table]:
    """Tables of a split's scores: of classes, distances, curves, what has a threshold, cells, and the user's own.

    Args:
        metrics: by their full names, such as `test/iou/cell`.
        classes: of the data.
        split: of the scores.
        scale: of the distances; None: pixels.
        own: scores of the user's own.
    """
    names = [spec.name for spec in classes]
    scale = scale or Scale()
    tables = [_of_classes(metrics, names, split, None, f"{split}")]
    if f"{split}/hausdorff95/mean" in metrics:
        tolerance = f"{scale.tolerance:g}"
        why = f" ({scale.note})" if scale.note else ""
        note = f"distances in {scale.unit}{why}; tolerance of the surface Dice {tolerance}"
        counts = [f"{metrics.get(f'{split}/{UNDEFINED}/{name}', 0):.0f}" for name in names[1:]]
        if any(count != "0" for count in counts):
            note += "; images with one mask empty, without a distance: "
            note += ", ".join(f"{name} {count}" for name, count in zip(names[1:], counts, strict=True) if count != "0")
        tables.append(_of_classes(metrics, names, split, "distances", f"{split}", note))
    if f"{split}/ece" in metrics:
        tables.append(_of_classes(metrics, names, split, "probabilities", f"{split}"))
    tables += _of_others(metrics, split)
    if own:
        tables.append(_table(split, "score"))
        for theirs in own:
            tables[-1].add_row(theirs.name, _show(metrics, f"{split}/{theirs.name}"))
    return tables


def _of_classes(
    metrics: Mapping[str, float],
    class_names: Sequence[str],
    split: str,
    family: ScoreFamily | None,
    title: str,
    note: str = "",
) -> Table:
    """A row for each class that has the scores, then the mean; below them the scores that are one number."""
    of_all = [metric for metric in METRICS if metric.family == family and metric.in_tables]
    per_class = [metric for metric in of_all if metric.per_class]
    numbers = [*(metric for metric in of_all if not metric.per_class and metric is not LOSS)]
    numbers += [LOSS] if family is None else []
    notes = [f"{metric.title} {_show(metrics, f'{split}/{metric.name}')}" for metric in numbers if metric.name]
    table = _table(title, *(metric.title for metric in per_class), caption=", ".join([*notes, *[note] * bool(note)]))
    rows = list(per_class[0].class_names(class_names))
    for name in [*rows, *["mean"] * (len(rows) > 1)]:
        cells = (_show(metrics, f"{split}/{metric.name}/{name}") for metric in per_class)
        table.add_row(Text(name), *("absent" if cell == "undefined" and family is None else cell for cell in cells))
    return table


def _of_others(metrics: Mapping[str, float], split: str) -> Iterator[Table]:
    """The scores at thresholds, and those of cells."""
    there = [metric for metric in METRICS if f"{split}/{metric.name}" in metrics]
    at_thresholds = [metric for metric in there if metric.has_threshold]
    if at_thresholds:
        # Only a test split has validation images beside it to choose thresholds by.
        chosen = any(f"{split}/{metric.at_val}" in metrics for metric in at_thresholds)
        table = _table(split, "best", "threshold", *["at val's"] * chosen)
        for metric in at_thresholds:
            cells = [_show(metrics, f"{split}/{metric.name}"), _show_threshold(metrics, metric, split)]
            table.add_row(metric.title, *cells, *[_show(metrics, f"{split}/{metric.at_val}")] * chosen)
        yield table
    of_cells = [metric for metric in there if metric.family == "seg"]
    if of_cells:
        table = _table(split, "score")
        for metric in of_cells:
            table.add_row(metric.title, _show(metrics, f"{split}/{metric.name}"))
        yield table


def _show_threshold(metrics: Mapping[str, float], metric: Metric, split: str) -> str:
    return _show(metrics, f"{split}/{metric.threshold}", 1 if metric.family == "isbi" else 2)


def _show(metrics: Mapping[str, float], name: str, digits: int = 4) -> str:
    number = metrics.get(name)
    return "" if number is None else "undefined" if math.isnan(number) else f"{number:.{digits}f}"


def _table(first: str, *numbers: str, caption: str | None = None) -> Table:
    table = Table(caption=caption, caption_justify="left", min_width=40)
    table.add_column(first)
    for number in numbers:
        table.add_column(number, justify="right")
    return table
