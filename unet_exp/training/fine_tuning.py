"""Fine-tuning: a new network starts from the weights of a checkpoint."""

from torch import nn

from unet_exp.checkpoints.checkpoint import Checkpoint
from unet_exp.errors import ConfigError

_SIDE = "side_heads."
"""Begins the names of the heads of deep supervision, which train and do not predict."""


def load_initial_weights(network: nn.Module, checkpoint: Checkpoint) -> list[str]:
    """Copies the weights of a checkpoint into a network, in place.

    The 1x1 convolutions to logits keep their fresh weights where the number of classes differs, and so do those of deep
    supervision that the checkpoint does not have; those that the network does not have are left out.

    Returns:
        Names of the weights that stay fresh.

    Raises:
        ConfigError: if the checkpoint has no weights, or the networks differ in anything else; names the first
            difference.
    """
    if not checkpoint.weights:
        raise ConfigError(f"init_from={checkpoint.path}: it has no weights to start from; name a .ckpt or a run")
    wanted, given = network.state_dict(), checkpoint.weights
    fresh = [name for name in wanted if name.startswith(_SIDE) and name not in given]
    fresh += [
        name
        for name in wanted
        if name.startswith(("head.", _SIDE)) and name in given and given[name].shape != wanted[name].shape
    ]
    taken = {
        name: value
        for name, value in given.items()
        if name not in fresh and (name in wanted or not name.startswith(_SIDE))
    }
    for name in dict.fromkeys([*wanted, *taken]):
        there, here = (tuple(each[name].shape) if name in each else "missing" for each in (taken, wanted))
        if name not in fresh and there != here:
            raise ConfigError(
                f"init_from={checkpoint.path}: its network differs: {name} is {there} there and {here} here; "
                "set model, fusion and the keys of model as they were"
            )
    network.load_state_dict(taken, strict=False)
    return fresh
