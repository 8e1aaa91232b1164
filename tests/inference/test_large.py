"""Images that are not held whole: windows of TIFFs, tiles that keep a budget, and what a killed prediction leaves."""

import fcntl
import json
import os
import re
import signal
import weakref
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from conftest import Said
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

import unet_exp
from unet_exp.compose import compose_train
from unet_exp.config import ClassSpec, parse
from unet_exp.config.running import FlipTTAConfig, InferenceConfig, PlainInferenceConfig
from unet_exp.data.sets.synthetic import generate
from unet_exp.errors import ConfigError, DataError, UserError
from unet_exp.inference.large import by_tiles as large
from unet_exp.inference.large.budget import format_size, forward_bytes, read_size, tile_bytes
from unet_exp.inference.large.pipeline import AHEAD, run_overlapped
from unet_exp.inference.predictor import Predictor
from unet_exp.io.images import read_image, read_pages
from unet_exp.io.windows import open_pages, write_by_rows
from unet_exp.io.writing import write_image
from unet_exp.network import build
from unet_exp.runs.run_folder import RunFolder
from unet_exp.samples.classes import encode
from unet_exp.samples.normalization import Normalization

Cli = Callable[..., Said]
BUDGET = "memory=40MB"
"""Less than an image of `SIDE` takes in memory, and enough for tiles of the tiny network."""
SIDE = 640
HERE = ("trainer.accelerator=cpu", "trainer.precision=32")


# --- windows ---

