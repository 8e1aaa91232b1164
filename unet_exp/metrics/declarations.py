"""The declaration of every score: its name, its title, its direction and its function.

To add a score, write its function beside those of its family (`confusion`, `isbi`, `seg`, `surfaces`, `probabilities`)
and a line in `METRICS`.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal, get_args

from unet_exp.config.running import OwnMetricConfig
from unet_exp.errors import ConfigError
from unet_exp.metrics import confusion, isbi, probabilities, seg, surfaces
from unet_exp.schema import validate

Direction = Literal["min", "max"]
"""Whether the best value of a score is the smallest or the largest."""

ScoreFamily = Literal["isbi", "seg", "distances", "probabilities", "calibration", "thresholds"]
"""Scores beyond those of the confusion matrix.

`isbi` of borders between cells and `seg` of single cells are of some data sets alone; `distances` are those between
surfaces, `probabilities` of curves over all thresholds, `calibration` of the probability of the predicted class,
`thresholds` of two classes at the best one.
"""


@dataclass(frozen=True)
class Metric:
    """The declaration of a score.

    Attributes:
        name: as in `metrics.csv`, `summary.json` and `per_image.csv`, without the split before it.
        title: for people.
        direction: whether the best value is the smallest or the largest.
        function: computes it; None for the loss, which the training computes. It takes

            - without a family: a confusion matrix; it returns a number or, with `per_class`, (classes,), nan where a
              class has no score;
            - `distances`: `unet_exp.metrics.surfaces.Distances` of a class; it returns a number;
            - `probabilities`: the `unet_exp.metrics.probabilities.Curve` of a class; it returns a number;
            - `calibration`: the `unet_exp.metrics.probabilities.Reliability` of all classes; it returns a number;
            - `thresholds`: Dice of the second class at a threshold, an array; it returns one;
            - `isbi`: a `unet_exp.metrics.isbi.Proposal`; it returns a number, nan where the slice has no cell;
            - `seg`: truth, instances and prediction of an image; it returns (objects,), and their mean over all images
              is the score.

        family: of a score beyond those of the confusion matrix.
        per_class: its full names are `<name>/<class>` and `<name>/mean`; see `class_names`.
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
        return self.family in ("isbi", "thresholds")

    @property
    def can_choose(self) -> bool:
        """Whether it can choose an epoch: a distance leaves out images whose prediction is empty."""
        return not (self.family == "distances" and self.direction == "min")

    @property
    def threshold(self) -> str:
        """The name of its best threshold."""
        return f"{self.name}_threshold"

    @property
    def at_val(self) -> str:
        """The name of its value at the best threshold of validation."""
        return f"{self.name}_at_val"

    @property
    def threshold_at_val(self) -> str:
        """The name of the best threshold of validation."""
        return f"{self.threshold}_at_val"

    def class_names(self, class_names: Sequence[str]) -> Sequence[str]:
        """The classes that have it: all; of distances all but the first, the background; of curves `curve_classes`."""
        if self.family == "distances":
            return class_names[1:]
        return probabilities.curve_classes(class_names) if self.family == "probabilities" else class_names

    def names(self, class_names: Sequence[str]) -> list[str]:
        """Its full names, those of the classes in their order."""
        own = self.class_names(class_names)
        return [f"{self.name}/{name}" for name in (*own, "mean")] if self.per_class else [self.name]


