"""What is done with a finished run: scores on any split, masks for a user's images, prediction from Python."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import TINY, Said, summary, table
from PIL import Image

import unet_exp
from unet_exp.checkpoints.opening import open_checkpoint
from unet_exp.data.sets.synthetic import generate
from unet_exp.errors import DataError
from unet_exp.figures.overlay import split_panels
from unet_exp.io.images import read_image, read_pages
from unet_exp.io.writing import write_image, write_pages
from unet_exp.runs.run_folder import RunFolder

Cli = Callable[..., Said]
PLAIN = (dict, list, tuple, str, int, float, bool, type(None))
HERE = ("trainer.accelerator=cpu", "trainer.precision=32")


def grey(height: int = 64, width: int = 64, index: int = 0) -> np.ndarray:
    """A generated micrograph of any size: (H, W) uint8."""
    return generate(max(height, 32), max(width, 32), 5, index).image[:height, :width].copy()


@pytest.mark.parametrize(
    "entry", ["evaluate", "predict", "check_data", pytest.param("export", marks=pytest.mark.slow), "compare"]
)
def test_a_path_with_brackets_is_printed_whole(cli: Cli, finished: RunFolder, tmp_path: Path, entry: str) -> None:
    """A terminal's library would take them for markup, and leave them out."""
    output = "[bold]a[/] :smile:"
    if entry == "export":
        pytest.importorskip("onnxscript", reason="needs pip install -e '.[onnx]'")
    (tmp_path / "images").mkdir()
    write_image(tmp_path / "images" / "0.png", grey())
    words = {
        "predict": [f"checkpoint={finished.path}", "input=images", f"output={output}", *HERE],
        "check_data": [*TINY, f"output={output}"],
        "export": [f"checkpoint={finished.path}", f"output={output}/model.onnx"],
        "compare": [f"runs={finished.path}", f"output={output}"],
    }.get(entry, [f"checkpoint={finished.path}", f"output={output}", *HERE])
    last = cli(entry, *words).folder
    assert str(last).startswith(output)
    assert (tmp_path / last).exists()


