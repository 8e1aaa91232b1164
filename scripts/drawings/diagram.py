"""The drawings in `docs/`, made from the geometry and the generator: they cannot say what the code does not do."""

from dataclasses import replace
from math import sqrt
from pathlib import Path
from typing import NamedTuple

import numpy as np

from drawings.board import DECODER, DPI, ENCODER, GREY, SCORES, SUM, Board, Point
from unet_exp.config import ClassSpec
from unet_exp.data.sets.synthetic import CLASSES, MANY_CLASSES, generate
from unet_exp.geometry import FUSIONS, Architecture, Layer, input_for_output, layers, lost_border, parameters
from unet_exp.mirror import mirror_window
from unet_exp.samples.classes import colorize

PAPER = Architecture("valid", "crop", 5, 64, 1, 2, "concat", "none", "transposed")
"""The network of the paper's Fig. 1."""

PHOTO_DPI = 120  # noise makes large files

_STEP_COLORS = {
    "conv": "#1f4e79", "shortcut": "#8a6d1d", "pool": "#b8322a", "up": "#2c7d3f", "side": "#c06bd8", "head": "#7b3f9d",
}  # fmt: skip
_WIDTH = 9.4  # inches of a picture: at 800 px in a page, 9 points are 11 px
_GAP, _FOOT, _HEAD = 0.62, 0.95, 0.88  # inches between levels, below and above them


class _Map(NamedTuple):
    """A feature map on the sheet; of a joined one `x` is the middle of the upsampled part."""

    x: float
    y: float
    width: float
    height: float
    size: int
    channels: int


def draw_network(architecture: Architecture, size: int, target: Path, dpi: float = DPI) -> None:
    """Draws a network as a U: each map's channels and side, each crop or padding, and how the skips are joined.

    Under each residual unit a line leads from what it reads to what it gives; scores of lower levels stand beside them.

    Args:
        architecture: the network.
        size: side of its square input, legal, in pixels.
        target: the PNG to write.
        dpi: pixels per inch; five levels are 9.4 inches wide.

    Raises:
        ConfigError: if `size` is illegal.
    """
    steps, depth = layers(architecture, size), architecture.depth
    sides = [max(step.size_out for step in steps if step.level == level) for level in range(1, depth + 1)]
    sides[0] = size
    tall = [1.05 * sqrt(side / size) for side in sides]
    most = max(step.channels_out for step in steps)
    pitch, wide_pitch = 0.42 if most <= 1024 else 0.52, 0.85  # from map to map, the latter at the bottom
    length = pitch * (4 * depth - 3) + 2 * wide_pitch
    board = Board(max(_WIDTH, length + 1.45), sum(tall) + _GAP * (depth - 1) + _FOOT + _HEAD)

    def place(x: float, level: int, side: int, channels: int, face: str) -> _Map:
        y = _FOOT + sum(tall[level:]) + _GAP * (depth - level) + tall[level - 1] / 2
        height = tall[level - 1] * side / sides[level - 1]
        new = _Map(x, y, 0.06 + 0.25 * sqrt(channels / most), height, side, channels)
        board.box(*new[:4], face)
        return new

    here = place((board.width - length) / 2 + 0.3, 1, size, architecture.in_channels, "white")
    _label(board, here, here.x, str(here.channels))
    board.text(here.x - 0.15, here.y, "level 1", ha="right", color=GREY)
    skips: list[_Map] = []
    entered, rises = here, False
    for index, step in enumerate(steps):
        if step.kind in ("mix", "fuse"):  # drawn together with the up-sampling before it
            continue
        if step.kind == "shortcut":
            _draw_shortcut(board, entered, here)
            continue
        if step.kind == "side":
            scores = place(here.x + pitch, step.level, step.size_out, step.channels_out, SCORES)
            board.arrow(*_ends(here, scores), _STEP_COLORS[step.kind])
            _label(board, scores, scores.x, str(scores.channels))
            continue
        before, rises = here, rises or step.kind == "up"
        face = SCORES if step.kind == "head" else DECODER if rises else ENCODER
        way = 0.0 if step.kind in ("pool", "up") else wide_pitch if step.level == depth else pitch
        here = place(before.x + way, step.level, step.size_out, step.channels_out, face)
        board.arrow(*_ends(before, here), _STEP_COLORS[step.kind])
        if step.kind == "pool":
            skips.append(before)
            board.text(here.x - here.width / 2 - 0.12, here.y, f"level {step.level}", ha="right", color=GREY)
        if step.kind == "up":
            here = _join(board, architecture, next(s for s in steps[index:] if s.kind == "fuse"), here, skips.pop())
        else:
            _label(board, here, here.x, str(here.channels))
        entered = here if step.kind in ("pool", "up") else entered
    _explain(board, architecture, steps, size)
    board.save(target, dpi)


