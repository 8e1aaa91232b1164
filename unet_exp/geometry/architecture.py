"""What a network looks like, before there is one: the U-Net, one with an encoder of timm, or a user's own class."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

from unet_exp.errors import ConfigError
from unet_exp.geometry.fusions import FUSIONS
from unet_exp.geometry.norms import Norm
from unet_exp.geometry.sizes import Sizes

Padding = Literal["valid", "same"]
Align = Literal["crop", "exact", "pad"]
UpsampleMode = Literal["transposed", "bilinear"]
Block = Literal["plain", "residual"]
Activation = Literal["softmax", "sigmoid"]

MAX_DEPTH = 8
_LOSS_OF_TWO_CONVS = 4  # pixels an axis loses in two unpadded 3x3 convolutions
_OVERLAP_OF_UNKNOWN = 4  # total strides by which tiles overlap where an output pixel sees the whole image


@dataclass(frozen=True)
class Architecture:
    """What a U-Net looks like; the paper's (Fig. 1) is valid, crop, 5, 64, 1, 2, concat, none, transposed.

    Args:
        padding: `valid`: unpadded 3x3 convolutions, as in the paper; `same`: padded by one zero on each side.
        align: How a decoder map meets its skip. `crop`: the skip is cropped at the centre; `exact`: they
            have one size; `pad`: the decoder map gets zeros at the bottom and right, so any size is legal.
        depth: Resolution levels (5 in the paper).
        width: Channels of the first level (64 in the paper); they double with each level.
        in_channels: Channels of the image.
        out_channels: Channels of the logits, see `out_channels`.
        fusion: A word of `FUSIONS`. `concat` puts the upsampled map before the skip; `add` adds them; `none` drops the
            skip.
        norm: Normalisation before each ReLU of a block; for `group` see `norm_groups`.
        upsample: `transposed`: 2x2 up-convolution. `bilinear`: a 1x1 convolution at the low resolution, then
            bilinear doubling.
        relu_after_upsample: A ReLU after each up-sampling, as in the authors' Caffe release.
        keep_last_upsample_channels: The last up-sampling keeps its 2 x width channels, as in the release.
        block: The two 3x3 convolutions of a level. `plain`: each before its ReLU, as in the paper; `residual`: each
            behind its ReLU, and what they read is added to what they give (Zhang et al. 2018).
        deep_supervision: In training each level of the decoder below the first gives logits too.

    Raises:
        ConfigError: For an unknown word, a number out of range or a combination that cannot be built.
    """

    padding: Padding
    align: Align
    depth: int
    width: int
    in_channels: int
    out_channels: int
    fusion: str
    norm: Norm
    upsample: UpsampleMode
    relu_after_upsample: bool = False
    keep_last_upsample_channels: bool = False
    block: Block = "plain"
    deep_supervision: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be built, with the key and what to do."""
        require_word("model.padding", self.padding, get_args(Padding))
        require_word("model.align", self.align, get_args(Align))
        require_word("fusion", self.fusion, tuple(FUSIONS))
        require_word("model.norm", self.norm, get_args(Norm))
        require_word("model.upsample", self.upsample, get_args(UpsampleMode))
        require_word("model.block", self.block, get_args(Block))
        if not 1 <= self.depth <= MAX_DEPTH:
            raise ConfigError(f"model.depth={self.depth} is out of range: set 1 to {MAX_DEPTH} (5 in the paper)")
        for key in ("width", "in_channels", "out_channels"):
            number = getattr(self, key)
            if number < 1:
                key = "model.width" if key == "width" else key
                raise ConfigError(f"{key}={number} is out of range: set 1 or more")
        if self.padding == "valid" and self.align != "crop":
            raise ConfigError(
                f"model.align={self.align} does not go with model.padding=valid, whose skips are larger "
                "than the decoder's maps: set model.align=crop, or model.padding=same"
            )
        if self.padding == "same" and self.align == "crop":
            raise ConfigError(
                f"model.align=crop does not go with model.padding=same, which has nothing to crop: "
                f"set model.align=exact (sizes in multiples of {1 << (self.depth - 1)}) or model.align=pad (any size)"
            )
        for level in range(1, max(self.depth, 2)):
            up, skip = upsampled_channels(self, level), channels(self, level)
            if reason := FUSIONS[self.fusion].refuses(up, skip):
                others = [f"fusion={word}" for word, other in FUSIONS.items() if not other.refuses(up, skip)]
                if up != skip:
                    others[-1] += ", or model.keep_last_upsample_channels=false (model=release sets it to true)"
                raise ConfigError(f"fusion={self.fusion} {reason}: set {' or '.join(others)}")

    @cached_property
    def sizes(self) -> Sizes:
        """What it does to sizes."""
        step = 1 << (self.depth - 1)
        fields = [(pixel, *_seen(self, 1, pixel, pixel)) for pixel in range(step)]
        return Sizes(
            smallest=_smallest(self),
            step=1 if self.align == "pad" else step,
            total_stride=step,
            lost_border=_border(self, 1),
            receptive_field_radius=max(max(pixel - low, high - pixel) for pixel, low, high in fields),
            # Bilinear up-sampling repeats the last pixel of a map; an up-convolution needs no neighbour.
            invents=self.padding == "same" or self.upsample == "bilinear",
            words=f"model.padding={self.padding}, model.align={self.align} and model.depth={self.depth}",
        )


