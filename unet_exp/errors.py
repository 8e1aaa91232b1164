"""What a user can get wrong. Everything else is a bug and keeps its traceback."""


class UserError(Exception):
    """A mistake that the user can mend; the message says what, where and how, in one line."""


class ConfigError(UserError):
    """A wrong word, key, type or combination in the configuration; found before torch is imported."""


class DataError(UserError):
    """A file that is missing, unreadable or does not fit; found before the first epoch."""


class TrainingError(UserError):
    """A training that cannot go on, such as a loss that is no longer finite."""
