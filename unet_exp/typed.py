"""Values as they are typed: in a config, or on a command line for Hydra."""

import math
import re
from typing import Any

import yaml

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
