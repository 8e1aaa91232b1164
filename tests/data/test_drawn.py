"""Images from several files, and masks that are drawn: one file a class, one file an object, annotations."""

import json
import logging
import pickle
import weakref

import numpy as np
import pytest
import tifffile
from own_images import config
from PIL import Image

from unet_exp import data
from unet_exp.compose import quote
from unet_exp.errors import DataError
from unet_exp.folder import drawing
from unet_exp.folder.pages import PairPages
from unet_exp.folder.pairs import Pair
from unet_exp.folder.rules import Rules
from unet_exp.io.scene import Reading
from unet_exp.io.writing import write_pages
from unet_exp.samples.sample import Region

RNG = np.random.default_rng(0)
SIZE = (24, 20)


@pytest.fixture(autouse=True)
def _fresh(tmp_path, monkeypatch):
    monkeypatch.setenv("UNET_EXP_CACHE", str(tmp_path / "cache"))
    drawing._told.clear()


def put(root, place, pixels):
    path = root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def grey():
    return RNG.integers(0, 256, SIZE, np.uint8)


def blob(*box):
    mask = np.zeros(SIZE, np.uint8)
    top, bottom, left, right = box
    mask[top:bottom, left:right] = 255
    return mask


def fill(root, number=4):
    for name in range(number):
        put(root, f"images/{name}.png", grey())


def load(root, *words):
    settled = ["data.val=0.25", "data.test=0", *words]
    return data.load_data(config(root, *settled))


def samples(dataset):
    return [*dataset.train, *dataset.val, *dataset.test, *dataset.unlabelled]


class TestClasses:
    def put(self, root):
        fill(root)
        for name in range(4):
            put(root, f"a/{name}.png", blob(2, 9, 3, 12))
            if name != 2:
                put(root, f"b/{name}.png", blob(5, 20, 1, 6 + name))
        put(root, "void/1.png", blob(0, 3, 0, 20))

    def test_each_has_its_index_and_later_ones_lie_over_earlier_ones(self, tmp_path, caplog):
        self.put(tmp_path)
        made = load(tmp_path, f"data.masks={{a:{tmp_path}/a,b:{tmp_path}/b}}")
        assert [(spec.name, spec.value) for spec in made.classes] == [("background", 0), ("a", 1), ("b", 2)]
        for number, sample in enumerate(samples(made)):
            wanted = np.zeros(SIZE, np.uint8)
            wanted[2:9, 3:12] = 1
            if number != 2:
                wanted[5:20, 1 : 6 + number] = 2
            assert (sample.label == wanted).all()
        said = [record.getMessage() for record in caplog.records]
        (line,) = (line for line in said if "cover the same pixels" in line)
        assert line.endswith(
            ".png: files of several classes cover the same pixels; there the last of a, b counts, in all images"
        )
        assert "data.masks: 1 of 4 images have no file of a class (b in 1), and so nothing of it" in said

    def test_ignored_labels_and_values_of_classes(self, tmp_path):
        self.put(tmp_path)
        classes = "data.classes=[{name: ground, value: 0}, {name: both, value: a, also: [b]}]"
        masks = f"data.masks={{a:{tmp_path}/a,b:{tmp_path}/b,v:{tmp_path}/void}}"
        made = load(tmp_path, masks, classes, "data.ignore=v")
        label = samples(made)[1].label
        assert set(np.unique(label)) == {0, 1, 255}
        assert (label[:3] == 255).all()
        assert (label[4:] != 255).all()

    @pytest.mark.parametrize(
        ("spoil", "said"),
        [
            ("size", r"a/1\.png: is 9 x 9 pixels and its image .*1\.png is 20 x 24"),
            ("JPEG", r"a/1\.jpg: is a JPEG"),
            ("pages", r"a/1\.tif: has 2 pages and its image "),
        ],
    )
    def test_files_that_do_not_fit(self, tmp_path, spoil, said):
        self.put(tmp_path)
        (tmp_path / "a/1.png").unlink()
        if spoil == "pages":
            write_pages(tmp_path / "a/1.tif", [blob(1, 5, 1, 5)] * 2)
        else:
            small = np.ones((9, 9), np.uint8)
            put(tmp_path, "a/1.png" if spoil == "size" else "a/1.jpg", small if spoil == "size" else blob(1, 5, 1, 5))
        with pytest.raises(DataError, match=said):
            load(tmp_path, f"data.masks={{a:{tmp_path}/a,b:{tmp_path}/b}}")


