"""The space of a search: values of keys, from `conf/search/` and from the command line."""

import re
from collections.abc import Callable, Iterable
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override, Quote, QuotedString, RangeSweep, Sweep, ValueType

from unet_exp.compose import parse_overrides
from unet_exp.config import Config
from unet_exp.config.multirun import OptunaConfig, Range, parse_search
from unet_exp.console import join_names
from unet_exp.errors import ConfigError
from unet_exp.keys import flat

_LEARNING = tuple(
    f"data.{key}"
    for key in ["tile", "batch_size", "num_workers", "tiles_per_epoch", "sampling", "foreground_share", "normalization"]
)
"""Keys that say how to learn from the data; the others of `data` say from which, and on what the score is measured."""
_MEASURING = tuple(f"trainer.{key}" for key in ("monitor", "val_every_epochs", "limit_batches", "overfit"))


def add_typed(config: OptunaConfig, typed: Iterable[Override]) -> OptunaConfig:
    """The search with the typed words: several values of a key join its space, a single value removes the key.

    Raises:
        ConfigError: for a sweep that cannot be searched.
    """
    space = config.model_dump()["space"]
    for override in typed:
        if override.is_sweep_override():
            space[override.key_or_group] = space_entry(override)
        else:
            space.pop(override.key_or_group, None)
    search = parse_search({**config.model_dump(), "space": space})
    assert search is not None
    return search


def space_entry(override: Override) -> list[Any] | dict[str, Any]:
    """A sweep of the command line as an entry of the space.

    Args:
        override: `fusion=concat,add`, `model.width=range(8,33,8)`, `optimizer.lr=interval(0.0001,0.01)`, or one of the
            latter as `tag(log, ...)`. Both ends of an interval are included; `int(interval(1,9))` is of whole numbers.

    Returns:
        Plain values, as in `conf/search/`.

    Raises:
        ConfigError: for what has no meaning in a search.
    """
    line, sweep = override.input_line, override.value()
    if override.value_type == ValueType.GLOB_CHOICE_SWEEP:
        raise ConfigError(f"{line}: a search takes no glob; list the options with commas between them")
    assert isinstance(sweep, Sweep)
    if sweep.tags - {"log"} or (sweep.tags and override.is_choice_sweep()):
        raise ConfigError(f"{line}: the only tag is log, of an interval or a range")
    log = "log" in sweep.tags
    if isinstance(sweep, IntervalSweep):
        return {"low": sweep.start, "high": sweep.end, "log": log}
    if isinstance(sweep, RangeSweep):
        # Hydra adds the steps up; rounding removes the errors of the sum.
        values: list[Any] = sorted(
            value if isinstance(value, int) else float(f"{value:.12g}") for value in override.sweep_iterator()
        )
        if len(values) < 2:
            raise ConfigError(f"{line}: the range leaves nothing to choose")
        step = None if log and abs(sweep.step) == 1 else abs(sweep.step)
        return {"low": values[0], "high": values[-1], "log": log, "step": step}
    texts = override.sweep_string_iterator()
    return [parse_overrides([f"{override.key_or_group}={text}"])[0].value() for text in texts]


def check_space(config: OptunaConfig, compose: Callable[[list[str]], Config]) -> None:
    """Finds before the first trial what would make trials fail, or their scores incomparable.

    It composes every value of a list and both ends of a range with the first value of all other keys; `compose` adds
    the words that all trials share.

    Raises:
        ConfigError: in one line that names the key.
    """
    if not config.space:
        raise ConfigError(
            "search=optuna has nothing to search: give search.space, or type values such as "
            "'optimizer.lr=tag(log,interval(0.0001,0.1))' fusion=concat,add"
        )
    ends = {
        key: [to_word(value) for value in (entry if isinstance(entry, list) else (entry.low, entry.high))]
        for key, entry in config.space.items()
    }
    first = {key: words[0] for key, words in ends.items()}
    base = flat(compose(to_overrides(first)).model_dump())
    for key, words in ends.items():
        entry = config.space[key]
        if isinstance(entry, Range) and entry.whole and isinstance(base.get(key), float):
            raise ConfigError(
                f"search.space.{key}: low={entry.low} and high={entry.high} mean whole numbers, and this key takes "
                f"others too; write {float(entry.low)} and {float(entry.high)}"
            )
        for word in words[1:]:
            other = flat(compose(to_overrides({**first, key: word})).model_dump())
            measured = (name for name in {**base, **other} if _is_measured(name, base["trainer.monitor"]))
            if changed := next((name for name in measured if base.get(name) != other.get(name)), None):
                raise ConfigError(
                    f"search.space.{key}: it changes {changed}, and scores of such trials cannot be compared; "
                    "take it out of the space, and sweep over it without a search"
                )


def describe_space(config: OptunaConfig) -> str:
    """What a search varies, such as `search over optimizer.lr (0.0001 to 0.1, log) and fusion (concat, add)`."""
    keys = [f"{key} ({_describe_entry(entry)})" for key, entry in config.space.items()]
    return f"search over {join_names(keys)}: {config.trials} trial{'s' * (config.trials > 1)}"


def _describe_entry(entry: list[Any] | Range) -> str:
    if isinstance(entry, list):
        return ", ".join(map(to_word, entry))
    step = "" if entry.step is None else f", step {entry.step:g}"
    return f"{entry.low:g} to {entry.high:g}{', log' * entry.log}{step}"


def to_overrides(values: dict[str, str]) -> list[str]:
    """Values by their keys, as overrides."""
    return [f"{key}={word}" for key, word in values.items()]


def to_word(value: Any) -> str:
    """A plain value in Hydra's grammar."""
    if isinstance(value, list):
        return f"[{','.join(to_word(item) for item in value)}]"
    if isinstance(value, str):
        plain = re.fullmatch(r"[A-Za-z_]\w*", value) and value.lower() not in ("null", "true", "false", "nan", "inf")
        return value if plain else QuotedString(value, Quote.single).with_quotes()
    return {"None": "null", "True": "true", "False": "false"}.get(repr(value), repr(value))


def _is_measured(key: str, monitor: str) -> bool:
    """Whether scores are comparable only where this key has one value."""
    if key.startswith("data."):
        return key not in _LEARNING
    return key == "seed" or key in _MEASURING or (monitor == "val/loss" and key.startswith("loss."))
