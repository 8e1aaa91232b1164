"""Statistics of images in memory, and a closer look at masks, for `scripts/check_data.py`."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from skimage.measure import label as connected

from unet_exp.config import IGNORE_LABEL
from unet_exp.folder.groups import SplitItem
from unet_exp.folder.pages import PairPage
from unet_exp.folder.rules import Rules
from unet_exp.folder.stats import IGNORED, ImageStats, MaskStats, describe_image
from unet_exp.io.scene import Scene
from unet_exp.samples.classes import read_codes, shows_colors, stored_value
from unet_exp.samples.data_set import SPLITS, DataSet

_SPECK = 4
_MOST_LOOKED_AT = 200


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
