"""Pixels without data count nowhere, however a file says which they are."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from conftest import TINY_STACK, Said, run_training, summary
from own_images import load
from patterns import in_memory
from PIL import Image

import unet_exp
from unet_exp.config import ClassSpec
from unet_exp.errors import DataError
from unet_exp.io.images import read_scenes
from unet_exp.io.windows import open_pages
from unet_exp.samples.classes import choose_fill
from unet_exp.samples.fingerprint import fingerprint
from unet_exp.samples.normalization import Normalization
from unet_exp.samples.sample import Sample

Cli = Callable[..., Said]

RNG = np.random.default_rng(0)
HEIGHT, WIDTH = 40, 52
NUMBER = 8
GREY = RNG.integers(1, 255, (NUMBER, HEIGHT, WIDTH), np.uint8)
MASKS = (255 * (GREY > 120)).astype(np.uint8)
EMPTY = np.zeros((HEIGHT, WIDTH), bool)
EMPTY[:, :17] = True
EMPTY[:9] = True
"""The corner in which nothing was recorded."""


def tiff(path: Path, pixels: np.ndarray, nodata: str | None = None, **options: Any) -> None:
    tags = [] if nodata is None else [(42113, "s", 0, nodata, True)]
    tifffile.imwrite(path, pixels, metadata=None, extratags=tags, **options)


def filled(dtype: str, value: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda grey: np.where(EMPTY, np.array(value, dtype), grey.astype(dtype))


def garbage(grey: np.ndarray) -> np.ndarray:
    return np.where(EMPTY, RNG.integers(0, 255, grey.shape, np.uint8), grey)


def png_alpha(path: Path, grey: np.ndarray) -> None:
    alpha = np.where(EMPTY, np.uint8(0), np.uint8(255))
    Image.fromarray(np.dstack([garbage(grey)] * 3 + [alpha]), "RGBA").save(path)


def png_transparent(path: Path, grey: np.ndarray) -> None:
    Image.fromarray(np.where(EMPTY, np.uint8(0), grey)).save(path, transparency=0)


def tiff_alpha(path: Path, grey: np.ndarray) -> None:
    bands = np.dstack([garbage(grey), grey, grey, grey, np.where(EMPTY, np.uint8(0), np.uint8(255))])
    tiff(
        path, bands, photometric="minisblack", planarconfig="contig", extrasamples=["unspecified"] * 3 + ["unassalpha"]
    )


def tiff_mask(path: Path, grey: np.ndarray) -> None:
    with tifffile.TiffWriter(path) as file:
        file.write(garbage(grey), metadata=None)
        file.write(~EMPTY, subfiletype=4, metadata=None)


def tiff_with(nodata: str, pixels: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path, np.ndarray], None]:
    return lambda path, grey: tiff(path, pixels(grey), nodata)


DECLARED: dict[str, Callable[[Path, np.ndarray], None]] = {
    "-9999": tiff_with("-9999", filled("float32", -9999)),
    "-9999 of integers": tiff_with("-9999", filled("int16", -9999)),
    "0, with a blank": tiff_with("0 ", filled("uint8", 0)),
    "nan": tiff_with("nan", filled("float32", np.nan)),
    "least float, with the digits of a double": tiff_with("-3.39999999999999996e+38", filled("float32", -3.4e38)),
    "least float, rounded": tiff_with("-3.40282e+38", filled("float32", float(np.finfo("float32").min))),
    "nan that nothing declares": lambda path, grey: tiff(path, filled("float32", np.nan)(grey)),
    "alpha of a PNG": lambda path, grey: png_alpha(path.with_suffix(".png"), grey),
    "transparent grey of a PNG": lambda path, grey: png_transparent(path.with_suffix(".png"), grey),
    "alpha as a fifth band": tiff_alpha,
    "mask page": tiff_mask,
}


@pytest.mark.parametrize("kind", DECLARED)
def test_what_a_file_declares_is_found_whole_and_by_window(kind: str, tmp_path: Path) -> None:
    DECLARED[kind](tmp_path / "a.tif", GREY[0])
    (path,) = tmp_path.iterdir()
    (scene,) = read_scenes(path)
    assert scene.valid is not None
    np.testing.assert_array_equal(scene.valid, ~EMPTY)
    assert not scene.pixels[EMPTY].any()
    np.testing.assert_array_equal(scene.pixels[~EMPTY][:, 0], GREY[0][~EMPTY])
    if path.suffix == ".tif":
        with open_pages(path, "declared") as (page,):
            pixels, valid = page.region(2, 3, 30, 41)
            np.testing.assert_array_equal(pixels, scene.pixels[2:32, 3:44])
            assert valid is not None
            np.testing.assert_array_equal(valid, scene.valid[2:32, 3:44])


@pytest.mark.parametrize("text", ["nan", "-9999", "300", "inf", "", "none"])
def test_a_declaration_that_no_pixel_can_meet_changes_nothing(text: str, tmp_path: Path) -> None:
    pixels = GREY[0] % 7
    tiff(tmp_path / "a.tif", pixels, text)
    (scene,) = read_scenes(tmp_path / "a.tif")
    assert scene.valid is None
    np.testing.assert_array_equal(scene.pixels[..., 0], pixels)


def test_a_value_replaces_the_declared_one_and_null_takes_all(tmp_path: Path) -> None:
    pixels = GREY[0] % 7
    tiff(tmp_path / "a.tif", pixels, "0")
    (scene,) = read_scenes(tmp_path / "a.tif", 3.0)
    assert scene.valid is not None
    np.testing.assert_array_equal(scene.valid, pixels != 3)
    assert read_scenes(tmp_path / "a.tif", 0)[0].valid is not None
    assert read_scenes(tmp_path / "a.tif", None)[0].valid is None
    tiff(tmp_path / "b.tif", filled("float32", np.nan)(GREY[0]))
    with pytest.raises(DataError, match=r"not finite.*data\.nodata=declared"):
        read_scenes(tmp_path / "b.tif", None)


def test_a_pixel_has_no_data_where_all_of_its_channels_hold_the_value(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 2, (HEIGHT, WIDTH, 3), np.uint8)
    tiff(tmp_path / "a.tif", pixels, "0", photometric="rgb")
    valid = read_scenes(tmp_path / "a.tif")[0].valid
    assert valid is not None
    np.testing.assert_array_equal(valid, pixels.any(axis=2))


@pytest.mark.parametrize("mode", ["image", "dataset", "none"])
def test_what_is_normalised_are_the_valid_pixels_and_the_rest_is_0(mode: Any) -> None:
    images = [np.where(EMPTY, 0, grey)[..., None].astype(np.float32) for grey in GREY[:3]]
    samples = [Sample(str(place), image, valid=~EMPTY) for place, image in enumerate(images)]
    found = Normalization.fit(mode, in_memory(samples).facts)(images[0], ~EMPTY)[..., 0]
    counted = (np.stack(images) if mode == "dataset" else images[0][None])[:, ~EMPTY, 0].astype(np.float64)
    wanted = images[0][..., 0].astype(np.float64)
    wanted = wanted if mode == "none" else (wanted - counted.mean()) / counted.std()
    np.testing.assert_allclose(found[~EMPTY], wanted[~EMPTY], rtol=1e-5, atol=1e-5)
    assert not found[EMPTY].any()
    assert np.isfinite(Normalization(mode="image")(images[0], np.zeros_like(EMPTY))).all()


def fill_folder(root: Path, kind: str) -> None:
    for place in ("images", "masks"):
        (root / place).mkdir(parents=True)
    for number in range(NUMBER):
        DECLARED[kind](root / f"images/{number}.tif", GREY[number])
        Image.fromarray(MASKS[number]).save(root / f"masks/{number}.png")


def test_labels_are_ignored_and_objects_end_where_there_is_no_data(tmp_path: Path) -> None:
    fill_folder(tmp_path, "-9999")
    for words in ((), ("data.labels=instances",)):
        for sample in load(tmp_path, *words).train:
            assert sample.label is not None
            assert sample.valid is not None
            np.testing.assert_array_equal(sample.label == 255, EMPTY)
            assert sample.instances is None or not sample.instances[EMPTY].any()


def test_masks_may_hold_anything_where_there_is_no_data(tmp_path: Path) -> None:
    fill_folder(tmp_path, "nan")
    Image.fromarray(np.where(EMPTY, np.uint8(77), MASKS[0])).save(tmp_path / "masks/0.png")
    assert load(tmp_path).train[0].name == "0"


def test_a_field_of_view_is_as_good_as_a_declaration(tmp_path: Path) -> None:
    fill_folder(tmp_path / "a", "-9999")
    fill_folder(tmp_path / "b", "-9999")
    (tmp_path / "b/views").mkdir()
    for number in range(NUMBER):
        tiff(tmp_path / f"b/images/{number}.tif", filled("float32", 55)(GREY[number]))
        Image.fromarray((~EMPTY).astype(np.uint8)).save(tmp_path / f"b/views/{number}_fov.png")
    views = f"data.field_of_view={tmp_path}/b/views/*_fov.png"
    assert fingerprint(load(tmp_path / "a")) == fingerprint(load(tmp_path / "b", views))
    assert fingerprint(load(tmp_path / "a")) != fingerprint(load(tmp_path / "b"))
    one = f"data.field_of_view={tmp_path}/b/views/0_fov.png"
    assert fingerprint(load(tmp_path / "a")) == fingerprint(load(tmp_path / "b", one))
    (tmp_path / "b/views/3_fov.png").unlink()
    with pytest.raises(DataError, match=r"images/3\.tif: no mask of the field of view"):
        load(tmp_path / "b", views)


WORDS = ["data.tile=32", "augmentation=strong", "model=same", "model.norm=batch", "trainer.val_every_epochs=1"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Trainings on the same images, whose empty corners are declared in several ways."""
    root, before = tmp_path_factory.mktemp("nodata"), dict(os.environ)
    found: dict[str, Any] = {"root": root}
    for kind in ("-9999", "nan that nothing declares", "alpha of a PNG", "alpha of a PNG over other colours"):
        fill_folder(root / kind, kind.removesuffix(" over other colours"))
        places = [f"data.{place}={root / kind / place}" for place in ("images", "masks")]
        found[kind] = run_training(root / kind / "out", *WORDS, "data=folder", *places, base=TINY_STACK)
    yield found
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kinds",
    [("-9999", "nan that nothing declares"), ("alpha of a PNG", "alpha of a PNG over other colours")],
)
def test_a_training_is_the_same_to_the_bit_whatever_lies_where_there_is_no_data(
    kinds: tuple[str, str], runs: dict[str, Any]
) -> None:
    one, other = (runs[kind] for kind in kinds)
    assert summary(one)["data_fingerprint"] == summary(other)["data_fingerprint"]
    assert summary(one)["metrics"] == summary(other)["metrics"]
    weights = [torch.load(run.best, weights_only=True)["state_dict"] for run in (one, other)]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_scores_are_those_of_the_valid_pixels(runs: dict[str, Any]) -> None:
    run, places = runs["-9999"], runs["root"] / "-9999"
    predictor = unet_exp.load(run.path, "cpu", "32")
    tested = summary(run)["split"]["test"]
    hits = total = 0
    for name in tested:
        label = predictor.predict(tifffile.imread(places / f"images/{name}.tif"), ~EMPTY)
        np.testing.assert_array_equal(label == 255, EMPTY)
        truth = MASKS[int(name)] // 255
        hits, total = hits + int((label == truth)[~EMPTY].sum()), total + int((~EMPTY).sum())
    assert summary(run)["metrics"]["test/accuracy"] == pytest.approx(hits / total)


