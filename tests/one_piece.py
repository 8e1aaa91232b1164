"""A whole image in one piece, what the network needs beyond the border mirrored from it: the reference of the tiles."""

from torch import Tensor

from unet_exp.inference.tiling.overlap_tile import mirror_source
from unet_exp.inference.tiling.tile_plan import plan_whole
from unet_exp.network import UNet


def whole_image_logits(network: UNet, images: Tensor) -> Tensor:
    """Logits of every pixel of images of any size; what `tiled_logits` gives, in one pass.

    The network's grid starts at the images' pixel (0, 0); what a legal size has more lies at the bottom and right.

    Args:
        network: whose legal sizes decide how far the images are mirrored.
        images: (B, C, H, W), normalised, on the network's device.

    Returns:
        (B, out, H, W), on that device.
    """
    height, width = images.shape[-2:]
    row, column = (plan_whole(network.architecture, size) for size in (height, width))
    logits: Tensor = network(mirror_source(images)(row.start, column.start, row.size, column.size))
    return logits[..., :height, :width]
