"""Several networks predict together: the plain mean of what each gives, each by its own record."""

import json
import re
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from one_piece import whole_image_logits
from torch import nn

import unet_exp
from unet_exp import losses
from unet_exp.checkpoints.checkpoint import Checkpoint
from unet_exp.checkpoints.record import KEY, CheckpointRecord
from unet_exp.compose import compose_train
from unet_exp.config import ClassSpec, parse
from unet_exp.config.running import FlipTTAConfig, InferenceConfig, PlainInferenceConfig, RotationTTAConfig
from unet_exp.errors import ConfigError, DataError
from unet_exp.inference import batching
from unet_exp.inference.ensemble import open_checkpoints
from unet_exp.inference.large import by_tiles
from unet_exp.inference.large.budget import mean_bytes, overhead_bytes, tile_bytes, whole_bytes
from unet_exp.inference.predictor import Predictor
from unet_exp.inference.tiling.tile_size import TILES, resolve_tile
from unet_exp.io.windows import open_pages
from unet_exp.metrics.scoreboard import Scoreboard
from unet_exp.network import Network, build
from unet_exp.samples.normalization import Normalization
from unet_exp.samples.sample import Sample

CPU = torch.device("cpu")
NORMALIZATIONS = {
    "image": Normalization(mode="image"),
    "dataset": Normalization(mode="dataset", mean=[0.4], std=[0.3]),
    "none": Normalization(mode="none"),
}
MEMBERS = [
    ("model=valid", "image"),
    ("model=same model.norm=batch fusion=add", "dataset"),
    ("model=pad model.depth=4 loss=bce", "image"),
    ("model=same model.upsample=bilinear", "none"),
]
"""Words of four architectures, and what each makes of an image."""


def classes_of(*values: int) -> list[ClassSpec]:
    names = ("membrane", "cell", "nucleus")
    return [ClassSpec(name=name, value=value, color=[9] * 3) for name, value in zip(names, values, strict=False)]


@cache
def made(words: str, mode: str = "image", **changes: Any) -> Checkpoint:
    """A checkpoint of a network with random weights and biases."""
    config = compose_train(["model.depth=3", "model.width=4", "trainer.accelerator=cpu", *words.split()])
    torch.manual_seed(len(words))
    classes = changes.get("classes", classes_of(0, 255))
    channels = changes.get("channels", 1)
    network = build(parse(config), channels, len(classes))
    for parameter in network.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, std=0.3)
    record = CheckpointRecord(
        config=config,
        classes=classes,
        normalization=NORMALIZATIONS[mode],
        channels=channels,
        class_weights=None,
        trained_on=[],
    )
    return Checkpoint(Path(changes.get("path", "made.ckpt")), record, network.state_dict(), 3)


def members() -> list[Checkpoint]:
    return [made(*member) for member in MEMBERS]


def plain(name: str, **changed: Any) -> InferenceConfig:
    values: dict[str, Any] = {"tile": 1024, "batch_size": 1, "context": "auto", "blend": 0, **changed}
    if name == "rotations7":
        return RotationTTAConfig(name="rotations7", angles=[0.0, 90.0, 20.0], **values)
    return FlipTTAConfig(name="flips8", **values) if name == "flips8" else PlainInferenceConfig(name="none", **values)


def random_image(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)


def mean_alone(image: NDArray[np.uint8], inference: InferenceConfig) -> NDArray[np.float64]:
    """The mean of what each network gives alone."""
    alone = [Predictor(member, "cpu", "32", inference).probabilities(image) for member in members()]
    found: NDArray[np.float64] = np.mean(np.array(alone, np.float64), axis=0)
    return found