def test_predicted_masks_hold_a_value_of_their_own_there_whole_and_by_tiles(runs: dict[str, Any], cli: Cli) -> None:
    checkpoint = f"checkpoint={runs['-9999'].path}"
    large = np.tile(filled("float32", -9999)(GREY[1]), (8, 8))
    tiff(Path("a.tif"), large, "-9999", tile=(64, 64))
    masks = []
    for words in ([], ["memory=43MB"]):
        said = cli("predict", checkpoint, "input=a.tif", *words, f"output=out{len(masks)}", "trainer.precision=32")
        assert "a.tif has pixels without data: they are 254 in the masks" in said.out
        assert ("in tiles of" in said.out) == bool(words)
        masks.append(tifffile.imread(said.folder / "a_mask.tif"))
    np.testing.assert_array_equal(*masks)
    np.testing.assert_array_equal(masks[0] == 254, large == -9999)
    said = cli("predict", checkpoint, "input=a.tif", "output=taken", "data.nodata=null")
    assert set(np.unique(tifffile.imread(said.folder / "a_mask.tif"))) <= {0, 255}


def test_every_network_takes_the_words(finished: Any, cli: Cli) -> None:
    Image.fromarray(np.where(EMPTY, np.uint8(0), GREY[0])).save("a.png")
    words = [f"checkpoint={finished.path}", "input=a.png", "output=out"]
    assert cli("predict", *words, "data.nodata=0").code == 0
    np.testing.assert_array_equal(np.asarray(Image.open("out/a_mask.png")) == 254, EMPTY)
    assert cli("predict", *words).code == 0
    assert not (np.asarray(Image.open("out/a_mask.png")) == 254).any()
    assert "data.nodata='zero'" in cli("predict", *words, "data.nodata=zero").mistake


