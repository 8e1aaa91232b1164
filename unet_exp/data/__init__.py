"""Data sets: where their samples come from."""

from dataclasses import replace

from unet_exp.config import DataConfig
from unet_exp.config.user_data import UserDataConfig
from unet_exp.data.sets import DATA_SETS
from unet_exp.data.sets.folder import load_user_data
from unet_exp.metrics.surfaces import Scale
from unet_exp.progress import watch
from unet_exp.samples.data_set import DataSet


def load_data(config: DataConfig, find_objects: bool = False, keep: bool = True) -> DataSet:
    """Reads, generates or downloads the images that the config names, or learns what there is to know of them.

    Args:
        config: names them.
        find_objects: whether images that are read from a disk come with the instances that `find_instances` finds,
            where they have none: they take all of the mask, and a patch shows a part of it.
        keep: whether decoded images are kept as `data.cache` says; False for those that are read once.

    Raises:
        DataError: for files that are missing, unreadable or do not fit.
        ConfigError: for a split that the images do not make.
    """
    with watch("reading images"):
        if isinstance(config, UserDataConfig):
            found = load_user_data(config, find_objects, keep)
        else:
            found = DATA_SETS[config.name](config)
        return replace(found, scale=Scale.of(config.pixel_size, found.scale))


def limit(dataset: DataSet, count: int | None) -> DataSet:
    """The data set with at most `count` images to validate, to test and to draw."""
    if count is None:
        return dataset
    val, test, unlabelled = dataset.val[:count], dataset.test[:count], dataset.unlabelled[:count]
    return replace(dataset, val=val, test=test, unlabelled=unlabelled, groups={})  # of other images
