"""The drawings of the variants of a U-Net: residual units, attention gates, deep supervision."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from drawings.board import DECODER, DPI, ENCODER, GREY, SCORES, SUM, Board
from drawings.diagram import PAPER, draw_network
from unet_exp.geometry import Block, Layer, layers

_LEVEL = 4  # of which gate and units are drawn
_WIDTH = 9.4  # inches of a picture


def draw_residual_unit(target: Path, dpi: float = DPI) -> None:
    """Draws a plain block and a residual unit of the encoder, with the channels and sizes of the paper's network."""
    board, start = Board(_WIDTH, 3.75), 1.1
    blocks: tuple[tuple[float, Block, str, tuple[str, ...]], ...] = (
        (2.55, "plain", "each convolution before its ReLU", ("conv 3x3", "norm", "ReLU")),
        (0.95, "residual", "each behind its ReLU, and what is read is added", ("norm", "ReLU", "conv 3x3")),
    )
    for y, block, title, words in blocks:
        steps = [step for step in layers(replace(PAPER, block=block), 572) if step.level == _LEVEL]
        first, second, added = steps[1:4]  # behind the pooling
        board.text(0.25, y + 0.9, f"block={block}: {title}", 12, ha="left", weight="bold")
        end = _draw_chain(board, start, y, (first, second), words)
        if added.kind == "shortcut":
            _draw_added(board, start, end, y, added)
    board.save(target, dpi)


def _draw_chain(board: Board, x: float, y: float, convs: Sequence[Layer], words: Sequence[str]) -> float:
    """Draws two convolutions, each with what stands beside it, from the map at `x`; returns where the last map is."""
    _draw_map(board, x, y, str(convs[0].channels_in), convs[0].size_in)
    for conv in convs:
        for word in words:
            board.arrow((x + (0.10 if word == words[0] else 0.40), y), (x + 0.24 + 0.28 * (word != words[0]), y))
            x += 0.62 if word == words[0] else 0.9
            _draw_step(board, x, y, word)
        board.arrow((x + 0.38, y), (x + 0.53, y))
        x += 0.64
        _draw_map(board, x, y, str(conv.channels_out), conv.size_out)
    return x


def _draw_added(board: Board, start: float, end: float, y: float, shortcut: Layer) -> None:
    """Draws the shortcut of a unit whose maps stand at `start` and `end`, and the sum."""
    gone, low, sum_ = (shortcut.size_in - shortcut.size_out) // 2, y - 0.72, end + 0.45
    words, middle, wide = f"crop {gone} px a side, conv 1x1", (start + sum_) / 2, 2.3
    board.line((start, y - 0.5), (start, low), (middle - wide / 2, low))
    board.line((middle + wide / 2, low), (sum_, low))
    board.arrow((sum_, low), (sum_, y - 0.1))
    _draw_step(board, middle, low, words, wide)
    board.arrow((end + 0.1, y), (sum_ - 0.08, y))
    board.plus(sum_, y, 11)
    board.arrow((sum_ + 0.1, y), (sum_ + 0.36, y))
    _draw_map(board, sum_ + 0.46, y, str(shortcut.channels_out), shortcut.size_out, SUM)


def draw_attention_gate(target: Path, dpi: float = DPI) -> None:
    """Draws the gate at one level of the paper's network: what both maps become, and what is multiplied."""
    steps = [step for step in layers(replace(PAPER, fusion="attention"), 572) if step.level == _LEVEL]
    of_up, of_skip, psi = (step for step in steps if step.kind == "mix")
    side = next(step for step in steps if step.kind == "fuse").size_out
    board, high, low, middle = Board(_WIDTH, 3.3), 2.3, 1.0, 1.65
    for y, face, step in ((low, DECODER, of_up), (high, ENCODER, of_skip)):
        _draw_map(board, 0.75, y, str(step.channels_in), side, face)
        board.arrow((0.86, y), (1.38, y))
        _draw_step(board, 1.8, y, "conv 1x1", 0.8)
        board.arrow((2.21, y), (2.6, y))
        _draw_map(board, 2.7, y, str(step.channels_out), side, face)
        board.arrow((2.82, y), (3.3, middle + (0.08 if y == high else -0.08)))
    x = 3.38
    board.plus(x, middle, 12)
    for word in ("ReLU", "conv 1x1", "sigmoid"):
        board.arrow((x + (0.1 if x < 3.5 else 0.41), middle), (x + (0.6 if x < 3.5 else 0.64), middle))
        x += 1.02 if x < 3.5 else 1.06
        _draw_step(board, x, middle, word, 0.8)
    board.arrow((x + 0.41, middle), (x + 0.7, middle))
    x += 0.78
    _draw_map(board, x, middle, str(psi.channels_out), side, SCORES, 0.07)
    board.text(x, middle - 0.62, "0 to 1", color=GREY)
    top, bottom, end = high + 0.68, low - 0.68, x + 0.95
    board.text(1.2, top - 0.14, "cropped skip", ha="left")
    board.text(1.2, bottom + 0.14, "upsampled map", ha="left")
    board.line((0.86, high + 0.22), (1.1, high + 0.22), (1.1, top), (end - 0.09, top), (end - 0.09, middle + 0.36))
    board.arrow((end - 0.09, top), (end - 0.09, middle + 0.33))
    board.arrow((x, middle + 0.56), (x, top - 0.1))
    board.times(x, top, 12)
    board.line((0.86, low - 0.22), (1.1, low - 0.22), (1.1, bottom), (end + 0.09, bottom), (end + 0.09, middle - 0.36))
    board.arrow((end + 0.09, bottom), (end + 0.09, middle - 0.33))
    board.box(end - 0.08, middle, 0.16, 0.62, ENCODER)
    board.box(end + 0.08, middle, 0.16, 0.62, DECODER)
    board.text(end + 0.25, middle + 0.1, f"{of_skip.channels_in}+{of_up.channels_in}", ha="left")
    board.text(end + 0.25, middle - 0.1, str(side), ha="left", color=GREY)
    board.save(target, dpi)


def _draw_map(
    board: Board, x: float, y: float, channels: str, size: int, face: str = ENCODER, width: float = 0.16
) -> None:
    board.box(x, y, width, 0.62, face)
    board.text(x, y + 0.43, channels)
    board.text(x, y - 0.43, str(size), color=GREY)


def _draw_step(board: Board, x: float, y: float, words: str, width: float = 0.74) -> None:
    board.box(x, y, width, 0.32, "white")
    board.text(x, y, words)


def draw_deep_supervision(target: Path, dpi: float = DPI) -> None:
    """Draws the paper's network with all three: gates, residual units and scores at the lower levels."""
    draw_network(replace(PAPER, fusion="attention", block="residual", deep_supervision=True), 572, target, dpi)
