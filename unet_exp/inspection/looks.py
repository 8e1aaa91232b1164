"""How the files of a family look: one from the middle, read once."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unet_exp.errors import DataError
from unet_exp.inspection.families import Family
from unet_exp.io.images import open_images
from unet_exp.io.kinds import ANNOTATION_SUFFIXES
from unet_exp.io.scene import Reading


class Look(NamedTuple):
    """What one file shows.

    Attributes:
        flatness: share of neighbours in a row that are equal, 0..1: of masks nearly all; 0 if it cannot be read.
        lit: (H, W), where it is not 0; None where it has more than two values, or cannot be read.
    """

    flatness: float = 0.0
    lit: NDArray[np.bool_] | None = None

    @property
    def share(self) -> float:
        """The share of pixels that are not 0, 0..1; 0 where there are more than two values."""
        return 0.0 if self.lit is None else float(self.lit.mean())

    def shares_most(self, other: "Look") -> bool:
        """Whether most of what both show is the same pixels, or it is not known."""
        one, two = self.lit, other.lit
        if one is None or two is None or one.shape != two.shape:
            return True
        return bool(2 * (one & two).sum() >= (one | two).sum())


def look_at(root: Path, family: Family) -> Look:
    """Looks at a file from the middle of a family below a folder; nothing is seen of annotations."""
    if family.kind in ANNOTATION_SUFFIXES:
        return Look()
    path = Path(root, family.files[len(family.files) // 2], *filter(None, [family.inner]))
    try:
        with open_images(path, Reading()) as images:
            pixels = images.page(len(images) // 2).pixels
    except DataError:
        return Look()
    flatness = float((pixels[:, 1:] == pixels[:, :-1]).mean()) if pixels.shape[1] > 1 else 0.0
    return Look(flatness, (pixels != 0).any(axis=2) if len(np.unique(pixels)) <= 2 else None)
