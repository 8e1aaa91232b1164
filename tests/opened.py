"""What tests of all kinds of files share: a file read in every way, which must give the same."""

from pathlib import Path

import numpy as np
import pytest

from unet_exp.errors import DataError
from unet_exp.io.images import open_images, stored_pages
from unet_exp.io.partial import open_parts
from unet_exp.io.scene import Reading, Scene
from unet_exp.io.stored import split_inner

RNG = np.random.default_rng(0)


def read_every_way(path: Path, reading: Reading | None = None) -> list[Scene]:
    """The images of a file, after a comparison of their sizes, of random windows and of parts with them."""
    reading = reading or Reading()
    with open_images(path, reading) as images:
        scenes = [images.page(index) for index in range(len(images))]
        assert [images.size(index) for index in range(len(images))] == [scene.pixels.shape for scene in scenes]
        for index in [0, len(scenes) - 1, int(RNG.integers(len(scenes)))]:
            for _ in range(3):
                pixels, valid, _ = scenes[index]
                window = random_window(*pixels.shape[:2])
                check_window(images.region(index, *window), pixels, valid, window, reading.label)
        last, by_window = len(scenes) - 1, images.by_window
    sizes = [scene.pixels.size for scene in scenes]
    assert stored_pages(path, reading)[:3] == (len(sizes), max(sizes), sum(sizes))
    part = open_parts(path, last, reading)
    assert (part is not None) == by_window
    if part is not None:
        pixels, valid, _ = scenes[last]
        window = random_window(*pixels.shape[:2])
        check_window(part.region(*window), pixels, valid, window, reading.label)
        part.close()
    return scenes


def random_window(height: int, width: int) -> tuple[int, int, int, int]:
    """Top, left, height and width."""
    top, left = int(RNG.integers(height)), int(RNG.integers(width))
    return top, left, int(RNG.integers(1, height - top + 1)), int(RNG.integers(1, width - left + 1))


def check_window(found, pixels, valid, window, label) -> None:
    """Compares a window with that of the whole image."""
    top, left, height, width = window
    cut = slice(top, top + height), slice(left, left + width)
    part, part_valid = found
    assert label or part.dtype == pixels.dtype  # that of a label is one that its own values fit into
    assert part.flags.c_contiguous
    np.testing.assert_array_equal(part, pixels[cut])
    whole = np.ones(pixels.shape[:2], bool) if valid is None else valid
    np.testing.assert_array_equal(np.ones((height, width), bool) if part_valid is None else part_valid, whole[cut])


def read_all(path: Path, reading: Reading) -> list[Scene]:
    """The images of a file."""
    with open_images(path, reading) as images:
        return [images.page(index) for index in range(len(images))]


def refuse(path: Path, reading: Reading | None = None) -> str:
    """The message for a file that is refused: one line, which names it."""
    with pytest.raises(DataError) as caught:
        read_all(path, reading or Reading())
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 700
    assert str(split_inner(path)[0]) in message
    return message
