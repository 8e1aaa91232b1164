"""The preview: the patches that a training feeds first, and which of their pixels are invented."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY, Said, composed, summary
from numpy.typing import NDArray
from resuming import Train

from unet_exp import augmentation, losses
from unet_exp.augmentation import Window
from unet_exp.config import IGNORE_LABEL, ClassSpec, parse
from unet_exp.figures.legend import Mark, draw_legend
from unet_exp.figures.preview_sheet import PatchView, draw_preview
from unet_exp.io.images import read_image
from unet_exp.mirror import mirror_window
from unet_exp.samples.sample import Region, Sample
from unet_exp.training.parts import ImageParts
from unet_exp.training.prepare import Job, prepare
from unet_exp.training.preview import WatchedPatches, cut_views, make_preview

Cli = Callable[..., Said]


def prepared(*words: str) -> Job:
    return prepare(parse(composed(*TINY, *words)), words)


def fed(job: Job, count: int) -> list[dict[str, NDArray[Any]]]:
    """The first patches that the loader of the training gives."""
    loader = job.datamodule.train_dataloader()
    loader.sampler.set_epoch(0)
    patches: list[dict[str, NDArray[Any]]] = []
    for batch in loader:
        made = job.datamodule.on_after_batch_transfer(batch, 0)
        arrays = {name: item.numpy() for name, item in made.items() if isinstance(item, torch.Tensor)}
        patches += [dict(zip(arrays, one, strict=True)) for one in zip(*arrays.values(), strict=True)]
    return patches[:count]


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(("model=valid", "augmentation=flips", "loss=border_weighted"), marks=pytest.mark.slow),
        pytest.param(("model=same", "augmentation=strong", "data.batch_size=3"), marks=pytest.mark.slow),
        ("model=valid", "augmentation=paper", "loss=border_weighted", "data.foreground_share=0.5"),
    ],
)
def test_it_shows_what_the_training_feeds_first(words: tuple[str, ...]) -> None:
    job = prepared(*words)
    before = torch.get_rng_state()
    views = list(cut_views(job, 5))
    assert torch.equal(before, torch.get_rng_state())
    for view, patch in zip(views, fed(job, 5), strict=True):
        assert view.image.transpose(2, 0, 1).tobytes() == patch["image"].tobytes()
        assert view.label.tobytes() == patch["label"].tobytes()
        assert (view.weights is None) == ("weights" not in patch)
        if view.weights is not None:
            assert view.weights.tobytes() == patch["weights"].tobytes()


def test_patches_that_are_made_on_the_device_are_shown_as_made_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unet_exp.training.prepare.resolve_place", lambda *_: "gpu")
    job = prepared("model=valid", "augmentation=paper", "loss=border_weighted", "data.batch_size=2")
    on_device, on_cpu = list(cut_views(job, 3)), fed(job, 3)
    for view, patch in zip(on_device, on_cpu, strict=True):
        assert view.image.transpose(2, 0, 1).tobytes() == patch["image"].tobytes()
        assert view.invented is not None


# --- invented pixels ---


class Plain:
    """Images, as far as a dataset of patches asks."""

    has_instances = False

    def __init__(self, image: NDArray[np.float32]) -> None:
        self.facts = SimpleNamespace(
            sizes=np.array([image.shape[:2]]),
            pixels=np.array([image.shape[0] * image.shape[1]]),
            mean=np.zeros((1, image.shape[2])),
            moments=lambda _: None,
        )
        self._image = image

    def read(self, _: int, region: Region) -> Sample:
        label = np.ones(self._image.shape[:2], np.uint8)
        return Sample("one", self._image[region.slices], label[region.slices])


def watched(image: NDArray[np.float32], augment: Any) -> Callable[..., tuple[NDArray[Any], Any]]:
    """Cuts patches of 16 px in inputs of 24; gives them and what is known to be invented."""
    images: Any = Plain(image)
    as_it_is: Any = lambda pixels, *_: pixels  # noqa: E731
    targets = losses.targets(parse(composed(*TINY)).loss)
    patches = WatchedPatches(images, as_it_is, 16, 24, augment, targets, 0)
    parts = ImageParts(images, 0, patches._normalization)

    def cut(top: int, left: int, seed: int) -> tuple[NDArray[Any], Any]:
        patch, _ = patches._cut(parts, Window(top, left, 24, -4), seed, parts.plane("label"))
        return patch, patches.invented

    return cut


def built(*words: str) -> Any:
    return augmentation.build(parse(composed(*TINY, *words)).augmentation)


@pytest.mark.parametrize("place", [(-9, 3), pytest.param((0, 0), marks=pytest.mark.slow), (12, 20), (-40, 60)])
@pytest.mark.parametrize("word", ["none", "flips"])
def test_what_is_invented_is_exact_where_nothing_is_moved(word: str, place: tuple[int, int]) -> None:
    """A frame around the image says it for unmoved patches; flips turn it along, as they turn the image."""
    image = np.random.default_rng(0).random((30, 41, 2), np.float32)
    cut = watched(image, built(f"augmentation={word}"))
    framed = np.pad(np.zeros((30, 41), bool), 100, constant_values=True)
    beyond = framed[place[0] + 100 : place[0] + 124, place[1] + 100 : place[1] + 124]
    plain = mirror_window(image, *place, 24, 24)
    for seed in range(4):
        patch, invented = cut(*place, seed)
        # Which of the eight turns it is, the patch says.
        turns = [(axes, count) for axes in ((0, 1, 2), (1, 0, 2)) for count in range(4)]
        fitting = [turn for turn in turns if (np.rot90(plain.transpose(turn[0]), turn[1]) == patch).all()]
        assert any((np.rot90(beyond.transpose(axes[:2]), count) == invented).all() for axes, count in fitting)


def test_what_is_invented_moves_with_the_patch() -> None:
    """A white image in a wide black one, in place of the mirrored one, is bright where it is real."""
    inner = built("augmentation=paper", "augmentation.contrast=0", "augmentation.brightness=0")
    cut = watched(np.random.default_rng(1).random((40, 40, 1), np.float32), inner)
    wide = np.zeros((640, 640, 1), np.float32)
    wide[300:340, 300:340] = 1
    for seed in range(5):
        _, invented = cut(-10, 5, seed)
        (bright,) = inner(wide, Window(290, 305, 24), seed)
        assert (invented == (bright[..., 0] < 0.5)).mean() > 0.97, "but for the pixels of the border"


def test_nothing_is_claimed_where_an_augmentation_looks_at_the_size_of_the_image() -> None:
    class Wander:
        deforms = False

        def __call__(self, image: Any, window: Window, seed: int, *maps: Any) -> tuple[NDArray[Any], ...]:
            top, size = int(np.random.default_rng(seed).integers(image.shape[0])), window.size
            patch = mirror_window(image, top, window.left, size, size)
            side = size + 2 * window.surround
            return patch, *(mirror_window(one, top, window.left, side, side) for one in maps)

    _, invented = watched(np.random.default_rng(0).random((50, 50, 1), np.float32), Wander())(0, 0, 3)
    assert invented is None


# --- the picture ---

CLASSES = [ClassSpec(name=f"<b>{place}</b> Zelle", value=place, color=[place * 80, 9, 200]) for place in range(3)]


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize("tile", [20, pytest.param(300, marks=pytest.mark.slow)])
def test_any_patch_can_be_drawn(channels: int, tile: int) -> None:
    random = np.random.default_rng(0)
    views = [
        PatchView(
            title=f"{number}: a long name " * 4,
            image=random.normal(size=(tile + 12 * number, tile + 12 * number, channels)).astype(np.float32),
            label=np.full((tile, tile), IGNORE_LABEL if number else 2, np.uint8),
            weights=None if channels == 1 else random.random((tile, tile), np.float32),
            invented=None if channels == 3 else random.random((tile + 12 * number,) * 2) > 0.9,
        )
        for number in range(2)
    ]
    for view in views:
        picture = draw_preview([view], CLASSES, ["one fact"])
        assert picture.dtype == np.uint8
        assert picture.ndim == 3
        blue = (picture == (40, 80, 200)).all(axis=-1).sum()
        assert (blue > 5000) == (view.label[0, 0] == IGNORE_LABEL), "ignored pixels are striped"


def test_a_legend_goes_on_in_further_rows() -> None:
    marks = tuple(Mark(f"class {number}", (number, 0, 0), look) for number in range(9) for look in ("full", "striped"))
    wide, narrow = draw_legend(marks, 3000), draw_legend(marks, 90)  # type: ignore[arg-type]
    assert (wide.shape[1], narrow.shape[1]) == (3000, 90)
    assert narrow.shape[0] > 10 * wide.shape[0]
    assert draw_legend((), 50).shape == (0, 50, 3)


# --- the commands ---


def test_the_command_draws_and_says_what_it_shows(cli: Cli) -> None:
    said = cli("preview", *TINY, "model=valid", "augmentation=paper", "loss=border_weighted", "preview=3")
    path = Path(said.out.splitlines()[-1])
    assert (path.name, path.parent.parent) == ("preview.png", Path("outputs/preview"))
    assert read_image(path).shape[2] == 3
    assert "the first 3 patches: augmentation=paper, seed=0" in said.out
    assert "input 48 x 48 pixels of 1 channel; labelled patch 32 x 32" in said.out
    assert not Path("outputs/train").exists()


def test_there_are_no_more_patches_than_in_an_epoch() -> None:
    job = prepared()
    facts = make_preview(job, 100).facts
    assert facts[0].startswith("the first 8 patches, all of an epoch (preview=100): ")


def test_a_training_draws_the_same_into_its_folder(train: Train) -> None:
    words = ("model=same", "augmentation=flips", "trainer.max_steps=1")
    shown = train(*words, "preview=2")
    np.testing.assert_array_equal(read_image(shown.preview), make_preview(prepared(*words), 2).picture)
    assert "preview" not in shown.read_config(), "it is no condition of the results"


@pytest.mark.slow
def test_a_preview_changes_no_result(train: Train) -> None:
    words = ("model=same", "augmentation=strong")
    plain, shown = train(*words), train(*words, "preview=2")
    assert not plain.preview.exists()
    assert summary(shown)["metrics"] == summary(plain)["metrics"]


@pytest.mark.parametrize(
    ("words", "mistake"),
    [
        (["preview=-1"], "preview=-1"),
        (["preview=many"], "preview='many': should be a valid integer"),
        pytest.param(["preview=1.5"], "preview=1.5", marks=pytest.mark.slow),
        pytest.param(["preview=101"], "preview=101", marks=pytest.mark.slow),
        (["preview=0"], "preview=0: there is nothing to show; give the number of patches, from 1 to 100"),
        (["resume=outputs/train/x"], "resume=outputs/train/x: it shows the start of a new training; leave it out"),
        pytest.param(
            ["rerun=outputs/train/x"],
            "rerun=outputs/train/x: it shows the start of a new training",
            marks=pytest.mark.slow,
        ),
        (["search=optuna"], "search=optuna: it shows one training"),
        pytest.param(["augmentation=papper"], "augmentation=papper", marks=pytest.mark.slow),
        pytest.param(["previw=3"], "previw", marks=pytest.mark.slow),
        (["-m"], "unknown option -m"),
        pytest.param(["seed=0,1"], "seed=0,1", marks=pytest.mark.slow),
        pytest.param(["data.tile=0"], "data.tile=0", marks=pytest.mark.slow),
    ],
)
def test_mistakes_are_told_in_one_line(cli: Cli, words: list[str], mistake: str) -> None:
    assert mistake in cli("preview", *TINY, *words).mistake
    assert not Path("outputs").exists()


def test_a_training_that_goes_on_has_no_preview(cli: Cli) -> None:
    said = cli("train", *TINY, "resume=outputs/train/x", "preview=4")
    assert "outputs/train/x" in said.mistake
