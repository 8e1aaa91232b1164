"""The keys that a composed config has, and what to say of others."""

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from unet_exp.config_files import RECIPES, ConfigFile
from unet_exp.console import join_names
from unet_exp.errors import suggest
from unet_exp.options import Options

_MOST = 10
"""Keys that are listed where one of them is probably meant."""
_MOST_MEANT = 3
_ELSEWHERE = {
    "learning_rate": "optimizer.lr",
    "gpus": "trainer.devices",
    "ckpt_path": "resume",
    "checkpoint": "init_from",
    "hparams_search": "search",
    "trials": "search.trials",
    "amp": "trainer.precision",
    "logging": "logger",
}
"""What other programs call keys of this one."""
_PROMISED = ("model.match",)
"""Keys of a recipe without which it would be another one: a comparison at equal cost."""


def has_key(node: Any, key: str) -> bool:
    """Whether a node has a key, whatever its value."""
    # Not `key in node`, which is false for values that are still to be typed or replaced.
    return isinstance(node, DictConfig) and key in list(node)


def explain_key(config: DictConfig, key: str) -> str:
    """What there is in place of an unknown key."""
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
    owners = f"it is of {join_names(others)}, type {those} too; " if others else ""
    near = "" if others else _suggest_key(config, key, parent, wanted)
    return f"unknown key {key}{near}: {owners}{list_keys(config, parent, wanted, _MOST if near or owners else None)}"


def _suggest_key(config: DictConfig, key: str, parent: str, wanted: str) -> str:
    """Which key is probably meant: one that another program calls so, one like it, or one elsewhere of its name.

    So `lr` is `optimizer.lr`, and `epochs` is `trainer.max_epochs`.
    """
    if _ELSEWHERE.get(wanted, key) != key:
        return f" (did you mean {_ELSEWHERE[wanted]}?)"
    node = OmegaConf.select(config, parent) if parent else config
    if near := suggest(wanted, _list_below(node, wanted)):
        return near
    groups = [(str(group), node) for group, node in config.items_ex(resolve=False) if isinstance(node, DictConfig)]
    keys = [
        f"{group}.{key}" for group, node in groups for key in _list_below(node, "") if group not in ("hydra", parent)
    ]
    if parent and has_key(config, wanted):
        return f" (did you mean {wanted}?)"
    by_ending = ([key for key in keys if key.endswith(mark + wanted)] for mark in (".", ".max_", "_"))
    meant = next(filter(None, by_ending), [])[:_MOST_MEANT]
    return f" (did you mean {' or '.join(meant)}?)" if meant else ""


def list_keys(config: DictConfig, parent: str, wanted: str = "", most: int | None = None) -> str:
    """The keys below another one, empty for the top, without `wanted`, at most so many, as a part of a message."""
    node = OmegaConf.select(config, parent) if parent else config
    below = _list_below(node, wanted)
    left = len(below[most:]) if most else 0
    names = ", ".join(below[:most]) + f" and {left} more" * bool(left)
    if not parent:
        return f"the top-level keys are {names}"
    word = node.get("name")
    return f"{parent}{f'={word}' if word else ''} has {f'the keys {names}' if names else 'no keys'}"


def _list_below(node: DictConfig, wanted: str) -> list[str]:
    return [str(key) for key in node if key not in ("_target_", "hydra", wanted)]


def leave_out_foreign(
    config: DictConfig, files: Sequence[ConfigFile], words: Mapping[str, Any], options: Options
) -> None:
    """Takes out what a recipe sets in a group and the option that is typed beside it has not.

    So `model=custom` beside `experiment=small` wins over the depth of its U-Net. A key that no option has stays, and is
    a mistake in the file.

    Args:
        config: composed; it is changed.
        files: that it is made of.
        words: as typed, the values of groups.
        options: all of them.
    """
    keys = dict.fromkeys(key for file in files if file.group.split("/")[0] in RECIPES for key in file.keys)
    for group, word in words.items():
        for key in keys:
            name = key.removeprefix(f"{group}.").split(".")[0]
            if not key.startswith(f"{group}.") or key in _PROMISED or not isinstance(word, str):
                continue
            if options.find_owners(group, name) and not options.has_key(group, word, name):
                with open_dict(config):
                    config[group].pop(name, None)
