"""Whole images through a network, the predictor as users see it, and checkpoints that are none."""

import pickle
import random
import re
import zipfile
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from one_piece import whole_image_logits
from torch import Tensor, nn

import unet_exp
from unet_exp import losses, network
from unet_exp.checkpoints.checkpoint import Checkpoint
from unet_exp.checkpoints.opening import open_checkpoint
from unet_exp.checkpoints.record import KEY, CheckpointRecord
from unet_exp.compose import compose_train
from unet_exp.config import IGNORE_LABEL, ClassSpec, parse
from unet_exp.config.running import PlainInferenceConfig
from unet_exp.errors import ConfigError, DataError
from unet_exp.geometry import input_for_output, lost_border, output_size
from unet_exp.inference import batching
from unet_exp.inference.predictor import Predictor
from unet_exp.io.writing import write_image
from unet_exp.metrics.scoreboard import Scoreboard
from unet_exp.network import UNet, probabilities
from unet_exp.samples.normalization import Normalization
from unet_exp.samples.sample import Sample

MODELS = ("valid", "same", "pad")
SIZES = [(32, 32), (33, 47), (1, 1), (1, 40), (2, 3), (5, 7), (61, 16)]
SMALL = ("model.depth=3", "model.width=4", "trainer.accelerator=cpu", "trainer.precision=32")
NAMES = ("membrane", "cell", "nucleus")


@cache
def values(*overrides: str) -> dict[str, Any]:
    return compose_train([*SMALL, *overrides])


def classes_of(count: int) -> tuple[ClassSpec, ...]:
    return tuple(ClassSpec(name=NAMES[index], value=index, color=[index] * 3) for index in range(count))


def randomised(unet: UNet) -> UNet:
    """Biases too, so that where an image ends makes a difference."""
    for parameter in unet.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, std=0.1)
    return unet.eval()


@cache
def build(*overrides: str, channels: int = 1, classes: int = 2) -> UNet:
    torch.manual_seed(1)
    return randomised(network.build(parse(values(*overrides)), channels, classes))


def made(
    *overrides: str, channels: int = 1, classes: int = 2, normalization: Normalization | None = None
) -> Checkpoint:
    """A checkpoint of a network with random weights."""
    return Checkpoint(
        path=Path("made.ckpt"),
        record=CheckpointRecord(
            config=values(*overrides),
            classes=list(classes_of(classes)),
            normalization=normalization or Normalization(mode="image"),
            channels=channels,
            class_weights=None,
            trained_on=["0d" * 32],
        ),
        weights=build(*overrides, channels=channels, classes=classes).state_dict(),
        step=5,
    )


def predictor(*overrides: str, **settings: Any) -> Predictor:
    return Predictor(made(*overrides, **settings), "cpu", "32")


def logits_alone(ours: Predictor, image: NDArray[Any], *overrides: str, **settings: Any) -> Tensor:
    """Of the whole image in one piece, once."""
    with torch.no_grad():
        return whole_image_logits(build("model=same", *overrides, **settings), ours.prepare(image)[0])


def hand_mirrored(image: NDArray[Any], before: int, needed: tuple[int, int]) -> NDArray[Any]:
    """(H, W, C) mirrored by `numpy.pad`: `before` pixels at the top and left, the surplus at the bottom and right."""
    after = [want - have - before for want, have in zip(needed, image.shape[:2], strict=True)]
    return np.pad(image, (*((before, one) for one in after), (0, 0)), mode="reflect")


# --- whole images ---


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("model", MODELS)
def test_whole_image_equals_the_network_on_an_image_mirrored_by_hand(model: str, size: tuple[int, int]) -> None:
    unet = build(f"model={model}")
    image = np.random.default_rng(0).normal(size=(*size, 1)).astype(np.float32)
    batch = torch.from_numpy(image.transpose(2, 0, 1)[None])
    high, wide = (input_for_output(unet.architecture, length) for length in size)
    mirrored = hand_mirrored(image, lost_border(unet.architecture), (high, wide))
    with torch.no_grad():
        logits = whole_image_logits(unet, batch)
        whole = unet(torch.from_numpy(mirrored.transpose(2, 0, 1)[None]))
    assert logits.shape == (1, 2, *size)
    assert torch.equal(logits, whole[..., : size[0], : size[1]])


@pytest.mark.parametrize("model", ["same", "pad"])
def test_a_legal_image_goes_in_as_it_is(model: str) -> None:
    unet = build(f"model={model}")
    batch = torch.randn(2, 1, 32, 48)
    with torch.no_grad():
        assert torch.equal(whole_image_logits(unet, batch), unet(batch))


