"""How many parameters and multiply-accumulates a U-Net has, layer by layer, in closed forms."""

from bisect import bisect_left
from dataclasses import dataclass, replace
from typing import Literal, get_args

from unet_exp.geometry.architecture import (
    Architecture,
    channels,
    require_word,
    supervised_levels,
    upsampled_channels,
)
from unet_exp.geometry.fusions import FUSIONS
from unet_exp.geometry.norms import conv_parameters, norm_parameters
from unet_exp.geometry.sizes import check_size, legal_sizes

Match = Literal["parameters", "flops"]
LayerKind = Literal["conv", "shortcut", "pool", "up", "fuse", "mix", "side", "head"]


@dataclass(frozen=True)
class Layer:
    """One step of the network along one axis.

    Args:
        name: What is done, for people: `conv 3x3`, `crop + concat` …
        kind: `conv` 3x3 with its norm; `shortcut` adds what a residual unit reads to what its convolutions give;
            `pool` 2x2; `up` the learned doubling; `fuse` aligns and joins decoder and skip, and follows the learned
            steps of that, each a `mix`; `side` gives logits of a lower level, in training alone; `head` the last 1x1
            convolution.
        level: 1 at the full resolution, `depth` at the bottom.
        channels_in: Channels that it reads (for `fuse`, those of the decoder's map).
        channels_out: Channels that it gives.
        size_in: Pixels that it reads; for `fuse`, of the map that is cropped or padded.
        size_out: Pixels that it gives.
        kernel: Side of the kernel; 0 where nothing is learned.
        parameters: Weights, biases, and the two parameters a channel of its norm.
    """

    name: str
    kind: LayerKind
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


def fused_channels(architecture: Architecture, level: int) -> int:
    """Return the channels that the first decoder convolution of `level` reads."""
    return FUSIONS[architecture.fusion].channels(upsampled_channels(architecture, level), channels(architecture, level))


def layers(architecture: Architecture, size: int) -> list[Layer]:
    """Return every step of the network in forward order, for an input of `size` pixels along an axis.

    Raises:
        ConfigError: If `size` is illegal.
    """
    check_size(architecture, size)
    steps: list[Layer] = []
    skips: list[int] = []
    read, bottom, last = architecture.in_channels, architecture.depth, architecture.out_channels
    for level in range(1, bottom + 1):
        if level > 1:
            steps.append(Layer("max-pool 2x2", "pool", level, read, read, size, size // 2, 0, 0))
            size //= 2
        steps += _block(architecture, level, read, size, first=level == 1)
        read, size = steps[-1].channels_out, steps[-1].size_out
        skips.append(size)
    skips.pop()  # the bottom has no skip
    fusion = FUSIONS[architecture.fusion]
    for level in range(bottom - 1, 0, -1):
        upsampled, fused = upsampled_channels(architecture, level), fused_channels(architecture, level)
        kernel = 2 if architecture.upsample == "transposed" else 1
        name = "up-conv 2x2" if kernel == 2 else "conv 1x1, bilinear x2"
        weights = read * upsampled * kernel**2 + upsampled
        steps.append(Layer(name, "up", level, read, upsampled, size, 2 * size, kernel, weights))
        before, after = (skips.pop(), 2 * size) if architecture.align == "crop" else (2 * size, skips.pop())
        steps += [
            Layer(name, "mix", level, reads, gives, after, after, kernel, weights)
            for name, reads, gives, kernel, weights in fusion.learned(
                upsampled, channels(architecture, level), architecture.norm
            )
        ]
        join = architecture.fusion if fusion.takes_skip else "no skip"
        name = join if before == after else f"{architecture.align} + {join}"
        steps.append(Layer(name, "fuse", level, upsampled, fused, before, after, 0, 0))
        steps += _block(architecture, level, fused, after)
        read, size = steps[-1].channels_out, steps[-1].size_out
        if level in supervised_levels(architecture):
            steps.append(Layer("conv 1x1, in training", "side", level, read, last, size, size, 1, read * last + last))
    steps.append(Layer("conv 1x1", "head", 1, read, last, size, size, 1, read * last + last))
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
    """Return the whole width whose count is nearest to that of the plain network.

    Args:
        architecture: The network to be matched; its reference is itself with `fusion=concat`, plain blocks and no deep
            supervision.
        match: `parameters`, or `flops` for multiply-accumulates on a square input.
        size: Side of that input in pixels; it matters to `flops` alone.

    Returns:
        The width (paper network with `add`: 67 by parameters); of two equally near, the smaller.

    Raises:
        ConfigError: For an unknown `match`, or an illegal size with `flops`.
    """
    require_word("model.match", match, get_args(Match))

    def count(candidate: Architecture) -> int:
        return parameters(candidate) if match == "parameters" else macs(candidate, size, size)

    def cost(width: int) -> int:
        return count(replace(architecture, width=width))

    # A block without its skip costs half at least, and twice the width at least doubles it: look no further.
    target = count(replace(architecture, fusion="concat", block="plain", deep_supervision=False))
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
            short_count(layer.macs) if layer.macs else "-",
        )
        for layer in steps
    ]
    total = (f"{sum(layer.parameters for layer in steps):,}", short_count(sum(layer.macs for layer in steps)))
    sums = ("", "total", "", f"{size:>5} -> {steps[-1].size_out:<5}", *total)
    widths = [max(len(row[column]) for row in (head, sums, *rows)) for column in range(len(head))]

    def line(cells: tuple[str, ...]) -> str:
        return "  ".join(f"{c:{sign}{width}}" for c, sign, width in zip(cells, "><^^>>", widths, strict=True))

    rule = "-" * len(line(head))
    return [line(head), rule, *(line(row) for row in rows), rule, line(sums)]


def _block(architecture: Architecture, level: int, read: int, size: int, first: bool = False) -> list[Layer]:
    """Return the steps of a block; a norm has two parameters a channel in place of the bias before it."""
    width, norm = channels(architecture, level), architecture.norm
    loss = 2 if architecture.padding == "valid" else 0
    middle, after = size - loss, size - 2 * loss
    if architecture.block == "plain":
        name = "conv 3x3" if norm == "none" else f"conv 3x3, {norm} norm"
        return [
            Layer(name, "conv", level, reads, width, before, before - loss, 3, conv_parameters(reads, width, 3, norm))
            for reads, before in ((read, size), (width, middle))
        ]
    # Norms come before: that of the first convolution has the channels that the unit reads, and the second one, behind
    # which there is none, has the bias.
    name = "conv 3x3" if norm == "none" else f"{norm} norm, conv 3x3"
    one = 9 * read * width + (width if norm == "none" else 0) + (0 if first else norm_parameters(norm, read))
    two = 9 * width * width + width + norm_parameters(norm, width)
    shortcut = ("crop + " if loss else "") + ("shortcut" if read == width else "shortcut 1x1")
    learned = (0, 0) if read == width else (1, read * width)
    return [
        Layer("conv 3x3" if first else name, "conv", level, read, width, size, middle, 3, one),
        Layer(name, "conv", level, width, width, middle, after, 3, two),
        Layer(shortcut, "shortcut", level, read, width, size, after, *learned),
    ]


def short_count(number: int) -> str:
    """Return a count in a few letters, such as `2.30 G`."""
    for unit, factor in (("T", 10**12), ("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= factor:
            return f"{number / factor:.2f} {unit}"
    return f"{number}  "
