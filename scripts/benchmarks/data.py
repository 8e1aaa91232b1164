"""One sample of a training, as the loader gives it."""

from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.pairs import Goal, Pair
from benchmarks.parts import list_augmentations, list_weight_maps
from benchmarks.settings import Benchmark


def list_pairs(task: Benchmark) -> list[Pair]:
    """A sample of the paper's recipe beside its augmentation alone, and beside other libraries; the weight map."""
    augmentations = list_augmentations(task)
    alone = augmentations[0].first
    sample = Pair(
        "data", "a sample of the paper's recipe, 572, one process", "loader", "its augmentation alone",
        load_samples(["model=valid", "loss=border_weighted", "augmentation=paper", "data.batch_size=1",
                      "data.tile=388", "data.num_workers=0"]), alone, Goal("seconds", 25e-3),
    )  # fmt: skip
    return [sample, *augmentations, *list_weight_maps(task)]


def load_samples(words: list[str]) -> Callable[[], object]:
    """Takes the next batch of a training's loader, epoch after epoch."""
    from unet_exp.cli.command import read_command
    from unet_exp.config import Config
    from unet_exp.training.prepare import prepare

    words = [*words, "trainer.accelerator=cpu", "trainer.max_steps=1", "data.train_images=4"]
    words += ["data.val_images=1", "data.test_images=1"]
    config = read_command(words)
    assert isinstance(config, Config)
    module: Any = prepare(config, words).datamodule
    module.setup("fit")
    batches: Iterator[object] = iter(())

    def take() -> object:
        nonlocal batches
        batch = next(batches, None)
        if batch is None:
            batches = iter(module.train_dataloader())
            batch = next(batches)
        return batch

    return take
