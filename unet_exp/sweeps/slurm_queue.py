"""SLURM's own commands: what is in its queue, why a job has ended, how to cancel and name jobs.

None of them needs accounting, which small clusters do without.
"""

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from unet_exp.errors import ConfigError, UserError
from unet_exp.extras import hint_extra

_PATIENCE = 60  # seconds for an answer; a busy controller takes some
_HELD = re.compile(
    r"held|never|invalid|badconstraints|drained|reqnodenotavail|partition(config|down|timelimit|nodelimit)|assoc.*limit.*exceeded",
    re.IGNORECASE,
)
"""Reasons for which a job waits until somebody does something."""
_NO_CLUSTER = re.compile(r"resolve_ctls_from_dns|could not establish a configuration source", re.IGNORECASE)
"""What SLURM's commands print where neither a file nor the network names a controller."""


class Unreachable(Exception):
    """SLURM's controller does not answer; the message says what its command printed."""


@dataclass(frozen=True)
class QueuedJob:
    """A job that is queued, running or ending.

    Attributes:
        id: such as `12`, or `12_3` in an array.
        state: SLURM's word, such as `PENDING`.
        reason: why it waits.
        script: the path that was given to `sbatch`.
    """

    id: str
    state: str
    reason: str
    script: Path

    @property
    def index(self) -> int:
        """Its place in its array; 0 without one."""
        return int(self.id.partition("_")[2] or 0)

    @property
    def is_ending(self) -> bool:
        """Whether its processes get their last seconds; afterwards it may be queued again."""
        return self.state in ("COMPLETING", "STAGE_OUT", "SIGNALING")

    @property
    def is_held(self) -> bool:
        """Whether it waits until somebody does something."""
        return self.state == "SPECIAL_EXIT" or (self.state == "PENDING" and bool(_HELD.search(self.reason)))


def require_slurm() -> None:
    """Checks that jobs can be submitted from this machine.

    Raises:
        ConfigError: if a package is missing.
        UserError: if SLURM's commands are missing, or do not answer.
    """
    if importlib.util.find_spec("submitit") is None or importlib.util.find_spec("hydra_plugins") is None:
        raise ConfigError(f"hydra/launcher=slurm needs: {hint_extra('sweep')}")
    for command in ("sbatch", "squeue", "scontrol", "scancel", "srun"):
        if shutil.which(command) is None:
            raise UserError(
                f"hydra/launcher=slurm: there is no {command} here; start the sweep where jobs are submitted, such as "
                "a login node (docs/cluster.md)"
            )
    try:
        list_queued()
    except Unreachable as error:
        if _NO_CLUSTER.search(str(error)):
            raise UserError(
                f"hydra/launcher=slurm: no SLURM cluster is set up on this machine ({error}); start the sweep on a "
                "login node (docs/cluster.md)"
            ) from None
        raise UserError(f"hydra/launcher=slurm: SLURM does not answer ({error}); try again later") from None


def list_queued() -> list[QueuedJob]:
    """This user's jobs that are queued, running or ending.

    Raises:
        Unreachable: if SLURM does not answer.
    """
    # --all: a partition may be hidden from listings.
    lines = _ask("squeue", "--noheader", "--all", "--array", "--me", "--format=%i|%T|%r|%o").splitlines()
    found = [line.split("|", 3) for line in lines if line.count("|") >= 3]
    return [QueuedJob(job.strip(), state, reason, Path(script)) for job, state, reason, script in found]


def explain_end(job: str) -> str:
    """Why a job is no longer in the queue, such as `FAILED, exit code 3`.

    Args:
        job: its id.

    Raises:
        Unreachable: if SLURM does not answer.
    """
    try:
        told = dict(re.findall(r"(?<!\S)(JobState|ExitCode|Reason)=(\S+)", _ask("scontrol", "show", "job", "-o", job)))
        return _describe_end(told["JobState"], told.get("ExitCode", "0:0"), told.get("Reason", "None"))
    except (Unreachable, KeyError) as error:
        if "invalid job id" not in str(error).lower():
            raise error if isinstance(error, Unreachable) else Unreachable("scontrol gives no JobState") from None
    # The controller forgets a job after MinJobAge, by default five minutes; accounting does not, where there is any.
    try:
        columns = ("--noheader", "--parsable2", "--allocations", "--format=State,ExitCode")
        state, code, *_ = [*_ask("sacct", f"--jobs={job}", *columns).partition("\n")[0].split("|"), ""]
    except (Unreachable, ValueError):
        return "gone from the queue"
    return _describe_end(state, code, "None") if state else "gone from the queue"


def cancel(jobs: Iterable[str]) -> None:
    """Cancels jobs; those that run get SIGTERM, and KillWait seconds to save (30 by default).

    Raises:
        Unreachable: if SLURM does not answer.
    """
    _ask("scancel", *jobs)


def rename(job: str, name: str) -> None:
    """Names a job as `squeue` shows it; without effect where that is not allowed."""
    try:
        _ask("scontrol", "update", f"JobId={job}", f"JobName={name}")
    except Unreachable:
        return


def _describe_end(state: str, code: str, reason: str) -> str:
    exit_code, _, signum = code.partition(":")
    words = [state]
    if signum not in ("", "0"):
        words.append(f"signal {signum}")
    elif exit_code not in ("", "0"):
        words.append(f"exit code {exit_code}")
    if reason not in ("None", "NonZeroExitCode", "JobArrayTaskLimit", "Priority", "Resources"):
        words.append(reason)
    return ", ".join(words)


def _ask(*words: str) -> str:
    """What a command prints.

    Raises:
        Unreachable: if it fails, or does not end.
    """
    try:
        told = subprocess.run(words, capture_output=True, text=True, timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        raise Unreachable(f"{words[0]} gives no answer in {_PATIENCE} s") from None
    except OSError as error:
        raise Unreachable(f"{words[0]}: {error.strerror}") from None
    if told.returncode:
        raise Unreachable([*told.stderr.strip().splitlines(), f"{words[0]} ends with code {told.returncode}"][0])
    return told.stdout
