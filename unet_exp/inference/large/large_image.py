"""A large image from file to mask, tile by tile: by one process, or by several that each predict some of its tiles."""

import math
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import accumulate, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unet_exp.inference.large import by_tiles
from unet_exp.inference.large.part_file import PartFile, open_part
from unet_exp.inference.large.parts_folder import PartsFolder
from unet_exp.inference.large.shared_tiles import SharedTiles, Stitched
from unet_exp.inference.large.sharing import Share, format_numbers
from unet_exp.inference.predictor import Predictor
from unet_exp.inference.tiling.overlap_tile import Part
from unet_exp.io.windows import Rows, WindowedPage, open_pages
from unet_exp.io.writing import make_output_folder

if TYPE_CHECKING:
    from unet_exp.inference.large.file_predictor import Inputs, Outputs


class LargeImages:
    """Predicts large images.

    Args:
        predictor: of the masks.
        inputs: which pixels of the images hold data.
        outputs: to write.
        budget: in bytes.
        report: prints a line.
        progress: shows an image, its finished pixels, and all its pixels.
        tell_fill: says that an image has pixels without data.
        share: which of its tiles to predict; None for all.
    """

    def __init__(
        self,
        predictor: Predictor,
        inputs: "Inputs",
        outputs: "Outputs",
        budget: int,
        report: Callable[[str], None],
        progress: Callable[[Path, int, int], None],
        tell_fill: Callable[[Path], None],
        share: Share | None,
    ) -> None:
        self._predictor, self._inputs, self._outputs, self._budget = predictor, inputs, outputs, budget
        self._report, self._progress, self._tell_fill, self._share = report, progress, tell_fill, share

    def is_begun(self, path: Path) -> bool:
        """Whether another process predicts a part of the tiles of an image."""
        return self._find_parts(path).is_dir()

    def predict(self, path: Path) -> bool:
        """Predicts an image, or one part of it, and writes its mask and preview if no other part is missing.

        Returns:
            Whether they are written.

        Raises:
            UserError: if the image does not fit the network, the settings or the memory.
            DataError: if it cannot be read, or something cannot be written.
        """
        by_tiles.check_settings(self._predictor)
        nodata = self._inputs.reading.nodata
        with open_pages(path, nodata) as pages:
            identity = by_tiles.identify_job(self._predictor, path, pages, nodata)
            if self._share is None:
                self._predict_all(path, pages, identity)
                return True
            return self._predict_share(path, pages, identity, self._share)

    def _predict_all(self, path: Path, pages: list[WindowedPage], identity: dict[str, Any]) -> None:
        plans = by_tiles.plan_pages(self._predictor, pages, self._budget)
        make_output_folder(self._outputs.folder)
        part_path = self._find_mask(path).with_suffix(".part")
        with open_part(part_path, identity) as part:
            self._report(f"{path}: {_describe(pages, plans)}")
            if part.differs:
                self._report(f"{part_path} was of another {' and '.join(part.differs)}: it starts anew")
            elif part.size:
                self._report(f"{part_path}: it goes on there")
            pixels = by_tiles.predict_pages(self._predictor, pages, plans, part)
            self._watch(path, pixels, part.size, sum(math.prod(page.size) for page in pages))
            self._write(path, pages, by_tiles.list_rows(pages, part))

    def _predict_share(self, path: Path, pages: list[WindowedPage], identity: dict[str, Any], share: Share) -> bool:
        tile = "auto" if self._predictor.has_auto_tile else self._predictor.inference.tile_pixels
        folder = PartsFolder(self._find_parts(path), {**identity, "inference.tile": tile}, share.count)
        known = folder.read_tiles()
        plans, tiles = self._plan_tiles(pages, share.count, known)
        if known is None and tiles.sizes[share.number - 1]:
            make_output_folder(self._outputs.folder)
            planned = [plan.tile for plan in plans]
            known = folder.begin(planned)
            if known != planned:  # by a process that began at the same time
                plans, tiles = self._plan_tiles(pages, share.count, known)
        own, size = tiles.of_part(share.number), tiles.sizes[share.number - 1]
        self._report(f"{path}: {_describe(pages, plans)}; {share}: {len(own)} of {len(tiles)} tiles")
        if known is None:  # not begun, or made by the parts that have tiles
            return False
        if folder.is_done(share.number, size):
            if own:
                self._report(f"{path}: {share} was done before")
        else:
            with folder.open_part(share.number) as part:
                if part.size:
                    self._report(f"{folder.path}: {share} goes on there")
                self._watch(path, self._predict_tiles(pages, plans, own, part), part.size, size)
        return self._stitch(path, pages, folder, tiles, share)

    def _plan_tiles(
        self, pages: list[WindowedPage], count: int, chosen: Sequence[int] | None
    ) -> tuple[list[by_tiles.TilePlan], SharedTiles]:
        plans = by_tiles.plan_pages(self._predictor, pages, self._budget, chosen)
        listed = [
            by_tiles.list_tiles(self._predictor, page, plan.tile) for page, plan in zip(pages, plans, strict=True)
        ]
        return plans, SharedTiles(listed, count)

    def _predict_tiles(
        self, pages: list[WindowedPage], plans: list[by_tiles.TilePlan], own: list[tuple[int, Part]], part: PartFile
    ) -> Iterator[int]:
        """Predicts the tiles that a part lacks, and appends them; yields the number of new pixels after each."""
        ends = [0, *accumulate(high * wide for _, (_, _, high, wide) in own)]
        done = bisect_right(ends, part.size) - 1
        part.keep(ends[done])
        for number, group in groupby(own[done:], key=lambda place: place[0]):
            tiles = [tile for _, tile in group]
            with closing(by_tiles.predict_tiles(self._predictor, pages[number], plans[number], tiles)) as labels:
                for label in labels:
                    part.append(label)
                    yield label.size

    def _stitch(
        self, path: Path, pages: list[WindowedPage], folder: PartsFolder, tiles: SharedTiles, share: Share
    ) -> bool:
        """Writes the outputs from all parts, if they are complete and no other process does so."""
        missing = [number for number, size in enumerate(tiles.sizes, 1) if not folder.is_done(number, size)]
        if missing and folder.path.is_dir():  # else another process has ended meanwhile
            self._report(
                f"{path}: the part that ends last writes the mask; not done yet: {format_numbers(missing)}. If one of "
                f"them does not run, start it with part={missing[0]}/{share.count} and else the same words"
            )
            return False
        with folder.claim() as claimed:
            if claimed:
                with closing(Stitched(folder, tiles, [page.size for page in pages])) as stitched:
                    self._report(f"{path}: all {share.count} parts are done")
                    self._write(path, pages, stitched.pages)
            else:
                self._report(f"{path}: all {share.count} parts are done, and another process writes the mask")
        return claimed

    def _watch(self, path: Path, new_pixels: Iterator[int], began: int, total: int) -> None:
        """Shows the progress of a prediction, and reports its speed."""
        done, start = began, time.perf_counter()
        self._progress(path, done, total)
        for pixels in new_pixels:
            done += pixels
            self._progress(path, done, total)
        seconds = time.perf_counter() - start
        self._report(f"{path}: {(done - began) / 1e6:.1f} million pixels in {seconds:.0f} s")

    def _write(self, path: Path, pages: list[WindowedPage], labels: Sequence[Rows]) -> None:
        """Writes mask and preview."""
        fill = self._inputs.fill if by_tiles.has_holes(pages, labels) else None
        if fill is not None:
            self._tell_fill(path)
        by_tiles.write_mask(self._predictor, pages, labels, self._find_mask(path), fill)
        if self._outputs.preview:
            preview = self._outputs.place_preview(path, len(pages))
            sizes = by_tiles.write_preview(self._predictor, pages, labels, preview)
            self._report(f"{preview}: {sizes[0][1]} x {sizes[0][0]} pixels" + ", reduced" * (sizes[0] != pages[0].size))

    def _find_mask(self, path: Path) -> Path:
        return self._outputs.place(path, "mask", ".tif")

    def _find_parts(self, path: Path) -> Path:
        return self._find_mask(path).with_suffix(".parts")


def _describe(pages: list[WindowedPage], plans: list[by_tiles.TilePlan]) -> str:
    first = pages[0]
    others = f" and {len(pages) - 1} more pages" if len(pages) > 1 else ""
    return f"{first.width} x {first.height} pixels{others}, in tiles of {max(plan.tile for plan in plans)}"
