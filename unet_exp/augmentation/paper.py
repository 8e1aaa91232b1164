"""The paper's augmentation (section 3.1): shift, rotation, elastic deformation and grey values.

All geometry is one mapping from the patch's pixels to places in the image, so that the image is resampled once.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, Protocol, runtime_checkable

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from unet_exp.augmentation.protocol import Augmentation, Window
from unet_exp.config import PaperAugmentationConfig
from unet_exp.mirror import Pixels, mirror_window

Floats = NDArray[np.float32]

_CV2_CHANNELS = 4  # that `cv2.remap` takes at once


@dataclass(frozen=True, eq=False)
class Motion:
    """Where the pixels of a patch come from: q = centre + R F (p - centre + u(p)) / zoom + shift.

    R rotates, F mirrors, u is the elastic displacement (paper, section 3.1), all of them about the window's centre.

    Attributes:
        angle: of R, degrees: the patch shows the image turned counter-clockwise, as `np.rot90` turns.
        flip: whether F mirrors left and right, or is the identity.
        shift: down and right, pixels.
        vectors: (2, G, G) displacements down and right, pixels, at the knots of a grid; a bicubic spline between.
        knots: `border`: the outer knots lie on the first and the last pixel; `inside`: knot k lies in the middle of
            the k-th of G equal parts, (k + 1/2) size / G - 1/2, where `cv2.resize` has it.
        zoom: how many times as large the patch shows the image; not the paper's.
    """

    angle: float
    flip: bool
    shift: tuple[float, float]
    vectors: NDArray[np.float64]
    knots: Literal["border", "inside"]
    zoom: float = 1.0

    def source(self, window: Window) -> Floats:
        """The place in the image of each pixel of the patch.

        Returns:
            (2, S, S) float32 rows and columns, which may lie beyond the image; S is the window's `side`. They are exact
            to 1/256 px in images of up to 65,536 px a side.
        """
        basis = spline_basis(window.size, window.inset.start, self.vectors.shape[-1], self.knots)
        turn, vectors, origin = self.affine(window)
        places: Floats = basis @ vectors.astype(np.float32) @ basis.T
        from_centre = np.arange(window.side) - (window.side - 1) / 2
        places += (turn[:, :1] * from_centre + origin[:, None]).astype(np.float32)[:, :, None]
        places += (turn[:, 1:] * from_centre).astype(np.float32)[:, None, :]
        return places

    def affine(self, window: Window) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """The numbers of which `source` is made: q = origin + turn (p - centre) + the spline of the vectors.

        Returns:
            (2, 2) the turn, R F / zoom; (2, G, G) the turned vectors; (2,) the origin, row and column in the image.
        """
        cos, sin = np.cos(np.radians(self.angle)), np.sin(np.radians(self.angle))
        turn = np.array([[cos, sin], [-sin, cos]]) @ np.diag([1, -1 if self.flip else 1]) / self.zoom
        origin = np.array([window.top, window.left]) + (window.size - 1) / 2 + self.shift
        # The spline is linear in its vectors: turning these few turns the displacement of every pixel.
        return turn, np.tensordot(turn, self.vectors, 1), origin


@dataclass(frozen=True, eq=False)
class GreyChange:
    """How the grey values of a patch change: blur, then a curve, gain and offset, then noise.

    Attributes:
        gain: factor.
        offset: added after it.
        blur: standard deviation of a Gaussian, pixels; 0 for none.
        gamma: power of the values, scaled to the patch's range; 1 for none.
        noise: standard deviation of Gaussian noise; 0 for none.
        random: draws the noise, after all else.
    """

    gain: float
    offset: float
    random: np.random.Generator
    blur: float = 0.0
    gamma: float = 1.0
    noise: float = 0.0

    def draw_noise(self, shape: tuple[int, ...]) -> Floats:
        """The noise of the pixels (S, S, C); ask once."""
        return np.float32(self.noise) * self.random.standard_normal(shape, np.float32)


@runtime_checkable
class Deformation(Augmentation, Protocol):
    """An augmentation that is a `Motion` and a `GreyChange`."""

    def draw(self, seed: int) -> tuple[Motion, GreyChange]:
        """Those of one patch; equal seeds give equal ones."""


@cache
def spline_basis(size: int, surround: int, grid: int, knots: Literal["border", "inside"]) -> Floats:
    """What each knot contributes to each pixel of a line, by cubic spline interpolation: (size + 2 surround, grid)."""
    pixels = np.arange(-surround, size + surround)
    beyond: Literal["mirror", "nearest"]
    if knots == "border":
        places, beyond = pixels * (grid - 1) / max(size - 1, 1), "mirror"
    else:
        places, beyond = (pixels + 0.5) * grid / size - 0.5, "nearest"
    lines = [ndimage.map_coordinates(unit, places[None], order=3, mode=beyond) for unit in np.eye(grid)]
    return np.stack(lines, axis=1).astype(np.float32)


def fold(places: Floats, size: int) -> Floats:
    """Places on a line mirrored into 0 .. size - 1 for as far as it takes, the border pixel not repeated."""
    if size == 1:
        return np.zeros_like(places)
    period = np.float32(2 * (size - 1))
    nearest = places / period
    np.rint(nearest, out=nearest)
    nearest *= period
    folded: Floats = np.abs(np.subtract(places, nearest, out=nearest), out=nearest)  # from the nearest multiple
    return folded


def resample(image: Pixels, source: Floats, *maps: Pixels) -> tuple[NDArray[Any], ...]:
    """Looks up an image, bicubically at multiples of 1/32 px, and maps, nearest.

    Args:
        image: (H, W, C).
        source: (2, S, S) rows and columns; beyond the image it is mirrored, the border pixel not repeated.
        *maps: (H, W) each, of any type.

    Returns:
        (S, S, C) float32, and the maps (S, S).
    """
    return _look_up(image, source, slice(None), maps, slice(None))


def cut_moved(image: Pixels, window: Window, motion: Motion, *maps: Pixels) -> tuple[NDArray[Any], ...]:
    """The same for a window: the image (S, S, C) and the maps (M, M), see `Augmentation`."""
    return _look_up(image, motion.source(window), window.inset, maps, window.maps_inset)


def _look_up(
    image: Pixels, source: Floats, inset: slice, maps: tuple[Pixels, ...], maps_inset: slice
) -> tuple[NDArray[Any], ...]:
    """Looks up an image at one middle part of the source, and maps at another."""
    rows, columns = (fold(places, size) for places, size in zip(source, image.shape, strict=False))
    # Only the part that is looked at, with room for the cubic kernel: OpenCV takes fewer than 32767 rows and columns,
    # and beyond an image that is one pixel wide it never comes to an end.
    (top, bottom), (left, right) = ((int(places.min()) - 2, int(places.max()) + 4) for places in (rows, columns))
    part = mirror_window(image, top, left, bottom - top, right - left)
    found = _look_up_nearest(rows[maps_inset, maps_inset], columns[maps_inset, maps_inset], maps) if maps else ()
    rows, columns = rows[inset, inset] - np.float32(top), columns[inset, inset] - np.float32(left)
    channels = [
        cv2.remap(part[..., first : first + _CV2_CHANNELS], columns, rows, cv2.INTER_CUBIC)
        for first in range(0, image.shape[2], _CV2_CHANNELS)
    ]
    return (channels[0][..., None] if image.shape[2] == 1 else np.dstack(channels), *found)


def _look_up_nearest(rows: Floats, columns: Floats, maps: tuple[Pixels, ...]) -> tuple[NDArray[Any], ...]:
    """Looks up maps at the pixels nearest to places within them."""
    height, width = maps[0].shape
    # It lies in the part that the image was read of, so that nothing is read twice.
    top, left = max(0, int(rows.min()) - 2), max(0, int(columns.min()) - 2)
    bottom, right = min(height, int(rows.max()) + 4), min(width, int(columns.max()) + 4)
    # Whole numbers are exact in the quicker type as long as they are small.
    kind = np.float32 if height * width < 2**24 else np.float64
    nearest = np.rint(rows, dtype=kind)
    nearest -= kind(top)
    nearest *= kind(right - left)
    nearest += np.rint(columns)
    nearest -= kind(left)
    places = nearest.astype(np.intp)
    box = top, left, bottom - top, right - left
    return tuple(mirror_window(one, *box).ravel().take(places) for one in maps)


class PaperAugmentation:
    """Draws a `Motion` and a change of the grey values for each patch.

    Args:
        config: the ranges. Shift along each axis, angle, contrast and brightness are uniform, the components of the
            grid's vectors Gaussian; the grid lies over the window.
    """

    deforms = True

    def __init__(self, config: PaperAugmentationConfig) -> None:
        self._config = config

    def __call__(self, image: Pixels, window: Window, seed: int, *maps: Pixels) -> tuple[NDArray[Any], ...]:
        """See `Augmentation`."""
        motion, grey = self.draw(seed)
        patch, *moved = cut_moved(image, window, motion, *maps)
        patch *= np.float32(grey.gain)
        patch += np.float32(grey.offset)
        return (patch, *moved)

    def draw(self, seed: int) -> tuple[Motion, GreyChange]:
        """See `Deformation`."""
        config, random = self._config, np.random.default_rng(seed)
        contrast, brightness, angle, down, right = random.uniform(-1, 1, 5)
        motion = Motion(
            angle=config.rotation * angle,
            flip=bool(random.random() < 0.5) and config.flip,
            shift=(config.shift * down, config.shift * right),
            vectors=random.normal(0, config.std, (2, config.grid, config.grid)),
            knots=config.knots,
        )
        return motion, GreyChange(1 + config.contrast * contrast, config.brightness * brightness, random)
