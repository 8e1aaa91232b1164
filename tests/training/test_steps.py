"""What an optimizer step is the mean over, beside a plain loop of PyTorch over the same patches."""

import math
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import summary, table
from resuming import Part, Train, breaking, check_equal, in_a_child, in_two_processes, newest
from torch import Tensor, nn

from unet_exp.checkpoints.reading import read_content
from unet_exp.config import IGNORE_LABEL
from unet_exp.network import center_crop
from unet_exp.runs.run_folder import RunFolder
from unet_exp.training.draws import Draw
from unet_exp.training.module import SegmentationModule
from unet_exp.training.patches import PatchDataset

PLAIN = (
    "model=same", "loss=cross_entropy", "loss.class_weights=null", "optimizer=sgd", "optimizer.lr=0.1",
    "optimizer.momentum=0.9", "optimizer.weight_decay=0.01", "scheduler=none", "augmentation=none",
)  # fmt: skip
Batch = dict[str, Tensor]


class Recorder:
    """Records the weights at the start of a training, and its batches by epoch."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.start: dict[str, Tensor] = {}
        self.epochs: list[list[Batch]] = []
        genuine = SegmentationModule.training_step

        def step(module: SegmentationModule, batch: Batch, index: int) -> Any:
            if not self.start:
                self.start = {key: value.detach().clone() for key, value in module.network.state_dict().items()}
            if index == 0:
                self.epochs.append([])
            self.epochs[-1].append({key: batch[key].clone() for key in ("image", "label")})
            return genuine(module, batch, index)

        monkeypatch.setattr(SegmentationModule, "training_step", step)


def trained(folder: RunFolder) -> dict[str, Tensor]:
    content = read_content(folder.last)["state_dict"]
    return {key.removeprefix("network."): value for key, value in content.items() if key.startswith("network.")}


def plain_loop(
    folder: RunFolder, start: dict[str, Tensor], steps: list[list[Batch]], clip: float | None = None
) -> dict[str, Tensor]:
    """Trains from `start`: a step is the mean over all patches of its batches; a patch without a label is none."""
    module = SegmentationModule.load_from_checkpoint(folder.last, weights_only=True)
    module.network.load_state_dict(start)
    module.train()
    optimizer = torch.optim.SGD(module.network.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    tile = module.config.data.tile
    for batches in steps:
        images, labels = (torch.cat([batch[key] for batch in batches]) for key in ("image", "label"))
        labels = center_crop(labels, tile).long()
        seen = [index for index, label in enumerate(labels) if (label != IGNORE_LABEL).any()]
        if not seen:
            continue
        logits = center_crop(module(images[seen]), tile)
        optimizer.zero_grad()
        sum(
            nn.functional.cross_entropy(logits[place][None], labels[index][None], ignore_index=IGNORE_LABEL) / len(seen)
            for place, index in enumerate(seen)
        ).backward()  # type: ignore[union-attr]
        if clip is not None:
            nn.utils.clip_grad_norm_(module.network.parameters(), clip)
        optimizer.step()
    found: dict[str, Tensor] = module.network.state_dict()
    return found


def in_windows(epochs: list[list[Batch]], accumulate: int) -> list[list[Batch]]:
    return [epoch[first : first + accumulate] for epoch in epochs for first in range(0, len(epoch), accumulate)]


def check_close(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for key, value in one.items():
        torch.testing.assert_close(value, other[key], rtol=1e-4, atol=1e-6)


def ignore(monkeypatch: pytest.MonkeyPatch, positions: Collection[int]) -> None:
    """The patches at these positions of an epoch have no pixel that counts."""
    genuine = PatchDataset.__getitem__

    def cut(dataset: PatchDataset, draw: Draw) -> Batch:
        patch = genuine(dataset, draw)
        if draw.position in positions:
            patch["label"] = torch.full_like(patch["label"], IGNORE_LABEL)
        return patch

    monkeypatch.setattr(PatchDataset, "__getitem__", cut)


@pytest.mark.parametrize(
    ("accumulate", "batch", "tiles", "more", "clip"),
    [
        pytest.param(8, 2, 4, "", None, marks=pytest.mark.slow),  # never as many batches as there should be
        (3, 2, 10, "", None),  # three batches, then two
        pytest.param(2, 4, 14, "", None, marks=pytest.mark.slow),  # the last batch of a whole window has two patches
        (3, 4, 14, "", None),  # the last window is one batch of two patches
        (8, 2, 4, "trainer.clip_norm=2", 2),  # between a quarter of the gradient and the whole
        pytest.param(3, 2, 20, "trainer.limit_batches=4", None, marks=pytest.mark.slow),  # three batches, then one
    ],
)
def test_a_step_is_the_mean_over_the_patches_of_its_real_window(
    train: Train, monkeypatch: pytest.MonkeyPatch, accumulate: int, batch: int, tiles: int, more: str, clip: float
) -> None:
    recorder = Recorder(monkeypatch)
    folder = train(
        *PLAIN, f"trainer.accumulate={accumulate}", f"data.batch_size={batch}", f"data.tiles_per_epoch={tiles}",
        "trainer.max_steps=null", "trainer.max_epochs=2", *more.split(),
    )  # fmt: skip
    steps = in_windows(recorder.epochs, accumulate)
    assert summary(folder)["steps"] == len(steps)
    check_close(trained(folder), plain_loop(folder, recorder.start, steps, clip))


def lightning_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps as Lightning takes them."""

    def step(module: SegmentationModule, batch: Batch, index: int) -> Tensor:
        del index
        tile = module.config.data.tile
        loss: Tensor = module.loss(center_crop(module(batch["image"]), tile), center_crop(batch["label"], tile))
        module.losses.add(loss, module.global_step, module.rate)
        return loss

    monkeypatch.setattr(SegmentationModule, "training_step", step)
    monkeypatch.delattr(SegmentationModule, "on_before_optimizer_step")


