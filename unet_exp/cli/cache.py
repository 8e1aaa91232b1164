"""The command cache: what is kept for later starts, and how to be rid of it."""

from typing import Any

from unet_exp.cli.entry import run_with_own_keys
from unet_exp.schema import Strict, validate

USAGE = """List what is kept for later starts, or clear it.

Usage: python scripts/cache.py [clear=<name>|all|[<name>,...]]

  clear  the names to remove, or the first letters of several (arrays, index, synthetic), or all

In the folder that the variable UNET_EXP_CACHE names (~/.cache/unet_exp) lie
  arrays     decoded images (data.cache=disk)
  index      what is known of each image: sizes, means, classes, digests
  synthetic  generated images (data=synthetic)

All of it is made again when it is needed. A training that is reading removed arrays goes on with the images themselves.

Examples:
  python scripts/cache.py
  python scripts/cache.py clear=arrays
  python scripts/cache.py clear=[arrays/1f0c9d22,index/77ab02c1]
"""


class CacheTask(Strict):
    """The command's keys."""

    clear: str | list[str] | None


DEFAULTS: dict[str, Any] = {"clear": None}


def main() -> None:
    """Runs `scripts/cache.py`."""
    run_with_own_keys(USAGE, DEFAULTS, _run_cache)


def _run_cache(values: dict[str, Any]) -> None:
    task = validate(CacheTask, values)

    from rich.table import Table

    from unet_exp.cache_folder import VARIABLE, find_cache_folder
    from unet_exp.console import make_console
    from unet_exp.data import kept
    from unet_exp.folder.choice import format_size

    console, folder = make_console(), find_cache_folder()
    if folder is None:
        console.print(f"nothing is kept: {VARIABLE} is empty")
        return
    cleared = task.clear is not None
    names = [task.clear] if isinstance(task.clear, str) else task.clear or []
    found = kept.clear(names) if cleared else kept.list_kept()
    if found:
        table = Table("removed" if cleared else "name", "size", "last changed", "images")
        for one in found:
            table.add_row(one.name, format_size(one.size), f"{one.changed:%Y-%m-%d %H:%M}", one.about)
        console.print(table)
    total = format_size(sum(one.size for one in found))
    console.print(f"{total} {'removed from' if cleared else 'in'} {folder}", soft_wrap=True)
