"""Optimizers, schedules, losses, scores and callbacks that a config names: examples, exact resume, mistakes."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from conftest import TINY, Said, composed, summary, table
from pytorch_lightning import callbacks as lightning
from resuming import EPOCH, Part, Train, breaking, check_equal
from torch import nn, optim
from torch.optim import lr_scheduler

from unet_exp import losses
from unet_exp.compose import compose_train
from unet_exp.config import IGNORE_LABEL, Config, own_classes, parse
from unet_exp.errors import ConfigError
from unet_exp.losses.custom import try_loss
from unet_exp.metrics.own import build_own
from unet_exp.metrics.scoreboard import Scoreboard
from unet_exp.training.own_callbacks import build_own_callbacks, describe_unsaved
from unet_exp.training.trial import try_learning

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "extend.md").read_text()
BLOCKS = dict(re.findall(r"`their_package/(\w+)\.py`:\n\n```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
BETTI = "{name: betti_error, target: their_package.scores.BettiError, direction: min}"
NORMS = "{target: their_package.watching.GradientNorms, params: {every: 1}}"
LION = "optimizer=custom optimizer.target=their_package.learning.Lion optimizer.lr=0.001 optimizer.weight_decay=0.01"
ROOT = "scheduler=custom scheduler.target=their_package.learning.InverseRoot\nscheduler.params={scale: 3}"


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The documented classes can be imported."""
    folder = tmp_path / "theirs" / "their_package"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    for name, code in BLOCKS.items():
        (folder / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(str(folder.parent))
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "their_package"]:
        del sys.modules[name]


@pytest.fixture
def part(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Part:
    return breaking(train, tmp_path, monkeypatch)


def config_of(**groups: Any) -> Config:
    """Of a training with other values in its groups."""
    values = composed(*TINY)
    return parse({**values, **groups})


def optimizer(target: str, name: str = "torch", **keys: Any) -> dict[str, Any]:
    return {"name": name, "target": target, "lr": None, "weight_decay": None, "params": None, **keys}


def schedule(target: str, name: str = "torch", **keys: Any) -> dict[str, Any]:
    return {"name": name, "target": target, "params": None, "interval": "step", "warmup_steps": 0, **keys}


def test_the_tables_are_those_of_the_libraries() -> None:
    theirs = {name for name, one in vars(optim).items() if isinstance(one, type) and issubclass(one, optim.Optimizer)}
    assert set(own_classes.TORCH_OPTIMIZERS) == theirs - {"Optimizer"}
    assert set(own_classes.TORCH_SCHEDULERS) == set(lr_scheduler.__all__)
    assert set(own_classes.LIGHTNING_CALLBACKS) == set(lightning.__all__)


def test_every_optimizer_of_the_table_trains_and_the_others_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, reason in own_classes.TORCH_OPTIMIZERS.items():
        monkeypatch.setitem(own_classes.TORCH_OPTIMIZERS, name, None)
        config = config_of(optimizer=optimizer(name))
        if reason is None:
            try_learning(config)
        else:
            with pytest.raises(ConfigError, match=rf"^optimizer\.target={name}: "):
                try_learning(config)


SCHEDULES = {
    "ConstantLR": {},
    "CosineAnnealingLR": {"T_max": 4, "eta_min": 0.01},
    "CosineAnnealingWarmRestarts": {"T_0": 3},
    "CyclicLR": {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 2},
    "ExponentialLR": {"gamma": 0.5},
    "LinearLR": {},
    "MultiStepLR": {"milestones": [1, 3]},
    "PolynomialLR": {},
    "StepLR": {"step_size": 2},
}
QUICK = ("CosineAnnealingWarmRestarts",)
NO_PRODUCT = ("CosineAnnealingLR", "CosineAnnealingWarmRestarts", "CyclicLR")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in SCHEDULES]
)
def test_every_schedule_follows_a_warm_up_or_says_that_it_cannot(name: str) -> None:
    """`try_learning` compares the rates with those of the schedule alone, and those after an interruption."""
    assert own_classes.TORCH_SCHEDULERS[name] is None
    sgd = {**composed(*TINY, "optimizer=sgd")["optimizer"], "lr": 0.1}
    for interval, warmup in (("step", 0), ("step", 9), ("epoch", 0), ("epoch", 9)):
        keys = {"params": SCHEDULES[name], "interval": interval, "warmup_steps": warmup}
        config = config_of(optimizer=sgd, scheduler=schedule(name, **keys))
        if interval == "epoch" and warmup and name in NO_PRODUCT:
            with pytest.raises(
                ConfigError, match=r"cannot follow a warm-up, .* take scheduler\.interval=step or leave"
            ):
                try_learning(config)
        else:
            try_learning(config)


