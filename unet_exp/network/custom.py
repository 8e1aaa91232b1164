"""A user's own network.

Shapes: B batch, C channels, H height, W width.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from unet_exp.errors import ConfigError, UserError
from unet_exp.geometry import CustomArchitecture, output_size
from unet_exp.network.base import Network
from unet_exp.user_class import build_custom, describe_error


class CustomNetwork(Network):
    """Holds an object of the user's class and checks what it returns.

    It is built with `in_channels`, `out_channels` and the architecture's `params`, and tried once.

    Args:
        architecture: Names the class, and promises what it does to sizes.

    Raises:
        ConfigError: If it cannot be imported or does not fit, or breaks the promise.
    """

    def __init__(self, architecture: CustomArchitecture) -> None:
        super().__init__()
        self.architecture: CustomArchitecture = architecture
        self._where = f"model.target={architecture.target}"
        derived = {"in_channels": architecture.in_channels, "out_channels": architecture.out_channels}
        params = architecture.params or {}
        for name in derived.keys() & params.keys():
            raise ConfigError(f"model.params: {name} follows from the data; leave it out")
        methods, arguments = {"forward": ("images",)}, {**derived, **params}
        self.own = build_custom("model", architecture.target, arguments, methods, nn.Module, "torch.nn.Module")
        self._try()

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, out_channels, H', W'); see `Network`.

        Raises:
            ConfigError: If a size is illegal, or the user's class gives another shape than it should.
        """
        self.check_sizes(x)
        logits: Tensor = self.own(x)
        if not torch.compiler.is_compiling():
            self._check(logits, x)
        return logits

    def _try(self) -> None:
        if not any(parameter.requires_grad for parameter in self.parameters()):
            raise ConfigError(f"{self._where}: it has no parameters to train")
        sizes = self.architecture.sizes
        shape = (1, self.architecture.in_channels, sizes.smallest, sizes.smallest + sizes.step)
        self.eval()
        try:
            with torch.no_grad():
                self(torch.zeros(shape))
        except UserError:
            raise
        except Exception as error:  # whatever the user's code does
            raise ConfigError(
                f"{self._where}: its forward on {_shown(shape)} raises {describe_error(error)}"
            ) from error
        self.train()

    def _check(self, logits: Any, x: Tensor) -> None:
        if not isinstance(logits, Tensor):
            raise ConfigError(f"{self._where}: its forward must return a tensor, not {type(logits).__name__}")
        height, width = x.shape[-2:]
        promised = (
            x.shape[0],
            self.architecture.out_channels,
            output_size(self.architecture, height),
            output_size(self.architecture, width),
        )
        if logits.shape != promised:
            raise ConfigError(
                f"{self._where}: its forward turns {_shown(x.shape)} into {_shown(logits.shape)}, and should give "
                f"{_shown(promised)}: {_mend(logits, promised, height, width)}"
            )


def _mend(logits: Tensor, promised: tuple[int, ...], height: int, width: int) -> str:
    if logits.ndim != len(promised):
        return "it must be (batch, out_channels, height, width)"
    if logits.shape[1] != promised[1]:
        return "it must give out_channels channels"
    rows, columns = height - logits.shape[-2], width - logits.shape[-1]
    if rows == columns and rows >= 0 and rows % 2 == 0:
        return f"set model.lost_border={rows // 2}"
    return "see model.smallest, model.step and model.lost_border"


def count_macs(network: Network, size: int) -> int | None:
    """Count the multiply-accumulates of convolutions, matrix products and attention.

    Args:
        network: Any; it computes nothing and is left as it is.
        size: Side of the one square image, in pixels.

    Returns:
        The count, or None where PyTorch cannot run the network on tensors that hold no numbers.
    """
    images = torch.empty(1, network.architecture.in_channels, size, size, device="meta")
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            copy.deepcopy(network).to("meta").eval().forward(images)
    except Exception:  # whatever the user's code does
        return None
    return int(counter.get_total_flops()) // 2


def _shown(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
