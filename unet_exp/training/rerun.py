"""Rerun: repeats a finished run and compares the two number by number."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from numpy.typing import NDArray
from rich.table import Table

from unet_exp.checkpoints.opening import open_checkpoint
from unet_exp.config import Config
from unet_exp.config.model import EncoderModelConfig
from unet_exp.config.own_classes import list_targets
from unet_exp.console import make_console
from unet_exp.errors import ConfigError, DataError, UserError
from unet_exp.files import is_locked
from unet_exp.runs.differences import compare_numbers
from unet_exp.runs.earlier import FREE, list_changes, read_config
from unet_exp.runs.run_folder import RunFolder
from unet_exp.runs.summary import Summary
from unet_exp.training import processes
from unet_exp.training.prepare import Job

_MOST_LISTED = 20  # differences in the summary


@dataclass(frozen=True)
class Rerun:
    """A finished run that is about to be repeated.

    `config` is that of the new training; `overrides` are those of the earlier run, then those typed now. `check` adds
    notes on what may make the numbers differ.
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
            config: of the run that `rerun` names, with what was typed over it.
            words: as typed.

        Raises:
            UserError: if it has not finished, or what is typed would change a number.
        """
        assert config.rerun is not None
        earlier = RunFolder(Path(config.rerun))
        config_then, summary = read_config(earlier, "rerun"), _read_finished(earlier)
        if missing := summary.missing_conditions():
            raise DataError(f"{earlier.summary}: it does not say how the run was made: {missing} is missing")
        # Precision and checkpoint are compared as resolved and by checksum, whatever their words are.
        free = [*FREE, "name", "trainer.precision", *([_find_start(config)[0]] if summary.init_from_sha256 else [])]
        if changed := list_changes(config_then, config, free):
            raise ConfigError(
                f"rerun={earlier.path}: what is typed would change its numbers: {', '.join(changed)}; leave it out, or "
                "start a new run"
            )
        _check_files(earlier, summary, config)
        typed = [word for word in words if word.lstrip("+").partition("=")[0] != "rerun"]
        new = config.model_copy(update={"rerun": None})
        return cls(earlier, summary, new, [*(summary.overrides or []), *typed])

    def check(self, job: Job) -> None:
        """Refuses conditions under which the numbers must differ; notes and prints those under which they may.

        Raises:
            UserError: if the data, the precision or the initial checkpoint differ.
        """
        if processes.is_first():
            _check_conditions(self, job)
            self.notes.extend(_find_risks(self.summary, job))
            _print(f"repeating {self.earlier.path}", *_as_notes(self.notes))

    def describe(self) -> dict[str, Any]:
        """The `rerun` field of the new run's summary; `conclude` adds the verdict."""
        return {"of": str(self.earlier.path.resolve()), "notes": self.notes}


def conclude(folder: RunFolder) -> bool:
    """Compares a finished run with the run that it repeats, prints the verdict and adds it to the summary.

    Returns:
        Whether all numbers are equal; True where the run repeats none, and in further processes of a distributed
        training.

    Raises:
        DataError: if the earlier run is gone.
    """
    summary = folder.read_summary()
    if not summary.rerun or "of" not in summary.rerun or not processes.is_first():
        return True
    earlier = RunFolder(Path(summary.rerun["of"]))
    _read_finished(earlier)
    trust = list_targets(read_config(folder).model_dump()).values()
    found = compare_numbers(earlier, folder, lambda path: _read_weights(path, trust))
    verdict = {
        **summary.rerun,
        "equal": found.equal,
        "numbers": found.numbers,
        "differing": found.differing,
        "differences": [asdict(difference) for difference in found.differences[:_MOST_LISTED]],
        "not_compared": found.lost,
    }
    summary.replace(rerun=verdict).write(folder.summary)
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
    """Reads the summary of a finished run.

    Raises:
        UserError: if the run has none, or has not finished.
    """
    run = f"rerun={earlier.path}"
    try:
        summary = Summary.read(earlier.summary)
    except DataError:
        raise DataError(f"{run}: there is no summary.json in it that can be read; give the folder of a run") from None
    there = summary.model_fields_set | summary.damaged.keys()
    missing = [key for key in ("metrics", "steps", "epochs") if key not in there]
    if summary.status == "finished" and missing:
        raise DataError(f"{earlier.summary}: it is damaged: the key {missing[0]} is missing")
    if summary.damaged:
        raise DataError(f"{earlier.summary}: it is damaged: {next(iter(summary.damaged.values()))}")
    if summary.pruned_at is not None:
        raise UserError(f"{run}: a search pruned this run; only a finished run can be repeated")
    if summary.status != "finished":
        if is_locked(earlier.lock):
            raise UserError(f"{run}: a process is still at this run; wait for its end")
        raise UserError(
            f"{run}: this run has not finished (status: {summary.status}); resume={earlier.path} goes on with it, and "
            "a finished run can be repeated"
        )
    return summary


def _check_files(earlier: RunFolder, summary: Summary, config: Config) -> None:
    """Checks that the initial checkpoint exists and that the best one can be read.

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
            open_checkpoint(earlier.best, list_targets(config.model_dump()).values())
    except DataError as error:
        raise DataError(f"{error}; without this file, the weights are not compared") from None


def _check_conditions(rerun: Rerun, job: Job) -> None:
    run, before = f"rerun={rerun.earlier.path}", rerun.summary
    now = job.conditions_beside(before)
    advice = f"add trainer.precision={before.precision}"
    if before.precision == "16-mixed" and job.device.type == "cpu":
        advice = "repeat it on a machine with a GPU"
    before.require_same(now, run, "", f", so the numbers would differ; {advice}")
    if before.processes not in (None, now.processes):
        raise ConfigError(
            f"{run}: {before.processes} processes shared its work and today it would be {now.processes}, so the "
            f"numbers would differ; repeat it in {before.processes} (trainer.devices x trainer.num_nodes)"
        )
    if before.init_from_sha256 not in (None, now.init_from_sha256):
        start = "=".join(_find_start(job.config))
        raise DataError(f"{run}: {start} has changed since it started from it; bring it back")


def _find_start(config: Config) -> tuple[str, str]:
    """The key that names the file from which the weights start, and its value."""
    if config.init_from is None and isinstance(config.model, EncoderModelConfig):
        return "model.weights", str(config.model.weights)
    return "init_from", str(config.init_from)


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
    # NumPy has no bfloat16; float32 represents all its numbers.
    return {key: (value.float() if value.dtype == torch.bfloat16 else value).numpy() for key, value in weights.items()}


def _print(*lines: str | Table) -> None:
    console = make_console()
    for line in lines:
        console.print(line, soft_wrap=isinstance(line, str))


def _as_notes(notes: Sequence[str]) -> list[str]:
    return [f"note: {note}" for note in notes]
