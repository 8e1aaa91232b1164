"""Callbacks of the user's own, and those of Lightning's that go with this program."""

from collections import Counter
from collections.abc import Iterator, Sequence

from pytorch_lightning import callbacks as lightning
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities.model_helpers import is_overridden

from unet_exp.config import Config
from unet_exp.config.own_classes import LIGHTNING_CALLBACKS
from unet_exp.errors import ConfigError
from unet_exp.training.trial import find_odd
from unet_exp.user_class import build_custom

_NEED_A_LOGGER = (lightning.LearningRateMonitor, lightning.DeviceStatsMonitor, lightning.ThroughputMonitor)
_OPEN = ("Callback", "LambdaCallback")
"""Classes from which the user's may derive, though they are of no use by themselves."""


def build_own_callbacks(config: Config) -> list[Callback]:
    """Builds the callbacks that the config lists.

    They run after this project's own. Those whose `state_dict` gives anything are restored on resume.

    Raises:
        ConfigError: if a class cannot be imported or does not fit, does what a word of this program does, or two have
            one key for their states.
    """
    built: list[Callback] = []
    for place, wanted in enumerate(config.callbacks):
        key = f"callbacks[{place}]"
        base = Callback, "pytorch_lightning.Callback"
        callback: Callback = build_custom(key, wanted.target, wanted.params or {}, {}, *base)
        where = f"{key}.target={wanted.target}"
        for name, reason in LIGHTNING_CALLBACKS.items():
            if reason is not None and name not in _OPEN and isinstance(callback, getattr(lightning, name)):
                raise ConfigError(f"{where}: it is a {name}, which does not go with this program: {reason}")
        if isinstance(callback, _NEED_A_LOGGER) and not config.logger.names:
            raise ConfigError(f"{where}: it needs a logger beside metrics.csv, such as logger=tensorboard")
        if _has_state(callback) and (odd := find_odd(callback.state_dict())):
            raise ConfigError(
                f"{where}: its state_dict holds a {odd}; a checkpoint gives back numbers, texts, tensors, lists and "
                "dicts alone"
            )
        built.append(callback)
    keys = Counter(callback.state_key for callback in built if _has_state(callback))
    if twice := [key for key, count in keys.items() if count > 1]:
        raise ConfigError(
            f"callbacks: two have the key {twice[0]} for their states, so that a checkpoint would keep one alone: give "
            "their class a state_key that tells them apart"
        )
    return built


def describe_unsaved(callbacks: Sequence[Callback]) -> Iterator[str]:
    """Says which callbacks a resumed training begins anew: those with attributes, and without a state."""
    for callback in callbacks:
        if vars(callback) and not _has_state(callback):
            yield f"{type(callback).__name__} has no state_dict, so it begins anew"


def _has_state(callback: Callback) -> bool:
    return is_overridden("state_dict", callback, parent=Callback)
