"""Estimates of the memory of a prediction, to choose between the whole image and tiles.

All numbers are bytes for float32; mixed precision takes less.
"""

import math
import re
import weakref
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from unet_exp.config import InferenceConfig
from unet_exp.errors import ConfigError
from unet_exp.geometry import (
    FUSIONS,
    AnyArchitecture,
    Architecture,
    CustomArchitecture,
    EncoderArchitecture,
    channels,
    fused_channels,
    input_for_output,
    layers,
    total_stride,
    upsampled_channels,
)
from unet_exp.inference.tiling.tile_plan import surround
from unet_exp.network import EncoderNetwork, Network

Shape = tuple[int, int, int]
"""Height and width in pixels, and channels."""

SHARE_OF_FREE = 0.75
"""Default budget of a prediction, as a share of the free memory."""
OVERHEAD = 32 * 10**6
"""Bytes of what a first pass loads once, and of small objects."""
_OVERHEAD_OF_MORE = 24 * 10**6
"""The same for each further architecture of an ensemble: kernels are made for the shapes of its maps.

Measured with single-threaded float32 on a CPU for networks like that of `experiment=small` with `inference=flips8`,
whose turned tiles have several shapes; networks of one architecture share them.
"""
SCRATCH = 1.2
"""Memory of a convolution with a library's scratch space, as a factor of its maps."""

_KNOWN: WeakKeyDictionary[Network, int] = WeakKeyDictionary()
"""Of users' own networks, see `_bytes_per_pixel`: a pass each."""
_PAPERS_BYTES = 2000  # per pixel of the input of the paper's network
_UNITS = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def read_size(text: str) -> int:
    """Parses bytes such as `500MB`, `2GB` or `1.5GiB`.

    Raises:
        ConfigError: for anything else.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kmgt]i?)b", text.strip().lower())
    size = round(float(found[1]) * _UNITS[found[2]]) if found else 0
    if not size:
        raise ConfigError(f"memory={text}: this is no amount of memory; write it as 500MB or 2GB")
    return size


def format_size(size: int) -> str:
    """Writes bytes for `read_size`, rounded up to three digits."""
    for unit in ("kB", "MB", "GB"):
        scale = _UNITS[unit[0].lower()]
        if size < 1000 * scale:
            hundredths = -(-size * 100 // scale)
            return f"{hundredths / 100:g}{unit}" if hundredths < 1000 else f"{-(-size // scale)}{unit}"
    return f"{-(-size // 10**9)}GB"


def forward_bytes(network: Network, height: int, width: int) -> int:
    """The peak of the feature maps of one forward pass without gradients, for one image of a legal size.

    In a block of two convolutions live: the image, the skips of the levels passed, the inputs of the block, and maps of
    its own, see `_inside`. The inputs of a decoder's block are the map below, the up-sampled map, and both joined, and
    its fusion may need more before that. Above an encoder of timm the maps that live at once are watched. In a user's
    own network all outputs of its modules count; an opaque one counts as wide as the paper's.

    Raises:
        ConfigError: if a size is illegal.
    """
    architecture = network.architecture
    if isinstance(network, EncoderNetwork):
        return (_bytes_per_pixel(network) + _scratch_above(network)) * height * width
    if isinstance(architecture, CustomArchitecture | EncoderArchitecture):
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
        alive = image + sum(skips) + sum(given) + (leaving if decoder else 0)
        inside = _inside(architecture, given[-1] if given else image, first, second)
        peak = max(peak, alive + max(scratch, inside))
        leaving = second
        if decoder:
            skips.pop()
        elif level < architecture.depth:
            skips.append(second)
    return peak


def _inside(architecture: Architecture, read: int, first: int, second: int) -> int:
    """Bytes that a block holds beside the map that it reads, from those of this map and of its two convolutions.

    A plain one holds what a convolution reads and gives. A residual unit's first convolution reads a copy; at its end
    there are what it gives, what is added, of which a cropped copy is made before, and the sum.
    """
    if architecture.block == "plain":
        return 2 * max(first, second)
    cropped = read if architecture.padding == "valid" else 0
    return max(read + first, 2 * first, 2 * second + max(second, cropped))


def _scratch(architecture: Architecture, level: int, joined: int) -> int:
    """Bytes of the fusion of a level beside its inputs and output, from those of the joined map."""
    up, skip = upsampled_channels(architecture, level), channels(architecture, level)
    return joined * FUSIONS[architecture.fusion].scratch(up, skip) // fused_channels(architecture, level)


def _scratch_above(network: EncoderNetwork) -> int:
    """Bytes of the fusions above an encoder beside their inputs and outputs, per pixel of the input, rounded up."""
    fusion, depth = FUSIONS[network.architecture.decoder.fusion], network.architecture.decoder.depth
    skips = [
        (level, of.up, of.skip) for level, of in zip(range(depth - 1, 0, -1), network.levels, strict=True) if of.skip
    ]
    return max((-(-4 * fusion.scratch(up, skip) >> 2 * (level - 1)) for level, up, skip in skips), default=0)


def _bytes_per_pixel(network: Network) -> int:
    """Bytes of a network's maps per pixel of the input, rounded up; see `_measure_bytes`."""
    if network not in _KNOWN:
        _KNOWN[network] = _measure_bytes(network)
    return _KNOWN[network]