LOSS = Metric("loss", "loss", "min", None)
METRICS = (
    LOSS,
    Metric("accuracy", "pixel accuracy", "max", confusion.accuracy),
    Metric("iou", "IoU", "max", confusion.iou, per_class=True),
    Metric("dice", "Dice", "max", confusion.dice, per_class=True),
    Metric("precision", "precision", "max", confusion.precision, per_class=True),
    Metric("recall", "recall", "max", confusion.recall, per_class=True),
    Metric("specificity", "specificity", "max", confusion.specificity, per_class=True),
    Metric("balanced_accuracy", "balanced accuracy", "max", confusion.balanced_accuracy),
    Metric("kappa", "kappa", "max", confusion.kappa),
    Metric("hausdorff95", "Hausdorff 95", "min", surfaces.hausdorff95, "distances", per_class=True),
    Metric("surface_distance", "surface distance", "min", surfaces.surface_distance, "distances", per_class=True),
    Metric("surface_dice", "surface Dice", "max", surfaces.surface_dice, "distances", per_class=True),
    Metric("roc_auc", "ROC AUC", "max", attrgetter("roc_auc"), "probabilities", per_class=True),
    Metric("average_precision", "average precision", "max", attrgetter("average_precision"), "probabilities", True),
    Metric("ece", "calibration error", "min", attrgetter("ece"), "calibration"),
    Metric("best_dice", "best Dice", "max", probabilities.keep_dice, "thresholds"),
    Metric("best_iou", "best IoU", "max", probabilities.dice_to_iou, "thresholds"),
    Metric("v_rand", "V_Rand", "max", isbi.v_rand, "isbi"),
    Metric("v_info", "V_Info", "max", isbi.v_info, "isbi"),
    Metric("rand_error", "Rand error", "min", isbi.rand_error, "isbi"),
    Metric("pixel_error", "pixel error", "min", isbi.pixel_error, "isbi"),
    Metric("warping_error", "warping error", "min", isbi.warping_error, "isbi", slow=True),
    Metric("seg", "SEG", "max", seg.seg_scores, "seg"),
)
"""In the order of tables and files."""

UNDEFINED = "distances_undefined"
"""Beside the distances of each class: in how many images one mask is empty and the other is not."""
BORDERS_NOTE = (
    "P(cell) at a threshold; IoU and Dice above: likeliest class.\n"
    "V_Rand, V_Info: higher is better; errors: lower is better."
)
"""What the scores of borders are, where they stand."""
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


def check_monitor(name: str, own: Sequence[OwnMetricConfig] = ()) -> None:
    """Checks that a score can choose an epoch; arguments as `find_metric`'s.

    Raises:
        ConfigError: for a name that no score has, or one that cannot.
    """
    if not find_metric(name, own).can_choose:
        first, _, rest = name.partition("/")
        of_class = rest.rpartition("/")[2] or "mean"
        instead = f"{first}/surface_dice/{of_class}" if first in _SPLITS else f"surface_dice/{of_class}"
        raise ConfigError(
            f"trainer.monitor={name}: images whose prediction is empty have no distance and are left out, so that an "
            f"epoch that predicts nothing could be the best; take {instead}, which is 0 there"
        )


def read_own(declared: object) -> list[OwnMetricConfig]:
    """The scores of the user's own in the `metrics.own` of a plain config; without those of another version."""
    found = []
    for values in declared if isinstance(declared, list) else ():
        with suppress(ConfigError):
            found.append(validate(OwnMetricConfig, values))
    return found


def list_metrics(families: Collection[ScoreFamily] = (), warping: bool = False) -> list[Metric]:
    """The scores of a data set with these families, and with slow ones if `warping`.

    Raises:
        ValueError: for a family that does not exist, or for the warping error without `isbi`.
    """
    if unknown := set(families) - set(get_args(ScoreFamily)):
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


def other_names(class_names: Sequence[str], families: Collection[ScoreFamily] = (), warping: bool = False) -> list[str]:
    """The results beside `metric_names` that are thresholds and counts; none can be monitored."""
    thresholds = [metric.threshold for metric in list_metrics(families, warping) if metric.has_threshold]
    counts = [f"{UNDEFINED}/{name}" for name in class_names[1:]] if "distances" in families else []
    return [*thresholds, *counts]


def list_families(
    of_data: Collection[ScoreFamily], distances: bool, probabilities: bool, classes: int
) -> tuple[ScoreFamily, ...]:
    """All families that the end of a training computes: those of the data set, and those that `metrics` asks for."""
    found: list[ScoreFamily] = list(of_data)
    found += ["distances"] if distances else []
    if probabilities:
        found += ["probabilities", "calibration"]
        found += ["thresholds"] if classes == 2 else []
    return tuple(found)
