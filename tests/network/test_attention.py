"""The attention gate against MONAI's with the same weights, and at both ends of what a gate can do."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unet_exp.geometry import Architecture
from unet_exp.network import UNet
from unet_exp.network.fusion import AttentionGate

VALID = Architecture("valid", "crop", 3, 4, 1, 2, "attention", "none", "transposed")


def give_monai(gate: AttentionGate) -> Any:
    """MONAI's block with the gate's weights; another norm than its batch norm takes the place of that."""
    from monai.networks.nets.attentionunet import AttentionBlock  # only now: two seconds in each process

    convs = [branch[0] for branch in (gate.of_up, gate.of_skip, gate.psi)]
    inner = convs[0].out_channels
    block = AttentionBlock(2, f_int=inner, f_g=convs[0].in_channels, f_l=convs[1].in_channels)
    for ours, theirs in ((gate.of_up, block.W_g), (gate.of_skip, block.W_x), (gate.psi, block.psi)):
        theirs[0].conv.weight = ours[0].weight
        with torch.no_grad():
            theirs[0].conv.bias.copy_(torch.zeros(()) if ours[0].bias is None else ours[0].bias)
        if isinstance(ours[1], nn.BatchNorm2d):
            theirs[1].load_state_dict(ours[1].state_dict())
        else:
            theirs[1] = ours[1]
    return block.train(gate.training)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("norm", ["none", "batch", "instance", "group"])
def test_it_is_monais_gate(norm: Any, training: bool) -> None:
    gate = AttentionGate(8, 6, norm).train(training)
    for part in gate.modules():
        if isinstance(part, nn.Conv2d | nn.BatchNorm2d) and part.bias is not None:
            nn.init.normal_(part.bias)
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_var, 0.5, 2)
    up, skip = torch.randn(2, 8, 5, 7), torch.randn(2, 6, 5, 7)
    joined, theirs = gate(up, skip), give_monai(gate)(g=up, x=skip)
    assert torch.equal(joined[:, :8], up)
    torch.testing.assert_close(joined[:, 8:], theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("bias", "fusion"), [(1e4, "concat"), (-1e4, "none")])
def test_an_open_gate_is_concatenation_and_a_closed_one_no_skip(bias: float, fusion: str) -> None:
    gated, plain = UNet(VALID), UNet(replace(VALID, fusion=fusion))
    for decoder in gated.decoder:
        nn.init.constant_(decoder.fusion.psi[0].bias, bias)  # type: ignore[union-attr, index, arg-type]
    weights: dict[str, Tensor] = {}
    for name, wanted in plain.state_dict().items():  # without the skip, its half of the weights reads nothing
        weights[name] = gated.state_dict()[name][tuple(slice(size) for size in wanted.shape)]
    plain.load_state_dict(weights)
    image = torch.randn(1, 1, 60, 60)
    torch.testing.assert_close(gated(image), plain(image), rtol=1e-5, atol=1e-5)
