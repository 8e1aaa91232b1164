"""Plain text, values and tables in Markdown, as GitHub and Sphinx read it."""

import re
from collections.abc import Iterable, Sequence

from unet_exp.typed import write_value

_GROUPS = "augmentation|data|hydra|inference|logger|loss|metrics|model|optimizer|scheduler|search|sweep|trainer"
_SPECIAL = (
    r"`[^`]+`"
    r"|docs/(?P<page>\w+)\.md"
    rf"|(?P<code>\b(?:{_GROUPS})\.[a-z]\w*(?:\.\w+)*(?:=(?:<\w+>|\w+))?|\b[a-z][\w/]*=(?:\[[^\]]*\]|[\w.,/]*\w)?)"
    r"|(?P<other>[*<>\\]|(?<!\w)_|_(?!\w))"
)


def write_text(text: str, words: Iterable[str] = ()) -> str:
    """Plain text, in which keys become code, pages links, and alternatives stand between dots.

    Args:
        text: of a comment or a help.
        words: values that are named in it, which become code too where they stand between signs.
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
    return "".join(f"| {' | '.join(line)} |\n" for line in lines).replace("|  |", "| |")