def mean_by_hand(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """From pixels to the mean, without the predictor: each network on the whole image in one piece."""
    grey, total = image / np.float64(255), np.zeros((2, *image.shape))
    seen = {
        "image": (grey - grey.mean()) / grey.std(),
        "dataset": (grey - 0.4) / 0.3,
        "none": grey,
    }
    for member in members():
        pixels = torch.from_numpy(seen[member.record.normalization.mode]).float()[None, None]
        with torch.no_grad():
            logits = whole_image_logits(member.network(), pixels)[0].double()  # type: ignore[arg-type]
        shares = torch.stack([1 - logits[0].sigmoid(), logits[0].sigmoid()]) if len(logits) == 1 else logits.softmax(0)
        total += shares.numpy()
    return total / len(MEMBERS)


@pytest.mark.parametrize("size", [(40, 55), (61, 33), (5, 3)])
def test_it_is_the_mean_of_networks_that_each_see_the_image_their_own_way(size: tuple[int, int]) -> None:
    image = random_image(*size)
    found = Predictor(members(), "cpu", "32", plain("none")).probabilities(image)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, mean_by_hand(image), atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("averaging", "tile"),
    [
        ("none", 32),
        ("none", 1024),
        ("flips8", 1024),
        ("rotations7", 1024),
        pytest.param("flips8", 32, marks=pytest.mark.slow),
        pytest.param("rotations7", 32, marks=pytest.mark.slow),
    ],
)
def test_each_member_is_tiled_and_augmented_by_itself(averaging: str, tile: int) -> None:
    image, inference = random_image(50, 41), plain(averaging, tile=tile)
    ours = Predictor(members(), "cpu", "32", inference)
    np.testing.assert_allclose(ours.probabilities(image), mean_alone(image, inference), atol=1e-6)
    assert (ours.predict(image) == ours.probabilities(image).argmax(axis=0)).all()
    assert len(ours.normalizations) == 3


@settings(max_examples=5, deadline=None)
@given(st.permutations(range(4)), st.integers(0, 99))
def test_the_order_of_the_members_does_not_matter(order: list[int], seed: int) -> None:
    image, each = random_image(24, 31, seed), members()
    first, second = (
        Predictor([each[place] for place in places], "cpu", "32", plain("none")).probabilities(image)
        for places in (range(4), order)
    )
    np.testing.assert_allclose(first, second, atol=1e-6)


@pytest.mark.parametrize("averaging", ["none", "flips8"])
def test_one_member_gives_what_it_gave_alone_bit_by_bit(averaging: str) -> None:
    image, inference = random_image(33, 40), plain(averaging)
    given = made(*MEMBERS[1])
    alone, listed = (Predictor(one, "cpu", "32", inference).probabilities(image) for one in (given, [given]))
    np.testing.assert_array_equal(alone, listed)


def test_pixels_without_data_have_no_probabilities() -> None:
    image, valid = random_image(30, 30), np.ones((30, 30), bool)
    valid[:4] = False
    ours = Predictor(members(), "cpu", "32", plain("none"))
    found = ours.probabilities(image, valid)
    alone = [Predictor(member, "cpu", "32", plain("none")).probabilities(image, valid) for member in members()]
    np.testing.assert_allclose(found, np.mean(alone, axis=0), atol=1e-6)
    assert np.isnan(found[:, :4]).all()
    assert (ours.predict(image, valid)[:4] == 255).all()


def test_bf16_means_in_float32() -> None:
    image = random_image(32, 32)
    half = Predictor(members(), "cpu", "bf16-mixed", plain("none")).probabilities(image)
    assert half.dtype == np.float32
    np.testing.assert_allclose(half.sum(axis=0), 1, atol=1e-6)
    np.testing.assert_allclose(half, mean_by_hand(image), atol=0.05)


def test_images_of_one_size_are_predicted_together_as_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "_BATCHED", ("cpu",))
    ours = Predictor(members(), "cpu", "32", plain("none"))
    passes: list[int] = []
    for network in ours.networks:
        network.register_forward_pre_hook(lambda _, given: passes.append(len(given[0])))
    samples = [Sample(str(number), random_image(24, 26, number)[..., None]) for number in range(3)]
    board = Scoreboard(("membrane", "cell"))
    config = members()[0].config.loss
    found = list(ours.score(samples, losses.build(config, None), losses.targets(config), board))
    assert passes == [3] * 4
    for sample, (_, label, _) in zip(samples, found, strict=True):
        assert (label == ours.predict(sample.image)).all()


def test_the_loss_is_that_of_the_mean_by_the_first_members_definition() -> None:
    ours = Predictor(members(), "cpu", "32", plain("none"))
    image, label = random_image(24, 26), (random_image(24, 26, 7) > 99).astype(np.uint8)
    config, board = ours.checkpoint.config.loss, Scoreboard(("membrane", "cell"))
    ((_, _, row),) = ours.score(
        [Sample("a", image[..., None], label)], losses.build(config, None), losses.targets(config), board
    )
    assert row is not None
    shares = np.take_along_axis(mean_by_hand(image), label[None].astype(int), axis=0)
    assert row["loss"] == pytest.approx(-np.log(shares).mean(), rel=1e-4)