def test_probabilities_and_cells_end_where_there_is_no_data(runs: dict[str, Any], cli: Cli) -> None:
    tiff(Path("a.tif"), filled("float32", np.nan)(GREY[2]))
    words = ["input=a.tif", "output=out", "probabilities=true", "instances=true", "instances_holes=999"]
    folder = cli("predict", f"checkpoint={runs['-9999'].path}", *words).folder
    np.testing.assert_array_equal(np.isnan(tifffile.imread(folder / "a_probabilities.tif")), np.stack([EMPTY] * 2))
    assert not tifffile.imread(folder / "a_instances.tif")[EMPTY].any()
    assert "nan" not in (folder / "a_instances.csv").read_text()


@pytest.fixture(scope="module")
def viewed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Any]]:
    """The folder of images with a field of view, and a training on them."""
    root, before = tmp_path_factory.mktemp("viewed"), dict(os.environ)
    fill_folder(root / "a", "-9999")
    (root / "views").mkdir()
    for number in range(NUMBER):
        Image.fromarray((~EMPTY).astype(np.uint8)).save(root / f"views/{number}.png")
    places = [f"data.{place}={root / 'a' / place}" for place in ("images", "masks")]
    view = f"data.field_of_view={root / 'views'}"
    yield root, run_training(root / "out", *WORDS, "data=folder", *places, view, base=TINY_STACK)
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.slow
def test_a_network_trained_in_a_field_of_view_asks_for_that_of_new_images(
    viewed: tuple[Path, Any], tmp_path: Path, cli: Cli
) -> None:
    root, run = viewed
    asked = "these are not the images of the training, and the network was trained with data.field_of_view="
    tiff(tmp_path / "new.tif", GREY[0].astype(np.float32))
    words = [f"checkpoint={run.path}", "output=masks"]
    assert asked in cli("predict", *words, "input=new.tif").mistake
    assert not (tmp_path / "masks").exists()
    assert cli("predict", *words, "input=new.tif", "data.field_of_view=null").code == 0
    assert set(np.unique(tifffile.imread("masks/new_mask.tif"))) <= {0, 255}
    Image.fromarray((~EMPTY).astype(np.uint8)).save(tmp_path / "new_fov.png")
    assert cli("predict", *words, "input=new.tif", "data.field_of_view=new_fov.png").code == 0
    np.testing.assert_array_equal(tifffile.imread("masks/new_mask.tif") == 254, EMPTY)
    # An image elsewhere with a name of the training is none of it.
    (tmp_path / "b").mkdir()
    tiff(tmp_path / "b/1.tif", GREY[1].astype(np.float32))
    assert asked in cli("predict", *words, "input=b").mistake
    assert cli("predict", *words, f"input={root}/a/images").code == 0


