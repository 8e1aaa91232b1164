"""Pairs families of files that may be images with those that may be their masks, and rates the pairs."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import product, takewhile
from typing import Any, NamedTuple

from unet_exp.config.user_data import FolderConfig
from unet_exp.data.sets.folder import find_folder_pairs
from unet_exp.errors import UserError
from unet_exp.folder.pairs import Pair, Pairs
from unet_exp.folder.rules import Rules
from unet_exp.inspection.families import Family, narrow_both
from unet_exp.inspection.looks import Look
from unet_exp.io.kinds import ANNOTATION_SUFFIXES, DICOM_SUFFIXES
from unet_exp.samples.classes import UnknownValues

DERIVED = ("color", "colour", "instance", "panoptic", "overlay", "preview", "edge", "prob", "weak")
"""What names say of files that are made of the masks, or say less than they do."""
_FLATTER = 0.05
HALF = 0.5


class Trial(NamedTuple):
    """Images and masks that pair.

    Attributes:
        images: their files.
        masks: likewise.
        values: keys of `FolderConfig` that name them.
        pairs: what these find.
        points: more where their names and looks say what they are.
    """

    images: Family
    masks: Family
    values: dict[str, Any]
    pairs: Pairs
    points: int

    @property
    def masked(self) -> int:
        """How many images have a mask."""
        return count_masked(self.pairs)

    @property
    def distance(self) -> int:
        """Steps from the folder of the images to that of the masks: 2 where they lie beside each other."""
        images, masks = self.images.folders, self.masks.folders
        shared = len([*takewhile(lambda pair: pair[0] == pair[1], zip(images, masks, strict=False))])
        return len(images) + len(masks) - 2 * shared

    @property
    def rank(self) -> tuple[int, int, int, int, int]:
        """What is better is larger: by files and names, images with and without masks, nearness, and the glob."""
        masked = self.masked
        return self.points, masked, masked - len(self.pairs), -self.distance, -len(self.masks.spec)


def try_all(config: FolderConfig, looks: Sequence[tuple[Family, Look]]) -> Iterator[Trial]:
    """Pairs families that may be images with those that may be their masks; each comes with how it looks."""
    for (images, seen), (masks, seen_mask) in product(looks, looks):
        drawn = masks.kind in ANNOTATION_SUFFIXES
        if images is masks or images.kind in ANNOTATION_SUFFIXES:
            continue
        role, other = masks.tell_role(images), images.tell_role(masks)
        if other > 0:
            continue
        flatter = seen_mask.flatness - seen.flatness > _FLATTER
        derived = any(word in part for part in masks.list_words() for word in DERIVED)
        mostly = seen_mask.share >= HALF  # as of a field of view
        points = 3 * (role > 0 or drawn) - 4 * (role < 0) + (other < 0) + 2 * flatter - derived - mostly
        if points <= 0:
            continue
        for values in _name_files(images, masks):
            try:
                changed = with_values(config, values)
                pairs = find_folder_pairs(changed, None, lambda _: True)
                masked = [place for place, pair in enumerate(pairs) if pair.mask is not None]
                if masked:
                    _read_one(pairs[masked[len(masked) // 2]], Rules.of(changed))
                    yield Trial(images, masks, values, pairs, points)
                    break
            except UserError:
                continue


def with_values(config: FolderConfig, values: Mapping[str, Any]) -> FolderConfig:
    """The config with other values.

    Raises:
        ValidationError: for values that do not fit.
    """
    return FolderConfig.model_validate({**config.model_dump(), **values})


def _read_one(pair: Pair, rules: Rules) -> None:
    """Reads one pair, which shows whether sizes and pages fit; its values may be those of other classes.

    Raises:
        DataError: if they do not fit, or the mask is none.
    """
    page = rules.read_page(pair, 0)
    if page.mask is not None:
        with suppress(UnknownValues):
            rules.label(page.mask, str(pair.mask), page.labelled)


def _name_files(images: Family, masks: Family) -> Iterator[dict[str, Any]]:
    """Ways to name images and masks, the simplest first."""
    apart = masks.folders != images.folders
    if apart and _are_folders(masks) and len(images.files) == images.number_of_folders:
        yield {"images": images.spec, "masks": masks.folder_spec, "labels": "instances"}
    if images.kind in DICOM_SUFFIXES and _are_folders(images):
        yield {"images": images.folder_spec, "masks": masks.spec}
    if images.folders == masks.folders and images.suffix == masks.suffix and not images.ending and masks.ending:
        spec = images.spec
        yield {"images": spec, "masks": spec, "mask_suffix": masks.ending}
        return
    exact = {"images": images.spec, "masks": masks.spec}
    if set(masks.names) <= set(images.names):
        yield exact
    for numbers in (False, True):
        narrow, narrow_masks = narrow_both(images, masks, numbers)
        yield {"images": narrow.spec, "masks": narrow_masks.spec}
    yield exact


def _are_folders(family: Family) -> bool:
    """Whether each of several folders holds several files."""
    return any("*" in part for part in family.folders) and 1 < family.number_of_folders < len(family.files)


def count_masked(pairs: Pairs) -> int:
    """How many images have a mask."""
    return sum(pair.mask is not None for pair in pairs)


@contextmanager
def silence_warnings() -> Iterator[None]:
    """Keeps what trials warn of from the user."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
