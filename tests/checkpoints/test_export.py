"""Networks as ONNX files: equal to the network, self-describing, and taken by prediction as checkpoints are."""

import builtins
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY, Said
from torch import nn

from unet_exp.checkpoints.checkpoint import Checkpoint
from unet_exp.checkpoints.opening import open_checkpoint
from unet_exp.checkpoints.record import CheckpointRecord
from unet_exp.cli import export as exporting
from unet_exp.compose import compose_train
from unet_exp.config import ClassSpec, parse
from unet_exp.data.sets.synthetic import generate
from unet_exp.errors import ConfigError, DataError
from unet_exp.io.images import read_image
from unet_exp.io.writing import write_image
from unet_exp.network import build
from unet_exp.runs.run_folder import RunFolder
from unet_exp.samples.normalization import Normalization

pytestmark = pytest.mark.slow  # the exporter alone takes seconds

onnx = pytest.importorskip("onnx", reason="needs pip install -e '.[onnx]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs pip install -e '.[onnx]'")
pytest.importorskip("onnxscript", reason="needs pip install -e '.[onnx]'")

from unet_exp.checkpoints.onnx_export import export_to_onnx  # noqa: E402
from unet_exp.checkpoints.onnx_model import OnnxNetwork  # noqa: E402
from unet_exp.inference.predictor import Predictor  # noqa: E402

Cli = Callable[..., Said]
CLASSES = [ClassSpec(name=name, value=index, color=[index] * 3) for index, name in enumerate("abc")]


def made(*words: str, classes: int = 2, channels: int = 1) -> Checkpoint:
    """A checkpoint of an untrained network, whose norms have lost their ones and zeros."""
    own = "model=custom" in words
    values = compose_train([*(word for word in TINY if not (own and word.startswith("model."))), *words])
    network = build(parse(values), channels, classes)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
        if isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d | nn.GroupNorm):
            module.weight.data.normal_()
            module.bias.data.normal_()
    return Checkpoint(
        path=Path("made.ckpt"),
        record=CheckpointRecord(
            config=values,
            classes=CLASSES[:classes],
            normalization=Normalization(mode="image"),
            channels=channels,
            class_weights=None,
            trained_on=[],
        ),
        weights=network.state_dict(),
        step=1,
    )


