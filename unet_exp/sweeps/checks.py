"""What is checked before the first run of a sweep."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from rich.console import Console

from unet_exp import signals
from unet_exp.config import Config
from unet_exp.config.loggers import WandbConfig
from unet_exp.errors import ConfigError
from unet_exp.progress import watch
from unet_exp.runs.shared_warnings import count_warnings
from unet_exp.runs.wandb_variables import choose_mode, explain_unused
from unet_exp.sweeps.plan import SweepPlan
from unet_exp.sweeps.slurm_queue import require_slurm


def check_alone() -> None:
    """Refuses a sweep in several processes of torchrun or srun: each would run all of it."""
    started = {"torchrun": os.environ.get("WORLD_SIZE", ""), "srun": os.environ.get("SLURM_STEP_NUM_TASKS", "")}
    for program, count in started.items():
        if count.isdecimal() and int(count) > 1:
            raise ConfigError(
                f"{program} has started {count} processes, and each would run the whole sweep: start one, and share "
                "its runs out by hydra/launcher=..."
            )


def explain_unused_variables(plan: SweepPlan) -> str | None:
    """Names the variables of W&B that have no effect on any run; None where W&B writes nothing, or there is none."""
    settings = [config.logger for config in plan.configs if isinstance(config.logger, WandbConfig)]
    writes = any(choose_mode(logger.mode)[0] != "disabled" for logger in settings)
    return explain_unused() if writes else None


def check_data(plan: SweepPlan, console: Console) -> str | None:
    """Reads the data of every run and builds its network; once for runs that differ only in how they learn.

    It prints what the checks warn of, with how many runs it is so in.

    Returns:
        The fingerprint of the data, where a search is shared with machines that may have others.

    Raises:
        UserError: for what the user can correct.
    """
    target = str(plan.launcher["_target_"])
    if plan.slurm is not None:
        require_slurm()
    if "slurm" in target.lower():  # its machines may have other data and devices
        from unet_exp.metrics.declarations import check_monitor

        for config in plan.configs:
            check_monitor(config.trainer.monitor, config.metrics.own)
        return None

    with signals.defer():
        from unet_exp.training.prepare import prepare
        from unet_exp.training.sanity import collect_warnings

    alike: dict[str, list[Config]] = {}
    for config in plan.configs:
        key = config.model_dump_json(exclude={"seed", "name", "optimizer", "scheduler", "augmentation"})
        alike.setdefault(key, []).append(config)
    shared = plan.search is not None and plan.search.storage is not None
    images, warnings = None, []
    with watch("checking the runs", len(plan.configs)) as phase, _keep_quiet():
        for configs in alike.values():
            job = prepare(configs[0], [])
            _check_launcher(plan, job.device.type)
            images = job.conditions.data_fingerprint if shared else None
            warnings += [collect_warnings(replace(job, config=config)) for config in configs]
            phase.done += len(configs)
    for warning in count_warnings(warnings):
        console.print(f"warning: {warning}", soft_wrap=True)
    return images


@contextmanager
def _keep_quiet() -> Iterator[None]:
    """Python shows no warning of this block: they are told together."""
    handler, ours = logging.NullHandler(), logging.getLogger("unet_exp")
    ours.addHandler(handler)
    try:
        yield
    finally:
        ours.removeHandler(handler)


def _check_launcher(plan: SweepPlan, device: str) -> None:
    hides = str(plan.launcher["_target_"]).endswith("LocalLauncher") and not plan.launcher.get("gpus_per_node")
    if device == "cuda" and hides:
        raise ConfigError(
            "hydra/launcher=submitit_local hides the GPU from its runs: "
            "set hydra.launcher.gpus_per_node=1, or trainer.accelerator=cpu"
        )
