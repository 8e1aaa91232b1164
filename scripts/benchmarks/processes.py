"""Processes that are started as a user starts them."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from unet_exp.runs.run_folder import RunFolder

if TYPE_CHECKING:
    import resource  # not on Windows

SCRIPTS = Path(__file__).parents[1]


def start(words: Sequence[str], place: str | Path, code: int = 0) -> None:
    """Runs a script to its end.

    Args:
        words: the path of a script, and what is typed after it.
        place: the current folder.
        code: its exit code.
    """
    finish(open_process(words, place), code)


def open_process(words: Sequence[str], place: str | Path) -> "subprocess.Popen[bytes]":
    """Starts a script; what it prints goes nowhere but for its errors."""
    path = os.pathsep.join([str(SCRIPTS.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "WANDB_MODE": "offline"}
    return subprocess.Popen(
        [sys.executable, *words], cwd=place, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def finish(process: "subprocess.Popen[bytes]", code: int = 0) -> None:
    """Waits for a process, and looks at its exit code."""
    _, errors = process.communicate()
    assert process.returncode == code, errors.decode(errors="replace")[-2000:]


def train_until_first_step(words: Sequence[str]) -> float:
    """Seconds from the start of a process to the first step of its training."""
    import time

    with tempfile.TemporaryDirectory() as place:
        began = time.time()
        start([str(SCRIPTS / "train.py"), *words, "output=runs"], place)
        summary = RunFolder(next(Path(place, "runs", "train").iterdir())).read_summary()
    return datetime.fromisoformat(summary.started or "").timestamp() + (summary.seconds_setup or 0) - began


def wait_measured(process: "subprocess.Popen[bytes]") -> "resource.struct_rusage":
    """Waits for the end of a process, and returns what it has used; an interruption ends it."""
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        process.kill()
        process.wait()  # its folder is removed now
        raise
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage


def peak_bytes(usage: "resource.struct_rusage") -> int:
    """The most resident memory, in bytes; of a child, no less than this process had when it started that."""
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
