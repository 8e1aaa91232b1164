"""Pairs images with masks by the names of their files."""

import json
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self, overload

import numpy as np
from numpy.typing import NDArray

from unet_exp.errors import DataError
from unet_exp.folder.named_files import Listed, NamedFiles
from unet_exp.io.kinds import SUFFIXES
from unet_exp.io.listing import Files, Source
from unet_exp.io.texts import Places, TextIndex, Texts
from unet_exp.samples.classes import list_few

_SHOWN = 3
_ROLES = ("images", "masks", "field_of_view")
_VERSION = 1
"""Of the rules by which files are named, sorted and paired: what was found by others is not known."""


class Pair(NamedTuple):
    """An image with its mask and its field of view, if it has them.

    Attributes:
        name: the path that they share, without suffix.
        image: file.
        mask: file.
        view: file of a mask that is 0 outside the field of view.
    """

    name: str
    image: Path
    mask: Path | None
    view: Path | None = None


class Pairs(Sequence[Pair]):
    """Images with their masks, in natural order, in little memory: a pair is made when it is asked for.

    Attributes:
        names: (N,) their names.
        places: (N, 3) of image, mask and field of view in their listings, -1 for none.
        listed: the listings of each.
        rules: by which they were found; empty for a part of what was found.
    """

    def __init__(self, names: Texts, places: NDArray[np.int32], listed: Sequence[Listed], rules: str = "") -> None:
        self.names, self.places, self.listed, self.rules = names, places, tuple(listed), rules

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Pair: ...

    @overload
    def __getitem__(self, index: slice) -> "Pairs": ...

    def __getitem__(self, index: int | slice) -> "Pair | Pairs":
        chosen = range(len(self))[index]
        if isinstance(chosen, range):
            return self.take(chosen)
        image, *others = self.places[chosen].tolist()
        mask, view = (
            None if place < 0 else self.listed[role].files.path(place) for role, place in enumerate(others, start=1)
        )
        return Pair(self.names[chosen], self.listed[0].files.path(image), mask, view)

    def take(self, places: Sequence[int] | Places) -> "Pairs":
        """Those at some places, in their order."""
        chosen = np.asarray(places, np.int64)
        return Pairs(self.names.take(chosen), self.places[chosen], self.listed)

    @property
    def stamps(self) -> NDArray[np.int64]:
        """(N, 3, 4) of image, mask and field of view as they were listed, see `Files`; 0 for none. Made each time."""
        stamps = np.zeros((len(self), len(_ROLES), 4), np.int64)
        for role, (files, _) in enumerate(self.listed):
            there = np.flatnonzero(self.places[:, role] >= 0)
            stamps[there, role] = files.stamps[self.places[there, role]]
        return stamps

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """All of it, to be stored: for `from_arrays`, and as what `find_pairs` knows."""
        # One folder may serve for images and masks, and is stored once.
        first = [next(place for place, one in enumerate(self.listed) if one is listed) for listed in self.listed]
        facts = {"rules": self.rules, "sources": [listed.files.source for listed in self.listed], "first": first}
        arrays: dict[str, NDArray[Any]] = {
            "facts": np.frombuffer(json.dumps(facts).encode(), np.uint8),
            "names": self.names.packed,
            "places": self.places,
        }
        for role in set(first):
            files, unread = self.listed[role]
            arrays |= {
                f"{_ROLES[role]}.paths": files.paths.packed,
                f"{_ROLES[role]}.stamps": files.stamps,
                f"{_ROLES[role]}.unread": unread,
            }
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], stamps: bool = True) -> Self:
        """The pairs that `to_arrays` gave; perhaps without their stamps, which are then not looked up in `arrays`."""
        facts = json.loads(arrays["facts"].tobytes())
        listed: list[Listed] = []
        for role, (source, first) in enumerate(zip(facts["sources"], facts["first"], strict=True)):
            if first < role:
                listed.append(listed[first])
                continue
            paths, unread = (arrays[f"{_ROLES[role]}.{what}"] for what in ("paths", "unread"))
            seen = arrays[f"{_ROLES[role]}.stamps"] if stamps else np.zeros((0, 4), np.int64)
            listed.append(Listed(Files(Source(*source), Texts(paths), seen), unread))
        return cls(Texts(arrays["names"]), arrays["places"], listed, facts["rules"])


