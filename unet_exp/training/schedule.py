"""Optimizers and learning-rate schedules."""

import math
from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from torch.optim.lr_scheduler import LambdaLR, LinearLR, LRScheduler, ReduceLROnPlateau, SequentialLR

from unet_exp.config import OptimizerConfig, PlateauConfig, SchedulerConfig, TrainerConfig
from unet_exp.config.optimizer import (
    AnyOptimizerConfig,
    AnySchedulerConfig,
    TorchOptimizerConfig,
    TorchSchedulerConfig,
)
from unet_exp.errors import ConfigError
from unet_exp.metrics.declarations import Direction
from unet_exp.user_class import build_custom, load_class, takes_argument


def build_optimizer(
    config: OptimizerConfig, parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]]
) -> Optimizer:
    """Builds the optimizer of the config; `parameters` as PyTorch's optimizers take them, alone or in groups.

    Raises:
        ConfigError: if another class than those with words of their own does not fit.
    """
    if isinstance(config, AnyOptimizerConfig):
        return _build_any_optimizer(config, parameters)
    classes: dict[str, Any] = {"sgd": SGD, "adam": Adam, "adamw": AdamW, "rmsprop": RMSprop}
    optimizer: Optimizer = classes[config.name](parameters, **config.model_dump(exclude={"name"}))
    return optimizer


def _build_any_optimizer(
    config: AnyOptimizerConfig, parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]]
) -> Optimizer:
    path = f"torch.optim.{config.target}" if isinstance(config, TorchOptimizerConfig) else config.target
    base = Optimizer, "torch.optim.Optimizer"
    found = load_class(f"optimizer.target={config.target}", path, *base)
    given = {key: getattr(config, key) for key in ("lr", "weight_decay") if getattr(config, key) is not None}
    for key, value in given.items():
        if not takes_argument(found, key):
            raise ConfigError(f"optimizer.{key}={value}: {config.target} takes no {key}; leave it null")
    arguments, methods = {**given, **(config.params or {})}, {"step": ("closure",)}
    built: Optimizer = build_custom(
        "optimizer", path, arguments, methods, *base, first=(list(parameters),), shown=config.target
    )
    return built


def learning_rate_factor(config: SchedulerConfig, step: int, horizon: int) -> float:
    """The factor of the learning rate at a step.

    Args:
        config: any schedule of this project but `plateau`, which depends on the scores.
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


class AfterWarmUp(SequentialLR):
    """A linear rise of so many steps, then a schedule from its beginning."""

    def __init__(self, optimizer: Optimizer, warmup: int, schedule: LRScheduler) -> None:
        self._warmup = warmup
        super().__init__(optimizer, [_rise(optimizer, warmup), schedule], [warmup])

    def step(self) -> None:  # type: ignore[override]
        """Ends the rise at the learning rate from which a schedule may go on."""
        if self.last_epoch + 1 == self._warmup:
            for group in self.optimizer.param_groups:
                group["lr"] = group["initial_lr"]
        super().step()


def _rise(optimizer: Optimizer, warmup: int) -> LinearLR:
    """It multiplies by ratios of neighbours, and so keeps what another schedule has set."""
    return LinearLR(optimizer, 1 / (warmup + 1), total_iters=warmup)


def build_schedulers(
    config: SchedulerConfig, trainer: TrainerConfig, optimizer: Optimizer, horizon: int, mode: Direction
) -> list[dict[str, Any]]:
    """Builds the schedule in the form that Lightning reads.

    Args:
        config: of the schedule.
        trainer: has the monitored score.
        optimizer: whose learning rate it sets.
        horizon: optimizer steps of the whole training.
        mode: whether the best value of the monitored score is the smallest or the largest.

    Raises:
        ConfigError: if another class than those with words of their own does not fit.
    """
    if isinstance(config, AnySchedulerConfig):
        return _build_any_schedulers(config, optimizer)
    if config.name == "none" and not config.warmup_steps:
        return []
    if not isinstance(config, PlateauConfig):
        every_step: LRScheduler = LambdaLR(optimizer, lambda step: learning_rate_factor(config, step, horizon))
        return [{"scheduler": every_step, "interval": "step"}]
    schedulers: list[dict[str, Any]] = [
        {
            "scheduler": ReduceLROnPlateau(optimizer, mode, config.factor, config.patience),
            "interval": "epoch",
            "frequency": trainer.val_every_epochs,
            "monitor": trainer.monitor,
        }
    ]
    if config.warmup_steps:
        schedulers.insert(0, {"scheduler": _rise(optimizer, config.warmup_steps), "interval": "step"})
    return schedulers


def _build_any_schedulers(config: AnySchedulerConfig, optimizer: Optimizer) -> list[dict[str, Any]]:
    is_torch = isinstance(config, TorchSchedulerConfig)
    path = f"torch.optim.lr_scheduler.{config.target}" if is_torch else config.target
    schedule: LRScheduler = build_custom(
        "scheduler",
        path,
        config.params or {},
        {"step": ()},
        LRScheduler,
        "torch.optim.lr_scheduler.LRScheduler",
        first=(optimizer,),
        shown=config.target,
    )
    warmup = config.warmup_steps
    if warmup and config.interval == "step":
        schedule = AfterWarmUp(optimizer, warmup, schedule)
    schedulers: list[dict[str, Any]] = [{"scheduler": schedule, "interval": config.interval}]
    if warmup and config.interval == "epoch":
        schedulers.insert(0, {"scheduler": _rise(optimizer, warmup), "interval": "step"})
    return schedulers
