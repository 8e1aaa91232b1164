"""How much memory there is, and how much a prediction takes: what decides whether an image is held whole or by tiles.

Every count is of bytes, for float32; what a network of mixed precision takes is less.
"""

import ctypes
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from unet_exp.config import InferenceConfig
from unet_exp.errors import ConfigError
from unet_exp.geometry import (
    FUSIONS,
    Architecture,
    CustomArchitecture,
    channels,
    fused_channels,
    input_for_output,
    layers,
    total_stride,
    upsampled_channels,
)
from unet_exp.inference.tiling.tile_plan import surround
from unet_exp.network import Network

Shape = tuple[int, int, int]
"""Height and width in pixels, and channels."""

SHARE_OF_FREE = 0.75
"""Of the memory that is free, what a prediction may take where the user sets no budget."""
OVERHEAD = 32 * 10**6
"""What a first pass loads once, and what small objects take."""
SCRATCH = 1.2
"""What a library takes for a convolution beside its maps, as a factor of them."""

_PAPERS_BYTES = 2000  # a pixel of the input
_M_MMAP_THRESHOLD = -3  # malloc.h
_UNITS = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def read_size(text: str) -> int:
    """Bytes in `500MB`, `2GB` or `1.5GiB`.

    Raises:
        ConfigError: for anything else.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kmgt]i?)b", text.strip().lower())
    size = round(float(found[1]) * _UNITS[found[2]]) if found else 0
    if not size:
        raise ConfigError(f"memory={text}: this is no amount of memory; write it as 500MB or 2GB")
    return size


def format_size(size: int) -> str:
    """Bytes as `read_size` reads them, rounded up to three digits."""
    for unit in ("kB", "MB", "GB"):
        scale = _UNITS[unit[0].lower()]
        if size < 1000 * scale:
            hundredths = -(-size * 100 // scale)
            return f"{hundredths / 100:g}{unit}" if hundredths < 1000 else f"{-(-size // scale)}{unit}"
    return f"{-(-size // 10**9)}GB"


def return_freed_memory() -> None:
    """Has large blocks of memory given back to the system when they are freed, for the rest of this process.

    glibc keeps freed blocks of up to 32 MB for later, and a prediction by tiles then holds twice what it uses. Python
    and PyTorch have no word for it; other C libraries are left alone.
    """
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").mallopt(_M_MMAP_THRESHOLD, 2**20)


def forward_bytes(network: Network, height: int, width: int) -> int:
    """The most that the feature maps of one forward pass without gradients take at once, for one image.

    In a block of two convolutions live: the image, the skips of the levels passed, what the block was given, and two
    maps of its own, the one that is read and the one that is written. A decoder's block was given the map below, the
    up-sampled map, and both joined, and its fusion may have needed more before that. In a user's own network all that
    its modules give counts; one into which nobody can see is taken for one as wide as the paper's.

    Args:
        network: any.
        height: of its input, a legal size.
        width: likewise.

    Raises:
        ConfigError: if a size is illegal.
    """
    architecture = network.architecture
    if isinstance(architecture, CustomArchitecture):
        return _bytes_per_pixel(network) * height * width
    skips: list[int] = []
    image = 4 * architecture.in_channels * height * width
    peak = leaving = image
    for level, maps in _blocks(architecture, height, width):
        *given, first, second = maps
        decoder = len(given) == 2  # up-sampled and joined; in the encoder pooled, or the image itself
        scratch = _scratch(architecture, level, given[-1]) if decoder else 0
        if decoder and not FUSIONS[architecture.fusion].takes_skip:
            given.pop()  # nothing is joined: it is the up-sampled map
        held = image + sum(skips) + sum(given) + (leaving if decoder else 0)
        peak = max(peak, held + scratch, held + 2 * max(first, second))
        leaving = second
        if decoder:
            skips.pop()
        elif level < architecture.depth:
            skips.append(second)
    return peak


def _scratch(architecture: Architecture, level: int, joined: int) -> int:
    """Bytes that the fusion of a level holds beside what it is given and gives, from those of the joined map."""
    up, skip = upsampled_channels(architecture, level), channels(architecture, level)
    return joined * FUSIONS[architecture.fusion].scratch(up, skip) // fused_channels(architecture, level)


@lru_cache(maxsize=1)
def _bytes_per_pixel(network: Network) -> int:
    """Bytes a pixel of the input that all innermost modules of a network give, rounded up."""
    sizes, total = network.architecture.sizes, 0
    side = sizes.smallest + sizes.step

    def count(*seen: object) -> None:  # module, input, output
        nonlocal total
        total += seen[-1].nbytes if isinstance(seen[-1], Tensor) else 0

    device = next(network.parameters()).device
    hooks = [part.register_forward_hook(count) for part in network.modules() if not list(part.children())]
    try:
        with torch.no_grad():
            network(torch.zeros(1, network.architecture.in_channels, side, side, device=device))
    finally:
        for hook in hooks:
            hook.remove()
    if len(hooks) == 1:  # an exported one, or one without modules of its own
        return _PAPERS_BYTES
    return -(-total // side**2)


def tile_bytes(
    network: Network, tile: int, reach: int | Literal["auto"], values: int, itemsize: int, classes: int
) -> int:
    """The most that the prediction of one tile takes.

    Measured with single-threaded float32 on a CPU, for four networks of depth 4 and 5 and tiles of 256 to 512 pixels:
    at most 1.18 times `forward_bytes` and 20 MB more, once `return_freed_memory` was called; before, up to 2.7 times.

    Args:
        network: any.
        tile: pixels along each axis that are kept.
        reach: see `unet_exp.inference.tiling.tile_plan.surround`.
        values: of a pixel, in the file.
        itemsize: bytes of each.
        classes: of the network.
    """
    kept = tile + 2 * surround(network.architecture, reach)
    # A turned tile may start between two steps.
    side = input_for_output(network.architecture, kept + total_stride(network.architecture))
    weights = max(4 * parameter.numel() for parameter in network.parameters())
    reading = side**2 * values * (2 * itemsize + 20)  # read, mirrored, and as float32 at full scale, normalised
    computing = int(SCRATCH * forward_bytes(network, side, side)) + weights
    averaged = 12 * classes * tile**2  # the mean so far, the next, and one of them turned
    return max(reading, computing) + averaged


def whole_bytes(
    network: Network, settings: InferenceConfig, pages: Sequence[Shape], itemsize: int, classes: int
) -> int:
    """The most that the prediction of a file takes whose pages are held whole.

    Args:
        network: any.
        settings: its tiles.
        pages: height, width and channels of each.
        itemsize: bytes of each value.
        classes: of the network.
    """
    read = sum(2 * itemsize * height * width * channels + 5 * height * width for height, width, channels in pages)
    height, width, channels = max(pages, key=math.prod)
    pixels, tile = height * width, min(settings.tile, max(height, width))
    passes = settings.batch_size * tile_bytes(network, tile, settings.context, channels, itemsize, classes)
    inputs, results = 4 * channels * pixels, 4 * network.architecture.out_channels * pixels
    after = (20 * classes + 9) * pixels  # probabilities on their way through mean and argmax
    return OVERHEAD + read + max(5 * inputs, inputs + results + max(passes, after))


def _blocks(architecture: Architecture, height: int, width: int) -> Iterator[tuple[int, list[int]]]:
    """The level of each block of two convolutions, and the bytes of the maps that come about in it, in their order."""
    both = zip(layers(architecture, height), layers(architecture, width), strict=True)
    # A fusion's own steps are in _scratch, and the head is small.
    pairs = [(row, column) for row, column in both if row.kind not in ("mix", "head")]
    starts = [0, *(index for index, (row, _) in enumerate(pairs) if row.kind in ("pool", "up")), len(pairs)]
    for start, stop in pairwise(starts):
        block = pairs[start:stop]
        yield block[0][0].level, [4 * row.channels_out * row.size_out * column.size_out for row, column in block]
