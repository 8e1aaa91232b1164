"""GeoJSON in pixels and in the coordinates of a GeoTIFF, against shapely."""

import json

import numpy as np
import pytest
import shapely
import tifffile

from unet_exp.annotations import draw_mask, list_images, list_labels
from unet_exp.errors import DataError

SIZE = (40, 50)
RNG = np.random.default_rng(0)
OUTER = [[3.2, 4.1], [44.7, 2.3], [40.3, 33.9], [5.5, 36.2], [3.2, 4.1]]
HOLE = [[12.1, 10.2], [30.3, 11.7], [20.9, 25.1], [12.1, 10.2]]
AWAY = [[46.1, 36.2], [60.3, 36.2], [60.3, 55.7], [46.1, 55.7], [46.1, 36.2]]
UTM = "urn:ogc:def:crs:EPSG::32633"


def feature(coordinates, kind="Polygon", **properties):
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": properties}


def write(path, features, crs=None):
    plain = {"type": "FeatureCollection", "features": features}
    if crs:
        plain["crs"] = {"type": "name", "properties": {"name": crs}}
    path.write_text(json.dumps(plain))
    return path


def write_image(path, tags=(), **more):
    tifffile.imwrite(path, np.zeros(SIZE, np.uint8), extratags=tags, metadata=None, **more)
    return path


def geo_tags(epsg, raster=1, key=3072):
    keys = (1, 1, 0, 2, 1025, 0, 1, raster, key, 0, 1, epsg)
    return [
        (33550, "d", 3, (0.5, 0.25, 0.0), True),
        (33922, "d", 6, (10.0, 20.0, 0.0, 500_000.0, 5_000_000.0, 0.0), True),
        (34735, "H", len(keys), keys, True),
    ]


def to_world(points, middle=0.0):
    """`middle`: 0.5 where the tie point is the middle of a pixel."""
    return [[500_000 + (x - 10 - middle) * 0.5, 5_000_000 - (y - 20 - middle) * 0.25] for x, y in points]


def mask_of(path, image, labels=None):
    return draw_mask(path, image, None, SIZE, labels)[0][..., 0]


def centres(polygon):
    columns, rows = np.meshgrid(np.arange(SIZE[1]) + 0.5, np.arange(SIZE[0]) + 0.5)
    return shapely.contains_xy(polygon, columns, rows)


WHOLE = shapely.MultiPolygon([(OUTER, [HOLE]), (AWAY, [])])


def test_in_pixels_of_an_image_without_georeference(tmp_path):
    path = write(tmp_path / "a.geojson", [feature([OUTER, HOLE]), feature([[OUTER, HOLE], [AWAY]], "MultiPolygon")])
    expected = centres(WHOLE)
    for image in (write_image(tmp_path / "a.tif"), tmp_path / "a.png"):
        (tmp_path / "a.png").write_bytes(b"\x89PNG")
        np.testing.assert_array_equal(mask_of(path, image), 2 * expected)
    assert list_images(path) is None


@pytest.mark.parametrize(("raster", "middle"), [(1, 0.0), (2, 0.5)])
def test_in_the_coordinates_of_the_image(tmp_path, raster, middle):
    rings = [[to_world(ring, middle) for ring in rings] for rings in ([OUTER, HOLE], [AWAY])]
    rings = [[[[*point, 3.0] for point in ring] for ring in one] for one in rings]  # with heights
    path = write(tmp_path / "a.geojson", [feature(rings, "MultiPolygon")], UTM)
    image = write_image(tmp_path / "a.tif", geo_tags(32633, raster))
    np.testing.assert_array_equal(mask_of(path, image), centres(WHOLE))


def test_by_a_transformation_that_turns(tmp_path):
    matrix = np.array([[0.3, 0.4, 0, 100], [0.4, -0.3, 0, 200], [0, 0, 0, 0], [0, 0, 0, 1]])
    tags = [(34264, "d", 16, tuple(matrix.ravel()), True)]
    world = [(matrix[:2, :2] @ point + matrix[:2, 3]).tolist() for point in np.array(OUTER)]
    image = write_image(tmp_path / "a.tif", tags)
    path = write(tmp_path / "a.geojson", [feature([world])])
    np.testing.assert_array_equal(mask_of(path, image), centres(shapely.Polygon(OUTER)))


def test_other_coordinates_are_refused_with_the_words_that_convert(tmp_path):
    image = write_image(tmp_path / "a.tif", geo_tags(32633))
    path = write(tmp_path / "a.geojson", [feature([to_world(OUTER)])])
    with pytest.raises(DataError, match=r"has no crs, which means longitude .*EPSG:32633; .*ogr2ogr -t_srs EPSG:32633"):
        mask_of(path, image)
    with pytest.raises(DataError, match="is in EPSG:32632, and"):
        mask_of(write(path, [feature([OUTER])], "EPSG:32632"), image)
    with pytest.raises(DataError, match="not known by an EPSG code"):
        mask_of(write(path, [], "Mars"), image)
    world = write_image(tmp_path / "b.tif", geo_tags(4326, key=2048))
    for crs in (None, "urn:ogc:def:crs:OGC:1.3:CRS84", "EPSG:4326", "http://www.opengis.net/def/crs/EPSG/0/4326"):
        assert mask_of(write(path, [feature([to_world(OUTER)])], crs), world).any()
    unknown = write_image(tmp_path / "c.tif", geo_tags(32767))
    assert mask_of(write(path, [feature([to_world(OUTER)])]), unknown).any()


def test_what_lies_outside_altogether_is_told(tmp_path):
    image = write_image(tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"all of it lies outside .*a.tif in pixels"):
        mask_of(write(tmp_path / "a.geojson", [feature([to_world(OUTER)])]), image)
    assert not mask_of(write(tmp_path / "b.geojson", []), image).any()


def test_features_without_a_place_and_empty_polygons_are_nothing(tmp_path):
    empty = [{"type": "Feature", "geometry": None}, feature([]), feature([], "MultiPolygon"), feature([OUTER])]
    path = write(tmp_path / "a.geojson", empty)
    assert list_labels(path) == {"object": 1}
    assert mask_of(path, write_image(tmp_path / "a.tif")).max() == 1


def test_a_label_is_the_first_of_five(tmp_path):
    found = [
        {"class": "a", "label": "b"},
        {"classification": {"name": "b", "color": [1, 2, 3]}, "label": "c", "name": "PathAnnotation"},
        {"classification": None, "label": "c", "name": "d"},
        {"name": "d", "label": ""},
        {"class": 5},
        {},
    ]
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps([feature([OUTER], **one) for one in found]))  # bare, as of QuPath
    assert list(list_labels(path)) == ["a", "b", "c", "d", "5", "object"]


BROKEN = {
    "feature 1: is no feature": [3],
    "feature 2, object: is a Point and no polygon": [feature([OUTER]), feature([1, 2], "Point")],
    "feature 1, object: is a 3": [{"type": "Feature", "geometry": 3}],
    "not lists of rings": [feature(3)],
    "not pairs": [feature([[[1, 2], [3], [4, 5]]])],
    "an outline of 2 points": [feature([[[1, 2], [3, 4]]])],
    "its features are not a list": 3,
}


@pytest.mark.parametrize("message", BROKEN)
def test_what_is_broken_is_one_line(tmp_path, message):
    with pytest.raises(DataError, match=message) as error:
        mask_of(write(tmp_path / "a.geojson", BROKEN[message]), tmp_path / "none.png")
    assert "\n" not in str(error.value)
