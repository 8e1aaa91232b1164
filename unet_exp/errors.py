"""What a user can get wrong. Everything else is a bug and keeps its traceback."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake that the user can mend; the message says what, where and how, in one line."""


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


def suggest(wanted: str, names: Iterable[str]) -> str:
    """` (did you mean X?)` with the name that is most like a wrong one, to be put into a message; empty for none."""
    names = list(names)
    near = difflib.get_close_matches(wanted, names, n=1) or [name for name in names if name.lower() == wanted.lower()]
    return f" (did you mean {near[0]}?)" if near else ""
