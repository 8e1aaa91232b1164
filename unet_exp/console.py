"""What all commands print with."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console


def make_console(**settings: Any) -> Console:
    """A console that prints text as it is: brackets and colons in paths and names of the user are no markup.

    Args:
        settings: of `rich.console.Console`, such as `width`.
    """
    return Console(highlight=False, markup=False, emoji=False, **settings)


def join_names(names: Sequence[str], separator: str = ", ") -> str:
    """A list in words: empty, `a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (separator.join(names[:-1]), *names[-1:])))
