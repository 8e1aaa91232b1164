"""What a training says before its first step, and in its first steps."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import TINY, TINY_STACK, Said, composed
from own_images import grey, mask, put

from unet_exp.config import parse
from unet_exp.runs.run_folder import RunFolder
from unet_exp.training.loggers.wandb_run import describe_place
from unet_exp.training.pace import PaceWatch, find_small_twin
from unet_exp.training.prepare import prepare
from unet_exp.training.sanity import list_warnings

Cli = Callable[..., Said]


def test_it_says_what_it_will_do(cli: Cli) -> None:
    said = cli("train", *TINY, "output=out", "model=same", "trainer.max_time=300", "inference=flips8")
    lines = said.out.splitlines()
    block = lines[lines.index(next(line for line in lines if line.startswith("network"))) :][:7]
    titles = [line.split()[0] for line in block]
    assert titles == ["network", "device", "images", "patches", "steps", "test", "folder"]
    assert "U-Net model=same fusion=concat, 2 levels from 4 channels: " in block[0]
    assert "cpu, float32, " in block[1]
    assert block[1].endswith("1 thread")
    assert block[2].endswith("2 to train, 1 to validate, 1 to test, 0 unlabelled")
    assert block[3].endswith("8 an epoch in batches of 4, 32 x 32 pixels")
    assert block[4].endswith("2 or trainer.max_time=300 s, 2 an epoch; validated once, at the end")
    assert block[5].endswith(
        "1 image and the 1 to validate once more (for thresholds); each predicted 8 times (inference=flips8)"
    )
    assert block[6].split()[1] == str(said.folder)
    assert "conv 3x3" not in said.out


def test_more_is_told_of_a_training_that_has_more(cli: Cli) -> None:
    more = ["verbose=true", "logger=tensorboard", "trainer.max_steps=3"]
    said = cli("train", *TINY, "output=out", "model=same", *more).out
    assert "conv 3x3" in said
    assert "3, 2 an epoch; validated each epoch, the best by val/iou/mean is kept" in said
    assert "test         1 image and the 1 to validate once more (for thresholds)\n" in said  # of borders
    assert "TensorBoard  tensorboard --logdir" in said


def test_where_wandb_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run: dict[str, Any] = {
        "disabled": False,
        "offline": True,
        "project": "cells",
        "entity": "",
        "url": "https://wandb.ai/a/b",
    }
    run["dir"] = str(tmp_path / "out/wandb/offline-run-1/files")
    assert describe_place(SimpleNamespace(**run)) == (  # type: ignore[arg-type]
        "offline, cells; send it after wandb login: wandb sync out/wandb/offline-run-1"
    )
    of_team: Any = SimpleNamespace(**{**run, "entity": "my-lab"})
    assert describe_place(of_team).startswith("offline, my-lab/cells; send it after wandb login: ")
    online: Any = SimpleNamespace(**{**run, "offline": False})
    assert describe_place(online) == "https://wandb.ai/a/b"


def test_images_that_cannot_be_meant_are_told(tmp_path: Path) -> None:
    for number in range(4):
        side = 24 if number < 2 else 40
        put(tmp_path, f"{number}", grey(side), mask(side))
    files = [f"data.images={tmp_path}/images", f"data.masks={tmp_path}/masks"]
    words = [*TINY_STACK, "model=same", "data=folder", *files, "data.tile=32", "data.test=0", "data.val=0.25"]
    job = prepare(parse(composed(*words, "metrics.warping=true")), words)
    assert job.dataset.metrics == ("isbi",), "the warping error of two classes of one's own"
    assert list(list_warnings(job)) == [
        "2 of 3 training images are smaller than data.tile=32: the rest of a patch is mirrored; "
        "data.tile=24 or less takes less time"
    ]


def test_groups_are_counted_and_a_single_one_is_told(cli: Cli, tmp_path: Path) -> None:
    for number in range(10):
        put(tmp_path, f"p{number // 2}_{number}", grey(40), mask(40))
    words = ["data=folder", f"data.images={tmp_path}/images", f"data.masks={tmp_path}/masks", "data.tile=32"]
    torn = cli("check_data", *words, "data.val=0.3", "data.test=0.2", "output=look").out
    assert r"p2 is in train and val; if these belong together, type 'data.group=^p\d+'" in torn
    words += [r"data.group=^p\d+", "data.val=0.2", "data.test=0.2"]
    warning = (
        "warning: the validation images are of one group (p3), and the test images are of one group (p4): their scores "
        "say little about others; -m data.folds=5 'data.fold=range(5)' tests each group once, "
        "and evaluate.py out_of_fold=true scores them all"
    )
    looked = cli("check_data", *words, "output=look").out.splitlines()
    assert warning in looked
    assert "train 6 (3 groups), val 2 (1), test 2 (1), unlabelled 0" in [line.strip() for line in looked]
    trained = cli("train", *TINY_STACK, *words, "model=same", "output=out").out.splitlines()
    assert warning in trained
    assert any(
        line.endswith(" 6 (3 groups) to train, 2 (1) to validate, 2 (1) to test, 0 unlabelled") for line in trained
    )


@pytest.mark.slow
def test_validation_images_that_are_trained_on_are_told(isbi2012_root: Path) -> None:
    words = [*TINY_STACK, "model=same", "data=isbi2012", f"data.root={isbi2012_root}", "data.split=all", "data.tile=64"]
    (warning,) = list_warnings(prepare(parse(composed(*words)), words))
    assert warning.startswith("4 of 4 validation images are trained on too: val/loss and all of val/... say no")


@pytest.mark.parametrize(
    ("seconds", "steps", "limit", "told"),
    [
        (20.0, 1000, None, "a step takes 20 s on this CPU, so this training takes about 5.5 hours"),
        (20.0, 100000, None, "about 23 days"),
        (0.1, 100, None, ""),
        (20.0, 1000, 1800.0, ""),
        (20.0, 1000, 7200.0, "about 2 hours"),
    ],
)
def test_a_cpu_that_would_take_long_is_told_once(seconds: float, steps: int, limit: float | None, told: str) -> None:
    lines: list[str] = []
    now = 0.0
    watch = PaceWatch(steps, limit, lines.append, clock=lambda: now)
    for step in range(1, 80):
        now += seconds + 100 * (step == 1)  # the first step is slow, and is not counted
        trainer: Any = SimpleNamespace(global_step=step, is_global_zero=True)
        watch.on_train_batch_end(trainer)
    assert len(lines) == bool(told)
    assert not told or told in lines[0]


@pytest.mark.parametrize(
    ("words", "twin"),
    [
        (["experiment=paper_isbi2012", "seed=1"], "experiment=paper_isbi2012_small"),
        (["experiment=blog"], "experiment=blog_small"),
        (["experiment=paper"], "experiment=small"),
        *(([f"experiment={recipe}"], None) for recipe in ("skip_fusion", "blocks", "encoders", "own", "demo")),
        (["experiment=mine"], None),  # of the user's own: it may build on small
        ([], "experiment=small"),
        (["experiment=small"], None),
        (["experiment=paper_dic_hela_small"], None),
    ],
)
def test_the_recipe_for_a_cpu_is_the_twin_of_the_typed_one(words: list[str], twin: str | None) -> None:
    assert find_small_twin(words) == twin


def test_what_is_found_while_it_trains_is_kept(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = PaceWatch.__init__
    times = iter(range(0, 10**6, 5000))

    def slow(*arguments: Any) -> None:
        genuine(*arguments, clock=lambda: next(times))

    monkeypatch.setattr(PaceWatch, "__init__", slow)
    monkeypatch.setattr("unet_exp.training.run.warn_of_thresholds", lambda *_: ["the threshold chosen is 0"])
    said = cli("train", *TINY, "output=out", "model=same", "trainer.max_steps=4")
    pace = "a step takes 5000 s on this CPU, so this training takes about 2.8 hours: "
    folder = RunFolder(said.folder)
    first, second = folder.read_summary().warnings or []
    assert first.startswith(pace)
    assert second == "the threshold chosen is 0"
    for place in (said.out, folder.log.read_text(), folder.page.read_text()):
        assert pace in place
        assert second in place
    assert f"warning: {pace}" in said.out