def find_pairs(
    images: str,
    masks: str,
    mask_suffix: str,
    mask_missing: Callable[[str], bool],
    views: str | None = None,
    known: Mapping[str, NDArray[Any]] | None = None,
) -> Pairs:
    """Finds images, each with the mask and the field of view of the same name, in natural order.

    The name of a file is its path below the folder, or the text that the wildcards of the glob match; two single files
    are a pair whatever their names.

    Args:
        images: a folder (with its subfolders), a glob or a file.
        masks: likewise.
        mask_suffix: what the names of masks have more at their end; images and masks may then lie in one folder.
        mask_missing: whether the image of this name may lack a mask.
        views: masks of the field of view, given as `images`, or one file for all images; None: there are none.
        known: what an earlier call found (`Pairs.to_arrays`, perhaps in an open file, whose stamps are then not read):
            the same files are not named, sorted and paired again. The result is the same as without it.

    Raises:
        DataError: for nothing found, two files of one name, and images and masks without their counterpart.
    """
    rules = json.dumps([_VERSION, SUFFIXES, unicodedata.unidata_version, mask_suffix])
    before = _recall(known, rules)
    image_list, mask_list, view_list = [*before.listed, None, None, None][: len(_ROLES)]
    found = NamedFiles(images, "data.images", image_list)
    if Path(images) == Path(masks):
        masked = found
        masked.tell_unread(masks, "data.masks")
    else:
        masked = NamedFiles(masks, "data.masks", mask_list)
    is_known = found.is_listed(image_list) and masked.is_listed(mask_list)
    if is_known:
        paired = _Paired(before.names, before.places, np.empty(0, np.int64))
    else:
        paired = _pair(found, masked, masks, mask_suffix)
    _check_complete(paired, found, masked, (images, masks, mask_suffix), mask_missing)
    (names, places, _), listed = paired, [found.listed, masked.listed]
    if views is not None:
        seen = NamedFiles(views, "data.field_of_view", view_list)
        listed.append(seen.listed)
        if not is_known or not seen.is_listed(view_list):
            chosen = _match_views(views, seen, names, lambda bare: _list_few(found.files, places[bare, 0]))
            places = np.column_stack([places[:, :2], seen.places[chosen].astype(np.int32)])
    elif view_list is not None:
        places = np.column_stack([places[:, :2], np.full(len(places), -1, np.int32)])
    return Pairs(names, places, listed, rules)


def _recall(known: Mapping[str, NDArray[Any]] | None, rules: str) -> Pairs:
    """The pairs that are known, without their stamps; none where they were found by other rules."""
    before = None if known is None else Pairs.from_arrays(known, stamps=False)
    if before is None or before.rules != rules:
        return Pairs(Texts.of(()), np.empty((0, len(_ROLES)), np.int32), ())
    return before


def find_views(views: str, images: Mapping[str, Path]) -> dict[str, Path]:
    """Finds the mask of the field of view of each image, by the image's name; others are left out.

    Raises:
        DataError: for nothing found, two files of one name, and an image without one.
    """
    seen = NamedFiles(views, "data.field_of_view")
    paths = list(images.values())
    chosen = _match_views(
        views, seen, Texts.of(images), lambda bare: list_few([str(paths[place]) for place in bare], _SHOWN)
    )
    return {name: seen.path(number) for name, number in zip(images, chosen.tolist(), strict=True)}


class _Paired(NamedTuple):
    """Images in natural order, with their masks.

    Attributes:
        names: (N,).
        places: (N, 3) of their files, -1 for none.
        orphans: the numbers of masks without an image.
    """

    names: Texts
    places: NDArray[np.int32]
    orphans: Places


