"""Sizes, margins, parameter and MAC counts of a network, in plain integers.

Nothing here imports torch, so a wrong size is found before anything heavy is loaded. The two axes of an image
are independent: every function that takes one size speaks of one axis.

Words: *level* 1 is the full resolution, level `depth` the bottom; a *map* is a feature map; a *legal* size is
one that the network takes; the *total stride* is the grid of pixels on which every max-pooling starts.
"""

from unet_exp.geometry.architecture import (
    MAX_DEPTH,
    Activation,
    Align,
    AnyArchitecture,
    Architecture,
    Block,
    CustomArchitecture,
    EncoderArchitecture,
    Padding,
    UpsampleMode,
    channels,
    out_channels,
    output_borders,
    supervised_levels,
    upsampled_channels,
)
from unet_exp.geometry.counts import (
    Layer,
    LayerKind,
    Match,
    fused_channels,
    layer_table,
    layers,
    macs,
    matched_width,
    parameters,
    short_count,
)
from unet_exp.geometry.decoder import DecoderChannels, channels_above, decoder_channels, seen_radius
from unet_exp.geometry.fusions import FUSIONS, Fusion, Learned
from unet_exp.geometry.norms import Norm, conv_parameters, norm_groups, norm_parameters
from unet_exp.geometry.sizes import (
    HasSizes,
    Sizes,
    check_size,
    input_for_output,
    is_legal,
    larger_legal,
    legal_sizes,
    lost_border,
    output_size,
    receptive_field_radius,
    smaller_legal,
    tile_step,
    total_stride,
)

__all__ = [
    "FUSIONS",
    "MAX_DEPTH",
    "Activation",
    "Align",
    "AnyArchitecture",
    "Architecture",
    "Block",
    "CustomArchitecture",
    "DecoderChannels",
    "EncoderArchitecture",
    "Fusion",
    "HasSizes",
    "Layer",
    "LayerKind",
    "Learned",
    "Match",
    "Norm",
    "Padding",
    "Sizes",
    "UpsampleMode",
    "channels",
    "channels_above",
    "check_size",
    "conv_parameters",
    "decoder_channels",
    "fused_channels",
    "input_for_output",
    "is_legal",
    "larger_legal",
    "layer_table",
    "layers",
    "legal_sizes",
    "lost_border",
    "macs",
    "matched_width",
    "norm_groups",
    "norm_parameters",
    "out_channels",
    "output_borders",
    "output_size",
    "parameters",
    "receptive_field_radius",
    "seen_radius",
    "short_count",
    "smaller_legal",
    "supervised_levels",
    "tile_step",
    "total_stride",
    "upsampled_channels",
]
