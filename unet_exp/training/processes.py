"""The processes of one training: the first one prints and writes, and the others, which it starts, find its run."""

import os
from pathlib import Path

from unet_exp.errors import ConfigError
from unet_exp.runs.run_folder import RunFolder

_FOLDER = "UNET_EXP_RUN_FOLDER"
_CHECKPOINT = "UNET_EXP_RUN_CHECKPOINT"


def is_first() -> bool:
    """Whether this is the first process of a training, or the only one."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def publish_run(folder: RunFolder, checkpoint: Path | None) -> None:
    """Says where the run is to the processes that will be started.

    Args:
        folder: of the run.
        checkpoint: that it goes on from, if there is one.
    """
    os.environ[_FOLDER] = str(folder.path.resolve())
    os.environ[_CHECKPOINT] = str(checkpoint or "")


def get_folder() -> RunFolder:
    """The run's folder, which the first process has made.

    Raises:
        ConfigError: if this process was not started by it.
    """
    if _FOLDER not in os.environ:
        raise ConfigError("start one process; trainer.devices starts the others (no torchrun, no srun with several)")
    return RunFolder(Path(os.environ[_FOLDER]))


def get_checkpoint() -> str | None:
    """The checkpoint that all processes go on from, if there is one."""
    return os.environ[_CHECKPOINT] or None