def _ends(before: _Map, after: _Map) -> tuple[Point, Point]:
    """Where the arrow between two maps begins and ends, clear of their labels."""
    if before.y == after.y:
        return (before.x + before.width / 2 + 0.01, after.y), (after.x - after.width / 2 - 0.01, after.y)
    down = 1 if after.y < before.y else -1
    start, end = before.y - down * (before.height / 2 + 0.20), after.y + down * (after.height / 2 + 0.20)
    return (before.x, start), (after.x, end)


def _draw_shortcut(board: Board, read: _Map, given: _Map) -> None:
    """Draws what a residual unit adds: a line below the sides of its maps."""
    low = min(map_.y - map_.height / 2 for map_ in (read, given)) - 0.215
    ends = ((read.x, low + 0.03), (read.x, low), (given.x - 0.05, low), (given.x - 0.05, low + 0.03))
    board.line(*ends, color=_STEP_COLORS["shortcut"], width=1.2)


def _label(board: Board, at: _Map, x: float, channels: str) -> None:
    board.text(x, at.y + at.height / 2 + 0.10, channels)
    board.text(x, at.y - at.height / 2 - 0.11, str(at.size), color=GREY)


def _join(board: Board, architecture: Architecture, fuse: Layer, up: _Map, skip: _Map) -> _Map:
    """Draws how the upsampled map meets its skip; returns what the next convolution reads."""
    fused = up._replace(size=fuse.size_out, height=up.height * fuse.size_out / up.size)
    cropped = fused.height < skip.height
    if fused.height > up.height:  # zeros are added below
        board.box(*fused[:4], "white", ":")
        board.box(up.x, up.y + (fused.height - up.height) / 2, up.width, up.height, DECODER)
    if not FUSIONS[architecture.fusion].takes_skip:
        _label(board, fused, up.x, str(up.channels))
        return fused
    end = up.x - up.width / 2
    if fuse.channels_out == up.channels + skip.channels:  # side by side
        board.box(end - skip.width / 2, up.y, skip.width, fused.height, ENCODER, "--" if cropped else "-")
        _label(board, fused, end + (up.width - skip.width) / 2, f"{skip.channels}+{up.channels}")
        end -= skip.width
        if architecture.fusion == "attention":
            board.times(end - 0.10, up.y)
            end -= 0.17
    else:
        _label(board, fused, up.x, str(up.channels))
        board.plus(end - 0.10, up.y)
        end -= 0.17
    if cropped:
        board.box(*skip[:4], "white")
        board.box(skip.x, skip.y, skip.width, fused.height, ENCODER, "--")  # what cropping leaves
    start = skip.x + skip.width / 2 + 0.02
    board.arrow((start, up.y), (end - 0.02, up.y), GREY, "--")
    if fuse.size_in != fuse.size_out:
        away = f"\n{(fuse.size_in - fuse.size_out) // 2} px a side" if cropped else ""
        board.text((start + end) / 2, up.y + 0.05, f"{architecture.align} {fuse.size_in} → {fuse.size_out}{away}",
                   va="bottom", linespacing=1.1)  # fmt: skip
    board.text((start + end) / 2, up.y - 0.12, architecture.fusion)
    return fused


