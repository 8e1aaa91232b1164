"""Pairs images with masks by the names of their files."""

import json
import logging
import os
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unet_exp.annotations import list_images
from unet_exp.errors import DataError
from unet_exp.folder.entries import annotate_many, match_entries
from unet_exp.folder.matching import Matches, Side, match_names
from unet_exp.folder.named_files import FileSpecs, NamedFiles, Spec
from unet_exp.folder.pairs import Pairs, read_stamps
from unet_exp.io.kinds import ANNOTATION_SUFFIXES, SUFFIXES
from unet_exp.io.listing import Files, natural_key, normalize_name
from unet_exp.io.texts import Places, TextIndex, Texts
from unet_exp.samples.classes import list_few

_log = logging.getLogger(__name__)

_SHOWN = 3
_VERSION = 2
"""Of the rules by which files are named, sorted and paired: what was found by others is not known."""


def find_pairs(
    specs: FileSpecs, mask_missing: Callable[[str], bool], known: Mapping[str, NDArray[Any]] | None = None
) -> Pairs:
    """Finds images, each with the masks and the field of view of the same name, in natural order.

    The name of a file is its path below the folder, or the text that the wildcards of the glob match. Where no name
    fits at all see `match_names`. Annotations of many images in one file are matched by the names in it.

    Args:
        specs: what is looked for.
        mask_missing: whether the image of this name may lack a mask.
        known: what an earlier call found (`Pairs.to_arrays`, perhaps in an open file, whose stamps are then not read):
            the same files are not named, sorted and paired again. The result is the same as without it.

    Raises:
        DataError: for nothing found, two files of one name, and images and masks without their counterpart.
    """
    facts = [len(specs.images), list(specs.masks), specs.mask_suffix, specs.view is not None]
    rules = json.dumps([_VERSION, SUFFIXES, ANNOTATION_SUFFIXES, unicodedata.unidata_version, *facts])
    before = _recall(known, rules)
    files = _list_files(specs, before)
    labels, listed = tuple(specs.masks), [one.listed for one in files]
    if before is not None and known is not None and _are_known(files, before, known):
        pairs = Pairs(before.names, before.places, listed, labels, before.entries, rules, before.told)
        orphans: list[tuple[NamedFiles, Places]] = []
    else:
        names, columns, entries, told, orphans = _pair(specs, files)
        places = np.column_stack(columns).astype(np.int32)
        pairs = Pairs(names, places, listed, labels, entries, rules, told)
    for line in pairs.told:
        _log.warning("%s", line)
    _check_complete(pairs, orphans, specs, mask_missing)
    return pairs


def find_views(views: Spec, images: Mapping[str, Path]) -> dict[str, Path]:
    """Finds the mask of the field of view of each image, by the image's name; others are left out.

    Raises:
        DataError: for nothing found, two files of one name, and an image without one.
    """
    seen = NamedFiles(views)
    if seen.is_single:  # one for all
        return dict.fromkeys(images, seen.path(0))
    paths = list(images.values())
    chosen = TextIndex(seen.names).find(Texts.of(images))
    _require_views(seen, Texts.of(images), chosen, lambda bare: list_few([str(paths[one]) for one in bare], _SHOWN))
    return {name: seen.path(number) for name, number in zip(images, chosen.tolist(), strict=True)}


def _recall(known: Mapping[str, NDArray[Any]] | None, rules: str) -> Pairs | None:
    """The pairs that are known, without their stamps; None where they were found by other rules."""
    before = None if known is None else Pairs.from_arrays(known, stamps=False)
    return before if before is not None and before.rules == rules else None


def _list_files(specs: FileSpecs, before: Pairs | None) -> list[NamedFiles]:
    """The files of each role, in the order of `Pairs.places`."""
    known = iter(() if before is None else before.listed)
    files = [NamedFiles(spec, next(known, None)) for spec in specs.images]
    found = files[0]
    for spec in specs.masks.values():
        old = next(known, None)
        if Path(spec.path) == Path(found.spec.path):
            files.append(found.as_masks(spec, old, bool(specs.mask_suffix)))
        else:
            files.append(NamedFiles(spec, old, "masks"))
    return files if specs.view is None else [*files, NamedFiles(specs.view, next(known, None))]


