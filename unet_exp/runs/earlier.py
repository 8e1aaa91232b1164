"""Finds the earlier run that a training resumes: one whose config agrees in all that changes the result."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from unet_exp.config import Config, parse
from unet_exp.errors import ConfigError, DataError, UserError
from unet_exp.files import is_locked
from unet_exp.keys import flat, rename_keys
from unet_exp.runs.run_folder import RunFolder
from unet_exp.schema import Strict
from unet_exp.typed import find_keys

AUTO = "auto"

FREE = (
    "output",
    "trust",
    "logger",
    "data.root",
    "data.download",
    "data.images",
    "data.masks",
    "data.lists",
    "data.num_workers",
    "data.cache",
    "data.max_memory",
    "data.verify",
    "augmentation.device",
    "trainer.accelerator",
    "trainer.save_every",
    "trainer.peer_timeout",
    "trainer.profiler",
    "metrics.pictures",
)
"""Keys that may differ: they change places, logs and pictures, not the computation.

The limits of the training may not differ, since schedules depend on them; nor what changes the rounding (`compile`,
`channels_last`, `precision`, `devices`); nor the name, which distinguishes trainings of one config. The place of the
data may differ because the images are compared. The accelerator, and the place of the augmentation, may differ because
another machine is better than none; then the results are not equal bit by bit.
"""

_FORMER_DEFAULTS = {"trainer.channels_last": True, "inference.tile": 1024}
"""What a run has whose version had another default than today's `auto`."""


_PLACES = ("project", "entity", "group", "tags")
"""Keys of a logger that the environment may set."""
_COMPLETED = ("model.receptive_field_radius",)
"""Keys whose null is replaced when a training starts, by what follows from the others of their group."""


def find_unfinished(config: Config, typed: Sequence[str] = ()) -> RunFolder | None:
    """The folder of the run that a config resumes; None for a new run.

    Args:
        config: as typed.
        typed: the words, see `keep_unrecorded`.

    Raises:
        UserError: if `resume` names a folder whose run cannot be resumed in this way.
    """
    if config.resume is None:
        return None
    if config.resume == AUTO:
        return next(_list_unfinished(config, typed), None)
    folder = RunFolder(Path(config.resume))
    before = read_config(folder)
    refuse_finished(folder)
    if is_locked(folder.lock):
        raise explain_still_running(folder)
    if _lacks_checkpoints(folder):
        raise DataError(
            f"resume={folder.path}: its checkpoints are gone, and to begin again would empty this folder; bring them "
            "back, or start a new run"
        )
    if changed := list_changes(before, keep_unrecorded(config, folder, typed)):
        raise ConfigError(
            f"resume={folder.path}: what is typed would change its result: {', '.join(changed)}; leave it out, or "
            "start a new run"
        )
    return folder


def refuse_finished(folder: RunFolder) -> None:
    """Refuses to resume a run that is over.

    Raises:
        UserError: if it is, with what to type for more steps.
    """
    if folder.is_over:
        raise UserError(
            f"resume={folder.path}: this run is over; to train further, start a new one from its weights: type "
            f"init_from={folder.path} beside the words of this one ({folder.summary.name}: overrides)"
        )


def explain_still_running(folder: RunFolder) -> UserError:
    """The error of resuming a run that still runs."""
    return UserError(f"resume={folder.path}: a process is still at this run; wait for its end, or end it")


def read_config(folder: RunFolder, key: str = "resume") -> Config:
    """Reads the config that a run was started with; `key` named the run, for messages.

    Raises:
        UserError: if it is missing, or not of this version.
    """
    if not folder.config.is_file():
        wanted = "one of the runs in this sweep" if (folder.path / "sweep.json").is_file() else "a run"
        lack = f"{folder.config.name} in it that can be read" if folder.path.is_dir() else "such folder"
        raise DataError(f"{key}={folder.path}: there is no {lack}; give the folder of {wanted}")
    try:
        return parse(folder.read_config())
    except ConfigError as error:
        raise DataError(f"{folder.config}: it is not of this version of unet_exp: {error}") from None


