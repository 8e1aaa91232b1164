"""The code and the packages that compute a result."""

import contextlib
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from unet_exp.metrics import METRICS_VERSION
from unet_exp.runs.conditions import Conditions, GitState

_PACKAGES = (
    "unet-exp", "torch", "pytorch-lightning", "hydra-core", "omegaconf", "wandb", "albumentations", "numpy",
    "opencv-python-headless", "scipy", "scikit-image", "timm", "torchvision", "safetensors",
)  # fmt: skip
_read_version = cache(metadata.version)  # from a file that does not change while it is imported


def describe_conditions(data_fingerprint: str | None, device: str, precision: str, **more: Any) -> Conditions:
    """The conditions of a result that is computed now, by this code and these packages."""
    more |= {"metrics_version": METRICS_VERSION, "git": git_state(), "versions": versions()}
    return Conditions(data_fingerprint=data_fingerprint, device=device, precision=precision, **more)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that compute a result."""
    found = {"python": sys.version.split()[0]}
    for package in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = _read_version(package)
    return found


def git_state() -> GitState | None:
    """Commit of the code and whether it has changed since; None outside a checkout."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here), *words], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)  # an installed copy may lie in somebody's checkout
        return GitState(commit=git("rev-parse", "HEAD"), changed=bool(git("status", "--porcelain", "-uno")))
    except (OSError, subprocess.SubprocessError):
        return None