@pytest.mark.slow
@pytest.mark.parametrize("words", ["trainer.accumulate=3 data.tiles_per_epoch=12", "data.tiles_per_epoch=5"])
def test_no_bit_of_whole_windows_and_single_batches_changes(
    train: Train, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    settings = (*PLAIN, "data.batch_size=2", "trainer.max_steps=4", *words.split())
    folder = train(*settings)
    with monkeypatch.context() as patch:
        lightning_alone(patch)
        check_equal(folder, train(*settings))


@pytest.mark.slow
def test_a_step_is_the_same_mean_after_a_resume_in_mid_epoch(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part: Part = breaking(train, tmp_path, monkeypatch)
    words = (*PLAIN, "trainer.accumulate=3", "data.batch_size=2", "data.tiles_per_epoch=10", "trainer.max_steps=4")
    recorder = Recorder(monkeypatch)
    whole = train(*words)
    folder = part(*words, batch=4)  # the second batch of the incomplete window
    assert read_content(folder.last)["global_step"] == 1
    train(f"resume={folder.path}", *words)
    check_equal(folder, whole)
    check_close(trained(folder), plain_loop(whole, recorder.start, in_windows(recorder.epochs[:2], 3)))


@pytest.mark.slow
@pytest.mark.parametrize("ignored", [(), (0, 2, 4), (6, 7, 8, 9)])  # all of the first process's window, a whole step
def test_a_step_is_the_mean_over_the_patches_of_all_processes(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ignored: tuple[int, ...]
) -> None:
    words = (*PLAIN, "trainer.accumulate=3", "data.batch_size=1", "data.tiles_per_epoch=10", "trainer.devices=2")
    words = (*words, "trainer.max_steps=null", "trainer.max_epochs=2")
    ignore(monkeypatch, ignored)

    def run() -> None:
        recorder = Recorder(monkeypatch)
        train(*words)
        torch.save((recorder.start, recorder.epochs), tmp_path / f"{os.environ['LOCAL_RANK']}.pt")

    in_a_child(lambda: in_two_processes(run), ends=0)
    (start, first), (_, second) = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    steps = [one + other for one, other in zip(in_windows(first, 3), in_windows(second, 3), strict=True)]
    assert [len(step) for step in steps] == [6, 4, 6, 4]
    folder = newest(tmp_path)
    check_close(trained(folder), plain_loop(folder, start, steps))


# --- patches on which no pixel counts ---


@pytest.mark.slow
@pytest.mark.parametrize(
    ("accumulate", "ignored"),
    [
        (1, (2, 3)),  # a batch that is a step
        (3, (0, 1)),  # the first batch of a step
        (3, (1, 4)),  # a patch of two batches
        (3, (6, 7, 8, 9)),  # all of the last step
        (3, range(10)),
    ],
)
def test_a_patch_on_which_no_pixel_counts_is_no_part_of_a_step_and_of_the_mean_loss(
    train: Train, monkeypatch: pytest.MonkeyPatch, accumulate: int, ignored: Collection[int]
) -> None:
    ignore(monkeypatch, ignored)
    recorder = Recorder(monkeypatch)
    words = (f"trainer.accumulate={accumulate}", "data.batch_size=2", "data.tiles_per_epoch=10")
    folder = train(*PLAIN, *words, "trainer.max_steps=null", "trainer.max_epochs=2")
    steps = in_windows(recorder.epochs, accumulate)
    assert summary(folder)["steps"] == len(steps), "a step without any patch is counted, for schedules and limits"
    check_close(trained(folder), plain_loop(folder, recorder.start, steps))
    losses = [float(row["train/loss"]) for row in table(folder.metrics)]
    if len(ignored) == 10:
        assert all(math.isnan(loss) for loss in losses)
        return
    # The first epoch's mean by hand, for steps of one batch: the loss of each before its step.
    if accumulate == 1:
        expected = []
        for number, step in enumerate(steps[:5]):
            if number == 1:
                continue
            before = plain_loop(folder, recorder.start, steps[:number])
            expected.append(loss_of(folder, before, step[0]))
        assert losses[0] == pytest.approx(sum(expected) / 4, rel=1e-5)


def loss_of(folder: RunFolder, weights: dict[str, Tensor], batch: Batch) -> float:
    module = SegmentationModule.load_from_checkpoint(folder.last, weights_only=True)
    module.network.load_state_dict(weights)
    tile = module.config.data.tile
    logits, label = center_crop(module(batch["image"]), tile), center_crop(batch["label"], tile).long()
    return nn.functional.cross_entropy(logits, label, ignore_index=IGNORE_LABEL).item()


class MeanOfNothing(nn.Module):
    """PyTorch's own cross-entropy, which is nan where no pixel counts."""

    def forward(self, logits: Tensor, label: Tensor, pixel_weights: Tensor | None = None) -> Tensor:
        del pixel_weights
        return nn.functional.cross_entropy(logits.float(), label.long(), ignore_index=IGNORE_LABEL)


def test_a_loss_of_ones_own_that_is_nan_without_a_pixel_stops_no_training(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    ignore(monkeypatch, (0, 1, 5))
    recorder = Recorder(monkeypatch)
    loss = ("loss=custom", f"loss.target={__name__}.MeanOfNothing")
    words = ("trainer.accumulate=2", "data.batch_size=2", "data.tiles_per_epoch=10", "trainer.max_steps=3")
    folder = train(*[word for word in PLAIN if not word.startswith("loss")], *loss, *words)
    check_close(trained(folder), plain_loop(folder, recorder.start, in_windows(recorder.epochs, 2)))
