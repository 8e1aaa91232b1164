"""A user's own loss and network: the documented ones train, their checkpoints need trust, each mistake is one line."""

import re
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY, Said, summary
from hypothesis import given
from hypothesis import strategies as st
from one_piece import whole_image_logits
from sweeps_on_disk import compared, write_run
from torch import Tensor

import unet_exp
from unet_exp import geometry, losses, network
from unet_exp.checkpoints.opening import open_checkpoint
from unet_exp.checkpoints.record import KEY
from unet_exp.compose import compose_train, parse_overrides
from unet_exp.config import IGNORE_LABEL, Config, parse
from unet_exp.config.own_classes import list_targets
from unet_exp.errors import ConfigError, DataError
from unet_exp.geometry import CustomArchitecture
from unet_exp.inference.tiling.overlap_tile import mirror_source, tiled_logits
from unet_exp.io.writing import write_image
from unet_exp.losses import CrossEntropy, CustomLoss
from unet_exp.network import Network, cost
from unet_exp.runs.run_folder import RunFolder

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "extend.md").read_text()
LOSSES, NETWORKS, *_ = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
POLY = ["loss=custom", "loss.target=their_package.losses.PolyLoss"]
DILATED = [
    "model=custom",
    "model.target=their_package.networks.DilatedNet",
    "model.step=1",
    "model.receptive_field_radius=16",
]
DATA = [word for word in TINY if not word.startswith("model.")]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """`package("losses", code)` writes `their_package/losses.py`; the documented ones are there."""
    folder = tmp_path / "theirs" / "their_package"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(folder.parent))

    def write(name: str, code: str) -> None:
        (folder / f"{name}.py").write_text(code)

    write("losses", LOSSES)
    write("networks", NETWORKS)
    yield write
    for name in [name for name in sys.modules if name.split(".")[0] == "their_package"]:
        del sys.modules[name]


@cache
def defaults(choice: str) -> dict[str, Any]:
    return compose_train([choice])


def config_of(choice: str, *words: str) -> Config:
    """Of a training with `model=custom` or `loss=custom` and keys; a whole composition each time would take 0.2 s."""
    values = deepcopy(defaults(choice))
    for override in parse_overrides(words):
        group, _, key = override.key_or_group.partition(".")
        assert key in values[group]
        values[group][key] = override.value()
    return parse(values)


def build(*words: str, weights: list[float] | None = None) -> torch.nn.Module:
    return losses.build(config_of(*words).loss, weights)


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
    config = config_of(*POLY)
    label = batch()[1][1].numpy()
    same, weights = losses.targets(config.loss)(label, None)
    assert np.shares_memory(same, label)
    assert np.array_equal(same, label)
    assert weights is None
    assert config.activation == "softmax"


def test_a_config_holds_its_name_and_imports_nothing() -> None:
    config = config_of(*POLY, "loss.params={epsilon: 2}").model_dump()
    assert config["loss"]["target"] == "their_package.losses.PolyLoss"
    assert config["loss"]["params"] == {"epsilon": 2}
    assert list_targets(config) == {"loss.target": "their_package.losses.PolyLoss"}
    assert list_targets(parse(compose_train([])).model_dump()) == {}
    assert "their_package" not in sys.modules


