"""Reads pages from where they come from, whole or by parts, and tells what has changed since they were looked at."""

import os
from typing import Any, NamedTuple

from unet_exp.folder.origin import Origin, Pages, Parts, require_same_mask
from unet_exp.folder.pages import PairPage
from unet_exp.folder.rules import Rules
from unet_exp.io.scene import Scene
from unet_exp.samples.sample import Region, Sample


class PageRef(NamedTuple):
    """A page.

    Attributes:
        name: of its sample.
        place: of its item.
        page: in the item.
        used: channels of its image.
        masked: whether it has a mask.
    """

    name: str
    place: int
    page: int
    used: int
    masked: bool


class Source:
    """Reads pages of items.

    What must be decoded whole is kept until another page is read: patches of one image in a row decode it once.

    Args:
        items: as they were looked at.
        rules: how they are read.
        find_objects: whether masks without objects get those that `find_instances` finds.
    """

    def __init__(self, items: Origin, rules: Rules, find_objects: bool) -> None:
        self._items, self._rules, self._find_objects = items, rules, find_objects
        self._pages: tuple[int, Pages] | None = None
        self._decoded: tuple[int, int, PairPage] | None = None
        self._whole: tuple[PageRef, Sample] | None = None
        self._parts: Parts | None = None
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        # Another process opens the files itself.
        return {**self.__dict__, "_pages": None, "_decoded": None, "_whole": None, "_parts": None}

    def read(self, ref: PageRef, region: Region | None) -> Sample:
        """Reads a page, or a part of it.

        Raises:
            DataError: for what is gone or has changed.
        """
        self._items.require_unchanged(ref.place)
        objects = ref.masked and (self._rules.objects or self._find_objects)
        if region is not None and not objects:
            return self._sample(ref, self._read_part(ref, region), False)
        if self._whole is None or self._whole[0] != ref:
            self._whole = ref, self._sample(ref, self._decode(ref), self._find_objects)
        sample = self._whole[1]
        return sample if region is None else sample.cut(region)

    def _sample(self, ref: PageRef, page: PairPage, find_objects: bool) -> Sample:
        item = self._items[ref.place]
        require_same_mask(item, page, ref.masked)
        return self._rules.sample(ref.name, page, str(item.mask), ref.used, find_objects)

    def _decode(self, ref: PageRef) -> PairPage:
        """Reads a page; its file stays open for the next one."""
        if self._decoded is not None and self._decoded[:2] == (ref.place, ref.page):
            return self._decoded[2]
        self._decoded = None  # two images at a time are not needed
        self._renew()
        if self._pages is None or self._pages[0] != ref.place:
            if self._pages is not None:
                self._pages[1].close()
                self._pages = None
            self._pages = ref.place, self._rules.read(self._items[ref.place])
        page = self._pages[1][ref.page]
        self._decoded = ref.place, ref.page, page
        return page

    def _read_part(self, ref: PageRef, region: Region) -> PairPage:
        """Reads a part, without the rest if that can be."""
        self._renew()
        if self._parts is None:
            self._parts = self._items.open_parts(self._rules)
        return self._parts.read(ref.place, ref.page, region) or self._cut_decoded(ref, region)

    def _cut_decoded(self, ref: PageRef, region: Region) -> PairPage:
        """Makes a part of a page that is decoded."""
        item, scene, mask, labelled, *_ = self._decode(ref)
        valid, mask, labelled = (
            None if array is None else region.cut(array) for array in (scene.valid, mask, labelled)
        )
        return PairPage(item, Scene(region.cut(scene.pixels), valid, scene.turned), mask, labelled)

    def _renew(self) -> None:
        """Forgets what is open in a forked process, which needs a place of its own in each file."""
        if self._process != os.getpid():
            self._parts, self._pages, self._process = None, None, os.getpid()
