"""What all commands print with, and what keeps libraries from printing."""

import logging
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

_INSTALLED = "unet-exp-"
"""What the names of installed programs begin with."""


def make_console(**settings: Any) -> Console:
    """A console that prints text as it is: brackets and colons in paths and names of the user are no markup.

    Args:
        settings: of `rich.console.Console`, such as `width`.
    """
    return Console(highlight=False, markup=False, emoji=False, **settings)


def join_names(names: Sequence[str], separator: str = ", ") -> str:
    """A list in words: empty, `a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (separator.join(names[:-1]), *names[-1:])))


def name_commands(text: str) -> str:
    """The text with the names that the programs have where this one is installed, such as `unet-exp-train`."""
    if not Path(sys.argv[0]).stem.startswith(_INSTALLED):
        return text
    return re.sub(r"(?:python )?scripts/(\w+)\.py", lambda found: _INSTALLED + found[1].replace("_", "-"), text)


@contextmanager
def quieten(library: str) -> Iterator[None]:
    """In here a library logs errors alone."""
    log = logging.getLogger(library)
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)
