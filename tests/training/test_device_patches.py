"""Patches that are made in batch, as on a GPU, are those that the loader makes on the CPU."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY, composed, summary
from devices import needs_cuda, on_each_device
from numpy.typing import NDArray
from patterns import smooth
from resuming import Part, Train, breaking, check_equal
from torch import Tensor

from unet_exp import losses
from unet_exp.checkpoints.reading import read_content
from unet_exp.config import IGNORE_LABEL, ClassSpec, Config, parse
from unet_exp.data.sets.synthetic import generate
from unet_exp.errors import ConfigError
from unet_exp.network import center_crop
from unet_exp.runs.conditions import Conditions
from unet_exp.samples.data_set import DataSet
from unet_exp.samples.normalization import Normalization
from unet_exp.samples.sample import Sample
from unet_exp.training.datamodule import SegmentationData
from unet_exp.training.device_patches import resolve_place

CLASSES = (
    ClassSpec(name="membrane", value=0, color=[0, 0, 0]),
    ClassSpec(name="cell", value=255, color=[255, 255, 255]),
)
SMALL = ("data.batch_size=3", "data.tile=36", "model=same", "model.depth=3", "model.width=2")
GENTLE = ("augmentation=strong", "augmentation.noise=0.05")
Batch = dict[str, Any]


def config(*words: str) -> Config:
    return parse(composed(*SMALL, *words))


def cells(height: int, width: int, index: int, channels: int = 1, instances: bool = True, holes: int = 0) -> Sample:
    """A generated label with ignored pixels beside a smooth image; the hole has no data."""
    made = generate(height, width, 0, index)
    image, label, ids = smooth(height, width, channels), made.label.copy(), made.instances.copy()
    label[: height // 3, : width // 3] = IGNORE_LABEL
    valid: NDArray[np.bool_] | None = None
    if holes:
        valid = np.ones((height, width), bool)
        valid[-holes:, -holes:] = False
        image[~valid], label[~valid], ids[~valid] = 0, IGNORE_LABEL, 0
    return Sample(f"{index}", image, label, ids if instances else None, valid)


def data_set(*samples: Sample) -> DataSet:
    return DataSet.of(list(samples), list(samples[:1]), (), (), CLASSES, channels=samples[0].image.shape[2])


def epoch_of(data: SegmentationData, epoch: int = 1) -> list[Batch]:
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)  # type: ignore[union-attr]
    return list(loader)


def made_on(data: SegmentationData, device: str) -> list[Batch]:
    """The batches of an epoch as `training_step` gets them, moved as Lightning moves them."""
    moved = [
        {name: value.to(device) if isinstance(value, Tensor) else value for name, value in batch.items()}
        for batch in epoch_of(data)
    ]
    return [data.on_after_batch_transfer(batch, 0) for batch in moved]


@on_each_device
@pytest.mark.parametrize("word", ["paper", "strong"])
@pytest.mark.parametrize(
    ("words", "samples"),
    [
        (("loss=border_weighted",), [partial(cells, 90, 120, 0), partial(cells, 70, 60, 1), partial(cells, 40, 90, 2)]),
        (
            ("loss=border_weighted", "loss.where=everywhere", "loss.open_touching=false", "model=valid"),
            [partial(cells, 90, 120, 0, 3, instances=False), partial(cells, 50, 60, 1, 3, instances=False)],
        ),
        (("loss=border_weighted",), [partial(cells, 90, 120, 0, 2, holes=30), partial(cells, 90, 80, 1, 2)]),
        (("loss=dice",), [partial(cells, 60, 120, 0, 5), partial(cells, 34, 37, 1, 5, holes=5)]),
        (("loss=border_weighted", "model.depth=2"), [partial(cells, 60, 120, 0)]),  # the map reaches beyond the input
    ],
)
def test_a_batch_is_that_of_the_cpu(
    word: str, words: tuple[str, ...], samples: list[Callable[[], Sample]], device: str
) -> None:
    settings, dataset = config(f"augmentation={word}", *words), data_set(*(sample() for sample in samples))
    normalization = Normalization(mode="image")
    alone = epoch_of(SegmentationData(settings, dataset, normalization))
    made = made_on(SegmentationData(settings, dataset, normalization, on_device=True), device)
    assert len(made) == len(alone) > 1
    tile, weighted = settings.data.tile, "weights" in alone[0]
    for one, batch in zip(made, alone, strict=True):
        other = {name: value for name, value in batch.items() if isinstance(value, Tensor)}
        assert one.keys() == {*other, "patches"}
        assert all(one[name].dtype == other[name].dtype for name in other)
        assert one["image"].shape == other["image"].shape
        assert one["label"].shape[1:] == (tile, tile)
        label = center_crop(other["label"], tile)
        assert one["patches"] == losses.count_images(label)
        found = {name: value.cpu() for name, value in one.items() if name != "patches"}
        far = (found["image"] - other["image"]).abs()
        # A pixel half way between data and a hole may belong to either.
        assert (far > 0.03).float().mean() < 1e-3
        assert (found["label"] != label).float().mean() < 2e-3
        if weighted:
            weights = center_crop(other["weights"], tile)
            assert ((found["weights"] - weights).abs() > 1e-5).float().mean() < 1e-2
    if weighted:
        assert max(one["weights"].max() for one in made) > 1


def test_pixels_without_data_stay_0() -> None:
    settings = config("augmentation=strong", "augmentation.brightness=3", "augmentation.probability=1", "loss=dice")
    dataset = data_set(cells(60, 60, 0, holes=30), cells(60, 60, 1))
    data = SegmentationData(settings, dataset, Normalization(mode="image"), on_device=True)
    zeros = torch.cat([(batch["image"] == 0).flatten(1).float().mean(1) for batch in made_on(data, "cpu")])
    assert zeros.max() > 0.05
    assert zeros.min() == 0


def test_a_patch_without_a_pixel_that_counts_is_none() -> None:
    blank = Sample("blank", smooth(60, 60), np.full((60, 60), IGNORE_LABEL, np.uint8))
    settings = config("augmentation=paper", "loss=dice", "data.batch_size=8")
    data = SegmentationData(
        settings, data_set(blank, cells(60, 60, 1, instances=False)), Normalization(mode="none"), 1, True
    )
    (batch,) = made_on(data, "cpu")
    assert 0 < batch["patches"] < 8
    assert batch["patches"] == losses.count_images(batch["label"])


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_batches_are_equal_for_any_number_of_workers() -> None:
    dataset = data_set(cells(90, 120, 0), cells(70, 60, 1))
    words = (*GENTLE, "loss=border_weighted")
    alone, shared = (
        made_on(
            SegmentationData(
                config(*words, f"data.num_workers={workers}"), dataset, Normalization(mode="image"), 1, True
            ),
            "cpu",
        )
        for workers in (0, 2)
    )
    for one, other in zip(alone, shared, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in ("image", "label", "weights"))
        assert one["patches"] == other["patches"]
    images = torch.cat([batch["image"] for batch in alone])
    assert len({image.numpy().tobytes() for image in images}) == len(images), "no draw is like another"


# --- trainings ---

WORDS = (
    "augmentation=paper", "loss=border_weighted", "data.tiles_per_epoch=10", "data.batch_size=2",
    "trainer.max_steps=8", "trainer.accumulate=1", "data.folds=4", "data.fold=1",
)  # fmt: skip


@pytest.fixture
def on_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings take this for a GPU."""
    monkeypatch.setattr("unet_exp.training.prepare.resolve_place", lambda *_: "gpu")


