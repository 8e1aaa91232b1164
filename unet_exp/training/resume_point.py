"""Where an interrupted run resumes: its folder, an undamaged checkpoint, the same data and conditions."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from unet_exp.checkpoints.migrations import FORMAT
from unet_exp.checkpoints.reading import EPOCH_LOSSES, RANDOM_STATES, STEP, read_content
from unet_exp.checkpoints.record import KEY
from unet_exp.config import Config, parse
from unet_exp.errors import ConfigError, DataError, UserError
from unet_exp.files import hold_lock
from unet_exp.runs.earlier import (
    AUTO,
    explain_still_running,
    find_unfinished,
    keep_unrecorded,
    list_changes,
    read_config,
)
from unet_exp.runs.run_folder import RunFolder, refuse_links
from unet_exp.runs.summary import Summary
from unet_exp.training.prepare import Job

# Fields of the summary that a resumed run keeps from its first start.
_FROM_FIRST_START = ("started", "overrides", "wandb_id", "logger_ids", "init_from_sha256", "rerun", "resumed")


@dataclass(frozen=True)
class ResumePoint:
    """What earlier starts of a run have left: the last summary, and the last checkpoint with its step, if any."""

    folder: RunFolder
    summary: Summary
    checkpoint: Path | None = None
    step: int = 0
    notes: list[str] = field(default_factory=list)

    @classmethod
    def find(cls, folder: RunFolder) -> "ResumePoint":
        """The last checkpoint in a folder, or the one before it where the last is damaged.

        Raises:
            DataError: if all checkpoints are damaged.
        """
        notes: list[str] = []
        for path in filter(Path.exists, (folder.last, folder.previous)):
            try:
                step = _check_checkpoint(folder, path)
            except UserError as error:
                notes.append(str(error))
                continue
            return cls(folder, folder.read_summary(), path, step, [*notes, f"going on from step {step} ({path})"])
        if folder.has_checkpoint:
            raise DataError(f"resume={folder.path}: it has no checkpoint to go on from; start anew ({notes[0]})")
        notes.append(f"{folder.path} has no checkpoint yet: it starts from the beginning")
        return cls(folder, folder.read_summary(), notes=notes)

    def check(self, job: Job) -> None:
        """Refuses conditions that would change the result, and notes those that may.

        Raises:
            UserError: if the data, the precision or the number of processes differ.
        """
        if self.checkpoint is None:
            return
        then, now = self.summary, job.conditions_beside(self.summary)
        if missing := then.missing_conditions():
            self.notes.append(f"{self.folder.summary} lacks {missing}; whether the data are the same is not known")
            return
        run = f"resume={self.folder.path}"
        new_run = ", or start a new run, for resume=auto with another name="
        then.require_same(now, run, new_run, "; go on with it on a machine of the first kind")
        if then.processes not in (None, now.processes):
            raise ConfigError(
                f"{run}: {then.processes} processes shared its work and today it would be {now.processes}, which would "
                f"change its steps; go on with it in {then.processes} (trainer.devices x trainer.num_nodes), or train "
                f"on in a new run with init_from={self.checkpoint}"
            )
        if changed := ", ".join(then.list_changes(now)):
            self.notes.append(f"it goes on under other conditions and may differ from an undisturbed run: {changed}")

    def clean_up(self) -> None:
        """Removes files that do not belong to the resumed run."""
        if self.checkpoint is None:
            self.folder.clear()
        elif self.checkpoint == self.folder.previous:
            self.folder.last.unlink(missing_ok=True)  # damaged: it must not replace the one before

    def keep_first_start(self, summary: Summary) -> Summary:
        """The summary of this start with the kept fields of the first start and the list of the later ones."""
        kept = _FROM_FIRST_START if self.checkpoint is not None else ("rerun",)
        fields = {key: getattr(self.summary, key) for key in kept if key in self.summary.model_fields_set}
        if self.checkpoint is not None:
            resumed: list[dict[str, int | str]] = [{"step": self.step, "time": str(summary.started)}]
            fields["resumed"] = [*(self.summary.resumed or []), *resumed]
        return summary.replace(**fields)


def find_resume_point(
    config: Config, typed: Sequence[str], folder: RunFolder | None, stack: ExitStack
) -> ResumePoint | None:
    """Where a training resumes; None for a new run.

    Args:
        config: as typed.
        typed: the words.
        folder: of a sweep's run, which the sweep has locked; None looks for what `resume` names, and locks it.
        stack: releases the lock at its end.

    Raises:
        UserError: if the run that `resume` names cannot be resumed in this way.
    """
    if folder is not None:
        return _find_in_sweep(folder, config, typed) if folder.has_checkpoint else None
    while found := find_unfinished(config, typed):
        refuse_links(found.path)
        try:
            stack.enter_context(hold_lock(found.lock))
        except BlockingIOError:
            if config.resume == AUTO:  # another process has just taken it
                continue
            raise explain_still_running(found) from None
        return ResumePoint.find(found)
    if config.resume is not None:
        print(f"resume={config.resume}: there is no unfinished run of this config; this is a new one")
    return None


def _find_in_sweep(folder: RunFolder, config: Config, typed: Sequence[str]) -> ResumePoint:
    """Where a run of a sweep resumes: at the beginning if its config in `conf/` has changed or all is damaged."""
    try:
        changed = list_changes(read_config(folder), keep_unrecorded(config, folder, typed))
        if not changed:
            return ResumePoint.find(folder)
        note = f"its config has changed ({', '.join(changed)})"
    except UserError as error:
        note = str(error)
    return ResumePoint(folder, Summary(), notes=[f"{folder.path} starts from the beginning: {note}"])


def _check_checkpoint(folder: RunFolder, path: Path) -> int:
    """The step of a checkpoint that this run can resume.

    Raises:
        UserError: if it is damaged, of an earlier version or of another run.
    """
    content = read_content(path)
    if content[KEY].get("format") != FORMAT or not {EPOCH_LOSSES, RANDOM_STATES} <= content.keys():
        raise DataError(f"checkpoint={path}: it is of an earlier version, which could not go on exactly")
    if changed := list_changes(read_config(folder), parse(content[KEY].get("config", {}))):
        raise DataError(f"checkpoint={path}: it is of another run ({', '.join(changed)})")
    step = content.get(STEP)
    if not isinstance(step, int):
        raise DataError(f"checkpoint={path}: it does not record its step")
    return step
