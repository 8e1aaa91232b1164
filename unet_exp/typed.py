"""Values as they are typed: in a config, or on a command line for Hydra."""

import math
import os
import re
import shlex
from collections.abc import Iterable
from typing import Any

import yaml

PATHS = (
    *("checkpoint", "input", "output", "init_from", "resume", "rerun", "sweep.resume", "runs", "baseline"),
    "search.storage",
    *("model.weights", "data.root", "data.images", "data.masks", "data.field_of_view", "data.lists", "data.group"),
)
"""Keys whose values are paths, labels with an equals sign in them, or regular expressions: typed without the quotes
that Hydra's grammar wants."""
_BARE = re.compile(r"(?!null$|true$|false$|inf$|nan$|[\d.+-]+(e[\d+-]+)?$)[\w/.*?+-]+", re.ASCII | re.IGNORECASE)
"""Paths and globs that Hydra's grammar takes without quotes; not what it would take for a number or the like."""


class _Dumper(yaml.SafeDumper):
    """Quotes names that Hydra's grammar does not take bare; it has double quotes in common with YAML."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    plain = re.fullmatch(r"[A-Za-z_]([\w ]*\w)?", text, re.ASCII)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, None if plain else '"')


_Dumper.add_representer(str, _represent_text)


def dump_in_one_line(plain: object) -> str:
    """YAML for a config or, as Hydra reads it too, the command line."""
    settings: dict[str, Any] = {"default_flow_style": True, "sort_keys": False, "width": math.inf}
    text: str = yaml.dump(plain, Dumper=_Dumper, allow_unicode=True, **settings)
    return text.removesuffix("...\n").strip()


def write_value(value: object) -> str:
    """A value behind `key=` on a command line; a path or a glob is bare where Hydra's grammar takes it so."""
    if not isinstance(value, str):
        return dump_in_one_line(value)
    if _BARE.fullmatch(value):
        return value
    # Of backslashes only those before a quote are escapes.
    escaped = re.sub(r'(\\*)("|$)', lambda match: match[1] * 2 + ('\\"' if match[2] else ""), value)
    return f'"{escaped}"'


def split_words(words: Iterable[str]) -> dict[str, str]:
    """What words of a command line set, add or delete, by its key: `seed` of `seed=1`, `+seed=1` and `~seed`.

    Of a key that is typed twice the last one counts; a deletion has no value.
    """
    parts = (word.lstrip("+~").partition("=") for word in words)
    return {key: value for key, _, value in parts}


def find_keys(words: Iterable[str]) -> set[str]:
    """The keys of `split_words`."""
    return {*split_words(words)}


def is_path(word: str) -> bool:
    """Whether a word has a slash, or names a file or folder."""
    return "/" in word or os.path.exists(word)


def join_words(words: Iterable[str]) -> str:
    """Recorded words of a command line, with the fewest quotes with which a shell hands over the same."""
    return " ".join(_quote_for_shell(_shorten(word)) for word in words)


def _shorten(word: str) -> str:
    """The word without the quotes that a path gets when it is read, see `unet_exp.compose.prepare_words`."""
    key, _, value = word.partition("=")
    bare = value[1:-1]
    quoted = len(value) > 1 and value[0] == value[-1] == "'" and "'" not in bare and not bare.endswith("\\")
    # What could be read as something else keeps them.
    plain = bare not in ("", "null") and bare[:1] not in ('"', "[", "{") and "," not in bare
    return f"{key}={bare}" if key in PATHS and quoted and plain else word


def _quote_for_shell(word: str) -> str:
    return f'"{word}"' if "'" in word and not re.search(r'["$`\\!]', word) else shlex.quote(word)
