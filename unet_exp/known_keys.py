"""The keys that a composed config has, and what to say of others."""

import re
from typing import Any

from omegaconf import DictConfig, OmegaConf

from unet_exp.console import join_names
from unet_exp.errors import suggest
from unet_exp.options import Options, write_option
from unet_exp.other_words import OF_TRAINING, OPTIONS

_MOST = 10
"""Keys that are listed where one of them is probably meant."""
_MOST_MEANT = 3


def has_key(node: Any, key: str) -> bool:
    """Whether a node has a key, whatever its value."""
    # Not `key in node`, which is false for values that are still to be typed or replaced.
    return isinstance(node, DictConfig) and key in list(node)


def explain_key(config: DictConfig, key: str, value: Any = "") -> str:
    """What there is in place of an unknown key, and of its value where that tells more."""
    parent, node = "", config
    *above, wanted = key.split(".")
    for part in above:
        if not has_key(node, part):
            wanted = part
            break
        parent, node = f"{parent}.{part}".lstrip("."), OmegaConf.select(node, part)
    if not isinstance(node, DictConfig):
        return f"unknown key {key}: {parent} has no keys"
    if not node and parent and "." in parent:  # such as loss.params, which may hold anything
        return f"unknown key {key}: {parent} is empty; +{key}=... adds it"
    options = Options()
    others = [f"{parent}={word}" for word in options.find_owners(parent, wanted)] if parent in options.shipped else []
    those = "one of these" if len(others) > 1 else "that"
    owners = f"it is of {join_names(others)}, type {those} too; " if others else ""
    near = "" if others else suggest_key(config, key, parent, wanted, value)
    return f"unknown key {key}{near}: {owners}{list_keys(config, parent, wanted, _MOST if near or owners else None)}"


def suggest_key(config: DictConfig, key: str, parent: str, wanted: str, value: Any = "") -> str:
    """Which key is probably meant: one that another program calls so, one like it, or one elsewhere of its name.

    So `lr` is `optimizer.lr`, and `epochs` is `trainer.max_epochs`.
    """
    elsewhere = OF_TRAINING.get(key) or OF_TRAINING.get(wanted, key)
    if elsewhere != key:
        without = (elsewhere, write_option(value).lower()) in OPTIONS  # trainer.logger=false switches it off
        return f" (did you mean {'logger=csv, without W&B' if without else elsewhere}?)"
    node = OmegaConf.select(config, parent) if parent else config
    near = suggest(wanted, _list_below(node, wanted), above=f"{parent}." if parent else "")
    if near and parent:
        return near
    groups = [(str(group), below) for group, below in config.items_ex(resolve=False) if isinstance(below, DictConfig)]
    keys = [
        f"{group}.{name}"
        for group, below in groups
        for name in _list_below(below, "")
        if group not in ("hydra", parent)
    ]
    if parent and has_key(config, wanted):
        return f" (did you mean {wanted}?)"
    # At the top also the second of two words, `workers` for `data.num_workers`; of more words it says too little.
    before = ["", "max_", *(["[a-z]+_"] if not parent else [])]
    names = [f"{start}{re.escape(wanted)}" for start in before]
    by_ending = ([one for one in keys if re.fullmatch(rf".+\.{name}", one)] for name in names)
    meant = next(filter(None, by_ending), [])[:_MOST_MEANT]
    return f" (did you mean {' or '.join(meant)}?)" if meant else near


def list_keys(config: DictConfig, parent: str, wanted: str = "", most: int | None = None) -> str:
    """The keys below another one, empty for the top, without `wanted`, at most so many, as a part of a message."""
    node = OmegaConf.select(config, parent) if parent else config
    below = _list_below(node, wanted)
    if parent in (options := Options()).shipped and node.get("name") in options.words(parent):
        # Not what a file has set beside the keys of the option.
        below = [key for key in below if options.has_key(parent, node.get("name"), key)]
    left = len(below[most:]) if most else 0
    names = ", ".join(below[:most]) + f" and {left} more" * bool(left)
    if not parent:
        return f"the top-level keys are {names}"
    word = node.get("name")
    return f"{parent}{f'={word}' if word else ''} has {f'the keys {names}' if names else 'no keys'}"


def _list_below(node: DictConfig, wanted: str) -> list[str]:
    return [str(key) for key in node if key not in ("_target_", "hydra", wanted)]
