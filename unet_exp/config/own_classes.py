"""Which keys of a config may name a class that is not of this project, and who needs trust in it.

Nothing here imports such a class. `unet_exp.user_class` builds them.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from unet_exp.errors import suggest

Use = Literal["predict", "evaluate", "train"]
"""What is done with a config: a network predicts; it is scored; a training begins, goes on or is repeated."""

OWN_CLASSES: dict[str, Use] = {
    "model": "predict",
    "loss": "evaluate",
    "data": "evaluate",
    "metrics.own": "evaluate",
    "augmentation": "train",
    "optimizer": "train",
    "scheduler": "train",
    "callbacks": "train",
}
"""The keys, each with the first use that imports the class; later uses do too.

A group names one with `<group>=custom <group>.target=package.Class`, a list with the `target` of each of its items.
"""

_USES: Sequence[Use] = ("predict", "evaluate", "train")
_LIGHTNING = "pytorch_lightning.callbacks."


class OwnClass(NamedTuple):
    """A class that a config names: `key` is `loss`, or of a list `callbacks[0]`; `typed` the key that a user types."""

    key: str
    typed: str
    target: str


def find_own_classes(config: Mapping[str, Any], use: Use, only: Collection[str] = ()) -> Iterator[OwnClass]:
    """The classes of a plain config that a use imports, without those that come with this program.

    Args:
        config: of a file of anybody's.
        use: what is done with it.
        only: keys of `OWN_CLASSES`; none: all.
    """
    for key, first in OWN_CLASSES.items():
        if _USES.index(first) > _USES.index(use) or (only and key not in only):
            continue
        value: Any = config
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if isinstance(value, Mapping) and value.get("name") == "custom":
            yield OwnClass(key, f"{key}.target", str(value.get("target")))
        for place, item in enumerate(value if isinstance(value, list) else ()):
            target = str(item.get("target")) if isinstance(item, Mapping) else ""
            if key != "callbacks" or not _comes_with_lightning(target):
                yield OwnClass(f"{key}[{place}]", key, target)


def _comes_with_lightning(target: str) -> bool:
    """Whether it is one of Lightning's callbacks that need no trust."""
    package, _, name = target.rpartition(".")
    return f"{package}." == _LIGHTNING and LIGHTNING_CALLBACKS.get(name, "unknown") is None


def list_targets(config: Mapping[str, Any], use: Use = "train") -> dict[str, str]:
    """The same as plain values, such as `{"loss.target": "their_package.TheirLoss"}`."""
    return {f"{own.key}.target": own.target for own in find_own_classes(config, use)}


def is_trusted(target: str, trust: Collection[str]) -> bool:
    """Whether a class's import path lies in one of the packages, modules or classes of `trust`."""
    return any(f"{target}.".startswith(f"{package}.") for package in trust)


def explain_mistrust(
    config: Mapping[str, Any],
    use: Use,
    trust: Collection[str],
    typed: Collection[str] = (),
    only: Collection[str] = (),
) -> str | None:
    """What to do about the first class that is neither trusted nor typed; None where there is none."""
    for own in find_own_classes(config, use, only):
        if own.typed not in typed and not is_trusted(own.target, trust):
            return (
                f"{own.key}.target={own.target}, a class that is not of unet_exp and whose code would run; if you "
                f"trust it, add trust=[{own.target.partition('.')[0]}]"
            )
    return None


_FUNCTIONS = "it takes a function, which a config cannot hold: write a class of your own for scheduler=custom"
_SCHEDULES = "it takes schedules that are built already: write a class of your own for scheduler=custom"
TORCH_OPTIMIZERS: dict[str, str | None] = {
    **dict.fromkeys(("ASGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam")),
    **dict.fromkeys(("RMSprop", "Rprop", "SGD")),
    "LBFGS": "it computes the loss several times a step, and a step here is of one batch",
    "Muon": "it takes weights of two dimensions alone, and those of convolutions have four",
    "SparseAdam": "it takes sparse gradients alone, which a convolution has none of",
}
"""The classes of `torch.optim` by name; those that cannot train these networks with the reason."""

