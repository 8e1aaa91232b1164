"""What the rest of the program asks of a network: images in, logits out, and an architecture that says its sizes."""

from typing import Any

import torch
from torch import Tensor, nn

from unet_exp.geometry import AnyArchitecture, check_size


class Network(nn.Module):
    """Maps images (B, in_channels, H, W) of legal sizes to logits (B, out_channels, H', W') of their centre.

    Attributes:
        architecture: Its channels and sizes; H' is `unet_exp.geometry.output_size` of H.
        keeps_memory: Whether it keeps the memory that a pass takes for the next one.
    """

    architecture: AnyArchitecture
    keeps_memory = False

    def check_sizes(self, x: Tensor) -> None:
        """Refuse images of an illegal size.

        Raises:
            ConfigError: If H or W is illegal; names the nearest legal sizes.
        """
        if not torch.compiler.is_compiling():  # a compiled or exported graph keeps its sizes symbolic
            check_size(self.architecture, x.shape[-2], "input height")
            check_size(self.architecture, x.shape[-1], "input width")

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the weights for an optimizer, in groups that may differ in their learning rate."""
        return [{"params": [*self.parameters()]}]