class Marked(nn.Module):
    """Stands for a network: its logit is the pixel that the logit belongs to."""

    def __init__(self, unet: UNet) -> None:
        super().__init__()
        self.architecture = unet.architecture

    def forward(self, images: Tensor) -> Tensor:
        high, wide = (output_size(self.architecture, size) for size in images.shape[-2:])
        top, left = ((images.shape[-2] - high) // 2, (images.shape[-1] - wide) // 2)
        return images[..., top : top + high, left : left + wide]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_each_logit_is_that_of_its_own_pixel(model: str, depth: int) -> None:
    marked: Any = Marked(build(f"model={model}", f"model.depth={depth}", "model.width=1"))
    for size in SIZES:
        batch = torch.randn(2, 3, *size)
        assert torch.equal(whole_image_logits(marked, batch), batch)


@pytest.mark.parametrize("model", MODELS)
def test_a_shift_by_the_total_stride_shifts_the_logits(model: str) -> None:
    unet = build(f"model={model}")
    batch = torch.randn(1, 1, 96, 96)
    with torch.no_grad():
        whole, part = whole_image_logits(unet, batch), whole_image_logits(unet, batch[..., 4:, 8:])
    inside = slice(32, -32)  # a margin from every border
    torch.testing.assert_close(part[..., inside, inside], whole[..., 4:, 8:][..., inside, inside])


# --- the predictor ---


def random_image(size: tuple[int, ...], dtype: str = "uint8") -> NDArray[Any]:
    return (np.random.default_rng(0).random(size) * {"uint8": 255, "uint16": 65535, "float32": 1}[dtype]).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("model", MODELS)
def test_an_image_in_and_probabilities_or_a_label_out(model: str, dtype: str) -> None:
    ours = predictor(f"model={model}")
    image = random_image((37, 50), dtype)
    shares = ours.probabilities(image)
    assert shares.shape == (2, 37, 50)
    assert shares.dtype == np.float32
    np.testing.assert_allclose(shares.sum(axis=0), 1, atol=1e-6)
    label = ours.predict(image)
    assert label.shape == (37, 50)
    assert label.dtype == np.uint8
    assert (label == shares.argmax(axis=0)).all()
    assert 0 < label.mean() < 1

    grey = Normalization(mode="image")(image[:, :, None])[..., 0]
    with torch.no_grad():
        logits = whole_image_logits(build(f"model={model}"), torch.from_numpy(grey)[None, None])
    np.testing.assert_allclose(shares, logits.softmax(dim=1)[0].numpy(), atol=1e-5)


def test_a_grey_image_may_come_in_three_shapes() -> None:
    ours = predictor("model=pad")
    image = random_image((21, 34))
    expected = ours.probabilities(image)
    assert (ours.probabilities(image[:, :, None]) == expected).all()
    assert (ours.probabilities(np.stack([image] * 3, axis=-1)) == expected).all()
    assert (ours.probabilities(np.asfortranarray(image)) == expected).all()
    assert (ours.probabilities(image[::-1][::-1]) == expected).all(), "a view with negative strides"


@pytest.mark.parametrize(
    ("channels", "shape", "told"),
    [
        (1, (9, 9, 3), "has 3 channels and the network was trained on grey images"),
        (1, (9, 9, 2), "has 2 channels and the network was trained on grey"),
        (3, (9, 9), "has 1 channels and the network was trained on RGB images"),
        (3, (9, 9, 1), "trained on RGB"),
        (3, (9, 9, 4), "trained on RGB"),
        (1, (2, 9, 9, 1), "is no image"),
        (1, (9,), "is no image"),
    ],
)
def test_other_channels_are_refused_in_one_line(channels: int, shape: tuple[int, ...], told: str) -> None:
    ours = predictor("model=pad", channels=channels)
    for call in (ours.predict, ours.probabilities, ours.prepare):
        with pytest.raises(DataError, match=told) as caught:
            call(random_image(shape))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("channels", "shape", "told"),
    [
        (1, (1, 9, 12), "(1, 9, 12) is taken as (H, W, C): it has 12 channels and the network was trained on grey"),
        (1, (1, 9, 12), "grey images; give (H, W)"),
        (3, (3, 9, 12), "it has 12 channels and the network was trained on RGB images; give (H, W, 3)"),
        (3, (9, 12), "an array of shape (9, 12) is taken as (H, W): it has 1 channels"),
        (2, (2, 9, 12), "trained on images of 2; give (H, W, 2)"),
    ],
)
def test_an_array_of_another_shape_is_told_by_its_shape(channels: int, shape: tuple[int, ...], told: str) -> None:
    with pytest.raises(DataError, match=re.escape(told)) as caught:
        predictor("model=pad", channels=channels).predict(random_image(shape))
    assert "save it" not in str(caught.value)


