"""Encoders of timm: which there are, which maps they have, and their pretrained weights; imported when one is used.

timm's `features_only` networks map images (B, C, H, W) to a list of maps, each with its channels and its reduction: the
side of its pixels in pixels of the image. Here a map of reduction 2^(level-1) is that of a level, as in the U-Net.
"""

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from textwrap import shorten
from typing import Any, cast

import torch
from torch import Tensor, nn

from unet_exp.console import quieten
from unet_exp.errors import ConfigError, DataError
from unet_exp.extras import hint_extra
from unet_exp.user_class import describe_error


@dataclass(frozen=True)
class Maps:
    """The maps that an encoder gives to a decoder.

    Attributes:
        indices: Of the maps in timm's list, from fine to coarse.
        channels: Of each map by its level, in the same order.
    """

    indices: tuple[int, ...]
    channels: Mapping[int, int]


@dataclass(frozen=True)
class Pretrained:
    """The weights that timm has for an encoder.

    Attributes:
        repository: On the Hugging Face Hub; None: there are none.
        mean: Of each channel of the images that they were trained with, from 0 to 1.
        std: Likewise.
    """

    repository: str | None
    mean: tuple[float, ...]
    std: tuple[float, ...]


@lru_cache(maxsize=16)
def find_maps(name: str, depth: int) -> Maps:
    """Find the maps of an encoder at the levels 1 to `depth`; it is built without memory for its weights.

    Args:
        name: In timm, such as `resnet34`.
        depth: Level of the coarsest map.

    Raises:
        ConfigError: If timm is missing, has no such encoder or no maps of it, or none of the level `depth`.
    """
    with torch.device("meta"):
        info = _create(name).feature_info.info
    sides = {int(each["reduction"]): index for index, each in enumerate(info)}  # of equal ones the last
    levels = {side.bit_length(): index for side, index in sides.items() if side & (side - 1) == 0}
    if len(levels) < 2:
        raise ConfigError(f"model.encoder={name}: its maps have one resolution; set an encoder with finer ones too")
    if depth not in [*levels][1:]:
        raise ConfigError(
            f"model.depth={depth} does not fit the maps of model.encoder={name}: set "
            f"{' or '.join(map(str, [*levels][1:]))}"
        )
    levels = {level: index for level, index in levels.items() if level <= depth}
    return Maps(tuple(levels.values()), {level: int(info[index]["num_chs"]) for level, index in levels.items()})


def create_encoder(name: str, depth: int, in_channels: int, weights: Mapping[str, Tensor] | None = None) -> nn.Module:
    """Create an encoder that gives the maps of `find_maps`, on PyTorch's default device.

    Args:
        name: In timm.
        depth: Level of the coarsest map.
        in_channels: Channels of the image. timm fits the first convolution of the weights to them: for one channel it
            sums the three kernels, for more it repeats them and scales by 3 / `in_channels`.
        weights: As timm saves them, with or without those of the classifier; None: timm's random ones.

    Returns:
        The encoder without the stages behind its coarsest map. Of the weights that its maps do not need, which some
        stages end with, none asks for a gradient.

    Raises:
        ConfigError: As `find_maps`.
        DataError: If these are not weights of this encoder; the message continues the name of their file.
    """
    encoder, idle = _create_whole(name, depth, in_channels, weights), _find_idle(name, depth)
    for key, parameter in _cut(encoder).named_parameters():
        if key in idle:
            parameter.requires_grad_(False)
    return encoder


def _create_whole(name: str, depth: int, in_channels: int, weights: Mapping[str, Tensor] | None = None) -> nn.Module:
    """Create the encoder with all that timm leaves in it."""
    arguments: dict[str, Any] = {"out_indices": find_maps(name, depth).indices, "in_chans": in_channels}
    if weights is None:
        return cast(nn.Module, _create(name, **arguments))
    try:
        with quieten("timm"):  # it lists weights that it does not need
            model = _find(name).create_model
            given = {"pretrained": True, "pretrained_cfg_overlay": {"state_dict": dict(weights)}}
            return cast(nn.Module, model(name, features_only=True, **given, **arguments))
    except Exception as error:  # timm and each of its models raise what they like
        raise DataError(f"they are no weights of {name} ({shorten(describe_error(error), 200)})") from None


