"""GeoJSON (RFC 7946): polygons in the coordinates of a georeferenced image, or in pixels; as GDAL and QuPath write it.

A pixel is in a polygon if its centre is, as `gdal_rasterize` and rasterio decide. A feature's label is the first that
there is: `properties.class`, `properties.classification.name` (QuPath), `properties.label`, `properties.name`,
`object`.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unet_exp.annotations.outlines import Points, Size, Wanted, clip_outline, fill_centres, join, to_points
from unet_exp.annotations.painting import Shape
from unet_exp.errors import DataError
from unet_exp.io.georeference import Georeference, read_georeference

_NO_LABEL = "object"
_WORLD = 4326
"""EPSG code of longitude and latitude, which a file without `crs` has."""


class _Feature(NamedTuple):
    label: str
    polygons: list[list[Points]]
    what: str


def is_geojson(plain: Any) -> bool:
    """Whether a file is of this format; QuPath once wrote bare lists of features."""
    if isinstance(plain, list):
        return bool(plain) and all(isinstance(one, dict) and one.get("type") == "Feature" for one in plain)
    return isinstance(plain, dict) and plain.get("type") in ("FeatureCollection", "Feature")


class GeoJson:
    """A parsed file, of one image.

    Attributes:
        names: None.
        labels: the number of features of each label.
    """

    names: list[str] | None = None

    def __init__(self, path: Path, plain: Any) -> None:
        self._path = path
        features = plain
        if isinstance(plain, dict):
            features = [plain] if plain["type"] == "Feature" else plain.get("features")
        if not isinstance(features, list):
            raise DataError(f"{path}: its features are not a list; export it again")
        self._crs = self._find_crs(plain) if isinstance(plain, dict) else None
        read = [self._read(feature, number) for number, feature in enumerate(features, start=1)]
        self._features = [feature for feature in read if feature.polygons]
        self.labels = Counter(feature.label for feature in self._features)

    def shapes(self, wanted: Wanted) -> Iterator[Shape]:
        """See `Annotations`.

        Raises:
            DataError: where the file is in other coordinates than the image, or all of it lies outside.
        """
        image, size = wanted.file, wanted.size
        place = read_georeference(image)
        if place is not None and place.affine is not None:
            self._require_same_crs(image, place)
        found = [[[_to_pixels(ring, place) for ring in rings] for rings in one.polygons] for one in self._features]
        if found and not any(_touches(rings[0], size) for polygons in found for rings in polygons):
            where = "pixels" if place is None or place.affine is None else "its coordinates"
            raise DataError(f"{self._path}: all of it lies outside {image} in {where}; take the file of this image")
        for feature, polygons in zip(self._features, found, strict=True):
            clipped = [[clip_outline(ring, size) for ring in rings] for rings in polygons]
            yield join([fill_centres(feature.label, rings, size, feature.what) for rings in clipped])

    def _require_same_crs(self, image: Path, place: Georeference) -> None:
        mine = _WORLD if self._crs is None else self._crs
        if place.epsg is not None and mine != place.epsg:
            what = "has no crs, which means longitude and latitude" if self._crs is None else f"is in EPSG:{mine}"
            raise DataError(
                f"{self._path}: {what}, and {image} is in EPSG:{place.epsg}; convert it with "
                f"ogr2ogr -t_srs EPSG:{place.epsg} converted.geojson {self._path}"
            )

    def _find_crs(self, plain: dict[str, Any]) -> int | None:
        """The EPSG code in the member `crs`, which RFC 7946 took out and GDAL goes on writing."""
        found = plain.get("crs")
        if found is None:
            return None
        try:
            name = found["properties"]["name"]
            code = re.search(r"\b(EPSG|OGC)[:/](?:[\d.]*[:/])?(\d{1,9}|CRS84)$", name, re.ASCII)
        except (KeyError, TypeError):
            code = None
        if code is None:
            raise DataError(
                f"{self._path}: its crs is not known by an EPSG code; convert it with ogr2ogr -t_srs EPSG:..."
            )
        return _WORLD if code[2] == "CRS84" else int(code[2])

    def _read(self, feature: Any, number: int) -> _Feature:
        what = f"{self._path}: feature {number}"
        if not isinstance(feature, dict) or feature.get("type") != "Feature":
            raise DataError(f"{what}: is no feature; export it again")
        label, geometry = _find_label(feature.get("properties")), feature.get("geometry")
        if geometry is None:  # of a feature that lies nowhere
            return _Feature(label, [], what)
        kind = geometry.get("type") if isinstance(geometry, dict) else geometry
        if kind not in ("Polygon", "MultiPolygon"):
            raise DataError(f"{what}, {label}: is a {str(kind)[:60]} and no polygon; delete it, or draw its outline")
        polygons = geometry.get("coordinates")
        polygons = [polygons] if kind == "Polygon" and polygons else polygons  # an empty one is without rings
        if not isinstance(polygons, list) or not all(isinstance(rings, list) and rings for rings in polygons):
            raise DataError(f"{what}, {label}: its coordinates are not lists of rings; export it again")
        return _Feature(label, [[_read_ring(ring, what) for ring in rings] for rings in polygons], what)


def _find_label(properties: Any) -> str:
    if not isinstance(properties, dict):
        return _NO_LABEL
    kind = properties.get("classification")
    names = (
        properties.get("class"),
        kind.get("name") if isinstance(kind, dict) else kind,
        properties.get("label"),
        properties.get("name"),
    )
    return next((str(name) for name in names if isinstance(name, str | int) and str(name)), _NO_LABEL)


def _read_ring(ring: Any, what: str) -> Points:
    if isinstance(ring, list) and any(isinstance(point, list) and len(point) > 2 for point in ring):
        ring = [point[:2] if isinstance(point, list) else point for point in ring]  # without heights
    return to_points(ring, what)


def _to_pixels(points: Points, place: Georeference | None) -> Points:
    return points if place is None or place.affine is None else place.to_pixels(points)


def _touches(points: Points, size: Size) -> bool:
    """Whether the box of an outline has a part in the image."""
    least, most = points.min(axis=0), points.max(axis=0)
    return bool((most > 0).all() and (least < np.array(size[::-1])).all())
