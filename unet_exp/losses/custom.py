"""A user's own loss."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unet_exp.config.learning import CustomLossConfig
from unet_exp.errors import ConfigError, UserError
from unet_exp.user_class import build_custom, describe_error


class CustomLoss(nn.Module):
    """Holds an object of the user's class and checks what it returns.

    Args:
        config: names the class; it is built with `params`, and `class_weights` where there are any.
        class_weights: in numbers, or None.

    Raises:
        ConfigError: if it cannot be imported or does not fit.
    """

    def __init__(self, config: CustomLossConfig, class_weights: Sequence[float] | None) -> None:
        super().__init__()
        self._target = config.target
        given = {} if class_weights is None else {"class_weights": list(class_weights)}
        methods = {"forward": ("logits", "label", "pixel_weights")}
        arguments = {**(config.params or {}), **given}
        self.own = build_custom("loss", config.target, arguments, methods, nn.Module, "torch.nn.Module")

    def forward(self, logits: Tensor, label: Tensor, pixel_weights: Tensor | None = None) -> Tensor:
        """See `unet_exp.losses.PixelwiseLoss`; what is ignored is up to the user's class.

        Raises:
            ConfigError: if it returns anything but a scalar.
        """
        value = self.own(logits, label, pixel_weights)
        if not isinstance(value, Tensor) or value.ndim:
            what = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise ConfigError(f"loss.target={self._target}: it must return a tensor that is one number, not {what}")
        return value


def try_loss(config: CustomLossConfig, class_weights: Sequence[float] | None, classes: int, side: int) -> None:
    """Calls an object of the user's class once as a training does, so that a mistake in it is told before one starts.

    Args:
        config: names the class.
        class_weights: in numbers, or None.
        classes: that the logits have.
        side: of the patch, in pixels.

    Raises:
        ConfigError: if it raises anything, or returns anything but a scalar that has a gradient.
    """
    logits = torch.zeros(1, classes, side, side, requires_grad=True)
    with torch.random.fork_rng(devices=[]):  # the training draws the same numbers as without this
        loss = CustomLoss(config, class_weights)
        try:
            value = loss(logits, torch.zeros(1, side, side, dtype=torch.uint8))
        except UserError:
            raise
        except Exception as error:  # whatever the user's code does
            shape = " x ".join(map(str, logits.shape))
            raise ConfigError(
                f"loss.target={config.target}: its forward on logits {shape} raises {describe_error(error)}"
            ) from error
    if not value.requires_grad:
        raise ConfigError(f"loss.target={config.target}: what it returns has no gradient, so that nothing is learned")
