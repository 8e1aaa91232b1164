"""The scores of a run as tables of its page."""

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from unet_exp.config.running import OwnMetricConfig
from unet_exp.errors import ConfigError
from unet_exp.metrics.declarations import BORDERS_NOTE, METRICS, UNDEFINED, Metric, find_metric

_COUNTS = "images without a distance"


@dataclass
class Table:
    """Scores of a split.

    Attributes:
        split: its name.
        classes: columns of `rows`.
        rows: scores of single classes, by title.
        thresholds: of each score that has a best threshold: its value there, the threshold, the value at the threshold
            of validation, and that threshold; empty where there is none.
        single: the other scores.
    """

    split: str
    classes: list[str] = field(default_factory=list)
    rows: dict[str, list[str]] = field(default_factory=dict)
    thresholds: dict[str, list[str]] = field(default_factory=dict)
    single: dict[str, str] = field(default_factory=dict)

    @property
    def note(self) -> str:
        """What the scores at thresholds are, where their names do not say it."""
        return BORDERS_NOTE if "V_Rand" in self.thresholds else ""


def make_tables(metrics: Mapping[str, float | None], own: Sequence[OwnMetricConfig]) -> list[Table]:
    """The scores of each split.

    Args:
        metrics: by their full names, `<split>/<score>` or `<split>/<score>/<class>`.
        own: scores of the user's own.
    """
    splits: dict[str, dict[str, float | None]] = {}
    for name, value in metrics.items():
        split, _, score = name.partition("/")
        splits.setdefault(split, {})[score] = value
    return [_make_table(split, scores, own) for split, scores in splits.items()]


def _make_table(split: str, scores: dict[str, float | None], own: Sequence[OwnMetricConfig]) -> Table:
    table, left = Table(split), dict(scores)
    for metric in METRICS:
        if metric.has_threshold and metric.name in left:
            names = (metric.name, metric.threshold, metric.at_val, metric.threshold_at_val)
            table.thresholds[_name(metric)] = [
                _show(left.pop(name), 2 if place % 2 else 4) if name in left else "" for place, name in enumerate(names)
            ]
    by_class: dict[str, dict[str, str]] = {}
    for full, value in left.items():
        score, _, of_class = full.partition("/")
        if of_class:
            by_class.setdefault(_title(score, f"{score}/class", own), {})[of_class] = _show(
                value, 0 if score == UNDEFINED else 4
            )
        else:
            table.single[_title(score, full, own)] = _show(value)
    table.classes = list(dict.fromkeys(name for texts in by_class.values() for name in texts))
    if "mean" in table.classes:  # last, behind classes that the first scores do not have
        table.classes = [*_without(table.classes, "mean"), "mean"]
    table.rows = {title: [texts.get(name, "") for name in table.classes] for title, texts in by_class.items()}
    return table


def _without(names: Iterable[str], one: str) -> list[str]:
    return [name for name in names if name != one]


def _title(score: str, name: str, own: Sequence[OwnMetricConfig]) -> str:
    """A score for people; one that this version does not declare by its name."""
    if score == UNDEFINED:
        return _COUNTS
    with suppress(ConfigError):
        return _name(find_metric(name, own))
    return score


def _name(metric: Metric) -> str:
    return f"{metric.title} (lower is better)" if metric.direction == "min" else metric.title


def _show(value: float | None, digits: int = 4) -> str:
    return "undefined" if value is None or math.isnan(value) else f"{value:.{digits}f}"
