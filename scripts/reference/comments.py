"""What the files of `conf/` say: their keys with values, and what their comments explain."""

import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from unet_exp.config_files import SHARED
from unet_exp.files import conf_dir


class Said(NamedTuple):
    """What a file says of a key: its value, and its comment (empty for none)."""

    value: Any
    meaning: str


class File(NamedTuple):
    """A file of `conf/`.

    Attributes:
        about: the comment in its first lines.
        defaults: its defaults list.
        keys: by their whole names, such as `data.tile`; those above others, such as `hydra.launcher`, too.
    """

    about: str
    defaults: list[Any]
    keys: dict[str, Said]


class Option(NamedTuple):
    """An option of a group: its word, what it is, and its keys with those of the options that it builds on."""

    word: str
    about: str
    keys: dict[str, Said]


def read_file(name: str) -> File:
    """Reads a file of `conf/`, such as `loss/dice`."""
    return _read_text(name, (conf_dir() / f"{name}.yaml").read_text(encoding="utf-8"))


@cache  # options have their bases in common
def _read_text(name: str, text: str) -> File:
    values, root = yaml.safe_load(text), yaml.compose(text)
    package = str(Path(name).parent).replace("/", ".")
    above = "" if package == "." or "@package _global_" in text.partition("\n")[0] else f"{package}."
    comments = _Comments(text)
    if not isinstance(root, yaml.MappingNode):  # comments alone, as in debug/none
        return File(comments.read_head(), [], {})
    found = dict(_walk(root, values, comments, above))
    found.pop(f"{above}defaults", None)
    return File(comments.read_head(), values.get("defaults", []), found)


def _walk(node: yaml.MappingNode, values: dict[str, Any], comments: "_Comments", above: str) -> Iterator[Any]:
    for (key, below), (name, value) in zip(node.value, values.items(), strict=True):
        yield f"{above}{name}", Said(value, comments.explain(key.start_mark.line, key.start_mark.column))
        if isinstance(below, yaml.MappingNode):
            yield from _walk(below, value, comments, f"{above}{name}.")


def read_option(group: str, word: str) -> Option:
    """Reads an option of a group, with what it builds on."""
    file = read_file(f"{group}/{word}")
    keys: dict[str, Said] = {}
    for base in [*file.defaults, *(() if "_self_" in file.defaults else ("_self_",))]:
        if base != "_self_" and not isinstance(base, str):  # an option of another group
            continue
        for key, said in (file.keys if base == "_self_" else read_option(group, base).keys).items():
            inherited = keys[key].meaning if key in keys else ""
            keys[key] = Said(said.value, said.meaning or inherited)
    return Option(word, file.about, keys)


def list_settings(group: str, word: str) -> Iterator[tuple[str, Any]]:
    """What a recipe sets: the options that it chooses, and its keys, as they would be typed.

    Yields:
        A group or a key, and a word or a value.
    """
    file = read_file(f"{group}/{word}")
    for base in file.defaults:
        if isinstance(base, dict):
            yield from ((place.removeprefix("override ").lstrip("/"), chosen) for place, chosen in base.items())
        elif base.startswith(SHARED) and base != "_self_":
            yield from list_settings(group, base)
        elif base != "_self_":
            yield group, base
    for key, said in file.keys.items():
        if not isinstance(said.value, dict):
            yield key, said.value


class _Comments:
    """The comments in a text of YAML, by their lines."""

    def __init__(self, text: str) -> None:
        tokens = [token for token in yaml.scan(text) if token.start_mark.index < token.end_mark.index]
        ends = {token.end_mark.line: token.end_mark.column for token in tokens}
        self._first = min(ends, default=len(text.splitlines()))
        self._ends = ends
        # By line, the column of the comment and what it says.
        self._found: dict[int, tuple[int, str]] = {}
        for number, line in enumerate(text.splitlines()):
            rest = line[ends.get(number, 0) :]
            if rest.lstrip().startswith("#"):
                self._found[number] = (line.index("#", ends.get(number, 0)), rest.strip().lstrip("# "))

    def read_head(self) -> str:
        """The comment above the first key."""
        lines = [self._found[number][1] for number in range(self._first) if number in self._found]
        return " ".join(line for line in lines if not re.match("@package", line))

    def explain(self, line: int, column: int) -> str:
        """The comment beside a key, which may go on below, further right than the key; else the one right above it."""
        if line in self._found:
            below = self._list_next(line, 1, lambda place: place > column)
            return " ".join([self._found[line][1], *below])
        return " ".join(reversed([*self._list_next(line, -1, lambda place: place == column)]))

    def _list_next(self, line: int, step: int, is_wanted: Callable[[int], bool]) -> Iterator[str]:
        """The comments of the next lines that hold nothing else, as long as their columns are wanted."""
        line += step
        while line in self._found and line not in self._ends and line > self._first and is_wanted(self._found[line][0]):
            yield self._found[line][1]
            line += step
