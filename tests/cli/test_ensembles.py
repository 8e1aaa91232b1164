"""Several checkpoints on the command line: masks and scores of their mean, and each image by the one that tests it."""

import json
import math
import os
import re
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tifffile
import torch
import yaml
from conftest import TINY, Said, composed, run_training, summary, table

import unet_exp
from unet_exp import data
from unet_exp.config import DataConfig, parse
from unet_exp.data.sets.synthetic import generate
from unet_exp.inference import out_of_fold
from unet_exp.inference.predictor import Predictor
from unet_exp.io.images import read_image, read_pages
from unet_exp.io.writing import write_image
from unet_exp.network import Network
from unet_exp.runs.run_folder import RunFolder
from unet_exp.samples.data_set import DataSet

Cli = Callable[..., Said]
HERE = ("trainer.accelerator=cpu", "trainer.precision=32")
OLD = RunFolder(Path(__file__).parents[1] / "fixtures/format-3")
"""A run of other normalisation and architecture than that of `finished`, with the same classes."""
FOLDS = 3
SIDE = 640


def listed(*paths: Path) -> str:
    return f"checkpoint=[{','.join(map(str, paths))}]"


def mean_alone(image: np.ndarray, *paths: Path) -> np.ndarray:
    return np.mean([unet_exp.load(path, "cpu", "32").probabilities(image) for path in paths], axis=0)


