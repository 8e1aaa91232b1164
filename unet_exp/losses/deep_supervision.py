"""Deep supervision: the loss at every resolution of a decoder (Lee et al. 2015; for segmentation, Dou et al. 2017).

No label is thinned out, averaged or outvoted. A pixel of a lower resolution answers for the pixels that it covers,
2 x 2 at level 2, 4 x 4 at level 3 and so on: its logits are compared with the label of each of them, by the training's
own loss and with their own weights. For a mean over pixels this equals one coarse label that holds the share of each
class, weighted by what counts in it. What a coarse pixel covers beyond the labelled patch does not count.
"""

from collections.abc import Sequence

from torch import Tensor, nn


def supervise(
    loss: nn.Module,
    outputs: Sequence[Tensor],
    borders: Sequence[int],
    level_weights: Sequence[float],
    label: Tensor,
    pixel_weights: Tensor | None,
    before: int,
) -> Tensor:
    """The weighted sum of the losses of a batch at every resolution.

    Args:
        loss: see `unet_exp.losses.build`.
        outputs: logits (B, out, H, W) of a network in training, the full resolution first; a pixel of each covers
            twice as many pixels of the one before.
        borders: of each, see `unet_exp.geometry.output_borders`.
        level_weights: of each.
        label: (B, T, T) of the labelled patch.
        pixel_weights: (B, T, T), or None.
        before: pixels of the network's input before the labelled patch, along an axis.

    Returns:
        A scalar. Labelled pixels that a coarse output does not reach, the odd ones at the bottom and right where maps
        are padded, do not count there.
    """
    total: Tensor | None = None
    for level, (logits, border, share) in enumerate(zip(outputs, borders, level_weights, strict=True)):
        start = before - border
        covered = enlarge(logits, 1 << level)[..., start : start + label.shape[-2], start : start + label.shape[-1]]
        inside = slice(covered.shape[-2]), slice(covered.shape[-1])
        weights = None if pixel_weights is None else pixel_weights[:, *inside]
        value = loss(covered, label[:, *inside], weights)
        value = value if share == 1 else share * value
        total = value if total is None else total + value
    assert total is not None
    return total


def enlarge(maps: Tensor, factor: int) -> Tensor:
    """Repeats each pixel: (B, C, H, W) to (B, C, factor H, factor W)."""
    if factor == 1:
        return maps
    batch, channels, height, width = maps.shape
    # Not by indices, whose gradient CUDA sums up in no fixed order.
    blocks = maps[:, :, :, None, :, None].expand(-1, -1, -1, factor, -1, factor)
    return blocks.reshape(batch, channels, factor * height, factor * width)
