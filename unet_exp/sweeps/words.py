"""Words that have several values, or a meaning only in a sweep; no schema is needed to read them."""

import re

from hydra.core.override_parser.types import IntervalSweep, Override, ValueType

from unet_exp.errors import ConfigError

EARLIER_RUN = {
    "resume": "this goes on with one training; a sweep, with sweep.resume=<its folder>",
    "rerun": "this repeats one training, without -m and without a search; of a sweep, give the folder of one run",
}
"""Keys that name an earlier run, and the reason why a sweep cannot have them."""
_RESERVED = ("sweep.run", "sweep.worker")
"""Keys that only the program sets."""
_SHARED = ("output", "sweep", "search", "hydra", "hydra/launcher")
"""Keys that a whole sweep shares."""


def check_override(override: Override) -> None:
    """Refuses a word that has no meaning where it stands.

    Raises:
        ConfigError: for what the program sets itself, several values of what a sweep has once, and empty paths.
    """
    key = override.key_or_group
    if key in (*EARLIER_RUN, "sweep.resume") and override.value() == "":  # a variable of the shell that is not set
        raise ConfigError(f"{override.input_line}: there is no folder behind it; give that of an earlier run or sweep")
    if any(key == own or key.startswith(f"{own}.") for own in _RESERVED):
        raise ConfigError(f"{override.input_line}: this is not typed; commas make a sweep, and search=optuna a search")
    if swept := re.fullmatch(r"\+*hydra\.sweeper\.params\.(.+)", get_line(override)):
        raise ConfigError(f"{override.input_line}: this is not typed; type {swept[1]}")
    if override.is_sweep_override() and (key in _SHARED or key.split(".")[0] in _SHARED):
        raise ConfigError(f"{override.input_line}: a sweep has one of it; type one value")


def get_line(override: Override) -> str:
    """An override as it was typed."""
    assert override.input_line is not None
    return override.input_line


def take_first_value(override: Override) -> str:
    """An override as typed, with the first of its values where it has several."""
    if not override.is_sweep_override():
        return get_line(override)
    if override.is_interval_sweep():
        interval = override.value()
        assert isinstance(interval, IntervalSweep)
        return f"{override.get_key_element()}={interval.start}"
    return f"{override.get_key_element()}={list_values(override)[0]}"


def list_values(override: Override) -> list[str]:
    """The values of a sweep over one key, as words.

    Raises:
        ConfigError: for a glob, a range that cannot be, and where there is none.
    """
    line = override.input_line
    if override.value_type == ValueType.GLOB_CHOICE_SWEEP:
        raise ConfigError(f"{line}: globs are not used here; list the options with commas between them")
    try:
        values = list(override.sweep_string_iterator())
    except ValueError as error:
        raise ConfigError(f"{line}: {error}") from None
    if not values:
        raise ConfigError(f"{line}: there is no value in it")
    return values
