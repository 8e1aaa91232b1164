"""Proposes words for an unknown folder: which files are images, which are their masks, and how they are split."""

import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unet_exp.annotations import list_labels
from unet_exp.config.user_data import MAX_CLASSES, FolderConfig
from unet_exp.data.sets.folder import find_folder_pairs
from unet_exp.errors import DataError, UserError
from unet_exp.folder import groups
from unet_exp.folder.pairs import Pair, Pairs
from unet_exp.folder.rules import Rules
from unet_exp.inspection.families import IMAGE_WORDS, MASK_WORDS, Family, find_families
from unet_exp.io.images import open_images
from unet_exp.io.kinds import ANNOTATION_SUFFIXES, DICOM_SUFFIXES, SUFFIXES
from unet_exp.io.listing import scan_files
from unet_exp.io.scene import Reading
from unet_exp.io.volumes import SeveralArrays
from unet_exp.samples.classes import UnknownValues, dump_in_one_line

_MOST_FAMILIES = 12
_MOST_TOLD = 8
_MOST_ANNOTATIONS = 200
_DERIVED = ("color", "colour", "instance", "panoptic", "overlay", "preview", "edge", "prob", "weak")
"""What names say of files that are made of the masks, or say less than they do."""
_FLATTER = 0.05
_FEWEST_GROUPS = 3
_HALF = 0.5


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


class _Trial(NamedTuple):
    images: Family
    masks: Family
    values: dict[str, Any]
    pairs: Pairs
    points: int


def propose_files(config: FolderConfig) -> FileProposal:
    """Finds keys for the files below `data.root`.

    Raises:
        DataError: if there is no such folder, or nothing in it looks like images with masks.
    """
    root = Path(config.root or ".").expanduser()
    families = find_families(root, (*SUFFIXES, *ANNOTATION_SUFFIXES))
    families = [part for family in families[:_MOST_FAMILIES] for part in _list_arrays(root, family)]
    with silence_warnings():
        trials = list(_try_all(config, root, families))
        if not trials:
            raise _explain_nothing(root, families)
        best = max(trials, key=_rank)
        values = {**best.values, **_find_channels(config, best, families)}
        by_class = _find_classes(config, root, best, trials)
        values |= by_class
        values |= _find_view(config, root, best, families)
        values |= _find_split(config, root, best, values)
        values |= _find_labels(root, best.masks)
    remarks = []
    if bare := len(best.pairs) - _count_masked(best.pairs):
        values["without_mask"] = "unlabelled"
        remarks.append(f"{bare} images have no mask: they are predicted and drawn, without scores")
    apart = _list_apart(best, trials)
    if apart:
        told = [
            f"{trial.images.spec} with {trial.masks.spec} ({_count_masked(trial.pairs)})"
            for trial in apart[:_MOST_TOLD]
        ]
        remarks.append(f"other images have masks too: {', '.join(told)}")
    named = {best.masks.spec, values.get("field_of_view"), *(trial.masks.spec for trial in apart)}
    named |= {*by_class.get("masks", {}).values()}
    others = sorted({trial.masks.spec for trial in trials if trial.images == best.images} - named)
    if others:
        remarks.append(f"other files pair with these images too: {', '.join(others[:_MOST_TOLD])}")
    return FileProposal(values, _count_masked(best.pairs), remarks)


def write_words(values: Mapping[str, Any]) -> list[str]:
    """Keys of the data as words on a command line, as Hydra reads them."""
    return [f"data.{key}={_write_value(value)}" for key, value in values.items()]


def with_values(config: FolderConfig, values: Mapping[str, Any]) -> FolderConfig:
    """The config with other values.

    Raises:
        ValidationError: for values that do not fit.
    """
    return FolderConfig.model_validate({**config.model_dump(), **values})


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


