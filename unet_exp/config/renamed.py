"""Keys that have a better word since; this version still takes the old one."""

from typing import Any

RENAMED = {"model": {"lattice": "total_stride", "context": "lost_border", "margin": "receptive_field_radius"}}
"""Old keys and their new words, by group."""


def rename_keys(group: str, values: dict[str, Any]) -> dict[str, Any]:
    """A group's values under the words of today.

    Args:
        group: such as `model`.
        values: plain; an old key stands above a new one, which holds its default.
    """
    old = {key: word for key, word in RENAMED[group].items() if key in values}
    kept = {key: value for key, value in values.items() if key not in old}
    return {**kept, **{word: values[key] for key, word in old.items()}}


def rename_override(text: str) -> tuple[str, str | None]:
    """An override as typed, under the words of today.

    Args:
        text: such as `model.margin=16`.

    Returns:
        The override, and a note where its key has changed.
    """
    typed, _, value = text.partition("=")
    key = typed.lstrip("+~")
    group, _, last = key.partition(".")
    word = RENAMED.get(group, {}).get(last)
    if word is None:
        return text, None
    note = f"{key} is now {group}.{word}; this version still takes the old word"
    return f"{typed.removesuffix(last)}{word}={value}", note
