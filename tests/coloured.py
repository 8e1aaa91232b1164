"""A generated data set as people have them: photographs, and masks with a colour a class, one rare and one unknown."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from unet_exp.io.writing import write_image

CLASSES = {
    "ground": (60, 60, 60),
    "grass": (0, 160, 0),
    "water": (0, 0, 255),
    "road": (200, 120, 0),
    "buoy": (255, 0, 0),
}
UNKNOWN = (255, 255, 255)
SEEN = {"ground": (150, 130, 110), "grass": (105, 140, 80), "water": (80, 110, 140), "road": (130, 130, 130)}
BUOY_SEEN = (190, 110, 80)
"""Mean colours in the photographs; their noise is as large as what sets them apart."""


def coloured_set(root: Path, count: int = 24, side: int = 96, seed: int = 0) -> None:
    """Writes `count` images of `side` x `side` pixels to `root/images`, and their masks to `root/masks`.

    Grass grows on the ground, roads cross it, lakes lie on top; some lakes have a buoy of five pixels, 0.2 % of all
    pixels. A corner of each mask is of the unknown colour.
    """
    for number in range(count):
        random = np.random.default_rng([seed, number])
        mask = np.full((side, side, 3), CLASSES["ground"], np.uint8)
        mask[_blobs(random, side) > 0.2] = CLASSES["grass"]
        start, stop = random.integers(0, side, 2).tolist()
        cv2.line(mask, (0, start), (side - 1, stop), CLASSES["road"], 7)
        lake = _blobs(random, side)
        lake = lake > np.quantile(lake, 0.75)
        mask[lake] = CLASSES["water"]
        deep = np.argwhere(cv2.erode(lake.astype(np.uint8), np.ones((9, 9), np.uint8)))
        if len(deep) and number % 3 != 1:
            row, column = deep[random.integers(len(deep))].tolist()
            cv2.circle(mask, (column, row), 2, CLASSES["buoy"], -1)
        image = np.zeros((side, side, 3))
        for name, seen in {**SEEN, "buoy": BUOY_SEEN}.items():
            image[(mask == CLASSES[name]).all(axis=2)] = seen
        image += random.normal(0, 20, image.shape) + 10 * _blobs(random, side)[..., None]
        mask[: side // 6, : side // 4] = UNKNOWN
        for place, pixels in (("images", image.clip(0, 255).astype(np.uint8)), ("masks", mask)):
            (root / place).mkdir(parents=True, exist_ok=True)
            write_image(root / place / f"s{number:02d}.png", pixels)


def _blobs(random: np.random.Generator, side: int) -> NDArray[np.float64]:
    """Smooth noise (side, side) of mean 0 and standard deviation 1."""
    noise = cv2.GaussianBlur(random.normal(size=(side, side)), (0, 0), side / 10)
    return np.asarray((noise - noise.mean()) / noise.std())
