"""Images with their masks and fields of view, in columns: a pair is made when it is asked for."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, overload

import numpy as np
from numpy.typing import NDArray

from unet_exp.errors import DataError
from unet_exp.folder.drawing import Drawing, is_drawn
from unet_exp.folder.named_files import Listed
from unet_exp.folder.pages import PairPages
from unet_exp.folder.parts import FileParts
from unet_exp.io.images import stored_pages
from unet_exp.io.kinds import JPEG_SUFFIXES
from unet_exp.io.listing import Files
from unet_exp.io.scene import Reading, Scene
from unet_exp.io.specs import Source
from unet_exp.io.stamps import GONE, stamp_item
from unet_exp.io.texts import Places, Texts

if TYPE_CHECKING:
    from unet_exp.folder.rules import Rules

_DECLARE_NOTHING = (".png", *JPEG_SUFFIXES, ".npy")


class Pair(NamedTuple):
    """An image with its masks and its field of view, if it has them.

    Attributes:
        name: the path that they share, without suffix.
        images: the files of its channels, one or more.
        masks: by the label of their class, None for a class without a file; the label is `""` where one file holds all.
        view: file of a mask that is 0 outside the field of view.
        entry: what annotations of many images call this one; empty where the mask is its own.
    """

    name: str
    images: tuple[Path, ...]
    masks: tuple[tuple[str, Path | None], ...] = ()
    view: Path | None = None
    entry: str = ""

    @property
    def image(self) -> Path:
        """The file of the image, or of its first channels."""
        return self.images[0]

    @property
    def mask(self) -> Path | None:
        """The file of the mask, or the first of them; None without a mask."""
        return next((path for _, path in self.masks if path is not None), None)

    @property
    def files(self) -> list[Path | None]:
        """All files, in the order of their roles: images, masks, field of view."""
        return [*self.images, *(path for _, path in self.masks), self.view]

    @property
    def declares(self) -> bool:
        """See `unet_exp.folder.origin.Item`."""
        return self.mask is not None and (is_drawn(self) or self.mask.suffix.lower() not in _DECLARE_NOTHING)

    def open(self, rules: "Rules") -> PairPages:
        """See `unet_exp.folder.origin.Item`."""
        finish = partial(rules.finish, path=str(self.mask))
        return PairPages(self, rules.of_images, rules.of_masks, rules.drawing, finish)

    def measure(self, rules: "Rules", objects: bool) -> tuple[int, int]:
        """See `unet_exp.folder.origin.Item`; by the headers of the files."""
        stored = [stored_pages(path, rules.of_images) for path in self.images]
        whole, largest = (
            sum(size * one.itemsize for size, one in zip(sizes, stored, strict=True))
            for sizes in ([one.values for one in stored], [one.largest for one in stored])
        )
        if self.mask is not None:  # one that is drawn has at most as many values as its image
            mask = stored[0] if is_drawn(self) else stored_pages(self.mask, rules.of_masks)
            whole, largest = (
                size + count * (1 + 4 * objects) for size, count in ((whole, mask.values), (largest, mask.largest))
            )
        return whole, largest


class Pairs(Sequence[Pair]):
    """Images with their masks, in natural order, in little memory.

    Attributes:
        names: (N,) their names.
        places: (N, R) of the files of each role in their listings, -1 for none; roles are the images, the masks and, as
            the last, the field of view.
        listed: the listings of each role, but of the last if there is none.
        labels: of the masks.
        entries: (N,), see `Pair`; None: they are all empty.
        rules: by which they were found; empty for a part of what was found.
        told: what was told of how they were found.
    """

    def __init__(
        self,
        names: Texts,
        places: NDArray[np.int32],
        listed: Sequence[Listed],
        labels: Sequence[str] = ("",),
        entries: Texts | None = None,
        rules: str = "",
        told: Sequence[str] = (),
    ) -> None:
        self.names, self.places, self.listed = names, places, tuple(listed)
        self.labels, self.entries, self.rules, self.told = tuple(labels), entries, rules, tuple(told)
        self._last: tuple[int, Pair] | None = None

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
        last = self._last  # a part of an image asks for its pair several times
        if last is None or last[0] != chosen:
            self._last = last = chosen, self._make_pair(chosen)
        return last[1]

    def _make_pair(self, chosen: int) -> Pair:
        images = self.images
        paths = [
            None if place < 0 else self.listed[role].files.path(place)
            for role, place in enumerate(self.places[chosen].tolist())
        ]
        masks = tuple(zip(self.labels, paths[images:-1], strict=True))
        entry = "" if self.entries is None else self.entries[chosen]
        return Pair(self.names[chosen], tuple(path for path in paths[:images] if path), masks, paths[-1], entry)

    def take(self, places: Sequence[int] | Places) -> "Pairs":
        """Those at some places, in their order."""
        chosen = np.asarray(places, np.int64)
        entries = None if self.entries is None else self.entries.take(chosen)
        return Pairs(self.names.take(chosen), self.places[chosen], self.listed, self.labels, entries)

    @property
    def images(self) -> int:
        """How many files each image has."""
        return int(self.places.shape[1]) - len(self.labels) - 1

    @property
    def mask_places(self) -> NDArray[np.int32]:
        """(N, M) the columns of masks."""
        return self.places[:, self.images : -1]

    @property
    def stamps(self) -> NDArray[np.int64]:
        """(N, R, 4) of the files of each role as they were listed, see `Files`; 0 for none. Made each time."""
        stamps = np.zeros((*self.places.shape, 4), np.int64)
        for role, (files, _) in enumerate(self.listed):
            there = np.flatnonzero(self.places[:, role] >= 0)
            stamps[there, role] = files.stamps[self.places[there, role]]
        return stamps

    def open_parts(self, rules: "Rules") -> FileParts:
        """See `unet_exp.folder.origin.Origin`."""
        return FileParts(self, rules)

    def require_unchanged(self, place: int) -> None:
        """See `unet_exp.folder.origin.Origin`; by sizes and times of the files as they were listed.

        Raises:
            DataError: for one that is gone, or has another size or another time of its last change.
        """
        for path, old in zip(self[place].files, self.take([place]).stamps[0].tolist(), strict=True):
            new = GONE if path is None else stamp_item(path)
            if (new[0], new[2]) != (old[0], old[2]):  # not its other times: a link to it changes them
                what = "has changed" if any(new) else "is gone"
                raise DataError(
                    f"{path}: {what} since the images were looked at; bring it back as it was and resume, or start anew"
                )

    def find_moved(self, before: Mapping[str, NDArray[Any]]) -> NDArray[np.int32]:
        """See `unet_exp.folder.origin.Origin`."""
        places = {key: place for place, key in enumerate(self._make_keys())}
        return np.array([places.get(key, -1) for key in self.from_arrays(before)._make_keys()], np.int32)

    def _make_keys(self) -> list[bytes]:
        """For each what tells it from others, and from itself before a change: paths, sizes, inodes and times."""
        return [
            hashlib.sha256(json.dumps([pair.entry, *map(str, pair.files)]).encode() + stamp.tobytes()).digest()
            for pair, stamp in zip(self, self.stamps, strict=True)
        ]

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """All of it, to be stored: for `from_arrays`, and as what `find_pairs` knows."""
        # One folder may serve for images and masks, and is stored once.
        first = [
            next(place for place, one in enumerate(self.listed) if one.files.paths is listed.files.paths)
            for listed in self.listed
        ]
        facts = {
            "rules": self.rules,
            "told": self.told,
            "labels": self.labels,
            "sources": [listed.files.source for listed in self.listed],
            "first": first,
        }
        arrays: dict[str, NDArray[Any]] = {
            "facts": np.frombuffer(json.dumps(facts).encode(), np.uint8),
            "names": self.names.packed,
            "places": self.places,
        }
        if self.entries is not None:
            arrays["entries"] = self.entries.packed
        for role in set(first):
            files, unread = self.listed[role]
            arrays |= {
                _name(role, "paths"): files.paths.packed,
                _name(role, "stamps"): files.stamps,
                _name(role, "unread"): unread,
            }
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], stamps: bool = True) -> Self:
        """The pairs that `to_arrays` gave; perhaps without their stamps, which are then not looked up in `arrays`."""
        facts = json.loads(arrays["facts"].tobytes())
        listed: list[Listed] = []
        for role, (words, first) in enumerate(zip(facts["sources"], facts["first"], strict=True)):
            source = Source(*words)
            if first < role:
                files, unread = listed[first]
                listed.append(Listed(Files(source, files.paths, files.stamps), unread))
                continue
            paths, unread = (arrays[_name(role, what)] for what in ("paths", "unread"))
            seen = read_stamps(arrays, role) if stamps else np.zeros((0, 4), np.int64)
            listed.append(Listed(Files(source, Texts(paths), seen), unread))
        entries = Texts(arrays["entries"]) if "entries" in arrays else None
        return cls(
            Texts(arrays["names"]), arrays["places"], listed, facts["labels"], entries, facts["rules"], facts["told"]
        )


def describe_channels(pairs: object) -> str | None:
    """A line about images whose channels come from several files; None where each has one."""
    if not isinstance(pairs, Pairs) or pairs.images == 1 or not len(pairs):
        return None
    return (
        f"data.images: the channels of each image come from {pairs.images} files, such as "
        f"{' and '.join(map(str, pairs[0].images))}"
    )


def read_within(images: Sequence[Path], reading: Reading, view: Path | None) -> list[Scene]:
    """Reads all images of a file; what lies outside their field of view is not valid.

    Args:
        images: the file, or several that hold the channels.
        reading: what is wanted of their pixels.
        view: file of the field of view, 0 outside, with one page for all images or one each; None: there is none.

    Raises:
        DataError: for files that cannot be read or do not fit each other.
    """
    pair = Pair(images[0].stem, tuple(images), view=view)
    with PairPages(pair, reading, Reading(label=True), Drawing(None)) as pages:
        return [page.scene for page in pages]


def read_stamps(arrays: Mapping[str, NDArray[Any]], role: int) -> NDArray[np.int64]:
    """The stamps of a role in what `Pairs.to_arrays` gave."""
    first = json.loads(arrays["facts"].tobytes())["first"][role]
    return arrays[_name(first, "stamps")]


def _name(role: int, what: str) -> str:
    return f"files{role}.{what}"
