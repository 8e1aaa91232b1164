"""The whole command lines that go on with an earlier run or sweep, or repeat a run, to be pasted."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from unet_exp.config.own_classes import list_targets
from unet_exp.console import name_commands
from unet_exp.errors import DataError
from unet_exp.runs.run_folder import RunFolder


def write_again(key: str, folder: RunFolder) -> str:
    """The command line of `resume` or `rerun`, such as `python scripts/train.py resume=outputs/train/<run>`.

    Args:
        key: `resume` or `rerun`.
        folder: of the run; own classes in its config must be trusted again.
    """
    config: Mapping[str, Any] = {}
    with suppress(DataError):  # the command then says what is wrong with it
        config = folder.read_config()
    return _write_command([f"{key}={folder.path}"], [config])


def write_sweep_again(path: Path, configs: Iterable[Mapping[str, Any]] = (), words: Sequence[str] = ()) -> str:
    """The command line that goes on with a sweep or a search.

    Args:
        path: of its folder.
        configs: plain ones of its runs.
        words: that must be typed again, such as `--config-dir` with its folder.
    """
    return _write_command([f"sweep.resume={path}", *words], configs)


def _write_command(words: Sequence[str], configs: Iterable[Mapping[str, Any]] = ()) -> str:
    """A command line of a training, which trusts the packages of own classes in these plain configs, and theirs."""
    packages = list_packages(configs)
    trust = [f"trust=[{','.join(packages)}]"] if packages else []
    return name_commands(" ".join(["python scripts/train.py", *map(shlex.quote, [*words, *trust])]))


def list_packages(configs: Iterable[Mapping[str, Any]]) -> list[str]:
    """The packages that must be trusted again to go on with trainings of these plain configs, sorted."""
    packages: set[str] = set()
    for config in configs:
        packages |= {target.partition(".")[0] for target in list_targets(config).values()}
        packages |= {*map(str, config.get("trust") or ())}
    return sorted(packages)
