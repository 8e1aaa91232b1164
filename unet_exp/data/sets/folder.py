"""A user's own images and masks: found, looked at, checked against each other, split.

Mistakes in files are reported before the first epoch, in one message for the whole data set.
"""

import logging
import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unet_exp.config import ClassSpec
from unet_exp.config.user_data import CustomDataConfig, FolderConfig, UserDataConfig
from unet_exp.console import make_console
from unet_exp.data.sets import DATA_SETS
from unet_exp.errors import DataError
from unet_exp.folder import groups
from unet_exp.folder.drawing import is_drawn
from unet_exp.folder.groups import UNLABELLED
from unet_exp.folder.images import PageItems, make_images
from unet_exp.folder.index import DTYPES
from unet_exp.folder.inexact import describe_changed, propose_inexact
from unet_exp.folder.label_map import count_labels, explain_unknown
from unet_exp.folder.meaning import find_meaning, name_new, to_ignore, to_words
from unet_exp.folder.named_files import FileSpecs
from unet_exp.folder.origin import Origin
from unet_exp.folder.pages import describe_repeated, used_channels
from unet_exp.folder.pairing import find_pairs
from unet_exp.folder.pairs import Pairs, describe_channels
from unet_exp.folder.reader_items import ReaderItems
from unet_exp.folder.reasons import list_reasons
from unet_exp.folder.survey import Survey, survey
from unet_exp.io.kinds import is_jpeg
from unet_exp.io.writing import suffix_of
from unet_exp.metrics.declarations import ScoreFamily
from unet_exp.samples.classes import UnknownValues
from unet_exp.samples.data_set import DataSet, choose_scale
from unet_exp.samples.sample import Images

_log = logging.getLogger(__name__)

_MOST_MISTAKES = 5
_MOST_VALUES = 12


def load_user_data(config: UserDataConfig, find_objects: bool = False, keep: bool = True) -> DataSet:
    """Learns what there is to know of a user's images and masks; see `docs/your_images.md` and `docs/extend.md`.

    Args:
        config: names them, or their reader.
        find_objects: whether masks that hold classes get instances: the 4-connected components of the foreground.
        keep: whether decoded images are kept as `data.cache` says.

    Returns:
        Samples with the names of their files, `/` as `_` and the pages of a stack `_000` ...; images (H, W, C) of one
        type and one C. With `labels=instances` the label is class 1 on objects, and class 0 also on a line between
        objects that touch; the instances are as drawn.

    Raises:
        DataError: for files that are missing, unreadable or do not fit, and masks with unknown values.
        ConfigError: for a split that these images do not make, images that do not fit into memory, and a reader that
            cannot be built.
    """
    found = survey(config, _find_exact_data, fill=keep, find_objects=find_objects)
    _raise_mistakes(found)
    _unify(found)
    _raise_mistakes(found)  # of files that were read again
    found.fill()
    index, rules = found.index, found.rules
    if told := describe_changed(index, found.pairs, rules):
        make_console().print(told, soft_wrap=True)
    labelled = np.flatnonzero(index.rows["masked"])
    if not labelled.size:
        raise DataError(
            f"{name_masks(config)}: no image has a mask, so there is nothing to learn from; check the paths"
        )
    items = PageItems(found, np.arange(len(index)))
    images = make_images(found, groups.name_samples(items, items.find_image))
    split, counts = groups.split_groups(PageItems(found, labelled), config)
    train, val, test = (images.take(labelled[places]) for places in split)
    _check_classes_shown(train, rules.classes)
    metrics: tuple[ScoreFamily, ...] = ("seg",) if rules.objects else ()
    unlabelled = images.take(np.flatnonzero(~index.rows["masked"]))
    channels = int(index.rows["used"][0])
    first = found.pairs[int(index.rows["place"][labelled[0]])].mask
    suffix = suffix_of(first) if isinstance(first, Path) else None
    scale = choose_scale(index.list_pixel_sizes())
    meaning = rules.of_labels
    return DataSet(train, val, test, unlabelled, rules.classes, channels, metrics, meaning, suffix, scale, counts)


DATA_SETS["folder"] = load_user_data