LAYOUTS: dict[str, dict[str, Any]] = {
    "tiled": {"tile": (32, 48)},
    "tiled, zlib, predictor": {"tile": (16, 32), "compression": "zlib", "predictor": True},
    "strips, lzw": {"rowsperstrip": 7, "compression": "lzw"},
    "strips": {"rowsperstrip": 5},
    "one strip": {},
    "one strip, zlib": {"compression": "zlib", "rowsperstrip": 1000},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_window_holds_what_the_whole_page_holds(layout: str, tmp_path: Path) -> None:
    @settings(deadline=None, max_examples=12)
    @given(
        st.sampled_from(["uint8", "uint16", "float32", ">u2"]),
        st.sampled_from([(1, "contig"), (3, "contig"), (3, "separate"), (5, "contig")]),
        st.integers(1, 90),
        st.integers(1, 90),
        st.integers(0, 4000),
        st.data(),
    )
    def holds(dtype: str, kind: tuple[int, str], height: int, width: int, kept: int, data: Any) -> None:
        (channels, planar), path = kind, tmp_path / "page.tif"
        pixels = np.random.default_rng(height).integers(0, 250, (height, width, channels)).astype(dtype)
        stored = np.moveaxis(pixels, 2, 0) if planar == "separate" else pixels
        words = {
            "photometric": "rgb" if channels == 3 else "minisblack",
            "byteorder": dtype[0] if dtype[0] == ">" else "<",
        }
        words |= {"planarconfig": planar} if channels > 1 else {}
        byteorder = words.pop("byteorder")
        with tifffile.TiffWriter(path, byteorder=byteorder) as file:  # type: ignore[arg-type]
            file.write(stored[..., 0] if channels == 1 else stored, **words, **LAYOUTS[layout], metadata=None)
        top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
        high, wide = data.draw(st.integers(1, height - top)), data.draw(st.integers(1, width - left))
        with open_pages(path) as (page,):
            page.keep(kept)
            assert (page.height, page.width, page.channels) == (height, width, channels)
            for _ in range(2):
                found, _ = page.region(top, left, high, wide)
                assert found.dtype == np.dtype(dtype).newbyteorder("=")
                np.testing.assert_array_equal(found, pixels[top : top + high, left : left + wide])
            assert sum(part.size for part, _ in page.parts()) == pixels.size
            assert sum(part.astype(float).sum() for part, _ in page.parts()) == pixels.astype(float).sum()

    holds()


def test_odd_pages_mean_what_they_mean_where_they_are_read_whole(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 255, (50, 61), np.uint8)
    tifffile.imwrite(tmp_path / "white.tif", grey, photometric="miniswhite", compression="zlib", rowsperstrip=9)
    palette = rng.integers(0, 2**16, (3, 256), np.uint16)
    tifffile.imwrite(tmp_path / "palette.tif", grey, photometric="palette", colormap=palette, tile=(16, 16))
    tifffile.imwrite(tmp_path / "wide.tif", grey.astype(np.int32) * 200)
    tifffile.imwrite(tmp_path / "double.tif", grey / 7)
    Image.fromarray(grey > 99).save(tmp_path / "bits.tif", compression="group4")
    tifffile.imwrite(tmp_path / "photo.tif", np.stack([grey] * 3, axis=-1), compression="jpeg", tile=(32, 32))
    tifffile.imwrite(tmp_path / "stack.tif", np.stack([grey, grey + 1]), photometric="minisblack")
    for path in sorted(tmp_path.iterdir()):
        with open_pages(path) as pages:
            whole = read_pages(path)
            assert len(pages) == len(whole), path
            for page, pixels in zip(pages, whole, strict=True):
                found, _ = page.region(3, 5, 40, 41)
                np.testing.assert_array_equal(found, pixels[3:43, 5:46], str(path))
                assert found.dtype == pixels.dtype, path


@pytest.mark.parametrize("harm", ["cut", "garbled", "nan", "text", "none", "ring", "pageless"])
def test_a_broken_file_is_one_line(harm: str, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    pixels = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    pixels[50, 3] = np.nan if harm == "nan" else 0
    tifffile.imwrite(path, pixels, compression="zlib", rowsperstrip=8)
    content = bytearray(path.read_bytes())
    if harm == "cut":
        content = content[: len(content) * 2 // 3]
    if harm == "garbled":
        content[-3000:-1000] = bytes(2000)
    if harm == "text":
        content = bytearray(b"II*\0 no TIFF")
    if harm == "pageless":
        content = bytearray(b"II*\0" + bytes(20))
    if harm == "ring":
        with tifffile.TiffFile(path) as file:
            end = file.pages.next_page_offset
        content[end : end + 4] = content[4:8]
    path.write_bytes(content)
    if harm == "none":
        path.unlink()

    def read() -> None:
        with open_pages(path) as (page,):
            for _ in page.parts():
                pass

    with pytest.raises(DataError, match=r"a\.tif: "):
        read()


@pytest.mark.parametrize("values", [[0, 255], [7, 40_000], [[1, 2, 3], [250, 0, 9]]])
def test_masks_of_any_values_are_written_row_by_row(values: list[Any], tmp_path: Path) -> None:
    classes = [ClassSpec(name=name, value=value, color=[0, 0, 0]) for name, value in zip("ab", values, strict=True)]
    label = np.random.default_rng(0).integers(0, 2, (700, 530), np.uint8)
    like = encode(label[:1, :1], classes)
    write_by_rows(tmp_path / "m.tif", [(700, 530, lambda a, b: label[a:b])], lambda part: encode(part, classes), like)
    np.testing.assert_array_equal(read_image(tmp_path / "m.tif"), encode(label, classes), strict=True)


# --- numbers of the whole image ---


@cache
def predictor(channels: int = 1, inference: InferenceConfig | None = None, *words: str) -> Predictor:
    from unet_exp.checkpoints.checkpoint import Checkpoint
    from unet_exp.checkpoints.record import CheckpointRecord

    values = compose_train(["model.depth=3", "model.width=4", "trainer.accelerator=cpu", "model=same", *words])
    torch.manual_seed(2)
    network = build(parse(values), channels, 2)
    for parameter in network.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, std=0.3)
    classes = [ClassSpec(name=name, value=index, color=[index] * 3) for index, name in enumerate("ab")]
    record = CheckpointRecord(
        config=values, classes=classes, normalization=Normalization(mode="image"), channels=channels,
        class_weights=None, trained_on=[],
    )  # fmt: skip
    made = Checkpoint(Path("none"), record, network.state_dict(), step=0)
    return Predictor(made, "cpu", "32", inference)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_first_pass_finds_the_numbers_of_the_whole_image(
    dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unet_exp.io.windows._BAND", 700)
    pixels = (
        (np.random.default_rng(0).normal(100, 20, (150, 131, 3)) + np.array([0, 30, 90])).clip(0, 255).astype(dtype)
    )
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", tile=(64, 64))
    with open_pages(tmp_path / "a.tif") as (page,):
        found = large.survey_page(predictor(3), page)
    assert (found.channels, found.holes) == (3, False)
    np.testing.assert_allclose(found.normalizations[0](pixels), Normalization(mode="image")(pixels), atol=1e-6 * 10)


@pytest.mark.parametrize(
    ("channels", "change", "used"),
    [
        (1, lambda rgba: rgba, "has 4 channels"),
        (1, lambda rgba: np.repeat(rgba[..., :1], 3, axis=2), 1),
        (3, lambda rgba: np.dstack([rgba[..., :3], np.full(rgba.shape[:2], 255, np.uint8)]), 3),
        (3, lambda rgba: rgba, "has 4 channels"),
        (1, lambda rgba: np.dstack([*[rgba[..., 0]] * 3, np.full(rgba.shape[:2], 7, np.uint8)]), 1),
        (4, lambda rgba: rgba, 4),
    ],
)
def test_channels_are_chosen_as_in_memory(
    channels: int, change: Callable[..., Any], used: int | str, tmp_path: Path
) -> None:
    pixels = change(np.random.default_rng(0).integers(0, 255, (40, 50, 4), np.uint8))
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", rowsperstrip=8, compression="lzw")
    with open_pages(tmp_path / "a.tif") as (page,):
        if isinstance(used, str):
            for ask in (
                lambda: large.survey_page(predictor(channels), page),
                lambda: predictor(channels).prepare(pixels),
            ):
                with pytest.raises(DataError, match=used):
                    ask()
        else:
            source = large.normalized_source(page, large.survey_page(predictor(channels), page))
            np.testing.assert_allclose(source(0, 0, 40, 50), predictor(channels).prepare(pixels)[0], atol=1e-6)


# --- equality with the whole image in memory ---


@pytest.mark.parametrize("averaging", ["none", "flips8"])
@pytest.mark.parametrize(
    "words", [("model=same", "model.norm=batch"), ("model=valid",), ("model=pad", "model.upsample=bilinear")]
)
def test_parts_equal_the_whole_image_in_memory(words: tuple[str, ...], averaging: str, tmp_path: Path) -> None:
    kind = PlainInferenceConfig if averaging == "none" else FlipTTAConfig
    inference: Any = kind(name=averaging, tile=64, batch_size=1, context="auto", blend=0)  # type: ignore[arg-type]
    pixels = generate(141, 97, 3, 0).image
    tifffile.imwrite(tmp_path / "a.tif", pixels, tile=(32, 32))
    found = predictor(1, inference, *words)
    whole = found.probabilities(pixels)
    dice = np.random.default_rng(1)
    with open_pages(tmp_path / "a.tif") as (page,):
        source = large.normalized_source(page, large.survey_page(found, page))
        for _ in range(6):
            top, left = (int(dice.integers(0, size)) for size in pixels.shape)
            high, wide = (
                int(dice.integers(1, size - start + 1)) for size, start in zip(pixels.shape, (top, left), strict=True)
            )
            part = found.part_probabilities([source], pixels.shape, (top, left, high, wide))
            np.testing.assert_allclose(part, whole[:, top : top + high, left : left + wide], atol=1e-5)


@cache
def _generated() -> np.ndarray:
    return generate(SIDE, SIDE, 4, 0).image


class TestCommand:
    """`scripts/predict.py` with a budget that an image does not fit into."""

    @pytest.fixture
    def predict(self, cli: Cli, finished: RunFolder) -> Cli:
        """`predict("input=...")` writes into `masks`."""
        return lambda *words: cli("predict", f"checkpoint={finished.best}", "output=masks", *HERE, *words)

    @pytest.fixture
    def image(self, tmp_path: Path) -> np.ndarray:
        """In `a.tif`."""
        pixels = _generated().copy()
        place = [(33550, "d", 3, (2.0, 2.0, 0.0), True)]
        tifffile.imwrite(tmp_path / "a.tif", pixels, rowsperstrip=16, compression="lzw", extratags=place)
        return pixels

    def test_the_mask_is_that_of_the_image_in_memory(
        self, predict: Cli, image: np.ndarray, finished: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(large, "PREVIEW", 200)
        said = predict("input=a.tif", BUDGET)
        assert f"a.tif: {SIDE} x {SIDE} pixels, in tiles of" in said.out
        assert "masks/a_preview.png: 160 x 160 pixels, reduced" in said.out
        probabilities = unet_exp.load(finished.path, "cpu", "32").probabilities(image)
        certain = np.abs(probabilities[0] - probabilities[1]) > 1e-4
        assert certain.mean() > 0.99
        mask = read_image(tmp_path / "masks" / "a_mask.tif")[..., 0]
        np.testing.assert_array_equal((mask == 255)[certain], probabilities.argmax(axis=0)[certain] == 1)
        with tifffile.TiffFile(tmp_path / "masks" / "a_mask.tif") as file:
            assert file.pages[0].aspage().is_tiled
            assert file.pages[0].aspage().compression == 8
            assert file.pages[0].aspage().tags[33550].value == (2, 2, 0)
        preview = np.asarray(Image.open(tmp_path / "masks" / "a_preview.png"))
        colours = np.array([spec.color for spec in unet_exp.load(finished.path).classes])
        np.testing.assert_array_equal(preview, colours[mask[::4, ::4] // 255])
        assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == ["a_mask.tif", "a_preview.png"]

    @pytest.mark.slow
    def test_pages_of_a_stack_are_predicted_one_after_the_other(
        self, predict: Cli, image: np.ndarray, tmp_path: Path
    ) -> None:
        pages = [image, image[:300, :500], image[:, ::-1]]
        with tifffile.TiffWriter(tmp_path / "s.tif") as file:
            for page in pages:
                file.write(np.ascontiguousarray(page))
        assert "and 2 more pages" in predict("input=s.tif", BUDGET).out
        found = read_pages(tmp_path / "masks" / "s_mask.tif")
        assert [page.shape[:2] for page in found] == [page.shape for page in pages]
        assert predict("input=s.tif").code == 0
        for small, whole in zip(found, read_pages(tmp_path / "masks" / "s_mask.tif"), strict=True):
            assert (small != whole).mean() < 1e-4

    @pytest.mark.slow
    @pytest.mark.parametrize("moment", [pytest.param("first tile", marks=pytest.mark.slow), "fourth row", "mask"])
    @pytest.mark.usefixtures("image")
    def test_a_kill_leaves_nothing_under_the_final_name_and_it_goes_on(
        self, predict: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
    ) -> None:
        assert predict("input=a.tif", BUDGET, "inference.tile=128").code == 0
        (undisturbed,) = [path.read_bytes() for path in (tmp_path / "masks").glob("*_mask.tif")]
        for path in (tmp_path / "masks").iterdir():
            path.unlink()
        calls, compute = [0], Predictor.part_probabilities

        def counted(self: Predictor, *given: Any) -> Any:
            calls[0] += 1
            if calls[0] == {"first tile": 1, "fourth row": 17}.get(moment):
                os.kill(os.getpid(), signal.SIGKILL)
            return compute(self, *given)

        child = os.fork()
        if child == 0:  # never comes back
            monkeypatch.setattr(Predictor, "part_probabilities", counted)
            if moment == "mask":
                monkeypatch.setattr("unet_exp.io.windows.TILE", 256)
                monkeypatch.setattr(large, "encode", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
            try:
                predict("input=a.tif", BUDGET, "inference.tile=128")
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        left = {path.name for path in (tmp_path / "masks").iterdir() if not path.name.startswith(".")}
        assert left == {"a_mask.part"}

        with (tmp_path / "masks" / "a_mask.part").open("ab") as part:
            part.write(b"half a row")
        moment = "never"
        monkeypatch.setattr(Predictor, "part_probabilities", counted)
        assert "a_mask.part: it goes on there" in predict("input=a.tif", BUDGET, "inference.tile=128").out
        assert (tmp_path / "masks" / "a_mask.tif").read_bytes() == undisturbed
        assert not (tmp_path / "masks" / "a_mask.part").exists()

    @pytest.mark.slow
    @pytest.mark.parametrize("other", ["image", "checkpoint", "settings"])
    def test_a_part_of_something_else_is_begun_anew(
        self, predict: Cli, cli: Cli, image: np.ndarray, finished: RunFolder, tmp_path: Path, other: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setattr(large, "write_mask", _interrupt)
            assert predict("input=a.tif", BUDGET).code == 130
        words = ["inference=flips8"] if other == "settings" else []
        checkpoint = finished.last if other == "checkpoint" else finished.best
        if other == "checkpoint":
            copy = tmp_path / "other.ckpt"
            content = torch.load(checkpoint, weights_only=True)
            content["global_step"] += 1
            torch.save(content, copy)
            checkpoint = copy
        if other == "image":
            tifffile.imwrite(tmp_path / "a.tif", image[::-1])
        said = cli("predict", f"checkpoint={checkpoint}", "output=masks", "input=a.tif", *HERE, BUDGET, *words)
        assert f"masks/a_mask.part was of another {other}: it starts anew" in said.out
        assert said.code == 0

    @pytest.mark.parametrize(
        ("words", "part"),
        [
            ("memory=2", "memory='2'|memory=2"),
            ("memory=lots", "memory=lots: this is no amount of memory; write it as 500MB or 2GB"),
            ("memory=20MB", r"memory=20MB is too small for a\.tif and this network: set 3\dMB or more"),
            (f"{BUDGET} inference=rotations7", "take inference=flips8 or inference=none"),
            (f"{BUDGET} inference.blend=8", "inference.blend=8 mixes neighbouring tiles"),
            (f"{BUDGET} probabilities=true", "probabilities=true needs the whole image in memory, about [0-9.]+MB"),
            (f"{BUDGET} instances=true", "instances=true needs the whole image in memory"),
            (f"{BUDGET} input=b.png", r"b\.png: its prediction takes up to .*save it as a tiled TIFF"),
            (
                "memory=34MB input=strip.tif",
                "compressed in pieces of 9.6MB that must be decoded whole: save it as a tiled",
            ),
        ],
    )
    def test_mistakes(self, predict: Cli, image: np.ndarray, tmp_path: Path, words: str, part: str) -> None:
        if "b.png" in words:
            write_image(tmp_path / "b.png", image)
        if "strip.tif" in words:
            long = np.zeros((9600, 1000), np.uint8)
            tifffile.imwrite(tmp_path / "strip.tif", long, compression="zlib", rowsperstrip=9600)
        assert re.search(part, predict("input=a.tif", *words.split()).mistake)
        assert not (tmp_path / "masks").exists()

    @pytest.mark.usefixtures("image")
    def test_two_at_one_image(self, predict: Cli, tmp_path: Path) -> None:
        (tmp_path / "masks").mkdir()
        with (tmp_path / "masks" / "a_mask.part").open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            assert "another process is predicting this image" in predict("input=a.tif", BUDGET).mistake

    def test_small_and_large_images_and_bad_ones_in_one_folder(
        self, predict: Cli, image: np.ndarray, tmp_path: Path
    ) -> None:
        folder = tmp_path / "in"
        folder.mkdir()
        for number in range(12):
            write_image(folder / f"{number}.png", image[:32, number : 32 + number])
        (folder / "3.png").write_bytes(b"no image")
        (folder / "5x.tif").write_bytes((tmp_path / "a.tif").read_bytes())
        (folder / "7.png").write_bytes((folder / "7.png").read_bytes()[:50])
        said = predict("input=in", BUDGET, "preview=false")
        assert "11 of 13 files predicted" in said.out
        assert said.mistake.index("in/3.png") < said.mistake.index("in/7.png")
        together = {path.name: path.read_bytes() for path in (tmp_path / "masks").iterdir()}
        assert len(together) == 11
        for name in ("0", "11"):
            predict(f"input=in/{name}.png", "preview=false", "output=single")
            assert (tmp_path / "single" / f"{name}_mask.png").read_bytes() == together[f"{name}_mask.png"]


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


# --- memory ---


class Live(TorchDispatchMode):
    """Counts the bytes of all tensors that live, and keeps the most: an independent reference of `forward_bytes`."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple) else (result,):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self.known:
                    self.known.add(storage._cdata)
                    self.now += storage.nbytes()
                    self.peak = max(self.peak, self.now)
                    weakref.finalize(storage, self._gone, storage._cdata, storage.nbytes())
        return result

    def _gone(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size


NETWORKS = [
    ("model=same", "model.norm=batch"),
    ("model=same", "fusion=add"),
    ("model=valid", "model.depth=5"),
    ("model=pad", "fusion=none", "model.upsample=bilinear"),
    ("model=release",),
    ("model=valid", "fusion=attention", "model.norm=batch"),
    ("model=valid", "model.block=residual", "model.norm=batch", "model.deep_supervision=true"),
    ("model=pad", "model.block=residual", "fusion=add", "model.upsample=bilinear"),
    ("model=same", "model.block=residual", "fusion=attention", "model.norm=group"),
]


@pytest.mark.parametrize("words", NETWORKS)
def test_the_formula_counts_the_maps_that_live(words: tuple[str, ...]) -> None:
    network = build(parse(compose_train(["model.depth=4", "model.width=4", *words])), 1, 2).eval()
    size = network.architecture.sizes.smallest + 20 * network.architecture.sizes.total_stride
    with torch.no_grad(), Live() as live:
        network(torch.zeros(1, 1, size, size))
    assert live.peak <= forward_bytes(network, size, size) * 1.02
    assert live.peak > forward_bytes(network, size, size) * 0.7


class Plain(torch.nn.Module):
    """A user's own network."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Conv2d(in_channels, 8, 3, padding=1), torch.nn.ReLU())
        self.head = torch.nn.Conv2d(8, out_channels, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.layers(images))


def test_all_that_a_users_own_network_gives_counts() -> None:
    network = build(parse(compose_train(["model=custom", "model.target=test_large.Plain"])), 1, 2).eval()
    with torch.no_grad(), Live() as live:
        network(torch.zeros(1, 1, 160, 160))
    assert live.peak - 4 * 160**2 <= forward_bytes(network, 160, 160) == 4 * (8 + 8 + 2) * 160**2


def test_a_larger_tile_takes_more() -> None:
    networks = predictor().networks
    needed = [tile_bytes(networks, tile, "auto", 1, 1, 2) for tile in range(64, 512, 16)]
    assert needed == sorted(needed)


@given(st.integers(1000, 10**13))
def test_sizes_are_shown_so_that_they_can_be_typed(size: int) -> None:
    assert size <= read_size(format_size(size)) <= 1.12 * size


@pytest.mark.parametrize("text", ["", "2", "GB", "-1GB", "0MB", "1e9", "2 gigabytes"])
def test_what_is_no_amount_of_memory(text: str) -> None:
    with pytest.raises(ConfigError, match="write it as 500MB or 2GB"):
        read_size(text)


@pytest.mark.slow
def test_the_peak_of_memory_is_within_the_budget(cli: Cli, tmp_path: Path) -> None:
    assert cli("benchmark", "groups=large", "side=1000", "budgets=[70MB,100MB]", "output=here").code == 0
    results = json.loads((tmp_path / "here" / "benchmark.json").read_text())["large"]
    assert [result["layout"] for result in results] == ["tiled", "striped"]
    for result in results:
        print(result)
        assert result["peak"] <= 1.2 * result["budget"]
        assert result["largest_difference"] <= 1e-5
        assert result["different"] == 0


# --- many files ---


@given(
    st.lists(st.tuples(st.integers(0, 50), st.sampled_from(["good", "read", "compute", "write"])), max_size=40),
    st.integers(1, 4),
)
def test_files_keep_their_order_and_the_budget(files: list[tuple[int, str]], most: int) -> None:
    held, peak, budget = [0], [0], 60

    def costs() -> Any:
        for number, (cost, _) in enumerate(files):
            yield number, cost

    def step(name: str) -> Callable[..., Any]:
        def run(number: int, *_: Any) -> int:
            if name == "read":
                held[0] += files[number][0]
                peak[0] = max(peak[0], held[0])
            if files[number][1] == name:
                raise DataError(f"{number} {name}")
            return number

        return run

    def compute(numbers: Sequence[int], read: Sequence[int]) -> list[int | UserError]:
        assert list(numbers) == list(read)
        assert len(numbers) <= most
        return [DataError(f"{number} compute") if files[number][1] == "compute" else number for number in numbers]

    def joins(batch: Sequence[int], after: int) -> bool:
        assert after == batch[-1] + 1
        return len(batch) < most

    order = []
    for number, result in run_overlapped(costs(), budget, step("read"), compute, step("write"), joins):
        held[0] -= files[number][0]
        order.append(number)
        kind = files[number][1]
        assert result == number if kind == "good" else str(result) == f"{number} {kind}"
    assert order == list(range(len(files)))
    assert peak[0] <= max([budget, *(cost for cost, _ in files)])


def test_an_interrupt_drops_what_has_not_begun() -> None:
    read: list[int] = []
    written: list[int] = []

    def compute(numbers: Sequence[int], _: Any) -> Sequence[int]:
        if 3 in numbers:
            raise KeyboardInterrupt
        return numbers

    jobs = ((number, 1) for number in range(1000))
    results = run_overlapped(
        jobs, 1000, lambda number: read.append(number), compute, lambda number, _: written.append(number)
    )
    with pytest.raises(KeyboardInterrupt):
        list(results)
    assert len(read) <= 4 + AHEAD + 2
    assert written == sorted(written)
    assert set(written) <= {0, 1, 2}


def test_a_programming_mistake_is_no_mistake_of_the_user() -> None:
    jobs = [(1, 1)]
    with pytest.raises(ZeroDivisionError):
        list(run_overlapped(jobs, 1, lambda _: 1 / 0, lambda numbers, _: numbers, lambda *_: None))
    assert issubclass(DataError, UserError)
