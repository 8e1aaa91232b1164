"""The decoder of the U-Net on an encoder of timm.

Shapes: B batch, C channels, H and W height and width in pixels. The levels are those of the U-Net: the encoder's map of
1/2^(level-1) of the image's side is the skip of that level. Most encoders have none at level 1, some none at level 2:
there the decoder goes on without a skip.
"""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from unet_exp.errors import ConfigError
from unet_exp.geometry import EncoderArchitecture, channels_above
from unet_exp.network.base import Network
from unet_exp.network.initialisation import initialise
from unet_exp.network.timm_encoders import create_encoder, find_maps, find_pretrained, require_weights
from unet_exp.network.unet import Decoder


class EncoderNetwork(Network):
    """An encoder of timm, the decoder of the U-Net, and its last 1x1 convolution.

    Args:
        architecture: What it looks like.
        standardize: Whether its input are values from 0 to 1, to be standardised with the mean and standard deviation
            that the encoder's pretrained weights were trained with.

    Attributes:
        levels: Channels of the decoder's levels, from the coarsest to the full resolution.
        frozen: Whether the encoder learns nothing; see `freeze`.

    Raises:
        ConfigError: If timm is missing, or has no such encoder.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, architecture: EncoderArchitecture, standardize: bool = False) -> None:
        super().__init__()
        self.architecture: EncoderArchitecture = architecture
        name, decoder = architecture.encoder, architecture.decoder
        maps = find_maps(name, decoder.depth).channels
        self.encoder = _without_record(create_encoder(name, decoder.depth, architecture.in_channels))
        self.levels = channels_above(decoder, maps)
        self.decoder = nn.ModuleList(Decoder(decoder, of) for of in self.levels)
        self.head = nn.Conv2d(decoder.width, architecture.out_channels, 1)
        self.frozen = False
        self._standardizes = standardize
        pretrained = find_pretrained(name)
        for key, values in (("mean", pretrained.mean), ("std", pretrained.std)):
            self.register_buffer(key, _fit_channels(values, architecture.in_channels)[:, None, None])
        # The encoder keeps the initial weights of timm. The head's variance depends on the decoder's blocks.
        initialise(nn.ModuleList([self.decoder, self.head]))

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, out_channels, H, W).

        Raises:
            ConfigError: If H or W is illegal, or if a norm in the encoder cannot train with one image.
        """
        self.check_sizes(x)
        if self._standardizes:
            x = (x - self.mean) / self.std
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            *skips, x = self._encode(x)
        for decoder in self.decoder:
            x = decoder(x, skips.pop() if decoder.takes_skip else None)
        return cast(Tensor, self.head(x))

    def _encode(self, x: Tensor) -> list[Tensor]:
        try:
            maps: list[Tensor] = self.encoder(x)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise ConfigError(
                f"model.encoder={self.architecture.encoder}: of an image of {x.shape[-2]} x {x.shape[-1]} pixels a "
                "norm in it sees a single value, and learns nothing from one image: set data.batch_size=2 or more"
            ) from None
        return maps

    def freeze(self, frozen: bool) -> None:
        """Freeze the encoder or let it learn: frozen, it has no gradient, and its norms keep their statistics."""
        if frozen != self.frozen:
            self.frozen = frozen
            self.train(self.training)

    def train(self, mode: bool = True) -> "EncoderNetwork":
        """See `torch.nn.Module.train`; a frozen encoder stays in evaluation mode, and what no map needs too."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        for module in self.encoder.modules():
            own = [*module.parameters(recurse=False)]
            if own and not any(parameter.requires_grad for parameter in own):
                module.eval()
        return self

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the weights of the decoder with the head, and those of the encoder."""
        own = [*self.decoder.parameters(), *self.head.parameters()]
        theirs = [parameter for parameter in self.encoder.parameters() if parameter.requires_grad]
        return [{"params": own}, {"params": theirs}]

    def load_encoder(self, weights: Mapping[str, Tensor]) -> None:
        """Copy pretrained weights, as `create_encoder` takes them, into the encoder.

        Raises:
            DataError: If they are not those of this encoder; the message continues the name of their file.
        """
        architecture = self.architecture
        depth, channels = architecture.decoder.depth, architecture.in_channels
        require_weights(architecture.encoder, depth, weights, channels)
        self.encoder.load_state_dict(create_encoder(architecture.encoder, depth, channels, weights).state_dict())


def _without_record(encoder: nn.Module) -> nn.Module:
    """Take away what timm notes of the pretrained weights; this project has its own record."""
    for key in ("pretrained_cfg", "default_cfg"):
        setattr(encoder, key, {})
    return encoder


def _fit_channels(values: tuple[float, ...], channels: int) -> Tensor:
    """Give each channel of the image a value, as timm gives it a kernel: the mean of all for one, else in turn."""
    if channels == 1:
        return torch.tensor([sum(values) / len(values)])
    return torch.tensor(values).repeat(-(-channels // len(values)))[:channels]
