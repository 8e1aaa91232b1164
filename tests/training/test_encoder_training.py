"""Trainings with `model=encoder`: from weights in a file, downloaded ones and none, frozen, resumed, repeated."""

import hashlib
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple, NoReturn

import numpy as np
import pytest
import torch
from conftest import TINY, Said, run_training, summary
from own_images import RNG, put
from resuming import Train, breaking, check_equal, in_a_child, in_two_processes, newest
from safetensors.torch import load_file, save_file
from sweeps_on_disk import compared, write_run
from timm_beside import timm_on_path

import unet_exp
from unet_exp.checkpoints.opening import open_checkpoint
from unet_exp.checkpoints.reading import read_content
from unet_exp.compose import compose_train
from unet_exp.config import parse
from unet_exp.errors import ConfigError, DataError
from unet_exp.inference.predictor import Predictor
from unet_exp.io.writing import write_image
from unet_exp.network.timm_encoders import find_maps
from unet_exp.runs.run_folder import RunFolder

Cli = Callable[..., Said]

ENCODER = ["model=encoder", "model.encoder=test_resnet", "model.depth=4", "model.width=4", "data.tile=32"]
BASE = [word for word in TINY if word.startswith(("trainer.", "logger"))] + ENCODER
EPOCHS = ["data.tiles_per_epoch=4", "data.batch_size=2", "trainer.max_steps=6", "scheduler=cosine", "optimizer.lr=0.01"]
PACED = ["model.freeze_epochs=1", "model.lr_factor=0.1"]
SYNTHETIC = [*BASE, *(word for word in TINY if word.startswith("data.") and "tile" not in word)]


class Given(NamedTuple):
    """What a user has: pictures with masks, and a file of weights."""

    words: list[str]
    weights: Path


@pytest.fixture(scope="module", autouse=True)
def _timm() -> Iterator[None]:
    with timm_on_path():
        yield


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Given:
    import timm

    root = tmp_path_factory.mktemp("user")
    for number in range(6):
        image = RNG.integers(0, 256, (64, 64, 3)).astype(np.uint8)
        put(root, str(number), image, (255 * (image[..., 0] > image[..., 1])).astype(np.uint8))
    torch.manual_seed(5)
    save_file(timm.create_model("test_resnet").state_dict(), root / "weights.safetensors")
    words = ["data=folder", f"data.images={root}/images", f"data.masks={root}/masks"]
    return Given(
        [*BASE, *EPOCHS, *PACED, *words, f"model.weights={root}/weights.safetensors"], root / "weights.safetensors"
    )


