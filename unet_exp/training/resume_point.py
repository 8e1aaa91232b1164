"""What earlier starts of a run have left, and whether it may go on: the same data, a checkpoint that is whole."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from unet_exp.checkpoints.migrations import FORMAT
from unet_exp.checkpoints.reading import EPOCH_LOSSES, RANDOM_STATES, STEP, read_content
from unet_exp.checkpoints.record import KEY
from unet_exp.config import Config, parse
from unet_exp.errors import ConfigError, DataError, UserError
from unet_exp.runs.conditions import Conditions
from unet_exp.runs.earlier import changes, read_config
from unet_exp.runs.folder import RunFolder
from unet_exp.schema import Strict, validate


class _FirstStart(Strict):
    """What a summary says of the first start and keeps; anybody may have written it."""

    started: str | None = None
    overrides: list[str] | None = None
    wandb_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")] | None = None
    init_from_sha256: str | None = None
    rerun: dict[str, Any] | None = None
    resumed: list[dict[str, int | str]] | None = None


@dataclass(frozen=True)
class Past:
    """What earlier starts of a run have left.

    Attributes:
        folder: of the run.
        summary: as the last start left it.
        checkpoint: to go on from; None where none was saved.
        step: optimizer steps that it has taken.
        notes: what the user should know of it.
    """

    folder: RunFolder
    summary: dict[str, Any]
    checkpoint: Path | None = None
    step: int = 0
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, folder: RunFolder) -> "Past":
        """What lies in a folder; the checkpoint before the last where the last is damaged.

        Raises:
            DataError: if no checkpoint is whole.
        """
        notes: list[str] = []
        for path in filter(Path.exists, (folder.last, folder.previous)):
            try:
                content = read_content(path)
                if content[KEY].get("format") != FORMAT or not {EPOCH_LOSSES, RANDOM_STATES} <= content.keys():
                    raise DataError(f"checkpoint={path}: it is of an earlier version, which could not go on exactly")
                if changed := changes(read_config(folder), parse(content[KEY].get("config", {}))):
                    raise DataError(f"checkpoint={path}: it is of another run ({', '.join(changed)})")
                step = content.get(STEP)
                if not isinstance(step, int):
                    raise DataError(f"checkpoint={path}: it does not say its step")
            except UserError as error:
                notes.append(str(error))
                continue
            return cls(folder, folder.read_summary(), path, step, [*notes, f"going on from step {step} ({path})"])
        if folder.has_checkpoint:
            raise DataError(f"resume={folder.path}: it has no checkpoint to go on from; start anew ({notes[0]})")
        notes.append(f"{folder.path} has no checkpoint yet: it starts from the beginning")
        return cls(folder, folder.read_summary(), notes=notes)

    def check(self, now: Conditions) -> None:
        """Refuses conditions that would change the result, and notes those that may.

        Args:
            now: of the training that is about to go on.

        Raises:
            UserError: if the data, the precision or the number of processes are others.
        """
        if self.checkpoint is None:
            return
        try:
            then = Conditions.told_by(self.folder)
        except DataError as error:
            self.notes.append(f"{error}; whether the data are the same is not known")
            return
        if then.data_fingerprint != now.data_fingerprint:
            raise DataError(
                f"resume={self.folder.path}: the data are no longer those that it was trained on (their fingerprint in "
                "summary.json is another); bring them back, or start a new run, for resume=auto with another name="
            )
        if then.precision != now.precision:
            raise ConfigError(
                f"resume={self.folder.path}: its precision on {then.device} was {then.precision} and would be "
                f"{now.precision} on {now.device}; go on with it on a machine of the first kind"
            )
        if then.processes not in (None, now.processes):
            raise ConfigError(
                f"resume={self.folder.path}: {then.processes} processes shared its work and today it would be "
                f"{now.processes}; go on with it on a machine with as many devices"
            )
        if others := ", ".join(then.others(now)):
            self.notes.append(f"it goes on under other conditions and may differ from an undisturbed run: {others}")

    @property
    def threads(self) -> int | None:
        """Of PyTorch at the first start; None where its summary does not say."""
        try:
            return Conditions.told_by(self.folder).threads
        except DataError:
            return None

    def of_first_start(self, now: str) -> dict[str, Any]:
        """What the summary keeps of the first start, and the list of the later ones.

        Args:
            now: ISO time of this one.
        """
        before = {key: self.summary[key] for key in _FirstStart.model_fields if key in self.summary}
        try:
            kept = validate(_FirstStart, before).model_dump(exclude_unset=True)
        except ConfigError:
            return {}
        if self.checkpoint is None:
            return {"rerun": kept["rerun"]} if "rerun" in kept else {}
        return {**kept, "resumed": [*kept.get("resumed", []), {"step": self.step, "time": now}]}


def past_of_sweep(folder: RunFolder, config: Config) -> Past:
    """What a run of a sweep goes on with: nothing where its config in `conf/` has changed since, or all is damaged."""
    try:
        changed = changes(read_config(folder), config)
        if not changed:
            return Past.of(folder)
        note = f"its config has changed ({', '.join(changed)})"
    except UserError as error:
        note = str(error)
    return Past(folder, {}, notes=[f"{folder.path} starts from the beginning: {note}"])
