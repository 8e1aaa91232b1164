"""The log of a run, `run.log`."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NOISE = re.compile(
    r"litlogger|`srun` command is available|TPU available|Trainer\(limit_\w+=1\.0\)|treespec, LeafSpec"
    # Lightning expects a loader that resumes in mid-epoch; here the sampler does.
    r"|dataloader is not resumable"
)
"""What libraries say that nobody here can act upon."""


@contextmanager
def redirect_logs(path: Path | None) -> Iterator[None]:
    """Sends the messages of all libraries to the run's log, and the project's own warnings also to the terminal.

    Args:
        path: of the log; None, in the other processes of a training, silences all but errors.
    """
    to_file = logging.NullHandler() if path is None else logging.FileHandler(path)
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    to_file.addFilter(lambda record: _NOISE.search(record.getMessage()) is None)
    to_terminal = logging.StreamHandler()
    to_terminal.setLevel(logging.WARNING if path is not None else logging.ERROR)
    to_terminal.addFilter(logging.Filter("unet_exp"))
    to_terminal.setFormatter(logging.Formatter("warning: %(message)s"))
    root, lightning = logging.getLogger(), logging.getLogger("pytorch_lightning")
    before = root.level, lightning.handlers, lightning.propagate
    lightning.handlers, lightning.propagate = [], True
    root.setLevel(logging.INFO)
    for handler in (to_file, to_terminal):
        root.addHandler(handler)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        for handler in (to_file, to_terminal):
            root.removeHandler(handler)
            handler.close()
        root.setLevel(before[0])
        lightning.handlers, lightning.propagate = before[1:]
