"""The tiles of a large image in one sequence, cut into the parts of several processes, and put together again.

The pixels of all tiles make one sequence, page by page, tile by tile and row by row. Each part is a stretch of it.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from unet_exp.inference.large.parts_folder import PartsFolder
from unet_exp.inference.large.sharing import cut_evenly
from unet_exp.inference.tiling.overlap_tile import Part, Size
from unet_exp.io.windows import Rows


class SharedTiles:
    """The tiles of all pages.

    Args:
        pages: the tiles of each page, row by row.
        count: of parts.

    Attributes:
        sizes: pixels of each part.
    """

    def __init__(self, pages: Sequence[Sequence[Part]], count: int) -> None:
        self._tiles = [(number, tile) for number, tiles in enumerate(pages) for tile in tiles]
        self._first = [0, *accumulate(len(tiles) for tiles in pages)]
        lengths = [high * wide for _, (_, _, high, wide) in self._tiles]
        self._runs = cut_evenly(lengths, count)
        self._starts = [0, *accumulate(lengths)]
        self._part_starts = [self._starts[run.start] for run in self._runs]
        self.sizes = [self._starts[run.stop] - self._starts[run.start] for run in self._runs]

    def __len__(self) -> int:
        """Of all parts."""
        return len(self._tiles)

    def of_part(self, number: int) -> list[tuple[int, Part]]:
        """The tiles of a part, each with the number of its page."""
        run = self._runs[number - 1]
        return self._tiles[run.start : run.stop]

    def tiles_of(self, page: int) -> list[Part]:
        """All tiles of a page."""
        return [tile for _, tile in self._tiles[self._first[page] : self._first[page + 1]]]

    def locate(self, page: int, place: int) -> tuple[int, int]:
        """The part that holds a tile of a page, and the tile's first pixel in it."""
        start = self._starts[self._first[page] + place]
        number = bisect_right(self._part_starts, start)
        return number, start - self._part_starts[number - 1]


class Stitched:
    """Complete parts, read as rows of pages; close it.

    Args:
        folder: of the parts.
        tiles: of the image.
        sizes: height and width of each page.
    """

    def __init__(self, folder: PartsFolder, tiles: SharedTiles, sizes: Sequence[Size]) -> None:
        self._folder, self._tiles = folder, tiles
        self._opened: tuple[int, int, BinaryIO] | None = None
        self.pages = [self._read_page(page, width) for page, (_, width) in enumerate(sizes)]

    def close(self) -> None:
        """Closes the part that is open."""
        if self._opened:
            self._opened[2].close()

    def _read_page(self, page: int, width: int) -> Rows:
        """A reader of the rows of a page."""
        tiles = self._tiles.tiles_of(page)
        tops = [top for top, *_ in tiles]
        places = [self._tiles.locate(page, place) for place in range(len(tiles))]

        def read(first: int, stop: int) -> NDArray[np.uint8]:
            rows = np.empty((stop - first, width), np.uint8)
            begin = bisect_left(tops, tops[bisect_right(tops, first) - 1])
            for place in range(begin, bisect_left(tops, stop)):
                (top, left, high, wide), (number, start) = tiles[place], places[place]
                above, below = max(top, first), min(top + high, stop)
                found = self._read(number, start + (above - top) * wide, (below - above) * wide)
                rows[above - first : below - first, left : left + wide] = found.reshape(-1, wide)
            return rows

        return read

    def _read(self, number: int, start: int, length: int) -> NDArray[np.uint8]:
        """Pixels of a part; one file is open at a time, since neighbouring tiles are mostly in one."""
        if self._opened is None or self._opened[0] != number:
            self.close()
            file = self._folder.open_done(number)
            self._opened = number, file.tell(), file
        _, begin, file = self._opened
        file.seek(begin + start)
        return np.frombuffer(file.read(length), np.uint8)