class TestPredict:
    @pytest.fixture
    def images(self, tmp_path: Path) -> list[np.ndarray]:
        """In the folder `in`: `0.png` and `1.png`."""
        (tmp_path / "in").mkdir()
        found = [generate(64, 64, 5, number).image[:61, :47] for number in range(2)]
        for number, image in enumerate(found):
            write_image(tmp_path / "in" / f"{number}.png", image)
        return found

    def test_a_folder_with_all_outputs(
        self, cli: Cli, finished: RunFolder, images: list[np.ndarray], tmp_path: Path
    ) -> None:
        words = ("input=in", "output=out", "probabilities=true", "instances=true", *HERE)
        said = cli("predict", listed(finished.path, OLD.path), *words)
        assert said.code == 0
        assert f"2 checkpoints:\n  {finished.best}\n  {OLD.best}\n" in said.out
        for number, image in enumerate(images):
            expected = mean_alone(image, finished.path, OLD.path)
            shares = np.stack(read_pages(tmp_path / f"out/{number}_probabilities.tif"))[..., 0]
            np.testing.assert_allclose(shares, expected, atol=1e-6)
            mask = read_image(tmp_path / f"out/{number}_mask.png")[..., 0]
            np.testing.assert_array_equal(mask, 255 * shares.argmax(axis=0))
        assert len(list((tmp_path / "out").iterdir())) == 2 * 6 + 1

    @pytest.mark.slow
    def test_a_large_image(self, cli: Cli, finished: RunFolder, tmp_path: Path) -> None:
        pixels = generate(SIDE, SIDE, 4, 0).image
        tifffile.imwrite(tmp_path / "a.tif", pixels, rowsperstrip=16, compression="lzw")
        words = ("input=a.tif", "output=out", "memory=64MB", *HERE)
        said = cli("predict", listed(finished.path, OLD.path), *words)
        assert f"a.tif: {SIDE} x {SIDE} pixels, in tiles of" in said.out
        expected = mean_alone(pixels, finished.path, OLD.path)
        certain = np.abs(expected[0] - expected[1]) > 1e-4
        assert certain.mean() > 0.99
        mask = read_image(tmp_path / "out/a_mask.tif")[..., 0]
        np.testing.assert_array_equal((mask == 255)[certain], expected.argmax(axis=0)[certain] == 1)

    @pytest.mark.usefixtures("images")
    def test_an_exported_network_is_a_member(self, cli: Cli, finished: RunFolder, tmp_path: Path) -> None:
        pytest.importorskip("onnxruntime", reason="needs pip install -e '.[onnx]'")
        words = ("input=in/0.png", "probabilities=true", *HERE)
        for name, other in (("one", OLD.path), ("two", OLD.path / "network.onnx")):
            assert cli("predict", listed(finished.path, other), f"output={name}", *words).code == 0
        one, two = (np.stack(read_pages(tmp_path / name / "0_probabilities.tif")) for name in ("one", "two"))
        np.testing.assert_allclose(one, two, atol=1e-5)

    @pytest.mark.parametrize(
        ("change", "part"),
        [
            (lambda record: record["classes"][1].update(name="nucleus"), "their classes are [membrane, nucleus] and"),
            (lambda record: record["classes"][1].update(value=7), "cannot be put together: cell is 7 and 255 in masks"),
            (
                lambda record: record["config"]["inference"].update(name="flips8"),
                "was trained with inference=flips8 and",
            ),
        ],
    )
    def test_what_does_not_go_together(
        self, cli: Cli, finished: RunFolder, tmp_path: Path, change: Callable[[Any], Any], part: str
    ) -> None:
        content = torch.load(OLD.best, weights_only=True)
        change(content["unet_exp"])
        torch.save(content, tmp_path / "b.ckpt")
        said = cli("predict", listed(finished.best, Path("b.ckpt")), "input=a.png", *HERE)
        assert "checkpoint=b.ckpt" in said.mistake
        assert part in said.mistake
        assert not (tmp_path / "outputs").exists()

    def test_a_list_without_the_quotes_that_it_needs(self, cli: Cli) -> None:
        said = cli("evaluate", "checkpoint=[CV/fold=0,seed=0,CV/fold=1,seed=0]")
        assert said.mistake.endswith("are quoted: \"checkpoint=['a','b']\"")
        assert cli("predict", "checkpoint=a,b", "input=c").mistake.endswith("several are a list: checkpoint=[a,b]")

    def test_null_in_a_list(self, cli: Cli, finished: RunFolder) -> None:
        said = cli("evaluate", f"checkpoint=[{finished.path},null]")
        assert said.mistake.endswith("checkpoint=None: name files, folders or a list of them")
        assert "checkpoint=7: there is no such file" in cli("evaluate", "checkpoint=[7]").mistake

    def test_what_is_known_of_the_pixels_agrees_or_is_typed(
        self, cli: Cli, finished: RunFolder, images: list[np.ndarray], tmp_path: Path
    ) -> None:
        words = ("data=folder", "data.images=x", "data.masks=y", "data.nodata=0")
        content = torch.load(OLD.best, weights_only=True)
        content["unet_exp"]["config"]["data"] = composed(*words)["data"]
        torch.save(content, tmp_path / "b.ckpt")
        both = listed(finished.best, Path("b.ckpt")), "input=in", "output=out", *HERE
        said = cli("predict", *both)
        assert said.mistake == (
            f"checkpoint=b.ckpt was trained with data.nodata=0.0 and {finished.best} with data.nodata=declared: type "
            "data.nodata=..."
        )
        assert cli("predict", *both, "data.nodata=declared").code == 0
        assert len(images) == len(list((tmp_path / "out").glob("*_mask.png")))

    @pytest.mark.parametrize("swapped", [False, True])
    def test_settings_of_inference_are_settled_one_by_one(
        self, cli: Cli, finished: RunFolder, images: list[np.ndarray], tmp_path: Path, swapped: bool
    ) -> None:
        content = torch.load(OLD.best, weights_only=True)
        content["unet_exp"]["config"]["inference"].update(context=16, blend=4)
        torch.save(content, tmp_path / "b.ckpt")
        members = [finished.best, Path("b.ckpt")][:: -1 if swapped else 1]
        words = (listed(*members), "input=in", "output=out", *HERE)
        for typed, key in [
            ([], "context"),
            (["inference=none"], "context"),  # the word of both: it changes nothing
            (["inference.blend=0"], "context"),
            (["inference.context=16"], "blend"),
        ]:
            assert cli("predict", *words, *typed).mistake.endswith(f": choose with inference.{key}=...")
        assert cli("predict", *words, "inference.context=16", "inference.blend=0").code == 0
        assert len(images) == len(list((tmp_path / "out").glob("*_mask.png")))

    @pytest.mark.slow
    @pytest.mark.parametrize("swapped", [False, True])
    def test_a_word_means_the_same_whichever_member_is_the_first(
        self, cli: Cli, images: list[np.ndarray], tmp_path: Path, swapped: bool
    ) -> None:
        content = torch.load(OLD.best, weights_only=True)
        content["unet_exp"]["config"]["inference"].update(context=16)
        torch.save(content, tmp_path / "a.ckpt")
        content["unet_exp"]["config"]["inference"].update(name="flips8")
        torch.save(content, tmp_path / "b.ckpt")
        both = listed(*[Path("a.ckpt"), Path("b.ckpt")][:: -1 if swapped else 1])
        for word in ("none", "flips8"):
            shown = cli("predict", both, f"inference={word}", "--cfg", "job").out
            assert yaml.safe_load(shown)["inference"] == composed(f"inference={word}")["inference"]
        assert cli("predict", both, "input=in", "output=out", "inference=none", *HERE).code == 0
        assert len(images) == len(list((tmp_path / "out").glob("*_mask.png")))
        alone = cli("predict", "checkpoint=a.ckpt", "inference=none", "--cfg", "job").out
        assert yaml.safe_load(alone)["inference"]["context"] == 16
        assert "choose with inference=none" in cli("predict", both, "inference.context=16", "input=in").mistake
        assert "inference=[none]" in cli("predict", both, "inference=[none]", "input=in").mistake

    def test_the_key_typed_twice_is_no_ensemble(self, cli: Cli, finished: RunFolder) -> None:
        said = cli("predict", f"checkpoint={finished.best}", f"checkpoint={finished.path}", "input=x.png")
        assert said.mistake == "checkpoint is typed twice; several are a list: checkpoint=[A,B]"

    def test_every_member_is_trusted_by_what_is_typed(self, cli: Cli, finished: RunFolder, tmp_path: Path) -> None:
        content = torch.load(OLD.best, weights_only=True)
        content["unet_exp"]["config"]["model"] = {"name": "custom", "target": "antigravity.fly"}
        torch.save(content, tmp_path / "b.ckpt")
        said = cli("predict", listed(finished.best, Path("b.ckpt")), "input=a.png")
        assert "checkpoint=b.ckpt: it names model.target=antigravity.fly" in said.mistake


