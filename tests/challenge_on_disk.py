"""Made-up sequences in the Cell Tracking Challenge's layout."""

import numpy as np
import tifffile

ROWS, COLUMNS = 24, 130


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, pixels, compression="lzw", photometric="minisblack", metadata=None)


def plane(*boxes, dtype=np.uint16, shape=(ROWS, COLUMNS)):
    """Numbers painted into boxes (number, top, left, height, width)."""
    pixels = np.zeros(shape, dtype)
    for number, top, left, height, width in boxes:
        pixels[top : top + height, left : left + width] = number
    return pixels


LEFT, RIGHT = (1, 4, 5, 12, 10), (7, 4, 15, 12, 9)  # Two cells that touch.


LONE = (9, 8, 100, 4, 6)


def frame(root, sequence, number, seg=None, tra=None, silver=None, image=np.uint8):
    """One frame with those of its files that are given."""
    seed = int(sequence) * 1000 + int(number)
    pixels = np.random.default_rng(seed).integers(0, np.iinfo(image).max, (ROWS, COLUMNS), endpoint=True)
    write(root / sequence / f"t{number}.tif", pixels.astype(image))
    for folder, pixels in (("GT/SEG/man_seg", seg), ("GT/TRA/man_track", tra), ("ST/SEG/man_seg", silver)):
        if pixels is not None:
            write(root / f"{sequence}_{folder}{number}.tif", pixels)


def full(root, first=5, second=3, digits=3, **options):
    """Sequences whose frames are annotated wholly, and one frame of each that is not annotated at all."""
    for sequence, count in (("01", first), ("02", second)):
        for number in range(count):
            both = plane(LEFT, RIGHT)
            frame(root, sequence, f"{number:0{digits}d}", both, both, **options)
        if count:
            frame(root, sequence, f"{count:0{digits}d}", tra=plane(LEFT))
    return root


HELA = {
    "01": {
        2: (10, 10), 5: (10, 10), 21: (11, 11), 31: (13, 13), 33: (13, 13), 34: (12, 13), 39: (13, 14), 54: (13, 13),
        67: (3, 18),
    },
    "02": {
        6: (10, 10), 7: (9, 10), 14: (9, 10), 27: (11, 11), 34: (10, 10), 38: (11, 11), 42: (9, 11), 61: (14, 15),
        67: (14, 15),
    },
}  # fmt: skip
"""How many of its marked cells each annotated frame of DIC-C2DH-HeLa outlines."""


def hela(root, **options):
    """Frames as HeLa's are annotated, with small cells in a row."""
    for sequence, counts in HELA.items():
        for number, (outlined, marked) in counts.items():
            cells = [(cell, 4, 7 * cell - 5, 6, 4) for cell in range(1, marked + 1)]
            frame(root, sequence, f"{number:03d}", plane(*cells[:outlined]), plane(*cells), plane(*cells), **options)
    return root
