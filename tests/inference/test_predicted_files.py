"""Files of predicted masks: of the kind of the training's masks, where the image lies."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tifffile
from conftest import TINY_STACK
from own_images import grey, load, mask, put
from PIL import Image

import unet_exp
from unet_exp.checkpoints.opening import open_checkpoint
from unet_exp.compose import compose_train
from unet_exp.config import parse
from unet_exp.errors import UserError
from unet_exp.inference import batching
from unet_exp.inference.instances import write_instances
from unet_exp.inference.large.file_predictor import FilePredictor, Inputs, Outputs
from unet_exp.inference.large.pipeline import run_overlapped
from unet_exp.io.georeference import read_georeference
from unet_exp.io.images import read_pages
from unet_exp.io.scene import Reading
from unet_exp.io.writing import write_image, write_pages
from unet_exp.runs.run_folder import RunFolder
from unet_exp.samples.classes import encode
from unet_exp.training.prepare import prepare

GEO = [(33550, "d", 3, (2.0, 2.0, 0.0), True), (33922, "d", 6, (0.0, 0.0, 0.0, 100.0, 200.0, 0.0), True)]


def predict(finished: RunFolder, path: Path, suffix: str | None) -> dict[str, Path]:
    """The outputs for one image, by what they are."""
    folder = path.parent / "masks"
    outputs = Outputs(folder, True, True, partial(write_instances, classes=[1]), suffix)
    predictor = unet_exp.load(finished.path, "cpu", "32")
    work = FilePredictor(predictor, Inputs(254, Reading()), outputs, 10**9, print, lambda *_: None)
    (found,) = work.compute([path], [work.read(path)])
    assert not isinstance(found, UserError)
    assert work.write(path, found) == next(folder.glob("*_mask.*"))
    return {file.name.partition("_")[2]: file for file in folder.iterdir()}


def test_files_of_one_size_are_predicted_together(
    finished: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "_BATCHED", ("cpu",))
    shapes = {"a": (20, 18), "b": (20, 18), "colours": (20, 18, 3), "c": (18, 20), "d": (18, 20)}
    paths = [tmp_path / f"{name}.png" for name in shapes]
    for number, (path, shape) in enumerate(zip(paths, shapes.values(), strict=True)):
        write_image(path, np.random.default_rng(number).integers(0, 255, shape, dtype=np.uint8))
    predictor = unet_exp.load(finished.path, "cpu", "32")
    work = FilePredictor(
        predictor, Inputs(254, Reading()), Outputs(tmp_path, False, False, None), 10**9, print, lambda *_: None
    )
    passes: list[int] = []
    predictor.networks[0].register_forward_pre_hook(lambda _, given: passes.append(len(given[0])))
    jobs = ((path, work.cost(path)) for path in paths)
    found = dict(run_overlapped(jobs, 10**9, work.read, work.compute, work.write, work.joins))
    assert 2 in passes
    assert "3 channels" in str(found.pop(paths[2]))
    for path, written in found.items():
        assert isinstance(written, Path)
        alone = predictor.predict(read_pages(path)[0])
        assert (read_pages(written)[0].squeeze() == encode(alone, predictor.classes).squeeze()).all()


@pytest.mark.parametrize(
    ("suffix", "instances"), [(".npy", ".npy"), (".bmp", ".png"), (".jpg", ".png"), (None, ".png")]
)
def test_masks_are_files_like_those_of_the_training(
    finished: RunFolder, tmp_path: Path, suffix: str | None, instances: str
) -> None:
    write_image(tmp_path / "a.png", grey(48))
    found = predict(finished, tmp_path / "a.png", suffix)
    own = suffix if suffix in (".npy", ".bmp") else ".png"
    names = [f"instances{instances}", "instances.csv", "instances_preview.png"]
    names += [f"mask{own}", "preview.png", "probabilities.tif"]
    assert sorted(found) == sorted(names)
    written = np.load(found["mask.npy"]) if own == ".npy" else np.asarray(Image.open(found[f"mask{own}"]))
    expected = unet_exp.load(finished.path, "cpu", "32").predict(read_pages(tmp_path / "a.png")[0])
    np.testing.assert_array_equal(written, 255 * expected)
    colored = np.asarray(Image.open(found["instances_preview.png"])).astype(int)
    assert colored.shape == (*expected.shape, 3)
    grey_there = (colored == colored[..., :1]).all(axis=-1)
    np.testing.assert_array_equal(~grey_there, expected == 1)


def test_a_stack_is_a_numpy_file_or_a_tiff(finished: RunFolder, tmp_path: Path) -> None:
    pages = [grey(32), grey(32)]
    write_pages(tmp_path / "s.npy", pages)
    assert "mask.npy" in predict(finished, tmp_path / "s.npy", ".npy")
    assert len(read_pages(tmp_path / "masks/s_mask.npy")) == 2
    assert "mask.tif" in predict(finished, tmp_path / "s.npy", ".png")


def test_all_tiffs_of_a_tiff_lie_where_it_lies(finished: RunFolder, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", grey(32)[..., 0], extratags=GEO, metadata=None)
    found = predict(finished, tmp_path / "a.tif", ".png")
    image = read_georeference(tmp_path / "a.tif")
    assert image is not None
    for name in ("mask.tif", "probabilities.tif", "instances.tif"):
        place = read_georeference(found[name])
        assert place is not None
        assert place.tags == image.tags


def test_a_training_remembers_the_suffix_of_its_masks(finished: RunFolder, tmp_path: Path) -> None:
    for number in range(8):
        put(tmp_path, f"{number}", grey(64), mask(64))
        write_image(tmp_path / f"masks/{number}.npy", mask(64))
        (tmp_path / f"masks/{number}.png").unlink()
    assert load(tmp_path).mask_suffix == ".npy"
    words = [
        *TINY_STACK,
        "data=folder",
        f"data.images={tmp_path}/images",
        f"data.masks={tmp_path}/masks",
        "data.tile=32",
    ]
    job = prepare(parse(compose_train(words)), [])
    assert job.module.record.mask_suffix == ".npy"
    assert open_checkpoint(finished.best).record.mask_suffix is None  # of no files