class TestObjects:
    def put(self, root):
        for name in range(4):
            put(root, f"s/{name}/images/{name}.png", grey())
            for number, part in enumerate([10, 9, 1][: 3 - name]):
                put(root, f"s/{name}/masks/x{part}.png", blob(7 * number, 7 * number + 5, 2, 9))
            (root / f"s/{name}/masks").mkdir(exist_ok=True)
        for name in (".DS_Store", "Thumbs.db"):  # of systems: nobody put them there
            (root / "s/3/masks" / name).touch()
        return [f"data.images={quote(f'{root}/s/*/images/*.png')}", f"data.masks={quote(f'{root}/s/*/masks/')}"]

    def test_each_file_is_an_object_in_natural_order(self, tmp_path):
        words = self.put(tmp_path)
        first, second, third, last = samples(load(tmp_path, *words, "data.labels=instances"))
        assert first.name == "0_0"
        assert (first.instances[15, 3], first.instances[8, 3], first.instances[2, 3]) == (1, 2, 3)
        assert (second.instances[8, 3], second.instances[2, 3]) == (1, 2)
        assert (third.instances > 0).sum() == 35
        assert not last.instances.any()
        assert not last.label.any()

    @pytest.mark.parametrize(
        "classes",
        ["[{name: a, value: 0}, {name: b, value: 255}]", "[{name: a, value: [1, 2, 3]}, {name: b, value: [0, 9, 0]}]"],
    )
    def test_they_are_the_second_class(self, tmp_path, classes):
        words = self.put(tmp_path)
        first, *_, last = samples(load(tmp_path, *words, f"data.classes={classes}"))
        assert first.label.sum() == 3 * 35
        assert not last.label.any()

    def test_other_values_of_classes_are_no_other_objects(self, tmp_path):
        words = self.put(tmp_path)
        for values in ("[{name: a, value: 0}, {name: b, value: 255}]", "[{name: a, value: 3}, {name: b, value: 9}]"):
            for cache in ("none", "disk"):
                made = load(tmp_path, *words, f"data.classes={values}", f"data.cache={cache}")
                assert [int(sample.label.sum()) // 35 for sample in samples(made)] == [3, 2, 1, 0]
                assert made.train.facts.counts[0].tolist() == [24 * 20 - 3 * 35, 3 * 35, 0]


class TestChannels:
    def put(self, root, *arrays):
        for number in range(4):
            for place, array in enumerate(arrays):
                path = root / f"{place}/{number}.tif"
                path.parent.mkdir(exist_ok=True)
                tifffile.imwrite(path, array, metadata=None, photometric="minisblack")
            put(root, f"masks/{number}.png", blob(2, 9, 3, 12))
        return f"data.images=[{','.join(f'{root}/{place}' for place in range(len(arrays)))}]"

    def test_they_follow_in_the_order_of_the_files(self, tmp_path, capsys):
        arrays = [grey(), np.dstack([grey(), grey()]), grey()]
        words = self.put(tmp_path, *arrays[::2])
        made = load(tmp_path, words)
        assert made.channels == 2
        assert (made.train[0].image == np.dstack(arrays[::2])).all()
        said = "".join(capsys.readouterr())
        assert f"come from 2 files, such as {tmp_path}/0/0.tif and {tmp_path}/1/0.tif" in said.replace("\n", " ")

    @pytest.mark.parametrize(
        ("second", "said"),
        [
            (np.ones((9, 20), np.uint8), r"1/0\.tif: is 20 x 9 pixels and .*0/0\.tif, of which .*, is 20 x 24"),
            (np.ones(SIZE, np.uint16), r"1/0\.tif: has uint16 pixels and .*0/0\.tif, .* has uint8"),
            (np.ones((2, *SIZE), np.uint8), r"1/0\.tif: has 2 pages and .*0/0\.tif, .* has 1 page; export both"),
        ],
    )
    def test_files_that_do_not_fit_each_other(self, tmp_path, second, said):
        words = self.put(tmp_path, grey(), second)
        with pytest.raises(DataError, match=said):
            load(tmp_path, words)

    @pytest.mark.parametrize("nodata", [7, "declared", None])
    def test_a_value_means_no_data_where_all_files_hold_it(self, tmp_path, nodata):
        first, second = (grey().astype(np.float32) for _ in range(2))
        first[:5], second[3:8] = 7, 7
        if nodata == "declared":
            first[0, 0] = np.nan
        words = self.put(tmp_path, first, second)
        sample = load(tmp_path, words, f"data.nodata={'null' if nodata is None else nodata}").train[0]
        joined = np.dstack([first, second])
        valid = np.ones(SIZE, bool)
        if nodata is not None:
            valid = (joined != 7).any(axis=2) if nodata == 7 else ~np.isnan(joined).any(axis=2)
        assert (valid if sample.valid is None else sample.valid).all() == valid.all()
        if sample.valid is not None:
            assert (sample.valid == valid).all()
        assert (sample.image[valid] == joined[valid]).all()
        assert (sample.image[~valid] == 0).all()


class TestAnnotations:
    def put_coco(self, root, *names):
        box = [2, 3, 12, 3, 12, 9, 2, 9]
        size = {"height": SIZE[0], "width": SIZE[1]}
        shape = {"id": 1, "image_id": 7, "category_id": 3, "segmentation": [box], "iscrowd": 0, "area": 60}
        content = {
            "images": [{"id": 7 + place, "file_name": name, **size} for place, name in enumerate(names)],
            "categories": [{"id": 3, "name": "cell"}],
            "annotations": [{**shape, "bbox": [2, 3, 10, 6]}],
        }
        (root / "all.json").write_text(json.dumps(content))

    def test_many_images_in_one_file(self, tmp_path):
        fill(tmp_path)
        self.put_coco(tmp_path, *(f"somewhere/{name}.png" for name in range(3)))
        words = [f"data.masks={tmp_path}/all.json", "data.without_mask=unlabelled"]
        made = load(tmp_path, *words, "data.classes=[{name: ground, value: 0}, {name: cell, value: cell}]")
        assert [sample.name for sample in made.unlabelled] == ["3"]
        shown, *others = [sample.label for sample in [*made.train, *made.val]]
        assert shown[3:9, 2:12].all()
        assert shown.sum() == 60
        assert len(others) == 2
        assert not np.any(others)
        numbered = load(tmp_path, *words, "data.labels=instances").train[0]
        assert numbered.instances.sum() == 60

    def test_labels_for_masks_that_hold_values_are_refused(self, tmp_path):
        fill(tmp_path, 3)
        for name in range(3):
            put(tmp_path, f"masks/{name}.png", blob(2, 9, 3, 12))
        for word, label in (("classes=[{name: a, value: '0'}, {name: b, value: '255'}]", 0), ("ignore=void", "void")):
            with pytest.raises(DataError, match=rf"masks/0\.png: holds values, and {label} \(.*\) is a label"):
                load(tmp_path, f"data.{word}")

    def test_a_label_without_a_class_is_one_line(self, tmp_path):
        fill(tmp_path, 3)
        self.put_coco(tmp_path, *(f"{name}.png" for name in range(3)))
        with pytest.raises(
            DataError, match=r"all\.json: its labels are cell x 1 .*and cell has no class: type"
        ) as caught:
            load(tmp_path, f"data.masks={tmp_path}/all.json", "data.classes=[{name: a, value: 0}, {name: b, value: b}]")
        assert "\n" not in str(caught.value)

    def test_labels_of_the_background_lie_over_others(self, tmp_path):
        for name in range(4):
            put(tmp_path, f"images/{name}.png", grey())
            boxes = {"cell": [[2, 3], [11, 8]], "hole": [[2, 3], [5, 8]]}
            shapes = [
                {"label": label, "points": points, "shape_type": "rectangle", "group_id": None}
                for label, points in boxes.items()
            ]
            (tmp_path / f"images/{name}.json").write_text(json.dumps({"shapes": shapes, "imagePath": f"{name}.png"}))
        classes = "data.classes=[{name: ground, value: 0, also: [hole]}, {name: cell, value: cell}]"
        made = load(tmp_path, f"data.masks={tmp_path}/images", classes)
        assert made.train[0].label[4:8, 7:11].all()
        assert not made.train[0].label[:, :5].any()
        assert (
            load(tmp_path, f"data.masks={tmp_path}/images", classes, "data.labels=instances").train[0].instances.max()
            == 1
        )

    def test_a_file_for_each_image_beside_it(self, tmp_path):
        for name in range(4):
            put(tmp_path, f"images/{name}.png", grey())
            shape = {"label": "cell", "points": [[2, 3], [11, 8]], "shape_type": "rectangle", "group_id": None}
            size = {"imageHeight": SIZE[0], "imageWidth": SIZE[1]}
            content = {"version": "5", "shapes": [shape] * (name < 3), "imagePath": f"{name}.png", "imageData": None}
            (tmp_path / f"images/{name}.json").write_text(json.dumps({**content, **size}))
        made = load(tmp_path, f"data.masks={tmp_path}/images")
        assert [int(sample.label.any()) for sample in samples(made)] == [1, 1, 1, 0]
        assert made.train[0].label[4:8, 3:11].all()


def test_pages_are_read_when_they_are_asked_for(tmp_path):
    for place in ("images", "masks"):
        (tmp_path / place).mkdir()
        tifffile.imwrite(tmp_path / place / "s.tif", np.ones((3, *SIZE), np.uint8), photometric="minisblack")
    pair = Pair("s", (tmp_path / "images/s.tif",), (("", tmp_path / "masks/s.tif"),))
    with PairPages(pair, Reading(), Reading(label=True), drawing.Drawing(None)) as pages:
        assert len(pages) == 3
        assert [page.item.name for page in pages] == ["s_000", "s_001", "s_002"]
        assert pages[1].mask.shape == (*SIZE, 1)


def test_one_page_at_a_time_is_in_memory(tmp_path, monkeypatch):
    for place in ("images", "masks"):
        (tmp_path / place).mkdir()
        write_pages(tmp_path / place / "s.tif", [blob(2, 9, 3, 12)] * 5)
    alive = [0, 0]
    genuine = PairPages.__getitem__

    def read(pages, page):
        found = genuine(pages, page)
        alive[0] += 1
        alive[1] = max(alive)
        weakref.finalize(found.scene.pixels, lambda: alive.__setitem__(0, alive[0] - 1))
        return found

    monkeypatch.setattr(PairPages, "__getitem__", read)
    load(tmp_path, "data.cache=none", "data.group=image")
    assert alive[1] <= 2


def test_images_that_were_read_go_to_another_process(tmp_path):
    for place in ("images", "masks"):
        (tmp_path / place).mkdir()
        for number in range(4):
            write_pages(tmp_path / place / f"{number}.tif", [blob(2, 9, 3, 12)] * 2)
    images = load(tmp_path, "data.cache=none").train
    whole, part = images[1], images.read(0, Region(1, 2, 3, 4))
    again = pickle.loads(pickle.dumps(images))
    assert (again[1].image == whole.image).all()
    assert (again.read(0, Region(1, 2, 3, 4)).label == part.label).all()


def test_an_image_is_looked_for_below_the_root(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    fill(tmp_path)
    for name in range(4):
        put(tmp_path, f"masks/{name}.png", blob(2, 9, 3, 12))
    (tmp_path / "lists").mkdir()
    for part, text in (("train", "0\n1"), ("val", "2\n3")):
        (tmp_path / f"lists/{part}.txt").write_text(text)
    words = ["data.images=images", "data.masks=masks", f"data.root={tmp_path}", "data.split=lists", "data.lists=lists"]
    assert [len(part) for part in (load(tmp_path, *words).train, load(tmp_path, *words).val)] == [2, 2]
    (tmp_path / "masks/1.png").unlink()
    with pytest.raises(DataError, match=rf"images/1\.png: no mask in data\.masks=masks \({tmp_path}/masks\)"):
        load(tmp_path, *words)


def test_an_array_in_a_zarr_is_no_folder_of_objects(tmp_path):
    for place in ("a.zarr/labels/n", "b/masks"):
        (tmp_path / place).mkdir(parents=True)
    for place, drawn in (("a.zarr", False), ("a.zarr/labels/n", False), ("b/masks", True), ("b.json", True)):
        pair = Pair("x", (tmp_path / "x.png",), (("", tmp_path / place),))
        assert drawing.is_drawn(pair) == drawn


def test_labels_of_a_config_are_those_that_are_drawn():
    of = Rules.of(config("x", "data.masks={a:x/a,b:x/b}"))
    assert of.drawing.labels == {"a": 1, "b": 2}
    assert Rules.of(config("x")).drawing.labels == {"*": 1}
    assert Rules.of(config("x", "data.labels=instances")).drawing.labels is None
