"""The commands in a Python that lacks what they need, as before `source .venv/bin/activate`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = (
    *("train", "evaluate", "predict", "compare", "check_data", "preview", "export", "cache"),
    *("make_micrographs", "make_replica"),
)


def start(command: str, path: str = "") -> "subprocess.CompletedProcess[str]":
    """Starts a command without the packages that are installed; `path` has more folders of modules."""
    environment = {**os.environ, "PYTHONPATH": path}
    words = [sys.executable, "-S", f"{ROOT}/scripts/{command}.py"]
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False)


def told(package: str) -> tuple[int, str, str]:
    mend = "type: source .venv/bin/activate (after make setup)"
    return 2, "", f"error: {package} is not installed for {sys.executable}; {mend}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_says_in_one_line_what_to_type(command: str) -> None:
    done = start(command)
    assert (done.returncode, done.stdout, done.stderr) == told("unet_exp")


def test_with_our_package_alone_it_names_the_next_one() -> None:
    done = start("train", str(ROOT))
    assert (done.returncode, done.stdout, done.stderr) == told("hydra")


def test_the_backend_of_a_notebook_is_not_needed(tmp_path: Path) -> None:
    environment = {**os.environ, "MPLBACKEND": "module://ipympl.backend_nbagg"}
    words = [sys.executable, f"{ROOT}/scripts/compare.py", "runs=nowhere"]
    done = subprocess.run(words, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr.startswith("error: nowhere: there is no such folder")