class Forgetful(optim.SGD):
    """Its steps depend on what its state does not hold."""

    def step(self, closure: Any = None) -> Any:
        self.taken = getattr(self, "taken", 0) + 1
        self.param_groups[0]["lr"] = 0.1 / self.taken
        return super().step(closure)


class Odd(optim.SGD):
    def state_dict(self) -> Any:
        return {**super().state_dict(), "seen": np.float64(3)}


class Deaf(optim.SGD):
    def step(self, closure: Any = None) -> None:
        pass


class Jumping(lr_scheduler.LRScheduler):
    """Counts by itself, so that a warm-up cannot make it begin again."""

    calls = -1

    def get_lr(self) -> list[float]:
        self.calls += 1
        return [base / (1 + self.calls) for base in self.base_lrs]


class Counts(pl.Callback):
    def __init__(self, key: str = "") -> None:
        self.key, self.batches = key, 0

    @property
    def state_key(self) -> str:
        return f"Counts{self.key}"

    def on_train_batch_end(self, *_: Any) -> None:
        self.batches += 1

    def state_dict(self) -> dict[str, Any]:
        return {"batches": self.batches, "odd": {1} if self.key == "odd" else None}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.batches = state_dict["batches"]


class Stateless(pl.Callback):
    def __init__(self) -> None:
        self.seen = 0


class Stops(lightning.EarlyStopping):
    pass


class Wrong:
    def __init__(self, gives: str = "") -> None:
        self.gives = gives

    def __call__(self, truth: Any, prediction: Any) -> Any:
        del truth, prediction
        if self.gives == "error":
            raise ValueError("no\nsuch thing")
        return {"array": np.zeros(2), "infinite": np.inf}[self.gives]


class OneArgument:
    def __call__(self, truth: Any) -> float:
        del truth
        return 0.0


def score_with(gives: str) -> Callable[[], Any]:
    config = {**composed(*TINY)["metrics"], "own": [metric("Wrong", params={"gives": gives})]}
    label = np.zeros((4, 4), np.uint8)
    return lambda: build_own(config_of(metrics=config).metrics.own)[0].score("slice 3", label, label)


def metric(target: str, **keys: Any) -> dict[str, Any]:
    return {"name": "mine", "target": f"{__name__}.{target}", "direction": "max", "params": None, **keys}


def learn(**groups: Any) -> Callable[[], Any]:
    return lambda: try_learning(config_of(**groups))


def own(*metrics: dict[str, Any]) -> Callable[[], Any]:
    return lambda: build_own(config_of(metrics={**composed(*TINY)["metrics"], "own": list(metrics)}).metrics.own)


def watch(*callbacks: tuple[str, dict[str, Any] | None]) -> Callable[[], Any]:
    listed = [{"target": target if "." in target else f"{__name__}.{target}", "params": p} for target, p in callbacks]
    return lambda: build_own_callbacks(config_of(callbacks=listed))


def lose_config(target: str, weights: list[float] | None = None, **keys: Any) -> Any:
    return config_of(loss={"name": "custom", "target": target, "params": None, "class_weights": weights, **keys}).loss


def lose(target: str, weights: list[float] | None = None, **keys: Any) -> Callable[[], Any]:
    return lambda: losses.build(lose_config(target, weights, **keys), weights)