def _measure_bytes(network: Network) -> int:
    """Measures the bytes of the outputs of all of a network's innermost modules per pixel of the input, rounded up.

    Of an encoder of timm with its decoder: of the outputs of its modules that live at once.
    """
    sizes, total = network.architecture.sizes, 0
    side, known = sizes.smallest + sizes.step, isinstance(network.architecture, EncoderArchitecture)
    outputs: list[weakref.ref[Tensor]] = []

    def count(_: object, given: tuple[object, ...], output: object) -> None:
        nonlocal total
        if not isinstance(output, Tensor):
            return
        if not known:
            total += output.nbytes
            return
        outputs.append(weakref.ref(output))
        there = [*given, *(tensor for find in outputs if (tensor := find()) is not None)]
        memory = [tensor.untyped_storage() for tensor in there if isinstance(tensor, Tensor)]
        total = max(total, sum({each.data_ptr(): each.nbytes() for each in memory}.values()))

    device = next(network.parameters()).device
    hooks = [part.register_forward_hook(count) for part in network.modules() if known or not list(part.children())]
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
    networks: Sequence[Network], tile: int, reach: int | Literal["auto"], values: int, itemsize: int, classes: int
) -> int:
    """The peak of the prediction of a tile of `tile` kept pixels a side, with `values` of `itemsize` bytes per pixel.

    Several networks predict one after another; some keep what a pass took. Measured with single-threaded float32 on a
    CPU, for four networks of depth 4 and 5 and tiles of 256 to 512 pixels: at most 1.18 times `forward_bytes` and 20 MB
    more, after `return_freed_memory`; before, up to 2.7 times.
    """
    kept, freed = [0], [0]
    for network in networks:
        needed = _pass_bytes(network, tile, reach, values, itemsize)
        (kept if network.keeps_memory else freed).append(needed)
    averaged = 12 * classes * tile**2  # the mean so far, the next, and one of them turned
    return sum(kept) + max(freed) + averaged + mean_bytes(networks, classes, tile**2)


def overhead_bytes(networks: Sequence[Network]) -> int:
    """What the first passes of networks load once, and small objects."""
    architectures: list[AnyArchitecture] = []
    for network in networks:
        if network.architecture not in architectures:
            architectures.append(network.architecture)
    return OVERHEAD + _OVERHEAD_OF_MORE * (len(architectures) - 1)


def mean_bytes(networks: Sequence[Network], classes: int, pixels: int) -> int:
    """What several networks keep while the next one predicts: the mean so far, and what the one before it gave."""
    return 8 * classes * pixels if len(networks) > 1 else 0


def _pass_bytes(network: Network, tile: int, reach: int | Literal["auto"], values: int, itemsize: int) -> int:
    side = _input_side(network, tile, reach)
    weights = max(4 * parameter.numel() for parameter in network.parameters())
    computing = int(SCRATCH * forward_bytes(network, side, side)) + weights
    return max(reading_bytes([network], tile, reach, values, itemsize), computing)


def reading_bytes(
    networks: Sequence[Network], tile: int, reach: int | Literal["auto"], values: int, itemsize: int, versions: int = 1
) -> int:
    """The peak of the reading of a tile; its `versions`, for test-time augmentation, are kept until it is computed."""
    side = max(_input_side(network, tile, reach) for network in networks)
    # Read, mirrored, and as float32 at full scale, normalised.
    return side**2 * values * (2 * itemsize + 20 + 2 * 4 * (versions * len(networks) - 1))


def _input_side(network: Network, tile: int, reach: int | Literal["auto"]) -> int:
    """Pixels of the network's input for a tile; a turned one may start between two steps."""
    kept = tile + 2 * surround(network.architecture, reach)
    return input_for_output(network.architecture, kept + total_stride(network.architecture))


def whole_bytes(
    networks: Sequence[Network],
    inputs: int,
    settings: InferenceConfig,
    pages: Sequence[Shape],
    itemsize: int,
    classes: int,
) -> int:
    """The peak of the prediction of a file with whole pages in memory, `itemsize` bytes per value.

    Args:
        networks: that predict, one after another.
        inputs: how many differently normalised images they take.
        settings: of the prediction.
        pages: of the file.
        itemsize: of the file.
        classes: that the networks tell apart.
    """
    read = sum(2 * itemsize * height * width * channels + 5 * height * width for height, width, channels in pages)
    height, width, channels = max(pages, key=math.prod)
    pixels, tile = height * width, min(settings.tile_pixels, max(height, width))
    passes = settings.batch_size * tile_bytes(networks, tile, settings.context, channels, itemsize, classes)
    given, out = 4 * channels * pixels, max(network.architecture.out_channels for network in networks)
    held = inputs * given + 4 * out * pixels + mean_bytes(networks, classes, pixels)
    after = (20 * classes + 9) * pixels  # probabilities on their way through mean and argmax
    return overhead_bytes(networks) + read + max((4 + inputs) * given, held + max(passes, after))


def _blocks(architecture: Architecture, height: int, width: int) -> Iterator[tuple[int, list[int]]]:
    """The level of each block of two convolutions, and the bytes of its maps, in their order."""
    both = zip(layers(architecture, height), layers(architecture, width), strict=True)
    # A fusion's own steps are in _scratch, what a residual unit adds in _inside, and the head is small.
    beside = ("mix", "shortcut", "side", "head")
    pairs = [(row, column) for row, column in both if row.kind not in beside]
    starts = [0, *(index for index, (row, _) in enumerate(pairs) if row.kind in ("pool", "up")), len(pairs)]
    for start, stop in pairwise(starts):
        block = pairs[start:stop]
        yield block[0][0].level, [4 * row.channels_out * row.size_out * column.size_out for row, column in block]
