"""Proposes words for an unknown folder: which files are images, which are their masks, and how they are split."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import combinations
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from unet_exp.annotations import list_labels
from unet_exp.config import Config
from unet_exp.config.user_data import MAX_CLASSES, FolderConfig, UserDataConfig
from unet_exp.data.sets.folder import find_folder_pairs
from unet_exp.errors import DataError, UserError
from unet_exp.folder import groups
from unet_exp.folder.stats import ImageStats
from unet_exp.inspection.families import IMAGE_WORDS, MASK_WORDS, Family, find_families
from unet_exp.inspection.looks import Look, look_at
from unet_exp.inspection.trials import DERIVED, HALF, Trial, count_masked, silence_warnings, try_all, with_values
from unet_exp.io.images import open_images
from unet_exp.io.kinds import ANNOTATION_SUFFIXES, SUFFIXES
from unet_exp.io.listing import scan_files
from unet_exp.io.scene import Reading
from unet_exp.io.volumes import SeveralArrays
from unet_exp.typed import write_value

_MOST_FAMILIES = 12
_MOST_TOLD = 8
_MOST_ANNOTATIONS = 200
_FEWEST_GROUPS = 3
RECIPE_TILE = 256
"""`data.tile` of `experiment=own`, in pixels."""
_STEP = 16  # pixels


class FileProposal(NamedTuple):
    """Keys that name images and masks.

    Attributes:
        values: of `FolderConfig`.
        pairs: how many images have a mask with them.
        remarks: lines about what else there is.
    """

    values: dict[str, Any]
    pairs: int
    remarks: list[str]


def propose_files(config: FolderConfig) -> FileProposal:
    """Finds keys for the files below `data.root`.

    Raises:
        DataError: if there is no such folder, or nothing in it looks like images with masks.
    """
    root = Path(config.root or ".").expanduser()
    families = find_families(root, (*SUFFIXES, *ANNOTATION_SUFFIXES))
    families = [part for family in families[:_MOST_FAMILIES] for part in _list_arrays(root, family)]
    looks = {family.spec: look_at(root, family) for family in families}
    with silence_warnings():
        trials = list(try_all(config, [(family, looks[family.spec]) for family in families]))
        if not trials:
            raise _explain_nothing(root, families)
        best = max(trials, key=attrgetter("rank"))
        values = {**best.values, **_find_channels(config, best, families)}
        by_class = _find_classes(config, best, trials, looks)
        values |= by_class
        values |= _find_view(config, best, families, looks)
        values |= _find_split(config, root, best, values)
        values |= _find_labels(root, best.masks)
    remarks = []
    if bare := len(best.pairs) - best.masked:
        values["without_mask"] = "unlabelled"
        count = f"{bare} images have no mask: they are" if bare > 1 else "one image has no mask: it is"
        remarks.append(f"{count} predicted and drawn, without scores")
    apart = _list_apart(best, trials)
    if apart:
        told = [f"{trial.images.spec} with {trial.masks.spec} ({trial.masked})" for trial in apart[:_MOST_TOLD]]
        remarks.append(f"other images have masks too: {', '.join(told)}")
    named = {best.masks.spec, values.get("field_of_view"), *(trial.masks.spec for trial in apart)}
    named |= {*by_class.get("masks", {}).values()}
    also = [trial.masks for trial in trials if trial.images == best.images]
    others = sorted({masks.spec for masks in also if not best.masks.holds(masks)} - named)
    if others:
        remarks.append(f"other files pair with these images too: {', '.join(others[:_MOST_TOLD])}")
    return FileProposal(values, best.masked, remarks)


def _list_arrays(root: Path, family: Family) -> list[Family]:
    """The family of each array that its files hold, where they are containers of several."""
    path = root / family.files[len(family.files) // 2]
    labels = [f"labels/{folder.name}" for folder in sorted(path.glob("labels/*/"))] if path.is_dir() else []
    try:
        with open_images(path, Reading()):
            return [family, *(replace(family, inner=name) for name in labels)]
    except SeveralArrays as error:
        return [replace(family, inner=name) for name in error.names]
    except DataError:
        return [family]


def write_words(values: Mapping[str, Any]) -> list[str]:
    """Keys of the data as words on a command line, as Hydra reads them."""
    return [f"data.{key}={write_value(value)}" for key, value in values.items()]


def list_start(config: Config, typed: Sequence[str], stats: Sequence[ImageStats]) -> list[str]:
    """The words of a training on these images: as typed, and those of a recipe and a patch size where none is typed.

    Args:
        config: that the typed words make.
        typed: words of a command line.
        stats: of all images; a patch is as large as that of the recipe, in pixels, or as the smallest of them allows.
    """
    keys = {word.partition("=")[0] for word in typed}
    if "experiment" in keys:
        return [*typed]
    if not isinstance(config.data, UserDataConfig):
        return ["experiment=small", *typed]
    words = ["experiment=own", *(word for word in typed if word != "data=folder")]
    if "data.tile" in keys:
        return words
    side = min((min(one.height, one.width) for one in stats), default=RECIPE_TILE)
    return [*words, f"data.tile={max(_STEP, min(RECIPE_TILE, side // _STEP * _STEP))}"]


def _list_apart(best: Trial, trials: Sequence[Trial]) -> list[Trial]:
    """Other images, each with its best masks, that are as good as the best and have no file in common with them."""
    taken = {*best.images.files, *best.masks.files}
    found: dict[str, Trial] = {}
    for trial in sorted(trials, key=attrgetter("rank"), reverse=True):
        if trial.points >= best.points and taken.isdisjoint((*trial.images.files, *trial.masks.files)):
            found.setdefault(trial.images.spec, trial)
    return list(found.values())


def _find_channels(config: FolderConfig, best: Trial, families: Sequence[Family]) -> dict[str, Any]:
    """The channels of images that lie in several files, whose names differ in their endings."""
    images, masks = best.images, best.masks
    alike = [
        family
        for family in families
        if (family.folders, family.suffix, len(family.files)) == (images.folders, images.suffix, len(images.files))
        and family.ending
        and family is not masks
        and family.tell_role(masks) <= 0
    ]
    if len(alike) < 2 or not images.ending:
        return {}
    values = {"images": [family.spec for family in sorted(alike, key=lambda family: family.spec)]}
    try:
        pairs = find_folder_pairs(with_values(config, {**best.values, **values}), None, lambda _: True)
    except UserError:
        return {}
    return values if count_masked(pairs) == best.masked else {}


def _find_classes(
    config: FolderConfig, best: Trial, trials: Sequence[Trial], looks: Mapping[str, Look]
) -> dict[str, Any]:
    """Masks in one file a class: alike but for the last word of their names, or for their folders; and of two values.

    Two people who draw the same objects make such files too, but theirs cover the same pixels.
    """
    for by_folder in (False, True):
        found = _name_classes(best, trials, by_folder)
        seen = [looks[trial.masks.spec] for trial in found.values()]
        if len(found) < 2 or any(one.shares_most(other) for one, other in combinations(seen, 2)):
            continue
        masks = {label: trial.values["masks"] for label, trial in sorted(found.items())}
        values = {"masks": masks, "classes": _list_classes(masks)}
        with suppress(UserError, ValueError):  # such as a class of the background
            pairs = find_folder_pairs(with_values(config, {**best.values, **values}), None, lambda _: True)
            if count_masked(pairs) >= best.masked:
                return values
    return {}


def _name_classes(best: Trial, trials: Sequence[Trial], by_folder: bool) -> dict[str, Trial]:
    """Masks like the best ones, with the words by which they differ; none if that of the best tells a role."""
    found: dict[tuple[str, tuple[str, ...], tuple[str, ...], str], Trial] = {}
    for trial in trials:
        masks, (*above, last) = trial.masks, ("", *trial.masks.folders)
        apart, shared = (last, (*above, masks.ending)) if by_folder else (masks.ending, (*above, last))
        label = apart.strip("_-. ")
        told = any(word in label.lower() for word in (*MASK_WORDS, *IMAGE_WORDS, *DERIVED))
        plain = trial.values == {"images": best.values["images"], "masks": trial.values["masks"]}
        if plain and not told and re.fullmatch(r"[A-Za-z_]\w*", label, re.ASCII):
            found[label, shared, masks.suffixes, masks.inner] = trial
    keys = next((key[1:] for key, trial in found.items() if trial is best), None)
    return {key[0]: trial for key, trial in found.items() if key[1:] == keys}


def _find_view(
    config: FolderConfig, best: Trial, families: Sequence[Family], looks: Mapping[str, Look]
) -> dict[str, Any]:
    """Masks of the field of view: of two values, and 0 in less than half of the image, unlike the masks themselves."""
    if looks[best.masks.spec].share >= HALF:
        return {}
    ending = str(best.values["images"]).rpartition("*")[2].removesuffix(best.images.suffix)
    for family in families:
        if family in (best.images, best.masks) or family.tell_role(best.images) <= 0:
            continue
        if looks[family.spec].share < HALF:
            continue
        narrow = family.narrow(False)
        longer = replace(narrow, ending=ending + narrow.ending.removeprefix(ending))
        for spec in dict.fromkeys((longer.spec, narrow.spec, family.spec)):
            try:
                find_folder_pairs(with_values(config, {**best.values, "field_of_view": spec}), None, lambda _: True)
            except UserError:
                continue
            return {"field_of_view": spec}
    return {}


def _find_labels(root: Path, masks: Family) -> dict[str, Any]:
    """The classes of annotations that have several labels."""
    if masks.suffix.lower() not in ANNOTATION_SUFFIXES:
        return {}
    labels: Counter[str] = Counter()
    for file in masks.files[:_MOST_ANNOTATIONS]:
        with suppress(DataError):  # told when the masks are drawn
            labels += list_labels(root / file)
    if not 1 < len(labels) < MAX_CLASSES:
        return {}
    return {"classes": _list_classes(labels)}


def _list_classes(labels: Iterable[str]) -> list[dict[str, Any]]:
    named = [{"name": label.replace("/", " "), "value": label} for label in sorted(labels)]
    return [{"name": "background", "value": 0}, *named]


def _find_split(config: FolderConfig, root: Path, best: Trial, values: dict[str, Any]) -> dict[str, Any]:
    """The split that folders or lists make, if they make one."""
    tries: list[dict[str, Any]] = []
    if best.images.splits:
        tries.append({"split": "folders"})
    texts = [path for path in scan_files(root, stamps=False).paths if path.lower().endswith("train.txt")]
    tries += [{"split": "lists", "lists": os.path.dirname(path) or "."} for path in texts]
    for split in tries:
        try:
            changed = with_values(config, {**values, **split})
            items = [groups.SplitItem(pair.name, pair.name) for pair in best.pairs if pair.mask is not None]
            groups.split(items, changed)
        except UserError:
            continue
        return split
    return {"group": "image"} if len(best.pairs) < _FEWEST_GROUPS else {}


def _explain_nothing(root: Path, families: Sequence[Family]) -> DataError:
    if not families:
        return DataError(f"data.root={root}: holds no file of a kind that is read; check the path")
    listed = ", ".join(f"{family.spec} ({len(family.files)})" for family in families[:_MOST_TOLD])
    return DataError(
        f"data.root={root}: nothing there looks like images with masks; it holds {listed}; type data.images and "
        "data.masks (docs/your_images.md)"
    )
