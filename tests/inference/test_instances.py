"""Numbered cells: which pixels they are, what their table says, what is written."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Said
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from skimage.draw import disk
from tifffile import imread

from unet_exp.config import ClassSpec
from unet_exp.data.sets.synthetic import generate
from unet_exp.inference.instances import measure_cells, number_cells, split_cells, write_instances
from unet_exp.io.images import read_image, read_labels, read_pages
from unet_exp.io.writing import write_image, write_pages
from unet_exp.runs.run_folder import RunFolder
from unet_exp.samples.classes import object_ids

SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 12))
MASKS = arrays(np.uint8, SHAPES, elements=st.integers(0, 2))
NAMES = ["between", "cell", "nucleus"]
SPECS = [ClassSpec(name=name, value=index, color=[index] * 3) for index, name in enumerate(NAMES)]


def components(prediction: np.ndarray, index: int) -> list[set[tuple[int, int]]]:
    """The 4-connected components of a class, each found by walking, in the order of their first pixels."""
    left = {(int(row), int(column)) for row, column in np.argwhere(prediction == index)}
    found = []
    for start in sorted(left):
        if start not in left:
            continue
        reached, waiting = set(), [start]
        while waiting:
            row, column = waiting.pop()
            if (row, column) in left:
                left.remove((row, column))
                reached.add((row, column))
                waiting += [(row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)]
        found.append(reached)
    return found


def shares(prediction: np.ndarray, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((len(NAMES), *prediction.shape)).astype(np.float32)


def picture(*rows: str) -> np.ndarray:
    """Class indices drawn with digits."""
    return np.array([[int(letter) for letter in row] for row in rows], np.uint8)


@given(MASKS, st.sampled_from([[1], [2], [1, 2], [2, 1]]), st.integers(0, 4))
def test_cells_and_their_table_equal_a_plain_count(prediction: np.ndarray, classes: list[int], smallest: int) -> None:
    ids, owners = number_cells(prediction, classes, smallest=smallest)
    wanted = [
        (index, pixels) for index in classes for pixels in components(prediction, index) if len(pixels) >= smallest
    ]
    assert owners.tolist() == [index for index, _ in wanted]
    probabilities = shares(prediction)
    table = measure_cells(ids, owners, probabilities, NAMES)
    expected = []
    for number, (index, pixels) in enumerate(wanted, start=1):
        assert {(int(row), int(column)) for row, column in np.argwhere(ids == number)} == pixels
        rows, columns = zip(*pixels, strict=True)
        expected.append(
            {
                "id": number,
                "class": NAMES[index],
                "area": len(pixels),
                "row": sum(rows) / len(pixels),
                "column": sum(columns) / len(pixels),
                "top": min(rows),
                "left": min(columns),
                "bottom": max(rows) + 1,
                "right": max(columns) + 1,
                "probability": sum(float(probabilities[index, row, column]) for row, column in pixels) / len(pixels),
            }
        )
    assert table["area"].sum() == (ids > 0).sum()
    if expected:
        pd.testing.assert_frame_equal(table, pd.DataFrame(expected), check_dtype=False)
    else:
        assert (len(table), ids.any()) == (0, False)


@given(MASKS, st.integers(0, 5), st.integers(0, 5), st.sampled_from([0, 0.5, 1, 3]))
def test_numbers_have_no_gaps_and_every_cell_is_in_one_piece(
    prediction: np.ndarray, holes: int, smallest: int, split: float
) -> None:
    ids, owners = number_cells(prediction, [1, 2], holes, smallest, split)
    assert ids.dtype == np.uint16
    assert sorted(set(ids.ravel().tolist()) | {0}) == list(range(len(owners) + 1))
    for number in range(1, len(owners) + 1):
        assert ndimage.label(ids == number)[1] == 1
        assert (ids == number).sum() >= smallest
    # Nothing but holes changes hands: no pixel of one class goes to a cell of the other.
    for index in (1, 2):
        assert set(prediction[np.isin(ids, np.flatnonzero(owners == index) + 1)].tolist()) <= {0, index}


@given(MASKS, st.sampled_from([0.5, 1, 2]))
def test_a_split_cuts_cells_and_neither_loses_nor_joins_any(prediction: np.ndarray, depth: float) -> None:
    cells = ndimage.label(prediction == 1)[0]
    parts = split_cells(cells, depth)
    np.testing.assert_array_equal(parts > 0, cells > 0)
    for part in range(1, int(parts.max()) + 1):
        assert len(np.unique(cells[parts == part])) == 1
    np.testing.assert_array_equal(split_cells(cells, 100.0), cells)


def test_two_discs_that_touch_are_cut_at_their_waist() -> None:
    prediction = np.zeros((40, 70), np.uint8)
    for column in (20, 46):
        prediction[disk((20, column), 15)] = 1
    assert len(number_cells(prediction, [1])[1]) == 1
    ids, owners = number_cells(prediction, [1], split=2)
    assert owners.tolist() == [1, 1]
    assert ids[20, 10] == 1
    assert ids[20, 56] == 2
    waist = np.flatnonzero(np.diff(ids[20].astype(int)) == 1)[-1]
    assert abs(waist - 33) <= 1
    # The waist's half width is sqrt(15^2 - 13^2) = 7.5: the bumps stand out by 7.5 pixels of radius.
    assert len(number_cells(prediction, [1], split=9)[1]) == 1


def test_bumps_of_one_height_are_one_where_the_waist_is_shallow() -> None:
    prediction = np.zeros((40, 60), np.uint8)
    for column in (20, 28):
        prediction[disk((20, column), 15)] = 1
    assert len(number_cells(prediction, [1], split=3)[1]) == 1


def test_holes_are_filled_up_to_their_size_and_not_at_the_border() -> None:
    prediction = picture(
        "0111110",
        "0101010",
        "0100010",
        "0111110",
        "0000000",
        "1111000",
        "0001000",
        "1111000",
    )
    assert number_cells(prediction, [1], holes=4)[0].tolist() == number_cells(prediction, [1])[0].tolist()
    filled, owners = number_cells(prediction, [1], holes=5)
    assert filled[1:3, 2:5].tolist() == [[1, 1, 1], [1, 1, 1]]
    assert filled[6].tolist() == [0, 0, 0, 2, 0, 0, 0]  # a bay of three pixels that reaches the border
    assert len(owners) == 2


def test_a_hole_that_leaks_over_a_corner_is_none_and_one_with_a_cell_of_another_class_stays() -> None:
    leaks = picture("00000", "01110", "01010", "01100", "00000")
    assert number_cells(leaks, [1], holes=9)[0][2, 2] == 0
    nested = picture("11111", "10001", "10201", "10001", "11111")
    ids, owners = number_cells(nested, [1, 2], holes=20)
    assert (ids[2].tolist(), owners.tolist()) == ([1, 0, 2, 0, 1], [1, 2])
    ids, owners = number_cells(nested, [1], holes=20)  # the other class is not asked for: it lies in the hole
    assert (ids.min(), owners.tolist()) == (1, [1])


def test_small_parts_are_dropped_after_filling() -> None:
    ring = picture("00000", "01110", "01010", "01110", "00000")
    assert len(number_cells(ring, [1], smallest=9)[1]) == 0
    assert len(number_cells(ring, [1], holes=1, smallest=9)[1]) == 1


def test_more_cells_than_16_bits_can_number() -> None:
    prediction = (np.indices((400, 400)).sum(axis=0) % 2).astype(np.uint8)
    ids, owners = number_cells(prediction, [1])
    assert (ids.dtype, ids.max(), len(owners)) == (np.uint32, 80_000, 80_000)


def test_wide_numbers_and_pages_make_a_tiff(tmp_path: Path) -> None:
    prediction = (np.indices((370, 370)).sum(axis=0) % 2).astype(np.uint8)
    page = prediction, shares(prediction)
    write_instances(tmp_path / "a.png", tmp_path / "a.jpg", [page], SPECS, [1])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.tif"]
    written = imread(tmp_path / "a.tif")
    assert (written.dtype, written.max()) == (np.uint32, 68_450)
    (again,) = read_labels(tmp_path / "a.tif")  # as a mask with data.labels=instances
    np.testing.assert_array_equal(object_ids(again, "a.tif")[0], written)
    few = picture("110", "001"), shares(picture("110", "001"))
    write_instances(tmp_path / "b.png", tmp_path / "b.jpg", [few], SPECS, [1])
    assert read_image(tmp_path / "b.png")[..., 0].tolist() == [[1, 1, 0], [0, 0, 2]]
    assert read_image(tmp_path / "b.png").dtype == np.uint16
    write_instances(tmp_path / "c.png", tmp_path / "c.jpg", [few, few], SPECS, [1])
    assert [page.max() for page in read_pages(tmp_path / "c.tif")] == [2, 2]
    assert pd.read_csv(tmp_path / "c.csv")["page"].tolist() == [0, 0, 1, 1]


def test_the_table_has_no_more_digits_than_it_knows(tmp_path: Path) -> None:
    prediction = picture("110", "100")
    shown = np.full((3, 2, 3), 1 / 3, np.float32)
    write_instances(tmp_path / "a.png", tmp_path / "a.jpg", [(prediction, shown)], SPECS, [1])
    assert (tmp_path / "a.csv").read_text().splitlines()[1] == "0,1,cell,3,0.333,0.333,0,0,2,2,0.333333"


def test_nothing_found_gives_a_table_with_its_header(tmp_path: Path) -> None:
    empty = np.zeros((5, 7), np.uint8)
    write_instances(
        tmp_path / "a.png", tmp_path / "a.jpg", [(empty, shares(empty))], SPECS, [1, 2], holes=3, smallest=3, split=1
    )
    text = (tmp_path / "a.csv").read_text()
    assert text == "page,id,class,area,row,column,top,left,bottom,right,probability\n"
    assert not read_image(tmp_path / "a.png").any()


class TestPredict:
    """`predict.py instances=true`."""

    @pytest.fixture
    def predict(self, cli: Callable[..., Said], finished: RunFolder) -> Callable[..., Said]:
        words = f"checkpoint={finished.best}", "output=masks", "preview=false"
        return lambda *more: cli("predict", *words, "trainer.accelerator=cpu", "trainer.precision=32", *more)

    def test_pictures_and_tables_fit_the_mask(self, predict: Callable[..., Said], tmp_path: Path) -> None:
        image: Any = generate(48, 64, 5, 0).image
        write_image(tmp_path / "a.png", image)
        write_pages(tmp_path / "s.tif", [image, image[::-1].copy()])
        for name, count in (("a.png", 1), ("s.tif", 2)):
            said = predict(f"input={name}", "instances=true", "instances_holes=3", "instances_smallest=4")
            assert said.code == 0, said
            stem, suffix = name.split(".")
            masks = read_pages(tmp_path / "masks" / f"{stem}_mask.{suffix}")
            found = read_pages(tmp_path / "masks" / f"{stem}_instances.{suffix}")
            table = pd.read_csv(tmp_path / "masks" / f"{stem}_instances.csv")
            assert len(found) == len(masks) == count
            for page, (mask, ids) in enumerate(zip(masks, found, strict=True)):
                expected = number_cells((mask[..., 0] > 0).astype(np.uint8), [1], 3, 4)[0]
                np.testing.assert_array_equal(ids[..., 0], expected)
                rows = table[table["page"] == page]
                assert rows["area"].tolist() == np.bincount(expected.ravel())[1:].tolist()
            assert set(table["class"]) <= {"cell"}
            assert table["probability"].between(0, 1).all()

    def test_all_objects_are_counted_and_in_one_table(self, predict: Callable[..., Said], tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        for number in range(2):
            write_image(tmp_path / f"in/a, {number}.png", generate(48, 64, 5, number).image)
        said = predict("input=in", "instances=true")
        joined = pd.read_csv(tmp_path / "masks/instances.csv")
        singles = [pd.read_csv(tmp_path / f"masks/a, {number}_instances.csv") for number in range(2)]
        pd.testing.assert_frame_equal(joined.drop(columns="file"), pd.concat(singles, ignore_index=True))
        assert joined["file"].tolist() == [
            f"in/a, {number}.png" for number in range(2) for _ in range(len(singles[number]))
        ]
        assert f"objects: cell {len(joined)}\n" in said.out
        for number in range(2):
            assert re.search(rf"│ in/a, {number}\.png +│ +{len(singles[number])} │", said.out)
        assert "masks/instances.csv: a row for each object, with its image in the column file\n" in said.out

        said = predict("input=in/a, 1.png", "instances=true", "instances_classes=[membrane,cell]")
        joined = pd.read_csv(tmp_path / "masks/instances.csv")
        assert set(joined["file"]) == {"in/a, 1.png"}
        counts = joined["class"].value_counts()
        assert f"objects: membrane {counts.get('membrane', 0)}, cell {counts.get('cell', 0)}\n" in said.out
        assert "│" not in said.out, "one image has no table of its own"

    def test_classes_by_name(self, predict: Callable[..., Said], tmp_path: Path) -> None:
        write_image(tmp_path / "a.png", generate(48, 48, 5, 0).image)
        assert predict("input=a.png", "instances=true", "instances_classes=[membrane]").code == 0
        mask = read_image(tmp_path / "masks" / "a_mask.png")[..., 0]
        ids = read_image(tmp_path / "masks" / "a_instances.png")[..., 0]
        np.testing.assert_array_equal(ids > 0, mask == 0)

    @pytest.mark.parametrize(
        ("words", "part"),
        [
            ("instances=true instances_classes=[cells]", "instances_classes: there is no class 'cells'; choose among"),
            ("instances=true instances_classes=[]", "instances_classes=[]: name a class, or leave the key out"),
            ("instances=true instances_classes=[cell,cell]", "instances_classes: 'cell' stands there twice"),
            ("instances=true instances_holes=-1", "instances_holes=-1: should be greater than or equal to 0"),
            ("instances_smallest=3", "instances_smallest does nothing without instances=true"),
        ],
    )
    def test_mistakes(self, predict: Callable[..., Said], tmp_path: Path, words: str, part: str) -> None:
        write_image(tmp_path / "a.png", np.zeros((32, 32), np.uint8))
        assert part in predict("input=a.png", *words.split()).mistake
        assert not (tmp_path / "masks").exists()