def test_a_file_of_other_channels_is_to_be_saved(tmp_path: Path) -> None:
    write_image(tmp_path / "red.png", random_image((9, 9, 3)))
    with pytest.raises(DataError, match="trained on grey images: save it as grey"):
        predictor("model=pad").predict(tmp_path / "red.png")


def test_an_opaque_fourth_channel_is_left_out() -> None:
    image = random_image((9, 9))
    opaque = np.full_like(image, 255)
    ours = predictor("model=pad")
    assert (ours.predict(np.stack([image, image, image, opaque], axis=-1)) == ours.predict(image)).all()
    with pytest.raises(DataError, match="is no image"):
        ours.predict(image.astype(np.int64))


def test_a_colour_network_takes_colours() -> None:
    ours = predictor("model=pad", channels=3)
    image = random_image((20, 30, 3))
    assert ours.predict(image).shape == (20, 30)
    assert (ours.probabilities(image) != ours.probabilities(image[..., ::-1].copy())).any()


@pytest.mark.parametrize(("loss", "classes", "out"), [("bce", 2, 1), ("bce", 3, 3), ("cross_entropy", 3, 3)])
def test_probabilities_sum_to_one_whatever_the_loss(loss: str, classes: int, out: int) -> None:
    ours = predictor("model=same", f"loss={loss}", classes=classes)
    image = random_image((19, 26))
    logits = logits_alone(ours, image, f"loss={loss}", classes=classes)
    assert logits.shape == (1, out, 19, 26)
    shares = ours.probabilities(image)
    assert shares.shape == (classes, 19, 26)
    np.testing.assert_allclose(shares.sum(axis=0), 1, atol=1e-6)
    if out == 1:
        np.testing.assert_allclose(shares[1], logits[0, 0].sigmoid().numpy(), atol=1e-5)
        assert (ours.predict(image) == (logits[0, 0] > 0).numpy()).all()
    assert {spec.name for spec in ours.classes} == set(NAMES[:classes])


def test_predictions_repeat_and_do_not_touch_the_image() -> None:
    ours = predictor("model=valid", "model.dropout=0.5")
    image = random_image((20, 20))
    before = image.copy()
    assert (ours.probabilities(image) == ours.probabilities(image)).all(), "no dropout"
    assert (image == before).all()


def test_bf16_is_near_to_float32() -> None:
    image = random_image((32, 32))
    half = Predictor(made("model=pad"), "cpu", "bf16-mixed").probabilities(image)
    assert half.dtype == np.float32
    np.testing.assert_allclose(half.sum(axis=0), 1, atol=1e-6)
    np.testing.assert_allclose(half, predictor("model=pad").probabilities(image), atol=0.05)


def test_score_counts_labelled_samples_and_yields_all() -> None:
    ours = predictor("model=same")
    random_label = np.random.default_rng(1).choice([0, 1, IGNORE_LABEL], (24, 31)).astype(np.uint8)
    labelled = Sample("labelled", random_image((24, 31, 1)), random_label)
    bare = Sample("bare", random_image((16, 16, 1)))
    board = Scoreboard(NAMES[:2])
    config = parse(values("model=same")).loss
    found = list(ours.score([labelled, bare], losses.build(config, [1.0, 2.0]), losses.targets(config), board))
    assert [sample.name for sample, *_ in found] == ["labelled", "bare"]
    for sample, label, _ in found:
        assert (label == ours.predict(sample.image)).all()
    (row,) = board.per_image()
    assert [given for *_, given in found] == [row, None]
    counted = random_label != IGNORE_LABEL
    assert row["accuracy"] == pytest.approx(np.mean(found[0][1][counted] == random_label[counted]))
    expected = torch.nn.functional.cross_entropy(
        logits_alone(ours, labelled.image),
        torch.from_numpy(random_label)[None].long(),
        torch.tensor([1.0, 2.0]),
        ignore_index=IGNORE_LABEL,
    )
    assert row["loss"] == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("inference", ["none", "flips8", pytest.param("rotations7", marks=pytest.mark.slow)])
