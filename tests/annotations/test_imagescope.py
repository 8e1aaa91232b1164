"""Aperio ImageScope against shapely: a pixel is in a region if its centre is."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from unet_exp.annotations import draw_mask, list_images, list_labels
from unet_exp.annotations.outlines import fill_centres
from unet_exp.errors import DataError

SIZE = (40, 50)
RNG = np.random.default_rng(0)


def region(points, number=1, text="", more=""):
    corners = "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in points)
    return f'<Region Id="{number}" Type="0" Text="{text}" {more}><Attributes/><Vertices>{corners}</Vertices></Region>'


def layer(*regions, name="", attributes=""):
    head = "<RegionAttributeHeaders><AttributeHeader Name='Area'/></RegionAttributeHeaders>"
    named = f"<Attributes>{attributes}</Attributes>"
    return f'<Annotation Id="1" Name="{name}">{named}<Regions>{head}{"".join(regions)}</Regions></Annotation>'


def write(path, *layers):
    path.write_text(f'<Annotations MicronsPerPixel="0.25">{"".join(layers)}</Annotations>')
    return path


def mask_of(path, labels=None):
    return draw_mask(path, path.with_name("a.tif"), None, SIZE, labels)[0][..., 0]


def centres(polygon):
    columns, rows = np.meshgrid(np.arange(SIZE[1]) + 0.5, np.arange(SIZE[0]) + 0.5)
    return shapely.contains_xy(polygon, columns, rows)


def star(x, y, radius, count=9):
    angles = np.sort(RNG.random(count)) * 2 * np.pi
    lengths = radius * (0.3 + 0.7 * RNG.random(count))
    return np.round(np.stack([x + lengths * np.cos(angles), y + lengths * np.sin(angles)], axis=1), 3)


def place(shape):
    mask = np.zeros(SIZE, bool)
    mask[shape.top :, shape.left :][: shape.mask.shape[0], : shape.mask.shape[1]] = shape.mask
    return mask


def test_regions_are_their_pixel_centres(tmp_path):
    for number in range(20):
        points = star(*(RNG.random(2) * [50, 40]), 25)
        path = write(tmp_path / f"{number}.xml", layer(region(points)))
        np.testing.assert_array_equal(mask_of(path), centres(shapely.Polygon(points)))


def test_negative_regions_are_cut_out_of_their_layer_alone(tmp_path):
    outer, hole, other = star(25, 20, 19), star(25, 20, 6), star(25, 20, 3)
    path = write(
        tmp_path / "a.xml",
        layer(region(hole, more='NegativeROA="1"'), region(outer), name="gland"),
        layer(region(other), name="nucleus"),
    )
    expected = centres(shapely.Polygon(outer)) & ~centres(shapely.Polygon(hole))
    found = np.where(centres(shapely.Polygon(other)), 2, expected)
    np.testing.assert_array_equal(mask_of(path), found)
    assert list_labels(path) == {"gland": 1, "nucleus": 1}
    assert list_images(path) is None


def test_a_label_is_the_first_of_four(tmp_path):
    square = [(1, 1), (9, 1), (9, 9)]
    path = write(
        tmp_path / "a.xml",
        layer(region(square, text="c"), name="a", attributes='<Attribute Name="b" Value="d"/>'),
        layer(region(square, text="c"), attributes='<Attribute Name="b" Value="d"/>'),
        layer(region(square, text="c"), attributes='<Attribute Name="Epithelial" Value=""/>'),
        layer(region(square, text="c"), attributes='<Attribute Name="Description" Value=""/>'),
        layer(region(square)),
    )
    assert list(list_labels(path)) == ["a", "d", "Epithelial", "c", "region"]


def test_regions_without_an_area_are_told(tmp_path, caplog):
    arrow = region([(1, 1)]).replace('Type="0"', 'Type="3"')
    assert not mask_of(write(tmp_path / "a.xml", layer(arrow))).any()
    assert "regions that are no outlines (ellipses, arrows ...) are left out: 1" in caplog.text


@pytest.mark.parametrize("vertex", ["nan", "x", "1e999"])
def test_what_is_broken_is_one_line(tmp_path, vertex):
    with pytest.raises(DataError, match=r"a.xml: region 4: a vertex without numbers"):
        mask_of(write(tmp_path / "a.xml", layer(region([(1, vertex)], 4))))
    with pytest.raises(DataError, match=r"a.xml: region 4: an outline of 2 points"):
        mask_of(write(tmp_path / "a.xml", layer(region([(1, 2), (2, 3)], 4))))


corner = st.tuples(st.floats(-70, 120, allow_nan=False), st.floats(-60, 100, allow_nan=False))


@given(st.lists(st.lists(corner, min_size=3, max_size=7), min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_rings_by_the_even_odd_rule_row_by_row(rings):
    found = place(fill_centres("", [np.array(ring) for ring in rings], SIZE, ""))
    for row in range(0, SIZE[0], 3):
        for column in range(0, SIZE[1], 7):
            x, y, odd, near = column + 0.5, row + 0.5, False, False
            for ring in rings:
                for (x0, y0), (x1, y1) in zip(ring, [*ring[1:], ring[0]], strict=True):
                    if (y0 <= y) != (y1 <= y):
                        crossing = x0 + (y - y0) / (y1 - y0) * (x1 - x0)
                        odd ^= crossing <= x
                        near |= abs(crossing - x) < 1e-6
            assert near or found[row, column] == odd


def test_shapes_that_share_an_outline_share_no_pixel():
    points = np.array([[0, 0], [50, 0], [50, 40], [0, 40]], float)
    for _ in range(20):
        middle = RNG.integers(0, 80, 2) / 2 if RNG.random() < 0.5 else RNG.random(2) * 40
        parts = [np.array([points[side], points[(side + 1) % 4], middle]) for side in range(4)]
        assert (sum(place(fill_centres("", [part], SIZE, "")).astype(int) for part in parts) == 1).all()
