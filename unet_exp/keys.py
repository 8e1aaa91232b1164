"""Keys of plain values: whole ones such as `data.tile`, and renamed ones, which this version still takes."""

from collections.abc import Mapping
from typing import Any

RENAMED = {"model": {"lattice": "total_stride", "context": "lost_border", "margin": "receptive_field_radius"}}
"""Old keys and their new words, by group."""
_DOTTED = {f"{group}.{old}": f"{group}.{new}" for group, words in RENAMED.items() for old, new in words.items()}

_VALUES = {"loss.class_weights=none": "loss.class_weights=null"}
"""Old words of a key and its value."""


def flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """`{"loss": {"name": "dice"}}` as `{"loss.name": "dice"}`; lists are values.

    Args:
        values: nested.
        above: what all keys begin with.
    """
    result: dict[str, Any] = {}
    for key, value in values.items():
        result |= flat(value, f"{above}{key}.") if isinstance(value, Mapping) else {f"{above}{key}": value}
    return result


def rename_keys(values: Any, group: str = "") -> Any:
    """Plain values under the words of today.

    Args:
        values: of a config, or of a part of one; old keys may stand in a group or be written with dots.
        group: whose keys `values` has, such as `model`.
    """
    if not isinstance(values, dict):
        return values
    words = {**RENAMED.get(group, {}), **_DOTTED}
    return {words.get(key, key): rename_keys(value, str(key)) for key, value in values.items()}


def rename_override(text: str) -> tuple[str, str | None]:
    """Renames the key of an override such as `model.margin=16`, or its value.

    Returns:
        The override, and a note if it has changed.
    """
    if text in _VALUES:
        return _VALUES[text], f"{text} is now {_VALUES[text]}; this version still takes the old word"
    typed, equals, value = text.partition("=")
    key = typed.lstrip("+~")
    if key not in _DOTTED:
        return text, None
    note = f"{key} is now {_DOTTED[key]}; this version still takes the old word"
    return f"{typed.removesuffix(key)}{_DOTTED[key]}{equals}{value}", note
