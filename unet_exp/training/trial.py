"""Tries what the user chose and this project does not know, before a training begins with it."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from unet_exp import augmentation
from unet_exp.config import IGNORE_LABEL, Config
from unet_exp.config.learning import CustomLossConfig
from unet_exp.config.model import EncoderModelConfig
from unet_exp.config.optimizer import AnyOptimizerConfig, AnySchedulerConfig
from unet_exp.errors import ConfigError, UserError
from unet_exp.losses.custom import try_loss
from unet_exp.metrics.own import OwnMetric
from unet_exp.samples.data_set import DataSet
from unet_exp.samples.sample import Region
from unet_exp.training.schedule import build_optimizer, build_schedulers
from unet_exp.user_class import describe_error

_STEPS = 6
_EPOCH = 2
"""Optimizer steps in a trial, and in an epoch of it."""
_TRIED = 256
"""The longest side of the image that a score of the user's is tried with, in pixels."""


def try_learning(config: Config) -> None:
    """Takes a few steps with another optimizer or schedule than those with words of their own, on tiny weights.

    Raises:
        ConfigError: if a class does not fit, cannot train, or would not go on exactly from a checkpoint.
    """
    with torch.random.fork_rng(devices=[]):  # the training draws the same numbers as without this
        if isinstance(config.optimizer, AnyOptimizerConfig):
            where = f"optimizer.target={config.optimizer.target}"
            _try(where, lambda: _try_optimizer(where, config))
        if isinstance(config.scheduler, AnySchedulerConfig):
            where = f"scheduler.target={config.scheduler.target}"
            _try(where, lambda: _try_schedule(where, config, config.scheduler))


