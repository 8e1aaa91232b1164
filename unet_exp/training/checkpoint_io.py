"""Writes checkpoints to the disk."""

import io
import os
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from unet_exp.files import write_whole
from unet_exp.runs.run_folder import RunFolder


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint completely or not at all, and keeps the last checkpoint but one."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Writes `checkpoint` to `path`; Lightning calls it."""
        del storage_options
        # Through memory: torch.save hides from its caller that the disk is full.
        content = io.BytesIO()
        torch.save(checkpoint, content)
        with write_whole(Path(path)) as side:
            with side.open("wb") as file:
                file.write(content.getbuffer())
                file.flush()
                os.fsync(file.fileno())  # the machine may disappear before the system writes it
            if Path(path) == self._folder.last and self._folder.last.exists():
                self._folder.last.replace(self._folder.previous)
