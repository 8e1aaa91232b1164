"""What logits mean: the one function that turns them into class probabilities."""

import torch
import torch.nn.functional as F
from torch import Tensor

from unet_exp.errors import ConfigError
from unet_exp.geometry import Activation


def probabilities(logits: Tensor, activation: Activation) -> Tensor:
    """Turn logits into class probabilities; metrics, pictures, prediction and export see only these.

    Args:
        logits: (B, C, H, W) with C as `unet_exp.geometry.out_channels` gives it, of any floating type.
        activation: `softmax`: over the channels. `sigmoid`: one channel is the logit of class 1 of two; with
            several, each class against the rest, normalised to sum 1.

    Returns:
        (B, classes, H, W), float32, summing to 1 over the classes.

    Raises:
        ConfigError: For an unknown activation.
    """
    logits = logits.float()
    if activation == "softmax":
        return logits.softmax(dim=1)
    if activation == "sigmoid" and logits.shape[1] == 1:
        return torch.cat([-logits, logits], dim=1).sigmoid()  # [1 - p, p], without the rounding of 1 - p
    if activation == "sigmoid":
        # softmax(log p) = p / sum(p), and stays finite where every p is too small for a float.
        return F.logsigmoid(logits).softmax(dim=1)
    raise ConfigError(f"activation={activation} is unknown: choose one of softmax, sigmoid")
