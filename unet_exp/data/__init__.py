"""Images and labels: readers, class values, data sets."""

from dataclasses import replace

from unet_exp.config import DataConfig
from unet_exp.data.samples import DataSet
from unet_exp.data.sets import DATA_SETS
from unet_exp.progress import watch


def load_data(config: DataConfig) -> DataSet:
    """Reads, generates or downloads the images that the config names.

    Raises:
        DataError: for files that are missing, unreadable or do not fit.
        ConfigError: for a split that the images do not make.
    """
    with watch("reading images"):
        return DATA_SETS[config.name](config)


def limit(dataset: DataSet, count: int | None) -> DataSet:
    """The data set with at most `count` images to validate, to test and to draw."""
    return replace(dataset, val=dataset.val[:count], test=dataset.test[:count], unlabelled=dataset.unlabelled[:count])
