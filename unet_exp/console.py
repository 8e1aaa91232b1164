"""What all commands print with."""

from typing import Any

from rich.console import Console


def make_console(**settings: Any) -> Console:
    """A console that prints text as it is: brackets and colons in paths and names of the user are no markup.

    Args:
        settings: of `rich.console.Console`, such as `width`.
    """
    return Console(highlight=False, markup=False, emoji=False, **settings)
