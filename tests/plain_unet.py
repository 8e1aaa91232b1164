"""A U-Net in all its variants, computed from its weights alone: a reference that shares no module with the network.

The attention gate is MONAI's.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unet_exp.geometry import Architecture
from unet_exp.network import UNet

Weights = dict[str, Tensor]


def randomise(network: UNet) -> UNet:
    """Makes all count that a fresh network has as ones and zeros; the maps keep about their size."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
        if isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d | nn.GroupNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
        if getattr(module, "bias", None) is not None:
            nn.init.normal_(module.bias, std=0.3)
    return network


@torch.no_grad()
def plain_unet(architecture: Architecture, weights: Weights, image: Tensor, training: bool = False) -> list[Tensor]:
    """The logits of the full resolution and, if there are side heads, of levels 2, 3 ...

    Args:
        architecture: of the network.
        weights: its state dict.
        image: (B, C, H, W).
        training: whether batch norm takes the statistics of the batch.
    """
    a = architecture

    def conv(x: Tensor, name: str, padding: int = 0) -> Tensor:
        return F.conv2d(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"), padding=padding)

    def norm(x: Tensor, name: str) -> Tensor:
        if a.norm == "none":
            return x
        scale, shift = (weights[f"{name}.{part}"].view(1, -1, 1, 1) for part in ("weight", "bias"))
        if a.norm == "batch" and training:
            mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), unbiased=False, keepdim=True)
        elif a.norm == "batch":
            mean, variance = (weights[f"{name}.running_{part}"].view(1, -1, 1, 1) for part in ("mean", "var"))
        else:
            size = 1 if a.norm == "instance" else x.shape[1] // _most_groups(x.shape[1])
            parts = x.reshape(len(x), -1, size * x.shape[2] * x.shape[3])
            both = parts.mean(dim=2), parts.var(dim=2, unbiased=False)
            mean, variance = (one.repeat_interleave(size, dim=1)[..., None, None] for one in both)
        return (x - mean) / (variance + 1e-5).sqrt() * scale + shift

    def block(x: Tensor, name: str, first: bool = False) -> Tensor:
        padding = 1 if a.padding == "same" else 0
        if a.block == "plain":
            for number in (0, 3):
                x = norm(conv(x, f"{name}.{number}", padding), f"{name}.{number + 1}").clamp(min=0)
            return x
        y, place = x, 0
        if not first:
            y, place = norm(y, f"{name}.convs.0").clamp(min=0), 2
        y = norm(conv(y, f"{name}.convs.{place}", padding), f"{name}.convs.{place + 1}").clamp(min=0)
        y = conv(y, f"{name}.convs.{place + 3}", padding)
        x = x if padding else x[..., 2:-2, 2:-2]
        return y + (conv(x, f"{name}.shortcut") if x.shape[1] != y.shape[1] else x)

    def pool(x: Tensor) -> Tensor:
        high, wide = x.shape[-2] // 2 * 2, x.shape[-1] // 2 * 2
        return torch.stack([x[..., i:high:2, j:wide:2] for i in (0, 1) for j in (0, 1)]).amax(dim=0)

    def double(x: Tensor, name: str) -> Tensor:
        if a.upsample == "bilinear":
            x = F.interpolate(conv(x, name), scale_factor=2, mode="bilinear", align_corners=False)
        else:
            x = F.conv_transpose2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], stride=2)
        return x.clamp(min=0) if a.relu_after_upsample else x

    def meet(up: Tensor, skip: Tensor, name: str) -> Tensor:
        gone = [skip.shape[axis] - up.shape[axis] for axis in (-2, -1)]
        if a.align == "crop":
            skip = skip[..., gone[0] // 2 :, gone[1] // 2 :][..., : up.shape[-2], : up.shape[-1]]
        else:
            up = F.pad(up, (0, gone[1], 0, gone[0]))
        if a.fusion == "attention":
            skip = monai_gate(weights, f"{name}.fusion", norm)(up, skip)
        return {"add": lambda: up + skip, "none": lambda: up}.get(a.fusion, lambda: torch.cat([up, skip], dim=1))()

    skips, x = [], image
    for level in range(a.depth):
        x = block(pool(x) if level else x, f"encoder.{level}", first=not level)
        skips.append(x)
    sides = []
    for number in range(a.depth - 1):
        name = f"decoder.{number}"
        x = block(meet(double(x, f"{name}.up.conv"), skips[a.depth - 2 - number], name), f"{name}.convs")
        if a.deep_supervision and number < a.depth - 2:
            sides.append(conv(x, f"side_heads.{number}"))
    return [conv(x, "head"), *reversed(sides)]


def monai_gate(
    weights: Weights, name: str, norm: Callable[[Tensor, str], Tensor]
) -> Callable[[Tensor, Tensor], Tensor]:
    """MONAI's attention gate with the weights of ours; `norm` takes the place of its batch norms."""
    from monai.networks.nets.attentionunet import AttentionBlock  # only now: two seconds in each process

    class Norm(nn.Module):
        def __init__(self, of: str) -> None:
            super().__init__()
            self.of = of

        def forward(self, x: Tensor) -> Tensor:
            return norm(x, self.of)

    inner, up = weights[f"{name}.of_up.0.weight"].shape[:2]
    block = AttentionBlock(2, f_int=inner, f_g=up, f_l=weights[f"{name}.of_skip.0.weight"].shape[1]).to(
        weights[f"{name}.of_up.0.weight"].dtype
    )
    for ours, theirs in (("of_up", block.W_g), ("of_skip", block.W_x), ("psi", block.psi)):
        theirs[0].conv.weight.data = weights[f"{name}.{ours}.0.weight"]
        bias = weights.get(f"{name}.{ours}.0.bias")
        theirs[0].conv.bias.data = torch.zeros_like(theirs[0].conv.bias) if bias is None else bias
        theirs[1] = Norm(f"{name}.{ours}.1")
    return lambda up, skip: block(g=up, x=skip)


def _most_groups(channels: int) -> int:
    return next(groups for groups in (8, 4, 2, 1) if channels % groups == 0)
