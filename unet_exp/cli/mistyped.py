"""What to say of typed words that a command has no key for: bare ones, and keys of others."""

import shlex
from collections.abc import Collection, Iterable, Sequence

from unet_exp.errors import UserError, suggest
from unet_exp.other_words import OF_CHECKPOINT

_MAIN = ("checkpoint", "input", "output")
"""Keys of a command that uses a checkpoint that words without one mean, in this order."""
_THRESHOLD = "probabilities=true writes probabilities, for a threshold of your own"


def refuse_bare_words(words: Iterable[str], keys: Sequence[str]) -> None:
    """Refuses words without a key, and says which keys are probably meant.

    Args:
        words: of the command line, no options. A path may hold an equals sign: a key has no slash.
        keys: that the command has, the main one first.

    Raises:
        UserError: if there is such a word.
    """
    words = list(words)
    # `~data.nodata` sets a key to null.
    bare = [word for word in words if "/" in word.partition("=")[0] or ("=" not in word and word[:1] != "~")]
    if not bare:
        return
    values = [word for word in bare if word not in keys]
    typed = {word.partition("=")[0] for word in words}
    main = [key for key in _MAIN if key in keys] if keys[0] == _MAIN[0] else keys[:1]
    free = [key for key in main if key not in typed]
    if values and not free:
        raise UserError(f"{values[0]}: all is typed as key=value; the keys are {', '.join(keys)}")
    if free == ["runs"] and len(values) > 1:
        from unet_exp.typed import write_value  # only now: it reads YAML

        listed = shlex.quote(f"runs=[{','.join(map(write_value, values))}]")
        raise UserError(f"{' '.join(values)}: all is typed as key=value; did you mean {listed}?")
    # More words than keys are mostly the files of a glob without quotes.
    told = values if len(values) <= len(free) else values[:1]
    meant = [shlex.quote(f"{key}={value}") for key, value in zip(free, told, strict=False)]
    meant = meant or [f"{word}=..." for word in bare]
    raise UserError(f"{' '.join(told or bare)}: all is typed as key=value; did you mean {' '.join(meant)}?")


def refuse_bare_paths(words: Sequence[str]) -> None:
    """Refuses bare paths where a data set is wanted: one is its folder, two are its images and masks.

    Args:
        words: of the command line, no options.

    Raises:
        UserError: if there is such a word.
    """
    from unet_exp.typed import is_path  # only now: it reads YAML

    paths = [word for word in words if "=" not in word and is_path(word)]
    if not paths:
        return
    main = ("data.images", "data.masks") if len(paths) > 1 else ("data.root",)
    meant = [f"{key}={path}" for key, path in zip(main, paths, strict=False)]
    if not any(word.startswith("data=") for word in words):
        meant.insert(0, "data=folder")
    told = " ".join(paths[: len(main)])
    raise UserError(f"{told}: all is typed as key=value; did you mean {shlex.join(meant)}?")


def explain_unknown(key: str, keys: Sequence[str], trained: Collection[str] | None = None) -> str:
    """What to say of a key that a command does not have.

    Args:
        key: as typed.
        keys: that it has, such as `input` and `data.axes`; `inference...` stands for all of a group.
        trained: the groups and keys at the top of a training's config, where the command uses a trained network.
    """
    parent, _, name = key.rpartition(".")
    of_training = trained is not None and key in trained
    beside = [one.rpartition(".")[2] for one in keys if one.rpartition(".")[0] == parent]
    near = "" if of_training else suggest(name, beside, above=key.removesuffix(name))
    if OF_CHECKPOINT.get(key) in keys:
        near = f" (did you mean {OF_CHECKPOINT[key]}?)"
    listed = ", ".join(keys)
    if trained is None:
        return f"unknown key {key}{near}; the keys are {listed}"
    if key.split(".")[0] in trained and not near:
        return f"{key}: a trained network keeps its own; what can be typed here is {listed}"
    help_of_threshold = f"; {_THRESHOLD}" if "threshold" in key and "probabilities" in keys else ""
    return f"unknown key {key}{near}{help_of_threshold}; what can be typed here is {listed}"
