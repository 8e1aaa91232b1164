"""A finished run repeated from its folder: trained once more, and compared number by number."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from unet_exp.checkpoints.checkpoint import custom_targets
from unet_exp.checkpoints.opening import open_checkpoint
from unet_exp.config import Config
from unet_exp.errors import ConfigError, DataError, UserError
from unet_exp.files import is_locked
from unet_exp.runs.differences import compare_numbers
from unet_exp.runs.earlier import FREE, list_changes, read_config
from unet_exp.runs.run_folder import RunFolder
from unet_exp.runs.summary import Summary
from unet_exp.training import processes
from unet_exp.training.prepare import Job

_MOST_LISTED = 20
"""Differences that the summary lists at most."""


@dataclass(frozen=True)
class Rerun:
    """A finished run that is about to be trained once more.

    Attributes:
        earlier: its folder.
        summary: of it.
        config: for the new training.
        overrides: of the earlier run, and what was typed over them.
        notes: what may make the numbers differ; found by `check`.
    """

    earlier: RunFolder
    summary: Summary
    config: Config
    overrides: list[str]
    notes: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, config: Config, words: Sequence[str]) -> Self:
        """Reads the earlier run.

        Args:
            config: of that run, which `rerun` names, with what was typed over it.
            words: as typed.

        Raises:
            UserError: if it has not finished, or what is typed would change a number.
        """
        assert config.rerun is not None
        earlier = RunFolder(Path(config.rerun))
        config_then, summary = read_config(earlier, "rerun"), _read_finished(earlier)
        if missing := summary.missing_conditions():
            raise DataError(f"{earlier.summary}: it does not say how the run was made: {missing} is missing")
        # Their names do not matter: the precision is compared as it is resolved, the checkpoint by its checksum.
        free = [*FREE, "name", "trainer.precision", *(["init_from"] if summary.init_from_sha256 else [])]
        if changed := list_changes(config_then, config, free):
            raise ConfigError(
                f"rerun={earlier.path}: what is typed would change its numbers: {', '.join(changed)}; leave it out, or "
                "start a new run"
            )
        _check_files(earlier, summary, config)
        typed = [word for word in words if word.lstrip("+").partition("=")[0] != "rerun"]
        new = config.model_copy(update={"rerun": None})
        return cls(earlier, summary, new, [*(summary.overrides or []), *typed])

    @property
    def threads(self) -> int | None:
        """Of PyTorch in the earlier run; None where its summary does not say."""
        return self.summary.threads

    def check(self, job: Job) -> None:
        """Refuses conditions under which the numbers could not be equal, and notes and prints those that may differ.

        Raises:
            UserError: if the data, the precision or the checkpoint that it starts from are different.
        """
        if processes.is_first():
            _check_conditions(self, job)
            self.notes.extend(_find_risks(self.summary, job))
            _print(f"repeating {self.earlier.path}", *_as_notes(self.notes))

    def describe(self) -> dict[str, Any]:
        """What the new run's summary says under `rerun`, until `conclude` adds the verdict."""
        return {"of": str(self.earlier.path.resolve()), "notes": self.notes}


def conclude(folder: RunFolder) -> bool:
    """Compares a run that has ended with the one that it repeats, prints the verdict and adds it to its summary.

    Returns:
        Whether all numbers are equal; True where the run repeats none, and in further processes of a distributed
        training, which do not compare.

    Raises:
        DataError: if the earlier run is gone.
    """
    summary = folder.read_summary()
    if not summary.rerun or "of" not in summary.rerun or not processes.is_first():
        return True
    earlier = RunFolder(Path(summary.rerun["of"]))
    _read_finished(earlier)
    trust = custom_targets(read_config(folder).model_dump()).values()
    found = compare_numbers(earlier, folder, lambda path: _read_weights(path, trust))
    verdict = {
        **summary.rerun,
        "equal": found.equal,
        "numbers": found.numbers,
        "differing": found.differing,
        "differences": [asdict(one) for one in found.differences[:_MOST_LISTED]],
        "not_compared": found.lost,
    }
    summary.updated(rerun=verdict).write(folder.summary)
    if found.lost:
        _print(f"not compared: {', '.join(found.lost)}, gone from {earlier.path}")
    if found.equal:
        _print(f"equal: all {found.numbers:,} numbers are those of {earlier.path}")
    else:
        count = f"{found.differing:,} of {found.numbers:,}"
        notes = _as_notes(summary.rerun.get("notes", []))
        _print(f"not equal: {count} numbers are not those of {earlier.path}", found.table(), *notes)
    return found.equal


