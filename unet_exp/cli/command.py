"""Reads the command line of `scripts/train.py`: one training, or a sweep with all of its runs checked."""

import logging
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.override_parser.types import Override

from unet_exp.compose import compose_command, compose_over, parse_overrides
from unet_exp.config_files import ConfigFile
from unet_exp.errors import ConfigError
from unet_exp.options import is_for_hydra, refuse_several
from unet_exp.sweeps.words import EARLIER_RUN, check_override, take_first_value

if TYPE_CHECKING:
    from unet_exp.config import Config
    from unet_exp.config.data import DataConfig
    from unet_exp.sweeps.plan import SweepPlan

_log = logging.getLogger(__name__)

_NEW_TRAINING = ("experiment", "debug", "search")
"""Choices that a run's config does not hold: with them the words are read as a new training."""


def read_command(words: Sequence[str], config_dir: str | None = None, multirun: bool = False) -> "Config | SweepPlan":
    """Reads a command line, one training or a sweep, and checks everything in it; `multirun`: whether `-m` was typed.

    Raises:
        UserError: for the first mistake in any of the trainings.
    """
    typed = parse_overrides(words, sweeps=True)
    for override in typed:
        check_override(override)
    # Before composing: the words beside it belong to those of the first start.
    resumed = [override.value() for override in typed if override.key_or_group == "sweep.resume" and override.value()]
    if resumed:
        from unet_exp.sweeps.plan import resume_sweep

        return resume_sweep(typed, config_dir, Path(str(resumed[-1])))
    earlier = next((override for override in reversed(typed) if override.key_or_group in EARLIER_RUN), None)
    if earlier is not None and not multirun and _extends_run(earlier, typed, config_dir):
        _check_single(words)
        return _parse_over_run(earlier, words, {override.key_or_group for override in typed})
    composed = compose_command([take_first_value(override) for override in typed], config_dir)
    _warn_of_outdone(composed.origins.files, typed)
    _, search = composed.parse_sweep()
    if multirun or composed.multirun or search is not None:
        from unet_exp.sweeps.plan import plan_sweep

        return plan_sweep(words, typed, composed, config_dir)
    _check_single(words)
    return composed.parse()


def _warn_of_outdone(files: Sequence[ConfigFile], typed: Sequence[Override]) -> None:
    """Warns of each typed key that a typed `debug=...` would set to another value."""
    for file in files:
        for override in typed if file.group == "debug" else ():
            key = override.key_or_group
            if key in file.keys and override.value() != file.keys[key]:
                word = file.name.replace("/", "=")
                _log.warning("%s sets %s=%s, and the typed %s wins", word, key, file.keys[key], override.input_line)


def check_own_names(config: "Config") -> None:
    """Checks names of the user's own that the schema takes, without importing what they name, or torch.

    Raises:
        ConfigError: for a score with a name of this project's, a package that is not there, and a project that W&B
            would refuse.
    """
    from unet_exp.config.loggers import check_project
    from unet_exp.config.own_classes import list_targets
    from unet_exp.metrics.own import check_names
    from unet_exp.user_class import check_package

    check_names(config.metrics.own)
    check_project(config.logger)
    for key, target in list_targets(config.model_dump()).items():
        check_package(f"{key}={target}", target)


def check_places(config: "Config") -> None:
    """Finds without torch that the run to resume is over, and that there are no files where the data should be.

    Only for a training in this process: the machines of a sweep may have other disks.

    Raises:
        UserError: if so.
    """
    from unet_exp.runs.earlier import AUTO, refuse_finished
    from unet_exp.runs.run_folder import RunFolder

    if config.resume not in (None, AUTO):
        refuse_finished(RunFolder(Path(config.resume)))
    if _lacks_files(config.data):
        from unet_exp.data import load_data

        load_data(config.data)  # its error says what should be there


def _lacks_files(config: "DataConfig") -> bool:
    """Whether there is certainly nothing where a data set or images should be."""
    from unet_exp.config.user_data import FolderConfig

    if isinstance(config, FolderConfig):
        return any(_is_missing(spec) for spec in config.image_specs)
    root = getattr(config, "root", None)
    return root is not None and not getattr(config, "download", False) and _is_missing(root)


def _is_missing(spec: str) -> bool:
    """Whether there is no such path; not of a pattern, nor of what may lie in a file such as an HDF5."""
    path = os.path.expanduser(spec)
    if set("*?[{") & set(spec) or os.path.exists(path):
        return False
    return os.path.isdir(next(filter(os.path.exists, Path(path).parents), os.curdir))


def _check_single(words: Sequence[str]) -> None:
    """Refuses what has a meaning only in a sweep: several values of a key, a launcher, a report, jobs.

    Raises:
        ConfigError: for the first such word.
    """
    for override in parse_overrides(words, sweeps=True):
        if override.is_sweep_override():
            raise refuse_several(override, "several values are a sweep: add -m")
        if is_for_hydra(override) or override.key_or_group in ("sweep.report", "sweep.per_job"):
            raise ConfigError(f"{override.input_line}: this is of a sweep; add -m, or leave it out for one training")


def _extends_run(earlier: Override, typed: Sequence[Override], config_dir: str | None) -> bool:
    """Whether the typed words change the config of the run that `earlier` names, instead of `conf/`."""
    whole = config_dir is not None or any(override.key_or_group in _NEW_TRAINING for override in typed)
    from unet_exp.runs.earlier import AUTO

    return not whole and not earlier.is_sweep_override() and earlier.value() not in (None, AUTO)


def _parse_over_run(earlier: Override, words: Sequence[str], keys: Collection[str]) -> "Config":
    """The config of the run that `earlier` names, with the typed words over it."""
    from unet_exp.config import parse
    from unet_exp.runs.earlier import read_config
    from unet_exp.runs.run_folder import OUTPUTS, RunFolder
    from unet_exp.sweeps.plan import require_trust

    key, path = earlier.key_or_group, Path(str(earlier.value()))
    before = read_config(RunFolder(path), key).model_dump()
    # Only what is typed now: a foreign folder must not declare itself trusted, nor choose where to write.
    ours = {"trust": [], "output": OUTPUTS}
    config = parse(
        compose_over({**before, **ours}, {**dict.fromkeys(EARLIER_RUN), "preview": 0, "verbose": False}, words)
    )
    require_trust(f"{key}={path}", config, config.trust, keys)
    return config
