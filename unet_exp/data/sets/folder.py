"""A user's own images and masks: found, read in parallel, checked against each other, split.

Mistakes in files are reported before the first epoch, in one message for the whole data set.
"""

import logging
import os
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unet_exp.config import IGNORE_LABEL, ClassSpec
from unet_exp.config.data import FolderConfig
from unet_exp.data import groups
from unet_exp.data.classes import (
    UnknownValues,
    Value,
    decode,
    object_ids,
    picture_color,
)
from unet_exp.data.groups import UNLABELLED, SplitItem
from unet_exp.data.meaning import find_meaning, name_new, plain_value, stored_value, to_words
from unet_exp.data.pages import ImageKind, read_pair, used_channels
from unet_exp.data.pairs import Pair, find_pairs
from unet_exp.data.samples import DataSet, Sample
from unet_exp.data.sets import DATA_SETS
from unet_exp.errors import ConfigError, DataError
from unet_exp.io.arrays import Array
from unet_exp.io.images import Scene, stored_size
from unet_exp.io.kinds import is_jpeg
from unet_exp.memory import free_memory
from unet_exp.metrics.declarations import ScoreFamily
from unet_exp.progress import track, watch
from unet_exp.weight_map import open_touching

_log = logging.getLogger(__name__)

_MOST_MISTAKES = 5
_MOST_VALUES = 12
_SHARE_OF_FREE = 0.8
_LONGEST_NAME = 200
_THREADS = min(8, os.cpu_count() or 1)


class _Page(NamedTuple):
    """A page of an image file with its label, None without a mask."""

    source: Path
    item: SplitItem
    scene: Scene
    label: Array | None
    instances: Array | None

    @property
    def image(self) -> Array:
        """(H, W, C)."""
        return self.scene.pixels


def load_folder(config: FolderConfig) -> DataSet:
    """Reads a user's images and masks; see `docs/your_images.md`.

    Returns:
        Samples with the names of their files, `/` as `_` and the pages of a stack `_000` ...; images (H, W, C) of one
        type and one C. With `labels=instances` the label is class 1 on objects, and class 0 also on a line between
        objects that touch; the instances are as drawn.

    Raises:
        DataError: for files that are missing, unreadable or do not fit, and masks with unknown values.
        ConfigError: for a split that these images do not make, and images that do not fit into memory.
    """
    pairs = find_folder_pairs(config)
    check_exact(pairs, config)
    check_memory(pairs, config)
    classes = class_specs(config)
    pages = _unify(_read_all(pairs, config, classes))
    labelled = [page for page in pages if page.label is not None]
    if not labelled:
        raise DataError(
            f"data.masks={config.masks}: no image has a mask, so there is nothing to learn from; check the paths"
        )
    samples, unlabelled = _samples(labelled), _samples([page for page in pages if page.label is None])
    split = groups.split([page.item for page in labelled], config)
    _check_classes_shown([samples[index] for index in split[0]], classes)
    metrics: tuple[ScoreFamily, ...] = ("seg",) if config.labels == "instances" else ()
    return DataSet.divide(samples, split, classes, pages[0].image.shape[2], metrics, unlabelled)


DATA_SETS["folder"] = load_folder


def _check_classes_shown(train: Sequence[Sample], classes: Sequence[ClassSpec]) -> None:
    labels = [sample.label for sample in train if sample.label is not None]
    absent = [spec.name for index, spec in enumerate(classes) if not any((label == index).any() for label in labels)]
    if len(absent) == len(classes):
        raise DataError(
            f"data.ignore: all pixels of the {len(labels)} training masks, {train[0].name} first, are ignored: there "
            "is nothing to learn from; check data.ignore and data.classes"
        )
    if absent:
        _log.warning("no training mask shows %s: check data.classes, and the split", ", ".join(absent))


def find_folder_pairs(config: FolderConfig, mask_missing: Callable[[str], bool] | None = None) -> list[Pair]:
    """Finds the files that the config names; `mask_missing` as for `find_pairs`, None for the config's own rule.

    Raises:
        DataError: see `find_pairs`.
    """
    missing = mask_missing or (lambda name: may_lack_mask(name, config))
    return find_pairs(config.images, config.masks, config.mask_suffix, missing, config.field_of_view)


def may_lack_mask(name: str, config: FolderConfig) -> bool:
    """Whether the image of this name (its path without suffix) may lack a mask."""
    return config.without_mask == "unlabelled" or (config.split == "folders" and name.split("/")[0] == UNLABELLED)