def test_a_field_of_view_in_jpeg_is_refused(tmp_path: Path) -> None:
    fill_folder(tmp_path, "nan")
    (tmp_path / "views").mkdir()
    for number in range(NUMBER):
        Image.fromarray(255 * (~EMPTY).astype(np.uint8)).save(tmp_path / f"views/{number}.jpg")
    with pytest.raises(DataError, match="save the field of view as PNG"):
        load(tmp_path, f"data.field_of_view={tmp_path}/views")


def test_masks_declare_what_they_do_not_know_but_no_class(tmp_path: Path) -> None:
    fill_folder(tmp_path, "nan")
    for number in range(NUMBER):
        (tmp_path / f"masks/{number}.png").unlink()
        label = np.where(GREY[number] > 200, 99, MASKS[number])
        tiff(tmp_path / f"masks/{number}.tif", label, "99" if number else "0")  # 0 is the background: no nodata
    label = MASKS[0].astype(np.float32)
    label[30:, 30:] = np.nan
    tiff(tmp_path / "masks/0.tif", label, "0")
    first, second, *_ = load(tmp_path).train
    assert first.label is not None
    assert second.label is not None
    known = np.ones_like(EMPTY)
    known[30:, 30:] = False
    np.testing.assert_array_equal(first.label == 255, EMPTY | ~known)
    np.testing.assert_array_equal(second.label == 255, EMPTY | (GREY[1] > 200))
    assert (first.label == 0).any()