def keep_unrecorded(config: Config, folder: RunFolder, typed: Sequence[str] = ()) -> Config:
    """The config that resumes a run: keys that the run's version did not have yet mean what that version did.

    Args:
        config: composed with today's defaults.
        folder: of the run, with its config as it was recorded.
        typed: the words; a key that is typed keeps its value.

    Raises:
        UserError: as `read_config`.
    """
    before, recorded = read_config(folder), rename_keys(folder.read_config())
    keys = find_keys(typed)
    values = config.model_dump()
    for key, former in _FORMER_DEFAULTS.items():
        name, _, last = key.partition(".")
        if key not in keys and recorded[name].get(last) == former:
            values[name][last] = former
    for key in _COMPLETED:
        name, _, last = key.partition(".")
        then, now = ({**group, last: None} for group in (recorded[name], values[name]))
        if key not in keys and last in values[name] and then == now:
            values[name][last] = recorded[name].get(last)
    for name, group in config:
        if isinstance(group, Strict) and type(getattr(before, name)) is type(group):
            known = {*recorded[name], *(key for key in values[name] if f"{name}.{key}" in keys)}
            values[name] = {key: value for key, value in values[name].items() if key in known}
    # The schema reads a config without these keys as one of the earlier version.
    return parse({**values, **{key: getattr(config, key) for key in ("resume", "rerun", "preview", "verbose")}})


def keep_places(config: Config, folder: RunFolder, typed: Sequence[str] = ()) -> Config:
    """The config that resumes a run, with its place at W&B, which may come from variables of the first shell.

    Args:
        config: composed now.
        folder: of the run.
        typed: the words; a key that is typed keeps its value.

    Raises:
        UserError: as `read_config`.
    """
    before = read_config(folder).logger
    keys = find_keys(typed)
    kept = {
        key: getattr(before, key)
        for key in _PLACES
        if f"logger.{key}" not in keys and hasattr(before, key) and hasattr(config.logger, key)
    }
    return config.model_copy(update={"logger": config.logger.model_copy(update=kept)})


def list_changes(before: Config, now: Config, free: Sequence[str] = FREE) -> list[str]:
    """Differences of two configs in keys that may not differ, such as `seed: 0 -> 1`; `free` are keys or groups."""
    old, new = flat(before.model_dump()), flat(now.model_dump())
    keys = [key for key in {**old, **new} if not any(f"{key}.".startswith(f"{prefix}.") for prefix in free)]
    pairs = {key: (old.get(key, "nothing"), new.get(key, "nothing")) for key in keys}
    return [f"{key}: {then} -> {today}" for key, (then, today) in pairs.items() if then != today]


def _lacks_checkpoints(folder: RunFolder) -> bool:
    """Whether a run has lost its checkpoints: it has an epoch after a validation, when one is written."""
    if folder.has_checkpoint or not folder.metrics.exists():
        return False
    rows = folder.metrics.read_text(errors="replace").splitlines()
    return any(not row.endswith(",") for row in rows[1:-1])  # an epoch that was not validated has no last column


def _list_unfinished(config: Config, typed: Sequence[str]) -> Iterator[RunFolder]:
    """Unfinished runs of this config that no process trains, the newest first."""
    for summary in sorted((Path(config.output) / "train").glob("*/summary.json"), reverse=True):
        folder = RunFolder(summary.parent)
        if is_locked(folder.lock) or folder.is_over or not os.access(folder.path, os.W_OK):
            continue
        try:
            resumed = keep_unrecorded(config, folder, typed)
            if not list_changes(read_config(folder), resumed) and not _lacks_checkpoints(folder):
                yield folder
        except UserError:  # of another version, or not ours
            continue
