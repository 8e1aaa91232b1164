"""The paper's augmentation and more: zoom, quarter turns, gamma, blur and noise."""

from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from unet_exp.augmentation.paper import Floats, GreyChange, Motion, cut_moved
from unet_exp.augmentation.protocol import Window
from unet_exp.config.augmentation import StrongAugmentationConfig
from unet_exp.mirror import Pixels


class StrongAugmentation:
    """Draws a `Motion` and changes of the grey values for each patch.

    The grey values are not changed by albumentations, because it clips them to 0 .. 1, and those of a normalised image
    lie around 0.

    Args:
        config: the ranges. Shift along each axis, angles, contrast, brightness, and the standard deviations of blur
            and noise are uniform; the logarithms of zoom and gamma are; the grid's vectors are Gaussian. Zoom, elastic
            deformation, gamma, blur and noise are each done with `probability`, independently.
    """

    deforms = True

    def __init__(self, config: StrongAugmentationConfig) -> None:
        self._config = config

    def __call__(self, image: Pixels, window: Window, seed: int, *maps: Pixels) -> tuple[NDArray[Any], ...]:
        """See `Augmentation`."""
        motion, grey = self.draw(seed)
        patch, *moved = cut_moved(image, window, motion, *maps)
        return (_change_values(patch, grey), *moved)

    def draw(self, seed: int) -> tuple[Motion, GreyChange]:
        """See `unet_exp.augmentation.paper.Deformation`."""
        config, random = self._config, np.random.default_rng(seed)
        angle, down, right = random.uniform(-1, 1, 3)
        motion = Motion(
            angle=config.rotation * angle + 90 * int(random.integers(4)) * config.quarter_turns,
            flip=bool(random.random() < 0.5) and config.flip,
            shift=(config.shift * down, config.shift * right),
            vectors=random.normal(0, config.std * self._chosen(random), (2, config.grid, config.grid)),
            knots=config.knots,
            zoom=self._factor(config.zoom, random),
        )
        blur = config.blur * random.uniform() * self._chosen(random)
        gamma = self._factor(config.gamma, random)
        contrast, brightness = random.uniform(-1, 1, 2)
        gain, offset = 1 + config.contrast * contrast, config.brightness * brightness
        noise = config.noise * random.uniform() * self._chosen(random)
        return motion, GreyChange(gain, offset, random, blur, gamma, noise)

    def _chosen(self, random: Generator) -> bool:
        return bool(random.random() < self._config.probability)

    def _factor(self, limits: list[float], random: Generator) -> float:
        factor = float(np.exp(random.uniform(*np.log(limits))))
        return factor if self._chosen(random) else 1.0


def _change_values(values: Floats, grey: GreyChange) -> Floats:
    """Other grey values: the microscope's focus first, then its detector's curve, gain and noise."""
    if grey.blur:
        values = np.reshape(cv2.GaussianBlur(values, (0, 0), grey.blur), values.shape)  # it drops a single channel
    low, high = values.min(), values.max()
    if grey.gamma != 1 and low < high:
        # Rounding may leave a value a little below the least, which has no power.
        scaled = ((values - low) / (high - low)).clip(0, 1)
        values = scaled ** np.float32(grey.gamma) * (high - low) + low
    values = values * np.float32(grey.gain) + np.float32(grey.offset)
    if grey.noise:
        values += grey.draw_noise(values.shape)
    return values