def _explain(board: Board, architecture: Architecture, steps: list[Layer], size: int) -> None:
    """Writes the title and the legend."""
    last = steps[-1].size_out
    title = f"{size} x {size} in, {last} x {last} out, {parameters(architecture):,} parameters"
    about = f"padding {architecture.padding} · align {architecture.align} · fusion {architecture.fusion}"
    about += " · residual units" if architecture.block == "residual" else ""
    levels = f"{architecture.depth} level{'s' * (architecture.depth > 1)} · {architecture.width} channels in the first"
    board.text(0.25, board.height - 0.24, title, 12, ha="left", weight="bold")
    board.text(0.25, board.height - 0.49, f"{about} · {levels}", ha="left")
    names = {step.kind: step.name for step in steps}
    residual = "shortcut" in names
    names["conv"] = names["conv"].replace("conv", "ReLU, conv") if residual else f"{names['conv']}, ReLU"
    if architecture.relu_after_upsample and "up" in names:
        names["up"] += ", ReLU"
    entries = [(names[kind], color, "-") for kind, color in _STEP_COLORS.items() if kind in names]
    if FUSIONS[architecture.fusion].takes_skip and "up" in names:
        entries.append(("copy and crop" if architecture.align == "crop" else "copy", GREY, "--"))
    needed = [0.68 + 0.072 * len(name) for name, _, _ in entries]
    rows = 1 + (0.25 + sum(needed) > board.width)
    x, y = 0.25, 0.50 + 0.09 * (rows - 1)
    for place, (name, color, dash) in enumerate(entries):
        if rows == 2 and place == (len(entries) + 1) // 2:
            x, y = 0.25, y - 0.20
        board.arrow((x, y), (x + 0.32, y), color, dash)
        board.text(x + 0.40, y, name, ha="left")
        x += needed[place]
    note = "Above a map: its channels. Below it: its side in px (heights are to scale within a level). "
    note += "Blue: contracting path; orange: expanding path."
    board.text(0.25, 0.23 - 0.05 * (rows - 1), note, ha="left", color=GREY)


