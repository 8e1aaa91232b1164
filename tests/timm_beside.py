"""timm for the tests of encoders, which `make setup` puts into a folder of its own: see the Makefile."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import distributions
from pathlib import Path

import pytest

FOLDER = Path(sys.prefix) / "encoders"


@contextmanager
def timm_on_path() -> Iterator[None]:
    """timm and torchvision can be imported in here, also beside a PyTorch that the wheel of torchvision is not for."""
    beside = not any(distributions(name="timm"))  # whether or not an earlier test has imported it
    if beside and not FOLDER.is_dir():
        pytest.skip("timm is not installed: make setup")
    if beside:
        sys.path.append(str(FOLDER))
    try:
        _load_torchvision()
        yield
    finally:
        if beside:
            sys.path.remove(str(FOLDER))


def _load_torchvision() -> None:
    try:
        import_module("torchvision")
    except RuntimeError:  # it describes operators that its library, built for another PyTorch, has not declared
        import torch

        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import_module("torchvision")