def _check_classes_shown(train: Images, classes: Sequence[ClassSpec]) -> None:
    shown = train.facts.counts[:, :-1].sum(axis=0).tolist()
    absent = [spec.name for spec, pixels in zip(classes, shown, strict=True) if not pixels]
    if len(absent) == len(classes):
        raise DataError(
            f"data.ignore: all pixels of the {len(train)} training masks, {train.names[0]} first, are ignored: there "
            "is nothing to learn from; check data.ignore and data.classes"
        )
    if absent:
        _log.warning("no training mask shows %s: check data.classes, and the split", ", ".join(absent))


def _find_exact_data(config: UserDataConfig, known: Mapping[str, NDArray[Any]] | None) -> Origin:
    items = find_user_data(config, known)
    if told := describe_channels(items):
        make_console().print(told, soft_wrap=True)
    check_exact(items, config)
    return items


def find_user_data(
    config: UserDataConfig,
    known: Mapping[str, NDArray[Any]] | None = None,
    mask_missing: Callable[[str], bool] | None = None,
) -> Origin:
    """Finds the images that the config names, or those of its reader, which has its own word on masks.

    Arguments are those of `find_folder_pairs`.

    Raises:
        DataError: see `find_pairs` and `ReaderItems.find`.
        ConfigError: likewise.
    """
    if isinstance(config, CustomDataConfig):
        return ReaderItems.find(config, known)
    assert isinstance(config, FolderConfig)
    return find_folder_pairs(config, known, mask_missing)


def name_masks(config: UserDataConfig) -> str:
    """What gives the masks, for messages."""
    if isinstance(config, CustomDataConfig):
        return f"data.target={config.target}"
    assert isinstance(config, FolderConfig)
    return FileSpecs.of(config).name_masks()


def find_folder_pairs(
    config: FolderConfig,
    known: Mapping[str, NDArray[Any]] | None = None,
    mask_missing: Callable[[str], bool] | None = None,
) -> Pairs:
    """Finds the files that the config names.

    Args:
        config: it.
        known: see `find_pairs`.
        mask_missing: likewise; None for the config's own rule.

    Raises:
        DataError: see `find_pairs`.
    """
    missing = mask_missing or (lambda name: may_lack_mask(name, config))
    return find_pairs(FileSpecs.of(config), missing, known)


def may_lack_mask(name: str, config: FolderConfig) -> bool:
    """Whether the image of this name (its path without suffix) may lack a mask."""
    by_folder = config.split == "folders" and UNLABELLED in name.lower().split("/")[:-1]
    return config.without_mask == "unlabelled" or by_folder


def check_exact(items: Origin, config: UserDataConfig) -> None:
    """Refuses labels where all masks hold values, and objects in JPEG files.

    Each shade that JPEG adds would silently be one more object.

    Raises:
        DataError: if there are any.
    """
    labels = [value for spec in config.classes for value in spec.values if isinstance(value, str)]
    labels += config.ignored_labels
    if labels and isinstance(items, Pairs):
        masked = [pair for pair in items if pair.mask is not None]
        if masked and not any(map(is_drawn, masked)):
            raise DataError(
                f"{masked[0].mask}: holds values, and {labels[0]} (data.classes or data.ignore) is a label, which only "
                "annotations have; give values, as numbers without quotes"
            )
    if config.labels != "instances":
        return
    masks = (items[place].mask for place in range(len(items)))
    smeared = [mask for mask in masks if isinstance(mask, Path) and is_jpeg(mask)]
    if smeared:
        raise DataError(
            f"{smeared[0]}: {len(smeared)} mask{'s' * (len(smeared) > 1)} in JPEG, which changes the numbers of "
            "objects (data.labels=instances); save masks as PNG"
        )


def _raise_mistakes(found: Survey) -> None:
    """Reports the mistakes in all files at once.

    Raises:
        DataError: if there are any.
    """
    pairs, index = found.pairs, found.index
    unknown = [
        (int(index.rows["place"][number]), _find_unknown(found, number))
        for number in np.flatnonzero(count_labels(index, found.rules)[1]).tolist()
    ]
    of_values = [error for _, error in unknown if isinstance(error, UnknownValues)]
    errors = [(place, error) for place, error in unknown if not isinstance(error, UnknownValues)]
    errors += sorted(found.mistakes.items(), key=itemgetter(0))
    count = len(errors) + len(of_values)
    others = list_reasons((found.pairs[place], error) for place, error in errors)
    if of_values:
        others.insert(0, _explain(of_values, found))
    if count > 1 and errors:
        more = f"; and {len(others) - _MOST_MISTAKES} more" if len(others) > _MOST_MISTAKES else ""
        first = "; ".join(others[:_MOST_MISTAKES])
        raise DataError(f"{count} of {len(pairs)} images cannot be used: {first}{more}")
    if others:
        raise DataError(others[0])


