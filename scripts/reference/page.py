"""Writes the reference, docs/configuration.md."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from reference.commands import COMMANDS, list_keys
from reference.comments import list_settings
from reference.markdown import list_codes, make_table, write_code, write_text
from reference.rows import LAUNCHER, TOP, Row, find_default, has_options, list_options, list_rows
from reference.words import ABOUT_COMMANDS, ABOUT_GROUPS, INTRODUCTION
from unet_exp.config_files import RECIPES
from unet_exp.options import Options

PAGE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"
_HEADER = ("key", "meaning", "default", "allowed")
_SWEPT = "hydra.sweeper.params."


def render() -> str:
    """The page.

    Raises:
        SystemExit: in one line, for what is not explained.
    """
    if missing := {*Options().list_folders(), LAUNCHER}.difference(ABOUT_GROUPS):
        raise SystemExit(f"error: conf/{min(missing)}: say in scripts/reference/words.py what the group is")
    titles = [_title(group) for group in ABOUT_GROUPS]
    contents = {"keys of a training": titles, "keys of other commands": list(COMMANDS)}
    links = [(heading, " · ".join(map(_link, names))) for heading, names in contents.items()]
    sections = [*map(_describe_group, ABOUT_GROUPS), *map(_describe_command, COMMANDS)]
    return "\n".join([INTRODUCTION.format(contents=make_table(("", ""), links)), *sections])


def write(path: Path = PAGE) -> None:
    """Writes the page."""
    path.write_text(render(), encoding="utf-8")


def _title(group: str) -> str:
    return {TOP: "Top level", LAUNCHER: "launcher"}.get(group, group)


def _link(title: str) -> str:
    return f"[{title}](#{title.lower().replace(' ', '-')})"


def _describe_group(group: str) -> str:
    parts = [f"## {_title(group)}\n\n{ABOUT_GROUPS[group]}\n"]
    if has_options(group):
        parts.append(_list_options(group))
    if group not in RECIPES:
        rows = list_rows(group)
        parts += [make_table(_HEADER, _list_cells(rows))] if rows else []
    return "\n".join(parts)


def _list_options(group: str) -> str:
    recipe = group in RECIPES
    default = find_default(group)
    rows = []
    for option in list_options(group):
        word = write_code(option.word) + (" (default)" if option.word == default else "")
        sets = [", ".join(_list_settings(group, option.word))] if recipe else []
        rows.append((word, write_text(option.about), *sets))
    return make_table((write_code(f"{group}="), "what it is", *(["sets"] if recipe else [])), rows)


def _list_settings(group: str, word: str) -> Iterator[str]:
    for key, value in list_settings(group, word):
        if key != "hydra.mode":  # the values of the sweep say so
            yield write_code(f"{key.removeprefix(_SWEPT)}={write_code(value)[1:-1]}")


def _list_cells(rows: Sequence[Row]) -> Iterator[tuple[str, str, str, str]]:
    """The cells of a table: keys of all options first, then those of some below a line that says of which."""
    of_words: dict[tuple[str, ...], list[Row]] = {}
    for row in sorted(rows, key=lambda row: not row.everywhere):
        of_words.setdefault(() if row.everywhere else tuple(row.defaults), []).append(row)
    for words, some in of_words.items():
        if words:
            yield "", f"**with {list_codes(words)}**", "", ""
        for row in some:
            named = re.findall(r"`([^`]+)`", row.allowed)
            yield write_code(row.key), write_text(row.meaning, named), _write_defaults(row), row.allowed


def _write_defaults(row: Row) -> str:
    """The default that most options have, then those that have others."""
    if row.required:
        return "to be typed"
    words: dict[str, list[str]] = {}
    for word, value in row.defaults.items():
        words.setdefault(write_code(value), []).append(word)
    most = max(words, key=lambda value: len(words[value]))
    return "; ".join([most, *(f"with {list_codes(some)}: {value}" for value, some in words.items() if value != most)])


def _describe_command(name: str) -> str:
    command = COMMANDS[name]
    first, usage = command.usage.split("\n\n")[:2]
    parts = [f"## {name}\n\n{write_text(first)} {ABOUT_COMMANDS[name]}\n"]
    parts.append(f"```text\n{re.sub('^(Usage:|      ) ', '', usage, flags=re.MULTILINE)}\n```\n")
    parts.append(make_table(_HEADER, _list_cells(list_keys(name))))
    if others := [key for key in command.more if key not in command.defaults]:
        listed = ", ".join(f"all of [{key}](#{key})" if key in ABOUT_GROUPS else write_code(key) for key in others)
        parts.append(f"Also keys of a training: {listed}.\n")
    return "\n".join(parts)
