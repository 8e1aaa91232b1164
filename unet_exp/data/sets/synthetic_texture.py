"""Paints a membrane layout as an electron micrograph: organelles, cytoplasm, membranes, then the microscope.

Grey levels are float32 on the scale of the final uint8 image (0 black, 255 white); lengths are pixels. The
scale is that of the ISBI-2012 slices (4 nm a pixel); the constants were matched to their statistics.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from unet_exp.io.arrays import Array

MITOCHONDRION, VESICLE, GRANULE = 2, 3, 4
"""Class indices of the organelles in the many-class variant."""

_SHIFT = 4  # fractional bits of OpenCV's drawing coordinates


@dataclass(frozen=True)
class Layout:
    """The geometry of one micrograph, all arrays of shape (H, W).

    Attributes:
        cells: int32, 0 = membrane, 1..n cells.
        line: float32, distance in pixels to the middle line of the nearest membrane.
        width: float32, nominal membrane width in pixels.
        depth: float32, distance in pixels of a cell pixel to the nearest membrane pixel, 0 in membranes.
        density: float32 in 0..1, where a dark synaptic density lies on the membrane.
    """

    cells: Array
    line: Array
    width: Array
    depth: Array
    density: Array


def smooth_noise(rng: np.random.Generator, height: int, width: int, scale: float) -> Array:
    """Smooth random field, float32 (height, width), of about unit variance: normal noise, bicubic between knots.

    The knots are `scale` pixels apart.
    """
    rows, columns = int(height / scale) + 4, int(width / scale) + 4
    knots = rng.standard_normal((rows, columns), dtype=np.float32)
    fine = cv2.resize(knots, (round(columns * scale), round(rows * scale)), interpolation=cv2.INTER_CUBIC)
    start = int(scale * rng.uniform(0.5, 1.5))
    return 1.3 * fine[start : start + height, start : start + width]


def paint(rng: np.random.Generator, layout: Layout) -> tuple[Array, Array]:
    """Paints a layout.

    Returns:
        The image, uint8 (H, W), and the organelles, uint8 (H, W): a class index, or 0 where there is none.
    """
    height, width = layout.cells.shape
    image = _cytoplasm(rng, layout)
    organelles = np.zeros((height, width), np.uint8)
    _mitochondria(rng, layout, image, organelles)
    ink = np.zeros((height, width), np.uint8)  # darkness of what is drawn with a pen
    _reticulum(rng, layout, ink, organelles)
    _dots(rng, layout, ink, organelles)
    image -= cv2.GaussianBlur(ink, (0, 0), 0.6).astype(np.float32)
    _membranes(rng, layout, image)
    return _microscope(rng, image), organelles


def _cytoplasm(rng: np.random.Generator, layout: Layout) -> Array:
    """Bright ground: one tone per cell, flocculent texture."""
    height, width = layout.cells.shape
    tone = rng.normal(0, 6, layout.cells.max() + 1).astype(np.float32)
    tone[rng.random(tone.size) < 0.12] -= 16  # some processes are dark throughout
    image = 158 + tone[layout.cells]
    image = cv2.GaussianBlur(image, (0, 0), 1.5)
    image += 6 * smooth_noise(rng, height, width, 26)
    image += 7 * smooth_noise(rng, height, width, 8)
    image += 11 * smooth_noise(rng, height, width, 3.2)
    clumps = smooth_noise(rng, height, width, 4.5)
    image -= 26 * np.clip(clumps - 0.8, 0, 1.5)  # ribosomes and filaments: dark flocks
    return np.asarray(image, np.float32)


def _mitochondria(rng: np.random.Generator, layout: Layout, image: Array, organelles: Array) -> None:
    """Dark bodies with a double membrane and cristae, in the wider cells."""
    height, width = image.shape
    wobble, bend = smooth_noise(rng, height, width, 14), smooth_noise(rng, height, width, 11)
    grain = smooth_noise(rng, height, width, 2.6)
    for cell, box in enumerate(ndimage.find_objects(layout.cells), start=1):
        room = np.where(layout.cells[box] == cell, layout.depth[box], 0)
        if rng.random() > 0.2 or room.max() < 11:
            continue
        for _ in range(1 if room.max() < 45 or rng.random() < 0.5 else 2):
            minor = min(rng.uniform(11, 29), 0.85 * room.max())
            major = minor * rng.uniform(1.0, 2.0)
            spots = np.argwhere(room > min(minor + 2, 0.9 * room.max()))
            row, column = spots[rng.integers(len(spots))]
            angle, period = rng.uniform(0, np.pi), rng.uniform(6.5, 9.0)
            y, x = np.ogrid[: room.shape[0], : room.shape[1]]
            along = (x - column) * np.cos(angle) + (y - row) * np.sin(angle)
            across = (y - row) * np.cos(angle) - (x - column) * np.sin(angle)
            radius = np.hypot(along / major, across / minor) + 0.07 * wobble[box]
            inside = np.minimum((1 - radius) * minor, room - 4)  # px from its own border, clipped to the cell
            body = inside > 0
            if body.sum() < 80 or organelles[box][radius < 1.5].any():
                continue
            stripes = np.sin(2 * np.pi * (across + 3.0 * bend[box]) / period)
            matrix = 106 + 9 * grain[box] - 36 * np.clip(stripes + 0.3 * grain[box], -0.7, 1)
            wall = -42 * np.exp(-(((inside - 0.8) / 1.1) ** 2)) - 26 * np.exp(-(((inside - 4.2) / 1.0) ** 2))
            tone = np.where(inside < 5, 112 + 0.3 * (matrix - 104), matrix) + wall + rng.uniform(-8, 14)
            image[box] = np.where(body, tone, image[box])
            organelles[box][body] = MITOCHONDRION


def _reticulum(rng: np.random.Generator, layout: Layout, ink: Array, organelles: Array) -> None:
    """Short bent tubules inside cells: membranes to a threshold, cytoplasm in the label."""
    height, width = ink.shape
    for _ in range(round(height * width / 9000)):
        point = np.array([rng.uniform(0, width - 1), rng.uniform(0, height - 1)])
        heading, turn, darkness = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.10), rng.uniform(45, 85)
        path = []
        for _ in range(int(rng.integers(4, 16))):
            column, row = np.clip(point.round().astype(int), 0, (width - 1, height - 1))
            if layout.depth[row, column] < 5 or organelles[row, column]:
                break
            path.append(point)
            heading += turn + rng.normal(0, 0.22)
            point = point + 3 * np.array([np.cos(heading), np.sin(heading)])
        if len(path) > 3:
            line = np.round(np.array(path) * 2**_SHIFT).astype(np.int32)
            thickness = 1 + int(rng.random() < 0.5)
            cv2.polylines(ink, [line], False, round(darkness), thickness, cv2.LINE_AA, _SHIFT)


def _dots(rng: np.random.Generator, layout: Layout, ink: Array, organelles: Array) -> None:
    """Vesicles (small rings, thick in boutons), microtubules cut across and dark granules."""
    for cell, box in enumerate(ndimage.find_objects(layout.cells), start=1):
        room = np.where((layout.cells[box] == cell) & (organelles[box] == 0), layout.depth[box], 0)
        spots = np.argwhere(room > 4)
        bouton, granular = rng.random() < 0.35, rng.random() < 0.15
        vesicles = int(rng.poisson(len(spots) * (1 / 200 if bouton else 1 / 1100)))
        tubules = int(rng.poisson(len(spots) * rng.choice([1 / 1500, 1 / 350])))
        granules = int(rng.poisson(len(spots) * (1 / 900 if granular else 1 / 9000)))
        if not len(spots) or not vesicles + tubules + granules:
            continue
        heart = spots[rng.integers(len(spots))]
        near = spots[np.argsort(np.hypot(*(spots - heart).T), kind="stable")[: max(1, len(spots) // 2)]]
        origin = np.array([box[0].start, box[1].start])
        for kind, count in ((VESICLE, vesicles), (GRANULE, granules), (0, tubules)):
            for _ in range(count):
                field = near if kind == VESICLE and rng.random() < 0.7 else spots
                _dot(rng, kind, field[rng.integers(len(field))] + origin, layout, ink, organelles)


def _dot(rng: np.random.Generator, kind: int, at: Array, layout: Layout, ink: Array, organelles: Array) -> None:
    """Draw one dot at (row, column); nothing where it would touch a membrane or another organelle."""
    radius = {VESICLE: rng.uniform(2.6, 5.0), GRANULE: rng.uniform(2.2, 4.5), 0: rng.uniform(0.8, 1.6)}[kind]
    row, column = (int(value) for value in at)
    reach = int(radius) + 2
    window = (slice(max(0, row - reach), row + reach + 1), slice(max(0, column - reach), column + reach + 1))
    if layout.depth[row, column] < radius + 1.5 or organelles[window].any():
        return
    centre = [round((value + rng.uniform(-0.5, 0.5)) * 2**_SHIFT) for value in (column, row)]
    axes = [round(radius * rng.uniform(0.8, 1.1) * 2**_SHIFT) for _ in range(2)]
    angle = rng.uniform(0, 180)
    if kind:
        cv2.ellipse(organelles, centre, axes, angle, 0, 360, kind, -1, cv2.LINE_8, _SHIFT)
    if kind == VESICLE:
        lumen, wall = int(rng.integers(0, 30)), int(rng.integers(70, 125))
        cv2.ellipse(ink, centre, axes, angle, 0, 360, lumen, -1, cv2.LINE_AA, _SHIFT)
        cv2.ellipse(ink, centre, axes, angle, 0, 360, wall, 1, cv2.LINE_AA, _SHIFT)
    else:
        darkness = int(rng.integers(60, 110) if kind else rng.integers(35, 80))
        cv2.ellipse(ink, centre, axes, angle, 0, 360, darkness, -1, cv2.LINE_AA, _SHIFT)


def _membranes(rng: np.random.Generator, layout: Layout, image: Array) -> None:
    """Dark lines of changing contrast: cut across they are thin and black, cut obliquely wide and grey."""
    height, width = image.shape
    tilt = np.clip(smooth_noise(rng, height, width, 34) - 0.7, 0, 1.2)
    strength = 1 + 0.18 * smooth_noise(rng, height, width, 8)
    fade = np.clip(1.6 * (smooth_noise(rng, height, width, 14) + 1.6), 0.28, 1)  # all but gone in places
    half = 0.42 * layout.width * (1 + 1.3 * tilt)
    profile = np.exp(-((layout.line / half) ** 2)) / (1 + 0.6 * tilt)
    grey = np.clip(image, None, 172) - 94 * (strength * fade * profile)
    filled = cv2.GaussianBlur((layout.cells == 0).astype(np.float32), (0, 0), 1.0)
    grey -= 26 * fade * filled + 18 * np.exp(-layout.depth / 3.0) * (layout.depth > 0)
    grey -= 62 * layout.density * np.exp(-((layout.line / 9.0) ** 2))
    image[:] = np.maximum(grey, 28)


def _microscope(rng: np.random.Generator, image: Array) -> Array:
    """Blur, uneven illumination, shot noise and the detector's own softness."""
    height, width = image.shape
    sharp = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.7, 1.1))
    slope = rng.normal(0, 7, 2)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None]
    light = slope[0] * y + slope[1] * x - rng.uniform(0, 6) * (y**2 + x**2)
    light = light + 5 * smooth_noise(rng, height, width, 0.35 * max(height, width)) + rng.normal(0, 5)
    exposed = np.clip(sharp * rng.uniform(0.98, 1.08) + light, 1, 255)
    noise = rng.standard_normal((height, width), dtype=np.float32) * np.sqrt(exposed / 140)
    noise = cv2.GaussianBlur(noise, (0, 0), rng.uniform(0.55, 0.95))
    exposed += rng.uniform(11, 17) * noise / noise.std()
    return np.asarray(np.clip(np.rint(exposed), 0, 255), np.uint8)
