"""What a training says before its first step: what it will do, where its results go, and what cannot be meant."""

from collections.abc import Iterator

import numpy as np
import torch
from rich.console import Console

from unet_exp.config.model import EncoderModelConfig
from unet_exp.files import shorten_path
from unet_exp.geometry import Architecture, EncoderArchitecture, layer_table, output_size, short_count
from unet_exp.runs.conditions import PRECISIONS
from unet_exp.runs.run_folder import RunFolder
from unet_exp.samples.data_set import SPLITS, DataSet
from unet_exp.training.loggers import TrainingLogger
from unet_exp.training.prepare import Job, count_steps


def show_start(job: Job, folder: RunFolder, logger: TrainingLogger, console: Console) -> None:
    """Prints a line for each thing to know; with `verbose=true` also the U-Net layer by layer."""
    architecture = job.module.network.architecture
    layers = layer_table(architecture, job.datamodule.input_size) if isinstance(architecture, Architecture) else []
    lines = (f"{title:<10}{line}" for title, line in _describe(job, folder, logger))
    for line in (*(layers if job.config.verbose else ()), *lines, *list_warnings(job)):
        console.print(line, soft_wrap=True)


def _describe(job: Job, folder: RunFolder, logger: TrainingLogger) -> Iterator[tuple[str, str]]:
    """Titles and lines; the first lines of a block that has several have its title."""
    data, threads = job.config.data, torch.get_num_threads()
    yield "network", _describe_network(job)
    architecture = job.module.network.architecture
    if isinstance(architecture, EncoderArchitecture):
        yield "", architecture.describe_sight()
    precision = f"{PRECISIONS[job.precision]}, {job.module.layouts.training}"
    yield "device", f"{job.device}, {precision}, {threads} thread{'s' * (threads > 1)}"
    yield "images", ", ".join(f"{len(getattr(job.dataset, part))} {_WORDS[part]}" for part in SPLITS)
    tile, side = data.tile, job.datamodule.input_size
    seen = "" if side == tile else f", of which the network sees {side} x {side}"
    yield "patches", f"{job.datamodule.tiles} an epoch in batches of {data.batch_size}, {tile} x {tile} pixels{seen}"
    yield "steps", _describe_steps(job)
    yield from (("", line) for line in _describe_sharing(job))
    yield from logger.places
    yield "folder", shorten_path(folder.path)


_WORDS = dict(zip(SPLITS, ("to train", "to validate", "to test", "unlabelled"), strict=True))


def _describe_network(job: Job) -> str:
    """What it is, and what it costs."""
    architecture, model = job.module.network.architecture, job.config.model
    cost = f"{job.parameters:,} parameters"
    if job.macs is not None:
        cost += f", {short_count(job.macs)} multiply-adds a patch"
    if isinstance(architecture, Architecture):
        sizes = f"{architecture.depth} levels from {architecture.width} channels"
        return f"U-Net model={model.name} fusion={architecture.fusion}, {sizes}: {cost} (verbose=true: its layers)"
    if isinstance(architecture, EncoderArchitecture):
        return f"{architecture.describe()}: {cost}"
    size = job.datamodule.input_size
    return f"{architecture.target}: {size} -> {output_size(architecture, size)} pixels, {cost}"


def _describe_steps(job: Job) -> str:
    """When the training ends and what happens between."""
    trainer, each = job.config.trainer, count_steps(job.config, job.datamodule)
    ends = [] if job.steps is None else [f"{job.steps:,}"]
    ends += [] if trainer.max_time is None else [f"trainer.max_time={trainer.max_time}"]
    every = "each epoch" if trainer.val_every_epochs == 1 else f"every {trainer.val_every_epochs} epochs"
    return f"{' or '.join(ends)}, {each} an epoch; validated {every}, the best by {trainer.monitor} is kept"


def _describe_sharing(job: Job) -> Iterator[str]:
    """What a step of several processes is, and which patches they cannot share."""
    world, data, accumulate = job.place.world, job.config.data, job.config.trainer.accumulate
    if world == 1:
        if job.config.trainer.devices == "auto" and job.device.type == "cpu":
            yield "one process: on a CPU trainer.devices=auto is 1; trainer.devices=2 would be two"
        return
    accumulated = f" x {accumulate} accumulated" if accumulate > 1 else ""
    left, rate = job.datamodule.tiles % world, job.config.optimizer.lr
    yield (
        f"{world} processes x {data.batch_size} patches{accumulated}: a step has {world * data.batch_size * accumulate}"
        f" patches (effective batch); optimizer.lr={'null' if rate is None else rate} is used as typed, not scaled"
    )
    if left:
        yield (
            f"data.tiles_per_epoch: {job.datamodule.tiles} patches of an epoch cannot be shared out evenly, so each "
            f"epoch leaves out {left}"
        )


def list_warnings(job: Job) -> Iterator[str]:
    """What can hardly be meant: a sentence each."""
    yield from (f"warning: {line}" for line in (*_warn_of_early_end(job), *_warn_of_data(job, job.dataset)))


def _warn_of_data(job: Job, dataset: DataSet) -> Iterator[str]:
    """Says what is wrong with the images beside the patches and the split."""
    sides, tile = dataset.train.facts.sizes.min(axis=1), job.config.data.tile
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


def _warn_of_early_end(job: Job) -> Iterator[str]:
    """Says which beginnings of the training it does not outlast."""
    if job.steps is None:
        return
    ends = f"the training ends after {job.steps} steps, within"
    warmup, model = job.config.scheduler.warmup_steps, job.config.model
    if warmup >= job.steps:
        yield f"{ends} scheduler.warmup_steps={warmup}: optimizer.lr is never reached"
    frozen = model.freeze_epochs if isinstance(model, EncoderModelConfig) else 0
    if frozen * count_steps(job.config, job.datamodule) >= job.steps:
        yield f"{ends} model.freeze_epochs={frozen}: the encoder learns nothing"
