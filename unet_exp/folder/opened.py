"""Opens images page by page; stands in for `unet_exp.io` until that does."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unet_exp.io.images import Scene, read_masks, read_scenes, stored_size
from unet_exp.io.tiff import Reading


class Opened:
    """The pages of a file."""

    def __init__(self, scenes: list[Scene]) -> None:
        self._scenes = scenes

    def __len__(self) -> int:
        return len(self._scenes)

    def page(self, index: int) -> Scene:
        """A page."""
        return self._scenes[index]


@contextmanager
def open_images(path: Path, reading: Reading) -> Iterator[Opened]:
    """Opens a file.

    Raises:
        DataError: for one that cannot be read.
    """
    if reading.label:
        yield Opened(read_masks(path, reading.indices, reading.nodata, reading.classes))
    else:
        yield Opened(read_scenes(path, reading.nodata))


def stored_pages(path: Path) -> tuple[int, int, int]:
    """The values of the largest page of a file, those of all, and the bytes of each."""
    values, width = stored_size(path)
    return values, values, width
