"""The keys that a composed config has, and what to say of others."""

from typing import Any

from omegaconf import DictConfig, OmegaConf

from unet_exp.options import Options, list_names


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
    elsewhere = f"; it is a key of {' and '.join(others)}" if others else ""
    return f"unknown key {key}: {list_keys(config, parent, wanted)}{elsewhere}"


def list_keys(config: DictConfig, parent: str, wanted: str = "") -> str:
    """The keys below another one, empty for the top, those most like `wanted` first, as a part of a message."""
    node = OmegaConf.select(config, parent) if parent else config
    names = list_names([str(key) for key in node if key not in ("_target_", "hydra", wanted)], wanted)
    if not parent:
        return f"the top-level keys are {names}"
    word = node.get("name")
    return f"{parent}{f'={word}' if word else ''} has {f'the keys {names}' if names else 'no keys'}"