@pytest.fixture(scope="module")
def exported(finished: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network of the finished run, as ONNX; read it, do not change it."""
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    exporting.export({**exporting.DEFAULTS, "checkpoint": str(finished.path), "output": str(path)})
    return path


def differences(path: Path, checkpoint: Checkpoint, sizes: list[tuple[int, int, int]]) -> Iterator[float]:
    """Between ONNX Runtime, asked without this project's help, and the network, for (batch, height, width).

    As a part of the largest logit where that is above 1.
    """
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    network = checkpoint.network()
    for batch, height, width in sizes:
        image = torch.randn(batch, checkpoint.record.channels, height, width)
        with torch.no_grad():
            expected = network(image).numpy()
        (given,) = session.run(None, {"image": image.numpy()})
        assert given.shape == expected.shape
        yield float(np.abs(given - expected).max()) / max(1.0, float(np.abs(expected).max()))


VARIANTS = [
    *(
        (f"model={model}", f"fusion={fusion}")
        for model in ("valid", "same", "pad", "release")
        for fusion in ("concat", "add", "none")
        if fusion == "concat" or (model, fusion) in (("valid", "none"), ("same", "add"), ("pad", "add"))
    ),
    ("model=valid", "model.norm=batch", "model.upsample=bilinear"),
    ("model=same", "model.norm=instance"),
    ("model=pad", "model.norm=group", "model.upsample=bilinear"),
    ("model=valid", "model.depth=3", "fusion=add"),
    ("model=pad", "model.depth=3", "fusion=none"),
]
FEW = [
    ("model=valid", "model.depth=3", "model.norm=batch", "fusion=none"),
    ("model=pad", "model.depth=3", "model.norm=group", "model.upsample=bilinear"),
]
SIZES = [(1, 48, 56), (2, 88, 64), (5, 64, 64), (1, 76, 132), (3, 44, 100)]


def test_every_variant_equals_its_network_on_five_sizes(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """`pytest -s` takes all and prints the table. The exporter takes the time: to it a size is an expression."""
    print("\n| network |", *(f" {' x '.join(map(str, size))} |" for size in SIZES), "\n|", "--- |" * (len(SIZES) + 1))
    for words in VARIANTS if request.config.getoption("capture") == "no" else FEW:
        checkpoint = made(*words)
        export_to_onnx(checkpoint, tmp_path / "model.onnx", 18)
        odd = 1 if "model=pad" in words else 0  # sizes that only this network takes
        sizes = [(batch, height + odd, width + odd) for batch, height, width in SIZES]
        found = list(differences(tmp_path / "model.onnx", checkpoint, sizes))
        print("|", " ".join(words) + (", 1 pixel more" if odd else ""), *(f"| {value:.1e}" for value in found), "|")
        assert max(found) < 1e-5, words


def test_odd_sizes_and_several_classes_and_channels(tmp_path: Path) -> None:
    checkpoint = made("model=pad", "model.norm=group", "fusion=add", classes=3, channels=3)
    export_to_onnx(checkpoint, tmp_path / "model.onnx", 20)
    assert max(differences(tmp_path / "model.onnx", checkpoint, [(1, 33, 47), (2, 5, 90), (1, 101, 7)])) < 1e-5
    assert [(entry.domain, entry.version) for entry in onnx.load(tmp_path / "model.onnx").opset_import] == [("", 20)]


def test_the_file_is_valid_and_tells_what_the_checkpoint_knows(finished: RunFolder, exported: Path) -> None:
    model = onnx.load(exported)
    onnx.checker.check_model(model, full_check=True)
    known = {entry.key: json.loads(entry.value) for entry in model.metadata_props if entry.key.startswith("unet_exp.")}
    checkpoint = open_checkpoint(finished.path)
    assert known["unet_exp.config"] == checkpoint.record.config
    assert [spec["name"] for spec in known["unet_exp.classes"]] == ["membrane", "cell"]
    assert known["unet_exp.normalization"] == checkpoint.record.normalization.model_dump()
    assert (known["unet_exp.channels"], known["unet_exp.activation"]) == (1, "softmax")
    assert known["unet_exp.sizes"] == {"smallest": 2, "step": 2, "context": 0}
    assert known["unet_exp.step"] == checkpoint.step
    opened = open_checkpoint(exported)
    assert (opened.record, opened.step) == (checkpoint.record, checkpoint.step)


@pytest.mark.parametrize("averaging", ["none", "flips8"])
def test_a_predictor_gives_what_the_checkpoint_gives(finished: RunFolder, exported: Path, averaging: str) -> None:
    inference = parse(compose_train([*TINY, f"inference={averaging}", "inference.tile=32"])).inference
    image = generate(75, 61, 5, 0).image
    given, expected = (
        Predictor(open_checkpoint(path), "cpu", "32", inference).probabilities(image)
        for path in (exported, finished.path)
    )
    np.testing.assert_allclose(given, expected, atol=1e-5)


@pytest.fixture
def ready(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exporting the network of the finished run takes no time: the file is there."""
    monkeypatch.setattr(
        "unet_exp.checkpoints.onnx_export._write", lambda *args: args[2].write_bytes(exported.read_bytes())
    )


@pytest.mark.usefixtures("ready")
def test_the_command_writes_the_file_whole(cli: Cli, finished: RunFolder, tmp_path: Path) -> None:
    said = cli("export", f"checkpoint={finished.path}", "output=new/cells.onnx")
    assert said.folder == Path("new/cells.onnx")
    assert said.out.count("largest difference") == 5
    assert "opset 18; ONNX Runtime and the network agree within" in said.out
    assert said.err == ""
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["cells.onnx"]


@pytest.mark.usefixtures("ready")
def test_a_wrong_file_is_not_left_behind(finished: RunFolder, tmp_path: Path) -> None:
    content = torch.load(finished.best, weights_only=True)
    content["state_dict"]["network.head.bias"] += 0.001
    (tmp_path / "runs").mkdir()
    torch.save(content, tmp_path / "runs" / "other.ckpt")
    (tmp_path / "model.onnx").write_text("an older one")
    values = {"checkpoint": str(tmp_path / "runs" / "other.ckpt"), "output": str(tmp_path / "model.onnx")}
    with pytest.raises(DataError, match=r"ONNX Runtime's logits are off by 1\.0e-03; nothing was written"):
        exporting.export({**exporting.DEFAULTS, **values})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "runs"]
    assert (tmp_path / "model.onnx").read_text() == "an older one"


