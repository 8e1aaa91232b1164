"""The blocks of a level: two 3x3 convolutions in one of two manners.

Shapes: B batch, C channels, H height and W width of a map in pixels.
"""

from torch import Tensor, nn

from unet_exp.geometry import Architecture
from unet_exp.network.fusion import center_crop
from unet_exp.network.norms import conv_and_norm, norm_layer


class DoubleConv(nn.Sequential):
    """Twice 3x3 conv, norm, ReLU: (B, in, H, W) to (B, out, H - 4, W - 4); padded, to (B, out, H, W)."""

    def __init__(self, architecture: Architecture, in_channels: int, out_channels: int) -> None:
        padding = 1 if architecture.padding == "same" else 0
        super().__init__(
            *conv_and_norm(in_channels, out_channels, 3, architecture.norm, padding),
            nn.ReLU(inplace=True),
            *conv_and_norm(out_channels, out_channels, 3, architecture.norm, padding),
            nn.ReLU(inplace=True),
        )


class ResidualUnit(nn.Module):
    """Twice norm, ReLU, 3x3 conv, and what they read added to it; sizes as those of `DoubleConv`.

    It is the unit of Zhang et al. 2018 (Fig. 1b), the full pre-activation of He et al. 2016 (Identity Mappings in Deep
    Residual Networks, Fig. 4e). Where the channels change, a 1x1 convolution without bias maps them; unpadded, what is
    added is cropped at the centre.

    Args:
        architecture: Of the network.
        in_channels: That it reads.
        out_channels: That it gives.
        first: Whether it reads the image, of which neither norm nor ReLU may take anything.
    """

    def __init__(self, architecture: Architecture, in_channels: int, out_channels: int, first: bool) -> None:
        super().__init__()
        norm, padding = architecture.norm, 1 if architecture.padding == "same" else 0
        # Without a norm the ReLU has the map itself before it, which is still to be added.
        enter = () if first else (norm_layer(norm, in_channels), nn.ReLU(inplace=norm != "none"))
        self.convs = nn.Sequential(
            *enter,
            *conv_and_norm(in_channels, out_channels, 3, norm, padding),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, padding=padding),
        )
        equal = in_channels == out_channels
        self.shortcut = nn.Identity() if equal else nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, out, H', W')."""
        given: Tensor = self.convs(x)
        added: Tensor = self.shortcut(center_crop(x, (given.shape[-2], given.shape[-1])))
        return given + added


def build_block(architecture: Architecture, in_channels: int, out_channels: int, first: bool = False) -> nn.Module:
    """Return the block of `model.block`; `first` reads the image."""
    if architecture.block == "residual":
        return ResidualUnit(architecture, in_channels, out_channels, first)
    return DoubleConv(architecture, in_channels, out_channels)