def _are_known(files: Sequence[NamedFiles], before: Pairs, known: Mapping[str, NDArray[Any]]) -> bool:
    """Whether all files are as they were paired; annotations must not have changed, as what they name pairs them."""
    for role, (one, old) in enumerate(zip(files, before.listed, strict=True)):
        if not one.is_listed(old):
            return False
        is_mask = before.images <= role < before.images + len(before.labels)
        if is_mask and one.has_annotations and not np.array_equal(one.files.stamps, read_stamps(known, role)):
            return False
    return True


class _Paired(NamedTuple):
    """Images in natural order, with their masks.

    Attributes:
        names: (N,).
        columns: of each role, the view among them, (N,) places of files in their listings, -1 for none.
        entries: see `Pairs`.
        told: likewise.
        orphans: masks without an image: of these files the numbers.
    """

    names: Texts
    columns: list[Places]
    entries: Texts | None
    told: list[str]
    orphans: list[tuple[NamedFiles, Places]]


def _pair(specs: FileSpecs, files: Sequence[NamedFiles]) -> _Paired:
    """Pairs images with their channels, masks and fields of view.

    Raises:
        DataError: for masks that are the images, names without the suffix, and channels or views that are missing.
    """
    found, count = files[0], len(specs.images)
    masked = files[count : count + len(specs.masks)]
    inside = [_are_same(found, one) for one in masked]  # then the suffix tells masks from images
    numbers = np.arange(len(found.names))
    if any(inside) and specs.mask_suffix:
        numbers = np.flatnonzero(~_ends_with(found.names, specs.mask_suffix))
    numbers = found.sort(numbers)
    images = Side(found, numbers, found.names.take(numbers))
    told, orphans = list[str](), list[tuple[NamedFiles, Places]]()
    columns = [found.places[numbers], *(_match_channels(images, other, told) for other in files[1:count])]
    _check_channels_differ(files[:count], columns)
    entries = None
    for one, is_inside in zip(masked, inside, strict=True):
        if len(masked) == 1 and annotate_many(one):
            chosen, entries, line = match_entries(images, one)
            told += [line] * bool(line)
        else:
            masks = _find_masks(one, is_inside, specs.mask_suffix)
            matches = match_names(images, masks, guess=not specs.mask_suffix)
            told += [matches.told] * bool(matches.told)
            chosen = _pick(masks.numbers, matches)
            orphans.append((one, np.setdiff1d(masks.numbers, chosen)))
        columns.append(_pick(one.places, Matches(chosen)))
    columns.append(_match_views(images, files[-1], told) if specs.view else np.full(len(numbers), -1, np.int64))
    return _Paired(images.names, columns, entries, told, orphans)


def _pick(values: Places, matches: Matches) -> Places:
    """The values of the matches; -1 where there is none."""
    return np.where(matches.places >= 0, values[matches.places], -1) if len(values) else matches.places


def _find_masks(masked: NamedFiles, is_inside: bool, suffix: str) -> Side:
    """The masks among files, by the names that their images have.

    Args:
        masked: the files.
        is_inside: whether images lie among them.
        suffix: what the names of masks have more at their end.

    Raises:
        DataError: for masks that are the images, and names without the suffix.
    """
    numbers = np.arange(len(masked.names))
    if is_inside:
        numbers = np.flatnonzero(_ends_with(masked.names, suffix)) if suffix else numbers[:0]
        if not len(numbers):
            raise DataError(
                f"{masked.spec}: these are the files of data.images; give the folder of the masks, or "
                "data.mask_suffix, which the names of masks have more at their end"
            )
    if not suffix:
        return Side(masked, numbers, masked.names)
    names = masked.names.take(numbers)
    other = numbers[~_ends_with(names, suffix)]
    if len(other):
        path = masked.path(masked.sort(other)[0])
        raise DataError(
            f"{path}: does not end in data.mask_suffix={suffix}; rename it, move it, or leave data.mask_suffix out and "
            f"type a glob, such as data.masks='{_write_glob(masked, np.setdiff1d(numbers, other), suffix)}'"
        )
    return Side(masked, numbers, Texts.of(name.removesuffix(suffix) for name in names))


