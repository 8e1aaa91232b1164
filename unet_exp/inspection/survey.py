"""Statistics of images in memory, and a closer look at masks, for `scripts/check_data.py`."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from skimage.measure import label as connected

from unet_exp.config import IGNORE_LABEL
from unet_exp.config.user_data import FolderConfig, UserDataConfig
from unet_exp.folder.groups import SplitItem
from unet_exp.folder.pages import PairPage
from unet_exp.folder.rules import Rules
from unet_exp.folder.stats import IGNORED, ImageStats, MaskStats, describe_image
from unet_exp.io.scene import Scene
from unet_exp.samples.classes import read_codes, shows_colors, stored_value
from unet_exp.samples.data_set import SPLITS, DataSet
from unet_exp.typed import join_words

_SPECK = 4
_MOST_LOOKED_AT = 200
_FEWEST_SWAPPED = 3
"""Images whose pixels say that they are masks: of fewer, it may be chance."""
_FEW_VALUES, _MANY_VALUES = 8, 64
_PARTS_OF_A_VALUE = 4
"""Regions of one value in a picture, at least: objects have one each."""
_MOST_OF_TWO = 0.5
"""Share of the two most common values in the pixels of a picture; masks with soft borders have more."""


class Regions(NamedTuple):
    """Connected regions (8 neighbours) of one value in a mask, without 0 or black.

    Attributes:
        parts: their number.
        specks: those of 4 pixels or fewer, as at the edges of smeared masks.
        lit: number of values but 0 or black.
    """

    parts: int
    specks: int
    lit: int


def survey_samples(dataset: DataSet) -> list[ImageStats]:
    """Computes the same for data in memory; values are those of the classes, and `IGNORED`."""
    values = {index: stored_value(spec.value) for index, spec in enumerate(dataset.classes)} | {IGNORE_LABEL: IGNORED}
    found: dict[str, ImageStats] = {}
    for part in SPLITS:
        for sample in getattr(dataset, part):
            mask = None
            if sample.label is not None:
                counts = np.bincount(sample.label.ravel(), minlength=256)
                shown = {values[index]: int(counts[index]) for index in np.flatnonzero(counts).tolist()}
                objects = 0 if sample.instances is None else len(np.setdiff1d(sample.instances, 0))
                mask = MaskStats(shown, distinct=len(shown), lit=objects)
            # With data.split=all an image is in two splits.
            item = SplitItem(sample.name, sample.name)
            if sample.name not in found:
                found[sample.name] = describe_image(item, Scene(sample.image, sample.valid), mask)
    return list(found.values())


def read_page(stats: ImageStats, rules: Rules) -> PairPage:
    """Reads an image of a user, and its mask if it has one, once more.

    Raises:
        DataError: for a file that is gone or has changed.
    """
    assert stats.files is not None
    return rules.read_page(stats.files, stats.page)


def find_regions(stats: Sequence[ImageStats], rules: Rules) -> list[Regions]:
    """Looks at the masks of more than two values, or at some hundreds of them from end to end.

    Raises:
        DataError: see `read_page`.
    """
    several = [one for one in stats if one.mask is not None and one.mask.distinct > 2]
    count = min(len(several), _MOST_LOOKED_AT)
    chosen = [several[place * len(several) // count] for place in range(count)]
    found = []
    for one in chosen:
        _, _, mask, valid, *_ = read_page(one, rules)
        assert mask is not None
        assert one.mask is not None
        codes = read_codes(mask, shows_colors(mask), one.mask.file, valid)
        if valid is not None:
            codes = np.where(valid, codes, 0)
        regions = connected(codes, background=0, connectivity=2)  # type: ignore[no-untyped-call]
        sizes = np.bincount(regions.ravel())[1:]
        found.append(Regions(len(sizes), int((sizes <= _SPECK).sum()), one.mask.lit))
    return found


def find_swapped(stats: Sequence[ImageStats], regions: Sequence[Regions], rules: Rules, config: UserDataConfig) -> str:
    """Says that what are called images look like masks and the other way round; empty where they do not.

    Images of two values are no mistake, and masks of many values may be objects, which are few regions, or have soft
    borders, where two values make up most of a mask.

    Args:
        stats: of all images.
        regions: of masks of more than two values.
        rules: by which files are read.
        config: of the data.

    Raises:
        DataError: see `read_page`.
    """
    masks = [one.mask for one in stats if one.mask is not None]
    pictures = [mask for mask in masks if mask.distinct > _MANY_VALUES and _share_of_two(mask) < _MOST_OF_TWO]
    are_objects = sum(one.parts for one in regions) < _PARTS_OF_A_VALUE * sum(one.lit for one in regions)
    are_empty = all(one.low == one.high for one in stats)
    if len(stats) < _FEWEST_SWAPPED or 2 * len(pictures) <= len(masks) or are_objects or are_empty:
        return ""
    count = min(len(stats), _MOST_LOOKED_AT)
    chosen = (stats[place * len(stats) // count] for place in range(count))
    if not all(_has_few_values(read_page(one, rules).scene) for one in chosen):
        return ""
    meant = ""
    if isinstance(config, FolderConfig) and isinstance(config.images, str) and isinstance(config.masks, str):
        meant = f": did you mean {join_words([f'data.images={config.masks}', f'data.masks={config.images}'])}?"
    return (
        f"data.images and data.masks look swapped{meant} The images have at most {_FEW_VALUES} values each, as masks "
        f"have, and {len(pictures)} of {len(masks)} masks more than {_MANY_VALUES}, as images have"
    )


def _share_of_two(mask: MaskStats) -> float:
    """The share of the two most common values in the pixels of a mask, 0..1."""
    counts = sorted(mask.counts.values(), reverse=True)
    return sum(counts[:2]) / max(1, sum(counts) + mask.rest)


def _has_few_values(scene: Scene) -> bool:
    """Whether the valid pixels of an image have few values, or colours."""
    image, valid, *_ = scene
    left = image.reshape(-1, image.shape[2]) if valid is None else image[valid]
    for _ in range(_FEW_VALUES):
        if not len(left):
            break
        left = left[(left != left[0]).any(axis=1)]
    return not len(left)