def _cut(encoder: nn.Module) -> nn.Module:
    """Take away, in place, the stages behind the last map, which timm's EfficientNets and MobileNets keep and run."""
    stages = getattr(encoder, "_stage_out_idx", None)
    if stages and getattr(encoder, "feature_hooks", None) is None:
        blocks = cast(nn.Sequential, encoder.blocks)
        encoder.blocks = blocks[: max(stages)]
    return encoder


@lru_cache(maxsize=16)
def _find_idle(name: str, depth: int) -> frozenset[str]:
    """Find the weights of a cut encoder that none of its maps depends on: those without a gradient, without memory."""
    side = 2 << (depth - 1)
    with torch.device("meta"), torch.enable_grad():
        encoder = _cut(_create_whole(name, depth, 3)).eval()
        try:
            maps: list[Tensor] = encoder(torch.zeros(1, 3, side, side))
            torch.autograd.backward([each.sum() for each in maps])
        except Exception:  # it does not take such images: who measures what it sees is told so
            return frozenset()
    return frozenset(key for key, parameter in encoder.named_parameters() if parameter.grad is None)


def require_weights(name: str, depth: int, weights: Mapping[str, Tensor], in_channels: int = 3) -> None:
    """Check that `create_encoder` finds all that an encoder learns; timm itself leaves random what is missing.

    Raises:
        ConfigError: As `find_maps`.
        DataError: If they are not; the message continues the name of their file.
    """
    # Numbers that are none, of which each takes the place of one that timm finds in the file, under whatever name.
    marks = {key: torch.full((), torch.nan).expand(value.shape) for key, value in weights.items()}
    found = create_encoder(name, depth, in_channels, marks).state_dict()
    lacking = [key for key, value in found.items() if value.is_floating_point() and not value.isnan().all()]
    if lacking:
        raise DataError(f"they are no weights of {name}: {len(lacking)} are missing, such as {lacking[0]}")


@lru_cache(maxsize=16)
def find_pretrained(name: str) -> Pretrained:
    """Find the weights that timm has for an encoder.

    Raises:
        ConfigError: If timm is missing, or has no such encoder.
    """
    found = _find(name).get_pretrained_cfg(name)
    return Pretrained(found.hf_hub_id, tuple(found.mean), tuple(found.std))


def _create(name: str, **arguments: Any) -> Any:
    """Create a `features_only` network of timm.

    Raises:
        ConfigError: If timm is missing, has no such network, or cannot create it.
    """
    timm = _find(name)
    try:
        return timm.create_model(name, features_only=True, **arguments)
    except Exception as error:  # timm and each of its models raise what they like
        raise ConfigError(
            f"model.encoder={name}: timm cannot create it as an encoder ({shorten(describe_error(error), 200)}); set "
            "another"
        ) from None


def _find(name: str) -> Any:
    """Find timm, and a network in it.

    Raises:
        ConfigError: If timm is missing, or has no such network.
    """
    timm = _import_timm()
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ConfigError(f"model.encoder={name}: timm {timm.__version__} has no such encoder{hint}")
    return timm


def _import_timm() -> Any:
    if find_spec("timm") is None:
        raise ConfigError(f"model=encoder needs the extra: {hint_extra('encoders')}")
    try:
        return importlib.import_module("timm")
    except Exception as error:  # torchvision does not load beside another build of PyTorch
        raise ConfigError(
            f"model=encoder: timm cannot be imported ({describe_error(error)}); install builds of torch and "
            "torchvision that belong together"
        ) from None