def _read_finished(earlier: RunFolder) -> Summary:
    """The summary of a run that has come to its end.

    Raises:
        UserError: if there is none.
    """
    this = f"rerun={earlier.path}"
    try:
        summary = Summary.read(earlier.summary)
    except DataError:
        raise DataError(
            f"{this}: there is no {earlier.summary.name} in it that can be read; give the folder of a run"
        ) from None
    if summary.damaged:
        raise DataError(f"{earlier.summary}: it is damaged: {next(iter(summary.damaged.values()))}")
    if summary.pruned_at is not None:
        raise UserError(f"{this}: a search gave this run up early; only a run that finished can be repeated")
    if summary.status != "finished":
        if is_locked(earlier.lock):
            raise UserError(f"{this}: a process is still at this run; wait for its end")
        raise UserError(
            f"{this}: this run has not finished (status: {summary.status}); resume={earlier.path} goes on with it, and "
            "what has finished can be repeated"
        )
    return summary


def _check_files(earlier: RunFolder, summary: Summary, config: Config) -> None:
    """Finds out whether the checkpoint that the weights started from is there, and whether the best one is whole.

    Raises:
        DataError: if not.
    """
    if config.init_from is not None and not Path(config.init_from).exists():
        raise DataError(
            f"rerun={earlier.path}: it started from init_from={config.init_from}, which is gone; bring it back"
            + (", or give its new place with init_from=" if summary.init_from_sha256 else "")
        )
    try:
        if earlier.best.exists():
            open_checkpoint(earlier.best, custom_targets(config.model_dump()).values())
    except DataError as error:
        raise DataError(f"{error}; without this file, the weights are not compared") from None


def _check_conditions(rerun: Rerun, job: Job) -> None:
    this, before, now = f"rerun={rerun.earlier.path}", rerun.summary, job.conditions
    if before.data_fingerprint != now.data_fingerprint:
        raise DataError(
            f"{this}: the data are no longer those that it was trained on (their fingerprint in "
            f"{rerun.earlier.summary.name} is different); bring them back"
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
        raise DataError(
            f"{this}: it started from another file than init_from={job.config.init_from} is now; bring it back"
        )


def _find_risks(before: Summary, job: Job) -> Iterator[str]:
    config, now = job.config, job.conditions
    if config.init_from is not None and before.init_from_sha256 is None:
        yield f"whether init_from={config.init_from} is still the file that it started from is not recorded"
    yield from before.list_changes(now)
    if config.trainer.max_time is not None:
        yield "the clock may end it elsewhere (trainer.max_time)"
    if job.device.type != "cpu" and config.trainer.deterministic is not True:
        yield f"on {now.device} equal numbers are not certain with trainer.deterministic={config.trainer.deterministic}"


def _read_weights(path: Path, trust: Collection[str]) -> dict[str, NDArray[Any]]:
    weights = open_checkpoint(path, trust).weights
    # NumPy has no bfloat16, and float32 holds each of its numbers.
    return {key: (value.float() if value.dtype == torch.bfloat16 else value).numpy() for key, value in weights.items()}


def _print(*lines: str | Table) -> None:
    console = Console(highlight=False, markup=False, emoji=False)
    for line in lines:
        console.print(line, soft_wrap=isinstance(line, str))


def _as_notes(notes: Sequence[str]) -> list[str]:
    return [f"note: {note}" for note in notes]
