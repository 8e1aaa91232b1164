"""A user's own images and masks: found, read in parallel, checked against each other, split.

A mistake in any file is told before the first epoch, in one message for the whole data set.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from unet_exp.config import IGNORE_LABEL, ClassSpec
from unet_exp.config.data import FolderConfig
from unet_exp.data import groups
from unet_exp.data.classes import UnknownValues, decode, object_ids, picture_color
from unet_exp.data.groups import UNLABELLED, Item
from unet_exp.data.images import read_pages, stored_size
from unet_exp.data.pairs import Pair, find_pairs
from unet_exp.data.samples import DataSet, Sample
from unet_exp.errors import ConfigError, DataError
from unet_exp.weight_map import open_touching

Array = np.ndarray[Any, Any]
Argument = TypeVar("Argument")
Result = TypeVar("Result")

_SHOWN = 5
_THREADS = min(8, os.cpu_count() or 1)


class _Page(NamedTuple):
    """A page of an image file, with what its mask says; no label where there is no mask."""

    source: Path
    item: Item
    image: Array
    label: Array | None
    instances: Array | None


def load(config: FolderConfig) -> DataSet:
    """Reads a user's images and masks; see `docs/your_images.md`.

    Returns:
        Samples named as their files, `/` as `_` and the pages of a stack `_000` ...; images (H, W, C) of one type and
        one C. With `labels=instances` the label is class 1 on objects, and class 0 also on a line between objects that
        touch; the instances are as they were drawn.

    Raises:
        DataError: for files that are missing, unreadable or do not fit, and masks with unknown values.
        ConfigError: for a split that these images do not make, and images that would not fit into `max_memory`.
    """

    def mask_missing(name: str) -> bool:
        return config.without_mask == "unlabelled" or (config.split == "folders" and name.split("/")[0] == UNLABELLED)

    pairs = find_pairs(config.images, config.masks, config.mask_suffix, mask_missing)
    _check_memory(pairs, config)
    classes = tuple(
        ClassSpec(name=spec.name, value=spec.value, color=spec.color or _color(spec.value, index))
        for index, spec in enumerate(config.classes)
    )
    found = _each(lambda pair: _read(pair, config, classes), pairs, len(pairs))
    pages = _alike([page for pages in found for page in pages])
    labelled = [page for page in pages if page.label is not None]
    if not labelled:
        raise DataError(
            f"data.masks={config.masks}: no image has a mask, so there is nothing to learn from; check the paths"
        )
    samples = _samples(labelled)
    train, val, test = (
        [samples[place] for place in part] for part in groups.split([page.item for page in labelled], config)
    )
    return DataSet(
        train=train,
        val=val,
        test=test,
        unlabelled=_samples([page for page in pages if page.label is None]),
        classes=classes,
        channels=pages[0].image.shape[2],
        metrics=("seg",) if config.labels == "instances" else (),
    )


def _color(value: int | list[int], index: int) -> list[int]:
    return picture_color(index) if isinstance(value, int) else value


def _check_memory(pairs: Sequence[Pair], config: FolderConfig) -> None:
    """Before anything is decoded: the images as stored and, for the network, as float32; the masks."""
    with ThreadPoolExecutor(_THREADS) as pool:
        sizes = pool.map(lambda pair: (stored_size(pair.image), stored_size(pair.mask) if pair.mask else (0, 1)), pairs)
        needed = sum(values * (width + 4) + mask[0] * mask[1] for (values, width), mask in sizes)
    if needed > config.max_memory * 1e9:
        raise ConfigError(
            f"data.max_memory={config.max_memory:g}: by their headers the {len(pairs)} images and their masks take "
            f"{needed / 1e9:.3g} GB of memory; use fewer or smaller images, or raise it if this machine has as much"
        )


def _each(read: Callable[[Argument], Result], of: Iterable[Argument], count: int) -> list[Result]:
    """Reads files side by side, and tells what is wrong with all of them at once."""

    def attempt(one: Argument) -> Result | DataError:
        try:
            return read(one)
        except DataError as error:
            return error

    with ThreadPoolExecutor(_THREADS) as pool:
        results = list(pool.map(attempt, of))
    errors = [result for result in results if isinstance(result, DataError)]
    unknown = [error for error in errors if isinstance(error, UnknownValues)]
    others = [str(error) for error in errors if not isinstance(error, UnknownValues)]
    if unknown:
        others.insert(0, f"{UnknownValues.merged(unknown)} (data.classes), or ignore one (data.ignore)")
    if len(others) > 1:
        more = f"; and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        raise DataError(f"{len(errors)} of {count} images cannot be used: " + "; ".join(others[:_SHOWN]) + more)
    if others:
        raise DataError(others[0])
    return [result for result in results if not isinstance(result, DataError)]


def _read(pair: Pair, config: FolderConfig, classes: Sequence[ClassSpec]) -> list[_Page]:
    """The pages of one image file with their labels."""
    images = [_opaque(page) for page in read_pages(pair.image)]
    items = [
        Item(pair.name, f"{pair.name}_{page:03d}" if len(images) > 1 else pair.name) for page in range(len(images))
    ]
    if pair.mask is None:
        return [_Page(pair.image, item, image, None, None) for item, image in zip(items, images, strict=True)]
    # Grey values of a palette's colours would be nobody's: its indices are meant, for classes by value.
    masks = read_pages(pair.mask, indices=config.labels == "instances" or isinstance(classes[0].value, int))
    if len(masks) != len(images):
        raise DataError(
            f"{pair.mask}: has {len(masks)} pages and its image {pair.image} has {len(images)}; export both again"
        )
    pages = []
    for item, image, mask in zip(items, images, masks, strict=True):
        if mask.shape[:2] != image.shape[:2]:
            have, want = ("{1} x {0}".format(*array.shape) for array in (mask, image))
            raise DataError(
                f"{pair.mask}: is {have} pixels and its image {pair.image} is {want}; save both in one size"
            )
        if config.labels == "instances":
            instances, ignored = object_ids(mask, pair.mask, config.ignore)
            label = np.where(ignored, np.uint8(IGNORE_LABEL), (instances > 0).astype(np.uint8))
            label = open_touching(label, instances)[0]
            pages.append(_Page(pair.image, item, image, label, instances))
        else:
            pages.append(_Page(pair.image, item, image, decode(mask, classes, pair.mask, config.ignore), None))
    return pages


def _opaque(image: Array) -> Array:
    """Without an alpha channel that says nothing."""
    if image.shape[2] == 4 and image.dtype.kind == "u" and (image[:, :, 3] == np.iinfo(image.dtype).max).all():
        return np.ascontiguousarray(image[:, :, :3])
    return image


def _alike(pages: list[_Page]) -> list[_Page]:
    """All with as many channels and of one type; grey images that were saved as RGB are grey where others are."""
    if {page.image.shape[2] for page in pages} == {1, 3}:
        pages = [
            page._replace(image=np.ascontiguousarray(page.image[:, :, :1]))
            if (page.image == page.image[:, :, :1]).all()
            else page
            for page in pages
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
    samples: dict[str, Sample] = {}
    for page in pages:
        name = page.item.name.replace("/", "_")
        if name in samples:
            raise DataError(f"{page.source}: another image would be called {name} too; rename one of the two")
        samples[name] = Sample(name, page.image, page.label, page.instances)
    return list(samples.values())
