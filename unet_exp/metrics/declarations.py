"""The declaration of every score: its name, its title, its direction and its function.

To add a score, write its function beside those of its family (`confusion`, `isbi`, `seg`) and a line in `METRICS`.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from unet_exp.config.running import OwnMetricConfig
from unet_exp.errors import ConfigError
from unet_exp.metrics import confusion, isbi, seg

Direction = Literal["min", "max"]
"""Whether the best value of a score is the smallest or the largest."""

ScoreFamily = Literal["isbi", "seg"]
"""Scores that only some data sets have: `isbi` of borders between cells, `seg` of single cells."""


@dataclass(frozen=True)
class Metric:
    """The declaration of a score.

    Attributes:
        name: as in `metrics.csv`, `summary.json` and `per_image.csv`, without the split before it.
        title: for people.
        direction: whether the best value is the smallest or the largest.
        function: computes it; None for the loss, which the training computes. It takes

            - without a family: a confusion matrix; it returns a number or, with `per_class`, (classes,), nan where a
            class
              has no score;
            - `isbi`: a `unet_exp.metrics.isbi.Proposal`; it returns a number, nan where the slice has no cell;
            - `seg`: truth, instances and prediction of an image; it returns (objects,), and their mean over all images
            is
              the score.
        family: of a score that only some data sets have.
        per_class: its full names are `<name>/<class>` and `<name>/mean`.
        slow: computed only where `metrics.warping` is true.
    """

    name: str
    title: str
    direction: Direction
    function: Callable[..., Any] | None
    family: ScoreFamily | None = None
    per_class: bool = False
    slow: bool = False

    @property
    def has_threshold(self) -> bool:
        """Whether its best threshold is a result too, and its value at that of validation."""
        return self.family == "isbi"

    @property
    def threshold(self) -> str:
        """The name of its best threshold."""
        return f"{self.name}_threshold"

    @property
    def at_val(self) -> str:
        """The name of its value at the best threshold of validation."""
        return f"{self.name}_at_val"

    def names(self, class_names: Sequence[str]) -> list[str]:
        """Its full names, those of the classes in their order."""
        return [f"{self.name}/{name}" for name in (*class_names, "mean")] if self.per_class else [self.name]


LOSS = Metric("loss", "loss", "min", None)
METRICS = (
    LOSS,
    Metric("accuracy", "pixel accuracy", "max", confusion.accuracy),
    Metric("iou", "IoU", "max", confusion.iou, per_class=True),
    Metric("dice", "Dice", "max", confusion.dice, per_class=True),
    Metric("v_rand", "V_Rand", "max", isbi.v_rand, "isbi"),
    Metric("v_info", "V_Info", "max", isbi.v_info, "isbi"),
    Metric("rand_error", "Rand error", "min", isbi.rand_error, "isbi"),
    Metric("pixel_error", "pixel error", "min", isbi.pixel_error, "isbi"),
    Metric("warping_error", "warping error", "min", isbi.warping_error, "isbi", slow=True),
    Metric("seg", "SEG", "max", seg.seg_scores, "seg"),
)
"""In the order of tables and files."""

_SPLITS = ("train", "val", "test")


def find_metric(name: str, own: Sequence[OwnMetricConfig] = ()) -> Metric:
    """The declaration of a score.

    Args:
        own: scores of the user's own.
        name: its full name, with or without the split: `val/iou/cell`, `iou/mean`, `test/v_rand_at_val`. The class may
            have any name without a slash.

    Raises:
        ConfigError: for a name that no score has; a threshold is no score.
    """
    first, *rest = name.split("/")
    parts = rest if first in _SPLITS else [first, *rest]
    for metric in (*METRICS, *(Metric(metric.name, metric.name, metric.direction, None) for metric in own)):
        if metric.per_class:
            found = len(parts) == 2 and parts[0] == metric.name and parts[1] != ""
        else:
            found = parts == [metric.name] or (metric.has_threshold and parts == [metric.at_val])
        if found:
            return metric
    known = ", ".join(f"{metric.name}/<class>" if metric.per_class else metric.name for metric in METRICS)
    known = ", ".join([known, *(metric.name for metric in own)])
    raise ConfigError(f"{name}: there is no such score; the scores are {known}")


def direction(name: str, own: Sequence[OwnMetricConfig] = ()) -> Direction:
    """Whether the best value of a score is the smallest (`min`) or the largest (`max`); arguments as `find_metric`'s.

    Raises:
        ConfigError: for a name that no score has.
    """
    return find_metric(name, own).direction


def list_metrics(families: Collection[ScoreFamily] = (), warping: bool = False) -> list[Metric]:
    """The scores of a data set with these families, and with slow ones if `warping`.

    Raises:
        ValueError: for a family that does not exist, or for the warping error without `isbi`.
    """
    if unknown := set(families) - {"isbi", "seg"}:
        raise ValueError(f"unknown families of scores: {sorted(unknown)}")
    if warping and "isbi" not in families:
        raise ValueError("the warping error is one of the isbi scores")
    return [
        metric
        for metric in METRICS
        if (metric.family is None or metric.family in families) and (warping or not metric.slow)
    ]


def metric_names(
    class_names: Sequence[str], families: Collection[ScoreFamily] = (), warping: bool = False
) -> list[str]:
    """The full names of `list_metrics`: what a training can monitor."""
    return [name for metric in list_metrics(families, warping) for name in metric.names(class_names)]


def threshold_names(families: Collection[ScoreFamily] = (), warping: bool = False) -> list[str]:
    """The results beside `metric_names` that are thresholds; none can be monitored."""
    return [metric.threshold for metric in list_metrics(families, warping) if metric.has_threshold]