# --- large images ---


@pytest.mark.slow
@pytest.mark.parametrize("averaging", ["none", "flips8"])
def test_parts_of_a_large_image_are_parts_of_the_mean(averaging: str, tmp_path: Path) -> None:
    pixels, inference = random_image(141, 97), plain(averaging, tile=64)
    tifffile.imwrite(tmp_path / "a.tif", pixels, tile=(32, 32))
    ours, whole = Predictor(members(), "cpu", "32", inference), mean_alone(pixels, inference)
    dice = np.random.default_rng(1)
    with open_pages(tmp_path / "a.tif") as (page,):
        survey = by_tiles.survey_page(ours, page)
        sources = [by_tiles.normalized_source(page, survey, place) for place in range(3)]
        for _ in range(4):
            top, left = (int(dice.integers(0, size)) for size in pixels.shape)
            high, wide = int(dice.integers(1, 142 - top)), int(dice.integers(1, 98 - left))
            part = ours.part_probabilities(sources, page.size, (top, left, high, wide))
            np.testing.assert_allclose(part, whole[:, top : top + high, left : left + wide], atol=1e-6)


def networks(*words: str) -> list[Network]:
    return [made(f"model=same {word}").network() for word in words]


def test_the_budget_counts_all_members() -> None:
    several = networks("model.width=4", "model.width=8", "model.norm=instance model.depth=2")
    for tile in (64, 256):
        each = [tile_bytes([network], tile, "auto", 1, 1, 2) for network in several]
        assert tile_bytes(several, tile, "auto", 1, 1, 2) == max(each) + mean_bytes(several, 2, tile**2)
        assert mean_bytes(several, 2, tile**2) == 2 * 4 * 2 * tile**2  # two maps of float32 of two classes
        assert tile_bytes(several[1:2], tile, "auto", 1, 1, 2) == each[1]
    several[0].keeps_memory = True  # as an exported network does
    assert tile_bytes(several, 64, "auto", 1, 1, 2) > sum(
        tile_bytes([network], 64, "auto", 1, 1, 2) - 12 * 2 * 64**2 for network in several[:2]
    )
    pages = [(300, 200, 1)]
    alone = max(whole_bytes([network], 1, plain("none"), pages, 1, 2) for network in several)
    assert whole_bytes(several, 3, plain("none"), pages, 1, 2) >= alone + 2 * 4 * 300 * 200 + 16 * 300 * 200
    assert overhead_bytes(several) - overhead_bytes(several[:2]) == overhead_bytes(several[:2]) - overhead_bytes(
        [several[0]] * 2
    )


@given(st.integers(0, 2**34))
@settings(max_examples=20, deadline=None)
def test_all_members_have_the_tile_that_fits_for_each(memory: int) -> None:
    several = networks("model.width=4", "model.width=8 model.norm=batch")
    auto = plain("none", tile="auto")
    tile = resolve_tile(auto, several, CPU, memory).tile_pixels
    assert tile in TILES
    assert tile <= min(resolve_tile(auto, [network], CPU, memory).tile_pixels for network in several)
    assert tile == TILES[-1] or tile_bytes(several, tile, "auto", 1, 4, 2) <= memory


@pytest.mark.parametrize("memory", [0, 2**40])
def test_one_member_with_inexact_tiles_decides_for_all(memory: int) -> None:
    several = networks("model.width=4", "model.norm=instance")
    assert resolve_tile(plain("none", tile="auto"), several, CPU, memory).tile == 1024
    ours = Predictor([made("model=same"), made("model=same model.norm=instance")], "cpu", "32", None, memory)
    assert ours.inference.tile == 1024


# --- what must agree ---


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"classes": classes_of(0, 255, 7)}, r"their classes are \[membrane, cell, nucleus\] and \[membrane, cell\]"),
        ({"classes": classes_of(0, 1)}, r"cell is 1 and 255 in masks"),
        ({"channels": 3}, r"their images have 3 and 1 channels"),
    ],
)
def test_what_does_not_go_together_is_one_line_with_both_files(changes: dict[str, Any], said: str) -> None:
    other = made.__wrapped__("model=same", **changes, path="b.ckpt")
    with pytest.raises(DataError, match=rf"checkpoint=b\.ckpt and made\.ckpt cannot be put together: {said}"):
        Predictor([made("model=same"), other])


