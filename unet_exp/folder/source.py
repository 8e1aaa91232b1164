"""Reads pages from the files of a user, whole or by parts, and tells what has changed since they were looked at."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unet_exp.errors import DataError
from unet_exp.folder.drawing import is_drawn
from unet_exp.folder.index_file import require_unchanged
from unet_exp.folder.pages import PairPage, PairPages, join_channels, take_channels
from unet_exp.folder.pairs import Pair, Pairs
from unet_exp.folder.rules import Rules
from unet_exp.io.images import Scene
from unet_exp.io.partial import PartReader, open_parts
from unet_exp.io.scene import Reading
from unet_exp.io.valid import join_valid
from unet_exp.samples.sample import Region, Sample

_MOST_OPEN = 8
"""Files that are kept open for parts of them."""


class PageRef(NamedTuple):
    """A page of a user's files.

    Attributes:
        name: of its sample.
        place: of its pair.
        page: in the file.
        used: channels of its image.
    """

    name: str
    place: int
    page: int
    used: int


class Source:
    """Reads pages of pairs.

    A file that must be decoded whole is kept until another one is read: patches of one image in a row decode it once.

    Args:
        pairs: the files, with their stamps as they were looked at.
        rules: how they are read.
        find_objects: whether masks without objects get those that `find_instances` finds.
    """

    def __init__(self, pairs: Pairs, rules: Rules, find_objects: bool) -> None:
        self._pairs, self._rules, self._find_objects = pairs, rules, find_objects
        self._pages: tuple[int, PairPages] | None = None
        self._decoded: tuple[int, int, PairPage] | None = None
        self._whole: tuple[PageRef, Sample] | None = None
        self._opened: dict[tuple[Path, int], PartReader | None] = {}
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        # Another process opens the files itself.
        return {**self.__dict__, "_pages": None, "_decoded": None, "_whole": None, "_opened": {}}

    def read(self, ref: PageRef, region: Region | None) -> Sample:
        """Reads a page, or a part of it.

        Raises:
            DataError: for a file that is gone or has changed.
        """
        pair = self._pairs[ref.place]
        require_unchanged(pair, self._pairs.take([ref.place]).stamps[0])
        parts = region is not None and (pair.mask is None or not (self._rules.objects or self._find_objects))
        if region is not None and parts:
            return self._read_part(pair, ref, region) or self._cut_decoded(pair, ref, region)
        if self._whole is None or self._whole[0] != ref:
            page = self._decode(pair, ref)
            self._whole = ref, self._rules.sample(ref.name, page, str(pair.mask), ref.used, self._find_objects)
        sample = self._whole[1]
        return sample if region is None else sample.cut(region)

    def _decode(self, pair: Pair, ref: PageRef) -> PairPage:
        """Reads a page; its file stays open for the next one."""
        if self._decoded is not None and self._decoded[:2] == (ref.place, ref.page):
            return self._decoded[2]
        self._decoded = None  # two images at a time are not needed
        self._renew()
        if self._pages is None or self._pages[0] != ref.place:
            if self._pages is not None:
                self._pages[1].close()
                self._pages = None
            self._pages = ref.place, self._rules.read(pair)
        page = self._pages[1][ref.page]
        self._decoded = ref.place, ref.page, page
        return page

    def _cut_decoded(self, pair: Pair, ref: PageRef, region: Region) -> Sample:
        """Makes a part of a page that is decoded."""
        item, scene, mask, labelled, _ = self._decode(pair, ref)
        valid, mask, labelled = (
            None if array is None else region.cut(array) for array in (scene.valid, mask, labelled)
        )
        part = PairPage(item, Scene(region.cut(scene.pixels), valid, scene.turned), mask, labelled)
        return self._rules.sample(ref.name, part, str(pair.mask), ref.used, False)

    def _read_part(self, pair: Pair, ref: PageRef, region: Region) -> Sample | None:
        """Reads a part without the rest; None where the files must be decoded whole."""
        if pair.view is not None or is_drawn(pair):
            return None
        rules = self._rules
        images = [self._open(path, ref.page, rules.of_images) for path in pair.images]
        mask = None if pair.mask is None else self._open(pair.mask, ref.page, rules.of_masks)
        if None in images or (mask is None) != (pair.mask is None):
            return None
        scenes = [Scene(*image.region(*region)) for image in images if image is not None]
        shown, valid, _ = join_channels(pair.images, scenes, rules.nodata)
        label = None
        if mask is not None:
            pixels, labelled = mask.region(*region)
            known = join_valid(valid, labelled)
            pixels, _ = rules.snap(pixels, str(pair.mask), known)
            label, _ = rules.label(pixels, str(pair.mask), known)
        return Sample(ref.name, np.ascontiguousarray(take_channels(shown, ref.used)), label, None, valid)

    def _renew(self) -> None:
        """Forgets what is open in a forked process, which needs a place of its own in each file."""
        if self._process != os.getpid():
            self._opened, self._pages, self._process = {}, None, os.getpid()

    def _open(self, path: Path, page: int, reading: Reading) -> PartReader | None:
        self._renew()
        key = path, page
        if key not in self._opened:
            while len(self._opened) >= max(_MOST_OPEN, len(self._pairs.listed)):
                oldest = self._opened.pop(next(iter(self._opened)))
                if oldest is not None:
                    oldest.close()
            try:
                self._opened[key] = open_parts(path, page, reading)
            except OSError as error:
                raise DataError(f"{path}: cannot be read ({error.strerror or error}); check the file") from None
        return self._opened[key]
