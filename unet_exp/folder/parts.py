"""Reads parts of pages from the files of a user, without the rest."""

from pathlib import Path
from typing import TYPE_CHECKING

from unet_exp.errors import DataError
from unet_exp.folder.drawing import is_drawn
from unet_exp.folder.groups import SplitItem
from unet_exp.folder.pages import PairPage, join_channels
from unet_exp.io.partial import PartReader, open_parts
from unet_exp.io.scene import Reading, Scene
from unet_exp.io.valid import join_valid
from unet_exp.samples.sample import Region

if TYPE_CHECKING:
    from unet_exp.folder.pairs import Pairs
    from unet_exp.folder.rules import Rules

_MOST_OPEN = 8
"""Files that are kept open for parts of them."""


class FileParts:
    """Reads parts of the pages of files; some stay open for the next parts. See `unet_exp.folder.origin.Parts`.

    Args:
        pairs: the files.
        rules: how they are read.
    """

    def __init__(self, pairs: "Pairs", rules: "Rules") -> None:
        self._pairs, self._rules = pairs, rules
        self._opened: dict[tuple[Path, int], PartReader | None] = {}

    def read(self, place: int, page: int, region: Region) -> PairPage | None:
        """See `unet_exp.folder.origin.Parts`."""
        pair, rules = self._pairs[place], self._rules
        if pair.view is not None or is_drawn(pair):
            return None
        images = [self._open(path, page, rules.of_images) for path in pair.images]
        mask = None if pair.mask is None else self._open(pair.mask, page, rules.of_masks)
        if None in images or (mask is None) != (pair.mask is None):
            return None
        item = SplitItem(pair.name, pair.name)
        scenes = [Scene(*image.region(*region)) for image in images if image is not None]
        scene = join_channels(pair.images, scenes, rules.nodata)
        if mask is None:
            return PairPage(item, scene)
        pixels, valid = mask.region(*region)
        return rules.finish(PairPage(item, scene, pixels, join_valid(scene.valid, valid)), str(pair.mask))

    def _open(self, path: Path, page: int, reading: Reading) -> PartReader | None:
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
