"""Networks as safetensors files: the checkpoint's weights bit by bit, self-describing, and taken as checkpoints are."""

import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY, Said, summary
from safetensors.torch import load, load_file, save_file
from torch import Tensor, nn

import unet_exp
from unet_exp.checkpoints.checkpoint import Checkpoint
from unet_exp.checkpoints.opening import open_checkpoint
from unet_exp.checkpoints.safetensors_file import export_to_safetensors
from unet_exp.compose import compose_train
from unet_exp.config import parse
from unet_exp.data.sets.synthetic import generate
from unet_exp.errors import DataError
from unet_exp.inference.predictor import Predictor
from unet_exp.io.images import read_image
from unet_exp.io.writing import write_image
from unet_exp.network import build
from unet_exp.runs.run_folder import RunFolder
from unet_exp.training.prepare import prepare

Cli = Callable[..., Said]
HERE = ("trainer.accelerator=cpu", "trainer.precision=32")
OLD = RunFolder(Path(__file__).parents[1] / "fixtures/format-3")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network of an earlier version's run; read it, do not change it."""
    path = tmp_path_factory.mktemp("exported") / "model.safetensors"
    export_to_safetensors(open_checkpoint(OLD.path), path)
    return path


def assert_same_weights(given: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert given.keys() == expected.keys()
    for name, value in expected.items():
        assert given[name].dtype == value.dtype
        assert torch.equal(given[name], value), name


@pytest.mark.parametrize("averaging", ["none", "flips8"])
def test_predictions_are_bit_by_bit_those_of_the_checkpoint(exported: Path, averaging: str) -> None:
    inference = parse(compose_train([*TINY, f"inference={averaging}", "inference.tile=32"])).inference
    image = generate(75, 61, 5, 0).image
    given, expected = (
        Predictor(open_checkpoint(path), "cpu", "32", inference).probabilities(image) for path in (exported, OLD.path)
    )
    np.testing.assert_array_equal(given, expected)


def test_the_file_holds_all_that_the_checkpoint_knows(exported: Path) -> None:
    checkpoint, opened = open_checkpoint(OLD.path), open_checkpoint(exported)
    assert (opened.record, opened.step, opened.path) == (checkpoint.record, checkpoint.step, exported)
    assert_same_weights(opened.weights, checkpoint.weights)
    assert_same_weights(load_file(exported), checkpoint.weights)  # as another program reads it
    texts = read_header(exported.read_bytes())["__metadata__"]
    known = {name.removeprefix("unet_exp."): json.loads(text) for name, text in texts.items()}
    assert known["config"] == checkpoint.record.config
    assert [spec["name"] for spec in known["classes"]] == ["membrane", "cell"]
    assert known["normalization"] == checkpoint.record.normalization.model_dump()
    assert (known["channels"], known["activation"], known["step"]) == (1, "softmax", checkpoint.step)
    assert known["sizes"] == {"smallest": 2, "step": 2, "context": 0}


def test_the_average_of_the_weights_is_exported_where_it_predicts(train: Callable[..., RunFolder]) -> None:
    run = train("trainer.ema_decay=0.9", "trainer.max_steps=3")
    path = run.path / "model.safetensors"
    export_to_safetensors(open_checkpoint(run.path), path)
    image = generate(40, 41, 5, 0).image
    given, expected = (unet_exp.load(place, "cpu", "32").probabilities(image) for place in (path, run.path))
    np.testing.assert_array_equal(given, expected)
    raw = torch.load(run.best, weights_only=True)["current_model_state"]
    weights = open_checkpoint(path).weights
    assert any(not torch.equal(raw[f"network.{name}"], value) for name, value in weights.items())


@pytest.mark.slow
def test_the_commands_take_it_like_a_checkpoint(cli: Cli, finished: RunFolder, tmp_path: Path) -> None:
    said = cli("export", f"checkpoint={finished.path}", "output=new/cells.safetensors")
    assert said.folder == Path("new/cells.safetensors")
    assert "read back, each is what it was" in said.out
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["cells.safetensors"]
    told = [
        summary(RunFolder(cli("evaluate", f"checkpoint={path}", "output=scored", *HERE).folder))
        for path in (said.folder, finished.path)
    ]
    assert told[0]["metrics"] == told[1]["metrics"]
    assert (told[0]["checkpoint"], told[0]["step"]) == ("new/cells.safetensors", told[1]["step"])
    write_image(tmp_path / "a.png", generate(75, 61, 5, 0).image)
    for name, path in (("one", finished.path), ("two", said.folder)):
        assert cli("predict", f"checkpoint={path}", "input=a.png", f"output={name}", *HERE).code == 0
    one, two = (read_image(tmp_path / name / "a_mask.png") for name in ("one", "two"))
    np.testing.assert_array_equal(one, two)


def test_a_training_starts_from_it(exported: Path) -> None:
    values = open_checkpoint(exported).record.config
    job = prepare(parse({**values, "init_from": str(exported)}), [])
    assert_same_weights(dict(job.module.network.state_dict()), open_checkpoint(OLD.path).weights)


class Tied(nn.Module):
    """A user's own network, two of whose weights share their memory."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(in_channels, 2, 1), nn.Conv2d(2, 2, 1)
        self.third, self.head = nn.Conv2d(2, 2, 1), nn.Conv2d(2, out_channels, 1)
        self.third.weight = self.second.weight

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.head(self.third(self.second(self.first(images))))
        return found


def test_a_users_own_network_with_tied_weights(tmp_path: Path) -> None:
    words = [word for word in TINY if not word.startswith("model.")]
    values = compose_train([*words, "model=custom", "model.target=test_safetensors.Tied"])
    network = build(parse(values), 1, 2)
    record = open_checkpoint(OLD.path).record.model_copy(update={"config": values})
    made = Checkpoint(Path("made.ckpt"), record, network.state_dict(), 1)
    export_to_safetensors(made, tmp_path / "tied.safetensors")
    with pytest.raises(DataError, match=r"names model\.target=test_safetensors\.Tied, .* add trust=\[test_safetensors"):
        open_checkpoint(tmp_path / "tied.safetensors")
    opened = open_checkpoint(tmp_path / "tied.safetensors", ["test_safetensors"])
    images = torch.randn(1, 1, 32, 64)
    with torch.no_grad():
        assert torch.equal(opened.network()(images), network.eval()(images))


# --- files of strangers ---


def read_header(content: bytes) -> dict[str, Any]:
    (length,) = struct.unpack("<Q", content[:8])
    header: dict[str, Any] = json.loads(content[8 : 8 + length])
    return header


def with_header(content: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """A file with another header before the same numbers."""
    (length,) = struct.unpack("<Q", content[:8])
    header = read_header(content)
    change(header)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def change_text(content: bytes, name: str, value: str | None) -> bytes:
    """A file with another text in the metadata, which its checksum does not know; None: without it."""

    def change(header: dict[str, Any]) -> None:
        header["__metadata__"].pop(f"unet_exp.{name}")
        header["__metadata__"] |= {} if value is None else {f"unet_exp.{name}": value}

    return with_header(content, change)


def with_text(content: bytes, name: str, value: str | None) -> bytes:
    """A file that somebody has written with another text in the metadata; None: without it."""
    changed = change_text(content, name, value)
    texts = read_header(changed)["__metadata__"]
    return change_text(changed, "sha256", checksum(texts, load(changed)))


def checksum(texts: dict[str, str], weights: dict[str, Tensor]) -> str:
    """The text of `unet_exp.sha256`."""
    parts = [json.dumps([name, texts[name]]).encode() for name in sorted(texts) if name != "unet_exp.sha256"]
    for name in sorted(weights):
        value = weights[name]
        parts.append(json.dumps([name, list(value.shape), str(value.dtype)]).encode())
        parts.append(value.numpy().tobytes())
    return json.dumps(hashlib.sha256(b"".join(parts)).hexdigest())


def flip(content: bytes) -> bytes:
    """A bit of the last weight."""
    return content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]


def set_shape(header: dict[str, Any]) -> None:
    header["head.weight"]["shape"] = [2**20, 2**20]


def overlap(header: dict[str, Any]) -> None:
    header["head.weight"]["data_offsets"] = header["head.bias"]["data_offsets"]


DAMAGED = "this is no safetensors file, or it is damaged"
CHANGED = "it is damaged: its weights or metadata are not those that were exported"
FOREIGN = {"name": "custom", "target": "antigravity.fly"}
BAD: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", DAMAGED),
    "text": (lambda _: b"no network at all", DAMAGED),
    "cut": (lambda good: good[: len(good) // 2], DAMAGED),
    "more": (lambda good: good + b"x", DAMAGED),
    "a header of exabytes": (lambda good: struct.pack("<Q", 2**62) + good[8:], DAMAGED),
    "a weight larger than the file": (lambda good: with_header(good, set_shape), DAMAGED),
    "weights in one place": (lambda good: with_header(good, overlap), DAMAGED),
    "a flipped bit": (flip, CHANGED),
    "a changed text": (lambda good: change_text(good, "channels", "2"), CHANGED),
    "a lost text": (lambda good: change_text(good, "trained_on", None), CHANGED),
    "no checksum": (lambda good: change_text(good, "sha256", None), CHANGED),
    "Git LFS": (lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer"),
    "without metadata": (lambda good: with_header(good, lambda header: header.pop("__metadata__")), "was not exported"),
    "another program's": (lambda good: with_text(good, "format", None), "was not exported by unet_exp"),
    "a later format": (lambda good: with_text(good, "format", "99"), "its format 99 is newer than those"),
    "no classes": (lambda good: with_text(good, "classes", None), "it is damaged: the key classes is missing"),
    "no JSON": (lambda good: with_text(good, "step", "{"), "it is damaged (JSONDecodeError"),
    "no step": (lambda good: with_text(good, "step", '"x"'), "its step is 'x', no whole number"),
    "deep": (lambda good: with_text(good, "classes", "[" * 900 + "]" * 900), "it is damaged"),
    "deeper": (lambda good: with_text(good, "classes", "[" * 10**5), "it is damaged"),
    "a class": (
        lambda good: with_text(good, "config", json.dumps({"model": FOREIGN})),
        "it names model.target=antigravity.fly",
    ),
    "a variable": (lambda good: with_text(good, "config", '{"name": "${oc.env:HOME}"}'), "refers to something beside"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_file_that_is_damaged_or_of_somebody_else_is_one_line(exported: Path, tmp_path: Path, what: str) -> None:
    change, said = BAD[what]
    path = tmp_path / "theirs.safetensors"
    path.write_bytes(change(exported.read_bytes()))
    with pytest.raises(DataError) as mistake:
        open_checkpoint(path)
    message = str(mistake.value)
    assert message.startswith(f"checkpoint={path}: ")
    assert said in message
    assert "\n" not in message
    assert len(message) < 600


def test_weights_of_another_network_are_told_when_it_is_built(exported: Path, tmp_path: Path) -> None:
    texts = read_header(exported.read_bytes())["__metadata__"]
    weights = load_file(exported)
    path = tmp_path / "other.safetensors"

    def save_signed(others: dict[str, Tensor]) -> None:
        save_file(others, path, {**texts, "unet_exp.sha256": checksum(texts, others)})

    save_signed({**weights, "head.weight": torch.zeros(3, 2, 1, 1)})
    with pytest.raises(DataError, match="its weights are not those of the network that its config describes"):
        open_checkpoint(path).network()
    save_signed({"head.bias": weights["head.bias"]})
    with pytest.raises(DataError, match="it holds 2 numbers, and the network that its config describes has"):
        open_checkpoint(path).network()


def test_texts_of_another_program_do_not_matter(exported: Path, tmp_path: Path) -> None:
    path = tmp_path / "tagged.safetensors"
    path.write_bytes(with_header(exported.read_bytes(), lambda header: header["__metadata__"].update(author="me")))
    assert open_checkpoint(path).record == open_checkpoint(exported).record


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (
            "checkpoint=a.ckpt output=model.pt",
            "output=model.pt: must be a file whose name ends in .onnx or .safetensors",
        ),
        ("checkpoint=a.ckpt output=a.safetensors opset=20", "opset=20 is of ONNX files: leave it out with output="),
        ("checkpoint=a.onnx output=a.safetensors", "checkpoint=a.onnx: is an exported network already"),
    ],
)
def test_mistakes_of_export(cli: Cli, tmp_path: Path, words: str, part: str) -> None:
    assert part in cli("export", *words.split()).mistake
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_without_weights_of_its_own(tmp_path: Path) -> None:
    made = Checkpoint(Path("network.onnx"), open_checkpoint(OLD.path).record, {}, 1)
    with pytest.raises(DataError, match=r"network\.onnx: it has no weights to export"):
        export_to_safetensors(made, tmp_path / "x.safetensors")
