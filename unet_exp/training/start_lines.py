"""What a training says before its first step: the network, how processes share the work, what cannot be meant."""

from collections.abc import Iterator

from rich.console import Console

from unet_exp.config.model import EncoderModelConfig
from unet_exp.geometry import Architecture, EncoderArchitecture, layer_table, output_size
from unet_exp.training.prepare import Job, count_steps


def show_network(job: Job, console: Console) -> None:
    """Prints the U-Net layer by layer; of another network what is known."""
    architecture, size = job.module.network.architecture, job.datamodule.input_size
    if isinstance(architecture, Architecture):
        lines = layer_table(architecture, size)
    else:
        macs = "" if job.macs is None else f", {job.macs:,} MACs"
        sizes = f"{size} -> {output_size(architecture, size)} pixels"
        name = architecture.describe() if isinstance(architecture, EncoderArchitecture) else architecture.target
        lines = [f"{name}: {sizes}, {job.parameters:,} parameters{macs}"]
    if isinstance(architecture, EncoderArchitecture):
        lines.append(architecture.describe_sight())
    for line in [*lines, *_describe_sharing(job), *_warn_of_early_end(job)]:
        console.print(line, soft_wrap=True)


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


def _warn_of_early_end(job: Job) -> Iterator[str]:
    """Says which beginnings of the training it does not outlast."""
    if job.steps is None:
        return
    ends = f"warning: the training ends after {job.steps} steps, within"
    warmup, model = job.config.scheduler.warmup_steps, job.config.model
    if warmup >= job.steps:
        yield f"{ends} scheduler.warmup_steps={warmup}: optimizer.lr is never reached"
    frozen = model.freeze_epochs if isinstance(model, EncoderModelConfig) else 0
    if frozen * count_steps(job.config, job.datamodule) >= job.steps:
        yield f"{ends} model.freeze_epochs={frozen}: the encoder learns nothing"