def _write_glob(masked: NamedFiles, numbers: Places, suffix: str) -> str:
    """A glob of those files of a folder whose names end in a suffix."""
    paths = [masked.files.paths[int(place)] for place in masked.places[numbers]]
    endings = {os.path.splitext(path)[1] for path in paths} or {".png"}
    ending = endings.pop() if len(endings) == 1 else f".{{{','.join(sorted(one[1:] for one in endings))}}}"
    folder = masked.spec.typed.rstrip("/") if masked.files.source.pattern is None else masked.files.source.folder
    return f"{folder}/{'**/' * any('/' in path for path in paths)}*{suffix}{ending}"


def _match_channels(images: Side, other: NamedFiles, told: list[str]) -> Places:
    """The places of files that hold more channels of each image.

    Raises:
        DataError: for an image without one, and one without an image.
    """
    side = Side(other, np.arange(len(other.names)), other.names)
    matches = match_names(images, side)
    bare = np.flatnonzero(matches.places < 0)
    if len(bare):
        files = list_few([str(images.path(place)) for place in bare[:_SHOWN]], _SHOWN)
        raise DataError(
            f"{files}: {len(bare)} of {len(images.names)} images have no file in {other.spec}, where "
            f"{images.names[int(bare[0])]} is looked for; add it, or move the image away"
        )
    orphans = np.setdiff1d(side.numbers, matches.places)
    if len(orphans):
        files = _list_few(other.files, other.places[other.sort(orphans)])
        raise DataError(f"{files}: channels without an image in {images.files.spec}; add the image or move them away")
    told += [matches.told] * bool(matches.told)
    return other.places[matches.places]


def _check_channels_differ(files: Sequence[NamedFiles], columns: Sequence[Places]) -> None:
    """Checks that no image has the same file twice.

    Args:
        files: of channels.
        columns: (N,) the place of each image's file among each of these.

    Raises:
        DataError: for one that has.
    """
    paths = [map(one.files.path, column.tolist()) for one, column in zip(files, columns, strict=True)]
    for own in zip(*paths, strict=True):
        if len(set(own)) < len(own):
            raise DataError(
                f"{own[0]}: data.images names {max(own, key=own.count)} twice for one image; give each file once (its "
                "files are the channels of an image, one behind the other)"
            )


def _check_complete(
    pairs: Pairs,
    orphans: Sequence[tuple[NamedFiles, Places]],
    specs: FileSpecs,
    mask_missing: Callable[[str], bool],
) -> None:
    """Checks that each image has a mask if it may not lack one, and each mask an image; tells of classes without one.

    Args:
        pairs: the pairs.
        orphans: masks without an image.
        specs: of all files.
        mask_missing: whether the image of this name may lack a mask.

    Raises:
        DataError: if not.
    """
    there = pairs.mask_places >= 0
    lacking = np.flatnonzero(~there.any(axis=1)).tolist()
    bare = [place for place in lacking if not mask_missing(pairs.names[place])]
    if bare:
        near = _tell_near(pairs, bare[0], specs.mask_suffix)
        raise DataError(
            f"{_list_few(pairs.listed[0].files, pairs.places[bare, 0])}: no mask in {specs.name_masks()}, where "
            f"{pairs.names[bare[0]]}{specs.mask_suffix}.png or the like is looked for{near}; add it, set "
            "data.mask_suffix, or data.without_mask=unlabelled"
        )
    for masked, numbers in orphans:
        if len(numbers):
            files = _list_few(masked.files, masked.places[masked.sort(numbers)])
            raise DataError(
                f"{files}: a mask without an image in {specs.images[0]}; add the image or move it away, or, if this is "
                "an image, swap data.images and data.masks"
            )
    partly = there.any(axis=1) & ~there.all(axis=1)
    if partly.any():
        missing = (~there[partly]).sum(axis=0).tolist()
        classes = ", ".join(f"{label} in {count}" for label, count in zip(pairs.labels, missing, strict=True) if count)
        _log.warning(
            "data.masks: %d of %d images have no file of a class (%s), and so nothing of it",
            partly.sum(),
            len(pairs),
            classes,
        )


