"""A user's own loss: the documented one trains, its checkpoints need trust, and every mistake is one line."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY, Said
from torch import Tensor

from unet_exp import losses
from unet_exp.app.compose import compose_train
from unet_exp.checkpoint import KEY, custom_targets, open_checkpoint
from unet_exp.config import IGNORE_LABEL, parse
from unet_exp.data.images import write_image
from unet_exp.errors import ConfigError, DataError
from unet_exp.losses import CrossEntropy, CustomLoss

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "extend.md").read_text()
(DOCUMENTED,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
POLY = ["loss=custom", "loss.target=their_package.losses.PolyLoss"]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """`package("losses", code)` writes `their_package/losses.py`; the documented one is there."""
    folder = tmp_path / "theirs" / "their_package"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(folder.parent))

    def write(name: str, code: str) -> None:
        (folder / f"{name}.py").write_text(code)

    write("losses", DOCUMENTED)
    yield write
    for name in [name for name in sys.modules if name.split(".")[0] == "their_package"]:
        del sys.modules[name]


def build(*words: str, weights: list[float] | None = None) -> torch.nn.Module:
    return losses.build(parse(compose_train(words)).loss, weights)


def batch() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    label = torch.randint(0, 3, (2, 5, 7), dtype=torch.uint8)
    label[0] = IGNORE_LABEL
    return torch.randn(2, 3, 5, 7), label


@pytest.mark.usefixtures("package")
def test_the_documented_loss_is_what_it_says() -> None:
    logits, label = batch()
    plain = build(*POLY, "loss.params={epsilon: 0}")
    assert isinstance(plain, CustomLoss)
    torch.testing.assert_close(plain(logits, label), CrossEntropy()(logits, label))
    weighted = build(*POLY, "loss.params={epsilon: 0}", weights=[1.0, 2.0, 3.0])
    torch.testing.assert_close(weighted(logits, label), CrossEntropy([1, 2, 3])(logits, label))
    p = logits.softmax(dim=1).gather(1, label.clamp_max(2).long()[:, None])[:, 0][label != IGNORE_LABEL]
    torch.testing.assert_close(build(*POLY)(logits, label), (1 - p - p.log()).mean())
    assert torch.isfinite(build(*POLY)(logits, torch.full_like(label, IGNORE_LABEL)))


@pytest.mark.usefixtures("package")
def test_it_has_no_targets_of_its_own() -> None:
    config = parse(compose_train(POLY))
    label = batch()[1][1].numpy()
    same, weights = losses.targets(config.loss)(label, None)
    assert same is label
    assert weights is None
    assert config.activation == "softmax"


def test_a_config_holds_its_name_and_imports_nothing() -> None:
    config = parse(compose_train([*POLY, "loss.params={epsilon: 2}"])).model_dump()
    assert config["loss"]["target"] == "their_package.losses.PolyLoss"
    assert config["loss"]["params"] == {"epsilon": 2}
    assert custom_targets(config) == {"loss.target": "their_package.losses.PolyLoss"}
    assert custom_targets(parse(compose_train([])).model_dump()) == {}
    assert "their_package" not in sys.modules


@pytest.fixture
def checkpoint(finished: Any, tmp_path: Path) -> Path:
    """Of a training with the documented loss, as far as its config says."""
    content = torch.load(finished.best, weights_only=True)
    content[KEY]["config"]["loss"] = parse(compose_train(POLY)).model_dump()["loss"]
    torch.save(content, tmp_path / "theirs.ckpt")
    return tmp_path / "theirs.ckpt"


@pytest.mark.parametrize("trust", [(), ("other",), ("their",), ("their_package.models",), ("",)])
def test_a_checkpoint_of_it_opens_only_where_its_package_is_trusted(checkpoint: Path, trust: tuple[str, ...]) -> None:
    with pytest.raises(DataError) as mistake:
        open_checkpoint(checkpoint, trust=trust)
    assert "loss.target=their_package.losses.PolyLoss" in str(mistake.value)
    assert str(mistake.value).endswith("add trust=[their_package]")
    assert "their_package" not in sys.modules


@pytest.mark.parametrize("trust", ["their_package", "their_package.losses"])
@pytest.mark.usefixtures("package")
def test_a_trusted_checkpoint_opens(checkpoint: Path, trust: str) -> None:
    opened = open_checkpoint(checkpoint, trust=["other", trust])
    loss = losses.build(opened.parsed().loss, opened.class_weights)
    assert isinstance(loss, CustomLoss)
    opened.network()


@pytest.mark.usefixtures("package")
def test_a_training_with_it_is_tested_scored_predicted_and_fine_tuned(cli: Callable[..., Said], tmp_path: Path) -> None:
    first = cli("train", *TINY, *POLY, "loss.params={epsilon: 2}", "loss.class_weights=inverse", "model=same")
    best = f"checkpoint={first.folder}"
    write_image(tmp_path / "slice.png", np.zeros((40, 50, 1), np.uint8))
    for words in (
        ("evaluate", best),
        ("predict", best, "input=slice.png"),
        ("train", *TINY, "model=same", f"init_from={first.folder}"),
    ):
        assert "loss.target=their_package.losses.PolyLoss" in cli(*words).mistake
        assert cli(*words, "trust=[another]").mistake.endswith("add trust=[their_package]")
        assert cli(*words, "trust=[their_package]").code == 0
        assert cli(*words, "trust=their_package").mistake == "trust='their_package': should be a valid list"


def test_a_checkpoint_cannot_vouch_for_itself(checkpoint: Path, cli: Callable[..., Said]) -> None:
    content = torch.load(checkpoint, weights_only=True)
    content[KEY]["config"]["trust"] = ["their_package"]
    torch.save(content, checkpoint)
    assert cli("evaluate", f"checkpoint={checkpoint}").mistake.endswith("add trust=[their_package]")


@pytest.mark.usefixtures("package")
def test_a_wrong_name_leaves_no_folder(cli: Callable[..., Said], tmp_path: Path) -> None:
    mistake = cli("train", *TINY, "loss=custom", "loss.target=their_package.losses.PolyLos").mistake
    assert "did you mean PolyLoss?" in mistake
    assert not (tmp_path / "outputs").exists()


BROKEN = {
    "syntax": "def (",
    "raises": "raise RuntimeError('no\\n licence')",
    "needs": "import a_package_that_nobody_has",
    "things": """
