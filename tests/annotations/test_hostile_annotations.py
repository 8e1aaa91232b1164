"""Annotations of anybody: whatever a file holds, it is read or refused in one line, in little time and memory."""

import json
import os
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unet_exp.annotations import draw_mask, kept, list_images, list_labels
from unet_exp.errors import DataError

LABELME = {"version": "5", "shapes": [{"label": "a", "points": [[1, 1], [9, 1], [9, 9]]}], "imagePath": "a.png"}
COCO = {
    "images": [{"id": 1, "file_name": "a.png"}],
    "categories": [{"id": 1, "name": "a"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 9, 1, 9, 9]]}],
}
GEOJSON = {
    "type": "Feature",
    "properties": {"class": "a"},
    "geometry": {"type": "Polygon", "coordinates": [[[1, 1], [9, 1], [9, 9]]]},
}
CVAT = (
    '<annotations><image name="a.png" width="12" height="10"><polygon label="a" points="1,1;9,1;9,9"/></image>'
    "</annotations>"
)
APERIO = (
    '<Annotations><Annotation Name="a"><Regions><Region><Vertices><Vertex X="1" Y="1"/><Vertex X="9" Y="1"/>'
    '<Vertex X="9" Y="9"/></Vertices></Region></Regions></Annotation></Annotations>'
)
TEXTS = [json.dumps(LABELME), json.dumps(COCO), json.dumps(GEOJSON), CVAT, APERIO]

WRONG = [b"9e9", b"-", b"[", b'"', b"0", b"\0"]


def draw(path):
    names = list_images(path)
    return draw_mask(path, path.with_name("a.png"), names[0] if names else None, (10, 12), None)


def failure(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as error:
        draw(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)
    return str(error.value).removeprefix(str(path))


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16"])
def test_each_kind_is_recognised_by_its_content(tmp_path, text, coding):
    if coding == "utf-16" and text.startswith("{"):
        assert "neither JSON nor XML" in failure(tmp_path / "a.txt", text.encode(coding))
        return
    (tmp_path / "a.txt").write_bytes(text.encode(coding))
    mask, valid = draw(tmp_path / "a.txt")
    assert mask.max() == 1
    assert 20 < mask.sum() < 50
    assert valid is None
    assert list_labels(tmp_path / "a.txt") == {"a": 1}


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_cut_short_anywhere_is_one_line(tmp_path, text):
    for size in range(len(text)):
        failure(tmp_path / f"{size}.x", text[:size])


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_what_is_changed_anywhere_is_drawn_or_one_line(tmp_path_factory, data):
    text = bytearray(data.draw(st.sampled_from(TEXTS)).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(text) - 1))
        text[place : place + data.draw(st.integers(0, 3))] = data.draw(st.sampled_from(WRONG))
    path = tmp_path_factory.mktemp("changed") / "a.x"
    path.write_bytes(text)
    try:
        draw(path)
    except DataError as error:
        assert "\n" not in str(error)  # noqa: PT017


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)