HERE = f"{__name__}."
OWN_OPTIMIZER = {"name": "custom", "lr": 0.1}
MISTAKES: dict[str, tuple[Callable[[], Any], str]] = {
    "misspelt": (learn(optimizer=optimizer("NAdm")), "(did you mean NAdam?); a class of your own is optimizer=custom"),
    "cannot train": (
        learn(optimizer=optimizer("SparseAdam")),
        "optimizer.target='SparseAdam': cannot train this network: it takes sparse gradients alone",
    ),
    "whole path": (learn(optimizer=optimizer("torch.optim.NAdam")), "the name alone: write optimizer.target=NAdam"),
    "argument": (learn(optimizer=optimizer("NAdam", params={"momentum": 1})), "unexpected keyword argument 'momentum'"),
    "value": (learn(optimizer=optimizer("NAdam", params={"betas": [2, 1]})), "ValueError: Invalid beta parameter"),
    "lr twice": (learn(optimizer=optimizer("NAdam", params={"lr": 1})), "leave lr out; type optimizer.lr"),
    "no decay": (learn(optimizer=optimizer("Rprop", weight_decay=0.1)), "optimizer.weight_decay=0.1: Rprop takes no"),
    "no module": (learn(optimizer=optimizer("nowhere.Lion", **OWN_OPTIMIZER)), "there is no module nowhere"),
    "no optimizer": (learn(optimizer=optimizer("torch.nn.Linear", **OWN_OPTIMIZER)), "derives from torch.optim.Opt"),
    "forgets": (
        learn(optimizer=optimizer(f"{HERE}Forgetful", **OWN_OPTIMIZER)),
        "after load_state_dict it takes other",
    ),
    "odd state": (learn(optimizer=optimizer(f"{HERE}Odd", **OWN_OPTIMIZER)), "its state_dict holds a float64"),
    "no closure": (learn(optimizer=optimizer(f"{HERE}Deaf", **OWN_OPTIMIZER)), "and calls it not once"),
    "function": (learn(scheduler=schedule("LambdaLR")), "it takes a function, which a config cannot hold"),
    "plateau": (learn(scheduler=schedule("ReduceLROnPlateau")), "take scheduler=plateau"),
    "lacks": (learn(scheduler=schedule("StepLR")), "missing a required argument: 'step_size'"),
    "warm-up": (learn(scheduler=schedule(f"{HERE}Jumping", "custom", warmup_steps=3)), "it cannot follow a warm-up"),
    "name taken": (own(metric("Wrong", name="accuracy")), "this project has a score or column of this name"),
    "name twice": (own(metric("Wrong"), metric("Wrong")), "two scores have the name mine"),
    "bad name": (own(metric("Wrong", name="a/b")), "metrics.own[0].name='a/b': must be letters, digits and _"),
    "one argument": (own(metric("OneArgument")), "its __call__ takes (truth) and is called with (truth, prediction)"),
    "metric raises": (score_with("error"), "mine of slice 3 raises ValueError: no such thing"),
    "metric array": (score_with("array"), "mine of slice 3 must be one number, not ndarray"),
    "metric infinite": (score_with("infinite"), "mine of slice 3 is infinite; return nan"),
    "ours": (watch(("pytorch_lightning.callbacks.ModelCheckpoint", None)), "take trainer.monitor, which chooses"),
    "derived": (
        watch(("Stops", {"monitor": "val/loss"})),
        "it is a EarlyStopping, which does not go with this program",
    ),
    "no callback": (watch(("Wrong", None)), "derives from pytorch_lightning.Callback"),
    "same key": (watch(("Counts", None), ("Counts", None)), "two have the key Counts for their states"),
    "odd callback": (watch(("Counts", {"key": "odd"})), "its state_dict holds a set"),
    "no logger": (
        watch(("pytorch_lightning.callbacks.LearningRateMonitor", None)),
        "needs a logger beside metrics.csv",
    ),
    "form of labels": (
        lambda: try_loss(lose_config("torch.nn.BCEWithLogitsLoss", labels="channel"), None, 2, 8),
        "it may want the label in another form than loss.labels=channel: indices or one_hot",
    ),
    "labels": (lose("torch.nn.CrossEntropyLoss"), "needs loss.labels=indices, channel or one_hot"),
    "no weights": (lose("torch.nn.HuberLoss", [1.0, 2.0], labels="one_hot"), "takes neither class_weights nor weight"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(mistake: str) -> None:
    happens, said = MISTAKES[mistake]
    with pytest.raises(ConfigError) as caught:
        happens()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_two_callbacks_of_one_class_and_one_that_begins_anew() -> None:
    built = watch(("Counts", {"key": "a"}), ("Counts", {"key": "b"}), ("Stateless", None))()
    assert list(describe_unsaved(built)) == ["Stateless has no state_dict, so it begins anew"]


@pytest.mark.parametrize(
    ("target", "labels", "params", "ours"),
    [
        ("torch.nn.CrossEntropyLoss", "indices", None, losses.CrossEntropy()),
        pytest.param(  # importing MONAI takes seconds
            "monai.losses.DiceLoss",
            "channel",
            {"to_onehot_y": True, "softmax": True, "batch": True},
            None,
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "monai.losses.DiceCELoss",
            "channel",
            {"to_onehot_y": True, "softmax": True, "batch": True},
            losses.DiceCrossEntropy(smooth=1e-5, classes="all", per_image=False, dice_weight=1, ce_weight=1),
            marks=pytest.mark.slow,
        ),
        ("torch.nn.BCEWithLogitsLoss", "one_hot", None, losses.BinaryCrossEntropy()),
    ],
)
def test_losses_of_other_packages_are_ours_and_ignore_what_is_ignored(
    target: str, labels: str, params: dict[str, Any] | None, ours: nn.Module | None
) -> None:
    pytest.importorskip(target.partition(".")[0])
    theirs = lose(target, labels=labels, params=params)()
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 8, 6, generator=generator, requires_grad=True)
    label = torch.randint(0, 3, (2, 8, 6), generator=generator).to(torch.uint8)
    if ours is None:  # those of Dice: MONAI adds 1e-5 above and below, and has all classes
        ours = losses.Dice(smooth=1e-5, classes="all", per_image=False)
    torch.testing.assert_close(theirs(logits, label), ours(logits, label), rtol=1e-3, atol=1e-4)
    assert theirs(logits.bfloat16(), label).dtype == torch.float32
    label[:, :4] = IGNORE_LABEL
    value = theirs(logits, label)
    if labels == "indices":
        torch.testing.assert_close(value, ours(logits, label))
    value.backward()
    assert logits.grad is not None
    assert not logits.grad[:, :, :4].any()
    assert logits.grad[:, :, 4:].any()


def test_a_loss_of_another_package_is_a_number_where_all_is_ignored() -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    value = lose("torch.nn.CrossEntropyLoss", labels="indices")()(logits, torch.full((1, 4, 4), IGNORE_LABEL))
    value.backward()
    assert value.isfinite()
    assert logits.grad is not None
    assert not logits.grad.any()


def test_only_usable_callbacks_of_lightnings_need_no_trust() -> None:
    def names(target: str) -> list[str]:
        named = {"callbacks": [{"target": target}], "metrics": {"own": [{"target": target}]}}
        return [one.key for one in own_classes.find_own_classes(named, "train")]

    assert names("pytorch_lightning.callbacks.DeviceStatsMonitor") == ["metrics.own[0]"]
    for other in ("timer.Timer", "LambdaCallback", "device_stats_monitor.DeviceStatsMonitor"):
        assert names(f"pytorch_lightning.callbacks.{other}") == ["metrics.own[0]", "callbacks[0]"]


def test_class_weights_reach_a_loss_of_another_package() -> None:
    weighted = lose("torch.nn.CrossEntropyLoss", [1.0, 3.0], labels="indices")()
    logits, label = torch.randn(1, 2, 5, 5), torch.randint(0, 2, (1, 5, 5), dtype=torch.uint8)
    torch.testing.assert_close(weighted(logits, label), losses.CrossEntropy([1.0, 3.0])(logits, label))


def test_the_score_of_a_set_is_the_mean_over_images_that_have_one() -> None:
    class Share:
        name, takes_probabilities = "share", True

        def score(self, image: str, truth: Any, prediction: Any, probabilities: Any) -> float:
            del truth, prediction
            return float("nan") if image == "b" else float(probabilities[1].mean())

    boards = [Scoreboard(["x", "y"], own=[Share()]) for _ in range(2)]  # type: ignore[list-item]
    label = np.zeros((2, 2), np.uint8)
    for board, images in zip(boards, (("a", 0.25), ("b", 0.5)), strict=True):
        board.add(images[0], label, label, 0.0, np.full((2, 2, 2), images[1], np.float32))
    boards[1].add("c", label, label, 0.0, np.full((2, 2, 2), 0.75, np.float32))
    boards[1].add("d", np.full_like(label, 255), label, 0.0, np.full((2, 2, 2), 0.75, np.float32))
    assert boards[0].takes_probabilities == 2
    joined = Scoreboard.join(boards)
    assert joined.result()["share"] == 0.5
    np.testing.assert_equal([row["share"] for row in joined.per_image()], [0.25, np.nan, 0.75, np.nan])
    assert np.isnan(Scoreboard(["x", "y"], own=[Share()]).result()["share"])  # type: ignore[list-item]


RESUMED = {
    "own classes, averaged, accumulated, clipped": f"{LION}\n{ROOT}\nmodel=same trainer.ema_decay=0.9 "
    f"trainer.accumulate=2 trainer.clip_norm=1 scheduler.warmup_steps=2\nmetrics.own=[{BETTI}]\ncallbacks=[{NORMS}]\n"
    "trainer.monitor=val/betti_error trainer.max_steps=7",
    "of torch, restarts": "optimizer=torch optimizer.target=NAdam optimizer.lr=0.01 scheduler=torch "
    "scheduler.target=CosineAnnealingWarmRestarts\nscheduler.params={T_0: 4}\nscheduler.warmup_steps=3 "
    "trainer.max_steps=13",
    "of torch, by epochs": "optimizer=torch optimizer.target=Adagrad scheduler=torch scheduler.target=StepLR\n"
    "scheduler.params={step_size: 1, gamma: 0.5}\nscheduler.interval=epoch scheduler.warmup_steps=7 "
    "trainer.max_steps=13",
}


def words_of(text: str) -> list[str]:
    """Words of lines, of which those with a brace are one word each."""
    return [word for line in text.split("\n") for word in ([line] if "{" in line else line.split())]


def resumes_exactly(case: str, train: Train, part: Part) -> Any:
    words = [*EPOCH, *words_of(RESUMED[case])]
    undisturbed, folder = train(*words), part(*words, batch=8)
    again = train(f"resume={folder.path}", *words)
    check_equal(again, undisturbed)
    return again, undisturbed


def test_own_classes_train(train: Train) -> None:
    folder = train(*EPOCH, *words_of(RESUMED["own classes, averaged, accumulated, clipped"]), "trainer.max_steps=2")
    rows = [float(row["val/betti_error"]) for row in table(folder.metrics)]
    assert summary(folder)["best"] == {"monitor": "val/betti_error", "value": min(rows)}
    tested = [float(row["betti_error"]) for row in table(folder.per_image)]
    assert summary(folder)["metrics"]["test/betti_error"] == pytest.approx(np.mean(tested))
    states = torch.load(folder.last, weights_only=True)["callbacks"]
    assert any("GradientNorms" in key for key in states)


@pytest.mark.slow
def test_own_classes_resume_exactly(train: Train, part: Part) -> None:
    again, undisturbed = resumes_exactly("own classes, averaged, accumulated, clipped", train, part)
    last = [torch.load(folder.last, weights_only=True)["callbacks"] for folder in (again, undisturbed)]
    (states, others) = ([state for key, state in one.items() if "GradientNorms" in key] for one in last)
    assert states == others
    assert len(states[0]["norms"]) >= 7


@pytest.mark.slow
@pytest.mark.parametrize("case", list(RESUMED)[1:])
def test_classes_of_torch_resume_exactly(case: str, train: Train, part: Part) -> None:
    resumes_exactly(case, train, part)


@pytest.mark.slow
def test_who_uses_the_run_trusts_what_is_used(cli: Callable[..., Said]) -> None:
    words = [f"metrics.own=[{BETTI}]", f"callbacks=[{NORMS}]", *words_of(LION)]
    folder = cli("train", *TINY, *words).folder
    assert cli("predict", f"checkpoint={folder}", "input=nothing.png").mistake.startswith(
        "nothing.png: there is no such"
    )
    evaluate = ("evaluate", f"checkpoint={folder}")
    assert "it names metrics.own[0].target=their_package.scores.BettiError, a class" in cli(*evaluate).mistake
    assert "betti_error" in cli(*evaluate, "trust=[their_package]").out
    assert "other" in cli(*evaluate, f"metrics.own=[{BETTI.replace('betti_error', 'other')}]").out
    assert "betti_error" not in cli(*evaluate, "metrics.own=[]").out
    rerun = ("train", f"rerun={folder}")
    assert "metrics.own[0].target=their_package.scores" in cli(*rerun).mistake
    assert "it names optimizer.target=their_package.learning" in cli(*rerun, "trust=[their_package.scores]").mistake
    some = "trust=[their_package.scores,their_package.learning]"
    assert "callbacks[0].target=their_package.watching" in cli(*rerun, some).mistake
    assert "equal: all" in cli(*rerun, "trust=[their_package]").out


@pytest.mark.slow
def test_a_comparison_reads_the_direction_in_the_configs_and_imports_nothing(
    train: Train, cli: Callable[..., Said], tmp_path: Path
) -> None:
    for seed in (0, 1):
        train(f"metrics.own=[{BETTI}]", f"seed={seed}", "data.height=32", "data.width=32")
    for name in [name for name in sys.modules if name.split(".")[0] == "their_package"]:
        del sys.modules[name]
    said = cli("compare", f"runs={tmp_path / 'out'}", "metric=test/betti_error", "output=page")
    assert said.code == 0
    assert "lower is better" in (tmp_path / "page" / "report.md").read_text()
    assert "their_package" not in sys.modules


@pytest.mark.slow
def test_every_command_of_the_page_composes() -> None:
    commands = re.findall(r"^(?:PYTHONPATH=\. )?python scripts/train\.py ((?:.*\\\n)*.*)$", PAGE, re.MULTILINE)
    seen = 0
    for command in commands:
        words = [word.strip("'") for word in re.findall(r"'[^']*'|[^\s\\]+", command)]
        if not any(word.startswith(("data=", "init_from=")) for word in words):
            parse(compose_train(words))
            seen += 1
    assert seen >= 8
