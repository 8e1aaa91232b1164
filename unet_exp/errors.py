"""What a user can get wrong. Everything else is a bug and keeps its traceback."""

import difflib
import re
from collections.abc import Iterable

_PASSWORD = re.compile(r"(?i)((?:postgres|mysql|mariadb|mssql|oracle)[\w+]*://[^\s:@/]*:)\S*(?=@)|(\bpassword=)[^\s&]+")


class UserError(Exception):
    """A mistake that the user can correct; the message says what, where and how, in one line, and no password."""

    def __init__(self, message: str = "") -> None:
        super().__init__(_PASSWORD.sub(r"\1\2***", message))


class ConfigError(UserError):
    """A wrong word, key, type or combination in the configuration; found before torch is imported.

    Args:
        message: in one line.
        key: the wrong key, such as `data.tile`, where it is one.
    """

    def __init__(self, message: str, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key


class DataError(UserError):
    """A file that is missing, unreadable or does not fit; found before the first epoch."""


class TrainingError(UserError):
    """A training that cannot go on, such as a loss that is no longer finite."""


def suggest(wanted: str, names: Iterable[str], cutoff: float = 0.6, above: str = "") -> str:
    """Says which name is most like a wrong one, as in ` (did you mean same?)`; empty where none is.

    Args:
        wanted: the wrong one.
        names: those that there are.
        cutoff: how like it must be, from 0 to 1.
        above: what is typed before the name, such as `model.`.
    """
    names = list(names)
    near = difflib.get_close_matches(wanted, names, n=1, cutoff=cutoff) or [
        name for name in names if name.lower() == wanted.lower()
    ]
    return f" (did you mean {above}{near[0]}?)" if near else ""
