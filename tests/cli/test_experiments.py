"""Every shipped experiment is composed and trained for two steps at tiny size; and the paper's words with any data."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from challenge_on_disk import full
from conftest import TINY, Said, summary, table
from run_folders import BORDERS, FIVE, TWO, check_folder
from timm_beside import timm_on_path

from unet_exp.checkpoints.opening import open_checkpoint
from unet_exp.compose import compose_train
from unet_exp.config import parse
from unet_exp.files import conf_dir
from unet_exp.io.images import read_image
from unet_exp.runs.run_folder import RunFolder

Train = Callable[..., RunFolder]
Cli = Callable[..., Said]

EXPERIMENTS = sorted(path.stem for path in (conf_dir() / "experiment").glob("[!_]*.yaml"))
LARGE = [name for name in EXPERIMENTS if f"{name}_small" in EXPERIMENTS]
"""At tiny size they train as those of the same name with `_small` do."""
SIZE = ["model.depth=2", "model.width=4", "data.tile=16", "trainer.max_steps=2", "trainer.accelerator=cpu"]
QUICK = [*SIZE, "trainer.precision=32", "logger=csv", "data.tiles_per_epoch=2", "data.batch_size=1"]
SMALL_IMAGES = [word for word in TINY if word.startswith(("data.height", "data.width", "data.t", "data.val"))]
WARPED = (*BORDERS, "warping_error")
PAPER = ["experiment=paper", "inference=rotations7", "inference.angles=[0,45,90]"]


@pytest.mark.parametrize("experiment", LARGE)
def test_a_large_experiment_composes(experiment: str) -> None:
    parse(compose_train([f"experiment={experiment}"]))


@pytest.mark.parametrize(
    "experiment",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name in LARGE or name.startswith(("paper_", "blog"))))
        for name in EXPERIMENTS
    ],
)
def test_a_shipped_experiment_trains(
    experiment: str, train: Train, isbi_folder: Callable[..., Path], tmp_path: Path
) -> None:
    # With the words of `QUICK` that choose options, so that it is composed once.
    data = parse(compose_train(["logger=csv", f"experiment={experiment}"])).data.name
    words, expected = [f"experiment={experiment}"], {}
    if data == "synthetic":
        words += [*SMALL_IMAGES, "data.tile=16"]
    elif data == "isbi2012":
        everything = experiment.startswith("blog")
        words += [f"data.root={isbi_folder(count=6)}", *([] if everything else ["data.folds=3"])]
        expected = {"tests": 0 if everything else 2, "unlabelled": 2, "borders": WARPED, "seg": False}
    elif data == "folder":
        root = isbi_folder(count=7)
        words += [f"data.images={root}/train/image", f"data.masks={root}/train/label"]
        expected = {"classes": ("background", "foreground"), "borders": (), "seg": False}
    else:
        words += [f"data.root={full(tmp_path / data)}"]
        expected = {"classes": ("background", "cell"), "tests": 3, "borders": ()}
    encoders = experiment == "encoders"
    words += ["model.depth=3", "model.encoder=resnet10t"] * encoders
    with timm_on_path() if encoders else nullcontext():
        folder = train(*words, base=QUICK)
    check_folder(folder, **expected)
    assert summary(folder)["steps"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("words", [[], ["data.organelles=true", "model=same", "model.norm=batch", "fusion=add"]])
def test_the_papers_words_go_with_other_data_and_networks(train: Train, words: list[str]) -> None:
    folder = train(*PAPER, *SMALL_IMAGES, *words, base=QUICK)
    many = "data.organelles=true" in words
    check_folder(folder, FIVE if many else TWO)
    weights = open_checkpoint(folder.best).record.class_weights
    assert weights is not None
    assert len(weights) == (5 if many else 2)


@pytest.mark.slow
def test_workers_cut_large_patches_as_the_main_process_does(train: Train) -> None:
    """Large enough for OpenCV to use threads, in the parent before it forks and in its workers."""
    words = ("experiment=paper", "data.height=320", "data.width=320", "data.tile=300", "data.train_images=2")
    few = ("data.val_images=1", "data.test_images=1")
    alone, workers = (train(*words, *few, f"data.num_workers={count}", base=QUICK) for count in (0, 2))
    losses = [[row["train/loss"] for row in table(folder.metrics)] for folder in (alone, workers)]
    assert losses[0] == losses[1]


@pytest.mark.slow
def test_the_mean_over_turned_images_of_a_network_with_one_logit(train: Train) -> None:
    for words in (["inference=flips8"], ["inference=rotations7", "inference.angles=[0,30]"]):
        check_folder(train("loss=bce", *words, *SMALL_IMAGES, base=QUICK))


@pytest.mark.slow
def test_the_small_recipes_class_weights_take_the_place_of_a_balance(train: Train) -> None:
    folder = train("experiment=small", "loss=border_weighted", *SMALL_IMAGES, base=QUICK)
    assert open_checkpoint(folder.best).record.class_weights == [2.5, 1.0]


@pytest.mark.parametrize("monitor", ["rand_error", "seg"])
def test_scores_of_borders_and_cells_can_pick_the_best_epoch(train: Train, monitor: str) -> None:
    folder = train(f"trainer.monitor=val/{monitor}", "trainer.max_steps=6")
    check_folder(folder)
    values = [float(row[f"val/{monitor}"]) for row in table(folder.metrics)]
    best = (min if monitor.endswith("error") else max)(values)
    step = int(next(row["step"] for row in table(folder.metrics) if float(row[f"val/{monitor}"]) == best))
    assert open_checkpoint(folder.best).step == step


def test_a_score_that_the_data_do_not_have_is_no_monitor(
    cli: Cli, isbi_folder: Callable[..., Path], tmp_path: Path
) -> None:
    words = (*QUICK, "data=isbi2012", f"data.root={isbi_folder(count=6)}", "data.folds=3", "output=out")
    mistake = cli("train", *words, "trainer.monitor=val/seg").mistake
    assert "trainer.monitor=val/seg: there is no such score" in mistake
    assert "val/v_rand" in mistake
    assert not (tmp_path / "out").exists()


class TestInferenceOverACheckpoint:
    @pytest.mark.slow
    def test_evaluate(self, cli: Cli, finished: RunFolder) -> None:
        plain = summary(finished)["metrics"]
        for words in (["inference.tile=8", "inference.batch_size=3"], ["inference=none"]):
            told = summary(RunFolder(cli("evaluate", f"checkpoint={finished.best}", "output=a", *words).folder))
            assert told["metrics"] == pytest.approx(plain, rel=1e-4)
        for word in ("flips8", "rotations7"):
            words = [f"inference={word}", "metrics.warping=true"]
            told = summary(RunFolder(cli("evaluate", f"checkpoint={finished.best}", "output=b", *words).folder))
            assert told["metrics"]["test/loss"] != pytest.approx(plain["test/loss"], rel=1e-6)
            assert 0 <= told["metrics"]["test/warping_error"] <= 1

    def test_predict(self, cli: Cli, finished: RunFolder, tmp_path: Path) -> None:
        from unet_exp.io.writing import write_image

        pixels = np.random.default_rng(0).integers(0, 256, (40, 53), np.uint8)
        write_image(tmp_path / "a.png", pixels)
        masks: list[Any] = []
        for words in ([], ["inference.tile=8"], ["inference=flips8"]):
            said = cli("predict", f"checkpoint={finished.best}", "input=a.png", f"output=out{len(masks)}", *words)
            masks.append(read_image(said.folder / "a_mask.png"))
        assert (masks[0] == masks[1]).mean() > 0.999
        assert (masks[0] != masks[2]).any()

    @pytest.mark.parametrize(
        ("word", "part"),
        [
            ("inference.tile=1", "inference.tile=1 is too small"),
            ("inference=rotations8", "choose one of flips8, none, rotations7"),
            ("inference.angles=[0]", "unknown key inference.angles"),
            ("augmentation=paper", "a trained network keeps its own"),
        ],
    )
    def test_mistakes(self, cli: Cli, finished: RunFolder, word: str, part: str) -> None:
        assert part in cli("evaluate", f"checkpoint={finished.best}", word).mistake