def test_settings_of_inference_agree_or_are_given() -> None:
    each = [made("model=same"), made("model=same inference=flips8 inference.tile=64", path="b.ckpt")]
    with pytest.raises(ConfigError, match=r"b\.ckpt was trained with inference=flips8 and made\.ckpt with inference="):
        Predictor(each, "cpu", "32")
    assert Predictor(each, "cpu", "32", plain("none")).inference == plain("none")
    other = made("model=same inference.context=16", path="b.ckpt")
    with pytest.raises(
        ConfigError, match=r"with inference\.context=16 and made\.ckpt with inference\.context=auto: choose"
    ):
        Predictor([made("model=same"), other], "cpu", "32")
    smaller = made("model=same inference.tile=64 inference.batch_size=2")  # changes nothing but the memory
    assert Predictor([smaller, made("model=same")], "cpu", "32").inference.tile == 64


def test_no_member_is_one_line() -> None:
    with pytest.raises(DataError, match=r"Predictor\(\[\]\): give a checkpoint"):
        Predictor([])


def test_a_tile_too_small_for_one_member_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"inference\.tile=4 is too small"):
        Predictor([made("model=same"), made("model=same model.depth=4")], "cpu", "32", plain("none", tile=4))


# --- which checkpoints are meant ---

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """`write("a", status="finished")` makes the folder of a run with a checkpoint."""

    def make(name: str, words: str = "model=same", **summary: Any) -> Path:
        checkpoint, run = made(words), tmp_path / name
        content = {
            "global_step": 3,
            "state_dict": {f"network.{key}": value for key, value in checkpoint.weights.items()},
            KEY: checkpoint.record.model_dump(),
        }
        (run / "checkpoints").mkdir(parents=True)
        torch.save(content, run / "checkpoints" / "best.ckpt")
        (run / "config.yaml").touch()
        (run / "summary.json").write_text(json.dumps({"status": "finished", **summary}))
        return run

    return make


def plan(sweep: Path, *names: str) -> None:
    runs = [{"name": name, "overrides": []} for name in names]
    values = {"words": [], "config_dir": None, "created": "2026", "search": None, "runs": runs}
    (sweep / "sweep.json").write_text(json.dumps(values))


def found(named: Any) -> list[str]:
    return [str(checkpoint.path.parents[1].name) for checkpoint in open_checkpoints(named).checkpoints]


def test_a_sweeps_folder_means_its_finished_runs_in_their_order(write: Write, tmp_path: Path) -> None:
    names = ["fusion=add,seed=1", "fusion=add,seed=0", "fusion=none", "b", "c", "later"]
    for name in names[:3]:
        write(f"sweep/{name}")
    write("sweep/b", status="failed")
    write("sweep/c", pruned_at=7)
    plan(tmp_path / "sweep", *names)
    assert found(tmp_path / "sweep") == names[:3]
    left_out = open_checkpoints(str(tmp_path / "sweep")).left_out
    assert [line.rpartition("/")[2] for line in left_out] == [
        "b is left out: failed",
        "c is left out: pruned by the search",
        "later is left out: not started",
    ]
    assert found([tmp_path / "sweep" / names[1], str(tmp_path / "sweep")]) == [names[1], names[0], names[2]]
    plan(tmp_path / "sweep", "b")
    with pytest.raises(DataError, match=r"no run of this sweep has finished and has its best\.ckpt"):
        open_checkpoints(tmp_path / "sweep")
    (tmp_path / "sweep" / "sweep.json").write_text("{")
    with pytest.raises(DataError, match=r"sweep\.json: it is damaged"):
        open_checkpoints(tmp_path / "sweep")