def class_specs(config: FolderConfig) -> tuple[ClassSpec, ...]:
    """The classes, each with a colour for pictures."""
    defaults = [
        picture_color(i) if isinstance(spec.value, int) else spec.value for i, spec in enumerate(config.classes)
    ]
    return tuple(
        ClassSpec(name=spec.name, value=spec.value, color=spec.color or default)
        for spec, default in zip(config.classes, defaults, strict=True)
    )


def means_indices(config: FolderConfig) -> bool:
    """Whether the indices of masks with a palette are the values, not its colours."""
    return config.labels == "instances" or isinstance(config.classes[0].value, int)


def class_values(config: FolderConfig) -> list[int]:
    """The grey values of classes: they mean something though a mask's file declares one as nodata."""
    if config.labels == "instances":
        return [0]
    values = [[spec.value] if isinstance(spec.value, int) else spec.value for spec in config.classes]
    return [value[0] for value in values if len(set(value)) == 1]


def check_exact(pairs: Sequence[Pair], config: FolderConfig) -> None:
    """Refuses objects in JPEG files: each shade that JPEG adds would silently be one more object.

    Raises:
        DataError: if there are any.
    """
    smeared = [pair.mask for pair in pairs if pair.mask and config.labels == "instances" and is_jpeg(pair.mask)]
    if smeared:
        raise DataError(
            f"{smeared[0]}: {len(smeared)} mask{'s' * (len(smeared) > 1)} in JPEG, which changes the numbers of "
            "objects (data.labels=instances); save masks as PNG"
        )


def check_memory(pairs: Sequence[Pair], config: FolderConfig) -> None:
    """Estimates the memory from headers: images as stored and as float32, labels and perhaps instances.

    Raises:
        ConfigError: for more than `max_memory`, or than is free.
    """
    of_mask = 5 if config.labels == "instances" else 1
    with watch("looking at the sizes of images"), ThreadPoolExecutor(_THREADS) as pool:
        images = [values * (width + 4) for values, width in pool.map(lambda pair: stored_size(pair.image), pairs)]
        masks = pool.map(lambda pair: stored_size(pair.mask)[0] if pair.mask else 0, pairs)
        needed = sum(images) + sum(masks) * of_mask
    there = _SHARE_OF_FREE * free_memory() / 1e9 if config.max_memory is None else config.max_memory
    if needed > there * 1e9:
        raise ConfigError(
            f"data.images={config.images}: by their headers the {len(pairs)} files and their masks take "
            f"{needed / 1e9:.3g} GB of memory, more than "
            + (f"most of what is free ({there:.3g} GB)" if config.max_memory is None else f"data.max_memory={there:g}")
            + f" (most for {pairs[images.index(max(images))].image}); use fewer or smaller images, or raise "
            "data.max_memory if this machine has as much"
        )


def _read_all(pairs: Sequence[Pair], config: FolderConfig, classes: Sequence[ClassSpec]) -> list[_Page]:
    """Reads files in parallel, and reports the mistakes of all of them at once."""

    def attempt(pair: Pair) -> list[_Page] | DataError:
        try:
            return _read(pair, config, classes)
        except DataError as error:
            return error

    with ThreadPoolExecutor(_THREADS) as pool:
        results = list(track(pool.map(attempt, pairs), "reading images", len(pairs)))
    pages = [page for result in results if not isinstance(result, DataError) for page in result]
    errors = [result for result in results if isinstance(result, DataError)]
    unknown = [error for error in errors if isinstance(error, UnknownValues)]
    others = [str(error) for error in errors if not isinstance(error, UnknownValues)]
    if unknown:
        others.insert(0, _explain(unknown, pages, classes, config.ignore))
    if len(others) > 1:
        more = f"; and {len(others) - _MOST_MISTAKES} more" if len(others) > _MOST_MISTAKES else ""
        first = "; ".join(others[:_MOST_MISTAKES])
        raise DataError(f"{len(errors)} of {len(pairs)} images cannot be used: {first}{more}")
    if others:
        raise DataError(others[0])
    return pages


