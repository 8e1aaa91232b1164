"""Predicts TIFFs too large for memory: read by window, predicted tile by tile, written row of tiles by row of tiles.

The result equals that of `Predictor` with the whole image in memory, with the same reserve for norms over the whole
input (`unet_exp.inference.tiling.overlap_tile`). A first pass reads everything once: it finds damage, and computes the
normalisation and the choice of channels from the whole image.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unet_exp.config import IGNORE_LABEL
from unet_exp.config.user_data import NoData
from unet_exp.errors import ConfigError, DataError
from unet_exp.folder.threads import run_ahead
from unet_exp.geometry import total_stride
from unet_exp.inference.large.budget import format_size, overhead_bytes, reading_bytes, tile_bytes
from unet_exp.inference.large.part_file import PartFile
from unet_exp.inference.predictor import Predictor
from unet_exp.inference.tiling.overlap_tile import Part, Source
from unet_exp.inference.tta import list_turns
from unet_exp.io.georeference import read_georeference
from unet_exp.io.windows import Rows, WindowedPage, write_by_rows
from unet_exp.io.writing import write_pages
from unet_exp.memory import keep_freed_memory, return_freed_memory
from unet_exp.mirror import mirror_indices
from unet_exp.samples.classes import colorize, encode
from unet_exp.samples.normalization import Normalization, full_scale

PREVIEW = 2048
"""Longest side of a preview, in pixels."""
_KEPT = 3  # the memory of a prediction that keeps what it frees, as a factor of what it uses at a time
_WORTH_KEEPING = 512  # pixels of a tile
_SMALLEST = 64  # pixels of a tile: below, its surroundings are nearly all of the work


@dataclass(frozen=True)
class TilePlan:
    """The tiles of a page within a budget.

    Attributes:
        tile: longest side of a tile, in pixels.
        cache: bytes of decoded strips or tiles in memory.
        needed: bytes of the whole prediction.
    """

    tile: int
    cache: int
    needed: int


def plan_page(predictor: Predictor, page: WindowedPage, budget: int) -> TilePlan:
    """Plans the largest tiles, up to `inference.tile`, for the prediction of a page within `budget` bytes.

    Raises:
        ConfigError: if the budget is too small; names the least that works.
        DataError: if the page's strips are too large.
    """
    networks, settings = predictor.networks, predictor.inference
    # Beside the budget, a page's tiles need not be among the few sizes of `auto`.
    longest = max(settings.tile_pixels, 1024) if predictor.has_auto_tile else settings.tile_pixels
    step = _find_unit(predictor)

    def with_tile(tile: int) -> TilePlan:
        row = page.row_bytes(tile + 4 * step)
        one = page.planes * page.chunk_bytes
        cache = max(one, min(row, budget // 4))
        size = networks, tile, settings.context, page.channels, page.itemsize
        # One tile is read while another is computed.
        passes = tile_bytes(*size, len(predictor.classes)) + reading_bytes(*size, len(list_turns(settings) or [0]))
        # Beside the cache, a strip or tile as it lies in the file; and the indices of one row of tiles.
        rest = overhead_bytes(networks) + 2 * page.chunk_bytes + max(tile, 512) * page.width
        return TilePlan(tile, cache, cache + passes + rest)

    smallest = min(longest, -(-_SMALLEST // step) * step)
    tiles = sorted({smallest, longest, *range(-(-smallest // step) * step, longest, step)})
    fitting = bisect_right(tiles, budget, key=lambda tile: with_tile(tile).needed)
    if fitting:
        return with_tile(tiles[fitting - 1])
    needed = format_size(with_tile(smallest).needed)
    if 4 * page.chunk_bytes > budget:
        raise DataError(
            f"{page.path}: it is compressed in pieces of {format_size(page.chunk_bytes)} that must be decoded whole: "
            f"save it as a tiled TIFF, or set memory={needed} or more"
        )
    raise ConfigError(
        f"memory={format_size(budget)} is too small for {page.path} and this network: set {needed} or more"
    )


def plan_pages(
    predictor: Predictor, pages: list[WindowedPage], budget: int, chosen: Sequence[int] | None = None
) -> list[TilePlan]:
    """Plans the tiles of each page, and whether freed memory is kept meanwhile; see `plan_page`.

    On a CPU tiles of a third of the budget are faster than larger ones, if freed memory can be kept for them.

    Args:
        predictor: of the tiles.
        pages: of the image.
        budget: in bytes.
        chosen: the `tile` of each page, where another process has planned it.

    Raises:
        ConfigError: if the budget is too small for any tiles or the chosen ones.
        DataError: as `plan_page`.
    """
    least = chosen or [_WORTH_KEEPING] * len(pages)
    if predictor.device.type == "cpu":
        with suppress(ConfigError, DataError):
            plans = [plan_page(predictor, page, budget // _KEPT) for page in pages]
            if all(plan.tile >= tile for plan, tile in zip(plans, least, strict=True)):
                keep_freed_memory()
                return _take_tiles(plans, chosen)
    return_freed_memory()
    plans = [plan_page(predictor, page, budget) for page in pages]
    for page, plan, tile in zip(pages, plans, chosen or [0] * len(pages), strict=True):
        if plan.tile < tile:
            raise ConfigError(
                f"{page.path}: another part has begun it in tiles of {tile} pixels, and memory={format_size(budget)} "
                f"holds only those of {plan.tile}: set more memory, or one memory= or inference.tile= for all parts, "
                "and begin anew"
            )
    return _take_tiles(plans, chosen)


def _take_tiles(plans: list[TilePlan], chosen: Sequence[int] | None) -> list[TilePlan]:
    """The same plans with chosen tiles, which are no larger than theirs."""
    return [replace(plan, tile=tile) for plan, tile in zip(plans, chosen, strict=True)] if chosen else plans


def check_settings(predictor: Predictor) -> None:
    """Refuses settings that need the whole image.

    Raises:
        ConfigError: with settings that work.
    """
    if list_turns(predictor.inference) is None:
        raise ConfigError(
            "inference=rotations7 turns the whole image, which does not fit into the memory: take inference=flips8 or "
            "inference=none, or inference.angles that are multiples of 90"
        )
    if predictor.inference.blend:
        raise ConfigError(
            f"inference.blend={predictor.inference.blend} mixes neighbouring tiles, which a large image has one after "
            "another: set inference.blend=0"
        )


def identify_job(predictor: Predictor, path: Path, pages: list[WindowedPage], nodata: NoData) -> dict[str, Any]:
    """Everything that determines the masks of a file, for `open_part`."""
    status = path.stat()
    digests = []
    for member in predictor.members:
        with member.checkpoint.path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return {
        "format": 2,
        "image": [status.st_size, status.st_mtime_ns, *(list(page.size) for page in pages)],
        "checkpoint": digests[0] if len(digests) == 1 else digests,
        "nodata": nodata,
        "settings": [predictor.precision, predictor.inference.model_dump(exclude={"tile", "batch_size"})],
    }


def list_tiles(predictor: Predictor, page: WindowedPage, tile: int, top: int = 0) -> list[Part]:
    """The tiles of a page from a row on, row by row, of about equal sides of at most `tile` pixels."""
    unit = _find_unit(predictor)
    down, across = (_balance_step(size, tile, unit) for size in page.size)
    return [
        (first, left, min(down, page.height - first), min(across, page.width - left))
        for first in range(top, page.height, down)
        for left in range(0, page.width, across)
    ]


def predict_pages(
    predictor: Predictor, pages: list[WindowedPage], plans: list[TilePlan], part: PartFile
) -> Iterator[int]:
    """Predicts the pixels that a part lacks, and appends them; yields the number of new pixels after each tile.

    Raises:
        DataError: as `predict_tiles`.
    """
    for place, page, planned in zip(_locate_pages(pages), pages, plans, strict=True):
        done = min(max(part.size - place, 0) // page.width, page.height)
        if done == page.height:
            continue
        part.keep(place + done * page.width)
        tiles = list_tiles(predictor, page, planned.tile, done)
        rows = np.zeros((0, page.width), np.uint8)
        with closing(predict_tiles(predictor, page, planned, tiles)) as labels:
            for (_, left, high, wide), label in zip(tiles, labels, strict=True):
                if left == 0:
                    rows = np.zeros((high, page.width), np.uint8)
                rows[:, left : left + wide] = label
                if left + wide == page.width:
                    part.append(rows)
                yield high * wide


def predict_tiles(
    predictor: Predictor, page: WindowedPage, planned: TilePlan, tiles: Sequence[Part]
) -> Generator[NDArray[np.uint8], None, None]:
    """Labels (height, width) of some tiles of a page; pixels without data are `IGNORE_LABEL`.

    Raises:
        DataError: for pixels that cannot be read, and a page of other channels than the training images.
    """
    page.keep(planned.cache)
    survey = survey_page(predictor, page)
    with closing(_predict_parts(predictor, page, survey, tiles)) as labels:
        yield from labels
    page.keep(0)


def _predict_parts(
    predictor: Predictor, page: WindowedPage, survey: "PageSurvey", parts: Sequence[Part]
) -> Generator[NDArray[np.uint8], None, None]:
    """Labels (height, width) of parts of a page, `IGNORE_LABEL` without data; the next one is read meanwhile."""
    sources = [normalized_source(page, survey, place) for place in range(len(survey.normalizations))]

    def read(place: int) -> tuple[list[dict[Part, Tensor]], NDArray[np.bool_] | None]:
        part = parts[place]
        valid = page.region(*part)[1] if survey.holes else None
        wanted = zip(sources, predictor.list_windows(page.size, part), strict=True)
        return [{window: source(*window) for window in windows} for source, windows in wanted], valid

    def find(windows: dict[Part, Tensor]) -> Source:
        return lambda top, left, height, width: windows[top, left, height, width]

    # One thread: what is decoded of the file is kept for one reader.
    for part, (windows, valid) in zip(
        parts, run_ahead(read, range(len(parts)), threads=1, ahead_of_each=1), strict=True
    ):
        found = predictor.part_probabilities([find(each) for each in windows], page.size, part)
        label: NDArray[np.uint8] = found.argmax(axis=0).astype(np.uint8)
        if valid is not None:
            label[~valid] = IGNORE_LABEL
        yield label


@dataclass(frozen=True)
class PageSurvey:
    """What a first pass over a page finds.

    Attributes:
        normalizations: of the predictor, by the numbers of the whole page.
        channels: the first ones, that the network takes.
        holes: whether some of its pixels are without data.
    """

    normalizations: list[Normalization]
    channels: int
    holes: bool = False


def normalized_source(page: WindowedPage, survey: PageSurvey, place: int = 0) -> Source:
    """Windows of a page as a network sees them, mirrored at its border: (1, C, height, width) float32.

    They are normalised as the one at `place` of the survey says. Their reading raises a DataError for pixels that
    cannot be read.
    """

    def window(top: int, left: int, height: int, width: int) -> Tensor:
        rows = mirror_indices(top, height, page.height)
        columns = mirror_indices(left, width, page.width)
        first, start = int(rows.min()), int(columns.min())
        pixels, valid = page.region(first, start, int(rows.max()) + 1 - first, int(columns.max()) + 1 - start)
        places = (rows - first)[:, None], columns - start
        pixels = pixels[:, :, : survey.channels][places]
        seen = survey.normalizations[place](pixels, None if valid is None else valid[places])
        return torch.from_numpy(seen.transpose(2, 0, 1)[None]).contiguous()

    return window


def survey_page(predictor: Predictor, page: WindowedPage) -> PageSurvey:
    """Reads a page once.

    Raises:
        DataError: for pixels that cannot be read, and for other channels than the training images had.
    """
    by_image = any(known.mode == "image" for known in predictor.normalizations)
    count, mean, squares = 0, np.zeros(page.channels), np.zeros(page.channels)
    lowest, highest = np.inf, -np.inf
    colours_alike = all_alike = True
    holes = False
    for pixels, valid in page.parts():
        if valid is not None:
            holes, pixels = True, pixels[valid][:, None]
        if not pixels.size:
            continue
        if by_image:
            # Chan, Golub and LeVeque 1983: mean and squared deviations of two parts give those of both.
            scaled = full_scale(pixels).astype(np.float64)
            own_count, own_mean = pixels.shape[0] * pixels.shape[1], scaled.mean(axis=(0, 1))
            step, share = own_mean - mean, own_count / (count + own_count)
            squares += ((scaled - own_mean) ** 2).sum(axis=(0, 1)) + step**2 * count * share
            count, mean = count + own_count, mean + step * share
        if page.channels > 1:
            same = (pixels == pixels[:, :, :1]).all(axis=(0, 1))
            colours_alike &= bool(same[:3].all())
            all_alike &= bool(same.all())
        if page.channels == 4:
            lowest, highest = min(lowest, pixels[:, :, 3].min()), max(highest, pixels[:, :, 3].max())
    opaque = page.channels == 4 and lowest == highest
    try:
        used = predictor.count_used_channels(page.channels, opaque, colours_alike if opaque else all_alike)
    except DataError as error:
        raise DataError(f"{page.path}: {error}") from None
    deviation = np.sqrt(squares / max(count, 1))
    own = Normalization(mode="dataset", mean=mean[:used].tolist(), std=deviation[:used].tolist())
    return PageSurvey([own if known.mode == "image" else known for known in predictor.normalizations], used, holes)


def list_rows(pages: list[WindowedPage], part: PartFile) -> list[Rows]:
    """Readers of the rows of each page in a finished part."""
    return [part.rows(place, page.width) for place, page in zip(_locate_pages(pages), pages, strict=True)]


def write_mask(
    predictor: Predictor,
    pages: list[WindowedPage],
    labels: Sequence[Rows],
    path: Path,
    fill: int | Sequence[int] | None,
) -> None:
    """Writes the labels of a file as a tiled TIFF, with the values of the label files and its georeference.

    `fill` is the value of pixels without data; None where there are none.

    Raises:
        OSError: as writing does.
    """
    like = encode(np.zeros((1, 1), np.uint8), predictor.classes, fill)
    rows = [(*page.size, read) for page, read in zip(pages, labels, strict=True)]
    place = read_georeference(pages[0].path)
    tags = () if place is None else place.tags
    write_by_rows(path, rows, lambda label: encode(label, predictor.classes, fill), like, tags)


def has_holes(pages: list[WindowedPage], labels: Sequence[Rows]) -> bool:
    """Whether some pixels of a file are without data."""
    found = (
        (read(top, min(top + PREVIEW, page.height)) == IGNORE_LABEL).any()
        for page, read in zip(pages, labels, strict=True)
        for top in range(0, page.height, PREVIEW)
    )
    return any(found)


def write_preview(
    predictor: Predictor, pages: list[WindowedPage], labels: Sequence[Rows], path: Path
) -> list[tuple[int, int]]:
    """Writes every n-th pixel of a file's labels in the classes' colours, the longest side at most `PREVIEW`.

    `path` is a PNG for one page, a TIFF for several. Returns height and width of each preview.
    """
    reduced = []
    for page, read in zip(pages, labels, strict=True):
        step = -(-max(page.height, page.width) // PREVIEW)
        label = np.concatenate([read(top, top + 1)[:, ::step] for top in range(0, page.height, step)])
        reduced.append(colorize(label, predictor.classes))
    write_pages(path, reduced)
    return [(picture.shape[0], picture.shape[1]) for picture in reduced]


def _locate_pages(pages: list[WindowedPage]) -> list[int]:
    """The offset of each page in a part."""
    return [0, *accumulate(page.height * page.width for page in pages[:-1])]


def _find_unit(predictor: Predictor) -> int:
    """Pixels of which the sides of tiles are multiples: the largest total stride of a network."""
    return max(total_stride(network.architecture) for network in predictor.networks)


def _balance_step(size: int, tile: int, multiple: int) -> int:
    """A side of at most `tile` pixels that cuts `size` pixels into tiles of about one length."""
    longest = max(tile // multiple, 1) * multiple
    count = -(-size // longest)
    return min(longest, -(-size // count // multiple) * multiple)
