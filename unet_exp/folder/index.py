"""The index: what is known of each page of a data set, in columns, so that a million pages take little memory."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from unet_exp.folder.groups import SplitItem
from unet_exp.folder.origin import Item
from unet_exp.folder.pages import ImageKind, name_page
from unet_exp.folder.stats import ImageStats, MaskStats
from unet_exp.io.pixel_size import UNITS, PixelSize
from unet_exp.samples.classes import Value
from unet_exp.samples.facts import DIGEST
from unet_exp.samples.moments import Moments

ROW = np.dtype(
    [
        ("place", np.int32),  # of its pair
        ("page", np.int32),
        ("height", np.int32),
        ("width", np.int32),
        ("channels", np.uint8),
        ("used", np.uint8),
        ("opaque", np.bool_),
        ("colors", np.bool_),
        ("dtype", np.uint8),  # place in `DTYPES`
        ("low", np.float32),
        ("high", np.float32),
        ("pixels", np.int32),  # valid ones
        ("turned", np.bool_),
        ("fill", np.float32),  # nan for none
        ("digest", np.uint8, DIGEST),
        ("content", np.uint8, DIGEST),
        ("masked", np.bool_),
        ("values", np.int32),  # number of its mask's values that are kept
        ("rest", np.int32),
        ("distinct", np.int32),
        ("lit", np.int32),
        ("is_image", np.bool_),
        ("declares", np.bool_),
        ("changed", np.int32),
        ("pixel_height", np.float64),  # 0 where its file does not declare it
        ("pixel_width", np.float64),
        ("unit", np.uint8),  # place in `UNITS`
    ]
)
"""A page; the fields are those of `ImageStats`, `ImageKind` and `MaskStats`. A page has at most 2^28 pixels."""
DTYPES = tuple(map(np.dtype, (np.uint8, np.uint16, np.float32)))
"""Of images; their values are exact in float32."""
Row = Any
"""One of them."""


@dataclass(frozen=True, eq=False)
class Index:
    """What is known of N pages.

    Attributes:
        rows: (N,) of `ROW`.
        moments: (sum of `used`, 2) float64, mean and standard deviation of each used channel of each page.
        values: (sum of `values`,) int64, the values of each mask; a colour as 24 bits.
        colored: likewise, whether a value is a colour.
        numbers: (sum of `values`,) int32, its pixels.
        objects: (N, 3) int32, pixels of background, objects and ignored ones, -1 for none; (0, 3) where masks hold
            classes.
    """

    rows: NDArray[Any]
    moments: NDArray[np.float64]
    values: NDArray[np.int64]
    colored: NDArray[np.bool_]
    numbers: NDArray[np.int32]
    objects: NDArray[np.int32]

    @classmethod
    def of(cls, stats: Sequence[tuple[int, ImageStats]]) -> Self:
        """Puts the statistics of pages in columns, each with the place of its pair."""
        rows = np.zeros(len(stats), ROW)
        counts: list[tuple[Value, int]] = []
        for row, (place, one) in zip(rows, stats, strict=True):
            mask = one.mask
            row["place"], row["page"], row["height"], row["width"] = place, one.page, one.height, one.width
            row["channels"], row["opaque"], row["colors"] = one.kind
            row["used"], row["dtype"] = one.used, DTYPES.index(np.dtype(one.dtype))
            row["low"], row["high"] = one.low, one.high
            row["pixels"], row["turned"] = one.moments.pixels, one.turned
            row["fill"] = np.nan if one.fill is None else one.fill
            if one.pixel_size is not None:
                row["pixel_height"], row["pixel_width"], unit = one.pixel_size
                row["unit"] = UNITS.index(unit)
            row["digest"] = np.frombuffer(one.digest, np.uint8)
            row["content"] = np.frombuffer(one.content, np.uint8)
            if mask is not None:
                row["masked"], row["values"] = True, len(mask.counts)
                row["rest"], row["distinct"], row["lit"] = mask.rest, mask.distinct, mask.lit
                row["is_image"], row["declares"], row["changed"] = mask.is_image, mask.declares, mask.changed
                counts += mask.counts.items()
        moments = [np.stack([one.moments.mean, one.moments.std], axis=1) for _, one in stats]
        return cls(
            rows,
            np.concatenate([*moments, np.zeros((0, 2))]),
            np.array([_pack(value) for value, _ in counts], np.int64),
            np.array([not isinstance(value, int) for value, _ in counts], np.bool_),
            np.array([number for _, number in counts], np.int32),
            _stack_objects([one.mask for _, one in stats]),
        )

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, places: NDArray[np.intp]) -> "Index":
        """Some pages, in this order."""
        channels = _gather(self.rows["used"], places)
        values = _gather(self.rows["values"], places)
        ragged = (self.values[values], self.colored[values], self.numbers[values])
        objects = self.objects[places] if len(self.objects) else self.objects
        return Index(self.rows[places], self.moments[channels], *ragged, objects)

    @classmethod
    def join(cls, parts: "Sequence[Index]") -> "Index":
        """The pages of all of them, at least one, in the order of their pairs."""
        objects = any(len(part.objects) for part in parts)
        filled = [replace(part, objects=part._fill_objects()) for part in parts] if objects else parts
        return Index(*(np.concatenate([getattr(part, of.name) for part in filled]) for of in fields(cls))).sort()

    def _fill_objects(self) -> NDArray[np.int32]:
        return self.objects if len(self.objects) else np.full((len(self), 3), -1, np.int32)

    def sort(self) -> "Index":
        """The pages in the order of their pairs."""
        return self.take(np.lexsort((self.rows["page"], self.rows["place"])))

    def leave_files(self, places: NDArray[np.intp]) -> "Index":
        """The pages of all pairs but some."""
        return self.take(np.flatnonzero(~np.isin(self.rows["place"], places)))

    @property
    def declares(self) -> bool:
        """Whether a mask is of a kind that may declare values as nodata."""
        return bool(self.rows["declares"].any())

    def has_objects(self, number: int) -> bool:
        """Whether the pixels of objects of a page are known."""
        return len(self.objects) > 0 and self.objects[number, 0] >= 0

    @cached_property
    def page_counts(self) -> NDArray[np.int64]:
        """(N,), how many pages the file of each page has."""
        counts: NDArray[np.int64] = np.bincount(self.rows["place"])[self.rows["place"]]
        return counts

    @cached_property
    def _starts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(N,) each, where the moments and the values of each page start."""
        return _starts(self.rows["used"]), _starts(self.rows["values"])

    def name(self, number: int, pair: Item) -> SplitItem:
        """The name of a page, whose files are given."""
        return name_page(pair.name, int(self.rows["page"][number]), int(self.page_counts[number]))

    def stats(self, number: int, pair: Item) -> ImageStats:
        """The statistics of a page, whose files are given."""
        row = self.rows[number]
        start = self._starts[0][number]
        mean, std = self.moments[start : start + row["used"]].T
        return ImageStats(
            item=self.name(number, pair),
            files=pair,
            page=int(row["page"]),
            height=int(row["height"]),
            width=int(row["width"]),
            kind=ImageKind(int(row["channels"]), bool(row["opaque"]), bool(row["colors"])),
            used=int(row["used"]),
            dtype=str(DTYPES[row["dtype"]]),
            low=float(row["low"]),
            high=float(row["high"]),
            moments=Moments(int(row["pixels"]), mean, std),
            digest=row["digest"].tobytes(),
            content=row["content"].tobytes(),
            mask=self._mask_stats(number, str(pair.mask)) if row["masked"] else None,
            turned=bool(row["turned"]),
            fill=None if np.isnan(row["fill"]) else float(row["fill"]),
            pixel_size=_read_size(row),
        )

    def list_pixel_sizes(self) -> list[PixelSize | None]:
        """The sizes of pixels that files declare, each once; None among them where some do not."""
        return [_read_size(row) for row in np.unique(self.rows[["pixel_height", "pixel_width", "unit"]])]

    def _mask_stats(self, number: int, path: str) -> MaskStats:
        row, start = self.rows[number], self._starts[1][number]
        kept = slice(start, start + row["values"])
        values = map(unpack, self.values[kept].tolist(), self.colored[kept].tolist())
        return MaskStats(
            counts=dict(zip(values, self.numbers[kept].tolist(), strict=True)),
            rest=int(row["rest"]),
            distinct=int(row["distinct"]),
            lit=int(row["lit"]),
            is_image=bool(row["is_image"]),
            declares=bool(row["declares"]),
            changed=int(row["changed"]),
            objects=tuple(self.objects[number].tolist()) if self.has_objects(number) else None,
            file=path,
        )