def try_metrics(own: Sequence[OwnMetric], dataset: DataSet) -> None:
    """Scores a perfect prediction of the middle of a validation image, so that a mistake is told before the training.

    Args:
        own: the user's, built for this alone: those of the training have not seen it.
        dataset: the images.

    Raises:
        ConfigError: for it.
    """
    if not own or not dataset.val.facts.labelled.any():
        return
    index = int(dataset.val.facts.labelled.argmax())
    height, width = dataset.val.facts.sizes[index].tolist()
    rows, columns = min(height, _TRIED), min(width, _TRIED)
    sample = dataset.val.read(index, Region((height - rows) // 2, (width - columns) // 2, rows, columns))
    assert sample.label is not None
    counted = sample.label != IGNORE_LABEL
    perfect = np.where(counted, sample.label, 0).astype(np.uint8)
    for metric in own:
        shares = None
        if metric.takes_probabilities:
            shares = (perfect == np.arange(len(dataset.classes))[:, None, None]).astype(np.float32)
        metric.score(sample.name, sample.label, perfect, shares)


def try_patches(
    config: Config, dataset: DataSet, augmented: augmentation.Augmentation, size: int, weights: list[float] | None
) -> None:
    """Tries the augmentation on a patch of `size` pixels a side, and a loss of the user's own.

    Raises:
        ConfigError: for what is wrong with them.
    """
    first = dataset.train.read(0, Region(0, 0, 1, 1)).image
    augmentation.try_augmentation(config.augmentation, augmented, size, dataset.channels, first.dtype)
    if isinstance(config.loss, CustomLossConfig):
        try_loss(config.loss, weights, len(dataset.classes), config.data.tile)


def find_odd(state: Any) -> str | None:
    """The type of the first value in a state that a checkpoint cannot give back; None where there is none."""
    if state is None or type(state) in (bool, int, float, str) or isinstance(state, Tensor):
        return None
    if type(state) in (list, tuple):
        return next(filter(None, map(find_odd, state)), None)
    if isinstance(state, dict):
        return find_odd([*state, *state.values()])
    return type(state).__name__


def _try(where: str, trial: Any) -> None:
    try:
        trial()
    except UserError:
        raise
    except Exception as error:  # whatever the class does
        raise ConfigError(f"{where}: a step with it raises {describe_error(error)}") from error


class _Trial:
    """Tiny weights of the shapes that a network has, with the optimizer of a config and, perhaps, its schedule."""

    def __init__(self, config: Config, scheduled: bool) -> None:
        torch.manual_seed(0)
        shapes = ((2, 1, 3, 3), (2,), (2, 2, 1, 1), (2,))
        self.weights = nn.ParameterList(torch.randn(shape) for shape in shapes)
        groups: list[Any] = list(self.weights)
        if isinstance(config.model, EncoderModelConfig):
            groups = [{"params": groups[:2]}, {"params": groups[2:]}]
        self.optimizer: Optimizer = build_optimizer(config.optimizer, groups)
        schedulers = build_schedulers(config.scheduler, config.trainer, self.optimizer, 0, "max") if scheduled else []
        self.schedulers, self.calls, self.taken = schedulers, 0, 0

    def step(self) -> None:
        """A step of the optimizer, as Lightning takes it, and those of the schedules."""
        torch.manual_seed(self.taken)

        def compute_loss() -> Tensor:
            self.calls += 1
            self.optimizer.zero_grad()
            loss = torch.stack([(weight - torch.randn(weight.shape)).square().sum() for weight in self.weights]).sum()
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        self.optimizer.step(compute_loss)  # type: ignore[arg-type]
        self.taken += 1
        for scheduler in self.schedulers:
            if scheduler["interval"] == "step" or self.taken % _EPOCH == 0:
                scheduler["scheduler"].step()

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def rates(self, steps: int) -> list[float]:
        """The learning rates of so many steps."""
        found = []
        for _ in range(steps):
            found.append(self.rate)
            self.step()
        return found

    def states(self) -> list[Any]:
        """What a checkpoint keeps."""
        return [self.optimizer.state_dict(), *(scheduler["scheduler"].state_dict() for scheduler in self.schedulers)]

    def resume(self, earlier: "_Trial", states: Sequence[Any]) -> None:
        """Goes on where another was when it gave `states`."""
        self.weights.load_state_dict(earlier.weights.state_dict())
        for part, state in zip([self.optimizer, *(s["scheduler"] for s in self.schedulers)], states, strict=True):
            part.load_state_dict(state)
        self.taken = earlier.taken


def _try_optimizer(where: str, config: Config) -> None:
    first = _Trial(config, scheduled=False)
    before = [weight.clone() for weight in first.weights]
    for taken in range(1, 4):
        first.step()
        if first.calls != taken:
            often = "not once" if not first.calls else f"{first.calls // taken} times or more"
            raise ConfigError(
                f"{where}: its step must call the closure that it is given once, which computes the gradient, and "
                f"calls it {often}"
            )
    if all(torch.equal(weight, then) for weight, then in zip(first.weights, before, strict=True)):
        raise ConfigError(f"{where}: three steps with it change no weight; see optimizer.lr and optimizer.params")
    _check_resumed(where, config, first, scheduled=False)


def _try_schedule(where: str, config: Config, schedule: AnySchedulerConfig) -> None:
    first = _Trial(config, scheduled=True)
    for _ in range(_STEPS):
        first.step()
    _check_resumed(where, config, first, scheduled=True)
    if not schedule.warmup_steps:
        return
    warmup = min(schedule.warmup_steps, 3)
    rise = [(step + 1) / (warmup + 1) for step in range(warmup)]
    plain, warm = (
        _Trial(config.model_copy(update={"scheduler": schedule.model_copy(update={"warmup_steps": steps})}), True)
        for steps in (0, warmup)
    )
    start = plain.optimizer.param_groups[0]["initial_lr"]
    expected = plain.rates(_STEPS)
    if schedule.interval == "step":
        expected = [*(start * factor for factor in rise), *expected]
    else:
        expected = [rate * factor for rate, factor in zip(expected, [*rise, *[1.0] * _STEPS], strict=False)]
    found = warm.rates(len(expected))
    if not torch.allclose(torch.tensor(found), torch.tensor(expected), rtol=1e-5, atol=0):
        mend = "take scheduler.interval=step or " if schedule.interval == "epoch" else ""
        raise ConfigError(
            f"{where}: it cannot follow a warm-up, as it sets other learning rates after one; {mend}leave "
            "scheduler.warmup_steps at 0"
        )


def _check_resumed(where: str, config: Config, first: _Trial, scheduled: bool) -> None:
    """Checks that one that goes on from a checkpoint takes the steps of one that was not interrupted."""
    states = copy.deepcopy(first.states())
    if odd := find_odd(states):
        raise ConfigError(
            f"{where}: its state_dict holds a {odd}; a training goes on exactly from numbers, texts, tensors, lists "
            "and dicts alone"
        )
    second = _Trial(config, scheduled)
    second.resume(first, states)
    for _ in range(_STEPS):
        first.step()
        second.step()
    pairs = zip(first.weights, second.weights, strict=True)
    if first.rate != second.rate or not all(torch.equal(one, other) for one, other in pairs):
        raise ConfigError(
            f"{where}: after load_state_dict it takes other steps than without an interruption, so that a training "
            "could not go on exactly: its state_dict must hold all that changes"
        )
