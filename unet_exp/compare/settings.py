"""The settings that differ between runs, in the words of a user."""

import json
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import Any

from unet_exp.compare.collect import Run
from unet_exp.typed import find_keys

Setting = tuple[str, str | Decimal]
"""A key and its value."""

NO_SETTING = {
    "seed": "repeats a training; pairs runs",
    "data.fold": "repeats a training; pairs runs",
    "name": "names the folder",
    "output": "says where the folder is",
    "trust": "lets a checkpoint open",
    "data.root": "says where the data are; the fingerprint says what they are",
    "data.download": "says where the data come from",
    "data.num_workers": "every number of workers draws the same samples",
    "data.cache": "says where decoded images are kept",
    "data.max_memory": "likewise",
    "data.verify": "says whether files are read anew",
    "inference.batch_size": "tiles are predicted one by one or together",
    "augmentation.device": "says where patches are augmented; the same draws up to rounding",
    "trainer.accelerator": "says where it ran; other devices are warned of",
    "trainer.devices": "says where it ran; another number is warned of",
    "trainer.num_nodes": "likewise",
    "trainer.peer_timeout": "ends a training that has lost a process",
    "trainer.profiler": "watches",
    "trainer.channels_last": "says how the memory is laid out, which changes the rounding alone",
    "metrics.warping": "adds scores and changes none",
    "metrics.warping_radius": "is of the warping error alone; under that metric runs have to agree in it",
    "metrics.distances": "adds scores and changes none",
    "metrics.probabilities": "likewise",
    "metrics.tolerance": "is of the surface Dice alone; under it runs have to agree; a setting where it is monitored",
    "data.pixel_size": "is of distances alone; under these runs have to agree in their unit; likewise a setting",
    "metrics.own": "adds scores and changes none; trainer.monitor says which of them chooses the best epoch",
    "metrics.pictures": "says which images are drawn; all are scored",
}
"""Keys that cannot change a result, each with the reason; so do all of `logger`."""

_OF_SURFACE_DICE = ("metrics.tolerance", "data.pixel_size")
"""Keys that change a result all the same where `trainer.monitor`, which chooses the best epoch, is the surface Dice."""
_MEASURED = ("model.receptive_field_radius",)
"""Keys that follow from the others unless somebody typed them."""
_PRESETS = {"model": ("padding", "align", "relu_after_upsample", "keep_last_upsample_channels", "upconv_fan_in")}
"""Keys that a word implies."""


def find_varying_keys(runs: Sequence[Run]) -> list[str]:
    """Keys of the configs whose values differ, or that only some have, in the order of the configs."""
    keys = dict.fromkeys(key for run in runs for key in run.config)
    by_surfaces = any(str(run.config.get("trainer.monitor")).startswith("val/surface_dice") for run in runs)
    without = set(NO_SETTING).difference(_OF_SURFACE_DICE if by_surfaces else ())
    settings = [key for key in keys if key not in without and not key.startswith("logger.")]
    return [key for key in settings if len({encode_value(run, key) for run in runs}) > 1]


def select_label_keys(runs: Sequence[Run], varying: Sequence[str]) -> list[str]:
    """The varying keys that distinguish the runs; the word of a group implies the others.

    A key is implied if nobody typed it and it is measured, or every option of its group's varying word has one value of
    it, provided that it belongs to a preset or has that one value wherever it exists.
    """
    typed = find_keys(word for run in runs for word in run.summary.overrides or ())

    def implied(key: str) -> bool:
        group, _, last = key.partition(".")
        word = f"{group}.name"
        if key in _MEASURED and key not in typed:
            return True
        if last == "name" or word not in varying or key in typed:
            return False
        values: defaultdict[str, set[str]] = defaultdict(set)
        for run in runs:
            values[encode_value(run, word)].add(encode_value(run, key))
        if any(len(of_word) > 1 for of_word in values.values()):
            return False
        there = {encode_value(run, key) for run in runs if key in run.config}
        return len(there) == 1 or last in _PRESETS.get(group, ())

    return [key for key in varying if not implied(key)]


def select_settings(run: Run, label_keys: Sequence[str]) -> dict[str, Any]:
    """The label keys of a run with their values, as typed: `fusion` for `fusion.name`."""
    return {key.removesuffix(".name"): run.config[key] for key in label_keys if key in run.config}


def format_label(settings: dict[str, Any], label_keys: Sequence[str]) -> str:
    """`fusion=add, model.width=16`; `all runs` without label keys."""
    if not label_keys:
        return "all runs"
    named = ", ".join(f"{key}={format_value(value)}" for key, value in settings.items())
    return named or f"without {', '.join(label_keys)}"


def format_value(value: Any) -> str:
    """A value as typed: words bare, the rest as JSON without spaces."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), default=str)


def read_setting(text: str) -> Setting:
    """The key, empty without one, and the value of a typed setting, of which a number is one in any notation."""
    key, _, value = text.rpartition("=")
    with suppress(InvalidOperation):
        number = Decimal(value)
        return key, number if number.is_finite() else value
    return key, value


def encode_value(run: Run, key: str) -> str:
    """A value as text for comparisons; empty where the run has no such key."""
    return repr(run.config[key]) if key in run.config else ""
