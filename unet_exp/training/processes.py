"""The processes of a distributed training: the first one prints and writes, and starts the others."""

import os
from pathlib import Path

from unet_exp.errors import ConfigError
from unet_exp.runs.run_folder import RunFolder

_FOLDER = "UNET_EXP_RUN_FOLDER"
_CHECKPOINT = "UNET_EXP_RUN_CHECKPOINT"


def is_first() -> bool:
    """Whether this is the first or only process of a training."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def publish_run(folder: RunFolder, checkpoint: Path | None) -> None:
    """Names the run and the checkpoint that it resumes from, if any, to the processes that will start."""
    os.environ[_FOLDER] = str(folder.path.resolve())
    os.environ[_CHECKPOINT] = str(checkpoint or "")


def get_folder() -> RunFolder:
    """The run folder that the first process made.

    Raises:
        ConfigError: if this process was not started by it.
    """
    if _FOLDER not in os.environ:
        raise ConfigError("start one process; trainer.devices starts the others (no torchrun, no srun with several)")
    return RunFolder(Path(os.environ[_FOLDER]))


def get_checkpoint() -> str | None:
    """The checkpoint that all processes resume from, if any."""
    return os.environ[_CHECKPOINT] or None
