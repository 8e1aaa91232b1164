"""Images of any size, stitched from tiles (paper, section 2, Fig. 2: the overlap-tile strategy).

A tile reads its surroundings from the image; beyond the image's border they are mirrored from the image, never from the
tile.

With `inference.context=auto` the stitched logits equal those of one pass over the whole image, to the rounding of
float32, for norm none and batch with either up-sampling. Instance and group norm take their statistics over the input
of a pass, so there the two differ. Measured on nine networks of depth 3, trained for 60 steps on generated images: the
mean absolute difference of a probability is 0.02 to 0.06 in tiles of half the image's side and 0.03 to 0.12 in
quarters. `inference.blend` does not reduce that, it hides the seams.
"""

from collections import defaultdict
from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

from unet_exp.config import InferenceConfig
from unet_exp.inference.tiling.tile_plan import Tile, plan_part, plan_tiles, surround
from unet_exp.mirror import mirror_indices
from unet_exp.network import Network

Size = tuple[int, int]
"""Height and width of an image, in pixels."""
Part = tuple[int, int, int, int]
"""Top, left, height and width of a rectangle, in pixels."""
Source = Callable[[int, int, int, int], Tensor]
"""Returns the window (top, left, height, width) of an image extended beyond its border: (1, C, height, width)."""

_COPIES = 4  # of an image's values at a time: logits, probabilities, their mean, and one of them turned


def mirror_source(image: Tensor) -> Source:
    """A source of windows (B, C, height, width) of images (B, C, H, W), mirrored at their border."""

    def window(top: int, left: int, height: int, width: int) -> Tensor:
        if min(top, left) >= 0 and top + height <= image.shape[-2] and left + width <= image.shape[-1]:
            return image[..., top : top + height, left : left + width]
        rows = torch.from_numpy(mirror_indices(top, height, image.shape[-2])).to(image.device)
        columns = torch.from_numpy(mirror_indices(left, width, image.shape[-1])).to(image.device)
        return image.index_select(-2, rows).index_select(-1, columns)

    return window


def choose_home(device: torch.device, values: int) -> torch.device:
    """Where `values` float32 of an image are put together: the network's GPU if they fit there easily, else the CPU."""
    if device.type != "cuda":  # Apple's lacks some of the resampling, and shares its memory with the CPU
        return torch.device("cpu")
    return device if 4 * _COPIES * values <= free_gpu_memory(device) // 2 else torch.device("cpu")


def free_gpu_memory(device: torch.device) -> int:
    """Bytes of a GPU that tensors can take: those that no program has, and those that PyTorch keeps unused."""
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


@torch.no_grad()
def tiled_logits(
    network: Network, source: Source, height: int, width: int, settings: InferenceConfig, images: int = 1
) -> Tensor:
    """Logits (images, out, height, width), float32 on `choose_home`'s device, of a whole image, or of equal ones.

    One batch of tiles is in memory at a time.

    Args:
        network: in eval mode, on any device.
        source: returns the normalised image, or images.
        height: of the image, in pixels.
        width: of the image, in pixels.
        settings: `tile`, `batch_size`, `context`, `blend`.
        images: as many as the source returns, whose tiles share each pass.

    Raises:
        ConfigError: if `tile` is too small for the network.
    """
    architecture = network.architecture
    rows, columns = (plan_tiles(architecture, size, settings) for size in (height, width))
    alike = defaultdict(list)  # only tiles of one shape go into one batch
    for row, column in product(rows, columns):
        alike[row.size, column.size].append((row, column))
    device = next(network.parameters()).device
    home = choose_home(device, images * architecture.out_channels * height * width)
    result = torch.zeros(images, architecture.out_channels, height, width, device=home)
    for (high, wide), tiles in alike.items():
        for number in range(0, len(tiles), settings.batch_size):
            batch = tiles[number : number + settings.batch_size]
            windows = torch.cat([source(row.start, column.start, high, wide) for row, column in batch])
            given = network(windows.to(device)).float().to(home)
            for (row, column), logits in zip(batch, given.split(images), strict=True):
                kept = logits[..., _slice(row.offset, row), _slice(column.offset, column)]
                if settings.blend:
                    weights = _weights(row, height, settings.blend)[:, None] * _weights(column, width, settings.blend)
                    kept = kept * weights.to(home)
                result[..., _slice(row.first, row), _slice(column.first, column)] += kept
    return result


@torch.no_grad()
def part_logits(network: Network, source: Source, size: Size, part: Part, settings: InferenceConfig) -> Tensor:
    """Logits (1, out, height, width), float32 on the network's device, of a part of an image of `size`, in one pass.

    They equal those of `tiled_logits` there. The network is in eval mode; of the settings only `context` counts. It
    asks the source for one window, that of `part_window`.
    """
    row, column = _plan_sides(network, size, part, settings)
    device = next(network.parameters()).device
    logits: Tensor = network(source(row.start, column.start, row.size, column.size).to(device))
    return logits[..., _slice(row.offset, row), _slice(column.offset, column)].float()


def part_window(network: Network, size: Size, part: Part, settings: InferenceConfig) -> Part:
    """The window of an image of `size` that `part_logits` reads for a part of it."""
    row, column = _plan_sides(network, size, part, settings)
    return row.start, column.start, row.size, column.size


def _plan_sides(network: Network, size: Size, part: Part, settings: InferenceConfig) -> tuple[Tile, Tile]:
    top, left, high, wide = part
    extra = surround(network.architecture, settings.context)
    row = plan_part(network.architecture, size[0], top, top + high, extra)
    return row, plan_part(network.architecture, size[1], left, left + wide, extra)


def _slice(start: int, tile: Tile) -> slice:
    return slice(start, start + tile.stop - tile.first)


def _weights(tile: Tile, size: int, blend: int) -> Tensor:
    """Weights of kept pixels: ramps over the overlaps, with the sum 1 over two neighbours."""
    pixels = torch.arange(tile.first, tile.stop)
    weights = torch.ones(len(pixels))
    if tile.first > 0:
        weights = weights.minimum((pixels - tile.first + 1) / (blend + 1))
    if tile.stop < size:
        weights = weights.minimum((tile.stop - pixels) / (blend + 1))
    return weights
