"""A finished run repeated from its folder: trained once more, and compared number by number."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from pydantic import Field
from rich.console import Console
from rich.table import Table

from unet_exp.checkpoints.checkpoint import custom_targets
from unet_exp.checkpoints.opening import open_checkpoint
from unet_exp.config import Config
from unet_exp.errors import ConfigError, DataError, UserError
from unet_exp.files import is_locked
from unet_exp.runs.conditions import Conditions
from unet_exp.runs.differences import compare_numbers
from unet_exp.runs.earlier import FREE, changes, read_config
from unet_exp.runs.folder import RunFolder
from unet_exp.schema import Strict, validate
from unet_exp.training import processes
from unet_exp.training.prepare import Job, prepare
from unet_exp.training.run import train

_RECORDED = 20
"""Differences that the summary lists at most."""


class _Best(Strict):
    monitor: str
    value: float | None


class _Told(Strict):
    """What a summary says of how a run has ended."""

    status: str
    metrics: dict[str, float | None]
    steps: int
    epochs: int
    best: _Best | None = None
    overrides: list[str] = Field(default_factory=list)


def rerun(config: Config, words: Sequence[str]) -> RunFolder:
    """Trains a finished run once more, in a new folder, whose summary names that run; `conclude` compares the two.

    Args:
        config: of that run, which `rerun` names, with what was typed over it.
        words: as typed.

    Raises:
        UserError: before the training, for what can be mended or would change a number.
    """
    assert config.rerun is not None
    earlier = RunFolder(Path(config.rerun))
    config_then = read_config(earlier, "rerun")
    told, before = _told(earlier), Conditions.told_by(earlier)
    # Their names say nothing: the precision is compared as it is resolved, the checkpoint by its checksum.
    free = [*FREE, "name", "trainer.precision", *(["init_from"] if before.init_from_sha256 else [])]
    if changed := changes(config_then, config, free):
        told_changed = ", ".join(changed)
        raise ConfigError(
            f"rerun={earlier.path}: what is typed would change its numbers: {told_changed}; leave it out, or start a "
            "new run"
        )
    if before.threads is not None:
        torch.set_num_threads(before.threads)
    new = config.model_copy(update={"rerun": None})
    if not processes.is_first():
        return train(new)
    _check_files(earlier, before, new)
    notes = list(_notes(earlier, before, prepare(new, [])))
    _print(f"repeating {earlier.path}", *_marked(notes))
    typed = [word for word in words if word.lstrip("+").partition("=")[0] != "rerun"]
    return train(new, [*told.overrides, *typed], repeats={"of": str(earlier.path.resolve()), "notes": notes})


def conclude(folder: RunFolder) -> bool:
    """Compares a run that has ended with the one that it repeats, prints the verdict and adds it to its summary.

    Returns:
        Whether all numbers are equal; True where the run repeats none, and in further processes of a distributed
        training, which do not compare.

    Raises:
        DataError: if the earlier run is gone.
    """
    repeats = folder.read_summary().get("rerun")
    if not isinstance(repeats, dict) or "of" not in repeats or not processes.is_first():
        return True
    earlier = RunFolder(Path(repeats["of"]))
    _told(earlier)
    trust = custom_targets(read_config(folder).model_dump()).values()
    found = compare_numbers(earlier, folder, lambda path: _weights(path, trust))
    _tell(
        folder,
        {
            **repeats,
            "equal": found.equal,
            "numbers": found.numbers,
            "differing": found.differing,
            "differences": [asdict(one) for one in found.differences[:_RECORDED]],
            "not_compared": found.lost,
        },
    )
    if found.lost:
        _print(f"not compared: {', '.join(found.lost)}, gone from {earlier.path}")
    if found.equal:
        _print(f"equal: all {found.numbers:,} numbers are those of {earlier.path}")
    else:
        count = f"{found.differing:,} of {found.numbers:,}"
        _print(
            f"not equal: {count} numbers are not those of {earlier.path}",
            found.table(),
            *_marked(repeats.get("notes", [])),
        )
    return found.equal


def _print(*lines: str | Table) -> None:
    console = Console(highlight=False, markup=False, emoji=False)
    for line in lines:
        console.print(line, soft_wrap=isinstance(line, str))


def _marked(notes: Sequence[str]) -> list[str]:
    return [f"note: {note}" for note in notes]


def _tell(folder: RunFolder, repeats: dict[str, Any]) -> None:
    folder.write_summary({**folder.read_summary(), "rerun": repeats})


def _told(earlier: RunFolder) -> _Told:
    """How the earlier run has ended.

    Raises:
        UserError: if it has not come to its end, or does not tell.
    """
    summary, this = earlier.read_summary(), f"rerun={earlier.path}"
    if not summary:
        raise DataError(f"{this}: there is no {earlier.summary.name} in it that can be read; give the folder of a run")
    if "pruned_at" in summary:
        raise UserError(f"{this}: a search gave this run up early; only a run that finished can be repeated")
    if summary.get("status") != "finished":
        if is_locked(earlier.lock):
            raise UserError(f"{this}: a process is still at this run; wait for its end")
        raise UserError(
            f"{this}: this run has not finished (status: {summary.get('status')}); resume={earlier.path} goes on with "
            "it, and what has finished can be repeated"
        )
    try:
        return validate(_Told, {key: summary[key] for key in _Told.model_fields if key in summary})
    except ConfigError as error:
        raise DataError(f"{earlier.summary}: it is damaged: {error}") from None


def _check_files(earlier: RunFolder, before: Conditions, config: Config) -> None:
    """Finds out whether the checkpoint that the weights started from is there, and whether the best one is whole.

    Raises:
        DataError: if not.
    """
    if config.init_from is not None and not Path(config.init_from).exists():
        raise DataError(
            f"rerun={earlier.path}: it started from init_from={config.init_from}, which is gone; bring it back"
            + (", or give its new place with init_from=" if before.init_from_sha256 else "")
        )
    try:
        if earlier.best.exists():
            open_checkpoint(earlier.best, custom_targets(config.model_dump()).values())
    except DataError as error:
        raise DataError(f"{error}; without this file, the weights are not compared") from None


def _notes(earlier: RunFolder, before: Conditions, job: Job) -> Iterator[str]:
    """What the user should know of a repetition that is about to start.

    Raises:
        UserError: if its numbers could not be those of the earlier run.
    """
    this, now, config = f"rerun={earlier.path}", job.conditions, job.config
    if before.data_fingerprint != now.data_fingerprint:
        raise DataError(
            f"{this}: the data are no longer those that it was trained on (their fingerprint in "
            f"{earlier.summary.name} is another); bring them back"
        )
    if before.precision != now.precision:
        mend = f"add trainer.precision={before.precision}"
        if before.precision == "16-mixed" and job.device.type == "cpu":
            mend = "repeat it on a machine with a GPU"
        raise ConfigError(
            f"{this}: its precision on {before.device} was {before.precision} and would be {now.precision} on "
            f"{now.device}, so the numbers would differ; {mend}"
        )
    if before.init_from_sha256 not in (None, now.init_from_sha256):
        raise DataError(f"{this}: it started from another file than init_from={config.init_from} is now; bring it back")
    if config.init_from is not None and before.init_from_sha256 is None:
        yield f"whether init_from={config.init_from} is still the file that it started from is not recorded"
    yield from before.others(now)
    if config.trainer.max_time is not None:
        yield "the clock may end it elsewhere (trainer.max_time)"
    if job.device.type != "cpu" and config.trainer.deterministic is not True:
        yield f"on {now.device} equal numbers are not certain with trainer.deterministic={config.trainer.deterministic}"


def _weights(path: Path, trust: Collection[str]) -> dict[str, NDArray[Any]]:
    weights = open_checkpoint(path, trust).weights
    # NumPy has no bfloat16, and float32 holds each of its numbers.
    return {key: (value.float() if value.dtype == torch.bfloat16 else value).numpy() for key, value in weights.items()}
