"""Where a TIFF lies on the earth: the tags of GeoTIFF (OGC 19-008r4), to be understood and to be written on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tifffile import TiffFile, TiffPage

from unet_exp.errors import DataError
from unet_exp.io.directions import Directions
from unet_exp.io.orientation import UPRIGHT
from unet_exp.io.scene import explain_damage
from unet_exp.io.tiff import find_orientation, list_image_pages

_SCALE, _TIEPOINT, _TRANSFORM, _KEYS, _DOUBLES, _TEXTS = 33550, 33922, 34264, 34735, 34736, 34737
_TAGS = {_SCALE: "d", _TIEPOINT: "d", _TRANSFORM: "d", _KEYS: "H", _DOUBLES: "d", _TEXTS: "s"}
"""The type of each tag, as tifffile writes it."""
_RASTER_TYPE, _GEOGRAPHIC, _PROJECTED, _LINEAR_UNIT = 1025, 2048, 3072, 3076
_POINT, _USER_DEFINED, _METER = 2, 32767, 9001
_MOST_VALUES = 100_000

Tag = tuple[int, str, int, Any, bool]
"""As `tifffile.TiffWriter.write` takes it."""


class Georeference(NamedTuple):
    """Where an image lies.

    Attributes:
        affine: (2, 3), from column and row, counted from the upper left corner of the image, to x and y; None where the
            tags do not say.
        epsg: code of the coordinates; None where they have none.
        tags: as they are written into another file.
        in_meters: whether it says that x and y are metres.
    """

    affine: NDArray[np.float64] | None
    epsg: int | None
    tags: tuple[Tag, ...]
    in_meters: bool = False

    @property
    def pixel_size(self) -> tuple[float, float] | None:
        """Height and width of a pixel in metres; None where the tags do not say."""
        if self.affine is None or not self.in_meters:
            return None
        width, height = np.linalg.norm(self.affine[:, :2], axis=0).tolist()
        return height, width

    @property
    def directions(self) -> Directions:
        """Where columns and rows lead, in x and y."""
        assert self.affine is not None
        return Directions.of([[*axis, 0] for axis in self.affine[:, :2].T] + [None])

    def to_places(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Places (N, 2), x and y, of columns and rows (N, 2)."""
        assert self.affine is not None
        return np.asarray(points @ self.affine[:, :2].T + self.affine[:, 2], np.float64)

    def to_pixels(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Columns and rows (N, 2) of places (N, 2), x and y."""
        assert self.affine is not None
        inverse = np.linalg.inv(self.affine[:, :2])
        return np.asarray((points - self.affine[:, 2]) @ inverse.T, np.float64)


def read_georeference(path: Path) -> Georeference | None:
    """Reads where the first image of a TIFF lies.

    Returns:
        None for another kind of file, one without such tags, and one that viewers turn, whose pixels are not where the
        tags say once they are upright.

    Raises:
        DataError: for a TIFF that is damaged.
        OSError: if it cannot be opened.
    """
    if not path.is_file():  # a folder, or something in a container
        return None
    with path.open("rb") as stream:
        if stream.read(4)[:2] not in (b"II", b"MM"):
            return None
        stream.seek(0)
        with explain_damage(path), TiffFile(stream) as file:
            return find_georeference(list_image_pages(path, file)[0].page)


def find_georeference(page: TiffPage) -> Georeference | None:
    """Where a page of an open TIFF lies; None as of `read_georeference`."""
    found = {code: page.tags[code].value for code in _TAGS if code in page.tags}
    return _interpret(found) if found and find_orientation(page) == UPRIGHT else None


def check_places(
    path: Path, found: Georeference | None, image: Path, expected: Georeference | None, size: tuple[int, int]
) -> None:
    """Checks that a file lies where the image does to which it belongs, if both say so in the same coordinates.

    Small differences pass: pixels are put on each other by their columns and rows.

    Args:
        path: the file, which has as many pixels.
        found: where it lies.
        image: the image's file.
        expected: where the image lies.
        size: height and width of both.

    Raises:
        DataError: if one lies on the other flipped or turned, or all of it elsewhere.
    """
    if found is None or expected is None or found.epsg != expected.epsg:
        return
    if found.affine is None or expected.affine is None:
        return
    if found.directions.lead_elsewhere(expected.directions):
        raise DataError(
            f"{path}: its columns and rows lead elsewhere on the earth than those of its image {image}: it would lie "
            "on it flipped or turned; warp both to one grid, as gdalwarp does"
        )
    height, width = size
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float64)
    seen = expected.to_pixels(found.to_places(corners))
    if (seen.max(axis=0) <= 0).any() or (seen.min(axis=0) >= [width, height]).any():
        (x, y), (left, top) = (place.to_places(corners[:1])[0].tolist() for place in (found, expected))
        raise DataError(
            f"{path}: lies elsewhere on the earth than its image {image}: it begins at {x:.10g}, {y:.10g} and the "
            f"image at {left:.10g}, {top:.10g}; take the file of this image, or correct its georeference"
        )


def _interpret(found: Mapping[int, Any]) -> Georeference:
    values = {code: value if isinstance(value, str | tuple) else (value,) for code, value in found.items()}
    tags = tuple(
        (code, _TAGS[code], 0 if isinstance(value, str) else len(value), value, True)
        for code, value in values.items()
        if len(value) <= _MOST_VALUES and isinstance(value, str) == (_TAGS[code] == "s")
    )
    keys = _read_keys(values.get(_KEYS, ()))
    codes = [keys[code] for code in (_PROJECTED, _GEOGRAPHIC) if code in keys]
    epsg = codes[0] if codes and 0 < codes[0] < _USER_DEFINED else None
    affine = _find_affine(values)
    if affine is not None and keys.get(_RASTER_TYPE) == _POINT:
        affine[:, 2] -= affine[:, :2] @ [0.5, 0.5]  # it says where the centres of pixels are
    return Georeference(affine, epsg, tags, keys.get(_LINEAR_UNIT) == _METER)


def _read_keys(values: Any) -> dict[int, int]:
    """The short values of the key directory, which come in fours: key, 0, 1, value."""
    fours = zip(*(values[start::4] for start in range(4)), strict=False)
    return {key: value for key, place, _, value in list(fours)[1:] if place == 0}


def _find_affine(values: Mapping[int, Any]) -> NDArray[np.float64] | None:
    transform, scale, tie = (values.get(code, ()) for code in (_TRANSFORM, _SCALE, _TIEPOINT))
    affine = None
    if len(transform) == 16:
        affine = np.array(transform, np.float64).reshape(4, 4)[:2, [0, 1, 3]]
    elif len(scale) >= 2 and len(tie) >= 6:
        (across, down), (column, row, _, x, y) = scale[:2], tie[:5]
        affine = np.array([[across, 0, x - column * across], [0, -down, y + row * down]])
    usable = affine is not None and np.isfinite(affine).all() and np.linalg.det(affine[:, :2]) != 0
    return affine if usable else None