def _tell_near(pairs: Pairs, place: int, suffix: str) -> str:
    """Names a mask without an image: one whose name differs from that of this image's in case alone, or the first."""
    files, taken = pairs.listed[pairs.images].files, pairs.mask_places[:, 0]
    strip, wanted = files.source.strip_suffix, f"{pairs.names[place]}{suffix}".lower()
    if pairs.entries is None:
        free = np.setdiff1d(np.flatnonzero(files.read), taken)
        names, found = [name for name in files.names(free) if name.endswith(suffix)], "found"
    else:
        known = {*pairs.entries}
        masks = files.list_paths(np.flatnonzero(files.read))
        names, found = [name for path in masks for name in list_images(path) or () if name not in known], "listed"
    alike = [name for name in names if f"/{strip(normalize_name(name)).lower()}".endswith(f"/{wanted}")]
    if alike:
        return f" and {alike[0]} is {found}, whose case differs"
    return f" and such as {min(names, key=natural_key)} is {found}" if names else ""


def _are_same(found: NamedFiles, masked: NamedFiles) -> bool:
    """Whether these are the same files by the same names."""
    if len(found.names) != len(masked.names):
        return False
    # The first tells two folders of the same names.
    index = TextIndex(found.names)
    return all(
        number >= 0 and found.path(number) == masked.path(place)
        for names in (masked.names[:1], masked.names)
        for place, number in enumerate(index.find(names))
    )


def _ends_with(names: Texts, suffix: str) -> NDArray[np.bool_]:
    return np.fromiter((name.endswith(suffix) for name in names), bool, len(names))


def _match_views(images: Side, seen: NamedFiles, told: list[str]) -> Places:
    """The place of the mask of the field of view for each image.

    Raises:
        DataError: for an image without one.
    """
    if seen.is_single:  # one for all
        return np.full(len(images.names), seen.places[0])
    matches = match_names(images, Side(seen, np.arange(len(seen.names)), seen.names))
    _require_views(
        seen,
        images.names,
        matches.places,
        lambda bare: _list_few(images.files.files, images.files.places[images.numbers[bare]]),
    )
    told += [matches.told] * bool(matches.told)
    return seen.places[matches.places]


def _require_views(seen: NamedFiles, names: Texts, chosen: Places, list_files: Callable[[Places], str]) -> None:
    """Checks that each image has a mask of the field of view.

    Args:
        seen: these masks.
        names: of the images.
        chosen: (N,) the number of each one's, -1 for none.
        list_files: names some images in a message.

    Raises:
        DataError: for an image without one.
    """
    bare = np.flatnonzero(chosen < 0)
    if len(bare):
        such = seen.names[seen.sort(np.arange(len(seen.names)))[0]]
        raise DataError(
            f"{list_files(bare)}: no mask of the field of view in {seen.spec}, where the name "
            f"{names[bare[0]]} is looked for and such as {such} is found; its wildcards must match the image's name, "
            "as in 'masks/*_fov.png'"
        )


def _list_few(files: Files, places: Places | NDArray[np.int32]) -> str:
    return list_few(list(map(str, files.list_paths(places))), _SHOWN)
