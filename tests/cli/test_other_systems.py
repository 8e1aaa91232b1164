"""Systems without the modules that POSIX alone has, as far as one that has them can tell."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TINY
from skimage.data import binary_blobs

from unet_exp.io.writing import write_image

SCRIPT = """
import importlib, json, os, pkgutil, sys
from contextlib import suppress
from pathlib import Path
import psutil  # it takes of each system what is there

words = json.loads(sys.argv[1])

for name in ("fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty"):
    sys.modules[name] = None
for name in ("pread", "pwrite"):
    delattr(os, name)

import unet_exp

names = [module.name for module in pkgutil.walk_packages(unet_exp.__path__, "unet_exp.")]
for name in names:
    importlib.import_module(name)
assert len(names) > 100

def call(command, *words):
    sys.argv = [f"{command}.py", *words]
    importlib.import_module(f"unet_exp.cli.{command}").main()

with suppress(SystemExit):
    call("train", "--help")
call("train", "output=out", *words)
(run,) = Path("out/train").iterdir()
call("predict", f"checkpoint={run}/checkpoints/best.ckpt", "input=a.png", "output=masks")
assert json.loads((run / "summary.json").read_text())["status"] == "finished"
"""


@pytest.mark.slow
def test_without_the_modules_of_posix_all_is_imported_and_a_training_runs(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", binary_blobs(64, rng=0).astype("uint8") * 255)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(TINY)], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "masks" / "a_mask.png").is_file()
    assert "only soft file lock is available" in done.stderr
