"""Plain text, values and tables in Markdown, as GitHub and Sphinx read it."""

import re
from collections.abc import Iterable, Sequence

from unet_exp.typed import write_value

_GROUPS = "augmentation|data|hydra|inference|logger|loss|metrics|model|optimizer|scheduler|search|sweep|trainer"
_CODE = "|".join(
    (
        r"\b[a-z][\w./]*=(?:\[[^\]]*\]|[\w./]*\w(?:,\w+)*)?",  # loss=dice
        rf"\b(?:{_GROUPS})\.[a-z]\w*(?:\.\w+)*",  # loss.gamma
        r"(?:<\w+>|\b\w+)?[\w/]*\.(?:ckpt|csv|db|html|json|md|onnx|png|py|safetensors|tif|txt|yaml)\b",
        r"<\w+>_\w+|(?<!\w)_\w+",
        r"\b(?:[a-z]\w*\.)?[a-z]+\d*(?:_[a-z0-9]+)+\b|\b[A-Z]+(?:_[A-Z]+)+\b",  # class_weights, WANDB_MODE
        r"\[[^\[\]]*\]|\{[^{}]*\}",  # lists, and keys with values
        r"'[^' ]*[*/.][^' ]*'",  # globs
        r"\b(?:sqlite|postgresql|https?)://[\w.<>@:/]*[\w>]",
    )
)
_SPECIAL = rf"`[^`]+`|docs/(?P<page>\w+)\.md|(?P<code>{_CODE})|(?P<other>[*<>\\]|(?<!\w)_|_(?!\w))"


def write_text(text: str, words: Iterable[str] = ()) -> str:
    """Plain text, in which keys, names and values become code, pages links, and alternatives stand between dots.

    Args:
        text: of a comment or a help.
        words: alternatives, which become code too where they stand between signs.
    """
    named = "|".join(map(re.escape, words))
    pattern = _SPECIAL + (rf"|(?P<word>(?:(?<=[:;|(] )|(?<![^(]))(?:{named})(?=[:;,)]| \(| \||$))" if named else "")

    def mark(found: re.Match[str]) -> str:
        parts = found.groupdict()
        if parts["page"]:
            return f"[{parts['page']}.md]({parts['page']}.md)"
        if code := parts["code"] or parts.get("word"):
            return f"`{code}`"
        return f"\\{parts['other']}" if parts["other"] else found[0]

    return re.sub(pattern, mark, text).replace(" | ", " · ").replace("|", r"\|")


def write_code(value: object) -> str:
    """A value as it is typed."""
    text = value if isinstance(value, str) and value else write_value(value)
    return f"`{text}`".replace("|", r"\|")


def list_codes(values: Iterable[object]) -> str:
    """Several values."""
    return ", ".join(map(write_code, values))


def make_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join("|" + "".join(f" {cell} |" if cell else " |" for cell in line) + "\n" for line in lines)
