"""Checks that a config fits the classes and images of a data set; needs no Lightning."""

from collections.abc import Sequence
from dataclasses import replace

from unet_exp.config import Config
from unet_exp.errors import ConfigError, DataError, suggest
from unet_exp.metrics.declarations import (
    ScoreFamily,
    check_monitor,
    find_metric,
    list_families,
    list_metrics,
    metric_names,
)
from unet_exp.samples.data_set import DataSet


def check_fits(config: Config, dataset: DataSet) -> tuple[ScoreFamily, ...]:
    """Checks the config of a training by what is known of the images.

    Returns:
        The scores beyond those of the classes that each validation computes.

    Raises:
        ConfigError: for class weights, a monitored score or a network that does not fit these classes and images.
        DataError: for validation images in which no pixel counts.
    """
    _check_validation_counts(dataset)
    names = [spec.name for spec in dataset.classes]
    families = _validation_families(config, names, dataset)
    weights = config.loss.class_weights
    if isinstance(weights, list) and len(weights) != len(names):
        raise ConfigError(f"loss.class_weights={weights}: the classes are {len(names)} ({', '.join(names)})")
    _check_monitor_is_seen(config, dataset)
    check_metrics(config, dataset)
    config.architecture(dataset.channels, len(names))
    return families


def _check_validation_counts(dataset: DataSet) -> None:
    """Without a pixel that counts, every score of a validation is nan, and no epoch is better than another."""
    facts = dataset.val.facts
    if facts.labelled.any() and not facts.shown[:, :-1].any():
        names = ", ".join(facts.names[:3]) + " ..." * (len(dataset.val) > 3)
        raise DataError(
            f"every pixel of the validation images ({names}) is ignored, so that no epoch could be chosen: validate on "
            "others (the split, trainer.limit_batches), or check what is ignored"
        )


def _validation_families(config: Config, class_names: Sequence[str], dataset: DataSet) -> tuple[ScoreFamily, ...]:
    """The scores of each validation beyond those of classes: they take longer, and count only if one is monitored."""
    monitor, own = config.trainer.monitor, [metric.name for metric in config.metrics.own]
    if monitor in {f"val/{name}" for name in (*metric_names(class_names), *own)}:
        return ()
    families = list_families(dataset.metrics, True, True, len(class_names))
    if monitor in {f"val/{name}" for name in metric_names(class_names, families)}:
        check_monitor(monitor)
    able = [metric for metric in list_metrics(families) if metric.can_choose]
    names = [f"val/{name}" for name in (*(name for metric in able for name in metric.names(class_names)), *own)]
    if monitor not in names:
        raise ConfigError(f"trainer.monitor={monitor}: there is no such score{_suggest_score(monitor, names)}")
    family = find_metric(monitor).family
    return dataset.metrics if family is None or family in dataset.metrics else (family,)


def _suggest_score(monitor: str, names: Sequence[str]) -> str:
    """The name that a wrong one hardly differs from, or all."""
    near = suggest(f"val/{monitor.removeprefix('val/')}", names, cutoff=0.85)
    return f"{near}; docs/metrics.md explains them" if near else f"; choose one of {', '.join(names)}"


def _check_monitor_is_seen(config: Config, dataset: DataSet) -> None:
    """Without its class or cells in the validation images a score is nan, and would make the first epoch best."""
    shown = dataset.val.facts.counts[:, :-1].sum(axis=0).tolist()
    monitor = config.trainer.monitor
    metric = find_metric(monitor, config.metrics.own)
    for index, spec in enumerate(dataset.classes):
        if metric.per_class and monitor == f"val/{metric.name}/{spec.name}" and not shown[index]:
            raise ConfigError(
                f"trainer.monitor={monitor}: no validation image shows this class; take val/iou/mean or val/loss"
            )
    if metric.family is not None and not any(shown[1:]):
        what = "a cell" if metric.family in dataset.metrics else "a class other than the first"
        raise ConfigError(f"trainer.monitor={monitor}: no validation image shows {what}; take val/loss")


def check_metrics(config: Config, dataset: DataSet) -> None:
    """Checks the metrics.

    Raises:
        ConfigError: for the warping error of more than two classes.
    """
    if config.metrics.warping and "isbi" not in dataset.metrics:
        raise ConfigError(
            f"metrics.warping=true: it is of two classes, what lies between cells and the cells, and "
            f"data={config.data.name} has {len(dataset.classes)}; leave it out"
        )


def score_borders(config: Config, dataset: DataSet) -> DataSet:
    """The data set with the scores of borders, where the warping error is asked for and there are two classes."""
    wanted = config.metrics.warping and "isbi" not in dataset.metrics and len(dataset.classes) == 2
    return replace(dataset, metrics=(*dataset.metrics, "isbi")) if wanted else dataset
