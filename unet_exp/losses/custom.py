"""A user's own loss, and losses of other packages.

Shapes: B batch, C channels, H height, W width.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from unet_exp.config import IGNORE_LABEL
from unet_exp.config.learning import CustomLossConfig
from unet_exp.errors import ConfigError, UserError
from unet_exp.user_class import build_custom, check_method, describe_error, load_class, takes, takes_argument

_OURS, _THEIRS = ("logits", "label", "pixel_weights"), ("input", "target")
"""What losses are called with: in this project, and elsewhere."""
_CERTAIN = 50.0
"""Logit of the one class of an ignored pixel, beside 0 of the others: its probability is 1 in float32."""


class CustomLoss(nn.Module):
    """Holds an object of the user's class and checks what it returns.

    Args:
        config: names the class; it is built with `params`, and `class_weights` where there are any. With
            `config.labels` it is called as other packages call theirs, with `(input, target)`: logits (B, C, H, W),
            float32 whatever the precision, and the label as

            - `indices`: (B, H, W), int64;
            - `channel`: (B, 1, H, W), int64;
            - `one_hot`: (B, C, H, W), float32.

            An ignored pixel has no gradient: the class is built with `ignore_index=255` if `labels` is `indices` and it
            takes that, else (and where all pixels are ignored) it sees logits that are certain of class 0, and a label
            of class 0, there.
        class_weights: in numbers, or None; with `config.labels` as its argument `class_weights` or, as a tensor,
            `weight`.

    Raises:
        ConfigError: if it cannot be imported or does not fit.
    """

    def __init__(self, config: CustomLossConfig, class_weights: Sequence[float] | None) -> None:
        super().__init__()
        self._target, self._labels = config.target, config.labels
        self._where = f"loss.target={config.target}"
        found = load_class(self._where, config.target, nn.Module, "torch.nn.Module")
        self._require_labels(found)
        arguments = {**(config.params or {}), **self._weigh(found, class_weights)}
        self._ignores = config.labels == "indices" and takes_argument(found, "ignore_index")
        if self._ignores:
            arguments["ignore_index"] = IGNORE_LABEL
        self.own = build_custom("loss", config.target, arguments, {}, nn.Module, "torch.nn.Module")
        check_method(self._where, self.own, "forward", _OURS if config.labels is None else _THEIRS)

    def _require_labels(self, found: type) -> None:
        """Checks that a class is not called as ours are that is called as those of other packages."""
        forward = found.forward  # type: ignore[attr-defined]
        if self._labels is None and takes(forward, found, *_THEIRS) and not takes(forward, found, *_OURS):
            raise ConfigError(
                f"{self._where}: its forward takes two arguments and is called with ({', '.join(_OURS)}); a loss of "
                "another package needs loss.labels=indices, channel or one_hot, which says how it takes the label"
            )

    def _weigh(self, found: type, class_weights: Sequence[float] | None) -> dict[str, Any]:
        if class_weights is None:
            return {}
        if self._labels is None or takes_argument(found, "class_weights"):
            return {"class_weights": list(class_weights)}
        if takes_argument(found, "weight"):
            return {"weight": torch.tensor(class_weights, dtype=torch.float32)}
        raise ConfigError(
            f"{self._where}: it takes neither class_weights nor weight; leave loss.class_weights null, or see "
            "loss.params"
        )

    def forward(self, logits: Tensor, label: Tensor, pixel_weights: Tensor | None = None) -> Tensor:
        """See `unet_exp.losses.PixelwiseLoss`; without `labels`, what is ignored is up to the user's class.

        Raises:
            ConfigError: if it returns anything but a scalar.
        """
        if self._labels is None:
            value = self.own(logits, label, pixel_weights)
        else:
            with torch.autocast(logits.device.type, enabled=False):
                value = self.own(*self._convert(logits.float(), label))
        if not isinstance(value, Tensor) or value.ndim:
            what = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise ConfigError(f"loss.target={self._target}: it must return a tensor that is one number, not {what}")
        return value

    def _convert(self, logits: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and label as the class takes them."""
        counted = label != IGNORE_LABEL
        if self._ignores:  # it leaves them out itself, but its mean over no pixel would be nan
            counted = counted.any().expand_as(counted)
        certain = torch.zeros_like(logits)
        certain[:, 0] = _CERTAIN
        logits = torch.where(counted[:, None], logits, certain)
        target = torch.where(counted, label, 0).long()
        if self._labels == "channel":
            target = target[:, None]
        elif self._labels == "one_hot":
            target = one_hot(target, logits.shape[1]).movedim(-1, 1).float()
        return logits, target


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
                f"{_suggest_labels(config, loss.own)}"
            ) from error
    if not value.requires_grad:
        raise ConfigError(f"loss.target={config.target}: what it returns has no gradient, so that nothing is learned")


def _suggest_labels(config: CustomLossConfig, own: nn.Module) -> str:
    """How the class may want the label, where it is called as other packages call theirs."""
    if config.labels is None:
        return ""
    others = " or ".join(name for name in ("indices", "channel", "one_hot") if name != config.labels)
    encodes = config.labels == "channel" and takes_argument(type(own), "to_onehot_y")
    option = "loss.params={to_onehot_y: true}, or " if encodes else ""
    return f"; it may want the label in another form than loss.labels={config.labels}: {option}{others}"