def _try_all(config: FolderConfig, root: Path, families: Sequence[Family]) -> Iterator[_Trial]:
    """Pairs families that may be images with those that may be their masks."""
    flatness = {family.spec: _find_flatness(root, family) for family in families}
    for images, masks in product(families, families):
        drawn = masks.kind in ANNOTATION_SUFFIXES
        if images is masks or images.kind in ANNOTATION_SUFFIXES:
            continue
        role, other = masks.tell_role(images), images.tell_role(masks)
        if other > 0:
            continue
        flatter = flatness[masks.spec] - flatness[images.spec] > _FLATTER
        derived = any(word in part for part in masks.list_words() for word in _DERIVED)
        mostly = _find_share(root, masks) >= _HALF  # as of a field of view
        points = 3 * (role > 0 or drawn) - 4 * (role < 0) + (other < 0) + 2 * flatter - derived - mostly
        if points <= 0:
            continue
        for values in _name_files(images, masks):
            try:
                changed = with_values(config, values)
                pairs = find_folder_pairs(changed, None, lambda _: True)
                masked = [place for place, pair in enumerate(pairs) if pair.mask is not None]
                if masked:
                    _look_at(pairs[masked[len(masked) // 2]], Rules.of(changed))
                    yield _Trial(images, masks, values, pairs, points)
                    break
            except UserError:
                continue


def _look_at(pair: Pair, rules: Rules) -> None:
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
        yield {"images": images.narrow(numbers).spec, "masks": masks.narrow(numbers).spec}
    yield exact


def _are_folders(family: Family) -> bool:
    """Whether each of several folders holds several files."""
    return any("*" in part for part in family.folders) and 1 < family.number_of_folders < len(family.files)


def _rank(trial: _Trial) -> tuple[int, int, int, int]:
    """What is better is larger: by its files and their names, by the images with and without masks, and by its glob."""
    masked = _count_masked(trial.pairs)
    return trial.points, masked, masked - len(trial.pairs), -len(trial.masks.spec)


def _list_apart(best: _Trial, trials: Sequence[_Trial]) -> list[_Trial]:
    """Other images, each with its best masks, that are as good as the best and have no file in common with them."""
    taken = {*best.images.files, *best.masks.files}
    found: dict[str, _Trial] = {}
    for trial in sorted(trials, key=_rank, reverse=True):
        if trial.points >= best.points and taken.isdisjoint((*trial.images.files, *trial.masks.files)):
            found.setdefault(trial.images.spec, trial)
    return list(found.values())


def _count_masked(pairs: Pairs) -> int:
    return sum(pair.mask is not None for pair in pairs)


def _find_channels(config: FolderConfig, best: _Trial, families: Sequence[Family]) -> dict[str, Any]:
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
    return values if _count_masked(pairs) == _count_masked(best.pairs) else {}


def _find_classes(config: FolderConfig, root: Path, best: _Trial, trials: Sequence[_Trial]) -> dict[str, Any]:
    """Masks in one file a class: alike but for the last word of their names, or for their folders; and of two values.

    Two people who draw the same objects make such files too, but theirs cover the same pixels.
    """
    for by_folder in (False, True):
        found = _name_classes(best, trials, by_folder)
        if len(found) < 2 or not _are_apart([_find_lit(root, trial.masks) for trial in found.values()]):
            continue
        masks = {label: trial.values["masks"] for label, trial in sorted(found.items())}
        values = {"masks": masks, "classes": _list_classes(masks)}
        with suppress(UserError, ValueError):  # such as a class of the background
            pairs = find_folder_pairs(with_values(config, {**best.values, **values}), None, lambda _: True)
            if _count_masked(pairs) >= _count_masked(best.pairs):
                return values
    return {}


def _name_classes(best: _Trial, trials: Sequence[_Trial], by_folder: bool) -> dict[str, _Trial]:
    """Masks like the best ones, with the words by which they differ; none if that of the best tells a role."""
    found: dict[tuple[str, tuple[str, ...], tuple[str, ...], str], _Trial] = {}
    for trial in trials:
        masks, (*above, last) = trial.masks, ("", *trial.masks.folders)
        apart, shared = (last, (*above, masks.ending)) if by_folder else (masks.ending, (*above, last))
        label = apart.strip("_-. ")
        told = any(word in label.lower() for word in (*MASK_WORDS, *IMAGE_WORDS, *_DERIVED))
        plain = trial.values == {"images": best.values["images"], "masks": trial.values["masks"]}
        if plain and not told and re.fullmatch(r"[A-Za-z_]\w*", label, re.ASCII):
            found[label, shared, masks.suffixes, masks.inner] = trial
    keys = next((key[1:] for key, trial in found.items() if trial is best), None)
    return {key[0]: trial for key, trial in found.items() if key[1:] == keys}


def _are_apart(lit: Sequence[NDArray[np.bool_] | None]) -> bool:
    """Whether masks of one image can be of several classes: no two of them share most of their pixels."""
    return all(
        one is not None
        and other is not None
        and one.shape == other.shape
        and 2 * (one & other).sum() < (one | other).sum()
        for one, other in combinations(lit, 2)
    )


def _find_lit(root: Path, masks: Family) -> NDArray[np.bool_] | None:
    """Where a mask from the middle is not 0: (H, W); None where it has more than two values or cannot be read."""
    pixels = _read_middle(root, masks)
    return None if pixels is None or len(np.unique(pixels)) > 2 else (pixels != 0).any(axis=2)


def _find_view(config: FolderConfig, root: Path, best: _Trial, families: Sequence[Family]) -> dict[str, Any]:
    """Masks of the field of view: of two values, and 0 in less than half of the image, unlike the masks themselves."""
    if _find_share(root, best.masks) >= _HALF:
        return {}
    ending = str(best.values["images"]).rpartition("*")[2].removesuffix(best.images.suffix)
    for family in families:
        if family in (best.images, best.masks) or family.tell_role(best.images) <= 0:
            continue
        if _find_share(root, family) < _HALF:
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


def _find_split(config: FolderConfig, root: Path, best: _Trial, values: dict[str, Any]) -> dict[str, Any]:
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


def _find_flatness(root: Path, family: Family) -> float:
    """The share of neighbours that are equal in a file from the middle: of masks nearly all; 0 if it cannot be read."""
    pixels = _read_middle(root, family)
    return 0.0 if pixels is None or pixels.shape[1] < 2 else float((pixels[:, 1:] == pixels[:, :-1]).mean())


def _find_share(root: Path, family: Family) -> float:
    """The share of pixels that are not 0 in a file from the middle; 0 where it has more than two values."""
    pixels = _read_middle(root, family)
    if pixels is None or len(np.unique(pixels)) > 2:
        return 0.0
    return float((pixels != 0).mean())


def _read_middle(root: Path, family: Family) -> np.ndarray[Any, Any] | None:
    if family.kind in ANNOTATION_SUFFIXES:
        return None
    path = Path(root, family.files[len(family.files) // 2], *filter(None, [family.inner]))
    try:
        with open_images(path, Reading()) as images:
            return images.page(len(images) // 2).pixels
    except DataError:
        return None


def _write_value(value: Any) -> str:
    """A value as Hydra reads it on the command line."""
    if isinstance(value, list | dict):
        return dump_in_one_line(value)
    plain = not set(str(value)) & set("{}[]()=,:'\"\\ ")
    return str(value) if plain else f'"{value}"'


def _explain_nothing(root: Path, families: Sequence[Family]) -> DataError:
    if not families:
        return DataError(f"data.root={root}: holds no file of a kind that is read; check the path")
    listed = ", ".join(f"{family.spec} ({len(family.files)})" for family in families[:_MOST_TOLD])
    return DataError(
        f"data.root={root}: nothing there looks like images with masks; it holds {listed}; type data.images and "
        "data.masks (docs/your_images.md)"
    )


@contextmanager
def silence_warnings() -> Iterator[None]:
    """Keeps what trials warn of from the user."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