THEIRS = """
from torch import nn
class Net(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.down, self.up = nn.Conv2d(in_channels, 4, 4, 4), nn.ConvTranspose2d(4, out_channels, 4, 4)
    def forward(self, images): return self.up(self.down(images).relu())
class Torn(Net):
    def forward(self, images): return super().forward(images if images.sum() > 0 else -images)
"""


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Checkpoint]]:
    """`theirs("Net")` is a checkpoint of a user's own network."""
    (tmp_path / "their_nets.py").write_text(THEIRS)
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(name: str, *words: str) -> Checkpoint:
        return made("model=custom", f"model.target=their_nets.{name}", "model.step=4", *words)

    yield make
    sys.modules.pop("their_nets", None)


def test_a_users_own_network_needs_no_class_once_it_is_exported(
    theirs: Callable[..., Checkpoint], tmp_path: Path
) -> None:
    checkpoint, path = theirs("Net"), tmp_path / "theirs.onnx"
    export_to_onnx(checkpoint, path, 18)
    assert max(differences(path, checkpoint, [(1, 4, 8), (2, 36, 20)])) < 1e-5
    images = torch.randn(1, 1, 12, 40)
    with torch.no_grad():
        expected = checkpoint.network()(images)
    (tmp_path / "their_nets.py").unlink()
    del sys.modules["their_nets"]
    opened = open_checkpoint(path)
    torch.testing.assert_close(opened.network()(images), expected)
    assert opened.record.config["model"]["target"] == "their_nets.Net"
    assert "their_nets" not in sys.modules
    with pytest.raises(ConfigError, match=r"input width=10 does not fit a network with model\.smallest=4"):
        opened.network()(torch.zeros(1, 1, 12, 10))
    model = onnx.load(path)
    (entry,) = (entry for entry in model.metadata_props if entry.key == "unet_exp.config")
    loss = {"name": "custom", "target": "their_losses.Loss", "params": None, "class_weights": None}
    entry.value = json.dumps({**checkpoint.record.config, "loss": loss})
    onnx.save(model, path)
    with pytest.raises(DataError, match=r"names loss\.target=their_losses\.Loss, .* add trust=\[their_losses\]"):
        open_checkpoint(path).loss()


def test_a_network_that_cannot_be_traced_is_told_in_one_line(theirs: Callable[..., Checkpoint], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="PyTorch cannot export its network with free sizes: ") as caught:
        export_to_onnx(theirs("Torn"), tmp_path / "model.onnx", 18)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("size", [(75, 61), (64, 62), (9, 1)])