TORCH_SCHEDULERS: dict[str, str | None] = {
    **dict.fromkeys(("ConstantLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "CyclicLR", "ExponentialLR")),
    **dict.fromkeys(("LinearLR", "MultiStepLR", "PolynomialLR", "StepLR")),
    "LambdaLR": _FUNCTIONS,
    "MultiplicativeLR": _FUNCTIONS,
    "SequentialLR": _SCHEDULES,
    "ChainedScheduler": _SCHEDULES,
    "LRScheduler": "it is what the others derive from",
    "OneCycleLR": "take scheduler=one_cycle, which knows where the training ends",
    "ReduceLROnPlateau": "take scheduler=plateau",
}
"""Likewise those of `torch.optim.lr_scheduler`."""

_CHECKPOINTS = "take trainer.monitor, which chooses best.ckpt, and trainer.save_every"
LIGHTNING_CALLBACKS: dict[str, str | None] = {
    **dict.fromkeys(("DeviceStatsMonitor", "LearningRateMonitor", "ThroughputMonitor")),
    **dict.fromkeys(("Checkpoint", "ModelCheckpoint", "OnExceptionCheckpoint"), _CHECKPOINTS),
    "EarlyStopping": "take trainer.early_stopping",
    "Timer": "take trainer.max_time",
    **dict.fromkeys(("EMAWeightAveraging", "WeightAveraging"), "take trainer.ema_decay"),
    "StochasticWeightAveraging": "take trainer.ema_decay",
    "GradientAccumulationScheduler": "take trainer.accumulate",
    **dict.fromkeys(("ProgressBar", "RichProgressBar", "TQDMProgressBar"), "the program shows its own progress"),
    **dict.fromkeys(("ModelSummary", "RichModelSummary"), "the program lists the layers at the start of each run"),
    **dict.fromkeys(("BaseFinetuning", "BackboneFinetuning"), "take model=encoder model.freeze_epochs"),
    "BatchSizeFinder": "type data.batch_size",
    "LearningRateFinder": "take search=optuna search.space={optimizer.lr: ...}",
    "ModelPruning": "a pruned network has other weights than its checkpoint says",
    "SpikeDetection": "it steps back behind the checkpoints of this program; a loss that is not finite ends a training",
    "BasePredictionWriter": "predictions are scripts/predict.py",
    "LambdaCallback": "it takes functions, which a config cannot hold: write a class of your own",
    "Callback": "it is what the others derive from",
}
"""Likewise those of `pytorch_lightning.callbacks`; those without a reason need no trust."""


def check_torch_name(group: Literal["optimizer", "scheduler"], name: str) -> str:
    """Checks the name of a class of PyTorch.

    Raises:
        ValueError: for one that does not exist, or that cannot train these networks.
    """
    is_optimizer = group == "optimizer"
    table = TORCH_OPTIMIZERS if is_optimizer else TORCH_SCHEDULERS
    module = "torch.optim" if is_optimizer else "torch.optim.lr_scheduler"
    use = "cannot train this network" if is_optimizer else "cannot be the schedule of a training"
    *above, last = name.split(".")
    if above and last in table:
        raise ValueError(f"must be the name alone: write {group}.target={last}")
    _check_name(table, module, name, use, f"a class of your own is {group}=custom")
    return name


def check_callback_name(target: str) -> str:
    """Checks the path of a callback, as far as it is one of Lightning's.

    Raises:
        ValueError: for one that does not exist, or that fights with this program.
    """
    if target.startswith("pytorch_lightning."):
        _check_name(LIGHTNING_CALLBACKS, _LIGHTNING[:-1], target.removeprefix(_LIGHTNING), "cannot be used here")
    return target


def suggest_callback(item: object) -> str:
    """What to do where the name of one of Lightning's callbacks stands in the place of a dict; else empty."""
    if not isinstance(item, str) or item not in LIGHTNING_CALLBACKS:
        return ""
    reason = LIGHTNING_CALLBACKS[item]
    return f"; {item} cannot be used here: {reason}" if reason else f" (did you mean {{target: {_LIGHTNING}{item}}}?)"


def _check_name(table: Mapping[str, str | None], module: str, name: str, use: str, more: str = "") -> None:
    if name not in table:
        usable = [word for word, reason in table.items() if reason is None]
        choices = f"must be a class of {module}: {', '.join(usable)}{suggest(name, table)}"
        raise ValueError(f"{choices}; {more}" if more else choices)
    if (reason := table[name]) is not None:
        raise ValueError(f"{use}: {reason}")