@pytest.fixture(scope="module")
def whole(user: Given, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The undisturbed training from the file, frozen in the first of its three epochs."""
    return run_training(tmp_path_factory.mktemp("whole"), base=user.words)


@contextmanager
def put_away(path: Path) -> Iterator[None]:
    """The file is gone in here."""
    away = path.rename(path.with_suffix(".away"))
    try:
        yield
    finally:
        away.rename(path)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> NoReturn:
        raise AssertionError("it reaches for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def encoder_of(folder: RunFolder) -> dict[str, torch.Tensor]:
    return {key: value for key, value in open_checkpoint(folder.best).weights.items() if key.startswith("encoder.")}


def test_the_run_says_what_it_started_from_and_what_it_sees(user: Given, whole: RunFolder) -> None:
    found = summary(whole)
    assert found["init_from_sha256"] == hashlib.sha256(user.weights.read_bytes()).hexdigest()
    checkpoint = open_checkpoint(whole.best)
    assert checkpoint.record.channels == 3
    assert 30 < whole.read_config()["model"]["receptive_field_radius"] < 100
    assert (
        checkpoint.architecture().sizes.receptive_field_radius == whole.read_config()["model"]["receptive_field_radius"]
    )
    weights = sum(weight.numel() for weight in checkpoint.network().parameters())
    assert (found["parameters"], found["width"]) == (weights, None)
    assert found["macs"] > 10**6
    assert {"timm", "torchvision", "safetensors"} <= found["versions"].keys()


@pytest.mark.slow
def test_frozen_it_keeps_the_weights_of_the_file_and_then_learns_more_slowly(
    user: Given, whole: RunFolder, train: Train
) -> None:
    frozen = encoder_of(train("trainer.max_steps=2", base=user.words))
    network = open_checkpoint(whole.best).network()
    network.load_encoder(load_file(user.weights))  # type: ignore[operator]
    expected = {f"encoder.{key}": value for key, value in network.encoder.state_dict().items()}  # type: ignore[union-attr, operator]
    assert frozen.keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in frozen.items())
    last = read_content(whole.last)
    weights = {key.removeprefix("network."): value for key, value in last["state_dict"].items()}
    moved = [key for key, value in expected.items() if not torch.equal(weights[key], value)]
    assert len(moved) > 0.9 * len(expected)
    own, theirs = last["optimizer_states"][0]["param_groups"]
    assert own["initial_lr"] == theirs["initial_lr"] == 0.01
    # The schedule has moved both after the last step.
    assert theirs["lr"] == pytest.approx(0.1 * own["lr"])


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 3])
def test_resumed_it_ends_as_if_undisturbed_without_the_file(
    user: Given, whole: RunFolder, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    """Broken off while it is frozen, and in the epoch after that."""
    folder = breaking(lambda *words: train(*words, base=user.words), tmp_path, monkeypatch)(batch=batch)
    with put_away(user.weights):
        check_equal(train(f"resume={folder.path}", base=user.words), whole)


@pytest.mark.slow
def test_averaged_accumulated_and_in_bf16_it_is_resumed_exactly_too(
    user: Given, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "trainer.ema_decay=0.9 trainer.accumulate=2 trainer.precision=bf16-mixed model.block=residual fusion=add"
    base = [*user.words, *words.split(), "scheduler=plateau", "scheduler.patience=0", "model.lr_factor_epochs=1"]
    undisturbed = train(base=base)
    folder = breaking(lambda *words: train(*words, base=base), tmp_path, monkeypatch)(batch=5)
    check_equal(train(f"resume={folder.path}", base=base), undisturbed)


@pytest.mark.usefixtures("offline")
def test_its_checkpoint_opens_without_the_file_and_without_a_network(
    user: Given, whole: RunFolder, cli: Cli, tmp_path: Path
) -> None:
    image = RNG.integers(0, 256, (50, 75, 3)).astype(np.uint8)
    write_image(tmp_path / "new.png", image)
    with put_away(user.weights):
        expected = unet_exp.load(whole.path, "cpu", "32").predict(image)
        assert expected.shape == (50, 75)
        assert cli("predict", f"checkpoint={whole.path}", "input=new.png", "output=masks").code == 0
        assert (tmp_path / "masks" / "new_mask.png").exists()
        assert cli("evaluate", f"checkpoint={whole.path}", "split=val").code == 0
        tuned = cli("train", *user.words, "trainer.max_steps=1", f"init_from={whole.path}")
        assert tuned.code == 0
    assert summary(RunFolder(tuned.folder))["init_from_sha256"] == hashlib.sha256(whole.best.read_bytes()).hexdigest()


@pytest.mark.slow
@pytest.mark.usefixtures("offline")
def test_exported_it_predicts_the_same_and_needs_no_timm(
    whole: RunFolder, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = cli("export", f"checkpoint={whole.path}", f"output={tmp_path}/model.onnx")
    assert said.code == 0, said
    image = RNG.integers(0, 256, (70, 55, 3)).astype(np.uint8)
    expected = unet_exp.load(whole.path, "cpu", "32").probabilities(image)
    monkeypatch.setitem(sys.modules, "timm", None)
    opened = open_checkpoint(tmp_path / "model.onnx")
    np.testing.assert_allclose(Predictor(opened, "cpu", "32").probabilities(image), expected, atol=1e-4)
    assert opened.architecture() == open_checkpoint(whole.best).architecture()


@pytest.mark.slow
def test_it_is_repeated_from_the_same_file_alone(user: Given, whole: RunFolder, cli: Cli, tmp_path: Path) -> None:
    words = [f"rerun={whole.path}", f"output={tmp_path}/again"]
    with put_away(user.weights):
        assert "there is no such file" in cli("train", *words).mistake
        moved = tmp_path / "moved.safetensors"
        moved.write_bytes(user.weights.with_suffix(".away").read_bytes())
        said = cli("train", *words, f"model.weights={moved}")
        assert said.code == 0, said
        assert "equal: all" in said.out
        save_file({key: value + 1 for key, value in load_file(moved).items()}, moved)
        assert "has changed since it started from it" in cli("train", *words, f"model.weights={moved}").mistake


@pytest.mark.slow
def test_without_weights_it_trains_on_grey_images(train: Train) -> None:
    folder = train("model.weights=null", "data.normalization=none", "trainer.max_steps=1", base=SYNTHETIC)
    assert summary(folder)["init_from_sha256"] is None
    weights = open_checkpoint(folder.best).weights
    assert weights["mean"].shape == (1, 1, 1)
    assert next(value for key, value in weights.items() if key.startswith("encoder.")).shape[1] == 1


def make_unreadable(folder: Path) -> list[str]:
    """The words of data that are an error as soon as they are read."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir()
        (folder / kind / "a.png").write_bytes(b"no image")
    return ["data=folder", "data.images=images", "data.masks=masks"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model.encoder=resnet35"], "has no such encoder; did you mean"),
        (["model.encoder=test_vit"], "its maps have one resolution"),
        (["model.weights=nowhere.safetensors"], "model.weights=nowhere.safetensors: there is no such file"),
        (["model.weights=broken.safetensors"], "this is no file of safetensors, or it is damaged"),
        (["model.weights=other.safetensors"], "model.weights=other.safetensors: they are no weights of test_resnet"),
        (["model.encoder=test_nfnet", "model.weights=imagenet"], "cannot be downloaded"),
        (
            ["model.encoder=legacy_seresnet18", "model.depth=5", "model.weights=imagenet"],
            "timm has none for model.encoder=legacy_seresnet18 as safetensors on the Hugging Face Hub",
        ),
    ],
)
def test_a_mistake_is_told_before_the_data_are_read(
    cli: Cli, tmp_path: Path, words: list[str], said: str, hub: Any
) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"no weights")
    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    del hub
    found = cli("train", *BASE, "model.weights=null", *make_unreadable(tmp_path), *words)
    mistake = found.mistake
    assert said in mistake
    assert found.err == f"error: {mistake}\n"
    assert len(mistake) < 400
    assert not (tmp_path / "outputs").exists()


