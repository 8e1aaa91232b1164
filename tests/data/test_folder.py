"""A user's images and masks: decoded, refused, and trained on."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from conftest import TINY_STACK
from own_images import RNG, grey, load, mask, names, put
from patterns import in_memory
from PIL import Image

from unet_exp import data, losses, memory
from unet_exp import load as open_predictor
from unet_exp.compose import compose_train
from unet_exp.config import IGNORE_LABEL, parse
from unet_exp.errors import ConfigError, DataError
from unet_exp.io.images import read_pages
from unet_exp.io.writing import write_image
from unet_exp.metrics.scoreboard import Scoreboard
from unet_exp.samples.classes import encode
from unet_exp.samples.normalization import Normalization

COLOURS = {
    "ground": (60, 60, 60),
    "grass": (0, 160, 0),
    "water": (0, 0, 255),
    "road": (200, 120, 0),
    "buoy": (255, 0, 0),
}
VOID = (255, 255, 255)
BY_INDEX = "data.classes=[{name: background, value: 0}, {name: a, value: 1}, {name: b, value: 2}]"
BY_COLOUR = "data.classes=[" + ", ".join(f"{{name: {k}, value: {list(v)}}}" for k, v in COLOURS.items()) + "]"


@pytest.fixture
def root(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    return tmp_path


def test_labels_are_those_of_the_mask(root):
    for number in range(3):
        put(root, number)
    made = load(root)
    for sample in (*made.train, *made.val, *made.test):
        assert np.array_equal(sample.label * 255, read_pages(root / f"masks/{sample.name}.png")[0][..., 0])
        assert sample.instances is None


def colour_data(root, count=8, size=48):
    """Scenes of five classes, of which one is rare, with a border that is ignored; their masks are colours."""
    table = np.array([*COLOURS.values(), VOID], np.uint8)
    shades = np.array([60, 110, 160, 210, 250, 30])
    labels = []
    for number in range(count):
        label = np.zeros((size, size), int)
        label[: size // 2] = 1
        label[size // 2 :, : size // 2] = 2
        label[:, 30:36] = 3
        label[40:42, 4 + number : 7 + number] = 4
        label[:2] = 5
        labels.append(label)
        noisy = shades[label][..., None] + RNG.normal(0, 8, (size, size, 3))
        put(root, f"scene{number}", np.clip(noisy, 0, 255).astype(np.uint8), table[label])
    return labels


def test_colours_become_classes_and_a_colour_is_ignored(root):
    labels = colour_data(root, 4)
    made = load(root, BY_COLOUR, f"data.ignore={list(VOID)}")
    for label, sample in zip(labels, (*made.train, *made.val, *made.test), strict=True):
        assert np.array_equal(sample.label, np.where(label == 5, IGNORE_LABEL, label))
    assert [spec.name for spec in made.classes] == list(COLOURS)
    assert made.classes[1].color == [0, 160, 0]  # The colours of the masks are those of the pictures.
    assert made.channels == 3


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_palette_is_its_indices_for_values_and_its_colours_for_colours(root, suffix):
    indices = RNG.integers(0, 3, (16, 16)).astype(np.uint8)
    palette = np.array([list(COLOURS.values())[index] for index in (0, 1, 2)], np.uint8)
    for number in range(3):
        put(root, number)
        (root / f"masks/{number}.png").unlink()
        if suffix == ".png":
            picture = Image.fromarray(indices).convert("P")
            picture.putpalette(palette.tobytes())
            picture.save(root / f"masks/{number}.png")
        else:
            table = np.zeros((3, 256), np.uint16)
            table[:, :3] = palette.T.astype(np.uint16) * 257
            tifffile.imwrite(root / f"masks/{number}.tif", indices, photometric="palette", colormap=table)
    for words in (BY_INDEX, BY_COLOUR):
        assert np.array_equal(load(root, words).train[0].label, indices)


def test_a_transparent_colour_of_a_palette_is_a_colour_of_a_mask(root):
    colours = ["{name: ground, value: [0, 0, 0]}", "{name: cell, value: [0, 255, 0]}"]
    for number in range(3):
        label = mask() // 255
        put(root, number, label=label)
        picture = Image.fromarray(label, mode="P")
        picture.putpalette([0, 0, 0, 0, 255, 0])
        picture.save(root / f"masks/{number}.png", transparency=0)
    for words in (
        [f"data.classes=[{', '.join(colours)}]"],
        ["data.classes=[{name: a, value: 0}, {name: b, value: 1}]"],
    ):
        assert np.array_equal(load(root, *words).test[0].label, label)


def test_a_palette_of_greys_is_what_it_looks_like(root):
    for number in range(3):
        label = mask()
        put(root, number, label=label)
        picture = Image.fromarray(label // 255).convert("P")
        picture.putpalette(bytes([0, 0, 0, 255, 255, 255]))
        picture.save(root / f"masks/{number}.png")
    assert np.array_equal(load(root).test[0].label * 255, label)


def two_objects(kind):
    ids = np.zeros((16, 16), np.uint16)
    ids[2:8, 2:8], ids[2:8, 8:14], ids[12:, 12:] = 300, 2, 9
    if kind == "numbers":
        return ids[..., None]
    colours = np.zeros((16, 16, 3), np.uint8)
    for number, colour in ((300, (255, 0, 0)), (2, (0, 255, 0)), (9, (9, 9, 9))):
        colours[ids == number] = colour
    return colours


@pytest.mark.parametrize("kind", ["numbers", "colours"])
def test_objects_become_cells_with_a_border_where_they_touch(root, kind):
    for number in range(3):
        put(root, number, label=two_objects(kind))
    ignored = "9" if kind == "numbers" else "[9,9,9]"
    made = load(root, "data.labels=instances", f"data.ignore={ignored}")
    sample, ids = made.train[0], two_objects("numbers")[..., 0]
    assert made.metrics == ("seg",)
    drawn = sample.instances
    assert drawn.dtype == np.int32
    assert np.array_equal(drawn > 0, (ids > 0) & (ids != 9))
    assert len(np.unique(drawn[(ids == 300)])) == len(np.unique(drawn[(ids == 2)])) == 1
    assert drawn[4, 4] != drawn[4, 10]
    assert (sample.label[ids == 9] == IGNORE_LABEL).all()
    assert 0 in sample.label[4, 6:10]
    assert sample.label[4, 4] == sample.label[4, 12] == 1


@pytest.mark.parametrize("dtype", ["int32", "uint32", "float32", "int64"])
def test_numbers_of_objects_beyond_16_bits_are_objects_of_their_own(root, dtype):
    ids = two_objects("numbers")[..., 0].astype(dtype)
    ids[ids == 300] = 2 + 65536  # in 16 bits it would be the object beside it
    for number in range(3):
        put(root, number)
        (root / f"masks/{number}.png").unlink()
        if dtype == "int64":
            np.save(root / f"masks/{number}.npy", ids)
        else:
            tifffile.imwrite(root / f"masks/{number}.tif", ids)
    sample = load(root, "data.labels=instances").train[0]
    assert sample.instances[4, 4] != sample.instances[4, 10]
    assert len(np.unique(sample.instances)) == 4
    assert 0 in sample.label[4, 6:10]


@pytest.mark.parametrize(("ignored", "shown"), [([255, 255, 255], 255), (255, 255)])
def test_an_ignored_colour_is_ignored_on_a_page_of_greys(root, ignored, shown):
    for number in range(3):
        label = np.zeros((16, 16, 3), np.uint8)
        label[:4], label[8:] = shown, 7
        put(root, number, label=label)
    sample = load(root, "data.labels=instances", f"data.ignore={ignored}").train[0]
    assert (sample.label[:4] == IGNORE_LABEL).all()
    assert (sample.instances[:8] == 0).all()
    assert (sample.instances[8:] > 0).all()


def test_unknown_values_are_one_error_for_the_whole_set(root):
    for number in range(6):
        label = mask()
        label[0, :number] = 7
        label[1, :2] = 9
        put(root, number, label=label)
    with pytest.raises(DataError) as caught:
        load(root)
    text = str(caught.value)
    assert "27 pixels belong to no class: 7 x 15, 9 x 12 (value x pixels)" in text
    assert "masks/0.png, " in text
    assert "and 3 more files" in text
    proposed = "{name: background, value: 0}, {name: class_1, value: 7}, {name: class_2, value: 9}, {name: foreground, "
    assert "known are 0 background, 255 foreground; correct the masks, ignore one value (data.ignore)" in text
    assert f"type 'data.classes=[{proposed}value: 255}}]'" in text


def test_one_mistake_of_many_images_is_told_once(root):
    for number in range(7):
        put(root, number, label=mask(16 if number else 8))
    for number in (2, 4, 5):
        (root / f"images/{number}.png").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        load(root)
    text = str(caught.value)
    assert text.startswith("4 of 7 images cannot be used: ")
    assert "masks/0.png" in text.partition("; ")[0]
    assert text.count("images/2.png: is empty") == 1
    assert text.endswith("(and 2 more with the same mistake)")


@pytest.mark.parametrize("kind", ["contiguous", "planar", "numpy", "fortran"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [2, 5])
def test_any_number_of_channels(root, kind, dtype, channels):
    arrays = [(RNG.random((16, 12, channels)) * 200).astype(dtype) for _ in range(3)]
    for number, array in enumerate(arrays):
        write_image(root / f"masks/{number}.png", mask()[:, :12])
        if kind == "numpy":
            np.save(root / f"images/{number}.npy", array)
        elif kind == "fortran":
            np.save(root / f"images/{number}.npy", np.asfortranarray(array))
        else:
            planes = np.moveaxis(array, 2, 0) if kind == "planar" else array
            order = {"planarconfig": "separate" if kind == "planar" else "contig", "photometric": "minisblack"}
            tifffile.imwrite(root / f"images/{number}.tif", planes, **order)
    made = load(root)
    assert made.channels == channels
    for array, part in zip(arrays, (made.train, made.val, made.test), strict=True):
        assert part[0].image.dtype == array.dtype
        assert np.array_equal(part[0].image, array)


@pytest.mark.parametrize("mode", ["image", "dataset", "none"])
def test_a_training_takes_channels_and_floats_as_they_are(root, train, mode):
    for number in range(3):
        np.save(
            root / f"images/{number}.npy", RNG.normal(5, 3, (32, 32, 6)).astype(np.float32) * np.arange(6, dtype="f")
        )
        write_image(root / f"masks/{number}.png", mask(32))
    words = ["data=folder", f"data.images={root}/images", f"data.masks={root}/masks", f"data.normalization={mode}"]
    folder = train(*words, "data.tile=32", "model=same", "augmentation=paper", base=TINY_STACK)
    predictor = open_predictor(folder.best, "cpu", "32")
    image = np.load(root / "images/0.npy")
    assert predictor.checkpoint.record.channels == 6
    assert predictor.predict(image).shape == (32, 32)
    sample = load(root).train[0]
    fitted = Normalization.fit(mode, in_memory([sample]).facts)
    assert predictor.checkpoint.record.normalization == fitted
    made = fitted(image)
    if mode == "none":
        assert np.array_equal(made, image)
    else:
        assert np.allclose(made.mean((0, 1)), 0, atol=1e-4)
        assert np.allclose(made.std((0, 1)), [0, 1, 1, 1, 1, 1], atol=1e-4)


def test_numpy_stacks_and_masks(root):
    pages = RNG.integers(0, 255, (3, 16, 16, 1), np.uint8)
    labels = RNG.random((3, 16, 16, 1)) > 0.5
    np.save(root / "images/s.npy", pages)
    np.save(root / "masks/s.npy", labels)
    made = load(root, "data.group=image")
    assert names(made)[:3] == [["s_000"], ["s_001"], ["s_002"]]
    assert np.array_equal(made.val[0].label, labels[1, ..., 0])


def test_grey_images_saved_as_colour_and_an_alpha_that_says_nothing(root):
    put(root, 0)
    put(root, 1, grey().repeat(3, axis=2))
    put(root, 2, np.concatenate([grey().repeat(3, axis=2), np.full((16, 16, 1), 255, np.uint8)], axis=2))
    assert load(root).channels == 1


def test_an_alpha_that_varies_in_one_image_is_a_channel_of_all(root):
    for number in range(3):
        put(root, number, RNG.integers(0, 255, (16, 16, 4), np.uint8))
    opaque = read_pages(root / "images/0.png")[0]
    opaque[..., 3] = 255
    write_image(root / "images/0.png", opaque)
    assert load(root).channels == 4


def test_grey_images_among_colours_have_equal_channels(root, caplog):
    for number in range(1, 5):
        put(root, number)
    put(root, 2, RNG.integers(0, 256, (16, 16, 3), np.uint8))
    dataset = load(root, "data.test=0")
    images = [sample.image for part in (dataset.train, dataset.val) for sample in part]
    assert [image.shape for image in images] == [(16, 16, 3)] * 4
    assert [bool((image == image[:, :, :1]).all()) for image in images] == [True, False, True, True]
    assert "3 of 4 images are grey and others show colours: they are read with 3 equal channels" in caplog.text


def test_grey_values_of_16_bits_can_be_classes(root):
    for number in range(3):
        put(root, number, label=mask().astype(np.uint16) * 257)
    made = load(root, "data.classes=[{name: background, value: 0}, {name: cell, value: 65535}]")
    stored = read_pages(root / "masks/0.png")[0]
    assert np.array_equal(made.train[0].label, stored[..., 0] > 0)
    assert np.array_equal(encode(made.train[0].label, made.classes), stored)


def test_more_than_fits_into_the_memory_is_refused_unread(root, monkeypatch):
    for number in range(3):
        put(root, number)
    monkeypatch.setattr("unet_exp.folder.choice.free_memory", lambda: 900)
    monkeypatch.setattr("unet_exp.folder.pages.open_images", None)
    with pytest.raises(ConfigError, match=r"the 3 images and their masks take 1\.54 kB of memory, more than most"):
        load(root, "data.cache=memory")


def test_memory_of_files_once_read_is_free(tmp_path, monkeypatch):
    (tmp_path / "memory.max").write_text("9000\n")
    (tmp_path / "memory.current").write_text("8900\n")
    (tmp_path / "memory.stat").write_text("anon 500\nfile 8400\nactive_file 3000\ninactive_file 5000\nshmem 400\n")
    monkeypatch.setattr(memory, "_GROUPS", tmp_path)
    assert memory.free_memory() == 100 + 8000


def test_a_class_that_no_training_mask_shows_is_told(root, caplog):
    for number in range(3):
        put(root, number, label=np.zeros((16, 16), np.uint8))
    load(root)
    assert "no training mask shows foreground: check data.classes" in caplog.text


@pytest.mark.parametrize("loss", ["cross_entropy", "border_weighted"])
@pytest.mark.parametrize("labels", ["classes", "instances"])
def test_what_is_ignored_changes_neither_loss_nor_scores(root, loss, labels):
    """Whatever lies there, in the prediction and, for objects, in the mask."""
    ids = two_objects("numbers")
    for number in range(3):
        put(root, number, label=ids if labels == "instances" else ids % 7)  # 0, 6, 2, and 2 once more.
    by_value = "data.classes=[{name: a, value: 0}, {name: b, value: 6}]"
    words = ["data.labels=instances", "data.ignore=9"] if labels == "instances" else [by_value, "data.ignore=2"]
    whole = parse(compose_train(["data=folder", f"data.images={root}/images", f"data.masks={root}/masks", *words]))
    made, settings = data.load_data(whole.data), parse(compose_train([f"loss={loss}"])).loss
    (sample,) = made.train
    ignored = sample.label == IGNORE_LABEL
    assert 0 < ignored.sum() < ignored.size
    function = losses.build(settings, None)
    label, weights = losses.targets(settings)(sample.label, sample.instances)
    logits = torch.randn(1, 2, 16, 16, requires_grad=True)

    def outcome(values):
        pixel_weights = None if weights is None else torch.from_numpy(weights)[None]
        value = function(values, torch.from_numpy(label)[None], pixel_weights)
        board = Scoreboard(["a", "b"], made.metrics)
        predicted = (values[0, -1] > 0).numpy().astype(np.uint8)
        board.add("x", sample.label, predicted, value.item(), instances=sample.instances)
        return value, board.result()

    value, scores = outcome(logits)
    value.backward()
    assert (logits.grad[:, :, ignored] == 0).all()
    assert (logits.grad[:, :, ~ignored] != 0).any()
    for other in (logits + 100 * torch.from_numpy(ignored), logits - 100 * torch.from_numpy(ignored)):
        assert outcome(other)[1] == pytest.approx(scores)


def test_classes_get_colours_that_differ(root):
    for number in range(3):
        put(root, number)
    specs = ", ".join(f"{{name: c{value}, value: {value}}}" for value in range(254))
    colours = [tuple(spec.color) for spec in load(root, f"data.classes=[{specs}]", "data.ignore=255").classes[:20]]
    assert len(set(colours)) == 20


RECIPE = Path(__file__).resolve().parents[2] / "docs/your_images.md"
QUICK = ["model.depth=2", "model.width=4", "trainer.max_steps=2", "trainer.accelerator=cpu", "trainer.precision=32"]


def test_the_page_prints_what_it_says(tmp_path, monkeypatch, capsys):
    blocks = re.findall(r"^```python\n(.*?)^```$(?:\n+```text\n(.*?)^```$)?", RECIPE.read_text(), re.M | re.S)
    monkeypatch.chdir(tmp_path)
    for code, said in blocks:
        exec(code, {})
        assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == said.splitlines()
    assert [page.shape for page in read_pages("five_slices.tif")] == [(16, 12, 1)] * 5
    assert [page.shape for page in read_pages("five_channels.tif")] == [(16, 12, 5)]


@pytest.mark.slow
def test_the_words_of_the_page_fit_what_it_describes(tmp_path, monkeypatch):
    page = RECIPE.read_text()
    commands = [shlex.split(line) for line in re.findall(r"^python (.*)$", page, re.M)]
    of_replica = ["make_replica", "check_data"]
    of_classes = ["check_data", "check_data", "train", "predict"]
    of_folds = ["train", "evaluate"]
    scripts = ["check_data", "train", "predict", *of_replica, *of_classes, *of_replica, *of_folds, "cache", "cache"]
    assert [Path(words[0]).stem for words in commands] == scripts
    check, first, _, _, _, _, _, (_, *second), *_ = (words[1:] for words in commands)
    yaml = re.findall(r"^```yaml\n(.*?)^```$", page, re.M | re.S)[0]
    monkeypatch.chdir(tmp_path)
    Path("mine/data").mkdir(parents=True)
    Path("mine/data/tissue.yaml").write_text(yaml)
    for number in range(6):
        put(tmp_path / "scans", number)
    for words in (check, first):
        assert len(data.load_data(parse(compose_train(words)).data).train) == 4
    shutil.rmtree("scans")
    colour_data(tmp_path / "scans")
    assert second.pop(0) == "mine"
    assert [spec.name for spec in data.load_data(parse(compose_train(second, "mine")).data).classes] == [*COLOURS]