def _stack_objects(masks: Sequence[MaskStats | None]) -> NDArray[np.int32]:
    """See `Index.objects`."""
    if all(mask is None or mask.objects is None for mask in masks):
        return np.zeros((0, 3), np.int32)
    none = (-1, -1, -1)
    return np.array([none if mask is None else mask.objects or none for mask in masks], np.int32)


def _read_size(row: Row) -> PixelSize | None:
    if not row["unit"]:
        return None
    return PixelSize(float(row["pixel_height"]), float(row["pixel_width"]), UNITS[row["unit"]])


def _pack(value: Value) -> int:
    if isinstance(value, int):
        return value
    red, green, blue = value
    return red << 16 | green << 8 | blue


def unpack(code: int, colored: bool) -> Value:
    """The value of a mask from a number in `Index.values`."""
    return (code >> 16, code >> 8 & 255, code & 255) if colored else code


def _starts(lengths: NDArray[Any]) -> NDArray[np.int64]:
    """Where each of several runs starts, that lie one after another."""
    starts: NDArray[np.int64] = np.cumsum(lengths, dtype=np.int64) - lengths
    return starts


def _gather(lengths: NDArray[Any], places: NDArray[np.intp]) -> NDArray[np.int64]:
    """The indices of the items of some of these runs, run after run."""
    chosen = lengths[places].astype(np.int64)
    within = np.arange(chosen.sum()) - np.repeat(_starts(chosen), chosen)
    found: NDArray[np.int64] = np.repeat(_starts(lengths)[places], chosen) + within
    return found
