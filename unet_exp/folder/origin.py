"""Where the images of a data set and their pixels come from, whatever that is: files, or a reader of the user's."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from unet_exp.errors import DataError
from unet_exp.folder.pages import PairPage
from unet_exp.io.texts import Texts
from unet_exp.samples.sample import Region

if TYPE_CHECKING:
    from unet_exp.folder.rules import Rules


class Pages(Protocol):
    """The pages of an item, each read when it is asked for; for one process and one thread."""

    def __len__(self) -> int: ...

    def __getitem__(self, page: int, /) -> PairPage: ...

    def __iter__(self) -> Iterator[PairPage]: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def close(self) -> None:
        """Closes what is open for them."""


class Item(Protocol):
    """An image, or several as pages of one file, with its mask if it has one."""

    @property
    def name(self) -> str:
        """Unique, with `/` between folders."""

    @property
    def image(self) -> Path | str:
        """What messages call the image, such as its file."""

    @property
    def mask(self) -> Path | str | None:
        """What messages call the mask; None where it is known that there is none."""

    @property
    def declares(self) -> bool:
        """Whether its mask is of a kind that may declare values as nodata."""

    def open(self, rules: "Rules") -> Pages:
        """Opens its pages, to be read by rules, each as `Rules.finish` makes it.

        Raises:
            DataError: for what cannot be read or does not fit; the pages may raise it too.
        """

    def measure(self, rules: "Rules", objects: bool) -> tuple[int, int]:
        """Bytes of all its decoded pages with their masks, and of the largest one; `objects`: these have instances."""


class Parts(Protocol):
    """Reads parts of pages; for one process and one thread."""

    def read(self, place: int, page: int, region: Region) -> PairPage | None:
        """Reads a part of a page of the item at a place, as `Item.open` does; None: it must be read whole.

        Raises:
            DataError: see `Item.open`.
        """


class Origin(Protocol):
    """All items of a data set, in columns."""

    names: Texts
    """(N,), of the items."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: int, /) -> Item: ...

    def open_parts(self, rules: "Rules") -> Parts:
        """What reads parts of their pages."""

    def require_unchanged(self, place: int) -> None:
        """Checks that the item at a place is what it was when the items were listed.

        Raises:
            DataError: if not.
        """

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """All that is known of them, to be stored: equal if nothing has changed."""

    def find_moved(self, before: Mapping[str, NDArray[Any]]) -> NDArray[np.int32]:
        """The place of each item of earlier `to_arrays` that has not changed; -1 for the others."""


def require_same_mask(item: Item, page: PairPage, masked: bool) -> None:
    """Checks that a page has a mask if it had one when it was looked at, and else has none.

    Raises:
        DataError: if not.
    """
    if (page.mask is not None) != masked:
        now, before = ("a mask", "none") if page.mask is not None else ("no mask", "one")
        raise DataError(f"{item.image}: has {now} and had {before} when the images were looked at; give it one or none")
