"""The images of a reader of the user's own, as the items of a data set."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from unet_exp.config.user_data import CustomDataConfig
from unet_exp.errors import DataError
from unet_exp.folder.groups import SplitItem
from unet_exp.folder.pages import PairPage
from unet_exp.folder.reader import OwnReader
from unet_exp.io.scene import Reading, make_scene, stretch_booleans, to_standard_type
from unet_exp.io.texts import Texts
from unet_exp.io.valid import find_valid
from unet_exp.samples.sample import Region

if TYPE_CHECKING:
    from unet_exp.folder.rules import Rules


@dataclass(frozen=True)
class ReaderItem:
    """An image of a reader; see `unet_exp.folder.origin.Item`.

    Attributes:
        reader: that reads it.
        index: which one it is.
        name: unique.
    """

    reader: OwnReader
    index: int
    name: str

    @property
    def image(self) -> str:
        """What messages call the image."""
        return f"{self.reader.where}: image {self.index} ({self.name})"

    @property
    def mask(self) -> str:
        """What messages call its mask, if it has one."""
        return f"{self.reader.where}: mask of image {self.index} ({self.name})"

    @property
    def declares(self) -> bool:
        """No mask declares a value as nodata."""
        return False

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels, in pixels."""
        return self.reader.shape(self.index, self.name)

    def open(self, rules: "Rules") -> "ReaderPages":
        """See `unet_exp.folder.origin.Item`."""
        return ReaderPages(self, rules)

    def measure(self, rules: "Rules", objects: bool) -> tuple[int, int]:  # noqa: ARG002 - of files
        """See `unet_exp.folder.origin.Item`."""
        try:
            height, width, channels = self.shape
        except DataError:  # told when it is read
            return 0, 0
        size = height * width * (self.reader.itemsize * channels + 1 + 4 * objects)
        return size, size

    def read(self, rules: "Rules", region: Region | None) -> PairPage:
        """Reads it, or a part of it.

        Raises:
            DataError: for what is not what it should be.
        """
        height, width, channels = self.shape
        pixels, mask = self.reader.read(self.index, self.name, region or Region(0, 0, height, width), channels)
        scene = make_scene(self.image, pixels, find_valid(pixels, rules.nodata), Reading())
        if mask is not None:
            mask = to_standard_type(self.mask, stretch_booleans(mask), label=True)
        page = PairPage(SplitItem(self.name, self.name), scene, mask, None if mask is None else scene.valid)
        return rules.finish(page, self.mask)


class ReaderPages:
    """The only page of an image; see `unet_exp.folder.origin.Pages`."""

    def __init__(self, item: ReaderItem, rules: "Rules") -> None:
        self._item, self._rules = item, rules

    def __len__(self) -> int:
        return 1

    def __getitem__(self, page: int) -> PairPage:
        return self._item.read(self._rules, None)

    def __iter__(self) -> Iterator[PairPage]:
        yield self[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def close(self) -> None:
        """Nothing is open."""


class ReaderItems:
    """The images of a reader, in its order; see `unet_exp.folder.origin.Origin`.

    Args:
        reader: that reads them.
        names: (N,) of the images.
    """

    def __init__(self, reader: OwnReader, names: Texts) -> None:
        self.names, self._reader = names, reader
        self._versions = Texts.of(reader.version(index, name) for index, name in enumerate(names))
        self._code, self._versioned = reader.code, reader.has_versions

    @classmethod
    def find(cls, config: CustomDataConfig, known: Mapping[str, NDArray[Any]] | None) -> Self:
        """Asks a reader for its images, and reads the first one where they are not those that are known.

        Raises:
            ConfigError: for a class that cannot be imported or does not fit.
            DataError: for whatever it raises, and what is not what it should be.
        """
        reader = OwnReader(config)
        found = cls(reader, Texts.of(reader.list_names()))
        now = found.to_arrays()
        if known is None or any(not np.array_equal(now[key], known[key]) for key in now):
            reader.try_part(found.names[0])
        return found

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, place: int) -> ReaderItem:
        return ReaderItem(self._reader, place, self.names[place])

    def open_parts(self, rules: "Rules") -> "ReaderParts":
        """See `unet_exp.folder.origin.Origin`."""
        return ReaderParts(self, rules)

    def require_unchanged(self, place: int) -> None:
        """See `unet_exp.folder.origin.Origin`."""
        if self._reader.version(place, self.names[place]) != self._versions[place]:
            raise DataError(
                f"{self[place].image}: has changed since the images were looked at; bring it back as it was and "
                "resume, or start anew"
            )

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """See `unet_exp.folder.origin.Origin`."""
        facts = json.dumps({"code": self._code, "versioned": self._versioned}).encode()
        return {
            "facts": np.frombuffer(facts, np.uint8),
            "names": self.names.packed,
            "versions": self._versions.packed,
        }

    def find_moved(self, before: Mapping[str, NDArray[Any]]) -> NDArray[np.int32]:
        """See `unet_exp.folder.origin.Origin`."""
        places = {key: place for place, key in enumerate(_list_keys(self.to_arrays()))}
        return np.array([places.get(key, -1) for key in _list_keys(before)], np.int32)


class ReaderParts:
    """Reads parts of images; see `unet_exp.folder.origin.Parts`."""

    def __init__(self, items: ReaderItems, rules: "Rules") -> None:
        self._items, self._rules = items, rules

    def read(self, place: int, page: int, region: Region) -> PairPage:  # noqa: ARG002 - there is one
        """See `unet_exp.folder.origin.Parts`."""
        return self._items[place].read(self._rules, region)


def _list_keys(arrays: Mapping[str, NDArray[Any]]) -> list[tuple[str, ...]]:
    """For each image what tells it from others, and from itself before a change."""
    facts = json.loads(arrays["facts"].tobytes())
    rest = (facts["versioned"], "" if facts["versioned"] else facts["code"])
    return [(*key, *rest) for key in zip(Texts(arrays["names"]), Texts(arrays["versions"]), strict=True)]