from torch import nn
number = 3
class Plain: pass
class Short(nn.Module):
    def forward(self, logits, label): return logits.sum()
class Picky(nn.Module):
    def __init__(self, a, b=2):
        super().__init__()
        if a < 0: raise ValueError('a must not be negative')
    def forward(self, logits, label, pixel_weights=None): return logits.mean()
class Map(nn.Module):
    def forward(self, logits, label, pixel_weights): return logits.mean(dim=1)
class Number(nn.Module):
    def forward(self, logits, *rest): return 3.0
""",
}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "loss.target='': must be a class's import path"),
        (["loss.target=PolyLoss"], "loss.target='PolyLoss': must be a class's import path"),
        (["loss.target=a..B"], "loss.target='a..B': must be"),
        (["loss.target=a.b-c.D"], "loss.target='a.b-c.D': must be"),
        (["loss.target=a.B", "loss.params=3"], "loss.params=3: should be a valid dictionary"),
        (["loss.target=nobody_has.losses.Loss"], "there is no module nobody_has; install its package, or put"),
        (["loss.target=their_package.lost.Loss"], "there is no module their_package.lost; install"),
        (["loss.target=their_package.losses.Poly"], "their_package.losses has no Poly (did you mean PolyLoss?)"),
        (["loss.target=their_package.losses.zzz"], "their_package.losses has no zzz"),
        (["loss.target=their_package.syntax.A"], "importing their_package.syntax raises SyntaxError"),
        (["loss.target=their_package.raises.A"], "importing their_package.raises raises RuntimeError: no licence"),
        (["loss.target=their_package.needs.A"], "raises ModuleNotFoundError: No module named 'a_package_that"),
        (["loss.target=their_package.things.number"], "it is no class that derives from torch.nn.Module"),
        (["loss.target=their_package.things.Plain"], "it is no class that derives from torch.nn.Module"),
        (["loss.target=their_package.things.Short"], "forward takes (logits, label) and is called with (logits, label"),
        (["loss.target=their_package.things.Picky"], "missing a required argument: 'a'; it is built with (a, b=2)"),
        (["loss.target=their_package.things.Picky", "loss.params={a: 1, c: 2}"], "unexpected keyword argument 'c'"),
        (["loss.target=their_package.things.Picky", "loss.params={a: -1}"], "raises ValueError: a must not be neg"),
    ],
)
def test_mistakes_are_told_in_one_line(package: Callable[[str, str], None], words: list[str], said: str) -> None:
    for name, code in BROKEN.items():
        package(name, code)
    with pytest.raises(ConfigError) as mistake:
        build("loss=custom", *words)
    assert said in str(mistake.value)
    assert str(mistake.value).startswith("loss.")
    assert "\n" not in str(mistake.value)


def test_class_weights_that_it_does_not_take_are_told(package: Callable[[str, str], None]) -> None:
    package("things", BROKEN["things"])
    said = r"unexpected keyword argument 'class_weights'.*given a=1, class_weights="
    with pytest.raises(ConfigError, match=said):
        build("loss=custom", "loss.target=their_package.things.Picky", "loss.params={a: 1}", weights=[1.0, 2.0])


@pytest.mark.parametrize(("name", "what"), [("Map", "a tensor of shape (2, 5, 7)"), ("Number", "float")])
def test_what_it_returns_must_be_one_number(package: Callable[[str, str], None], name: str, what: str) -> None:
    package("things", BROKEN["things"])
    loss = build("loss=custom", f"loss.target=their_package.things.{name}")
    with pytest.raises(ConfigError) as mistake:
        loss(*batch())
    assert str(mistake.value).endswith(f"it must return a tensor that is one number, not {what}")
