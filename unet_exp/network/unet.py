"""The U-Net of Ronneberger, Fischer and Brox (2015) and its variants, from top to bottom.

Shapes: B batch, C channels, H height and W width of a map in pixels. Level 1 is the full resolution; the maps
of a level have half the side and twice the channels of the level above. What an `Architecture` may be, which
sizes are legal and how many parameters there are is in `unet_exp.geometry`, in plain integers.
"""

from itertools import pairwise
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from unet_exp.geometry import Architecture, DecoderChannels, channels, decoder_channels, supervised_levels
from unet_exp.network.base import Network
from unet_exp.network.blocks import build_block
from unet_exp.network.fusion import MODULES, align
from unet_exp.network.initialisation import UpconvFanIn, initialise


class Upsample(nn.Module):
    """Doubles the resolution and maps the channels: (B, in, H, W) to (B, out, 2H, 2W)."""

    def __init__(self, architecture: Architecture, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.bilinear = architecture.upsample == "bilinear"
        self.relu = architecture.relu_after_upsample
        self.conv = (
            nn.Conv2d(in_channels, out_channels, 1)
            if self.bilinear
            else nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, out, 2H, 2W)."""
        x = self.conv(x)
        if self.bilinear:
            # A 1x1 convolution and an interpolation commute: one mixes channels, the other pixels, with
            # weights that sum to 1. At the low resolution the convolution costs a quarter.
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        return F.relu(x) if self.relu else x


class Decoder(nn.Module):
    """One level of the expanding path: up-sample, meet the skip if there is one, and a block."""

    def __init__(self, architecture: Architecture, of: DecoderChannels) -> None:
        super().__init__()
        self.align, self.takes_skip = architecture.align, of.skip is not None
        self.up = Upsample(architecture, of.below, of.up)
        if of.skip is not None:
            self.fusion = MODULES[architecture.fusion](of.up, of.skip, architecture.norm)
        self.convs = build_block(architecture, of.fused, of.out)

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        """Map the level below (B, C, H, W) and the skip (B, C', H', W') to (B, C'', H'', W'')."""
        up = self.up(x)
        if skip is not None:
            up = self.fusion(*align(up, skip, self.align))
        return cast(Tensor, self.convs(up))


class UNet(Network):
    """The network of Fig. 1 and its variants.

    Args:
        architecture: What it looks like.
        dropout: Probability of a feature to be dropped after the last activation of the last two encoder
            levels (paper, Sec. 3.1; release: 0.5, and the skip of the upper one carries it).
        upconv_fan_in: How `initialise` counts the fan_in of an up-convolution: `incoming` or `release`.

    Raises:
        ValueError: For a dropout outside 0 to 1.
        ConfigError: For an unknown `upconv_fan_in`.
    """

    def __init__(
        self, architecture: Architecture, dropout: float = 0.0, upconv_fan_in: UpconvFanIn = "incoming"
    ) -> None:
        super().__init__()
        self.architecture: Architecture = architecture
        levels = range(1, architecture.depth + 1)
        widths = [architecture.in_channels, *(channels(architecture, level) for level in levels)]
        self.encoder = nn.ModuleList(
            build_block(architecture, i, o, first=level == 1) for level, (i, o) in enumerate(pairwise(widths), start=1)
        )
        self.decoder = nn.ModuleList(Decoder(architecture, of) for of in decoder_channels(architecture))
        self.head = nn.Conv2d(architecture.width, architecture.out_channels, 1)
        self.side_heads = nn.ModuleList(  # in the order of the decoder, from below
            nn.Conv2d(channels(architecture, level), architecture.out_channels, 1)
            for level in reversed(supervised_levels(architecture))
        )
        self.dropout = nn.Dropout(dropout)
        initialise(self, upconv_fan_in)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Compute logits.

        Args:
            x: Images, (B, in_channels, H, W), H and W legal input sizes.

        Returns:
            Logits, (B, out_channels, H', W') with H' = `output_size(H)`: equal to H for `same`, H - 184 for
            the paper's network. They belong to the centre of the image. In training mode under deep supervision, these
            and those of the decoder's lower levels, from level 2 down; see `unet_exp.geometry.output_borders`.

        Raises:
            ConfigError: If H or W is illegal; names the nearest legal sizes.
        """
        self.check_sizes(x)
        skips: list[Tensor] = []
        for level, block in enumerate(self.encoder, start=1):
            x = block(x if level == 1 else F.max_pool2d(x, 2))
            if level >= self.architecture.depth - 1:
                x = self.dropout(x)
            skips.append(x)
        skips.pop()  # the bottom has no skip
        sides: list[Tensor] = []
        for number, decoder in enumerate(self.decoder):
            x = decoder(x, skips.pop())
            if self.training and number < len(self.side_heads):
                sides.append(self.side_heads[number](x))
        logits: Tensor = self.head(x)
        return (logits, *reversed(sides)) if sides else logits
