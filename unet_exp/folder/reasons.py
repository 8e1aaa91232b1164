"""Why images cannot be used, each reason once."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from unet_exp.errors import DataError
from unet_exp.folder.origin import Item
from unet_exp.folder.pairs import Pair
from unet_exp.io.stored import split_inner


def list_reasons(errors: Iterable[tuple[Item, DataError]]) -> list[str]:
    """Lists the messages of errors; of those that differ in their files alone the first, with the number of others."""
    alike: dict[str, list[str]] = defaultdict(list)
    for item, error in errors:
        alike[_leave_out_files(str(error), item)].append(str(error))
    return [
        f"{first}{f' (and {len(others)} more with the same mistake)' if others else ''}"
        for first, *others in alike.values()
    ]


def _leave_out_files(text: str, item: Item) -> str:
    files = [file for file in (item.files if isinstance(item, Pair) else (item.image, item.mask)) if file is not None]
    names = {str(name) for file in files for name in (file, split_inner(Path(file))[0])}
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(name, "")
    return text
