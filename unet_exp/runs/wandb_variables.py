"""What the environment says of W&B beside the places in `conf/`: its mode, and variables that have no effect."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from unet_exp.console import join_names

_TRUE: Final = ("1", "true", "yes", "on")
_UNUSED: Final = {
    "WANDB_NAME": "the run's name is name=",
    "WANDB_DIR": "W&B's files lie in the run's folder, below output=",
}
"""Variables that have no effect, and what there is in their place."""
_RECORDED: Final = ("WANDB_MODE", "WANDB_TAGS")
"""Variables whose values the run gets from the config: W&B reads them too, and stops at some words."""
_FORMER_MODES: Final = {"run": "online", "dryrun": "offline"}


def choose_mode(mode: str) -> tuple[str, str]:
    """The wanted mode, and what says so, such as `WANDB_MODE=offline`.

    Args:
        mode: `online`, `offline`, `disabled`, or `auto`: disabled by WANDB_DISABLED, else WANDB_MODE if set, else
            `auto`. A typed mode precedes both.
    """
    if mode == "auto" and os.environ.get("WANDB_DISABLED", "").lower() in _TRUE:
        return "disabled", "WANDB_DISABLED"
    if mode == "auto" and (variable := os.environ.get("WANDB_MODE")):
        return _FORMER_MODES.get(variable, variable), f"WANDB_MODE={variable}"
    return mode, f"mode={mode}"


def explain_unused() -> str | None:
    """Names the variables of W&B that are set and have no effect; None where there is none."""
    # An agent of W&B's own sweeps sets its folder by itself.
    agent = "WANDB_SWEEP_ID" in os.environ
    unused = [name for name in _UNUSED if os.environ.get(name) and not (agent and name == "WANDB_DIR")]
    if not unused:
        return None
    verb = "has" if len(unused) == 1 else "have"
    return f"W&B: {join_names(unused)} {verb} no effect: {'; '.join(_UNUSED[name] for name in unused)}"


@contextmanager
def hide_recorded() -> Iterator[None]:
    """Hides variables from W&B that the run has from its config: a word of theirs that it does not take ends it."""
    hidden = {name: os.environ.pop(name) for name in _RECORDED if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)
