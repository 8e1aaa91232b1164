"""Renamed keys; this version still takes the old ones."""

from typing import Any

RENAMED = {"model": {"lattice": "total_stride", "context": "lost_border", "margin": "receptive_field_radius"}}
"""Old keys and their new words, by group."""


def rename_keys(group: str, values: dict[str, Any]) -> dict[str, Any]:
    """Renames the keys of a group's plain values; an old key overrides the new one, which has its default."""
    old = {key: word for key, word in RENAMED[group].items() if key in values}
    kept = {key: value for key, value in values.items() if key not in old}
    return {**kept, **{word: values[key] for key, word in old.items()}}


def rename_override(text: str) -> tuple[str, str | None]:
    """Renames the key of an override such as `model.margin=16`.

    Returns:
        The override, and a note if its key has changed.
    """
    typed, _, value = text.partition("=")
    key = typed.lstrip("+~")
    group, _, last = key.partition(".")
    word = RENAMED.get(group, {}).get(last)
    if word is None:
        return text, None
    note = f"{key} is now {group}.{word}; this version still takes the old word"
    return f"{typed.removesuffix(last)}{word}={value}", note
