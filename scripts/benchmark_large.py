"""What the prediction of an image that is not held whole takes: memory, time, and what it differs by."""

import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import cycle, product
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from rich.table import Table

    from unet_exp.inference.predictor import Predictor
    from unet_exp.io.windows import WindowedPage

_PATCH = 512
_STRIP = 16  # rows


@dataclass(frozen=True)
class LargeResult:
    """One prediction.

    Attributes:
        layout: of the file, `tiled` or `striped`.
        budget: bytes, as `memory=` says.
        tile: side of the tiles, in pixels.
        peak: bytes, above those that the process had before, with its network loaded.
        seconds: from the file to the finished mask.
        pixels: of the image.
        largest_difference: of a probability on a crop, against one pass over the crop and its surroundings.
        different: pixels of the crop whose class in the mask is another one.
        cropped: pixels of the crop.
    """

    layout: str
    budget: int
    tile: int
    peak: int
    seconds: float
    pixels: int
    largest_difference: float
    different: int
    cropped: int


def measure_large(side: int, budgets: Sequence[str], layouts: Sequence[str], threads: int) -> Iterator[LargeResult]:
    """Predicts a generated image, once a budget and each time in a process of its own.

    Args:
        side: of the image, in pixels.
        budgets: such as `500MB`.
        layouts: of the compressed file, in turn: `tiled` or `striped`.
        threads: of PyTorch.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for number, (budget, layout) in enumerate(zip(budgets, cycle(layouts), strict=False)):
            image = folder / f"{layout}.tif"
            if not image.exists():
                LAYOUTS[layout](image, side)
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                yield pool.submit(predict_once, image, layout, budget, threads, folder / str(number)).result()


def large_table(results: Sequence[LargeResult], side: int, threads: int) -> "Table":
    """A row a prediction."""
    from rich.table import Table

    caption = f"{side} x {side} pixels, experiment=small untrained, {threads} threads; the difference is"
    table = Table(caption=f"{caption} from one pass over a crop", caption_justify="left")
    for column in (
        "file",
        "budget MB",
        "tile",
        "peak MB",
        "peak / budget",
        "s",
        "pixels/s",
        "difference",
        "other class",
    ):
        table.add_column(column, justify="left" if column == "file" else "right")
    for result in results:
        table.add_row(
            result.layout, f"{result.budget / 1e6:.0f}", str(result.tile), f"{result.peak / 1e6:.0f}",
            f"{result.peak / result.budget:.2f}", f"{result.seconds:.0f}", f"{result.pixels / result.seconds:,.0f}",
            f"{result.largest_difference:.1e}", f"{result.different} of {result.cropped}",
        )  # fmt: skip
    return table


def predict_once(image: Path, layout: str, budget: str, threads: int, folder: Path) -> LargeResult:
    """Predicts an image in this process, with the network of `experiment=small` as it is before training."""
    import torch
    from benchmarks.networks import save_network  # the groups of benchmarks import this file

    from unet_exp import load
    from unet_exp.errors import UserError
    from unet_exp.inference.device import peak_memory, reset_peak_memory
    from unet_exp.inference.large.budget import read_size
    from unet_exp.inference.large.by_tiles import plan_pages
    from unet_exp.inference.large.file_predictor import FilePredictor, Inputs, Outputs
    from unet_exp.io.scene import Reading
    from unet_exp.io.windows import open_pages

    torch.set_num_threads(threads)
    folder.mkdir()
    save_network(folder / "network.ckpt", "inference.tile=4096")  # so that the budget decides
    predictor = load(folder / "network.ckpt", "cpu", "32")
    size = read_size(budget)
    outputs = Outputs(folder, preview=True, probabilities=False, write_cells=None)
    work = FilePredictor(predictor, Inputs(255, Reading()), outputs, size, lambda _: None, lambda *_: None)
    reset_peak_memory(predictor.device)
    before, start = peak_memory(predictor.device), time.perf_counter()
    work.cost(image)
    (found_shares,) = work.compute([image], [work.read(image)])
    assert not isinstance(found_shares, UserError), found_shares
    mask = work.write(image, found_shares)
    assert mask is not None  # a process that shares nothing out misses no parts
    seconds, peak = time.perf_counter() - start, peak_memory(predictor.device) - before
    with open_pages(image) as (page,), open_pages(mask) as (found,):
        tile = plan_pages(predictor, [page], size)[0].tile
        difference, different, cropped = _compared(predictor, page, found, tile)
        pixels = page.height * page.width
    return LargeResult(layout, size, tile, peak, seconds, pixels, difference, different, cropped)


def _compared(predictor: "Predictor", page: "WindowedPage", mask: "WindowedPage", tile: int) -> tuple[float, int, int]:
    """What tiles differ by from one pass, in a crop of at most 1000 x 1000 pixels in the middle of a page.

    Returns:
        The largest difference of a probability, the pixels whose class in the mask is another, and all of them.
    """
    from unet_exp.inference.large.by_tiles import normalized_source, survey_page
    from unet_exp.inference.tiling.overlap_tile import mirror_source, tiled_logits
    from unet_exp.inference.tiling.tile_plan import surround
    from unet_exp.samples.classes import encode

    architecture, source = predictor.networks[0].architecture, normalized_source(page, survey_page(predictor, page))
    step, around = architecture.sizes.total_stride, surround(architecture, "auto") + architecture.sizes.lost_border
    around = -(-around // step) * step
    side = min(1000, page.height // 2, page.width // 2)
    top, left = ((size - side) // 2 // step * step for size in page.size)
    total, tile = side + 2 * around, min(tile, side // 2)
    window = source(top - around, left - around, total, total)
    settings = predictor.inference.model_copy(update={"tile": total})
    logits = tiled_logits(predictor.networks[0], mirror_source(window), total, total, settings)
    whole = logits.softmax(dim=1)[0, :, around : around + side, around : around + side].numpy()
    parts = np.empty_like(whole)
    for y, x in product(range(0, side, tile), range(0, side, tile)):
        high, wide = min(tile, side - y), min(tile, side - x)
        part = predictor.part_probabilities([source], page.size, (top + y, left + x, high, wide))
        parts[:, y : y + high, x : x + wide] = part
    expected = encode(whole.argmax(axis=0).astype(np.uint8), predictor.classes)
    different = (expected != mask.region(top, left, side, side)[0]).any(axis=2).sum()
    return float(np.abs(parts - whole).max()), int(different), side**2


def _patches() -> list[NDArray[np.uint8]]:
    from unet_exp.data.sets.synthetic import generate

    return [generate(_PATCH, _PATCH, 0, index).image for index in range(8)]


def _write_tiled(path: Path, side: int) -> None:
    from tifffile import imwrite

    patches, across = _patches(), -(-side // _PATCH)
    tiles = (patches[(3 * row + column) % 8] for row, column in product(range(across), repeat=2))
    imwrite(
        path, tiles, shape=(side, side), dtype=np.uint8, tile=(_PATCH, _PATCH), compression="zlib", maxworkers=1,
        photometric="minisblack", metadata=None,
    )  # fmt: skip


def _write_striped(path: Path, side: int) -> None:
    from tifffile import imwrite

    patches, across = _patches(), -(-side // _PATCH)

    def strips() -> Iterator[bytes]:
        for top in range(0, side, _STRIP):
            row, inside = divmod(top, _PATCH)
            rows = [patches[(3 * row + column) % 8][inside : inside + _STRIP] for column in range(across)]
            yield zlib.compress(np.hstack(rows)[: side - top, :side].tobytes(), 1)

    imwrite(
        path, strips(), shape=(side, side), dtype=np.uint8, rowsperstrip=_STRIP, compression="zlib",
        photometric="minisblack", metadata=None,
    )  # fmt: skip


LAYOUTS: dict[str, Callable[[Path, int], None]] = {"tiled": _write_tiled, "striped": _write_striped}