def test_the_scores_of_a_mean(cli: Cli, finished: RunFolder) -> None:
    said = cli("evaluate", listed(finished.path, OLD.path), "output=out", *HERE)
    told = summary(RunFolder(said.folder))
    assert told["checkpoint"] == [str(finished.best), str(OLD.best)]
    assert told["step"] == [unet_exp.load(path, "cpu").checkpoint.step for path in (finished.path, OLD.path)]
    sample = data.load_data(parse(composed(*TINY)).data).test[0]
    assert sample.label is not None
    shares = mean_alone(sample.image, finished.path, OLD.path)
    hits = shares.argmax(axis=0) == sample.label
    assert told["metrics"]["test/accuracy"] == pytest.approx(hits.mean(), abs=1e-9)
    cells = shares.argmax(axis=0) == 1
    overlap, union = (cells & (sample.label == 1)).sum(), (cells | (sample.label == 1)).sum()
    assert told["metrics"]["test/iou/cell"] == pytest.approx(overlap / union, abs=1e-9)
    shown = cli("evaluate", f"checkpoint=[{finished.path},'out/*/*']", "--cfg", "job")
    assert "out/*/*: there is no such file, and as a pattern it matches no checkpoint" in shown.mistake


# --- out of fold ---


class Validated(NamedTuple):
    """A cross-validation: the folder of its runs, which is also a sweep's, and the data of each."""

    sweep: Path
    runs: list[RunFolder]
    sets: list[DataSet]


@pytest.fixture(scope="module")
def validated(tmp_path_factory: pytest.TempPathFactory) -> Validated:
    """Three tiny trainings on six images; read them, do not change them."""
    top = tmp_path_factory.mktemp("validated")
    words = ["data.train_images=4", f"data.folds={FOLDS}", "data.height=48", "model=same"]
    before = dict(os.environ)
    runs = [run_training(top, *words, f"data.fold={fold}", f"name=fold{fold}") for fold in range(FOLDS)]
    for variable in os.environ.keys() - before.keys():
        del os.environ[variable]
    plan = {"words": [], "config_dir": None, "created": "2026-01-01", "search": None}
    named = [{"name": run.path.name, "overrides": []} for run in runs]
    (top / "train" / "sweep.json").write_text(json.dumps({**plan, "runs": named}))
    sets = [data.load_data(parse(run.read_config()).data) for run in runs]
    return Validated(top / "train", runs, sets)