@dataclass(frozen=True)
class CustomArchitecture:
    """A user's own network, as far as it is known without its code.

    Args:
        target: Where its class is imported from, `package.module.Name`.
        params: Keyword arguments that it is built with, beside `in_channels` and `out_channels`; None: no others.
        in_channels: Channels of the image.
        out_channels: Channels of the logits, see `out_channels`.
        step: Legal input sizes are `smallest`, `smallest` + `step`, …
        smallest: None: the first multiple of `step` that leaves an output.
        total_stride: Shifting the input by a multiple of it only shifts the output; None: `step`.
        lost_border: Pixels that the output lacks on each side of the input.
        receptive_field_radius: Pixels that an output pixel sees to either side at most.

    Raises:
        ConfigError: For a `smallest` that leaves no output, or a `total_stride` that is no multiple of `step`.
    """

    target: str
    params: Mapping[str, Any] | None = field(hash=False)
    in_channels: int
    out_channels: int
    step: int
    smallest: int | None
    total_stride: int | None
    lost_border: int
    receptive_field_radius: int

    def __post_init__(self) -> None:
        """Refuse sizes that do not go together, with the key and what to do."""
        lost = 2 * self.lost_border
        if self.smallest is not None and self.smallest <= lost:
            raise ConfigError(
                f"model.smallest={self.smallest} leaves no output where model.lost_border={self.lost_border} is lost "
                f"on each side: set {lost + 1} or more pixels"
            )
        if self.total_stride is not None and self.total_stride % self.step:
            raise ConfigError(f"model.total_stride={self.total_stride} must be a multiple of model.step={self.step}")

    @cached_property
    def sizes(self) -> Sizes:
        """What it does to sizes."""
        smallest = self.smallest or (2 * self.lost_border // self.step + 1) * self.step
        words = f"model.smallest={smallest} and model.step={self.step}"
        return Sizes(
            smallest,
            self.step,
            self.total_stride or self.step,
            self.lost_border,
            self.receptive_field_radius,
            True,
            words,
        )


@dataclass(frozen=True)
class EncoderArchitecture:
    """An encoder of timm below the decoder of the U-Net.

    Args:
        encoder: Its name in timm, such as `resnet34`.
        decoder: The padded U-Net whose decoder it is, with `align=exact`; `width` and `depth` are those of its levels,
            and its channels those of the image and the logits.
        receptive_field_radius: Pixels that an output pixel sees to either side at most; None: the whole image, or it is
            not known.
    """

    encoder: str
    decoder: Architecture
    receptive_field_radius: int | None

    @property
    def in_channels(self) -> int:
        """Channels of the image."""
        return self.decoder.in_channels

    @property
    def out_channels(self) -> int:
        """Channels of the logits."""
        return self.decoder.out_channels

    @property
    def norm(self) -> Norm:
        """Normalisation in the decoder; the encoder has its own."""
        return self.decoder.norm

    def describe(self) -> str:
        """Say what it is, in a few words."""
        return f"decoder on the maps of {self.encoder} down to 1/{self.decoder.sizes.total_stride} of the side"

    def describe_sight(self) -> str:
        """Say what an output pixel sees, and what that means for tiles, in one line."""
        radius = self.receptive_field_radius
        if radius is None:
            return "an output pixel sees the whole image: large images that are predicted in tiles have seams"
        return f"an output pixel sees {radius} pixels to each side"

    @property
    def has_exact_tiles(self) -> bool:
        """Whether stitched tiles equal one pass over the whole image, to the rounding of float32."""
        return self.receptive_field_radius is not None and self.norm in ("none", "batch")

    @cached_property
    def sizes(self) -> Sizes:
        """What it does to sizes."""
        step, radius = self.decoder.sizes.total_stride, self.receptive_field_radius
        # The norms of an encoder compare the pixels of its coarsest map: a single one will not train at batch 1.
        return Sizes(
            smallest=2 * step,
            step=step,
            total_stride=step,
            lost_border=0,
            receptive_field_radius=_OVERLAP_OF_UNKNOWN * step if radius is None else radius,
            invents=True,
            words=f"model.encoder={self.encoder} and model.depth={self.decoder.depth}",
        )


AnyArchitecture = Architecture | CustomArchitecture | EncoderArchitecture


def channels(architecture: Architecture, level: int) -> int:
    """Return the channels of the maps of a level: twice those of the level above."""
    return architecture.width << (level - 1)


def upsampled_channels(architecture: Architecture, level: int) -> int:
    """Return the channels that the up-sampling into `level` gives: half, or in the release's last one all."""
    keeps = level == 1 and architecture.keep_last_upsample_channels
    return channels(architecture, level + 1 if keeps else level)


def supervised_levels(architecture: Architecture) -> range:
    """Return the levels of the decoder below the first that give logits in training."""
    return range(2, architecture.depth if architecture.deep_supervision else 2)


def output_borders(architecture: AnyArchitecture) -> tuple[int, ...]:
    """Return what lies before the first pixel of each output, in pixels of the input along an axis.

    The first output is the logits; under deep supervision those of the decoder's lower levels follow, from level 2
    down, whose pixels cover 2, 4, 8 … pixels of the input.
    """
    if not isinstance(architecture, Architecture):
        return (architecture.sizes.lost_border,)
    return tuple(_border(architecture, level) for level in (1, *supervised_levels(architecture)))


def out_channels(classes: int, activation: Activation) -> int:
    """Return the channels of the logits: one a class, but 1 (the logit of class 1) for `sigmoid` with two.

    Raises:
        ConfigError: For fewer than two classes or an unknown activation.
    """
    require_word("activation", activation, get_args(Activation))
    if classes < 2:
        raise ConfigError(f"the data has {classes} classes: at least 2 are needed, background among them")
    return 1 if activation == "sigmoid" and classes == 2 else classes


def _border(architecture: Architecture, level: int) -> int:
    """Return the input pixels before the first one that the decoder's map of a level covers."""
    if architecture.padding == "same":
        return 0  # what floor pooling loses lies at the bottom and right
    # Each level loses 2 of its own pixels on each side: in the encoder down to the bottom, and back up to this one.
    down, up = (1 << architecture.depth) - 1, (1 << (architecture.depth - 1)) - (1 << (level - 1))
    return _LOSS_OF_TWO_CONVS // 2 * (down + up)


def _smallest(architecture: Architecture) -> int:
    """Return the smallest legal input size of a U-Net."""
    # A single pixel at the bottom leaves a norm nothing to compare: torch will not train batch norm at batch
    # 1, instance norm, and group norm of one channel a group. One rule for all: legality ignores the width.
    bottom = 1 if architecture.norm == "none" else 2
    if architecture.padding == "same":
        return bottom << (architecture.depth - 1)
    needed = 1  # upwards in reverse: how large the decoder's maps must be, so that one pixel is left on top
    for _ in range(architecture.depth - 1):
        needed = (needed + _LOSS_OF_TWO_CONVS + 1) // 2
    size = max(bottom, needed) + _LOSS_OF_TWO_CONVS
    for _ in range(architecture.depth - 1):  # downwards in reverse: what was pooled was even
        size = 2 * size + _LOSS_OF_TWO_CONVS
    return size


def _seen(architecture: Architecture, level: int, low: int, high: int) -> tuple[int, int]:
    """Return the interval of a level's input map that its output pixels `low` to `high` depend on."""
    low, high = low - 2, high + 2  # the two convolutions of the decoder, or of the bottom
    if level == architecture.depth:
        return low, high
    blur = 1 if architecture.upsample == "bilinear" else 0  # it also reads the coarse pixel next door
    low, high = _seen(architecture, level + 1, (low - blur) // 2, (high + blur) // 2)
    # Through the pool and the two convolutions of the encoder. The skip's own interval lies inside this one.
    return 2 * low - 2, 2 * high + 1 + 2


def require_word(key: str, word: str, words: tuple[str, ...]) -> None:
    """Refuse a word that is not among those known.

    Raises:
        ConfigError: Names the key and the words.
    """
    if word not in words:
        raise ConfigError(f"{key}={word} is unknown: choose one of {', '.join(words)}")
