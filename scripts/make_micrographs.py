"""Write generated micrographs as files, to try "your own images" with: `python scripts/make_micrographs.py scans`."""

import sys
from pathlib import Path

import installed  # noqa: F401
import numpy as np

from unet_exp.data.sets.synthetic import CELL, generate
from unet_exp.io.writing import write_image

LABELLED, NEW, SIDE = 20, 4, 256


def make_micrographs(folder: Path) -> None:
    """Writes `images` and `masks` (0: membrane, 255: cell), and `new`, images without masks."""
    for kind in ("images", "masks", "new"):
        (folder / kind).mkdir(parents=True)
    for index in range(LABELLED + NEW):
        micrograph = generate(SIDE, SIDE, seed=0, index=index)
        name = f"{index:02}.png"
        if index < LABELLED:
            write_image(folder / "images" / name, micrograph.image)
            write_image(folder / "masks" / name, np.where(micrograph.label == CELL, 255, 0).astype(np.uint8))
        else:
            write_image(folder / "new" / name, micrograph.image)


def main(words: list[str]) -> None:
    if len(words) != 1:
        raise SystemExit("error: type the folder to write to, such as scans")
    folder = Path(words[0])
    if folder.exists():
        raise SystemExit(f"error: {folder} is there already; remove it, or name another folder")
    make_micrographs(folder)
    print(
        f"{folder}/images and {folder}/masks: {LABELLED} of {SIDE} x {SIDE} pixels; {folder}/new: {NEW} without masks"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
