"""What can hardly be meant in a training, found before its first step: shown, recorded, and counted over a sweep."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from unet_exp.config.model import EncoderModelConfig
from unet_exp.config.user_data import UserDataConfig
from unet_exp.samples.group_counts import warn_of_single_groups

if TYPE_CHECKING:
    from unet_exp.training.prepare import Job


def list_warnings(job: "Job") -> Iterator[str]:
    """What the settings of a checked training make of its images and steps: a sentence each."""
    yield from _warn_of_early_end(job)
    yield from _warn_of_images(job)


def collect_warnings(job: "Job") -> list[str]:
    """All that a run records: what was warned of while it was prepared, and `list_warnings`."""
    return [*job.warned, *list_warnings(job)]


@contextmanager
def gather_warnings() -> Iterator[list[str]]:
    """Collects what the project warns of in this block; it is shown as ever."""
    gatherer, ours = _Gatherer(logging.WARNING), logging.getLogger("unet_exp")
    gatherer.shows = not ours.hasHandlers()  # Python shows what nobody handles, and now somebody does
    ours.addHandler(gatherer)
    try:
        yield gatherer.told
    finally:
        ours.removeHandler(gatherer)


class _Gatherer(logging.Handler):
    """Keeps messages, and shows them where nobody else does."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.told: list[str] = []
        self.shows = False

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(record.getMessage())
        if self.shows and logging.lastResort is not None:
            logging.lastResort.handle(record)


def _warn_of_early_end(job: "Job") -> Iterator[str]:
    """Says which beginnings of the training it does not outlast."""
    if job.steps is None:
        return
    ends = f"the training ends after {job.steps} steps, within"
    warmup, model = job.config.scheduler.warmup_steps, job.config.model
    if warmup >= job.steps:
        yield f"{ends} scheduler.warmup_steps={warmup}: optimizer.lr is never reached"
    frozen = model.freeze_epochs if isinstance(model, EncoderModelConfig) else 0
    if frozen * job.steps_per_epoch >= job.steps:
        yield f"{ends} model.freeze_epochs={frozen}: the encoder learns nothing"


def _warn_of_images(job: "Job") -> Iterator[str]:
    """Says what is wrong with the images beside the patches and the split."""
    dataset, tile = job.dataset, job.config.data.tile
    sides = dataset.train.facts.sizes.min(axis=1)
    if small := int((sides < tile).sum()):
        yield (
            f"{small} of {len(sides)} training images are smaller than data.tile={tile}: the rest of a patch is "
            f"mirrored; data.tile={int(np.median(sides))} or less takes less time"
        )
    if seen := int(job.module.record.find_trained_on(dataset.val.facts.digests).sum()):
        yield (
            f"{seen} of {len(dataset.val)} validation images are trained on too: val/loss and all of val/... say "
            "nothing about new images"
        )
    data = job.config.data
    if isinstance(data, UserDataConfig) and not data.folds:  # with folds each group tests in its turn
        alone = warn_of_single_groups(dataset.groups, data.split == "fractions")
        yield from [alone] if alone else []
