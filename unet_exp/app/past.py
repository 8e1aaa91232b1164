"""What earlier starts of a run have left, and whether it may go on: the same data, a checkpoint that is whole."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unet_exp.app.resume import changes, read_config
from unet_exp.checkpoint import read_content
from unet_exp.config import Config
from unet_exp.errors import ConfigError, DataError, UserError
from unet_exp.runs import RunFolder
from unet_exp.training.module import EPOCH_LOSSES

_KEPT = ("started", "overrides", "wandb_id")
"""What a summary says of the first start."""


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
                if EPOCH_LOSSES not in content:
                    raise DataError(f"checkpoint={path}: it is of an earlier version, which could not go on exactly")
            except DataError as error:
                notes.append(str(error))
                continue
            step = int(content["global_step"])
            return cls(folder, folder.read_summary(), path, step, [*notes, f"going on from step {step} ({path})"])
        if folder.has_checkpoint:
            raise DataError(f"resume={folder.path}: it has no checkpoint to go on from; start anew ({notes[0]})")
        notes.append(f"{folder.path} has no checkpoint yet: it starts from the beginning")
        return cls(folder, folder.read_summary(), notes=notes)

    def check(self, fingerprint: str, precision: str, device: str) -> None:
        """Refuses data or a precision that would change the result, and notes another device.

        Args:
            fingerprint: of today's data.
            precision: that the training would run in.
            device: that it would run on.

        Raises:
            UserError: if one of them is another.
        """
        if self.checkpoint is None:
            return
        if self.summary.get("data_fingerprint", fingerprint) != fingerprint:
            raise DataError(
                f"resume={self.folder.path}: the data are no longer those that it was trained on (their fingerprint in "
                "summary.json is another); bring them back, or start the training anew"
            )
        before, on = self.summary.get("precision", precision), self.summary.get("device", device)
        if before != precision:
            raise ConfigError(
                f"resume={self.folder.path}: its precision on {on} was {before} and would be {precision} on {device}; "
                "go on with it on a machine of the first kind"
            )
        if on != device:
            self.notes.append(f"it was on {on} and goes on on {device}: equal to an undisturbed run but for rounding")

    def of_first_start(self, now: str) -> dict[str, Any]:
        """What the summary keeps of the first start, and the list of the later ones.

        Args:
            now: ISO time of this one.
        """
        if self.checkpoint is None:
            return {}
        kept: dict[str, Any] = {key: self.summary[key] for key in _KEPT if key in self.summary}
        return {**kept, "resumed": [*self.summary.get("resumed", []), {"step": self.step, "time": now}]}


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