def test_a_decoder_that_does_not_fit_into_memory_is_told_before_it_is_built(cli: Cli) -> None:
    words = [*SYNTHETIC, "model.weights=null", "model.width=65536"]
    assert "model.width=65536 model.depth=4: " in (mistake := cli("train", *words).mistake)
    assert "are free; take a smaller width or depth" in mistake


def test_without_timm_it_is_one_line_that_names_the_extra(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    find_maps.cache_clear()
    monkeypatch.setitem(sys.modules, "timm", None)
    data = make_unreadable(tmp_path)
    for words in (["model.weights=null"], ["model.weights=imagenet"]):
        mistake = cli("train", *BASE, *data, *words).mistake
        assert mistake == "model=encoder needs the extra: pip install -e '.[encoders]'"


class Hub:
    """A stand-in of the Hugging Face Hub on this machine; `asked` lists what it was asked for."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                outer.asked.append(self.path)
                content = files.get(self.path)
                self.send_response(404 if content is None else 200)
                self.send_header("X-Repo-Commit", "0" * 40)
                if content is not None:
                    self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()

            def do_GET(self) -> None:
                self.do_HEAD()
                self.wfile.write(files.get(self.path, b""))

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


FILE = "/timm/test_resnet.r160_in1k/resolve/main/model.safetensors"


@pytest.fixture
def hub(user: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The hub has the weights of test_resnet; the cache is empty."""
    from huggingface_hub import constants

    server = Hub({FILE: user.weights.read_bytes()})
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    yield server
    server.close()


@pytest.mark.slow
def test_weights_of_timm_are_downloaded_once(user: Given, hub: Hub, cli: Cli, tmp_path: Path) -> None:
    words = [*SYNTHETIC, "model.weights=imagenet", "trainer.max_steps=1", "model.freeze_epochs=1"]
    first = cli("train", *words)
    assert first.code == 0, first
    assert "the training ends after 1 steps, within model.freeze_epochs=1: the encoder learns nothing" in first.out
    assert FILE in hub.asked
    assert summary(RunFolder(first.folder))["init_from_sha256"] == hashlib.sha256(user.weights.read_bytes()).hexdigest()
    hub.close()
    hub.asked.clear()
    assert cli("train", *words).code == 0
    said = cli("train", f"rerun={first.folder}")
    assert "equal: all" in said.out
    assert not hub.asked
    (tmp_path / "hub").rename(tmp_path / "gone")
    assert "no longer in the cache of huggingface_hub" in cli("train", f"rerun={first.folder}").mistake
    said = cli("train", *words)
    assert said.mistake.startswith("model.weights=imagenet: timm/test_resnet.r160_in1k cannot be downloaded (")
    assert said.err == f"error: {said.mistake}\n"
    assert len(said.mistake) < 400


def test_runs_are_compared_by_their_encoder_and_not_by_what_follows_from_it(tmp_path: Path) -> None:
    for encoder, radius in (("resnet18", 300), ("resnet34", 500), ("efficientnet_b0", "image")):
        words = ["model=encoder", f"model.encoder={encoder}", f"model.receptive_field_radius={radius}"]
        for seed in range(3):
            config = parse(compose_train(words)).model_dump()
            write_run(tmp_path / f"{encoder}-{seed}", {**config, "seed": seed}, {"a": 0.5 + 0.01 * seed})
    labels = {group.label for group in compared(tmp_path).groups}
    assert labels == {"model.encoder=resnet18", "model.encoder=resnet34", "model.encoder=efficientnet_b0"}


def test_a_strangers_checkpoint_that_claims_too_much_is_refused(whole: RunFolder, tmp_path: Path) -> None:
    for change, said in (
        ({"channels": 10**9}, "numbers, and the network that its config describes has"),
        ({"width": 4096}, "numbers, and the network that its config describes has"),
        ({"encoder": "test_convnext", "depth": 5}, "its weights are not those of|numbers, and the network"),
        ({"encoder": "hf-hub:their/model"}, "must be a name of timm"),
    ):
        content = torch.load(whole.best, weights_only=True)
        record = content["unet_exp"]
        (record if "channels" in change else record["config"]["model"]).update(change)
        torch.save(content, tmp_path / "theirs.ckpt")
        with pytest.raises((DataError, ConfigError), match=said):
            open_checkpoint(tmp_path / "theirs.ckpt").network()


@pytest.mark.slow
@pytest.mark.parametrize(("steps", "frozen"), [(2, True), (4, False)])
def test_processes_that_share_a_training_can_freeze_it(
    user: Given, train: Train, tmp_path: Path, steps: int, frozen: bool
) -> None:
    """Within the frozen epoch, and in one more, in which the encoder learns."""
    words = [*user.words, "trainer.devices=2", f"trainer.max_steps={steps}", "data.tiles_per_epoch=8"]
    in_a_child(lambda: in_two_processes(lambda: train(base=words)), ends=0)
    weights = read_content(newest(tmp_path).last)["state_dict"]
    first, theirs = weights["network.encoder.conv1.0.weight"], load_file(user.weights)["conv1.0.weight"]
    assert torch.equal(first, theirs) == frozen
    assert summary(newest(tmp_path))["steps"] == steps


@pytest.mark.slow
def test_processes_share_a_training_whose_encoder_has_more_than_its_maps_need(
    user: Given, train: Train, tmp_path: Path
) -> None:
    """They stop with an error where a weight that asks for a gradient has none."""
    cut = ["model.encoder=mobilenetv3_small_050", "model.freeze_epochs=0", "model.weights=null"]
    words = [*user.words, *cut, "trainer.devices=2", "trainer.max_steps=2", "data.tiles_per_epoch=8"]
    in_a_child(lambda: in_two_processes(lambda: train(base=words)), ends=0)
    assert summary(newest(tmp_path))["steps"] == 2


@pytest.mark.slow
def test_compiled_it_learns_the_same_when_it_is_no_longer_frozen(
    whole: RunFolder, user: Given, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Traced alike, and not turned into code, which takes most of the time.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    compiled = train("trainer.compile=true", base=user.words)
    one, other = (read_content(folder.last)["state_dict"] for folder in (whole, compiled))
    assert one.keys() == other.keys()
    for key, value in one.items():
        torch.testing.assert_close(other[key], value, atol=1e-3, rtol=1e-3, msg=key)