def weights_of(folder: Any) -> dict[str, Tensor]:
    found: dict[str, Tensor] = read_content(folder.last)["state_dict"]
    return found


@pytest.mark.slow
@pytest.mark.usefixtures("on_the_gpu")
def test_a_resumed_training_is_equal_bit_by_bit(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part: Part = breaking(train, tmp_path, monkeypatch)
    undisturbed = train(*WORDS)
    folder = part(*WORDS, "data.num_workers=2", batch=6)
    check_equal(train(f"resume={folder.path}", *WORDS), undisturbed)
    assert summary(undisturbed)["augmented_on"] == "gpu"


@pytest.mark.slow
def test_a_training_learns_what_it_learns_on_the_cpu(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    words = (*WORDS, "optimizer=sgd", "optimizer.lr=0.01")
    alone = train(*words)
    assert summary(alone)["augmented_on"] == "cpu"
    monkeypatch.setattr("unet_exp.training.prepare.resolve_place", lambda *_: "gpu")
    other = train(*words)
    first, second = weights_of(alone), weights_of(other)
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=0, atol=1e-3)


# --- where ---


@pytest.mark.parametrize(
    ("words", "device", "place"),
    [
        ("device=auto", "cpu", "cpu"), ("device=auto", "mps", "cpu"),
        ("device=auto data.num_workers=8 data.batch_size=4", "cuda", "gpu"),
        ("device=auto data.num_workers=0 data.batch_size=1", "cuda", "gpu"),
        ("device=auto data.num_workers=8 data.batch_size=3", "cuda", "cpu"),
        ("device=cpu data.batch_size=8", "cuda", "cpu"), ("device=gpu data.batch_size=1", "cuda", "gpu"),
    ],
)  # fmt: skip
def test_it_is_where_it_should_be(words: str, device: str, place: str) -> None:
    for augmentation in ("paper", "strong"):
        found = config(f"augmentation={augmentation}", *f"augmentation.{words}".split())
        assert resolve_place(found, torch.device(device), 1) == place


def test_a_resumed_training_goes_on_where_it_was() -> None:
    few, many = (config("augmentation=paper", "data.num_workers=8", f"data.batch_size={size}") for size in (1, 8))
    assert resolve_place(few, torch.device("cuda"), 1, "gpu") == "gpu"
    assert resolve_place(many, torch.device("cuda"), 1, "cpu") == "cpu"
    assert resolve_place(many, torch.device("cpu"), 1, "gpu") == "cpu"


def test_without_deformation_all_is_on_the_cpu() -> None:
    for word in ("none", "flips"):
        assert resolve_place(config(f"augmentation={word}"), torch.device("cuda"), 1) == "cpu"


def test_a_cpu_is_no_gpu() -> None:
    asked = config("augmentation=paper", "augmentation.device=gpu")
    for device in ("cpu", "mps"):
        with pytest.raises(ConfigError) as mistake:
            resolve_place(asked, torch.device(device), 1)
        assert str(mistake.value) == (
            f"augmentation.device=gpu needs a training on CUDA, and this one is on {device}; take auto or cpu"
        )


def test_an_earlier_config_means_the_cpu() -> None:
    values = composed("augmentation=paper")
    augmentation = {key: value for key, value in values["augmentation"].items() if key != "device"}
    found = parse({**values, "augmentation": augmentation})
    assert resolve_place(found, torch.device("cuda"), 1) == "cpu"


def test_another_place_is_named() -> None:
    before, now = Conditions(augmented_on="gpu"), Conditions(augmented_on="cpu")
    assert list(before.list_changes(now)) == ["patches augmented on (augmentation.device): gpu then, cpu now"]
    assert not list(Conditions().list_changes(now))


# --- on a GPU ---


@needs_cuda
def test_a_training_on_a_gpu_deforms_there(train: Train) -> None:
    base = [word for word in TINY if not word.startswith("trainer.accelerator")]
    folder = train(*WORDS, "trainer.accelerator=cuda", "trainer.devices=1", base=base)
    assert summary(folder)["augmented_on"] == "gpu"
    assert summary(folder)["device"].startswith("cuda")


@needs_cuda
@pytest.mark.parametrize("words", [("augmentation=paper",), ("augmentation=strong", "augmentation.probability=1")])
def test_nothing_waits_for_the_gpu(words: tuple[str, ...]) -> None:
    dataset = data_set(cells(90, 120, 0, holes=9), cells(70, 60, 1))
    settings = config(*words, "loss=border_weighted")
    data = SegmentationData(settings, dataset, Normalization(mode="image"), on_device=True)
    batches = [
        {name: value.cuda() if isinstance(value, Tensor) else value for name, value in batch.items()}
        for batch in epoch_of(data)
    ]
    data.on_after_batch_transfer(batches[0], 0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for batch in batches:
            data.on_after_batch_transfer(batch, 0)
    finally:
        torch.cuda.set_sync_debug_mode("default")
