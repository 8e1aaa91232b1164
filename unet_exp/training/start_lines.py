"""What a training says before its first step: what it will do, where its results go, and what cannot be meant."""

from collections.abc import Iterator

import torch
from rich.console import Console

from unet_exp.console import join_names
from unet_exp.files import shorten_path
from unet_exp.geometry import Architecture, EncoderArchitecture, layer_table, output_size, short_count
from unet_exp.inference.scoring import list_choosing
from unet_exp.inference.tta import count_versions
from unet_exp.runs.conditions import PRECISIONS
from unet_exp.runs.run_folder import RunFolder
from unet_exp.samples.data_set import SPLITS
from unet_exp.samples.group_counts import describe_counts
from unet_exp.training.loggers import TrainingLogger
from unet_exp.training.prepare import Job
from unet_exp.training.sanity import list_warnings

_WIDTH = 10  # of the titles, at least


def show_start(job: Job, folder: RunFolder, logger: TrainingLogger, console: Console) -> None:
    """Prints a line for each thing to know; with `verbose=true` also the U-Net layer by layer."""
    architecture = job.module.network.architecture
    layers = layer_table(architecture, job.datamodule.input_size) if isinstance(architecture, Architecture) else []
    rows = [*_describe(job, folder, logger)]
    width = max(_WIDTH, *(len(title) + 2 for title, _ in rows))
    lines = (f"{title:<{width}}{line}" for title, line in rows)
    warnings = (f"warning: {line}" for line in list_warnings(job))
    for line in (*(layers if job.config.verbose else ()), *lines, *warnings):
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
    counts = describe_counts({part: len(getattr(job.dataset, part)) for part in SPLITS}, job.dataset.groups)
    yield "images", ", ".join(f"{count} {_WORDS[part]}" for part, count in counts.items())
    tile, side = data.tile, job.datamodule.input_size
    seen = "" if side == tile else f", of which the network sees {side} x {side}"
    yield "patches", f"{job.datamodule.tiles} an epoch in batches of {data.batch_size}, {tile} x {tile} pixels{seen}"
    yield "steps", _describe_steps(job)
    yield from (("", line) for line in _describe_sharing(job))
    if test := _describe_test(job):
        yield "test", test
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
    trainer, each = job.config.trainer, job.steps_per_epoch
    ends = [] if job.steps is None else [f"{job.steps:,}"]
    if trainer.max_time is not None:
        unit = " s" if isinstance(trainer.max_time, int) else ""
        ends.append(f"trainer.max_time={trainer.max_time}{unit}")
    start = f"{' or '.join(ends)}, {each} an epoch; validated"
    if job.steps is not None and job.steps <= trainer.val_every_epochs * each:
        return f"{start} once, at the end"
    every = "each epoch" if trainer.val_every_epochs == 1 else f"every {trainer.val_every_epochs} epochs"
    return f"{start} {every}, the best by {trainer.monitor} is kept"


def _describe_test(job: Job) -> str:
    """What is predicted at the end, which may take longer than the training; empty for nothing."""
    data, settings, inference = job.dataset, job.config.metrics, job.config.inference
    drawn = len(data.unlabelled) if settings.pictures is None else min(settings.pictures, len(data.unlabelled))
    counts = {"image": len(data.test), "unlabelled one": drawn}
    parts = [f"{count:,} {noun}{'s' * (count > 1)}" for noun, count in counts.items() if count]
    if data.test and data.val and list_choosing(data, settings):
        parts.append(f"the {len(data.val):,} to validate once more (for thresholds)")
    versions = count_versions(inference)
    times = f"; each predicted {versions} times (inference={inference.name})" if versions > 1 and parts else ""
    return join_names(parts) + times


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
