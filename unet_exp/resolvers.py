"""What `conf/` can write in `${...}` beside keys: values that depend on other choices."""

import os

from omegaconf import DictConfig, OmegaConf


def _weigh_membranes(*weights: float, _root_: DictConfig) -> list[float] | None:
    """`${if_membranes:2.5,1.0}` in `conf/`: these class weights where the classes are membrane and cell, else null."""
    data = _root_.data
    return list(weights) if data.name == "isbi2012" or (data.name == "synthetic" and not data.organelles) else None


def _keep_rate(rate: float, _root_: DictConfig) -> float | None:
    """`${for_known_optimizer:0.003}`: this learning rate, but null for a class that has a default of its own."""
    return None if _root_.optimizer.name in ("torch", "custom") else rate


def _read_variable(name: str, default: str | None = None) -> str | None:
    """`${wandb:PROJECT,unet-exp}`: the variable WANDB_PROJECT, and what follows where it is not set or empty."""
    return os.environ.get(f"WANDB_{name}") or default


def _list_variable(name: str) -> list[str]:
    """`${wandb_list:TAGS}`: the words of the variable WANDB_TAGS, which commas part."""
    return [word.strip() for word in os.environ.get(f"WANDB_{name}", "").split(",") if word.strip()]


def register() -> None:
    """Makes OmegaConf know them in this process."""
    OmegaConf.register_new_resolver("if_membranes", _weigh_membranes, replace=True)
    OmegaConf.register_new_resolver("for_known_optimizer", _keep_rate, replace=True)
    OmegaConf.register_new_resolver("wandb", _read_variable, replace=True)
    OmegaConf.register_new_resolver("wandb_list", _list_variable, replace=True)
