"""A whole image in one piece: what the network needs beyond the border is mirrored from the image."""

import torch
from torch import Tensor

from unet_exp.data.mirror import mirror_indices
from unet_exp.geometry import input_for_output
from unet_exp.network import UNet, center_crop


def whole_image_logits(network: UNet, images: Tensor) -> Tensor:
    """Logits of every pixel of images of any size.

    Args:
        network: whose legal sizes decide how far the images are mirrored.
        images: (B, C, H, W), normalised.

    Returns:
        (B, out, H, W).
    """
    height, width = images.shape[-2:]
    for axis, size in ((2, height), (3, width)):
        needed = input_for_output(network.architecture, size)
        indices = torch.from_numpy(mirror_indices(-((needed - size) // 2), needed, size))
        images = images.index_select(axis, indices.to(images.device))
    logits: Tensor = center_crop(network(images), (height, width))
    return logits
