"""Where W&B has the runs of a sweep, told at its end."""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sized
from contextlib import suppress
from typing import Any

from unet_exp.config.loggers import AnyLoggerConfig, WandbConfig
from unet_exp.errors import DataError
from unet_exp.files import shorten_path
from unet_exp.runs.run_folder import RunFolder
from unet_exp.runs.sweep_folder import SweepFolder


def describe_wandb(sweep: SweepFolder, loggers: Iterable[AnyLoggerConfig]) -> Iterator[str]:
    """A line for the runs that are online, and one for those that are offline with the words that send them.

    Args:
        sweep: after its runs.
        loggers: configs of these.
    """
    settings = [logger for logger in loggers if isinstance(logger, WandbConfig)]
    if not settings:
        return
    folders = [sweep.folder(run) for run in sweep.runs]
    urls = {folder.path: folder.read_summary().wandb_url for folder in folders}
    online = [url for url in urls.values() if url]
    offline = [path for path, url in urls.items() if not url and any(path.glob("wandb/offline-run-*"))]
    if online:
        places = dict.fromkeys(url.partition("/runs/")[0] for url in online)
        groups = dict.fromkeys(logger.group or sweep.path.name for logger in settings)
        yield f"W&B  {_count(online)} online: {', '.join(places)}, group {', '.join(groups)}"
    if offline:
        projects = dict.fromkeys(_name_project(RunFolder(path), settings[0]) for path in offline)
        pattern = f"{shlex.quote(shorten_path(sweep.path))}/*/wandb/offline-run-*"
        place = f"{_count(offline)} offline, {', '.join(projects)}"
        yield f"W&B  {place}; send them after wandb login: wandb sync {pattern}"


def _name_project(folder: RunFolder, now: WandbConfig) -> str:
    """Such as `my-lab/skips`: where a run began, which may have been in another shell; today's if it does not say."""
    place: Mapping[str, Any] = {}
    with suppress(DataError):
        place = folder.read_config().get("logger") or {}
    parts = (place.get(key, getattr(now, key)) for key in ("entity", "project"))
    return "/".join(str(part) for part in parts if part)


def _count(found: Sized) -> str:
    return f"{len(found)} run{'s' * (len(found) > 1)}"
