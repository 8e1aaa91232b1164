"""What the benchmarks share: threads, and where results go."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unet_exp.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console


def make_result_file(output: str, name: str) -> Path:
    """Makes the folder of the results before anything is measured; returns the path of their file in it.

    Raises:
        ConfigError: if it cannot be made.
    """
    target = Path(output) / name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"output={output}: this folder cannot be made ({error.strerror}); choose another") from None
    return target


def make_table_console() -> "Console":
    """A console for tables: a file has no width."""
    from unet_exp.console import make_console

    terminal = make_console()
    return terminal if terminal.is_terminal else make_console(width=180)


@contextmanager
def use_threads(threads: int) -> Iterator[None]:
    """PyTorch and OpenCV use so many threads in here."""
    import cv2
    import torch

    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


def write_results(target: Path, content: Mapping[str, Any]) -> None:
    """Writes results with the state of the code and the versions of libraries, and prints the path."""
    from unet_exp.console import make_console
    from unet_exp.files import write_text
    from unet_exp.runs.environment import git_state, versions

    git = None if (state := git_state()) is None else state.model_dump()
    write_text(target, json.dumps({**content, "git": git, "versions": versions()}, indent=2) + "\n")
    make_console().print(str(target), style="bold", soft_wrap=True)