def _explain(
    errors: Sequence[UnknownValues],
    good: Sequence[_Page],
    classes: Sequence[ClassSpec],
    ignore: int | Sequence[int] | None,
) -> str:
    """The message with a remedy: the words to type, where the values are few enough."""
    error = UnknownValues.merge(errors)
    if error.jpeg:
        return f"{error.what}; JPEG changes pixels: save masks as PNG"
    masks = [(one.paths[0], _count_stored([*one.counts.items(), *one.seen.items()])) for one in errors]
    values: dict[int, Any] = {index: spec.value for index, spec in enumerate(classes)} | {IGNORE_LABEL: ignore}
    for page in good:
        if page.label is not None:
            labels = np.bincount(page.label.ravel(), minlength=256)
            found = [(values[index], int(labels[index])) for index in np.flatnonzero(labels).tolist()]
            masks.append((str(page.source), _count_stored(found)))
    meaning = find_meaning(masks, classes, ignore)
    if len(meaning.classes) + len(meaning.strays) > _MOST_VALUES or meaning.is_blurred or not meaning.fits:
        return (
            f"{error.what}; these may be what JPEG or smooth resizing leaves (save masks as PNG, resize them without "
            "interpolation), objects (data.labels=instances) or classes: scripts/check_data.py proposes data.classes"
        )
    words = shlex.join(to_words(name_new(meaning.classes, classes), plain_value(meaning.ignore)))
    if not meaning.strays:
        return (
            f"{error.what}; mend the masks, ignore one value (data.ignore), or, if these are the classes, type {words}"
        )
    remedy = f"{'; '.join(meaning.list_strays())}: probably slips; mend the masks"
    return f"{error.what}; {remedy}{f', or type {words}' if words else ''}"


def _count_stored(pixels: Iterable[tuple[int | Sequence[int], int]]) -> Counter[Value]:
    counts: Counter[Value] = Counter()
    for value, count in pixels:
        counts[stored_value(value)] += count
    return counts


def _read(pair: Pair, config: FolderConfig, classes: Sequence[ClassSpec]) -> list[_Page]:
    """Reads the pages of one image file with their labels."""
    pages = []
    for item, scene, mask, labelled in read_pair(pair, config.nodata, means_indices(config), class_values(config)):
        label = instances = None
        if mask is not None and pair.mask is not None:
            if config.labels == "instances":
                instances, ignored = object_ids(mask, pair.mask, config.ignore, labelled)
                label = np.where(ignored, np.uint8(IGNORE_LABEL), (instances > 0).astype(np.uint8))
                label = open_touching(label, instances)[0]
            else:
                label = decode(mask, classes, pair.mask, config.ignore, labelled)
        pages.append(_Page(pair.image, item, scene, label, instances))
    return pages


def _unify(pages: list[_Page]) -> list[_Page]:
    """Brings all images to one number of channels; refuses those of several types."""
    used = used_channels([ImageKind.of(page.scene) for page in pages])
    pages = [
        page._replace(scene=page.scene._replace(pixels=np.ascontiguousarray(page.image[:, :, :count])))
        if count < page.image.shape[2]
        else page
        for page, count in zip(pages, used, strict=True)
    ]
    _check_one_kind(pages, [f"{page.image.shape[2]} channel(s)" for page in pages], "save all as grey, or all as RGB")
    _check_one_kind(pages, [f"{page.image.dtype} pixels" for page in pages], "save all with as many bits")
    return pages


def _check_one_kind(pages: Sequence[_Page], kinds: Sequence[str], mend: str) -> None:
    counts = Counter(kinds).most_common()
    if len(counts) > 1:
        rare = counts[-1][0]
        listed = ", ".join(f"{kind} in {count}" for kind, count in counts)
        raise DataError(
            f"{pages[kinds.index(rare)].source}: has {rare} and other images have not (images: {listed}); {mend}"
        )


def _samples(pages: Sequence[_Page]) -> list[Sample]:
    names = sample_names([(page.source, page.item) for page in pages])
    return [
        Sample(name, page.image, page.label, page.instances, page.scene.valid)
        for name, page in zip(names, pages, strict=True)
    ]


def sample_names(images: Sequence[tuple[Path, SplitItem]]) -> list[str]:
    """Names of images in a data set: names of files, `/` as `_`.

    Raises:
        DataError: for two of one name, and one too long for the name of its prediction.
    """
    names: dict[str, None] = {}
    for source, item in images:
        name = item.name.replace("/", "_")
        if len(name.encode()) > _LONGEST_NAME:
            raise DataError(
                f"{source}: its name, with its folders, is longer than {_LONGEST_NAME} bytes, too long for a file "
                "of its prediction; rename it"
            )
        if name in names:
            raise DataError(f"{source}: another image would be called {name} too; rename one of the two")
        names[name] = None
    return list(names)
