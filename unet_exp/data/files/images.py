"""The images of a user's files as a data set has them: read from a store, or from the files."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unet_exp.data.facts import Facts
from unet_exp.data.files.label_map import count_labels
from unet_exp.data.files.source import PageRef, Source
from unet_exp.data.files.stores import MemoryStore
from unet_exp.data.files.survey import Survey
from unet_exp.data.samples import Images, Region, Sample


class FileImages(Images):
    """Pages of a survey.

    Args:
        survey: it; all pages have as many used channels.
        source: its files.
        facts: of these images.
        numbers: (N,) of these pages in the index.
    """

    def __init__(self, survey: Survey, source: Source, facts: Facts, numbers: NDArray[np.intp]) -> None:
        self.facts = facts
        self._survey, self._source, self._numbers = survey, source, numbers
        self._rows = survey.index.rows[numbers]
        self._store = survey.store
        self.in_memory = isinstance(survey.store, MemoryStore)
        self.spare_memory = survey.spare_memory
        masked = bool(self._rows["masked"].all())
        self.finds_instances = survey.find_objects and not survey.rules.objects
        self.has_instances = masked and (survey.rules.objects or survey.find_objects)

    def read(self, index: int, region: Region | None = None) -> Sample:
        """See `Images`."""
        row, name = self._rows[index], self.facts.names[index]
        if self._store is not None:
            found = self._store.read(row, name, region)
            if found is not None:
                return found
        return self._source.read(PageRef(name, int(row["place"]), int(row["page"]), int(row["used"])), region)

    def take(self, places: Sequence[int] | NDArray[np.intp]) -> "FileImages":
        """See `Images`."""
        chosen = np.asarray(places, np.intp)
        return FileImages(self._survey, self._source, self.facts.take(chosen), self._numbers[chosen])


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
    source = Source(survey.pairs, survey.stamps, survey.rules, survey.find_objects)
    return FileImages(survey, source, facts, np.arange(len(rows)))