class TestOutOfFold:
    @pytest.mark.slow
    def test_each_image_is_scored_by_the_fold_that_tests_it(self, cli: Cli, validated: Validated) -> None:
        said = cli("evaluate", f"checkpoint={validated.sweep}", "out_of_fold=true", "output=all", *HERE)
        pooled = RunFolder(said.folder)
        told, rows = summary(pooled), table(pooled.per_image)
        alone = [
            RunFolder(cli("evaluate", f"checkpoint={run.path}", f"output=fold{fold}", *HERE).folder)
            for fold, run in enumerate(validated.runs)
        ]
        # One table, whose rows are those of the folds one by one; only the best thresholds are those of all images.
        expected = [(fold, row) for fold, folder in enumerate(alone) for row in table(folder.per_image)]
        assert list(rows[0])[:2] == ["image", "fold"]
        assert [row["image"] for row in rows] == [row["image"] for _, row in expected] == told["split"]["test"]
        assert sorted(row["image"] for row in rows) == [f"synthetic_{number:03d}" for number in range(6)]
        of_all = ("v_rand", "v_info", "rand_error", "pixel_error")
        for row, (fold, own) in zip(rows, expected, strict=True):
            assert row.pop("fold") == str(fold)
            assert {key: row[key] for key in own if key not in of_all} == {
                key: own[key] for key in own if key not in of_all
            }
        # Pooled by hand: one confusion matrix.
        matrix = np.zeros((2, 2), np.int64)
        for run, dataset in zip(validated.runs, validated.sets, strict=True):
            predictor = unet_exp.load(run.path, "cpu", "32")
            for sample in dataset.test:
                assert sample.label is not None
                np.add.at(matrix, (sample.label, predictor.predict(sample.image)), 1)
        metrics = told["metrics"]
        assert metrics["test/accuracy"] == pytest.approx(np.trace(matrix) / matrix.sum(), abs=1e-12)
        for index, name in enumerate(("membrane", "cell")):
            union = matrix[index].sum() + matrix[:, index].sum() - matrix[index, index]
            assert metrics[f"test/iou/{name}"] == pytest.approx(matrix[index, index] / union, abs=1e-12)
        # Each image at the threshold of its fold, and all at their best one.
        for name in of_all:
            values = [float(row[f"{name}_at_val"]) for row in rows]
            assert metrics[f"test/{name}_at_val"] == pytest.approx(math.fsum(values) / len(values), abs=1e-12)
            best = self.best_of_all(table(pooled.per_threshold), name)
            assert metrics[f"test/{name}"] == pytest.approx(best, abs=1e-12)
        assert metrics["test/loss"] == pytest.approx(np.mean([float(row["loss"]) for row in rows]), abs=1e-12)
        self.check_folds(told, validated, alone)
        pictures = {path.name for path in pooled.predictions.iterdir()}
        assert pictures == {f"test_{row['image']}.png" for row in rows}
        assert "pixel accuracy" in said.out
        assert "6 images of test" in said.out

    @staticmethod
    def best_of_all(rows: list[dict[str, str]], name: str) -> float:
        """The best mean over all images at one threshold."""
        at: dict[str, list[float]] = {}
        for row in rows:
            at.setdefault(row["threshold"], []).append(float(row[name]))
        means = [float(np.mean(values)) for values in at.values()]
        return min(means) if name.endswith("error") else max(means)

    @staticmethod
    def check_folds(told: dict[str, Any], validated: Validated, alone: list[RunFolder]) -> None:
        """The summary says what each checkpoint scored."""
        assert told["checkpoint"] == [str(run.best) for run in validated.runs]
        assert (told["seen_in_training"], told["validation_seen_in_training"]) == (0, 0)
        for fold, (part, run, folder) in enumerate(zip(told["folds"], validated.runs, alone, strict=True)):
            own = summary(folder)
            assert (part["fold"], part["checkpoint"], part["step"]) == (fold, str(run.best), own["step"])
            assert part["metrics"] == own["metrics"]
            assert part["data_fingerprint"] == own["data_fingerprint"]
            assert part["images"] == 2

    @pytest.mark.slow
    def test_a_device_holds_one_network_at_a_time(
        self, cli: Cli, validated: Validated, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made: list[weakref.ref[Network]] = []
        alive: list[int] = []

        class Watched(Predictor):
            def __init__(self, *given: Any, **named: Any) -> None:
                alive.append(sum(network() is not None for network in made))
                super().__init__(*given, **named)
                made.append(weakref.ref(self.networks[0]))

        monkeypatch.setattr(out_of_fold, "Predictor", Watched)
        assert cli("evaluate", f"checkpoint={validated.sweep}", "out_of_fold=true", "output=all", *HERE).code == 0
        assert alive == [0] * FOLDS

    def test_equal_data_are_loaded_once(
        self, cli: Cli, validated: Validated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        again = shutil.copy(validated.runs[0].best, tmp_path / "again.ckpt")
        loaded: list[int] = []

        def load_data(config: DataConfig, **more: Any) -> DataSet:
            loaded.append(config.fold)
            return load(config, **more)

        load = data.load_data
        monkeypatch.setattr(data, "load_data", load_data)
        paths = [*(run.path for run in validated.runs), again]
        assert "is tested by" in cli("evaluate", listed(*paths), "out_of_fold=true", *HERE).mistake
        assert loaded == list(range(FOLDS))

    def test_few_pictures_are_shared_out(self, cli: Cli, validated: Validated) -> None:
        pattern = f"checkpoint={validated.sweep}/*fold*"
        said = cli("evaluate", pattern, "out_of_fold=true", "output=all", "metrics.pictures=4", *HERE)
        assert len(list((said.folder / "predictions").iterdir())) == 4
        assert "4 of 6 test images are drawn" in said.out

    @pytest.mark.parametrize(
        ("change", "part"),
        [
            ("a fold is missing", r"2 of 6 images, such as synthetic_004, are tested by none of the checkpoints"),
            (
                "a fold twice",
                r"synthetic_000 is tested by .*best\.ckpt and by again\.ckpt: name the",
            ),
            ("other folds", r"best\.ckpt was trained on synthetic_000, one of its test images"),
            ("no folds", r"best\.ckpt was trained on synthetic_00\d, one of its test images|are tested by none"),
            ("other images", r"best\.ckpt was not trained on synthetic_00\d as it is here, so nobody knows"),
            ("limited", r"3 of 6 images, such as synthetic_00\d, are tested by none"),
            ("a split", r"out_of_fold=true scores test images: leave out split=val"),
        ],
    )
    def test_what_is_no_cross_validation(
        self, cli: Cli, validated: Validated, tmp_path: Path, change: str, part: str
    ) -> None:
        paths, words = [run.path for run in validated.runs], ["out_of_fold=true", "output=all", *HERE]
        if change == "a fold is missing":
            paths.pop(2)
        if change == "a fold twice":
            shutil.copy(validated.runs[0].best, tmp_path / "again.ckpt")
            paths.append(Path("again.ckpt"))
        words += {
            "other folds": ["data.fold=0"],
            "no folds": ["data.fold=0", "data.folds=0"],
            "other images": ["data.seed=7"],
            "limited": ["trainer.limit_batches=1"],
            "a split": ["split=val"],
        }.get(change, [])
        said = cli("evaluate", listed(*paths), *words)
        assert re.search(part, said.mistake), said.mistake
        assert not (tmp_path / "all").exists()

    def test_the_mean_of_folds_says_that_it_has_seen_the_images(self, cli: Cli, validated: Validated) -> None:
        said = cli("evaluate", f"checkpoint={validated.sweep}", "output=all", *HERE)
        assert "warning: 2 of these 2 images were trained on by some of the checkpoints; out_of_fold=true" in said.out
        assert summary(RunFolder(said.folder))["seen_in_training"] == 2