def test_a_training_that_is_not_over_is_told(
    cli: Cli, finished: RunFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = RunFolder(shutil.copytree(finished.path, tmp_path / "run"))
    write_image(tmp_path / "0.png", grey())
    for status, told in (("stopped", 1), ("finished", 0)):
        caplog.clear()
        run.read_summary().replace(status=status).write(run.summary)
        cli("predict", f"checkpoint={run.path}", "input=0.png", f"output={status}", *HERE)
        warned = [each.getMessage() for each in caplog.records if "training is not over (stopped)" in each.getMessage()]
        assert len(warned) == told


class TestEvaluate:
    def test_the_scores_are_those_that_ended_the_training(self, cli: Cli, finished: RunFolder, tmp_path: Path) -> None:
        said = cli("evaluate", f"checkpoint={finished.best}", "output=scored")
        folder = RunFolder(said.folder)
        assert folder.path.parent == Path("scored/evaluate")
        told, was = summary(folder), summary(finished)
        assert told["metrics"] == was["metrics"]
        assert table(folder.per_image) == table(finished.per_image)
        for key in ("data_fingerprint", "metrics_version", "precision", "versions"):
            assert told[key] == was[key]
        assert told["git"].keys() == was["git"].keys()  # files may be edited while tests run
        assert (told["status"], told["split"]) == ("finished", {"test": was["split"]["test"]})
        assert told["step"] == open_checkpoint(finished.best).step
        for picture in finished.predictions.iterdir():
            np.testing.assert_array_equal(read_image(folder.predictions / picture.name), read_image(picture))
        assert "IoU" in said.out
        assert said.err == ""
        assert [path.name for path in tmp_path.iterdir()] == ["scored"]

    def test_a_runs_folder_means_its_best_checkpoint(self, cli: Cli, finished: RunFolder) -> None:
        said = cli("evaluate", f"checkpoint={finished.path}", "output=out", "split=val")
        told = summary(RunFolder(said.folder))
        assert told["checkpoint"] == str(finished.best)
        # The validation of the best epoch, within what one whole image differs from the same whole image.
        rows = {int(row["step"]): row for row in table(finished.metrics)}
        best = rows[told["step"]]
        for name in ("loss", "accuracy", "iou/mean", "dice/cell"):
            assert told["metrics"][f"val/{name}"] == pytest.approx(float(best[f"val/{name}"]), rel=1e-5)
        assert {name.partition("/")[0] for name in told["metrics"]} == {"val"}

    def test_training_images(self, cli: Cli, finished: RunFolder) -> None:
        folder = RunFolder(cli("evaluate", f"checkpoint={finished.last}", "output=out", "split=train").folder)
        assert summary(folder)["split"] == {"train": ["synthetic_000", "synthetic_001"]}
        assert sorted(path.name for path in folder.predictions.iterdir()) == [
            "train_synthetic_000.png",
            "train_synthetic_001.png",
        ]

    def test_unlabelled_images_get_pictures_and_no_scores(
        self, cli: Cli, finished: RunFolder, isbi_folder: Callable[..., Path]
    ) -> None:
        root = isbi_folder(count=3, tests=2)
        words = f"checkpoint={finished.best}", "output=out", "data=isbi2012", f"data.root={root}", "data.split=all"
        folder = RunFolder(cli("evaluate", *words, "split=unlabelled").folder)
        assert summary(folder)["metrics"] == {}
        assert not folder.per_image.exists()
        assert sorted(path.name for path in folder.predictions.iterdir()) == [
            "unlabelled_test_00.png",
            "unlabelled_test_01.png",
        ]
        folder = RunFolder(cli("evaluate", *words, "split=train").folder)
        assert len(table(folder.per_image)) == 3
        assert "split=test: data=isbi2012 has no such images" in cli("evaluate", *words, "split=test").mistake

    def test_other_data_of_the_same_classes(self, cli: Cli, finished: RunFolder) -> None:
        words = f"checkpoint={finished.best}", "output=out", "data.seed=7", "data.test_images=2", "data.height=50"
        folder = RunFolder(cli("evaluate", *words).folder)
        assert summary(folder)["data_fingerprint"] != summary(finished)["data_fingerprint"]
        assert len(table(folder.per_image)) == 2
        written = yaml.safe_load(folder.config.read_text())
        assert (written["data"]["height"], written["data"]["seed"], written["model"]["name"]) == (50, 7, "same")

    def test_images_that_were_trained_on_are_counted(self, cli: Cli, finished: RunFolder) -> None:
        words = f"checkpoint={finished.best}", "data.train_images=1"
        said = cli("evaluate", *words, "output=a", "data.test_images=2")
        told = summary(RunFolder(said.folder))
        assert told["seen_in_training"] == 0  # synthetic_002 and _003 are tested: the second validated, one is new
        said = cli("evaluate", *words, "output=b", "split=val")
        assert "warning: 1 of these 1 images were trained on" in said.out
        assert summary(RunFolder(said.folder))["seen_in_training"] == 1

    def test_cfg_job_shows_the_checkpoints_config(self, cli: Cli, finished: RunFolder) -> None:
        said = cli("evaluate", f"checkpoint={finished.best}", "--cfg", "job", "data.seed=99")
        shown = yaml.safe_load(said.out)
        assert (shown["data"]["seed"], shown["split"]) == (99, "test")
        assert shown["model"] == yaml.safe_load(finished.config.read_text())["model"]

    @pytest.mark.parametrize(
        ("words", "part"),
        [
            ("split=training", "split='training': should be 'train', 'val', 'test' or 'unlabelled'"),
            ("split=unlabelled", "split=unlabelled: data=synthetic has no such images"),
            ("splt=val", "unknown key splt (did you mean split?); what can be typed here is checkpoint, split"),
            ("model.depth=3", "model.depth: a trained network keeps its own"),
            ("data=isbi", "did you mean isbi2012?"),
            ("data.organelles=true", "and the checkpoint was trained on ['membrane', 'cell']"),
            ("data.height=3", "data.height=3: should be greater than or equal to 32"),
            ("trainer.accelerator=mps", "trainer.accelerator=mps: PyTorch finds none here"),
        ],
    )
    def test_mistakes(self, cli: Cli, finished: RunFolder, tmp_path: Path, words: str, part: str) -> None:
        said = cli("evaluate", f"checkpoint={finished.best}", "output=out", *words.split())
        assert part in said.mistake
        assert list(tmp_path.iterdir()) == []

    def test_what_is_no_checkpoint(self, cli: Cli, finished: RunFolder, tmp_path: Path) -> None:
        def mistake(name: str) -> str:
            return cli("evaluate", f"checkpoint={name}").mistake

        assert "none.ckpt: there is no such file" in mistake("none.ckpt")
        assert "this folder is neither a run nor a sweep" in mistake(str(tmp_path))
        (tmp_path / "text.ckpt").write_text("not a checkpoint")
        assert "text.ckpt: this is no checkpoint" in mistake("text.ckpt")
        (tmp_path / "empty.ckpt").touch()
        assert "empty.ckpt: this is no checkpoint" in mistake("empty.ckpt")
        content = finished.best.read_bytes()
        (tmp_path / "cut.ckpt").write_bytes(content[: len(content) // 2])
        assert "cut.ckpt: this is no checkpoint" in mistake("cut.ckpt")
        torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
        assert "other.ckpt: this is no checkpoint of unet_exp" in mistake("other.ckpt")
        torch.save(Path("code"), tmp_path / "code.ckpt")
        assert "holds more than plain data and was refused" in mistake("code.ckpt")


class TestPredict:
    @pytest.fixture
    def predict(self, cli: Cli, finished: RunFolder) -> Cli:
        """`predict("input=...")` writes into `masks`."""

        def run(*words: str) -> Said:
            named = [] if any(word.startswith("checkpoint=") for word in words) else [f"checkpoint={finished.best}"]
            return cli("predict", *named, "output=masks", *words)

        return run

    @pytest.mark.parametrize("size", [(64, 64), (61, 47), (5, 3), (1, 1), (2, 90)])
    def test_a_png_of_any_size(self, predict: Cli, finished: RunFolder, tmp_path: Path, size: tuple[int, int]) -> None:
        write_image(tmp_path / "a.png", grey(*size))
        assert predict("input=a.png").code == 0
        mask = read_image(tmp_path / "masks" / "a_mask.png")
        assert (mask.shape, mask.dtype) == ((*size, 1), np.uint8)
        assert set(np.unique(mask)) <= {0, 255}
        preview = np.asarray(Image.open(tmp_path / "masks" / "a_preview.png"))
        panel = split_panels(preview, 3)[1]
        times = panel.shape[0] // size[0]  # the pixels of a narrow image are squares
        colours = np.array([spec.color for spec in open_checkpoint(finished.best).record.classes], np.uint8)
        np.testing.assert_array_equal(panel[::times, ::times], colours[mask[..., 0] // 255])
        assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == ["a_mask.png", "a_preview.png"]

    def test_the_python_api_gives_the_same_mask(self, predict: Cli, finished: RunFolder, tmp_path: Path) -> None:
        image = grey(61, 47)
        write_image(tmp_path / "a.png", image)
        predict("input=a.png", "preview=false", *HERE)
        mask = read_image(tmp_path / "masks" / "a_mask.png")[..., 0]
        assert 0 < (mask == 255).mean() < 1
        assert [path.name for path in (tmp_path / "masks").iterdir()] == ["a_mask.png"]
        for path in (finished.path, finished.best, str(finished.best)):
            predictor = unet_exp.load(path, "cpu", "32")
            label = predictor.predict(image)
            assert (label.dtype, label.shape) == (np.uint8, image.shape)
            np.testing.assert_array_equal(label * 255, mask)
        np.testing.assert_array_equal(predictor.predict(image[:, :, None]), label)
        np.testing.assert_array_equal(predictor.predict(tmp_path / "a.png"), label)
        with pytest.raises(DataError, match=r"none\.png: there is no such file"):
            predictor.predict("none.png")
        np.testing.assert_array_equal(predictor.predict(np.repeat(image[:, :, None], 3, axis=2)), label)
        assert [spec.name for spec in predictor.classes] == ["membrane", "cell"]
        with pytest.raises(DataError, match="has 3 channels and the network was trained on grey images"):
            predictor.predict(np.random.default_rng(0).integers(0, 255, (9, 9, 3), np.uint8))

    def test_every_kind_of_file(self, predict: Cli, tmp_path: Path) -> None:
        folder = tmp_path / "in"
        folder.mkdir()
        image = grey(40, 56)
        wide = image.astype(np.uint16) * 257
        write_image(folder / "eight.png", image)
        write_image(folder / "sixteen.png", wide)
        write_image(folder / "colour.png", np.repeat(image[:, :, None], 3, axis=2))
        Image.fromarray(image).save(folder / "photo.jpg", quality=95)
        Image.fromarray(image).save(folder / "photo2.JPEG", quality=95)
        write_image(folder / "page.tif", image)
        write_image(folder / "float.tiff", image.astype(np.float32) / np.float32(255))
        write_pages(folder / "stack.tif", [grey(40, 56, index) for index in range(3)])
        (folder / "notes.txt").write_text("no image")
        said = predict("input=in", *HERE)
        assert said.code == 0
        assert "8 of 8 files predicted" in said.out

        masks = {path.name: read_pages(path) for path in (tmp_path / "masks").glob("*_mask.*")}
        assert sorted(masks) == [
            "colour_mask.png", "eight_mask.png", "float_mask.tif", "page_mask.tif", "photo2_mask.png",
            "photo_mask.png", "sixteen_mask.png", "stack_mask.tif",
        ]  # fmt: skip
        for name, pages in masks.items():
            assert len(pages) == (3 if name == "stack_mask.tif" else 1)
            for page in pages:
                assert (page.shape, page.dtype) == ((40, 56, 1), np.uint8)
                assert set(np.unique(page)) <= {0, 255}
        eight = masks["eight_mask.png"][0]
        for name in ("colour_mask.png", "page_mask.tif", "sixteen_mask.png", "float_mask.tif"):
            # The same grey values at full scale; a rounding may tip a pixel on the border of two classes.
            assert (masks[name][0] != eight).mean() < 0.002, name
        np.testing.assert_array_equal(masks["stack_mask.tif"][0], eight)
        assert len(read_pages(tmp_path / "masks" / "stack_preview.tif")) == 3

    def test_probabilities(self, predict: Cli, finished: RunFolder, tmp_path: Path) -> None:
        image = grey(33, 34)
        write_image(tmp_path / "a.png", image)
        write_pages(tmp_path / "s.tif", [image, grey(33, 34, 1)])
        for name, pages in (("a.png", 2), ("s.tif", 4)):
            predict(f"input={name}", "probabilities=true", *HERE)
            found = read_pages(tmp_path / "masks" / f"{name[0]}_probabilities.tif")
            assert [(page.shape, page.dtype) for page in found] == [((33, 34, 1), np.float32)] * pages
            stacked = np.stack(found)[..., 0].reshape(-1, 2, 33, 34)
            np.testing.assert_allclose(stacked.sum(axis=1), 1, atol=1e-6)
        np.testing.assert_array_equal(stacked[0], unet_exp.load(finished.path, "cpu", "32").probabilities(image))
        mask = read_pages(tmp_path / "masks" / "s_mask.tif")
        np.testing.assert_array_equal(np.stack(mask)[..., 0] == 255, stacked.argmax(axis=1) == 1)

    def test_a_glob_and_a_single_file(self, predict: Cli, tmp_path: Path) -> None:
        for name in ("a1.png", "a2.png", "b1.png"):
            write_image(tmp_path / name, grey(32, 32))
        assert "2 of 2 files predicted" in predict("input=a*.png").out
        made = {path.name for path in (tmp_path / "masks").glob("*_mask.png")}
        assert made == {"a1_mask.png", "a2_mask.png"}
        assert "1 of 1 files predicted; the masks are in" in predict("input=b1.png").out
        again = predict("input=[ab]*.png")
        assert "3 of 3 files predicted, 3 in place of an earlier mask; the masks are in" in again.out
        assert again.err == ""

    def test_the_test_time_augmentation_of_the_training_is_named(
        self, cli: Cli, finished: RunFolder, tmp_path: Path
    ) -> None:
        content = torch.load(finished.best, weights_only=True)
        content["unet_exp"]["config"]["inference"].update(name="flips8")
        torch.save(content, tmp_path / "a.ckpt")
        write_image(tmp_path / "a.png", grey(32, 32))
        line = "inference=flips8, as in the training; inference=none is faster\n"
        words = "checkpoint=a.ckpt", "output=out"
        assert cli("predict", *words, "input=a.png").out.startswith(line)
        assert "as in the training" not in cli("predict", *words, "input=a.png", "inference=none").out
        assert cli("evaluate", *words).out.startswith(line)

    def test_a_bad_file_is_named_and_the_others_are_predicted(self, predict: Cli, tmp_path: Path) -> None:
        folder = tmp_path / "in"
        folder.mkdir()
        write_image(folder / "good1.png", grey(40, 40))
        write_image(folder / "good2.png", grey(40, 40, 1))
        whole = (folder / "good1.png").read_bytes()
        (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
        (folder / "text.tif").write_text("no image")
        write_image(folder / "red.png", np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8))
        said = predict("input=in", "probabilities=true")
        assert "2 of 5 files predicted" in said.out
        assert "3 of 5 files were left out: " in said.mistake
        for name, what in (
            ("cut.png", ""),
            ("text.tif", "is not a PNG"),
            ("red.png", "has 3 channels and the network was trained on grey images"),
        ):
            assert re.search(rf"in/{re.escape(name)}: [^;]*{what}", said.mistake), name
        for number in range(4):
            write_image(folder / f"red{number}.png", read_image(folder / "red.png"))
        told = predict("input=in", "preview=false").mistake
        assert told.count("has 3 channels") == 1
        assert " ...: it has 3 channels" in told
        assert "save it as grey (5 files)" in told
        made = sorted(path.name for path in (tmp_path / "masks").iterdir())
        assert made == [
            f"good{number}_{kind}" for number in (1, 2) for kind in ("mask.png", "preview.png", "probabilities.tif")
        ]

    @pytest.mark.parametrize(
        ("words", "part"),
        [
            ("", "input=<file, folder or glob> is missing"),
            ("input=none.png", "none.png: there is no such file or folder"),
            ("input=none*.png", "none*.png: "),
            ("input=empty", "empty: no files in this folder"),
            ("input=twins", "a.jpg and twins/a.png would both be written to a_"),
            ("input=pair", "a.png and pair/a.tif would both be written to a_"),
            ("input=twins preview=perhaps", "preview='perhaps': should be true or false"),
            ("inptu=twins", "unknown key inptu (did you mean input?); what can be typed here is checkpoint, input"),
            ("input=single output=single", "output=single is the folder of the input"),
            ("input=single output=file.txt", "output=file.txt: this folder cannot be made (File exists)"),
            ("input=twins checkpoint=none", "checkpoint=none: there is no such file"),
        ],
    )
    def test_mistakes(self, predict: Cli, tmp_path: Path, words: str, part: str) -> None:
        for name in ("empty", "single", "pair", "twins"):
            (tmp_path / name).mkdir()
            if name != "empty":
                write_image(tmp_path / name / "a.png", grey(32, 32))
        write_image(tmp_path / "pair" / "a.tif", grey(32, 32))
        Image.fromarray(grey(32, 32)).save(tmp_path / "twins" / "a.jpg")
        (tmp_path / "file.txt").write_text("")
        assert part in predict(*words.split()).mistake
        assert not (tmp_path / "masks").exists()

    def test_colours_come_out_as_the_labels_were(self, cli: Cli, tmp_path: Path) -> None:
        said = cli("train", *TINY, "output=out", "data.organelles=true", "loss=bce", "model=pad")
        write_image(tmp_path / "a.png", grey(40, 40))
        assert cli("predict", f"checkpoint={said.folder}", "input=a.png", "output=masks").code == 0
        mask = read_image(tmp_path / "masks" / "a_mask.png")
        assert mask.shape == (40, 40, 3)
        known = {tuple(spec.value) for spec in open_checkpoint(said.folder).record.classes}
        assert {tuple(int(value) for value in colour) for colour in mask.reshape(-1, 3)} <= known


@pytest.mark.parametrize("model", ["valid", "pad"])
def test_networks_of_other_sizes_predict_any_size(train: Callable[..., RunFolder], model: str) -> None:
    predictor = unet_exp.load(train(f"model={model}", "data.batch_size=1", "trainer.max_steps=1").path, "cpu", "32")
    for size in ((1, 7), (33, 70)):
        assert predictor.predict(grey(*size)).shape == size


class TestCheckpoint:
    @pytest.mark.parametrize("name", ["best", "last"])
    def test_it_opens_without_running_code_and_is_plain(self, finished: RunFolder, name: str) -> None:
        content = torch.load(getattr(finished, name), weights_only=True)

        def check(value: Any, place: str) -> None:
            if isinstance(value, dict):
                for key, item in value.items():
                    assert type(key) in (str, int), place
                    check(item, f"{place}/{key}")
            elif isinstance(value, list | tuple):
                for index, item in enumerate(value):
                    check(item, f"{place}/{index}")
            else:
                assert isinstance(value, torch.Tensor) or type(value) in PLAIN, (place, type(value))

        check(content, "")
        known = content["unet_exp"]
        assert set(known) >= {"format", "config", "classes", "normalization", "channels", "class_weights"}
        assert json.loads(json.dumps(known["config"])) == yaml.safe_load(finished.config.read_text())
        assert not any("class_weights" in key for key in content["state_dict"])


def test_importing_the_package_needs_no_torch() -> None:
    code = "import sys, unet_exp; print(unet_exp.__version__, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [unet_exp.__version__, "False"]
