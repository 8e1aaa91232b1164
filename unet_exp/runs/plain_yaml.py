"""Parses YAML files of plain values, whoever has written them."""

import re
from typing import Any

import yaml

from unet_exp.schema import DEEPEST, leaves

_BLOCKS = re.compile(r"(?:[A-Za-z_]\w*:(?: [^\n]*)?\n(?:(?: |- )[^\n]*\n)*)+")
"""A file in which every top-level key begins a line, and nothing else does but its list."""
_NEXT_BLOCK = re.compile(r"^(?=[A-Za-z_])", re.MULTILINE)


def parse_plain(text: str) -> Any:
    """Parses a YAML text of plain values.

    Raises:
        ValueError: if it has tags, merge keys (`<<`: a few fill any memory), aliases that repeat too much, or nests
            deeper than our files, which the parser in C may not survive.
        yaml.YAMLError: if it is no YAML.
        RecursionError: as the parser does.
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the parser in C, where PyYAML has it, is ten times faster
    depth = 0
    for event in yaml.parse(text, loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST or getattr(event, "tag", None) or getattr(event, "value", None) == "<<":
            raise ValueError("it is more than plain values")
    values = yaml.load(text, loader)  # noqa: S506
    for _ in leaves(values, len(text)):
        pass
    return values


class SharedBlocks:
    """Parses many texts of plain values that have most of their top-level keys in common, each of these once.

    The values of equal texts are the same objects: do not change them.
    """

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}

    def parse(self, text: str) -> Any:
        """See `parse_plain`."""
        if not _BLOCKS.fullmatch(text):
            return parse_plain(text)
        values: dict[str, Any] = {}
        try:
            for block in _NEXT_BLOCK.split(text):
                if block and block not in self._known:
                    self._known[block] = parse_plain(block)
                values |= self._known.get(block, {})
        except (ValueError, TypeError, yaml.YAMLError):  # an alias of another block, or really damaged
            return parse_plain(text)
        return values