def draw_copy_and_crop(target: Path, dpi: float = DPI) -> None:
    """Draws what cropping keeps, and what concatenation and addition do, at level 4 of the paper's network."""
    fuse, conv = [step for step in layers(PAPER, 572) if step.level == 4][4:6]
    conv_of_sum = [step for step in layers(replace(PAPER, fusion="add"), 572) if step.level == 4][5]
    skip, up, channels = fuse.size_in, fuse.size_out, fuse.channels_in
    board, unit, deep, high, low = Board(_WIDTH, 4.85), 0.0185, 0.42, 3.45, 1.05
    board.slab(0.95, high, skip * unit, deep, ENCODER)
    board.box(0.95, high, up * unit, up * unit, "none", "--")
    board.text(0.95, high, f"its centre\n{up} x {up}")
    board.text(1.05, high + 1.0, f"encoder map\n{channels} channels, {skip} x {skip}")
    board.slab(0.85, low, up // 2 * unit, 2 * deep, DECODER)
    board.text(1.05, low + 0.84, f"map from below\n{2 * channels} channels, {up // 2} x {up // 2}")
    for y, word, face, name in (
        (high, f"crop {(skip - up) // 2} px\na side", ENCODER, "b"),
        (low, "up-conv\n2x2", DECODER, "a"),
    ):
        board.arrow((1.95, y + 0.1), (2.55, y + 0.1))
        board.text(2.23, y + 0.34, word)
        board.slab(3.25, y, up * unit, deep, face)
        board.text(3.25, y, name, 14, weight="bold", style="italic")
        board.text(3.35, y - 0.68, f"{channels} channels, {up} x {up}")
        board.line((4.15, y + 0.1), (4.42, y + 0.1))
        board.arrow((4.42, y + 0.1), (4.78, y + 0.1))
    board.line((4.42, low + 0.1), (4.42, high + 0.1))
    board.slab(5.71, high + 0.168, up * unit, deep, ENCODER)
    for y, face, title, words in (
        (high, DECODER, "concat: [a, b]", f"{channels} + {channels} = {fuse.channels_out} channels"),
        (low, SUM, "add: a + b", f"{channels} channels stay {channels}"),
    ):
        board.slab(5.45, y, up * unit, deep, face)
        board.text(5.62, y + (1.1 if y == high else 0.9), title, 11, weight="bold")
        board.text(5.62, y - 0.68, words)
    board.text(8.0, high + 1.1, "then the 3x3 convolution", 11, weight="bold")
    for y, faces, sign, formula, words, step in (
        (high, (DECODER, ENCODER), "+", "conv$_a$(a) + conv$_b$(b)", "weights of their own for a and b:", conv),
        (low, (SUM, SUM), "=", "conv(a + b) = conv(a) + conv(b)", "concat with tied weights:", conv_of_sum),
    ):
        board.arrow((6.68, y + 0.1), (7.05, y + 0.1))
        for x, face, name in ((7.55, faces[0], "a"), (8.45, faces[1], "b")):
            board.text(x, y + 0.58, f"for {name}")
            for row in range(9):
                board.box(x + (row % 3 - 1) / 6, y + 0.22 + (row // 3 - 1) / 6, 1 / 6, 1 / 6, face)
        board.text(8.0, y + 0.22, sign, 14)
        board.text(8.0, y - 0.22, formula, 10)
        board.text(8.0, y - 0.6, f"{words}\n{step.parameters:,} parameters")
    board.save(target, dpi)


def draw_mirrored_tile(target: Path, dpi: float = PHOTO_DPI) -> None:
    """Draws a generated micrograph, its mirrored surround, and the tile of the paper's network at its corner."""
    tile, image = 388, generate(512, 512, seed=0, index=1).image
    size, surround, side = input_for_output(PAPER, tile), lost_border(PAPER), image.shape[0]
    whole = side + 2 * surround
    shown = mirror_window(image, -surround, -surround, whole, whole).astype(np.float32)
    inside = slice(surround, surround + side)
    pale = 0.5 * shown + 120
    pale[inside, inside] = shown[inside, inside]
    board, unit = Board(_WIDTH, 5.5), 5.1 / whole
    board.axes.imshow(pale, "gray", vmin=-40, vmax=255, extent=(0.2, 5.3, 0.2, 5.3), interpolation="antialiased")
    board.axes.set(xlim=(0, board.width), ylim=(0, board.height))
    for y, start, length, color, dash, title, words in (
        (2.3, 0, side, "white", (0, (3, 2)), f"border of the image, {side} x {side}",
         "what lies beyond it (paler) is mirrored\nfrom the image, once for all its tiles"),
        (3.3, -surround, size, "#3aa0ff", "-", f"input tile, {size} x {size}",
         f"what the network reads:\n{surround} px more on each side"),
        (4.3, 0, tile, "#ffe11a", "-", f"output tile, {tile} x {tile}", "what the network labels"),
    ):  # fmt: skip
        near = 0.2 + (start + surround) * unit
        far = near + length * unit
        corners = [(near, 5.5 - near), (far, 5.5 - near), (far, 5.5 - far), (near, 5.5 - far), (near, 5.5 - near)]
        for points in (corners, [(5.7, y), (6.2, y)]):
            board.line(*points, width=5)
            board.line(*points, color=color, width=2.6, dash=dash)
        board.text(6.4, y, title, 11, ha="left", weight="bold")
        board.text(6.4, y - 0.18, words, 10, ha="left", va="top")
    board.save(target, dpi, colors=24)


def draw_fcn_difference(target: Path, dpi: float = DPI) -> None:
    """Draws what a fully convolutional network adds, class scores, and what `fusion=add` adds, feature maps."""
    fuse = next(step for step in layers(PAPER, 572) if step.kind == "fuse")
    one, two = f"{fuse.channels_in} channels", f"{2 * fuse.channels_in} channels"
    board, thin, deep, side = Board(_WIDTH, 6.8), 0.06, 0.42, 0.8
    many, few = "many channels", "one map a class"
    for y, title, way, ways, names, depth, faces, end in (
        (3.45, "FCN: class scores of two resolutions are added", "conv 1x1",
         ((1.65, 2.42, "conv 1x1"), (3.02, 3.85, "x2")),
         (f"fine features\n{many}", f"coarse features\n{many}", f"fine scores\n{few}", f"enlarged scores\n{few}",
          f"summed scores\n{few}"), thin, (SCORES, SCORES, SCORES), "enlarged to the\nimage: the result"),
        (0.1, "fusion=add: feature maps are added, inside the U-Net", "crop", ((1.65, 3.85, "up-conv 2x2"),),
         (f"encoder map\n{one}", f"map from below\n{two}", f"cropped map\n{one}", f"upsampled map\n{one}",
          f"summed map\n{one}"), deep, (ENCODER, DECODER, SUM), "3x3 convs, more levels;\nscores only at the end"),
    ):  # fmt: skip
        high, low, middle, edge = y + 2.2, y + 0.72, y + 1.5, 4.35 + side / 2 + depth * 0.62 + 0.06
        board.text(0.25, y + 3.05, title, 12, ha="left", weight="bold")
        wholes = [(4.35, high, side, depth), (4.35, low, side, depth), (6.6, middle, side, depth)]
        slabs = [(0.85, high, side, deep), (0.85, low, side / 2, 2 * deep), *wholes]
        for slab, face, name in zip(slabs, (ENCODER, DECODER, *faces), names, strict=True):
            board.slab(*slab, face)
            board.text(slab[0] + 0.06, slab[1] - slab[2] / 2 - 0.2, name)
        board.arrow((1.65, high), (3.85, high))
        board.text(2.7, high + 0.12, way)
        for start, stop, words in ways:
            board.arrow((start, low), (stop, low))
            board.text((start + stop) / 2 - 0.03, low + 0.12, words)
        if len(ways) > 1:
            board.slab(2.7, low, side / 2, thin, SCORES)
            board.text(2.76, low - side / 4 - 0.2, f"coarse scores\n{few}")
        board.arrow((edge, high), (5.67, middle + 0.1))
        board.arrow((edge, low), (5.67, middle - 0.1))
        board.plus(5.75, middle, 12)
        board.arrow((5.88, middle), (6.13, middle))
        board.arrow((6.6 + edge - 4.35, middle), (7.65, middle))
        board.text(7.75, middle, end, ha="left")
    board.save(target, dpi)


def draw_synthetic(target: Path, dpi: float = PHOTO_DPI) -> None:
    """Draws a generated micrograph, its label of two classes and its label of five."""
    two, five = (generate(320, 320, seed=0, index=1, organelles=many) for many in (False, True))
    panels = [
        ("image", two.image, ()),
        ("its label", two.label, CLASSES),
        ("with organelles", five.label, MANY_CLASSES),
    ]
    board, side = Board(_WIDTH, 3.75), 2.92
    for column, (title, pixels, classes) in enumerate(panels):
        left = 0.16 + column * (side + 0.16)
        specs = [ClassSpec(name=name, value=index, color=list(color)) for index, (name, color) in enumerate(classes)]
        shown = colorize(pixels, specs) if specs else pixels
        board.axes.imshow(shown, "gray", vmin=0, vmax=255, extent=(left, left + side, 0.55, 0.55 + side))
        board.text(left, 3.61, title, 11, ha="left", weight="bold")
        for index, spec in enumerate(specs):
            x, y = left + 0.08 + index % 3 * 0.94, 0.38 - index // 3 * 0.22
            board.box(x, y, 0.13, 0.13, "#{:02x}{:02x}{:02x}".format(*spec.color))
            board.text(x + 0.13, y, spec.name, ha="left")
    board.axes.set(xlim=(0, board.width), ylim=(0, board.height))
    board.save(target, dpi, colors=32)
