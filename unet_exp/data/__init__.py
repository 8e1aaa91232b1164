"""Images and labels: readers, class values, data sets, and how they are cut into patches."""

from dataclasses import replace

from unet_exp.config import CellTrackingConfig, ClassSpec, DataConfig, ISBI2012Config, SyntheticConfig
from unet_exp.config.data import FolderConfig
from unet_exp.data import samples
from unet_exp.data.samples import DataSet, Sample
from unet_exp.data.sets import celltracking, folder, isbi2012, synthetic
from unet_exp.errors import ConfigError


def load(config: DataConfig) -> DataSet:
    """Reads, generates or downloads the images that the config names.

    Raises:
        DataError: for files that are missing, unreadable or do not fit.
        ConfigError: for a split that the images do not make.
    """
    if isinstance(config, ISBI2012Config):
        return isbi2012.load(config.root, config.split, config.fold, config.folds, config.download)
    if isinstance(config, CellTrackingConfig):
        return celltracking.load(config.name, config.root, config.split, config.fold, config.folds, config.download)
    if isinstance(config, FolderConfig):
        return folder.load(config)
    return _synthetic(config)


def limited(dataset: DataSet, count: int | None) -> DataSet:
    """The data set with at most `count` images to validate, to test and to draw."""
    return replace(dataset, val=dataset.val[:count], test=dataset.test[:count], unlabelled=dataset.unlabelled[:count])


def _synthetic(config: SyntheticConfig) -> DataSet:
    train, val = config.train_images, config.val_images
    count = train + val + config.test_images
    if config.folds > count:
        raise ConfigError(f"data.folds={config.folds} is more than the {count} images of this data set")
    micrographs = synthetic.generate_set(count, config.height, config.width, config.seed, config.organelles)
    images = [
        Sample(f"synthetic_{index:03d}", made.image[:, :, None], made.label, made.instances)
        for index, made in enumerate(micrographs)
    ]
    if config.folds:
        split = samples.split_indices(count, config.fold, config.folds)
        parts = [[images[index] for index in part] for part in split]
    else:
        parts = [images[:train], images[train : train + val], images[train + val :]]
    named = synthetic.MANY_CLASSES if config.organelles else synthetic.CLASSES
    classes = tuple(
        ClassSpec(name=name, value=list(color) if config.organelles else 255 * index, color=list(color))
        for index, (name, color) in enumerate(named)
    )
    return DataSet(parts[0], parts[1], parts[2], (), classes, channels=1, metrics=("isbi", "seg"))