def test_a_glob_means_files_and_finished_runs(write: Write, tmp_path: Path) -> None:
    for name in ("b", "a", "[c]"):
        write(name)
    write("d", status="running")
    (tmp_path / "e").mkdir()
    (tmp_path / "f.txt").touch()
    assert found(str(tmp_path / "*")) == ["[c]", "a", "b"]
    assert found(str(tmp_path / "*" / "checkpoints" / "*.ckpt")) == ["[c]", "a", "b", "d"]
    assert found(str(tmp_path / "[ab]")) == ["a", "b"]
    assert found(str(tmp_path / "[c]")) == ["[c]"]  # it is there under this name
    assert found(str(tmp_path / "d")) == ["d"]  # named by itself
    with pytest.raises(DataError, match=r"no such file, and as a pattern it matches no checkpoint"):
        open_checkpoints(str(tmp_path / "x*"))
    with pytest.raises(DataError, match=r"none\.ckpt: there is no such file"):
        open_checkpoints([tmp_path / "a", tmp_path / "none.ckpt"])
    with pytest.raises(DataError, match=r"checkpoint=\[\]: name a file"):
        open_checkpoints([])


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("[CV/fold=0,seed=0,b]", "names with commas, equals signs or brackets are quoted: \"checkpoint=['a','b']\""),
        ("a,b", "there is no such file; several are a list: checkpoint=[a,b]"),
        ("fold=0,fold=1", "there is no such file; several are a list: \"checkpoint=['a','b']\""),
        (
            "x*,y*",
            "there is no such file, and as a pattern it matches no checkpoint; several are a list: checkpoint=[x*,y*]",
        ),
    ],
)
def test_what_looks_like_a_list_is_told_how_lists_are_typed(named: str, said: str) -> None:
    with pytest.raises(DataError, match=f"^{re.escape(f'checkpoint={named}: {said}')}$"):
        open_checkpoints(named)


def test_a_name_with_commas_or_brackets_that_is_there_is_a_name(write: Write, tmp_path: Path) -> None:
    for name in ("a,b", "[c=1,d]"):
        write(name)
        assert found(str(tmp_path / name)) == [name]


def test_folders_without_a_checkpoint_of_their_own_are_left_out(write: Write, tmp_path: Path) -> None:
    for name in ("a", "moved", "b"):
        write(f"train/{name}")
    (tmp_path / "train" / "moved" / "checkpoints" / "best.ckpt").unlink()
    shutil.rmtree(write("evaluate/a", checkpoint=str(tmp_path / "train" / "a"), step=3) / "checkpoints")
    pattern = str(tmp_path / "*" / "*")
    assert found(pattern) == ["a", "b"]
    reasons = [
        f"{tmp_path / 'evaluate' / 'a'} is left out: an evaluation",
        f"{tmp_path / 'train' / 'moved'} is left out: {Path('checkpoints', 'best.ckpt')} is not there",
    ]
    assert open_checkpoints(pattern).left_out == reasons
    plan(tmp_path / "train", "a", "moved", "b")
    assert found(tmp_path / "train") == ["a", "b"]
    with pytest.raises(DataError, match=r"as a pattern it matches no checkpoint"):
        open_checkpoints(str(tmp_path / "eval*" / "*"))
    with pytest.raises(DataError, match=r"best\.ckpt: there is no such file"):
        open_checkpoints(tmp_path / "train" / "moved")  # named by itself


def test_from_python(write: Write, tmp_path: Path) -> None:
    image = random_image(30, 37)
    runs = [write("a"), write("b", "model=valid"), write("c", "model=pad fusion=none")]
    plan(tmp_path, "a", "b", "c")
    expected = np.mean([unet_exp.load(run, "cpu", "32").probabilities(image) for run in runs], axis=0)
    for named in (runs, str(tmp_path / "?"), tmp_path, [*runs, runs[0]]):
        ours = unet_exp.load(named, "cpu", "32")  # type: ignore[arg-type]
        assert len(ours.members) == 3
        np.testing.assert_allclose(ours.probabilities(image), expected, atol=1e-6)


@pytest.mark.parametrize("wrong", [None, 3, b"a", {"a": "b"}, np.zeros((50, 50)), [None]])
def test_what_is_no_name_is_one_line(write: Write, wrong: Any) -> None:
    for named in (wrong, [write("a"), wrong]):
        with pytest.raises(DataError, match=r"^checkpoint=.*: name files, folders or a list of them$") as caught:
            unet_exp.load(named)
        assert "\n" not in str(caught.value)


def test_what_is_left_of_a_large_image_is_of_these_members(write: Write, tmp_path: Path) -> None:
    runs = [write("a"), write("b", "model=valid")]
    tifffile.imwrite(tmp_path / "a.tif", random_image(30, 37), tile=(16, 16))

    def job(*named: Path) -> dict[str, Any]:
        with open_pages(tmp_path / "a.tif") as pages:
            loaded = unet_exp.load(named, "cpu", "32")
            return by_tiles.identify_job(loaded, tmp_path / "a.tif", pages, "declared")

    both, alone = job(*runs), [job(run)["checkpoint"] for run in runs]
    assert both["checkpoint"] == alone
    assert isinstance(alone[0], str)  # as in earlier versions, whose parts go on
    assert job(*runs[::-1]) != both
