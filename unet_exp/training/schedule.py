"""Optimizers and learning-rate schedules."""

import math
from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from torch.optim.lr_scheduler import LambdaLR, LinearLR, LRScheduler, ReduceLROnPlateau

from unet_exp.config import OptimizerConfig, PlateauConfig, SchedulerConfig, TrainerConfig
from unet_exp.metrics.declarations import direction


def build_optimizer(
    config: OptimizerConfig, parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]]
) -> Optimizer:
    """Builds the optimizer of the config; `parameters` as PyTorch's optimizers take them, alone or in groups."""
    classes: dict[str, Any] = {"sgd": SGD, "adam": Adam, "adamw": AdamW, "rmsprop": RMSprop}
    optimizer: Optimizer = classes[config.name](parameters, **config.model_dump(exclude={"name"}))
    return optimizer


def learning_rate_factor(config: SchedulerConfig, step: int, horizon: int) -> float:
    """The factor of the learning rate at a step.

    Args:
        config: any schedule but `plateau`, which depends on the scores.
        step: optimizer steps already taken.
        horizon: optimizer steps of the whole training.

    Returns:
        A factor in 0..1: rising during `warmup_steps` (never 0, so that the first step counts), then by the shape.
    """
    warmup = config.warmup_steps
    if step < warmup:
        if config.name == "one_cycle":
            return config.start + (1 - config.start) * _half_cosine(1 - step / warmup)
        return (step + 1) / (warmup + 1)
    progress = min((step - warmup) / max(horizon - warmup, 1), 1.0)
    if config.name == "poly":
        return float((1 - progress) ** config.power)
    if config.name in ("cosine", "one_cycle"):
        return config.final + (1 - config.final) * _half_cosine(progress)
    return 1.0


def _half_cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))


def build_schedulers(
    config: SchedulerConfig, trainer: TrainerConfig, optimizer: Optimizer, horizon: int
) -> list[dict[str, Any]]:
    """Builds the schedule in the form that Lightning reads; `horizon` is in optimizer steps of the whole training."""
    if config.name == "none" and not config.warmup_steps:
        return []
    if not isinstance(config, PlateauConfig):
        every_step: LRScheduler = LambdaLR(optimizer, lambda step: learning_rate_factor(config, step, horizon))
        return [{"scheduler": every_step, "interval": "step"}]
    schedulers: list[dict[str, Any]] = [
        {
            "scheduler": ReduceLROnPlateau(optimizer, direction(trainer.monitor), config.factor, config.patience),
            "interval": "epoch",
            "frequency": trainer.val_every_epochs,
            "monitor": trainer.monitor,
        }
    ]
    if config.warmup_steps:
        # LinearLR multiplies by ratios of neighbours, and so keeps what the plateau has set.
        rise = LinearLR(optimizer, 1 / (config.warmup_steps + 1), total_iters=config.warmup_steps)
        schedulers.insert(0, {"scheduler": rise, "interval": "step"})
    return schedulers
