"""A real SLURM on this machine for the tests: `scripts/start_slurm.sh` in a folder of its own, and its commands."""

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

START = Path(__file__).parents[1] / "scripts" / "start_slurm.sh"
LIMIT = 120.0  # seconds within which anything happens


class Slurm:
    """A running SLURM, whose commands this process and its children find.

    Args:
        home: the folder of `scripts/start_slurm.sh`.
    """

    def __init__(self, home: Path) -> None:
        self.home = home

    def ask(self, *words: str) -> str:
        """What a command of SLURM's prints."""
        return subprocess.run(words, check=True, capture_output=True, text=True, timeout=LIMIT).stdout

    def states(self) -> dict[str, str]:
        """The state of each job that is queued or running, by its id, such as `3_1`."""
        lines = self.ask("squeue", "--noheader", "--array", "--format=%i %T").splitlines()
        return dict(re.findall(r"^\s*(\S+) (\S+)$", "\n".join(lines), re.MULTILINE))

    def submit(self, script: str) -> str:
        """The id of a job with this script."""
        told = subprocess.run(
            ["sbatch", "--parsable"], input=script, check=True, capture_output=True, text=True, timeout=LIMIT
        )
        return told.stdout.strip()

    def signal(self, name: str, job: str) -> None:
        """Sends a signal to the processes of a running job, once: scancel repeats it if the job ends meanwhile."""
        with suppress(subprocess.TimeoutExpired):
            subprocess.run(["scancel", f"--signal={name}", job], check=True, capture_output=True, timeout=1)

    def stop_controller(self) -> None:
        """Ends the controller; jobs go on."""
        process = int((self.home / "slurmctld.pid").read_text())
        os.kill(process, 15)
        wait_for(lambda: not Path(f"/proc/{process}").exists(), "the end of slurmctld")

    def start_controller(self) -> None:
        """Starts the controller again, with the jobs that it had."""
        subprocess.run(["slurmctld"], check=True, timeout=LIMIT)


@contextmanager
def run_slurm(home: Path) -> Iterator[Slurm]:
    """Starts SLURM, and ends its processes and jobs; skips the test, and says so, where it is not installed."""
    told = subprocess.run([START, home, "4"], capture_output=True, text=True, timeout=LIMIT)
    if told.returncode == 3:
        pytest.skip(f"{told.stderr.strip()}: NOTHING was tested on a real SLURM")
    assert told.returncode == 0, told.stderr
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SLURM_CONF", str(home / "slurm.conf"))
            patch.setenv("PATH", f"{os.environ['PATH']}:/usr/sbin:/sbin")
            yield Slurm(home)
    finally:
        subprocess.run([home / "stop"], check=True, timeout=LIMIT)


def wait_for(found: Callable[[], object], what: str) -> None:
    """Returns when `found` is true."""
    end = time.monotonic() + LIMIT
    while not found():
        assert time.monotonic() < end, f"waited {LIMIT:.0f} s for {what}"
        time.sleep(0.05)
