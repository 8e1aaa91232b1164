"""Fine-tuning: a new network starts from a checkpoint's weights."""

from torch import nn

from unet_exp.checkpoints.checkpoint import Checkpoint
from unet_exp.errors import ConfigError


def load_initial_weights(network: nn.Module, checkpoint: Checkpoint) -> list[str]:
    """Copies a checkpoint's weights into a network.

    The last 1x1 convolution keeps its fresh weights where the number of classes is another.

    Args:
        network: freshly initialised; changed in place.
        checkpoint: of the same network but for its classes.

    Returns:
        Names of the weights that stay fresh.

    Raises:
        ConfigError: if it has no weights, or the networks differ in anything else; names the first difference.
    """
    if not checkpoint.weights:
        raise ConfigError(f"init_from={checkpoint.path}: it has no weights to start from; name a .ckpt or a run")
    wanted = network.state_dict()
    fresh = [
        name
        for name in wanted
        if name.startswith("head.") and name in checkpoint.weights
        if checkpoint.weights[name].shape != wanted[name].shape
    ]
    taken = {name: value for name, value in checkpoint.weights.items() if name not in fresh}
    for name in dict.fromkeys([*wanted, *taken]):
        if name in fresh:
            continue
        there = tuple(taken[name].shape) if name in taken else "missing"
        here = tuple(wanted[name].shape) if name in wanted else "missing"
        if there != here:
            raise ConfigError(
                f"init_from={checkpoint.path}: its network is another one: {name} is {there} there and {here} here; "
                "set model, fusion and the keys of model as they were"
            )
    network.load_state_dict(taken, strict=False)
    return fresh
