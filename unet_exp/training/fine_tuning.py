"""Fine-tuning: a new network starts from the weights of a checkpoint."""

from torch import nn

from unet_exp.checkpoints.checkpoint import Checkpoint
from unet_exp.errors import ConfigError


def load_initial_weights(network: nn.Module, checkpoint: Checkpoint) -> list[str]:
    """Copies the weights of a checkpoint into a network, in place.

    The 1x1 convolutions to logits keep their fresh weights where the number of classes differs.

    Returns:
        Names of the weights that stay fresh.

    Raises:
        ConfigError: if the checkpoint has no weights, or the networks differ in anything else; names the first
            difference.
    """
    if not checkpoint.weights:
        raise ConfigError(f"init_from={checkpoint.path}: it has no weights to start from; name a .ckpt or a run")
    wanted = network.state_dict()
    fresh = [
        name
        for name in wanted
        if name.startswith(("head.", "side_heads.")) and name in checkpoint.weights
        if checkpoint.weights[name].shape != wanted[name].shape
    ]
    taken = {name: value for name, value in checkpoint.weights.items() if name not in fresh}
    for name in dict.fromkeys([*wanted, *taken]):
        there, here = (tuple(each[name].shape) if name in each else "missing" for each in (taken, wanted))
        if name not in fresh and there != here:
            raise ConfigError(
                f"init_from={checkpoint.path}: its network differs: {name} is {there} there and {here} here; "
                "set model, fusion and the keys of model as they were"
            )
    network.load_state_dict(taken, strict=False)
    return fresh