def test_images_of_one_size_are_predicted_together_as_each_alone(
    inference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "_BATCHED", ("cpu",))
    ours = Predictor(made("model=pad", f"inference={inference}", "inference.tile=32"), "cpu", "32")
    sizes = [(4, 70), (4, 70), (4, 70), (70, 4), (4, 70)]
    labels = [None, np.ones((4, 70), np.uint8), None, None, None]
    samples = [
        Sample(str(number), random_image((*size, 1)) + np.uint8(number), label)
        for number, (size, label) in enumerate(zip(sizes, labels, strict=True))
    ]
    passes: list[int] = []
    ours.networks[0].register_forward_pre_hook(lambda _, given: passes.append(len(given[0])))
    config, board = parse(values("model=pad")).loss, Scoreboard(NAMES[:2])
    found = list(ours.score(samples, losses.build(config, None), losses.targets(config), board))
    assert set(passes) == {3, 1}
    assert [sample.name for sample, *_ in found] == list("01234")
    assert [row is None for *_, row in found] == [True, False, True, True, True]
    together = ours.batch_probabilities([(sample.image, None) for sample in samples[:3]])
    for sample, (_, label, _), shares in zip(samples, found, together, strict=False):
        alone = ours.probabilities(sample.image)
        np.testing.assert_allclose(shares, alone, atol=1e-6)
        assert (label == alone.argmax(axis=0)).all()


class Noted(nn.Module):
    """Stands for a loss and for a board; keeps what it is given."""

    takes_probabilities = True
    only_counted = False

    def __init__(self) -> None:
        super().__init__()
        self.given: list[tuple[Any, ...]] = []

    def add(self, *given: Any) -> None:
        self.given.append(given)

    def wait(self) -> None:
        assert self.given

    def forward(self, *given: Any) -> Tensor:
        self.given.append(given)
        return torch.tensor(2.5)


@pytest.mark.parametrize(
    ("inference", "loss", "classes"),
    [("none", "cross_entropy", 3), ("flips8", "bce", 2), ("rotations7", "cross_entropy", 3)],
)
def test_score_hands_on_what_it_predicts(inference: str, loss: str, classes: int) -> None:
    words = ("model=same", f"inference={inference}", "inference.tile=16", f"loss={loss}")
    ours = Predictor(made(*words, classes=classes), "cpu", "32")
    label, weights = np.ones((24, 31), np.uint8), np.ones((24, 31), np.float32)
    sample = Sample("one", random_image((24, 31, 1)), label, np.ones((24, 31), np.int32))

    def targets(given: Any, objects: Any) -> Any:
        assert given is label
        assert objects is sample.instances
        return given * 2, weights * 3

    noted: Any = Noted()
    board: Any = Noted()
    ((_, prediction, _),) = ours.score([sample], noted, targets, board)
    shares = ours.probabilities(sample.image)
    ((name, truth, predicted, value, found, objects),) = board.given
    assert (name, value) == ("one", 2.5)
    assert truth is label
    assert objects is sample.instances
    assert (found == shares[:1]).all()
    assert (predicted == prediction).all()
    assert (prediction == shares.argmax(axis=0)).all()
    ((logits, target, pixel_weights),) = noted.given
    np.testing.assert_allclose(probabilities(logits, ours.checkpoint.config.activation)[0], shares, atol=1e-6)
    assert (target == 2).all()
    assert (pixel_weights == 3).all()
    assert target.shape == pixel_weights.shape == (1, 24, 31)


# --- tiles and averaging ---


def test_the_checkpoint_says_how_and_the_caller_may_say_otherwise() -> None:
    image = random_image((40, 55))
    given = made("model=valid", "inference=flips8", "inference.tile=24")
    ours = Predictor(given, "cpu", "32")
    assert ours.inference == given.config.inference
    other = given.config.inference.model_copy(update={"tile": 1024, "batch_size": 3})
    np.testing.assert_allclose(
        Predictor(given, "cpu", "32", other).probabilities(image), ours.probabilities(image), atol=1e-5
    )
    plain = PlainInferenceConfig(name="none", tile=1024, batch_size=1, context="auto", blend=0)
    alone = Predictor(given, "cpu", "32", plain).probabilities(image)
    assert (alone == predictor("model=valid").probabilities(image)).all()
    assert np.abs(alone - ours.probabilities(image)).max() > 1e-3


def test_bf16_averages_in_float32() -> None:
    image = random_image((32, 32))
    half = Predictor(made("model=pad", "inference=rotations7"), "cpu", "bf16-mixed").probabilities(image)
    assert half.dtype == np.float32
    np.testing.assert_allclose(half.sum(axis=0), 1, atol=1e-6)
    np.testing.assert_allclose(half, predictor("model=pad", "inference=rotations7").probabilities(image), atol=0.05)


def test_a_tile_too_small_for_the_network_is_refused_before_any_image() -> None:
    with pytest.raises(ConfigError, match=r"inference\.tile=3 is too small .* set 4 or more"):
        predictor("model=same", "inference.tile=3")


# --- checkpoints ---


