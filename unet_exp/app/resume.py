"""Which run a training goes on with: one of the same config in all that matters. Nothing here imports torch."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from unet_exp.config import Config, parse
from unet_exp.errors import ConfigError, DataError, UserError
from unet_exp.files import is_locked
from unet_exp.runs import RunFolder

AUTO = "auto"

FREE = (
    "output",
    "trust",
    "logger",
    "data.root",
    "data.num_workers",
    "trainer.accelerator",
    "trainer.save_every",
    "trainer.profiler",
)
"""Keys that may be others than before: they change where things are and who is told, not what is computed.

Not so: the limits of the training, since schedules depend on them and the undisturbed run would have ended there; what
changes how numbers are rounded (`compile`, `channels_last`, `precision`, `devices`); the name, by which people tell
two trainings of one config apart. `data.root` is free because the images themselves are compared. The accelerator is
free because a machine with another is better than none: then the results are no longer equal bit by bit.
"""


def find(config: Config) -> RunFolder | None:
    """The folder of the run that a config says to go on with; None for a new run.

    Args:
        config: as typed.

    Raises:
        UserError: if `resume` names a folder whose run cannot go on in this way.
    """
    if config.resume is None:
        return None
    if config.resume == AUTO:
        return next(_unfinished(config), None)
    folder = RunFolder(Path(config.resume))
    before = read_config(folder)
    if is_over(folder):
        raise UserError(f"resume={folder.path}: this run is over (summary.json); there is nothing to go on with")
    if is_locked(folder.lock):
        raise still_running(folder)
    if changed := changes(before, config):
        raise ConfigError(f"resume={folder.path}: what is typed would change its result: {', '.join(changed)}")
    return folder


def still_running(folder: RunFolder) -> UserError:
    """The mistake of going on with a run that has not ended."""
    return UserError(f"resume={folder.path}: a process is still at this run; wait for its end, or end it")


def is_over(folder: RunFolder) -> bool:
    """Whether a run has come to its end: it finished, or a search gave it up."""
    summary = folder.read_summary()
    return summary.get("status") == "finished" or "pruned_at" in summary


def read_config(folder: RunFolder, key: str = "resume") -> Config:
    """The config that a run was started with.

    Args:
        folder: of the run.
        key: by which it was named, for the message.

    Raises:
        UserError: if it is not there, or not of this version.
    """
    if not folder.config.is_file():
        wanted = "one of the runs in this sweep" if (folder.path / "sweep.json").is_file() else "a run"
        lack = f"{folder.config.name} in it that can be read" if folder.path.is_dir() else "such folder"
        raise DataError(f"{key}={folder.path}: there is no {lack}; give the folder of {wanted}")
    try:
        return parse(folder.read_config())
    except ConfigError as error:
        raise DataError(f"{folder.config}: it is not of this version of unet_exp: {error}") from None


def changes(before: Config, now: Config, free: Sequence[str] = FREE) -> list[str]:
    """What differs between two configs and would change a training's result, such as `seed: 0 -> 1`.

    Args:
        before: one of them.
        now: the other.
        free: keys, and groups of them, that may differ.
    """
    old, new = _flat(before.model_dump()), _flat(now.model_dump())
    keys = [key for key in {**old, **new} if not any(f"{key}.".startswith(f"{one}.") for one in free)]
    nothing = "nothing"
    return [
        f"{key}: {old.get(key, nothing)} -> {new.get(key, nothing)}"
        for key in keys
        if old.get(key, nothing) != new.get(key, nothing)
    ]


def _unfinished(config: Config) -> Iterator[RunFolder]:
    """Runs of this config that have not come to their end and are no process's, the newest first."""
    for summary in sorted((Path(config.output) / "train").glob("*/summary.json"), reverse=True):
        folder = RunFolder(summary.parent)
        if is_over(folder) or is_locked(folder.lock) or not os.access(folder.path, os.W_OK):
            continue
        try:
            if not changes(read_config(folder), config):
                yield folder
        except UserError:  # of another version, or not ours
            continue


def _flat(values: dict[str, Any], above: str = "") -> dict[str, Any]:
    """`{"loss": {"name": "dice"}}` as `{"loss.name": "dice"}`."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{above}{key}.") if isinstance(value, dict) else {f"{above}{key}": value}
    return flat