def test_transparent_masks_are_read_where_there_is_no_data_and_refused_elsewhere(tmp_path: Path) -> None:
    fill_folder(tmp_path, "nan")
    for number in range(NUMBER):
        alpha = np.where(EMPTY, np.uint8(0), np.uint8(255))
        Image.fromarray(np.dstack([MASKS[number]] * 3 + [alpha]), "RGBA").save(tmp_path / f"masks/{number}.png")
    label = load(tmp_path).train[0].label
    assert label is not None
    np.testing.assert_array_equal(label == 255, EMPTY)
    alpha[-1, -1] = 0
    Image.fromarray(np.dstack([MASKS[0]] * 3 + [alpha]), "RGBA").save(tmp_path / "masks/0.png")
    with pytest.raises(DataError, match="transparent pixels"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("stored", "options", "value"),
    [
        (GREY[0] % 7, {"photometric": "miniswhite"}, 252),  # as seen: white is at 0
        ((GREY[0] % 7).astype(np.int16) - 1, {}, -1),
        ((GREY[0] % 7) / np.float32(10), {}, 0.1),
    ],
)
def test_a_typed_value_is_one_as_it_is_seen(
    stored: np.ndarray, options: dict[str, Any], value: float, tmp_path: Path
) -> None:
    tiff(tmp_path / "a.tif", stored, **options)
    seen = 255 - stored if options else stored
    (scene,) = read_scenes(tmp_path / "a.tif", value)
    assert scene.valid is not None
    np.testing.assert_array_equal(scene.valid, ~np.isclose(seen, value))
    with open_pages(tmp_path / "a.tif", value) as (page,):
        valid = page.region(1, 2, 20, 30)[1]
        assert valid is not None
        np.testing.assert_array_equal(valid, scene.valid[1:21, 2:32])


def test_integers_that_do_not_fit_but_for_a_fill_are_told_the_word(tmp_path: Path) -> None:
    tiff(tmp_path / "a.tif", filled("int16", -9999)(GREY[0]))
    with pytest.raises(DataError, match=r"-9999 to 254, do not fit into 16 bits; if -9999 means .*data\.nodata=-9999"):
        read_scenes(tmp_path / "a.tif")
    assert read_scenes(tmp_path / "a.tif", -9999)[0].pixels.dtype == np.uint16


def classes(*values: Any) -> list[ClassSpec]:
    return [ClassSpec(name=f"c{place}", value=value, color=[0, 0, 0]) for place, value in enumerate(values)]


@pytest.mark.parametrize(
    ("values", "ignored", "wanted"),
    [
        ([0, 1], [], 255),
        ([0, 255], [], 254),
        ([0, 255], [7], 7),
        ([0, 255], [-1], 254),  # no mask holds it
        ([0, 255], [-1, 8, 9], 8),
        ([0, 255], [2**20], 254),
        ([0, 1], [[1, 2, 3]], 255),
        ([*range(250)], [], 255),
        ([[0, 0, 0], [9, 8, 7]], [], (128, 128, 128)),
        ([[0, 0, 0], [128, 128, 128]], [], (1, 1, 1)),
        ([[0, 0, 0], [9, 8, 7]], [[255, 255, 255]], (255, 255, 255)),
        ([[0, 0, 0], [9, 8, 7]], [6], (6, 6, 6)),
        ([[0, 0, 0], [9, 8, 7]], [-6, [1, 2, 3]], (1, 2, 3)),
    ],
)
def test_the_value_of_pixels_without_data_is_no_class(values: list[Any], ignored: Any, wanted: Any) -> None:
    assert choose_fill(classes(*values), ignored) == wanted