def content_of(given: Checkpoint) -> dict[str, Any]:
    """As Lightning writes it, with what the DataModule, callbacks and loops leave beside."""
    return {
        "epoch": 2,
        "global_step": given.step,
        "pytorch-lightning_version": "2.6.6",
        "state_dict": {f"network.{key}": value for key, value in given.weights.items()} | {"loss.x": torch.ones(1)},
        "loops": {"fit_loop": {"state_dict": {}}},
        "optimizer_states": [{"state": {0: {"momentum_buffer": torch.ones(2)}}}],
        KEY: given.record.model_dump(),
    }


@pytest.mark.parametrize("model", MODELS)
def test_a_checkpoint_gives_back_the_network_and_all_that_it_needs(model: str, tmp_path: Path) -> None:
    normalization = Normalization(mode="dataset", mean=[0.2] * 3, std=[0.5] * 3)
    given = made(f"model={model}", channels=3, classes=3, normalization=normalization)
    path = tmp_path / "checkpoints" / "best.ckpt"
    path.parent.mkdir()
    torch.save(content_of(given), path)
    image = random_image((20, 27, 3))
    expected = Predictor(given, "cpu", "32").probabilities(image)
    for place in (path, str(path), tmp_path):
        opened = open_checkpoint(place)
        assert opened.path == path
        assert (opened.record, opened.step) == (given.record, 5)
        assert opened.config == parse(given.record.config)
        assert opened.weights.keys() == given.weights.keys()
        assert not opened.network().training
    assert (unet_exp.load(tmp_path, "cpu", "32").probabilities(image) == expected).all()


def said(path: Path) -> str:
    """The message of the DataError, which must be one line that names the file."""
    with pytest.raises(DataError) as caught:
        open_checkpoint(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"checkpoint={path}")
    return message


def zipped(content: Any) -> bytes:
    buffer = BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def test_what_is_not_there(tmp_path: Path) -> None:
    assert "no such file" in said(tmp_path / "none.ckpt")
    with pytest.raises(DataError, match=r"this folder is neither a run nor a sweep"):
        open_checkpoint(tmp_path)


def test_what_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.ckpt"
    path.touch()

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(zipfile, "ZipFile", refuse)  # root may read everything
    assert "no permission" in said(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    foreign_zip = BytesIO()
    with zipfile.ZipFile(foreign_zip, "w") as file:
        file.writestr("readme.txt", "hello")
    good = zipped(content_of(made("model=same")))
    cases = {
        "empty": b"",
        "text": b"Dear reader,\nthis is a letter.\n",
        "short text": b"hi",
        "zero bytes": bytes(1000),
        "PNG": b"\x89PNG\r\n\x1a\n" + bytes(100),
        "zip": foreign_zip.getvalue(),
        "garbage in a zip": b"PK\x03\x04" + random.Random(0).randbytes(1000),
        "cut at half": good[: len(good) // 2],
        "cut at the end": good[:-1],
        "pickle": pickle.dumps({"state_dict": {}}),
    }
    path = tmp_path / "x.ckpt"
    for name, data in cases.items():
        path.write_bytes(data)
        assert "is no checkpoint" in said(path), name


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_no_bytes_whatever_give_a_traceback(tmp_path: Path) -> None:
    """The unpickler takes bytes for instructions: `d` and `0` alone made IndexErrors of text files."""
    dice = random.Random(0)
    buffer = BytesIO()
    torch.save({"weight": torch.ones(3)}, buffer, _use_new_zipfile_serialization=False)
    old, new = buffer.getvalue(), zipped({"weight": torch.ones(3)})
    path = tmp_path / "x.ckpt"
    for _ in range(60):
        flipped = bytearray(dice.choice([old, new]))
        for _ in range(3):
            flipped[dice.randrange(len(flipped))] = dice.randrange(256)
        text = "".join(dice.choices("abcdefghijklmnopqrstuvwxyz (0123456789).\n", k=40))
        for data in (
            dice.randbytes(30),
            b"\x80\x02" + dice.randbytes(30),
            text.encode(),
            old[: dice.randrange(len(old))],
            flipped,
            b"PK\x03\x04" + dice.randbytes(200),
        ):
            path.write_bytes(data)
            said(path)


@pytest.mark.parametrize(
    "content",
    [
        {"state_dict": {"weight": torch.ones(2)}, "global_step": 3},
        {"weight": torch.ones(2)},
        [torch.ones(2)],
        torch.ones(2),
        {KEY: "something else"},
    ],
)
def test_checkpoints_of_other_programs(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    path.write_bytes(zipped(content))
    assert "no checkpoint of unet_exp" in said(path)
