"""The keys that a composed config has, and what to say of others."""

from typing import Any

from omegaconf import DictConfig, OmegaConf

from unet_exp.console import join_names
from unet_exp.errors import suggest
from unet_exp.options import Options

_MOST = 10
"""Keys that are listed where one of them is probably meant."""
_MOST_MEANT = 3
_ELSEWHERE = {
    "learning_rate": "optimizer.lr",
    "gpus": "trainer.devices",
    "fast_dev_run": "debug=fast",
    "overfit_batches": "debug=overfit",
    "gradient_clip_val": "trainer.clip_norm",
    "accumulate_grad_batches": "trainer.accumulate",
    "check_val_every_n_epoch": "trainer.val_every_epochs",
    "limit_train_batches": "trainer.limit_batches",
    "limit_val_batches": "trainer.limit_batches",
    "default_root_dir": "output",
    "seed_everything": "seed",
    "ckpt_path": "resume",
    "checkpoint": "init_from",
    "hparams_search": "search",
    "trials": "search.trials",
    "n_trials": "search.trials",
    "amp": "trainer.precision",
    "logging": "logger",
    "trainer.logger": "logger=csv, without W&B",
}
"""What other programs call keys of this one, whole or by their last part."""


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
    near = "" if others else suggest_key(config, key, parent, wanted)
    return f"unknown key {key}{near}: {owners}{list_keys(config, parent, wanted, _MOST if near or owners else None)}"


def suggest_key(config: DictConfig, key: str, parent: str, wanted: str) -> str:
    """Which key is probably meant: one that another program calls so, one like it, or one elsewhere of its name.

    So `lr` is `optimizer.lr`, and `epochs` is `trainer.max_epochs`.
    """
    elsewhere = _ELSEWHERE.get(key) or _ELSEWHERE.get(wanted, key)
    if elsewhere != key:
        return f" (did you mean {elsewhere}?)"
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
