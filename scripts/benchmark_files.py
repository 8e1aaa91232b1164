"""The files of `benchmark_data.py`: photographs with masks, a million small images, and an index of these."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from unet_exp.config.user_data import FolderConfig
from unet_exp.errors import ConfigError
from unet_exp.files import write_whole
from unet_exp.io.writing import write_image
from unet_exp.progress import track

PHOTOGRAPHS, SMALL = "made_photographs", "made_million"
"""Folders of what is made."""
_WAVES = ((256, 60), (64, 20), (8, 6))
"""Colours change by so much (standard deviation of grey values) within so many pixels."""
_GRAIN = 2.5
"""Standard deviation of the noise of each pixel, in grey values; a file then has 0.3 to 0.5 MB."""
_QUALITY = 90
_SMALL_SIDE, _SMALL_DISTINCT = 256, 32
"""Of the small images: 32, because ext4 lets a file have 65,000 links."""


def make_pairs(folder: Path, number: int, distinct: int, size: Sequence[int], processes: int) -> Path:
    """Makes a folder of photographs with masks, no two pairs of which are equal; what is there is kept.

    The files are links: any number of pairs of one size takes the place of one set. A link changes a time of its file,
    so all folders should be there before the first of them is read.

    Args:
        folder: of everything that is made.
        number: of pairs.
        distinct: photographs; pair i shows number i modulo this. Every mask is different.
        size: height and width.
        processes: that make them side by side.

    Returns:
        The folder, with `images/0001.jpg` and `masks/0001.png` and so on.
    """
    height, width = size
    pool = folder / PHOTOGRAPHS / f"{height}x{width}"
    target = pool / f"{number}_of_{distinct}"
    photographs = [pool / "photographs" / f"{place + 1:04}.jpg" for place in range(min(number, distinct))]
    masks = [pool / "masks" / f"{place + 1:04}.png" for place in range(number)]
    for parent in (photographs[0].parent, masks[0].parent, target / "images", target / "masks"):
        parent.mkdir(parents=True, exist_ok=True)
    _write_files(_write_photograph, photographs, (height, width), processes)
    _write_files(_write_mask, masks, (height, width), processes)
    for place, mask in enumerate(masks):
        _link(photographs[place % distinct], target / "images" / f"{place + 1:04}.jpg")
        _link(mask, target / "masks" / mask.name)
    return target


def make_small(folder: Path, number: int) -> Path:
    """Makes a folder of so many links to a few grey images of 256 x 256 pixels with masks; what is there is kept.

    Returns:
        The folder, with `images/img_0000001.png`, `masks/img_0000001.png` and so on.
    """
    from unet_exp.data.sets.synthetic import generate

    root = folder / SMALL
    target = root / str(number)
    for kind in ("images", "masks"):
        for parent in (root / "distinct" / kind, target / kind):
            parent.mkdir(parents=True, exist_ok=True)
    for index in range(min(number, _SMALL_DISTINCT)):
        if not (root / "distinct/masks" / f"{index}.png").exists():
            made = generate(_SMALL_SIDE, _SMALL_SIDE, 0, index)
            write_image(root / "distinct/images" / f"{index}.png", made.image)
            write_image(root / "distinct/masks" / f"{index}.png", (255 * made.label).astype(np.uint8))
    for place in track(range(number), "linking small images", number):
        for kind in ("images", "masks"):
            _link(root / "distinct" / kind / f"{place % _SMALL_DISTINCT}.png", target / kind / name_small(place))
    return target


def name_small(place: int) -> str:
    """The name of a small image and of its mask."""
    return f"img_{place + 1:07}.png"


def list_data_words(place: Path) -> list[str]:
    """The words for the images and masks in a folder."""
    return ["data=folder", f"data.images={place / 'images'}", f"data.masks={place / 'masks'}"]


def simulate_index(place: Path, cache: Path) -> None:
    """Keeps the index that a first start would have made of the folder of `make_small`.

    The distinct files are looked at in earnest; what is known of them is repeated for their links. Of a million images
    the names alone take much memory: run it in a process of its own.

    Args:
        place: of `images` and `masks`.
        cache: the cache folder.

    Raises:
        DataError: for a file that cannot be read.
    """
    from unet_exp.compose import compose_train
    from unet_exp.config import parse
    from unet_exp.data.sets.folder import find_folder_pairs
    from unet_exp.folder.index_file import FOLDER, hash_words, name_data, save_index
    from unet_exp.folder.rules import Rules
    from unet_exp.folder.survey import Survey

    config = parse(compose_train(list_data_words(place))).data
    assert isinstance(config, FolderConfig)
    pairs, rules, words = find_folder_pairs(config), Rules.of(config), name_data(config, Rules.of(config))
    distinct = pairs[:_SMALL_DISTINCT]
    seen = Survey(distinct, rules)
    seen.look_at(range(len(distinct)))
    for error in seen.mistakes.values():
        raise error
    places = np.arange(len(pairs))
    index = seen.index.take(places % len(distinct))
    index.rows["place"] = places
    path = cache / FOLDER / f"{hash_words(words)}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_index(path, pairs, index, words, rules)


def _write_files(
    write: Callable[[tuple[int, int], Path], None], paths: Sequence[Path], size: tuple[int, int], processes: int
) -> None:
    """Writes those of the files that are not there, in several processes if there are more than one."""
    missing = [path for path in paths if not path.exists()]
    if not missing:
        return
    with ExitStack() as stack:
        run: Callable[..., Iterator[None]] = map
        if processes > 1:
            run = stack.enter_context(ProcessPoolExecutor(processes, get_context("spawn"))).map
        made = run(partial(write, size), missing)
        for _ in track(made, f"making {missing[0].parent.name}", len(missing)):
            pass


def _write_photograph(size: tuple[int, int], path: Path) -> None:
    """A JPEG file with smooth colours, some detail and noise; its number decides which."""
    height, width = size
    random = np.random.default_rng([0, int(path.stem)])
    pixels = np.full((height, width, 3), 128, np.float32)
    for wave, change in _WAVES:
        coarse = random.normal(0, change, (height // wave + 2, width // wave + 2, 3)).astype(np.float32)
        pixels += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    pixels += _GRAIN * random.standard_normal((height, width, 1), np.float32)
    encoded = cv2.imencode(".jpg", pixels.clip(0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    with write_whole(path) as side:
        side.write_bytes(encoded.tobytes())


def _write_mask(size: tuple[int, int], path: Path) -> None:
    """A PNG file of 0 and 255, with an ellipse that no other number has."""
    height, width = size
    random = np.random.default_rng([1, int(path.stem)])
    x, y = (random.uniform(0.3, 0.7) * side for side in (width, height))
    wide, high = (random.uniform(0.2, 0.8) * side for side in (width, height))
    pixels = np.zeros((height, width), np.uint8)
    cv2.ellipse(pixels, ((x, y), (wide, high), random.uniform(0, 180)), 255, cv2.FILLED)
    write_image(path, pixels)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        pass
    except OSError as error:
        raise ConfigError(
            f"{target}: cannot be a hard link to {source} ({error.strerror}); take a folder on a disk that has hard "
            "links, or more distinct images"
        ) from None