@given(st.recursive(scalars, st.lists, max_leaves=6))
@settings(max_examples=12, deadline=None)
def test_any_value_in_place_of_another_is_drawn_or_one_line(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("value") / "a.x"
    for plain in (LABELME, COCO, GEOJSON):
        for changed in _replace_each(plain, value):
            path.write_text(json.dumps(changed))
            os.utime(path, ns=(time.time_ns(), next(_TICKS)))
            try:
                draw(path)
            except DataError as error:
                assert "\n" not in str(error)  # noqa: PT017


_TICKS = iter(range(10**9))


def _replace_each(plain, value):
    keys = plain if isinstance(plain, dict) else range(len(plain)) if isinstance(plain, list) else ()
    for key in keys:
        copy = plain.copy()
        copy[key] = value
        yield copy
        for inner in _replace_each(plain[key], value):
            copy = plain.copy()
            copy[key] = inner
            yield copy


def test_json_bombs_are_one_line(tmp_path):
    assert "too deep" in failure(tmp_path / "a.json", "[" * 100_000)
    assert "too deep" in failure(tmp_path / "b.json", '{"a":' * 100_000)
    assert "'a' stands twice" in failure(tmp_path / "c.json", '{"a": 1, "a": 2}')
    assert "NaN, which is not finite" in failure(tmp_path / "d.json", '{"a": NaN}')
    assert "damaged" in failure(tmp_path / "e.json", '{"a": ' + "9" * 5000 + "}")
    assert "no text in UTF-8" in failure(tmp_path / "f.json", b'{"a": "\xff"}')
    assert "not finite" in failure(tmp_path / "g.json", json.dumps(GEOJSON).replace("9", "1e999", 1))


def test_xml_bombs_are_one_line(tmp_path):
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    for number, kind in enumerate(
        [
            f'<!DOCTYPE x [<!ENTITY l0 "ha">{laughs}]>',
            '<!DOCTYPE x SYSTEM "file:///etc/passwd">',
            "<!DOCTYPE annotations>",
        ]
    ):
        assert "declares a document type" in failure(tmp_path / f"{number}.xml", f"{kind}{CVAT}")
    assert "more than 32 deep" in failure(tmp_path / "deep.xml", "<annotations>" + "<a>" * 10_000)
    assert "no XML" in failure(tmp_path / "entity.xml", "<annotations>&x;</annotations>")
    assert "unknown encoding" in failure(tmp_path / "coding.xml", '<?xml version="1.0" encoding="klingon"?>' + CVAT)


OTHERS = {
    "project of VIA": {"_via_settings": {}, "_via_img_metadata": {}},
    "annotations of VIA": {"a.png123": {"filename": "a.png", "regions": []}},
    "Cityscapes polygons.*labelIds": {"imgHeight": 1, "imgWidth": 1, "objects": []},
    "Supervisely": {"description": "", "tags": [], "size": {}, "objects": []},
    "Label Studio: export it as COCO": [{"id": 1, "annotations": [], "data": {}}],
    "results of COCO": [{"image_id": 1, "category_id": 1, "segmentation": {}, "score": 1}],
    "JSON of an unknown kind": {"a": 1},
}


@pytest.mark.parametrize("message", OTHERS)
def test_known_kinds_that_are_not_read_are_named(tmp_path, message):
    (tmp_path / "a.json").write_text(json.dumps(OTHERS[message]))
    with pytest.raises(DataError, match=f"{message}.*; of annotations COCO"):
        draw(tmp_path / "a.json")


def test_other_files_are_one_line(tmp_path):
    assert "is Pascal VOC" in failure(tmp_path / "a.xml", "<annotation><folder/></annotation>")
    assert "is ASAP" in failure(tmp_path / "b.xml", "<ASAP_Annotations/>")
    assert "XML with the root <svg>" in failure(tmp_path / "c.xml", "<svg/>")
    assert "neither JSON nor XML" in failure(tmp_path / "d.json", "")
    with pytest.raises(DataError, match="there is no such file"):
        draw(tmp_path / "none.json")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(DataError, match="there is no such file"):
        draw(tmp_path / "folder.json")


@pytest.mark.slow
def test_a_million_points_and_a_huge_outline_take_little(tmp_path):
    angles = np.linspace(0, 2 * np.pi, 200_000)
    ring = np.stack([6 + 4 * np.cos(angles), 5 + 4 * np.sin(angles)], axis=1)
    many = {**GEOJSON, "geometry": {"type": "Polygon", "coordinates": [ring.tolist()]}}
    huge = {**GEOJSON, "geometry": {"type": "Polygon", "coordinates": [[[-1e15, -1e15], [1e15, 1e15], [-1e15, 1e15]]]}}
    for name, plain, expected in (("a", many, 50), ("b", huge, 50)):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(plain))
        list_labels(path)
        tracemalloc.start()
        mask, _ = draw(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert abs(int(mask.sum()) - expected) <= 5
        assert peak < 60e6


def test_a_file_is_parsed_once_until_it_changes(tmp_path, monkeypatch):
    parsed = []
    read = kept.read_json
    monkeypatch.setattr(kept, "read_json", lambda path, compact: parsed.append(path) or read(path, compact))
    path = tmp_path / "a.json"
    path.write_text(json.dumps(LABELME))
    with ThreadPoolExecutor(8) as pool:
        masks = list(pool.map(lambda _: draw(path)[0], range(40)))
    assert parsed == [path]
    assert all(np.array_equal(mask, masks[0]) for mask in masks)
    path.write_text(json.dumps({**LABELME, "shapes": []}))
    assert not draw(path)[0].any()
    assert len(parsed) == 2
    for number in range(100):
        other = tmp_path / f"{number}.json"
        other.write_text(json.dumps(LABELME))
        draw(other)
    assert len(kept._kept) <= 32


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_waits_for_no_thread_of_its_parent(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(LABELME))
    with kept._lock:  # as while another thread parses
        child = os.fork()
        if not child:
            os._exit(0 if draw(path)[0].any() else 1)
    assert os.waitpid(child, 0)[1] == 0