@pytest.fixture
def checkpoint(finished: Any, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Of a training with the documented network (or loss, by parameter), as far as its config says."""
    group, words = getattr(request, "param", ("model", DILATED))
    content = torch.load(finished.best, weights_only=True)
    content[KEY]["config"][group] = config_of(*words).model_dump()[group]
    torch.save(content, tmp_path / "theirs.ckpt")
    return tmp_path / "theirs.ckpt"


@pytest.mark.parametrize("trust", [(), ("other",), ("their",), ("their_package.models",), ("",)])
def test_a_checkpoint_of_it_opens_only_where_its_package_is_trusted(checkpoint: Path, trust: tuple[str, ...]) -> None:
    with pytest.raises(DataError) as mistake:
        open_checkpoint(checkpoint, trust=trust)
    assert "it names model.target=their_package.networks.DilatedNet," in str(mistake.value)
    assert str(mistake.value).endswith("add trust=[their_package]")
    assert "their_package" not in sys.modules


@pytest.mark.parametrize("trust", ["their_package", "their_package.networks"])
@pytest.mark.usefixtures("package")
def test_a_trusted_checkpoint_opens(checkpoint: Path, trust: str) -> None:
    opened = open_checkpoint(checkpoint, trust=["other", trust])
    assert opened.config.model.name == "custom"


@pytest.mark.parametrize("checkpoint", [("loss", POLY)], indirect=True)
def test_a_loss_needs_trust_only_to_score(checkpoint: Path, cli: Callable[..., Said], tmp_path: Path) -> None:
    assert unet_exp.load(checkpoint, "cpu", "32").checkpoint.config.loss.name == "custom"
    write_image(tmp_path / "slice.png", np.zeros((40, 50, 1), np.uint8))
    assert cli("predict", f"checkpoint={checkpoint}", "input=slice.png").code == 0
    mistake = cli("evaluate", f"checkpoint={checkpoint}").mistake
    assert "it names loss.target=their_package.losses.PolyLoss, a class" in mistake
    assert mistake.endswith("add trust=[their_package]")
    assert "their_package" not in sys.modules


@pytest.mark.slow
@pytest.mark.usefixtures("package")
def test_a_training_with_both_is_tested_scored_predicted_and_fine_tuned(
    cli: Callable[..., Said], tmp_path: Path
) -> None:
    own = [*DATA, *DILATED, "model.params={width: 4}"]
    first = cli("train", *own, *POLY, "loss.params={epsilon: 2}", "loss.class_weights=inverse")
    assert "their_package.networks.DilatedNet: 32 -> 32 pixels, 642 parameters" in first.out
    found = summary(RunFolder(first.folder))
    assert (found["parameters"], found["macs"], found["width"]) == (642, 32 * 32 * (9 * 4 * (1 + 4 * 4) + 4 * 2), None)
    best = f"checkpoint={first.folder}"
    write_image(tmp_path / "slice.png", np.zeros((40, 50, 1), np.uint8))
    for words in (
        ("evaluate", best),
        ("predict", best, "input=slice.png", "inference.tile=24"),
        ("train", *own, f"init_from={first.folder}"),
    ):
        assert "model.target=their_package.networks.DilatedNet" in cli(*words).mistake
        assert cli(*words, "trust=[another]").mistake.endswith("add trust=[their_package]")
        assert cli(*words, "trust=[their_package]").code == 0
        mistake = cli(*words, "trust=their_package").mistake
        assert mistake == "trust='their_package': should be a list, such as [their_package]"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"channels": 10**9}, "numbers, and the network that its config describes has"),
        ({"channels": True}, "it is damaged: channels=True: should be a valid integer"),
        ({"class_weights": [1.0]}, "it is damaged: 1 class_weights are not those of 2 classes"),
        ({"normalization": {"mode": "log", "mean": [], "std": []}}, "normalization.mode='log': should be 'image'"),
        ({"normalization": {"mode": "dataset", "mean": [0.1, 0.2], "std": [1, 1]}}, "has 1 values of mean and std"),
        ({"config": {"name": "${oc.env:HOME}"}}, "its config refers to something beside it with ${...}"),
    ],
)
def test_what_a_strangers_checkpoint_claims_is_checked(
    finished: Any, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    content = torch.load(finished.best, weights_only=True)
    content[KEY] |= change
    torch.save(content, tmp_path / "theirs.ckpt")
    with pytest.raises(DataError) as mistake:
        open_checkpoint(tmp_path / "theirs.ckpt").network()
    assert said in str(mistake.value)


@pytest.mark.parametrize("weights", [[1, 2], {1: 2}, {"network.head.bias": 3}])
def test_a_checkpoint_without_weights_is_told(finished: Any, tmp_path: Path, weights: Any) -> None:
    torch.save({**torch.load(finished.best, weights_only=True), "state_dict": weights}, tmp_path / "theirs.ckpt")
    with pytest.raises(DataError, match=r"theirs\.ckpt: it holds 0 numbers"):
        open_checkpoint(tmp_path / "theirs.ckpt").network()


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


def network_of(*words: str, channels: int = 1, classes: int = 2) -> Network:
    return network.build(config_of("model=custom", *words), channels, classes).eval()


def stitched_and_whole(*words: str, size: tuple[int, int] = (61, 75), tile: int = 20) -> tuple[Tensor, Tensor]:
    """The logits of an image in tiles, and in one piece."""
    inference = config_of("model=custom", *words, f"inference.tile={tile}").inference
    made, image = network_of(*words), torch.randn(1, 1, *size)
    with torch.no_grad():
        return tiled_logits(made, mirror_source(image), *size, inference), whole_image_logits(made, image)


@pytest.mark.usefixtures("package")
def test_the_documented_network_takes_any_size_and_its_margin_is_what_it_needs() -> None:
    made = network_of(*DILATED[1:], "model.params={width: 4}", channels=3, classes=5)
    assert made(torch.zeros(2, 3, 1, 7)).shape == (2, 5, 1, 7)
    torch.testing.assert_close(*stitched_and_whole(*DILATED[1:]))
    stitched, whole = stitched_and_whole(*DILATED[1:], "model.receptive_field_radius=15")
    assert (stitched - whole).abs().max() > 1e-4


SIZED = """
from torch import nn
from torch.nn.functional import avg_pool2d, interpolate, pad
class Unpadded(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 7)
    def forward(self, images): return self.conv(images)
class Blocks(Unpadded):
    def forward(self, images): return interpolate(pad(self.conv(avg_pool2d(images, 4)), (3,) * 4), scale_factor=4)
class Padding(Unpadded):
    def forward(self, images):
        high, wide = images.shape[-2:]
        return interpolate(pad(self.conv(avg_pool2d(pad(images, (0, -wide % 4, 0, -high % 4)), 4)), (3,) * 4),
                           scale_factor=4)[..., :high, :wide]
class Strict(Unpadded):
    def forward(self, images):
        assert images.shape[-1] % 5 == 3 and images.shape[-1] > 10, "a size that was not promised"
        return self.conv(images)
"""


@pytest.mark.parametrize(
    "words",
    [
        [
            "model.target=their_package.sized.Unpadded",
            "model.step=1",
            "model.lost_border=3",
            "model.receptive_field_radius=3",
        ],
        [
            "model.target=their_package.sized.Blocks",
            "model.step=4",
            "model.smallest=28",
            "model.receptive_field_radius=15",
        ],
        ["model.target=their_package.sized.Padding", "model.step=1", "model.smallest=25", "model.total_stride=4"],
        ["model.target=their_package.sized.Strict", "model.step=5", "model.smallest=13", "model.lost_border=3"],
    ],
    ids=["unpadded", "blocks", "padding", "offset"],
)
def test_tiles_equal_one_piece_for_every_kind_of_sizes(package: Callable[[str, str], None], words: list[str]) -> None:
    package("sized", SIZED)
    stitched, whole = stitched_and_whole(*words, size=(90, 131), tile=30)
    torch.testing.assert_close(stitched, whole)


@given(st.integers(1, 40), st.integers(0, 30), st.integers(1, 5), st.none() | st.integers(1, 99), st.integers(1, 300))
def test_sizes_follow_from_the_keys(step: int, lost: int, factor: int, more: int | None, tile: int) -> None:
    smallest = None if more is None else 2 * lost + more
    made = CustomArchitecture("a.B", None, 1, 2, step, smallest, factor * step, lost, 8)
    first = smallest or next(size for size in count(step, step) if size > 2 * lost)
    legal = [first + step * number for number in range(400)]
    assert [size for size in range(1, legal[20] + 1) if geometry.is_legal(made, size)] == legal[:21]
    assert geometry.input_for_output(made, tile) == next(size for size in legal if size - 2 * lost >= tile)
    assert geometry.total_stride(made) == factor * step


@pytest.mark.usefixtures("package")
def test_a_class_that_has_changed_since_is_told(finished: Any) -> None:
    config = config_of(*DILATED, "model.params={width: 4}").model_dump()
    weights = network_of(*DILATED[1:], "model.params={width: 5}").state_dict()
    opened = open_checkpoint(finished.path)
    with pytest.raises(DataError) as mistake:
        replace(opened, record=opened.record.model_copy(update={"config": config}), weights=weights).network()
    assert "its weights are not those of their_package.networks.DilatedNet as it is now: size mism" in str(
        mistake.value
    )


def test_it_is_compared_with_others_by_its_word_alone(tmp_path: Path) -> None:
    choices = {"model=valid": 1, "model=same": 2, "model=custom": None}
    for place, (choice, macs) in enumerate(choices.items()):
        config = config_of(choice, *(DILATED[1:] if macs is None else [])).model_dump()
        for seed in range(3):
            scores = {"a": 0.5 + 0.1 * place + 0.01 * seed}
            write_run(tmp_path / f"{place}-{seed}", {**config, "seed": seed}, scores, macs=macs, width=None)
    comparison = compared(tmp_path)
    assert {group.label for group in comparison.groups} == set(choices)
    assert comparison.table()["macs"].isna().sum() == 1


def test_multiply_accumulates_that_cannot_be_counted_are_unknown(package: Callable[[str, str], None]) -> None:
    package(
        "sized",
        SIZED
        + "class Reading(Unpadded):\n    def forward(self, images): return self.conv(images) * images.sum().item()",
    )
    words = ["model.step=1", "model.lost_border=3"]
    assert cost(network_of("model.target=their_package.sized.Unpadded", *words), 16) == (2 * 49 + 2, 100 * 2 * 49)
    assert cost(network_of("model.target=their_package.sized.Reading", *words), 16) == (2 * 49 + 2, None)


BROKEN = {
    "syntax": "def (",
    "raises": "raise RuntimeError('no\\n licence')",
    "needs": "import a_package_that_nobody_has",
    "leaves": "import sys; sys.exit(3)",
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
class Still(nn.Module):
    def forward(self, logits, *rest): return logits.detach().mean()
class Lost(nn.Module):
    def forward(self, logits, label, pixel_weights): return logits[label.long() + 9].mean()
class Unbuilt(nn.Module):
    def __init__(self):
        super().__init__()
        {}["no such key"]
""",
    "nets": """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self, in_channels, out_channels, padding=1, stride=1):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride, padding)
    def forward(self, images): return self.conv(images)
class Fixed(nn.Module):
    def __init__(self, in_channels):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 7, 1)
    def forward(self, images): return self.conv(images)
class Seven(Fixed):
    def __init__(self, in_channels, out_channels): super().__init__(in_channels)
class Several(Net):
    def forward(self, images): return {"out": self.conv(images)}
class Flat(Net):
    def forward(self, images): return self.conv(images)[0, 0]
class Line(Net):
    def forward(self, images): raise RuntimeError("no\\n such size")
class Two(Net):
    def forward(self, images, more): return self.conv(images)
class Idle(nn.Module):
    def __init__(self, in_channels, out_channels): super().__init__()
    def forward(self, images): return torch.cat([images, images], dim=1)
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
        (["loss.target=their_package.leaves.A"], "importing their_package.leaves raises SystemExit: 3"),
        (["loss.target=their_package.things.Unbuilt"], "building it with nothing raises KeyError: 'no such key'"),
        (["loss.target=their_package.things.number"], "it is no class that derives from torch.nn.Module"),
        (["loss.target=their_package.things.Plain"], "it is no class that derives from torch.nn.Module"),
        (["loss.target=their_package.things.Short"], "forward takes two arguments and is called with (logits, label"),
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


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Map", "it must return a tensor that is one number, not a tensor of shape (1, 32, 32)"),
        ("Still", "what it returns has no gradient, so that nothing is learned"),
        ("Lost", "its forward on logits 1 x 2 x 32 x 32 raises IndexError: "),
    ],
)
def test_a_loss_that_cannot_be_learned_from_is_told_before_there_is_a_run(
    package: Callable[[str, str], None], cli: Callable[..., Said], tmp_path: Path, name: str, said: str
) -> None:
    package("things", BROKEN["things"])
    mistake = cli("train", *TINY, "loss=custom", f"loss.target=their_package.things.{name}").mistake
    assert mistake.startswith(f"loss.target=their_package.things.{name}: {said}")
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("lost.Net", [], "there is no module their_package.lost; install its package"),
        ("nets.Fixed", [], "got an unexpected keyword argument 'out_channels'; it is built with (in_channels)"),
        (
            "nets.Net",
            ["model.params={in_channels: 1}"],
            "model.params: in_channels follows from the data; leave it out",
        ),
        ("nets.Net", ["model.params={width: 1}"], "unexpected keyword argument 'width'; it is built with (in_channels"),
        ("nets.Net", ["model.params={padding: -1}"], "raises RuntimeError"),
        (
            "nets.Net",
            ["model.params={padding: 0}"],
            "1 x 1 x 32 x 64 into 1 x 2 x 30 x 62, and should give 1 x 2 x 32 x 64",
        ),
        ("nets.Net", ["model.params={padding: 0}"], ": set model.lost_border=1"),
        ("nets.Net", ["model.lost_border=2"], ": set model.lost_border=0"),
        ("nets.Net", ["model.params={stride: 2}"], ": see model.smallest, model.step and model.lost_border"),
        ("nets.Seven", [], "1 x 7 x 32 x 64, and should give 1 x 2 x 32 x 64: it must give out_channels channels"),
        ("nets.Several", [], "its forward must return a tensor, not dict"),
        (
            "nets.Flat",
            [],
            "into 32 x 64, and should give 1 x 2 x 32 x 64: it must be (batch, out_channels, height, width)",
        ),
        ("nets.Line", [], "its forward on 1 x 1 x 32 x 64 raises RuntimeError: no such size"),
        ("nets.Two", [], "its forward takes (images, more) and is called with (images)"),
        ("nets.Idle", [], "it has no parameters to train"),
        (
            "nets.Net",
            ["model.smallest=4", "model.lost_border=2"],
            "model.smallest=4 leaves no output where model.lost_border=2",
        ),
        (
            "nets.Net",
            ["model.step=4", "model.total_stride=6"],
            "model.total_stride=6 must be a multiple of model.step=4",
        ),
        ("nets.Net", ["model.step=0"], "model.step=0: should be greater than or equal to 1"),
        ("nets.Net", ["inference.tile=31"], "inference.tile=31 is too small for a network with model.smallest=32"),
    ],
)
def test_mistakes_of_a_network_are_told_in_one_line(
    package: Callable[[str, str], None], name: str, words: list[str], said: str
) -> None:
    package("nets", BROKEN["nets"])
    with pytest.raises(ConfigError) as mistake:
        network_of(f"model.target=their_package.{name}", *words)
    assert said in str(mistake.value)
    assert "\n" not in str(mistake.value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fusion=add"], "fusion=add is of the U-Net: leave it out with model=custom"),
        (["experiment=skip_fusion"], "model.match is of the U-Net: leave it out, or the experiment that sets it"),
        (["model.match=flops"], "unknown key model.match: it is of model=pad, model=release, model=same and model=va"),
    ],
)
def test_what_belongs_to_the_unet_does_not_go_with_it(words: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as mistake:
        parse(compose_train([*DILATED, *words]))
    assert str(mistake.value).startswith(said)


def test_an_illegal_size_is_told_with_its_keys(package: Callable[[str, str], None]) -> None:
    package("nets", BROKEN["nets"])
    with pytest.raises(ConfigError) as mistake:
        network_of("model.target=their_package.nets.Net")(torch.zeros(1, 1, 64, 40))
    assert str(mistake.value) == (
        "input width=40 does not fit a network with model.smallest=32 and model.step=32: "
        "the nearest legal sizes are 32 and 64"
    )
