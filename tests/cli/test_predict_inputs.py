"""What `input` of predict names: channels from several files, arrays, series; and what masks are called."""

import shlex

import numpy as np
import pytest
from own_images import grey, mask, put
from PIL import Image
from replicas.files import dicom

import unet_exp
from unet_exp.io.images import read_pages
from unet_exp.io.writing import write_image

SMALL = ["experiment=own", "model.depth=2", "model.width=4", "data.tile=16", "trainer.max_steps=2", "logger=csv"]


@pytest.fixture
def predict(cli, finished, tmp_path):
    """`predict("input=...")` calls it with the finished training; the masks by their names."""

    def run(*words):
        said = cli("predict", f"checkpoint={finished.path}", "output=out", "preview=false", *words)
        assert said.code == 0, said.err
        return sorted(path.name for path in (tmp_path / "out").iterdir())

    return run


@pytest.mark.slow
def test_channels_from_several_files(cli, tmp_path):
    for name in "abcde":
        put(tmp_path, f"{name}_red", grey(24), mask(24))
        (tmp_path / f"masks/{name}_red.png").rename(tmp_path / f"masks/{name}.png")
        write_image(tmp_path / f"images/{name}_nir.png", grey(24))
    channels = "['images/*_red.png','images/*_nir.png']"
    trained = cli("train", *SMALL, f"data.images={channels}", "data.masks=masks")
    assert trained.code == 0, trained.err
    start = f"checkpoint={shlex.quote(str(trained.folder))}"
    assert cli("predict", start, f"input={channels}", "output=all").code == 0
    predictor = unet_exp.load(trained.folder, "cpu")
    for name in "abcde":
        image = np.concatenate(
            [read_pages(tmp_path / f"images/{name}_{kind}.png")[0] for kind in ("red", "nir")], axis=2
        )
        written = np.asarray(Image.open(tmp_path / f"all/{name}_red_mask.png"))
        np.testing.assert_array_equal(written, 255 * predictor.predict(image))
    assert cli("predict", start, "input=['images/b_red.png','images/b_nir.png']", "output=one").code == 0
    assert (tmp_path / "one/b_red_mask.png").read_bytes() == (tmp_path / "all/b_red_mask.png").read_bytes()
    alone = cli("predict", start, "input=images/a_red.png", "output=none")
    assert alone.code == 2
    assert "it has 1 channels and the network was trained on images of 2: save" in alone.err
    assert "the training had 2 files an image: type input=[...] with one of each, in their order" in alone.err
    (tmp_path / "images/c_nir.png").unlink()
    missing = cli("predict", start, f"input={channels}", "output=none")
    assert missing.code == 2
    assert "images/c_red.png: 1 of 5 images have no file in input[1]=images/*_nir.png" in missing.err


def test_masks_are_called_like_the_container_or_what_wildcards_match(predict, tmp_path):
    for folder in ("p1", "p2"):
        (tmp_path / folder).mkdir()
        np.savez(tmp_path / folder / "scan.npz", image=grey(20)[..., 0], label=mask(20))
    assert predict("input=p1/scan.npz/image") == ["scan_mask.png"]
    assert predict("input='*/scan.npz/image'") == ["p1_mask.png", "p2_mask.png", "scan_mask.png"]


def test_a_folder_of_a_series(predict, cli, tmp_path):
    for patient in (1, 2):
        for number in range(3):
            pixels = grey(20)[..., 0].astype(np.uint16)
            dicom(tmp_path / f"p{patient}/CT/{number}", pixels, number + 1, f"1.2.{patient}", position=number)
    assert predict("input=p1/CT") == ["CT_mask.tif"]
    assert len(read_pages(tmp_path / "out/CT_mask.tif")) == 3
    assert predict("input='*/CT/'") == ["CT_mask.tif", "p1_mask.tif", "p2_mask.tif"]
    (tmp_path / "p1/CT/0").unlink()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/a").write_text("no image")
    said = cli("predict", "checkpoint=x", "input=notes")
    assert said.code == 2
