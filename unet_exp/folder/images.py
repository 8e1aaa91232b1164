"""The images of a user's files as a data set has them: read from a store, or from the files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from unet_exp.folder.groups import SplitItem
from unet_exp.folder.label_map import count_labels
from unet_exp.folder.pages import name_page
from unet_exp.folder.source import PageRef, Source
from unet_exp.folder.stores import MemoryStore, Store
from unet_exp.folder.survey import Survey
from unet_exp.samples.facts import Facts
from unet_exp.samples.sample import Images, Region, Sample


@dataclass(frozen=True, eq=False)
class _Pages:
    """Where the images of all splits are read.

    Attributes:
        rows: of the index.
        store: of decoded pages.
        source: where they come from.
        finds_instances: see `Images`.
        has_instances: likewise, of those with a mask.
        spare_memory: likewise.
    """

    rows: NDArray[Any]
    store: Store | None
    source: Source
    finds_instances: bool
    has_instances: bool
    spare_memory: float


class FileImages(Images):
    """Pages of a survey, of which all have as many used channels.

    Args:
        pages: of all splits.
        facts: of these images.
        numbers: (N,) of these pages in the index.
    """

    def __init__(self, pages: _Pages, facts: Facts, numbers: NDArray[np.intp]) -> None:
        self.facts = facts
        self._pages, self._numbers = pages, numbers
        self.in_memory = isinstance(pages.store, MemoryStore)
        self.spare_memory = pages.spare_memory
        self.finds_instances = pages.finds_instances
        self.has_instances = pages.has_instances and bool(facts.labelled.all())

    def read(self, index: int, region: Region | None = None) -> Sample:
        """See `Images`."""
        pages, name = self._pages, self.facts.names[index]
        row = pages.rows[self._numbers[index]]
        found = None if pages.store is None else pages.store.read(row, name, region)
        if found is not None:
            return found
        place, page, used = (int(row[key]) for key in ("place", "page", "used"))
        return pages.source.read(PageRef(name, place, page, used, bool(row["masked"])), region)

    def take(self, places: Sequence[int] | NDArray[np.intp]) -> "FileImages":
        """See `Images`."""
        chosen = np.asarray(places, np.intp)
        return FileImages(self._pages, self.facts.take(chosen), self._numbers[chosen])


class PageItems(Sequence[SplitItem]):
    """The names of some pages of a survey, made when they are asked for; `numbers` (N,) are theirs in the index."""

    def __init__(self, survey: Survey, numbers: NDArray[np.intp]) -> None:
        index = survey.index
        self._pairs, self._places = survey.pairs, index.rows["place"][numbers]
        self._pages, self._counts = index.rows["page"][numbers], index.page_counts[numbers]

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> SplitItem: ...

    @overload
    def __getitem__(self, index: slice) -> "list[SplitItem]": ...

    def __getitem__(self, index: int | slice) -> "SplitItem | list[SplitItem]":
        places = range(len(self))[index]
        if isinstance(places, range):
            return [self[place] for place in places]
        name = self._pairs.names[int(self._places[places])]
        return name_page(name, int(self._pages[places]), int(self._counts[places]))

    def __iter__(self) -> Iterator[SplitItem]:
        return map(name_page, self._pairs.names.take(self._places), self._pages, self._counts)

    def find_image(self, index: int) -> Path | str:
        """What messages call the image of a page, such as its file."""
        return self._pairs[int(self._places[index])].image


def make_images(survey: Survey, names: Sequence[str]) -> FileImages:
    """All pages of a survey as images of these names."""
    index, rows = survey.index, survey.index.rows
    moments = index.moments.reshape(len(rows), -1, 2)
    facts = Facts(
        names=names,
        sizes=np.stack([rows["height"], rows["width"]], axis=1),
        pixels=rows["pixels"],
        mean=moments[:, :, 0],
        std=moments[:, :, 1],
        labelled=rows["masked"],
        counts=count_labels(index, survey.rules)[0],
        digests=rows["digest"],
        contents=rows["content"],
    )
    objects = survey.rules.objects
    pages = _Pages(
        rows=rows,
        store=survey.store,
        source=Source(survey.pairs, survey.rules, survey.find_objects),
        finds_instances=survey.find_objects and not objects,
        has_instances=survey.find_objects or objects,
        spare_memory=survey.spare_memory,
    )
    return FileImages(pages, facts, np.arange(len(rows)))