def _find_unknown(found: Survey, number: int) -> DataError:
    """The error of a page whose mask has values without a class."""
    pair = found.pairs[int(found.index.rows["place"][number])]
    stats = found.index.stats(number, pair)
    assert stats.mask is not None
    wide = any(isinstance(value, int) and value > 255 for value in stats.mask.counts)
    if found.rules.objects or stats.mask.rest or (wide and not found.rules.indices):  # not by its counts alone
        try:
            page = found.rules.read_page(pair, stats.page)
            assert page.mask is not None
            found.rules.label(page.mask, str(pair.mask), page.labelled)
        except DataError as error:
            return error
    return explain_unknown(stats.mask, found.rules)


def _explain(errors: Sequence[UnknownValues], found: Survey) -> str:
    """The message with a remedy: the words to type, where the values are few enough."""
    error = UnknownValues.merge(errors)
    inexact = propose_inexact(found.index, found.rules)
    or_inexact = f", or {inexact}" if inexact else ""
    if error.jpeg:
        return f"{error.what}; JPEG changes pixels: save masks as PNG{or_inexact}"
    stats = (found.index.stats(number, found.pairs[place]) for number, place in enumerate(found.index.rows["place"]))
    masks = [(one.mask.file, one.mask.counts) for one in stats if one.mask is not None]
    classes = found.rules.classes
    meaning = find_meaning(masks, classes, found.rules.ignored)
    if len(meaning.classes) + len(meaning.strays) > _MOST_VALUES or meaning.is_blurred or not meaning.fits:
        return (
            f"{error.what}; these may be what JPEG or smooth resizing leaves (save masks as PNG, resize them without "
            f"interpolation{or_inexact}), objects (data.labels=instances) or classes: scripts/check_data.py proposes "
            "data.classes"
        )
    new = name_new(meaning.classes, meaning.known, classes)
    colored = any(isinstance(value, tuple) for value in meaning.classes)
    words = shlex.join(to_words(new, to_ignore(meaning.ignored, colored)))
    if not meaning.strays:
        otherwise = f"ignore one value (data.ignore), or, if these are the classes, type {words}"
        return f"{error.what}; correct the masks, {otherwise}"
    remedy = f"{'; '.join(meaning.list_strays())}: probably slips; correct the masks{'' if new else or_inexact}"
    return f"{error.what}; {remedy}{f', or type {words}' if words else ''}"


def _unify(found: Survey) -> None:
    """Brings all images to one number of channels; refuses those of several types."""
    rows = found.index.rows
    used = used_channels(np.stack([rows[key] for key in ("channels", "opaque", "colors")], axis=1))
    _check_one_kind(found, used, lambda count: f"{count} channel(s)", "save all as grey, or all as RGB")
    _check_one_kind(found, rows["dtype"], lambda place: f"{DTYPES[place]} pixels", "save all with as many bits")
    if told := describe_repeated(rows["channels"], used):
        _log.warning("%s", told)
    others = np.unique(rows["place"][rows["used"] != used])
    if others.size:
        found.read_again(others, used)


def _check_one_kind(found: Survey, kinds: NDArray[Any], describe: Callable[[int], str], mend: str) -> None:
    """Refuses images of several kinds: a number (N,) each, which `describe` puts in words."""
    if (kinds == kinds[:1]).all():
        return
    counts = Counter(kinds.tolist()).most_common()
    rare = counts[-1][0]
    listed = ", ".join(f"{describe(kind)} in {count}" for kind, count in counts)
    path = found.pairs[int(found.index.rows["place"][kinds == rare][0])].image
    raise DataError(f"{path}: has {describe(rare)} and other images have not (images: {listed}); {mend}")