def _pair(found: NamedFiles, masked: NamedFiles, masks: str, suffix: str) -> _Paired:
    """Pairs images with masks.

    Args:
        found: what `data.images` names.
        masked: what `data.masks` names.
        masks: `data.masks`, for messages.
        suffix: what the names of masks have more at their end.

    Raises:
        DataError: for masks that are the images, and names without the suffix.
    """
    numbers, masked_numbers = np.arange(len(found.names)), np.arange(len(masked.names))
    if _are_same(found, masked):  # The suffix tells masks from images.
        numbers = np.flatnonzero(~_ends_with(found.names, suffix)) if suffix else numbers
        masked_numbers = np.flatnonzero(_ends_with(masked.names, suffix)) if suffix else masked_numbers[:0]
        if not len(masked_numbers):
            raise DataError(
                f"data.masks={masks}: these are the files of data.images; give the folder of the masks, or "
                "data.mask_suffix, which the names of masks have more at their end"
            )
    stripped = masked.names
    if suffix:
        stripped = stripped.take(masked_numbers)
        other = masked_numbers[~_ends_with(stripped, suffix)]
        if len(other):
            path = masked.path(masked.sort(other)[0])
            raise DataError(f"{path}: does not end in data.mask_suffix={suffix}; rename it, move it or fix the key")
        stripped = Texts.of(name.removesuffix(suffix) for name in stripped)
    numbers = found.sort(numbers)
    names = found.names.take(numbers)
    if found.is_single and masked.is_single and len(numbers):
        matches = np.zeros(1, np.int64)
    else:
        matches = TextIndex(stripped).find(names)
    there = matches >= 0
    places = np.full((len(names), len(_ROLES)), -1, np.int32)
    places[:, 0] = found.places[numbers]
    places[there, 1] = masked.places[masked_numbers[matches[there]]]
    return _Paired(names, places, np.delete(masked_numbers, matches[there]))


def _check_complete(
    paired: _Paired,
    found: NamedFiles,
    masked: NamedFiles,
    words: tuple[str, str, str],
    mask_missing: Callable[[str], bool],
) -> None:
    """Checks that each image has a mask if it may not lack one, and each mask an image.

    Args:
        paired: the pairs.
        found: the images.
        masked: the masks.
        words: `data.images`, `data.masks` and `data.mask_suffix`, for messages.
        mask_missing: whether the image of this name may lack a mask.

    Raises:
        DataError: if not.
    """
    names, places, orphans = paired
    images, masks, mask_suffix = words
    bare = [place for place in np.flatnonzero(places[:, 1] < 0).tolist() if not mask_missing(names[place])]
    if bare:
        raise DataError(
            f"{_list_few(found.files, places[bare, 0])}: no mask in data.masks={masks}, where {names[bare[0]]}"
            f"{mask_suffix}.png or the like is looked for; add it, set data.mask_suffix, or "
            "data.without_mask=unlabelled"
        )
    if len(orphans):
        files = _list_few(masked.files, masked.places[masked.sort(orphans)])
        raise DataError(f"{files}: a mask without an image in data.images={images}; add the image or move it away")


def _are_same(found: NamedFiles, masked: NamedFiles) -> bool:
    """Whether these are the same files by the same names."""
    if found is masked:
        return True
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


def _match_views(views: str, seen: NamedFiles, names: Texts, list_files: Callable[[Places], str]) -> Places:
    """The number of the mask of the field of view for each image.

    Args:
        views: `data.field_of_view`, for messages.
        seen: what it names.
        names: of the images.
        list_files: names some of these in a message.

    Raises:
        DataError: for an image without one.
    """
    if seen.is_single:  # one for all
        return np.zeros(len(names), np.int64)
    chosen = TextIndex(seen.names).find(names)
    bare = np.flatnonzero(chosen < 0)
    if len(bare):
        such = seen.names[seen.sort(np.arange(len(seen.names)))[0]]
        raise DataError(
            f"{list_files(bare)}: no mask of the field of view in data.field_of_view={views}, where the name "
            f"{names[bare[0]]} is looked for and such as {such} is found; its wildcards must match the image's name, "
            "as in 'masks/*_fov.png'"
        )
    return chosen


def _list_few(files: Files, places: Places | NDArray[np.int32]) -> str:
    return list_few(list(map(str, files.list_paths(places))), _SHOWN)