def test_the_documented_lines_give_the_mask_that_the_checkpoint_gives(
    finished: RunFolder, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "export.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    image = generate(*size, 5, 0).image if min(size) > 8 else np.arange(9, dtype=np.uint8).reshape(9, 1)
    write_image(tmp_path / "slice.png", image)
    (tmp_path / "model.onnx").write_bytes(exported.read_bytes())
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    label = Predictor(open_checkpoint(finished.path), "cpu", "32").predict(image)
    mask = read_image(tmp_path / "mask.png")[:, :, 0]
    assert mask.shape == size
    assert (mask != 255 * label).mean() < 0.001  # a rounding may tip a pixel on the border of two classes


class TestMistakes:
    @pytest.mark.parametrize(
        ("words", "part"),
        [
            ("", "checkpoint=<file> is missing"),
            ("checkpoint=none.ckpt", "none.ckpt: there is no such file"),
            ("checkpoint=a.ckpt output=model.pt", "output=model.pt: must be a file whose name ends in .onnx"),
            ("checkpoint=a.onnx", "checkpoint=a.onnx: is an exported network already"),
            (f"checkpoint=a.ckpt output={'n' * 300}.onnx", ".onnx: this path cannot be used (File name too long)"),
            ("checkpoint=a.ckpt opset=12", "opset=12: should be greater than or equal to 17"),
            ("checkpoint=[a,b]", "checkpoint=[a, b]: export writes one network; name one file or folder of a run"),
            ("checkpoint=a.ckpt opst=18", "unknown key opst (did you mean opset?); the keys are checkpoint, output"),
        ],
    )
    def test_of_export(self, cli: Cli, tmp_path: Path, words: str, part: str) -> None:
        assert part in cli("export", *words.split()).mistake
        assert list(tmp_path.iterdir()) == []

    def test_the_newest_run_is_named_where_there_is_none_of_the_name(self, cli: Cli, tmp_path: Path) -> None:
        for age, name in enumerate(("2026-03", "2026-01_b", "2026-02_b")):
            best = tmp_path / "outputs" / "train" / name / "checkpoints" / "best.ckpt"
            best.parent.mkdir(parents=True)
            best.touch()
            os.utime(best, (0, 1000 - age))
        for named in ("outputs/train/2026", "2026"):
            said = cli("predict", f"checkpoint={named}", "input=a.png").mistake
            assert said.endswith(f"best.ckpt; the newest run is {Path('outputs', 'train', '2026-03')}")
        said = cli("predict", "checkpoint=outputs/train/b", "input=a.png").mistake
        assert said.endswith(f"best.ckpt; did you mean {Path('outputs', 'train', '2026-01_b')}?")

    def test_a_run_without_its_best_checkpoint_is_not_passed_over(self, cli: Cli, tmp_path: Path) -> None:
        for age, name in enumerate(("new/checkpoints/last.ckpt", "old_b/checkpoints/best.ckpt", "bare/checkpoints/x")):
            file = tmp_path / "outputs/train" / name
            file.parent.mkdir(parents=True)
            file.touch()
            os.utime(file, (0, 1000 - age))
        run = "outputs/train/new"
        said = cli("evaluate", "checkpoint=none").mistake
        assert said.endswith(f"the newest run is {run} (it has no best.ckpt: type {run}/checkpoints/last.ckpt)")
        for named in (run, f"{run}/checkpoints/best.ckpt"):
            said = cli("evaluate", f"checkpoint={named}").mistake
            assert said == (
                f"checkpoint={run}/checkpoints/best.ckpt: there is no such file (was the run stopped before its "
                f"first validation?); type {run}/checkpoints/last.ckpt for its last state, or go on with the training, "
                f"resume={run}"
            )
        said = cli("evaluate", "checkpoint=outputs/train/bare").mistake
        assert said.endswith(
            "bare/checkpoints/best.ckpt: this run has no checkpoint yet (was it stopped before its first step was "
            "saved?); go on with the training, resume=outputs/train/bare"
        )
        for told in ({"status": "finished"}, {"status": "stopped", "pruned_at": 30}):
            (tmp_path / run / "summary.json").write_text(json.dumps(told))
            assert cli("evaluate", f"checkpoint={run}").mistake.endswith(
                "there is no such file, though the training is over (was it moved or deleted?); type "
                f"{run}/checkpoints/last.ckpt for its last state"
            )

    def test_of_folders(self, cli: Cli, tmp_path: Path) -> None:
        for name, inside in (("sweep/a", "sweep.json"), ("sweep/b", "b/config.yaml")):
            (tmp_path / name / inside).parent.mkdir(parents=True)
            (tmp_path / name / inside).touch()

        def mistake(entry: str, name: str) -> str:
            words = ("output=a.safetensors",) if entry == "export" else ()
            return str(cli(entry, f"checkpoint={name}", *words).mistake)

        assert mistake("export", "sweep/a").endswith("checkpoint=sweep/a: this is a sweep; name one run of it")
        for entry in ("export", "evaluate"):
            assert "checkpoint=sweep: this folder is neither a run nor a sweep; runs are" in mistake(entry, "sweep")
            assert "best.ckpt: there is no such file" in mistake(entry, "sweep/b/b")  # a run that has none yet

    def test_a_missing_package(
        self, cli: Cli, finished: RunFolder, exported: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = builtins.__import__

        def without(name: str, *rest: Any, **more: Any) -> Any:
            if name == "onnxruntime":
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            return real(name, *rest, **more)

        monkeypatch.setattr(builtins, "__import__", without)
        said = cli("export", f"checkpoint={finished.path}")
        assert said.mistake == "onnxruntime is missing: pip install -e '.[onnx]'"
        with pytest.raises(Exception, match=r"ONNX files need pip install -e '\.\[onnx\]'"):
            open_checkpoint(exported)

    def test_of_files(self, exported: Path, tmp_path: Path) -> None:
        def mistake(path: Path) -> str:
            with pytest.raises(DataError) as caught:
                open_checkpoint(path)
            assert "\n" not in str(caught.value)
            return str(caught.value)

        def changed(name: str, key: str, value: str | None) -> Path:
            model = onnx.load(exported)
            for entry in [entry for entry in model.metadata_props if entry.key == key]:
                model.metadata_props.remove(entry)
            if value is not None:
                onnx.helper.set_model_props(
                    model, {**{entry.key: entry.value for entry in model.metadata_props}, key: value}
                )
            onnx.save(model, tmp_path / name)
            return tmp_path / name

        whole = exported.read_bytes()
        (tmp_path / "empty.onnx").touch()
        (tmp_path / "text.onnx").write_text("no network")
        (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
        for name in ("empty", "text", "cut"):
            assert "this is no ONNX file, or it is damaged" in mistake(tmp_path / f"{name}.onnx")
        assert "there is no such file" in mistake(tmp_path / "none.onnx")
        assert "was not exported by unet_exp" in mistake(changed("a.onnx", "unet_exp.format", None))
        assert "its format 99 is newer than those" in mistake(changed("b.onnx", "unet_exp.format", "99"))
        assert "it is damaged: the key classes is missing" in mistake(changed("c.onnx", "unet_exp.classes", None))
        assert "it is damaged (JSONDecodeError" in mistake(changed("d.onnx", "unet_exp.step", "{"))
        assert "it is damaged (ValueError: its input and output are" in mistake(
            changed("e.onnx", "unet_exp.channels", "3")
        )
        assert "normalization.mode='log': should be 'image'" in mistake(
            changed("f.onnx", "unet_exp.normalization", '{"mode": "log", "mean": [], "std": []}')
        )
        assert "it is damaged (RecursionError" in mistake(changed("g.onnx", "unet_exp.step", "[" * 100_000))
        assert open_checkpoint(changed("h.onnx", "unet_experiment", "another program's")).record.channels == 1

    def test_a_file_that_holds_another_network_than_it_says(self, exported: Path) -> None:
        session = onnxruntime.InferenceSession(exported)
        lies = OnnxNetwork(session, made("model=valid").network().architecture)
        with pytest.raises(DataError, match=r"gives logits \(1, 2, 36, 36\) where the config in it promises"):
            lies(torch.zeros(1, 1, 36, 36))
        several = OnnxNetwork(session, made("model=same", channels=3).network().architecture)
        with pytest.raises(DataError, match=r"ONNX Runtime cannot compute the network: .*Got: 3 Expected: 1"):
            several(torch.zeros(1, 3, 32, 32))

    def test_weights_that_are_worth_nothing_are_told_as_such(self, tmp_path: Path) -> None:
        checkpoint = made("model=same")
        checkpoint.weights["head.bias"].fill_(torch.nan)
        with pytest.raises(DataError, match="its network gives nan or infinity"):
            export_to_onnx(checkpoint, tmp_path / "model.onnx", 18)
        assert list(tmp_path.iterdir()) == []

    def test_too_little_memory(self) -> None:
        class Full:
            def run(self, *_: Any) -> None:
                raise Exception("Failed to allocate memory for requested buffer of size 1")

        network: Any = OnnxNetwork(Full(), made("model=pad").network().architecture)  # type: ignore[arg-type]
        with pytest.raises(MemoryError):
            network(torch.zeros(1, 1, 32, 32))


class TestCommands:
    """`predict.py`, `evaluate.py` and `unet_exp.load` with an ONNX file in the place of a checkpoint."""

    def test_masks_equal_those_of_the_checkpoint(
        self, cli: Cli, finished: RunFolder, exported: Path, tmp_path: Path
    ) -> None:
        write_image(tmp_path / "a.png", generate(75, 61, 5, 0).image)
        here = "input=a.png", "inference.tile=32", "trainer.accelerator=cpu", "trainer.precision=32"
        assert cli("predict", f"checkpoint={finished.path}", "output=one", *here).code == 0
        assert cli("predict", f"checkpoint={exported}", "output=two", *here).code == 0
        one, two = (read_image(tmp_path / name / "a_mask.png") for name in ("one", "two"))
        assert 0 < (one == 255).mean() < 1
        assert (one != two).mean() < 0.001  # a rounding may tip a pixel on the border of two classes

    def test_scores_equal_those_of_the_checkpoint(self, cli: Cli, finished: RunFolder, exported: Path) -> None:
        here = "trainer.accelerator=cpu", "trainer.precision=32"
        folders = [
            RunFolder(cli("evaluate", f"checkpoint={path}", f"output={name}", *here).folder)
            for name, path in (("one", finished.path), ("two", exported))
        ]
        one, two = (json.loads(folder.summary.read_text())["metrics"] for folder in folders)
        assert two == pytest.approx(one, abs=1e-3)

    def test_from_python(self, finished: RunFolder, exported: Path) -> None:
        import unet_exp

        image = generate(40, 41, 5, 0).image
        given, expected = (unet_exp.load(path, "cpu", "32").probabilities(image) for path in (exported, finished.path))
        np.testing.assert_allclose(given, expected, atol=1e-5)

    def test_a_foreign_file_is_one_line(self, cli: Cli, tmp_path: Path) -> None:
        (tmp_path / "a.onnx").write_text("no network")
        assert "checkpoint=a.onnx: this is no ONNX file" in cli("predict", "checkpoint=a.onnx", "input=a.png").mistake
