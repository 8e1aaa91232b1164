"""Sizes, margins, parameter and MAC counts of a U-Net, in plain integers.

Nothing here imports torch, so a wrong size is found before anything heavy is loaded. The two axes of an image
are independent: every function that takes one size speaks of one axis.

Words: *level* 1 is the full resolution, level `depth` the bottom; a *map* is a feature map; a *legal* size is
one that the network takes; the *lattice* is the grid of pixels on which every max-pooling starts.
"""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from math import gcd
from typing import Literal, get_args

from unet_exp.errors import ConfigError

Padding = Literal["valid", "same"]
Align = Literal["crop", "exact", "pad"]
Fusion = Literal["concat", "add", "none"]
Norm = Literal["none", "batch", "instance", "group"]
Upsample = Literal["transposed", "bilinear"]
Activation = Literal["softmax", "sigmoid"]
Match = Literal["parameters", "flops"]
Kind = Literal["conv", "pool", "up", "fuse", "head"]

MAX_DEPTH = 8
_LOSS_OF_TWO_CONVS = 4  # pixels an axis loses in two unpadded 3x3 convolutions


@dataclass(frozen=True)
class Architecture:
    """What a U-Net looks like; the paper's (Fig. 1) is valid, crop, 5, 64, 1, 2, concat, none, transposed.

    Args:
        padding: `valid`: unpadded 3x3 convolutions, as in the paper; `same`: padded by one zero on each side.
        align: How a decoder map meets its skip. `crop`: the skip is cropped at the centre; `exact`: they
            have one size; `pad`: the decoder map gets zeros at the bottom and right, so any size is legal.
        depth: Resolution levels (5 in the paper).
        width: Channels of the first level (64 in the paper); they double with each level.
        in_channels: Channels of the image.
        out_channels: Channels of the logits, see `out_channels`.
        fusion: `concat` puts the upsampled map before the skip; `add` adds them; `none` drops the skip.
        norm: Normalisation between each 3x3 convolution and its ReLU; for `group` see `norm_groups`.
        upsample: `transposed`: 2x2 up-convolution. `bilinear`: a 1x1 convolution at the low resolution, then
            bilinear doubling.
        relu_after_upsample: A ReLU after each up-sampling, as in the authors' Caffe release.
        keep_last_upsample_channels: The last up-sampling keeps its 2 x width channels, as in the release.

    Raises:
        ConfigError: For an unknown word, a number out of range or a combination that cannot be built.
    """

    padding: Padding
    align: Align
    depth: int
    width: int
    in_channels: int
    out_channels: int
    fusion: Fusion
    norm: Norm
    upsample: Upsample
    relu_after_upsample: bool = False
    keep_last_upsample_channels: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be built, with the key and the mend."""
        _require_word("model.padding", self.padding, get_args(Padding))
        _require_word("model.align", self.align, get_args(Align))
        _require_word("fusion", self.fusion, get_args(Fusion))
        _require_word("model.norm", self.norm, get_args(Norm))
        _require_word("model.upsample", self.upsample, get_args(Upsample))
        if not 1 <= self.depth <= MAX_DEPTH:
            raise ConfigError(f"model.depth={self.depth} is out of range: set 1 to {MAX_DEPTH} (5 in the paper)")
        for key in ("width", "in_channels", "out_channels"):
            number = getattr(self, key)
            if number < 1:
                key = "model.width" if key == "width" else key
                raise ConfigError(f"{key}={number} is out of range: set 1 or more")
        if self.padding == "valid" and self.align != "crop":
            raise ConfigError(
                f"model.align={self.align} does not go with model.padding=valid, whose skips are larger "
                "than the decoder's maps: set model.align=crop, or model.padding=same"
            )
        if self.padding == "same" and self.align == "crop":
            raise ConfigError(
                f"model.align=crop does not go with model.padding=same, which has nothing to crop: "
                f"set model.align=exact (sizes in multiples of {lattice(self)}) or model.align=pad (any size)"
            )
        if self.keep_last_upsample_channels and self.fusion == "add":
            raise ConfigError(
                f"fusion=add cannot add {2 * self.width} channels to {self.width}: set fusion=concat or "
                "fusion=none, or model.keep_last_upsample_channels=false (model=release sets it to true)"
            )


@dataclass(frozen=True)
class Layer:
    """One step of the network along one axis.

    Args:
        name: What is done, for people: `conv 3x3`, `crop + concat` …
        kind: `conv` 3x3 with its norm; `pool` 2x2; `up` the learned doubling; `fuse` aligns and joins decoder
            and skip; `head` the last 1x1 convolution.
        level: 1 at the full resolution, `depth` at the bottom.
        channels_in: Channels that it reads (for `fuse`, those of the decoder's map).
        channels_out: Channels that it gives.
        size_in: Pixels that it reads; for `fuse`, of the map that is cropped or padded.
        size_out: Pixels that it gives.
        kernel: Side of the kernel; 0 where nothing is learned.
        parameters: Weights, biases, and the two parameters a channel of its norm.
    """

    name: str
    kind: Kind
    level: int
    channels_in: int
    channels_out: int
    size_in: int
    size_out: int
    kernel: int
    parameters: int

    @property
    def positions(self) -> int:
        """Places along the axis at which it multiplies; an `up` layer does so at the low resolution."""
        return self.size_in if self.kind == "up" else self.size_out

    @property
    def macs_per_position(self) -> int:
        """Multiply-accumulates at one place of the map."""
        return self.channels_in * self.channels_out * self.kernel**2

    @property
    def macs(self) -> int:
        """Multiply-accumulates on one square image; padding counts as pixels, biases and norms do not."""
        return self.macs_per_position * self.positions**2


# --- legal sizes ---


def lattice(architecture: Architecture) -> int:
    """Return 2^(depth-1): the network is equivariant to shifts by multiples of it, and to no others."""
    return 1 << (architecture.depth - 1)


def is_legal(architecture: Architecture, size: int) -> bool:
    """Tell whether the network takes an input of `size` pixels along an axis."""
    smallest, step = _smallest_and_step(architecture)
    return size >= smallest and (size - smallest) % step == 0


def legal_sizes(architecture: Architecture) -> Iterator[int]:
    """Iterate over all legal input sizes from the smallest, without end (paper network: 188, 204, 220 …)."""
    return count(*_smallest_and_step(architecture))


def smaller_legal(architecture: Architecture, size: int) -> int | None:
    """Return the largest legal input size below `size`, or None where there is none."""
    smallest, step = _smallest_and_step(architecture)
    return None if size <= smallest else smallest + (size - 1 - smallest) // step * step


def larger_legal(architecture: Architecture, size: int) -> int:
    """Return the smallest legal input size above `size`."""
    smallest, step = _smallest_and_step(architecture)
    return smallest if size < smallest else smallest + ((size - smallest) // step + 1) * step


def check_size(architecture: Architecture, size: int, what: str = "input size") -> None:
    """Refuse an illegal input size; the one place where a size is checked.

    Args:
        architecture: The network.
        size: Input size along one axis, in pixels.
        what: Where the size comes from, as the user knows it, such as `data.tile`.

    Raises:
        ConfigError: Names the size, its source and the nearest legal sizes.
    """
    if is_legal(architecture, size):
        return
    smaller, larger = smaller_legal(architecture, size), larger_legal(architecture, size)
    mend = (
        f"the smallest legal size is {larger}"
        if smaller is None
        else f"the nearest legal sizes are {smaller} and {larger}"
    )
    raise ConfigError(
        f"{what}={size} does not fit a network with model.padding={architecture.padding}, "
        f"model.align={architecture.align} and model.depth={architecture.depth}: {mend}"
    )


def output_size(architecture: Architecture, size: int, what: str = "input size") -> int:
    """Return the size of the logits for an input of `size` pixels (paper network: 572 gives 388).

    Raises:
        ConfigError: If `size` is illegal; `what` says where it comes from.
    """
    check_size(architecture, size, what)
    return size - 2 * context(architecture)


def input_for_output(architecture: Architecture, tile: int, what: str = "data.tile") -> int:
    """Return the smallest legal input whose output covers `tile` pixels (388: `valid` 572, `same` 400).

    Raises:
        ConfigError: If `tile` is not positive; `what` says where it comes from.
    """
    if tile < 1:
        raise ConfigError(f"{what}={tile} is out of range: set 1 or more pixels")
    return larger_legal(architecture, tile + 2 * context(architecture) - 1)


def tile_step(architecture: Architecture, tile: int, blend: int = 0) -> int:
    """Return the largest step between tiles that give `tile` pixels each (paper network: 388 gives 384).

    It is a multiple of the lattice, on which the tiles of one image start.

    Args:
        architecture: The network.
        tile: Pixels that one pass gives at most, along one axis.
        blend: Pixels in which neighbours overlap.

    Raises:
        ConfigError: If `tile` has no room for a step that is at least `blend`; names the smallest that has.
    """
    step = lattice(architecture)
    smallest = max(step, -(-blend // step) * step) + blend
    if tile < smallest:
        beside = f" and inference.blend={blend}" if blend else ""
        raise ConfigError(
            f"inference.tile={tile} is too small for a network with model.depth={architecture.depth}{beside}: "
            f"set {smallest} or more pixels"
        )
    return (tile - blend) // step * step


def _smallest_and_step(architecture: Architecture) -> tuple[int, int]:
    """Return the smallest legal size and the distance between legal sizes."""
    # A single pixel at the bottom leaves a norm nothing to compare: torch will not train batch norm at batch
    # 1, instance norm, and group norm of one channel a group. One rule for all: legality ignores the width.
    bottom = 1 if architecture.norm == "none" else 2
    if architecture.padding == "same":
        return bottom * lattice(architecture), 1 if architecture.align == "pad" else lattice(architecture)
    needed = 1  # upwards in reverse: how large the decoder's maps must be, so that one pixel is left on top
    for _ in range(architecture.depth - 1):
        needed = (needed + _LOSS_OF_TWO_CONVS + 1) // 2
    size = max(bottom, needed) + _LOSS_OF_TWO_CONVS
    for _ in range(architecture.depth - 1):  # downwards in reverse: what was pooled was even
        size = 2 * size + _LOSS_OF_TWO_CONVS
    return size, lattice(architecture)


# --- what an output sees ---


def context(architecture: Architecture) -> int:
    """Return (input - output) / 2 in pixels: what unpadded convolutions take from each side, 0 for `same`."""
    if architecture.padding == "same":
        return 0
    step = lattice(architecture)
    encoder, decoder = 2 * step - 1, step - 1  # 1 + 2 + 4 … over the levels, with the bottom and without it
    return _LOSS_OF_TWO_CONVS * (encoder + decoder) // 2


def margin(architecture: Architecture) -> int:
    """Return how many input pixels an output pixel sees to either side at most, over all lattice phases.

    In coordinates in which input and output are aligned it is the same for `valid` and `same` (paper network:
    107, bilinear 122). It is at least `context`, which is what the phase that sees least to one side needs.
    Instance and group norm, and batch norm while training, see the whole image: this counts convolutions,
    pooling and up-sampling alone.
    """
    fields = [(pixel, *_seen(architecture, 1, pixel, pixel)) for pixel in range(lattice(architecture))]
    return max(max(pixel - low, high - pixel) for pixel, low, high in fields)


def _seen(architecture: Architecture, level: int, low: int, high: int) -> tuple[int, int]:
    """Return the interval of a level's input map that its output pixels `low` to `high` depend on."""
    low, high = low - 2, high + 2  # the two convolutions of the decoder, or of the bottom
    if level == architecture.depth:
        return low, high
    blur = 1 if architecture.upsample == "bilinear" else 0  # it also reads the coarse pixel next door
    low, high = _seen(architecture, level + 1, (low - blur) // 2, (high + blur) // 2)
    # Through the pool and the two convolutions of the encoder. The skip's own interval lies inside this one.
    return 2 * low - 2, 2 * high + 1 + 2


# --- counting ---


def out_channels(classes: int, activation: Activation) -> int:
    """Return the channels of the logits: one a class, but 1 (the logit of class 1) for `sigmoid` with two.

    Raises:
        ConfigError: For fewer than two classes or an unknown activation.
    """
    _require_word("activation", activation, get_args(Activation))
    if classes < 2:
        raise ConfigError(f"the data has {classes} classes: at least 2 are needed, background among them")
    return 1 if activation == "sigmoid" and classes == 2 else classes


def norm_groups(channels: int) -> int:
    """Return the number of groups of a group norm: the largest divisor of `channels` among 1, 2, 4 and 8."""
    return gcd(8, channels)


def upsampled_channels(architecture: Architecture, level: int) -> int:
    """Return the channels that the up-sampling into `level` gives: half, or in the release's last one all."""
    keeps = level == 1 and architecture.keep_last_upsample_channels
    return _channels(architecture, level + 1 if keeps else level)


def fused_channels(architecture: Architecture, level: int) -> int:
    """Return the channels that the first decoder convolution of `level` reads."""
    skip = _channels(architecture, level) if architecture.fusion == "concat" else 0
    return upsampled_channels(architecture, level) + skip


def layers(architecture: Architecture, size: int) -> list[Layer]:
    """Return every step of the network in forward order, for an input of `size` pixels along an axis.

    Raises:
        ConfigError: If `size` is illegal.
    """
    check_size(architecture, size)
    steps: list[Layer] = []
    skips: list[int] = []
    channels, bottom = architecture.in_channels, architecture.depth
    for level in range(1, bottom + 1):
        if level > 1:
            steps.append(Layer("max-pool 2x2", "pool", level, channels, channels, size, size // 2, 0, 0))
            size //= 2
        steps += _two_convs(architecture, level, channels, size)
        channels, size = steps[-1].channels_out, steps[-1].size_out
        skips.append(size)
    skips.pop()  # the bottom has no skip
    for level in range(bottom - 1, 0, -1):
        upsampled, fused = upsampled_channels(architecture, level), fused_channels(architecture, level)
        kernel = 2 if architecture.upsample == "transposed" else 1
        name = "up-conv 2x2" if kernel == 2 else "conv 1x1, bilinear x2"
        weights = channels * upsampled * kernel**2 + upsampled
        steps.append(Layer(name, "up", level, channels, upsampled, size, 2 * size, kernel, weights))
        before, after = (skips.pop(), 2 * size) if architecture.align == "crop" else (2 * size, skips.pop())
        join = "no skip" if architecture.fusion == "none" else architecture.fusion
        name = join if before == after else f"{architecture.align} + {join}"
        steps.append(Layer(name, "fuse", level, upsampled, fused, before, after, 0, 0))
        steps += _two_convs(architecture, level, fused, after)
        channels, size = steps[-1].channels_out, steps[-1].size_out
    last = architecture.out_channels
    steps.append(Layer("conv 1x1", "head", 1, channels, last, size, size, 1, channels * last + last))
    return steps


def parameters(architecture: Architecture) -> int:
    """Return the number of learned parameters (paper network: 31,030,658)."""
    return sum(layer.parameters for layer in layers(architecture, next(legal_sizes(architecture))))


def macs(architecture: Architecture, height: int, width: int) -> int:
    """Return the multiply-accumulates of all convolutions on one image of `height` x `width` pixels.

    Raises:
        ConfigError: If a size is illegal.
    """
    pairs = zip(layers(architecture, height), layers(architecture, width), strict=True)
    return sum(row.macs_per_position * row.positions * column.positions for row, column in pairs)


def matched_width(architecture: Architecture, match: Match, size: int) -> int:
    """Return the whole width whose count is nearest to that of the same network with `fusion=concat`.

    Args:
        architecture: The network to be matched; its reference is itself with `fusion=concat`.
        match: `parameters`, or `flops` for multiply-accumulates on a square input.
        size: Side of that input in pixels; it matters to `flops` alone.

    Returns:
        The width (paper network with `add`: 67 by parameters); of two equally near, the smaller.

    Raises:
        ConfigError: For an unknown `match`, or an illegal size with `flops`.
    """
    _require_word("model.match", match, get_args(Match))

    def cost(width: int, fusion: Fusion = architecture.fusion) -> int:
        candidate = replace(architecture, width=width, fusion=fusion)
        return parameters(candidate) if match == "parameters" else macs(candidate, size, size)

    # A layer without its skip costs half at least, and twice the width at least doubles it: look no further.
    target = cost(architecture.width, "concat")
    above = bisect_left(range(2 * architecture.width), target, lo=1, key=cost)
    return min((max(above - 1, 1), above), key=lambda width: abs(cost(width) - target))


def layer_table(architecture: Architecture, size: int) -> list[str]:
    """Return the lines of a table of all layers: channels, sizes, parameters, MACs, and the totals.

    Raises:
        ConfigError: If `size` is illegal.
    """
    steps = layers(architecture, size)
    head = ("level", "layer", "channels", "size", "parameters", "MACs")
    rows = [
        (
            str(layer.level),
            layer.name,
            f"{layer.channels_in:>5} -> {layer.channels_out:<5}",
            f"{layer.size_in:>5} -> {layer.size_out:<5}",
            f"{layer.parameters:,}" if layer.parameters else "-",
            _short(layer.macs) if layer.macs else "-",
        )
        for layer in steps
    ]
    total = (f"{sum(layer.parameters for layer in steps):,}", _short(sum(layer.macs for layer in steps)))
    sums = ("", "total", "", f"{size:>5} -> {steps[-1].size_out:<5}", *total)
    widths = [max(len(row[column]) for row in (head, sums, *rows)) for column in range(len(head))]

    def line(cells: tuple[str, ...]) -> str:
        return "  ".join(f"{c:{sign}{width}}" for c, sign, width in zip(cells, "><^^>>", widths, strict=True))

    rule = "-" * len(line(head))
    return [line(head), rule, *(line(row) for row in rows), rule, line(sums)]


def _channels(architecture: Architecture, level: int) -> int:
    return architecture.width << (level - 1)


def _two_convs(architecture: Architecture, level: int, channels: int, size: int) -> list[Layer]:
    """Return the 3x3 convolutions of a block; a norm has two parameters a channel in place of the bias."""
    width, norm = _channels(architecture, level), architecture.norm
    loss = 2 if architecture.padding == "valid" else 0
    extra, name = (width, "conv 3x3") if norm == "none" else (2 * width, f"conv 3x3, {norm} norm")
    return [
        Layer(name, "conv", level, read, width, before, before - loss, 3, 9 * read * width + extra)
        for read, before in ((channels, size), (width, size - loss))
    ]


def _require_word(key: str, word: str, words: tuple[str, ...]) -> None:
    if word not in words:
        raise ConfigError(f"{key}={word} is unknown: choose one of {', '.join(words)}")


def _short(number: int) -> str:
    for unit, factor in (("T", 10**12), ("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= factor:
            return f"{number / factor:.2f} {unit}"
    return f"{number}  "
